#include "tests/unit/modelfs/fs_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { INODES = 8, JOURNAL_BYTES = 4096 };

uint64_t
device_bytes(uint32_t blocks, uint64_t journal_bytes)
{
    const uint64_t journal = journal_bytes == 0 ? JOURNAL_BYTES : journal_bytes;
    const uint64_t tables = 4096 + journal + INODES * 256 + (uint64_t)blocks * 32;

    return (tables + BLOCK - 1) / BLOCK * BLOCK + (uint64_t)blocks * BLOCK;
}

void
mount(struct fixture *f)
{
    const struct mfs_mount_options options = {.engine = mfs_pte_table_engine(f->table),
                                              .mutant = f->mutant};

    if (mfs_mount(f->media, &options, &f->fs) != FL_OK) {
        fail_msg("mount: %s", fl_last_error());
    }
    mfs_pte_table_mounted(f->table, f->fs, mfs_data_off(f->fs));
}

void
fixture_init(struct fixture *f, uint32_t blocks, uint64_t journal_bytes)
{
    const struct mfs_media_source source = {.size_bytes = device_bytes(blocks, journal_bytes)};
    const struct mfs_format format = {
        .inodes = INODES,
        .journal_bytes = journal_bytes == 0 ? JOURNAL_BYTES : journal_bytes,
        .uuid = {1, 2, 3, 4, 5, 6, 7, 8},
    };

    memset(f, 0, sizeof(*f));
    assert_int_equal(mfs_media_open(&source, &f->media), FL_OK);
    assert_int_equal(mfs_pte_table_create(f->media, &f->table), FL_OK);
    assert_int_equal(mfs_cpu_create(f->media, &f->cpu), FL_OK);
    assert_int_equal(mfs_format(f->media, &format), FL_OK);
    mount(f);
    assert_int_equal(mfs_statfs(f->fs).blocks, blocks);
}

void
fixture_deinit(struct fixture *f)
{
    mfs_media_set_hooks(f->media, NULL);
    mfs_abandon(f->fs);
    mfs_cpu_destroy(f->cpu);
    mfs_pte_table_destroy(f->table);
    mfs_media_close(f->media);
}

void
power_cut(struct fixture *f, uint64_t seed)
{
    assert_int_equal(mfs_media_cut_random(f->media, seed), FL_OK);
    mfs_abandon(f->fs);
    mount(f);
}

void
remount(struct fixture *f)
{
    mfs_unmount(f->fs);
    mount(f);
}

uint64_t
make_file(struct fixture *f, const char *name, uint64_t size_bytes)
{
    uint64_t ino = 0;

    assert_int_equal(mfs_create(f->fs, name, &ino), FL_OK);
    assert_int_equal(mfs_truncate(f->fs, ino, size_bytes), FL_OK);
    return ino;
}

struct mfs_map *
map_whole(struct fixture *f, uint64_t ino, enum mfs_map_kind kind, uint32_t blocks)
{
    struct mfs_map *map = NULL;

    assert_int_equal(mfs_map_open(f->fs, ino, 0, blocks, kind, NULL, &map), FL_OK);
    return map;
}

void
map_end(struct fixture *f, struct mfs_map *map)
{
    mfs_pte_unmap(f->table, map);
    assert_int_equal(mfs_map_close(map), FL_OK);
}

fl_status
store_word(struct fixture *f, struct mfs_map *map, uint32_t block, uint64_t word)
{
    return mfs_pte_store(f->table, map, (uint64_t)block * BLOCK, &word, sizeof(word));
}

uint64_t
load_word(struct fixture *f, struct mfs_map *map, uint32_t block)
{
    uint64_t word = 0;

    assert_int_equal(mfs_pte_load(f->table, map, (uint64_t)block * BLOCK, &word, sizeof(word)),
                     FL_OK);
    return word;
}

fl_status
persist_word(struct fixture *f, struct mfs_map *map, uint32_t block, uint64_t word)
{
    fl_status status = store_word(f, map, block, word);

    if (status == FL_OK) {
        status = mfs_pte_flush(f->table, map, f->cpu, (uint64_t)block * BLOCK, sizeof(word));
    }
    return status == FL_OK ? mfs_cpu_fence(f->cpu) : status;
}

uint64_t
read_word(struct fixture *f, uint64_t ino, uint64_t off)
{
    uint64_t word = 0;
    size_t done = 0;

    assert_int_equal(mfs_read(f->fs, ino, off, &word, sizeof(word), &done), FL_OK);
    assert_int_equal(done, sizeof(word));
    return word;
}

void
write_word(struct fixture *f, uint64_t ino, uint64_t off, uint64_t word)
{
    size_t done = 0;

    assert_int_equal(mfs_write(f->fs, ino, off, &word, sizeof(word), &done), FL_OK);
    assert_int_equal(done, sizeof(word));
}

uint64_t
size_of(struct fixture *f, uint64_t ino)
{
    struct mfs_stat stat;

    assert_int_equal(mfs_stat(f->fs, ino, &stat), FL_OK);
    return stat.size_bytes;
}

uint64_t
commits(struct fixture *f)
{
    return mfs_counts(f->fs).commits;
}

struct mfs_extent
extent_of(struct fixture *f, uint64_t ino, uint32_t block)
{
    struct mfs_extent extent;
    const fl_status status = mfs_extent_at(f->fs, ino, block, &extent);

    if (status == FL_END || extent.logical != block) {
        memset(&extent, 0, sizeof(extent));
    }
    return extent;
}

static void
print_finding(void *context, const char *text)
{
    (void)context;
    print_message("finding: %s\n", text);
}

uint64_t
check_image(const uint8_t *image, uint64_t size_bytes)
{
    uint64_t findings = 0;

    assert_int_equal(mfs_check(image, size_bytes, NULL, NULL, &findings), FL_OK);
    return findings;
}

void
check_clean(struct fixture *f)
{
    uint64_t findings = 0;

    assert_int_equal(mfs_check(mfs_media_persisted(f->media), mfs_media_size_bytes(f->media),
                               print_finding, NULL, &findings),
                     FL_OK);
    assert_int_equal(findings, 0);
}
