/* The model in this process, with page tables in memory. */
#ifndef FL_TESTS_CONTRACT_MODEL_ADAPTER_H
#define FL_TESTS_CONTRACT_MODEL_ADAPTER_H

#include "storage/modelfs/pte_table.h"
#include "tests/contract/adapter.h"

struct model {
    struct adapter adapter;
    struct mfs_media *media;
    struct mfs_pte_table *table;
    struct mfs_cpu *cpu; /* the mappers' */
    struct mfs *fs;      /* NULL: not mounted */
    enum mfs_mutant mutant;
};

/* A fresh device of `blocks` blocks of data, mounted. Aborts if it can't be had. */
void model_create(struct model *m, uint32_t blocks, enum mfs_mutant mutant);
void model_destroy(struct model *m);

/* Mount what is on media, after model_abandon() and a power cut. */
fl_status model_mount(struct model *m);
/* The power is gone, or will be: nothing is written any more. */
void model_abandon(struct model *m);

uint64_t model_ino(struct model *m, const char *name); /* 0: none */
/* Of a mapping made by this adapter. */
struct mfs_map *model_map(struct mapping *map);

#endif
