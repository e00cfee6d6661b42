/* read and write: rules C6 and C7. */
#include "storage/modelfs/fs_internal.h"

#include "base/fail.h"

#include <inttypes.h>
#include <string.h>

struct part {
    struct inode *inode;
    uint32_t block;
    uint32_t from; /* bytes of the block */
    uint32_t to;
    uint64_t size_bytes; /* the file's, with it */
    bool first;
};

static struct part
part_at(const struct mfs *fs, struct inode *inode, uint64_t off, uint64_t len)
{
    const uint32_t block_bytes = fs->geometry.block_bytes;
    const uint32_t from = (uint32_t)(off & (block_bytes - 1));

    return (struct part){
        .inode = inode,
        .block = (uint32_t)(off >> fs->geometry.block_shift),
        .from = from,
        .to = len < block_bytes - from ? from + (uint32_t)len : block_bytes,
    };
}

fl_status
mfs_read(struct mfs *fs, uint64_t ino, uint64_t off, void *buf, size_t len, size_t *done)
{
    struct inode *inode = NULL;
    const fl_status status = inode_get(fs, ino, &inode);

    *done = 0;
    if (status != FL_OK || off >= inode->state.size_bytes) {
        return status;
    }
    if (len > inode->state.size_bytes - off) {
        len = (size_t)(inode->state.size_bytes - off);
    }
    while (*done < len) {
        const struct part part = part_at(fs, inode, off + *done, len - *done);
        const struct mfs_extent_state *e = extent_lookup(fs, inode, part.block);
        uint8_t *to = (uint8_t *)buf + *done;

        if (e == NULL || (e->flags & MFS_EXTENT_UNWRITTEN) != 0) {
            memset(to, 0, part.to - part.from);
        } else {
            const uint64_t from = block_off(fs, extent_physical(e, part.block)) + part.from;

            /* Rule C6: nobody stores while it is copied. */
            revoke_stores(fs, inode, part.block, (uint64_t)part.block + 1);
            memcpy(to, mfs_media_live(fs->media) + from, part.to - part.from);
        }
        *done += part.to - part.from;
    }
    return FL_OK;
}

fl_status
inode_changed(struct mfs *fs, struct inode *inode, uint64_t size_bytes)
{
    struct mfs_inode_state state = inode->state;

    state.size_bytes = size_bytes;
    state.changed++;
    return txn_inode_set(fs, inode, &state);
}

static fl_status
op_write(struct mfs *fs, void *args)
{
    const struct part *part = args;
    struct inode *inode = part->inode;
    const fl_status status = block_ensure(fs, inode, part->block, 0, part->from, part->to);

    if (status != FL_OK || (!part->first && part->size_bytes == inode->state.size_bytes)) {
        return status;
    }
    return inode_changed(fs, inode, part->size_bytes);
}

/* Rule C7: under a no-sync mapping the block is taken from all mappings, and its lines are flushed. Those of a new
 * block are too: the commit that shows it fences them, so that a power cut leaves the old bytes or the new ones. */
static fl_status
write_part(struct mfs *fs, struct part *part, const void *src, bool promised)
{
    const struct mfs_extent_state *e = extent_lookup(fs, part->inode, part->block);
    const uint32_t before = e == NULL || (e->flags & MFS_EXTENT_UNWRITTEN) != 0
                                ? UINT32_MAX
                                : extent_physical(e, part->block);
    const fl_status status = txn_run(fs, op_write, part, false);

    if (status != FL_OK) {
        return status;
    }
    e = extent_lookup(fs, part->inode, part->block);
    FL_ASSERT(e != NULL);
    const uint64_t off = block_off(fs, extent_physical(e, part->block)) + part->from;
    const bool flush = promised || extent_physical(e, part->block) != before;

    if (promised) {
        revoke_all(fs, part->inode, part->block, (uint64_t)part->block + 1);
    }
    mfs_media_store(fs->media, off, src, part->to - part->from);
    return flush ? fs_flush(fs, off, part->to - part->from) : FL_OK;
}

fl_status
mfs_write(struct mfs *fs, uint64_t ino, uint64_t off, const void *buf, size_t len, size_t *done)
{
    struct inode *inode = NULL;
    const uint64_t most = (uint64_t)MFS_LOGICAL_MAX << fs->geometry.block_shift;
    bool promised = false;
    fl_status status = fs_writable(fs);

    *done = 0;
    if (status == FL_OK) {
        status = inode_get(fs, ino, &inode);
    }
    if (status == FL_OK && (off > most || len > most - off)) {
        status = FL_FAIL(FL_TOO_LARGE, "%zu bytes at %" PRIu64, len, off);
    }
    if (status == FL_OK && len > 0 && off + len > inode->state.size_bytes) {
        status = write_zeros_at_end(fs, inode);
    }
    while (status == FL_OK && *done < len) {
        struct part part = part_at(fs, inode, off + *done, len - *done);
        const uint64_t end = off + *done + (part.to - part.from);
        const bool covered = nosync_covers(inode, part.block);

        part.first = *done == 0;
        part.size_bytes = end > inode->state.size_bytes ? end : inode->state.size_bytes;
        status = write_part(fs, &part, (const uint8_t *)buf + *done, covered);
        if (status == FL_OK) {
            promised = promised || covered;
            *done += part.to - part.from;
        }
    }
    if (promised) {
        const fl_status committed = journal_commit(fs);

        if (committed != FL_OK) {
            *done = 0;
            return committed;
        }
    }
    mfs_retry_bus(fs);
    return status;
}

struct zeros {
    struct inode *inode;
    uint32_t block, from, to;
};

static fl_status
op_zeros(struct mfs *fs, void *args)
{
    const struct zeros *zeros = args;

    return block_ensure(fs, zeros->inode, zeros->block, 0, zeros->from, zeros->to);
}

fl_status
write_zeros(struct mfs *fs, struct inode *inode, uint32_t block, uint32_t from, uint32_t to)
{
    struct zeros zeros = {inode, block, from, to};
    const struct mfs_extent_state *e = extent_lookup(fs, inode, block);

    if (e == NULL || (e->flags & MFS_EXTENT_UNWRITTEN) != 0 || from >= to) {
        return FL_OK;
    }
    const fl_status status = txn_run(fs, op_zeros, &zeros, false);

    if (status != FL_OK) {
        return status;
    }
    e = extent_lookup(fs, inode, block);
    FL_ASSERT(e != NULL);
    const uint64_t off = block_off(fs, extent_physical(e, block)) + from;

    revoke_all(fs, inode, block, (uint64_t)block + 1);
    mfs_media_zero(fs->media, off, to - from);
    return fs_flush(fs, off, to - from);
}

fl_status
write_zeros_at_end(struct mfs *fs, struct inode *inode)
{
    const struct part part = part_at(fs, inode, inode->state.size_bytes, UINT64_MAX);

    return part.from == 0 ? FL_OK : write_zeros(fs, inode, part.block, part.from, part.to);
}
