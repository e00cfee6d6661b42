/* crash_explore: one workload, explored; or one crash state of it, again. For people, and for what a test tells to
 * repeat.
 *
 * crash_explore NAME [--page] [--plain] [--seed N] [--states N] [--usable N] [--again N] [--depth N] [--at PLACE] */
#include "tests/crash/explore.h"
#include "tests/crash/plant.h"
#include "tests/crash/record.h"
#include "tests/lib/die.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void
print(const struct explore_result *result, double seconds)
{
    const struct explore_counts *c = &result->counts;
    printf("states %" PRIu64 " (%" PRIu64 " sampled, %" PRIu64
           " within recovery), images %.3g, recoveries %" PRIu64 ", usable %" PRIu64
           ", again %" PRIu64 ", points %" PRIu64 " (%" PRIu64 " truncated, %" PRIu64
           " known), %.2f s, %.0f recoveries/s%s\n",
           c->states, c->states_sampled, c->states_within, c->images, c->recoveries, c->usable,
           c->again, c->points, c->points_truncated, c->points_known, seconds,
           (double)c->recoveries / seconds, result->stopped ? ", stopped" : "");
    if (result->failed) {
        char text[2000];

        explore_place_text(result->place, result->depth, text, sizeof(text));
        printf("VIOLATION %s\nreplay: %s\n", result->why, text);
    }
}

int
main(int argc, char **argv)
{
    struct explore_config config = {.seed = 1,
                                    .states_max = 1024,
                                    .usable_every = 64,
                                    .again_every = 512,
                                    .depth_max = 1,
                                    .mode = PM_DIRECT};
    struct explore_place places[EXPLORE_DEPTH_MAX];
    unsigned places_count = 0;
    const struct workload *workload = argc > 1 ? workload_find(argv[1]) : NULL;
    struct explore_result result;
    struct record record;

    if (workload == NULL) {
        die("which workload? see tests/crash/workloads.c");
    }
    for (int i = 2; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";

        if (strcmp(argv[i], "--page") == 0) {
            config.mode = PM_STAGED;
            continue;
        }
        if (strcmp(argv[i], "--weak") == 0) {
            config.weak = true;
            continue;
        }
        if (strcmp(argv[i], "--plain") == 0) {
            config.plain = true;
            continue;
        }
        if (strcmp(argv[i], "--seed") == 0) {
            config.seed = strtoull(value, NULL, 0);
        } else if (strcmp(argv[i], "--states") == 0) {
            config.states_max = strtoull(value, NULL, 0);
        } else if (strcmp(argv[i], "--usable") == 0) {
            config.usable_every = strtoull(value, NULL, 0);
        } else if (strcmp(argv[i], "--again") == 0) {
            config.again_every = strtoull(value, NULL, 0);
        } else if (strcmp(argv[i], "--depth") == 0) {
            config.depth_max = (unsigned)strtoul(value, NULL, 0);
        } else if (strcmp(argv[i], "--at") == 0) {
            places_count = explore_place_parse(value, places);
        } else {
            die("what is %s?", argv[i]);
        }
        i++;
    }
    config.name = workload->name;
    config.geometry = workload->geometry;
    explore_settle_process();
    explore_catch_signals();
    record_workload(&record, workload, config.mode, config.seed, NULL);
    printf("%s: %zu events, %u marks%s%s\n", workload->name, record.trace.count,
           record.trace.marks_count, record.wrong ? ", WRONG: " : "", record.why);
    printf("segment changes %" PRIu64 ", copied %" PRIu64 " bytes, freed %" PRIu64
           " blocks, expired %" PRIu64 ", no space %u\n",
           record.segment_changes, record.copied_bytes, record.freed_blocks, record.expired,
           record.no_space);
    const clock_t begin = clock();

    explore_trace(&config, &record.trace, places_count > 0 ? places : NULL, places_count, NULL,
                  &result);
    print(&result, (double)(clock() - begin) / CLOCKS_PER_SEC);
    const bool failed = result.failed || record.wrong;

    record_deinit(&record);
    return failed ? 1 : 0;
}
