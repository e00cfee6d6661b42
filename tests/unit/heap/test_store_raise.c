/* Goal:   whoever chose size_bytes_max too small opens the store with a larger one and goes on; whoever doesn't ask, or
 *         asks for less, gets what the file has; a file that a crash left with the size raised in one superblock is
 *         sound to fl_check() and keeps the larger size.
 * Method: a store in a file of its own is filled up to its size, opened again with other options and filled on. */
#include <faultline/check.h>

#include "storage/heap/heap_layout.h"
#include "tests/lib/tmpdir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { BLOCK = 4096, SMALL = 40 * BLOCK, LARGE = 400 * BLOCK, VALUE = 400 };

struct fixture {
    struct tmpdir dir;
    char path[TMPDIR_PATH_BYTES];
    struct fl_store *store;
    unsigned keys; /* k0, k1 ... are there */
};

static fl_status
open_with(struct fixture *f, uint64_t size_bytes_max, unsigned flags)
{
    struct fl_options options;

    fl_options_init(&options);
    options.flags = flags;
    options.durability_min = FL_DURABILITY_PROCESS;
    options.block_bytes = BLOCK;
    options.blocks_ahead = 1;
    options.background = false;
    if (size_bytes_max != 0) {
        options.size_bytes_max = size_bytes_max;
    }
    return fl_open(f->path, &options, &f->store);
}

static void
close_store(struct fixture *f)
{
    assert_int_equal(fl_close(f->store), FL_OK);
    f->store = NULL;
}

static fl_status
put(struct fixture *f)
{
    char key[16];
    char value[VALUE];
    const int len = snprintf(key, sizeof(key), "k%u", f->keys);

    memset(value, 'v', sizeof(value));
    const fl_status status =
        fl_put(f->store, fl_key(key, (size_t)len), fl_bytes(value, sizeof(value)), NULL);

    f->keys += status == FL_OK;
    return status;
}

/* How many more fitted. */
static unsigned
fill(struct fixture *f)
{
    const unsigned before = f->keys;
    fl_status status = FL_OK;

    while (status == FL_OK) {
        status = put(f);
    }
    assert_int_equal(status, FL_NO_SPACE);
    assert_int_equal(fl_count(f->store, 0), f->keys);
    return f->keys - before;
}

static off_t
file_bytes(const struct fixture *f)
{
    struct stat st;

    assert_int_equal(stat(f->path, &st), 0);
    return st.st_size;
}

/* A store of SMALL bytes, full, and closed. */
static void
create_full(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    tmpdir_create(&f->dir);
    tmpdir_join(&f->dir, "data", f->path);
    assert_int_equal(open_with(f, SMALL, FL_OPEN_CREATE), FL_OK);
    assert_true(fill(f) > 0);
    close_store(f);
    assert_in_range(file_bytes(f), SMALL - BLOCK, SMALL);
}

static void
destroy(struct fixture *f)
{
    tmpdir_destroy(&f->dir);
}

static void
assert_sound(const struct fixture *f)
{
    const struct fl_check_options options = {.struct_bytes = sizeof(options)};
    struct fl_check_report report;

    assert_int_equal(fl_check(f->path, &options, &report), FL_OK);
    assert_int_equal(report.findings, 0);
    assert_int_equal(report.keys, f->keys);
}

static void
store_opened_larger_goes_on_and_stays_larger(void **state)
{
    struct fixture f;

    (void)state;
    create_full(&f);
    assert_int_equal(open_with(&f, LARGE, 0), FL_OK);
    const unsigned all = f.keys;

    for (unsigned i = 0; i < all; i++) {
        assert_int_equal(put(&f), FL_OK);
    }
    assert_true(file_bytes(&f) > SMALL);
    close_store(&f);
    assert_sound(&f);
    assert_int_equal(open_with(&f, 0, 0), FL_OK);
    assert_true(fill(&f) > 3 * all);
    close_store(&f);
    assert_in_range(file_bytes(&f), LARGE - BLOCK, LARGE);
    assert_sound(&f);
    destroy(&f);
}

static void
store_opened_without_a_wish_or_smaller_stays_as_it_is(void **state)
{
    static const uint64_t wishes[] = {0, 1, SMALL / 2, SMALL};
    struct fixture f;

    (void)state;
    create_full(&f);
    for (size_t i = 0; i < sizeof(wishes) / sizeof(wishes[0]); i++) {
        assert_int_equal(open_with(&f, wishes[i], FL_OPEN_CREATE), FL_OK);
        (void)fill(&f); /* an open starts a new block, and may find room for a little */
        close_store(&f);
        assert_in_range(file_bytes(&f), SMALL - BLOCK, SMALL);
    }
    assert_sound(&f);
    destroy(&f);
}

static void
store_opened_larger_for_reading_is_not_written(void **state)
{
    static uint8_t before[SMALL];
    static uint8_t after[SMALL];
    struct fixture f;

    (void)state;
    create_full(&f);
    const int fd = open(f.path, O_RDONLY | O_CLOEXEC);
    const ssize_t len = pread(fd, before, sizeof(before), 0);

    assert_true(len > 0);
    assert_int_equal(open_with(&f, LARGE, FL_OPEN_READ_ONLY), FL_OK);
    close_store(&f);
    assert_int_equal(pread(fd, after, sizeof(after), 0), len);
    assert_memory_equal(before, after, (size_t)len);
    close(fd);
    destroy(&f);
}

static void
size_out_of_bounds_is_refused(void **state)
{
    struct fixture f;

    (void)state;
    create_full(&f);
    assert_int_equal(open_with(&f, (HEAP_BLOCKS_MAX + UINT64_C(1)) * BLOCK, 0), FL_INVALID);
    assert_non_null(strstr(fl_last_error(), "size_bytes_max"));
    assert_int_equal(open_with(&f, 0, 0), FL_OK);
    close_store(&f);
    assert_sound(&f);
    destroy(&f);
}

static void
superblock_raised_alone_is_sound_and_its_size_holds(void **state)
{
    static const off_t offs[] = {0, BLOCK / 2};

    (void)state;
    for (size_t i = 0; i < sizeof(offs) / sizeof(offs[0]); i++) {
        struct heap_super_media old;
        struct heap_super_media copies[2];
        struct fixture f;

        create_full(&f);
        const int fd = open(f.path, O_RDWR | O_CLOEXEC);

        assert_int_equal(pread(fd, &old, sizeof(old), 0), sizeof(old));
        assert_int_equal(open_with(&f, LARGE, 0), FL_OK);
        close_store(&f);
        assert_int_equal(pwrite(fd, &old, sizeof(old), offs[i]), sizeof(old));
        assert_sound(&f);
        assert_int_equal(open_with(&f, 0, 0), FL_OK);
        assert_true(fill(&f) > 100);
        close_store(&f);
        for (size_t copy = 0; copy < 2; copy++) {
            assert_int_equal(pread(fd, &copies[copy], sizeof(old), offs[copy]), sizeof(old));
        }
        assert_memory_equal(&copies[0], &copies[1], sizeof(old));
        assert_memory_not_equal(&copies[0], &old, sizeof(old));
        close(fd);
        assert_sound(&f);
        destroy(&f);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(store_opened_larger_goes_on_and_stays_larger),
        cmocka_unit_test(store_opened_without_a_wish_or_smaller_stays_as_it_is),
        cmocka_unit_test(store_opened_larger_for_reading_is_not_written),
        cmocka_unit_test(size_out_of_bounds_is_refused),
        cmocka_unit_test(superblock_raised_alone_is_sound_and_its_size_holds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
