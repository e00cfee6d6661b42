/* Files as they should be: a reference of the model filesystem, and its operations done on both. */
#ifndef FL_TESTS_UNIT_MODELFS_FS_WORLD_H
#define FL_TESTS_UNIT_MODELFS_FS_WORLD_H

#include "tests/lib/rng.h"
#include "tests/unit/modelfs/fs_fixture.h"

enum {
    FILES = 5,
    FILE_BLOCKS = 12,
    BLOCKS = 40,
    ROUNDS = 1000,
    STEPS = 150, /* between two power cuts, at most */
    VALUES_MAX = STEPS + 2,
    CELLS_MAX = FILES * FILE_BLOCKS * 2 + STEPS * FILE_BLOCKS,
};

enum { HOLE = 0, UNWRITTEN = 1, CELLS_FIRST = 2 };

/* One physical block's word. */
struct cell {
    uint64_t now;
    uint64_t durable;
    uint64_t since[VALUES_MAX];
    unsigned since_count;
    unsigned users; /* files as they are */
};

struct file {
    bool there;
    uint32_t blocks; /* its size */
    uint32_t cells[FILE_BLOCKS];
};

struct world {
    struct fixture f;
    struct rng rng;
    struct file now[FILES];
    struct file committed[FILES];
    struct cell cells[CELLS_MAX];
    uint32_t cells_count;
    struct mfs_map *maps[FILES];
    enum mfs_map_kind kinds[FILES];
    uint64_t word;
    uint64_t full; /* calls that found no space */
};

void name_of(unsigned file, char name[8]);
uint64_t ino_of(struct world *w, unsigned file);
/* NULL: a hole, or unwritten. */
struct cell *cell_at(struct world *w, unsigned file, uint32_t block);
/* The cell's word from now on, `durable` or perhaps so. */
void put(struct cell *cell, uint64_t word, bool durable);
/* All files are committed as they are. */
void committed(struct world *w);

void do_create(struct world *w, unsigned file);
void do_unlink(struct world *w, unsigned file);
void do_rename(struct world *w, unsigned file);
/* One of the others, at random; of a file that is there. */
void do_any(struct world *w, unsigned file);

#endif
