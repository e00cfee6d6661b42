/* Goal:   output leaves in order, byte for byte, however it is cut into sends; references are
 * released once, neither early
 *         nor never; want of memory is noticed and loses nothing in silence.
 * Method: a model that holds the same bytes in one buffer; random writes and partial sends against
 * it; allocations
 *         that fail one after the other.
 */
#include "proto/resp_out.h"

#include "proto/resp_parse.h"
#include "proto/resp_reply.h"
#include "proto/resp_write.h"
#include "tests/lib/rng.h"
#include "tests/unit/proto/trace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RANDOM_ROUNDS = 20000, IOV_MAX_TEST = 5 };

/* ---- allocations that fail ---- */

static long allocations_left = -1; /* < 0: any number */
static long allocations_count;

void *__real_malloc(size_t bytes);
void *__real_realloc(void *ptr, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_realloc(void *ptr, size_t bytes);

static bool
may_allocate(void)
{
    allocations_count++;
    return allocations_left < 0 || allocations_left-- > 0;
}

void *
__wrap_malloc(size_t bytes)
{
    return may_allocate() ? __real_malloc(bytes) : NULL;
}

void *
__wrap_realloc(void *ptr, size_t bytes)
{
    return may_allocate() ? __real_realloc(ptr, bytes) : NULL;
}

/* ---- order and release ---- */

static void
release_count(void *context)
{
    (**(int **)context)++;
}

static void
reference(struct resp_out *out, const char *data, size_t len, int *released)
{
    int **context = resp_out_reference(out, data, len, sizeof(*context), release_count);

    assert_non_null(context);
    assert_null(*context);
    *context = released;
}

static void
empty_output_holds_nothing(void **state)
{
    struct resp_out out;
    struct iovec iov[1];
    (void)state;

    resp_out_init(&out, NULL);
    assert_int_equal(resp_out_iov(&out, 0, iov, 1), 0);
    assert_int_equal(resp_out_position(&out), 0);
    resp_out_append(&out, "", 0);
    resp_out_append(&out, "abc", 3);
    assert_int_equal(resp_out_iov(&out, 2, iov, 1), 1);
    assert_int_equal(iov[0].iov_len, 2);
    assert_memory_equal(iov[0].iov_base, "ab", 2);
    resp_out_sent(&out, 2);
    assert_int_equal(resp_out_iov(&out, 3, iov, 1), 1);
    assert_memory_equal(iov[0].iov_base, "c", 1);
    resp_out_sent(&out, 1);
    assert_null(out.head);
    assert_int_equal(resp_out_position(&out), 3);
    resp_out_append(&out, "d", 1);
    assert_int_equal(resp_out_position(&out), 4);
    assert_int_equal(resp_out_pending(&out), 1);
    resp_out_deinit(&out);
}

static void
pieces_stay_where_they_are_while_more_is_queued(void **state)
{
    struct resp_out out;
    struct iovec iov[1];
    char more[5000];
    (void)state;

    resp_out_init(&out, NULL);
    resp_out_append(&out, "first", 5);
    assert_int_equal(resp_out_iov(&out, 5, iov, 1), 1);
    memset(more, 'x', sizeof(more));
    for (int i = 0; i < 20; i++) {
        resp_out_append(&out, more, sizeof(more));
    }
    assert_memory_equal(iov[0].iov_base, "first", 5);
    resp_out_sent(&out, 5);
    assert_int_equal(resp_out_pending(&out), 20 * sizeof(more));
    resp_out_deinit(&out);
}

static void
reference_is_released_with_its_last_byte(void **state)
{
    static const char value[] = "0123456789";
    int released = 0;
    struct resp_out out;
    (void)state;

    resp_out_init(&out, NULL);
    resp_out_append(&out, "a", 1);
    reference(&out, value, 10, &released);
    resp_out_append(&out, "b", 1);
    resp_out_sent(&out, 1);
    resp_out_sent(&out, 9);
    assert_int_equal(released, 0);
    resp_out_sent(&out, 1);
    assert_int_equal(released, 1);
    resp_out_sent(&out, 1);
    assert_null(out.head);
    reference(&out, value, 10, &released);
    resp_out_clear(&out);
    assert_int_equal(released, 2);
    assert_int_equal(resp_out_pending(&out), 0);
    reference(&out, value, 10, &released);
    resp_out_deinit(&out);
    assert_int_equal(released, 3);
}

static void
nothing_behind_a_place_to_be_filled_is_shown(void **state)
{
    struct resp_out out;
    struct iovec iov[4];
    (void)state;

    resp_out_init(&out, NULL);
    resp_out_append(&out, "a", 1);
    struct resp_seg *later = resp_out_later(&out);

    resp_out_append(&out, "c", 1);
    assert_int_equal(resp_out_iov(&out, resp_out_position(&out), iov, 4), 1);
    assert_int_equal(iov[0].iov_len, 1);
    resp_out_sent(&out, 1);
    assert_int_equal(resp_out_iov(&out, resp_out_position(&out), iov, 4), 0);
    resp_out_fill(&out, later, "bb", 2);
    assert_int_equal(resp_out_position(&out), 4);
    assert_int_equal(resp_out_iov(&out, 4, iov, 4), 2);
    assert_memory_equal(iov[0].iov_base, "bb", 2);
    assert_memory_equal(iov[1].iov_base, "c", 1);
    resp_out_sent(&out, 3);
    assert_null(out.head);
    resp_out_deinit(&out);
}

static void
steady_state_allocates_nothing(void **state)
{
    static const char value[40000];
    int released = 0;
    struct resp_pool pool;
    struct resp_out out;
    (void)state;

    resp_pool_init(&pool, 8);
    resp_out_init(&out, &pool);
    for (int round = 0; round < 100; round++) {
        if (round == 1) {
            allocations_count = 0;
        }
        for (int i = 0; i < 300; i++) {
            resp_write_bulk(&out, value, 100);
        }
        reference(&out, value, sizeof(value), &released);
        resp_out_fill(&out, resp_out_later(&out), "*0\r\n", 4);
        resp_write_ok(&out);
        resp_out_sent(&out, resp_out_pending(&out));
    }
    assert_int_equal(allocations_count, 0);
    assert_int_equal(released, 100);
    resp_out_deinit(&out);
    resp_pool_deinit(&pool);
}

static void
pool_keeps_no_more_than_it_was_told(void **state)
{
    static const char value[200000];
    struct resp_pool pool;
    struct resp_out out;
    (void)state;

    resp_pool_init(&pool, 2);
    resp_out_init(&out, &pool);
    for (int i = 0; i < 100; i++) {
        resp_out_append(&out, value, 5000);
    }
    resp_out_append(&out, value, sizeof(value));
    resp_out_clear(&out);
    assert_true(pool.spare_count[0] <= 2);
    assert_int_equal(pool.spare_count[1], 2);
    resp_out_deinit(&out);
    resp_pool_deinit(&pool);
}

/* ---- against a model ---- */

struct model {
    struct rng rng;
    struct resp_pool pool;
    struct resp_out out;
    struct resp_out side;
    struct text bytes; /* queued and not sent */
    int references;
    int released;
    char data[70000];
};

static void
model_write(struct model *m)
{
    size_t len = rng_below(&m->rng, rng_below(&m->rng, 20) == 0 ? sizeof(m->data) : 300);
    const char *from = m->data + rng_below(&m->rng, sizeof(m->data) - len);
    char *room;

    switch (rng_below(&m->rng, 5)) {
    case 0:
        reference(&m->out, from, len, &m->released);
        m->references++;
        break;
    case 1:
        len = len > RESP_OUT_LATER_MAX ? RESP_OUT_LATER_MAX : len;
        resp_out_fill(&m->out, resp_out_later(&m->out), from, len);
        break;
    case 2:
        len = len > RESP_OUT_RESERVE_MAX ? RESP_OUT_RESERVE_MAX : len;
        room = resp_out_reserve(&m->out, len);
        assert_non_null(room);
        memcpy(room, from, len);
        resp_out_advance(&m->out, len);
        break;
    default:
        resp_out_append(&m->out, from, len);
    }
    text_add(&m->bytes, from, len);
}

static void
model_send(struct model *m)
{
    const uint64_t end = m->out.sent + rng_below(&m->rng, resp_out_pending(&m->out) + 1);
    struct iovec iov[IOV_MAX_TEST];
    const unsigned count =
        resp_out_iov(&m->out, end, iov, 1 + (unsigned)rng_below(&m->rng, IOV_MAX_TEST));
    size_t shown = 0;

    for (unsigned i = 0; i < count; i++) {
        assert_true(iov[i].iov_len > 0);
        assert_memory_equal(iov[i].iov_base, m->bytes.ptr + shown, iov[i].iov_len);
        shown += iov[i].iov_len;
    }
    assert_true(shown <= end - m->out.sent);
    const size_t sent = rng_below(&m->rng, 2) == 0 ? shown : rng_below(&m->rng, shown + 1);

    resp_out_sent(&m->out, sent);
    m->bytes.len -= sent;
    memmove(m->bytes.ptr, m->bytes.ptr + sent, m->bytes.len);
}

/* Write by way of another output, which is used again and again. */
static void
model_move(struct model *m)
{
    const struct resp_out out = m->out;

    m->out = m->side;
    for (uint64_t writes = rng_below(&m->rng, 4); writes > 0; writes--) {
        model_write(m);
    }
    m->side = m->out;
    m->out = out;
    resp_out_move(&m->out, &m->side);
    assert_int_equal(resp_out_pending(&m->side), 0);
    assert_null(m->side.head);
}

static void
random_writes_and_sends_agree_with_a_model(void **state)
{
    static struct model m;
    (void)state;

    m.rng = rng_seeded(17);
    rng_fill(&m.rng, m.data, sizeof(m.data));
    resp_pool_init(&m.pool, 4);
    resp_out_init(&m.out, &m.pool);
    resp_out_init(&m.side, &m.pool);
    for (int round = 0; round < RANDOM_ROUNDS; round++) {
        if (m.bytes.len > 200000 || rng_below(&m.rng, 2) == 0) {
            model_send(&m);
        } else if (rng_below(&m.rng, 8) == 0) {
            model_move(&m);
        } else {
            model_write(&m);
        }
        assert_int_equal(resp_out_pending(&m.out), m.bytes.len);
        assert_true(m.released <= m.references);
    }
    resp_out_sent(&m.out, resp_out_pending(&m.out));
    assert_int_equal(m.released, m.references);
    assert_null(m.out.head);
    resp_out_deinit(&m.out);
    resp_pool_deinit(&m.pool);
    text_free(&m.bytes);
}

/* ---- no memory ---- */

/* Every kind of write once; `released` counts up for each reference that was taken. */
static int
write_some(struct resp_out *out, int *released)
{
    static const char value[20000];
    int taken = 0;

    resp_write_ok(out);
    resp_write_bulk(out, value, sizeof(value));
    int **context = resp_write_bulk_reference(out, value, 100, sizeof(*context), release_count);

    if (context != NULL) {
        *context = released;
        taken++;
    }
    struct resp_seg *later = resp_write_later(out);

    for (int i = 0; i < 40; i++) {
        resp_write_bulk(out, value, 900);
    }
    resp_write_later_array(out, later, 40);
    resp_write_error(out, "ERR end");
    return taken;
}

static void
failed_allocation_fails_the_output_and_nothing_else(void **state)
{
    struct resp_out out;
    size_t whole;
    int released = 0;
    (void)state;

    resp_out_init(&out, NULL);
    allocations_count = 0;
    int taken = write_some(&out, &released);

    whole = resp_out_pending(&out);
    assert_false(resp_out_failed(&out));
    resp_out_deinit(&out);
    const long needed = allocations_count;

    assert_true(needed > 3);
    for (long n = 0; n < needed; n++) {
        resp_out_init(&out, NULL);
        allocations_left = n;
        taken += write_some(&out, &released);
        allocations_left = -1;
        assert_true(resp_out_failed(&out));
        assert_true(resp_out_pending(&out) < whole);
        const size_t stopped = resp_out_pending(&out);

        resp_write_ok(&out); /* nothing may follow what is missing */
        assert_int_equal(resp_out_pending(&out), stopped);
        resp_out_deinit(&out);
    }
    assert_int_equal(released, taken);
}

static void
more_than_may_be_pending_fails_the_output_until_it_is_cleared(void **state)
{
    static const char text[1000];
    struct resp_out out;
    struct resp_out other;

    (void)state;
    resp_out_init(&out, NULL);
    resp_out_init(&other, NULL);
    other.pending_max = 100 * 1000;
    for (unsigned i = 0; i < 1000; i++) {
        resp_write_bulk(&other, text, sizeof(text));
    }
    assert_true(resp_out_failed(&other) && other.over);
    assert_in_range(resp_out_pending(&other), 80 * 1000, 100 * 1000 + 16 * 1024);
    resp_out_move(&out, &other);
    assert_true(resp_out_failed(&out) && out.over);
    resp_out_clear(&out);
    assert_false(resp_out_failed(&out) || out.over);
    resp_write_ok(&out);
    assert_int_equal(resp_out_pending(&out), 5);
    resp_out_deinit(&other);
    resp_out_deinit(&out);
}

static void
failed_allocation_fails_the_parser(void **state)
{
    struct text stream = {0};
    struct resp_parser parser;
    fl_status status = FL_NO_MEMORY;
    (void)state;

    text_addf(&stream, "*100\r\n");
    for (int i = 0; i < 100; i++) {
        text_add(&stream, "$1\r\na\r\n", 7);
    }
    resp_parser_init(&parser);
    for (int tries = 0; tries < 10 && status == FL_NO_MEMORY; tries++) {
        allocations_left = tries % 2; /* one more slot array every other time */
        status = resp_parse(&parser, stream.ptr, stream.len);
    }
    allocations_left = -1;
    assert_int_equal(status, FL_OK);
    assert_int_equal(parser.argc, 100);
    resp_parser_deinit(&parser);
    text_free(&stream);
}

static void
failed_allocation_fails_the_reader_for_now(void **state)
{
    struct text stream = {0};
    struct resp_reader reader;
    fl_status status = FL_NO_MEMORY;
    (void)state;

    text_addf(&stream, "*100\r\n");
    for (int i = 0; i < 100; i++) {
        text_add(&stream, ":1\r\n", 4);
    }
    resp_reader_init(&reader, SIZE_MAX);
    for (int tries = 0; tries < 10 && status == FL_NO_MEMORY; tries++) {
        allocations_left = tries % 2;
        status = resp_read(&reader, stream.ptr, stream.len);
    }
    allocations_left = -1;
    assert_int_equal(status, FL_OK);
    assert_int_equal(reader.nodes_count, 101);
    resp_reader_deinit(&reader);
    text_free(&stream);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_output_holds_nothing),
        cmocka_unit_test(pieces_stay_where_they_are_while_more_is_queued),
        cmocka_unit_test(reference_is_released_with_its_last_byte),
        cmocka_unit_test(nothing_behind_a_place_to_be_filled_is_shown),
        cmocka_unit_test(steady_state_allocates_nothing),
        cmocka_unit_test(pool_keeps_no_more_than_it_was_told),
        cmocka_unit_test(random_writes_and_sends_agree_with_a_model),
        cmocka_unit_test(failed_allocation_fails_the_output_and_nothing_else),
        cmocka_unit_test(more_than_may_be_pending_fails_the_output_until_it_is_cleared),
        cmocka_unit_test(failed_allocation_fails_the_parser),
        cmocka_unit_test(failed_allocation_fails_the_reader_for_now),
    };

    return cmocka_run_group_tests_name("resp_out", tests, NULL, NULL);
}
