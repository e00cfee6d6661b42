/* Goal:   patterns match what they match in Redis, malformed ones included, in bounded time.
 * Method: a table of cases seen at redis-server 7.0; a recursive matcher, written apart and only fit for
 *         short input, as oracle for random patterns over a small alphabet; a pattern that takes a
 *         naive matcher exponential time. The comparison with a real redis-server is in tests/compat.
 */
#include "server/glob.h"
#include "tests/lib/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { ROUNDS = 200000, PATTERN_MAX = 8, TEXT_MAX = 6, HOSTILE_LEN = 20000 };

static bool
match(const char *pattern, const char *text)
{
    return glob_match(pattern, strlen(pattern), text, strlen(text), false);
}

static void
pattern_table_matches_as_redis(void **state)
{
    static const struct {
        const char *pattern, *text;
        bool matches;
    } cases[] = {
        {"a", "a", true},
        {"a", "b", false},
        {"*", "abc", true},
        {"**", "a", true},
        {"a*", "a", true},
        {"a*c", "abbbc", true},
        {"a*c", "abbb", false},
        {"*a*b", "xxaxxb", true},
        {"?", "x", true},
        {"?", "xy", false},
        {"[abc]", "b", true},
        {"[abc]", "d", false},
        {"[a-c]", "b", true},
        {"[c-a]", "b", true},
        {"[^a]", "b", true},
        {"[^a]", "a", false},
        {"[]", "]", false},
        {"[^]", "x", true},
        {"[", "[", false},
        {"[^", "x", true},
        {"[a", "a", true},
        {"[a-", "-", true},
        {"[a-]", "]", true},
        {"[a-]", "a", true},
        {"[\\]]", "]", true},
        {"[\\", "\\", true},
        {"\\*", "*", true},
        {"\\*", "a", false},
        {"\\", "\\", true},
        {"a\\", "a\\", true},
        {"", "", true},
        {"*", "", false},
        {"", "a", false},
        {"h[ae]llo", "hello", true},
        {"h[^e]llo", "hello", false},
        {"*[0-9]", "key7", true},
        {"a*b*c*", "a1b2c3", true},
        {"a*b*c", "a1b2c3", false},
        {"a**", "a", true},
    };
    (void)state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (match(cases[i].pattern, cases[i].text) != cases[i].matches) {
            fail_msg("pattern \"%s\", text \"%s\"", cases[i].pattern, cases[i].text);
        }
    }
}

static void
pattern_folded_ignores_case(void **state)
{
    (void)state;

    assert_true(glob_match("SaVe*", 5, "sAvEd", 5, true));
    assert_true(glob_match("[A-C]x", 6, "bX", 2, true));
    assert_false(glob_match("[A-C]x", 6, "bX", 2, false));
    assert_false(glob_match("[^a]", 4, "A", 1, true));
}

/* Class members by the book: collects the set of characters that the class takes. */
static const char *
oracle_class(const char *pattern, const char *end, bool taken[256])
{
    const bool negated = pattern < end && *pattern == '^';

    memset(taken, 0, 256);
    pattern += negated;
    while (pattern < end && *pattern != ']') {
        if (*pattern == '\\' && end - pattern > 1) {
            taken[(unsigned char)pattern[1]] = true;
            pattern += 2;
        } else if (end - pattern > 2 && pattern[1] == '-') {
            const char low = pattern[0] < pattern[2] ? pattern[0] : pattern[2];
            const char high = pattern[0] < pattern[2] ? pattern[2] : pattern[0];

            for (char c = low; c != high; c++) {
                taken[(unsigned char)c] = true;
            }
            taken[(unsigned char)high] = true;
            pattern += 3;
        } else {
            taken[(unsigned char)*pattern++] = true;
        }
    }
    if (negated) {
        for (int c = 0; c < 256; c++) {
            taken[c] = !taken[c];
        }
    }
    return pattern < end ? pattern + 1 : end;
}

static bool
oracle(const char *pattern, const char *end, const char *text)
{
    bool taken[256];

    if (pattern == end) {
        return *text == '\0';
    }
    if (*pattern == '*') {
        return oracle(pattern + 1, end, text) || (*text != '\0' && oracle(pattern, end, text + 1));
    }
    if (*text == '\0') {
        return false;
    }
    if (*pattern == '?') {
        return oracle(pattern + 1, end, text + 1);
    }
    if (*pattern == '[') {
        pattern = oracle_class(pattern + 1, end, taken);
        return taken[(unsigned char)*text] && oracle(pattern, end, text + 1);
    }
    if (*pattern == '\\' && end - pattern > 1) {
        pattern++;
    }
    return *pattern == *text && oracle(pattern + 1, end, text + 1);
}

static void
pattern_random_agrees_with_oracle(void **state)
{
    static const char alphabet[] = "ab]-^*?[\\*ab[";
    struct rng rng = rng_seeded(12);
    int matches = 0;
    (void)state;

    for (int round = 0; round < ROUNDS; round++) {
        char pattern[PATTERN_MAX + 1] = {0};
        char text[TEXT_MAX + 1] = {0};
        const size_t pattern_len = rng_below(&rng, PATTERN_MAX + 1);
        const size_t text_len = 1 + rng_below(&rng, TEXT_MAX);

        for (size_t i = 0; i < pattern_len; i++) {
            pattern[i] = alphabet[rng_below(&rng, sizeof(alphabet) - 1)];
        }
        for (size_t i = 0; i < text_len; i++) {
            text[i] = alphabet[rng_below(&rng, 5)];
        }
        const bool expected = oracle(pattern, pattern + pattern_len, text);

        matches += expected;
        if (match(pattern, text) != expected) {
            fail_msg("pattern \"%s\", text \"%s\": not %d", pattern, text, expected);
        }
    }
    assert_true(matches > ROUNDS / 100); /* or the generator tests nothing */
}

static void
pattern_hostile_ends_soon(void **state)
{
    char *pattern = malloc(HOSTILE_LEN);
    char *text = malloc(HOSTILE_LEN);
    (void)state;

    assert_non_null(pattern);
    assert_non_null(text);
    memset(text, 'a', HOSTILE_LEN);
    for (size_t i = 0; i < HOSTILE_LEN; i += 2) {
        pattern[i] = 'a';
        pattern[i + 1] = '*';
    }
    pattern[HOSTILE_LEN - 1] = 'b';
    const clock_t began = clock();

    assert_false(glob_match(pattern, HOSTILE_LEN, text, HOSTILE_LEN, false));
    assert_true(clock() - began < 20 * CLOCKS_PER_SEC);
    free(pattern);
    free(text);
}

static void
prefix_is_what_every_match_begins_with(void **state)
{
    char out[32];
    (void)state;

    assert_int_equal(glob_prefix("user:*", 6, out), 5);
    assert_memory_equal(out, "user:", 5);
    assert_int_equal(glob_prefix("a\\*b?", 5, out), 3);
    assert_memory_equal(out, "a*b", 3);
    assert_int_equal(glob_prefix("*", 1, out), 0);
    assert_int_equal(glob_prefix("ab[c", 4, out), 2);
    assert_int_equal(glob_prefix("ab\\", 3, out), 3);
    assert_memory_equal(out, "ab\\", 3);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pattern_table_matches_as_redis),
        cmocka_unit_test(pattern_folded_ignores_case),
        cmocka_unit_test(pattern_random_agrees_with_oracle),
        cmocka_unit_test(pattern_hostile_ends_soon),
        cmocka_unit_test(prefix_is_what_every_match_begins_with),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
