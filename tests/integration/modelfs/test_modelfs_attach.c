/* Goal:   attaching, mapping and the calls on files refuse what is wrong with a status and a text, give back all they
 *         took when memory runs out half way, and end in good order whatever is still open.
 * Method: one process plays host and client, at times several clients; every allocation of an attachment is made to
 *         fail in turn, under a leak checker in the sanitizer's build. */
#include "tests/integration/modelfs/peer.h"
#include "tests/lib/die.h"
#include "tests/lib/tmpdir.h"

#include "base/mem.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { BLOCK = 4096, DEVICE = 4 << 20, FAILURES_MAX = 200 };

struct fixture {
    struct tmpdir dir;
    char path[TMPDIR_PATH_BYTES];
};

static int
setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    if (fixture == NULL) {
        return -1;
    }
    tmpdir_create(&fixture->dir);
    (void)tmpdir_join(&fixture->dir, "device", fixture->path);
    *state = fixture;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *fixture = *state;

    tmpdir_destroy(&fixture->dir);
    free(fixture);
    return 0;
}

static fl_status
attach(struct fixture *fixture, unsigned flags, struct fl_modelfs **out)
{
    struct fl_modelfs_options options;

    fl_modelfs_options_init(&options);
    options.flags = flags;
    options.size_bytes = DEVICE;
    return fl_modelfs_attach(fixture->path, &options, out);
}

static struct fl_modelfs *
attach_as_host(struct fixture *fixture)
{
    struct fl_modelfs *fs = NULL;

    if (attach(fixture, FL_MODELFS_HOST | FL_MODELFS_FORMAT, &fs) != FL_OK) {
        die("%s", fl_last_error());
    }
    return fs;
}

static void
options_that_are_wrong_are_refused(void **state)
{
    struct fixture *fixture = *state;
    struct fl_modelfs_options options = {.struct_bytes = 1};
    struct fl_modelfs *fs;

    assert_int_equal(fl_modelfs_attach(fixture->path, &options, &fs), FL_INVALID);
    assert_int_equal(attach(fixture, 64, &fs), FL_INVALID);
    fl_modelfs_options_init(&options);
    options.flags = FL_MODELFS_HOST | FL_MODELFS_FORMAT;
    options.block_bytes = 5000;
    assert_int_equal(fl_modelfs_attach(fixture->path, &options, &fs), FL_INVALID);
    options.block_bytes = BLOCK;
    options.size_bytes = BLOCK;
    assert_int_not_equal(fl_modelfs_attach(fixture->path, &options, &fs), FL_OK);
    assert_int_not_equal(access(fixture->path, F_OK), 0); /* and nothing half made is left */
}

static void
names_and_ranges_that_are_wrong_are_refused(void **state)
{
    struct fl_modelfs *fs = attach_as_host(*state);
    struct fl_modelfs_map *map;
    void *address;
    char name[400];
    uint64_t size;
    size_t done;

    memset(name, 'n', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    assert_int_equal(fl_modelfs_create(fs, name), FL_INVALID);
    assert_int_equal(fl_modelfs_create(fs, ""), FL_INVALID);
    assert_int_equal(fl_modelfs_create(fs, ".."), FL_INVALID);
    assert_int_equal(fl_modelfs_rename(fs, "", "x"), FL_INVALID);
    assert_int_equal(fl_modelfs_create(fs, "f"), FL_OK);
    assert_int_equal(fl_modelfs_create(fs, "f"), FL_EXISTS);
    assert_int_equal(fl_modelfs_size(fs, "g", &size, NULL), FL_NOT_FOUND);
    assert_int_equal(fl_modelfs_read(fs, "f", UINT64_MAX, name, 8, &done), FL_INVALID);
    assert_int_equal(fl_modelfs_punch(fs, "f", UINT64_MAX - 8, 16), FL_INVALID);
    assert_int_equal(fl_modelfs_mmap(fs, "f", 1, BLOCK, FL_MODELFS_NOSYNC, &map, &address),
                     FL_INVALID);
    assert_int_equal(fl_modelfs_mmap(fs, "f", 0, 100, FL_MODELFS_NOSYNC, &map, &address),
                     FL_INVALID);
    assert_int_equal(fl_modelfs_mmap(fs, "f", 0, 0, FL_MODELFS_NOSYNC, &map, &address), FL_INVALID);
    assert_int_equal(fl_modelfs_mmap(fs, "f", 0, BLOCK, (enum fl_modelfs_kind)3, &map, &address),
                     FL_INVALID);
    assert_int_equal(fl_modelfs_mmap(fs, "g", 0, BLOCK, FL_MODELFS_NOSYNC, &map, &address),
                     FL_NOT_FOUND);
    assert_int_equal(fl_modelfs_read(fs, "f", 0, name, 8, &done), FL_OK);
    assert_int_equal(done, 0);
    fl_modelfs_detach(fs);
}

static void
long_reads_and_writes_go_in_pieces(void **state)
{
    struct fl_modelfs *fs = attach_as_host(*state);
    const size_t size = 300001;
    uint8_t *bytes = malloc(size);
    uint8_t *back = calloc(1, size + 10);
    size_t done;

    assert_true(bytes != NULL && back != NULL);
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(i * 7 + i / 251);
    }
    assert_int_equal(fl_modelfs_create(fs, "f"), FL_OK);
    assert_int_equal(fl_modelfs_write(fs, "f", 77, bytes, size, &done), FL_OK);
    assert_int_equal(done, size);
    assert_int_equal(fl_modelfs_read(fs, "f", 77, back, size + 10, &done), FL_OK);
    assert_int_equal(done, size);
    assert_memory_equal(bytes, back, size);
    free(bytes);
    free(back);
    fl_modelfs_detach(fs);
}

static unsigned
open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned count = 0;

    assert_non_null(dir);
    while (readdir(dir) != NULL) {
        count++;
    }
    (void)closedir(dir);
    return count;
}

static void
attaching_without_memory_gives_everything_back(void **state)
{
    struct fixture *fixture = *state;
    struct fl_modelfs *fs = attach_as_host(fixture);
    bool whole = false;

    fl_modelfs_detach(fs);
    const unsigned before = open_descriptors();
    unsigned long n = 1;
    for (; n < FAILURES_MAX && !whole; n++) {
        (void)mem_fail_from(n);
        const fl_status status = attach(fixture, FL_MODELFS_HOST, &fs);
        const unsigned long left = mem_fail_from(0);
        whole = status == FL_OK && left > 0;
        if (status == FL_OK) {
            fl_modelfs_detach(fs);
        } else {
            assert_int_equal(status, FL_NO_MEMORY);
        }
        assert_int_equal(open_descriptors(), before);
    }
    assert_true(whole && n > 3);
}

static void
mapping_without_memory_gives_everything_back(void **state)
{
    struct fl_modelfs *fs = attach_as_host(*state);
    struct fl_modelfs_map *map;
    void *address;
    bool whole = false;

    assert_int_equal(fl_modelfs_create(fs, "f"), FL_OK);
    assert_int_equal(fl_modelfs_truncate(fs, "f", BLOCK), FL_OK);
    const unsigned before = open_descriptors();
    for (unsigned long n = 1; n < FAILURES_MAX && !whole; n++) {
        (void)mem_fail_from(n);
        const fl_status status =
            fl_modelfs_mmap(fs, "f", 0, BLOCK, FL_MODELFS_NOSYNC, &map, &address);
        whole = mem_fail_from(0) > 0 && status == FL_OK;
        if (status == FL_OK) {
            fl_modelfs_unmap(map);
        } else {
            assert_int_equal(status, FL_NO_MEMORY);
        }
        assert_int_equal(open_descriptors(), before);
    }
    assert_true(whole);
    fl_modelfs_detach(fs);
}

static void
several_attachments_of_one_process_share_files(void **state)
{
    struct fixture *fixture = *state;
    struct fl_modelfs *first = attach_as_host(fixture);
    struct fl_modelfs *second;
    struct fl_modelfs_map *maps[2];
    void *addresses[2];
    uint64_t value;

    assert_int_equal(attach(fixture, 0, &second), FL_OK);
    assert_int_equal(fl_modelfs_create(first, "f"), FL_OK);
    assert_int_equal(fl_modelfs_truncate(second, "f", 2 * BLOCK), FL_OK);
    assert_int_equal(
        fl_modelfs_mmap(first, "f", 0, 2 * BLOCK, FL_MODELFS_NOSYNC, &maps[0], &addresses[0]),
        FL_OK);
    assert_int_equal(
        fl_modelfs_mmap(second, "f", BLOCK, BLOCK, FL_MODELFS_PLAIN, &maps[1], &addresses[1]),
        FL_OK);
    assert_true(try_store((uint8_t *)addresses[0] + BLOCK + 8, 5));
    assert_true(try_load((uint8_t *)addresses[1] + 8, &value));
    assert_int_equal(value, 5);
    assert_int_equal(fl_modelfs_unlink(second, "f"), FL_BUSY);
    /* The host goes with the attachment that brought it; the other learns so. */
    fl_modelfs_detach(first);
    for (unsigned i = 0; i < 5000 && try_load((uint8_t *)addresses[1] + 8, &value); i++) {
        (void)usleep(1000);
    }
    assert_false(try_load((uint8_t *)addresses[1] + 8, &value));
    assert_int_equal(fl_modelfs_create(second, "g"), FL_CLOSED);
    fl_modelfs_flush(maps[1], addresses[1], 0);
    fl_modelfs_fence(second);
    fl_modelfs_detach(second); /* with its mapping */
    second = attach_as_host(fixture);
    assert_int_equal(fl_modelfs_size(second, "f", &value, NULL), FL_OK);
    assert_int_equal(value, 2 * BLOCK);
    fl_modelfs_detach(second);
}

/* Committed when the host ends in good order, without an fsync. */
static void
device_is_committed_when_its_host_detaches(void **state)
{
    struct fixture *fixture = *state;
    struct fl_modelfs *fs = attach_as_host(fixture);
    struct fl_modelfs_map *map;
    uint64_t value = 0;
    void *address;
    size_t done;

    for (uint64_t round = 1; round <= 10; round++) {
        if (round == 1) {
            assert_int_equal(fl_modelfs_create(fs, "f"), FL_OK);
            assert_int_equal(fl_modelfs_truncate(fs, "f", BLOCK), FL_OK);
        }
        assert_int_equal(fl_modelfs_mmap(fs, "f", 0, BLOCK, FL_MODELFS_PLAIN, &map, &address),
                         FL_OK);
        assert_true(try_store(address, round));
        fl_modelfs_detach(fs);
        fs = attach_as_host(fixture);
        assert_int_equal(fl_modelfs_read(fs, "f", 0, &value, sizeof(value), &done), FL_OK);
        assert_int_equal(value, round);
    }
    fl_modelfs_detach(fs);
}

static void
path_too_long_for_a_socket_works(void **state)
{
    struct fixture *fixture = *state;
    char name[120];

    memset(name, 'd', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    (void)tmpdir_join(&fixture->dir, name, fixture->path);
    struct fl_modelfs *first = attach_as_host(fixture);
    struct fl_modelfs *second;
    assert_int_equal(attach(fixture, 0, &second), FL_OK);
    assert_int_equal(fl_modelfs_create(second, "f"), FL_OK);
    fl_modelfs_detach(second);
    fl_modelfs_detach(first);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(options_that_are_wrong_are_refused),
        T(names_and_ranges_that_are_wrong_are_refused),
        T(long_reads_and_writes_go_in_pieces),
        T(attaching_without_memory_gives_everything_back),
        T(mapping_without_memory_gives_everything_back),
        T(several_attachments_of_one_process_share_files),
        T(device_is_committed_when_its_host_detaches),
        T(path_too_long_for_a_socket_works),
#undef T
    };

    peer_main(argc, argv);
    skip_without_userfaultfd();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
