/* A file's extents: its slots sorted by logical block. */
#include "storage/modelfs/fs_internal.h"

#include "base/fail.h"

#include <stdlib.h>
#include <string.h>

static uint32_t
end_of(const struct mfs_extent_state *e)
{
    return e->logical + e->blocks;
}

const struct mfs_extent_state *
extent_at(const struct mfs *fs, const struct inode *inode, uint32_t index)
{
    return &fs->extents[inode->slots[index]];
}

static int
by_logical(const void *a, const void *b, void *extents)
{
    const struct mfs_extent_state *table = extents;
    const uint32_t one = table[*(const uint32_t *)a].logical;
    const uint32_t two = table[*(const uint32_t *)b].logical;

    return (one > two) - (one < two);
}

void
extent_sort(struct mfs *fs, struct inode *inode)
{
    if (inode->count > 1) {
        qsort_r(inode->slots, inode->count, sizeof(*inode->slots), by_logical, fs->extents);
    }
}

uint32_t
extent_find(const struct mfs *fs, const struct inode *inode, uint32_t block)
{
    uint32_t low = 0;
    uint32_t high = inode->count;

    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;

        if (end_of(extent_at(fs, inode, middle)) <= block) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

const struct mfs_extent_state *
extent_lookup(const struct mfs *fs, const struct inode *inode, uint32_t block)
{
    const uint32_t index = extent_find(fs, inode, block);

    if (index == inode->count || extent_at(fs, inode, index)->logical > block) {
        return NULL;
    }
    return extent_at(fs, inode, index);
}

static fl_status
insert(struct mfs *fs, struct inode *inode, uint32_t index, const struct mfs_extent_state *state)
{
    uint32_t slot = 0;
    fl_status status =
        array_grow(&inode->slots, &inode->capacity, inode->count + 1, sizeof(*inode->slots));

    if (status == FL_OK) {
        status = txn_slot_find(fs, &slot);
    }
    if (status == FL_OK) {
        status = txn_extent_set(fs, slot, state);
    }
    if (status != FL_OK) {
        return status;
    }
    memmove(inode->slots + index + 1, inode->slots + index,
            (inode->count - index) * sizeof(*inode->slots));
    inode->slots[index] = slot;
    inode->count++;
    return FL_OK;
}

static fl_status
erase(struct mfs *fs, struct inode *inode, uint32_t index)
{
    static const struct mfs_extent_state none;
    const fl_status status = txn_extent_set(fs, inode->slots[index], &none);

    if (status == FL_OK) {
        inode->count--;
        memmove(inode->slots + index, inode->slots + index + 1,
                (inode->count - index) * sizeof(*inode->slots));
    }
    return status;
}

/* Take [first, end) out of the extent at *index, which has a part of it; *index moves behind. */
static fl_status
cut_one(struct mfs *fs, struct inode *inode, uint32_t *index, uint32_t first, uint32_t end)
{
    const struct mfs_extent_state old = *extent_at(fs, inode, *index);
    struct mfs_extent_state left = old;
    struct mfs_extent_state right = old;
    fl_status status;

    left.blocks = first > old.logical ? first - old.logical : 0;
    right.blocks = end < end_of(&old) ? end_of(&old) - end : 0;
    right.logical = end;
    right.physical = extent_physical(&old, end);
    if (left.blocks == 0 && right.blocks == 0) {
        return erase(fs, inode, *index);
    }
    status = txn_extent_set(fs, inode->slots[*index], left.blocks > 0 ? &left : &right);
    (*index)++;
    if (status == FL_OK && left.blocks > 0 && right.blocks > 0) {
        status = insert(fs, inode, *index, &right);
        (*index)++;
    }
    return status;
}

fl_status
extent_cut(struct mfs *fs, struct inode *inode, uint32_t first, uint32_t end, bool release)
{
    uint32_t index = extent_find(fs, inode, first);
    fl_status status = FL_OK;

    while (status == FL_OK && index < inode->count && extent_at(fs, inode, index)->logical < end) {
        const struct mfs_extent_state old = *extent_at(fs, inode, index);
        const uint32_t from = old.logical > first ? old.logical : first;
        const uint32_t to = end_of(&old) < end ? end_of(&old) : end;

        if (release) {
            status = txn_blocks_release(fs, extent_physical(&old, from), to - from);
        }
        if (status == FL_OK) {
            status = cut_one(fs, inode, &index, from, to);
        }
    }
    return status;
}

static bool
continues(const struct mfs_extent_state *a, const struct mfs_extent_state *b)
{
    return end_of(a) == b->logical && a->physical + a->blocks == b->physical &&
           a->flags == b->flags;
}

fl_status
extent_add(struct mfs *fs, struct inode *inode, const struct mfs_extent_state *add)
{
    const uint32_t index = extent_find(fs, inode, add->logical);
    const bool left = index > 0 && continues(extent_at(fs, inode, index - 1), add);
    const bool right = index < inode->count && continues(add, extent_at(fs, inode, index));
    struct mfs_extent_state merged = *add;

    FL_ASSERT(index == inode->count || extent_at(fs, inode, index)->logical >= end_of(add));
    if (left) {
        const struct mfs_extent_state *before = extent_at(fs, inode, index - 1);

        merged.logical = before->logical;
        merged.physical = before->physical;
        merged.blocks += before->blocks;
    }
    if (right) {
        merged.blocks += extent_at(fs, inode, index)->blocks;
    }
    if (left) {
        const fl_status status = right ? erase(fs, inode, index) : FL_OK;

        return status == FL_OK ? txn_extent_set(fs, inode->slots[index - 1], &merged) : status;
    }
    return right ? txn_extent_set(fs, inode->slots[index], &merged)
                 : insert(fs, inode, index, &merged);
}

fl_status
extent_shift(struct mfs *fs, struct inode *inode, uint32_t from, uint32_t by)
{
    fl_status status = FL_OK;

    for (uint32_t i = extent_find(fs, inode, from); status == FL_OK && i < inode->count; i++) {
        struct mfs_extent_state moved = *extent_at(fs, inode, i);

        moved.logical -= by;
        status = txn_extent_set(fs, inode->slots[i], &moved);
    }
    return status;
}

/* ---- one block ---- */

/* So that blocks that are faulted in any order still lie side by side. */
static uint32_t
goal_of(const struct mfs *fs, const struct inode *inode, uint32_t block)
{
    const uint32_t index = extent_find(fs, inode, block);

    if (index == 0) {
        return UINT32_MAX;
    }
    const struct mfs_extent_state *before = extent_at(fs, inode, index - 1);
    const uint64_t goal = (uint64_t)before->physical + (block - before->logical);

    return goal < fs->geometry.blocks ? (uint32_t)goal : UINT32_MAX;
}

static fl_status
copy_block(struct mfs *fs, uint32_t from, uint32_t to, uint32_t zero_from, uint32_t zero_to)
{
    const uint32_t bytes = fs->geometry.block_bytes;

    mfs_media_store(fs->media, block_off(fs, to), mfs_media_live(fs->media) + block_off(fs, from),
                    bytes);
    if (zero_to > zero_from) {
        mfs_media_zero(fs->media, block_off(fs, to) + zero_from, zero_to - zero_from);
    }
    return fs_flush(fs, block_off(fs, to), bytes);
}

fl_status
block_ensure(struct mfs *fs, struct inode *inode, uint32_t block, uint32_t flags,
             uint32_t zero_from, uint32_t zero_to)
{
    const struct mfs_extent_state *e = extent_lookup(fs, inode, block);
    struct mfs_extent_state new = {
        .ino = inode->state.ino, .logical = block, .blocks = 1, .flags = flags};
    const uint32_t old = e == NULL ? UINT32_MAX : extent_physical(e, block);
    const bool unwritten = e != NULL && (e->flags & MFS_EXTENT_UNWRITTEN) != 0;
    const bool shared = e != NULL && fs->held[old] > 1;
    fl_status status = FL_OK;

    if (e != NULL && !unwritten && !shared && (e->flags & flags) == flags) {
        return FL_OK;
    }
    new.physical = old;
    new.flags |= e == NULL ? 0 : e->flags & ~(uint32_t)MFS_EXTENT_UNWRITTEN;
    if (e == NULL || shared) {
        struct run run = {0, 0};

        status = block_alloc(fs, goal_of(fs, inode, block), 1, &run);
        new.physical = run.first;
    }
    if (status == FL_OK && shared && !unwritten) {
        /* Rule C8: no mapping may go on reading what is somebody else's block from now on. */
        revoke_all(fs, inode, block, (uint64_t)block + 1);
        status = copy_block(fs, old, new.physical, zero_from, zero_to);
    } else if (status == FL_OK && (e == NULL || unwritten)) {
        revoke_empty(fs, inode, block, (uint64_t)block + 1, false);
        status = block_zero(fs, new.physical);
    }
    if (status == FL_OK && e != NULL) {
        status = extent_cut(fs, inode, block, block + 1, shared);
    }
    return status == FL_OK ? extent_add(fs, inode, &new) : status;
}
