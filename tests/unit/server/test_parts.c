/* Goal:   the small parts keep their promises: SCAN's cursors, WATCH's table, a transaction's
 * keys, input. Method: each is driven alone; the table of watches and the keys against a plain
 * list. */
#include "server/exec_keys.h"
#include "server/input.h"
#include "server/scan_cursor.h"
#include "server/txn.h"
#include "server/watch.h"
#include "tests/lib/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static struct fl_bytes
text(const char *ptr)
{
    return fl_bytes(ptr, strlen(ptr));
}

static void
scan_cursor_is_kept_until_evicted(void **state)
{
    struct scan_cursors *cursors;
    struct fl_bytes next;
    uint64_t ids[6];
    char key[8];

    (void)state;
    assert_int_equal(scan_cursors_create(4, &cursors), FL_OK);
    for (size_t i = 0; i < 6; i++) {
        snprintf(key, sizeof(key), "k%zu", i);
        assert_int_equal(scan_cursors_put(cursors, text(key), &ids[i]), FL_OK);
        assert_int_not_equal(ids[i], 0);
    }
    assert_int_equal(scan_cursors_get(cursors, ids[0], &next), FL_NOT_FOUND);
    assert_int_equal(scan_cursors_get(cursors, ids[1], &next), FL_NOT_FOUND);
    for (size_t i = 2; i < 6; i++) {
        for (int again = 0; again < 2; again++) {
            assert_int_equal(scan_cursors_get(cursors, ids[i], &next), FL_OK);
            snprintf(key, sizeof(key), "k%zu", i);
            assert_int_equal(key_compare(next, text(key)), 0);
        }
    }
    assert_int_equal(scan_cursors_get(cursors, 0, &next), FL_NOT_FOUND);
    assert_int_equal(scan_cursors_get(cursors, ids[5] + 1, &next), FL_NOT_FOUND);
    scan_cursors_destroy(cursors);
}

static void
scan_cursor_of_a_slow_client_outlasts_fast_ones(void **state)
{
    struct scan_cursors *cursors;
    struct fl_bytes next;
    uint64_t slow;
    uint64_t fast[2] = {0, 0};

    (void)state;
    assert_int_equal(scan_cursors_create(4, &cursors), FL_OK);
    assert_int_equal(scan_cursors_put(cursors, text("slow"), &slow), FL_OK);
    for (unsigned i = 0; i < 100; i++) {
        uint64_t *id = &fast[i % 2];

        if (*id != 0) {
            assert_int_equal(scan_cursors_get(cursors, *id, &next), FL_OK);
        }
        assert_int_equal(scan_cursors_put(cursors, text("fast"), id), FL_OK);
    }
    assert_int_equal(scan_cursors_get(cursors, slow, &next), FL_OK);
    assert_int_equal(key_compare(next, text("slow")), 0);
    scan_cursors_destroy(cursors);
}

enum { WATCHERS = 8, WATCH_KEYS = 300 };

static void
watch_random_touches_reach_the_watchers_and_nobody_else(void **state)
{
    static bool watched[WATCHERS][WATCH_KEYS];
    struct watch_table table = {0};
    struct txn txns[WATCHERS] = {0};
    struct rng rng = rng_seeded(7);
    char key[16];

    (void)state;
    for (int step = 0; step < 20000; step++) {
        const size_t who = rng_below(&rng, WATCHERS);
        const size_t which = rng_below(&rng, WATCH_KEYS);
        const uint64_t what = rng_below(&rng, 20);

        snprintf(key, sizeof(key), "key:%zu", which);
        if (what < 12) {
            assert_int_equal(watch_add(&table, &txns[who], text(key), 0), FL_OK);
            watched[who][which] = true;
        } else if (what < 19) {
            bool dirty[WATCHERS];

            for (size_t i = 0; i < WATCHERS; i++) {
                dirty[i] = txns[i].watch_dirty || watched[i][which];
            }
            watch_touch(&table, text(key));
            for (size_t i = 0; i < WATCHERS; i++) {
                assert_int_equal(txns[i].watch_dirty, dirty[i]);
            }
        } else {
            watch_remove_all(&table, &txns[who]);
            memset(watched[who], 0, sizeof(watched[who]));
            assert_false(txns[who].watch_dirty);
        }
    }
    for (size_t i = 0; i < WATCHERS; i++) {
        watch_remove_all(&table, &txns[i]);
    }
    watch_table_deinit(&table);
}

static void
exec_keys_are_sorted_and_unique(void **state)
{
    static const char *const added[] = {"b", "a", "ab", "b", "", "c", "a"};
    static const char *const sorted[] = {"", "a", "ab", "b", "c"};
    struct exec_keys keys;

    (void)state;
    exec_keys_begin(&keys);
    for (size_t i = 0; i < 7; i++) {
        assert_int_equal(exec_keys_add(&keys, text(added[i])), FL_OK);
    }
    exec_keys_sort(&keys);
    assert_int_equal(keys.count, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(key_compare(keys.keys[i], text(sorted[i])), 0);
        assert_true(exec_keys_has(&keys, text(sorted[i])));
    }
    assert_int_equal(exec_keys_seek(&keys, text("aa")), 2);
    assert_int_equal(exec_keys_seek(&keys, text("d")), 5);
    assert_false(exec_keys_has(&keys, text("aa")));
    exec_keys_flushed(&keys);
    assert_int_equal(keys.count, 0);
    assert_true(keys.flushed);
    exec_keys_end(&keys);
}

static void
input_kept_and_consumed_in_pieces_is_the_same_bytes(void **state)
{
    struct input input;
    struct rng rng = rng_seeded(11);
    uint8_t put = 0;
    uint8_t taken = 0;

    (void)state;
    input_init(&input);
    for (int step = 0; step < 5000; step++) {
        char piece[700];
        const size_t len = rng_below(&rng, sizeof(piece));

        for (size_t i = 0; i < len; i++) {
            piece[i] = (char)put++;
        }
        assert_int_equal(input_keep(&input, piece, len, 0), FL_OK);
        const size_t done = rng_below(&rng, input_waiting(&input) + 1);

        for (size_t i = 0; i < done; i++) {
            assert_int_equal((uint8_t)input.buf[input.pos + i], taken++);
        }
        input_consume(&input, done);
        input_trim(&input);
    }
    input_deinit(&input);
}

static void
input_word_of_a_client_reserves_little(void **state)
{
    struct input input;

    (void)state;
    input_init(&input);
    assert_int_equal(input_keep(&input, "x", 1, (size_t)512 << 20), FL_OK);
    assert_true(input.cap <= 2 << 20);
    input_consume(&input, 1);
    input_trim(&input);
    assert_null(input.buf);
    input_deinit(&input);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scan_cursor_is_kept_until_evicted),
        cmocka_unit_test(scan_cursor_of_a_slow_client_outlasts_fast_ones),
        cmocka_unit_test(watch_random_touches_reach_the_watchers_and_nobody_else),
        cmocka_unit_test(exec_keys_are_sorted_and_unique),
        cmocka_unit_test(input_kept_and_consumed_in_pieces_is_the_same_bytes),
        cmocka_unit_test(input_word_of_a_client_reserves_little),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
