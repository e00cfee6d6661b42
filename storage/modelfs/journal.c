/* Commits: one transaction's slots, then the tables, then, when the journal is full, its tail. */
#include "storage/modelfs/fs_internal.h"

#include "base/bytes.h"
#include "base/fail.h"

#include <string.h>

fl_status
fs_flush(struct mfs *fs, uint64_t off, size_t len)
{
    const fl_status status = mfs_cpu_flush(fs->cpu, off, len);

    if (status == FL_OK) {
        fs->unfenced += len;
    }
    return status;
}

fl_status
fs_fence(struct mfs *fs)
{
    const fl_status status = mfs_cpu_fence(fs->cpu);

    if (status != FL_OK) {
        fs->shut = true; /* Rule C17. */
        return status;
    }
    fs->unfenced = 0;
    fs->tables_unfenced = false;
    return FL_OK;
}

uint64_t
journal_room(const struct mfs *fs)
{
    return bytes_align_down(fs->geometry.journal_bytes - MFS_JOURNAL_FRONT, 64) -
           sizeof(struct mfs_commit_rec);
}

/* The transaction's body, gathered in pieces. */
struct body {
    struct mfs *fs;
    uint64_t off; /* on the device, of the piece */
    size_t len;   /* of the piece, in fs->scratch */
    uint32_t crc;
};

static void
body_store(struct body *body)
{
    if (body->len > 0) {
        body->crc = mfs_body_crc(body->crc, body->fs->scratch, body->len);
        mfs_media_store(body->fs->media, body->off, body->fs->scratch, body->len);
        body->off += body->len;
        body->len = 0;
    }
}

static void
body_add(struct body *body, enum mfs_table table, uint32_t slot, const void *rec, size_t len)
{
    struct mfs_entry_rec entry;

    if (body->len + sizeof(entry) + len > sizeof(body->fs->scratch)) {
        body_store(body);
    }
    bytes_put_le32(&entry.table, table);
    bytes_put_le32(&entry.slot, slot);
    memcpy(body->fs->scratch + body->len, &entry, sizeof(entry));
    memcpy(body->fs->scratch + body->len + sizeof(entry), rec, len);
    body->len += sizeof(entry) + len;
}

/* Body and commit record, stored and flushed. */
static fl_status
write_nofence(struct mfs *fs, uint64_t bytes)
{
    const uint64_t off = fs->geometry.journal_off + fs->head_off;
    struct body body = {.fs = fs, .off = off + sizeof(struct mfs_commit_rec)};
    struct mfs_commit_rec rec;

    for (uint32_t i = 0; i < fs->inodes_dirty.count; i++) {
        const uint32_t slot = fs->inodes_dirty.list[i];
        struct mfs_inode_rec inode;

        mfs_inode_encode(&fs->inodes[slot].state, &inode);
        body_add(&body, MFS_TABLE_INODES, slot, &inode, sizeof(inode));
    }
    for (uint32_t i = 0; i < fs->extents_dirty.count; i++) {
        const uint32_t slot = fs->extents_dirty.list[i];
        struct mfs_extent_rec extent;

        mfs_extent_encode(&fs->extents[slot], &extent);
        body_add(&body, MFS_TABLE_EXTENTS, slot, &extent, sizeof(extent));
    }
    body_store(&body);
    body.len = (size_t)(off + bytes - body.off);
    memset(fs->scratch, 0, body.len);
    body_store(&body);
    const struct mfs_commit commit = {
        .seq = fs->seq_next,
        .bytes = bytes,
        .entries = fs->inodes_dirty.count + fs->extents_dirty.count,
        .body_crc = body.crc,
    };

    mfs_commit_encode(&fs->geometry, &commit, &rec);
    mfs_media_store(fs->media, off, &rec, sizeof(rec));
    return fs_flush(fs, off, (size_t)bytes);
}

/* A committed slot into its table. If it can't be flushed now, the next checkpoint will see to it. */
static void
apply_slot(struct mfs *fs, uint64_t off, const void *rec, size_t len)
{
    mfs_media_store(fs->media, off, rec, len);
    if (mfs_cpu_flush(fs->cpu, off, len) == FL_OK) {
        fs->tables_unfenced = true;
    } else {
        fs->tables_unflushed = true;
    }
}

static void
apply(struct mfs *fs)
{
    for (uint32_t i = 0; i < fs->inodes_dirty.count; i++) {
        const uint32_t slot = fs->inodes_dirty.list[i];
        struct mfs_inode_rec inode;

        mfs_inode_encode(&fs->inodes[slot].state, &inode);
        apply_slot(fs, fs->geometry.inodes_off + slot * sizeof(inode), &inode, sizeof(inode));
    }
    for (uint32_t i = 0; i < fs->extents_dirty.count; i++) {
        const uint32_t slot = fs->extents_dirty.list[i];
        struct mfs_extent_rec extent;

        mfs_extent_encode(&fs->extents[slot], &extent);
        apply_slot(fs, fs->geometry.extents_off + slot * sizeof(extent), &extent, sizeof(extent));
    }
}

fl_status
journal_checkpoint(struct mfs *fs)
{
    const struct mfs_geometry *g = &fs->geometry;
    const struct mfs_tail tail = {.seq = fs->seq_next, .off = MFS_JOURNAL_FRONT};
    struct mfs_tail_rec rec;
    fl_status status = FL_OK;

    if (fs->tables_unflushed) {
        /* order: the tables before the tail. Behind it nobody replays what they lack. */
        status = mfs_cpu_persist_dirty(fs->cpu, g->inodes_off, g->data_off - g->inodes_off);
        fs->shut = fs->shut || status != FL_OK;
    } else if (fs->unfenced > 0 || fs->tables_unfenced) {
        /* order: the tables before the tail. As above. */
        status = fs_fence(fs);
    }
    if (status != FL_OK) {
        return status;
    }
    fs->tables_unflushed = false;
    /* From the first store on the tail may be durable, and recovery look for the next transaction at the front. */
    fs->checkpoint_wanted = true;
    mfs_tail_encode(g, &tail, &rec);
    for (uint64_t i = 0; i < 2; i++) {
        const uint64_t off = g->journal_off + i * sizeof(rec);

        mfs_media_store(fs->media, off, &rec, sizeof(rec));
        status = fs_flush(fs, off, sizeof(rec));
        if (status == FL_OK) {
            /* order: the first tail before the second, so that one is whole; both before a transaction at the
             * front. It overwrites what an older tail leads to. */
            status = fs_fence(fs);
        }
        if (status != FL_OK) {
            return status;
        }
    }
    fs->head_off = MFS_JOURNAL_FRONT;
    fs->checkpoint_wanted = false;
    return FL_OK;
}

fl_status
journal_commit(struct mfs *fs)
{
    const uint64_t bytes = bytes_align_up(sizeof(struct mfs_commit_rec) + fs->txn_bytes, 64);
    fl_status status = fs_writable(fs);

    if (status == FL_OK && txn_dirty(fs) &&
        (fs->checkpoint_wanted || fs->head_off + bytes > fs->geometry.journal_bytes)) {
        status = journal_checkpoint(fs);
    }
    if (status == FL_OK && fs->unfenced > 0) {
        /* order: a new block's zeros, and data that the caller promises, before the commit record. A committed
         * extent's bytes are believed. */
        status = fs_fence(fs);
    }
    if (status != FL_OK || !txn_dirty(fs)) {
        return status;
    }
    status = write_nofence(fs, bytes);
    if (status == FL_OK) {
        /* order: body and commit record before return, before the tables, and before what was freed is used again.
         * The record's CRCs let one fence do for both. */
        status = fs_fence(fs);
    }
    if (status != FL_OK) {
        return status;
    }
    fs->seq_next++;
    fs->head_off += bytes;
    apply(fs);
    txn_committed(fs);
    fs->counts.commits++;
    return FL_OK;
}
