/* fsync, and the end of flags. */
#include "storage/modelfs/fs_internal.h"

#include "base/fail.h"

fl_status
sync_data(struct mfs *fs, struct inode *inode)
{
    fl_status status = FL_OK;

    /* Whoever stores from now on faults, and is seen by the next fsync. */
    revoke_stores(fs, inode, 0, MFS_LOGICAL_MAX);
    for (uint32_t i = 0; status == FL_OK && i < inode->count; i++) {
        const struct mfs_extent_state *e = extent_at(fs, inode, i);

        if ((e->flags & MFS_EXTENT_UNWRITTEN) == 0) {
            /* order: data before the commit that follows. It may be what makes the data reachable. */
            status = mfs_cpu_persist_dirty(fs->cpu, block_off(fs, e->physical),
                                           (uint64_t)e->blocks << fs->geometry.block_shift);
        }
    }
    if (status == FL_IO) {
        fs->shut = true;
    }
    return status;
}

fl_status
mfs_fsync(struct mfs *fs, uint64_t ino)
{
    struct inode *inode = NULL;
    fl_status status = fs_writable(fs);

    if (status == FL_OK && ino != 0) {
        status = inode_get(fs, ino, &inode);
    }
    for (uint32_t i = 0; status == FL_OK && i < fs->geometry.inodes; i++) {
        if (inode == NULL || inode == &fs->inodes[i]) {
            status = sync_data(fs, &fs->inodes[i]);
        }
    }
    if (status == FL_OK) {
        status = journal_commit(fs);
        mfs_retry_bus(fs);
    }
    return status;
}

struct clear {
    uint64_t ino; /* 0: all files */
    uint32_t next;
    uint32_t next_done; /* as far as the last run came */
};

static fl_status
op_clear(struct mfs *fs, void *args)
{
    struct clear *clear = args;
    bool any = false;

    clear->next_done = clear->next;
    for (; clear->next_done < fs->geometry.extents; clear->next_done++) {
        struct mfs_extent_state e = fs->extents[clear->next_done];

        if (e.ino == 0 || (e.flags & MFS_EXTENT_NOSYNC) == 0 ||
            (clear->ino != 0 && clear->ino != e.ino)) {
            continue;
        }
        e.flags &= ~(uint32_t)MFS_EXTENT_NOSYNC;
        const fl_status status = txn_extent_set(fs, clear->next_done, &e);

        if (status == FL_TOO_LARGE && any) {
            return FL_OK; /* The rest goes in the next one. */
        }
        if (status != FL_OK) {
            return status;
        }
        any = true;
    }
    return FL_OK;
}

fl_status
sync_clear_flags(struct mfs *fs, const struct inode *inode)
{
    struct clear clear = {.ino = inode == NULL ? 0 : inode->state.ino};

    while (clear.next < fs->geometry.extents) {
        const fl_status status = txn_run(fs, op_clear, &clear, true);

        if (status != FL_OK) {
            return status;
        }
        clear.next = clear.next_done;
    }
    return FL_OK;
}
