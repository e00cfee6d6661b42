/* Goal:   whatever a power cut leaves of a store, it opens, and holds what was acknowledged: in every crash state
 *         that the model allows, at any step of every workload, in recovery too, on line-wise and on page-wise
 *         media.
 * Method: explore.h over the workloads; where states are too many they are sampled with the seed that is printed.
 *         FL_TEST_SEED changes it. A failure prints a line for crash_explore that goes to the very state.
 *         With --nightly: more states, and random workloads by the dozen.
 */
#include "tests/crash/explore.h"
#include "tests/crash/record.h"
#include "tests/lib/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <time.h>

enum { HANG_SECONDS = 60 }; /* one state */

static bool nightly;
static uint64_t seed_first;

struct sums {
    struct explore_counts all;
    clock_t begin;
};

static void
sums_begin(struct sums *sums)
{
    memset(sums, 0, sizeof(*sums));
    sums->begin = clock();
}

static void
print(const char *name, const struct explore_counts *c)
{
    printf("%-12s %8" PRIu64 " states (%" PRIu64 " sampled, %" PRIu64 " in recovery), %" PRIu64
           " recoveries, %" PRIu64 " used on, %" PRIu64 " gone on from, %" PRIu64
           " moments (%" PRIu64 " truncated, %" PRIu64 " known), %" PRIu64 " not reached\n",
           name, c->states, c->states_sampled, c->states_within, c->recoveries, c->usable, c->again,
           c->points, c->points_truncated, c->points_known, c->points_unreached);
    (void)fflush(stdout);
}

static void
sums_print(const struct sums *sums, const char *what)
{
    const double seconds = (double)(clock() - sums->begin) / CLOCKS_PER_SEC;

    print(what, &sums->all);
    printf("%-12s %.1f s of CPU, %.0f recoveries/s, %.3g crash images, 0 violations\n", "", seconds,
           (double)sums->all.recoveries / seconds, sums->all.images);
}

static void
check_result(const struct explore_config *config, const struct explore_result *result)
{
    char place[2000];

    if (!result->failed) {
        return;
    }
    explore_place_text(result->place, result->depth, place, sizeof(place));
    fail_msg("%s\nreplay: faultline-crash replay %s%s%s --seed %" PRIu64 " --at '%s'", result->why,
             config->name, config->mode == PM_STAGED ? " --kind page" : "",
             config->weak ? " --weak" : "", config->seed, place);
}

static void
explore(const struct workload *workload, enum pm_mode mode, uint64_t seed, struct sums *sums)
{
    const struct explore_config config = {
        .name = workload->name,
        .geometry = workload->geometry,
        .mode = mode,
        .seed = seed,
        .states_max = nightly ? 4096 : 64,
        .usable_every = nightly ? 16 : 48,
        .again_every = nightly ? 200 : 600,
        .depth_max = nightly ? 2 : 1,
        /* Big images cost more each; sampled thinner in the gate. */
        .budget = nightly ? 400000 : 12000,
        .hang_seconds = HANG_SECONDS,
    };
    struct explore_result result;
    struct record record;

    record_workload(&record, workload, mode, seed, NULL);
    if (record.wrong) {
        fail_msg("%s, seed %" PRIu64 ": the run itself: %s", workload->name, seed, record.why);
    }
    explore_trace(&config, &record.trace, NULL, 0, NULL, &result);
    record_deinit(&record);
    print(workload->name, &result.counts);
    explore_counts_add(&sums->all, &result.counts);
    check_result(&config, &result);
}

static void
explore_all(enum pm_mode mode, const char *what)
{
    struct sums sums;

    sums_begin(&sums);
    for (unsigned i = 0; i < workloads_count; i++) {
        const unsigned rounds = nightly && strcmp(workloads[i].name, "random") == 0 ? 24 : 1;

        for (unsigned round = 0; round < rounds; round++) {
            explore(&workloads[i], mode, seed_first + round, &sums);
        }
    }
    sums_print(&sums, what);
}

static void
lines_any_subset_recovers(void **state)
{
    (void)state;
    explore_all(PM_DIRECT, "lines");
}

static void
sectors_any_subset_recovers(void **state)
{
    (void)state;
    explore_all(PM_STAGED, "sectors");
}

/* Small enough that nothing is sampled: every subset of words at every moment. */
static void
words_all_subsets_recover(void **state)
{
    static const char *const names[] = {"points", "reopen", "expired"};
    struct sums sums;

    (void)state;
    sums_begin(&sums);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const struct workload *workload = workload_find(names[i]);
        const struct explore_config config = {
            .name = workload->name,
            .geometry = workload->geometry,
            .mode = PM_DIRECT,
            .seed = seed_first,
            .states_max = 1 << 16,
            .usable_every = 200,
            .hang_seconds = HANG_SECONDS,
        };
        struct explore_result result;
        struct record record;

        record_workload(&record, workload, PM_DIRECT, seed_first, NULL);
        assert_false(record.wrong);
        explore_trace(&config, &record.trace, NULL, 0, NULL, &result);
        record_deinit(&record);
        print(workload->name, &result.counts);
        explore_counts_add(&sums.all, &result.counts);
        check_result(&config, &result);
        assert_int_equal(result.counts.points_truncated, 0);
        assert_int_equal(result.counts.points_unreached, 0);
    }
    sums_print(&sums, "exhaustive");
}

/* What the workloads are for; a change of heuristics must not empty them unseen. */
static void
workloads_reach_what_they_are_for(void **state)
{
    static const struct {
        const char *name;
        bool copies, frees, changes, expires, fills;
    } claims[] = {
        {"segments", false, false, true, false, false},
        {"batches", false, true, true, false, false},
        {"blobs", false, true, false, false, false},
        {"cleaner", true, true, true, false, false},
        {"tombstones", true, true, true, false, false},
        {"spaces", true, true, true, false, false},
        {"expiry", true, true, true, true, false},
        {"set-back", false, true, true, true, false},
        {"full", false, true, true, false, true},
        {"raise", false, false, true, false, true},
        {"groups", false, true, false, false, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(claims) / sizeof(claims[0]); i++) {
        struct record record;

        record_workload(&record, workload_find(claims[i].name), PM_DIRECT, seed_first, NULL);
        print_message("%s: %" PRIu64 " segment changes, %" PRIu64 " bytes copied, %" PRIu64
                      " blocks freed, %" PRIu64 " expired, %u times full\n",
                      claims[i].name, record.segment_changes, record.copied_bytes,
                      record.freed_blocks, record.expired, record.no_space);
        assert_false(record.wrong);
        assert_true(!claims[i].copies || record.copied_bytes > 0);
        assert_true(!claims[i].frees || record.freed_blocks > 0);
        assert_true(!claims[i].changes || record.segment_changes > 2);
        assert_true(!claims[i].expires || record.expired > 0);
        assert_true(!claims[i].fills || record.no_space > 0);
        record_deinit(&record);
    }
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(workloads_reach_what_they_are_for),
        cmocka_unit_test(words_all_subsets_recover),
        cmocka_unit_test(sectors_any_subset_recovers),
        cmocka_unit_test(lines_any_subset_recovers),
    };

    nightly = argc > 1 && strcmp(argv[1], "--nightly") == 0;
    seed_first = rng_seeded(1).state;
    explore_settle_process();
    explore_catch_signals();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
