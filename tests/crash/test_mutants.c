/* Goal:   the explorer sees what it is for: a flush or fence of the storage that is missing or in the wrong place, at any
 *         site, breaks a promise in some crash state.
 * Method: every call of the persist layer that the workloads reach is a site; each mutation is made in the recorded trace
 *         at each site (and in the traces of recoveries), and the states of the mutant are explored until one is wrong. What
 *         survives must be known, with the reason; what is known to survive must.
 */
#include "tests/crash/apart.h"
#include "tests/crash/plant.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { SECONDS_MAX = 20 };

static const char *const names[] = {"points",  "reopen", "segments", "batches",
                                    "blobs8k", "expiry", "cleaner"};
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
            .states_max = 24,
            .usable_every = 40,
            .again_every = 120,
            .depth_max = 1,
            .budget = 2500,
            .mutated_only = true,
        };
        record_workload(&run->record, run->workload, mode, 1, NULL);
        assert_false(run->record.wrong);
        /* Numbers the sites, so that the children agree on them. */
        explore_trace(&run->config, &run->record.trace, NULL, 0, &run->all);
        if (run->all.failed) {
            fail_msg("%s: %s; replay: %s", names[i], run->all.why, run->all.replay);
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
        return (met & 1u << MEM_MAP_FLUSH) != 0;
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
mutant_killed(const struct run *runs, enum mutation mutation, uint16_t site, bool *reached,
              char *how, size_t how_size)
{
    *reached = false;
    for (unsigned i = 0; i < NAMES; i++) {
        struct explore_config config = runs[i].config;
        struct explore_result result;

        if (!applies(&runs[i], mutation, site)) {
            continue;
        }
        config.mutation = mutation;
        config.site = site;
        const enum apart_verdict verdict =
            apart_explore(&config, runs[i].workload, &runs[i].record.trace, SECONDS_MAX, &result);

        *reached |= verdict != APART_UNREACHED;
        if (verdict == APART_FOUND || verdict == APART_DIED) {
            (void)snprintf(how, how_size, "%s: %.120s", names[i], result.why);
            return true;
        }
    }
    return false;
}

static void
mutants_try(enum pm_mode mode, const enum mutation *mutations, size_t count)
{
    static struct run runs[NAMES];
    unsigned killed = 0;
    unsigned survived = 0;

    runs_begin(runs, mode);
    for (uint16_t site = 1; site <= plant_sites(); site++) {
        char text[120];

        plant_site_text(site, text, sizeof(text));
        for (size_t i = 0; i < count; i++) {
            char how[200] = "";
            bool reached = false;
            const bool kill = mutant_killed(runs, mutations[i], site, &reached, how, sizeof(how));

            if (!reached) {
                continue;
            }
            killed += kill;
            survived += !kill;
            printf("%-9s %-12s %s  %.110s\n", kill ? "killed" : "SURVIVED",
                   mutation_name(mutations[i]), text, how);
            (void)fflush(stdout);
        }
    }
    runs_end(runs);
    printf("%u killed, %u survived\n", killed, survived);
}

static void
mutants_hooked(void **state)
{
    static const enum mutation mutations[] = {MUTATION_DROP_FLUSH, MUTATION_FIRST_LINE,
                                              MUTATION_SINK_FLUSH, MUTATION_DROP_FENCE,
                                              MUTATION_HOIST_STORE};

    (void)state;
    mutants_try(PM_HOOKED, mutations, sizeof(mutations) / sizeof(mutations[0]));
}

static void
mutants_staged(void **state)
{
    static const enum mutation mutations[] = {MUTATION_DROP_FENCE, MUTATION_SYNC_PART};

    (void)state;
    mutants_try(PM_STAGED, mutations, sizeof(mutations) / sizeof(mutations[0]));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mutants_hooked),
        cmocka_unit_test(mutants_staged),
    };

    explore_settle_process();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
