/* Goal:   commands and pipelines keep their order and their accounts, and every way in which a
 *         connection can fail is told apart and final.
 * Method: a scripted transport that sends given bytes in given pieces, ends or fails at a given
 *         place, and keeps what the client wrote.
 */
#include "tests/unit/client/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void
expect_text(struct fl_client *client, const char *expected)
{
    struct fl_client_reply *reply = NULL;

    assert_int_equal(fl_client_read(client, &reply), FL_OK);
    assert_string_equal(fl_client_reply_text(reply, NULL), expected);
    fl_client_reply_destroy(reply);
}

static void
append(struct fl_client *client, const char *word)
{
    const char *const argv[] = {"ECHO", word};

    assert_int_equal(fl_client_append(client, 2, argv, NULL), FL_OK);
}

static void
command_is_sent_as_an_array_of_its_bytes(void **state)
{
    static const char in[] = "+OK\r\n";
    static const char expected[] = "*3\r\n$3\r\nSET\r\n$3\r\nk\0y\r\n$0\r\n\r\n";
    const char *const argv[] = {"SET", "k\0y", ""};
    const size_t lens[] = {3, 3, 0};
    struct fl_client_reply *reply = NULL;
    struct wire wire;

    (void)state;
    wire_init(&wire, in, sizeof(in) - 1);
    wire.write_max = 2;
    struct fl_client *client = wire_client(&wire, NULL);

    assert_int_equal(fl_client_command(client, 3, argv, lens, &reply), FL_OK);
    assert_int_equal(wire.out_len, sizeof(expected) - 1);
    assert_memory_equal(wire.out, expected, sizeof(expected));
    assert_string_equal(fl_client_reply_text(reply, NULL), "OK");
    fl_client_reply_destroy(reply);
    fl_client_close(client);
    wire_deinit(&wire);
}

static void
command_with_a_big_argument_arrives_whole(void **state)
{
    enum { BIG = 300 * 1000 };
    static const char in[] = "+OK\r\n";
    char *value = malloc(BIG + 1);
    const char *const argv[] = {"SET", "k", value};
    const size_t lens[] = {3, 1, BIG};
    static const char head[] = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$300000\r\n";
    struct wire wire;

    (void)state;
    for (size_t i = 0; i < BIG; i++) {
        value[i] = (char)(i * 31 + i / 251);
    }
    wire_init(&wire, in, sizeof(in) - 1);
    wire.write_max = 4099;
    struct fl_client *client = wire_client(&wire, NULL);

    assert_int_equal(fl_client_command(client, 3, argv, lens, NULL), FL_OK);
    assert_int_equal(wire.out_len, sizeof(head) - 1 + BIG + 2);
    assert_memory_equal(wire.out, head, sizeof(head) - 1);
    assert_memory_equal(wire.out + sizeof(head) - 1, value, BIG);
    fl_client_close(client);
    wire_deinit(&wire);
    free(value);
}

static void
pipeline_answers_in_order_and_counts_what_is_owed(void **state)
{
    static const char in[] = "$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n";
    struct wire wire;

    (void)state;
    wire_init(&wire, in, sizeof(in) - 1);
    struct fl_client *client = wire_client(&wire, NULL);

    append(client, "a");
    append(client, "b");
    assert_int_equal(wire.out_len, 0);
    assert_int_equal(fl_client_flush(client), FL_OK);
    append(client, "c");
    assert_int_equal(fl_client_owed(client), 3);
    expect_text(client, "a");
    expect_text(client, "b");
    assert_int_equal(fl_client_owed(client), 1);
    expect_text(client, "c");
    assert_int_equal(fl_client_owed(client), 0);
    assert_string_equal(wire.out, "*2\r\n$4\r\nECHO\r\n$1\r\na\r\n*2\r\n$4\r\nECHO\r\n$1\r\nb\r\n"
                                  "*2\r\n$4\r\nECHO\r\n$1\r\nc\r\n");
    fl_client_close(client);
    wire_deinit(&wire);
}

static void
command_amid_a_pipeline_is_refused(void **state)
{
    static const char in[] = "$1\r\na\r\n+PONG\r\n";
    struct wire wire;

    (void)state;
    wire_init(&wire, in, sizeof(in) - 1);
    struct fl_client *client = wire_client(&wire, NULL);

    append(client, "a");
    assert_int_equal(fl_client_call(client, NULL, "PING", NULL), FL_INVALID);
    assert_int_equal(wire.out_len, 0);
    expect_text(client, "a");
    assert_int_equal(fl_client_call(client, NULL, "PING", NULL), FL_OK);
    fl_client_close(client);
    wire_deinit(&wire);
}

static void
unanswered_and_raw_requests_owe_nothing(void **state)
{
    const char *const argv[] = {"SUBSCRIBE", "c"};
    struct wire wire;

    (void)state;
    wire_init(&wire, "", 0);
    struct fl_client *client = wire_client(&wire, NULL);

    assert_int_equal(fl_client_append_unanswered(client, 2, argv, NULL), FL_OK);
    assert_int_equal(fl_client_append_raw(client, "PI", 2), FL_OK);
    assert_int_equal(fl_client_append_raw(client, "NG\r\n", 4), FL_OK);
    assert_int_equal(fl_client_owed(client), 0);
    assert_int_equal(fl_client_flush(client), FL_OK);
    assert_string_equal(wire.out, "*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\nc\r\nPING\r\n");
    wire_feed(&wire, "+PONG\r\n", 7);
    expect_text(client, "PONG");
    fl_client_close(client);
    wire_deinit(&wire);
}

static void
request_out_of_range_sends_nothing(void **state)
{
    const char *const argv[] = {"SET", "k", "v"};
    const size_t lens[] = {3, 1, (size_t)512 * 1024 * 1024 + 1};
    struct wire wire;

    (void)state;
    wire_init(&wire, "", 0);
    struct fl_client *client = wire_client(&wire, NULL);

    assert_int_equal(fl_client_command(client, 0, argv, NULL, NULL), FL_INVALID);
    assert_int_equal(fl_client_command(client, 3, argv, lens, NULL), FL_TOO_LARGE);
    assert_int_equal(fl_client_append(client, 3, argv, lens), FL_TOO_LARGE);
    assert_int_equal(fl_client_append(client, 1024 * 1024 + 1, argv, NULL), FL_TOO_LARGE);
    assert_int_equal(fl_client_owed(client), 0);
    assert_int_equal(wire.out_len, 0);
    assert_string_equal(fl_client_error(client), "");
    fl_client_close(client);
    wire_deinit(&wire);
}

static void
reply_that_is_late_can_be_read_later(void **state)
{
    struct fl_client_reply *reply = NULL;
    struct wire wire;

    (void)state;
    wire_init(&wire, "$10\r\n0123", 9);
    struct fl_client *client = wire_client(&wire, NULL);

    assert_int_equal(fl_client_call(client, &reply, "GET", "k", NULL), FL_AGAIN);
    assert_null(reply);
    assert_int_equal(fl_client_owed(client), 1);
    assert_int_equal(fl_client_read_within(client, 0, &reply), FL_AGAIN);
    /* The answer is still to come: another command would get it. */
    assert_int_equal(fl_client_call(client, &reply, "GET", "k", NULL), FL_INVALID);
    wire_feed(&wire, "456789\r\n", 8);
    expect_text(client, "0123456789");
    assert_string_equal(fl_client_error(client), "");
    fl_client_close(client);
    wire_deinit(&wire);
}

static void
stream_that_ends_inside_a_reply_is_closed(void **state)
{
    static const char in[] = "*2\r\n$3\r\nabc\r\n:12\r\n";

    (void)state;
    for (size_t len = 0; len < sizeof(in) - 1; len++) {
        struct fl_client_reply *reply = NULL;
        struct wire wire;

        wire_init(&wire, in, len);
        wire.in_end = FL_CLOSED;
        wire.error = "they hung up";
        struct fl_client *client = wire_client(&wire, NULL);

        assert_int_equal(fl_client_call(client, &reply, "GET", "k", NULL), FL_CLOSED);
        assert_null(reply);
        assert_non_null(strstr(fl_client_error(client), "they hung up"));
        assert_int_equal(fl_client_call(client, &reply, "GET", "k", NULL), FL_CLOSED);
        assert_int_equal(fl_client_append_raw(client, "x", 1), FL_CLOSED);
        assert_int_equal(fl_client_read(client, &reply), FL_CLOSED);
        assert_non_null(strstr(fl_last_error(), "they hung up"));
        fl_client_close(client);
        wire_deinit(&wire);
    }
}

static void
replies_before_the_end_are_still_read(void **state)
{
    struct fl_client_reply *reply = NULL;
    struct wire wire;

    (void)state;
    wire_init(&wire, "+a\r\n+b\r\n", 8);
    wire.in_end = FL_IO;
    struct fl_client *client = wire_client(&wire, NULL);

    append(client, "a");
    append(client, "b");
    append(client, "c");
    expect_text(client, "a");
    expect_text(client, "b");
    assert_int_equal(fl_client_read(client, &reply), FL_IO);
    assert_int_equal(fl_client_read(client, &reply), FL_CLOSED);
    fl_client_close(client);
    wire_deinit(&wire);
}

/* A server that is full says so and closes; our request runs into the closed socket. */
static void
error_sent_before_hanging_up_is_the_answer(void **state)
{
    static const char in[] = "-ERR max number of clients reached\r\n";
    struct fl_client_reply *reply = NULL;
    struct wire wire;

    (void)state;
    wire_init(&wire, in, sizeof(in) - 1);
    wire.read_max = 5;
    wire.flowing = true;
    wire.in_end = FL_CLOSED;
    wire.out_max = 3;
    wire.out_end = FL_CLOSED;
    struct fl_client *client = wire_client(&wire, NULL);

    assert_int_equal(fl_client_call(client, &reply, "PING", NULL), FL_OK);
    assert_string_equal(fl_client_reply_text(reply, NULL), "ERR max number of clients reached");
    fl_client_reply_destroy(reply);
    assert_int_equal(fl_client_call(client, &reply, "PING", NULL), FL_CLOSED);
    fl_client_close(client);
    wire_deinit(&wire);
}

static void
request_that_cannot_be_sent_in_time_breaks_the_connection(void **state)
{
    struct wire wire;

    (void)state;
    wire_init(&wire, "", 0);
    wire.out_max = 4;
    struct fl_client *client = wire_client(&wire, NULL);

    assert_int_equal(fl_client_call(client, NULL, "PING", NULL), FL_IO);
    assert_int_equal(fl_client_call(client, NULL, "PING", NULL), FL_CLOSED);
    fl_client_close(client);
    wire_deinit(&wire);
}

static void
flush_that_runs_out_of_time_goes_on_where_it_stopped(void **state)
{
    struct wire wire;

    (void)state;
    wire_init(&wire, "", 0);
    wire.out_max = 4;
    struct fl_client *client = wire_client(&wire, NULL);

    append(client, "a");
    assert_int_equal(fl_client_flush(client), FL_AGAIN);
    wire.out_max = SIZE_MAX;
    assert_int_equal(fl_client_flush(client), FL_OK);
    assert_string_equal(wire.out, "*2\r\n$4\r\nECHO\r\n$1\r\na\r\n");
    fl_client_close(client);
    wire_deinit(&wire);
}

static void
bytes_that_are_no_reply_break_the_connection(void **state)
{
    static const char *const bad[] = {
        "HTTP/1.1 400 Bad Request\r\n",
        "$-2\r\n",
        "$abc\r\n",
        ":1x\r\n",
        "*-7\r\n",
        "$3\r\nabcde\r\n",
        "#maybe\r\n",
        "\r\n",
        ",x\r\n",
        "*1\r\n>1\r\n+x\r\n",
        "=3\r\nabc\r\n",
        "%99999999999999999999\r\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct fl_client_reply *reply = NULL;
        struct wire wire;

        wire_init(&wire, bad[i], strlen(bad[i]));
        struct fl_client *client = wire_client(&wire, NULL);

        if (fl_client_read(client, &reply) != FL_PROTOCOL) {
            fail_msg("\"%s\" passed as a reply", bad[i]);
        }
        assert_int_equal(fl_client_read(client, &reply), FL_CLOSED);
        assert_non_null(strstr(fl_client_error(client), "protocol"));
        fl_client_close(client);
        wire_deinit(&wire);
    }
}

static void
reply_over_the_limit_is_refused_by_its_head(void **state)
{
    struct fl_client_options options;
    struct fl_client_reply *reply = NULL;
    struct wire wire;

    (void)state;
    fl_client_options_init(&options);
    options.reply_bytes_max = 1000;
    options.io_timeout_ms = 1000;
    wire_init(&wire, "$2000\r\n", 7);
    struct fl_client *client = wire_client(&wire, &options);

    assert_int_equal(fl_client_read(client, &reply), FL_PROTOCOL);
    fl_client_close(client);
    wire_deinit(&wire);
}

static void
big_replies_between_small_ones_stay_intact(void **state)
{
    enum { BIG = 3 * 1000 * 1000, ROUNDS = 3 };
    char *bytes = NULL;
    size_t len;
    FILE *file = open_memstream(&bytes, &len);
    struct fl_client_reply *kept[ROUNDS] = {NULL};
    struct wire wire;

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        fprintf(file, "+small\r\n$%d\r\n", BIG);
        for (int i = 0; i < BIG; i++) {
            fputc('a' + (i / 7 + round) % 26, file);
        }
        fprintf(file, "\r\n:%d\r\n", round);
    }
    fclose(file);
    wire_init(&wire, bytes, len);
    wire.read_max = 100 * 1000;
    struct fl_client *client = wire_client(&wire, NULL);

    for (int round = 0; round < ROUNDS; round++) {
        struct fl_client_reply *reply = NULL;

        expect_text(client, "small");
        assert_int_equal(fl_client_read(client, &kept[round]), FL_OK);
        assert_int_equal(fl_client_read(client, &reply), FL_OK);
        assert_int_equal(fl_client_reply_integer(reply), round);
        fl_client_reply_destroy(reply);
    }
    fl_client_close(client);
    for (int round = 0; round < ROUNDS; round++) {
        const char *text = fl_client_reply_text(kept[round], &len);

        assert_int_equal(len, BIG);
        for (int i = 0; i < BIG; i++) {
            assert_true(text[i] == 'a' + (i / 7 + round) % 26);
        }
        fl_client_reply_destroy(kept[round]);
    }
    wire_deinit(&wire);
    free(bytes);
}

struct pushes {
    struct fl_client *client;
    unsigned count;
    char seen[64];
    fl_status inside;
};

static void
on_push(void *context, const struct fl_client_reply *push)
{
    struct pushes *pushes = context;
    struct fl_client_reply *reply = NULL;

    assert_int_equal(fl_client_reply_type(push), FL_CLIENT_PUSH);
    pushes->count++;
    strcat(pushes->seen, fl_client_reply_text(fl_client_reply_item(push, 1), NULL));
    pushes->inside = fl_client_read(pushes->client, &reply);
    assert_int_equal(fl_client_call(pushes->client, NULL, "PING", NULL), FL_INVALID);
}

static void
pushes_are_handed_out_in_order_beside_replies(void **state)
{
    static const char in[] = ">2\r\n+m\r\n+1\r\n+a\r\n>2\r\n+m\r\n+2\r\n>2\r\n+m\r\n+3\r\n+b\r\n";
    struct pushes pushes = {0};
    struct fl_client_options options;
    struct wire wire;

    (void)state;
    fl_client_options_init(&options);
    options.io_timeout_ms = 1000;
    options.on_push = on_push;
    options.context = &pushes;
    wire_init(&wire, in, sizeof(in) - 1);
    pushes.client = wire_client(&wire, &options);
    append(pushes.client, "a");
    append(pushes.client, "b");
    expect_text(pushes.client, "a");
    assert_string_equal(pushes.seen, "1");
    expect_text(pushes.client, "b");
    assert_string_equal(pushes.seen, "123");
    assert_int_equal(pushes.count, 3);
    assert_int_equal(pushes.inside, FL_INVALID);
    fl_client_close(pushes.client);
    wire_deinit(&wire);
}

static void
pushes_without_a_taker_are_dropped(void **state)
{
    struct wire wire;

    (void)state;
    wire_init(&wire, ">1\r\n+m\r\n+a\r\n", 12);
    struct fl_client *client = wire_client(&wire, NULL);

    append(client, "a");
    expect_text(client, "a");
    fl_client_close(client);
    wire_deinit(&wire);
}

static void
call_with_too_many_arguments_is_refused(void **state)
{
    struct wire wire;

    (void)state;
    wire_init(&wire, "", 0);
    struct fl_client *client = wire_client(&wire, NULL);

#define EIGHT "x", "x", "x", "x", "x", "x", "x", "x"
    assert_int_equal(fl_client_call(client, NULL, EIGHT, EIGHT, EIGHT, EIGHT, EIGHT, EIGHT, EIGHT,
                                    EIGHT, "y", NULL),
                     FL_INVALID);
#undef EIGHT
    assert_int_equal(wire.out_len, 0);
    fl_client_close(client);
    wire_deinit(&wire);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(command_is_sent_as_an_array_of_its_bytes),
        cmocka_unit_test(command_with_a_big_argument_arrives_whole),
        cmocka_unit_test(pipeline_answers_in_order_and_counts_what_is_owed),
        cmocka_unit_test(command_amid_a_pipeline_is_refused),
        cmocka_unit_test(unanswered_and_raw_requests_owe_nothing),
        cmocka_unit_test(request_out_of_range_sends_nothing),
        cmocka_unit_test(reply_that_is_late_can_be_read_later),
        cmocka_unit_test(stream_that_ends_inside_a_reply_is_closed),
        cmocka_unit_test(replies_before_the_end_are_still_read),
        cmocka_unit_test(error_sent_before_hanging_up_is_the_answer),
        cmocka_unit_test(request_that_cannot_be_sent_in_time_breaks_the_connection),
        cmocka_unit_test(flush_that_runs_out_of_time_goes_on_where_it_stopped),
        cmocka_unit_test(bytes_that_are_no_reply_break_the_connection),
        cmocka_unit_test(reply_over_the_limit_is_refused_by_its_head),
        cmocka_unit_test(big_replies_between_small_ones_stay_intact),
        cmocka_unit_test(pushes_are_handed_out_in_order_beside_replies),
        cmocka_unit_test(pushes_without_a_taker_are_dropped),
        cmocka_unit_test(call_with_too_many_arguments_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
