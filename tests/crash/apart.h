/* Recording and exploring in a child process, so that a bug that ends the process ends only the child, and one that
 * never ends is ended: one state, or one recording. That all together takes long is nobody's fault. */
#ifndef FL_TESTS_CRASH_APART_H
#define FL_TESTS_CRASH_APART_H

#include "tests/crash/explore.h"
#include "tests/crash/record.h"

enum apart_verdict {
    APART_CLEAN,    /* nothing wrong was found */
    APART_FOUND,    /* a crash state broke a promise, or the recorded run itself did */
    APART_DIED,     /* a signal, or a state or a recording without an end */
    APART_UNREACHED /* the mutation concerned no event */
};

struct apart_job {
    struct explore_config config;
    const struct workload *workload;     /* NULL: config.user */
    const struct trace *trace;           /* explore this; NULL: record first */
    const struct record_options *record; /* NULL: as it is */
    uint64_t rounds;                     /* so many seeds, from config.seed on; 0 is 1 */
    uint64_t budget;                     /* recoveries of all rounds together; 0: no limit */
    unsigned seconds;                    /* a budget of wall time, asked between states; 0: none */
    unsigned hang_seconds;               /* for one recording and for each state; 0: no limit */
    const struct explore_place *replay;
    unsigned replay_count;
    struct explore_calls calls; /* made in the child */
    bool loud;                  /* stderr stays */
};

struct apart_outcome {
    enum apart_verdict verdict;
    struct explore_result result; /* counts are those of all rounds; the rest of the last */
    uint64_t seed;                /* of the last round */
    uint64_t rounds;
    uint64_t switches; /* between threads */
    size_t events;
    unsigned steps; /* operations of the workload */
};

void apart_run(const struct apart_job *job, struct apart_outcome *outcome);

#endif
