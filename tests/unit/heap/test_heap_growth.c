/* Goal:   a heap that can't grow says so and loses nothing, and grows again when it can; the thread keeps blocks
 *         ready, so that a take finds one; several threads never get the same block.
 * Method: space of the file in memory runs out and comes back, the N-th fault fails, with and without the thread; a
 *         recorder holds the thread up inside a fault. */
#include "tests/unit/heap/fixture.h"

#include "base/fail.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { THREADS = 4, TAKES = 100, WAIT_MS = 5000 };

static struct heap_stats
stats_of(struct fixture *f)
{
    struct heap_stats stats;

    heap_stats_get(f->heap, &stats);
    return stats;
}

static void
wait_ready(struct fixture *f, uint64_t blocks)
{
    for (int ms = 0; stats_of(f).blocks_ready < blocks; ms++) {
        assert_true(ms < WAIT_MS);
        usleep(1000);
    }
}

static void
ahead_keeps_what_it_was_told(void **state)
{
    struct fixture f;

    (void)state;
    fixture_create(&f, PM_DIRECT, 64);
    f.options.blocks_ahead = 5;
    f.options.reserve_blocks = 2;
    assert_int_equal(fixture_reopen(&f), FL_OK);
    for (int i = 0; i < 7; i++) {
        assert_int_equal(heap_ahead_step(f.heap), FL_OK);
    }
    assert_int_equal(heap_ahead_step(f.heap), FL_END);
    assert_int_equal(stats_of(&f).blocks_ready, 7);
    const uint64_t faults = mem_map_calls(f.mem, MEM_MAP_CALL_FAULT_IN);

    fixture_own(&f, 1, HEAP_LOG);
    assert_int_equal(mem_map_calls(f.mem, MEM_MAP_CALL_FAULT_IN), faults);
    assert_int_equal(stats_of(&f).takes_waited, 0);
    assert_int_equal(heap_ahead_step(f.heap), FL_OK);
    assert_int_equal(heap_ahead_step(f.heap), FL_END);
    fixture_destroy(&f);
}

static void
take_on_a_full_disk_fails_and_works_when_space_is_back(void **state)
{
    struct fixture f;
    uint32_t block = 0;

    (void)state;
    fixture_create(&f, PM_DIRECT, 64);
    mem_map_set_space(f.mem, 4 * BLOCK);
    fixture_own(&f, 1, HEAP_LOG);
    const uint32_t last = fixture_own(&f, 1, HEAP_LOG);
    const uint64_t size = mem_map_size_bytes(f.mem);

    for (int i = 0; i < 3; i++) {
        assert_int_equal(heap_take(f.heap, 1, HEAP_NORMAL, &block), FL_NO_SPACE);
        assert_int_equal(heap_take(f.heap, 3, HEAP_NORMAL, &block), FL_NO_SPACE);
        assert_false(heap_has_room(f.heap, 1));
        assert_true(stats_of(&f).growth_failed);
    }
    assert_int_equal(mem_map_size_bytes(f.mem), size);
    mem_map_set_space(f.mem, 5 * BLOCK);
    assert_int_equal(fixture_own(&f, 1, HEAP_LOG), last + 1);
    assert_true(heap_has_room(f.heap, 1));
    fixture_free(&f, last, 1);
    assert_int_equal(fixture_own(&f, 1, HEAP_LOG), last);
    assert_int_equal(fixture_reopen(&f), FL_OK);
    assert_int_equal(f.findings, 0);
    assert_int_equal(stats_of(&f).blocks_owned, 5);
    fixture_destroy(&f);
}

/* Also where a table block has to be made first: that is a fault more. */
static void
take_whose_nth_fault_fails_loses_no_block(void **state)
{
    (void)state;
    for (unsigned nth = 1; nth <= 4; nth++) {
        for (unsigned count = 1; count <= 3; count += 2) {
            const struct mem_map_failure failure = {MEM_MAP_CALL_FAULT_IN, nth, FL_NO_SPACE, false,
                                                    false};
            struct fixture f;
            uint32_t block = 0;
            unsigned failed = 0;

            fixture_create(&f, PM_DIRECT, 4 * GROUP);
            for (uint32_t i = 0; i < GROUP - 4; i++) {
                fixture_own(&f, 1, HEAP_LOG);
            }
            mem_map_fail(f.mem, &failure);
            for (unsigned i = 0; i < 6; i++) {
                if (heap_take(f.heap, count, HEAP_NORMAL, &block) == FL_OK) {
                    assert_true(fixture_is_zero(&f, block));
                } else {
                    failed++;
                }
            }
            assert_int_equal(failed, 1);
            const struct heap_stats stats = stats_of(&f);
            const uint64_t tables = stats.blocks_total > GROUP ? 2 : 1;

            /* block 0, table blocks, owned and taken ones, free ones: all are accounted for */
            assert_int_equal(stats.blocks_owned, 1 + tables + GROUP - 4);
            assert_int_equal(stats.blocks_total, stats.blocks_owned + stats.blocks_free +
                                                     stats.blocks_ready + 5 * count);
            fixture_destroy(&f);
        }
    }
}

/* One bad block doesn't keep the others from being used: it is set aside. */
static void
block_that_cannot_be_faulted_is_set_aside(void **state)
{
    struct fixture f;
    uint32_t block = 0;

    (void)state;
    for (uint32_t count = 1; count < 3; count++) {
        for (uint64_t nth = 1; nth <= count; nth++) {
            const struct mem_map_failure failure = {MEM_MAP_CALL_FAULT_IN, nth, FL_IO, false,
                                                    false};
            struct heap_stats stats;
            uint64_t taken = 0;

            fixture_create(&f, PM_DIRECT, 64);
            mem_map_fail(f.mem, &failure);
            while (heap_take(f.heap, count, HEAP_RESERVE, &block) == FL_OK) {
                taken += count;
            }
            heap_stats_get(f.heap, &stats);
            assert_int_equal(taken + stats.blocks_free + stats.blocks_ready, 64 - 2 - (count == 1));
            fixture_destroy(&f);
        }
    }
}

static void
take_on_failing_media_says_so(void **state)
{
    const struct mem_map_failure failure = {MEM_MAP_CALL_FAULT_IN, 1, FL_IO, false, true};
    struct fixture f;
    uint32_t block = 0;

    (void)state;
    fixture_create(&f, PM_DIRECT, 64);
    mem_map_fail(f.mem, &failure);
    assert_int_equal(heap_take(f.heap, 1, HEAP_NORMAL, &block), FL_IO);
    assert_int_equal(heap_take(f.heap, 2, HEAP_NORMAL, &block), FL_IO);
    fixture_destroy(&f);
}

static void
drain_that_fails_is_told_to_the_owner(void **state)
{
    const struct mem_map_failure failure = {MEM_MAP_CALL_WRITE_DURABLE, 1, FL_IO, false, true};
    struct fixture f;
    uint32_t generation = 0;
    uint32_t block = 0;

    (void)state;
    fixture_create(&f, PM_STAGED, 64);
    assert_int_equal(heap_take(f.heap, 1, HEAP_NORMAL, &block), FL_OK);
    mem_map_fail(f.mem, &failure);
    heap_own_begin_nofence(f.heap, &f.pm, block, 1, (struct heap_entry){.state = HEAP_LOG},
                           (struct heap_note){1, 2}, &generation);
    heap_own_end_nofence(f.heap, &f.pm, block);
    assert_int_equal(pm_drain(&f.pm), FL_IO);
    assert_int_equal(heap_clock_put(f.heap, &f.pm, 5), FL_IO);
    fixture_destroy(&f);
}

static void
thread_keeps_blocks_ready(void **state)
{
    struct fixture f;
    uint32_t block = 0;

    (void)state;
    fixture_create(&f, PM_DIRECT, 4 * GROUP);
    f.options.blocks_ahead = 4;
    f.options.reserve_blocks = 2;
    assert_int_equal(fixture_reopen(&f), FL_OK);
    assert_int_equal(heap_ahead_start(f.heap), FL_OK);
    for (int i = 0; i < 2 * GROUP; i++) {
        wait_ready(&f, 6);
        assert_int_equal(heap_take(f.heap, 1, HEAP_NORMAL, &block), FL_OK);
    }
    assert_int_equal(stats_of(&f).takes_waited, 0);
    fixture_destroy(&f);
}

/* Nothing was asked to be kept ahead: who takes a block waits for the thread, and not for ever. */
static void
thread_told_to_keep_none_ahead_keeps_one(void **state)
{
    struct fixture f;
    uint32_t block = 0;

    (void)state;
    fixture_create(&f, PM_DIRECT, 64);
    f.options.reserve_blocks = 2;
    assert_int_equal(fixture_reopen(&f), FL_OK);
    assert_int_equal(heap_ahead_start(f.heap), FL_OK);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(heap_take(f.heap, 1, HEAP_NORMAL, &block), FL_OK);
    }
    assert_true(heap_make_room(f.heap, 1));
    fixture_destroy(&f);
}

static void
hold_up(void *context, const struct mem_map_event *event)
{
    (void)context;
    if (event->kind == MEM_MAP_FAULT_IN) {
        usleep(3000);
    }
}

static void
take_waits_for_a_thread_that_lags(void **state)
{
    struct fixture f;
    uint32_t block = 0;

    (void)state;
    fixture_create(&f, PM_DIRECT, 64);
    f.options.blocks_ahead = 1;
    assert_int_equal(fixture_reopen(&f), FL_OK);
    mem_map_record(f.mem, hold_up, NULL);
    assert_int_equal(heap_ahead_start(f.heap), FL_OK);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(heap_take(f.heap, 1, HEAP_NORMAL, &block), FL_OK);
        assert_true(fixture_is_zero(&f, block));
    }
    assert_true(stats_of(&f).takes_waited > 0);
    fixture_destroy(&f);
}

static void
thread_on_a_full_disk_tries_again_by_itself(void **state)
{
    struct fixture f;
    uint32_t block = 0;
    fl_status status = FL_OK;

    (void)state;
    fixture_create(&f, PM_DIRECT, 64);
    f.options.blocks_ahead = 2;
    assert_int_equal(fixture_reopen(&f), FL_OK);
    mem_map_set_space(f.mem, 6 * BLOCK);
    assert_int_equal(heap_ahead_start(f.heap), FL_OK);
    while (status == FL_OK) {
        status = heap_take(f.heap, 1, HEAP_NORMAL, &block);
    }
    assert_int_equal(status, FL_NO_SPACE);
    assert_non_null(strstr(fl_last_error(), "full"));
    mem_map_set_space(f.mem, 0);
    wait_ready(&f, 2);
    assert_int_equal(heap_take(f.heap, 1, HEAP_NORMAL, &block), FL_OK);
    fixture_destroy(&f);
}

struct taker {
    struct fixture *f;
    uint32_t blocks[TAKES];
    uint32_t counts[TAKES];
    pthread_t thread;
};

static void *
take_many(void *context)
{
    struct taker *taker = context;
    struct pm pm;

    pm_init(&pm, heap_media(taker->f->heap));
    for (uint32_t i = 0; i < TAKES; i++) {
        const uint32_t count = 1 + i % 3;
        uint32_t generation = 0;

        taker->counts[i] = count;
        if (heap_take(taker->f->heap, count, HEAP_NORMAL, &taker->blocks[i]) != FL_OK) {
            taker->counts[i] = 0;
            continue;
        }
        heap_own_begin_nofence(taker->f->heap, &pm, taker->blocks[i], count,
                               (struct heap_entry){.state = HEAP_BLOB}, (struct heap_note){1, 2},
                               &generation);
        heap_own_end_nofence(taker->f->heap, &pm, taker->blocks[i]);
        if (pm_drain(&pm) != FL_OK) {
            taker->counts[i] = 0;
        } else if (i % 4 == 0) {
            const fl_status status =
                heap_disown_nofence(taker->f->heap, &pm, taker->blocks[i], count);

            if (status == FL_OK && pm_drain(&pm) == FL_OK) {
                heap_recycle(taker->f->heap, taker->blocks[i], count);
            }
            taker->counts[i] = 0;
        }
    }
    return NULL;
}

static void
threads_never_get_the_same_block(void **state)
{
    static struct taker takers[THREADS];
    static uint8_t seen[16 * GROUP];
    struct fixture f;
    uint64_t owned = 0;

    (void)state;
    fixture_create(&f, PM_DIRECT, 16 * GROUP);
    f.options.blocks_ahead = 8;
    assert_int_equal(fixture_reopen(&f), FL_OK);
    assert_int_equal(heap_ahead_start(f.heap), FL_OK);
    for (int t = 0; t < THREADS; t++) {
        takers[t].f = &f;
        assert_int_equal(pthread_create(&takers[t].thread, NULL, take_many, &takers[t]), 0);
    }
    for (int t = 0; t < THREADS; t++) {
        assert_int_equal(pthread_join(takers[t].thread, NULL), 0);
        for (uint32_t i = 0; i < TAKES; i++) {
            for (uint32_t n = 0; n < takers[t].counts[i]; n++) {
                const uint32_t block = takers[t].blocks[i] + n;

                assert_true(block >= 2 && block % GROUP != 0);
                assert_int_equal(seen[block]++, 0);
                owned++;
            }
        }
    }
    assert_int_equal(fixture_reopen(&f), FL_OK);
    assert_int_equal(f.findings, 0);
    const uint64_t tables = (heap_blocks_total(f.heap) - 1) / GROUP + 1;

    assert_int_equal(stats_of(&f).blocks_owned, owned + 1 + tables);
    fixture_destroy(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ahead_keeps_what_it_was_told),
        cmocka_unit_test(take_on_a_full_disk_fails_and_works_when_space_is_back),
        cmocka_unit_test(take_whose_nth_fault_fails_loses_no_block),
        cmocka_unit_test(block_that_cannot_be_faulted_is_set_aside),
        cmocka_unit_test(take_on_failing_media_says_so),
        cmocka_unit_test(drain_that_fails_is_told_to_the_owner),
        cmocka_unit_test(thread_keeps_blocks_ready),
        cmocka_unit_test(thread_told_to_keep_none_ahead_keeps_one),
        cmocka_unit_test(take_waits_for_a_thread_that_lags),
        cmocka_unit_test(thread_on_a_full_disk_tries_again_by_itself),
        cmocka_unit_test(threads_never_get_the_same_block),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
