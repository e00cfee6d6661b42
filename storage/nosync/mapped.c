/* Blocks of a file that is stored to through its mapping. */
#include "storage/nosync/file.h"

#include "base/bytes.h"
#include "base/fail.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <unistd.h>

/* In 5.14 and later; the headers of older C libraries lack it. */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

fl_status
mapped_zero(struct nosync_map *map, uint64_t off, uint64_t len)
{
    enum { PIECE = 64 * 1024 };
    static const uint8_t zeros[PIECE];
    struct pm pm;

    pm_init(&pm, &map->media);
    for (uint64_t at = off; at < off + len; at += PIECE) {
        const uint64_t left = off + len - at;

        pm_write_nofence(&pm, at, zeros, left < PIECE ? (size_t)left : PIECE);
    }
    /* order: zeros before anything that is formatted over them. */
    return pm_drain(&pm);
}

fl_status
mapped_zero_stale(struct nosync_map *map, uint64_t off, uint64_t len)
{
    const size_t page = (size_t)getpagesize();
    uint64_t at = off;

    while (at < off + len && bytes_are_zero(map->media.base + at, page)) {
        at += page;
    }
    return at == off + len ? FL_OK : mapped_zero(map, at, off + len - at);
}

bool
mapped_populate_again(struct nosync_file *file, uint64_t off, uint64_t len)
{
    return madvise(file->base + off, (size_t)len, MADV_POPULATE_WRITE) == 0;
}

fl_status
mapped_populate(struct nosync_file *file, uint64_t off, uint64_t len, bool allocated)
{
    if (mapped_populate_again(file, off, len)) {
        return FL_OK;
    }
    switch (errno) {
    case EINVAL:
        return FL_FAIL(FL_NOT_SUPPORTED, "MADV_POPULATE_WRITE: needs Linux 5.14 or later");
    case EFAULT: /* where a store would get SIGBUS: a block is poisoned or could not be had */
        return FL_FAIL(allocated ? FL_IO : FL_NO_SPACE,
                       "populate %" PRIu64 " bytes at %" PRIu64 " of %s", len, off, file->path);
    default:
        return FL_FAIL_ERRNO(file_status(errno), "populate %" PRIu64 " bytes at %" PRIu64 " of %s",
                             len, off, file->path);
    }
}

fl_status
mapped_punch(struct nosync_file *file, uint64_t off, uint64_t len)
{
    const fl_status status = file_punch(file, off, len);

    if (status == FL_NOT_SUPPORTED) {
        const fl_status zeroed = mapped_zero(&file->map, off, len);

        return zeroed == FL_OK ? FL_NOT_SUPPORTED : zeroed;
    }
    return status;
}
