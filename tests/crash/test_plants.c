/* Goal:   bugs as people make them - an order turned round, a step left out, a word torn in two - don't get past the
 *         explorer; and a mapping without the no-sync promise loses the block that this project is about.
 * Method: each bug is planted between the storage objects (plant.h), workloads are recorded and explored with it
 *         until a crash state, or the run itself, is wrong. Without a bug the same runs must be clean.
 */
#include "tests/crash/apart.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { SECONDS_MAX = 60 };

static enum apart_verdict
try(const char *name, enum plant_bug bug, bool plain, struct explore_result *result)
{
    const struct workload *workload = workload_find(name);
    const struct explore_config config = {
        .name = name,
        .geometry = workload->geometry,
        .mode = PM_DIRECT,
        .plain = plain,
        .seed = 1,
        .states_max = 24,
        .usable_every = 20,
        .again_every = 100,
        .depth_max = 1,
        .budget = 8000,
        .bug = bug,
    };

    const struct apart_job job = {.config = config, .workload = workload, .seconds = SECONDS_MAX};
    struct apart_outcome outcome;

    apart_run(&job, &outcome);
    *result = outcome.result;
    return outcome.verdict;
}

static void
planted_bugs_are_found(void **state)
{
    static const char *const names[] = {"points", "segments",   "blobs",  "expired",
                                        "reopen", "tombstones", "expiry", "cleaner"};
    unsigned survived = 0;

    (void)state;
    for (unsigned bug = PLANT_NONE + 1; bug < PLANT_BUGS; bug++) {
        struct explore_result result;
        enum apart_verdict verdict = APART_CLEAN;
        unsigned i;

        for (i = 0; i < sizeof(names) / sizeof(names[0]) && verdict == APART_CLEAN; i++) {
            verdict = try(names[i], bug, false, &result);
        }
        printf("%-9s %-20s %s: %.120s\n", verdict == APART_CLEAN ? "SURVIVED" : "killed",
               plant_bug_name(bug), names[i - 1], result.why);
        (void)fflush(stdout);
        survived += verdict == APART_CLEAN;
    }
    assert_int_equal(survived, 0);
}

static void
plain_mapping_loses_the_block_and_says_so(void **state)
{
    static const char *const names[] = {"points", "segments", "cleaner", "blobs"};

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct explore_result result;

        assert_int_equal(try(names[i], PLANT_NONE, true, &result), APART_FOUND);
        printf("%s: %.160s\n", names[i], result.why);
        assert_non_null(strstr(result.why, "FL_CORRUPT"));
        assert_non_null(strstr(result.why, "block"));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(planted_bugs_are_found),
        cmocka_unit_test(plain_mapping_loses_the_block_and_says_so),
    };

    explore_settle_process();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
