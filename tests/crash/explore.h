/* From a recorded trace to crash states: at each moment at which a crash could show something new, choose what is on
 * media (state.h), recover, judge; and again from inside recovery and the work after it.
 *
 * Invariants: a moment whose states are at most states_max is exhausted, all others are counted as truncated and
 * sampled; what a budget leaves out is counted too. A moment that is the same as one before, in what is on media, what
 * is undecided and what was promised, is counted but not judged again. What is reported can be gone to again:
 * explore_place.
 */
#ifndef FL_TESTS_CRASH_EXPLORE_H
#define FL_TESTS_CRASH_EXPLORE_H

#include "tests/crash/check.h"
#include "tests/crash/mutate.h"
#include "tests/crash/plant.h"
#include "tests/crash/state.h"

enum explore_style {
    EXPLORE_STATES, /* a power cut: every state of the model */
    EXPLORE_KILLS,  /* a killed process: every store that was executed is there */
};

struct explore_config {
    const char *name; /* for the line that replays */
    struct driver_geometry geometry;
    const struct crash_workload *user; /* NULL: one of our own, with this geometry */
    enum pm_mode mode;                 /* PM_DIRECT, PM_STAGED */
    bool plain, weak;                  /* see media.h */
    enum explore_style style;
    uint64_t seed;
    uint64_t
        states_max; /* at a moment: up to here all are tried, above it about as many are sampled */
    uint64_t usable_every;  /* of the states that are judged; 0: none */
    uint64_t again_every;   /* the same: recover, go on, and explore that */
    unsigned depth_max;     /* of "again" */
    uint64_t budget;        /* stop after so many recoveries; 0: no limit */
    double deadline;        /* the same, by the monotonic clock in seconds; 0: none */
    unsigned hang_seconds;  /* a state that takes so long hangs: SIGALRM; 0: no limit */
    bool mutated_only;      /* skip what comes before the first event that the mutation changed */
    enum mutation mutation; /* of the trace, and of those of recovery */
    uint16_t site;
    enum plant_bug bug; /* set by who records and explores apart */
    unsigned bug_text;  /* the same, for bugs.h */
};

enum { EXPLORE_DEPTH_MAX = 4, EXPLORE_SITES_MAX = 128, EXPLORE_LOST_MAX = 48 };
enum { EXPLORE_MET_ALL = 1 << 15 }; /* a sync of everything */

/* A state: the moment, and how its choices went. */
struct explore_place {
    size_t point;
    enum state_policy policy; /* STATE_LOST: `lost`; STATE_PATH: `path`; others: `salt` */
    uint64_t salt;
    uint32_t path_len;
    uint8_t path[STATE_PATH_MAX];
    uint32_t lost_count;
    struct state_lost lost[EXPLORE_LOST_MAX];
};

struct explore_counts {
    uint64_t states; /* that differ for who recovers; those of moments met before are among them */
    uint64_t states_sampled; /* of them, at truncated moments */
    uint64_t states_within;  /* of them, inside recovery or the work after it */
    double images;           /* crash images that the states stand for, at least */
    uint64_t recoveries;     /* made and judged */
    uint64_t usable, again;
    uint64_t points, points_truncated, points_known;
    uint64_t
        points_unreached; /* left out, or left before their end, because of the budget; not in `points` */
    uint64_t coarse; /* see media.h; 0 where nothing is truncated */
};

struct explore_result {
    struct explore_counts counts;
    uint64_t mutated; /* events that the mutation changed */
    uint16_t met
        [EXPLORE_SITES_MAX]; /* per site: a bit for each kind of event that it caused, and EXPLORE_MET_ALL */
    bool stopped;            /* by the budget */
    bool failed;
    char why[700];
    unsigned depth; /* of the places that follow */
    struct explore_place place[EXPLORE_DEPTH_MAX];
};

void explore_counts_add(struct explore_counts *sum, const struct explore_counts *counts);

/* Called now and then, with what has been done so far. */
typedef void (*explore_progress)(void *context, const struct explore_counts *counts);

/* What a failing state looks like, for reports: called before explore_trace() returns. */
struct explore_failure {
    const struct explore_result *result;
    const struct trace *trace; /* of the innermost level */
    const struct media *media; /* at the moment of the crash */
    const struct trace_mark *mark;
    const uint8_t *bytes; /* the image that recovery was given; NULL in a process that died */
    const uint8_t *exists;
    uint64_t size_bytes;
    struct state_lost *lost;
    uint32_t lost_count;
};
typedef void (*explore_on_failure)(void *context, const struct explore_failure *failure);

struct explore_calls {
    explore_progress progress; /* each may be NULL */
    explore_on_failure failure;
    void *context;
    struct explore_memo *memo; /* moments known from traces before; NULL: a new one */
};

/* `replay`: NULL, or places to go to and nowhere else. The trace began on an empty file. */
void explore_trace(const struct explore_config *config, const struct trace *trace,
                   const struct explore_place *replay, unsigned replay_count,
                   const struct explore_calls *calls, struct explore_result *result);

/* Moments that were judged: for traces that have much in common. */
struct explore_memo *explore_memo_create(void);
void explore_memo_destroy(struct explore_memo *memo);

/* Places as text, and back: "37:0120/12:~5". Returns the number of places, 0 if it isn't one. */
void explore_place_text(const struct explore_place *places, unsigned count, char *text,
                        size_t size);
unsigned explore_place_parse(const char *text, struct explore_place *places);

/* Where the exploration is; for one that dies of a signal, in memory that its parent sees too. NULL: nowhere. */
void explore_share_place(struct explore_result *shared);

/* Call it before the first thread and the first big allocation: makes opening a store fast. */
void explore_settle_process(void);

/* A signal is told to what explore_share_place() names, then takes its course. */
void explore_catch_signals(void);

#endif
