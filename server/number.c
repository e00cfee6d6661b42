#include "server/number.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CURSOR_TEXT_MAX = 63 };

bool
number_parse_cursor(const void *text, size_t len, uint64_t *out)
{
    char buf[CURSOR_TEXT_MAX + 1];
    char *end = NULL;

    if (len > CURSOR_TEXT_MAX) {
        return false;
    }
    memcpy(buf, text, len);
    buf[len] = '\0';
    errno = 0;
    *out = strtoull(buf, &end, 10);
    return !isspace((unsigned char)buf[0]) && end == buf + len && errno != ERANGE;
}

bool
number_parse_real(const void *text, size_t len, long double *out)
{
    char buf[NUMBER_REAL_TEXT_MAX + 1];
    char *end = NULL;

    if (len == 0 || len > NUMBER_REAL_TEXT_MAX) {
        return false;
    }
    memcpy(buf, text, len);
    buf[len] = '\0';
    errno = 0;
    *out = strtold(buf, &end);
    if (isspace((unsigned char)buf[0]) || end != buf + len || isnan(*out)) {
        return false;
    }
    /* A denormal result also sets ERANGE; only overflow and a fall to zero lose the number. */
    return errno != ERANGE || (!isinf(*out) && fpclassify(*out) != FP_ZERO);
}

size_t
number_format_real(long double value, char *out)
{
    size_t len = (size_t)snprintf(out, NUMBER_REAL_CHARS_MAX, "%.17Lf", value);

    while (out[len - 1] == '0') {
        len--;
    }
    if (out[len - 1] == '.') {
        len--;
    }
    if (len == 2 && out[0] == '-' && out[1] == '0') {
        out[0] = '0';
        len = 1;
    }
    out[len] = '\0';
    return len;
}
