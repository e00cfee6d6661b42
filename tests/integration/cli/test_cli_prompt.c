/* Goal:   at a terminal faultline-cli prompts, edits, completes, hints and remembers, keeps
 *         passwords to itself, and outlives its server.
 * Method: the program runs at a pseudo-terminal; keys are typed, and what appears is waited for.
 */
#include "tests/integration/cli/run.h"
#include "tests/integration/cli/server.h"

#include "tests/lib/die.h"
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
    struct server server;
} fixture;

#define UP "\033[A"

static void
start(struct terminal *terminal)
{
    const char *const args[] = {"-p", fixture.server.port_text, NULL};

    terminal_start(terminal, fixture.paths.cli, args);
}

/* The prompt of a good connection; `mark` is what stands between the port and "> ". */
static void
expect_prompt(struct terminal *terminal, const char *mark)
{
    char text[64];

    snprintf(text, sizeof(text), "127.0.0.1:%s%s> ", fixture.server.port_text, mark);
    terminal_expect(terminal, text);
}

static void
replies_are_shown_with_their_types(void **state)
{
    struct terminal terminal;

    (void)state;
    start(&terminal);
    expect_prompt(&terminal, "");
    terminal_send(&terminal, "SET k \"a b\"\r");
    terminal_expect(&terminal, "\r\nOK\r\n");
    expect_prompt(&terminal, "");
    terminal_send(&terminal, "MGET k none\r");
    terminal_expect(&terminal, "1) \"a b\"\r\n2) (nil)\r\n");
    terminal_send(&terminal, "2 INCR n\r");
    terminal_expect(&terminal, "(integer) 1\r\n(integer) 2\r\n");
    terminal_send(&terminal, "nonsense\r");
    terminal_expect(&terminal, "(error) ERR unknown command");
    terminal_send(&terminal, "ECHO \"x\r");
    terminal_expect(&terminal, "Invalid argument(s)");
    terminal_send(&terminal, "INFO server\r");
    terminal_expect(&terminal, "# Server\r");
    expect_prompt(&terminal, "");
    assert_int_equal(terminal_leave(&terminal), 0);
}

static void
prompt_shows_an_open_transaction(void **state)
{
    struct terminal terminal;

    (void)state;
    start(&terminal);
    expect_prompt(&terminal, "");
    terminal_send(&terminal, "multi\r");
    expect_prompt(&terminal, "(TX)");
    terminal_send(&terminal, "set k v\r");
    terminal_expect(&terminal, "QUEUED");
    expect_prompt(&terminal, "(TX)");
    terminal_send(&terminal, "exec\r");
    terminal_expect(&terminal, "1) OK\r\n");
    expect_prompt(&terminal, "");
    terminal_send(&terminal, "multi\r");
    expect_prompt(&terminal, "(TX)");
    terminal_send(&terminal, "discard\r");
    expect_prompt(&terminal, "");
    terminal_send(&terminal, "exit\r");
    assert_int_equal(terminal_end(&terminal), 0);
}

static void
tab_completes_names_and_space_hints_arguments(void **state)
{
    struct terminal terminal;

    (void)state;
    start(&terminal);
    expect_prompt(&terminal, "");
    terminal_send(&terminal, "strl\t");
    terminal_expect(&terminal, "en ");
    terminal_send(&terminal, "\025GETR\t");
    terminal_expect(&terminal, "ANGE ");
    terminal_expect(&terminal, "key start end"); /* the hint beside it */
    terminal_send(&terminal, "\025config res\t");
    terminal_expect(&terminal, "etstat ");
    terminal_send(&terminal, "\025get\t");
    terminal_expect(&terminal, "GETDEL  GETEX  GETRANGE  GETSET");
    expect_prompt(&terminal, "");
    terminal_send(&terminal, "\025strlen k\t");
    terminal_expect(&terminal, "STRLEN key\r\n");
    terminal_send(&terminal, "\025help strlen\r");
    terminal_expect(&terminal, "STRLEN key\r\nsummary: ");
    terminal_send(&terminal, "help\r");
    terminal_expect(&terminal, "Ctrl-D");
    terminal_send(&terminal, "quit\r");
    assert_int_equal(terminal_end(&terminal), 0);
}

static char *
file_text(const char *path)
{
    char *text = calloc(1, 4096);
    FILE *file = fopen(path, "r");

    if (file == NULL || text == NULL) {
        die_errno("open %s", path);
    }
    text[fread(text, 1, 4095, file)] = '\0';
    fclose(file);
    return text;
}

static void
history_is_recalled_and_kept_without_passwords(void **state)
{
    char path[TMPDIR_PATH_BYTES];
    struct terminal terminal;

    (void)state;
    setenv("FAULTLINE_HISTORY", tmpdir_join(&fixture.server.dir, "history", path), 1);
    start(&terminal);
    expect_prompt(&terminal, "");
    terminal_send(&terminal, "ECHO remember-me\r");
    terminal_expect(&terminal, "\"remember-me\"");
    terminal_send(&terminal, "AUTH secret1\r");
    terminal_expect(&terminal, "(error)");
    terminal_send(&terminal, "HELLO 2 AUTH u secret2\r");
    terminal_expect(&terminal, "(error)");
    expect_prompt(&terminal, "");
    terminal_send(&terminal, UP "\r");
    terminal_expect(&terminal, "\"remember-me\"");
    assert_int_equal(terminal_leave(&terminal), 0);

    char *text = file_text(path);

    assert_non_null(strstr(text, "ECHO remember-me\n"));
    assert_null(strstr(text, "secret"));
    free(text);

    start(&terminal);
    expect_prompt(&terminal, "");
    terminal_send(&terminal, UP "\r");
    terminal_expect(&terminal, "\"remember-me\"");
    assert_int_equal(terminal_leave(&terminal), 0);
    setenv("FAULTLINE_HISTORY", "", 1);
}

static void
server_that_goes_and_comes_back_is_found_again(void **state)
{
    struct terminal terminal;

    (void)state;
    start(&terminal);
    expect_prompt(&terminal, "");
    terminal_send(&terminal, "PING\r");
    terminal_expect(&terminal, "PONG");
    server_stop(&fixture.server);
    terminal_send(&terminal, "INCR n\r");
    terminal_expect(&terminal, "lost the connection");
    terminal_expect(&terminal, "not connected> ");
    terminal_send(&terminal, "PING\r");
    terminal_expect(&terminal, "could not connect to 127.0.0.1:");
    terminal_expect(&terminal, "not connected> ");
    server_restart(&fixture.server, fixture.paths.server);
    terminal_send(&terminal, "ECHO again\r");
    terminal_expect(&terminal, "\"again\"");
    expect_prompt(&terminal, "");
    terminal_send(&terminal, "QUIT\r");
    assert_int_equal(terminal_end(&terminal), 0);
}

static void
prompt_appears_without_any_server(void **state)
{
    struct terminal terminal;
    char port[8];
    const char *const args[] = {"-p", port, NULL};
    uint16_t number;
    const int held = net_port_hold(&number);

    (void)state;
    snprintf(port, sizeof(port), "%u", number);
    terminal_start(&terminal, fixture.paths.cli, args);
    terminal_expect(&terminal, "Connection refused");
    terminal_expect(&terminal, "not connected> ");
    terminal_send(&terminal, "help\rexit\r");
    terminal_expect(&terminal, "help COMMAND");
    assert_int_equal(terminal_end(&terminal), 0);
    close(held);
}

static void
interrupt_ends_the_program_at_the_prompt(void **state)
{
    struct terminal terminal;

    (void)state;
    start(&terminal);
    expect_prompt(&terminal, "");
    terminal_send(&terminal, "SET k\003");
    assert_int_equal(terminal_end(&terminal), -1);
}

static int
start_server(void **state)
{
    (void)state;
    server_start(&fixture.server, fixture.paths.server, NULL);
    return 0;
}

static int
stop_server(void **state)
{
    (void)state;
    server_destroy(&fixture.server);
    return 0;
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replies_are_shown_with_their_types),
        cmocka_unit_test(prompt_shows_an_open_transaction),
        cmocka_unit_test(tab_completes_names_and_space_hints_arguments),
        cmocka_unit_test(history_is_recalled_and_kept_without_passwords),
        cmocka_unit_test(server_that_goes_and_comes_back_is_found_again),
        cmocka_unit_test(prompt_appears_without_any_server),
        cmocka_unit_test(interrupt_ends_the_program_at_the_prompt),
    };

    run_paths_parse(&fixture.paths, argc, argv, true);
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
