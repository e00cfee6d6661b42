/* Goal:   blocks go from hand to hand as the heap promises: populated and zero when taken, owned on media only after
 *         their word is, free only after it says so; contiguous runs, several table blocks, the size limit, the
 *         reserve.
 * Method: a heap with 4 KiB blocks over a file in memory that dies on a store to a block that was not faulted in;
 *         after each change the heap is opened again and must say the same. */
#include "tests/unit/heap/fixture.h"

#include "base/bytes.h"
#include "base/fail.h"
#include "storage/heap/super.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct heap_stats
stats_of(struct fixture *f)
{
    struct heap_stats stats;

    heap_stats_get(f->heap, &stats);
    return stats;
}

static void
heap_fresh_owns_its_two_blocks(void **state)
{
    struct fixture f;

    (void)state;
    fixture_create(&f, PM_DIRECT, 64);
    assert_int_equal(heap_blocks_total(f.heap), 2);
    assert_int_equal(stats_of(&f).blocks_owned, 2);
    assert_int_equal(stats_of(&f).blocks_free, 0);
    assert_int_equal(heap_entry_get(f.heap, 0).state, HEAP_META);
    assert_int_equal(heap_entry_get(f.heap, 1).state, HEAP_META);
    assert_int_equal(heap_entry_get(f.heap, 5000).state, HEAP_FREE);
    assert_int_equal(f.findings, 0);
    fixture_destroy(&f);
}

static void
block_taken_is_populated_and_zero(void **state)
{
    struct fixture f;
    uint32_t block = 0;

    (void)state;
    fixture_create(&f, PM_DIRECT, 64);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(heap_take(f.heap, 1, HEAP_NORMAL, &block), FL_OK);
        assert_true(block >= 2);
        assert_true(fixture_is_zero(&f, block));
        pm_write_nofence(&f.pm, (uint64_t)block * BLOCK, "not zero any more", 17);
    }
    assert_int_equal(pm_drain(&f.pm), FL_OK);
    fixture_destroy(&f);
}

static void
block_owned_is_owned_after_reopening_and_taken_is_not(void **state)
{
    struct fixture f;
    uint32_t taken = 0;

    (void)state;
    fixture_create(&f, PM_DIRECT, 64);
    const uint32_t owned = fixture_own(&f, 1, HEAP_LOG);

    assert_int_equal(heap_take(f.heap, 1, HEAP_NORMAL, &taken), FL_OK);
    assert_int_equal(fixture_reopen(&f), FL_OK);
    assert_int_equal(heap_entry_get(f.heap, owned).state, HEAP_LOG);
    assert_int_equal(heap_entry_get(f.heap, owned).generation, 1);
    assert_int_equal(heap_entry_get(f.heap, owned).head, 1);
    assert_int_equal(heap_note_get(f.heap, owned).nonce, owned);
    assert_int_equal(heap_note_get(f.heap, owned).base_lsn, 1);
    assert_int_equal(heap_entry_get(f.heap, taken).state, HEAP_FREE);
    assert_int_equal(stats_of(&f).blocks_owned, 3);
    assert_int_equal(stats_of(&f).blocks_free, heap_blocks_total(f.heap) - 3);
    assert_int_equal(f.findings, 0);
    fixture_destroy(&f);
}

/* The word of the first block vouches for the others and for what the caller wrote between. */
static void
block_owned_by_half_is_free(void **state)
{
    struct fixture f;
    uint32_t block = 0;
    uint32_t generation = 0;

    (void)state;
    fixture_create(&f, PM_DIRECT, 64);
    assert_int_equal(heap_take(f.heap, 3, HEAP_NORMAL, &block), FL_OK);
    heap_own_begin_nofence(f.heap, &f.pm, block, 3, (struct heap_entry){.state = HEAP_BLOB},
                           (struct heap_note){1, 2}, &generation);
    assert_int_equal(pm_drain(&f.pm), FL_OK);
    assert_int_equal(fixture_reopen(&f), FL_OK);
    assert_int_equal(heap_entry_get(f.heap, block).state, HEAP_FREE);
    assert_int_equal(heap_entry_get(f.heap, block + 1).state, HEAP_CONT);
    assert_int_equal(heap_entry_get(f.heap, block + 2).state, HEAP_CONT);
    assert_int_equal(heap_entry_get(f.heap, block + 2).generation, generation);
    fixture_destroy(&f);
}

static void
block_recycled_is_punched_reused_and_a_generation_older(void **state)
{
    struct fixture f;

    (void)state;
    fixture_create(&f, PM_DIRECT, 64);
    const uint32_t block = fixture_own(&f, 1, HEAP_LOG);
    const uint64_t punches = mem_map_calls(f.mem, MEM_MAP_CALL_PUNCH);

    pm_write_nofence(&f.pm, (uint64_t)block * BLOCK, "old bytes", 9);
    assert_int_equal(pm_drain(&f.pm), FL_OK);
    fixture_free(&f, block, 1);
    assert_int_equal(mem_map_calls(f.mem, MEM_MAP_CALL_PUNCH), punches + 1);
    assert_int_equal(heap_entry_get(f.heap, block).state, HEAP_FREE);
    const uint32_t again = fixture_own(&f, 1, HEAP_BLOB);

    assert_int_equal(again, block);
    assert_true(fixture_is_zero(&f, again));
    assert_int_equal(fixture_reopen(&f), FL_OK);
    assert_int_equal(heap_entry_get(f.heap, again).generation, 2);
    assert_int_equal(heap_entry_get(f.heap, again).state, HEAP_BLOB);
    fixture_destroy(&f);
}

/* Between the word and the punch the bytes stay for readers; nobody gets the block. */
static void
block_disowned_is_kept_until_it_is_recycled(void **state)
{
    struct fixture f;
    uint32_t other = 0;

    (void)state;
    fixture_create(&f, PM_DIRECT, 64);
    const uint32_t block = fixture_own(&f, 1, HEAP_LOG);

    pm_write_nofence(&f.pm, (uint64_t)block * BLOCK, "read me", 7);
    assert_int_equal(pm_drain(&f.pm), FL_OK);
    assert_int_equal(heap_disown_nofence(f.heap, &f.pm, block, 1), FL_OK);
    assert_int_equal(pm_drain(&f.pm), FL_OK);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(heap_take(f.heap, 1, HEAP_NORMAL, &other), FL_OK);
        assert_int_not_equal(other, block);
    }
    assert_memory_equal(heap_media(f.heap)->base + (uint64_t)block * BLOCK, "read me", 7);
    heap_recycle(f.heap, block, 1);
    fixture_destroy(&f);
}

/* A punch may fail or roll back: what is taken next is zero all the same. */
static void
block_that_could_not_be_punched_is_zeroed_before_reuse(void **state)
{
    const struct mem_map_failure failure = {MEM_MAP_CALL_PUNCH, 1, FL_IO, false, false};
    struct fixture f;

    (void)state;
    fixture_create(&f, PM_DIRECT, 64);
    const uint32_t block = fixture_own(&f, 1, HEAP_LOG);

    pm_write_nofence(&f.pm, (uint64_t)block * BLOCK, "stale", 5);
    assert_int_equal(pm_drain(&f.pm), FL_OK);
    mem_map_fail(f.mem, &failure);
    fixture_free(&f, block, 1);
    assert_int_equal(fixture_own(&f, 1, HEAP_LOG), block);
    assert_true(fixture_is_zero(&f, block));
    fixture_destroy(&f);
}

static void
word_set(struct fixture *f, uint32_t block, struct heap_entry entry)
{
    bytes_put_le64(mem_map_bytes(f->mem) + BLOCK + block * HEAP_ENTRY_BYTES,
                   super_entry_encode(&f->geometry, block, entry));
}

/* One generation more would be 0, and then those that the block had before. */
static void
block_whose_generations_are_used_up_is_never_taken_again(void **state)
{
    struct fixture f;
    uint32_t block = 0;

    (void)state;
    fixture_create(&f, PM_DIRECT, 64);
    f.options.blocks_ahead = 2; /* others would be kept warm */
    const uint32_t worn = fixture_own(&f, 1, HEAP_LOG);

    fixture_free(&f, worn, 1);
    word_set(&f, worn, (struct heap_entry){.generation = UINT32_MAX - 1});
    assert_int_equal(fixture_reopen(&f), FL_OK);
    assert_int_equal(fixture_own(&f, 1, HEAP_LOG), worn); /* its last owner */
    assert_int_equal(heap_entry_get(f.heap, worn).generation, UINT32_MAX);
    pm_write_nofence(&f.pm, (uint64_t)worn * BLOCK, "old bytes", 9);
    assert_int_equal(pm_drain(&f.pm), FL_OK);
    fixture_free(&f, worn, 1);
    for (int round = 0; round < 2; round++) {
        const uint32_t run = fixture_own(&f, 3, HEAP_BLOB);

        assert_true(fixture_is_zero(&f, worn));
        assert_true(worn < run || worn >= run + 3);
        fixture_free(&f, run, 3);
        for (int i = 0; i < 20; i++) {
            assert_int_equal(heap_take(f.heap, 1, HEAP_NORMAL, &block), FL_OK);
            assert_int_not_equal(block, worn);
        }
        assert_int_equal(heap_entry_get(f.heap, worn).state, HEAP_FREE);
        uint64_t len = 0;
        uint8_t *image = mem_map_copy(f.mem, &len);

        memcpy(image + (uint64_t)worn * BLOCK, "old bytes", 9); /* the punch rolled back */
        fixture_close(&f);
        mem_map_load(f.mem, image, len);
        free(image);
        assert_int_equal(fixture_reopen(&f), FL_OK);
        assert_int_equal(heap_open_finish(f.heap), FL_OK);
    }
    /* It is no room that somebody could be promised. */
    const uint32_t left = 64 - 2 - 1;

    assert_true(heap_has_room(f.heap, left));
    assert_false(heap_has_room(f.heap, left + 1));
    fixture_destroy(&f);
}

/* A run that could not be faulted has no warm block in it any more: it is tried again, and nobody else gets them. */
static void
run_that_failed_leaves_no_block_for_warm(void **state)
{
    const struct mem_map_failure failure = {MEM_MAP_CALL_FAULT_IN, 1, FL_IO, false, false};
    struct fixture f;
    uint32_t run = 0;
    uint32_t block = 0;

    (void)state;
    fixture_create(&f, PM_DIRECT, 64);
    f.options.blocks_ahead = 1;
    assert_int_equal(fixture_reopen(&f), FL_OK);
    const uint32_t cold = fixture_own(&f, 1, HEAP_LOG);

    fixture_own(&f, 1, HEAP_LOG);
    const uint32_t warm = fixture_own(&f, 1, HEAP_LOG);

    fixture_free(&f, warm, 1);
    fixture_free(&f, cold, 1);
    mem_map_fail(f.mem, &failure);
    assert_int_equal(heap_take(f.heap, 2, HEAP_NORMAL, &run), FL_OK);
    assert_int_equal(heap_take(f.heap, 1, HEAP_NORMAL, &block), FL_OK);
    assert_true(block != run && block != run + 1);
    fixture_destroy(&f);
}

static void
run_is_contiguous_and_holds_no_table_block(void **state)
{
    static const uint32_t counts[] = {2, 3, 100, GROUP - 2, 7, GROUP - 2, 60, 2};
    struct fixture f;
    uint32_t end = 0;

    (void)state;
    fixture_create(&f, PM_DIRECT, 8 * GROUP);
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        const uint32_t block = fixture_own(&f, counts[i], HEAP_BLOB);

        for (uint32_t b = block; b < block + counts[i]; b++) {
            assert_true(b >= 2 && b % GROUP != 0);
            assert_int_equal(heap_entry_get(f.heap, b).state, b == block ? HEAP_BLOB : HEAP_CONT);
            assert_true(fixture_is_zero(&f, b));
        }
        end = block + counts[i] > end ? block + counts[i] : end;
    }
    assert_true(end > 3 * GROUP);
    assert_int_equal(fixture_reopen(&f), FL_OK);
    assert_int_equal(f.findings, 0);
    fixture_destroy(&f);
}

static void
run_longer_than_a_group_is_refused(void **state)
{
    struct fixture f;
    uint32_t block = 0;

    (void)state;
    fixture_create(&f, PM_DIRECT, 8 * GROUP);
    assert_int_equal(heap_take(f.heap, GROUP - 1, HEAP_NORMAL, &block), FL_TOO_LARGE);
    assert_int_equal(heap_take(f.heap, UINT32_MAX, HEAP_NORMAL, &block), FL_TOO_LARGE);
    fixture_destroy(&f);
}

static void
run_fills_a_gap_that_was_freed(void **state)
{
    struct fixture f;

    (void)state;
    fixture_create(&f, PM_DIRECT, GROUP);
    const uint32_t first = fixture_own(&f, 6, HEAP_BLOB);

    fixture_own(&f, 2, HEAP_BLOB);
    fixture_free(&f, first, 6);
    assert_int_equal(stats_of(&f).blocks_free, 6);
    assert_int_equal(fixture_own(&f, 4, HEAP_BLOB), first);
    assert_int_equal(fixture_own(&f, 2, HEAP_BLOB), first + 4);
    assert_int_equal(stats_of(&f).blocks_free, 0);
    fixture_destroy(&f);
}

static void
heap_over_several_table_blocks_says_the_same_after_reopening(void **state)
{
    struct fixture f;
    uint32_t blocks[5 * GROUP];
    uint32_t count = 0;

    (void)state;
    fixture_create(&f, PM_DIRECT, 6 * GROUP);
    for (; count < 4 * GROUP; count++) {
        blocks[count] = fixture_own(&f, 1, count % 2 == 0 ? HEAP_LOG : HEAP_BLOB);
    }
    for (uint32_t i = 0; i < count; i += 3) {
        fixture_free(&f, blocks[i], 1);
    }
    const struct heap_stats before = stats_of(&f);

    assert_int_equal(fixture_reopen(&f), FL_OK);
    assert_int_equal(f.findings, 0);
    assert_int_equal(stats_of(&f).blocks_owned, before.blocks_owned);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(heap_entry_get(f.heap, blocks[i]).state, i % 3 == 0   ? HEAP_FREE
                                                                  : i % 2 == 0 ? HEAP_LOG
                                                                               : HEAP_BLOB);
    }
    for (uint32_t group = 1; group <= count / GROUP; group++) {
        assert_int_equal(heap_entry_get(f.heap, group * GROUP).state, HEAP_META);
    }
    assert_int_equal(heap_entry_get(f.heap, 1).generation, count / GROUP + 1);
    fixture_destroy(&f);
}

static void
heap_at_its_size_limit_is_full_until_something_is_freed(void **state)
{
    struct fixture f;
    uint32_t block = 0;
    uint32_t last = 0;
    uint32_t count = 0;
    fl_status status = FL_OK;

    (void)state;
    fixture_create(&f, PM_DIRECT, GROUP + 10);
    while (heap_has_room(f.heap, 1)) {
        last = fixture_own(&f, 1, HEAP_LOG);
        count++;
        assert_true(count < GROUP + 10);
    }
    assert_int_equal(count, GROUP + 10 - 3); /* block 0 and two table blocks */
    status = heap_take(f.heap, 1, HEAP_NORMAL, &block);
    assert_int_equal(status, FL_NO_SPACE);
    assert_non_null(strstr(fl_last_error(), "size_bytes_max"));
    assert_int_equal(heap_take(f.heap, 2, HEAP_NORMAL, &block), FL_NO_SPACE);
    fixture_free(&f, last, 1);
    assert_true(heap_has_room(f.heap, 1));
    assert_int_equal(fixture_own(&f, 1, HEAP_LOG), last);
    assert_int_equal(mem_map_size_bytes(f.mem), (GROUP + 10) * BLOCK);
    fixture_destroy(&f);
}

static void
reserve_is_for_those_who_claim_it(void **state)
{
    struct fixture f;
    uint32_t block = 0;

    (void)state;
    fixture_create(&f, PM_DIRECT, 16);
    f.options.reserve_blocks = 3;
    assert_int_equal(fixture_reopen(&f), FL_OK);
    while (heap_ahead_step(f.heap) == FL_OK) {
    }
    assert_int_equal(stats_of(&f).blocks_ready, 3);
    for (int i = 0; i < 11; i++) {
        assert_int_equal(heap_take(f.heap, 1, HEAP_NORMAL, &block), FL_OK);
    }
    assert_int_equal(heap_take(f.heap, 1, HEAP_NORMAL, &block), FL_NO_SPACE);
    assert_false(heap_has_room(f.heap, 1));
    assert_int_equal(heap_take(f.heap, 1, HEAP_RESERVE, &block), FL_OK);
    assert_int_equal(heap_take(f.heap, 1, HEAP_RESERVE, &block), FL_OK);
    assert_int_equal(heap_take(f.heap, 1, HEAP_RESERVE, &block), FL_NO_SPACE);
    assert_int_equal(heap_take(f.heap, 1, HEAP_CLEANER, &block), FL_OK);
    assert_int_equal(heap_take(f.heap, 1, HEAP_CLEANER, &block), FL_NO_SPACE);
    fixture_destroy(&f);
}

static void
root_alternates_and_the_newer_one_counts(void **state)
{
    struct heap_root root = {.lsn_next = 5000, .tail_off = 77};
    struct fixture f;
    struct heap_root got;

    (void)state;
    fixture_create(&f, PM_STAGED, 64);
    heap_root_get(f.heap, &got);
    assert_int_equal(got.sequence, 1);
    assert_int_equal(got.flags, HEAP_ROOT_CLEAN);
    for (uint64_t i = 2; i < 7; i++) {
        root.lsn_next = 5000 + i;
        root.flags = i % 2 == 0 ? HEAP_ROOT_CLEAN : 0;
        assert_int_equal(heap_root_put(f.heap, &f.pm, &root), FL_OK);
        assert_int_equal(fixture_reopen(&f), FL_OK);
        heap_root_get(f.heap, &got);
        assert_int_equal(got.sequence, i);
        assert_int_equal(got.lsn_next, 5000 + i);
        assert_int_equal(got.flags, root.flags);
        assert_int_equal(got.tail_off, 77);
    }
    fixture_destroy(&f);
}

static void
clock_put_is_there_after_reopening(void **state)
{
    struct fixture f;

    (void)state;
    fixture_create(&f, PM_DIRECT, 64);
    assert_int_equal(heap_clock_get(f.heap), 0);
    assert_int_equal(heap_clock_put(f.heap, &f.pm, 1700000000123), FL_OK);
    assert_int_equal(fixture_reopen(&f), FL_OK);
    assert_int_equal(heap_clock_get(f.heap), 1700000000123);
    fixture_destroy(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heap_fresh_owns_its_two_blocks),
        cmocka_unit_test(block_taken_is_populated_and_zero),
        cmocka_unit_test(block_owned_is_owned_after_reopening_and_taken_is_not),
        cmocka_unit_test(block_owned_by_half_is_free),
        cmocka_unit_test(block_recycled_is_punched_reused_and_a_generation_older),
        cmocka_unit_test(block_disowned_is_kept_until_it_is_recycled),
        cmocka_unit_test(block_that_could_not_be_punched_is_zeroed_before_reuse),
        cmocka_unit_test(block_whose_generations_are_used_up_is_never_taken_again),
        cmocka_unit_test(run_that_failed_leaves_no_block_for_warm),
        cmocka_unit_test(run_is_contiguous_and_holds_no_table_block),
        cmocka_unit_test(run_longer_than_a_group_is_refused),
        cmocka_unit_test(run_fills_a_gap_that_was_freed),
        cmocka_unit_test(heap_over_several_table_blocks_says_the_same_after_reopening),
        cmocka_unit_test(heap_at_its_size_limit_is_full_until_something_is_freed),
        cmocka_unit_test(reserve_is_for_those_who_claim_it),
        cmocka_unit_test(root_alternates_and_the_newer_one_counts),
        cmocka_unit_test(clock_put_is_there_after_reopening),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
