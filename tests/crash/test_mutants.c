/* Goal:   the explorer sees what it is for: a flush or fence of the storage that is missing or in the wrong place,
 *         at any site, breaks a promise in some crash state.
 * Method: every call of the persist layer that the workloads reach is a site; each mutation is made in the recorded
 *         trace at each site (and in the traces of recoveries), and the states of the mutant are explored until one
 *         is wrong. What
 *         survives must be known, with the reason. The gate tries missing flushes and fences and leaves out what is
 *         known; with --nightly everything is tried.
 */
#include "tests/crash/apart.h"
#include "tests/crash/plant.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { SECONDS_MAX = 60, QUICK = 700, THOROUGH = 12000 };

struct mutant {
    enum mutation mutation;
    uint16_t site;
};

struct score {
    unsigned killed, known, survived;
};

/* Mutants that do no harm, by function (^: the innermost) and why. A flush or fence here is one that could go, or that
 * is there for what these workloads don't have: a second thread, damaged media. */
struct harmless {
    const char *function;
    enum mutation mutation;
    const char *reason;
};
static const struct harmless known[] = {
    /* heap_format: two words of one line, flushed twice; a copy of the superblock that the other one stands in for;
     * a root that says nothing yet; and the file is synced before anything can be promised. */
    {"heap_format", MUTATION_DROP_FLUSH,
     "the line is flushed twice, or the other superblock counts"},
    {"heap_format", MUTATION_FIRST_LINE,
     "the other superblock counts, the first root says nothing"},
    {"heap_format", MUTATION_SINK_FLUSH,
     "the other superblock counts, the first root says nothing"},
    {"heap_format", MUTATION_DROP_FENCE,
     "the other superblock counts, and the file is synced next"},
    /* The slots alternate, and a frame that comes after a root was fenced after it. */
    {"heap_root_put", MUTATION_SINK_FLUSH,
     "the root before it serves as well until something is written"},
    {"heap_root_put", MUTATION_HOIST_STORE, "nothing that it says depends on the fence before it"},
    {"heap_root_put", MUTATION_DROP_FENCE, "the first commit after it fences it too"},
    /* At a close or an open the seal is fenced by the root, long before a link can make it matter. */
    {"log_seal", MUTATION_SINK_FLUSH, "the root's fence comes before any link"},
    {"log_seal", MUTATION_HOIST_STORE, "a seal needs nothing before it"},
    {"log_seal_heads", MUTATION_DROP_FENCE, "the root's fence comes before any link"},
    {"seal_all", MUTATION_DROP_FENCE, "the root's fence comes before any link"},
    {"seal_nofence", MUTATION_DROP_FLUSH,
     "the link's flush takes the whole line, in the order of its stores"},
    {"seal_nofence", MUTATION_SINK_FLUSH, "ownership's fence comes before the link as well"},
    /* One thread fills a big value and commits it: its later fences cover the earlier. */
    {"blob_own", MUTATION_SINK_FLUSH, "the fence after the value's bytes covers it"},
    {"log_blob_append", MUTATION_SINK_FLUSH, "the fence after the checksums covers it"},
    {"log_blob_append", MUTATION_HOIST_STORE,
     "the bytes need nothing before them but their blocks"},
    {"log_blob_append", MUTATION_DROP_FENCE, "for a commit by another thread"},
    {"log_blob_finish", MUTATION_HOIST_STORE, "checksums and bytes have no order"},
    /* Recovery frees blocks behind a first one that is free. */
    {"heap_disown_nofence", MUTATION_DROP_FLUSH, "recovery frees what no first block vouches for"},
    {"heap_disown_nofence", MUTATION_SINK_FLUSH, "recovery frees what no first block vouches for"},
    /* Two words, in the two halves of block 0: a site is one of them. */
    {"heap_clock_put", MUTATION_DROP_FLUSH, "the other word has the time too"},
    {"heap_clock_put", MUTATION_SINK_FLUSH, "the other word has the time too"},
    /* What was read is made durable first, for a process that was killed before its drain. Here the power goes. */
    {"^super_heal", MUTATION_DROP_FLUSH, "it is durable already"},
    {"^super_heal", MUTATION_FIRST_LINE, "it is durable already"},
    {"^super_heal", MUTATION_SINK_FLUSH, "it is durable already"},
    {"^super_heal", MUTATION_HOIST_STORE, "it is durable already"},
    {"^super_heal", MUTATION_DROP_FENCE, "it is durable already"},
    /* Tells damage from a torn tail where blocks were lost; a crash loses none. */
    {"mark_nofence", MUTATION_DROP_FLUSH, "for damaged media"},
    {"mark_nofence", MUTATION_SINK_FLUSH, "for damaged media"},
    {"heap_disown_nofence", MUTATION_DROP_FENCE, "page-wise: the words share a sector"},
    {"^heap_own_begin_nofence", MUTATION_DROP_FLUSH, "the note's line is flushed twice"},
    {"^heap_own_begin_nofence", MUTATION_SINK_FLUSH, "the note's line is flushed twice"},
};

/* On page-wise media only. */
static const struct harmless known_staged[] = {
    {"^copy_rewrite", MUTATION_DROP_FENCE, "a copy is in one sector"},
};

static bool nightly;

static const char *const names[] = {"points",  "reopen", "segments", "batches",
                                    "blobs8k", "expiry", "cleaner",  "raise"};
enum { NAMES = sizeof(names) / sizeof(names[0]) };

/* A workload as it was recorded, and what it and the recoveries from it call. */
struct run {
    const struct workload *workload;
    struct explore_config config;
    struct record record;
    struct explore_result all;
};

static void
runs_begin(struct run *runs, enum pm_mode mode)
{
    for (unsigned i = 0; i < NAMES; i++) {
        struct run *run = &runs[i];

        run->workload = workload_find(names[i]);
        assert_non_null(run->workload);
        run->config = (struct explore_config){
            .name = names[i],
            .geometry = run->workload->geometry,
            .mode = mode,
            .seed = 1,
            .states_max = 12,
            /* A superblock half raised is seen by the checker only. */
            .usable_every = strcmp(names[i], "raise") == 0 ? 1 : 12,
            .again_every = 60,
            .depth_max = 1,
            .budget = 6000,
            .mutated_only = true,
        };
        record_workload(&run->record, run->workload, mode, 1, NULL);
        assert_false(run->record.wrong);
        /* Numbers the sites, so that the children agree on them. */
        explore_trace(&run->config, &run->record.trace, NULL, 0, NULL, &run->all);
        if (run->all.failed) {
            fail_msg("%s: %s", names[i], run->all.why);
        }
    }
}

static void
runs_end(struct run *runs)
{
    for (unsigned i = 0; i < NAMES; i++) {
        record_deinit(&runs[i].record);
    }
}

/* Could the mutation change an event of the site in this run? */
static bool
applies(const struct run *run, enum mutation mutation, uint16_t site)
{
    const unsigned met = site < EXPLORE_SITES_MAX ? run->all.met[site] : 0;

    switch (mutation) {
    case MUTATION_DROP_FLUSH:
    case MUTATION_FIRST_LINE:
    case MUTATION_SINK_FLUSH:
        return (met & (1u << MEM_MAP_FLUSH | 1u << MEM_MAP_STORE)) != 0;
    case MUTATION_HOIST_STORE:
        return (met & 1u << MEM_MAP_STORE) != 0;
    case MUTATION_DROP_FENCE:
        return (met & (1u << MEM_MAP_FENCE | 1u << MEM_MAP_SYNC)) != 0;
    case MUTATION_SYNC_PART:
        return (met & 1u << MEM_MAP_SYNC) != 0;
    case MUTATION_NONE:
    case MUTATIONS:
        break;
    }
    return false;
}

static bool
mutant_killed(const struct run *runs, const struct mutant *mutant, uint64_t budget, bool *reached,
              char *how, size_t how_size)
{
    *reached = false;
    for (unsigned i = 0; i < NAMES; i++) {
        struct explore_config config = runs[i].config;
        struct apart_outcome outcome;

        if (!applies(&runs[i], mutant->mutation, mutant->site)) {
            continue;
        }
        config.mutation = mutant->mutation;
        config.site = mutant->site;
        config.budget = budget;
        const struct apart_job job = {.config = config,
                                      .workload = runs[i].workload,
                                      .trace = &runs[i].record.trace,
                                      .seconds = SECONDS_MAX};

        apart_run(&job, &outcome);
        const enum apart_verdict verdict = outcome.verdict;

        *reached |= verdict != APART_UNREACHED;
        if (verdict == APART_FOUND || verdict == APART_DIED) {
            (void)snprintf(how, how_size, "%s: %.120s", names[i], outcome.result.why);
            return true;
        }
    }
    return false;
}

static const char *
reason_among(const struct harmless *list, size_t count, const char *place,
             const struct mutant *mutant)
{
    for (size_t i = 0; i < count; i++) {
        const char *function = list[i].function;
        const bool here = function[0] == '^'
                              ? strncmp(place, function + 1, strlen(function + 1)) == 0
                              : strstr(place, function) != NULL;

        if (list[i].mutation == mutant->mutation && here) {
            return list[i].reason;
        }
    }
    return NULL;
}

static const char *
reason_find(const struct run *runs, const char *place, const struct mutant *mutant)
{
    const char *reason = reason_among(known, sizeof(known) / sizeof(known[0]), place, mutant);

    return reason == NULL && runs[0].config.mode == PM_STAGED
               ? reason_among(known_staged, sizeof(known_staged) / sizeof(known_staged[0]), place,
                              mutant)
               : reason;
}

static void
mutant_try(const struct run *runs, const struct mutant *mutant, struct score *score)
{
    char place[160];
    char how[200] = "";
    bool reached = false;

    plant_site_text(mutant->site, place, sizeof(place));
    if (!nightly && reason_find(runs, place, mutant) != NULL) {
        score->known++;
        return;
    }
    bool kill = mutant_killed(runs, mutant, QUICK, &reached, how, sizeof(how));

    if (!reached) {
        return;
    }
    const char *reason = kill ? NULL : reason_find(runs, place, mutant);

    if (!kill && reason == NULL) {
        kill = mutant_killed(runs, mutant, THOROUGH, &reached, how, sizeof(how));
    }
    score->killed += kill;
    score->known += reason != NULL;
    score->survived += !kill && reason == NULL;
    printf("%-8s %-11s %s: %.110s\n",
           kill             ? "killed"
           : reason != NULL ? "known"
                            : "SURVIVED",
           mutation_name(mutant->mutation), place, reason != NULL ? reason : how);
    (void)fflush(stdout);
}

static void
mutants_try(enum pm_mode mode, const enum mutation *mutations, size_t count)
{
    static struct run runs[NAMES];
    struct score score = {0, 0, 0};

    runs_begin(runs, mode);
    for (uint16_t site = 1; site <= plant_sites(); site++) {
        for (size_t i = 0; i < count; i++) {
            const struct mutant mutant = {mutations[i], site};

            mutant_try(runs, &mutant, &score);
        }
    }
    runs_end(runs);
    printf("mutants: %u killed, %u known to be harmless, %u survived\n", score.killed, score.known,
           score.survived);
    assert_int_equal(score.survived, 0);
    assert_true(score.killed > 0);
}

static void
mutants_hooked(void **state)
{
    static const enum mutation mutations[] = {MUTATION_DROP_FLUSH, MUTATION_DROP_FENCE,
                                              MUTATION_FIRST_LINE, MUTATION_SINK_FLUSH,
                                              MUTATION_HOIST_STORE};

    (void)state;
    mutants_try(PM_DIRECT, mutations, nightly ? sizeof(mutations) / sizeof(mutations[0]) : 2);
}

static void
mutants_staged(void **state)
{
    static const enum mutation mutations[] = {MUTATION_DROP_FENCE, MUTATION_SYNC_PART};

    (void)state;
    mutants_try(PM_STAGED, mutations, sizeof(mutations) / sizeof(mutations[0]));
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mutants_hooked),
        cmocka_unit_test(mutants_staged),
    };

    nightly = argc > 1 && strcmp(argv[1], "--nightly") == 0;
    explore_settle_process();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
