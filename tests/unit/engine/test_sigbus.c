/* Goal:   with the SIGBUS backstop a block that can't be read costs its keys, not the process: a condition on such a
 *         key fails with FL_IO, the cleaner leaves the block alone, an open calls it damage, a salvage goes past it.
 * Method: a page of an empty file is put in the place of a block's second in the mapping, so that every access there is
 *         a real SIGBUS, while the rest of the store works on.
 */
#include "storage/api/store.h"
#include "tests/unit/engine/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

enum { BLOCK = 8192, PAGE = 4096, VALUE = 300, HOT = 20, KEY_ROOM = 16 };

static void
poison(const uint8_t *base, uint64_t off)
{
    const int fd = memfd_create("nothing", MFD_CLOEXEC);
    void *page = (void *)((uintptr_t)base + off);

    assert_true(fd >= 0);
    assert_ptr_equal(mmap(page, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0), page);
    close(fd);
}

/* Where the page begins in the file that holds the key's record. */
static uint64_t
page_of(const struct fixture *f, const char *key, const uint8_t **base)
{
    struct fl_view view;

    *base = heap_media(log_heap(engine_log(f->store->engine)))->base;
    assert_int_equal(fl_get_view(f->store, fl_key(key, strlen(key)), &view), FL_OK);
    const uint64_t off = (uint64_t)((const uint8_t *)view.value.ptr - *base) / PAGE * PAGE;

    fl_view_release(&view);
    assert_true(off % BLOCK != 0); /* the segment's header is read unguarded */
    return off;
}

static void
put_hot(const struct fixture *f, unsigned rounds)
{
    for (unsigned i = 0; i < rounds * HOT; i++) {
        char key[KEY_ROOM];

        (void)snprintf(key, sizeof(key), "hot%u", i % HOT);
        fixture_put(f, key, VALUE, 0);
    }
}

/* A key "x" in a block that is full and otherwise dead. */
static void
begin(struct fixture *f)
{
    fixture_init(f, BLOCK, 1000);
    f->options.flags |= FL_OPEN_SIGBUS;
    fixture_reopen(f);
    put_hot(f, 1);
    fixture_put(f, "x", VALUE, 0);
    put_hot(f, 1);
    fixture_maintain(f);
    put_hot(f, 1);
}

static void
condition_on_a_key_that_cannot_be_read_fails(void **state)
{
    const struct fl_put_options absent = {.condition = FL_IF_ABSENT};
    const struct fl_put_options present = {.condition = FL_IF_PRESENT};
    const struct fl_key x = fl_key("x", 1);
    struct fixture f;
    const uint8_t *base;

    (void)state;
    begin(&f);
    const uint64_t off = page_of(&f, "x", &base);

    poison(base, off);
    assert_int_equal(fixture_get(&f, "x"), FL_IO);
    assert_int_equal(fl_put(f.store, x, fl_bytes("new", 3), &absent), FL_IO);
    assert_int_equal(fl_put(f.store, x, fl_bytes("new", 3), &present), FL_IO);
    assert_int_equal(fixture_get(&f, "x"), FL_IO);
    put_hot(&f, 1); /* only that key is concerned */
    fixture_deinit(&f);
}

static void
cleaner_leaves_a_block_alone_that_cannot_be_read(void **state)
{
    struct fl_stats stats = {.struct_bytes = sizeof(stats)};
    struct fixture f;
    const uint8_t *base;

    (void)state;
    begin(&f);
    const uint64_t off = page_of(&f, "x", &base);

    poison(base, off);
    for (unsigned i = 0; i < 50; i++) {
        put_hot(&f, 1);
        fixture_maintain(&f);
    }
    fl_stats(f.store, &stats);
    assert_true(stats.cleaner_freed_blocks_total > 10);
    assert_false(stats.read_only);
    assert_int_equal(fixture_get(&f, "x"), FL_IO);
    assert_int_equal(fixture_get(&f, "hot0"), FL_OK);
    fixture_deinit(&f);
}

static fl_status
open_poisoned(struct fixture *f, uint64_t off)
{
    struct nosync_map *map = NULL;

    assert_int_equal(store_map_open(f->path, &f->options, &map), FL_OK);
    poison(map->media.base, off);
    return store_open_map(map, &f->options, &f->store);
}

static void
open_calls_a_segment_damaged_that_cannot_be_read(void **state)
{
    struct fl_stats stats = {.struct_bytes = sizeof(stats)};
    struct fixture f;
    const uint8_t *base;

    (void)state;
    begin(&f);
    const uint64_t off = page_of(&f, "x", &base);

    assert_int_equal(fl_close(f.store), FL_OK);
    assert_int_equal(open_poisoned(&f, off), FL_CORRUPT);
    f.options.flags = FL_OPEN_READ_ONLY | FL_OPEN_SALVAGE | FL_OPEN_SIGBUS;
    assert_int_equal(open_poisoned(&f, off), FL_OK);
    fl_stats(f.store, &stats);
    assert_true(stats.lost_ranges > 0 && stats.lost_bytes > 0);
    assert_int_equal(fixture_get(&f, "x"), FL_NOT_FOUND);
    for (unsigned i = 0; i < HOT; i++) {
        char key[KEY_ROOM];

        (void)snprintf(key, sizeof(key), "hot%u", i);
        assert_int_equal(fixture_get(&f, key), FL_OK);
    }
    fixture_deinit(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(condition_on_a_key_that_cannot_be_read_fails),
        cmocka_unit_test(cleaner_leaves_a_block_alone_that_cannot_be_read),
        cmocka_unit_test(open_calls_a_segment_damaged_that_cannot_be_read),
    };

    return cmocka_run_group_tests_name("engine sigbus", tests, NULL, NULL);
}
