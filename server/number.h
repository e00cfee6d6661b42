/* Numbers as Redis reads and writes them, besides those of proto/decimal.h. */
#ifndef FL_SERVER_NUMBER_H
#define FL_SERVER_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    NUMBER_REAL_CHARS_MAX = 5120, /* the widest long double with 17 decimals, and a NUL */
    NUMBER_REAL_TEXT_MAX = 5119,  /* a longer text is not taken as a real number */
};

/* The whole text as SCAN's cursor. Takes what strtoull() takes but a leading space, as Redis does: a sign and
 * leading zeros are let through. False: it isn't a number, or out of range. */
bool number_parse_cursor(const void *text, size_t len, uint64_t *out);

/* The whole text as a real number: what strtold() takes but NaN, leading spaces and what is out of
 * range. "inf" and hexadecimal are let through, as in Redis. */
bool number_parse_real(const void *text, size_t len, long double *out);

/* Write a finite `value` with up to 17 decimals and no trailing zeros ("3.1", "10", "0") to `out`,
 * which has room for NUMBER_REAL_CHARS_MAX; returns its length. */
size_t number_format_real(long double value, char *out);

#endif
