/* Goal:   kind page survives what system calls may do: interrupted and short writes are carried on with, an error
 *         of a write or sync is final for the whole mapping, an error before anything was promised is
 *         not. And the direct kinds' put path makes no system call at all.
 * Method: the linker puts this file's pwritev2(), fdatasync(), fsync() and msync() before the real ones
 *         (--wrap); they count, and fail, stop short or get interrupted on plan.
 */
#include "place.h"
#include "tests/lib/die.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <sys/uio.h>
#include <unistd.h>

ssize_t __real_pwritev2(int fd, const struct iovec *vec, int vec_count, off_t off, int flags);
int __real_fdatasync(int fd);
int __real_fsync(int fd);
int __real_msync(void *addr, size_t len, int flags);
int __real_fallocate(int fd, int mode, off_t off, off_t len);
ssize_t __wrap_pwritev2(int fd, const struct iovec *vec, int vec_count, off_t off, int flags);
int __wrap_fdatasync(int fd);
int __wrap_fsync(int fd);
int __wrap_msync(void *addr, size_t len, int flags);
int __wrap_fallocate(int fd, int mode, off_t off, off_t len);

/* What the next calls do; reset by setup(). */
static struct {
    unsigned writes, writes_dsync, datasyncs, syncs, msyncs;
    unsigned interrupt_writes; /* so many calls end with EINTR first */
    size_t short_bytes;        /* no write takes more; 0: as it likes */
    unsigned fail_write_at;    /* the N-th from now fails with `error` */
    unsigned fail_datasync_at;
    unsigned fail_sync_at;
    unsigned interrupt_fallocates;
    int fallocate_error; /* each fails with it; 0: none */
    int error;
} plan;

static bool
due(unsigned *countdown)
{
    if (*countdown == 0 || --*countdown > 0) {
        return false;
    }
    errno = plan.error;
    return true;
}

ssize_t
__wrap_pwritev2(int fd, const struct iovec *vec, int vec_count, off_t off, int flags)
{
    if (plan.interrupt_writes > 0) {
        plan.interrupt_writes--;
        errno = EINTR;
        return -1;
    }
    if (due(&plan.fail_write_at)) {
        return -1;
    }
    plan.writes++;
    plan.writes_dsync += (flags & RWF_DSYNC) != 0;
    if (plan.short_bytes > 0 && vec[0].iov_len > plan.short_bytes) {
        const struct iovec part = {vec[0].iov_base, plan.short_bytes};

        return __real_pwritev2(fd, &part, 1, off, flags);
    }
    if (plan.short_bytes > 0) {
        return __real_pwritev2(fd, vec, 1, off, flags);
    }
    return __real_pwritev2(fd, vec, vec_count, off, flags);
}

int
__wrap_fdatasync(int fd)
{
    plan.datasyncs++;
    return due(&plan.fail_datasync_at) ? -1 : __real_fdatasync(fd);
}

int
__wrap_fsync(int fd)
{
    plan.syncs++;
    return due(&plan.fail_sync_at) ? -1 : __real_fsync(fd);
}

int
__wrap_msync(void *addr, size_t len, int flags)
{
    plan.msyncs++;
    return __real_msync(addr, len, flags);
}

int
__wrap_fallocate(int fd, int mode, off_t off, off_t len)
{
    if (plan.interrupt_fallocates > 0) {
        plan.interrupt_fallocates--;
        errno = EINTR;
        return -1;
    }
    if (plan.fallocate_error != 0) {
        errno = plan.fallocate_error;
        return -1;
    }
    return __real_fallocate(fd, mode, off, len);
}

struct fixture {
    struct tmpdir dir;
    char path[TMPDIR_PATH_BYTES];
    struct nosync_request request;
    struct nosync_map *map;
    struct pm pm;
};

static int
setup_kind(void **state, enum fl_mapping mapping)
{
    struct fixture *f = calloc(1, sizeof(*f));

    memset(&plan, 0, sizeof(plan));
    tmpdir_create(&f->dir);
    f->request = place_request(tmpdir_join(&f->dir, "heap", f->path), mapping, 16 * PLACE_BLOCK);
    f->map = place_open(&f->request);
    if (nosync_fault_in(f->map, 0, PLACE_BLOCK) != FL_OK) {
        die("fault_in: %s", fl_last_error());
    }
    pm_init(&f->pm, &f->map->media);
    memset(&plan, 0, sizeof(plan));
    *state = f;
    return 0;
}

static int
setup(void **state)
{
    return setup_kind(state, FL_MAPPING_PAGE);
}

static int
setup_volatile(void **state)
{
    return setup_kind(state, FL_MAPPING_VOLATILE);
}

static int
teardown(void **state)
{
    struct fixture *f = *state;

    memset(&plan, 0, sizeof(plan));
    nosync_close(f->map);
    tmpdir_destroy(&f->dir);
    free(f);
    return 0;
}

static void
commit_of_one_run_is_one_synchronous_write(void **state)
{
    struct fixture *f = *state;

    pm_write_nofence(&f->pm, 0, "head", 4);
    pm_write_nofence(&f->pm, 4, "body", 4); /* another place in memory, the next in the file */
    assert_int_equal(pm_drain(&f->pm), FL_OK);
    assert_int_equal(plan.writes, 1);
    assert_int_equal(plan.writes_dsync, 1);
    assert_int_equal(plan.datasyncs, 0);
    assert_memory_equal(f->map->media.base, "headbody", 8);
}

static void
commit_of_several_runs_is_one_fdatasync(void **state)
{
    struct fixture *f = *state;

    pm_write_nofence(&f->pm, 8192, "one", 3);
    pm_write_nofence(&f->pm, 0, "two", 3);
    pm_store_u64_nofence(&f->pm, 4096, 3);
    assert_int_equal(pm_drain(&f->pm), FL_OK);
    assert_int_equal(plan.writes, 3);
    assert_int_equal(plan.writes_dsync, 0);
    assert_int_equal(plan.datasyncs, 1);
}

static void
drain_all_covers_what_was_written_through(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(pm_write_through_nofence(&f->pm, 4096, "blob", 4), FL_OK);
    assert_int_equal(plan.writes_dsync + plan.datasyncs, 0);
    pm_write_nofence(&f->pm, 0, "ref", 3);
    assert_int_equal(pm_drain(&f->pm), FL_OK);
    assert_int_equal(plan.writes_dsync, 0);
    assert_int_equal(plan.datasyncs, 1);
}

static void
interrupted_and_short_writes_are_carried_on(void **state)
{
    struct fixture *f = *state;
    uint8_t src[5000];

    for (size_t i = 0; i < sizeof(src); i++) {
        src[i] = (uint8_t)(i * 7);
    }
    plan.interrupt_writes = 3;
    plan.short_bytes = 999;
    pm_write_nofence(&f->pm, 100, src, 2500);
    pm_write_nofence(&f->pm, 2600, src + 2500, 2500);
    pm_write_nofence(&f->pm, 9000, src, sizeof(src));
    assert_int_equal(pm_drain(&f->pm), FL_OK);
    assert_memory_equal(f->map->media.base + 100, src, sizeof(src));
    assert_memory_equal(f->map->media.base + 9000, src, sizeof(src));
    assert_int_equal(plan.interrupt_writes, 0);
    assert_int_equal(plan.datasyncs, 1);

    plan.interrupt_writes = 2;
    plan.interrupt_fallocates = 2;
    assert_int_equal(nosync_fault_in(f->map, PLACE_BLOCK, PLACE_BLOCK), FL_OK);
    assert_int_equal(nosync_size_bytes(f->map), 2 * PLACE_BLOCK);
}

static void
assert_everything_fails(struct fixture *f)
{
    struct pm other;

    pm_init(&other, &f->map->media);
    pm_write_nofence(&other, 0, "x", 1);
    assert_int_equal(pm_drain(&other), FL_IO);
    assert_int_equal(pm_write_through_nofence(&other, 0, "x", 1), FL_IO);
    assert_int_equal(pm_drain_all(&other), FL_IO);
    assert_int_equal(nosync_fault_in(f->map, PLACE_BLOCK, PLACE_BLOCK), FL_IO);
    assert_int_equal(nosync_punch(f->map, 0, 4096), FL_IO);
    assert_int_equal(nosync_sync_file(f->map), FL_IO);
    assert_non_null(strstr(fl_last_error(), f->path));
}

static void
failed_synchronous_write_is_final_for_the_mapping(void **state)
{
    struct fixture *f = *state;

    plan.fail_write_at = 1;
    plan.error = EIO;
    pm_write_nofence(&f->pm, 0, "x", 1);
    assert_int_equal(pm_drain(&f->pm), FL_IO);
    assert_non_null(strstr(fl_last_error(), "unknown"));
    memset(&plan, 0, sizeof(plan));
    assert_everything_fails(f);
    assert_int_equal(plan.writes + plan.datasyncs + plan.syncs, 0);
}

static void
failed_fdatasync_is_final_for_the_mapping(void **state)
{
    struct fixture *f = *state;

    plan.fail_datasync_at = 1;
    plan.error = EIO;
    assert_int_equal(pm_drain_all(&f->pm), FL_IO);
    memset(&plan, 0, sizeof(plan));
    assert_everything_fails(f);
    assert_int_equal(plan.writes + plan.datasyncs + plan.syncs, 0);
}

static void
failed_fsync_is_final_for_the_mapping(void **state)
{
    struct fixture *f = *state;

    plan.fail_sync_at = 1;
    plan.error = EIO;
    assert_int_equal(nosync_sync_file(f->map), FL_IO);
    assert_everything_fails(f);
}

static void
failed_sync_of_a_growth_is_final_too(void **state)
{
    struct fixture *f = *state;

    /* The error may be about bytes that a commit had written: it is reported only once. */
    plan.fail_datasync_at = 1;
    plan.error = EIO;
    assert_int_equal(nosync_fault_in(f->map, PLACE_BLOCK, PLACE_BLOCK), FL_IO);
    assert_everything_fails(f);
}

static void
full_disk_in_a_commit_is_final(void **state)
{
    struct fixture *f = *state;

    plan.fail_write_at = 1;
    plan.error = ENOSPC;
    pm_write_nofence(&f->pm, 0, "x", 1);
    assert_int_equal(pm_drain(&f->pm), FL_IO);
    assert_everything_fails(f);
}

static void
full_disk_in_a_growth_leaves_the_file_as_it_was(void **state)
{
    struct fixture *f = *state;
    const uint64_t size_bytes = nosync_size_bytes(f->map);
    const uint64_t file_bytes = nosync_file_bytes(f->map);

    plan.error = ENOSPC;
    plan.fallocate_error = ENOSPC;
    assert_int_equal(nosync_fault_in(f->map, PLACE_BLOCK, PLACE_BLOCK), FL_NO_SPACE);
    plan.fallocate_error = 0;
    plan.short_bytes = 5000;
    plan.fail_write_at = 3; /* some of the zeros are written already */
    assert_int_equal(nosync_fault_in(f->map, PLACE_BLOCK, PLACE_BLOCK), FL_NO_SPACE);
    assert_int_equal(nosync_size_bytes(f->map), size_bytes);
    assert_int_equal(nosync_file_bytes(f->map), file_bytes);

    pm_write_nofence(&f->pm, 0, "goes on", 7);
    assert_int_equal(pm_drain(&f->pm), FL_OK);
    assert_int_equal(nosync_fault_in(f->map, PLACE_BLOCK, PLACE_BLOCK), FL_OK);
}

static void
filesystem_without_fallocate_is_written_to(void **state)
{
    struct fixture *f = *state;

    plan.fallocate_error = EOPNOTSUPP;
    assert_int_equal(nosync_fault_in(f->map, PLACE_BLOCK, PLACE_BLOCK), FL_OK);
    assert_int_equal(nosync_size_bytes(f->map), 2 * PLACE_BLOCK);
    pm_write_nofence(&f->pm, PLACE_BLOCK, "old", 3);
    assert_int_equal(pm_drain(&f->pm), FL_OK);
    assert_int_equal(nosync_punch(f->map, PLACE_BLOCK, PLACE_BLOCK), FL_NOT_SUPPORTED);
    assert_memory_equal(f->map->media.base + PLACE_BLOCK, "\0\0\0", 3);
    assert_int_equal(nosync_size_bytes(f->map), 2 * PLACE_BLOCK);
}

static void
volatile_without_fallocate_is_faulted(void **state)
{
    struct fixture *f = *state;

    plan.fallocate_error = EOPNOTSUPP;
    assert_int_equal(nosync_fault_in(f->map, PLACE_BLOCK, PLACE_BLOCK), FL_OK);
    assert_int_equal(nosync_size_bytes(f->map), 2 * PLACE_BLOCK);
    pm_write_nofence(&f->pm, PLACE_BLOCK, "old", 3);
    assert_int_equal(pm_drain(&f->pm), FL_OK);
    assert_int_equal(nosync_punch(f->map, PLACE_BLOCK, PLACE_BLOCK), FL_NOT_SUPPORTED);
    assert_memory_equal(f->map->media.base + PLACE_BLOCK, "\0\0\0", 3);
}

static void
volatile_put_path_makes_no_sync_call(void **state)
{
    struct fixture *f = *state;
    uint8_t record[128] = {1};

    for (uint64_t off = 0; off < PLACE_BLOCK; off += sizeof(record)) {
        pm_write_nofence(&f->pm, off, record, sizeof(record));
        assert_int_equal(pm_drain(&f->pm), FL_OK);
    }
    assert_int_equal(nosync_fault_in(f->map, PLACE_BLOCK, PLACE_BLOCK), FL_OK);
    assert_int_equal(plan.writes + plan.datasyncs + plan.syncs + plan.msyncs, 0);
    assert_int_equal(atomic_load(&f->pm.counts.fences), PLACE_BLOCK / sizeof(record));
}

static void
creation_syncs_file_and_directory(void **state)
{
    struct fixture *f = *state;
    struct nosync_request request = f->request;
    char path[TMPDIR_PATH_BYTES];
    struct nosync_map *map = NULL;

    request.path = tmpdir_join(&f->dir, "second", path);
    nosync_close(place_open(&request));
    assert_int_equal(plan.syncs, 2);
    nosync_close(place_open(&request));
    assert_int_equal(plan.syncs, 2);

    request.path = tmpdir_join(&f->dir, "third", path);
    plan.fail_sync_at = 2;
    plan.error = EIO;
    assert_int_equal(nosync_open(&request, &map), FL_IO);
    assert_int_equal(access(path, F_OK), -1);
}

int
main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(commit_of_one_run_is_one_synchronous_write),
        CASE(commit_of_several_runs_is_one_fdatasync),
        CASE(drain_all_covers_what_was_written_through),
        CASE(interrupted_and_short_writes_are_carried_on),
        CASE(failed_synchronous_write_is_final_for_the_mapping),
        CASE(failed_fdatasync_is_final_for_the_mapping),
        CASE(failed_fsync_is_final_for_the_mapping),
        CASE(failed_sync_of_a_growth_is_final_too),
        CASE(full_disk_in_a_commit_is_final),
        CASE(full_disk_in_a_growth_leaves_the_file_as_it_was),
        CASE(filesystem_without_fallocate_is_written_to),
        CASE(creation_syncs_file_and_directory),
        cmocka_unit_test_setup_teardown(volatile_without_fallocate_is_faulted, setup_volatile,
                                        teardown),
        cmocka_unit_test_setup_teardown(volatile_put_path_makes_no_sync_call, setup_volatile,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
