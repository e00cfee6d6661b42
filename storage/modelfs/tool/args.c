/* Command lines and words for people. */
#include "storage/modelfs/tool/tool.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

int
tool_usage(const struct tool_command *command, const char *format, ...)
{
    va_list args;

    fprintf(stderr, "faultline-modelfs %s: ", command->name);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\nTry: faultline-modelfs %s --help\n", command->name);
    return TOOL_USAGE;
}

int
tool_failed(const struct tool_command *command, fl_status status, const char *what)
{
    fprintf(stderr, "faultline-modelfs %s: %s: %s: %s\n", command->name, what,
            fl_status_name(status), fl_last_error());
    return TOOL_FAILED;
}

int
tool_printed(const struct tool_command *command, int result)
{
    if (fflush(stdout) != 0 || ferror(stdout) != 0) {
        fprintf(stderr, "faultline-modelfs %s: writing the output: %s\n", command->name,
                strerror(errno));
        return result == TOOL_DONE ? TOOL_FAILED : result;
    }
    return result;
}

int
tool_option(const struct tool_command *command, int argc, char **argv, const struct option *options,
            int *result)
{
    opterr = 0;
    const int option = getopt_long(argc, argv, ":h", options, NULL);

    switch (option) {
    case 'h':
        printf("Usage: faultline-modelfs %s %s\n\n%s", command->name, command->arguments,
               command->details);
        *result = tool_printed(command, TOOL_DONE);
        return TOOL_STOP;
    case '?':
        (void)tool_usage(command, "unknown option '%s'", argv[optind - 1]);
        return TOOL_STOP;
    case ':':
        (void)tool_usage(command, "%s needs a value", argv[optind - 1]);
        return TOOL_STOP;
    default:
        return option;
    }
}

bool
tool_plain(const struct tool_command *command, int argc, char **argv, int min, int max, int *result)
{
    static const struct option options[] = {TOOL_HELP, TOOL_END};

    *result = TOOL_USAGE;
    return tool_option(command, argc, argv, options, result) == -1 &&
           tool_arguments(command, argc, min, max);
}

bool
tool_arguments(const struct tool_command *command, int argc, int min, int max)
{
    const int left = argc - optind;

    if (left < min || (max >= 0 && left > max)) {
        (void)tool_usage(command, "wants %s", command->arguments);
        return false;
    }
    return true;
}

/* What stands behind the number: a power of 1024, 0 if it is no unit. */
static uint64_t
unit_of(const char *text)
{
    static const char letters[] = "KMGT";

    if (text[0] == '\0' || strcasecmp(text, "b") == 0) {
        return 1;
    }
    const char *letter = strchr(letters, toupper((unsigned char)text[0]));

    if (letter == NULL ||
        (text[1] != '\0' && strcasecmp(text + 1, "b") != 0 && strcasecmp(text + 1, "ib") != 0)) {
        return 0;
    }
    return UINT64_C(1) << (10 * (letter - letters + 1));
}

bool
tool_number(const struct tool_command *command, const char *what, const char *text, uint64_t *out)
{
    char *end = NULL;

    errno = 0;
    *out = isdigit((unsigned char)text[0]) ? strtoull(text, &end, 10) : 0;
    if (end == NULL || *end != '\0' || errno != 0) {
        (void)tool_usage(command, "%s is no number: '%s'", what, text);
        return false;
    }
    return true;
}

bool
tool_size(const struct tool_command *command, const char *what, const char *text, uint64_t *out)
{
    char *end = NULL;

    errno = 0;
    *out = isdigit((unsigned char)text[0]) ? strtoull(text, &end, 10) : 0;
    const uint64_t unit = end != NULL && errno == 0 ? unit_of(end) : 0;

    if (unit == 0 || *out > UINT64_MAX / unit) {
        (void)tool_usage(command, "%s is no number of bytes, such as 65536, 64K or 1G: '%s'", what,
                         text);
        return false;
    }
    *out *= unit;
    return true;
}

void
tool_json_string(const char *text)
{
    putchar('"');
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
        if (*p == '"' || *p == '\\') {
            printf("\\%c", *p);
        } else if (*p < 0x20 || *p >= 0x7f) {
            printf("\\u%04x", *p);
        } else {
            putchar(*p);
        }
    }
    putchar('"');
}

const char *
tool_bytes(uint64_t bytes, char out[TOOL_BYTES_TEXT])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    uint64_t unit = 1;
    size_t i = 0;

    while (i + 1 < sizeof(units) / sizeof(units[0]) && bytes / unit >= 1024) {
        unit *= 1024;
        i++;
    }
    if (bytes % unit == 0) {
        snprintf(out, TOOL_BYTES_TEXT, "%" PRIu64 " %s", bytes / unit, units[i]);
    } else {
        snprintf(out, TOOL_BYTES_TEXT, "%.1f %s", (double)bytes / (double)unit, units[i]);
    }
    return out;
}
