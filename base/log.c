#include "base/log.h"

#include "base/clock.h"
#include "base/fail.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LOG_TEXT_BYTES = 1024, LOG_PREFIX_BYTES = 64, LOG_LEVELS_COUNT = LOGGER_ERROR + 1 };

void
logger_init(struct logger *logger, int fd, enum logger_level level_min)
{
    logger->fd = fd;
    atomic_init(&logger->level_min, (int)level_min);
}

void
logger_level_set(struct logger *logger, enum logger_level level_min)
{
    atomic_store_explicit(&logger->level_min, (int)level_min, memory_order_relaxed);
}

bool
logger_wants(const struct logger *logger, enum logger_level level)
{
    return (int)level >= atomic_load_explicit(&logger->level_min, memory_order_relaxed);
}

static size_t
log_prefix(char *out, enum logger_level level)
{
    const uint64_t now_ms = clock_wall_ms();
    const time_t now_s = (time_t)(now_ms / CLOCK_MS_PER_S);
    struct tm tm;

    gmtime_r(&now_s, &tm);
    const size_t len = strftime(out, LOG_PREFIX_BYTES, "%Y-%m-%dT%H:%M:%S", &tm);

    return len + (size_t)snprintf(out + len, LOG_PREFIX_BYTES - len, ".%03uZ %s ",
                                  (unsigned)(now_ms % CLOCK_MS_PER_S), logger_level_name(level));
}

void
logger_write(struct logger *logger, enum logger_level level, const char *format, ...)
{
    char line[LOG_PREFIX_BYTES + LOG_TEXT_BYTES + 1];
    const int saved = errno;
    va_list args;

    if (!logger_wants(logger, level)) {
        return;
    }
    char *text = line + log_prefix(line, level);

    errno = saved; /* for a %m in the format */
    va_start(args, format);
    const int formatted = vsnprintf(text, LOG_TEXT_BYTES, format, args);
    va_end(args);
    size_t len = formatted > 0 ? (size_t)formatted : 0;

    if (len >= LOG_TEXT_BYTES) {
        len = LOG_TEXT_BYTES - 1;
        memcpy(text + len - 3, "...", 3);
    }
    for (size_t i = 0; i < len; i++) {
        const unsigned char c = (unsigned char)text[i];

        if (c < 0x20 || c == 0x7F) {
            text[i] = '?';
        }
    }
    text[len] = '\n';
    ssize_t written;

    do {
        written = write(logger->fd, line, (size_t)(text - line) + len + 1);
    } while (written < 0 && errno == EINTR);
    errno = saved;
}

static const char *const level_names[LOG_LEVELS_COUNT] = {
    [LOGGER_DEBUG] = "debug",
    [LOGGER_INFO] = "info",
    [LOGGER_WARNING] = "warning",
    [LOGGER_ERROR] = "error",
};

const char *
logger_level_name(enum logger_level level)
{
    FL_ASSERT((unsigned)level < LOG_LEVELS_COUNT);
    return level_names[level];
}

fl_status
logger_level_parse(const char *name, enum logger_level *out)
{
    for (int i = 0; i < LOG_LEVELS_COUNT; i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *out = (enum logger_level)i;
            return FL_OK;
        }
    }
    return FL_FAIL(FL_INVALID, "no log level '%s': debug, info, warning or error", name);
}
