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
    unsigned steps; /* operations of the workload */
    uint64_t switches;
    uint64_t calls[MEM_MAP_CALLS]; /* of the mapping; what failed is among them */
    uint64_t copied_bytes, freed_blocks, segment_changes, expired;
};

struct record_options {
    const struct mem_map_failure *failure; /* NULL, or a call of the mapping that fails */
    const uint64_t *left_out;              /* as in struct driver */
    bool stepped;                          /* by recorder B: step.h */
};

/* Modes: PM_DIRECT, PM_STAGED. `options` may be NULL. */
void record_workload(struct record *record, const struct workload *workload, enum pm_mode mode,
                     uint64_t seed, const struct record_options *options);
void record_deinit(struct record *record);

#endif
