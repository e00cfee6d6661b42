/* What the instrumented objects call instead of the C library's: cmake/crash glue renames the symbols in them. */
#ifndef FL_TESTS_CRASH_HOOKS_LIBC_H
#define FL_TESTS_CRASH_HOOKS_LIBC_H

#include <pthread.h>
#include <stddef.h>
#include <time.h>

void *crash_memcpy(void *dst, const void *src, size_t len);
void *crash_memmove(void *dst, const void *src, size_t len);
void *crash_memset(void *dst, int byte, size_t len);
int crash_memcmp(const void *a, const void *b, size_t len);
int crash_bcmp(const void *a, const void *b, size_t len);

/* Locks and waits: with a baton they never block the thread that holds it. */
int crash_mutex_lock(pthread_mutex_t *mutex);
int crash_mutex_trylock(pthread_mutex_t *mutex);
int crash_mutex_unlock(pthread_mutex_t *mutex);
int crash_rwlock_rdlock(pthread_rwlock_t *lock);
int crash_rwlock_wrlock(pthread_rwlock_t *lock);
int crash_rwlock_unlock(pthread_rwlock_t *lock);
int crash_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex);
int crash_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *end);
int crash_cond_signal(pthread_cond_t *cond);
int crash_cond_broadcast(pthread_cond_t *cond);
/* The same number for the same thread of every run: places in tables are taken by it. */
pthread_t crash_self(void);
int crash_nanosleep(const struct timespec *wanted, struct timespec *left);

#endif
