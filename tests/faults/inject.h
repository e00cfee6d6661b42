/* Calls that fail on purpose: the linker leads the program's own calls of allocation, of the file and of sockets
 * through this file (CMakeLists.txt), which lets the N-th of a kind fail, or it and all behind it.
 *
 * Only between inject_on() and inject_off() is anything counted or failed, so that a test's own calls go untouched.
 * Shared libraries call what they call. Threads: plan and switch by one thread; calls from any.
 */
#ifndef FL_TESTS_FAULTS_INJECT_H
#define FL_TESTS_FAULTS_INJECT_H

#include <stdbool.h>
#include <stddef.h>

enum inject_kind {
    INJECT_ALLOC, /* malloc, calloc, realloc, aligned_alloc, asprintf */
    INJECT_MMAP,
    INJECT_FALLOCATE, /* not punching */
    INJECT_PUNCH,
    INJECT_POPULATE, /* madvise for writing */
    INJECT_WRITE,    /* pwritev2 */
    INJECT_SYNC,     /* fsync, fdatasync */
    INJECT_TRUNCATE,
    INJECT_OPEN,   /* open, fopen */
    INJECT_STAT,   /* fstat, fstatfs */
    INJECT_LOCK,   /* flock */
    INJECT_RANDOM, /* getrandom */
    INJECT_EVENT,  /* eventfd, epoll_create1 */
    INJECT_THREAD, /* pthread_create */
    INJECT_RENAME, /* renameat2, unlink, chmod */
    INJECT_ACCEPT, /* accept4; on a ring the submission of it */
    INJECT_RECEIVE,
    INJECT_SEND,
    INJECT_WAIT,    /* epoll_wait, io_uring_submit and the like */
    INJECT_CONTROL, /* epoll_ctl, fcntl, setsockopt */
    INJECT_KINDS,
};

enum inject_how {
    INJECT_ONCE,
    INJECT_FROM_THERE, /* and all that follow */
    INJECT_SHORT,      /* write, receive, send: some bytes, one at least */
    INJECT_ALL_SHORT,
};

struct inject_plan {
    enum inject_kind kind;
    enum inject_how how;
    unsigned long nth; /* from 1; 0: none */
    int error;         /* errno */
};

const char *inject_name(enum inject_kind kind);

/* Counts from the start again. NULL: nothing fails. */
void inject_plan(const struct inject_plan *plan);
void inject_on(void);
void inject_off(void);
/* Calls of the plan's kind since inject_plan(), and how many of them were made to fail. */
unsigned long inject_calls(void);
unsigned long inject_failed(void);

/* Run X with failures. */
#define INJECTED(x) (inject_on(), inject_keep((int)(x)))
static inline int
inject_keep(int result)
{
    inject_off();
    return result;
}

#endif
