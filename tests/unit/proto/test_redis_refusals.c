/* Goal:   malformed requests are refused in Redis's words, which clients and people know.
 * Method: send malformed streams to an installed redis-server (on loopback, for some seconds) and
 * compare its answers with the
 *         parser's. Skipped where there is no redis-server.
 */
#include "proto/limits.h"
#include "tests/unit/proto/redis_link.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* What redis-server says until it closes the connection. */
static void
check_refusal(const char *stream, bool unauthenticated)
{
    struct link link;
    struct text ours = {0};
    struct text expected = {0};

    trace_requests(&ours, stream, strlen(stream),
                   &(struct trace_request_options){.unauthenticated = unauthenticated}, piece_whole,
                   NULL);
    const char *error = strstr(ours.ptr, "error ");

    assert_non_null(error);
    text_addf(&expected, "-%.*s\r\n", (int)(strlen(error) - 7), error + 6);
    link_open(&link);
    link_send(&link, stream, strlen(stream));
    while (link_receive(&link)) {
    }
    assert_string_equal(link.in.ptr, expected.ptr);
    link_close(&link);
    text_free(&ours);
    text_free(&expected);
}

static void
refusals_have_redis_words(void **state)
{
    static const char *const streams[] = {
        "*abc\r\n",
        "*\r\n",
        "*01\r\n",
        "*+1\r\n",
        "*-0\r\n",
        "*1\n$4\r\nPING\r\n",
        "*2147483648\r\n",
        "*9223372036854775808\r\n",
        "*-9223372036854775809\r\n",
        "*1\r\nX\r\n",
        "*1\r\n\r\n",
        "*1\r\n:1\r\n",
        "*1\r\n\xff\r\n",
        "*1\r\n$-1\r\n",
        "*1\r\n$\r\n",
        "*1\r\n$a\r\n",
        "*1\r\n$04\r\n",
        "*1\r\n$536870913\r\n",
        "\"PING\r\n",
        "'PING\r\n",
        "\"PING\"x\r\n",
        "a\"b\"c\r\n",
        "\"a\\\"\r\n",
        "\"\\\r\n",
    };
    static const char *const heads[] = {"", "*", "*1\r\n$", "PING "};
    (void)state;

    for (size_t i = 0; i < sizeof(streams) / sizeof(streams[0]); i++) {
        check_refusal(streams[i], false);
    }
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
        struct text stream = {0};

        text_add(&stream, heads[i], strlen(heads[i]));
        while (stream.len < RESP_LINE_BYTES_MAX + 6) {
            text_add(&stream, "1", 1);
        }
        check_refusal(stream.ptr, false);
        text_free(&stream);
    }
}

static void
refusals_before_auth_have_redis_words(void **state)
{
    static const char *const set[] = {"CONFIG", "SET", "requirepass", "secret"};
    static const char *const auth[] = {"AUTH", "secret"};
    static const char *const unset[] = {"CONFIG", "SET", "requirepass", ""};
    struct link link;
    (void)state;

    link_open(&link);
    link_ask(&link, 4, set);
    check_refusal("*11\r\n", true);
    check_refusal("*1\r\n$16385\r\n", true);
    check_refusal("*1\r\n$536870913\r\n", true);
    check_refusal("*x\r\n", true);
    link_ask(&link, 2, auth);
    link_ask(&link, 4, unset);
    link_close(&link);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refusals_have_redis_words),
        cmocka_unit_test(refusals_before_auth_have_redis_words),
    };

    redis_require();
    return cmocka_run_group_tests_name("redis_refusals", tests, redis_start, redis_stop);
}
