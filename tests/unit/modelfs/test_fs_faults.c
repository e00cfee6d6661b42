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

static void
fault_on_unwritten_commits_the_conversion(void **state)
{
    struct fixture f;
    (void)state;

    fixture_init(&f, 8, 0);
    const uint64_t ino = make_file(&f, "heap", 0);

    assert_int_equal(mfs_allocate(f.fs, ino, 0, 4 * BLOCK, false), FL_OK);
    assert_int_equal(mfs_fsync(f.fs, ino), FL_OK);
    struct mfs_map *map = map_whole(&f, ino, MFS_MAP_NOSYNC, 4);
    const uint64_t before = commits(&f);

    assert_int_equal(load_word(&f, map, 1), 0);
    assert_int_equal(commits(&f), before);
    assert_int_equal(persist_word(&f, map, 1, 5), FL_OK);
    assert_int_equal(commits(&f), before + 1);
    assert_int_equal(extent_of(&f, ino, 0).blocks, 1);
    assert_int_equal(extent_of(&f, ino, 1).flags, MFS_EXTENT_NOSYNC);
    assert_int_equal(extent_of(&f, ino, 2).flags, MFS_EXTENT_UNWRITTEN);
    power_cut(&f, 0);
    assert_int_equal(read_word(&f, ino, BLOCK), 5);
    fixture_deinit(&f);
}

/* Rule C3 */
static void
read_faults_take_no_commit_and_no_block(void **state)
{
    struct fixture f;
    (void)state;

    fixture_init(&f, 8, 0);
    const uint64_t ino = make_file(&f, "heap", 4 * BLOCK);
    struct mfs_map *map = map_whole(&f, ino, MFS_MAP_NOSYNC, 4);
    const uint64_t before = commits(&f);

    for (uint32_t block = 0; block < 4; block++) {
        assert_int_equal(load_word(&f, map, block), 0);
    }
    assert_int_equal(commits(&f), before);
    assert_int_equal(mfs_statfs(f.fs).blocks_free, 8);
    assert_int_equal(mfs_counts(f.fs).faults_read, 4);
    /* What was zeros is a block now, in the other mapping as well. */
    struct mfs_map *other = map_whole(&f, ino, MFS_MAP_PLAIN, 4);

    assert_int_equal(load_word(&f, other, 2), 0);
    assert_int_equal(store_word(&f, map, 2, 9), FL_OK);
    assert_int_equal(load_word(&f, other, 2), 9);
    write_word(&f, ino, 3 * BLOCK, 8);
    assert_int_equal(load_word(&f, map, 3), 8);
    assert_int_equal(load_word(&f, other, 3), 8);
    fixture_deinit(&f);
}

/* Rule C5 */
static void
nosync_fault_commits_what_others_allocated(void **state)
{
    struct fixture f;
    (void)state;

    fixture_init(&f, 8, 0);
    const uint64_t ino = make_file(&f, "heap", 4 * BLOCK);
    struct mfs_map *plain = map_whole(&f, ino, MFS_MAP_PLAIN, 4);
    struct mfs_map *map = map_whole(&f, ino, MFS_MAP_NOSYNC, 4);

    assert_int_equal(mfs_fsync(f.fs, 0), FL_OK);
    assert_int_equal(store_word(&f, plain, 0, 1), FL_OK);
    assert_int_equal(extent_of(&f, ino, 0).flags, 0);
    const uint64_t before = commits(&f);

    assert_int_equal(persist_word(&f, map, 0, 2), FL_OK);
    assert_int_equal(commits(&f), before + 1);
    assert_int_equal(extent_of(&f, ino, 0).flags, MFS_EXTENT_NOSYNC);
    /* A block that is ready, but the file's size isn't. */
    assert_int_equal(mfs_fsync(f.fs, ino), FL_OK);
    assert_int_equal(mfs_truncate(f.fs, ino, 5 * BLOCK), FL_OK);
    assert_int_equal(persist_word(&f, map, 0, 3), FL_OK);
    assert_int_equal(commits(&f), before + 2);
    assert_int_equal(mfs_counts(f.fs).faults_protected, 1);
    /* Another file's changes are not waited for. */
    assert_int_equal(mfs_fsync(f.fs, ino), FL_OK);
    (void)make_file(&f, "other", 100);
    assert_int_equal(persist_word(&f, map, 0, 4), FL_OK);
    assert_int_equal(commits(&f), before + 2);
    power_cut(&f, 0);
    assert_int_equal(read_word(&f, ino, 0), 4);
    assert_int_equal(size_of(&f, ino), 5 * BLOCK);
    fixture_deinit(&f);
}

/* Rules C6 and C12 */
static void
read_and_fsync_protect_and_the_next_store_takes_no_commit(void **state)
{
    struct fixture f;
    uint32_t phys;
    (void)state;

    fixture_init(&f, 8, 0);
    const uint64_t ino = make_file(&f, "heap", 4 * BLOCK);
    struct mfs_map *map = map_whole(&f, ino, MFS_MAP_NOSYNC, 4);

    assert_int_equal(store_word(&f, map, 1, 7), FL_OK);
    const uint64_t before = commits(&f);

    assert_int_equal(mfs_pte_access(f.table, map, 1, &phys), MFS_ACCESS_WRITE);
    assert_int_equal(read_word(&f, ino, BLOCK), 7);
    assert_int_equal(mfs_pte_access(f.table, map, 1, &phys), MFS_ACCESS_READ);
    assert_int_equal(store_word(&f, map, 1, 8), FL_OK);
    assert_int_equal(mfs_fsync(f.fs, ino), FL_OK);
    assert_int_equal(mfs_pte_access(f.table, map, 1, &phys), MFS_ACCESS_READ);
    assert_int_equal(commits(&f), before);
    power_cut(&f, 0); /* nothing was flushed by the mapper */
    assert_int_equal(read_word(&f, ino, BLOCK), 8);
    fixture_deinit(&f);
}

/* Rule C7 */
static void
write_under_a_nosync_mapping_is_durable_on_return(void **state)
{
    struct fixture f;
    uint32_t phys;
    (void)state;

    fixture_init(&f, 8, 0);
    const uint64_t ino = make_file(&f, "heap", 8 * BLOCK);
    struct mfs_map *map = map_whole(&f, ino, MFS_MAP_NOSYNC, 4);

    assert_int_equal(persist_word(&f, map, 1, 7), FL_OK);
    write_word(&f, ino, BLOCK + 8, 70);
    assert_int_equal(mfs_pte_access(f.table, map, 1, &phys), MFS_ACCESS_NONE);
    write_word(&f, ino, 2 * BLOCK, 71);
    assert_int_equal(load_word(&f, map, 1), 7);
    assert_int_equal(load_word(&f, map, 2), 71);
    write_word(&f, ino, 6 * BLOCK, 72); /* not under the mapping */
    power_cut(&f, 0);
    assert_int_equal(read_word(&f, ino, BLOCK), 7);
    assert_int_equal(read_word(&f, ino, BLOCK + 8), 70);
    assert_int_equal(read_word(&f, ino, 2 * BLOCK), 71);
    assert_int_equal(read_word(&f, ino, 6 * BLOCK), 0);
    check_clean(&f);
    fixture_deinit(&f);
}

/* Rule C9 */
static void
truncate_and_punch_take_the_pages_away(void **state)
{
    struct fixture f;
    uint32_t phys;
    (void)state;

    fixture_init(&f, 8, 0);
    const uint64_t ino = make_file(&f, "heap", 4 * BLOCK);
    struct mfs_map *map = map_whole(&f, ino, MFS_MAP_NOSYNC, 4);
    struct mfs_map *plain = map_whole(&f, ino, MFS_MAP_PLAIN, 4);

    for (uint32_t block = 0; block < 4; block++) {
        assert_int_equal(persist_word(&f, map, block, block + 1), FL_OK);
        assert_int_equal(load_word(&f, plain, block), block + 1);
    }
    assert_int_equal(mfs_punch(f.fs, ino, BLOCK, BLOCK), FL_OK);
    assert_int_equal(mfs_pte_access(f.table, map, 1, &phys), MFS_ACCESS_NONE);
    assert_int_equal(mfs_pte_access(f.table, plain, 1, &phys), MFS_ACCESS_NONE);
    assert_int_equal(load_word(&f, map, 1), 0);
    assert_int_equal(load_word(&f, plain, 3), 4);
    assert_int_equal(mfs_truncate(f.fs, ino, 2 * BLOCK), FL_OK);
    assert_int_equal(store_word(&f, map, 2, 1), FL_IO);
    assert_int_equal(store_word(&f, map, 3, 1), FL_IO);
    assert_int_equal(load_word(&f, map, 1), 0);
    assert_int_equal(mfs_truncate(f.fs, ino, BLOCK), FL_OK);
    assert_int_equal(store_word(&f, map, 1, 1), FL_IO); /* it led to zeros */
    assert_int_equal(mfs_truncate(f.fs, ino, 4 * BLOCK), FL_OK);
    assert_int_equal(store_word(&f, map, 2, 5), FL_OK);
    assert_int_equal(load_word(&f, plain, 2), 5);
    /* Collapse: what is behind moves up under the mapping, too. */
    assert_int_equal(mfs_collapse(f.fs, ino, 0, 2 * BLOCK), FL_OK);
    assert_int_equal(load_word(&f, map, 0), 5);
    assert_int_equal(extent_of(&f, ino, 0).flags, MFS_EXTENT_NOSYNC);
    check_clean(&f);
    fixture_deinit(&f);
}

/* Rule C10 */
static void
last_nosync_mapping_clears_the_flags(void **state)
{
    struct fixture f;
    (void)state;

    fixture_init(&f, 8, 0);
    const uint64_t ino = make_file(&f, "heap", 4 * BLOCK);
    struct mfs_map *one = map_whole(&f, ino, MFS_MAP_NOSYNC, 4);
    struct mfs_map *two = map_whole(&f, ino, MFS_MAP_NOSYNC, 4);

    assert_int_equal(store_word(&f, one, 1, 3), FL_OK);
    map_end(&f, one);
    assert_int_equal(extent_of(&f, ino, 1).flags, MFS_EXTENT_NOSYNC);
    map_end(&f, two);
    assert_int_equal(extent_of(&f, ino, 1).flags, 0);
    assert_true(extent_of(&f, ino, 1).committed);
    power_cut(&f, 0);
    assert_int_equal(read_word(&f, ino, BLOCK), 3);
    fixture_deinit(&f);
}

/* Rule C1 */
static void
mapping_is_granted_as_asked_or_not(void **state)
{
    struct fixture f;
    struct mfs_map *map = NULL;
    const struct mfs_format format = {.inodes = 8, .journal_bytes = 4096, .without_nosync = true};
    (void)state;

    fixture_init(&f, 8, 0);
    uint64_t ino = make_file(&f, "heap", 4 * BLOCK);

    assert_int_equal(mfs_map_open(f.fs, ino, 0, 0, MFS_MAP_NOSYNC, NULL, &map), FL_INVALID);
    assert_int_equal(mfs_map_open(f.fs, ino, UINT32_MAX, 1, MFS_MAP_NOSYNC, NULL, &map),
                     FL_INVALID);
    assert_int_equal(mfs_map_open(f.fs, ino + 1, 0, 1, MFS_MAP_NOSYNC, NULL, &map), FL_NOT_FOUND);
    assert_int_equal(mfs_map_open(f.fs, ino, 0, 1, (enum mfs_map_kind)3, NULL, &map), FL_INVALID);
    map = map_whole(&f, ino, MFS_MAP_NOSYNC, 4);
    assert_ptr_equal(mfs_map_owner(map), NULL);
    assert_int_equal(mfs_map_ino(map), ino);
    assert_int_equal(mfs_map_kind(map), MFS_MAP_NOSYNC);
    assert_int_equal(mfs_fault(map, 4, true), FL_INVALID);
    map_end(&f, map);
    mfs_unmount(f.fs);
    assert_int_equal(mfs_format(f.media, &format), FL_OK);
    mount(&f);
    ino = make_file(&f, "heap", 4 * BLOCK);
    assert_int_equal(mfs_map_open(f.fs, ino, 0, 4, MFS_MAP_NOSYNC, NULL, &map), FL_NOT_SUPPORTED);
    map = map_whole(&f, ino, MFS_MAP_PLAIN, 4);
    assert_int_equal(mfs_populate(map, 0, 4), FL_NOT_SUPPORTED);
    map_end(&f, map);
    fixture_deinit(&f);
}

/* Rule C13 */
static void
full_device_raises_sigbus_and_leaves_nothing(void **state)
{
    struct fixture f;
    uint32_t phys;
    (void)state;

    fixture_init(&f, 4, 0);
    const uint64_t full = make_file(&f, "full", 0);
    const uint64_t ino = make_file(&f, "heap", 4 * BLOCK);

    assert_int_equal(mfs_allocate(f.fs, full, 0, 4 * BLOCK, false), FL_OK);
    assert_int_equal(mfs_fsync(f.fs, 0), FL_OK);
    struct mfs_map *map = map_whole(&f, ino, MFS_MAP_NOSYNC, 4);
    struct mfs_map *other = map_whole(&f, ino, MFS_MAP_PLAIN, 4);
    const uint64_t before = commits(&f);

    assert_int_equal(store_word(&f, map, 1, 1), FL_IO);
    assert_int_equal(mfs_pte_access(f.table, map, 1, &phys), MFS_ACCESS_WRITE);
    assert_true(phys == MFS_PHYS_BUS);
    assert_int_equal(load_word(&f, other, 1), 0);
    assert_int_equal(mfs_populate(map, 0, 4), FL_NO_SPACE);
    assert_int_equal(mfs_counts(f.fs).faults_bus, 1);
    assert_int_equal(commits(&f), before);
    assert_int_equal(extent_of(&f, ino, 1).blocks, 0);
    assert_int_equal(mfs_truncate(f.fs, full, 2 * BLOCK), FL_OK);
    assert_int_equal(mfs_pte_access(f.table, map, 1, &phys), MFS_ACCESS_NONE);
    assert_int_equal(persist_word(&f, map, 1, 1), FL_OK);
    assert_int_equal(mfs_populate(map, 0, 4), FL_NO_SPACE);
    assert_int_equal(mfs_statfs(f.fs).blocks_free, 1);
    assert_int_equal(mfs_populate(map, 0, 2), FL_OK);
    assert_int_equal(mfs_statfs(f.fs).blocks_free, 0);
    /* Blocks that only wait for a commit are had. */
    assert_int_equal(mfs_unlink(f.fs, "full"), FL_OK);
    assert_int_equal(persist_word(&f, map, 2, 2), FL_OK);
    power_cut(&f, 0);
    assert_int_equal(read_word(&f, ino, 2 * BLOCK), 2);
    check_clean(&f);
    fixture_deinit(&f);
}

static void
populate_commits_once(void **state)
{
    struct fixture f;
    (void)state;

    fixture_init(&f, 64, 0);
    const uint64_t ino = make_file(&f, "heap", 64 * BLOCK);
    struct mfs_map *map = map_whole(&f, ino, MFS_MAP_NOSYNC, 64);
    const uint64_t before = commits(&f);

    assert_int_equal(store_word(&f, map, 10, 1), FL_OK);
    assert_int_equal(mfs_populate(map, 0, 64), FL_OK);
    assert_int_equal(commits(&f), before + 2);
    assert_int_equal(load_word(&f, map, 10), 1);
    for (uint32_t block = 0; block < 64; block++) {
        assert_int_equal(persist_word(&f, map, block, block), FL_OK);
    }
    assert_int_equal(commits(&f), before + 2);
    assert_int_equal(mfs_counts(f.fs).faults_write, 1);
    assert_int_equal(mfs_populate(map, 60, 5), FL_INVALID);
    assert_int_equal(mfs_populate(map, 0, 64), FL_OK);
    assert_int_equal(commits(&f), before + 2);
    power_cut(&f, 0);
    assert_int_equal(read_word(&f, ino, 63 * BLOCK), 63);
    fixture_deinit(&f);
}

/* ---- rule C17 ---- */

struct failing {
    unsigned fences_left;
};

static fl_status
fail_fence(void *context, enum mfs_step step, uint64_t off, uint64_t len)
{
    struct failing *failing = context;

    (void)off;
    (void)len;
    if (step != MFS_STEP_FENCE) {
        return FL_OK;
    }
    return failing->fences_left-- > 0 ? FL_OK : FL_IO;
}

static void
failed_commit_shuts_down_for_changes(void **state)
{
    (void)state;
    for (unsigned fence = 0; fence < 2; fence++) {
        struct fixture f;
        struct failing failing = {.fences_left = fence};
        const struct mfs_hooks hooks = {fail_fence, &failing};
        const struct mfs_hooks none = {NULL, NULL};
        uint32_t phys;
        uint64_t other;
        size_t done;
        char byte = 0;

        fixture_init(&f, 8, 0);
        const uint64_t ino = make_file(&f, "heap", 4 * BLOCK);
        struct mfs_map *map = map_whole(&f, ino, MFS_MAP_NOSYNC, 4);

        assert_int_equal(persist_word(&f, map, 0, 7), FL_OK);
        const uint64_t before = commits(&f);

        mfs_media_set_hooks(f.media, &hooks);
        assert_int_equal(store_word(&f, map, 1, 1), FL_IO);
        mfs_media_set_hooks(f.media, &none);
        assert_int_equal(mfs_pte_access(f.table, map, 1, &phys), MFS_ACCESS_WRITE);
        assert_true(phys == MFS_PHYS_BUS);
        assert_int_equal(commits(&f), before);
        assert_int_equal(extent_of(&f, ino, 1).blocks, 0);
        assert_int_equal(store_word(&f, map, 2, 1), FL_IO);
        assert_int_equal(mfs_create(f.fs, "other", &other), FL_IO);
        assert_int_equal(mfs_write(f.fs, ino, 0, &byte, 1, &done), FL_IO);
        assert_int_equal(mfs_punch(f.fs, ino, 0, BLOCK), FL_IO);
        assert_int_equal(mfs_fsync(f.fs, ino), FL_IO);
        assert_int_equal(mfs_populate(map, 0, 1), FL_IO);
        assert_int_equal(read_word(&f, ino, 0), 7);
        assert_int_equal(load_word(&f, map, 3), 0);
        mfs_pte_unmap(f.table, map);
        assert_int_equal(mfs_map_close(map), FL_IO);
        assert_int_equal(extent_of(&f, ino, 0).flags, MFS_EXTENT_NOSYNC);
        remount(&f);
        assert_int_equal(read_word(&f, ino, 0), 7);
        assert_int_equal(extent_of(&f, ino, 1).blocks, 0);
        assert_int_equal(mfs_punch(f.fs, ino, 0, BLOCK), FL_OK);
        check_clean(&f);
        fixture_deinit(&f);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nosync_fault_on_a_hole_commits_once_and_survives),
        cmocka_unit_test(plain_fault_on_a_hole_is_lost),
        cmocka_unit_test(fault_on_unwritten_commits_the_conversion),
        cmocka_unit_test(read_faults_take_no_commit_and_no_block),
        cmocka_unit_test(nosync_fault_commits_what_others_allocated),
        cmocka_unit_test(read_and_fsync_protect_and_the_next_store_takes_no_commit),
        cmocka_unit_test(write_under_a_nosync_mapping_is_durable_on_return),
        cmocka_unit_test(truncate_and_punch_take_the_pages_away),
        cmocka_unit_test(last_nosync_mapping_clears_the_flags),
        cmocka_unit_test(mapping_is_granted_as_asked_or_not),
        cmocka_unit_test(full_device_raises_sigbus_and_leaves_nothing),
        cmocka_unit_test(populate_commits_once),
        cmocka_unit_test(failed_commit_shuts_down_for_changes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
