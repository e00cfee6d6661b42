/* Names, attributes and directories; fuse_data.c has the contents of files. */
#include "storage/modelfs/tool/fuse_fs.h"

#include "storage/modelfs/tool/fuse_reply.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

static void
op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct fuse_entry_param entry;
    struct fuse_call call;
    uint64_t ino;
    fl_status status = fuse_call_begin(&call, req);

    (void)parent;
    if (status == FL_OK) {
        status = mfs_lookup(call.fs, name, &ino);
    }
    if (status == FL_OK) {
        status = fuse_entry(&call, ino, &entry);
    }
    fuse_call_end(&call);
    if (status != FL_OK) {
        (void)fuse_reply_err(req, fuse_name_errno(status, name));
    } else {
        (void)fuse_reply_entry(req, &entry);
    }
}

static void
op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct fuse_call call;
    struct stat st;
    fl_status status = fuse_call_begin(&call, req);

    (void)fi;
    if (status == FL_OK) {
        status = fuse_attributes(&call, ino, &st);
    }
    fuse_call_end(&call);
    if (status != FL_OK) {
        (void)fuse_reply_err(req, fuse_errno(status));
    } else {
        (void)fuse_reply_attr(req, &st, 0);
    }
}

/* The size. Owner, mode and times are taken and forgotten: there are none, and cp -p should not fail over them. */
static void
op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
    struct fuse_call call;
    struct stat st;
    fl_status status = fuse_call_begin(&call, req);

    (void)fi;
    if (status == FL_OK && (to_set & FUSE_SET_ATTR_SIZE) != 0) {
        status = mfs_truncate(call.fs, fuse_file(ino), (uint64_t)attr->st_size);
    }
    if (status == FL_OK) {
        status = fuse_attributes(&call, ino, &st);
    }
    fuse_call_end(&call);
    if (status != FL_OK) {
        (void)fuse_reply_err(req, fuse_errno(status));
    } else {
        (void)fuse_reply_attr(req, &st, 0);
    }
}

static fl_status
create_file(fuse_req_t req, const char *name, struct fuse_entry_param *entry)
{
    struct fuse_call call;
    uint64_t ino;
    fl_status status = fuse_call_begin(&call, req);

    if (status == FL_OK) {
        status = mfs_create(call.fs, name, &ino);
    }
    if (status == FL_OK) {
        status = fuse_entry(&call, ino, entry);
    }
    fuse_call_end(&call);
    return status;
}

static void
op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
          struct fuse_file_info *fi)
{
    struct fuse_entry_param entry;
    const fl_status status = create_file(req, name, &entry);

    (void)parent;
    (void)mode;
    if (status != FL_OK) {
        (void)fuse_reply_err(req, fuse_name_errno(status, name));
        return;
    }
    fi->direct_io = 1;
    (void)fuse_reply_create(req, &entry, fi);
}

static void
op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    struct fuse_entry_param entry;

    (void)parent;
    (void)rdev;
    if (!S_ISREG(mode)) {
        (void)fuse_reply_err(req, EPERM);
        return;
    }
    const fl_status status = create_file(req, name, &entry);

    if (status != FL_OK) {
        (void)fuse_reply_err(req, fuse_name_errno(status, name));
    } else {
        (void)fuse_reply_entry(req, &entry);
    }
}

static void
op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    (void)parent;
    (void)name;
    (void)mode;
    (void)fuse_reply_err(req, EPERM); /* one directory is all there is */
}

static void
op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct fuse_call call;
    fl_status status = fuse_call_begin(&call, req);

    (void)parent;
    if (status == FL_OK) {
        status = mfs_unlink(call.fs, name);
    }
    fuse_call_end(&call);
    (void)fuse_reply_err(req, fuse_name_errno(status, name));
}

static void
op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t parent_new,
          const char *name_new, unsigned int flags)
{
    struct fuse_call call;
    uint64_t ino;

    (void)parent;
    (void)parent_new;
    if ((flags & ~(unsigned)RENAME_NOREPLACE) != 0) {
        (void)fuse_reply_err(req, EINVAL);
        return;
    }
    fl_status status = fuse_call_begin(&call, req);

    if (status == FL_OK && flags != 0 && mfs_lookup(call.fs, name_new, &ino) == FL_OK) {
        status = FL_EXISTS;
    }
    if (status == FL_OK) {
        status = mfs_rename(call.fs, name, name_new);
    }
    fuse_call_end(&call);
    (void)fuse_reply_err(req, fuse_name_errno(status, name_new));
}

/* Offsets: 0 and 1 are "." and "..", 2 + slot what follows. */
static size_t
fill_directory(struct fuse_call *call, char *buf, size_t size, off_t off)
{
    static const char *const dots[] = {".", ".."};
    struct stat st = {.st_mode = S_IFDIR, .st_ino = FUSE_ROOT_ID};
    size_t used = 0;

    for (; off < 2; off++) {
        const size_t len =
            fuse_add_direntry(call->req, buf + used, size - used, dots[off], &st, off + 1);

        if (len > size - used) {
            return used;
        }
        used += len;
    }
    uint32_t slot = (uint32_t)(off - 2);
    struct mfs_stat file;

    st.st_mode = S_IFREG;
    while (mfs_next(call->fs, &slot, &file) == FL_OK) {
        st.st_ino = fuse_number(file.ino);
        const size_t len =
            fuse_add_direntry(call->req, buf + used, size - used, file.name, &st, (off_t)slot + 2);

        if (len > size - used) {
            break;
        }
        used += len;
    }
    return used;
}

static void
op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    struct fuse_call call;
    size_t used = 0;
    char *buf = malloc(size);
    fl_status status = fuse_call_begin(&call, req);

    (void)ino;
    (void)fi;
    if (buf == NULL) {
        status = FL_NO_MEMORY;
    }
    if (status == FL_OK) {
        used = fill_directory(&call, buf, size, off);
    }
    fuse_call_end(&call);
    if (status != FL_OK) {
        (void)fuse_reply_err(req, fuse_errno(status));
    } else {
        (void)fuse_reply_buf(req, buf, used);
    }
    free(buf);
}

static void
op_statfs(fuse_req_t req, fuse_ino_t ino)
{
    struct statvfs st;
    struct fuse_call call;
    const fl_status status = fuse_call_begin(&call, req);

    (void)ino;
    memset(&st, 0, sizeof(st));
    if (status == FL_OK) {
        const struct mfs_statfs fs = mfs_statfs(call.fs);

        st.f_bsize = fs.block_bytes;
        st.f_frsize = fs.block_bytes;
        st.f_blocks = fs.blocks;
        st.f_bfree = fs.blocks_free;
        st.f_bavail = fs.blocks_free;
        st.f_files = fs.inodes;
        st.f_ffree = fs.inodes_free;
        st.f_favail = fs.inodes_free;
        st.f_namemax = MFS_NAME_BYTES_MAX;
    }
    fuse_call_end(&call);
    if (status != FL_OK) {
        (void)fuse_reply_err(req, fuse_errno(status));
    } else {
        (void)fuse_reply_statfs(req, &st);
    }
}

const struct fuse_lowlevel_ops fuse_fs_ops = {
    .lookup = op_lookup,
    .getattr = op_getattr,
    .setattr = op_setattr,
    .mknod = op_mknod,
    .mkdir = op_mkdir,
    .unlink = op_unlink,
    .rename = op_rename,
    .create = op_create,
    .readdir = op_readdir,
    .statfs = op_statfs,
    .open = fuse_data_open,
    .read = fuse_data_read,
    .write = fuse_data_write,
    .fsync = fuse_data_fsync,
    .fsyncdir = fuse_data_fsyncdir,
    .fallocate = fuse_data_fallocate,
    .lseek = fuse_data_lseek,
};
