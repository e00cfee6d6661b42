/* Mappings: who has one, and which of their blocks may be tried again. */
#include "storage/modelfs/fs_internal.h"

#include "base/fail.h"
#include "base/mem.h"

#include <inttypes.h>
#include <string.h>

bool
nosync_covers(const struct inode *inode, uint32_t block)
{
    for (const struct mfs_map *map = inode->maps; map != NULL; map = map->next) {
        if (map->kind == MFS_MAP_NOSYNC && map_covers(map, block)) {
            return true;
        }
    }
    return false;
}

/* Rule C8: what a no-sync mapping stores must not reach a clone, nor be left behind by copy on write. */
static fl_status
refuse_shared(struct mfs *fs, struct inode *inode)
{
    bool leaving = false; /* a clone is gone, but not durably */

    for (uint32_t i = 0; i < inode->count; i++) {
        const struct mfs_extent_state *e = extent_at(fs, inode, i);

        for (uint32_t block = e->physical; block < e->physical + e->blocks; block++) {
            if (fs->refs[block] > 1) {
                return FL_FAIL(FL_BUSY, "%s shares blocks with a clone", inode->state.name);
            }
            leaving = leaving || fs->held[block] > 1;
        }
    }
    return leaving ? journal_commit(fs) : FL_OK;
}

fl_status
mfs_map_open(struct mfs *fs, uint64_t ino, uint32_t first, uint32_t blocks, enum mfs_map_kind kind,
             void *owner, struct mfs_map **out)
{
    struct inode *inode = NULL;
    fl_status status = fs_writable(fs);

    if (status == FL_OK) {
        status = inode_get(fs, ino, &inode);
    }
    if (status != FL_OK) {
        return status;
    }
    if ((kind != MFS_MAP_PLAIN && kind != MFS_MAP_NOSYNC) || blocks == 0 ||
        first > MFS_LOGICAL_MAX || blocks > MFS_LOGICAL_MAX - first) {
        return FL_FAIL(FL_INVALID, "a mapping of kind %d of %" PRIu32 " blocks from %" PRIu32,
                       (int)kind, blocks, first);
    }
    if (fs->engine.ops == NULL ||
        (kind == MFS_MAP_NOSYNC && (fs->geometry.features & MFS_FEATURE_NOSYNC) == 0)) {
        return FL_FAIL(FL_NOT_SUPPORTED, "this filesystem grants no %smapping", /* Rule C1. */
                       kind == MFS_MAP_NOSYNC ? "no-sync " : "");
    }
    if (kind == MFS_MAP_NOSYNC) {
        status = refuse_shared(fs, inode);
        if (status != FL_OK) {
            return status;
        }
    }
    struct mfs_map *map = mem_alloc_zero(sizeof(*map) + blocks);

    if (map == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "a mapping of %" PRIu32 " blocks", blocks);
    }
    map->fs = fs;
    map->inode = inode;
    map->kind = kind;
    map->first = first;
    map->blocks = blocks;
    map->owner = owner;
    map->next = inode->maps;
    inode->maps = map;
    inode->maps_count++;
    inode->maps_nosync += kind == MFS_MAP_NOSYNC;
    *out = map;
    return FL_OK;
}

static void
map_free(struct mfs_map *map)
{
    struct inode *inode = map->inode;
    struct mfs_map **at = &inode->maps;

    while (*at != map) {
        at = &(*at)->next;
    }
    *at = map->next;
    inode->maps_count--;
    inode->maps_nosync -= map->kind == MFS_MAP_NOSYNC;
    map->fs->bus_count -= map->bus_count;
    mem_free(map);
}

void
map_free_all(struct mfs *fs)
{
    for (uint32_t i = 0; fs->inodes != NULL && i < fs->geometry.inodes; i++) {
        while (fs->inodes[i].maps != NULL) {
            map_free(fs->inodes[i].maps);
        }
    }
}

fl_status
mfs_map_close(struct mfs_map *map)
{
    struct mfs *fs = map->fs;
    struct inode *inode = map->inode;
    const bool nosync = map->kind == MFS_MAP_NOSYNC;

    map_free(map);
    if (!nosync || inode->maps_nosync > 0) {
        return FL_OK;
    }
    /* Rule C10: without its flag a block is what fsync made of it. */
    fl_status status = fs_writable(fs);

    if (status == FL_OK) {
        status = sync_data(fs, inode);
    }
    if (status == FL_OK) {
        status = journal_commit(fs);
    }
    if (status == FL_OK) {
        status = sync_clear_flags(fs, inode);
    }
    mfs_retry_bus(fs);
    return status;
}

void *
mfs_map_owner(const struct mfs_map *map)
{
    return map->owner;
}

uint64_t
mfs_map_ino(const struct mfs_map *map)
{
    return map->inode->state.ino;
}

enum mfs_map_kind
mfs_map_kind(const struct mfs_map *map)
{
    return map->kind;
}

static void
retry_map(struct mfs *fs, struct mfs_map *map)
{
    const uint64_t end = blocks_of(fs, map->inode->state.size_bytes);

    for (uint32_t block = 0; map->bus_count > 0 && block < map->blocks; block++) {
        if ((map->entries[block] == MAP_BUS_END && (uint64_t)map->first + block < end) ||
            (map->entries[block] == MAP_BUS_SPACE && fs->blocks_free > 0)) {
            fs->engine.ops->drop(fs->engine.context, map, block);
            map_entry_set(map, block, MAP_NONE);
        }
    }
}

void
mfs_retry_bus(struct mfs *fs)
{
    for (uint32_t i = 0; fs->bus_count > 0 && i < fs->geometry.inodes; i++) {
        for (struct mfs_map *map = fs->inodes[i].maps; map != NULL; map = map->next) {
            retry_map(fs, map);
        }
    }
}
