#include "proto/resp_words.h"

#include <stdbool.h>
#include <stdint.h>

static bool
is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static int
hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One character behind a backslash inside double quotes; `r` is at the backslash, *used counts what
 * it took. */
static char
unescape(const char *r, const char *end, uint32_t *used)
{
    if (end - r >= 4 && r[1] == 'x' && hex_value(r[2]) >= 0 && hex_value(r[3]) >= 0) {
        *used = 4;
        return (char)(hex_value(r[2]) * 16 + hex_value(r[3]));
    }
    *used = 2;
    switch (r[1]) {
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'b':
        return '\b';
    case 'a':
        return '\a';
    default:
        return r[1];
    }
}

/* Take the quotes off what begins behind the opening `quote` at `r`, writing to *w, which is before
 * it. Returns what follows the closing quote; NULL if there is none, or no space behind it. */
static char *
unquote(char quote, char *r, const char *end, char **w)
{
    for (r++; r < end && *r != quote;) {
        uint32_t used = 1;
        char c = *r;

        if (c == '\\' && quote == '"' && end - r >= 2) {
            c = unescape(r, end, &used);
        } else if (c == '\\' && quote == '\'' && end - r >= 2 && r[1] == '\'') {
            c = '\'';
            used = 2;
        }
        *(*w)++ = c;
        r += used;
    }
    if (r >= end || (r + 1 < end && !is_space(r[1]))) {
        return NULL;
    }
    return r + 1;
}

/* One word at `r`, quotes taken off in place. Returns what follows it, NULL if its quotes are
 * unbalanced. */
static char *
split_word(char *r, const char *end, char **w)
{
    while (r < end && *r != ' ' && *r != '\n' && *r != '\r' && *r != '\t') {
        if (*r == '"' || *r == '\'') {
            return unquote(*r, r, end, w);
        }
        *(*w)++ = *r++;
    }
    return r;
}

enum resp_words
resp_word_next(char **at, const char *end, struct resp_word *word)
{
    char *r = *at;

    while (r < end && is_space(*r)) {
        r++;
    }
    if (r == end) {
        *at = r;
        return RESP_WORDS_END;
    }
    char *w = r;

    word->ptr = r;
    r = split_word(r, end, &w);
    if (r == NULL) {
        return RESP_WORDS_UNBALANCED;
    }
    word->len = (size_t)(w - word->ptr);
    *at = r;
    return RESP_WORDS_MORE;
}
