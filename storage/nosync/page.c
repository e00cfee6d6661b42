/* Kind page: an ordinary file. Readers map it; writers go through pwritev2(RWF_DSYNC).
 *
 * Nothing is ever stored through the mapping: a commit then costs no page fault and no msync, and the kernel knows
 * exactly what is dirty. Blocks are zeroed by real writes when they are faulted in, so that a commit overwrites
 * written extents in place and needs no metadata of its own.
 */
#include "storage/nosync/file.h"

#include "base/fail.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

/* A sync that failed may have dropped the pages it failed on: a second try would succeed and lie. */
static fl_status
fail_for_ever(struct nosync_file *file, const char *call)
{
    const int error = errno;

    atomic_store(&file->failed, true);
    errno = error;
    return FL_FAIL_ERRNO(FL_IO, "%s on %s: the outcome is unknown, nothing more is written", call,
                         file->path);
}

static fl_status
check_not_failed(struct nosync_file *file)
{
    if (atomic_load(&file->failed)) {
        return FL_FAIL(FL_IO, "%s: an earlier write or sync failed", file->path);
    }
    return FL_OK;
}

/* Write ranges [first, end) of the table, which follow one another in the file. */
static int
write_run(struct nosync_file *file, const struct pm_range *ranges, size_t first, size_t end,
          int flags)
{
    struct iovec vec[PM_RANGES_MAX];

    for (size_t i = first; i < end; i++) {
        vec[i - first].iov_base = (void *)(uintptr_t)ranges[i].src;
        vec[i - first].iov_len = ranges[i].len;
    }
    return file_write_all(file->fd, vec, (int)(end - first), ranges[first].off, flags);
}

static size_t
run_end(const struct pm_range *ranges, size_t first, size_t count)
{
    size_t end = first + 1;

    while (end < count && ranges[end - 1].off + ranges[end - 1].len == ranges[end].off) {
        end++;
    }
    return end;
}

static fl_status
page_write_durable(void *context, const struct pm_range *ranges, size_t count, bool all)
{
    struct nosync_file *file = context;
    const fl_status status = check_not_failed(file);

    if (status != FL_OK) {
        return status;
    }
    FL_ASSERT(count <= PM_RANGES_MAX);
    if (count == 0 && !all) {
        return FL_OK;
    }
    /* One run: written and synced by one call, which waits for these bytes only. */
    const bool one_run = count > 0 && run_end(ranges, 0, count) == count && !all;

    for (size_t first = 0; first < count;) {
        const size_t end = run_end(ranges, first, count);
        const int error = write_run(file, ranges, first, end, one_run ? RWF_DSYNC : 0);

        if (error != 0) {
            errno = error;
            return fail_for_ever(file, "pwritev2");
        }
        first = end;
    }
    if (!one_run && fdatasync(file->fd) != 0) {
        return fail_for_ever(file, "fdatasync");
    }
    return FL_OK;
}

static fl_status
page_write_through(void *context, uint64_t off, const void *src, size_t len)
{
    struct nosync_file *file = context;
    struct iovec vec = {(void *)(uintptr_t)src, len};
    const fl_status status = check_not_failed(file);

    if (status != FL_OK) {
        return status;
    }
    const int error = file_write_all(file->fd, &vec, 1, off, 0);

    if (error != 0) {
        errno = error;
        return fail_for_ever(file, "pwrite");
    }
    return FL_OK;
}

/* Blocks of zeros, not yet durable. */
static fl_status
allocate(struct nosync_file *file, uint64_t off, uint64_t len)
{
    /* First, so that lack of space shows before anything is written. */
    fl_status status = file_allocate(file, off, len);
    uint64_t end_before = 0;

    if (status == FL_OK || status == FL_NOT_SUPPORTED) {
        status = file_size(file, &end_before);
    }
    if (status != FL_OK) {
        return status;
    }
    const int error = file_write_zeros(file, off, len);

    if (error != 0) {
        file_undo_growth(file, end_before, off, len);
        errno = error;
        return FL_FAIL_ERRNO(file_status(error), "write zeros at %" PRIu64 " of %s", off,
                             file->path);
    }
    return FL_OK;
}

static fl_status
page_fault_in(struct nosync_map *map, uint64_t off, uint64_t len)
{
    struct nosync_file *file = file_of(map);
    fl_status status = file_check_range(file, off, len);

    if (status == FL_OK) {
        status = check_not_failed(file);
    }
    if (status != FL_OK) {
        return status;
    }
    (void)pthread_mutex_lock(&file->grow_lock);
    status = allocate(file, off, len);
    (void)pthread_mutex_unlock(&file->grow_lock);
    if (status != FL_OK) {
        return status;
    }
    if (fdatasync(file->fd) != 0) {
        /* A full disk too, met by delayed allocation: other writers' bytes may be among those lost. */
        return fail_for_ever(file, "fdatasync");
    }
    /* Readers shall not fault either; a kernel without it lets them. */
    (void)madvise(file->base + off, (size_t)len, MADV_POPULATE_READ);
    return FL_OK;
}

static fl_status
page_punch(struct nosync_map *map, uint64_t off, uint64_t len)
{
    struct nosync_file *file = file_of(map);
    fl_status status = file_check_range(file, off, len);

    if (status == FL_OK) {
        status = check_not_failed(file);
    }
    if (status != FL_OK) {
        return status;
    }
    status = file_punch(file, off, len);
    if (status == FL_NOT_SUPPORTED) {
        const int error = file_write_zeros(file, off, len);

        if (error != 0) {
            errno = error;
            return fail_for_ever(file, "pwrite");
        }
    }
    return status;
}

static const struct pm_media_ops media_ops = {
    .write_durable = page_write_durable,
    .write_through = page_write_through,
};

static const struct nosync_ops map_ops = {
    .fault_in = page_fault_in,
    .punch = page_punch,
    .sync_file = file_op_sync,
    .size_bytes = file_op_size_bytes,
    .file_bytes = file_op_file_bytes,
    .close = file_op_close,
};

fl_status
page_map(struct nosync_file *file)
{
    const fl_status status = file_map_whole(file, false);

    if (status != FL_OK) {
        return status;
    }
    file->map.ops = &map_ops;
    file->map.media = (struct pm_media){
        .base = file->base,
        .size_bytes_max = file->size_bytes_max,
        .mode = PM_STAGED,
        .ops = &media_ops,
        .context = file,
    };
    file->map.grant.mapping = FL_MAPPING_PAGE;
    file->map.grant.durability = file->trust.durability;
    file_describe(file, "pwritev2 RWF_DSYNC on %s", file->trust.text);
    return FL_OK;
}
