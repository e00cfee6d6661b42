#include "tests/faults/inject.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* The plan in atomics: a store's own threads may call while another one is made. */
static struct {
    atomic_int kind, how, error;
    atomic_ulong nth;
    atomic_bool on;
    atomic_ulong calls, failed;
} inject;

static const char *const names[INJECT_KINDS] = {
    [INJECT_ALLOC] = "alloc",   [INJECT_MMAP] = "mmap",         [INJECT_FALLOCATE] = "fallocate",
    [INJECT_PUNCH] = "punch",   [INJECT_POPULATE] = "populate", [INJECT_WRITE] = "write",
    [INJECT_SYNC] = "sync",     [INJECT_TRUNCATE] = "truncate", [INJECT_OPEN] = "open",
    [INJECT_STAT] = "stat",     [INJECT_LOCK] = "lock",         [INJECT_RANDOM] = "random",
    [INJECT_EVENT] = "event",   [INJECT_THREAD] = "thread",     [INJECT_RENAME] = "rename",
    [INJECT_ACCEPT] = "accept", [INJECT_RECEIVE] = "receive",   [INJECT_SEND] = "send",
    [INJECT_WAIT] = "wait",     [INJECT_CONTROL] = "control",
};

const char *
inject_name(enum inject_kind kind)
{
    return names[kind];
}

void
inject_plan(const struct inject_plan *plan)
{
    static const struct inject_plan none;

    plan = plan != NULL ? plan : &none;
    atomic_store(&inject.nth, 0);
    atomic_store(&inject.kind, (int)plan->kind);
    atomic_store(&inject.how, (int)plan->how);
    atomic_store(&inject.error, plan->error);
    atomic_store(&inject.nth, plan->nth);
    atomic_store(&inject.calls, 0);
    atomic_store(&inject.failed, 0);
}

void
inject_on(void)
{
    atomic_store(&inject.on, true);
}

void
inject_off(void)
{
    atomic_store(&inject.on, false);
}

unsigned long
inject_calls(void)
{
    return atomic_load(&inject.calls);
}

unsigned long
inject_failed(void)
{
    return atomic_load(&inject.failed);
}

/* Is it this call's turn? */
static bool
due(enum inject_kind kind)
{
    const unsigned long nth = atomic_load(&inject.nth);

    if (!atomic_load(&inject.on) || nth == 0 || atomic_load(&inject.kind) != (int)kind) {
        return false;
    }
    const int how = atomic_load(&inject.how);
    const unsigned long call = atomic_fetch_add(&inject.calls, 1) + 1;
    const bool on = how == INJECT_ONCE || how == INJECT_SHORT ? call == nth : call >= nth;

    if (on) {
        atomic_fetch_add(&inject.failed, 1);
    }
    return on;
}

static bool
fails(enum inject_kind kind)
{
    if (!due(kind)) {
        return false;
    }
    errno = atomic_load(&inject.error);
    return true;
}

static bool
is_short(void)
{
    const int how = atomic_load(&inject.how);

    return how == INJECT_SHORT || how == INJECT_ALL_SHORT;
}

/* A call that only fails: made if it is not its turn. */
#define WRAP(kind, type, name, params, args, failure)                                              \
    type __real_##name params;                                                                     \
    type __wrap_##name params;                                                                     \
    type __wrap_##name params                                                                      \
    {                                                                                              \
        return fails(kind) ? (failure) : __real_##name args;                                       \
    }

WRAP(INJECT_ALLOC, void *, malloc, (size_t bytes), (bytes), NULL)
WRAP(INJECT_ALLOC, void *, calloc, (size_t count, size_t bytes), (count, bytes), NULL)
WRAP(INJECT_ALLOC, void *, realloc, (void *old, size_t bytes), (old, bytes), NULL)
WRAP(INJECT_ALLOC, void *, aligned_alloc, (size_t align, size_t bytes), (align, bytes), NULL)
WRAP(INJECT_ALLOC, char *, strdup, (const char *text), (text), NULL)
WRAP(INJECT_ALLOC, char *, strndup, (const char *text, size_t len), (text, len), NULL)
WRAP(INJECT_MMAP, void *, mmap, (void *at, size_t len, int prot, int flags, int fd, off_t off),
     (at, len, prot, flags, fd, off), MAP_FAILED)
WRAP(INJECT_SYNC, int, fsync, (int fd), (fd), -1)
WRAP(INJECT_SYNC, int, fdatasync, (int fd), (fd), -1)
WRAP(INJECT_TRUNCATE, int, ftruncate, (int fd, off_t len), (fd, len), -1)
WRAP(INJECT_OPEN, FILE *, fopen, (const char *path, const char *mode), (path, mode), NULL)
WRAP(INJECT_STAT, int, fstat, (int fd, struct stat *st), (fd, st), -1)
WRAP(INJECT_STAT, int, fstatfs, (int fd, struct statfs *st), (fd, st), -1)
WRAP(INJECT_LOCK, int, flock, (int fd, int operation), (fd, operation), -1)
WRAP(INJECT_RANDOM, ssize_t, getrandom, (void *buf, size_t len, unsigned flags), (buf, len, flags),
     -1)
WRAP(INJECT_EVENT, int, eventfd, (unsigned initial, int flags), (initial, flags), -1)
WRAP(INJECT_EVENT, int, epoll_create1, (int flags), (flags), -1)
WRAP(INJECT_RENAME, int, renameat2,
     (int from_dir, const char *from, int to_dir, const char *to, unsigned flags),
     (from_dir, from, to_dir, to, flags), -1)
WRAP(INJECT_RENAME, int, chmod, (const char *path, mode_t mode), (path, mode), -1)
WRAP(INJECT_ACCEPT, int, accept4, (int fd, struct sockaddr *at, socklen_t *len, int flags),
     (fd, at, len, flags), -1)
WRAP(INJECT_WAIT, int, epoll_wait, (int fd, struct epoll_event *events, int count, int timeout),
     (fd, events, count, timeout), -1)
WRAP(INJECT_CONTROL, int, epoll_ctl, (int fd, int op, int of, struct epoll_event *event),
     (fd, op, of, event), -1)
WRAP(INJECT_CONTROL, int, setsockopt,
     (int fd, int level, int name, const void *value, socklen_t len), (fd, level, name, value, len),
     -1)

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*main)(void *),
                          void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*main)(void *),
                          void *arg);
int
__wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*main)(void *),
                      void *arg)
{
    return due(INJECT_THREAD) ? atomic_load(&inject.error)
                              : __real_pthread_create(thread, attr, main, arg);
}

int __wrap_asprintf(char **out, const char *format, ...) __attribute__((format(printf, 2, 3)));
int
__wrap_asprintf(char **out, const char *format, ...)
{
    va_list args;

    if (fails(INJECT_ALLOC)) {
        return -1;
    }
    va_start(args, format);
    const int len = vasprintf(out, format, args);

    va_end(args);
    return len;
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int
__wrap_open(const char *path, int flags, ...)
{
    va_list args;

    va_start(args, flags);
    const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(args, mode_t) : 0;

    va_end(args);
    return fails(INJECT_OPEN) ? -1 : __real_open(path, flags, mode);
}

int __real_fallocate(int fd, int mode, off_t off, off_t len);
int __wrap_fallocate(int fd, int mode, off_t off, off_t len);
int
__wrap_fallocate(int fd, int mode, off_t off, off_t len)
{
    const bool punch = (mode & FALLOC_FL_PUNCH_HOLE) != 0;

    return fails(punch ? INJECT_PUNCH : INJECT_FALLOCATE) ? -1
                                                          : __real_fallocate(fd, mode, off, len);
}

int __real_madvise(void *at, size_t len, int advice);
int __wrap_madvise(void *at, size_t len, int advice);
int
__wrap_madvise(void *at, size_t len, int advice)
{
    return advice == MADV_POPULATE_WRITE && fails(INJECT_POPULATE)
               ? -1
               : __real_madvise(at, len, advice);
}

/* ---- that can be short ---- */

static size_t
some_of(size_t len)
{
    return len > 1 ? len / 2 : len;
}

ssize_t __real_pwritev2(int fd, const struct iovec *vec, int count, off_t off, int flags);
ssize_t __wrap_pwritev2(int fd, const struct iovec *vec, int count, off_t off, int flags);
ssize_t
__wrap_pwritev2(int fd, const struct iovec *vec, int count, off_t off, int flags)
{
    if (!due(INJECT_WRITE)) {
        return __real_pwritev2(fd, vec, count, off, flags);
    }
    if (is_short()) {
        const struct iovec part = {vec[0].iov_base, some_of(vec[0].iov_len)};

        return __real_pwritev2(fd, &part, 1, off, flags);
    }
    errno = atomic_load(&inject.error);
    return -1;
}

ssize_t __real_recv(int fd, void *buf, size_t len, int flags);
ssize_t __wrap_recv(int fd, void *buf, size_t len, int flags);
ssize_t
__wrap_recv(int fd, void *buf, size_t len, int flags)
{
    if (!due(INJECT_RECEIVE)) {
        return __real_recv(fd, buf, len, flags);
    }
    if (is_short()) {
        return __real_recv(fd, buf, 1, flags);
    }
    errno = atomic_load(&inject.error);
    return -1;
}

ssize_t __real_send(int fd, const void *buf, size_t len, int flags);
ssize_t __wrap_send(int fd, const void *buf, size_t len, int flags);
ssize_t
__wrap_send(int fd, const void *buf, size_t len, int flags)
{
    if (!due(INJECT_SEND)) {
        return __real_send(fd, buf, len, flags);
    }
    if (is_short()) {
        return __real_send(fd, buf, some_of(len), flags);
    }
    errno = atomic_load(&inject.error);
    return -1;
}

ssize_t __real_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t
__wrap_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    if (!due(INJECT_SEND)) {
        return __real_sendmsg(fd, msg, flags);
    }
    if (is_short()) {
        return __real_send(fd, msg->msg_iov[0].iov_base, some_of(msg->msg_iov[0].iov_len), flags);
    }
    errno = atomic_load(&inject.error);
    return -1;
}

/* ---- the ring ---- */

/* A submission that is to fail goes for a descriptor that isn't there: EBADF comes back by the ring as any error. A
 * short send asks for less. */
static void
spoil(struct io_uring_sqe *sqe)
{
    switch (sqe->opcode) {
    case IORING_OP_ACCEPT:
        if (due(INJECT_ACCEPT)) {
            sqe->fd = -1;
        }
        break;
    case IORING_OP_RECV:
        if (due(INJECT_RECEIVE)) {
            sqe->fd = is_short() ? sqe->fd : -1;
        }
        break;
    case IORING_OP_SEND:
    case IORING_OP_SENDMSG:
        if (!due(INJECT_SEND)) {
            break;
        }
        if (!is_short()) {
            sqe->fd = -1;
        } else if (sqe->opcode == IORING_OP_SEND) {
            sqe->len = (unsigned)some_of(sqe->len);
        } else {
            struct msghdr *msg = (struct msghdr *)(uintptr_t)sqe->addr;

            msg->msg_iovlen = 1;
            msg->msg_iov[0].iov_len = some_of(msg->msg_iov[0].iov_len);
        }
        break;
    default:
        break;
    }
}

static void
spoil_all(struct io_uring *ring)
{
    const struct io_uring_sq *sq = &ring->sq;

    for (unsigned i = sq->sqe_head; atomic_load(&inject.on) && i != sq->sqe_tail; i++) {
        spoil(&sq->sqes[i & sq->ring_mask]);
    }
}

int __real_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring);
int
__wrap_io_uring_submit(struct io_uring *ring)
{
    if (due(INJECT_WAIT)) {
        return -atomic_load(&inject.error);
    }
    spoil_all(ring);
    return __real_io_uring_submit(ring);
}

int __real_io_uring_submit_and_get_events(struct io_uring *ring);
int __wrap_io_uring_submit_and_get_events(struct io_uring *ring);
int
__wrap_io_uring_submit_and_get_events(struct io_uring *ring)
{
    if (due(INJECT_WAIT)) {
        return -atomic_load(&inject.error);
    }
    spoil_all(ring);
    return __real_io_uring_submit_and_get_events(ring);
}

int __real_io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe,
                                            unsigned count, struct __kernel_timespec *time,
                                            sigset_t *mask);
int __wrap_io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe,
                                            unsigned count, struct __kernel_timespec *time,
                                            sigset_t *mask);
int
__wrap_io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe,
                                        unsigned count, struct __kernel_timespec *time,
                                        sigset_t *mask)
{
    if (due(INJECT_WAIT)) {
        return -atomic_load(&inject.error);
    }
    spoil_all(ring);
    return __real_io_uring_submit_and_wait_timeout(ring, cqe, count, time, mask);
}
