/* Goal:   no memory is a status of the call that lacks it: the files are as before, or as after, and the next call
 *         works.
 * Method: each operation runs on a filesystem of its own with its n-th allocation and all after it failing, for n from
 *         1 on until it succeeds.
 */
#include "base/mem.h"
#include "tests/unit/modelfs/fs_explore.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { BLOCKS = 16, TRIES_MAX = 200 };

struct scene {
    struct fixture f;
    uint64_t heap; /* blocks 0 and 2 there, 4 and 5 unwritten, under a no-sync mapping */
    uint64_t copy; /* a clone of `base` */
    uint64_t base;
    struct mfs_map *map;
};

static void
scene_init(struct scene *s)
{
    fixture_init(&s->f, BLOCKS, 0);
    s->heap = make_file(&s->f, "heap", 8 * BLOCK);
    s->base = make_file(&s->f, "base", 2 * BLOCK);
    s->copy = make_file(&s->f, "copy", 0);
    write_word(&s->f, s->base, 0, 5);
    assert_int_equal(mfs_clone(s->f.fs, s->base, s->copy), FL_OK);
    write_word(&s->f, s->heap, 2 * BLOCK, 2);
    assert_int_equal(mfs_allocate(s->f.fs, s->heap, 4 * BLOCK, 2 * BLOCK, true), FL_OK);
    write_word(&s->f, s->heap, 0, 1);
    /* Nothing is kept ready by what ran before. */
    remount(&s->f);
    s->map = map_whole(&s->f, s->heap, MFS_MAP_NOSYNC, 8);
}

static fl_status
do_create(struct scene *s)
{
    uint64_t ino;

    return mfs_create(s->f.fs, "new", &ino);
}

static fl_status
do_write(struct scene *s)
{
    size_t done;

    return mfs_write(s->f.fs, s->heap, 7 * BLOCK, "x", 1, &done);
}

static fl_status
do_write_shared(struct scene *s)
{
    size_t done;

    return mfs_write(s->f.fs, s->copy, 0, "x", 1, &done);
}

static fl_status
do_allocate(struct scene *s)
{
    return mfs_allocate(s->f.fs, s->heap, 0, 8 * BLOCK, false);
}

static fl_status
do_punch(struct scene *s)
{
    return mfs_punch(s->f.fs, s->heap, 0, 5 * BLOCK);
}

static fl_status
do_truncate(struct scene *s)
{
    return mfs_truncate(s->f.fs, s->heap, BLOCK);
}

static fl_status
do_collapse(struct scene *s)
{
    return mfs_collapse(s->f.fs, s->heap, BLOCK, BLOCK);
}

static fl_status
do_clone(struct scene *s)
{
    return mfs_clone(s->f.fs, s->copy, s->base);
}

static fl_status
do_unlink(struct scene *s)
{
    return mfs_unlink(s->f.fs, "copy");
}

static fl_status
do_rename(struct scene *s)
{
    return mfs_rename(s->f.fs, "copy", "base");
}

static fl_status
do_fault_hole(struct scene *s)
{
    return mfs_fault(s->map, 1, true);
}

static fl_status
do_fault_unwritten(struct scene *s)
{
    return mfs_fault(s->map, 5, true);
}

static fl_status
do_populate(struct scene *s)
{
    return mfs_populate(s->map, 0, 8);
}

static fl_status
do_map_open(struct scene *s)
{
    struct mfs_map *map;

    return mfs_map_open(s->f.fs, s->heap, 0, 8, MFS_MAP_PLAIN, NULL, &map);
}

static fl_status
do_close(struct scene *s)
{
    mfs_pte_unmap(s->f.table, s->map);
    return mfs_map_close(s->map);
}

static fl_status
do_fsync(struct scene *s)
{
    return mfs_fsync(s->f.fs, 0);
}

/* As it is in DRAM, flags included. */
static void
describe(struct scene *s, char *text, size_t size)
{
    struct mfs_stat stat;
    struct mfs_extent e;
    uint32_t slot = 0;
    size_t used = 0;
    const struct mfs_statfs all = mfs_statfs(s->f.fs);

    used +=
        (size_t)snprintf(text + used, size - used, "%lu+%lu", all.blocks_free, all.blocks_freeing);
    while (mfs_next(s->f.fs, &slot, &stat) == FL_OK) {
        used += (size_t)snprintf(text + used, size - used, "; %s %lu", stat.name, stat.size_bytes);
        for (uint32_t at = 0; mfs_extent_at(s->f.fs, stat.ino, at, &e) == FL_OK;
             at = e.logical + e.blocks) {
            used += (size_t)snprintf(text + used, size - used, " %u-%u:%u%s%s", e.logical, e.blocks,
                                     e.flags, e.shared ? "s" : "", e.committed ? "c" : "");
        }
        for (uint64_t off = 0; off < stat.size_bytes; off += BLOCK) {
            uint64_t word = 0;
            size_t done;

            assert_int_equal(mfs_read(s->f.fs, stat.ino, off, &word, sizeof(word), &done), FL_OK);
            used += (size_t)snprintf(text + used, size - used, ",%lu", word);
        }
        assert_true(used < size);
    }
}

enum { TEXT = 2048 };

struct operation {
    const char *name;
    fl_status (*run)(struct scene *s);
    bool again;      /* what failed can be tried again */
    bool unpromised; /* what failed may be there, but not committed */
};

static const struct operation operations[] = {
    {"create", do_create, true, false},
    {"write", do_write, true, true},
    {"write shared", do_write_shared, true, false},
    {"allocate", do_allocate, true, false},
    {"punch", do_punch, true, false},
    {"truncate", do_truncate, true, false},
    {"collapse", do_collapse, true, false},
    {"clone", do_clone, true, false},
    {"unlink", do_unlink, true, false},
    {"rename", do_rename, true, false},
    {"fault on a hole", do_fault_hole, true, false},
    {"fault on unwritten", do_fault_unwritten, true, false},
    {"populate", do_populate, true, false},
    {"map", do_map_open, true, false},
    {"unmap", do_close, false, false},
    {"fsync", do_fsync, true, false},
};

static void
describe_after(const struct operation *operation, char *text)
{
    struct scene s;

    scene_init(&s);
    assert_int_equal(operation->run(&s), FL_OK);
    describe(&s, text, TEXT);
    fixture_deinit(&s.f);
}

/* Take out who is committed. */
static void
strip(char *text)
{
    char *to = text;

    for (; *text != '\0'; text++) {
        if (*text != 'c') {
            *to++ = *text;
        }
    }
    *to = '\0';
}

static bool
as_allowed(const struct operation *operation, const char *text, const char *before,
           const char *after)
{
    char is[TEXT];
    char wanted[TEXT];

    if (strcmp(text, before) == 0 || strcmp(text, after) == 0) {
        return true;
    }
    memcpy(is, text, TEXT);
    memcpy(wanted, after, TEXT);
    strip(is);
    strip(wanted);
    return operation->unpromised && strcmp(is, wanted) == 0;
}

/* False: it needed no more than n - 1 allocations. */
static bool
run_without(const struct operation *operation, unsigned long n, const char *after)
{
    char before[TEXT];
    char text[TEXT];
    struct scene s;

    scene_init(&s);
    describe(&s, before, TEXT);
    (void)mem_fail_from(n);
    const fl_status status = operation->run(&s);
    (void)mem_fail_from(0);

    describe(&s, text, TEXT);
    if (status == FL_OK) {
        assert_string_equal(text, after);
    } else if (status != FL_NO_MEMORY || !as_allowed(operation, text, before, after)) {
        fail_msg("%s without allocation %lu: %s\nbefore %s\nafter  %s\nis     %s", operation->name,
                 n, fl_status_name(status), before, after, text);
    } else if (operation->again) {
        assert_int_equal(operation->run(&s), FL_OK);
        describe(&s, text, TEXT);
        assert_string_equal(text, after);
    }
    remount(&s.f);
    check_clean(&s.f);
    fixture_deinit(&s.f);
    return status != FL_OK;
}

static void
operations_without_memory_are_undone(void **state)
{
    char after[TEXT];
    unsigned long failures = 0;
    (void)state;

    for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
        unsigned long n = 1;

        describe_after(&operations[i], after);
        while (run_without(&operations[i], n, after)) {
            assert_true(++n < TRIES_MAX);
        }
        failures += n - 1;
    }
    print_message("%lu allocations failed\n", failures);
    assert_true(failures > 10);
}

static void
mount_format_and_check_without_memory_fail_cleanly(void **state)
{
    struct fixture f;
    const struct mfs_format format = {.inodes = 8, .journal_bytes = 4096, .uuid = {1}};
    fl_status status = FL_NO_MEMORY;
    (void)state;

    fixture_init(&f, BLOCKS, 0);
    const uint64_t ino = make_file(&f, "heap", 8 * BLOCK);
    struct mfs_map *map = map_whole(&f, ino, MFS_MAP_NOSYNC, 8);

    assert_int_equal(persist_word(&f, map, 3, 1), FL_OK);
    assert_int_equal(mfs_media_cut_random(f.media, 0), FL_OK);
    mfs_abandon(f.fs);
    for (unsigned long n = 1; status == FL_NO_MEMORY; n++) {
        const struct mfs_mount_options options = {.engine = mfs_pte_table_engine(f.table)};

        assert_true(n < TRIES_MAX);
        (void)mem_fail_from(n);
        status = mfs_mount(f.media, &options, &f.fs);
        (void)mem_fail_from(0);
        if (status == FL_NO_MEMORY) {
            assert_int_equal(mfs_media_cut_random(f.media, 0), FL_OK);
        }
    }
    assert_int_equal(status, FL_OK);
    assert_int_equal(read_word(&f, ino, 3 * BLOCK), 1);
    status = FL_NO_MEMORY;
    for (unsigned long n = 1; status == FL_NO_MEMORY; n++) {
        uint64_t findings = 0;

        (void)mem_fail_from(n);
        status = mfs_check(mfs_media_persisted(f.media), mfs_media_size_bytes(f.media), NULL, NULL,
                           &findings);
        (void)mem_fail_from(0);
        assert_int_equal(findings, 0);
    }
    assert_int_equal(status, FL_OK);
    mfs_unmount(f.fs);
    status = FL_NO_MEMORY;
    for (unsigned long n = 1; status == FL_NO_MEMORY; n++) {
        (void)mem_fail_from(n);
        status = mfs_format(f.media, &format);
        (void)mem_fail_from(0);
    }
    assert_int_equal(status, FL_OK);
    mount(&f);
    assert_int_equal(mfs_statfs(f.fs).blocks_free, BLOCKS);
    fixture_deinit(&f);
}

/* What unmounting can't make durable is lost as by a power cut, and nothing else is. */
static void
unmount_without_memory_is_a_power_cut(void **state)
{
    (void)state;
    for (unsigned long n = 1; n < 20; n++) {
        struct fixture f;
        uint64_t found;

        fixture_init(&f, BLOCKS, 0);
        const uint64_t ino = make_file(&f, "heap", 8 * BLOCK);
        struct mfs_map *map = map_whole(&f, ino, MFS_MAP_NOSYNC, 8);

        assert_int_equal(persist_word(&f, map, 3, 1), FL_OK);
        (void)make_file(&f, "new", 8 * BLOCK);
        (void)mem_fail_from(n);
        mfs_unmount(f.fs);
        (void)mem_fail_from(0);
        mount(&f);
        assert_int_equal(read_word(&f, ino, 3 * BLOCK), 1);
        const fl_status status = mfs_lookup(f.fs, "new", &found);

        assert_true(status == FL_OK || status == FL_NOT_FOUND);
        power_cut(&f, 0);
        assert_int_equal(mfs_lookup(f.fs, "new", &found), status);
        assert_int_equal(read_word(&f, ino, 3 * BLOCK), 1);
        check_clean(&f);
        fixture_deinit(&f);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operations_without_memory_are_undone),
        cmocka_unit_test(mount_format_and_check_without_memory_fail_cleanly),
        cmocka_unit_test(unmount_without_memory_is_a_power_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
