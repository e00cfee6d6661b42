/* Goal:   every type of RESP2 and RESP3 is read, whatever is no reply is refused, and neither
 * depends on how the bytes
 *         are split on their way.
 * Method: streams with their expected tree, each fed whole, cut at every position, and byte by
 * byte; limits on
 *         nesting, length and number; random streams, whole against split.
 */
#include "proto/resp_reply.h"
#include "tests/lib/rng.h"
#include "tests/unit/proto/trace.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RANDOM_ROUNDS = 4000 };

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define STREAM(bytes) (bytes), sizeof(bytes) - 1

struct stream_case {
    const char *data;
    size_t len;
    const char *expected;
};

static void
check_every_split(const struct stream_case *c, size_t bytes_max)
{
    for (size_t cut = 0; cut < c->len; cut++) {
        struct text text = {0};
        size_t at = cut;

        trace_replies(&text, c->data, c->len, bytes_max, piece_cut, &at);
        assert_string_equal(text.ptr, c->expected);
        text_free(&text);
    }
    for (size_t even = 1; even <= 3; even++) {
        struct text text = {0};

        trace_replies(&text, c->data, c->len, bytes_max, piece_even, &even);
        assert_string_equal(text.ptr, c->expected);
        text_free(&text);
    }
}

static void
check_all(const struct stream_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        check_every_split(&cases[i], SIZE_MAX);
    }
}

static void
resp2_types_are_read(void **state)
{
    static const struct stream_case cases[] = {
        {STREAM("+OK\r\n+\r\n"), "+\"OK\"\n+\"\"\n"},
        {STREAM("-ERR no\r\n"), "-\"ERR no\"\n"},
        {STREAM(":0\r\n:-1\r\n:9223372036854775807\r\n:-9223372036854775808\r\n"),
         ":0\n:-1\n:9223372036854775807\n:-9223372036854775808\n"},
        {STREAM("$0\r\n\r\n$5\r\na\r\nb\0\r\n"), "$\"\"\n$\"a\\x0d\\x0ab\\x00\"\n"},
        {STREAM("$-1\r\n*-1\r\n"), "null\nnull\n"},
        {STREAM("*0\r\n*2\r\n:1\r\n*1\r\n$1\r\na\r\n+x\r\n"),
         "*0[]\n*2[ :1 *1[ $\"a\"]]\n+\"x\"\n"},
        {STREAM("*2\r\n*0\r\n*-1\r\n"), "*2[ *0[] null]\n"},
        {STREAM("$3\r\nab"), "rest\n"},
    };
    (void)state;

    check_all(cases, COUNT(cases));
}

static void
resp3_types_are_read(void **state)
{
    static const struct stream_case cases[] = {
        {STREAM("_\r\n#t\r\n#f\r\n"), "null\n#1\n#0\n"},
        {STREAM(",1.5\r\n,-0\r\n,1e-7\r\n,inf\r\n,-inf\r\n,nan\r\n,10\r\n"),
         ",\"1.5\"\n,\"-0\"\n,\"1e-7\"\n,\"inf\"\n,\"-inf\"\n,\"nan\"\n,\"10\"\n"},
        {STREAM("(3492890328409238509324850943850943825024385\r\n(-1\r\n"),
         "(\"3492890328409238509324850943850943825024385\"\n(\"-1\"\n"},
        {STREAM("!9\r\nSYNTAX no\r\n"), "-\"SYNTAX no\"\n"},
        {STREAM("=7\r\ntxt:abc\r\n=4\r\nmkd:\r\n"), "=\"abc\"\n=\"\"\n"},
        {STREAM("%2\r\n+a\r\n:1\r\n+b\r\n%0\r\n"), "%4[ +\"a\" :1 +\"b\" %0[]]\n"},
        {STREAM("~2\r\n:1\r\n:2\r\n~0\r\n"), "~2[ :1 :2]\n~0[]\n"},
        {STREAM(">2\r\n+message\r\n+x\r\n:1\r\n"), ">2[ +\"message\" +\"x\"]\n:1\n"},
        {STREAM(":+5\r\n"), ":5\n"},
    };
    (void)state;

    check_all(cases, COUNT(cases));
}

static void
attribute_stands_before_what_it_describes(void **state)
{
    static const struct stream_case cases[] = {
        {STREAM("|1\r\n+ttl\r\n:9\r\n:1\r\n"), "|2[ +\"ttl\" :9] :1\n"},
        {STREAM("*2\r\n:1\r\n|1\r\n+a\r\n*1\r\n:3\r\n:2\r\n"), "*2[ :1 |2[ +\"a\" *1[ :3]] :2]\n"},
        {STREAM("|0\r\n|1\r\n+a\r\n+b\r\n*1\r\n|0\r\n_\r\n"),
         "|0[] |2[ +\"a\" +\"b\"] *1[ |0[] null]\n"},
        {STREAM("*?\r\n|1\r\n+a\r\n+b\r\n:1\r\n.\r\n"), "*1[ |2[ +\"a\" +\"b\"] :1]\n"},
        {STREAM("*?\r\n:1\r\n|1\r\n+a\r\n+b\r\n.\r\n"), "error an attribute of nothing\n"},
    };
    (void)state;

    check_all(cases, COUNT(cases));
}

static void
streamed_types_look_like_plain_ones(void **state)
{
    static const struct stream_case cases[] = {
        {STREAM("$?\r\n;4\r\nHell\r\n;6\r\no worl\r\n;1\r\nd\r\n;0\r\n:1\r\n"),
         "$\"Hello world\"\n:1\n"},
        {STREAM("$?\r\n;0\r\n"), "$\"\"\n"},
        {STREAM("*2\r\n$?\r\n;1\r\na\r\n;0\r\n$1\r\nb\r\n"), "*2[ $\"a\" $\"b\"]\n"},
        {STREAM("*?\r\n:1\r\n*?\r\n.\r\n:2\r\n.\r\n"), "*3[ :1 *0[] :2]\n"},
        {STREAM("~?\r\n:1\r\n.\r\n%?\r\n+a\r\n:1\r\n.\r\n"), "~1[ :1]\n%2[ +\"a\" :1]\n"},
        {STREAM("%?\r\n+a\r\n.\r\n"), "error a key without a value\n"},
        {STREAM("$?\r\n:1\r\n"), "error a streamed string goes on without a chunk\n"},
        {STREAM("$?\r\n;-1\r\n"), "error not a length\n"},
        {STREAM("$?\r\n;?\r\n"), "error not a length\n"},
        {STREAM(".\r\n"), "error an end of nothing\n"},
        {STREAM("*1\r\n.\r\n"), "error an end of nothing\n"},
        {STREAM("*?\r\n.x\r\n"), "error an end of nothing\n"},
    };
    (void)state;

    check_all(cases, COUNT(cases));
}

static void
what_is_no_reply_is_refused(void **state)
{
    static const struct stream_case cases[] = {
        {STREAM("HTTP/1.1 200\r\n"), "error not a reply of RESP\n"},
        {STREAM("\r\n"), "error not a reply of RESP\n"},
        {STREAM("\0"), "error not a reply of RESP\n"},
        {STREAM(";1\r\na\r\n"), "error not a reply of RESP\n"},
        {STREAM("+OK\rX"), "error a line doesn't end with CR LF\n"},
        {STREAM(":\r\n"), "error not an integer\n"},
        {STREAM(":1x\r\n"), "error not an integer\n"},
        {STREAM(":+-1\r\n"), "error not an integer\n"},
        {STREAM(":9223372036854775808\r\n"), "error not an integer\n"},
        {STREAM("$\r\n"), "error not a length\n"},
        {STREAM("$-2\r\n"), "error not a length\n"},
        {STREAM("$1\r\nab\r\n"), "error a string doesn't end with CR LF\n"},
        {STREAM("$99999999999999999999\r\n"), "error not a length\n"},
        {STREAM("!-1\r\n"), "error not a length\n"},
        {STREAM("!?\r\n"), "error not a length\n"},
        {STREAM("=3\r\ntxt\r\n"), "error a verbatim string without its format\n"},
        {STREAM("=5\r\ntxtab\r\n"), "error a verbatim string without its format\n"},
        {STREAM(",\r\n"), "error not a double\n"},
        {STREAM(",1.5x\r\n"), "error not a double\n"},
        {STREAM(", 1\r\n"), "error not a double\n"},
        {STREAM(",0x10\r\n"), "error not a double\n"},
        {STREAM("(\r\n"), "error not a big number\n"},
        {STREAM("(-\r\n"), "error not a big number\n"},
        {STREAM("(1.5\r\n"), "error not a big number\n"},
        {STREAM("_x\r\n"), "error not a null\n"},
        {STREAM("#\r\n"), "error not a boolean\n"},
        {STREAM("#true\r\n"), "error not a boolean\n"},
        {STREAM("*-2\r\n"), "error not a length\n"},
        {STREAM("%-1\r\n"), "error not a length\n"},
        {STREAM("~-1\r\n"), "error not a length\n"},
        {STREAM(">?\r\n"), "error not a length\n"},
        {STREAM("|?\r\n"), "error not a length\n"},
        {STREAM("*1\r\n>1\r\n:1\r\n"), "error a push inside a reply\n"},
        {STREAM("*134217729\r\n"), "error too many elements\n"},
        {STREAM("%67108865\r\n"), "error too many elements\n"},
        {STREAM("*9223372036854775807\r\n"), "error too many elements\n"},
        {STREAM(":1\r\n+ok\r\n?\r\n"), ":1\n+\"ok\"\nerror not a reply of RESP\n"},
    };
    (void)state;

    check_all(cases, COUNT(cases));
}

static void
reply_over_its_limit_is_refused_by_its_head(void **state)
{
    static const struct stream_case cases[] = {
        {STREAM("$90\r\n"), "rest\n"},
        {STREAM("$93\r\n"), "rest\n"}, /* 5 + 93 + 2 = 100 */
        {STREAM("$94\r\n"), "error too long a reply\n"},
        {STREAM("$4294967295\r\n"), "error too long a reply\n"},
        {STREAM("*33\r\n"), "rest\n"}, /* "_\r\n" 33 times is 99 */
        {STREAM("*34\r\n"), "error too many elements\n"},
        {STREAM("*2\r\n$80\r\n01234567890123456789012345678901234567890123456789"
                "012345678901234567890123456789\r\n$9\r\n"),
         "error too long a reply\n"},
        {STREAM("+0123456789012345678901234567890123456789012345678901234567890123456789"
                "0123456789012345678901234567890\r\n"),
         "error too long a reply\n"},
    };
    (void)state;

    for (size_t i = 0; i < COUNT(cases); i++) {
        check_every_split(&cases[i], 100);
    }
}

static void
line_without_end_is_refused(void **state)
{
    struct text stream = {0};
    struct text text = {0};
    size_t even = 50000;
    (void)state;

    text_addf(&stream, "+");
    while (stream.len <= RESP_REPLY_LINE_BYTES_MAX) {
        text_add(&stream, "0123456789abcdef", 16);
    }
    trace_replies(&text, stream.ptr, stream.len, SIZE_MAX, piece_even, &even);
    assert_string_equal(text.ptr, "error too long a line\n");
    text_free(&stream);
    text_free(&text);
}

static void
nesting_is_bounded(void **state)
{
    struct text stream = {0};
    struct text text = {0};
    (void)state;

    for (int i = 0; i < RESP_NESTING_MAX; i++) {
        text_addf(&stream, i % 2 == 0 ? "*1\r\n" : "~?\r\n");
    }
    trace_replies(&text, stream.ptr, stream.len, SIZE_MAX, piece_whole, NULL);
    assert_string_equal(text.ptr, "rest\n");
    text_addf(&stream, "*1\r\n");
    text.len = 0;
    trace_replies(&text, stream.ptr, stream.len, SIZE_MAX, piece_whole, NULL);
    assert_string_equal(text.ptr, "error nested too deep\n");
    text_free(&stream);
    text_free(&text);
}

static void
refused_reader_stays_refused(void **state)
{
    struct resp_reader reader;
    char bad[] = "x\r\n";
    char good[] = "+OK\r\n";
    (void)state;

    resp_reader_init(&reader, SIZE_MAX);
    assert_int_equal(resp_read(&reader, bad, 3), FL_PROTOCOL);
    assert_int_equal(resp_read(&reader, good, 5), FL_PROTOCOL);
    resp_reader_deinit(&reader);
}

static void
children_are_walked_without_attributes(void **state)
{
    char buf[] =
        "|1\r\n+a\r\n+b\r\n%2\r\n+k\r\n*2\r\n:1\r\n:2\r\n|0\r\n+l\r\n|1\r\n+c\r\n+d\r\n:3\r\n";
    struct resp_reader reader;
    (void)state;

    resp_reader_init(&reader, SIZE_MAX);
    assert_int_equal(resp_read(&reader, buf, sizeof(buf) - 1), FL_OK);
    assert_int_equal(reader.used, sizeof(buf) - 1);
    const struct resp_node *root = &reader.nodes[reader.root];

    assert_int_equal(root->type, RESP_MAP);
    assert_int_equal(root->count, 4);
    uint32_t at = resp_first(&reader, reader.root);

    assert_int_equal(reader.nodes[at].type, RESP_SIMPLE);
    at = resp_after(&reader, at);
    assert_int_equal(reader.nodes[at].type, RESP_ARRAY);
    assert_int_equal(reader.nodes[resp_after(&reader, resp_first(&reader, at))].integer, 2);
    at = resp_after(&reader, at);
    assert_memory_equal(buf + reader.nodes[at].off, "l", 1);
    at = resp_after(&reader, at);
    assert_int_equal(reader.nodes[at].integer, 3);
    assert_int_equal(resp_after(&reader, at), reader.nodes_count);
    resp_reader_deinit(&reader);
}

static void
double_is_told_as_a_number(void **state)
{
    char buf[] = "*5\r\n,1.5\r\n,-1e3\r\n,inf\r\n,-inf\r\n,nan\r\n";
    struct resp_reader reader;
    (void)state;

    resp_reader_init(&reader, SIZE_MAX);
    assert_int_equal(resp_read(&reader, buf, sizeof(buf) - 1), FL_OK);
    assert_true(resp_node_double(&reader.nodes[1], buf) == 1.5);
    assert_true(resp_node_double(&reader.nodes[2], buf) == -1000);
    assert_true(resp_node_double(&reader.nodes[3], buf) == INFINITY);
    assert_true(resp_node_double(&reader.nodes[4], buf) == -INFINITY);
    assert_true(isnan(resp_node_double(&reader.nodes[5], buf)));
    resp_reader_deinit(&reader);
}

static void
wanted_bytes_are_those_of_the_string(void **state)
{
    char buf[] = "*2\r\n$100\r\nab";
    struct resp_reader reader;
    (void)state;

    resp_reader_init(&reader, SIZE_MAX);
    assert_int_equal(resp_read(&reader, buf, 7), FL_AGAIN);
    assert_int_equal(resp_reader_wanted(&reader, 7), 8);
    assert_int_equal(resp_read(&reader, buf, sizeof(buf) - 1), FL_AGAIN);
    assert_int_equal(resp_reader_wanted(&reader, sizeof(buf) - 1), 10 + 100 + 2);
    resp_reader_deinit(&reader);
}

static void
nodes_are_reused(void **state)
{
    struct text stream = {0};
    struct resp_reader reader;
    (void)state;

    text_addf(&stream, "*1000\r\n");
    for (int i = 0; i < 1000; i++) {
        text_addf(&stream, ":%d\r\n", i);
    }
    resp_reader_init(&reader, SIZE_MAX);
    assert_int_equal(resp_read(&reader, stream.ptr, stream.len), FL_OK);
    const struct resp_node *nodes = reader.nodes;

    assert_int_equal(resp_read(&reader, stream.ptr, stream.len), FL_OK);
    assert_ptr_equal(reader.nodes, nodes);
    assert_int_equal(reader.nodes[1000].integer, 999);
    resp_reader_deinit(&reader);
    text_free(&stream);
}

/* ---- random streams ---- */

static void
add_random_element(struct rng *rng, struct text *stream)
{
    static const char *const parts[] = {
        "+OK\r\n",
        "-E x\r\n",
        ":12\r\n",
        "$3\r\nabc\r\n",
        "$0\r\n\r\n",
        "$-1\r\n",
        "_\r\n",
        "#t\r\n",
        ",1.5\r\n",
        "(12\r\n",
        "!3\r\nE x\r\n",
        "=5\r\ntxt:a\r\n",
        "*0\r\n",
        "*1\r\n",
        "*2\r\n",
        "*3\r\n",
        "%1\r\n",
        "%2\r\n",
        "~2\r\n",
        "|1\r\n",
        "*?\r\n",
        ".\r\n",
        "%?\r\n",
        ">1\r\n",
        "$?\r\n;2\r\nab\r\n;3\r\ncde\r\n;0\r\n",
        "$?\r\n",
        ";1\r\na\r\n",
        ";0\r\n",
    };
    const char *part = parts[rng_below(rng, COUNT(parts))];

    text_add(stream, part, strlen(part));
}

static size_t
piece_random(void *context, size_t left)
{
    const size_t n = 1 + rng_below(context, 9);

    return n < left ? n : left;
}

static void
random_stream_reads_the_same_in_pieces(void **state)
{
    static const char edges[] = "\r\n*$%~|>.;?-0123456789+:#t";
    struct rng rng = rng_seeded(11);
    (void)state;

    for (int round = 0; round < RANDOM_ROUNDS; round++) {
        struct text stream = {0};
        struct text whole = {0};
        struct text split = {0};
        const uint64_t count = 1 + rng_below(&rng, 30);

        for (uint64_t i = 0; i < count; i++) {
            add_random_element(&rng, &stream);
        }
        for (uint64_t damages = rng_below(&rng, 3); damages > 0; damages--) {
            stream.ptr[rng_below(&rng, stream.len)] = edges[rng_below(&rng, sizeof(edges) - 1)];
        }
        trace_replies(&whole, stream.ptr, stream.len, 1000, piece_whole, NULL);
        trace_replies(&split, stream.ptr, stream.len, 1000, piece_random, &rng);
        assert_string_equal(whole.ptr, split.ptr);
        text_free(&stream);
        text_free(&whole);
        text_free(&split);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resp2_types_are_read),
        cmocka_unit_test(resp3_types_are_read),
        cmocka_unit_test(attribute_stands_before_what_it_describes),
        cmocka_unit_test(streamed_types_look_like_plain_ones),
        cmocka_unit_test(what_is_no_reply_is_refused),
        cmocka_unit_test(reply_over_its_limit_is_refused_by_its_head),
        cmocka_unit_test(line_without_end_is_refused),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(refused_reader_stays_refused),
        cmocka_unit_test(children_are_walked_without_attributes),
        cmocka_unit_test(double_is_told_as_a_number),
        cmocka_unit_test(wanted_bytes_are_those_of_the_string),
        cmocka_unit_test(nodes_are_reused),
        cmocka_unit_test(random_stream_reads_the_same_in_pieces),
    };

    return cmocka_run_group_tests_name("resp_reply", tests, NULL, NULL);
}
