#include "storage/modelfs/pte_table.h"

#include "storage/modelfs/media_internal.h"

#include "base/fail.h"
#include "base/mem.h"

#include <inttypes.h>
#include <string.h>

enum {
    FAULTS_MAX = 4, /* of one access: absent, then protected, say; more of them would never end */
    UNDEFINED_BYTE = 0xDB,
};

struct entry {
    uint32_t phys;
    enum mfs_access access;
};

struct mapping {
    struct mapping *next;
    struct mfs_map *map;
    struct entry *entries; /* [count] by block of the mapping */
    uint32_t count;
};

struct mfs_pte_table {
    struct mfs_media *media;
    uint64_t data_off;
    uint32_t block_bytes;
    struct mapping *mappings;
};

static struct mapping *
find(const struct mfs_pte_table *table, const struct mfs_map *map)
{
    struct mapping *mapping = table->mappings;

    while (mapping != NULL && mapping->map != map) {
        mapping = mapping->next;
    }
    return mapping;
}

static struct entry *
find_entry(const struct mfs_pte_table *table, const struct mfs_map *map, uint32_t block)
{
    struct mapping *mapping = find(table, map);

    return mapping != NULL && block < mapping->count ? &mapping->entries[block] : NULL;
}

static bool
make_room(struct mapping *mapping, uint32_t block)
{
    if (block < mapping->count) {
        return true;
    }
    uint32_t count = mapping->count < 16 ? 16 : mapping->count;
    while (count <= block) {
        count = count > UINT32_MAX / 2 ? UINT32_MAX : count * 2;
    }
    struct entry *entries = mem_alloc_zero(count * sizeof(*entries));
    if (entries == NULL) {
        return false;
    }
    if (mapping->count > 0) {
        memcpy(entries, mapping->entries, mapping->count * sizeof(*entries));
    }
    mem_free(mapping->entries);
    mapping->entries = entries;
    mapping->count = count;
    return true;
}

/* ---- the engine ---- */

static fl_status
engine_install(void *engine, struct mfs_map *map, uint32_t block, uint32_t phys,
               enum mfs_access access)
{
    struct mfs_pte_table *table = engine;
    struct mapping *mapping = find(table, map);

    FL_ASSERT(access != MFS_ACCESS_NONE && block != UINT32_MAX);
    FL_ASSERT(phys != MFS_PHYS_ZERO || access == MFS_ACCESS_READ);
    if (mapping == NULL) {
        mapping = mem_alloc_zero(sizeof(*mapping));
        if (mapping == NULL) {
            return FL_FAIL(FL_NO_MEMORY, "no memory for a page table");
        }
        mapping->map = map;
        mapping->next = table->mappings;
        table->mappings = mapping;
    }
    if (!make_room(mapping, block)) {
        return FL_FAIL(FL_NO_MEMORY, "no memory for a page table of %" PRIu32 " blocks", block);
    }
    mapping->entries[block] = (struct entry){.phys = phys, .access = access};
    return FL_OK;
}

static void
engine_protect(void *engine, struct mfs_map *map, uint32_t block)
{
    struct entry *entry = find_entry(engine, map, block);

    if (entry != NULL && entry->access == MFS_ACCESS_WRITE) {
        entry->access = MFS_ACCESS_READ;
    }
}

static void
engine_zap(void *engine, uint32_t phys, bool keep)
{
    struct mfs_pte_table *table = engine;

    for (struct mapping *mapping = table->mappings; mapping != NULL; mapping = mapping->next) {
        for (uint32_t i = 0; i < mapping->count; i++) {
            if (mapping->entries[i].phys == phys) {
                mapping->entries[i] = (struct entry){0};
            }
        }
    }
    if (!keep) {
        /* Undefined, so that who relies on them is found out. No step of a processor's: the hooks don't see it. */
        memset(table->media->live + table->data_off + (uint64_t)phys * table->block_bytes,
               UNDEFINED_BYTE, table->block_bytes);
    }
}

static void
engine_drop(void *engine, struct mfs_map *map, uint32_t block)
{
    struct entry *entry = find_entry(engine, map, block);

    if (entry != NULL && (entry->phys == MFS_PHYS_ZERO || entry->phys == MFS_PHYS_BUS)) {
        *entry = (struct entry){0};
    }
}

static const struct mfs_engine_ops engine_ops = {
    .install = engine_install, .protect = engine_protect, .zap = engine_zap, .drop = engine_drop};

fl_status
mfs_pte_table_create(struct mfs_media *media, struct mfs_pte_table **out)
{
    struct mfs_pte_table *table = mem_alloc_zero(sizeof(*table));

    if (table == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "no memory for page tables");
    }
    table->media = media;
    *out = table;
    return FL_OK;
}

static void
forget_all(struct mfs_pte_table *table)
{
    while (table->mappings != NULL) {
        mfs_pte_unmap(table, table->mappings->map);
    }
}

void
mfs_pte_table_destroy(struct mfs_pte_table *table)
{
    forget_all(table);
    mem_free(table);
}

struct mfs_engine
mfs_pte_table_engine(struct mfs_pte_table *table)
{
    return (struct mfs_engine){.ops = &engine_ops, .context = table};
}

void
mfs_pte_table_mounted(struct mfs_pte_table *table, struct mfs *fs, uint64_t data_off)
{
    forget_all(table);
    table->data_off = data_off;
    table->block_bytes = mfs_block_bytes(fs);
}

/* ---- a mapper ---- */

void
mfs_pte_unmap(struct mfs_pte_table *table, const struct mfs_map *map)
{
    struct mapping **link = &table->mappings;

    while (*link != NULL && (*link)->map != map) {
        link = &(*link)->next;
    }
    if (*link != NULL) {
        struct mapping *mapping = *link;
        *link = mapping->next;
        mem_free(mapping->entries);
        mem_free(mapping);
    }
}

enum mfs_access
mfs_pte_access(struct mfs_pte_table *table, struct mfs_map *map, uint32_t block, uint32_t *phys)
{
    const struct entry *entry = find_entry(table, map, block);
    const bool present = entry != NULL && entry->access != MFS_ACCESS_NONE;

    if (present && phys != NULL) {
        *phys = entry->phys;
    }
    return present ? entry->access : MFS_ACCESS_NONE;
}

/* What an access of the mapper's reaches, once it has faulted as often as it must. */
static fl_status
reach(struct mfs_pte_table *table, struct mfs_map *map, uint64_t off, size_t len, bool write,
      uint32_t *phys)
{
    const enum mfs_access needed = write ? MFS_ACCESS_WRITE : MFS_ACCESS_READ;
    const uint32_t block = (uint32_t)(off / table->block_bytes);

    FL_ASSERT(len <= table->block_bytes - off % table->block_bytes);
    for (int faults = 0; faults <= FAULTS_MAX; faults++) {
        if (mfs_pte_access(table, map, block, phys) >= needed) {
            return *phys != MFS_PHYS_BUS
                       ? FL_OK
                       : FL_FAIL(FL_IO, "SIGBUS at block %" PRIu32 " of a mapping", block);
        }
        /* What it could not do it has installed as MFS_PHYS_BUS. */
        (void)mfs_fault(map, block, write);
    }
    return FL_FAIL(FL_IO, "block %" PRIu32 " of a mapping faults without end", block);
}

static uint64_t
device_off(const struct mfs_pte_table *table, uint32_t phys, uint64_t off)
{
    return table->data_off + (uint64_t)phys * table->block_bytes + off % table->block_bytes;
}

fl_status
mfs_pte_load(struct mfs_pte_table *table, struct mfs_map *map, uint64_t off, void *buf, size_t len)
{
    uint32_t phys = 0;

    const fl_status status = reach(table, map, off, len, false, &phys);
    if (status != FL_OK) {
        return status;
    }
    if (phys == MFS_PHYS_ZERO) {
        memset(buf, 0, len);
    } else {
        memcpy(buf, table->media->live + device_off(table, phys, off), len);
    }
    return FL_OK;
}

fl_status
mfs_pte_store(struct mfs_pte_table *table, struct mfs_map *map, uint64_t off, const void *src,
              size_t len)
{
    uint32_t phys = 0;

    const fl_status status = reach(table, map, off, len, true, &phys);
    if (status == FL_OK) {
        mfs_media_store(table->media, device_off(table, phys, off), src, len);
    }
    return status;
}

fl_status
mfs_pte_flush(struct mfs_pte_table *table, struct mfs_map *map, struct mfs_cpu *cpu, uint64_t off,
              size_t len)
{
    uint32_t phys = 0;

    /* An instruction that flushes a line faults as a load does. */
    const fl_status status = reach(table, map, off, len, false, &phys);
    if (status != FL_OK || phys == MFS_PHYS_ZERO) {
        return status;
    }
    return mfs_cpu_flush(cpu, device_off(table, phys, off), len);
}
