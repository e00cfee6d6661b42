/* Goal:   what a staged writer hands to its one synchronous write is exactly what was written: the later
 *         of two writes to a byte wins, ranges ascend and never overlap, those that touch in the file and in
 *         memory are one, and a full table is written out rather than lost.
 * Method: media operations that record the calls; then random writes against a plain array as oracle.
 */
#include "storage/persist/pm.h"
#include "tests/lib/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { FILE_BYTES = 4096, SOURCE_BYTES = 64 * 1024 };

struct fixture {
    uint8_t file[FILE_BYTES];
    struct pm_media media;
    struct pm pm;
    struct pm_range last[PM_RANGES_MAX]; /* ranges of the last write_durable */
    size_t last_count;
    bool last_all;
    uint64_t durable_calls;
    uint64_t through_calls;
};

static fl_status
write_through(void *context, uint64_t off, const void *src, size_t len)
{
    struct fixture *f = context;

    assert_true(len > 0 && off + len <= FILE_BYTES);
    memcpy(f->file + off, src, len);
    f->through_calls++;
    return FL_OK;
}

static fl_status
write_durable(void *context, const struct pm_range *ranges, size_t count, bool all)
{
    struct fixture *f = context;
    uint64_t end = 0;

    assert_true(count <= PM_RANGES_MAX);
    for (size_t i = 0; i < count; i++) {
        assert_true(ranges[i].off >= end && ranges[i].len > 0);
        end = ranges[i].off + ranges[i].len;
        assert_true(end <= FILE_BYTES);
        memcpy(f->file + ranges[i].off, ranges[i].src, ranges[i].len);
        f->last[i] = ranges[i];
    }
    f->last_count = count;
    f->last_all = all;
    f->durable_calls++;
    return FL_OK;
}

static const struct pm_media_ops ops = {.write_durable = write_durable,
                                        .write_through = write_through};

static void
setup(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    f->media = (struct pm_media){.base = f->file,
                                 .size_bytes_max = FILE_BYTES,
                                 .mode = PM_STAGED,
                                 .ops = &ops,
                                 .context = f};
    pm_init(&f->pm, &f->media);
}

static void
expect_range(const struct fixture *f, size_t i, uint64_t off, size_t len, const void *src)
{
    assert_true(i < f->last_count);
    assert_int_equal(f->last[i].off, off);
    assert_int_equal(f->last[i].len, len);
    if (src != NULL) {
        assert_ptr_equal(f->last[i].src, src);
    }
}

static void
ranges_that_touch_in_file_and_memory_become_one(void **state)
{
    struct fixture f;
    uint8_t src[300];

    (void)state;
    setup(&f);
    memset(src, 1, sizeof(src));
    pm_write_nofence(&f.pm, 1000, src, 100);
    pm_write_nofence(&f.pm, 1200, src + 200, 100);
    pm_write_nofence(&f.pm, 1100, src + 100, 100); /* closes the gap on both sides */
    pm_write_nofence(&f.pm, 900, src, 100);        /* touches in the file only */
    assert_int_equal(pm_drain(&f.pm), FL_OK);
    assert_int_equal(f.last_count, 2);
    expect_range(&f, 0, 900, 100, src);
    expect_range(&f, 1, 1000, 300, src);
    assert_false(f.last_all);
}

static void
ranges_that_overlap_from_one_source_become_their_union(void **state)
{
    struct fixture f;
    uint8_t src[300];

    (void)state;
    setup(&f);
    memset(src, 1, sizeof(src));
    pm_write_nofence(&f.pm, 50, src + 50, 100);
    pm_write_nofence(&f.pm, 100, src + 100, 100);
    pm_write_nofence(&f.pm, 0, src, 60);
    pm_write_nofence(&f.pm, 20, src + 20, 10);
    assert_int_equal(pm_drain(&f.pm), FL_OK);
    assert_int_equal(f.last_count, 1);
    expect_range(&f, 0, 0, 200, src);
}

static void
later_write_within_an_earlier_one_splits_it(void **state)
{
    struct fixture f;
    uint8_t src[100];

    (void)state;
    setup(&f);
    memset(src, 'a', sizeof(src));
    pm_write_nofence(&f.pm, 0, src, 100);
    pm_store_u64_nofence(&f.pm, 48, UINT64_MAX);
    pm_store_u64_nofence(&f.pm, 48, 0);
    assert_int_equal(pm_drain(&f.pm), FL_OK);
    assert_int_equal(f.last_count, 3);
    expect_range(&f, 0, 0, 48, src);
    expect_range(&f, 1, 48, 8, NULL);
    expect_range(&f, 2, 56, 44, src + 56);
    assert_int_equal(f.file[47], 'a');
    assert_int_equal(f.file[48], 0);
    assert_int_equal(f.file[56], 'a');
}

static void
words_in_a_row_are_one_range(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    for (uint64_t i = 0; i < PM_RANGES_MAX; i++) {
        pm_store_u64_nofence(&f.pm, i * 8, i);
    }
    assert_int_equal(pm_drain(&f.pm), FL_OK);
    assert_int_equal(f.last_count, 1);
    assert_int_equal(f.through_calls, 0);
    expect_range(&f, 0, 0, (size_t)PM_RANGES_MAX * 8, NULL);
}

static void
full_table_is_written_out_and_covered_by_the_drain(void **state)
{
    const uint64_t words = UINT64_C(3) * PM_RANGES_MAX;
    struct fixture f;

    (void)state;
    setup(&f);
    for (uint64_t i = 0; i < words; i++) {
        pm_store_u64_nofence(&f.pm, i * 16, i + 1);
    }
    assert_true(f.through_calls > 0);
    assert_int_equal(pm_drain(&f.pm), FL_OK);
    assert_true(f.last_all);
    assert_int_equal(f.through_calls + f.last_count, words);
    for (uint64_t i = 0; i < words; i++) {
        assert_int_equal(f.file[i * 16], i + 1);
    }
    pm_store_u64_nofence(&f.pm, 0, 9);
    assert_int_equal(pm_drain(&f.pm), FL_OK);
    assert_false(f.last_all); /* the spill was covered by the drain before */
    assert_int_equal(f.durable_calls, 2);
}

static void
write_through_overrides_what_was_staged_below(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    pm_write_nofence(&f.pm, 0, "0123456789", 10);
    assert_int_equal(pm_write_through_nofence(&f.pm, 4, "xx", 2), FL_OK);
    assert_int_equal(pm_drain(&f.pm), FL_OK);
    assert_memory_equal(f.file, "0123xx6789", 10);
    assert_int_equal(f.last_count, 2);
    assert_true(f.last_all);
}

static void
drain_all_syncs_even_with_nothing_staged(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    assert_int_equal(pm_drain_all(&f.pm), FL_OK);
    assert_int_equal(f.durable_calls, 1);
    assert_true(f.last_all);
    assert_int_equal(atomic_load(&f.pm.counts.syncs), 1);
}

static void
random_writes_equal_a_plain_array(void **state)
{
    struct rng rng = rng_seeded(2);
    uint8_t *source = malloc(SOURCE_BYTES);
    uint8_t oracle[FILE_BYTES];
    struct fixture f;

    (void)state;
    assert_non_null(source);
    setup(&f);
    memset(oracle, 0, sizeof(oracle));
    for (int round = 0; round < 3000; round++) {
        const uint64_t writes = 1 + rng_below(&rng, round % 10 == 0 ? 200 : 12);

        rng_fill(&rng, source, SOURCE_BYTES / 8);
        for (uint64_t i = 0; i < writes; i++) {
            const uint64_t kind = rng_below(&rng, 8);
            const uint64_t len = 1 + rng_below(&rng, kind == 0 ? 1500 : 80);
            const uint64_t off = rng_below(&rng, FILE_BYTES - len + 1);
            const uint64_t word_off = off & ~UINT64_C(7);
            const uint64_t word = rng_u64(&rng);

            if (kind < 5) {
                /* Half of them with one distance between file and memory, so that ranges merge. */
                const uint8_t *src = source + (kind < 3 ? off : rng_below(&rng, SOURCE_BYTES / 16));

                memcpy(oracle + off, src, len);
                pm_write_nofence(&f.pm, off, src, len);
            } else if (kind < 7) {
                memcpy(oracle + word_off, &word, sizeof(word)); /* x86: little-endian */
                pm_store_u64_nofence(&f.pm, word_off, word);
            } else {
                memcpy(oracle + off, source, len);
                assert_int_equal(pm_write_through_nofence(&f.pm, off, source, len), FL_OK);
            }
        }
        assert_int_equal(pm_drain(&f.pm), FL_OK);
        assert_memory_equal(f.file, oracle, FILE_BYTES);
    }
    assert_int_equal(f.durable_calls, 3000);
    free(source);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_that_touch_in_file_and_memory_become_one),
        cmocka_unit_test(ranges_that_overlap_from_one_source_become_their_union),
        cmocka_unit_test(later_write_within_an_earlier_one_splits_it),
        cmocka_unit_test(words_in_a_row_are_one_range),
        cmocka_unit_test(full_table_is_written_out_and_covered_by_the_drain),
        cmocka_unit_test(write_through_overrides_what_was_staged_below),
        cmocka_unit_test(drain_all_syncs_even_with_nothing_staged),
        cmocka_unit_test(random_writes_equal_a_plain_array),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
