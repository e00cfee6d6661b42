/* Goal:   on the volatile mapping a put alone costs one fence and at most three lines, a put in a batch of
 *         64 at most 1/64 fence and 2.1 lines, with 16-byte keys and 100-byte values; a segment change adds
 *         three fences. On the page mapping a commit is one synchronous write.
 *         Blocks that a put has to make itself are counted: none, but for batches over a block and without threads.
 * Method: the store's own counters, which are exact, before and after. Inserts and overwrites, with the
 *         background threads at work, and enough batches that segments change meanwhile. */
#include "tests/integration/support/place.h"

#include <faultline/batch.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum {
    KEY_BYTES = 16,
    VALUE_BYTES = 100,
    PUTS = 1000,
    BATCH = 64,
    BATCHES = 4000,
    /* Header and seal, then ownership, then the link: a crash between two of them must show as what it is. */
    CHANGE_FENCES = 3,
};

struct bench {
    struct tmpdir dir;
    struct fl_store *store;
    struct fl_stats before;
};

struct cost {
    uint64_t commits, records, fences, lines, syncs, changes, faults;
};

static void
bench_open(struct bench *bench, enum fl_mapping mapping)
{
    struct fl_options options;
    char path[TMPDIR_PATH_BYTES];
    const uint64_t room = (uint64_t)256 << 20;

    if (!(mapping == FL_MAPPING_VOLATILE ? place_in_memory(&bench->dir, room)
                                         : place_on_disk(&bench->dir, room))) {
        print_message("skipped: no room for a store of kind %s\n", fl_mapping_name(mapping));
        skip();
    }
    fl_options_init(&options);
    options.mapping = mapping;
    options.durability_min = FL_DURABILITY_PROCESS;
    options.size_bytes_max = (uint64_t)4 << 30;
    assert_int_equal(fl_open(tmpdir_join(&bench->dir, "store", path), &options, &bench->store),
                     FL_OK);
}

static void
bench_close(struct bench *bench)
{
    assert_int_equal(fl_close(bench->store), FL_OK);
    tmpdir_destroy(&bench->dir);
}

static void
cost_begin(struct bench *bench)
{
    bench->before.struct_bytes = sizeof(bench->before);
    fl_stats(bench->store, &bench->before);
}

static struct cost
cost_end(const struct bench *bench, const char *what)
{
    const struct fl_stats *before = &bench->before;
    struct fl_stats after = {.struct_bytes = sizeof(after)};

    fl_stats(bench->store, &after);
    const struct cost cost = {
        .commits = after.commits_total - before->commits_total,
        .records = after.records_total - before->records_total,
        .fences = after.fences_total - before->fences_total,
        .lines = after.lines_flushed_total - before->lines_flushed_total,
        .syncs = after.syncs_total - before->syncs_total,
        .changes = after.segment_changes_total - before->segment_changes_total,
        .faults = after.put_path_faults_total,
    };

    print_message(
        "%s: %lu records, %lu commits, %lu fences, %lu lines, %lu syncs, %lu segment changes\n",
        what, (unsigned long)cost.records, (unsigned long)cost.commits, (unsigned long)cost.fences,
        (unsigned long)cost.lines, (unsigned long)cost.syncs, (unsigned long)cost.changes);
    assert_int_equal(cost.faults, 0);
    return cost;
}

static struct fl_key
key_of(unsigned i, char name[KEY_BYTES + 1])
{
    snprintf(name, KEY_BYTES + 1, "key:%012u", i);
    return fl_key(name, KEY_BYTES);
}

static void
put_alone(struct bench *bench, unsigned count)
{
    char name[KEY_BYTES + 1];
    char value[VALUE_BYTES];

    for (unsigned i = 0; i < count; i++) {
        memset(value, (int)('a' + i % 26), sizeof(value));
        assert_int_equal(
            fl_put(bench->store, key_of(i, name), fl_bytes(value, sizeof(value)), NULL), FL_OK);
    }
}

static void
put_batches(struct bench *bench, unsigned count)
{
    struct fl_batch *batch = NULL;
    char name[KEY_BYTES + 1];
    char value[VALUE_BYTES];

    assert_int_equal(fl_batch_create(bench->store, &batch), FL_OK);
    for (unsigned i = 0; i < count * BATCH; i++) {
        memset(value, (int)('a' + i % 26), sizeof(value));
        assert_int_equal(fl_batch_put(batch, key_of(i, name), fl_bytes(value, sizeof(value)), NULL),
                         FL_OK);
        if (fl_batch_count(batch) == BATCH) {
            assert_int_equal(fl_batch_commit(batch), FL_OK);
        }
    }
    fl_batch_destroy(batch);
}

static void
put_alone_on_volatile_costs_one_fence_and_three_lines_at_most(void **state)
{
    struct bench bench;

    (void)state;
    bench_open(&bench, FL_MAPPING_VOLATILE);
    for (unsigned pass = 0; pass < 2; pass++) {
        cost_begin(&bench);
        put_alone(&bench, PUTS);
        const struct cost cost = cost_end(&bench, pass == 0 ? "inserts alone" : "overwrites alone");

        assert_int_equal(cost.records, PUTS);
        assert_int_equal(cost.commits, PUTS);
        assert_true(cost.fences >= PUTS && cost.fences <= PUTS + CHANGE_FENCES * cost.changes);
        assert_true(cost.lines <= 3 * PUTS);
        assert_int_equal(cost.syncs, 0);
    }
    bench_close(&bench);
}

/* 4,000 batches are 32 MiB: segments of one block change all the time. */
static void
put_in_batches_of_64_on_volatile_shares_its_fence_and_lines(void **state)
{
    struct bench bench;

    (void)state;
    bench_open(&bench, FL_MAPPING_VOLATILE);
    cost_begin(&bench);
    put_batches(&bench, BATCHES);
    const struct cost cost = cost_end(&bench, "batches of 64");

    assert_int_equal(cost.records, BATCH * BATCHES);
    assert_int_equal(cost.commits, BATCHES);
    assert_true(cost.changes > 0);
    assert_true(cost.fences <= BATCHES + CHANGE_FENCES * cost.changes);
    assert_true(cost.lines * 10 <= cost.records * 21);
    assert_int_equal(cost.syncs, 0);
    bench_close(&bench);
}

/* What one delete and one get cost: a tombstone is one commit; a get is none. */
static void
delete_on_volatile_costs_one_fence_and_get_none(void **state)
{
    struct bench bench;
    char name[KEY_BYTES + 1];
    char value[VALUE_BYTES];
    size_t len;

    (void)state;
    bench_open(&bench, FL_MAPPING_VOLATILE);
    put_alone(&bench, PUTS);
    cost_begin(&bench);
    for (unsigned i = 0; i < PUTS; i++) {
        assert_int_equal(fl_get(bench.store, key_of(i, name), value, sizeof(value), &len), FL_OK);
    }
    const struct cost gets = cost_end(&bench, "gets");

    assert_int_equal(gets.commits, 0);
    assert_int_equal(gets.fences, 0);
    assert_int_equal(gets.lines, 0);
    cost_begin(&bench);
    for (unsigned i = 0; i < PUTS; i++) {
        assert_int_equal(fl_delete(bench.store, key_of(i, name)), FL_OK);
    }
    const struct cost deletes = cost_end(&bench, "deletes alone");

    assert_true(deletes.fences >= PUTS && deletes.fences <= PUTS + CHANGE_FENCES * deletes.changes);
    assert_true(deletes.lines <= 2 * PUTS);
    bench_close(&bench);
}

static void
commit_on_page_is_one_synchronous_write(void **state)
{
    struct bench bench;
    enum { PUTS_PAGE = 100 };

    (void)state;
    bench_open(&bench, FL_MAPPING_PAGE);
    cost_begin(&bench);
    put_alone(&bench, PUTS_PAGE);
    const struct cost alone = cost_end(&bench, "on page, alone");

    assert_int_equal(alone.commits, PUTS_PAGE);
    assert_true(alone.syncs <= PUTS_PAGE + CHANGE_FENCES * alone.changes);
    cost_begin(&bench);
    put_batches(&bench, PUTS_PAGE);
    const struct cost batches = cost_end(&bench, "on page, batches of 64");

    assert_int_equal(batches.records, BATCH * PUTS_PAGE);
    assert_true(batches.syncs <= PUTS_PAGE + CHANGE_FENCES * batches.changes);
    bench_close(&bench);
}

/* The counter that all others find at 0 does count: a batch over a block's size has its blocks made for it, and without
 * threads nobody else makes any. */
static void
blocks_that_a_put_makes_itself_are_counted(void **state)
{
    enum { BLOCK = 65536, LARGE = 3 * BLOCK / VALUE_BYTES };
    struct fl_stats stats = {.struct_bytes = sizeof(stats)};
    struct fl_options options;
    struct bench bench;
    char path[TMPDIR_PATH_BYTES];
    char name[KEY_BYTES + 1];
    char value[VALUE_BYTES] = {0};
    struct fl_batch *batch = NULL;

    (void)state;
    bench_open(&bench, FL_MAPPING_VOLATILE);
    assert_int_equal(fl_close(bench.store), FL_OK);
    fl_options_init(&options);
    options.mapping = FL_MAPPING_VOLATILE;
    options.durability_min = FL_DURABILITY_PROCESS;
    options.block_bytes = BLOCK;
    tmpdir_join(&bench.dir, "small", path);
    assert_int_equal(fl_open(path, &options, &bench.store), FL_OK);
    assert_int_equal(fl_batch_create(bench.store, &batch), FL_OK);
    for (unsigned i = 0; i < LARGE; i++) {
        assert_int_equal(fl_batch_put(batch, key_of(i, name), fl_bytes(value, sizeof(value)), NULL),
                         FL_OK);
    }
    assert_int_equal(fl_batch_commit(batch), FL_OK);
    fl_batch_destroy(batch);
    fl_stats(bench.store, &stats);
    assert_int_equal(stats.put_path_faults_total, 1);
    assert_int_equal(fl_close(bench.store), FL_OK);
    options.background = false;
    assert_int_equal(fl_open(path, &options, &bench.store), FL_OK);
    put_alone(&bench, 20 * LARGE);
    fl_stats(bench.store, &stats);
    print_message("without threads: %lu segment changes, %lu puts that made blocks\n",
                  (unsigned long)stats.segment_changes_total,
                  (unsigned long)stats.put_path_faults_total);
    assert_true(stats.segment_changes_total > 10);
    assert_true(stats.put_path_faults_total > 10);
    assert_true(stats.put_path_faults_total <= stats.segment_changes_total + 1);
    bench_close(&bench);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(put_alone_on_volatile_costs_one_fence_and_three_lines_at_most),
        cmocka_unit_test(put_in_batches_of_64_on_volatile_shares_its_fence_and_lines),
        cmocka_unit_test(delete_on_volatile_costs_one_fence_and_get_none),
        cmocka_unit_test(blocks_that_a_put_makes_itself_are_counted),
        cmocka_unit_test(commit_on_page_is_one_synchronous_write),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
