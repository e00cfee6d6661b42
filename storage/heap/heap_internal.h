/* Shared by the files of storage/heap/ only. */
#ifndef FL_STORAGE_HEAP_HEAP_INTERNAL_H
#define FL_STORAGE_HEAP_HEAP_INTERNAL_H

#include "storage/heap/super.h"

#include <pthread.h>

/* Where a block is on its way: free (cold) -> ready (populated) -> taken -> owned -> freeing -> free. */
enum heap_use {
    HEAP_USE_BEYOND = 0, /* past the end of the file */
    HEAP_USE_FREE,
    HEAP_USE_FAULTING, /* picked: somebody faults it, or will */
    HEAP_USE_READY,
    HEAP_USE_TAKEN,
    HEAP_USE_OWNED,
    HEAP_USE_FREEING,
    HEAP_USE_WORN, /* free for ever: its generations are used up */
};

struct heap_block {
    uint32_t generation;
    uint8_t use;   /* enum heap_use */
    uint8_t state; /* enum heap_state, as in the table */
    uint8_t head;
    bool damaged : 1;
    bool warm : 1; /* free or picked, and was not punched */
    bool
        bad : 1; /* it can't be faulted in: stays picked, so that nobody tries it again before the next open */
};

enum { HEAP_READY_MAX = 4096, HEAP_WARM_MAX = 4 };

struct heap {
    struct nosync_map *map;
    const struct pm_media *media;
    struct heap_geometry geometry;
    struct heap_options options;
    struct heap_root root;
    uint64_t clock_ms;
    bool clock_heal;               /* one of the two words was damaged */
    uint64_t damaged, damaged_off; /* found at open, and the first one's place */
    char damaged_text[160];
    uint32_t blocks_max;     /* may be taken: until heap_open_finish() those of the size on media */
    uint32_t blocks_mapped;  /* of `blocks` */
    uint32_t group_blocks;   /* blocks a table block describes */
    struct pm_counts counts; /* of making table blocks */

    pthread_mutex_t lock;      /* what follows */
    pthread_cond_t ready_cond; /* a block became ready, or growth failed */
    pthread_cond_t ahead_cond; /* there is work for the thread */
    struct heap_block *blocks; /* blocks_mapped of them, reserved lazily */
    uint32_t blocks_total;
    uint32_t groups;    /* table blocks made, block 1 included */
    bool table_making;  /* a thread makes the next one */
    uint32_t free_hint; /* no free block is below it */
    uint64_t owned_count, ready_count, free_count;
    uint64_t picked_beyond;         /* picked blocks past the end of the file */
    uint32_t ready[HEAP_READY_MAX]; /* a stack of ready blocks */
    /* A stack of warm blocks, used before all others: to zero one costs a tenth of punching and faulting it. A
     * run may have taken some of them meanwhile: `warm` of the block is what counts. */
    uint32_t warm[HEAP_WARM_MAX];
    uint32_t warm_count;
    uint64_t takes_waited;
    uint64_t writers_faulted;
    bool growth_failed;
    fl_status growth_status;
    bool stop;
    bool thread_runs;
    pthread_t thread;
};

/* Its next owner would have a generation that it had before. */
static inline bool
heap_block_is_worn(const struct heap_block *block)
{
    return block->generation == UINT32_MAX;
}

uint32_t heap_table_block(const struct heap *heap, uint32_t block);
bool heap_block_is_meta(const struct heap *heap, uint32_t block);
void heap_ahead_stop(struct heap *heap);
/* Make both copies what the one that validates says, with the size of `geometry`, which may be larger. A crash on the
 * way leaves one of them whole. FL_IO. */
FL_NODISCARD fl_status super_heal(struct nosync_map *map, const struct heap_geometry *geometry);

#endif
