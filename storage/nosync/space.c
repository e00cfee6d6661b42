/* Address space and blocks of the file. */
#include "storage/nosync/file.h"

#include "base/bytes.h"
#include "base/fail.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

void
file_close(struct nosync_file *file)
{
    if (file->sigbus) {
        sigbus_remove(file->base);
    }
    if (file->dax != NULL) {
        dax_unmap(file);
    } else if (file->base != NULL) {
        (void)munmap(file->base, (size_t)file->reserved_bytes);
    }
    if (file->fd >= 0) {
        (void)close(file->fd); /* and with it the lock */
    }
    (void)pthread_mutex_destroy(&file->grow_lock);
    free(file->path);
    free(file);
}

/* Find `bytes` of free address space, aligned; nothing is left mapped there. */
static fl_status
find_space(uint64_t bytes, uint64_t align, uint8_t **out)
{
    const uint64_t with_slack = bytes + align;
    void *found = mmap(NULL, (size_t)with_slack, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (found == MAP_FAILED) {
        return FL_FAIL_ERRNO(FL_NO_MEMORY, "reserve %" PRIu64 " bytes of address space", bytes);
    }
    (void)munmap(found, (size_t)with_slack);
    *out = (uint8_t *)(uintptr_t)bytes_align_up((uintptr_t)found, align);
    return FL_OK;
}

void
file_forbid_fork(void *base, uint64_t bytes)
{
    /* A child must not touch a store; without the mapping it can't. Where it is refused the
     * documentation has to do. */
    (void)madvise(base, (size_t)bytes, MADV_DONTFORK);
}

fl_status
file_map_whole(struct nosync_file *file, bool writable)
{
    enum { TRIES_MAX = 8 };
    const int protection = PROT_READ | (writable ? PROT_WRITE : 0);

    for (int i = 0; i < TRIES_MAX; i++) {
        uint8_t *hint;
        const fl_status status = find_space(file->size_bytes_max, file->map_align, &hint);

        if (status != FL_OK) {
            return status;
        }
        void *base = mmap(hint, (size_t)file->size_bytes_max, protection,
                          MAP_SHARED | MAP_FIXED_NOREPLACE, file->fd, 0);

        if (base == hint) {
            file->base = base;
            file->reserved_bytes = file->size_bytes_max;
            file_forbid_fork(base, file->size_bytes_max);
            return FL_OK;
        }
        if (base != MAP_FAILED) {
            (void)munmap(base,
                         (size_t)file->size_bytes_max); /* a kernel that doesn't know the flag */
        } else if (errno != EEXIST) {
            const fl_status failed = errno == ENOMEM   ? FL_NO_MEMORY
                                     : errno == ENODEV ? FL_NOT_SUPPORTED
                                                       : FL_IO;
            return FL_FAIL_ERRNO(failed, "map %s (%s)", file->path, file->trust.text);
        }
        /* Another thread took the place. */
    }
    return FL_FAIL(FL_NO_MEMORY, "map %s: no room that stays free", file->path);
}

fl_status
file_size(struct nosync_file *file, uint64_t *end)
{
    struct stat st;

    if (fstat(file->fd, &st) != 0) {
        return FL_FAIL_ERRNO(FL_IO, "fstat %s", file->path);
    }
    *end = (uint64_t)st.st_size;
    atomic_store(&file->end_seen, *end);
    return FL_OK;
}

uint64_t
file_end(struct nosync_file *file)
{
    uint64_t end = 0;

    return file_size(file, &end) == FL_OK ? end : atomic_load(&file->end_seen);
}

static int
allocate(int fd, int mode, uint64_t off, uint64_t len)
{
    int result;

    do {
        result = fallocate(fd, mode, (off_t)off, (off_t)len);
    } while (result != 0 && errno == EINTR);
    return result;
}

void
file_give_back(struct nosync_file *file, uint64_t off, uint64_t len)
{
    (void)allocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len);
}

fl_status
file_allocate(struct nosync_file *file, uint64_t off, uint64_t len)
{
    uint64_t end = 0;
    const fl_status status = file_size(file, &end);

    if (status != FL_OK) {
        return status;
    }
    if (allocate(file->fd, FALLOC_FL_KEEP_SIZE, off, len) == 0) {
        return FL_OK;
    }
    const int error = errno;

    if (error == EOPNOTSUPP || error == ENOSYS) {
        return FL_NOT_SUPPORTED;
    }
    /* ext4 keeps what it got before space ran out, and punches nothing beyond the end of the file: that
     * takes a truncation, to the size that it has. */
    file_give_back(file, off, len);
    if (off + len > end) {
        (void)!ftruncate(file->fd, (off_t)end);
    }
    errno = error;
    return FL_FAIL_ERRNO(file_status(error), "allocate %" PRIu64 " bytes at %" PRIu64 " of %s", len,
                         off, file->path);
}

fl_status
file_extend(struct nosync_file *file, uint64_t end)
{
    uint64_t end_now = 0;
    const fl_status status = file_size(file, &end_now);

    if (status != FL_OK || end_now >= end) {
        return status;
    }
    if (ftruncate(file->fd, (off_t)end) != 0) {
        return FL_FAIL_ERRNO(file_status(errno), "extend %s to %" PRIu64 " bytes", file->path, end);
    }
    return FL_OK;
}

fl_status
file_punch(struct nosync_file *file, uint64_t off, uint64_t len)
{
    if (allocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len) == 0) {
        return FL_OK;
    }
    if (errno == EOPNOTSUPP || errno == ENOSYS) {
        return FL_NOT_SUPPORTED;
    }
    return FL_FAIL_ERRNO(file_status(errno), "punch %" PRIu64 " bytes at %" PRIu64 " of %s", len,
                         off, file->path);
}

fl_status
file_check_range(struct nosync_file *file, uint64_t off, uint64_t len)
{
    const uint64_t page = (uint64_t)getpagesize();

    FL_ASSERT(off % page == 0 && len % page == 0 && len > 0);
    if (file->read_only) {
        return FL_FAIL(FL_READ_ONLY, "%s is open read-only", file->path);
    }
    if (off > file->size_bytes_max || len > file->size_bytes_max - off) {
        return FL_FAIL(FL_NO_SPACE, "%s may not grow over %" PRIu64 " bytes", file->path,
                       file->size_bytes_max);
    }
    return FL_OK;
}

fl_status
file_op_sync(struct nosync_map *map)
{
    struct nosync_file *file = file_of(map);

    if (atomic_load(&file->failed)) {
        return FL_FAIL(FL_IO, "%s: an earlier sync failed", file->path);
    }
    if (fsync(file->fd) != 0) {
        atomic_store(&file->failed, true);
        return FL_FAIL_ERRNO(FL_IO, "fsync %s", file->path);
    }
    return FL_OK;
}

uint64_t
file_op_size_bytes(struct nosync_map *map)
{
    return file_end(file_of(map));
}

uint64_t
file_op_file_bytes(struct nosync_map *map)
{
    enum { STAT_BLOCK_BYTES = 512 };
    struct stat st;

    return fstat(file_of(map)->fd, &st) == 0 ? (uint64_t)st.st_blocks * STAT_BLOCK_BYTES : 0;
}

void
file_op_close(struct nosync_map *map)
{
    file_close(file_of(map));
}
