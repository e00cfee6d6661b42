/* The running transaction's dirty slots, and how to take the last operation back. */
#include "storage/modelfs/fs_internal.h"

#include "base/fail.h"
#include "base/mem.h"

#include <inttypes.h>
#include <string.h>

enum {
    ENTRY_INODE_BYTES = sizeof(struct mfs_entry_rec) + sizeof(struct mfs_inode_rec),
    ENTRY_EXTENT_BYTES = sizeof(struct mfs_entry_rec) + sizeof(struct mfs_extent_rec),
};

fl_status
array_grow(void *array_ptr, uint32_t *capacity, uint32_t need, size_t element_bytes)
{
    void **array = array_ptr;

    if (need <= *capacity) {
        return FL_OK;
    }
    const uint32_t more = need < 16 ? 16 : need + need / 2;
    void *new = mem_alloc(more * element_bytes);

    if (new == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "%" PRIu32 " elements of %zu bytes", more, element_bytes);
    }
    if (*capacity > 0) {
        memcpy(new, *array, *capacity * element_bytes);
    }
    mem_free(*array);
    *array = new;
    *capacity = more;
    return FL_OK;
}

fl_status
fs_writable(const struct mfs *fs)
{
    if (fs->shut) {
        return FL_FAIL(FL_IO, "the filesystem is shut down: a commit failed");
    }
    if (fs->read_only) {
        return FL_FAIL(FL_READ_ONLY, "the filesystem is mounted for reading");
    }
    return FL_OK;
}

bool
txn_dirty(const struct mfs *fs)
{
    return fs->inodes_dirty.count + fs->extents_dirty.count > 0;
}

struct inode *
inode_of(struct mfs *fs, uint64_t ino)
{
    const uint32_t index = (uint32_t)ino;

    return ino != 0 && index < fs->geometry.inodes && fs->inodes[index].state.ino == ino
               ? &fs->inodes[index]
               : NULL;
}

static fl_status
mark_dirty(struct mfs *fs, struct dirty *dirty, uint32_t slot, uint32_t entry_bytes)
{
    if (dirty->is[slot] != 0) {
        return FL_OK;
    }
    if (fs->txn_bytes + entry_bytes > journal_room(fs)) {
        return FL_FAIL(FL_TOO_LARGE, "a transaction of more than %" PRIu64 " bytes",
                       journal_room(fs));
    }
    fs->txn_bytes += entry_bytes;
    dirty->is[slot] = 1;
    dirty->list[dirty->count++] = slot;
    return FL_OK;
}

static void
mark_inode(struct mfs *fs, uint64_t ino)
{
    struct inode *inode = inode_of(fs, ino);

    if (inode != NULL) {
        inode->dirty = true;
    }
}

/* The state alone, with the count of free slots. */
static void
extent_put(struct mfs *fs, uint32_t slot, const struct mfs_extent_state *state)
{
    struct mfs_extent_state *extent = &fs->extents[slot];

    fs->extents_free += (state->ino == 0) - (uint32_t)(extent->ino == 0);
    if (state->ino == 0 && slot < fs->extents_hint) {
        fs->extents_hint = slot;
    }
    *extent = *state;
}

fl_status
txn_extent_set(struct mfs *fs, uint32_t slot, const struct mfs_extent_state *state)
{
    struct undo *undo = &fs->undo;
    fl_status status = array_grow(&undo->slots, &undo->slots_capacity, undo->slots_count + 1,
                                  sizeof(*undo->slots));

    if (status == FL_OK) {
        status = mark_dirty(fs, &fs->extents_dirty, slot, ENTRY_EXTENT_BYTES);
    }
    if (status != FL_OK) {
        return status;
    }
    undo->slots[undo->slots_count++] = (struct undo_slot){.slot = slot, .old = fs->extents[slot]};
    mark_inode(fs, fs->extents[slot].ino);
    extent_put(fs, slot, state);
    mark_inode(fs, state->ino);
    return FL_OK;
}

fl_status
txn_inode_set(struct mfs *fs, struct inode *inode, const struct mfs_inode_state *state)
{
    struct undo *undo = &fs->undo;
    fl_status status = array_grow(&undo->inodes, &undo->inodes_capacity, undo->inodes_count + 1,
                                  sizeof(*undo->inodes));

    if (status == FL_OK) {
        status = mark_dirty(fs, &fs->inodes_dirty, inode->index, ENTRY_INODE_BYTES);
    }
    if (status != FL_OK) {
        return status;
    }
    undo->inodes[undo->inodes_count++] =
        (struct undo_inode){.index = inode->index, .old = inode->state};
    inode->state = *state;
    inode->dirty = true;
    return FL_OK;
}

fl_status
txn_slot_find(struct mfs *fs, uint32_t *slot)
{
    if (fs->extents_free == 0) {
        return FL_FAIL(FL_NO_SPACE, "all %" PRIu32 " extent slots are used", fs->geometry.extents);
    }
    while (fs->extents[fs->extents_hint].ino != 0) {
        fs->extents_hint++;
    }
    *slot = fs->extents_hint;
    return FL_OK;
}

static fl_status
runs_push(struct runs *runs, uint32_t first, uint32_t blocks)
{
    const fl_status status =
        array_grow(&runs->list, &runs->capacity, runs->count + 1, sizeof(*runs->list));

    if (status == FL_OK) {
        runs->list[runs->count++] = (struct run){first, blocks};
    }
    return status;
}

/* A reference more or less, and a hold more or less. */
static void
block_count(struct mfs *fs, uint32_t block, int refs, int holds)
{
    const bool was_free = fs->held[block] == 0;
    const bool was_freeing = fs->held[block] > 0 && fs->refs[block] == 0;

    fs->refs[block] += (uint32_t)refs;
    fs->held[block] += (uint32_t)holds;
    const bool is_free = fs->held[block] == 0;
    const bool is_freeing = fs->held[block] > 0 && fs->refs[block] == 0;

    fs->blocks_free += (uint64_t)is_free - (uint64_t)was_free;
    fs->blocks_freeing += (uint64_t)is_freeing - (uint64_t)was_freeing;
    if (block < fs->blocks_hint &&
        (is_free || (is_freeing && fs->mutant == MFS_MUTANT_REUSE_BEFORE_COMMIT))) {
        fs->blocks_hint = block;
    }
}

fl_status
txn_blocks_take(struct mfs *fs, uint32_t first, uint32_t blocks)
{
    const fl_status status = runs_push(&fs->undo.taken, first, blocks);

    for (uint32_t i = 0; status == FL_OK && i < blocks; i++) {
        block_count(fs, first + i, 1, 1);
    }
    return status;
}

fl_status
txn_blocks_release(struct mfs *fs, uint32_t first, uint32_t blocks)
{
    const fl_status status = runs_push(&fs->released, first, blocks);

    for (uint32_t i = 0; status == FL_OK && i < blocks; i++) {
        block_count(fs, first + i, -1, 0);
    }
    return status;
}

static void
clean(struct dirty *dirty, uint32_t from)
{
    for (uint32_t i = from; i < dirty->count; i++) {
        dirty->is[dirty->list[i]] = 0;
    }
    dirty->count = from;
}

void
txn_committed(struct mfs *fs)
{
    for (uint32_t i = 0; i < fs->released.count; i++) {
        const struct run *run = &fs->released.list[i];

        for (uint32_t block = run->first; block < run->first + run->blocks; block++) {
            block_count(fs, block, 0, -1);
        }
    }
    fs->released.count = 0;
    for (uint32_t i = 0; i < fs->geometry.inodes; i++) {
        fs->inodes[i].dirty = false;
    }
    clean(&fs->inodes_dirty, 0);
    clean(&fs->extents_dirty, 0);
    fs->txn_bytes = 0;
}

static void
txn_begin(struct mfs *fs)
{
    fs->undo.slots_count = 0;
    fs->undo.inodes_count = 0;
    fs->undo.taken.count = 0;
    fs->undo.released_before = fs->released.count;
    fs->undo.inodes_dirty_before = fs->inodes_dirty.count;
    fs->undo.extents_dirty_before = fs->extents_dirty.count;
}

/* A file had all these extents at once before, so its array has room for them. */
static void
rebuild_slots(struct mfs *fs)
{
    for (uint32_t slot = 0; slot < fs->geometry.extents; slot++) {
        struct inode *inode = inode_of(fs, fs->extents[slot].ino);

        if (inode != NULL && inode->rebuild) {
            FL_ASSERT(inode->count < inode->capacity);
            inode->slots[inode->count++] = slot;
        }
    }
    for (uint32_t i = 0; i < fs->geometry.inodes; i++) {
        struct inode *inode = &fs->inodes[i];

        if (inode->rebuild) {
            inode->rebuild = false;
            extent_sort(fs, inode);
        }
    }
}

static void
rebuild_want(struct mfs *fs, uint64_t ino)
{
    struct inode *inode = ino == 0 ? NULL : &fs->inodes[(uint32_t)ino];

    if (inode != NULL) {
        inode->rebuild = true;
        inode->count = 0;
    }
}

static void
txn_undo(struct mfs *fs)
{
    struct undo *undo = &fs->undo;

    for (uint32_t i = undo->slots_count; i > 0; i--) {
        const struct undo_slot *slot = &undo->slots[i - 1];

        rebuild_want(fs, fs->extents[slot->slot].ino);
        rebuild_want(fs, slot->old.ino);
        extent_put(fs, slot->slot, &slot->old);
    }
    for (uint32_t i = undo->inodes_count; i > 0; i--) {
        fs->inodes[undo->inodes[i - 1].index].state = undo->inodes[i - 1].old;
    }
    if (undo->slots_count > 0) {
        rebuild_slots(fs);
    }
    for (uint32_t i = fs->released.count; i > undo->released_before; i--) {
        const struct run *run = &fs->released.list[i - 1];

        for (uint32_t block = run->first; block < run->first + run->blocks; block++) {
            block_count(fs, block, 1, 0);
        }
    }
    fs->released.count = undo->released_before;
    for (uint32_t i = 0; i < undo->taken.count; i++) {
        const struct run *run = &undo->taken.list[i];

        for (uint32_t block = run->first; block < run->first + run->blocks; block++) {
            block_count(fs, block, -1, -1);
        }
    }
    clean(&fs->inodes_dirty, undo->inodes_dirty_before);
    clean(&fs->extents_dirty, undo->extents_dirty_before);
    fs->txn_bytes = (uint64_t)fs->inodes_dirty.count * ENTRY_INODE_BYTES +
                    (uint64_t)fs->extents_dirty.count * ENTRY_EXTENT_BYTES;
    txn_begin(fs);
}

fl_status
txn_run(struct mfs *fs, txn_op op, void *args, bool commit)
{
    for (bool again = false;; again = true) {
        fl_status status = fs_writable(fs);

        if (status != FL_OK) {
            return status;
        }
        txn_begin(fs);
        status = op(fs, args);
        if (status == FL_OK && commit) {
            status = journal_commit(fs);
        }
        if (status == FL_OK) {
            return FL_OK;
        }
        txn_undo(fs);
        const bool helps = (status == FL_NO_SPACE && fs->blocks_freeing > 0) ||
                           (status == FL_TOO_LARGE && txn_dirty(fs));

        if (again || !helps) {
            return status;
        }
        status = journal_commit(fs);
        if (status != FL_OK) {
            return status;
        }
    }
}
