/* A trace as what it comes to: after each fence, and what else settles something, hashes of what media is guaranteed to
 * hold and of what loads see. Two recordings with the same digest have the same crash states up to the order of stores
 * between two fences. */
#ifndef FL_TESTS_CRASH_DIGEST_H
#define FL_TESTS_CRASH_DIGEST_H

#include "tests/crash/trace.h"
#include "tests/crash/workloads.h"

#include <stdio.h>

void digest_print(FILE *file, const struct workload *workload, const struct trace *trace);

#endif
