/* Taking back what mappings may do. */
#include "storage/modelfs/fs_internal.h"

static uint32_t
from_of(const struct mfs_map *map, uint32_t first)
{
    return first > map->first ? first : map->first;
}

static uint64_t
to_of(const struct mfs_map *map, uint64_t end)
{
    const uint64_t map_end = (uint64_t)map->first + map->blocks;

    return end < map_end ? end : map_end;
}

bool
map_covers(const struct mfs_map *map, uint32_t block)
{
    return block >= map->first && block - map->first < map->blocks;
}

void
map_entry_set(struct mfs_map *map, uint32_t block, enum map_entry entry)
{
    const bool was = map->entries[block] == MAP_BUS_END || map->entries[block] == MAP_BUS_SPACE;
    const bool is = entry == MAP_BUS_END || entry == MAP_BUS_SPACE;

    map->entries[block] = (uint8_t)entry;
    map->bus_count += (uint32_t)is - (uint32_t)was;
    map->fs->bus_count += (uint64_t)is - (uint64_t)was;
}

static bool
leads_to_block(const struct mfs_map *map, uint32_t block)
{
    return map_covers(map, block) && (map->entries[block - map->first] == MAP_READ ||
                                      map->entries[block - map->first] == MAP_WRITE);
}

void
revoke_stores(struct mfs *fs, struct inode *inode, uint32_t first, uint64_t end)
{
    for (struct mfs_map *map = inode->maps; map != NULL; map = map->next) {
        for (uint64_t at = from_of(map, first); at < to_of(map, end); at++) {
            const uint32_t block = (uint32_t)at - map->first;

            if (map->entries[block] == MAP_WRITE) {
                fs->engine.ops->protect(fs->engine.context, map, block);
                fs->counts.protects++;
                map_entry_set(map, block, MAP_READ);
            }
        }
    }
}

/* The other files' entries for a shared block: the engine has zapped them with ours. */
static void
forget_shared(struct mfs *fs, const struct inode *but, uint32_t physical)
{
    for (uint32_t i = 0; i < fs->geometry.inodes; i++) {
        struct inode *inode = &fs->inodes[i];

        for (uint32_t j = 0; inode != but && inode->maps != NULL && j < inode->count; j++) {
            const struct mfs_extent_state *e = extent_at(fs, inode, j);

            if (physical < e->physical || physical - e->physical >= e->blocks) {
                continue;
            }
            const uint32_t block = e->logical + (physical - e->physical);

            for (struct mfs_map *map = inode->maps; map != NULL; map = map->next) {
                if (leads_to_block(map, block)) {
                    map_entry_set(map, block - map->first, MAP_NONE);
                }
            }
        }
    }
}

static void
zap_block(struct mfs *fs, struct inode *inode, uint32_t block)
{
    const struct mfs_extent_state *e = extent_lookup(fs, inode, block);

    if (e != NULL) {
        const uint32_t physical = extent_physical(e, block);

        fs->engine.ops->zap(fs->engine.context, physical, true);
        fs->counts.zaps++;
        if (fs->held[physical] > 1) {
            forget_shared(fs, inode, physical);
        }
    }
    for (struct mfs_map *map = inode->maps; map != NULL; map = map->next) {
        if (leads_to_block(map, block)) {
            map_entry_set(map, block - map->first, MAP_NONE);
        }
    }
}

void
revoke_all(struct mfs *fs, struct inode *inode, uint32_t first, uint64_t end)
{
    /* All of them are protected before the first is zapped: the engine keeps the bytes only so. */
    revoke_stores(fs, inode, first, end);
    for (struct mfs_map *map = inode->maps; map != NULL; map = map->next) {
        for (uint64_t at = from_of(map, first); at < to_of(map, end); at++) {
            if (leads_to_block(map, (uint32_t)at)) {
                zap_block(fs, inode, (uint32_t)at);
            }
        }
    }
}

void
revoke_empty(struct mfs *fs, struct inode *inode, uint32_t first, uint64_t end, bool bus)
{
    for (struct mfs_map *map = inode->maps; map != NULL; map = map->next) {
        for (uint64_t at = from_of(map, first); at < to_of(map, end); at++) {
            const uint32_t block = (uint32_t)at - map->first;
            const uint8_t entry = map->entries[block];

            if (entry == MAP_ZERO || (bus && entry >= MAP_BUS_END)) {
                fs->engine.ops->drop(fs->engine.context, map, block);
                map_entry_set(map, block, MAP_NONE);
            }
        }
    }
}
