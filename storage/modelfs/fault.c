/* Page faults: rules C2 to C5, C13, C17. */
#include "storage/modelfs/fs_internal.h"

#include "base/fail.h"

#include <inttypes.h>

struct fault {
    struct inode *inode;
    uint32_t first; /* of the file */
    uint32_t blocks;
    uint32_t flags;
};

static fl_status
op_fault(struct mfs *fs, void *args)
{
    const struct fault *fault = args;
    fl_status status = FL_OK;

    for (uint32_t i = 0; status == FL_OK && i < fault->blocks; i++) {
        status = block_ensure(fs, fault->inode, fault->first + i, fault->flags, 0, 0);
    }
    return status;
}

static fl_status
install(struct mfs_map *map, uint32_t block, uint32_t physical, enum map_entry entry)
{
    struct mfs *fs = map->fs;
    const enum mfs_access access =
        entry == MAP_READ || entry == MAP_ZERO ? MFS_ACCESS_READ : MFS_ACCESS_WRITE;
    const fl_status status =
        fs->engine.ops->install(fs->engine.context, map, block, physical, access);

    map_entry_set(map, block, status == FL_OK ? entry : MAP_NONE);
    return status;
}

/* Rule C13: only who touches it learns of it. */
static fl_status
bus(struct mfs_map *map, uint32_t block, fl_status why)
{
    const enum map_entry entry = why == FL_INVALID                           ? MAP_BUS_END
                                 : why == FL_NO_SPACE || why == FL_NO_MEMORY ? MAP_BUS_SPACE
                                                                             : MAP_BUS_IO;

    map->fs->counts.faults_bus++;
    /* An engine that can't be told has no mapper to tell. */
    (void)install(map, block, MFS_PHYS_BUS, entry);
    return why;
}

static fl_status
fault_read(struct mfs_map *map, uint32_t block)
{
    struct mfs *fs = map->fs;
    const struct mfs_extent_state *e = extent_lookup(fs, map->inode, map->first + block);

    fs->counts.faults_read++;
    if (e == NULL || (e->flags & MFS_EXTENT_UNWRITTEN) != 0) {
        return install(map, block, MFS_PHYS_ZERO, MAP_ZERO); /* Rule C3. */
    }
    return install(map, block, extent_physical(e, map->first + block),
                   map->entries[block] == MAP_WRITE ? MAP_WRITE : MAP_READ);
}

static fl_status
install_writable(struct mfs_map *map, uint32_t block)
{
    const uint32_t at = map->first + block;
    const struct mfs_extent_state *e = extent_lookup(map->fs, map->inode, at);

    FL_ASSERT(e != NULL);
    return install(map, block, extent_physical(e, at), MAP_WRITE);
}

/* Whether the block needs no change for a store of this kind of mapping. */
static bool
ready(const struct mfs *fs, const struct inode *inode, uint32_t block, uint32_t flags)
{
    const struct mfs_extent_state *e = extent_lookup(fs, inode, block);

    return e != NULL && (e->flags & MFS_EXTENT_UNWRITTEN) == 0 && (e->flags & flags) == flags &&
           fs->held[extent_physical(e, block)] == 1;
}

/* Rules C2 and C4: the block, its size and its flag are committed in one transaction, then it may be written. Rule C5:
 * whatever else is not committed of this file goes with it. */
static fl_status
make_durable(struct mfs_map *map, uint32_t block)
{
    struct mfs *fs = map->fs;
    struct fault fault = {map->inode, map->first + block, 1, MFS_EXTENT_NOSYNC};

    if (ready(fs, map->inode, fault.first, fault.flags)) {
        return map->inode->dirty ? journal_commit(fs) : FL_OK;
    }
    if (fs->mutant == MFS_MUTANT_PTE_BEFORE_COMMIT) {
        /* Mutant: the application stores and links before the block is sure to be there. */
        fl_status status = txn_run(fs, op_fault, &fault, false);

        if (status == FL_OK) {
            status = install_writable(map, block);
        }
        return status == FL_OK ? journal_commit(fs) : status;
    }
    if (fs->mutant == MFS_MUTANT_FLAG_APART) {
        /* Mutant: between the two a power cut leaves the block without its flag. */
        fault.flags = 0;
        const fl_status status = txn_run(fs, op_fault, &fault, true);

        if (status != FL_OK) {
            return status;
        }
        fault.flags = MFS_EXTENT_NOSYNC;
    }
    return txn_run(fs, op_fault, &fault, true);
}

static fl_status
fault_write(struct mfs_map *map, uint32_t block)
{
    struct mfs *fs = map->fs;
    struct fault fault = {map->inode, map->first + block, 1, 0};
    fl_status status = fs_writable(fs);

    fs->counts.faults_write++;
    fs->counts.faults_protected += map->entries[block] == MAP_READ;
    if (status == FL_OK && map->kind == MFS_MAP_NOSYNC) {
        status = make_durable(map, block);
    } else if (status == FL_OK && !ready(fs, map->inode, fault.first, 0)) {
        status = txn_run(fs, op_fault, &fault, false);
    }
    return status == FL_OK ? install_writable(map, block) : bus(map, block, status);
}

fl_status
mfs_fault(struct mfs_map *map, uint32_t block, bool write)
{
    struct mfs *fs = map->fs;

    if (block >= map->blocks) {
        return FL_FAIL(FL_INVALID, "block %" PRIu32 " of a mapping of %" PRIu32, block,
                       map->blocks);
    }
    if ((uint64_t)map->first + block >= blocks_of(fs, map->inode->state.size_bytes)) {
        return bus(map, block,
                   FL_FAIL(FL_INVALID, "block %" PRIu32 " is behind the end of %s",
                           map->first + block, map->inode->state.name));
    }
    const uint64_t commits = fs->counts.commits;
    const fl_status status = write ? fault_write(map, block) : fault_read(map, block);

    if (fs->counts.commits != commits) {
        mfs_retry_bus(fs);
    }
    return status;
}

/* Whether all that a range needs is there, so that no part of it is made if not all can be. */
static fl_status
enough_for(const struct mfs *fs, const struct inode *inode, uint32_t first, uint32_t end)
{
    uint64_t blocks = end - first;
    uint64_t slots = 0;

    for (uint32_t i = extent_find(fs, inode, first); i < inode->count; i++) {
        const struct mfs_extent_state *e = extent_at(fs, inode, i);

        if (e->logical >= end) {
            break;
        }
        const uint32_t from = e->logical > first ? e->logical : first;
        const uint32_t to = e->logical + e->blocks < end ? e->logical + e->blocks : end;

        blocks -= to - from;
        slots += e->blocks > 2 ? 2 : e->blocks - 1; /* its two ends are split off at most */
    }
    slots += blocks;
    if (blocks > fs->blocks_free || slots > fs->extents_free) {
        return FL_FAIL(FL_NO_SPACE,
                       "%" PRIu64 " blocks and %" PRIu64 " extent slots wanted, %" PRIu64
                       " and %" PRIu32 " free",
                       blocks, slots, fs->blocks_free, fs->extents_free);
    }
    return FL_OK;
}

static fl_status
populate(struct mfs_map *map, uint32_t block, uint32_t blocks)
{
    struct mfs *fs = map->fs;
    uint32_t batch = blocks;

    for (uint32_t done = 0; done < blocks;) {
        struct fault fault = {map->inode, map->first + block + done,
                              batch < blocks - done ? batch : blocks - done, MFS_EXTENT_NOSYNC};
        fl_status status = txn_run(fs, op_fault, &fault, true);

        if (status == FL_TOO_LARGE && batch > 1) {
            batch /= 2;
            continue;
        }
        for (uint32_t i = 0; status == FL_OK && i < fault.blocks; i++) {
            status = install_writable(map, block + done + i);
        }
        if (status != FL_OK) {
            return status;
        }
        done += fault.blocks;
    }
    return FL_OK;
}

fl_status
mfs_populate(struct mfs_map *map, uint32_t block, uint32_t blocks)
{
    struct mfs *fs = map->fs;
    const uint32_t first = map->first + block;
    fl_status status = fs_writable(fs);

    if (status != FL_OK) {
        return status;
    }
    if (map->kind != MFS_MAP_NOSYNC) {
        return FL_FAIL(FL_NOT_SUPPORTED, "a plain mapping has nothing to be made durable");
    }
    if (block > map->blocks || blocks > map->blocks - block ||
        (uint64_t)first + blocks > blocks_of(fs, map->inode->state.size_bytes)) {
        return FL_FAIL(FL_INVALID,
                       "blocks %" PRIu32 " to %" PRIu32 " are not all in the mapping "
                       "and the file",
                       block, block + blocks);
    }
    status = enough_for(fs, map->inode, first, first + blocks);
    if (status == FL_NO_SPACE && fs->blocks_freeing > 0) {
        status = journal_commit(fs);
        if (status == FL_OK) {
            status = enough_for(fs, map->inode, first, first + blocks);
        }
    }
    if (status == FL_OK) {
        status = populate(map, block, blocks);
    }
    mfs_retry_bus(fs);
    return status;
}
