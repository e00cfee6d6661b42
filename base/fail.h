/* Failing with a reason: FL_FAIL records status, origin and text for fl_last_error(). */
#ifndef FL_BASE_FAIL_H
#define FL_BASE_FAIL_H

#include <faultline/status.h>

/* Record why and yield `status`, so that `return FL_FAIL(FL_INVALID, "...")` reads as one step.
 * Threads: any; touches only the thread-local text. */
#define FL_FAIL(status, ...) FL_FAIL_BY(fl_fail_at, status, __VA_ARGS__)

/* The same, with ": <strerror(errno)>" behind the text. */
#define FL_FAIL_ERRNO(status, ...) FL_FAIL_BY(fl_fail_errno_at, status, __VA_ARGS__)

/* The value is the caller's own `status`, not what a function returned: compilers and analyzers then know
 * that FL_FAIL(FL_IO, ...) isn't FL_OK. */
#define FL_FAIL_BY(function, status, ...)                                                          \
    ({                                                                                             \
        __attribute__((unused)) const fl_status fl_fail_status = (status);                         \
        function(__FILE__, __LINE__, __VA_ARGS__);                                                 \
        fl_fail_status;                                                                            \
    })

void fl_fail_at(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4), cold));
void fl_fail_errno_at(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4), cold));

/* A bug of ours, never the world's doing: print where and abort. Stays in release builds. */
#define FL_ASSERT(condition)                                                                       \
    do {                                                                                           \
        if (__builtin_expect(!(condition), 0)) {                                                   \
            fl_assert_failed(#condition, __FILE__, __LINE__);                                      \
        }                                                                                          \
    } while (0)

void fl_assert_failed(const char *condition, const char *file, int line)
    __attribute__((noreturn, cold));

#endif
