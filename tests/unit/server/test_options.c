/* Goal:   options mean the same as flags, in the file and by name; nonsense is refused with a
 * reason. Method: command lines and small files are parsed; the table is read back and set
 * again. */
#include "server/options.h"

#include "base/log.h"
#include "server/loop.h"
#include "tests/lib/tmpdir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static fl_status
parse(struct options *options, enum options_action *action, int argc, const char *const *argv)
{
    char *args[16] = {NULL};

    for (int i = 0; i < argc; i++) {
        args[i] = (char *)(uintptr_t)argv[i];
    }
    options_init(options);
    return options_parse(options, argc, args, action);
}

#define PARSE(options, action, ...)                                                                \
    parse((options), (action),                                                                     \
          (int)(sizeof((const char *const[]){"x", __VA_ARGS__}) / sizeof(char *)),                 \
          (const char *const[]){"x", __VA_ARGS__})

static void
write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void
flags_in_both_forms_are_taken(void **state)
{
    struct options options;
    enum options_action action;

    (void)state;
    assert_int_equal(PARSE(&options, &action, "--port", "7000", "--store=/x/y", "--mapping", "page",
                           "--durability-min", "process", "--loop", "epoll", "--log-level=debug"),
                     FL_OK);
    assert_int_equal(action, OPTIONS_RUN);
    assert_int_equal(options.port, 7000);
    assert_string_equal(options.store, "/x/y");
    assert_int_equal(options.mapping, FL_MAPPING_PAGE);
    assert_int_equal(options.durability_min, FL_DURABILITY_PROCESS);
    assert_int_equal(options.loop, LOOP_EPOLL);
    assert_int_equal(options.log_level, LOGGER_DEBUG);
    assert_int_equal(PARSE(&options, &action, "--port", "1", "--help"), FL_OK);
    assert_int_equal(action, OPTIONS_HELP);
    assert_int_equal(PARSE(&options, &action, "--version"), FL_OK);
    assert_int_equal(action, OPTIONS_VERSION);
}

static void
nonsense_is_refused_with_its_name(void **state)
{
    static const char *const pairs[][3] = {
        {"--nope", "1", "nope"},
        {"--port", "70000", "70000"},
        {"--port", "-1", "-1"},
        {"--port", "12x", "12x"},
        {"--mapping", "floppy", "floppy"},
        {"--maxclients", "0", "maxclients"},
        {"--size-max", "1q", "1q"},
        {"--verify-reads", "maybe", "maybe"},
        {"port", "7000", ""},
        {"--unixsocketperm", "999", "999"},
        {"--client-output-buffer-limit", "normal 1 2", "belong together"},
        {"--client-output-buffer-limit", "odd 1 2 3", "odd"},
        {"--store", "--port", "--store: a value is missing"},
        {"--nope", "--port", "no option is called 'nope'"},
        {"--bind=::1", "--BIND=127.0.0.1", "bind: given twice"},
    };
    struct options options;
    enum options_action action;

    (void)state;
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        assert_int_not_equal(PARSE(&options, &action, pairs[i][0], pairs[i][1]), FL_OK);
        assert_non_null(strstr(fl_last_error(), pairs[i][2]));
    }
    assert_int_equal(PARSE(&options, &action, "--port"), FL_INVALID);
    assert_non_null(strstr(fl_last_error(), "--port: a value is missing"));
    assert_int_equal(PARSE(&options, &action, "--nope"), FL_NOT_FOUND);
    assert_non_null(strstr(fl_last_error(), "no option is called 'nope'"));
    assert_int_equal(PARSE(&options, &action, "--requirepass=--secret", "--port", "7", "--port=8"),
                     FL_OK);
    assert_string_equal(options.requirepass, "--secret");
    assert_int_equal(options.port, 8);
    assert_int_equal(PARSE(&options, &action, "--block-bytes", "4097"), FL_OK);
    assert_int_equal(options_check(&options), FL_INVALID);
    assert_non_null(strstr(fl_last_error(), "power of two"));
    assert_int_equal(PARSE(&options, &action, "--mapping", "nonsense"), FL_INVALID);
}

static void
file_is_read_and_flags_win_over_it(void **state)
{
    struct options options;
    enum options_action action;
    struct tmpdir dir;
    char path[TMPDIR_PATH_BYTES];

    (void)state;
    tmpdir_create(&dir);
    tmpdir_join(&dir, "conf", path);
    write_file(path, "# a comment\n[server]\n\nport 7001\nstore = \"/a b/c\"\r\n"
                     "bind 127.0.0.1 ::1\nrequirepass secret ; # with blanks\n"
                     "client-query-buffer-limit 2mb\nmaxclients=5");
    assert_int_equal(PARSE(&options, &action, path, "--port", "7002"), FL_OK);
    assert_int_equal(options.port, 7002);
    assert_string_equal(options.store, "/a b/c");
    assert_string_equal(options.bind, "127.0.0.1 ::1");
    assert_string_equal(options.requirepass, "secret ; # with blanks");
    assert_int_equal(options.query_buffer_limit, 2 << 20);
    assert_int_equal(options.maxclients, 5);
    assert_int_equal(PARSE(&options, &action, "--port", "7003", "--config", path), FL_OK);
    assert_int_equal(options.port, 7003);

    write_file(path, "port 7001\nporte 3\n");
    assert_int_equal(PARSE(&options, &action, path), FL_INVALID);
    assert_non_null(strstr(fl_last_error(), "line 2"));
    write_file(path, "requirepass \"open\nport 7001\n");
    assert_int_equal(PARSE(&options, &action, path), FL_INVALID);
    assert_non_null(strstr(fl_last_error(), "line 1"));
    write_file(path, "bind 127.0.0.1\nport 7001\nbind ::1\n");
    assert_int_equal(PARSE(&options, &action, path), FL_INVALID);
    assert_non_null(strstr(fl_last_error(), "line 3: bind: given twice"));
    write_file(path, "bind 127.0.0.1\n");
    assert_int_equal(PARSE(&options, &action, path, "--bind", "::1"), FL_OK);
    assert_string_equal(options.bind, "::1");
    assert_int_equal(PARSE(&options, &action, "--config", "/nowhere/at/all"), FL_NOT_FOUND);
    tmpdir_destroy(&dir);
}

static void
table_read_back_sets_the_same(void **state)
{
    struct options options;
    struct options copy;
    char value[OPTIONS_VALUE_BYTES];
    const char *name;
    unsigned flags;
    size_t count = 0;

    (void)state;
    options_init(&options);
    memcpy(&copy, &options, sizeof(copy)); /* padding too: it is compared */
    while (options_at(&options, count, &name, &flags, value)) {
        if (strcmp(name, "unixsocketperm") != 0 || strcmp(value, "0") != 0) {
            assert_int_equal(options_set(&copy, name, value), FL_OK);
        }
        count++;
    }
    assert_true(count > 15);
    assert_memory_equal(&options, &copy, sizeof(options));
}

static void
open_bind_needs_a_password(void **state)
{
    static const struct {
        const char *bind;
        bool loopback;
    } binds[] = {
        {"127.0.0.1", true},
        {"127.9.9.9 ::1", true},
        {"localhost -::1", true},
        {"0.0.0.0", false},
        {"*", false},
        {"127.0.0.1 ::", false},
        {"10.0.0.1", false},
        {"example.org", false},
    };
    struct options options;

    (void)state;
    for (size_t i = 0; i < sizeof(binds) / sizeof(binds[0]); i++) {
        options_init(&options);
        assert_int_equal(options_set(&options, "bind", binds[i].bind), FL_OK);
        assert_int_equal(options_bind_is_loopback(options.bind), binds[i].loopback);
        assert_int_equal(options_check(&options) == FL_OK, binds[i].loopback);
        assert_int_equal(options_set(&options, "requirepass", "p"), FL_OK);
        assert_int_equal(options_check(&options), FL_OK);
    }
}

static void
live_options_are_taken_over_and_others_counted(void **state)
{
    struct options options;
    struct options fresh;
    unsigned ignored;

    (void)state;
    options_init(&options);
    options_init(&fresh);
    assert_int_equal(options_set(&fresh, "maxclients", "7"), FL_OK);
    assert_int_equal(options_set(&fresh, "requirepass", "p"), FL_OK);
    assert_int_equal(options_set(&fresh, "client-output-buffer-limit", "normal 5mb 1mb 7"), FL_OK);
    assert_int_equal(options_set(&fresh, "port", "9"), FL_OK);
    options_apply_live(&options, &fresh, &ignored);
    assert_int_equal(ignored, 1);
    assert_int_equal(options.maxclients, 7);
    assert_string_equal(options.requirepass, "p");
    assert_int_equal(options.output_hard, 5 << 20);
    assert_int_equal(options.output_soft, 1 << 20);
    assert_int_equal(options.output_soft_s, 7);
    assert_int_equal(options.port, 6379);
}

static void
help_names_every_option_and_fits(void **state)
{
    struct options options;
    char help[8192];
    char value[OPTIONS_VALUE_BYTES];
    const char *name;
    unsigned flags;

    (void)state;
    options_init(&options);
    options_help(help, sizeof(help));
    assert_non_null(strstr(help, "SIGHUP"));
    for (size_t i = 0; options_at(&options, i, &name, &flags, value); i++) {
        char flag[64];

        snprintf(flag, sizeof(flag), "--%s ", name);
        assert_non_null(strstr(help, flag));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flags_in_both_forms_are_taken),
        cmocka_unit_test(nonsense_is_refused_with_its_name),
        cmocka_unit_test(file_is_read_and_flags_win_over_it),
        cmocka_unit_test(table_read_back_sets_the_same),
        cmocka_unit_test(open_bind_needs_a_password),
        cmocka_unit_test(live_options_are_taken_over_and_others_counted),
        cmocka_unit_test(help_names_every_option_and_fits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
