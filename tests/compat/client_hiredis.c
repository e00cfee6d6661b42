/* Goal:   a C program written against hiredis works unchanged.
 * Method: the server whose path is the first argument runs on a free port; single commands, a long
 *         pipeline, binary and big values, a transaction that a second connection breaks, errors:
 *         each reply is asserted.
 */
#include "tests/lib/child.h"
#include "tests/lib/die.h"
#include "tests/lib/net.h"
#include "tests/lib/tmpdir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>
#include <hiredis/hiredis.h>

enum { START_MS = 20000, PIPELINE = 10000, BIG_BYTES = 5 << 20 };

static struct {
    const char *program;
    struct child server;
    struct tmpdir dir;
    uint16_t port;
} fixture;

static redisContext *
connect_to_server(void)
{
    const struct timeval timeout = {.tv_sec = 20};
    redisContext *context = redisConnectWithTimeout("127.0.0.1", fixture.port, timeout);

    assert_non_null(context);
    assert_int_equal(context->err, 0);
    assert_int_equal(redisSetTimeout(context, timeout), REDIS_OK);
    return context;
}

static int
server_start(void **state)
{
    char store[TMPDIR_PATH_BYTES];
    char port[16];
    (void)state;

    tmpdir_create(&fixture.dir);
    tmpdir_join(&fixture.dir, "store", store);
    fixture.port = net_port_free();
    snprintf(port, sizeof(port), "%u", fixture.port);
    const char *const argv[] = {fixture.program, "--port",           port,      "--store",
                                store,           "--durability-min", "process", NULL};

    child_start(&fixture.server, (char *const *)(uintptr_t)argv);
    const int fd = net_connect(fixture.port, START_MS);

    if (fd < 0) {
        return -1;
    }
    close(fd);
    return 0;
}

static int
server_stop(void **state)
{
    (void)state;

    child_kill(&fixture.server);
    tmpdir_destroy(&fixture.dir);
    return 0;
}

static void
assert_integer(redisContext *context, long long expected, const char *command)
{
    redisReply *reply = redisCommand(context, command);

    assert_non_null(reply);
    assert_int_equal(reply->type, REDIS_REPLY_INTEGER);
    assert_int_equal(reply->integer, expected);
    freeReplyObject(reply);
}

static void
assert_text(redisContext *context, int type, const char *expected, const char *command)
{
    redisReply *reply = redisCommand(context, command);

    assert_non_null(reply);
    assert_int_equal(reply->type, type);
    assert_string_equal(reply->str, expected);
    freeReplyObject(reply);
}

static void
command_of_every_reply_kind_is_read(void **state)
{
    redisContext *context = connect_to_server();
    (void)state;

    assert_text(context, REDIS_REPLY_STATUS, "OK", "FLUSHALL");
    assert_text(context, REDIS_REPLY_STATUS, "OK", "SET k value");
    assert_text(context, REDIS_REPLY_STRING, "value", "GET k");
    assert_integer(context, 42, "INCRBY n 42");
    assert_text(context, REDIS_REPLY_ERROR, "ERR value is not an integer or out of range",
                "INCR k");
    redisReply *reply = redisCommand(context, "GET none");

    assert_non_null(reply);
    assert_int_equal(reply->type, REDIS_REPLY_NIL);
    freeReplyObject(reply);
    reply = redisCommand(context, "MGET k none n");
    assert_non_null(reply);
    assert_int_equal(reply->type, REDIS_REPLY_ARRAY);
    assert_int_equal(reply->elements, 3);
    assert_string_equal(reply->element[2]->str, "42");
    freeReplyObject(reply);
    redisFree(context);
}

static void
pipeline_of_many_commands_keeps_order(void **state)
{
    redisContext *context = connect_to_server();
    redisReply *reply = NULL;
    (void)state;

    assert_text(context, REDIS_REPLY_STATUS, "OK", "FLUSHALL");
    for (int i = 0; i < PIPELINE; i++) {
        assert_int_equal(redisAppendCommand(context, "SET p:%d %d", i, i), REDIS_OK);
        assert_int_equal(redisAppendCommand(context, "INCR p:%d", i), REDIS_OK);
    }
    for (int i = 0; i < PIPELINE; i++) {
        assert_int_equal(redisGetReply(context, (void **)&reply), REDIS_OK);
        assert_int_equal(reply->type, REDIS_REPLY_STATUS);
        freeReplyObject(reply);
        assert_int_equal(redisGetReply(context, (void **)&reply), REDIS_OK);
        assert_int_equal(reply->integer, i + 1);
        freeReplyObject(reply);
    }
    assert_integer(context, PIPELINE, "DBSIZE");
    redisFree(context);
}

static void
value_binary_and_big_comes_back(void **state)
{
    redisContext *context = connect_to_server();
    char *big = malloc(BIG_BYTES);
    (void)state;

    assert_non_null(big);
    for (size_t i = 0; i < BIG_BYTES; i++) {
        big[i] = (char)(i * 31 >> 3);
    }
    for (size_t len = 1; len <= BIG_BYTES; len *= 5) {
        redisReply *reply = redisCommand(context, "SET %b %b", "b\0k", (size_t)3, big, len);

        assert_non_null(reply);
        assert_int_equal(reply->type, REDIS_REPLY_STATUS);
        freeReplyObject(reply);
        reply = redisCommand(context, "GET %b", "b\0k", (size_t)3);
        assert_non_null(reply);
        assert_int_equal(reply->len, len);
        assert_memory_equal(reply->str, big, len);
        freeReplyObject(reply);
    }
    free(big);
    redisFree(context);
}

static void
transaction_is_atomic_and_watched(void **state)
{
    redisContext *context = connect_to_server();
    redisContext *other = connect_to_server();
    (void)state;

    assert_text(context, REDIS_REPLY_STATUS, "OK", "SET t 1");
    assert_text(context, REDIS_REPLY_STATUS, "OK", "MULTI");
    assert_text(context, REDIS_REPLY_STATUS, "QUEUED", "INCR t");
    redisReply *reply = redisCommand(context, "EXEC");

    assert_non_null(reply);
    assert_int_equal(reply->type, REDIS_REPLY_ARRAY);
    assert_int_equal(reply->element[0]->integer, 2);
    freeReplyObject(reply);
    assert_text(context, REDIS_REPLY_STATUS, "OK", "WATCH t");
    assert_text(other, REDIS_REPLY_STATUS, "OK", "SET t other");
    assert_text(context, REDIS_REPLY_STATUS, "OK", "MULTI");
    assert_text(context, REDIS_REPLY_STATUS, "QUEUED", "SET t mine");
    reply = redisCommand(context, "EXEC");
    assert_non_null(reply);
    assert_int_equal(reply->type, REDIS_REPLY_NIL);
    freeReplyObject(reply);
    assert_text(context, REDIS_REPLY_STRING, "other", "GET t");
    redisFree(other);
    redisFree(context);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(command_of_every_reply_kind_is_read),
        cmocka_unit_test(pipeline_of_many_commands_keeps_order),
        cmocka_unit_test(value_binary_and_big_comes_back),
        cmocka_unit_test(transaction_is_atomic_and_watched),
    };

    if (argc != 2) {
        die("usage: test_compat_hiredis SERVER");
    }
    fixture.program = argv[1];
    return cmocka_run_group_tests(tests, server_start, server_stop);
}
