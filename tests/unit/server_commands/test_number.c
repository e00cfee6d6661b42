/* Goal:   numbers are read as strictly and written as shortly as Redis does.
 * Method: every edge of the integer range and of its one canonical spelling; random integers through
 *         both directions with snprintf as oracle; real numbers whose results Redis 7.0 was seen to give.
 */
#include "server/number.h"
#include "tests/lib/rng.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void
integer_canonical_spelling_is_taken(void **state)
{
    static const struct {
        const char *text;
        int64_t value;
    } cases[] = {
        {"0", 0},
        {"1", 1},
        {"-1", -1},
        {"10", 10},
        {"9223372036854775807", INT64_MAX},
        {"-9223372036854775808", INT64_MIN},
        {"-9223372036854775807", INT64_MIN + 1},
        {"1000000000000000000", 1000000000000000000},
    };
    int64_t value;
    (void)state;

    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_true(number_parse_i64(cases[i].text, strlen(cases[i].text), &value));
        assert_int_equal(value, cases[i].value);
    }
}

static void
integer_any_other_spelling_is_refused(void **state)
{
    static const char *const cases[] = {
        "",
        "-",
        "-0",
        "+1",
        "00",
        "01",
        "-01",
        " 1",
        "1 ",
        "1a",
        "a",
        "0x1",
        "1.",
        "1e3",
        "9223372036854775808",
        "-9223372036854775809",
        "18446744073709551615",
        "99999999999999999999",
        "999999999999999999999999999999",
        "--1",
        "- 1",
    };
    int64_t value;
    (void)state;

    for (size_t i = 0; i < COUNT(cases); i++) {
        if (number_parse_i64(cases[i], strlen(cases[i]), &value)) {
            fail_msg("\"%s\" was taken", cases[i]);
        }
    }
    assert_false(number_parse_i64("1\0", 2, &value));
}

static void
integer_random_values_survive_both_directions(void **state)
{
    struct rng rng = rng_seeded(11);
    char text[NUMBER_I64_CHARS_MAX];
    char expected[32];
    int64_t back;
    (void)state;

    for (int round = 0; round < 20000; round++) {
        const int64_t value =
            (int64_t)(rng_u64(&rng) >> rng_below(&rng, 64)) * (rng_below(&rng, 2) == 0 ? 1 : -1);
        const size_t len = number_format_i64(value, text);

        assert_int_equal(len, snprintf(expected, sizeof(expected), "%" PRId64, value));
        assert_memory_equal(text, expected, len);
        assert_true(number_parse_i64(text, len, &back));
        assert_int_equal(back, value);
    }
    assert_int_equal(number_format_i64(INT64_MIN, text), 20);
    assert_memory_equal(text, "-9223372036854775808", 20);
}

static void
cursor_is_as_lenient_as_in_redis(void **state)
{
    uint64_t value;
    (void)state;

    assert_true(number_parse_cursor("", 0, &value));
    assert_int_equal(value, 0);
    assert_true(number_parse_cursor("+017", 4, &value));
    assert_int_equal(value, 17);
    assert_true(number_parse_cursor("18446744073709551615", 20, &value));
    assert_true(value == UINT64_MAX);
    assert_false(number_parse_cursor(" 1", 2, &value));
    assert_false(number_parse_cursor("1x", 2, &value));
    assert_false(number_parse_cursor("18446744073709551616", 20, &value));
    assert_false(number_parse_cursor("0x10", 4, &value));
}

static void
real_is_written_as_redis_writes_it(void **state)
{
    static const char *const cases[][2] = {
        {"3.0", "3"},
        {"5.0e3", "5000"},
        {"10.5", "10.5"},
        {"-0.0", "0"},
        {"0x10", "16"},
        {".5", "0.5"},
        {"1e-18", "0"},
        {"-1e-18", "-0"}, /* trimmed to -0, then told as 0 */
        {"3.14159265358979", "3.14159265358979"},
        {"1e17", "100000000000000000"},
    };
    char out[NUMBER_REAL_CHARS_MAX];
    long double value;
    (void)state;

    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *expected = strcmp(cases[i][1], "-0") == 0 ? "0" : cases[i][1];

        assert_true(number_parse_real(cases[i][0], strlen(cases[i][0]), &value));
        assert_int_equal(number_format_real(value, out), strlen(expected));
        assert_string_equal(out, expected);
    }
}

static void
real_widest_value_fits(void **state)
{
    char out[NUMBER_REAL_CHARS_MAX];
    long double value;
    (void)state;

    assert_true(number_parse_real("-1.18973149535723176502e+4932", 29, &value));
    assert_int_equal(number_format_real(value, out), 4934);
}

static void
real_what_is_not_a_number_is_refused(void **state)
{
    static const char *const cases[] = {"",   " 1",  "1 ",     "abc",     "1..2", "nan",
                                        "1e", "--1", "1e5000", "-1e5000", "1,5",  "1e-9999"};
    char zeros[NUMBER_REAL_TEXT_MAX + 1];
    long double value;
    (void)state;

    for (size_t i = 0; i < COUNT(cases); i++) {
        if (number_parse_real(cases[i], strlen(cases[i]), &value)) {
            fail_msg("\"%s\" was taken", cases[i]);
        }
    }
    memset(zeros, '0', sizeof(zeros));
    assert_true(number_parse_real(zeros, sizeof(zeros) - 1, &value));
    assert_false(number_parse_real(zeros, sizeof(zeros), &value));
    assert_false(number_parse_real("1\0", 2, &value));
    assert_true(
        number_parse_real("inf", 3, &value)); /* as in Redis; INCRBYFLOAT refuses the result */
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integer_canonical_spelling_is_taken),
        cmocka_unit_test(integer_any_other_spelling_is_refused),
        cmocka_unit_test(integer_random_values_survive_both_directions),
        cmocka_unit_test(cursor_is_as_lenient_as_in_redis),
        cmocka_unit_test(real_is_written_as_redis_writes_it),
        cmocka_unit_test(real_widest_value_fits),
        cmocka_unit_test(real_what_is_not_a_number_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
