/* Goal:   names lead to the files they were given to, before and after power cuts; what can't be is refused and changes
 *         nothing.
 * Method: create, look up, rename, unlink through every refusal, with power cuts before and after fsync.
 */
#include "tests/unit/modelfs/fs_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { BLOCKS = 8, INODES = 8 };

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
    check_clean(*state);
    fixture_deinit(*state);
    return 0;
}

static void
create_finds_bad_names_and_taken_ones(void **state)
{
    struct fixture *f = *state;
    char longest[MFS_NAME_BYTES_MAX + 2];
    uint64_t ino = 7;
    static const char *const bad[] = {"", ".", "..", "a/b", "/"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(mfs_create(f->fs, bad[i], &ino), FL_INVALID);
    }
    memset(longest, 'n', sizeof(longest));
    longest[MFS_NAME_BYTES_MAX + 1] = '\0';
    assert_int_equal(mfs_create(f->fs, longest, &ino), FL_INVALID);
    assert_int_equal(ino, 7);
    longest[MFS_NAME_BYTES_MAX] = '\0';
    assert_int_equal(mfs_create(f->fs, longest, &ino), FL_OK);
    assert_int_equal(mfs_create(f->fs, longest, &ino), FL_EXISTS);
    assert_int_equal(mfs_create(f->fs, "...", &ino), FL_OK);
    remount(f);
    assert_int_equal(mfs_lookup(f->fs, longest, &ino), FL_OK);
    assert_int_equal(mfs_lookup(f->fs, "n", &ino), FL_NOT_FOUND);
}

static void
create_with_all_inodes_used_reports_no_space(void **state)
{
    struct fixture *f = *state;
    struct mfs_stat stat;
    uint64_t ino;
    uint32_t slot = 0;
    unsigned count = 0;

    for (int i = 0; i < INODES; i++) {
        char name[8];

        (void)snprintf(name, sizeof(name), "f%d", i);
        assert_int_equal(mfs_create(f->fs, name, &ino), FL_OK);
    }
    assert_int_equal(mfs_create(f->fs, "more", &ino), FL_NO_SPACE);
    assert_int_equal(mfs_statfs(f->fs).inodes_free, 0);
    while (mfs_next(f->fs, &slot, &stat) == FL_OK) {
        assert_int_equal(stat.name[0], 'f');
        count++;
    }
    assert_int_equal(count, INODES);
    assert_int_equal(mfs_unlink(f->fs, "f3"), FL_OK);
    assert_int_equal(mfs_create(f->fs, "more", &ino), FL_OK);
}

static void
numbers_are_never_used_twice(void **state)
{
    struct fixture *f = *state;
    struct mfs_stat stat;
    uint64_t first;
    uint64_t second;

    assert_int_equal(mfs_create(f->fs, "a", &first), FL_OK);
    assert_int_equal(mfs_unlink(f->fs, "a"), FL_OK);
    assert_int_equal(mfs_stat(f->fs, first, &stat), FL_NOT_FOUND);
    assert_int_equal(mfs_fsync(f->fs, 0), FL_OK);
    power_cut(f, 0);
    assert_int_equal(mfs_create(f->fs, "a", &second), FL_OK);
    assert_int_not_equal(first, second);
    assert_int_equal(mfs_stat(f->fs, first, &stat), FL_NOT_FOUND);
    assert_int_equal(mfs_stat(f->fs, second, &stat), FL_OK);
}

/* Rule C16 */
static void
names_are_durable_by_fsync_and_only_by_it(void **state)
{
    struct fixture *f = *state;
    uint64_t ino;
    uint64_t found;

    assert_int_equal(mfs_create(f->fs, "a", &ino), FL_OK);
    power_cut(f, UINT64_MAX);
    assert_int_equal(mfs_lookup(f->fs, "a", &found), FL_NOT_FOUND);
    assert_int_equal(mfs_create(f->fs, "a", &ino), FL_OK);
    assert_int_equal(mfs_fsync(f->fs, ino), FL_OK);
    assert_int_equal(mfs_rename(f->fs, "a", "b"), FL_OK);
    power_cut(f, 0);
    assert_int_equal(mfs_lookup(f->fs, "a", &found), FL_OK);
    assert_int_equal(found, ino);
    assert_int_equal(mfs_rename(f->fs, "a", "b"), FL_OK);
    assert_int_equal(mfs_fsync(f->fs, 0), FL_OK);
    power_cut(f, 0);
    assert_int_equal(mfs_lookup(f->fs, "a", &found), FL_NOT_FOUND);
    assert_int_equal(mfs_lookup(f->fs, "b", &found), FL_OK);
    assert_int_equal(found, ino);
    assert_int_equal(mfs_unlink(f->fs, "b"), FL_OK);
    power_cut(f, 0);
    assert_int_equal(mfs_lookup(f->fs, "b", &found), FL_OK);
}

static void
rename_replaces_and_gives_the_blocks_back(void **state)
{
    struct fixture *f = *state;
    const uint64_t a = make_file(f, "a", 100);
    const uint64_t b = make_file(f, "b", 100);
    struct mfs_stat stat;
    uint64_t found;

    write_word(f, a, 0, 1);
    write_word(f, b, 0, 2);
    assert_int_equal(mfs_rename(f->fs, "a", "a"), FL_OK);
    assert_int_equal(mfs_rename(f->fs, "x", "a"), FL_NOT_FOUND);
    assert_int_equal(mfs_rename(f->fs, "a", "b/"), FL_INVALID);
    assert_int_equal(mfs_rename(f->fs, "a", "b"), FL_OK);
    assert_int_equal(mfs_lookup(f->fs, "a", &found), FL_NOT_FOUND);
    assert_int_equal(mfs_lookup(f->fs, "b", &found), FL_OK);
    assert_int_equal(found, a);
    assert_int_equal(read_word(f, a, 0), 1);
    assert_int_equal(mfs_stat(f->fs, b, &stat), FL_NOT_FOUND);
    assert_int_equal(mfs_statfs(f->fs).blocks_freeing, 1);
    assert_int_equal(mfs_statfs(f->fs).blocks_free, BLOCKS - 2);
    assert_int_equal(mfs_fsync(f->fs, 0), FL_OK);
    assert_int_equal(mfs_statfs(f->fs).blocks_freeing, 0);
    assert_int_equal(mfs_statfs(f->fs).blocks_free, BLOCKS - 1);
}

static void
mapped_files_are_not_removed(void **state)
{
    struct fixture *f = *state;
    const uint64_t a = make_file(f, "a", BLOCK);
    struct mfs_map *map = map_whole(f, a, MFS_MAP_PLAIN, 1);
    struct mfs_stat stat;

    (void)make_file(f, "b", 0);
    assert_int_equal(mfs_unlink(f->fs, "a"), FL_BUSY);
    assert_int_equal(mfs_rename(f->fs, "b", "a"), FL_BUSY);
    assert_int_equal(mfs_rename(f->fs, "a", "c"), FL_OK);
    assert_int_equal(mfs_stat(f->fs, a, &stat), FL_OK);
    assert_string_equal(stat.name, "c");
    assert_int_equal(stat.maps, 1);
    assert_int_equal(stat.maps_nosync, 0);
    map_end(f, map);
    assert_int_equal(mfs_unlink(f->fs, "c"), FL_OK);
    assert_int_equal(mfs_unlink(f->fs, "c"), FL_NOT_FOUND);
}

static void
read_only_mount_changes_nothing(void **state)
{
    struct fixture *f = *state;
    const struct mfs_mount_options options = {.read_only = true};
    const uint64_t a = make_file(f, "a", BLOCK);
    struct mfs_map *map = NULL;
    struct mfs *fs = NULL;
    uint64_t ino;
    size_t done;
    char byte = 'x';

    write_word(f, a, 0, 9);
    assert_int_equal(mfs_fsync(f->fs, 0), FL_OK);
    power_cut(f, 0);
    const struct mfs_media_counts before = mfs_media_counts(f->media);

    assert_int_equal(mfs_mount(f->media, &options, &fs), FL_OK);
    assert_int_equal(mfs_create(fs, "b", &ino), FL_READ_ONLY);
    assert_int_equal(mfs_unlink(fs, "a"), FL_READ_ONLY);
    assert_int_equal(mfs_rename(fs, "a", "b"), FL_READ_ONLY);
    assert_int_equal(mfs_write(fs, a, 0, &byte, 1, &done), FL_READ_ONLY);
    assert_int_equal(mfs_truncate(fs, a, 0), FL_READ_ONLY);
    assert_int_equal(mfs_punch(fs, a, 0, BLOCK), FL_READ_ONLY);
    assert_int_equal(mfs_allocate(fs, a, 0, BLOCK, false), FL_READ_ONLY);
    assert_int_equal(mfs_fsync(fs, 0), FL_READ_ONLY);
    assert_int_equal(mfs_map_open(fs, a, 0, 1, MFS_MAP_PLAIN, NULL, &map), FL_READ_ONLY);
    assert_int_equal(mfs_read(fs, a, 0, &byte, 1, &done), FL_OK);
    assert_int_equal(byte, 9);
    mfs_unmount(fs);
    assert_int_equal(mfs_media_counts(f->media).lines, before.lines);
}

static void
format_refuses_what_does_not_fit(void **state)
{
    struct fixture *f = *state;
    const struct mfs_media_source source = {.size_bytes = 8 * BLOCK};
    struct mfs_media *media = NULL;
    static const struct {
        struct mfs_format format;
        fl_status status;
    } bad[] = {
        {{.block_bytes = 1000}, FL_INVALID},     {{.block_bytes = 2048}, FL_INVALID},
        {{.block_bytes = 4 << 20}, FL_INVALID},  {{.journal_bytes = 100}, FL_INVALID},
        {{.journal_bytes = 4100}, FL_INVALID},   {{.journal_bytes = 64 << 10}, FL_NO_SPACE},
        {{.inodes = 1000}, FL_NO_SPACE},         {{.journal_bytes = 0}, FL_NO_SPACE},
        {{.block_bytes = 2 << 20}, FL_NO_SPACE}, {{.inodes = UINT32_MAX}, FL_NO_SPACE},
    };

    assert_int_equal(mfs_media_open(&source, &media), FL_OK);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(mfs_format(media, &bad[i].format), bad[i].status);
    }
    mfs_media_close(media);
    (void)f;
}

static void
large_blocks_work(void **state)
{
    const struct mfs_media_source source = {.size_bytes = UINT64_C(12) << 20};
    const struct mfs_format format = {.block_bytes = 2 << 20};
    const struct mfs_mount_options options = {.read_only = false};
    struct mfs_media *media = NULL;
    struct mfs *fs = NULL;
    uint64_t ino;
    size_t done;
    char text[6] = {0};
    (void)state;

    assert_int_equal(mfs_media_open(&source, &media), FL_OK);
    assert_int_equal(mfs_format(media, &format), FL_OK);
    assert_int_equal(mfs_mount(media, &options, &fs), FL_OK);
    assert_int_equal(mfs_block_bytes(fs), 2 << 20);
    assert_int_equal(mfs_data_off(fs) % (2 << 20), 0);
    assert_int_equal(mfs_statfs(fs).blocks, 5);
    assert_int_equal(mfs_create(fs, "a", &ino), FL_OK);
    assert_int_equal(mfs_write(fs, ino, (2 << 20) - 2, "hello", 5, &done), FL_OK);
    assert_int_equal(mfs_statfs(fs).blocks_free, 3);
    mfs_unmount(fs);
    assert_int_equal(mfs_mount(media, &options, &fs), FL_OK);
    assert_int_equal(mfs_read(fs, ino, (2 << 20) - 2, text, 6, &done), FL_OK);
    assert_int_equal(done, 5);
    assert_string_equal(text, "hello");
    mfs_unmount(fs);
    mfs_media_close(media);
}

#define IN_FIXTURE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FIXTURE(create_finds_bad_names_and_taken_ones),
        IN_FIXTURE(create_with_all_inodes_used_reports_no_space),
        IN_FIXTURE(numbers_are_never_used_twice),
        IN_FIXTURE(names_are_durable_by_fsync_and_only_by_it),
        IN_FIXTURE(rename_replaces_and_gives_the_blocks_back),
        IN_FIXTURE(mapped_files_are_not_removed),
        IN_FIXTURE(read_only_mount_changes_nothing),
        IN_FIXTURE(format_refuses_what_does_not_fit),
        cmocka_unit_test(large_blocks_work),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
