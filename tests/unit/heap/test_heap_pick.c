/* Goal:   a run that was picked is nobody else's and exists block by block, as it is taken; what goes wrong on the
 *         way, or is given back, leaves every block accounted for.
 * Method: a heap with 4 KiB blocks over a file in memory: runs at its end and among free blocks, other takers and a
 *         full disk in the middle, warm blocks in the run, threads that pick, take and give back beside others. */
#include "tests/unit/heap/fixture.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct heap_stats
stats_of(struct fixture *f)
{
    struct heap_stats stats;

    heap_stats_get(f->heap, &stats);
    return stats;
}

static uint64_t
faults(struct fixture *f)
{
    return mem_map_calls(f->mem, MEM_MAP_CALL_FAULT_IN);
}

/* Not wanted any more: the first `taken` blocks of a run go as those of any owner do, the others as they are. */
static void
give_back(struct fixture *f, uint32_t block, uint32_t count, uint32_t taken)
{
    heap_unpick(f->heap, block + taken, count - taken);
    if (taken > 0) {
        heap_own_unwritten(f->heap, block, taken);
        fixture_free(f, block, taken);
    }
}

/* All blocks but those of the table are free, also for an open. */
static void
assert_all_free(struct fixture *f)
{
    const uint32_t total = heap_blocks_total(f->heap);
    const uint64_t meta = 1 + (total - 1) / GROUP + 1;

    for (int i = 0; i < 2; i++) {
        assert_int_equal(stats_of(f).blocks_owned, meta);
        assert_int_equal(stats_of(f).blocks_free + stats_of(f).blocks_ready, total - meta);
        assert_int_equal(fixture_reopen(f), FL_OK);
        assert_int_equal(f->findings, 0);
        assert_int_equal(heap_blocks_total(f->heap), total);
    }
}

static void
run_exists_block_by_block(void **state)
{
    struct fixture f;
    uint32_t block = 0;
    uint32_t generation = 0;

    (void)state;
    fixture_create(&f, PM_DIRECT, 64);
    const uint64_t before = faults(&f);

    assert_int_equal(heap_pick(f.heap, 20, &block), FL_OK);
    assert_int_equal(faults(&f), before);
    assert_int_equal(heap_blocks_total(f.heap), 2);
    for (uint32_t i = 0; i < 20; i++) {
        assert_int_equal(heap_take_picked(f.heap, block + i), FL_OK);
        assert_int_equal(faults(&f), before + i + 1);
        assert_int_equal(heap_blocks_total(f.heap), block + i + 1);
        assert_true(fixture_is_zero(&f, block + i));
    }
    heap_own_begin_nofence(f.heap, &f.pm, block, 20, (struct heap_entry){.state = HEAP_BLOB},
                           (struct heap_note){0, 0}, &generation);
    assert_int_equal(pm_drain(&f.pm), FL_OK);
    heap_own_end_nofence(f.heap, &f.pm, block);
    assert_int_equal(pm_drain(&f.pm), FL_OK);
    assert_int_equal(fixture_reopen(&f), FL_OK);
    assert_int_equal(f.findings, 0);
    assert_int_equal(stats_of(&f).blocks_owned, 22);
    fixture_free(&f, block, 20);
    assert_all_free(&f);
    fixture_destroy(&f);
}

/* The file grows past the run and leaves a hole where it is. */
static void
run_is_nobody_elses(void **state)
{
    struct fixture f;
    uint32_t block = 0;

    (void)state;
    for (uint32_t taken = 0; taken <= 10; taken++) {
        fixture_create(&f, PM_DIRECT, 64);
        assert_int_equal(heap_pick(f.heap, 10, &block), FL_OK);
        for (uint32_t i = 0; i < taken; i++) {
            assert_int_equal(heap_take_picked(f.heap, block + i), FL_OK);
        }
        const uint32_t other = fixture_own(&f, 1, HEAP_LOG);
        const uint32_t others = fixture_own(&f, 5, HEAP_BLOB);
        const uint32_t total = heap_blocks_total(f.heap);

        assert_true(other >= block + 10);
        assert_true(others >= block + 10);
        assert_int_equal(stats_of(&f).blocks_owned, 8);
        assert_int_equal(stats_of(&f).blocks_free, total - 18);
        give_back(&f, block, 10, taken);
        assert_int_equal(stats_of(&f).blocks_free, total - 8);
        fixture_free(&f, other, 1);
        fixture_free(&f, others, 5);
        assert_all_free(&f);
        fixture_destroy(&f);
    }
}

static void
run_of_an_open_store_is_free_after_a_crash(void **state)
{
    struct fixture f;
    uint32_t block = 0;

    (void)state;
    fixture_create(&f, PM_DIRECT, 4 * GROUP);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(heap_pick(f.heap, 100, &block), FL_OK);
        for (uint32_t k = 0; k < 40 * i; k++) {
            assert_int_equal(heap_take_picked(f.heap, block + k), FL_OK);
        }
    }
    assert_int_equal(fixture_reopen(&f), FL_OK);
    assert_all_free(&f);
    fixture_destroy(&f);
}

static void
run_longer_than_the_store_or_a_group_is_refused(void **state)
{
    struct fixture f;
    uint32_t block = 0;
    uint32_t second = 0;

    (void)state;
    fixture_create(&f, PM_DIRECT, 64);
    assert_int_equal(heap_pick(f.heap, 63, &block), FL_NO_SPACE);
    assert_int_equal(heap_pick(f.heap, GROUP - 1, &block), FL_TOO_LARGE);
    assert_true(heap_has_room(f.heap, 62));
    assert_int_equal(heap_pick(f.heap, 40, &block), FL_OK);
    assert_true(heap_has_room(f.heap, 22));
    assert_false(heap_has_room(f.heap, 23));
    assert_int_equal(heap_pick(f.heap, 23, &second), FL_NO_SPACE);
    assert_int_equal(heap_take_picked(f.heap, block), FL_OK);
    assert_true(heap_has_room(f.heap, 22));
    assert_false(heap_has_room(f.heap, 23));
    assert_int_equal(heap_pick(f.heap, 22, &second), FL_OK);
    assert_false(heap_has_room(f.heap, 1));
    give_back(&f, second, 22, 0);
    give_back(&f, block, 40, 1);
    assert_true(heap_has_room(f.heap, 62));
    assert_all_free(&f);
    fixture_destroy(&f);
}

static void
disk_that_fills_in_the_middle_is_told_and_the_block_stays_picked(void **state)
{
    struct fixture f;
    uint32_t block = 0;

    (void)state;
    fixture_create(&f, PM_DIRECT, 64);
    mem_map_set_space(f.mem, 6 * BLOCK);
    assert_int_equal(heap_pick(f.heap, 20, &block), FL_OK);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(heap_take_picked(f.heap, block + i), FL_OK);
    }
    assert_int_equal(heap_take_picked(f.heap, block + 4), FL_NO_SPACE);
    assert_int_equal(heap_blocks_total(f.heap), block + 4);
    mem_map_set_space(f.mem, 8 * BLOCK);
    assert_int_equal(heap_take_picked(f.heap, block + 4), FL_OK);
    give_back(&f, block, 20, 5);
    /* All of the space is there again. */
    for (int i = 0; i < 6; i++) {
        fixture_own(&f, 1, HEAP_LOG);
    }
    fixture_destroy(&f);
}

/* Freed blocks that kept their space count as full for the file system, wherever they are. */
static void
warm_blocks_make_room_for_a_run(void **state)
{
    static const int order[] = {3, 0, 1, 2}; /* the first two stay warm */
    struct fixture f;
    uint32_t owned[4];
    uint32_t block = 0;

    (void)state;
    fixture_create(&f, PM_DIRECT, 64);
    f.options.blocks_ahead = 2; /* as many stay warm */
    assert_int_equal(fixture_reopen(&f), FL_OK);
    mem_map_set_space(f.mem, 6 * BLOCK);
    for (int i = 0; i < 4; i++) {
        owned[i] = fixture_own(&f, 1, HEAP_LOG);
        pm_write_nofence(&f.pm, (uint64_t)owned[i] * BLOCK, "old bytes", 9);
    }
    for (int i = 0; i < 4; i++) {
        fixture_free(&f, owned[order[i]], 1);
    }
    assert_int_equal(mem_map_calls(f.mem, MEM_MAP_CALL_PUNCH), 2);
    /* The one inside the run gives its space back with it. */
    assert_int_equal(heap_pick(f.heap, 3, &block), FL_OK);
    assert_int_equal(block, owned[0]);
    give_back(&f, block, 3, 0);
    assert_int_equal(mem_map_calls(f.mem, MEM_MAP_CALL_PUNCH), 3);
    /* The one left does so for a run elsewhere. */
    assert_int_equal(heap_pick(f.heap, 10, &block), FL_OK);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(heap_take_picked(f.heap, block + i), FL_OK);
        assert_true(fixture_is_zero(&f, block + i));
    }
    assert_int_equal(heap_take_picked(f.heap, block + 4), FL_NO_SPACE);
    give_back(&f, block, 10, 4);
    assert_all_free(&f);
    fixture_destroy(&f);
}

/* No word of a block that was given back may be younger than the next owner's. */
static void
generations_rise_over_a_run_given_back(void **state)
{
    struct fixture f;
    uint32_t block = 0;

    (void)state;
    fixture_create(&f, PM_DIRECT, 64);
    const uint32_t first = fixture_own(&f, 1, HEAP_LOG);
    const uint32_t second = fixture_own(&f, 1, HEAP_LOG);

    for (int i = 0; i < 3; i++) {
        fixture_free(&f, second, 1);
        assert_int_equal(fixture_own(&f, 1, HEAP_LOG), second);
    }
    const uint32_t generation = heap_entry_get(f.heap, second).generation;

    fixture_free(&f, first, 1);
    fixture_free(&f, second, 1);
    assert_int_equal(heap_pick(f.heap, 2, &block), FL_OK);
    assert_int_equal(block, first);
    assert_int_equal(heap_take_picked(f.heap, block), FL_OK);
    assert_int_equal(heap_take_picked(f.heap, block + 1), FL_OK);
    give_back(&f, block, 2, 2);
    assert_int_equal(fixture_reopen(&f), FL_OK);
    assert_true(heap_entry_get(f.heap, second).generation > generation);
    assert_all_free(&f);
    fixture_destroy(&f);
}

enum { ROUNDS = 60, PICKERS = 3 };

static void *
picker_main(void *arg)
{
    struct fixture *f = arg;
    struct pm pm;

    pm_init(&pm, heap_media(f->heap));
    for (uint32_t i = 0; i < ROUNDS; i++) {
        const uint32_t count = 2 + i % 7;
        const uint32_t taken = i % (count + 1);
        uint32_t block = 0;

        if (heap_pick(f->heap, count, &block) != FL_OK) {
            return "pick";
        }
        for (uint32_t k = 0; k < taken; k++) {
            if (heap_take_picked(f->heap, block + k) != FL_OK || !fixture_is_zero(f, block + k)) {
                return "take";
            }
            pm_write_nofence(&pm, (uint64_t)(block + k) * BLOCK, "mine", 4);
        }
        heap_unpick(f->heap, block + taken, count - taken);
        if (taken > 0) {
            heap_own_unwritten(f->heap, block, taken);
            if (heap_disown_nofence(f->heap, &pm, block, taken) != FL_OK ||
                pm_drain(&pm) != FL_OK) {
                return "disown";
            }
            heap_recycle(f->heap, block, taken);
        }
    }
    return NULL;
}

static void
threads_that_pick_and_give_back_lose_nothing(void **state)
{
    pthread_t threads[PICKERS];
    struct fixture f;

    (void)state;
    fixture_create(&f, PM_DIRECT, 4 * GROUP);
    f.options.blocks_ahead = 4;
    assert_int_equal(fixture_reopen(&f), FL_OK);
    assert_int_equal(heap_ahead_start(f.heap), FL_OK);
    for (int i = 0; i < PICKERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, picker_main, &f), 0);
    }
    for (int i = 0; i < ROUNDS; i++) {
        fixture_free(&f, fixture_own(&f, 1, HEAP_LOG), 1);
    }
    for (int i = 0; i < PICKERS; i++) {
        void *failed = NULL;

        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    assert_int_equal(fixture_reopen(&f),
                     FL_OK); /* ends the thread, which may have a block in hand */
    assert_all_free(&f);
    assert_true(heap_has_room(f.heap, 4 * GROUP - 6));
    fixture_destroy(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run_exists_block_by_block),
        cmocka_unit_test(run_is_nobody_elses),
        cmocka_unit_test(run_of_an_open_store_is_free_after_a_crash),
        cmocka_unit_test(run_longer_than_the_store_or_a_group_is_refused),
        cmocka_unit_test(disk_that_fills_in_the_middle_is_told_and_the_block_stays_picked),
        cmocka_unit_test(warm_blocks_make_room_for_a_run),
        cmocka_unit_test(generations_rise_over_a_run_given_back),
        cmocka_unit_test(threads_that_pick_and_give_back_lose_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
