/* Glob patterns as Redis judges them: KEYS, SCAN MATCH, CONFIG GET, COMMAND LIST FILTERBY PATTERN. */
#ifndef FL_SERVER_GLOB_H
#define FL_SERVER_GLOB_H

#include <stdbool.h>
#include <stddef.h>

/* Whether all of `text` matches `pattern`: * ? [abc] [a-z] [^...] and \ before a character that is
 * to stand for itself. `fold`: the case of ASCII letters doesn't count. What is malformed matches as it
 * does in Redis: a class without ] ends with the pattern; a \ at the end stands for itself; `*` doesn't
 * match an empty text.
 *
 * Takes at most pattern x text steps and a constant amount of stack, whatever the pattern.
 * Threads: any. */
bool glob_match(const char *pattern, size_t pattern_len, const char *text, size_t text_len,
                bool fold);

/* The bytes that every match must begin with: copied to `out`, which has room for pattern_len bytes.
 * Returns their number; a search in key order need not look outside that prefix. */
size_t glob_prefix(const char *pattern, size_t pattern_len, char *out);

#endif
