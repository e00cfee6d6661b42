/* A hosted device as a FUSE filesystem: one directory of regular files, every read and write passed through to the
 * core (direct_io), so that programs see what mappings store and the other way round. */
#ifndef FL_STORAGE_MODELFS_TOOL_FUSE_FS_H
#define FL_STORAGE_MODELFS_TOOL_FUSE_FS_H

#define FUSE_USE_VERSION 312

#include "storage/modelfs/host.h"

#include <fuse_lowlevel.h>

struct fuse_fs {
    struct mfs_host *host;
    uid_t uid; /* who all files belong to: the filesystem has no owners */
    gid_t gid;
    time_t mounted_s; /* nor times: this is what is shown for them */
};

/* For fuse_session_new(), with a struct fuse_fs as its user data. */
extern const struct fuse_lowlevel_ops fuse_fs_ops;

#endif
