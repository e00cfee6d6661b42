#include "proto/decimal.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DOUBLE_TEXT_MAX = 255 };

static const char digit_pairs[201] = "00010203040506070809101112131415161718192021222324"
                                     "25262728293031323334353637383940414243444546474849"
                                     "50515253545556575859606162636465666768697071727374"
                                     "75767778798081828384858687888990919293949596979899";

bool
decimal_parse_i64(const char *text, size_t len, int64_t *out)
{
    const bool negative = len > 0 && text[0] == '-';
    const char *digits = text + negative;
    const size_t digits_count = len - negative;
    uint64_t value = 0;

    if (digits_count == 0 || digits_count > DECIMAL_I64_CHARS_MAX - 1) {
        return false;
    }
    if (digits[0] == '0') {
        *out = 0;
        return digits_count == 1 && !negative;
    }
    for (size_t i = 0; i < digits_count; i++) {
        const unsigned digit = (unsigned)(unsigned char)digits[i] - '0';

        if (digit > 9) {
            return false;
        }
        value = value * 10 + digit; /* 19 digits always fit */
    }
    if (value > (uint64_t)INT64_MAX + negative) {
        return false;
    }
    *out = negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}

size_t
decimal_format_u64(uint64_t value, char *out)
{
    char text[DECIMAL_I64_CHARS_MAX];
    size_t at = sizeof(text);

    while (value >= 100) {
        at -= 2;
        memcpy(text + at, digit_pairs + value % 100 * 2, 2);
        value /= 100;
    }
    if (value >= 10) {
        at -= 2;
        memcpy(text + at, digit_pairs + value * 2, 2);
    } else {
        text[--at] = (char)('0' + value);
    }
    memcpy(out, text + at, sizeof(text) - at);
    return sizeof(text) - at;
}

size_t
decimal_format_i64(int64_t value, char *out)
{
    if (value >= 0) {
        return decimal_format_u64((uint64_t)value, out);
    }
    *out = '-';
    return 1 + decimal_format_u64(0 - (uint64_t)value, out + 1);
}

/* glibc's C locale is a constant: this allocates nothing and needs no freelocale(). */
static locale_t
locale_c(void)
{
    return newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

size_t
decimal_format_double(double value, char *out)
{
    if (isnan(value)) {
        memcpy(out, "nan", 4);
        return 3;
    }
    if (isinf(value)) {
        const char *text = value > 0 ? "inf" : "-inf";

        memcpy(out, text, strlen(text) + 1);
        return strlen(text);
    }
    const locale_t locale_before = uselocale(locale_c());
    int len = 0;

    for (int digits = 15; digits <= 17; digits++) { /* 17 always read back exactly */
        len = snprintf(out, DECIMAL_DOUBLE_CHARS_MAX, "%.*g", digits, value);
        if (strtod(out, NULL) == value) {
            break;
        }
    }
    uselocale(locale_before);
    return (size_t)len;
}

static bool
text_is(const char *text, size_t len, const char *word)
{
    return len == strlen(word) && strncasecmp(text, word, len) == 0;
}

bool
decimal_parse_double(const char *text, size_t len, double *out)
{
    char copy[DOUBLE_TEXT_MAX + 1];
    char *end;

    if (len == 0 || len > DOUBLE_TEXT_MAX) {
        return false;
    }
    if (text_is(text, len, "inf") || text_is(text, len, "+inf") || text_is(text, len, "-inf")) {
        *out = text[0] == '-' ? -INFINITY : INFINITY;
        return true;
    }
    if (text_is(text, len, "nan") || text_is(text, len, "-nan")) {
        *out = NAN;
        return true;
    }
    for (size_t i = 0; i < len; i++) { /* strtod() takes more: spaces, "0x", "infinity" */
        if (strchr("0123456789+-.eE", text[i]) == NULL || text[i] == '\0') {
            return false;
        }
    }
    memcpy(copy, text, len);
    copy[len] = '\0';
    *out = strtod_l(copy, &end, locale_c());
    return end == copy + len;
}
