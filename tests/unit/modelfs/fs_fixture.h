/* A model filesystem on a device in memory with the engine of tables, for tests of its core. */
#ifndef FL_TESTS_UNIT_MODELFS_FS_FIXTURE_H
#define FL_TESTS_UNIT_MODELFS_FS_FIXTURE_H

#include "storage/modelfs/fs.h"
#include "storage/modelfs/pte_table.h"

enum { BLOCK = 4096 };

struct fixture {
    struct mfs_media *media;
    struct mfs_pte_table *table;
    struct mfs *fs;
    struct mfs_cpu *cpu; /* the mapper's */
    enum mfs_mutant mutant;
};

/* Smallest tables; `blocks` of data, a journal of `journal_bytes` (0: 4096). */
void fixture_init(struct fixture *f, uint32_t blocks, uint64_t journal_bytes);
void fixture_deinit(struct fixture *f);

/* How many bytes a device for so many blocks has. */
uint64_t device_bytes(uint32_t blocks, uint64_t journal_bytes);

void mount(struct fixture *f);
/* The power is cut: seed 0 takes what was not fenced, UINT64_MAX nothing, others a random part. Mounted again. */
void power_cut(struct fixture *f, uint64_t seed);
void remount(struct fixture *f);

uint64_t make_file(struct fixture *f, const char *name, uint64_t size_bytes);
struct mfs_map *map_whole(struct fixture *f, uint64_t ino, enum mfs_map_kind kind, uint32_t blocks);
void map_end(struct fixture *f, struct mfs_map *map);

/* One word at the start of a block, through the mapping. */
fl_status store_word(struct fixture *f, struct mfs_map *map, uint32_t block, uint64_t word);
uint64_t load_word(struct fixture *f, struct mfs_map *map, uint32_t block);
/* The same, flushed and fenced by the mapper. */
fl_status persist_word(struct fixture *f, struct mfs_map *map, uint32_t block, uint64_t word);
/* By read and write. */
uint64_t read_word(struct fixture *f, uint64_t ino, uint64_t off);
void write_word(struct fixture *f, uint64_t ino, uint64_t off, uint64_t word);

uint64_t size_of(struct fixture *f, uint64_t ino);
uint64_t commits(struct fixture *f);
/* The extent that begins at `block`; blocks 0: there is none. */
struct mfs_extent extent_of(struct fixture *f, uint64_t ino, uint32_t block);

/* Nothing is wrong with what is persisted. */
void check_clean(struct fixture *f);
uint64_t check_image(const uint8_t *image, uint64_t size_bytes);

#endif
