/* One thread runs at a time, and another takes over only where instrumented code touches the file, an atomic or a
 * lock: so a run of several threads is a function of its seed.
 *
 * Invariants: between baton_start() and baton_end() exactly one of the threads that have entered runs. A switch is
 * possible only in baton_point(), baton_yield() and baton_wait(). Without a baton all of these do nothing.
 */
#ifndef FL_TESTS_CRASH_BATON_H
#define FL_TESTS_CRASH_BATON_H

#include <stdbool.h>
#include <stdint.h>

enum { BATON_THREADS_MAX = 8 };

/* `count` threads will enter; on the average every `every`-th point switches. */
void baton_start(unsigned count, uint64_t seed, unsigned every);
void baton_end(void);

/* In each thread, numbered from 0: wait for the turn; give it up for good. */
void baton_enter(unsigned number);
void baton_leave(void);

extern _Thread_local bool baton_mine; /* for baton_held() */

static inline bool
baton_held(void)
{
    return baton_mine;
}

void baton_point_slow(void);

static inline void
baton_point(void)
{
    if (baton_held()) {
        baton_point_slow();
    }
}

/* Let another run, if there is one. */
void baton_yield(void);

/* Don't run before baton_wake() of the same thing. Nobody left who could: the process ends, and says so. */
void baton_wait(const void *thing);
void baton_wake(const void *thing);

/* Number of the thread that holds the baton, 0 without one. */
unsigned baton_number(void);
uint64_t baton_switches(void);

#endif
