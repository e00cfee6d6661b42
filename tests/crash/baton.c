#include "tests/crash/baton.h"

#include "tests/lib/die.h"
#include "tests/lib/rng.h"

#include <semaphore.h>
#include <stddef.h>
#include <string.h>

_Thread_local bool baton_mine;
static _Thread_local unsigned my_number;

static struct {
    sem_t turn[BATON_THREADS_MAX];
    bool alive[BATON_THREADS_MAX];
    const void *waits[BATON_THREADS_MAX];
    unsigned count;
    unsigned every;
    struct rng rng;
    uint64_t switches;
    unsigned idle; /* yields in a row with nobody getting on */
} baton;

enum { IDLE_MAX = 1000000 };

void
baton_start(unsigned count, uint64_t seed, unsigned every)
{
    if (count == 0 || count > BATON_THREADS_MAX) {
        die("baton: %u threads", count);
    }
    memset(&baton, 0, sizeof(baton));
    baton.count = count;
    baton.every = every;
    baton.rng.state = seed;
    for (unsigned i = 0; i < count; i++) {
        if (sem_init(&baton.turn[i], 0, 0) != 0) {
            die_errno("sem_init");
        }
        baton.alive[i] = true;
    }
    (void)sem_post(&baton.turn[rng_below(&baton.rng, count)]);
}

void
baton_end(void)
{
    for (unsigned i = 0; i < baton.count; i++) {
        (void)sem_destroy(&baton.turn[i]);
    }
    baton.count = 0;
}

static void
turn_await(unsigned number)
{
    while (sem_wait(&baton.turn[number]) != 0) {
    }
}

void
baton_enter(unsigned number)
{
    my_number = number;
    turn_await(number);
    baton_mine = true;
}

/* Another thread that can run, or `count`. */
static unsigned
other_choose(void)
{
    unsigned ready[BATON_THREADS_MAX];
    unsigned n = 0;

    for (unsigned i = 0; i < baton.count; i++) {
        if (i != my_number && baton.alive[i] && baton.waits[i] == NULL) {
            ready[n++] = i;
        }
    }
    return n > 0 ? ready[rng_below(&baton.rng, n)] : baton.count;
}

static void
pass_to(unsigned next, bool come_back)
{
    const unsigned number = my_number;

    baton.switches++;
    (void)sem_post(&baton.turn[next]);
    if (come_back) {
        turn_await(number);
    }
}

void
baton_leave(void)
{
    baton.alive[my_number] = false;
    baton_mine = false;
    const unsigned next = other_choose();

    if (next < baton.count) {
        pass_to(next, false);
        return;
    }
    for (unsigned i = 0; i < baton.count; i++) {
        if (baton.alive[i]) {
            die("baton: thread %u waits for ever", i);
        }
    }
}

void
baton_point_slow(void)
{
    baton.idle = 0;
    if (rng_below(&baton.rng, baton.every) == 0) {
        const unsigned next = other_choose();

        if (next < baton.count) {
            pass_to(next, true);
        }
    }
}

void
baton_yield(void)
{
    const unsigned next = other_choose();

    if (!baton_held()) {
        return;
    }
    if (++baton.idle > IDLE_MAX) {
        die("baton: nobody gets on");
    }
    if (next < baton.count) {
        pass_to(next, true);
    }
}

void
baton_wait(const void *thing)
{
    baton.waits[my_number] = thing;
    const unsigned next = other_choose();

    if (next == baton.count) {
        die("baton: everybody waits");
    }
    pass_to(next, true);
}

void
baton_wake(const void *thing)
{
    for (unsigned i = 0; i < baton.count; i++) {
        if (baton.waits[i] == thing) {
            baton.waits[i] = NULL;
        }
    }
    baton_point();
}

unsigned
baton_number(void)
{
    return baton_held() ? my_number : 0;
}

uint64_t
baton_switches(void)
{
    return baton.switches;
}
