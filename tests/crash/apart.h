/* Exploring in a child process, so that a bug that ends the process ends only the child. */
#ifndef FL_TESTS_CRASH_APART_H
#define FL_TESTS_CRASH_APART_H

#include "tests/crash/explore.h"
#include "tests/crash/record.h"

enum apart_verdict {
    APART_CLEAN,    /* nothing wrong was found */
    APART_FOUND,    /* a crash state broke a promise, or the recorded run itself did */
    APART_DIED,     /* a signal */
    APART_UNREACHED /* the mutation concerned no event */
};

/* Explore `trace`, or with NULL a new recording of the workload. With a signal or a time limit (seconds) passed
 * result->why says so. */
enum apart_verdict apart_explore(const struct explore_config *config,
                                 const struct workload *workload, const struct trace *trace,
                                 unsigned seconds, struct explore_result *result);

#endif
