#include "storage/modelfs/tool/fuse_reply.h"

#include <errno.h>
#include <string.h>

enum { STAT_BLOCK_BYTES = 512, NS_PER_S = 1000000000 };

fl_status
fuse_call_begin(struct fuse_call *call, fuse_req_t req)
{
    call->req = req;
    call->mount = fuse_req_userdata(req);
    call->fs = mfs_host_lock(call->mount->host);
    return call->fs != NULL ? FL_OK : FL_CLOSED;
}

void
fuse_call_end(struct fuse_call *call)
{
    mfs_host_unlock(call->mount->host);
}

int
fuse_errno(fl_status status)
{
    switch ((int)status) {
    case FL_OK:
        return 0;
    case FL_NOT_FOUND:
        return ENOENT;
    case FL_EXISTS:
        return EEXIST;
    case FL_INVALID:
        return EINVAL;
    case FL_NO_SPACE:
        return ENOSPC;
    case FL_NO_MEMORY:
        return ENOMEM;
    case FL_BUSY:
        return EBUSY;
    case FL_READ_ONLY:
        return EROFS;
    case FL_NOT_SUPPORTED:
        return EOPNOTSUPP;
    default:
        return EIO;
    }
}

int
fuse_name_errno(fl_status status, const char *name)
{
    return status != FL_OK && strlen(name) > MFS_NAME_BYTES_MAX ? ENAMETOOLONG : fuse_errno(status);
}

fl_status
fuse_attributes(struct fuse_call *call, fuse_ino_t number, struct stat *out)
{
    const struct fuse_fs *mount = call->mount;
    struct mfs_stat file;

    memset(out, 0, sizeof(*out));
    out->st_ino = number;
    out->st_uid = mount->uid;
    out->st_gid = mount->gid;
    out->st_mtim.tv_sec = mount->mounted_s;
    if (number == FUSE_ROOT_ID) {
        out->st_mode = S_IFDIR | 0755;
        out->st_nlink = 2;
    } else {
        const fl_status status = mfs_stat(call->fs, fuse_file(number), &file);

        if (status != FL_OK) {
            return status;
        }
        out->st_mode = S_IFREG | 0644;
        out->st_nlink = 1;
        out->st_size = (off_t)file.size_bytes;
        out->st_blksize = (blksize_t)mfs_block_bytes(call->fs);
        out->st_blocks = (blkcnt_t)(file.blocks * mfs_block_bytes(call->fs) / STAT_BLOCK_BYTES);
        /* So that a change shows, if not when it was. */
        out->st_mtim.tv_sec += (time_t)(file.changed / NS_PER_S);
        out->st_mtim.tv_nsec = (long)(file.changed % NS_PER_S);
    }
    out->st_atim = out->st_mtim;
    out->st_ctim = out->st_mtim;
    return FL_OK;
}

fl_status
fuse_entry(struct fuse_call *call, uint64_t ino, struct fuse_entry_param *out)
{
    memset(out, 0, sizeof(*out));
    out->ino = fuse_number(ino);
    /* Time-outs of 0: others change files too. */
    return fuse_attributes(call, out->ino, &out->attr);
}
