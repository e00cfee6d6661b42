/* Goal:   a heap is opened with a larger size and keeps it from then on; a smaller one, none, or an open for reading
 *         changes nothing; a crash on the way leaves the old size or the new one, no finding, and copies that the
 *         next open makes alike; copies that differ in anything else are still a finding.
 * Method: heaps with address space to spare are opened again with other sizes; the raise is stopped after every store
 *         and flush, and between its two copies; superblocks are made by hand. */
#include "tests/unit/heap/fixture.h"

#include "base/bytes.h"
#include "base/fail.h"
#include "storage/heap/super.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    SMALL = 12,           /* blocks before */
    LARGE = 2 * GROUP + 9 /* and after: two table blocks more */
};

static struct heap_super_media *
copy_at(const struct fixture *f, int copy)
{
    return (struct heap_super_media *)(mem_map_bytes(f->mem) + (copy == 0 ? 0 : BLOCK / 2));
}

static bool
copies_alike(const struct fixture *f)
{
    return memcmp(copy_at(f, 0), copy_at(f, 1), HEAP_SUPER_BYTES) == 0;
}

static uint64_t
damage_of(const struct fixture *f)
{
    const char *text = NULL;
    uint64_t off = 0;

    return heap_damage(f->heap, &off, &text);
}

/* Open as fl_open() does: with `blocks` as a wish, 0 for none. */
static fl_status
open_with(struct fixture *f, uint32_t blocks, bool read_only)
{
    f->options.size_bytes_max = (uint64_t)blocks * BLOCK;
    f->options.read_only = read_only;
    fl_status status = fixture_reopen(f);

    if (status == FL_OK) {
        assert_int_equal(damage_of(f), 0);
    }
    if (status == FL_OK && !read_only) {
        status = heap_open_finish(f->heap);
    }
    return status;
}

static uint32_t
blocks_of(const struct fixture *f)
{
    return (uint32_t)(heap_geometry(f->heap)->size_bytes_max / BLOCK);
}

/* Own blocks until there are no more; how many are owned then. */
static uint32_t
fill(struct fixture *f)
{
    uint32_t block = 0;

    while (heap_take(f->heap, 1, HEAP_NORMAL, &block) == FL_OK) {
        fixture_own_taken(f, block, 1, HEAP_LOG);
    }
    struct heap_stats stats;

    heap_stats_get(f->heap, &stats);
    return (uint32_t)stats.blocks_owned;
}

static void
raised(enum pm_mode mode)
{
    struct fixture f;

    fixture_create_in(&f, mode, SMALL, LARGE);
    assert_int_equal(fill(&f), SMALL);
    assert_int_equal(open_with(&f, LARGE, false), FL_OK);
    assert_int_equal(f.findings, 0);
    assert_int_equal(blocks_of(&f), LARGE);
    assert_true(copies_alike(&f));
    assert_int_equal(fill(&f), LARGE);
    assert_int_equal(open_with(&f, 0, false), FL_OK);
    assert_int_equal(f.findings, 0);
    assert_int_equal(blocks_of(&f), LARGE);
    assert_int_equal(heap_entry_get(f.heap, LARGE - 1).state, HEAP_LOG);
    fixture_destroy(&f);
}

static void
size_larger_is_durable_and_grown_into(void **state)
{
    (void)state;
    raised(PM_DIRECT);
    raised(PM_STAGED);
}

static void
size_smaller_or_none_leaves_the_file_as_it_is(void **state)
{
    static const uint32_t wishes[] = {0, 1, SMALL - 1, SMALL};
    struct fixture f;

    (void)state;
    fixture_create_in(&f, PM_HOOKED, SMALL, LARGE);
    uint64_t len = 0;
    uint8_t *before = mem_map_copy(f.mem, &len);

    for (size_t i = 0; i < sizeof(wishes) / sizeof(wishes[0]); i++) {
        assert_int_equal(open_with(&f, wishes[i], false), FL_OK);
        assert_int_equal(blocks_of(&f), SMALL);
        assert_memory_equal(mem_map_bytes(f.mem), before, len);
    }
    free(before);
    fixture_destroy(&f);
}

static void
count_event(void *context, const struct mem_map_event *event)
{
    (void)event;
    ++*(unsigned *)context;
}

static void
open_for_reading_never_writes_the_size(void **state)
{
    struct fixture f;
    unsigned events = 0;

    (void)state;
    fixture_create_in(&f, PM_HOOKED, SMALL, LARGE);
    mem_map_record(f.mem, count_event, &events);
    assert_int_equal(open_with(&f, LARGE, true), FL_OK);
    assert_int_equal(blocks_of(&f), SMALL);
    assert_int_equal(events, 0);
    fixture_destroy(&f);
}

static void
size_out_of_bounds_is_refused_and_nothing_written(void **state)
{
    struct fixture f;
    unsigned events = 0;

    (void)state;
    fixture_create_in(&f, PM_HOOKED, SMALL, LARGE);
    mem_map_record(f.mem, count_event, &events);
    f.options.size_bytes_max = (HEAP_BLOCKS_MAX + UINT64_C(1)) * BLOCK;
    assert_int_equal(fixture_reopen(&f), FL_INVALID);
    assert_non_null(strstr(fl_last_error(), "size_bytes_max"));
    assert_int_equal(events, 0);
    assert_int_equal(open_with(&f, 0, false), FL_OK);
    fixture_destroy(&f);
}

/* Until the whole open has found the file undamaged the old size is on media, so nothing may lie beyond it. */
static void
block_over_the_old_size_is_taken_only_after_the_raise(void **state)
{
    struct fixture f;
    uint32_t block = 0;

    (void)state;
    fixture_create_in(&f, PM_DIRECT, SMALL, LARGE);
    assert_int_equal(fill(&f), SMALL);
    f.options.size_bytes_max = (uint64_t)LARGE * BLOCK;
    assert_int_equal(fixture_reopen(&f), FL_OK);
    assert_int_equal(heap_take(f.heap, 1, HEAP_CLEANER, &block), FL_NO_SPACE);
    assert_int_equal(heap_open_finish(f.heap), FL_OK);
    assert_int_equal(heap_take(f.heap, 1, HEAP_CLEANER, &block), FL_OK);
    assert_int_equal(block, SMALL);
    fixture_destroy(&f);
}

/* ---- cuts ---- */

struct stop {
    struct mem_map *mem;
    unsigned left;
    uint8_t *image; /* as it was just before the event that many events in */
    uint64_t len;
};

static void
stop_record(void *context, const struct mem_map_event *event)
{
    struct stop *stop = context;

    (void)event;
    if (stop->left-- == 0) {
        stop->image = mem_map_copy(stop->mem, &stop->len);
    }
}

/* What a reader, a checker and the next writer, which asks for nothing, find. */
static uint32_t
judge_cut(struct fixture *f)
{
    assert_int_equal(open_with(f, 0, true), FL_OK);
    assert_int_equal(f->findings, 0);
    const uint32_t blocks = blocks_of(f);

    assert_true(blocks == SMALL || blocks == LARGE);
    assert_int_equal(open_with(f, 0, false), FL_OK);
    assert_int_equal(f->findings, 0);
    assert_int_equal(blocks_of(f), blocks);
    assert_true(copies_alike(f));
    assert_int_equal(fill(f), blocks);
    return blocks;
}

/* Every store is durable as it is made, and no later one: the crash explorer has the rest of the states. */
static void
raise_cut_anywhere_leaves_the_old_size_or_the_new(void **state)
{
    unsigned stops = 0;
    uint32_t last = SMALL;
    bool more = true;

    (void)state;
    for (; more; stops++) {
        struct stop stop = {.left = stops};
        struct fixture f;

        fixture_create_in(&f, PM_HOOKED, SMALL, LARGE);
        stop.mem = f.mem;
        f.options.size_bytes_max = (uint64_t)LARGE * BLOCK;
        assert_int_equal(fixture_reopen(&f), FL_OK);
        mem_map_record(f.mem, stop_record, &stop);
        assert_int_equal(heap_open_finish(f.heap), FL_OK);
        mem_map_record(f.mem, NULL, NULL);
        more = stop.image != NULL;
        if (more) {
            fixture_close(&f);
            mem_map_load(f.mem, stop.image, stop.len);
            const uint32_t blocks = judge_cut(&f);

            assert_true(blocks >= last);
            last = blocks;
        }
        free(stop.image);
        fixture_destroy(&f);
    }
    assert_true(stops > 10);
    assert_int_equal(last, LARGE);
}

/* One copy has the new size, the other the old, in either order; then the raise is asked for again. */
static void
raise_cut_between_the_copies_is_no_damage(void **state)
{
    (void)state;
    for (int copy = 0; copy < 2; copy++) {
        for (uint32_t wish = 0; wish <= LARGE; wish += LARGE) {
            struct fixture f;

            fixture_create_in(&f, PM_STAGED, SMALL, LARGE);
            super_size_set(copy_at(&f, copy), (uint64_t)(LARGE - 1) * BLOCK);
            assert_false(copies_alike(&f));
            assert_int_equal(open_with(&f, wish, true), FL_OK);
            assert_int_equal(f.findings, 0);
            assert_int_equal(blocks_of(&f), LARGE - 1);
            assert_int_equal(open_with(&f, wish, false), FL_OK);
            assert_int_equal(f.findings, 0);
            assert_int_equal(blocks_of(&f), wish == 0 ? LARGE - 1 : LARGE);
            assert_true(copies_alike(&f));
            fixture_destroy(&f);
        }
    }
}

/* A copy that is marked as being rewritten says nothing, whatever stands in it. */
static void
copy_half_rewritten_is_no_damage(void **state)
{
    struct fixture f;

    (void)state;
    for (int copy = 0; copy < 2; copy++) {
        fixture_create_in(&f, PM_STAGED, SMALL, LARGE);
        bytes_put_le64(&copy_at(&f, copy)->magic, HEAP_MAGIC_REWRITING);
        bytes_put_le64(&copy_at(&f, copy)->size_bytes_max, (uint64_t)LARGE * BLOCK);
        assert_int_equal(judge_cut(&f), SMALL);
        fixture_destroy(&f);
    }
    fixture_create_in(&f, PM_STAGED, SMALL, LARGE);
    bytes_put_le64(&copy_at(&f, 0)->magic, HEAP_MAGIC_REWRITING);
    bytes_put_le64(&copy_at(&f, 1)->magic, HEAP_MAGIC_REWRITING);
    assert_int_equal(fixture_reopen(&f), FL_CORRUPT);
    fixture_destroy(&f);
}

/* A failing drain fails the open; what is on media then is one of the cuts. */
static void
raise_refused_by_the_media_is_an_error_and_no_damage(void **state)
{
    (void)state;
    for (uint64_t nth = 1; nth <= 7; nth++) {
        const struct mem_map_failure failure = {MEM_MAP_CALL_WRITE_DURABLE, nth, FL_IO,
                                                nth % 2 == 0, true};
        struct fixture f;
        uint64_t len = 0;

        fixture_create_in(&f, PM_STAGED, SMALL, LARGE);
        f.options.size_bytes_max = (uint64_t)LARGE * BLOCK;
        assert_int_equal(fixture_reopen(&f), FL_OK);
        mem_map_fail(f.mem, &failure);
        assert_int_equal(heap_open_finish(f.heap), FL_IO);
        uint8_t *image = mem_map_copy(f.mem, &len);

        fixture_close(&f);
        mem_map_fail(f.mem, &(struct mem_map_failure){.call = MEM_MAP_CALL_WRITE_DURABLE});
        mem_map_load(f.mem, image, len);
        (void)judge_cut(&f);
        free(image);
        fixture_destroy(&f);
    }
}

/* ---- what stays a finding ---- */

static void
copies_that_differ_in_more_than_the_size_are_a_finding(void **state)
{
    struct fixture f;

    (void)state;
    for (int what = 0; what < 4; what++) {
        fixture_create_in(&f, PM_STAGED, SMALL, LARGE);
        struct heap_super_media *second = copy_at(&f, 1);
        const uint64_t size_bytes_max = (uint64_t)(what == 3 ? SMALL : LARGE) * BLOCK;

        if (what == 0) {
            second->uuid[3] ^= 1;
        } else if (what == 1) {
            second->compat.b[0] ^= 1;
        }
        super_size_set(second, size_bytes_max);
        if (what >= 2) {
            second->reserved[7] ^= 1; /* and a CRC that is wrong */
        }
        assert_int_equal(open_with(&f, 0, true), FL_OK);
        assert_int_equal(f.findings, 1);
        assert_string_equal(f.rule, "superblock");
        assert_int_equal(blocks_of(&f), SMALL);
        assert_int_equal(open_with(&f, LARGE, false), FL_OK);
        assert_int_equal(open_with(&f, 0, true), FL_OK);
        assert_int_equal(f.findings, 0);
        assert_int_equal(blocks_of(&f), LARGE);
        fixture_destroy(&f);
    }
}

/* The damaged copy is written before the only one that is whole is touched. */
static void
raise_with_one_copy_damaged_keeps_one_whole(void **state)
{
    (void)state;
    for (int copy = 0; copy < 2; copy++) {
        bool more = true;

        for (unsigned stops = 0; more; stops++) {
            struct stop stop = {.left = stops};
            struct fixture f;

            fixture_create_in(&f, PM_HOOKED, SMALL, LARGE);
            copy_at(&f, copy)->reserved[0] ^= 1;
            stop.mem = f.mem;
            f.options.size_bytes_max = (uint64_t)LARGE * BLOCK;
            assert_int_equal(fixture_reopen(&f), FL_OK);
            mem_map_record(f.mem, stop_record, &stop);
            assert_int_equal(heap_open_finish(f.heap), FL_OK);
            mem_map_record(f.mem, NULL, NULL);
            more = stop.image != NULL;
            if (more) {
                fixture_close(&f);
                mem_map_load(f.mem, stop.image, stop.len);
                assert_int_equal(open_with(&f, 0, false), FL_OK);
                assert_true(copies_alike(&f));
            }
            free(stop.image);
            fixture_destroy(&f);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(size_larger_is_durable_and_grown_into),
        cmocka_unit_test(size_smaller_or_none_leaves_the_file_as_it_is),
        cmocka_unit_test(open_for_reading_never_writes_the_size),
        cmocka_unit_test(size_out_of_bounds_is_refused_and_nothing_written),
        cmocka_unit_test(block_over_the_old_size_is_taken_only_after_the_raise),
        cmocka_unit_test(raise_cut_anywhere_leaves_the_old_size_or_the_new),
        cmocka_unit_test(raise_cut_between_the_copies_is_no_damage),
        cmocka_unit_test(copy_half_rewritten_is_no_damage),
        cmocka_unit_test(raise_refused_by_the_media_is_an_error_and_no_damage),
        cmocka_unit_test(copies_that_differ_in_more_than_the_size_are_a_finding),
        cmocka_unit_test(raise_with_one_copy_damaged_keeps_one_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
