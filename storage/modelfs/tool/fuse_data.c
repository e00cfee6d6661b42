/* The contents of files: rules C6 to C9 are the core's. */
#include "storage/modelfs/tool/fuse_reply.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void
fuse_data_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct fuse_call call;
    fl_status status = fuse_call_begin(&call, req);

    if (status == FL_OK && (fi->flags & O_TRUNC) != 0) {
        status = mfs_truncate(call.fs, fuse_file(ino), 0);
    }
    fuse_call_end(&call);
    if (status != FL_OK) {
        (void)fuse_reply_err(req, fuse_errno(status));
        return;
    }
    /* No page cache of the kernel's between programs and mappings; it refuses shared mappings of such a file, as it
     * must: it could not keep what they promise. */
    fi->direct_io = 1;
    (void)fuse_reply_open(req, fi);
}

void
fuse_data_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    struct fuse_call call;
    size_t done = 0;
    char *buf = malloc(size);
    fl_status status = fuse_call_begin(&call, req);

    (void)fi;
    if (buf == NULL) {
        status = FL_NO_MEMORY;
    }
    if (status == FL_OK) {
        status = mfs_read(call.fs, fuse_file(ino), (uint64_t)off, buf, size, &done);
    }
    fuse_call_end(&call);
    if (status != FL_OK) {
        (void)fuse_reply_err(req, fuse_errno(status));
    } else {
        (void)fuse_reply_buf(req, buf, done);
    }
    free(buf);
}

void
fuse_data_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
                struct fuse_file_info *fi)
{
    struct fuse_call call;
    size_t done = 0;
    fl_status status = fuse_call_begin(&call, req);

    (void)fi;
    if (status == FL_OK) {
        status = mfs_write(call.fs, fuse_file(ino), (uint64_t)off, buf, size, &done);
    }
    fuse_call_end(&call);
    if (status != FL_OK && !(status == FL_NO_SPACE && done > 0)) {
        (void)fuse_reply_err(req, fuse_errno(status));
    } else {
        (void)fuse_reply_write(req, done);
    }
}

static void
sync_reply(fuse_req_t req, uint64_t ino)
{
    struct fuse_call call;
    fl_status status = fuse_call_begin(&call, req);

    if (status == FL_OK) {
        status = mfs_fsync(call.fs, ino);
    }
    fuse_call_end(&call);
    (void)fuse_reply_err(req, fuse_errno(status));
}

void
fuse_data_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    (void)datasync;
    (void)fi;
    sync_reply(req, fuse_file(ino));
}

void
fuse_data_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    (void)ino;
    (void)datasync;
    (void)fi;
    sync_reply(req, 0);
}

static fl_status
zero_range(struct mfs *fs, uint64_t ino, uint64_t off, uint64_t len, bool keep_size)
{
    const fl_status status = mfs_punch(fs, ino, off, len);

    return status == FL_OK ? mfs_allocate(fs, ino, off, len, keep_size) : status;
}

void
fuse_data_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
                    struct fuse_file_info *fi)
{
    const bool keep_size = (mode & FALLOC_FL_KEEP_SIZE) != 0;
    const uint64_t file = fuse_file(ino);
    struct fuse_call call;
    fl_status status = fuse_call_begin(&call, req);

    (void)fi;
    if (status == FL_OK) {
        switch (mode & ~FALLOC_FL_KEEP_SIZE) {
        case 0:
            status = mfs_allocate(call.fs, file, (uint64_t)off, (uint64_t)len, keep_size);
            break;
        case FALLOC_FL_PUNCH_HOLE:
            status = mfs_punch(call.fs, file, (uint64_t)off, (uint64_t)len);
            break;
        case FALLOC_FL_COLLAPSE_RANGE:
            status = mfs_collapse(call.fs, file, (uint64_t)off, (uint64_t)len);
            break;
        case FALLOC_FL_ZERO_RANGE:
            status = zero_range(call.fs, file, (uint64_t)off, (uint64_t)len, keep_size);
            break;
        default:
            status = FL_NOT_SUPPORTED;
        }
    }
    fuse_call_end(&call);
    (void)fuse_reply_err(req, fuse_errno(status));
}

/* Where data (SEEK_DATA) or a hole begins, at or behind `off`, which lies in the file. Unwritten blocks are holes. -1:
 * no more data. */
static off_t
seek(struct mfs *fs, uint64_t ino, uint64_t off, uint64_t size_bytes, bool data)
{
    const uint64_t block_bytes = mfs_block_bytes(fs);

    while (off < size_bytes) {
        struct mfs_extent extent;
        const bool found = mfs_extent_at(fs, ino, (uint32_t)(off / block_bytes), &extent) == FL_OK;
        const uint64_t first = found ? extent.logical * block_bytes : size_bytes;
        const uint64_t end = found ? first + extent.blocks * block_bytes : size_bytes;
        const bool written = found && (extent.flags & MFS_EXTENT_UNWRITTEN) == 0;

        if (!data && (off < first || !written)) {
            return (off_t)off;
        }
        if (data && written) {
            return (off_t)(off < first ? first : off);
        }
        off = end;
    }
    return data ? -1 : (off_t)size_bytes;
}

void
fuse_data_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
    struct fuse_call call;
    struct mfs_stat file;
    off_t found = -1;
    fl_status status = fuse_call_begin(&call, req);

    (void)fi;
    if (status == FL_OK) {
        status = mfs_stat(call.fs, fuse_file(ino), &file);
    }
    if (status == FL_OK && off >= 0 && (uint64_t)off < file.size_bytes) {
        found = seek(call.fs, fuse_file(ino), (uint64_t)off, file.size_bytes, whence == SEEK_DATA);
    }
    fuse_call_end(&call);
    if (status != FL_OK) {
        (void)fuse_reply_err(req, fuse_errno(status));
    } else if (found < 0) {
        (void)fuse_reply_err(req, ENXIO);
    } else {
        (void)fuse_reply_lseek(req, found);
    }
}
