/* Goal:   a store through a no-sync mapping that was flushed is there after a power cut; one fault takes one commit at
 *         most; nothing but the toucher notices what can't be had.
 * Method: faults of every kind through the engine of tables, counted, with power cuts behind them. */
#include "tests/unit/modelfs/fs_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void
nosync_fault_on_a_hole_commits_once_and_survives(void **state)
{
    struct fixture f;
    (void)state;

    fixture_init(&f, 8, 0);
    const uint64_t ino = make_file(&f, "heap", 4 * BLOCK);
    struct mfs_map *map = map_whole(&f, ino, MFS_MAP_NOSYNC, 4);
    const uint64_t before = commits(&f);

    assert_int_equal(persist_word(&f, map, 2, 77), FL_OK);
    assert_int_equal(commits(&f), before + 1);
    assert_int_equal(persist_word(&f, map, 2, 78), FL_OK);
    assert_int_equal(commits(&f), before + 1);
    assert_int_equal(extent_of(&f, ino, 2).flags, MFS_EXTENT_NOSYNC);
    assert_true(extent_of(&f, ino, 2).committed);
    power_cut(&f, 0);
    assert_int_equal(read_word(&f, ino, 2 * BLOCK), 78);
    assert_int_equal(extent_of(&f, ino, 2).flags, 0);
    check_clean(&f);
    fixture_deinit(&f);
}

static void
plain_fault_on_a_hole_is_lost(void **state)
{
    struct fixture f;
    (void)state;

    fixture_init(&f, 8, 0);
    const uint64_t ino = make_file(&f, "heap", 4 * BLOCK);

    assert_int_equal(mfs_fsync(f.fs, ino), FL_OK);
    struct mfs_map *map = map_whole(&f, ino, MFS_MAP_PLAIN, 4);
    const uint64_t before = commits(&f);

    assert_int_equal(persist_word(&f, map, 2, 77), FL_OK);
    assert_int_equal(commits(&f), before);
    assert_int_equal(extent_of(&f, ino, 2).blocks, 1);
    assert_false(extent_of(&f, ino, 2).committed);
    power_cut(&f, 0);
    assert_int_equal(read_word(&f, ino, 2 * BLOCK), 0);
    assert_int_equal(mfs_statfs(f.fs).blocks_free, 8);
    check_clean(&f);
    fixture_deinit(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nosync_fault_on_a_hole_commits_once_and_survives),
        cmocka_unit_test(plain_fault_on_a_hole_is_lost),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
