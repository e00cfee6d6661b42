/* Goal:   connections are named, listed, paused, silenced and closed as Redis does it, and one
 * that doesn't read or
 *         sends too much harms nobody else.
 * Method: a server over a fake store with a few clients. */
#include "tests/unit/server/harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void
reply_off_and_skip_silence_what_they_say(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 1, NULL);
    assert_answer(&h, 0, "CLIENT REPLY SKIP\r\nSET a 1\r\nGET a", "$1\r\n1\r\n");
    assert_answer(&h, 0, "CLIENT REPLY OFF\r\nSET a 2\r\nPING", "");
    assert_answer(&h, 0, "CLIENT REPLY ON\r\nGET a", "+OK\r\n$1\r\n2\r\n");
    harness_deinit(&h);
}

static void
pause_holds_writes_or_all_until_it_ends(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 2, NULL);
    assert_answer(&h, 0, "CLIENT PAUSE 100000 WRITE", "+OK\r\n");
    assert_answer(&h, 1, "GET a\r\nSET a \"1 2\"\r\nGET a", "$-1\r\n");
    assert_answer(&h, 0, "CLIENT UNPAUSE", "+OK\r\n");
    harness_turn(&h);
    assert_string_equal(harness_received(&h, 1), "+OK\r\n$3\r\n1 2\r\n");
    assert_answer(&h, 0, "CLIENT PAUSE 100000", "+OK\r\n");
    assert_answer(&h, 1, "GET a", "");
    assert_answer(&h, 0, "CLIENT UNPAUSE", "+OK\r\n");
    harness_turn(&h);
    assert_string_equal(harness_received(&h, 1), "$3\r\n1 2\r\n");
    assert_answer(&h, 0, "CLIENT PAUSE 1", "+OK\r\n");
    harness_say(&h, 1, "GET a");
    while (h.server->pause_until_ms != 0) {
        harness_turn(&h);
    }
    harness_turn(&h);
    assert_string_equal(harness_received(&h, 1), "$3\r\n1 2\r\n");
    harness_deinit(&h);
}

static void
list_and_info_describe_the_clients(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 2, NULL);
    assert_answer(&h, 0, "CLIENT SETNAME one", "+OK\r\n");
    assert_answer(&h, 0, "CLIENT SETNAME \"a b\"",
                  "-ERR Client names cannot contain spaces, newlines or special characters.\r\n");
    assert_answer(&h, 0, "CLIENT SETINFO LIB-NAME lib\r\nCLIENT SETINFO LIB-VER 1.2",
                  "+OK\r\n+OK\r\n");
    assert_answer(&h, 0, "CLIENT SETINFO x 1", "-ERR Unrecognized option 'x'\r\n");
    harness_say(&h, 1, "CLIENT LIST");
    const char *list = harness_received(&h, 1);

    assert_non_null(strstr(list, "id=1 "));
    assert_non_null(strstr(list, " name=one "));
    assert_non_null(strstr(list, "lib-name=lib lib-ver=1.2\n"));
    assert_non_null(strstr(list, "cmd=client|list "));
    harness_say(&h, 1, "CLIENT LIST ID 2");
    assert_null(strstr(harness_received(&h, 1), "id=1 "));
    harness_say(&h, 1, "INFO clients");
    assert_non_null(strstr(harness_received(&h, 1), "connected_clients:2\r\n"));
    harness_deinit(&h);
}

static void
name_longer_than_is_kept_is_refused_and_changes_nothing(void **state)
{
    static const char error[] = "-ERR names of clients and libraries have at most 1024 bytes\r\n";
    char request[4096];
    char name[1026];
    struct harness h;

    (void)state;
    harness_init(&h, 1, "secret");
    memset(name, 'n', 1025);
    name[1025] = '\0';
    snprintf(request, sizeof(request), "HELLO 3 AUTH default secret SETNAME %s\r\n", name);
    harness_send_text(&h, 0, request);
    assert_string_equal(harness_received(&h, 0), error);
    assert_answer(&h, 0, "PING", "-NOAUTH Authentication required.\r\n");
    assert_answer(&h, 0, "AUTH secret", "+OK\r\n");
    snprintf(request, sizeof(request), "CLIENT SETNAME %s\r\nCLIENT SETINFO LIB-NAME %s\r\n",
             name + 1, name);
    harness_send_text(&h, 0, request);
    snprintf(request, sizeof(request), "+OK\r\n%s", error);
    assert_string_equal(harness_received(&h, 0), request);
    harness_deinit(&h);
}

static void
kill_closes_the_ones_meant(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 3, NULL);
    assert_answer(&h, 0, "CLIENT KILL ID 2", ":1\r\n");
    assert_string_equal(harness_received(&h, 1), "(closed)");
    assert_answer(&h, 0, "CLIENT KILL 1.2.3.4:5", "-ERR No such client\r\n");
    assert_answer(&h, 0, "CLIENT KILL TYPE normal", ":1\r\n");
    assert_string_equal(harness_received(&h, 2), "(closed)");
    assert_answer(&h, 0, "CLIENT KILL ID 1 SKIPME no", ":1\r\n(closed)");
    harness_deinit(&h);
}

static void
reader_that_stalls_is_not_executed_further(void **state)
{
    struct harness h;
    static char value[60000];

    (void)state;
    harness_init(&h, 2, NULL);
    memset(value, 'v', sizeof(value));
    harness_send_text(&h, 0, "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$60000\r\n");
    harness_send(&h, 0, value, sizeof(value));
    harness_send_text(&h, 0, "\r\n");
    assert_string_equal(harness_received(&h, 0), "+OK\r\n");
    for (int i = 0; i < 200; i++) {
        harness_say(&h, 0, "GET a");
    }
    assert_true(resp_out_pending(&h.conns[0]->out) < 3 * 1024 * 1024);
    assert_true((h.conns[0]->blocked & CONN_BLOCK_OUTPUT) != 0);
    assert_answer(&h, 1, "PING", "+PONG\r\n");

    size_t got = 0;
    char buf[65536];
    ssize_t n;

    for (int idle = 0; idle < 100 && got < 200 * (60000 + 10); idle++) {
        while ((n = recv(h.clients[0], buf, sizeof(buf), 0)) > 0) {
            got += (size_t)n;
            idle = 0;
        }
        harness_turn(&h);
    }
    assert_int_equal(got, 200 * (60000 + 10));
    harness_deinit(&h);
}

enum { LONG_BYTES = 600 * 1000 };

static void
set_long_value(struct harness *h)
{
    char *value = calloc(1, LONG_BYTES);

    assert_non_null(value);
    harness_send_text(h, 0, "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$600000\r\n");
    harness_send(h, 0, value, LONG_BYTES);
    harness_send_text(h, 0, "\r\n");
    assert_string_equal(harness_received(h, 0), "+OK\r\n");
    free(value);
}

/* Read what is sent until nothing comes any more. */
static size_t
drain(struct harness *h, unsigned client)
{
    static char buf[65536];
    size_t got = 0;
    ssize_t n;

    for (int idle = 0; idle < 10; idle++) {
        while ((n = recv(h->clients[client], buf, sizeof(buf), 0)) > 0) {
            got += (size_t)n;
            idle = 0;
        }
        harness_turn(h);
    }
    return got;
}

static void
long_replies_in_a_pipeline_stay_below_the_hard_limit(void **state)
{
    enum { GETS = 20 };
    static const char get[] = "*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
    struct harness h;

    (void)state;
    harness_init(&h, 1, NULL);
    set_long_value(&h);
    h.server->options.output_hard = 4 * LONG_BYTES;
    for (unsigned i = 0; i < GETS; i++) {
        assert_int_equal(send(h.clients[0], get, sizeof(get) - 1, 0), sizeof(get) - 1);
    }
    harness_turn(&h);
    assert_int_equal(drain(&h, 0), GETS * (LONG_BYTES + 11));
    harness_deinit(&h);
}

static void
limit_of_unread_replies_holds_however_small(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 1, NULL);
    set_long_value(&h);
    h.server->options.output_hard = 1000;
    harness_say(&h, 0, "GET a");
    drain(&h, 0);
    assert_int_equal(h.server->metrics.output_limit_closed, 1);
    harness_deinit(&h);
}

/* Each of these has one reply far over the limit. */
static void
one_reply_over_the_limit_is_not_gathered_first(void **state)
{
    enum { GETS = 1200 };
    static const char get[] = "$1\r\na\r\n";
    static const char *const heads[] = {
        "*1201\r\n$4\r\nMGET\r\n",
        "*1\r\n$5\r\nMULTI\r\n*1201\r\n$4\r\nMGET\r\n",
        "*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$3\r\nOFF\r\n*1201\r\n$4\r\nMGET\r\n",
    };
    static const char *const tails[] = {"", "*1\r\n$4\r\nEXEC\r\n", "*1\r\n$4\r\nPING\r\n"};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct harness h;

        harness_init(&h, 1, NULL);
        char line[9000] = "SET a ";

        memset(line + 6, 'v', 8000);
        memcpy(line + 8006, "\r\n", 3);
        harness_send_text(&h, 0, line);
        harness_say(&h, 0, "CONFIG SET client-output-buffer-limit \"normal 2mb 0 0\"");
        assert_string_equal(harness_received(&h, 0), "+OK\r\n+OK\r\n");
        harness_send_text(&h, 0, heads[i]);
        for (unsigned n = 0; n < GETS; n++) {
            harness_send_text(&h, 0, get);
        }
        harness_send_text(&h, 0, tails[i]);
        drain(&h, 0);
        assert_int_equal(h.server->metrics.output_limit_closed, i == 2 ? 0 : 1);
        /* What it took: blocks of 16 KiB. */
        assert_in_range(h.server->pool.spare_count[1], 100, 150);
        harness_deinit(&h);
    }
}

static void
soft_limit_counts_the_time_above_it_only(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 1, NULL);
    set_long_value(&h);
    h.server->options.output_soft = 1000;
    h.server->options.output_soft_s = 60;
    harness_say(&h, 0, "GET a\r\nGET a\r\nGET a\r\nGET a");
    assert_int_not_equal(h.conns[0]->output_soft_since_ms, 0);
    assert_int_equal(drain(&h, 0), 4 * (LONG_BYTES + 11));
    assert_int_equal(h.conns[0]->output_soft_since_ms, 0);
    harness_say(&h, 0, "GET a");
    assert_int_not_equal(h.conns[0]->output_soft_since_ms, 0);
    h.conns[0]->output_soft_since_ms -= 61 * 1000;
    harness_say(&h, 0, "GET a");
    assert_int_equal(h.server->metrics.output_limit_closed, 1);
    harness_deinit(&h);
}

/* Send `text` up to `times` times, as far as it is taken. Returns how often it was. */
static unsigned
say_while_heard(struct harness *h, const char *text, unsigned times)
{
    const size_t len = strlen(text);

    for (unsigned said = 0; said < times; said++) {
        size_t at = 0;

        for (unsigned tries = 0; at < len; tries++) {
            const ssize_t sent = send(h->clients[0], text + at, len - at, MSG_NOSIGNAL);

            at += sent > 0 ? (size_t)sent : 0;
            if (tries == 3 && at == 0) {
                return said;
            }
            assert_true(tries < 1000);
            harness_turn(h);
        }
    }
    return times;
}

static void
pipeline_sent_before_any_reply_is_read_is_taken(void **state)
{
    enum { ECHOES = 4000 };
    static char echo[2048] = "*2\r\n$4\r\nECHO\r\n$1000\r\n";
    struct harness h;

    (void)state;
    harness_init(&h, 1, NULL);
    memset(echo + strlen(echo), 'e', 1000);
    strcat(echo, "\r\n");
    assert_int_equal(say_while_heard(&h, echo, ECHOES), ECHOES);
    assert_true((h.conns[0]->blocked & CONN_BLOCK_OUTPUT) != 0);
    assert_int_equal(drain(&h, 0), ECHOES * 1009);
    harness_deinit(&h);
}

static void
client_with_much_to_execute_already_waits_with_more(void **state)
{
    enum { PINGS = 1000, TIMES = 3000 };
    struct harness h;

    (void)state;
    harness_init(&h, 1, NULL);
    char *pings = calloc(PINGS, 6 + 1);

    assert_non_null(pings);
    for (unsigned i = 0; i < PINGS; i++) {
        memcpy(pings + (size_t)i * 6, "PING\r\n", 6);
    }
    struct conn *conn = h.conns[0];

    fake_store_hold(h.store);
    harness_say(&h, 0, "SET a 1\r\nDBSIZE");
    const unsigned said = say_while_heard(&h, pings, TIMES);

    assert_in_range(said, (1 << 20) / 6000, (2 << 20) / 6000);
    assert_false(conn->sock.recv_wanted);
    fake_store_complete(h.store);
    assert_int_equal(loop_wait(h.server->loop, 0), FL_OK);
    /* It may be executed again, and nothing of it was yet. */
    assert_true((conn->flags & CONN_READY) != 0);
    assert_true(input_waiting(&conn->in) > CONN_INPUT_WAIT_BYTES_MAX);
    assert_false(conn->sock.recv_wanted);
    assert_int_equal(drain(&h, 0), strlen("+OK\r\n:1\r\n") + (size_t)said * PINGS * 7);
    assert_true(conn->sock.recv_wanted);
    free(pings);
    harness_deinit(&h);
}

static void
unexecuted_input_over_the_limit_ends_the_connection(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 2, NULL);
    h.server->options.query_buffer_limit = 1 << 20;
    h.server->options.log_level = LOGGER_ERROR;
    harness_send_text(&h, 0, "*3\r\n$4\r\nECHO\r\n$4000000\r\n");
    char *junk = calloc(1, 2 << 20);

    assert_non_null(junk);
    for (size_t at = 0; at < (2 << 20); at += 65536) {
        if (send(h.clients[0], junk + at, 65536, MSG_NOSIGNAL) < 0) {
            break;
        }
        harness_turn(&h);
    }
    free(junk);
    assert_int_equal(h.server->metrics.query_limit_closed, 1);
    assert_answer(&h, 1, "PING", "+PONG\r\n");
    harness_deinit(&h);
}

static void
idle_client_is_closed_after_the_timeout(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 2, NULL);
    h.server->options.timeout_s = 10;
    h.conns[0]->active_ms -= 11000;
    for (int i = 0; i < 5; i++) {
        harness_turn(&h);
    }
    assert_string_equal(harness_received(&h, 0), "(closed)");
    assert_answer(&h, 1, "PING", "+PONG\r\n");
    harness_deinit(&h);
}

static void
client_that_does_not_read_is_idle(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 2, NULL);
    set_long_value(&h);
    h.server->options.timeout_s = 10;
    harness_say(&h, 0, "GET a\r\nGET a\r\nGET a\r\nGET a");
    assert_true((h.conns[0]->blocked & CONN_BLOCK_OUTPUT) != 0);
    h.conns[0]->active_ms -= 11000;
    assert_answer(&h, 1, "CLIENT PAUSE 100000 WRITE", "+OK\r\n");
    harness_say(&h, 1, "SET b 1");
    h.conns[1]->active_ms -= 11000;
    for (int i = 0; i < 5; i++) {
        harness_turn(&h);
    }
    assert_int_equal(h.server->metrics.idle_closed, 1);
    assert_int_equal(h.server->conns_count, 1);
    harness_deinit(&h);
}

static void
client_that_waits_for_its_commit_is_not_idle(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 1, NULL);
    h.server->options.timeout_s = 10;
    fake_store_hold(h.store);
    harness_say(&h, 0, "SET a 1");
    h.conns[0]->active_ms -= 11000;
    for (int i = 0; i < 5; i++) {
        harness_turn(&h);
    }
    fake_store_complete(h.store);
    harness_turn(&h);
    assert_string_equal(harness_received(&h, 0), "+OK\r\n");
    harness_deinit(&h);
}

static void
protocol_three_changes_the_form_of_replies(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 1, NULL);
    assert_answer(&h, 0, "HELLO 4", "-NOPROTO unsupported protocol version\r\n");
    assert_answer(&h, 0, "HELLO x", "-ERR Protocol version is not an integer or out of range\r\n");
    harness_say(&h, 0, "HELLO 3");
    assert_int_equal(strncmp(harness_received(&h, 0), "%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n", 27),
                     0);
    assert_answer(&h, 0, "GET a", "_\r\n");
    assert_answer(&h, 0, "RESET\r\nGET a", "+RESET\r\n$-1\r\n");
    harness_deinit(&h);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reply_off_and_skip_silence_what_they_say),
        cmocka_unit_test(pause_holds_writes_or_all_until_it_ends),
        cmocka_unit_test(list_and_info_describe_the_clients),
        cmocka_unit_test(name_longer_than_is_kept_is_refused_and_changes_nothing),
        cmocka_unit_test(kill_closes_the_ones_meant),
        cmocka_unit_test(reader_that_stalls_is_not_executed_further),
        cmocka_unit_test(long_replies_in_a_pipeline_stay_below_the_hard_limit),
        cmocka_unit_test(limit_of_unread_replies_holds_however_small),
        cmocka_unit_test(one_reply_over_the_limit_is_not_gathered_first),
        cmocka_unit_test(soft_limit_counts_the_time_above_it_only),
        cmocka_unit_test(pipeline_sent_before_any_reply_is_read_is_taken),
        cmocka_unit_test(client_with_much_to_execute_already_waits_with_more),
        cmocka_unit_test(unexecuted_input_over_the_limit_ends_the_connection),
        cmocka_unit_test(idle_client_is_closed_after_the_timeout),
        cmocka_unit_test(client_that_does_not_read_is_idle),
        cmocka_unit_test(client_that_waits_for_its_commit_is_not_idle),
        cmocka_unit_test(protocol_three_changes_the_form_of_replies),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
