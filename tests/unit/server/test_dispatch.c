/* Goal:   requests are cut, checked and answered alike however they arrive, and refused in
 * Redis's words. Method: a server over a fake store; the same pipeline is sent in pieces of
 * every size. */
#include "tests/unit/server/harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static const char pipeline[] = "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$5\r\nhello\r\n"
                               "PING\r\n"
                               "\r\n"
                               "*2\r\n$3\r\nget\r\n$1\r\na\r\n"
                               "*0\r\n"
                               "set b \"x y\"\r\n"
                               "*3\r\n$4\r\nMGET\r\n$1\r\na\r\n$1\r\nb\r\n"
                               "*1\r\n$7\r\nNOTHING\r\n"
                               "*2\r\n$4\r\nECHO\r\n$0\r\n\r\n";
static const char answers[] = "+OK\r\n+PONG\r\n$5\r\nhello\r\n+OK\r\n"
                              "*2\r\n$5\r\nhello\r\n$3\r\nx y\r\n"
                              "-ERR unknown command 'NOTHING', with args beginning with: \r\n"
                              "$0\r\n\r\n";

static void
pipeline_in_pieces_of_any_size_is_answered_alike(void **state)
{
    const size_t len = sizeof(pipeline) - 1;

    (void)state;
    for (size_t piece = 1; piece <= len; piece++) {
        struct harness h;

        harness_init(&h, 1, NULL);
        for (size_t at = 0; at < len; at += piece) {
            harness_send(&h, 0, pipeline + at, at + piece < len ? piece : len - at);
        }
        assert_string_equal(harness_received(&h, 0), answers);
        harness_deinit(&h);
    }
}

static void
pipeline_longer_than_a_group_keeps_its_order(void **state)
{
    struct harness h;
    char request[64];
    char expected[64];

    (void)state;
    harness_init(&h, 1, NULL);
    char *bytes = calloc(1, 4000 * 64);
    size_t len = 0;

    assert_non_null(bytes);
    for (int i = 0; i < 2500; i++) {
        const int value_len = snprintf(request, sizeof(request), "%d", i);

        len += (size_t)sprintf(bytes + len, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n%s\r\n",
                               value_len, request);
    }
    harness_send(&h, 0, bytes, len);
    assert_int_equal(strlen(harness_received(&h, 0)), 2500 * 5);
    snprintf(expected, sizeof(expected), "$4\r\n2499\r\n");
    assert_answer(&h, 0, "GET k", expected);
    free(bytes);
    harness_deinit(&h);
}

static void
append_of_nothing_writes_only_a_key_that_is_not_there(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 1, NULL);
    assert_answer(&h, 0, "SET k abc", "+OK\r\n");
    const unsigned submits = fake_store_submits(h.store);

    assert_answer(&h, 0, "APPEND k \"\"", ":3\r\n");
    assert_int_equal(fake_store_submits(h.store), submits);
    assert_answer(&h, 0, "APPEND new \"\"\r\nEXISTS new", ":0\r\n:1\r\n");
    harness_deinit(&h);
}

static void
malformed_frame_is_answered_and_closed(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 2, NULL);
    harness_send_text(&h, 0, "PING\r\n*1\r\n!4\r\nPING\r\n");
    assert_string_equal(harness_received(&h, 0),
                        "+PONG\r\n-ERR Protocol error: expected '$', got '!'\r\n(closed)");
    assert_answer(&h, 1, "PING", "+PONG\r\n");
    harness_deinit(&h);
}

static void
oversize_length_is_refused_before_it_arrives(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 1, NULL);
    harness_send_text(&h, 0, "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$536870913\r\n");
    assert_string_equal(harness_received(&h, 0),
                        "-ERR Protocol error: invalid bulk length\r\n(closed)");
    harness_deinit(&h);
}

static void
limit_of_lengths_holds_at_once_and_for_everybody(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 2, NULL);
    harness_send_text(&h, 1, "*2\r\n$4\r\nECHO\r\n"); /* in the middle of a request */
    assert_answer(&h, 0, "CONFIG SET proto-max-bulk-len 1mb", "+OK\r\n");
    for (unsigned client = 0; client < 2; client++) {
        harness_send_text(&h, client,
                          client == 0 ? "*2\r\n$4\r\nECHO\r\n$1048577\r\n" : "$1048577\r\n");
        assert_string_equal(harness_received(&h, client),
                            "-ERR Protocol error: invalid bulk length\r\n(closed)");
    }
    harness_deinit(&h);
}

static void
refusals_are_in_redis_words(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 1, NULL);
    assert_answer(&h, 0, "GET", "-ERR wrong number of arguments for 'get' command\r\n");
    assert_answer(&h, 0, "nope x y",
                  "-ERR unknown command 'nope', with args beginning with: 'x' 'y' \r\n");
    assert_answer(&h, 0, "CLIENT nope", "-ERR unknown subcommand 'nope'. Try CLIENT HELP.\r\n");
    assert_answer(&h, 0, "CLIENT id x",
                  "-ERR wrong number of arguments for 'client|id' command\r\n");
    assert_answer(&h, 0, "CLIENT", "-ERR wrong number of arguments for 'client' command\r\n");
    assert_answer(&h, 0, "SELECT 1", "-ERR DB index is out of range\r\n");
    harness_deinit(&h);
}

static void
stranger_may_authenticate_and_nothing_else(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 2, "secret");
    assert_answer(&h, 0, "GET a", "-NOAUTH Authentication required.\r\n");
    assert_answer(&h, 0, "AUTH wrong",
                  "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
    assert_answer(&h, 0, "AUTH secretx",
                  "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
    assert_answer(&h, 0, "AUTH default secret\r\nGET a", "+OK\r\n$-1\r\n");
    assert_answer(&h, 0, "RESET\r\nGET a", "+RESET\r\n-NOAUTH Authentication required.\r\n");
    harness_say(&h, 1, "HELLO 3 AUTH default secret SETNAME me");
    assert_non_null(strstr(harness_received(&h, 1), "%7\r\n"));
    assert_answer(&h, 1, "CLIENT GETNAME\r\nGET a", "$2\r\nme\r\n_\r\n");
    harness_deinit(&h);
}

static void
stranger_with_many_arguments_is_closed(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 1, "secret");
    harness_send_text(&h, 0, "*11\r\n");
    assert_string_equal(harness_received(&h, 0),
                        "-ERR Protocol error: unauthenticated multibulk length\r\n(closed)");
    harness_deinit(&h);
}

static void
half_closed_client_still_gets_its_answers(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 1, NULL);
    fake_store_hold(h.store);
    assert_int_equal(send(h.clients[0], "SET a 1\r\nDBSIZE\r\n", 17, 0), 17);
    assert_int_equal(shutdown(h.clients[0], SHUT_WR), 0);
    harness_turn(&h);
    assert_silent(&h, 0);
    fake_store_complete(h.store);
    harness_turn(&h);
    assert_string_equal(harness_received(&h, 0), "+OK\r\n:1\r\n(closed)");
    harness_deinit(&h);
}

static void
half_closed_client_gets_answers_that_take_several_turns(void **state)
{
    enum { PINGS = 5000 };
    struct harness h;

    (void)state;
    harness_init(&h, 1, NULL);
    fake_store_hold(h.store);
    harness_say(&h, 0, "SET a 1\r\nDBSIZE");
    for (unsigned i = 0; i < PINGS; i++) {
        harness_say(&h, 0, "PING");
    }
    assert_int_equal(shutdown(h.clients[0], SHUT_WR), 0);
    harness_turn(&h);
    assert_silent(&h, 0);
    fake_store_complete(h.store);
    harness_turn(&h);
    const char *answer = harness_received(&h, 0);

    assert_int_equal(strlen(answer), strlen("+OK\r\n:1\r\n(closed)") + (size_t)PINGS * 7);
    harness_deinit(&h);
}

static void
http_is_logged_once_a_minute(void **state)
{
    char log[4096];
    int pipe_fds[2];
    struct harness h;

    (void)state;
    harness_init(&h, 4, NULL);
    assert_int_equal(pipe(pipe_fds), 0);
    logger_init(&h.server->logger, pipe_fds[1], LOGGER_WARNING);
    for (unsigned client = 0; client < 3; client++) {
        assert_answer(&h, client, "POST / HTTP/1.1", "(closed)");
    }
    h.server->http_told_ns -= 61 * (uint64_t)1000000000;
    assert_answer(&h, 3, "Host: x", "(closed)");
    const ssize_t len = read(pipe_fds[0], log, sizeof(log) - 1);

    assert_true(len > 0);
    log[len] = '\0';
    const char *second = strstr(strstr(log, "speaks HTTP") + 1, "speaks HTTP");

    assert_non_null(second);
    assert_null(strstr(second + 1, "speaks HTTP"));
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    harness_deinit(&h);
}

/* ---- big values ---- */

enum { BIG = 1000 * 1000 };

static void
send_big_set(struct harness *h, const char *key, char fill)
{
    char head[64];
    char *value = malloc(BIG);

    assert_non_null(value);
    memset(value, fill, BIG);
    const int len = snprintf(head, sizeof(head), "*3\r\n$3\r\nSET\r\n$%zu\r\n%s\r\n$%d\r\n",
                             strlen(key), key, BIG);

    harness_send(h, 0, head, (size_t)len);
    harness_send(h, 0, value, BIG);
    harness_send(h, 0, "\r\nPING\r\n", 8);
    free(value);
}

static void
big_value_is_streamed_not_gathered(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 1, NULL);
    send_big_set(&h, "big", 'x');
    assert_string_equal(harness_received(&h, 0), "+OK\r\n+PONG\r\n");
    assert_true(h.conns[0]->in.cap < BIG / 2 + (1 << 20));
    assert_answer(&h, 0, "STRLEN big", ":1000000\r\n");
    assert_answer(&h, 0, "GETRANGE big 999998 -1", "$2\r\nxx\r\n");
    harness_deinit(&h);
}

static void
big_value_without_space_is_refused_and_the_next_request_served(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 1, NULL);
    fake_store_full_after(h.store, 0);
    send_big_set(&h, "big", 'x');
    const char *answer = harness_received(&h, 0);

    assert_int_equal(strncmp(answer, "-ERR no space left", 18), 0);
    assert_non_null(strstr(answer, "\r\n+PONG\r\n"));
    harness_deinit(&h);
}

static void
big_value_cut_off_leaves_nothing(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 1, NULL);
    harness_send_text(&h, 0, "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1000000\r\nxxxxx");
    close(h.clients[0]);
    h.clients[0] = -1;
    harness_turn(&h);
    harness_deinit(&h); /* asserts that no blob is left */
}

static void
big_value_in_a_transaction_is_stored_by_exec(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 1, NULL);
    assert_answer(&h, 0, "MULTI", "+OK\r\n");
    send_big_set(&h, "big", 'x');
    assert_string_equal(harness_received(&h, 0), "+QUEUED\r\n+QUEUED\r\n");
    assert_answer(&h, 0, "EXEC", "*2\r\n+OK\r\n+PONG\r\n");
    assert_answer(&h, 0, "STRLEN big", ":1000000\r\n");
    assert_answer(&h, 0, "MULTI", "+OK\r\n");
    send_big_set(&h, "big", 'x');
    assert_string_equal(harness_received(&h, 0), "+QUEUED\r\n+QUEUED\r\n");
    assert_answer(&h, 0, "DISCARD", "+OK\r\n");
    harness_deinit(&h);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pipeline_in_pieces_of_any_size_is_answered_alike),
        cmocka_unit_test(pipeline_longer_than_a_group_keeps_its_order),
        cmocka_unit_test(append_of_nothing_writes_only_a_key_that_is_not_there),
        cmocka_unit_test(malformed_frame_is_answered_and_closed),
        cmocka_unit_test(oversize_length_is_refused_before_it_arrives),
        cmocka_unit_test(limit_of_lengths_holds_at_once_and_for_everybody),
        cmocka_unit_test(refusals_are_in_redis_words),
        cmocka_unit_test(stranger_may_authenticate_and_nothing_else),
        cmocka_unit_test(stranger_with_many_arguments_is_closed),
        cmocka_unit_test(half_closed_client_still_gets_its_answers),
        cmocka_unit_test(half_closed_client_gets_answers_that_take_several_turns),
        cmocka_unit_test(http_is_logged_once_a_minute),
        cmocka_unit_test(big_value_is_streamed_not_gathered),
        cmocka_unit_test(big_value_without_space_is_refused_and_the_next_request_served),
        cmocka_unit_test(big_value_cut_off_leaves_nothing),
        cmocka_unit_test(big_value_in_a_transaction_is_stored_by_exec),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
