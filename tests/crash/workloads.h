/* Short runs of operations that between them reach every step of the storage, on geometries so small that each is
 * near. */
#ifndef FL_TESTS_CRASH_WORKLOADS_H
#define FL_TESTS_CRASH_WORKLOADS_H

#include "tests/crash/driver.h"

struct workload {
    const char *name;
    struct driver_geometry geometry;
    void (*run)(struct driver *driver, uint64_t seed); /* from an open store to a closed one */
    bool threads;                                      /* the seed is a schedule */
    const char *what;                                  /* for --help */
};

extern const struct workload workloads[];
extern const unsigned workloads_count;

/* threads.c */
void run_writers(struct driver *driver, uint64_t seed);
void run_readers(struct driver *driver, uint64_t seed);
void run_beside_cleaner(struct driver *driver, uint64_t seed);
void run_segments_beside(struct driver *driver, uint64_t seed);
void run_blobs_beside(struct driver *driver, uint64_t seed);

const struct workload *workload_find(const char *name);

#endif
