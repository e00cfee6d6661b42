/* Goal:   the request parser takes what Redis takes, refuses what Redis refuses, in Redis's words,
 * however
 *         the bytes are split on their way.
 * Method: streams with their expected result, each fed whole, cut at every position, and byte by
 * byte; the
 *         expectations were seen in Redis 7.0.15. Then what a server does in between: streaming, limits, sizes.
 */
#include "proto/resp_parse.h"
#include "tests/unit/proto/trace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define STREAM(bytes) (bytes), sizeof(bytes) - 1
#define ERROR(text) "error ERR Protocol error: " text "\n"

struct stream_case {
    const char *data;
    size_t len;
    const char *expected;
};

static void
check_every_split(const struct stream_case *c, const struct trace_request_options *options)
{
    for (size_t cut = 0; cut < c->len; cut++) {
        struct text text = {0};
        size_t at = cut;

        trace_requests(&text, c->data, c->len, options, piece_cut, &at);
        assert_string_equal(text.ptr, c->expected);
        text_free(&text);
    }
    for (size_t even = 1; even <= 3; even++) {
        struct text text = {0};

        trace_requests(&text, c->data, c->len, options, piece_even, &even);
        assert_string_equal(text.ptr, c->expected);
        text_free(&text);
    }
}

static void
check_all(const struct stream_case *cases, size_t count,
          const struct trace_request_options *options)
{
    for (size_t i = 0; i < count; i++) {
        check_every_split(&cases[i], options);
    }
}

static void
array_is_split_into_its_arguments(void **state)
{
    static const struct stream_case cases[] = {
        {STREAM("*1\r\n$4\r\nPING\r\n"), "\"PING\"\n"},
        {STREAM("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n"), "\"SET\" \"k\" \"\"\n"},
        {STREAM("*2\r\n$3\r\nGET\r\n$4\r\n\r\n\0*\r\n"), "\"GET\" \"\\x0d\\x0a\\x00*\"\n"},
        {STREAM("*1\r\n$1\r\na\r\n*1\r\n$1\r\nb\r\n*1\r\n$1\r\nc"), "\"a\"\n\"b\"\nrest 9\n"},
        {STREAM("*2\r\n$10\r\n0123456789\r\n$12\r\n0123456789ab\r\n"),
         "\"0123456789\" \"0123456789ab\"\n"},
        {STREAM(
             "*12\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n$1\r\n4\r\n$1\r\n5\r\n$1\r\n6\r\n$1\r\n7\r\n"
             "$1\r\n8\r\n$1\r\n9\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n"),
         "\"1\" \"2\" \"3\" \"4\" \"5\" \"6\" \"7\" \"8\" \"9\" \"a\" \"b\" \"c\"\n"},
    };
    (void)state;

    check_all(cases, COUNT(cases), &(struct trace_request_options){0});
}

static void
empty_request_is_skipped(void **state)
{
    static const struct stream_case cases[] = {
        {STREAM("\r\n"), ""},
        {STREAM("\n\n\r\nPING\r\n"), "\"PING\"\n"},
        {STREAM("   \t\r\nPING\r\n"), "\"PING\"\n"},
        {STREAM("*0\r\nPING\r\n"), "\"PING\"\n"},
        {STREAM("*-1\r\n*-1048577\r\nPING\r\n"), "\"PING\"\n"},
        {STREAM("*1\r\n$1\r\na\r\n\r\n*0\r\n*1\r\n$1\r\nb\r\n"), "\"a\"\n\"b\"\n"},
    };
    (void)state;

    check_all(cases, COUNT(cases), &(struct trace_request_options){0});
}

static void
inline_request_is_split_at_white_space(void **state)
{
    static const struct stream_case cases[] = {
        {STREAM("PING\r\n"), "\"PING\"\n"},
        {STREAM("PING\n"), "\"PING\"\n"},
        {STREAM("PING\r\r\n"), "\"PING\"\n"},
        {STREAM("  SET  k\tv \r\n"), "\"SET\" \"k\" \"v\"\n"},
        {STREAM("a\rb\n"), "\"a\" \"b\"\n"},
        {STREAM("a\vb\v c\f\n"), "\"a\\x0bb\\x0b\" \"c\\x0c\"\n"}, /* only in front of words */
        {STREAM("PING a\nPING b\r\n"), "\"PING\" \"a\"\n\"PING\" \"b\"\n"},
        {STREAM("PING \xff\x80\0 x\r\n"), "\"PING\" \"\\xff\\x80\\x00\" \"x\"\n"},
        {STREAM("$3\r\n:1\r\n"), "\"$3\"\n\":1\"\n"},
        {STREAM("PING"), "rest 4\n"},
    };
    (void)state;

    check_all(cases, COUNT(cases), &(struct trace_request_options){0});
}

static void
inline_quotes_are_taken_off(void **state)
{
    static const struct stream_case cases[] = {
        {STREAM("\"PING\"\r\n"), "\"PING\"\n"},
        {STREAM("PI\"NG\"\r\n"), "\"PING\"\n"},
        {STREAM("a \"\" '' \"b c\"\r\n"), "\"a\" \"\" \"\" \"b c\"\n"},
        {STREAM("\"\\n\\r\\t\\b\\a\\q\\\\\\\"\"\r\n"),
         "\"\\x0a\\x0d\\x09\\x08\\x07q\\x5c\\x22\"\n"},
        {STREAM("\"\\x00\\xfF\\x4\\xzz\"\r\n"), "\"\\x00\\xffx4xzz\"\n"},
        {STREAM("'a\\'b\\n\"' x\r\n"), "\"a'b\\x5cn\\x22\" \"x\"\n"},
        {STREAM("\"it's\" 'say \"x\"'\r\n"), "\"it's\" \"say \\x22x\\x22\"\n"},
        {STREAM("\"a\"\v\"b\"\r\n"), "\"a\" \"b\"\n"},
        {STREAM("\"a\" \r\n"), "\"a\"\n"},
    };
    (void)state;

    check_all(cases, COUNT(cases), &(struct trace_request_options){0});
}

static void
unbalanced_quotes_are_refused(void **state)
{
    static const char *const lines[] = {"\"PING\r\n", "'PING\r\n",   "\"PING\"x\r\n", "a\"b\"c\r\n",
                                        "\"\r\n",     "\"a\\\"\r\n", "'a\\'\r\n",     "'a'b\r\n",
                                        "\"\\\r\n",   "\"\\x4\r\n"};
    (void)state;

    for (size_t i = 0; i < COUNT(lines); i++) {
        const struct stream_case c = {lines[i], strlen(lines[i]),
                                      ERROR("unbalanced quotes in request")};

        check_every_split(&c, &(struct trace_request_options){0});
    }
}

static void
malformed_array_is_refused_in_redis_words(void **state)
{
    static const struct stream_case cases[] = {
        {STREAM("*abc\r\n"), ERROR("invalid multibulk length")},
        {STREAM("*\r\n"), ERROR("invalid multibulk length")},
        {STREAM("*01\r\n"), ERROR("invalid multibulk length")},
        {STREAM("*+1\r\n"), ERROR("invalid multibulk length")},
        {STREAM("*-0\r\n"), ERROR("invalid multibulk length")},
        {STREAM("* 1\r\n"), ERROR("invalid multibulk length")},
        {STREAM("*1 \r\n"), ERROR("invalid multibulk length")},
        {STREAM("*1\n$4\r\nPING\r\n"), ERROR("invalid multibulk length")},
        {STREAM("*1\rX"), ERROR("invalid multibulk length")},
        {STREAM("*1048577\r\n"), ERROR("invalid multibulk length")},
        {STREAM("*2147483648\r\n"), ERROR("invalid multibulk length")},
        {STREAM("*9223372036854775808\r\n"), ERROR("invalid multibulk length")},
        {STREAM("*18446744073709551617\r\n"), ERROR("invalid multibulk length")},
        {STREAM("*-9223372036854775809\r\n"), ERROR("invalid multibulk length")},
        {STREAM("*1\r\nX\r\n"), ERROR("expected '$', got 'X'")},
        {STREAM("*1\r\n\r\n"), ERROR("expected '$', got ' '")},
        {STREAM("*1\r\n\xff\r\n"), ERROR("expected '$', got '\xff'")},
        {STREAM("*1\r\n\0\r\n"), ERROR("expected '$', got ' '")},
        {STREAM("*2\r\n$1\r\na\r\n:1\r\n"), ERROR("expected '$', got ':'")},
        {STREAM("*1\r\n$-1\r\n"), ERROR("invalid bulk length")},
        {STREAM("*1\r\n$\r\n"), ERROR("invalid bulk length")},
        {STREAM("*1\r\n$a\r\n"), ERROR("invalid bulk length")},
        {STREAM("*1\r\n$1a\r\n"), ERROR("invalid bulk length")},
        {STREAM("*1\r\n$04\r\nPING\r\n"), ERROR("invalid bulk length")},
        {STREAM("*1\r\n$-0\r\n"), ERROR("invalid bulk length")},
        {STREAM("*1\r\n$4\n\nPING\r\n"), ERROR("invalid bulk length")},
        {STREAM("*1\r\n$4\rXPING\r\n"), ERROR("invalid bulk length")},
        {STREAM("*1\r\n$536870913\r\n"), ERROR("invalid bulk length")},
        {STREAM("*1\r\n$4294967297\r\n"), ERROR("invalid bulk length")},
        {STREAM("*1\r\n$99999999999999999999\r\n"), ERROR("invalid bulk length")},
        {STREAM("*1\r\n$4\r\nPINGxx"), ERROR("expected CRLF behind a bulk string")},
        {STREAM("*1\r\n$4\r\nPING\rx"), ERROR("expected CRLF behind a bulk string")},
        {STREAM("*1\r\n$0\r\nxx"), ERROR("expected CRLF behind a bulk string")},
        {STREAM("PING\r\n*1\r\n$1\r\na\r\n*x\r\nPING\r\n"),
         "\"PING\"\n\"a\"\n" ERROR("invalid multibulk length")},
    };
    (void)state;

    check_all(cases, COUNT(cases), &(struct trace_request_options){0});
}

static void
largest_lengths_are_waited_for(void **state)
{
    static const struct stream_case cases[] = {
        {STREAM("*1048576\r\n"), "rest 10\n"},
        {STREAM("*1\r\n$536870912\r\n"), "rest 16\n"},
        {STREAM("*1\r\n$536870912\r\nabc"), "rest 19\n"},
    };
    (void)state;

    check_all(cases, COUNT(cases), &(struct trace_request_options){0});
}

static void
lowered_bulk_limit_is_kept(void **state)
{
    static const struct stream_case cases[] = {
        {STREAM("*1\r\n$10\r\n0123456789\r\n"), "\"0123456789\"\n"},
        {STREAM("*1\r\n$11\r\n0123456789a\r\n"), ERROR("invalid bulk length")},
    };
    (void)state;

    check_all(cases, COUNT(cases), &(struct trace_request_options){.bulk_bytes_max = 10});
}

static void
unauthenticated_client_gets_small_limits(void **state)
{
    static const struct stream_case cases[] = {
        {STREAM("*11\r\n"), ERROR("unauthenticated multibulk length")},
        {STREAM("*10\r\n"), "rest 5\n"},
        {STREAM("*1\r\n$16385\r\n"), ERROR("unauthenticated bulk length")},
        {STREAM("*1\r\n$16384\r\n"), "rest 12\n"},
        {STREAM("*2000000\r\n"), ERROR("invalid multibulk length")},
        {STREAM("*1\r\n$536870913\r\n"), ERROR("invalid bulk length")},
        {STREAM("a b c d e f g h i j k l\r\n"),
         "\"a\" \"b\" \"c\" \"d\" \"e\" \"f\" \"g\" \"h\" \"i\" \"j\" \"k\" \"l\"\n"},
        {STREAM("*2\r\n$4\r\nAUTH\r\n$1\r\np\r\n"), "\"AUTH\" \"p\"\n"},
    };
    (void)state;

    check_all(cases, COUNT(cases), &(struct trace_request_options){.unauthenticated = true});
}

/* `head` and as many bytes `fill` as make `len` in all, then `tail`. */
static struct text
long_stream(const char *head, char fill, size_t len, const char *tail)
{
    struct text text = {0};

    text_add(&text, head, strlen(head));
    while (text.len < len) {
        text_add(&text, &fill, 1);
    }
    text_add(&text, tail, strlen(tail));
    return text;
}

static void
check_long(struct text stream, const char *expected)
{
    const size_t sizes[] = {SIZE_MAX, 1, 4096, RESP_LINE_BYTES_MAX, RESP_LINE_BYTES_MAX + 1};

    for (size_t i = 0; i < COUNT(sizes); i++) {
        struct text text = {0};
        size_t even = sizes[i];

        if (even == 1) {
            even = 37; /* byte by byte the blocks of trace.c would take a second */
        }
        trace_requests(&text, stream.ptr, stream.len, &(struct trace_request_options){0},
                       piece_even, &even);
        assert_non_null(strstr(text.ptr, expected));
        text_free(&text);
    }
    text_free(&stream);
}

static void
line_without_end_is_refused_behind_its_limit(void **state)
{
    const size_t max = RESP_LINE_BYTES_MAX;
    (void)state;

    check_long(long_stream("", 'A', max, ""), "rest 65536\n");
    check_long(long_stream("", 'A', max + 1, ""), ERROR("too big inline request"));
    check_long(long_stream("PING ", 'A', max, "\n"), "\"PING\" <65531 bytes");
    check_long(long_stream("PING ", 'A', max - 1, "\r\n"), "\"PING\" <65530 bytes");
    check_long(long_stream("PING ", 'A', max, "\r\n"), ERROR("too big inline request"));
    check_long(long_stream("*", '1', max, ""), "rest 65536\n");
    check_long(long_stream("*", '1', max + 1, ""), ERROR("too big mbulk count string"));
    check_long(long_stream("*", '1', max, "\r\n"), ERROR("invalid multibulk length"));
    check_long(long_stream("*1\r\n$", '1', max + 4, ""), "rest 65540\n");
    check_long(long_stream("*1\r\n$", '1', max + 5, ""), ERROR("too big bulk count string"));
    check_long(long_stream("*1\r\nX", '1', max + 5, ""), ERROR("too big bulk count string"));
    check_long(long_stream("*1\r\n$", '1', max + 4, "\r\n"), ERROR("invalid bulk length"));
}

static void
refused_parser_stays_refused(void **state)
{
    struct resp_parser parser;
    char bad[] = "*x\r\n";
    char good[] = "PING\r\n";
    char error[24];
    (void)state;

    resp_parser_init(&parser);
    assert_int_equal(resp_parse(&parser, bad, 4), FL_PROTOCOL);
    assert_int_equal(parser.error, RESP_ERROR_MULTIBULK_LENGTH);
    assert_int_equal(resp_parse(&parser, good, 6), FL_PROTOCOL);
    assert_int_equal(resp_parser_error(&parser, error, sizeof(error)), 23);
    assert_string_equal(error, "ERR Protocol error: inv");
    resp_parser_deinit(&parser);
}

/* ---- what a server does in between ---- */

static void
big_argument_is_streamed_past_the_buffer(void **state)
{
    struct text stream = {0};
    struct text whole = {0};
    const struct trace_request_options streaming = {.stream_min = 40};
    (void)state;

    text_addf(&stream, "*4\r\n$3\r\nSET\r\n$1\r\nk\r\n$50\r\n%050d\r\n$2\r\nNX\r\n", 7);
    text_addf(&stream, "*2\r\n$40\r\n%040d\r\n$41\r\n%041d\r\nPING\r\n", 8, 9);
    trace_requests(&whole, stream.ptr, stream.len, &(struct trace_request_options){0}, piece_whole,
                   NULL);
    check_every_split(&(struct stream_case){stream.ptr, stream.len, whole.ptr}, &streaming);
    text_free(&stream);
    text_free(&whole);
}

static void
pending_argument_is_described(void **state)
{
    char buf[] = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100\r\nabcdef";
    const size_t len = sizeof(buf) - 1;
    struct resp_parser parser;
    struct resp_pending pending;
    (void)state;

    resp_parser_init(&parser);
    assert_int_equal(resp_parse(&parser, buf, 3), FL_AGAIN);
    assert_false(resp_parser_pending(&parser, 3, &pending));
    assert_int_equal(resp_parse(&parser, buf, len), FL_AGAIN);
    assert_true(resp_parser_pending(&parser, len, &pending));
    assert_int_equal(pending.index, 2);
    assert_int_equal(pending.bytes_total, 100);
    assert_int_equal(pending.bytes_here, 6);
    assert_int_equal(pending.bytes_left, 100);
    assert_int_equal(pending.off, len - 6);
    assert_int_equal(parser.argc, 2);
    assert_memory_equal(buf + parser.argv[1].off, "k", parser.argv[1].len);
    assert_int_equal(resp_parser_wanted(&parser, len), len - 6 + 100 + 2);

    resp_parser_stream(&parser);
    resp_parser_take(&parser, 6);
    assert_int_equal(parser.stream_left, 94);
    assert_int_equal(resp_parse(&parser, buf, len - 6), FL_AGAIN);
    assert_true(resp_parser_pending(&parser, len - 6, &pending));
    assert_int_equal(pending.index, 2);
    assert_int_equal(pending.bytes_left, 94);
    resp_parser_take(&parser, 94);
    assert_false(resp_parser_pending(&parser, len - 6, &pending));
    memcpy(buf + len - 6, "\r\n", 2);
    assert_int_equal(resp_parse(&parser, buf, len - 6 + 2), FL_OK);
    assert_int_equal(parser.argc, 3);
    assert_int_equal(parser.argv[2].off, RESP_ARG_STREAMED);
    assert_int_equal(parser.argv[2].len, 100);
    assert_int_equal(parser.used, len - 6 + 2);
    resp_parser_deinit(&parser);
}

static void
request_over_the_buffer_limit_is_refused_at_its_head(void **state)
{
    static const char head[] = "*3\r\n$536870912\r\n";
    static const char next[] = "\r\n$536870912\r\n";
    const size_t body = sizeof(head) - 1;
    const size_t len = body + RESP_BULK_BYTES_MAX + sizeof(next) - 1;
    struct resp_parser parser;
    (void)state;

    /* Only the pages that are touched exist. */
    char *buf =
        mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_ptr_not_equal(buf, MAP_FAILED);
    memcpy(buf, head, body);
    memcpy(buf + body + RESP_BULK_BYTES_MAX, next, sizeof(next) - 1);

    resp_parser_init(&parser);
    assert_int_equal(resp_parse(&parser, buf, len), FL_PROTOCOL);
    assert_int_equal(parser.error, RESP_ERROR_REQUEST_TOO_BIG);
    resp_parser_deinit(&parser);

    /* What was streamed past the buffer doesn't count. */
    memcpy(buf + body, next, sizeof(next) - 1);
    resp_parser_init(&parser);
    assert_int_equal(resp_parse(&parser, buf, body), FL_AGAIN);
    resp_parser_stream(&parser);
    resp_parser_take(&parser, RESP_BULK_BYTES_MAX);
    assert_int_equal(resp_parse(&parser, buf, body + sizeof(next) - 1), FL_AGAIN);
    assert_int_equal(resp_parser_wanted(&parser, 0),
                     body + sizeof(next) - 1 + RESP_BULK_BYTES_MAX + 2);
    resp_parser_deinit(&parser);
    munmap(buf, len);
}

static void
limits_change_between_requests(void **state)
{
    char buf[] = "*2\r\n$4\r\nAUTH\r\n$1\r\np\r\n*11\r\n";
    const size_t len = sizeof(buf) - 1;
    struct resp_parser parser;
    (void)state;

    resp_parser_init(&parser);
    resp_parser_limit(&parser, false, RESP_BULK_BYTES_MAX);
    assert_int_equal(resp_parse(&parser, buf, len), FL_OK);
    resp_parser_limit(&parser, true, RESP_BULK_BYTES_MAX);
    assert_int_equal(resp_parse(&parser, buf + parser.used, len - parser.used), FL_AGAIN);
    resp_parser_deinit(&parser);
}

static void
slices_are_allocated_as_arguments_arrive(void **state)
{
    struct text stream = {0};
    struct resp_parser parser;
    (void)state;

    resp_parser_init(&parser);
    text_addf(&stream, "*1048576\r\n");
    assert_int_equal(resp_parse(&parser, stream.ptr, stream.len), FL_AGAIN);
    assert_true(parser.argv_slots <= RESP_ARGV_SLOTS_MIN);
    for (int i = 0; i < 3000; i++) {
        text_add(&stream, "$1\r\na\r\n", 7);
    }
    assert_int_equal(resp_parse(&parser, stream.ptr, stream.len), FL_AGAIN);
    assert_int_equal(parser.argc, 3000);
    assert_true(parser.argv_slots <= 6000);
    resp_parser_deinit(&parser);
    text_free(&stream);
}

static void
slices_are_reused_and_given_back(void **state)
{
    struct text stream = {0};
    struct resp_parser parser;
    (void)state;

    resp_parser_init(&parser);
    text_addf(&stream, "*3000\r\n");
    for (int i = 0; i < 3000; i++) {
        text_add(&stream, "$1\r\na\r\n", 7);
    }
    assert_int_equal(resp_parse(&parser, stream.ptr, stream.len), FL_OK);
    const struct resp_arg *argv = parser.argv;

    assert_int_equal(resp_parse(&parser, stream.ptr, stream.len), FL_OK);
    assert_ptr_equal(parser.argv, argv);
    resp_parser_trim(&parser);
    assert_null(parser.argv);
    assert_int_equal(resp_parse(&parser, stream.ptr, stream.len), FL_OK);
    assert_int_equal(parser.argc, 3000);
    resp_parser_deinit(&parser);
    text_free(&stream);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(array_is_split_into_its_arguments),
        cmocka_unit_test(empty_request_is_skipped),
        cmocka_unit_test(inline_request_is_split_at_white_space),
        cmocka_unit_test(inline_quotes_are_taken_off),
        cmocka_unit_test(unbalanced_quotes_are_refused),
        cmocka_unit_test(malformed_array_is_refused_in_redis_words),
        cmocka_unit_test(largest_lengths_are_waited_for),
        cmocka_unit_test(lowered_bulk_limit_is_kept),
        cmocka_unit_test(unauthenticated_client_gets_small_limits),
        cmocka_unit_test(line_without_end_is_refused_behind_its_limit),
        cmocka_unit_test(refused_parser_stays_refused),
        cmocka_unit_test(big_argument_is_streamed_past_the_buffer),
        cmocka_unit_test(pending_argument_is_described),
        cmocka_unit_test(request_over_the_buffer_limit_is_refused_at_its_head),
        cmocka_unit_test(limits_change_between_requests),
        cmocka_unit_test(slices_are_allocated_as_arguments_arrive),
        cmocka_unit_test(slices_are_reused_and_given_back),
    };

    return cmocka_run_group_tests_name("resp_parse", tests, NULL, NULL);
}
