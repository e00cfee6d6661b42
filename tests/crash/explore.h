/* From a recorded trace to crash states: build each image that the model allows, recover, judge; and again from
 * inside. */
#ifndef FL_TESTS_CRASH_EXPLORE_H
#define FL_TESTS_CRASH_EXPLORE_H

#include "tests/crash/check.h"
#include "tests/crash/model.h"
#include "tests/crash/mutate.h"
#include "tests/crash/plant.h"

struct explore_config {
    const char *name; /* for the line that replays */
    struct driver_geometry geometry;
    enum pm_mode mode;
    bool plain; /* see model.h */
    uint64_t seed;
    uint64_t states_max;    /* at a point: up to here all are tried, above it so many are sampled */
    uint64_t usable_every;  /* of the states with an image of their own; 0: none */
    uint64_t again_every;   /* the same: recover, go on, and explore that */
    unsigned depth_max;     /* of "again" */
    uint64_t budget;        /* stop after so many states; 0: no limit */
    bool mutated_only;      /* skip what comes before the first event that the mutation changed */
    enum mutation mutation; /* of the trace, and of those of recovery */
    uint16_t site;
    enum plant_bug bug; /* set by who records and explores apart */
};

enum { EXPLORE_DEPTH_MAX = 4, EXPLORE_SITES_MAX = 128 };

struct explore_place {
    size_t point;
    uint64_t state;
};

struct explore_result {
    uint64_t states, states_sampled; /* sampled ones are among states */
    uint64_t states_within;          /* at a depth over 0; among states */
    uint64_t images;                 /* different ones, recovered and judged */
    uint64_t usable, again;
    uint64_t points, points_truncated;
    uint64_t mutated;                /* events that the mutation changed */
    uint16_t met[EXPLORE_SITES_MAX]; /* per site: a bit for each kind of event that it caused */
    bool stopped;                    /* by the budget */
    bool failed;
    char why[700];
    char replay[160];
};

/* `replay`: NULL, or places to go to and nowhere else. The trace began on an empty file. */
void explore_trace(const struct explore_config *config, const struct trace *trace,
                   const struct explore_place *replay, unsigned replay_count,
                   struct explore_result *result);

/* What to print when the process dies of a signal: where it was. Threads: the one that explores. */
void explore_catch_signals(void);

/* Call it before the first thread and the first big allocation: makes opening a store fast. */
void explore_settle_process(void);

#endif
