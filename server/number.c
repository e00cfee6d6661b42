#include "server/number.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CURSOR_TEXT_MAX = 63 };

bool
number_parse_i64(const void *text, size_t len, int64_t *out)
{
    const char *ptr = text;
    const bool negative = len > 0 && ptr[0] == '-';
    const uint64_t magnitude_max = (uint64_t)INT64_MAX + (negative ? 1 : 0);
    uint64_t magnitude = 0;

    ptr += negative;
    len -= negative;
    if (len == 1 && ptr[0] == '0' && !negative) {
        *out = 0;
        return true;
    }
    if (len == 0 || len >= NUMBER_I64_CHARS_MAX || ptr[0] == '0') {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if (ptr[i] < '0' || ptr[i] > '9') {
            return false;
        }
        const uint64_t digit = (uint64_t)(ptr[i] - '0');

        if (magnitude > (magnitude_max - digit) / 10) {
            return false;
        }
        magnitude = magnitude * 10 + digit;
    }
    *out = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return true;
}

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

size_t
number_format_i64(int64_t value, char *out)
{
    char digits[NUMBER_I64_CHARS_MAX];
    uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    size_t at = sizeof(digits);
    size_t len;

    do {
        digits[--at] = (char)('0' + magnitude % 10);
        magnitude /= 10;
    } while (magnitude > 0);
    if (value < 0) {
        digits[--at] = '-';
    }
    len = sizeof(digits) - at;
    memcpy(out, digits + at, len);
    return len;
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
