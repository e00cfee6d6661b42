/* The two clocks: one to measure with, one that tells what time it is. */
#ifndef FL_BASE_CLOCK_H
#define FL_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

enum { CLOCK_NS_PER_MS = 1000000, CLOCK_MS_PER_S = 1000, CLOCK_NS_PER_S = 1000000000 };

/* Nanoseconds since some moment before the process began; never goes back. No system call.
 * Threads: any. */
static inline uint64_t
clock_mono_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * CLOCK_NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* Milliseconds since 1970 (UTC). It may jump either way: what must not go back keeps its own mark.
 * Threads: any. */
static inline uint64_t
clock_wall_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * CLOCK_MS_PER_S + (uint64_t)ts.tv_nsec / CLOCK_NS_PER_MS;
}

#endif
