/* Goal:   every way of using faultline-cli does against a real server what its help says, and its
 *         exit status can be relied on.
 * Method: the program is run with arguments and stdin against the server named on the command line
 *         (redis-server, faultline-server); stdout, stderr and status are compared.
 */
#include "tests/integration/cli/run.h"
#include "tests/integration/cli/server.h"

#include "tests/lib/die.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct {
    struct run_paths paths;
    struct server server;
    struct server locked; /* asks for PASSWORD */
} fixture;

#define PASSWORD "open sesame"

/* Run with the server's port and `...` as arguments, up to NULL. */
static void __attribute__((sentinel))
cli_at(struct run *run, const struct server *server, const char *input, size_t input_len, ...)
{
    const char *args[RUN_ARGS_MAX + 1] = {"-p", server->port_text};
    size_t argc = 2;
    va_list list;

    va_start(list, input_len);
    for (const char *arg; (arg = va_arg(list, const char *)) != NULL && argc < RUN_ARGS_MAX;) {
        args[argc++] = arg;
    }
    va_end(list);
    args[argc] = NULL;
    run_cli(run, fixture.paths.cli, args, input, input_len);
}

#define CLI(run, ...) cli_at(run, &fixture.server, "", 0, __VA_ARGS__, NULL)
#define CLI_INPUT(run, text, ...)                                                                  \
    cli_at(run, &fixture.server, text, strlen(text), __VA_ARGS__, NULL)

static void
expect(struct run *run, int code, const char *out)
{
    if (run->code != code || strcmp(run->out, out) != 0) {
        fail_msg("exit %d, expected %d; stdout:\n%s\nexpected:\n%s\nstderr:\n%s", run->code, code,
                 run->out, out, run->err);
    }
    run_deinit(run);
}

static void
flush(void)
{
    struct run run;

    CLI(&run, "FLUSHALL");
    expect(&run, 0, "OK\n");
}

static void
one_shot_prints_raw_without_a_terminal(void **state)
{
    struct run run;

    (void)state;
    flush();
    CLI(&run, "SET", "k", "a b");
    expect(&run, 0, "OK\n");
    CLI(&run, "GET", "k");
    expect(&run, 0, "a b\n");
    CLI(&run, "GET", "none");
    expect(&run, 0, "\n");
    CLI(&run, "MGET", "k", "none", "k");
    expect(&run, 0, "a b\n\na b\n");
}

static void
one_shot_prints_types_and_json_when_asked_to(void **state)
{
    struct run run;

    (void)state;
    flush();
    CLI(&run, "--no-raw", "SET", "k", "5");
    expect(&run, 0, "OK\n");
    CLI(&run, "--no-raw", "INCR", "k");
    expect(&run, 0, "(integer) 6\n");
    CLI(&run, "--no-raw", "MGET", "k", "none");
    expect(&run, 0, "1) \"6\"\n2) (nil)\n");
    CLI(&run, "--json", "MGET", "k", "none");
    expect(&run, 0, "[\"6\",null]\n");
    CLI(&run, "--json", "--raw", "GET", "k");
    expect(&run, 0, "6\n");
}

static void
error_reply_is_printed_and_ends_with_1(void **state)
{
    struct run run;

    (void)state;
    CLI(&run, "--no-raw", "GET");
    expect(&run, 1, "(error) ERR wrong number of arguments for 'get' command\n");
    CLI(&run, "GET");
    expect(&run, 1, "ERR wrong number of arguments for 'get' command\n");
    CLI(&run, "--json", "GET");
    expect(&run, 1, "{\"error\":\"ERR wrong number of arguments for 'get' command\"}\n");
}

static void
protocol_follows_the_flags(void **state)
{
    struct run run;

    (void)state;
    CLI(&run, "--json", "HELLO");
    assert_non_null(strstr(run.out, "\"proto\":3"));
    run_deinit(&run);
    CLI(&run, "--json", "-2", "HELLO");
    assert_non_null(strstr(run.out, "\"proto\",2"));
    run_deinit(&run);
    CLI(&run, "--no-raw", "-3", "HELLO");
    assert_non_null(strstr(run.out, "\"proto\" => (integer) 3"));
    run_deinit(&run);
    CLI(&run, "--no-raw", "HELLO");
    assert_non_null(strstr(run.out, "\"proto\"\n"));
    run_deinit(&run);
}

static void
command_is_repeated(void **state)
{
    struct run run;

    (void)state;
    flush();
    CLI(&run, "-r", "3", "-i", "0.01", "INCR", "n");
    expect(&run, 0, "1\n2\n3\n");
    CLI(&run, "-r", "0", "INCR", "n");
    expect(&run, 0, "");
}

static void
last_argument_comes_from_stdin_whatever_it_is(void **state)
{
    enum { BIG = 3 * 1000 * 1000 };
    char *value = malloc(BIG);
    struct run run;

    (void)state;
    for (size_t i = 0; i < BIG; i++) {
        value[i] = (char)(i * 7 + i / 256);
    }
    cli_at(&run, &fixture.server, value, BIG, "-x", "SET", "big", NULL);
    expect(&run, 0, "OK\n");
    CLI(&run, "GET", "big");
    assert_int_equal(run.out_len, BIG + 1);
    assert_memory_equal(run.out, value, BIG);
    run_deinit(&run);
    free(value);
}

static void
script_runs_line_by_line(void **state)
{
    struct run run;

    (void)state;
    flush();
    CLI_INPUT(&run, "SET k \"a\\x00\\n\"\n\n  STRLEN k\r\nGET none\nECHO 'last line'", "--no-raw");
    expect(&run, 0, "OK\n(integer) 3\n(nil)\n\"last line\"\n");
    CLI_INPUT(&run, "ECHO a\nGET\nECHO b\n", "--no-raw");
    expect(&run, 1, "\"a\"\n(error) ERR wrong number of arguments for 'get' command\n\"b\"\n");
    CLI_INPUT(&run, "ECHO a\nECHO \"b\nECHO c\n", "--raw");
    assert_non_null(strstr(run.err, "line 2: Invalid argument(s)"));
    expect(&run, 2, "a\nc\n");
    CLI_INPUT(&run, "ECHO a\nQUIT\nECHO b\n", "--raw");
    expect(&run, 0, "a\nOK\n");
}

static void
silenced_replies_are_not_waited_for(void **state)
{
    struct run run;

    (void)state;
    CLI_INPUT(&run,
              "CLIENT REPLY SKIP\nECHO a\nECHO b\n"
              "CLIENT REPLY OFF\nECHO c\nECHO d\nCLIENT REPLY ON\nECHO e\n",
              "--raw");
    expect(&run, 0, "b\nOK\ne\n");
}

static void
connection_other_than_asked_for_runs_nothing(void **state)
{
    struct run run;

    (void)state;
    CLI(&run, "-n", "99999", "SET", "elsewhere", "x");
    assert_non_null(strstr(run.err, "SELECT failed: ERR"));
    expect(&run, 1, "");
    CLI(&run, "-n", "99999", "--scan");
    expect(&run, 1, "");
    cli_at(&run, &fixture.server, "SET elsewhere x\n", 16, "-n", "99999", NULL);
    expect(&run, 1, "");
    CLI(&run, "EXISTS", "elsewhere");
    expect(&run, 0, "0\n");
    /* 3 was only preferred: it is no failure if there is none. */
    CLI(&run, "--json", "ECHO", "x");
    expect(&run, 0, "\"x\"\n");
}

static void
unix_socket_serves_as_well(void **state)
{
    const char *const args[] = {"-s", fixture.server.socket, "ECHO", "x", NULL};
    struct run run;

    (void)state;
    run_cli(&run, fixture.paths.cli, args, "", 0);
    expect(&run, 0, "x\n");
}

static void
password_is_taken_from_flag_or_environment(void **state)
{
    static const char noauth[] = "NOAUTH Authentication required.\n";
    struct run run;

    (void)state;
    cli_at(&run, &fixture.locked, "", 0, "GET", "k", NULL);
    expect(&run, 1, noauth);
    cli_at(&run, &fixture.locked, "", 0, "-a", PASSWORD, "ECHO", "x", NULL);
    assert_non_null(strstr(run.err, "FAULTLINE_AUTH"));
    expect(&run, 0, "x\n");
    cli_at(&run, &fixture.locked, "", 0, "-a", PASSWORD, "--no-auth-warning", "--user", "default",
           "ECHO", "x", NULL);
    assert_string_equal(run.err, "");
    expect(&run, 0, "x\n");
    cli_at(&run, &fixture.locked, "", 0, "-a", "wrong", "GET", "k", NULL);
    assert_non_null(strstr(run.err, "AUTH failed: WRONGPASS"));
    expect(&run, 1, "");
    setenv("FAULTLINE_AUTH", PASSWORD, 1);
    cli_at(&run, &fixture.locked, "", 0, "--json", "HELLO", NULL);
    unsetenv("FAULTLINE_AUTH");
    assert_string_equal(run.err, "");
    assert_non_null(strstr(run.out, "\"proto\":3"));
    run_deinit(&run);
}

/* ---- modes ---- */

enum { KEYS = 300 };

static void
fill_keys(void)
{
    char *script = NULL;
    size_t len;
    FILE *file = open_memstream(&script, &len);
    struct run run;

    flush();
    for (int i = 0; i < KEYS; i++) {
        fprintf(file, "SET key:%03d %0*d\n", i, 1 + i % 50, 7);
    }
    fclose(file);
    CLI_INPUT(&run, script, "--raw");
    assert_int_equal(run.code, 0);
    run_deinit(&run);
    free(script);
}

static void
scan_lists_every_key_once(void **state)
{
    char seen[KEYS] = {0};
    struct run run;
    int lines = 0;

    (void)state;
    fill_keys();
    CLI(&run, "--scan");
    assert_int_equal(run.code, 0);
    for (const char *line = run.out; *line != '\0'; line = strchr(line, '\n') + 1) {
        int i = -1;

        assert_int_equal(sscanf(line, "key:%d", &i), 1);
        assert_in_range(i, 0, KEYS - 1);
        seen[i]++;
        lines++;
    }
    assert_int_equal(lines, KEYS);
    for (int i = 0; i < KEYS; i++) {
        assert_int_equal(seen[i], 1);
    }
    run_deinit(&run);
    CLI(&run, "--scan", "--pattern", "key:?17", "--count", "1000", "--json");
    assert_int_equal(run.code, 0);
    assert_int_equal(strlen(run.out), 3 * strlen("\"key:017\"\n"));
    assert_non_null(strstr(run.out, "\"key:017\"\n"));
    assert_non_null(strstr(run.out, "\"key:117\"\n"));
    assert_non_null(strstr(run.out, "\"key:217\"\n"));
    run_deinit(&run);
    CLI(&run, "--scan", "--no-raw", "--pattern", "key:000");
    expect(&run, 0, "\"key:000\"\n");
}

static void
bigkeys_finds_the_biggest(void **state)
{
    struct run run;

    (void)state;
    fill_keys();
    CLI(&run, "SET", "huge \"one\"",
        "012345678901234567890123456789012345678901234567890123456789");
    run_deinit(&run);
    CLI(&run, "--bigkeys");
    assert_int_equal(run.code, 0);
    assert_non_null(strstr(run.out, "Sampled 301 keys"));
    assert_non_null(strstr(run.out, "Biggest string found \"huge \\\"one\\\"\" has 60 bytes"));
    assert_non_null(strstr(run.out, "301 strings with 7710 bytes (100.00% of keys"));
    run_deinit(&run);
    flush();
    CLI(&run, "--bigkeys");
    assert_int_equal(run.code, 0);
    assert_non_null(strstr(run.out, "Sampled 0 keys"));
    run_deinit(&run);
}

static void
stat_prints_a_line_each_interval(void **state)
{
    struct run run;
    unsigned long keys = 0;
    int lines = 0;

    (void)state;
    fill_keys();
    CLI(&run, "--stat", "-r", "3", "-i", "0.02");
    assert_int_equal(run.code, 0);
    assert_int_equal(strncmp(run.out, "keys ", 5), 0);
    for (const char *line = strchr(run.out, '\n') + 1; *line != '\0';
         line = strchr(line, '\n') + 1) {
        assert_int_equal(sscanf(line, "%lu", &keys), 1);
        assert_int_equal(keys, KEYS);
        lines++;
    }
    assert_int_equal(lines, 3);
    run_deinit(&run);
}

static void
latency_measures_as_often_as_asked(void **state)
{
    double min = -1;
    double max = -1;
    double mean = -1;
    int samples = 0;
    struct run run;

    (void)state;
    CLI(&run, "--latency", "-r", "5", "-i", "0");
    assert_int_equal(run.code, 0);
    assert_int_equal(sscanf(run.out, "min: %lf, max: %lf, avg: %lf ms (%d samples)", &min, &max,
                            &mean, &samples),
                     4);
    assert_int_equal(samples, 5);
    assert_true(min > 0 && min <= mean && mean <= max);
    run_deinit(&run);
    CLI(&run, "--latency", "-r", "2", "--json");
    assert_non_null(strstr(run.out, "\"samples\":2}"));
    run_deinit(&run);
}

static void
pipe_sends_requests_and_counts_replies(void **state)
{
    enum { REQUESTS = 20000 };
    char *requests = NULL;
    size_t len;
    FILE *file = open_memstream(&requests, &len);
    struct run run;

    (void)state;
    flush();
    for (int i = 0; i < REQUESTS; i++) {
        fprintf(file, "*3\r\n$3\r\nSET\r\n$10\r\nkey:%06d\r\n$8\r\n%08d\r\n", i % 1000, i);
    }
    fprintf(file, "GET\r\nPING\r\n"); /* inline requests; the first is an error */
    fclose(file);
    cli_at(&run, &fixture.server, requests, len, "--pipe", NULL);
    assert_int_equal(run.code, 1);
    assert_non_null(strstr(run.out, "errors: 1, replies: 20002\n"));
    assert_non_null(strstr(run.err, "ERR wrong number of arguments for 'get' command\n"));
    run_deinit(&run);
    CLI(&run, "DBSIZE");
    expect(&run, 0, "1000\n");
    CLI_INPUT(&run, "PING\r\nPING\r\n", "--pipe");
    expect(&run, 0,
           "All data transferred. Waiting for the last reply...\n"
           "Last reply received from server.\nerrors: 0, replies: 2\n");
    free(requests);
}

static void
pipe_that_is_cut_off_or_malformed_gives_up(void **state)
{
    struct run run;

    (void)state;
    CLI_INPUT(&run, "PING\r\n*2\r\n$4\r\nECHO\r\n$1000\r\nabc", "--pipe", "--pipe-timeout", "0.3");
    assert_int_equal(run.code, 3);
    assert_non_null(strstr(run.out, "errors: 0, replies: 1\n"));
    assert_non_null(strstr(run.err, "not whole"));
    run_deinit(&run);
    CLI_INPUT(&run, "*1\r\n+PING\r\nPING\r\n", "--pipe", "--pipe-timeout", "2");
    assert_int_equal(run.code, 3);
    assert_non_null(strstr(run.err, "Protocol error"));
    run_deinit(&run);
}

/* The last test: it ends the server. */
static void
shutdown_that_ends_the_server_is_a_success(void **state)
{
    struct run run;

    (void)state;
    CLI(&run, "SHUTDOWN", "NOSAVE");
    expect(&run, 0, "");
    CLI(&run, "PING");
    assert_non_null(strstr(run.err, "could not connect to 127.0.0.1:"));
    expect(&run, 3, "");
}

static int
start_servers(void **state)
{
    (void)state;
    server_start(&fixture.server, fixture.paths.server, NULL);
    server_start(&fixture.locked, fixture.paths.server, PASSWORD);
    return 0;
}

static int
stop_servers(void **state)
{
    (void)state;
    server_destroy(&fixture.server);
    server_destroy(&fixture.locked);
    return 0;
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_shot_prints_raw_without_a_terminal),
        cmocka_unit_test(one_shot_prints_types_and_json_when_asked_to),
        cmocka_unit_test(error_reply_is_printed_and_ends_with_1),
        cmocka_unit_test(protocol_follows_the_flags),
        cmocka_unit_test(command_is_repeated),
        cmocka_unit_test(last_argument_comes_from_stdin_whatever_it_is),
        cmocka_unit_test(script_runs_line_by_line),
        cmocka_unit_test(silenced_replies_are_not_waited_for),
        cmocka_unit_test(connection_other_than_asked_for_runs_nothing),
        cmocka_unit_test(unix_socket_serves_as_well),
        cmocka_unit_test(password_is_taken_from_flag_or_environment),
        cmocka_unit_test(scan_lists_every_key_once),
        cmocka_unit_test(bigkeys_finds_the_biggest),
        cmocka_unit_test(stat_prints_a_line_each_interval),
        cmocka_unit_test(latency_measures_as_often_as_asked),
        cmocka_unit_test(pipe_sends_requests_and_counts_replies),
        cmocka_unit_test(pipe_that_is_cut_off_or_malformed_gives_up),
        cmocka_unit_test(shutdown_that_ends_the_server_is_a_success),
    };

    run_paths_parse(&fixture.paths, argc, argv, true);
    return cmocka_run_group_tests(tests, start_servers, stop_servers);
}
