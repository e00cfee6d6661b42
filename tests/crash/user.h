/* A workload of a user's, loaded from a shared object: see crash_workload.h. */
#ifndef FL_TESTS_CRASH_USER_H
#define FL_TESTS_CRASH_USER_H

#include "tests/crash/check.h"
#include "tests/crash/crash_workload.h"
#include "tests/crash/record.h"

/* NULL: `why` says what is wrong with the file. It stays loaded. */
const struct crash_workload *user_load(const char *file, char *why, size_t why_size);

void user_record(struct record *record, const struct crash_workload *workload, enum pm_mode mode,
                 uint64_t seed);

/* What check_recover() is for our own workloads. */
bool user_check(const struct crash_workload *workload, struct image *image,
                const struct trace_mark *mark, char *why, size_t why_size);

#endif
