/* Goal:   a file's blocks are where its extents say, with their contents, through everything that moves, shares, frees
 *         and splits them; no block is lost or owned twice.
 * Method: each operation on its own on small devices, with the free blocks counted; what a full device or a full
 *         transaction refuses, and that nothing of it is left.
 */
#include "tests/unit/modelfs/fs_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { BLOCKS = 16 };

static int
setup(void **state)
{
    static struct fixture f;

    fixture_init(&f, BLOCKS, 0);
    *state = &f;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;

    remount(f);
    check_clean(f);
    fixture_deinit(f);
    return 0;
}

static uint64_t
free_blocks(struct fixture *f)
{
    return mfs_statfs(f->fs).blocks_free;
}

/* Blocks 0 to `blocks` - 1 hold 100, 101, ... */
static uint64_t
numbered_file(struct fixture *f, const char *name, uint32_t blocks)
{
    const uint64_t ino = make_file(f, name, 0);

    for (uint32_t i = 0; i < blocks; i++) {
        write_word(f, ino, (uint64_t)i * BLOCK, 100 + i);
    }
    assert_int_equal(mfs_truncate(f->fs, ino, (uint64_t)blocks * BLOCK), FL_OK);
    return ino;
}

static void
expect_words(struct fixture *f, uint64_t ino, const uint64_t *words, uint32_t count)
{
    assert_int_equal(size_of(f, ino), (uint64_t)count * BLOCK);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(read_word(f, ino, (uint64_t)i * BLOCK), words[i]);
    }
}

static void
written_blocks_are_one_extent(void **state)
{
    struct fixture *f = *state;
    const uint64_t ino = numbered_file(f, "a", 5);
    const struct mfs_extent e = extent_of(f, ino, 0);

    assert_int_equal(e.blocks, 5);
    assert_int_equal(e.flags, 0);
    assert_false(e.committed);
    assert_int_equal(mfs_fsync(f->fs, ino), FL_OK);
    assert_true(extent_of(f, ino, 0).committed);
    assert_int_equal(extent_of(f, ino, 3).blocks, 2);
    assert_int_equal(extent_of(f, ino, 3).physical, e.physical + 3);
    write_word(f, ino, 5 * BLOCK, 105);
    assert_int_equal(extent_of(f, ino, 0).blocks, 5);
    assert_true(extent_of(f, ino, 0).committed);
    assert_int_equal(extent_of(f, ino, 5).blocks, 1);
    assert_false(extent_of(f, ino, 5).committed);
    assert_int_equal(free_blocks(f), BLOCKS - 6);
}

static void
allocate_fills_holes_and_reads_zeros(void **state)
{
    struct fixture *f = *state;
    const uint64_t ino = make_file(f, "a", 0);

    write_word(f, ino, 2 * BLOCK, 102);
    assert_int_equal(mfs_allocate(f->fs, ino, 0, 5 * BLOCK, false), FL_OK);
    expect_words(f, ino, (const uint64_t[]){0, 0, 102, 0, 0}, 5);
    assert_int_equal(extent_of(f, ino, 0).flags, MFS_EXTENT_UNWRITTEN);
    assert_int_equal(extent_of(f, ino, 0).blocks, 2);
    assert_int_equal(extent_of(f, ino, 2).flags, 0);
    assert_int_equal(extent_of(f, ino, 3).blocks, 2);
    assert_int_equal(mfs_allocate(f->fs, ino, 0, 5 * BLOCK, false), FL_OK);
    assert_int_equal(free_blocks(f), BLOCKS - 5);
    assert_int_equal(mfs_allocate(f->fs, ino, 7 * BLOCK, BLOCK, true), FL_OK);
    assert_int_equal(size_of(f, ino), 5 * BLOCK);
    write_word(f, ino, BLOCK, 101);
    expect_words(f, ino, (const uint64_t[]){0, 101, 102, 0, 0}, 5);
    assert_int_equal(mfs_allocate(f->fs, ino, 0, 0, false), FL_INVALID);
    assert_int_equal(mfs_allocate(f->fs, ino, UINT64_MAX, 1, false), FL_TOO_LARGE);
}

static void
allocate_without_room_changes_nothing(void **state)
{
    struct fixture *f = *state;
    const uint64_t ino = numbered_file(f, "a", 3);
    struct mfs_stat before;
    struct mfs_stat after;

    assert_int_equal(mfs_stat(f->fs, ino, &before), FL_OK);
    assert_int_equal(mfs_allocate(f->fs, ino, 0, (BLOCKS + 1) * BLOCK, false), FL_NO_SPACE);
    assert_int_equal(mfs_stat(f->fs, ino, &after), FL_OK);
    assert_memory_equal(&before, &after, sizeof(before));
    assert_int_equal(free_blocks(f), BLOCKS - 3);
    assert_int_equal(mfs_allocate(f->fs, ino, 0, BLOCKS * BLOCK, false), FL_OK);
    assert_int_equal(free_blocks(f), 0);
}

static void
write_on_a_full_device_writes_what_fits(void **state)
{
    struct fixture *f = *state;
    static uint8_t bytes[(BLOCKS + 2) * BLOCK];
    const uint64_t ino = make_file(f, "a", 0);
    size_t done = 0;

    memset(bytes, 7, sizeof(bytes));
    assert_int_equal(mfs_write(f->fs, ino, 100, bytes, sizeof(bytes), &done), FL_NO_SPACE);
    assert_int_equal(done, BLOCKS * BLOCK - 100);
    assert_int_equal(size_of(f, ino), BLOCKS * BLOCK);
    assert_int_equal(mfs_write(f->fs, ino, BLOCKS * BLOCK, bytes, 1, &done), FL_NO_SPACE);
    assert_int_equal(done, 0);
    /* What waits for a commit is had by committing. */
    const uint64_t other = make_file(f, "b", 0);

    assert_int_equal(mfs_unlink(f->fs, "a"), FL_OK);
    assert_int_equal(mfs_write(f->fs, other, 0, bytes, BLOCKS * BLOCK, &done), FL_OK);
    assert_int_equal(done, BLOCKS * BLOCK);
}

static void
punch_leaves_the_remainders(void **state)
{
    struct fixture *f = *state;
    const uint64_t ino = numbered_file(f, "a", 6);
    const uint64_t before = commits(f);

    assert_int_equal(mfs_punch(f->fs, ino, BLOCK + 8, 3 * BLOCK), FL_OK);
    assert_int_equal(commits(f), before + 1);
    expect_words(f, ino, (const uint64_t[]){100, 101, 0, 0, 0, 105}, 6);
    assert_int_equal(free_blocks(f), BLOCKS - 4);
    assert_int_equal(read_word(f, ino, BLOCK + 8), 0);
    power_cut(f, 0);
    assert_int_equal(free_blocks(f), BLOCKS - 4);
    assert_int_equal(mfs_punch(f->fs, ino, 0, 0), FL_INVALID);
    assert_int_equal(mfs_punch(f->fs, ino, 5 * BLOCK + 1, UINT64_MAX), FL_OK);
    assert_int_equal(size_of(f, ino), 6 * BLOCK);
    assert_int_equal(free_blocks(f), BLOCKS - 4);
    assert_int_equal(mfs_punch(f->fs, ino, 5 * BLOCK, 10), FL_OK);
    assert_int_equal(mfs_punch(f->fs, ino, 5 * BLOCK, UINT64_MAX), FL_OK);
    assert_int_equal(free_blocks(f), BLOCKS - 3);
}

static void
truncate_zeroes_behind_the_end(void **state)
{
    struct fixture *f = *state;
    const uint64_t ino = numbered_file(f, "a", 4);

    write_word(f, ino, BLOCK + 200, 1);
    write_word(f, ino, BLOCK + 100, 2);
    assert_int_equal(mfs_truncate(f->fs, ino, BLOCK + 150), FL_OK);
    assert_int_equal(free_blocks(f), BLOCKS - 2);
    assert_int_equal(mfs_truncate(f->fs, ino, 3 * BLOCK), FL_OK);
    assert_int_equal(read_word(f, ino, BLOCK + 100), 2);
    assert_int_equal(read_word(f, ino, BLOCK + 200), 0);
    assert_int_equal(read_word(f, ino, 2 * BLOCK), 0);
    assert_int_equal(mfs_truncate(f->fs, ino, UINT64_MAX), FL_TOO_LARGE);
    assert_int_equal(mfs_truncate(f->fs, ino, 0), FL_OK);
    assert_int_equal(free_blocks(f), BLOCKS);
}

/* What a mapping stored behind the end in the last block is not a part of the file when it grows. */
static void
growing_does_not_show_what_was_behind_the_end(void **state)
{
    struct fixture *f = *state;
    const uint64_t ino = make_file(f, "a", 100);
    struct mfs_map *map = map_whole(f, ino, MFS_MAP_PLAIN, 1);
    const uint64_t word = 0x55;

    assert_int_equal(mfs_pte_store(f->table, map, 1000, &word, sizeof(word)), FL_OK);
    assert_int_equal(mfs_truncate(f->fs, ino, 2 * BLOCK), FL_OK);
    assert_int_equal(read_word(f, ino, 1000), 0);
    assert_int_equal(mfs_truncate(f->fs, ino, 100), FL_OK);
    assert_int_equal(mfs_pte_store(f->table, map, 1000, &word, sizeof(word)), FL_OK);
    write_word(f, ino, 3000, 3);
    assert_int_equal(read_word(f, ino, 1000), 0);
    assert_int_equal(read_word(f, ino, 3000), 3);
    map_end(f, map);
}

static void
collapse_moves_up_what_is_behind(void **state)
{
    struct fixture *f = *state;
    const uint64_t ino = numbered_file(f, "a", 6);

    assert_int_equal(mfs_collapse(f->fs, ino, BLOCK, 2 * BLOCK), FL_OK);
    expect_words(f, ino, (const uint64_t[]){100, 103, 104, 105}, 4);
    power_cut(f, 0);
    assert_int_equal(size_of(f, ino), 4 * BLOCK);
    assert_int_equal(free_blocks(f), BLOCKS - 4);
    assert_int_equal(mfs_collapse(f->fs, ino, 0, 4 * BLOCK), FL_INVALID);
    assert_int_equal(mfs_collapse(f->fs, ino, 1, BLOCK), FL_INVALID);
    assert_int_equal(mfs_collapse(f->fs, ino, 0, 1), FL_INVALID);
    assert_int_equal(mfs_collapse(f->fs, ino, 0, 0), FL_INVALID);
}

/* Rule C8 */
static void
clone_shares_until_one_is_written(void **state)
{
    struct fixture *f = *state;
    const uint64_t a = numbered_file(f, "a", 3);
    const uint64_t b = numbered_file(f, "b", 5);

    assert_int_equal(mfs_fsync(f->fs, 0), FL_OK);
    assert_int_equal(mfs_clone(f->fs, a, a), FL_INVALID);
    assert_int_equal(mfs_clone(f->fs, a, b), FL_OK);
    expect_words(f, b, (const uint64_t[]){100, 101, 102}, 3);
    assert_int_equal(mfs_statfs(f->fs).blocks_freeing, 5);
    assert_int_equal(mfs_fsync(f->fs, 0), FL_OK);
    assert_int_equal(free_blocks(f), BLOCKS - 3);
    assert_true(extent_of(f, a, 0).shared);
    assert_int_equal(extent_of(f, b, 0).physical, extent_of(f, a, 0).physical);
    write_word(f, a, BLOCK + 8, 7);
    assert_int_equal(read_word(f, a, BLOCK), 101);
    assert_int_equal(read_word(f, a, BLOCK + 8), 7);
    assert_int_equal(read_word(f, b, BLOCK + 8), 0);
    assert_false(extent_of(f, a, 1).shared);
    assert_int_equal(extent_of(f, b, 0).blocks, 1);
    assert_int_equal(mfs_fsync(f->fs, 0), FL_OK);
    power_cut(f, 0);
    assert_int_equal(read_word(f, a, BLOCK + 8), 7);
    assert_int_equal(read_word(f, b, BLOCK + 8), 0);
    assert_int_equal(free_blocks(f), BLOCKS - 4);
    /* The edges of a cut are shared blocks as well. */
    assert_int_equal(mfs_truncate(f->fs, b, 2 * BLOCK + 4), FL_OK);
    assert_int_equal(mfs_truncate(f->fs, b, 3 * BLOCK), FL_OK);
    assert_int_equal(read_word(f, a, 2 * BLOCK), 102);
    assert_int_equal(mfs_punch(f->fs, b, 0, 4), FL_OK);
    assert_int_equal(read_word(f, a, 0), 100);
    assert_int_equal(read_word(f, b, 0), 0);
}

/* Until the clone's end is committed it may come back: its blocks are not written in place. */
static void
clone_that_is_not_gone_for_sure_keeps_its_blocks(void **state)
{
    struct fixture *f = *state;
    const uint64_t a = numbered_file(f, "a", 1);
    const uint64_t b = make_file(f, "b", 0);

    assert_int_equal(mfs_clone(f->fs, a, b), FL_OK);
    assert_int_equal(mfs_fsync(f->fs, 0), FL_OK);
    assert_int_equal(mfs_unlink(f->fs, "b"), FL_OK);
    write_word(f, a, 0, 1);
    power_cut(f, UINT64_MAX);
    assert_int_equal(read_word(f, b, 0), 100);
    assert_int_equal(read_word(f, a, 0), 100);
}

static void
clone_of_a_mapped_file_is_refused_or_copied(void **state)
{
    struct fixture *f = *state;
    const uint64_t a = numbered_file(f, "a", 2);
    const uint64_t b = make_file(f, "b", 0);
    struct mfs_map *map = map_whole(f, a, MFS_MAP_NOSYNC, 2);

    assert_int_equal(mfs_clone(f->fs, a, b), FL_BUSY);
    assert_int_equal(mfs_clone(f->fs, b, a), FL_BUSY);
    map_end(f, map);
    map = map_whole(f, a, MFS_MAP_PLAIN, 2);
    struct mfs_map *reader = map_whole(f, b, MFS_MAP_PLAIN, 2);

    assert_int_equal(store_word(f, map, 0, 1), FL_OK);
    assert_int_equal(mfs_clone(f->fs, a, b), FL_OK);
    assert_int_equal(load_word(f, reader, 0), 1);
    assert_int_equal(store_word(f, map, 0, 2), FL_OK);
    assert_int_equal(load_word(f, map, 0), 2);
    assert_int_equal(load_word(f, reader, 0), 1);
    assert_int_equal(store_word(f, reader, 1, 3), FL_OK);
    assert_int_equal(load_word(f, map, 1), 101);
    map_end(f, map);
    map_end(f, reader);
    assert_int_equal(mfs_map_open(f->fs, a, 0, 2, MFS_MAP_NOSYNC, NULL, &map), FL_OK);
    map_end(f, map);
    assert_int_equal(mfs_clone(f->fs, a, b), FL_OK);
    assert_int_equal(mfs_map_open(f->fs, a, 0, 2, MFS_MAP_NOSYNC, NULL, &map), FL_BUSY);
    assert_int_equal(mfs_unlink(f->fs, "b"), FL_OK);
    map = map_whole(f, a, MFS_MAP_NOSYNC, 2);
    map_end(f, map);
}

/* ---- transactions that don't fit ---- */

enum { MANY = 300 };

static uint64_t
scattered_file(struct fixture *f, const char *name)
{
    const uint64_t ino = make_file(f, name, 0);

    for (uint32_t i = 0; i < MANY; i += 2) {
        write_word(f, ino, (uint64_t)i * BLOCK, 100 + i);
    }
    return ino;
}

static void
cuts_larger_than_a_transaction_go_in_steps(void **state)
{
    struct fixture f;
    (void)state;

    fixture_init(&f, MANY, 0);
    const uint64_t ino = scattered_file(&f, "a");
    const uint64_t before = commits(&f);

    assert_int_equal(mfs_collapse(f.fs, ino, 0, BLOCK), FL_TOO_LARGE);
    assert_int_equal(read_word(&f, ino, 2 * BLOCK), 102);
    assert_int_equal(mfs_punch(f.fs, ino, 4 * BLOCK, UINT64_MAX), FL_OK);
    assert_true(commits(&f) > before + 1);
    assert_int_equal(mfs_statfs(f.fs).blocks_free, MANY - 2);
    assert_int_equal(read_word(&f, ino, 2 * BLOCK), 102);
    assert_int_equal(read_word(&f, ino, 8 * BLOCK), 0);
    (void)scattered_file(&f, "b");
    assert_int_equal(mfs_rename(f.fs, "a", "b"), FL_TOO_LARGE);
    assert_int_equal(mfs_unlink(f.fs, "b"), FL_OK);
    assert_int_equal(mfs_fsync(f.fs, 0), FL_OK);
    assert_int_equal(mfs_statfs(f.fs).blocks_free, MANY - 2);
    power_cut(&f, 0);
    assert_int_equal(mfs_statfs(f.fs).blocks_free, MANY - 2);
    check_clean(&f);
    fixture_deinit(&f);
}

static void
flags_of_a_large_file_are_cleared_in_steps(void **state)
{
    struct fixture f;
    (void)state;

    fixture_init(&f, MANY, 0);
    const uint64_t ino = make_file(&f, "a", MANY * BLOCK);
    struct mfs_map *map = map_whole(&f, ino, MFS_MAP_NOSYNC, MANY);

    for (uint32_t i = 0; i < MANY; i += 2) {
        assert_int_equal(persist_word(&f, map, i, i), FL_OK);
    }
    map_end(&f, map);
    assert_int_equal(extent_of(&f, ino, 2).flags, 0);
    map = map_whole(&f, ino, MFS_MAP_NOSYNC, MANY);
    assert_int_equal(mfs_populate(map, 0, MANY), FL_OK);
    assert_int_equal(mfs_statfs(f.fs).blocks_free, 0);
    power_cut(&f, 0);
    assert_int_equal(extent_of(&f, ino, MANY - 2).flags, 0);
    assert_int_equal(read_word(&f, ino, (MANY - 2) * BLOCK), MANY - 2);
    check_clean(&f);
    fixture_deinit(&f);
}

#define IN_FIXTURE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FIXTURE(written_blocks_are_one_extent),
        IN_FIXTURE(allocate_fills_holes_and_reads_zeros),
        IN_FIXTURE(allocate_without_room_changes_nothing),
        IN_FIXTURE(write_on_a_full_device_writes_what_fits),
        IN_FIXTURE(punch_leaves_the_remainders),
        IN_FIXTURE(truncate_zeroes_behind_the_end),
        IN_FIXTURE(growing_does_not_show_what_was_behind_the_end),
        IN_FIXTURE(collapse_moves_up_what_is_behind),
        IN_FIXTURE(clone_shares_until_one_is_written),
        IN_FIXTURE(clone_that_is_not_gone_for_sure_keeps_its_blocks),
        IN_FIXTURE(clone_of_a_mapped_file_is_refused_or_copied),
        cmocka_unit_test(cuts_larger_than_a_transaction_go_in_steps),
        cmocka_unit_test(flags_of_a_large_file_are_cleared_in_steps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
