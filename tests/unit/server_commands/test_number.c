/* Goal:   cursors and real numbers are read as strictly, and reals written as shortly, as Redis does.
 * Method: texts whose results Redis 7.0 was seen to give, and every way of being malformed.
 */
#include "server/number.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

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
        cmocka_unit_test(cursor_is_as_lenient_as_in_redis),
        cmocka_unit_test(real_is_written_as_redis_writes_it),
        cmocka_unit_test(real_widest_value_fits),
        cmocka_unit_test(real_what_is_not_a_number_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
