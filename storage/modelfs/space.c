/* Allocating and giving back: rule C9; clones: rule C8. */
#include "storage/modelfs/fs_internal.h"

#include "base/fail.h"

#include <inttypes.h>

static uint64_t
bytes_most(const struct mfs *fs)
{
    return (uint64_t)MFS_LOGICAL_MAX << fs->geometry.block_shift;
}

/* For changes: the file, and [off, off + len) within what a file can have. */
static fl_status
begin(struct mfs *fs, uint64_t ino, uint64_t off, uint64_t len, struct inode **out)
{
    fl_status status = fs_writable(fs);

    if (status == FL_OK) {
        status = inode_get(fs, ino, out);
    }
    if (status == FL_OK && (off > bytes_most(fs) || len > bytes_most(fs) - off)) {
        status = FL_FAIL(FL_TOO_LARGE, "%" PRIu64 " bytes at %" PRIu64, len, off);
    }
    return status;
}

struct span {
    struct inode *inode;
    uint32_t first;
    uint32_t end;
    uint64_t size_bytes; /* the file's, with it */
    uint32_t zero_from;  /* truncate: of the block in front of `first`, if it is shared */
    bool zero;
};

/* ---- allocate ---- */

static fl_status
op_allocate(struct mfs *fs, void *args)
{
    const struct span *span = args;
    struct inode *inode = span->inode;
    uint32_t goal = UINT32_MAX;

    for (uint32_t block = span->first; block < span->end;) {
        const uint32_t index = extent_find(fs, inode, block);
        const struct mfs_extent_state *e =
            index < inode->count ? extent_at(fs, inode, index) : NULL;
        struct run run = {0, 0};

        if (e != NULL && e->logical <= block) {
            goal = e->physical + e->blocks;
            block = e->logical + e->blocks;
            continue;
        }
        const uint32_t end = e != NULL && e->logical < span->end ? e->logical : span->end;
        fl_status status = block_alloc(fs, goal, end - block, &run);

        if (status == FL_OK) {
            const struct mfs_extent_state add = {inode->state.ino, block, run.blocks, run.first,
                                                 MFS_EXTENT_UNWRITTEN};

            status = extent_add(fs, inode, &add);
        }
        if (status != FL_OK) {
            return status;
        }
        goal = run.first + run.blocks;
        block += run.blocks;
    }
    return inode_changed(fs, inode, span->size_bytes);
}

fl_status
mfs_allocate(struct mfs *fs, uint64_t ino, uint64_t off, uint64_t len, bool keep_size)
{
    struct inode *inode = NULL;
    fl_status status = begin(fs, ino, off, len, &inode);

    if (status != FL_OK) {
        return status;
    }
    if (len == 0) {
        return FL_FAIL(FL_INVALID, "allocate no bytes");
    }
    const bool grows = !keep_size && off + len > inode->state.size_bytes;
    struct span span = {
        .inode = inode,
        .first = (uint32_t)(off >> fs->geometry.block_shift),
        .end = (uint32_t)blocks_of(fs, off + len),
        .size_bytes = grows ? off + len : inode->state.size_bytes,
    };

    if (grows) {
        status = write_zeros_at_end(fs, inode);
    }
    if (status == FL_OK) {
        status = txn_run(fs, op_allocate, &span, false);
    }
    mfs_retry_bus(fs);
    return status;
}

/* ---- giving back ---- */

/* Mutant ZAP_AFTER_FREE: where the blocks were, for zapping them too late. */
struct late {
    uint32_t physical[64];
    uint32_t count;
};

static void
revoke_before(struct mfs *fs, struct inode *inode, uint32_t first, uint64_t end, struct late *late)
{
    late->count = 0;
    if (fs->mutant == MFS_MUTANT_ZAP_SKIPPED) {
        return; /* Mutant: a stale mapping of the block's next owner. */
    }
    if (fs->mutant == MFS_MUTANT_ZAP_AFTER_FREE) {
        for (uint32_t i = extent_find(fs, inode, first); i < inode->count; i++) {
            const struct mfs_extent_state *e = extent_at(fs, inode, i);

            for (uint32_t j = 0; j < e->blocks && late->count < 64; j++) {
                if (e->logical + j >= first && e->logical + j < end) {
                    late->physical[late->count++] = e->physical + j;
                }
            }
        }
        return; /* Mutant: what is stored between the free and the zap is in somebody else's block. */
    }
    revoke_all(fs, inode, first, end);
}

static void
revoke_after(struct mfs *fs, const struct late *late)
{
    for (uint32_t i = 0; i < late->count; i++) {
        fs->engine.ops->zap(fs->engine.context, late->physical[i], true);
    }
}

static fl_status
op_cut(struct mfs *fs, void *args)
{
    const struct span *span = args;
    fl_status status = FL_OK;

    if (span->zero) {
        status = block_ensure(fs, span->inode, span->first - 1, 0, span->zero_from,
                              fs->geometry.block_bytes);
    }
    if (status == FL_OK) {
        status = extent_cut(fs, span->inode, span->first, span->end, true);
    }
    return status == FL_OK ? inode_changed(fs, span->inode, span->size_bytes) : status;
}

/* A cut of what one transaction holds: from the end of the span, half as many extents as before until it fits. */
static fl_status
cut_some(struct mfs *fs, struct span *span, bool shrink)
{
    const struct inode *inode = span->inode;
    const uint32_t first = span->first;
    const uint32_t low = extent_find(fs, inode, first);
    uint32_t high = low;

    while (high < inode->count && extent_at(fs, inode, high)->logical < span->end) {
        high++;
    }
    for (uint32_t extents = high - low; extents > 1;) {
        extents /= 2;
        const uint64_t from = extent_at(fs, inode, high - extents)->logical;
        struct span part = *span;

        part.first = (uint32_t)from;
        part.zero = false;
        part.size_bytes = inode->state.size_bytes;
        if (shrink && part.size_bytes > from << fs->geometry.block_shift) {
            part.size_bytes = from << fs->geometry.block_shift;
        }
        const fl_status status = txn_run(fs, op_cut, &part, true);

        if (status == FL_OK) {
            span->end = shrink ? span->end : part.first;
        }
        if (status != FL_TOO_LARGE) {
            return status;
        }
    }
    return FL_FAIL(FL_TOO_LARGE, "no transaction holds the cut of one extent");
}

static fl_status
cut(struct mfs *fs, struct span *span, bool shrink, bool commit)
{
    struct late late;

    revoke_before(fs, span->inode, span->first, span->end, &late);
    fl_status status = txn_run(fs, op_cut, span, commit);

    while (status == FL_TOO_LARGE) {
        status = cut_some(fs, span, shrink);
        if (status != FL_OK) {
            break;
        }
        status = txn_run(fs, op_cut, span, true);
    }
    revoke_after(fs, &late);
    return status;
}

static fl_status
grow(struct mfs *fs, struct inode *inode, uint64_t size_bytes)
{
    const uint32_t none = (uint32_t)blocks_of(fs, size_bytes);
    struct span span = {.inode = inode, .first = none, .end = none, .size_bytes = size_bytes};
    const fl_status status = write_zeros_at_end(fs, inode);

    return status == FL_OK ? txn_run(fs, op_cut, &span, false) : status;
}

static fl_status
shrink_to(struct mfs *fs, struct inode *inode, uint64_t size_bytes)
{
    const uint32_t rest = (uint32_t)(size_bytes & (fs->geometry.block_bytes - 1));
    const uint32_t first = (uint32_t)blocks_of(fs, size_bytes);
    const bool gives_back = extent_find(fs, inode, first) < inode->count;
    const struct mfs_extent_state *last = rest > 0 ? extent_lookup(fs, inode, first - 1) : NULL;
    const bool promised = rest > 0 && nosync_covers(inode, first - 1);
    struct span span = {
        .inode = inode,
        .first = first,
        .end = MFS_LOGICAL_MAX,
        .size_bytes = size_bytes,
        .zero_from = rest,
        .zero = last != NULL && fs->held[extent_physical(last, first - 1)] > 1,
    };
    fl_status status = cut(fs, &span, true, gives_back || promised);

    if (status != FL_OK) {
        return status;
    }
    /* What read as zeros behind the new end raises SIGBUS from now on. */
    revoke_empty(fs, inode, first, MFS_LOGICAL_MAX, false);
    if (rest > 0) {
        status = write_zeros(fs, inode, first - 1, rest, fs->geometry.block_bytes);
    }
    if (status == FL_OK && promised) {
        /* order: the zeros before return. The mapping's own flushes would not reach them. */
        status = fs_fence(fs);
    }
    return status;
}

fl_status
mfs_truncate(struct mfs *fs, uint64_t ino, uint64_t size_bytes)
{
    struct inode *inode = NULL;
    fl_status status = begin(fs, ino, 0, size_bytes, &inode);

    if (status != FL_OK) {
        return status;
    }
    if (size_bytes < inode->state.size_bytes) {
        status = shrink_to(fs, inode, size_bytes);
    } else if (size_bytes > inode->state.size_bytes) {
        status = grow(fs, inode, size_bytes);
    }
    mfs_retry_bus(fs);
    return status;
}

/* Zero the parts of [off, end) that are no whole blocks given back. */
static fl_status
zero_edges(struct mfs *fs, struct inode *inode, uint64_t off, uint64_t end)
{
    const uint32_t block_bytes = fs->geometry.block_bytes;
    const uint32_t from = (uint32_t)(off & (block_bytes - 1));
    const uint32_t to = (uint32_t)(end & (block_bytes - 1));
    const uint32_t first = (uint32_t)(off >> fs->geometry.block_shift);
    const uint32_t last = (uint32_t)(end >> fs->geometry.block_shift);

    if (first == last) {
        return write_zeros(fs, inode, first, from, to);
    }
    const fl_status status = from > 0 ? write_zeros(fs, inode, first, from, block_bytes) : FL_OK;

    return status == FL_OK ? write_zeros(fs, inode, last, 0, to) : status;
}

fl_status
mfs_punch(struct mfs *fs, uint64_t ino, uint64_t off, uint64_t len)
{
    struct inode *inode = NULL;
    const uint64_t most = bytes_most(fs);
    fl_status status = begin(fs, ino, off < most ? off : most, 0, &inode);

    if (status != FL_OK) {
        return status;
    }
    if (len == 0) {
        return FL_FAIL(FL_INVALID, "punch no bytes");
    }
    off = off < most ? off : most;
    uint64_t end = len < most - off ? off + len : most;

    /* Behind the end of the file there is nothing of a block worth keeping. */
    if (end >= inode->state.size_bytes) {
        end = blocks_of(fs, end) << fs->geometry.block_shift;
    }
    struct span span = {
        .inode = inode,
        .first = (uint32_t)blocks_of(fs, off),
        .end = (uint32_t)(end >> fs->geometry.block_shift),
        .size_bytes = inode->state.size_bytes,
    };

    if (span.first < span.end) {
        status = cut(fs, &span, false, true);
    }
    if (status == FL_OK) {
        status = zero_edges(fs, inode, off, end);
    }
    if (status == FL_OK) {
        status = journal_commit(fs); /* the edges' zeros, and copies of shared blocks */
    }
    mfs_retry_bus(fs);
    return status;
}

static fl_status
op_collapse(struct mfs *fs, void *args)
{
    const struct span *span = args;
    fl_status status = extent_cut(fs, span->inode, span->first, span->end, true);

    if (status == FL_OK) {
        status = extent_shift(fs, span->inode, span->end, span->end - span->first);
    }
    return status == FL_OK ? inode_changed(fs, span->inode, span->size_bytes) : status;
}

fl_status
mfs_collapse(struct mfs *fs, uint64_t ino, uint64_t off, uint64_t len)
{
    struct inode *inode = NULL;
    struct late late;
    fl_status status = begin(fs, ino, off, len, &inode);

    if (status != FL_OK) {
        return status;
    }
    if (len == 0 || ((off | len) & (fs->geometry.block_bytes - 1)) != 0 ||
        off + len >= inode->state.size_bytes) {
        return FL_FAIL(FL_INVALID,
                       "collapse %" PRIu64 " bytes at %" PRIu64 " of %" PRIu64
                       ": not whole blocks before the end",
                       len, off, inode->state.size_bytes);
    }
    struct span span = {
        .inode = inode,
        .first = (uint32_t)(off >> fs->geometry.block_shift),
        .end = (uint32_t)((off + len) >> fs->geometry.block_shift),
        .size_bytes = inode->state.size_bytes - len,
    };

    /* All behind it is somewhere else afterwards. */
    revoke_before(fs, inode, span.first, MFS_LOGICAL_MAX, &late);
    revoke_empty(fs, inode, span.first, MFS_LOGICAL_MAX, true);
    status = txn_run(fs, op_collapse, &span, true);
    revoke_after(fs, &late);
    mfs_retry_bus(fs);
    return status;
}

/* ---- clones ---- */

struct clone {
    struct inode *from;
    struct inode *to;
};

static fl_status
op_clone(struct mfs *fs, void *args)
{
    const struct clone *clone = args;
    fl_status status = extent_cut(fs, clone->to, 0, MFS_LOGICAL_MAX, true);

    for (uint32_t i = 0; status == FL_OK && i < clone->from->count; i++) {
        struct mfs_extent_state e = *extent_at(fs, clone->from, i);

        if ((e.flags & MFS_EXTENT_UNWRITTEN) != 0) {
            continue; /* It reads as a hole does. */
        }
        if (e.flags != 0) {
            /* A flag without a mapper, where clearing it failed before. */
            e.flags = 0;
            status = txn_extent_set(fs, clone->from->slots[i], &e);
        }
        if (status == FL_OK) {
            status = txn_blocks_take(fs, e.physical, e.blocks);
        }
        e.ino = clone->to->state.ino;
        if (status == FL_OK) {
            status = extent_add(fs, clone->to, &e);
        }
    }
    return status == FL_OK ? inode_changed(fs, clone->to, clone->from->state.size_bytes) : status;
}

fl_status
mfs_clone(struct mfs *fs, uint64_t from, uint64_t to)
{
    struct clone clone = {NULL, NULL};
    fl_status status = begin(fs, from, 0, 0, &clone.from);

    if (status == FL_OK) {
        status = inode_get(fs, to, &clone.to);
    }
    if (status != FL_OK) {
        return status;
    }
    if (clone.from == clone.to) {
        return FL_FAIL(FL_INVALID, "%s can't be its own clone", clone.from->state.name);
    }
    if (clone.from->maps_nosync > 0 || clone.to->maps_nosync > 0) {
        return FL_FAIL(FL_BUSY, "%s is under a no-sync mapping",
                       clone.from->maps_nosync > 0 ? clone.from->state.name : clone.to->state.name);
    }
    /* From now on a store to a shared block faults, and gets a copy. */
    revoke_stores(fs, clone.from, 0, MFS_LOGICAL_MAX);
    revoke_all(fs, clone.to, 0, MFS_LOGICAL_MAX);
    revoke_empty(fs, clone.to, 0, MFS_LOGICAL_MAX, true);
    status = txn_run(fs, op_clone, &clone, false);
    mfs_retry_bus(fs);
    return status;
}
