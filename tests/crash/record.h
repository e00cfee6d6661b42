/* A workload's trace, taken on a new store over memory. */
#ifndef FL_TESTS_CRASH_RECORD_H
#define FL_TESTS_CRASH_RECORD_H

#include "tests/crash/workloads.h"

struct record {
    struct trace trace;
    struct mempool mempool;
    bool wrong; /* the run itself went wrong; `why` */
    char why[256];
    unsigned no_space;
    uint64_t copied_bytes, freed_blocks, segment_changes, expired;
};

/* Kinds: PM_HOOKED, PM_STAGED. `failure`: NULL, or a call of the mapping that fails. */
void record_workload(struct record *record, const struct workload *workload, enum pm_mode mode,
                     uint64_t seed, const struct mem_map_failure *failure);
void record_deinit(struct record *record);

#endif
