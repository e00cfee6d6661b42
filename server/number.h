/* Numbers as Redis reads and writes them. */
#ifndef FL_SERVER_NUMBER_H
#define FL_SERVER_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    NUMBER_I64_CHARS_MAX = 21,    /* "-9223372036854775808" and room for a NUL */
    NUMBER_REAL_CHARS_MAX = 5120, /* the widest long double with 17 decimals, and a NUL */
    NUMBER_REAL_TEXT_MAX = 255,   /* a longer text is not taken as a real number */
};

/* The whole text as a signed 64-bit integer in its one canonical spelling: no spaces, no plus sign, no
 * leading zeros, no "-0". False otherwise, or out of range. Threads: any. */
bool number_parse_i64(const void *text, size_t len, int64_t *out);

/* The same for an unsigned integer: SCAN's cursors. Takes what strtoull() takes but a leading
 * space, as Redis does: a sign and leading zeros are let through. */
bool number_parse_cursor(const void *text, size_t len, uint64_t *out);

/* Write `value` in decimal to `out`, which has room for NUMBER_I64_CHARS_MAX; returns its length. */
size_t number_format_i64(int64_t value, char *out);

/* The whole text as a real number: what strtold() takes but NaN, leading spaces and what is out of
 * range. "inf" and hexadecimal are let through, as in Redis. */
bool number_parse_real(const void *text, size_t len, long double *out);

/* Write a finite `value` with up to 17 decimals and no trailing zeros ("3.1", "10", "0") to `out`,
 * which has room for NUMBER_REAL_CHARS_MAX; returns its length. */
size_t number_format_real(long double value, char *out);

#endif
