#include "tests/crash/hooks_libc.h"

#include "tests/crash/baton.h"
#include "tests/crash/watch.h"

#include <errno.h>
#include <string.h>

void *
crash_memcpy(void *dst, const void *src, size_t len)
{
    return crash_memmove(dst, src, len);
}

void *
crash_memmove(void *dst, const void *src, size_t len)
{
    if (len > 0) {
        watch_load(src, len);
        if (watch_inside(dst)) {
            watch_change_now(dst, len);
            memmove(dst, src, len);
            watch_stored(dst, len, WATCH_BULK);
        } else {
            memmove(dst, src, len);
        }
    }
    return dst;
}

void *
crash_memset(void *dst, int byte, size_t len)
{
    if (len > 0 && watch_inside(dst)) {
        watch_change_now(dst, len);
        memset(dst, byte, len);
        watch_stored(dst, len, WATCH_BULK);
        return dst;
    }
    return memset(dst, byte, len);
}

int
crash_memcmp(const void *a, const void *b, size_t len)
{
    if (len > 0) {
        watch_load(a, len);
        watch_load(b, len);
    }
    return memcmp(a, b, len);
}

int
crash_bcmp(const void *a, const void *b, size_t len)
{
    return crash_memcmp(a, b, len);
}

/* ---- locks ---- */

int
crash_mutex_lock(pthread_mutex_t *mutex)
{
    watch_settle();
    if (!baton_held()) {
        return pthread_mutex_lock(mutex);
    }
    baton_point();
    for (;;) {
        const int error = pthread_mutex_trylock(mutex);

        if (error != EBUSY) {
            return error;
        }
        baton_yield();
    }
}

int
crash_mutex_trylock(pthread_mutex_t *mutex)
{
    watch_settle();
    baton_point();
    return pthread_mutex_trylock(mutex);
}

int
crash_mutex_unlock(pthread_mutex_t *mutex)
{
    watch_settle();
    const int error = pthread_mutex_unlock(mutex);

    baton_point();
    return error;
}

int
crash_rwlock_rdlock(pthread_rwlock_t *lock)
{
    watch_settle();
    if (!baton_held()) {
        return pthread_rwlock_rdlock(lock);
    }
    baton_point();
    while (pthread_rwlock_tryrdlock(lock) == EBUSY) {
        baton_yield();
    }
    return 0;
}

int
crash_rwlock_wrlock(pthread_rwlock_t *lock)
{
    watch_settle();
    if (!baton_held()) {
        return pthread_rwlock_wrlock(lock);
    }
    baton_point();
    while (pthread_rwlock_trywrlock(lock) == EBUSY) {
        baton_yield();
    }
    return 0;
}

int
crash_rwlock_unlock(pthread_rwlock_t *lock)
{
    watch_settle();
    const int error = pthread_rwlock_unlock(lock);

    baton_point();
    return error;
}

int
crash_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
    watch_settle();
    if (!baton_held()) {
        return pthread_cond_wait(cond, mutex);
    }
    const int error = pthread_mutex_unlock(mutex);

    baton_wait(cond);
    return error != 0 ? error : crash_mutex_lock(mutex);
}

/* With a baton time stands still: it is a wait that may end without a cause. */
int
crash_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *end)
{
    watch_settle();
    if (!baton_held()) {
        return pthread_cond_timedwait(cond, mutex, end);
    }
    const int error = pthread_mutex_unlock(mutex);

    baton_yield();
    return error != 0 ? error : crash_mutex_lock(mutex);
}

int
crash_cond_signal(pthread_cond_t *cond)
{
    return crash_cond_broadcast(cond);
}

/* A signal wakes all: those who wait look again. */
int
crash_cond_broadcast(pthread_cond_t *cond)
{
    watch_settle();
    if (baton_held()) {
        baton_wake(cond);
        return 0;
    }
    return pthread_cond_broadcast(cond);
}

pthread_t
crash_self(void)
{
    enum { APART = 4096 };

    return (pthread_t)APART * (baton_held() ? baton_number() + 2 : 1);
}

int
crash_nanosleep(const struct timespec *wanted, struct timespec *left)
{
    watch_settle();
    if (!baton_held()) {
        return nanosleep(wanted, left);
    }
    baton_yield();
    return 0;
}

/* See hooks_flush.h, its only caller. */
void crash_copy_past_cache(void *dst, const void *src, size_t len);

void
crash_copy_past_cache(void *dst, const void *src, size_t len)
{
    watch_load(src, len);
    watch_change_now(dst, len);
    memcpy(dst, src, len);
    watch_stored(dst, len, WATCH_BULK | WATCH_PAST_CACHE);
}
