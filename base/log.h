/* A program's log: lines with a time and a level, to stderr or any file descriptor.
 *
 * Named logger_ because log_ belongs to storage/log. A logger is a value of its owner's, not a
 * global: two servers in one process may log to two places.
 */
#ifndef FL_BASE_LOG_H
#define FL_BASE_LOG_H

#include <faultline/status.h>

#include <stdatomic.h>
#include <stdbool.h>

/* The numbers are those of fl_options.log. */
enum logger_level {
    LOGGER_DEBUG = 0,
    LOGGER_INFO = 1,
    LOGGER_WARNING = 2,
    LOGGER_ERROR = 3,
};

struct logger {
    int fd;
    _Atomic int level_min; /* enum logger_level; may be changed while others write */
};

/* Owner: the caller keeps `fd` open for as long as the logger is used, and closes it. */
void logger_init(struct logger *logger, int fd, enum logger_level level_min);

void logger_level_set(struct logger *logger, enum logger_level level_min);

/* Whether a line of this level would be written: for callers whose arguments cost something. */
bool logger_wants(const struct logger *logger, enum logger_level level);

/* Write "2026-01-31T23:59:59.123Z warning <text>\n", in UTC, with one write(), so that lines of several
 * threads don't mix. Control characters in the text become '?': what a client sent can't forge a
 * line. A text over 1 KiB ends in "...". A line that can't be written is lost; errno is kept.
 * Threads: any. */
void logger_write(struct logger *logger, enum logger_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* "debug", "info", "warning" or "error", and back.
 * Errors: FL_INVALID  no level has that name */
const char *logger_level_name(enum logger_level level);
FL_NODISCARD fl_status logger_level_parse(const char *name, enum logger_level *out);

#endif
