/* Goal:   a wrong command line, no server, and servers that break off or talk nonsense all end in
 *         a clear message and the exit status that the help promises; how the network cuts a
 * reply never shows. Method: flags that are wrong, one by one; a server in this process that
 *         sends the bytes it is given, cut at each place, then stays or hangs up.
 */
#include "tests/integration/cli/run.h"
#include "tests/integration/cli/server.h"

#include "tests/lib/net.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct {
    struct run_paths paths;
    struct fake fake;
} fixture;

static void
cli(struct run *run, const char *const *args)
{
    run_cli(run, fixture.paths.cli, args, "", 0);
}

/* Run a command against the fake, which answers `reply`. */
static void
ask(struct run *run, const char *reply, size_t len, size_t split, bool closes,
    const char *const *command)
{
    const char *args[RUN_ARGS_MAX + 1] = {"-p", fixture.fake.port_text, NULL};
    size_t argc = 2;

    while (*command != NULL && argc < RUN_ARGS_MAX) {
        args[argc++] = *command++;
    }
    args[argc] = NULL;
    fake_set(&fixture.fake, (struct fake_answer){reply, len, split, closes});
    cli(run, args);
}

static void
wrong_command_line_ends_with_2(void **state)
{
    static const char *const wrong[][5] = {
        {"--nonsense"},
        {"-p"},
        {"-p", "0"},
        {"-p", "65536"},
        {"-p", "1x"},
        {"-p", ""},
        {"-n", "-1"},
        {"-r", "x", "PING"},
        {"-i", "-1", "PING"},
        {"-i", "nan", "PING"},
        {"-x"},
        {"--stat", "--scan"},
        {"--scan", "GET"},
        {"--pattern", "x"},
        {"--count", "0", "--scan"},
        {"--count", "5", "PING"},
        {"--user", "u", "PING"},
        {"--pipe", "PING"},
        {"-h"},
        {"--pipe-timeout", "x", "--pipe"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct run run;

        cli(&run, wrong[i]);
        if (run.code != 2 || run.out_len > 0 || strstr(run.err, "--help") == NULL) {
            fail_msg("%s %s: exit %d\n%s%s", wrong[i][0], wrong[i][1] != NULL ? wrong[i][1] : "",
                     run.code, run.out, run.err);
        }
        run_deinit(&run);
    }
}

static void
help_and_version_need_no_server(void **state)
{
    static const char *const help[] = {"--help", NULL};
    static const char *const version[] = {"--version", NULL};
    static const char *const options[] = {
        "-h,",      "-p,",    "-s,",       "-a,",        "--user", "--no-auth-warning",
        "-n DB",    "-2, -3", "-r N",      "-i SECONDS", "-x ",    "--raw",
        "--no-raw", "--json", "--stat",    "--bigkeys",  "--scan", "--pattern",
        "--count",  "--pipe", "--latency", "--version",  "--help", "FAULTLINE_AUTH",
    };
    struct run run;

    (void)state;
    cli(&run, help);
    assert_int_equal(run.code, 0);
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        if (strstr(run.out, options[i]) == NULL) {
            fail_msg("the help doesn't mention %s", options[i]);
        }
    }
    run_deinit(&run);
    cli(&run, version);
    assert_int_equal(run.code, 0);
    assert_int_equal(strncmp(run.out, "faultline-cli ", 14), 0);
    run_deinit(&run);
}

static void
no_server_ends_with_3(void **state)
{
    char port[8];
    char expected[64];
    const char *const modes[][4] = {
        {"-p", port, "PING"},      {"-p", port},
        {"-p", port, "--stat"},    {"-p", port, "--pipe"},
        {"-p", port, "--scan"},    {"-p", port, "--bigkeys"},
        {"-p", port, "--latency"}, {"-s", "/nonexistent/socket", "PING"},
    };

    uint16_t number;
    const int held = net_port_hold(&number);

    (void)state;
    snprintf(port, sizeof(port), "%u", number);
    snprintf(expected, sizeof(expected), "127.0.0.1:%s: Connection refused", port);
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        struct run run;

        cli(&run, modes[i]);
        assert_int_equal(run.code, 3);
        assert_int_equal(run.out_len, 0);
        assert_non_null(strstr(run.err, strcmp(modes[i][0], "-s") == 0
                                            ? "/nonexistent/socket: No such file"
                                            : expected));
        /* for people: no place in the source */
        assert_null(strstr(run.err, ".c:"));
        run_deinit(&run);
    }
    close(held);
}

static void
reply_cut_at_any_byte_prints_the_same(void **state)
{
    static const char reply[] = "*3\r\n$5\r\nhello\r\n:42\r\n*1\r\n$-1\r\n";
    static const char *const command[] = {"--no-raw", "GET", "k", NULL};

    (void)state;
    for (size_t split = 0; split < sizeof(reply) - 1; split++) {
        struct run run;

        ask(&run, reply, sizeof(reply) - 1, split, false, command);
        assert_int_equal(run.code, 0);
        assert_string_equal(run.out, "1) \"hello\"\n2) (integer) 42\n3) 1) (nil)\n");
        run_deinit(&run);
    }
}

static void
server_that_hangs_up_inside_a_reply_is_reported(void **state)
{
    static const char reply[] = "*2\r\n$5\r\nhello\r\n:42\r\n";
    static const char *const command[] = {"GET", "k", NULL};

    (void)state;
    for (size_t len = 0; len < sizeof(reply) - 1; len++) {
        struct run run;

        ask(&run, reply, len, 0, true, command);
        assert_int_equal(run.code, 3);
        assert_int_equal(run.out_len, 0);
        assert_non_null(strstr(run.err, "lost the connection to 127.0.0.1:"));
        run_deinit(&run);
    }
}

static void
bytes_that_are_no_reply_are_reported(void **state)
{
    static const char *const bad[] = {
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "$-5\r\n",
        "*1x\r\n",
        ":\r\n",
        "$2\r\nabc\r\n",
        "?\r\n",
        "$99999999999\r\n",
        "*99999999999\r\n",
    };
    static const char *const command[] = {"GET", "k", NULL};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct run run;

        ask(&run, bad[i], strlen(bad[i]), 0, false, command);
        if (run.code != 3 || strstr(run.err, "broke the protocol") == NULL) {
            fail_msg("%s: exit %d, %s", bad[i], run.code, run.err);
        }
        run_deinit(&run);
    }
}

static void
nesting_without_end_is_refused(void **state)
{
    enum { LEVELS = 100 * 1000 };
    static const char *const command[] = {"GET", "k", NULL};
    char *reply = malloc(4 * LEVELS);
    struct run run;

    (void)state;
    for (size_t i = 0; i < LEVELS; i++) {
        memcpy(reply + 4 * i, "*1\r\n", 4);
    }
    ask(&run, reply, (size_t)4 * LEVELS, 0, false, command);
    assert_int_equal(run.code, 3);
    assert_non_null(strstr(run.err, "broke the protocol"));
    run_deinit(&run);
    fake_set(&fixture.fake, (struct fake_answer){0});
    free(reply);
}

static void
error_before_hanging_up_is_the_answer(void **state)
{
    static const char reply[] = "-ERR max number of clients reached\r\n";
    static const char *const command[] = {"PING", NULL};
    struct run run;

    (void)state;
    ask(&run, reply, sizeof(reply) - 1, 0, true, command);
    assert_int_equal(run.code, 1);
    assert_string_equal(run.out, "ERR max number of clients reached\n");
    run_deinit(&run);
}

static void
messages_are_printed_until_the_server_hangs_up(void **state)
{
    static const char reply[] = "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"
                                "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n";
    static const char refusal[] = "-NOPERM no\r\n";
    static const char *const command[] = {"SUBSCRIBE", "c", NULL};
    struct run run;

    (void)state;
    ask(&run, reply, sizeof(reply) - 1, 0, true, command);
    assert_int_equal(run.code, 3);
    assert_string_equal(run.out, "subscribe\nc\n1\nmessage\nc\nhi\n");
    run_deinit(&run);
    ask(&run, refusal, sizeof(refusal) - 1, 0, false, command);
    assert_int_equal(run.code, 1);
    assert_string_equal(run.out, "NOPERM no\n");
    run_deinit(&run);
}

static void
modes_survive_answers_that_make_no_sense(void **state)
{
    static const char *const replies[] = {
        ":7\r\n",
        "+OK\r\n",
        "*0\r\n",
        "*2\r\n:0\r\n:0\r\n",
        "*2\r\n*0\r\n*0\r\n",
        "*2\r\n+0\r\n*1\r\n:5\r\n",
        "-ERR no\r\n",
        "$-1\r\n",
        "*2\r\n$40\r\n0123456789012345678901234567890123456789\r\n*0\r\n",
    };
    static const char *const modes[] = {"--scan", "--bigkeys", "--stat", "--latency", "--pipe"};

    (void)state;
    for (size_t r = 0; r < sizeof(replies) / sizeof(replies[0]); r++) {
        for (size_t m = 0; m < sizeof(modes) / sizeof(modes[0]); m++) {
            const char *const command[] = {modes[m], "-r", "1", NULL};
            struct run run;

            ask(&run, replies[r], strlen(replies[r]), 0, true, command);
            /* Whatever it makes of it, it ends by itself. */
            assert_in_range(run.code, 0, 3);
            run_deinit(&run);
        }
    }
}

static int
start_fake(void **state)
{
    (void)state;
    fake_start(&fixture.fake);
    return 0;
}

static int
stop_fake(void **state)
{
    (void)state;
    fake_destroy(&fixture.fake);
    return 0;
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_command_line_ends_with_2),
        cmocka_unit_test(help_and_version_need_no_server),
        cmocka_unit_test(no_server_ends_with_3),
        cmocka_unit_test(reply_cut_at_any_byte_prints_the_same),
        cmocka_unit_test(server_that_hangs_up_inside_a_reply_is_reported),
        cmocka_unit_test(bytes_that_are_no_reply_are_reported),
        cmocka_unit_test(nesting_without_end_is_refused),
        cmocka_unit_test(error_before_hanging_up_is_the_answer),
        cmocka_unit_test(messages_are_printed_until_the_server_hangs_up),
        cmocka_unit_test(modes_survive_answers_that_make_no_sense),
    };

    run_paths_parse(&fixture.paths, argc, argv, false);
    return cmocka_run_group_tests(tests, start_fake, stop_fake);
}
