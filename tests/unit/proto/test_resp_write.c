/* Goal:   replies and requests stand on the wire as the protocol of the connection has them, and
 * what is written is
 *         read back as it was.
 * Method: exact bytes of every writer in RESP2 and RESP3; random replies through the reader; random
 * requests through
 *         the parser.
 */
#include "proto/resp_write.h"

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

enum { RANDOM_ROUNDS = 500, NESTING = 6 };

/* All that is queued, in one piece. */
static struct text
wire(struct resp_out *out)
{
    struct text text = {0};
    struct iovec iov[4];

    assert_false(resp_out_failed(out));
    text_add(&text, "", 0);
    while (resp_out_pending(out) > 0) {
        const unsigned count = resp_out_iov(out, resp_out_position(out), iov, 4);
        size_t sent = 0;

        assert_true(count > 0);
        for (unsigned i = 0; i < count; i++) {
            text_add(&text, iov[i].iov_base, iov[i].iov_len);
            sent += iov[i].iov_len;
        }
        resp_out_sent(out, sent);
    }
    return text;
}

static void
check_wire(struct resp_out *out, const char *expected)
{
    struct text text = wire(out);

    assert_string_equal(text.ptr, expected);
    assert_int_equal(text.len, strlen(expected));
    text_free(&text);
}

static void
plain_types_are_the_same_in_both_protocols(void **state)
{
    struct resp_out out;
    (void)state;

    resp_out_init(&out, NULL);
    for (uint8_t protocol = 2; protocol <= 3; protocol++) {
        out.protocol = protocol;
        resp_write_ok(&out);
        resp_write_simple(&out, "PONG");
        check_wire(&out, "+OK\r\n+PONG\r\n");
        resp_write_error(&out, "ERR syntax error");
        check_wire(&out, "-ERR syntax error\r\n");
        resp_write_integer(&out, 0);
        resp_write_integer(&out, -7);
        resp_write_integer(&out, 12);
        resp_write_integer(&out, INT64_MAX);
        resp_write_integer(&out, INT64_MIN);
        check_wire(&out, ":0\r\n:-7\r\n:12\r\n:9223372036854775807\r\n:-9223372036854775808\r\n");
        resp_write_bulk(&out, "", 0);
        resp_write_bulk(&out, NULL, 0);
        resp_write_bulk(&out, "a\r\nb", 4);
        resp_write_bulk_text(&out, "0123456789");
        resp_write_bulk_integer(&out, -42);
        check_wire(&out, "$0\r\n\r\n$0\r\n\r\n$4\r\na\r\nb\r\n$10\r\n0123456789\r\n$3\r\n-42\r\n");
        resp_write_array(&out, 0);
        resp_write_array(&out, 1000000);
        check_wire(&out, "*0\r\n*1000000\r\n");
    }
    resp_out_deinit(&out);
}

static void
rich_types_follow_the_protocol(void **state)
{
    static const char *const expected[] = {
        [2] = "$-1\r\n*-1\r\n:1\r\n:0\r\n$3\r\n1.5\r\n$3\r\ninf\r\n$4\r\n-inf\r\n$3\r\nnan\r\n"
              "$3\r\n-12\r\n$3\r\nabc\r\n*4\r\n*2\r\n*3\r\n",
        [3] = "_\r\n_\r\n#t\r\n#f\r\n,1.5\r\n,inf\r\n,-inf\r\n,nan\r\n"
              "(-12\r\n=7\r\ntxt:abc\r\n%2\r\n~2\r\n>3\r\n|1\r\n",
    };
    struct resp_out out;
    (void)state;

    resp_out_init(&out, NULL);
    assert_int_equal(out.protocol, 2);
    for (uint8_t protocol = 2; protocol <= 3; protocol++) {
        out.protocol = protocol;
        resp_write_null(&out);
        resp_write_null_array(&out);
        resp_write_bool(&out, true);
        resp_write_bool(&out, false);
        resp_write_double(&out, 1.5);
        resp_write_double(&out, INFINITY);
        resp_write_double(&out, -INFINITY);
        resp_write_double(&out, NAN);
        resp_write_big_number(&out, "-12");
        resp_write_verbatim(&out, "txt", "abc", 3);
        resp_write_map(&out, 2);
        resp_write_set(&out, 2);
        resp_write_push(&out, 3);
        assert_int_equal(resp_write_attribute(&out, 1), protocol == 3);
        check_wire(&out, expected[protocol]);
    }
    resp_out_deinit(&out);
}

static void
error_text_is_kept_on_one_line(void **state)
{
    char longest[RESP_ERROR_BYTES_MAX * 2];
    struct resp_out out;
    (void)state;

    resp_out_init(&out, NULL);
    resp_write_errorf(&out, "ERR unknown command '%s'", "a\r\n+OK\r\n");
    check_wire(&out, "-ERR unknown command 'a  +OK  '\r\n");
    memset(longest, 'x', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    resp_write_error(&out, longest);
    assert_int_equal(resp_out_pending(&out), 1 + RESP_ERROR_BYTES_MAX + 2);
    resp_out_clear(&out);
    resp_write_errorf(&out, "%s", longest);
    assert_int_equal(resp_out_pending(&out), 1 + RESP_ERROR_BYTES_MAX + 2);
    resp_out_deinit(&out);
}

static void
count_is_filled_in_behind_its_elements(void **state)
{
    struct resp_out out;
    (void)state;

    resp_out_init(&out, NULL);
    for (uint8_t protocol = 2; protocol <= 3; protocol++) {
        out.protocol = protocol;
        struct resp_seg *map = resp_write_later(&out);

        resp_write_simple(&out, "a");
        struct resp_seg *array = resp_write_later(&out);

        resp_write_integer(&out, 1);
        resp_write_integer(&out, 2);
        resp_write_later_array(&out, array, 2);
        resp_write_simple(&out, "b");
        resp_write_later_set(&out, resp_write_later(&out), 0);
        resp_write_later_map(&out, map, 2);
        check_wire(&out, protocol == 2 ? "*4\r\n+a\r\n*2\r\n:1\r\n:2\r\n+b\r\n*0\r\n"
                                       : "%2\r\n+a\r\n*2\r\n:1\r\n:2\r\n+b\r\n~0\r\n");
    }
    resp_out_deinit(&out);
}

static void
release_count(void *context)
{
    (**(int **)context)++;
}

static void
referenced_bulk_looks_like_a_copied_one(void **state)
{
    static const char value[] = "somewhere on media";
    int released = 0;
    struct resp_out out;
    (void)state;

    resp_out_init(&out, NULL);
    int **context = resp_write_bulk_reference(&out, value, 18, sizeof(int *), release_count);

    assert_non_null(context);
    *context = &released;
    resp_write_ok(&out);
    check_wire(&out, "$18\r\nsomewhere on media\r\n+OK\r\n");
    assert_int_equal(released, 1);
    resp_out_deinit(&out);
    assert_int_equal(released, 1);
}

static void
request_is_an_array_of_bulk_strings(void **state)
{
    static const char *const argv[] = {"SET", "k", "a\0b", ""};
    static const size_t lens[] = {3, 1, 3, 0};
    struct resp_out out;
    (void)state;

    resp_out_init(&out, NULL);
    resp_write_request(&out, 2, argv, NULL);
    check_wire(&out, "*2\r\n$3\r\nSET\r\n$1\r\nk\r\n");
    resp_write_request(&out, 4, argv, lens);
    struct text text = wire(&out);
    struct text trace = {0};

    trace_requests(&trace, text.ptr, text.len, &(struct trace_request_options){0}, piece_whole,
                   NULL);
    assert_string_equal(trace.ptr, "\"SET\" \"k\" \"a\\x00b\" \"\"\n");
    text_free(&text);
    text_free(&trace);
    resp_out_deinit(&out);
}

/* ---- round trips ---- */

static void
write_random_leaf(struct rng *rng, struct resp_out *out, struct text *expected)
{
    static char bytes[40000];
    const size_t len = rng_below(rng, rng_below(rng, 10) == 0 ? sizeof(bytes) : 100);
    const int64_t integer = (int64_t)(rng_u64(rng) >> rng_below(rng, 64));

    rng_fill(rng, bytes, len);
    switch (rng_below(rng, 6)) {
    case 0:
        resp_write_integer(out, -integer);
        text_addf(expected, ":%lld", (long long)-integer);
        return;
    case 1:
        resp_write_null(out);
        text_addf(expected, "null");
        return;
    case 2:
        resp_write_bool(out, integer % 2 == 0);
        text_addf(expected, "#%d", integer % 2 == 0);
        return;
    case 3:
        resp_write_verbatim(out, "txt", bytes, len);
        text_addf(expected, "=");
        break;
    default:
        resp_write_bulk(out, bytes, len);
        text_addf(expected, "$");
    }
    text_quote(expected, bytes, len);
}

/* A tree by its open aggregates, like that of the reader. */
static void
write_random_reply(struct rng *rng, struct resp_out *out, struct text *expected)
{
    uint64_t left[NESTING];
    unsigned depth = 0;
    bool first = true;

    do {
        text_add(expected, " ", !first);
        first = false;
        if (depth < NESTING && rng_below(rng, 3) == 0) {
            const uint64_t count = rng_below(rng, 5);

            if (rng_below(rng, 2) == 0) {
                resp_write_array(out, count);
                text_addf(expected, "*%llu[", (unsigned long long)count);
                left[depth++] = count;
            } else {
                resp_write_map(out, count);
                text_addf(expected, "%%%llu[", (unsigned long long)count * 2);
                left[depth++] = count * 2;
            }
        } else {
            write_random_leaf(rng, out, expected);
            if (depth > 0) {
                left[depth - 1]--;
            }
        }
        while (depth > 0 && left[depth - 1] == 0) {
            text_add(expected, "]", 1);
            if (--depth > 0) {
                left[depth - 1]--;
            }
        }
    } while (depth > 0);
    text_add(expected, "\n", 1);
}

static void
random_reply_reads_back_as_it_was_written(void **state)
{
    struct rng rng = rng_seeded(13);
    struct resp_pool pool;
    struct resp_out out;
    (void)state;

    resp_pool_init(&pool, 4);
    resp_out_init(&out, &pool);
    out.protocol = 3;
    for (int round = 0; round < RANDOM_ROUNDS; round++) {
        struct text expected = {0};
        struct text trace = {0};

        for (int i = 0; i < 3; i++) {
            write_random_reply(&rng, &out, &expected);
        }
        struct text text = wire(&out);

        trace_replies(&trace, text.ptr, text.len, SIZE_MAX, piece_whole, NULL);
        assert_string_equal(trace.ptr, expected.ptr);
        text_free(&text);
        text_free(&trace);
        text_free(&expected);
    }
    resp_out_deinit(&out);
    resp_pool_deinit(&pool);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_types_are_the_same_in_both_protocols),
        cmocka_unit_test(rich_types_follow_the_protocol),
        cmocka_unit_test(error_text_is_kept_on_one_line),
        cmocka_unit_test(count_is_filled_in_behind_its_elements),
        cmocka_unit_test(referenced_bulk_looks_like_a_copied_one),
        cmocka_unit_test(request_is_an_array_of_bulk_strings),
        cmocka_unit_test(random_reply_reads_back_as_it_was_written),
    };

    return cmocka_run_group_tests_name("resp_write", tests, NULL, NULL);
}
