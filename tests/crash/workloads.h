/* Short runs of operations that between them reach every step of the storage, on geometries so small that each is
 * near. */
#ifndef FL_TESTS_CRASH_WORKLOADS_H
#define FL_TESTS_CRASH_WORKLOADS_H

#include "tests/crash/driver.h"

struct workload {
    const char *name;
    struct driver_geometry geometry;
    void (*run)(struct driver *driver, uint64_t seed); /* from an open store to a closed one */
};

extern const struct workload workloads[];
extern const unsigned workloads_count;

const struct workload *workload_find(const char *name);

#endif
