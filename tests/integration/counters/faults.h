/* Page faults of one thread with their addresses, as the kernel counts them: an account that the store has no part
 * in. */
#ifndef FL_TESTS_INTEGRATION_COUNTERS_FAULTS_H
#define FL_TESTS_INTEGRATION_COUNTERS_FAULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct faults {
    int fd;
    void *ring;
    uint64_t *addresses;
    size_t count;  /* addresses kept */
    uint64_t lost; /* faults without one: the ring was full, or there was no room to keep it */
};

/* Count from now on for thread `tid` of any process (0: the calling one). False, with errno set: the kernel
 * doesn't allow it. */
bool faults_open(struct faults *faults, pid_t tid);
void faults_close(struct faults *faults);

/* Take what has happened out of the ring. Call it every few thousand faults. */
void faults_take(struct faults *faults);

/* How many of those taken lie inside a mapping that process `pid` now has of the file `path`. *bytes: how
 * large these mappings are together. */
uint64_t faults_inside(const struct faults *faults, pid_t pid, const char *path, uint64_t *bytes);

#endif
