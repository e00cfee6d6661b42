/* Goal:   the CLI splits lines as the server splits inline commands, keeps passwords out of its
 *         history, and keeps the rest across sessions.
 * Method: lines with their arguments written out; a table of lines that must and must not be
 *         kept; a history file in a directory of the test's own.
 */
#include "client/cli/figures.h"
#include "client/cli/history.h"
#include "client/cli/line.h"

#include "tests/lib/tmpdir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static void
line_is_split_at_blanks_and_quotes(void **state)
{
    static const char text[] = "  SET 'it\\'s' \"a\\x00b\\n\" \"\" *1";
    struct line line;

    (void)state;
    assert_int_equal(line_split(text, strlen(text), &line), FL_OK);
    assert_int_equal(line.argc, 5);
    assert_string_equal(line.argv[0], "SET");
    assert_string_equal(line.argv[1], "it's");
    assert_int_equal(line.lens[2], 4);
    assert_memory_equal(line.argv[2], "a\0b\n", 5);
    assert_int_equal(line.lens[3], 0);
    assert_string_equal(line.argv[3], "");
    assert_string_equal(line.argv[4], "*1");
    line_deinit(&line);
}

static void
line_that_starts_like_an_array_is_a_command_all_the_same(void **state)
{
    struct line line;

    (void)state;
    assert_int_equal(line_split("*2 x", 4, &line), FL_OK);
    assert_int_equal(line.argc, 2);
    assert_string_equal(line.argv[0], "*2");
    line_deinit(&line);
}

static void
line_without_words_has_no_arguments(void **state)
{
    struct line line;

    (void)state;
    assert_int_equal(line_split("", 0, &line), FL_OK);
    assert_int_equal(line.argc, 0);
    line_deinit(&line);
    assert_int_equal(line_split("  \t ", 4, &line), FL_OK);
    assert_int_equal(line.argc, 0);
    line_deinit(&line);
}

static void
line_with_bad_quotes_or_too_long_is_refused(void **state)
{
    const size_t len = 100 * 1000;
    char *text = malloc(len);
    struct line line;

    (void)state;
    assert_int_equal(line_split("GET \"a", 6, &line), FL_INVALID);
    assert_int_equal(line_split("GET \"a\"b", 8, &line), FL_INVALID);
    memset(text, 'x', len);
    assert_int_equal(line_split(text, len, &line), FL_TOO_LARGE);
    free(text);
}

static void
line_with_a_password_is_secret(void **state)
{
    static const char *const secret[] = {
        "AUTH pw",
        "auth user pw",
        "  \"AUTH\" pw",
        "HELLO 3 auth u p",
        "hello 3 SETNAME x AUTH u p",
        "CONFIG SET requirepass pw",
        "config set maxclients 10 REQUIREPASS pw",
        "CONFIG SET masterauth x",
        "ACL SETUSER me >pw",
        "3 AUTH pw",
        "MIGRATE h 1 k 0 1 AUTH pw",
        "AUTH \"unbalanced",
    };
    static const char *const open[] = {
        "GET auth",
        "HELLO 3",
        "CONFIG GET requirepass",
        "SET requirepass x",
        "CONFIG SET save x",
        "ACL WHOAMI",
        "3 PING",
        "3",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(secret) / sizeof(secret[0]); i++) {
        if (!line_is_secret(secret[i], strlen(secret[i]))) {
            fail_msg("kept: %s", secret[i]);
        }
    }
    for (size_t i = 0; i < sizeof(open) / sizeof(open[0]); i++) {
        if (line_is_secret(open[i], strlen(open[i]))) {
            fail_msg("not kept: %s", open[i]);
        }
    }
}

struct lines {
    unsigned count;
    char first[32];
    char last[32];
};

static void
take(void *context, const char *line)
{
    struct lines *lines = context;

    if (lines->count++ == 0) {
        snprintf(lines->first, sizeof(lines->first), "%s", line);
    }
    snprintf(lines->last, sizeof(lines->last), "%s", line);
}

static void
history_comes_back_private_and_bounded(void **state)
{
    struct tmpdir dir;
    char path[TMPDIR_PATH_BYTES];
    struct history_file history;
    struct lines lines = {0};
    struct stat st;

    (void)state;
    tmpdir_create(&dir);
    setenv("FAULTLINE_HISTORY", tmpdir_join(&dir, "h", path), 1);
    history_open(&history);
    history_load(&history, take, &lines);
    assert_int_equal(lines.count, 0);
    for (unsigned i = 0; i < 2 * HISTORY_LINES_MAX + 1; i++) {
        char text[32];

        history_append(&history, text, (size_t)snprintf(text, sizeof(text), "GET %u", i));
    }
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    for (int round = 0; round < 2; round++) {
        lines = (struct lines){0};
        history_load(&history, take, &lines);
        assert_int_equal(lines.count, HISTORY_LINES_MAX);
        assert_string_equal(lines.first, "GET 1001");
        assert_string_equal(lines.last, "GET 2000");
    }
    /* The first load has cut the file to what it handed out. */
    const off_t before = st.st_size;

    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_size < before * 6 / 10);
    assert_int_equal(st.st_mode & 0777, 0600);
    history_close(&history);
    tmpdir_destroy(&dir);
}

static void
history_is_off_when_no_file_is_named(void **state)
{
    struct history_file history;
    struct lines lines = {0};

    (void)state;
    setenv("FAULTLINE_HISTORY", "", 1);
    history_open(&history);
    assert_null(history.path);
    history_append(&history, "x", 1);
    history_load(&history, take, &lines);
    assert_int_equal(lines.count, 0);
    history_close(&history);
    setenv("HOME", "/home/nobody", 1);
    unsetenv("FAULTLINE_HISTORY");
    history_open(&history);
    assert_string_equal(history.path, "/home/nobody/.faultline_history");
    history_close(&history);
}

static void
figures_are_found_by_their_whole_name(void **state)
{
    static const char info[] = "# Memory\r\nused_memory_peak:7\r\nused_memory:1234\r\n"
                               "used_memory_human:1K\r\n\r\n# Keyspace\r\n"
                               "db0:keys=10,expires=0\r\ndb15:keys=5,expires=0\r\ndbx:keys=9\r\n";
    uint64_t value = 0;
    char text[16];

    (void)state;
    assert_true(figures_get(info, "used_memory", &value));
    assert_int_equal(value, 1234);
    assert_false(figures_get(info, "used_mem", &value));
    assert_false(figures_get(info, "memory", &value));
    assert_int_equal(figures_keys(info), 15);
    assert_int_equal(figures_keys(""), 0);
    assert_string_equal(figures_bytes(1023, text), "1023B");
    assert_string_equal(figures_bytes(1536, text), "1.50K");
    assert_string_equal(figures_bytes(UINT64_MAX, text), "16.00E");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(line_is_split_at_blanks_and_quotes),
        cmocka_unit_test(line_that_starts_like_an_array_is_a_command_all_the_same),
        cmocka_unit_test(line_without_words_has_no_arguments),
        cmocka_unit_test(line_with_bad_quotes_or_too_long_is_refused),
        cmocka_unit_test(line_with_a_password_is_secret),
        cmocka_unit_test(history_comes_back_private_and_bounded),
        cmocka_unit_test(history_is_off_when_no_file_is_named),
        cmocka_unit_test(figures_are_found_by_their_whole_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
