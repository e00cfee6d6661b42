/* Goal:   deleting whole spaces while a snapshot or a cursor sees their keys keeps what these see, however many keys
 *         there are; an open takes no longer for the many deletes of spaces that a log may hold, and honours each.
 * Method: more keys than any reserve made for puts covers; snapshots and cursors are read after the delete. Opens of
 *         the same keys with and without some ten thousand deletes are timed; a comparison of each key with each
 *         delete would take a hundred times longer.
 */
#include "base/clock.h"
#include "tests/unit/engine/fixture.h"

#include <faultline/cursor.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { BLOCK = 65536, KEYS = 20000, KEYS_TIMED = 100000, DELETES = 20000, KEY_ROOM = 16 };

static struct fl_key
key_of(char *bytes, uint8_t space, unsigned i)
{
    return fl_key_in(space, bytes, (size_t)snprintf(bytes, KEY_ROOM, "k%06u", i));
}

static void
put_keys(const struct fixture *f, uint8_t space, unsigned count)
{
    char bytes[KEY_ROOM];

    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(fl_put(f->store, key_of(bytes, space, i), fl_bytes("v", 1), NULL), FL_OK);
    }
}

static void
delete_of_spaces_keeps_what_a_snapshot_sees(void **state)
{
    struct fl_snapshot *snapshot = NULL;
    struct fixture f;
    char bytes[KEY_ROOM];

    (void)state;
    fixture_init(&f, BLOCK, 1000);
    put_keys(&f, 0, KEYS);
    put_keys(&f, 3, 10);
    assert_int_equal(fl_snapshot_create(f.store, &snapshot), FL_OK);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(fl_delete_spaces(f.store, 0, 2), FL_OK);
        assert_int_equal(fl_count(f.store, 0), 0);
        assert_int_equal(fl_count(f.store, 3), 10);
        for (unsigned i = 0; i < KEYS; i++) {
            struct fl_view view;

            assert_int_equal(fl_snapshot_get_view(snapshot, key_of(bytes, 0, i), &view), FL_OK);
            fl_view_release(&view);
        }
        put_keys(&f, 0, KEYS); /* the next round's */
    }
    fl_snapshot_release(snapshot);
    fixture_maintain(&f);
    assert_int_equal(fl_count(f.store, 0), KEYS);
    fixture_reopen(&f);
    assert_int_equal(fl_count(f.store, 0), KEYS);
    fixture_deinit(&f);
}

static void
delete_of_spaces_keeps_what_a_cursor_sees(void **state)
{
    const struct fl_cursor_options options = {.live = false};
    struct fl_cursor *cursor = NULL;
    struct fixture f;
    unsigned seen = 0;

    (void)state;
    fixture_init(&f, BLOCK, 1000);
    put_keys(&f, 0, KEYS);
    assert_int_equal(fl_cursor_open(f.store, &options, &cursor), FL_OK);
    assert_int_equal(fl_delete_spaces(f.store, 0, 255), FL_OK);
    for (fl_status status = fl_cursor_first(cursor); status == FL_OK;
         status = fl_cursor_next(cursor)) {
        seen++;
    }
    assert_int_equal(seen, KEYS);
    fl_cursor_close(cursor);
    fixture_deinit(&f);
}

static uint64_t
reopen_ms(struct fixture *f)
{
    const uint64_t begin_ns = clock_mono_ns();

    fixture_reopen(f);
    return (clock_mono_ns() - begin_ns) / 1000000;
}

static void
open_takes_no_longer_for_many_deletes_of_spaces(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f, 1 << 20, 1000);
    put_keys(&f, 1, KEYS_TIMED);
    const uint64_t plain_ms = reopen_ms(&f);

    for (unsigned i = 0; i < DELETES; i++) {
        assert_int_equal(fl_delete_spaces(f.store, 2, 3), FL_OK);
    }
    const uint64_t masked_ms = reopen_ms(&f);

    print_message("open of %u keys: %lu ms, behind %u deletes of spaces %lu ms\n", KEYS_TIMED,
                  (unsigned long)plain_ms, DELETES, (unsigned long)masked_ms);
    assert_int_equal(fl_count(f.store, 1), KEYS_TIMED);
    assert_true(masked_ms < 4 * plain_ms + 300);
    fixture_deinit(&f);
}

/* What is put between two deletes is hidden by the second only. */
static void
open_honours_the_newest_delete_of_each_space(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f, BLOCK, 1000);
    for (uint8_t space = 0; space < 4; space++) {
        put_keys(&f, space, 10);
    }
    assert_int_equal(fl_delete_spaces(f.store, 1, 3), FL_OK);
    put_keys(&f, 1, 5);
    put_keys(&f, 2, 4);
    assert_int_equal(fl_delete_spaces(f.store, 2, 2), FL_OK);
    put_keys(&f, 2, 3);
    fixture_reopen(&f);
    assert_int_equal(fl_count(f.store, 0), 10);
    assert_int_equal(fl_count(f.store, 1), 5);
    assert_int_equal(fl_count(f.store, 2), 3);
    assert_int_equal(fl_count(f.store, 3), 0);
    fixture_deinit(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delete_of_spaces_keeps_what_a_snapshot_sees),
        cmocka_unit_test(delete_of_spaces_keeps_what_a_cursor_sees),
        cmocka_unit_test(open_takes_no_longer_for_many_deletes_of_spaces),
        cmocka_unit_test(open_honours_the_newest_delete_of_each_space),
    };

    return cmocka_run_group_tests_name("engine spaces", tests, NULL, NULL);
}
