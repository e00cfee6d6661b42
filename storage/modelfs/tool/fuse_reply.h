/* What the parts of the FUSE filesystem share. */
#ifndef FL_STORAGE_MODELFS_TOOL_FUSE_REPLY_H
#define FL_STORAGE_MODELFS_TOOL_FUSE_REPLY_H

#include "storage/modelfs/tool/fuse_fs.h"

#include <sys/stat.h>

/* One request in the core. Replies are sent behind fuse_call_end(): who waits for one may be anybody. */
struct fuse_call {
    fuse_req_t req;
    struct fuse_fs *mount;
    struct mfs *fs;
};

/* Take the host's lock. FL_CLOSED: the power was cut. fuse_call_end() in both cases. */
FL_NODISCARD fl_status fuse_call_begin(struct fuse_call *call, fuse_req_t req);
void fuse_call_end(struct fuse_call *call);

/* FUSE numbers its root 1. */
static inline uint64_t
fuse_file(fuse_ino_t number)
{
    return (uint64_t)number - FUSE_ROOT_ID;
}

static inline fuse_ino_t
fuse_number(uint64_t ino)
{
    return (fuse_ino_t)ino + FUSE_ROOT_ID;
}

int fuse_errno(fl_status status); /* 0 for FL_OK */
/* The same where a name was given: the core calls one that is too long invalid. */
int fuse_name_errno(fl_status status, const char *name);

FL_NODISCARD fl_status fuse_attributes(struct fuse_call *call, fuse_ino_t number, struct stat *out);
FL_NODISCARD fl_status fuse_entry(struct fuse_call *call, uint64_t ino,
                                  struct fuse_entry_param *out);

/* ---- contents ---- */

void fuse_data_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fuse_data_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                    struct fuse_file_info *fi);
void fuse_data_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
                     struct fuse_file_info *fi);
void fuse_data_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void fuse_data_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void fuse_data_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
                         struct fuse_file_info *fi);
void fuse_data_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
                     struct fuse_file_info *fi);

#endif
