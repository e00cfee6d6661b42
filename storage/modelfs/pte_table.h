/* An engine without processes: page tables as an array, loads and stores as calls. Deterministic, so that tests can
 * cut the power before each step; and it can have stale entries, as hardware can. */
#ifndef FL_STORAGE_MODELFS_PTE_TABLE_H
#define FL_STORAGE_MODELFS_PTE_TABLE_H

#include "storage/modelfs/fs.h"

struct mfs_pte_table;

FL_NODISCARD fl_status mfs_pte_table_create(struct mfs_media *media, struct mfs_pte_table **out);
void mfs_pte_table_destroy(struct mfs_pte_table *table);
/* For mfs_mount_options. */
struct mfs_engine mfs_pte_table_engine(struct mfs_pte_table *table);
/* Once it is mounted: where its data blocks begin. Forgets all entries. */
void mfs_pte_table_mounted(struct mfs_pte_table *table, struct mfs *fs, uint64_t data_off);

/* A mapper's accesses at byte `off` of the mapping, faulting as needed, never over a block's end. FL_IO: SIGBUS. */
FL_NODISCARD fl_status mfs_pte_load(struct mfs_pte_table *table, struct mfs_map *map, uint64_t off,
                                    void *buf, size_t len);
FL_NODISCARD fl_status mfs_pte_store(struct mfs_pte_table *table, struct mfs_map *map, uint64_t off,
                                     const void *src, size_t len);
/* clwb: of what the entry leads to, however stale it is. */
FL_NODISCARD fl_status mfs_pte_flush(struct mfs_pte_table *table, struct mfs_map *map,
                                     struct mfs_cpu *cpu, uint64_t off, size_t len);
/* The mapper unmaps, or dies: its entries are gone. Before mfs_map_close(), which frees what they are filed under. */
void mfs_pte_unmap(struct mfs_pte_table *table, const struct mfs_map *map);
/* What is there now, without a fault. *phys: MFS_PHYS_BUS is there for writing, and raises SIGBUS. */
enum mfs_access mfs_pte_access(struct mfs_pte_table *table, struct mfs_map *map, uint32_t block,
                               uint32_t *phys);

#endif
