#include "server/glob.h"

struct glob {
    const char *ptr;
    size_t len;
    bool fold;
};

/* Redis compares characters as signed ones: it shows in ranges over bytes above 127. */
static int
fold_char(char c, bool fold)
{
    return fold && c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
}

static bool
same_char(const struct glob *glob, char a, char b)
{
    return fold_char(a, glob->fold) == fold_char(b, glob->fold);
}

static bool
in_range(const struct glob *glob, char first, char last, char c)
{
    int low = fold_char(first, glob->fold);
    int high = fold_char(last, glob->fold);
    const int v = fold_char(c, glob->fold);

    if (low > high) {
        const int swap = low;

        low = high;
        high = swap;
    }
    return v >= low && v <= high;
}

/* Judge `c` by the class whose members begin at `at`; returns where the class ends (behind its ], or
 * at the end of the pattern). */
static size_t
match_class(const struct glob *glob, size_t at, char c, bool *matched)
{
    const char *ptr = glob->ptr;
    const bool negated = at < glob->len && ptr[at] == '^';
    bool found = false;

    at += negated;
    while (at < glob->len) {
        if (ptr[at] == '\\' && glob->len - at >= 2) {
            found |= ptr[at + 1] == c; /* an escaped member keeps its case in Redis, too */
            at += 2;
        } else if (ptr[at] == ']') {
            at++;
            break;
        } else if (glob->len - at >= 3 && ptr[at + 1] == '-') {
            found |= in_range(glob, ptr[at], ptr[at + 2], c);
            at += 3;
        } else {
            found |= same_char(glob, ptr[at], c);
            at++;
        }
    }
    *matched = found != negated;
    return at;
}

/* Judge `c` by the one element at `at`, which is not a `*`; returns where the next element begins. */
static size_t
match_one(const struct glob *glob, size_t at, char c, bool *matched)
{
    const char *ptr = glob->ptr;

    if (ptr[at] == '?') {
        *matched = true;
        return at + 1;
    }
    if (ptr[at] == '[') {
        return match_class(glob, at + 1, c, matched);
    }
    if (ptr[at] == '\\' && glob->len - at >= 2) {
        at++;
    }
    *matched = same_char(glob, ptr[at], c);
    return at + 1;
}

bool
glob_match(const char *pattern, size_t pattern_len, const char *text, size_t text_len, bool fold)
{
    const struct glob glob = {pattern, pattern_len, fold};
    size_t at = 0;
    size_t text_at = 0;
    size_t star = pattern_len;   /* behind the last `*` met; pattern_len: none met that helps */
    size_t star_text = text_len; /* where the text behind that `*` was taken to begin */

    if (text_len == 0) {
        return pattern_len == 0;
    }
    /* Every element but `*` takes one character, so that only the last `*` need ever be tried again. */
    while (text_at < text_len) {
        bool matched = false;

        if (at < pattern_len && pattern[at] == '*') {
            star = ++at;
            star_text = text_at;
            if (star == pattern_len) {
                return true;
            }
            continue;
        }
        if (at < pattern_len) {
            at = match_one(&glob, at, text[text_at], &matched);
            text_at++;
        }
        if (!matched) {
            if (star == pattern_len) {
                return false;
            }
            at = star;
            text_at = ++star_text;
        }
    }
    while (at < pattern_len && pattern[at] == '*') {
        at++;
    }
    return at == pattern_len;
}

size_t
glob_prefix(const char *pattern, size_t pattern_len, char *out)
{
    size_t out_len = 0;

    for (size_t at = 0; at < pattern_len; at++) {
        char c = pattern[at];

        if (c == '*' || c == '?' || c == '[') {
            break;
        }
        if (c == '\\' && pattern_len - at >= 2) {
            c = pattern[++at];
        }
        out[out_len++] = c;
    }
    return out_len;
}
