/* Integers in decimal, as the protocol spells them. */
#ifndef FL_PROTO_DECIMAL_H
#define FL_PROTO_DECIMAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    DECIMAL_I64_CHARS_MAX = 20,    /* "-9223372036854775808" */
    DECIMAL_DOUBLE_CHARS_MAX = 32, /* "-2.2250738585072014e-308" and a NUL */
};

/* The whole text as a signed 64-bit integer in its one canonical spelling: no spaces, no plus sign,
 * no leading zeros, no "-0". False otherwise, or out of range. Threads: any. */
bool decimal_parse_i64(const char *text, size_t len, int64_t *out);

/* Write `value` to `out`, which has room for DECIMAL_I64_CHARS_MAX; returns its length. Not
 * 0-terminated. */
size_t decimal_format_u64(uint64_t value, char *out);
size_t decimal_format_i64(int64_t value, char *out);

/* The shortest text that reads back as `value`, "inf", "-inf" or "nan", whatever the process's
 * locale. `out` has room for DECIMAL_DOUBLE_CHARS_MAX; returns its length, 0-terminated. */
size_t decimal_format_double(double value, char *out);

/* The whole text as a double; "inf", "-inf" and "nan" included, leading spaces and hexadecimal not.
 * `len` up to 255. */
bool decimal_parse_double(const char *text, size_t len, double *out);

#endif
