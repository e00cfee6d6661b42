/* Goal:   an open tells a store from anything else, a crash from damage, and never takes damage for emptiness:
 *         words, table blocks, roots, superblocks that are lost, and files that were cut, are found; a format cut
 *         short is begun anew.
 * Method: images of a heap with several table blocks are damaged in one place and opened; format is stopped after every
 *         store that it makes. */
#include "tests/unit/heap/fixture.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/fail.h"
#include "storage/heap/super.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint64_t
damage_of(const struct fixture *f)
{
    const char *text = NULL;
    uint64_t off = 0;

    return heap_damage(f->heap, &off, &text);
}

/* `blocks` owned ones, and back in the file. */
static void
fill(struct fixture *f, uint32_t blocks, uint32_t blocks_max)
{
    fixture_create(f, PM_DIRECT, blocks_max);
    for (uint32_t i = 0; i < blocks; i++) {
        fixture_own(f, 1, HEAP_LOG);
    }
    assert_int_equal(fixture_reopen(f), FL_OK);
    assert_int_equal(damage_of(f), 0);
}

static void
file_of_somebody_else_is_corrupt_and_an_empty_one_not_found(void **state)
{
    struct heap_geometry geometry;
    struct fixture f;
    uint8_t bytes[4 * BLOCK];

    (void)state;
    fixture_create(&f, PM_DIRECT, 64);
    for (size_t len = 0; len <= sizeof(bytes); len += len == 0 ? 1 : len) {
        fixture_close(&f);
        memset(bytes, 'x', sizeof(bytes));
        mem_map_load(f.mem, bytes, len);
        f.map = mem_map_open(f.mem);
        assert_int_equal(heap_probe(f.map, &geometry, NULL), len == 0 ? FL_NOT_FOUND : FL_CORRUPT);
    }
    fixture_destroy(&f);
}

/* Zeros are a format that a crash cut short while the file grew; a byte of something else is somebody's. */
static void
file_of_zeros_is_formatted_and_nothing_else(void **state)
{
    static const uint64_t lens[] = {BLOCK, 2 * BLOCK, 3 * BLOCK, 4 * BLOCK, 8 * BLOCK};
    static uint8_t bytes[8 * BLOCK];
    struct heap_geometry geometry;
    struct fixture f;

    (void)state;
    fixture_create(&f, PM_DIRECT, 64);
    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        for (unsigned last = 0; last <= 1; last++) {
            bytes[lens[i] - 1] = (uint8_t)last;
            fixture_close(&f);
            mem_map_load(f.mem, bytes, lens[i]);
            f.map = mem_map_open(f.mem);
            assert_int_equal(heap_probe(f.map, &geometry, NULL),
                             last == 0 ? FL_NOT_FOUND : FL_CORRUPT);
        }
        bytes[lens[i] - 1] = 0;
    }
    fixture_destroy(&f);
}

struct stop {
    struct mem_map *mem;
    unsigned left;
    uint8_t *image; /* as it was when `left` stores had been made */
    uint64_t len;
};

static void
stop_record(void *context, const struct mem_map_event *event)
{
    struct stop *stop = context;

    if (event->kind == MEM_MAP_STORE && stop->left-- == 0) {
        stop->len = mem_map_size_bytes(stop->mem);
        stop->image = malloc(stop->len);
        memcpy(stop->image, mem_map_bytes(stop->mem), stop->len);
    }
}

static void
note(void *context, const char *rule, uint64_t off, uint64_t len, const char *text)
{
    (void)context;
    (void)len;
    fail_msg("%s at %llu: %s", rule, (unsigned long long)off, text);
}

/* What a crash leaves of the format is no damage, and the open for writing makes it whole. */
static void
format_assert_heals(struct nosync_map *map)
{
    const struct heap_report report = {NULL, note};
    const struct heap_options options = {.report = &report};
    struct heap_geometry geometry;
    struct heap *heap = NULL;

    assert_int_equal(heap_probe(map, &geometry, &report), FL_OK);
    assert_int_equal(heap_open(map, &geometry, &options, &heap), FL_OK);
    assert_int_equal(heap_open_finish(heap), FL_OK);
    assert_memory_equal(map->media.base, map->media.base + BLOCK / 2, HEAP_SUPER_BYTES);
    heap_close(heap);
}

static void
format_cut_short_anywhere_is_begun_anew_or_done(void **state)
{
    unsigned stops = 0;
    bool more = true;

    (void)state;
    for (; more; stops++) {
        const struct mem_map_options options = {.mode = PM_HOOKED, .size_bytes_max = 64 * BLOCK};
        struct stop stop = {mem_map_create(&options), stops, NULL, 0};
        struct heap_geometry geometry = {
            .block_bytes = BLOCK, .inline_bytes_max = 512, .size_bytes_max = 64 * BLOCK};

        mem_map_record(stop.mem, stop_record, &stop);
        struct nosync_map *map = mem_map_open(stop.mem);

        assert_int_equal(heap_format(map, &geometry), FL_OK);
        nosync_close(map);
        more = stop.image != NULL;
        if (more) {
            mem_map_record(stop.mem, NULL, NULL);
            mem_map_load(stop.mem, stop.image, stop.len);
            map = mem_map_open(stop.mem);
            const fl_status status = heap_probe(map, &geometry, NULL);

            assert_true(status == FL_NOT_FOUND || status == FL_OK);
            if (status == FL_OK) {
                format_assert_heals(map);
            }
            nosync_close(map);
        }
        free(stop.image);
        mem_map_destroy(stop.mem);
    }
    assert_true(stops > 5);
}

static void
superblock_damaged_is_read_from_its_copy_and_healed(void **state)
{
    static const uint64_t offs[] = {0, 100, BLOCK / 2, BLOCK / 2 + 255};
    struct fixture f;

    (void)state;
    fill(&f, 3, 64);
    for (size_t i = 0; i < sizeof(offs) / sizeof(offs[0]); i++) {
        fixture_close(&f);
        mem_map_bytes(f.mem)[offs[i]] ^= 0x40;
        assert_int_equal(fixture_reopen(&f), FL_OK);
        assert_int_equal(f.findings, 1);
        assert_string_equal(f.rule, "superblock");
        assert_int_equal(heap_open_finish(f.heap), FL_OK);
        assert_int_equal(fixture_reopen(&f), FL_OK);
        assert_int_equal(f.findings, 0);
    }
    fixture_close(&f);
    mem_map_bytes(f.mem)[0] ^= 1;
    mem_map_bytes(f.mem)[BLOCK / 2] ^= 1;
    assert_int_equal(fixture_reopen(&f), FL_CORRUPT);
    fixture_destroy(&f);
}

static void
table_word_damaged_is_found_and_its_block_kept_out_of_use(void **state)
{
    struct fixture f;
    const char *text = NULL;
    uint64_t off = 0;
    uint32_t block = 0;

    (void)state;
    fill(&f, 3, 64);
    mem_map_bytes(f.mem)[BLOCK + 3 * 32 + 2] ^= 4;
    assert_int_equal(fixture_reopen(&f), FL_OK);
    assert_int_equal(heap_damage(f.heap, &off, &text), 1);
    assert_int_equal(off, BLOCK + 3 * 32);
    assert_non_null(strstr(text, "block 3"));
    assert_string_equal(f.rule, "table-word");
    assert_true(heap_entry_get(f.heap, 3).damaged);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(heap_take(f.heap, 1, HEAP_NORMAL, &block), FL_OK);
        assert_int_not_equal(block, 3);
    }
    fixture_destroy(&f);
}

static void
table_word_of_the_wrong_sort_is_damage(void **state)
{
    struct fixture f;

    (void)state;
    fill(&f, 3, 64);
    fixture_close(&f);
    memset(mem_map_bytes(f.mem) + BLOCK, 0, 64); /* blocks 0 and 1: zeros say free */
    assert_int_equal(fixture_reopen(&f), FL_OK);
    assert_int_equal(damage_of(&f), 2);
    fixture_destroy(&f);
}

static void
table_block_zeroed_is_damage(void **state)
{
    struct fixture f;

    (void)state;
    fill(&f, 3 * GROUP, 8 * GROUP);
    fixture_close(&f);
    memset(mem_map_bytes(f.mem) + 2 * GROUP * BLOCK, 0, BLOCK);
    assert_int_equal(fixture_reopen(&f), FL_OK);
    assert_int_equal(damage_of(&f), 1);
    assert_string_equal(f.rule, "table-word");
    fixture_destroy(&f);
}

static void
file_cut_below_an_owned_block_is_damage(void **state)
{
    struct fixture f;

    (void)state;
    fill(&f, 3 * GROUP, 8 * GROUP);
    const uint32_t total = heap_blocks_total(f.heap);
    uint64_t len = 0;
    uint8_t *image = mem_map_copy(f.mem, &len);

    for (uint32_t end = total - 1; end >= 2; end -= end > 11 ? 9 : 1) {
        fixture_close(&f);
        mem_map_load(f.mem, image, (uint64_t)end * BLOCK);
        assert_int_equal(fixture_reopen(&f), FL_OK);
        assert_true(damage_of(&f) > 0);
        assert_string_equal(f.rule, "file-cut");
    }
    /* Just before a table block: none of the words that are left says anything of what came behind. */
    for (uint32_t group = 1; group <= 3; group++) {
        fixture_close(&f);
        mem_map_load(f.mem, image, (uint64_t)group * GROUP * BLOCK);
        assert_int_equal(fixture_reopen(&f), FL_OK);
        assert_int_equal(damage_of(&f), 4 - group);
        assert_string_equal(f.rule, "file-cut");
    }
    fixture_close(&f);
    mem_map_load(f.mem, image, BLOCK);
    assert_int_equal(fixture_reopen(&f), FL_CORRUPT);
    free(image);
    fixture_destroy(&f);
}

static void
file_cut_below_a_free_block_is_none(void **state)
{
    struct fixture f;
    uint64_t len = 0;

    (void)state;
    fixture_create(&f, PM_DIRECT, 64);
    fixture_own(&f, 1, HEAP_LOG);
    const uint32_t last = fixture_own(&f, 1, HEAP_LOG);

    fixture_free(&f, last, 1);
    uint8_t *image = mem_map_copy(f.mem, &len);

    fixture_close(&f);
    mem_map_load(f.mem, image, (uint64_t)last * BLOCK);
    assert_int_equal(fixture_reopen(&f), FL_OK);
    assert_int_equal(damage_of(&f), 0);
    /* Its word is remembered: the block's next owner is a generation further. */
    assert_int_equal(fixture_own(&f, 1, HEAP_LOG), last);
    assert_int_equal(heap_entry_get(f.heap, last).generation, 2);
    free(image);
    fixture_destroy(&f);
}

/* A crash between the fault of a table block and the count that includes it. */
static void
table_block_not_counted_yet_is_made_again(void **state)
{
    const struct mem_map_failure failure = {MEM_MAP_CALL_WRITE_DURABLE, 2, FL_IO, false, true};
    struct fixture f;
    uint32_t block = 0;
    fl_status status = FL_OK;

    (void)state;
    fixture_create(&f, PM_STAGED, 8 * GROUP);
    for (uint32_t i = 0; i < GROUP - 2; i++) {
        fixture_own(&f, 1, HEAP_LOG);
    }
    mem_map_fail(f.mem, &failure); /* the second drain: the count */
    status = heap_take(f.heap, 1, HEAP_NORMAL, &block);
    assert_int_equal(status, FL_IO);
    uint64_t len = 0;
    uint8_t *image = mem_map_copy(f.mem, &len);

    assert_int_equal(len, (GROUP + 1) * BLOCK);
    fixture_close(&f);
    mem_map_load(f.mem, image, len);
    assert_int_equal(fixture_reopen(&f), FL_OK);
    assert_int_equal(damage_of(&f), 0);
    const uint32_t first = fixture_own(&f, 1, HEAP_LOG);

    assert_int_equal(first, GROUP + 1);
    assert_int_equal(fixture_reopen(&f), FL_OK);
    assert_int_equal(damage_of(&f), 0);
    assert_int_equal(heap_entry_get(f.heap, first).state, HEAP_LOG);
    assert_int_equal(heap_entry_get(f.heap, GROUP).state, HEAP_META);
    free(image);
    fixture_destroy(&f);
}

static void
root_newer_and_damaged_leaves_no_claim_of_a_clean_close(void **state)
{
    const struct heap_root clean = {.flags = HEAP_ROOT_CLEAN, .lsn_next = 9000, .tail_off = 1};
    const struct heap_root used = {.lsn_next = 9999};
    struct fixture f;
    struct heap_root got;

    (void)state;
    fixture_create(&f, PM_DIRECT, 64);
    assert_int_equal(heap_root_put(f.heap, &f.pm, &clean), FL_OK); /* sequence 2, slot 1 */
    assert_int_equal(heap_root_put(f.heap, &f.pm, &used), FL_OK);  /* sequence 3, slot 0 */
    fixture_close(&f);
    mem_map_bytes(f.mem)[HEAP_ROOT_OFF + 8] ^= 1;
    assert_int_equal(fixture_reopen(&f), FL_OK);
    heap_root_get(f.heap, &got);
    assert_int_equal(got.sequence, 2);
    assert_int_equal(got.flags & HEAP_ROOT_CLEAN, 0);
    fixture_close(&f);
    mem_map_bytes(f.mem)[heap_half_off(BLOCK, 1, HEAP_ROOT_OFF) + 8] ^= 1;
    assert_int_equal(fixture_reopen(&f), FL_OK);
    assert_string_equal(f.rule, "root");
    fixture_destroy(&f);
}

static void
clock_damaged_or_zeroed_is_reported(void **state)
{
    struct fixture f;

    (void)state;
    fixture_create(&f, PM_DIRECT, 64);
    assert_int_equal(heap_clock_put(f.heap, &f.pm, 1700000000123), FL_OK);
    fixture_close(&f);
    for (unsigned half = 0; half < 2; half++) {
        uint8_t *clock = mem_map_bytes(f.mem) + heap_half_off(BLOCK, half, HEAP_CLOCK_OFF);
        uint8_t saved[8];

        memcpy(saved, clock, sizeof(saved));
        clock[1] ^= 1;
        assert_int_equal(fixture_reopen(&f), FL_OK);
        assert_int_equal(f.findings, 1);
        assert_string_equal(f.rule, "clock");
        assert_int_equal(heap_clock_get(f.heap), 1700000000123);
        fixture_close(&f);
        memset(clock, 0, 8);
        assert_int_equal(fixture_reopen(&f), FL_OK);
        assert_int_equal(f.findings, 1);
        assert_int_equal(heap_clock_get(f.heap), 1700000000123);
        assert_int_equal(heap_open_finish(f.heap), FL_OK);
        assert_memory_equal(clock, saved, sizeof(saved));
    }
    memset(mem_map_bytes(f.mem) + HEAP_CLOCK_OFF, 0, 8);
    memset(mem_map_bytes(f.mem) + heap_half_off(BLOCK, 1, HEAP_CLOCK_OFF), 0, 8);
    assert_int_equal(fixture_reopen(&f), FL_OK);
    assert_int_equal(f.findings, 2);
    assert_int_equal(heap_clock_get(f.heap), 0);
    fixture_destroy(&f);
}

/* A crash between the two words, of a clock that goes on or is taken back. */
static void
clock_is_the_later_of_its_two_words(void **state)
{
    struct fixture f;

    (void)state;
    fixture_create(&f, PM_DIRECT, 64);
    for (unsigned half = 0; half < 2; half++) {
        assert_int_equal(heap_clock_put(f.heap, &f.pm, 1700000000000), FL_OK);
        bytes_put_le64(mem_map_bytes(f.mem) + heap_half_off(BLOCK, half, HEAP_CLOCK_OFF),
                       super_clock_encode(&f.geometry, half, 1700000000000 + 5 - 10 * half));
        assert_int_equal(fixture_reopen(&f), FL_OK);
        assert_int_equal(f.findings, 0);
        assert_int_equal(heap_clock_get(f.heap), 1700000000000 + (half == 0 ? 5 : 0));
    }
    fixture_destroy(&f);
}

/* Each 4 KiB of a larger first block in turn: superblock, root and clock are there still. */
static void
page_of_block_0_lost_loses_nothing(void **state)
{
    enum { LARGE = 4 * BLOCK };
    const struct mem_map_options options = {.mode = PM_DIRECT, .size_bytes_max = 16 * LARGE};
    const struct heap_root used = {.lsn_next = 9999};

    (void)state;
    for (uint64_t page = 0; page < LARGE; page += BLOCK) {
        struct heap_geometry geometry = {
            .block_bytes = LARGE, .inline_bytes_max = 512, .size_bytes_max = 16 * LARGE};
        const struct heap_options heap_options = {.blocks_ahead = 0};
        struct mem_map *mem = mem_map_create(&options);
        struct nosync_map *map = mem_map_open(mem);
        struct heap *heap = NULL;
        struct heap_root got;
        struct pm pm;

        assert_int_equal(heap_format(map, &geometry), FL_OK);
        assert_int_equal(heap_open(map, &geometry, &heap_options, &heap), FL_OK);
        pm_init(&pm, heap_media(heap));
        assert_int_equal(heap_root_put(heap, &pm, &used), FL_OK);
        assert_int_equal(heap_root_put(heap, &pm, &used), FL_OK);
        assert_int_equal(heap_clock_put(heap, &pm, 77), FL_OK);
        heap_close(heap);
        memset(mem_map_bytes(mem) + page, 0xff, BLOCK);
        assert_int_equal(heap_probe(map, &geometry, NULL), FL_OK);
        assert_int_equal(heap_open(map, &geometry, &heap_options, &heap), FL_OK);
        heap_root_get(heap, &got);
        assert_in_range(got.sequence, 2, 3);
        assert_int_equal(got.lsn_next, 9999);
        assert_int_equal(heap_clock_get(heap), 77);
        heap_close(heap);
        nosync_close(map);
        mem_map_destroy(mem);
    }
}

static void
super_version_set(uint8_t *at, uint32_t version)
{
    struct heap_super_media *super = (struct heap_super_media *)at;

    bytes_put_le32(&super->version, version);
    bytes_put_le32(&super->crc, crc32c(0, super, offsetof(struct heap_super_media, crc)));
}

/* Not FL_CORRUPT: nobody shall repair what is only too new. */
static void
second_copy_of_a_later_version_is_told_as_that(void **state)
{
    struct heap_geometry geometry;
    struct fixture f;

    (void)state;
    fixture_create(&f, PM_DIRECT, 64);
    fixture_close(&f);
    super_version_set(mem_map_bytes(f.mem), HEAP_VERSION + 1);
    super_version_set(mem_map_bytes(f.mem) + BLOCK / 2, HEAP_VERSION + 1);
    f.map = mem_map_open(f.mem);
    assert_int_equal(heap_probe(f.map, &geometry, NULL), FL_VERSION);
    mem_map_bytes(f.mem)[3] ^= 1;
    assert_int_equal(heap_probe(f.map, &geometry, NULL), FL_VERSION);
    fixture_destroy(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(file_of_somebody_else_is_corrupt_and_an_empty_one_not_found),
        cmocka_unit_test(file_of_zeros_is_formatted_and_nothing_else),
        cmocka_unit_test(format_cut_short_anywhere_is_begun_anew_or_done),
        cmocka_unit_test(superblock_damaged_is_read_from_its_copy_and_healed),
        cmocka_unit_test(table_word_damaged_is_found_and_its_block_kept_out_of_use),
        cmocka_unit_test(table_word_of_the_wrong_sort_is_damage),
        cmocka_unit_test(table_block_zeroed_is_damage),
        cmocka_unit_test(file_cut_below_an_owned_block_is_damage),
        cmocka_unit_test(file_cut_below_a_free_block_is_none),
        cmocka_unit_test(table_block_not_counted_yet_is_made_again),
        cmocka_unit_test(root_newer_and_damaged_leaves_no_claim_of_a_clean_close),
        cmocka_unit_test(clock_damaged_or_zeroed_is_reported),
        cmocka_unit_test(clock_is_the_later_of_its_two_words),
        cmocka_unit_test(page_of_block_0_lost_loses_nothing),
        cmocka_unit_test(second_copy_of_a_later_version_is_told_as_that),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
