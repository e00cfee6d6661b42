/* Goal:   a program that maps a file of a model device sees what the contract promises, through real loads and
 *         stores: no-sync data survives a power cut by flush and fence alone, what the filesystem takes back is gone,
 *         and an access that can't be served raises SIGBUS instead of going somewhere.
 * Method: one process hosts the device and is its client; each rule is acted out, the power is cut, and the device is
 *         opened again. */
#include "tests/integration/modelfs/peer.h"
#include "tests/lib/die.h"
#include "tests/lib/tmpdir.h"

#include "storage/modelfs/uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { BLOCK = 4096, DEVICE = 8 << 20, THREADS = 8 };

struct fixture {
    struct tmpdir dir;
    char path[TMPDIR_PATH_BYTES];
    struct fl_modelfs *fs;
    struct fl_modelfs_map *map;
    uint8_t *ptr;
};

static void
attach_sized(struct fixture *fixture, uint64_t size, uint32_t block)
{
    struct fl_modelfs_options options;

    fl_modelfs_options_init(&options);
    options.flags = FL_MODELFS_HOST | FL_MODELFS_FORMAT;
    options.size_bytes = size;
    options.block_bytes = block;
    const fl_status status = fl_modelfs_attach(fixture->path, &options, &fixture->fs);
    if (status != FL_OK) {
        die("attach: %s", fl_last_error());
    }
}

static int
setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    if (fixture == NULL) {
        return -1;
    }
    tmpdir_create(&fixture->dir);
    (void)tmpdir_join(&fixture->dir, "device", fixture->path);
    attach_sized(fixture, DEVICE, BLOCK);
    assert_int_equal(fl_modelfs_create(fixture->fs, "f"), FL_OK);
    *state = fixture;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *fixture = *state;

    if (fixture->fs != NULL) {
        fl_modelfs_detach(fixture->fs);
    }
    tmpdir_destroy(&fixture->dir);
    free(fixture);
    return 0;
}

static void
grow_and_map(struct fixture *fixture, uint64_t size, uint64_t mapped, enum fl_modelfs_kind kind)
{
    void *address;

    assert_int_equal(fl_modelfs_truncate(fixture->fs, "f", size), FL_OK);
    assert_int_equal(fl_modelfs_mmap(fixture->fs, "f", 0, mapped, kind, &fixture->map, &address),
                     FL_OK);
    fixture->ptr = address;
}

static void
cut_and_reattach(struct fixture *fixture, uint64_t seed)
{
    assert_int_equal(fl_modelfs_powercut(fixture->fs, seed), FL_OK);
    fl_modelfs_detach(fixture->fs);
    fixture->fs = NULL;
    fixture->map = NULL;
    attach_sized(fixture, DEVICE, BLOCK);
}

static uint64_t
read_u64(struct fixture *fixture, uint64_t off)
{
    uint64_t value = 0;
    size_t done = 0;

    assert_int_equal(fl_modelfs_read(fixture->fs, "f", off, &value, sizeof(value), &done), FL_OK);
    assert_int_equal(done, sizeof(value));
    return value;
}

static void
write_u64(struct fixture *fixture, uint64_t off, uint64_t value)
{
    size_t done = 0;

    assert_int_equal(fl_modelfs_write(fixture->fs, "f", off, &value, sizeof(value), &done), FL_OK);
    assert_int_equal(done, sizeof(value));
}

static struct fl_modelfs_figures
figures(struct fixture *fixture)
{
    struct fl_modelfs_figures out = {.struct_bytes = sizeof(out)};

    assert_int_equal(fl_modelfs_figures(fixture->fs, &out), FL_OK);
    return out;
}

static void
put(struct fixture *fixture, uint64_t off, uint64_t value)
{
    assert_true(try_store(fixture->ptr + off, value));
    fl_modelfs_flush(fixture->map, fixture->ptr + off, sizeof(value));
    fl_modelfs_fence(fixture->fs);
}

static uint64_t
get(struct fixture *fixture, uint64_t off)
{
    uint64_t value = 0;

    assert_true(try_load(fixture->ptr + off, &value));
    return value;
}

/* ---- C1 to C5 ---- */

static void
store_to_hole_commits_once_and_survives_power_cut(void **state)
{
    struct fixture *fixture = *state;

    grow_and_map(fixture, 16 * BLOCK, 16 * BLOCK, FL_MODELFS_NOSYNC);
    const uint64_t before = figures(fixture).commits;
    put(fixture, 3 * BLOCK + 8, 77);
    assert_int_equal(figures(fixture).commits, before + 1);
    put(fixture, 3 * BLOCK + 64, 78);
    assert_int_equal(figures(fixture).commits, before + 1);
    cut_and_reattach(fixture, 0);
    assert_int_equal(read_u64(fixture, 3 * BLOCK + 8), 77);
    assert_int_equal(read_u64(fixture, 3 * BLOCK + 64), 78);
}

static void
store_without_flush_is_lost_by_power_cut(void **state)
{
    struct fixture *fixture = *state;

    grow_and_map(fixture, BLOCK, BLOCK, FL_MODELFS_NOSYNC);
    put(fixture, 0, 1);
    assert_true(try_store(fixture->ptr + 128, 2));
    fl_modelfs_flush(fixture->map, fixture->ptr + 128, 8); /* and no fence */
    cut_and_reattach(fixture, 0);
    assert_int_equal(read_u64(fixture, 0), 1);
    assert_int_equal(read_u64(fixture, 128), 0);
}

static void
plain_mapping_loses_the_block_that_was_linked(void **state)
{
    struct fixture *fixture = *state;

    grow_and_map(fixture, 2 * BLOCK, 2 * BLOCK, FL_MODELFS_PLAIN);
    put(fixture, 0, 1);
    assert_int_equal(fl_modelfs_fsync(fixture->fs, "f"), FL_OK);
    put(fixture, BLOCK, 1234); /* a new block: only in the running transaction */
    put(fixture, 0, BLOCK);    /* the link to it: durable */
    cut_and_reattach(fixture, 0);
    assert_int_equal(read_u64(fixture, 0), BLOCK);
    assert_int_equal(read_u64(fixture, BLOCK), 0);
}

static void
load_from_hole_reads_zeros_without_commit_or_block(void **state)
{
    struct fixture *fixture = *state;

    grow_and_map(fixture, 16 * BLOCK, 16 * BLOCK, FL_MODELFS_NOSYNC);
    const struct fl_modelfs_figures before = figures(fixture);
    for (uint64_t off = 0; off < 16 * BLOCK; off += BLOCK) {
        assert_int_equal(get(fixture, off), 0);
    }
    const struct fl_modelfs_figures after = figures(fixture);
    assert_int_equal(after.commits, before.commits);
    assert_int_equal(after.blocks_free, before.blocks_free);
    assert_int_equal(after.faults_read, before.faults_read + 16);
    put(fixture, 5 * BLOCK, 9); /* zeros give way to the block */
    assert_int_equal(get(fixture, 5 * BLOCK), 9);
    assert_int_equal(get(fixture, 6 * BLOCK), 0);
}

static void
load_from_block_commits_nothing_and_store_after_it_faults(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(fl_modelfs_truncate(fixture->fs, "f", BLOCK), FL_OK);
    write_u64(fixture, 16, 5); /* in the running transaction */
    grow_and_map(fixture, BLOCK, BLOCK, FL_MODELFS_NOSYNC);
    const uint64_t before = figures(fixture).commits;
    assert_int_equal(get(fixture, 16), 5);
    assert_int_equal(figures(fixture).commits, before);
    put(fixture, 16, 6);
    const struct fl_modelfs_figures after = figures(fixture);
    assert_int_equal(after.commits, before + 1);
    assert_int_equal(after.faults_protected, 1);
}

static void
store_to_preallocated_block_survives_power_cut(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(fl_modelfs_allocate(fixture->fs, "f", 0, 4 * BLOCK, false), FL_OK);
    grow_and_map(fixture, 4 * BLOCK, 4 * BLOCK, FL_MODELFS_NOSYNC);
    assert_int_equal(get(fixture, BLOCK), 0);
    put(fixture, BLOCK, 11);
    cut_and_reattach(fixture, 0);
    assert_int_equal(read_u64(fixture, BLOCK), 11);
}

/* ---- C6, C7, C9, C12: calls beside mappings ---- */

static void
buffered_read_and_write_agree_with_mapping(void **state)
{
    struct fixture *fixture = *state;

    grow_and_map(fixture, 4 * BLOCK, 4 * BLOCK, FL_MODELFS_NOSYNC);
    for (uint64_t round = 1; round <= 50; round++) {
        assert_true(try_store(fixture->ptr + BLOCK, round)); /* not flushed */
        assert_int_equal(read_u64(fixture, BLOCK), round);
        write_u64(fixture, BLOCK + 8, round * 2);
        assert_int_equal(get(fixture, BLOCK + 8), round * 2);
        assert_int_equal(get(fixture, BLOCK), round);
    }
    cut_and_reattach(fixture, 0);
    assert_int_equal(read_u64(fixture, BLOCK + 8), 100); /* rule C7: durable on return */
}

static void
punched_block_reads_zeros_and_takes_stores_again(void **state)
{
    struct fixture *fixture = *state;

    grow_and_map(fixture, 4 * BLOCK, 4 * BLOCK, FL_MODELFS_NOSYNC);
    for (uint64_t round = 1; round <= 20; round++) {
        put(fixture, 2 * BLOCK, round);
        assert_int_equal(fl_modelfs_punch(fixture->fs, "f", 2 * BLOCK, BLOCK), FL_OK);
        assert_int_equal(get(fixture, 2 * BLOCK), 0);
        assert_int_equal(get(fixture, 2 * BLOCK + 8), 0);
    }
    put(fixture, 2 * BLOCK, 99);
    cut_and_reattach(fixture, 0);
    assert_int_equal(read_u64(fixture, 2 * BLOCK), 99);
}

static void
collapse_moves_blocks_under_the_mapping(void **state)
{
    struct fixture *fixture = *state;

    grow_and_map(fixture, 8 * BLOCK, 8 * BLOCK, FL_MODELFS_NOSYNC);
    for (uint64_t i = 0; i < 8; i++) {
        put(fixture, i * BLOCK, 100 + i);
    }
    assert_int_equal(fl_modelfs_collapse(fixture->fs, "f", BLOCK, 2 * BLOCK), FL_OK);
    assert_int_equal(get(fixture, 0), 100);
    for (uint64_t i = 1; i < 6; i++) {
        assert_int_equal(get(fixture, i * BLOCK), 102 + i);
    }
    uint64_t value;
    assert_false(try_load(fixture->ptr + 6 * BLOCK, &value)); /* beyond the end now */
    put(fixture, BLOCK, 7);
    cut_and_reattach(fixture, 0);
    assert_int_equal(read_u64(fixture, BLOCK), 7);
    assert_int_equal(read_u64(fixture, 2 * BLOCK), 104);
}

static void
fsync_makes_plain_stores_durable_and_protects_them(void **state)
{
    struct fixture *fixture = *state;

    grow_and_map(fixture, 4 * BLOCK, 4 * BLOCK, FL_MODELFS_PLAIN);
    assert_true(try_store(fixture->ptr, 1));
    assert_int_equal(fl_modelfs_fsync(fixture->fs, "f"), FL_OK);
    assert_true(try_store(fixture->ptr, 2));
    assert_int_equal(figures(fixture).faults_protected, 1);
    cut_and_reattach(fixture, 0);
    assert_int_equal(read_u64(fixture, 0), 1);
}

/* ---- C13: SIGBUS ---- */

static void
access_behind_the_end_raises_sigbus_until_the_file_grows(void **state)
{
    struct fixture *fixture = *state;
    uint64_t value;

    grow_and_map(fixture, BLOCK, 8 * BLOCK, FL_MODELFS_NOSYNC);
    assert_false(try_store(fixture->ptr + 4 * BLOCK, 1));
    assert_false(try_load(fixture->ptr + 4 * BLOCK, &value));
    assert_false(try_load(fixture->ptr + 2 * BLOCK, &value));
    assert_int_equal(fl_modelfs_truncate(fixture->fs, "f", 8 * BLOCK), FL_OK);
    put(fixture, 4 * BLOCK, 3);
    assert_int_equal(get(fixture, 2 * BLOCK), 0);
    assert_int_equal(fl_modelfs_truncate(fixture->fs, "f", BLOCK), FL_OK);
    assert_false(try_load(fixture->ptr + 4 * BLOCK, &value));
}

static void
full_device_raises_sigbus_until_space_is_freed(void **state)
{
    struct fixture *fixture = *state;
    const uint64_t blocks = figures(fixture).blocks;
    size_t done;
    char byte = 1;

    assert_int_equal(fl_modelfs_create(fixture->fs, "ballast"), FL_OK);
    const uint64_t free_before = figures(fixture).blocks_free;
    assert_int_equal(
        fl_modelfs_allocate(fixture->fs, "ballast", 0, (free_before - 2) * BLOCK, false), FL_OK);
    grow_and_map(fixture, blocks * BLOCK, blocks * BLOCK, FL_MODELFS_NOSYNC);
    put(fixture, 0, 1);
    put(fixture, 7 * BLOCK, 2);
    assert_false(try_store(fixture->ptr + 3 * BLOCK, 3));
    assert_int_equal(fl_modelfs_write(fixture->fs, "f", 4 * BLOCK, &byte, 1, &done), FL_NO_SPACE);
    assert_int_equal(fl_modelfs_populate(fixture->map, 0, 8 * BLOCK), FL_NO_SPACE);
    assert_int_equal(get(fixture, 0), 1);
    assert_int_equal(fl_modelfs_punch(fixture->fs, "ballast", 0, BLOCK), FL_OK);
    put(fixture, 3 * BLOCK, 3);
    assert_int_equal(get(fixture, 3 * BLOCK), 3);
    cut_and_reattach(fixture, 0);
    assert_int_equal(read_u64(fixture, 3 * BLOCK), 3);
    assert_int_equal(read_u64(fixture, 7 * BLOCK), 2);
}

static void
populate_leaves_no_fault_to_take(void **state)
{
    struct fixture *fixture = *state;

    grow_and_map(fixture, 256 * BLOCK, 256 * BLOCK, FL_MODELFS_NOSYNC);
    const struct fl_modelfs_figures before = figures(fixture);
    assert_int_equal(fl_modelfs_populate(fixture->map, BLOCK, 200 * BLOCK), FL_OK);
    const struct fl_modelfs_figures filled = figures(fixture);
    assert_true(filled.commits - before.commits <= 2);
    for (uint64_t i = 1; i <= 200; i++) {
        put(fixture, i * BLOCK, i);
    }
    const struct fl_modelfs_figures after = figures(fixture);
    assert_int_equal(after.faults_write, filled.faults_write);
    assert_int_equal(after.commits, filled.commits);
    assert_int_equal(fl_modelfs_populate(fixture->map, 255 * BLOCK, 2 * BLOCK), FL_INVALID);
}

/* ---- threads, children, the kernel as a user of the mapping ---- */

struct toucher {
    struct fixture *fixture;
    pthread_barrier_t *barrier;
    uint64_t index;
};

static void *
touch(void *argument)
{
    struct toucher *toucher = argument;

    for (uint64_t block = 0; block < 32; block++) {
        (void)pthread_barrier_wait(toucher->barrier);
        if ((toucher->index + block) % 3 == 0) {
            uint64_t value;
            if (!try_load(toucher->fixture->ptr + block * BLOCK, &value)) {
                return toucher;
            }
        }
        if (!try_store(toucher->fixture->ptr + block * BLOCK + toucher->index * 64,
                       toucher->index + 1)) {
            return toucher;
        }
    }
    return NULL;
}

static void
threads_racing_for_first_touch_share_one_block(void **state)
{
    struct fixture *fixture = *state;
    pthread_t threads[THREADS];
    struct toucher touchers[THREADS];
    pthread_barrier_t barrier;
    void *failed;

    grow_and_map(fixture, 32 * BLOCK, 32 * BLOCK, FL_MODELFS_NOSYNC);
    const struct fl_modelfs_figures before = figures(fixture);
    (void)pthread_barrier_init(&barrier, NULL, THREADS);
    for (uint64_t i = 0; i < THREADS; i++) {
        touchers[i] = (struct toucher){fixture, &barrier, i};
        assert_int_equal(pthread_create(&threads[i], NULL, touch, &touchers[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    (void)pthread_barrier_destroy(&barrier);
    for (uint64_t block = 0; block < 32; block++) {
        for (uint64_t i = 0; i < THREADS; i++) {
            assert_int_equal(get(fixture, block * BLOCK + i * 64), i + 1);
            assert_int_equal(read_u64(fixture, block * BLOCK + i * 64), i + 1);
        }
    }
    const struct fl_modelfs_figures after = figures(fixture);
    assert_int_equal(before.blocks_free - after.blocks_free, 32);
    assert_true(after.commits - before.commits <= 32);
}

static void
forked_child_has_no_access_and_no_calls(void **state)
{
    struct fixture *fixture = *state;
    int status = 0;

    grow_and_map(fixture, 4 * BLOCK, 4 * BLOCK, FL_MODELFS_NOSYNC);
    put(fixture, 0, 1);
    const pid_t caller = fork();
    if (caller == 0) {
        _exit(fl_modelfs_create(fixture->fs, "x") == FL_INVALID ? 0 : 1);
    }
    assert_int_equal(waitpid(caller, &status, 0), caller);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    const pid_t toucher = fork();
    if (toucher == 0) {
        (void)signal(SIGSEGV, SIG_DFL); /* a sanitizer's handler would exit */
        *(volatile uint64_t *)(void *)fixture->ptr = 2;
        _exit(0);
    }
    assert_int_equal(waitpid(toucher, &status, 0), toucher);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    assert_int_equal(get(fixture, 0), 1);
    put(fixture, BLOCK, 2);
}

static void
kernel_reads_into_mapping_and_out_of_it(void **state)
{
    struct fixture *fixture = *state;
    char path[TMPDIR_PATH_BYTES];
    uint64_t values[2] = {31, 32};

    unsigned lacks = 0;
    int uffd = -1;
    assert_int_equal(uffd_open(&uffd, &lacks), FL_OK);
    (void)close(uffd);
    if ((lacks & UFFD_LACKS_KERNEL_ACCESS) != 0) {
        print_message("only this process's own instructions may fault: not tried\n");
        skip();
    }
    const int fd = open(tmpdir_join(&fixture->dir, "plain", path), O_RDWR | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, values, sizeof(values), 0), sizeof(values));
    grow_and_map(fixture, 8 * BLOCK, 8 * BLOCK, FL_MODELFS_NOSYNC);
    assert_int_equal(pread(fd, fixture->ptr + 2 * BLOCK - 8, sizeof(values), 0), sizeof(values));
    assert_int_equal(get(fixture, 2 * BLOCK - 8), 31);
    assert_int_equal(get(fixture, 2 * BLOCK), 32);
    assert_int_equal(pwrite(fd, fixture->ptr + 4 * BLOCK - 8, sizeof(values), 0), sizeof(values));
    assert_int_equal(pread(fd, values, sizeof(values), 0), sizeof(values));
    assert_int_equal(values[0] + values[1], 0);
    /* Through the library, from and to the very blocks. */
    size_t done;
    assert_int_equal(fl_modelfs_write(fixture->fs, "f", 6 * BLOCK, fixture->ptr, 2 * BLOCK, &done),
                     FL_OK);
    assert_int_equal(
        fl_modelfs_read(fixture->fs, "f", BLOCK, fixture->ptr + 5 * BLOCK, BLOCK, &done), FL_OK);
    assert_int_equal(get(fixture, 6 * BLOCK - 8), 31);
    (void)close(fd);
}

static void
large_blocks_work_alike(void **state)
{
    struct fixture *fixture = *state;
    const uint32_t block = 2 << 20;

    fl_modelfs_detach(fixture->fs);
    (void)tmpdir_join(&fixture->dir, "large", fixture->path);
    attach_sized(fixture, 64 << 20, block);
    assert_int_equal(fl_modelfs_create(fixture->fs, "f"), FL_OK);
    grow_and_map(fixture, (uint64_t)8 * block, (uint64_t)8 * block, FL_MODELFS_NOSYNC);
    assert_int_equal((uintptr_t)fixture->ptr % block, 0);
    assert_int_equal(get(fixture, (uint64_t)3 * block + 12345 * 8), 0);
    assert_int_equal(get(fixture, (uint64_t)3 * block), 0);
    const uint64_t before = figures(fixture).commits;
    for (uint64_t i = 0; i < 8; i++) {
        put(fixture, i * block + 4096 * i, i + 1);
    }
    assert_int_equal(figures(fixture).commits, before + 8);
    assert_int_equal(fl_modelfs_punch(fixture->fs, "f", (uint64_t)2 * block, block), FL_OK);
    assert_int_equal(get(fixture, (uint64_t)2 * block + 8192), 0);
    assert_int_equal(fl_modelfs_powercut(fixture->fs, 0), FL_OK);
    fl_modelfs_detach(fixture->fs);
    attach_sized(fixture, 64 << 20, block);
    assert_int_equal(read_u64(fixture, (uint64_t)3 * block + 3 * 4096), 4);
    assert_int_equal(read_u64(fixture, (uint64_t)2 * block + 8192), 0);
}

static void
flush_across_blocks_takes_every_line(void **state)
{
    struct fixture *fixture = *state;

    grow_and_map(fixture, 8 * BLOCK, 8 * BLOCK, FL_MODELFS_NOSYNC);
    for (uint64_t off = 0; off < 8 * BLOCK; off += 64) {
        assert_true(try_store(fixture->ptr + off, off + 1));
    }
    fl_modelfs_flush(fixture->map, fixture->ptr + 40, 8 * BLOCK - 80);
    fl_modelfs_fence(fixture->fs);
    cut_and_reattach(fixture, 0);
    for (uint64_t off = 0; off < 8 * BLOCK; off += 64) {
        assert_int_equal(read_u64(fixture, off), off + 1);
    }
}

static void
access_after_power_cut_raises_sigbus_and_calls_are_refused(void **state)
{
    struct fixture *fixture = *state;
    uint64_t value;

    grow_and_map(fixture, 4 * BLOCK, 4 * BLOCK, FL_MODELFS_NOSYNC);
    put(fixture, 0, 1);
    assert_int_equal(fl_modelfs_powercut(fixture->fs, 1), FL_OK);
    assert_false(try_load(fixture->ptr, &value));
    assert_false(try_store(fixture->ptr + BLOCK, 1));
    assert_int_equal(fl_modelfs_create(fixture->fs, "g"), FL_CLOSED);
    assert_int_equal(fl_modelfs_powercut(fixture->fs, 1), FL_CLOSED);
    fl_modelfs_fence(fixture->fs);
    fl_modelfs_unmap(fixture->map);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(store_to_hole_commits_once_and_survives_power_cut),
        T(store_without_flush_is_lost_by_power_cut),
        T(plain_mapping_loses_the_block_that_was_linked),
        T(load_from_hole_reads_zeros_without_commit_or_block),
        T(load_from_block_commits_nothing_and_store_after_it_faults),
        T(store_to_preallocated_block_survives_power_cut),
        T(buffered_read_and_write_agree_with_mapping),
        T(punched_block_reads_zeros_and_takes_stores_again),
        T(collapse_moves_blocks_under_the_mapping),
        T(fsync_makes_plain_stores_durable_and_protects_them),
        T(access_behind_the_end_raises_sigbus_until_the_file_grows),
        T(full_device_raises_sigbus_until_space_is_freed),
        T(populate_leaves_no_fault_to_take),
        T(threads_racing_for_first_touch_share_one_block),
        T(forked_child_has_no_access_and_no_calls),
        T(kernel_reads_into_mapping_and_out_of_it),
        T(large_blocks_work_alike),
        T(flush_across_blocks_takes_every_line),
        T(access_after_power_cut_raises_sigbus_and_calls_are_refused),
#undef T
    };

    peer_main(argc, argv);
    skip_without_userfaultfd();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
