#include "base/fail.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FAIL_TEXT_BYTES = 512 };

/* libfaultline and libfaultline-client both contain this file. What they export of it is weak, so that
 * a program that links both, statically or not, has one text and one set of names. */
#define FAIL_SHARED FL_API __attribute__((weak))

FAIL_SHARED _Thread_local char fl_last_error_text[FAIL_TEXT_BYTES];

static const char *
base_name(const char *file)
{
    const char *slash = strrchr(file, '/');

    return slash != NULL ? slash + 1 : file;
}

static void __attribute__((format(printf, 3, 0)))
fail_format(const char *file, int line, const char *format, va_list args)
{
    char text[FAIL_TEXT_BYTES - 64];

    vsnprintf(text, sizeof(text), format, args);
    snprintf(fl_last_error_text, sizeof(fl_last_error_text), "%s (%s:%d)", text, base_name(file),
             line);
}

void
fl_fail_at(const char *file, int line, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fail_format(file, line, format, args);
    va_end(args);
}

void
fl_fail_errno_at(const char *file, int line, const char *format, ...)
{
    const int saved = errno;
    const char *why = strerrordesc_np(saved); /* NULL for a number the C library doesn't know */
    char text[FAIL_TEXT_BYTES - 128];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (why != NULL) {
        fl_fail_at(file, line, "%s: %s", text, why);
    } else {
        fl_fail_at(file, line, "%s: errno %d", text, saved);
    }
    errno = saved;
}

void
fl_assert_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "faultline: assertion failed: %s (%s:%d)\n", condition, file, line);
    abort();
}

FAIL_SHARED const char *
fl_last_error(void)
{
    return fl_last_error_text;
}

FAIL_SHARED const char *
fl_status_name(fl_status status)
{
    static const char *const names[] = {
        [FL_OK] = "FL_OK",
        [FL_NOT_FOUND] = "FL_NOT_FOUND",
        [FL_EXISTS] = "FL_EXISTS",
        [FL_CONFLICT] = "FL_CONFLICT",
        [FL_INVALID] = "FL_INVALID",
        [FL_TOO_LARGE] = "FL_TOO_LARGE",
        [FL_NO_SPACE] = "FL_NO_SPACE",
        [FL_NO_MEMORY] = "FL_NO_MEMORY",
        [FL_IO] = "FL_IO",
        [FL_CORRUPT] = "FL_CORRUPT",
        [FL_NOT_GRANTED] = "FL_NOT_GRANTED",
        [FL_BUSY] = "FL_BUSY",
        [FL_READ_ONLY] = "FL_READ_ONLY",
        [FL_NOT_SUPPORTED] = "FL_NOT_SUPPORTED",
        [FL_VERSION] = "FL_VERSION",
        [FL_END] = "FL_END",
        [FL_AGAIN] = "FL_AGAIN",
        [FL_CLOSED] = "FL_CLOSED",
        [FL_PROTOCOL] = "FL_PROTOCOL",
    };
    const size_t i = (size_t)status;

    return i < sizeof(names) / sizeof(names[0]) && names[i] != NULL ? names[i] : "FL_?";
}
