/* The client's deadlines: milliseconds of the monotonic clock, < 0 for never. */
#ifndef FL_CLIENT_CLOCK_H
#define FL_CLIENT_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline int64_t
client_clock_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static inline int64_t
client_deadline_ms(int64_t timeout_ms)
{
    const int64_t now_ms = client_clock_ms();

    if (timeout_ms < 0 || timeout_ms > INT64_MAX - now_ms) {
        return -1;
    }
    return now_ms + timeout_ms;
}

/* What is left until the deadline: 0 once it has passed, < 0 if there is none. */
static inline int64_t
client_deadline_left_ms(int64_t deadline_ms)
{
    if (deadline_ms < 0) {
        return -1;
    }
    const int64_t left_ms = deadline_ms - client_clock_ms();

    return left_ms > 0 ? left_ms : 0;
}

#endif
