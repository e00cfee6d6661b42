/* Goal:   numbers are read in their canonical spelling only, and written so that they read back the
 * same. Method: edges of the ranges, malformed texts, random numbers both ways, and a locale with a
 * decimal comma.
 */
#include "proto/decimal.h"
#include "tests/lib/rng.h"

#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { RANDOM_ROUNDS = 20000 };

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void
integer_is_read_in_its_canonical_spelling_only(void **state)
{
    static const char *const bad[] = {
        "",
        "-",
        "+1",
        "01",
        "-0",
        "-01",
        "00",
        " 1",
        "1 ",
        "1x",
        "x",
        "0x1",
        "1.0",
        "--1",
        "9223372036854775808",
        "-9223372036854775809",
        "99999999999999999999",
        "10000000000000000000",
    };
    int64_t value;
    (void)state;

    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_false(decimal_parse_i64(bad[i], strlen(bad[i]), &value));
    }
    assert_true(decimal_parse_i64("0", 1, &value) && value == 0);
    assert_true(decimal_parse_i64("9223372036854775807", 19, &value) && value == INT64_MAX);
    assert_true(decimal_parse_i64("-9223372036854775808", 20, &value) && value == INT64_MIN);
    assert_true(decimal_parse_i64("12345", 3, &value) && value == 123);
    assert_false(decimal_parse_i64("1\0", 2, &value));
}

static void
integer_reads_back_as_it_was_written(void **state)
{
    static const int64_t edges[] = {0,   1,    9,    10,        99,        100,          101,
                                    999, 1000, 9999, INT64_MAX, INT64_MIN, INT64_MIN + 1};
    struct rng rng = rng_seeded(19);
    (void)state;

    for (int round = 0; round < RANDOM_ROUNDS; round++) {
        const int64_t value = (size_t)round < COUNT(edges)
                                  ? edges[round]
                                  : (int64_t)rng_u64(&rng) >> rng_below(&rng, 64);
        char text[DECIMAL_I64_CHARS_MAX];
        char expected[32];
        int64_t again = 0;
        const size_t len = decimal_format_i64(value, text);

        assert_int_equal(len, snprintf(expected, sizeof(expected), "%lld", (long long)value));
        assert_memory_equal(text, expected, len);
        assert_true(decimal_parse_i64(text, len, &again));
        assert_true(again == value);
    }
    char text[DECIMAL_I64_CHARS_MAX];

    assert_int_equal(decimal_format_u64(UINT64_MAX, text), 20);
    assert_memory_equal(text, "18446744073709551615", 20);
}

static void
double_is_written_as_short_as_it_reads_back(void **state)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {
        {0, "0"},
        {-0.0, "-0"},
        {0.1, "0.1"},
        {3, "3"},
        {1.5, "1.5"},
        {1e21, "1e+21"},
        {-1e-7, "-1e-07"},
        {100, "100"},
        {INFINITY, "inf"},
        {-INFINITY, "-inf"},
        {0.1 + 0.2, "0.30000000000000004"},
    };
    char text[DECIMAL_DOUBLE_CHARS_MAX];
    (void)state;

    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(decimal_format_double(cases[i].value, text), strlen(cases[i].text));
        assert_string_equal(text, cases[i].text);
    }
    assert_int_equal(decimal_format_double(NAN, text), 3);
    assert_string_equal(text, "nan");
}

static void
random_double_reads_back_the_same(void **state)
{
    struct rng rng = rng_seeded(23);
    (void)state;

    for (int round = 0; round < RANDOM_ROUNDS; round++) {
        const uint64_t bits = rng_u64(&rng);
        char text[DECIMAL_DOUBLE_CHARS_MAX];
        double value;
        double again;

        memcpy(&value, &bits, sizeof(value));
        const size_t len = decimal_format_double(value, text);

        assert_true(len < DECIMAL_DOUBLE_CHARS_MAX);
        assert_true(decimal_parse_double(text, len, &again));
        assert_true(again == value || (isnan(again) && isnan(value)));
    }
}

static void
malformed_double_is_refused(void **state)
{
    static const char *const bad[] = {
        "", " 1", "1 ", "0x10", "1.5x", "infinity", "INF1", "e", ".", "-", "1e", "nan(1)", "1,5",
    };
    char longest[300];
    double value;
    (void)state;

    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_false(decimal_parse_double(bad[i], strlen(bad[i]), &value));
    }
    assert_false(decimal_parse_double("1\0", 2, &value));
    memset(longest, '1', sizeof(longest));
    assert_false(decimal_parse_double(longest, sizeof(longest), &value));
    assert_true(decimal_parse_double(".5e1", 4, &value) && value == 5);
    assert_true(decimal_parse_double("-Inf", 4, &value) && value == -INFINITY);
}

static void
double_doesnt_depend_on_the_locale(void **state)
{
    static const char *const commas[] = {"de_DE.UTF-8", "de_DE", "fr_FR.UTF-8", "fr_FR"};
    char text[DECIMAL_DOUBLE_CHARS_MAX];
    double value;
    (void)state;

    for (size_t i = 0; i < COUNT(commas) && setlocale(LC_ALL, commas[i]) == NULL; i++) {
    }
    if (strcmp(localeconv()->decimal_point, ",") != 0) {
        print_message("no locale with a decimal comma is installed\n");
        skip();
    }
    decimal_format_double(1.5, text);
    assert_string_equal(text, "1.5");
    assert_true(decimal_parse_double("1.5", 3, &value) && value == 1.5);
    setlocale(LC_ALL, "C");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integer_is_read_in_its_canonical_spelling_only),
        cmocka_unit_test(integer_reads_back_as_it_was_written),
        cmocka_unit_test(double_is_written_as_short_as_it_reads_back),
        cmocka_unit_test(random_double_reads_back_the_same),
        cmocka_unit_test(malformed_double_is_refused),
        cmocka_unit_test(double_doesnt_depend_on_the_locale),
    };

    return cmocka_run_group_tests_name("decimal", tests, NULL, NULL);
}
