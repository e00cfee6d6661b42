/* The heap: a file of equal blocks that grows by faulting, and the table that says who owns each.
 *
 * Invariants: 1. a block belongs to somebody if and only if its table word says so, durably: neither a hole nor old
 *                bytes say anything;
 *             2. a block handed out by heap_take() is populated, its metadata durable, and reads as zeros;
 *             3. a block goes free -> ready -> owned -> freeing -> free; it is punched only after its word says
 *                free durably and its last reader has left (the caller's duty: heap_recycle());
 *             4. the last `reserve_blocks` ready blocks go to HEAP_RESERVE claims only (cleaner, deletes).
 *
 * Threads: heap_take, heap_pick, heap_recycle, heap_count_made, heap_stats: any. heap_take_picked, heap_untake,
 *          heap_unpick, heap_own/disown: any, on blocks that the caller holds. One thread at a time writes roots and
 *          the clock.
 */
#ifndef FL_STORAGE_HEAP_HEAP_H
#define FL_STORAGE_HEAP_HEAP_H

#include "storage/nosync/nosync.h"

#include <stdbool.h>
#include <stdint.h>

enum heap_state { HEAP_FREE = 0, HEAP_LOG = 1, HEAP_BLOB = 2, HEAP_CONT = 3, HEAP_META = 4 };

/* What a damaged thing on media is reported through; NULL functions: not reported. */
struct heap_report {
    void *context;
    void (*finding)(void *context, const char *rule, uint64_t off, uint64_t len, const char *text);
};

void heap_report_finding(const struct heap_report *report, const char *rule, uint64_t off,
                         uint64_t len, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

struct heap_geometry {
    uint32_t block_bytes;
    uint32_t inline_bytes_max;
    uint64_t size_bytes_max;
    uint64_t created_ms;
    uint8_t uuid[16];
    bool ro_only; /* the file has a feature that this library may not write beside */
};

struct heap_options {
    uint32_t blocks_ahead;   /* ready blocks to keep over the reserve */
    uint32_t reserve_blocks; /* ready blocks kept for HEAP_RESERVE */
    bool read_only;
    uint64_t
        size_bytes_max; /* for writing: if the heap's is smaller, raise it to this; 0: leave it */
    const struct heap_report *report; /* during open; NULL: none */
};

#define HEAP_ROOT_CLEAN UINT64_C(1) /* flag: closed cleanly */

struct heap_root {
    uint64_t sequence;
    uint64_t flags; /* HEAP_ROOT_CLEAN */
    uint64_t lsn_next;
    uint64_t tail_off;
};

struct heap_entry {
    enum heap_state state;
    uint32_t generation;
    uint8_t head;
    bool damaged; /* read at open, and not valid: state and generation say nothing */
};

struct heap;

/* Is there a superblock? FL_OK, FL_NOT_FOUND (empty file or all zeros: to be formatted), FL_CORRUPT, FL_VERSION.
 * Reads the geometry, which the mapping's reservation must cover. `fd`-less: through the mapping. Of two superblocks
 * that differ in nothing but the size, as a crash while it is raised leaves them, the larger size holds. */
FL_NODISCARD fl_status heap_probe(struct nosync_map *map, struct heap_geometry *geometry,
                                  const struct heap_report *report);

/* Make an empty heap. geometry->uuid is made here. Durable: on return; a crash before leaves a file that probes as
 * FL_NOT_FOUND or as an empty heap. Errors: FL_INVALID (text says which bound), FL_NO_SPACE, FL_IO. */
FL_NODISCARD fl_status heap_format(struct nosync_map *map, struct heap_geometry *geometry);

/* Writes nothing. The geometry has the raised size from here on, blocks over the old one are taken only after
 * heap_open_finish(). FL_CORRUPT: the file is too short for a table; other damage: heap_damage(). FL_INVALID:
 * options->size_bytes_max is out of bounds.
 * Owner: the caller; the map must outlive the heap. */
FL_NODISCARD fl_status heap_open(struct nosync_map *map, const struct heap_geometry *geometry,
                                 const struct heap_options *options, struct heap **out);
/* For writing, once all of the file was found undamaged: punch free blocks, to which a crash may have left their
 * space and old bytes that were wanted until now; write a superblock that doesn't validate from the other one; raise
 * the size if options asked for it.
 * Durable: the size, on return. A crash before leaves the old or the new one. FL_IO. */
FL_NODISCARD fl_status heap_open_finish(struct heap *heap);
/* Stop the thread and release the DRAM; writes nothing. */
void heap_close(struct heap *heap);

const struct heap_geometry *heap_geometry(const struct heap *heap);
const struct pm_media *heap_media(const struct heap *heap);
/* For those who punch what isn't theirs: planted bugs of the crash tests. */
struct nosync_map *heap_map(const struct heap *heap);

/* What open found wrong with the table: words that don't validate (their blocks are kept out of use), and owned blocks
 * behind the file's end; the first one's place and text. */
uint64_t heap_damage(const struct heap *heap, uint64_t *off, const char **text);

/* Blocks inside the file; every owned one is below it. */
uint32_t heap_blocks_total(const struct heap *heap);
struct heap_entry heap_entry_get(const struct heap *heap, uint32_t block);

static inline uint64_t
heap_block_off(const struct heap_geometry *geometry, uint32_t block)
{
    return (uint64_t)block * geometry->block_bytes;
}

/* Of the reserve, deletes leave the last block to the cleaner: a full store must always be cleanable. */
enum heap_claim { HEAP_NORMAL, HEAP_RESERVE, HEAP_CLEANER };

/* Take `count` contiguous ready blocks. One block comes from those kept ahead; waits while the thread makes one.
 * More than one are searched for and faulted now.
 * Errors: FL_NO_SPACE (file system full or size_bytes_max reached, and for now nothing is free), FL_IO. */
FL_NODISCARD fl_status heap_take(struct heap *heap, uint32_t count, enum heap_claim claim,
                                 uint32_t *block);

/* For what is filled slowly: pick `count` contiguous blocks, which nobody else gets, without making them exist, then
 * take each when it is needed. Errors of pick: FL_NO_SPACE (size_bytes_max, or the file system is too full for a
 * table block), FL_TOO_LARGE, FL_IO. Of take: FL_NO_SPACE, FL_IO; the block is still picked. */
FL_NODISCARD fl_status heap_pick(struct heap *heap, uint32_t count, uint32_t *block);
FL_NODISCARD fl_status heap_take_picked(struct heap *heap, uint32_t block);
/* A writer took blocks one by one and commits to them now: for heap_stats.writers_faulted. */
void heap_count_made(struct heap *heap);
/* Give back taken blocks that nobody has owned. */
void heap_untake(struct heap *heap, uint32_t block, uint32_t count);
/* Give back picked blocks that were not taken. */
void heap_unpick(struct heap *heap, uint32_t block, uint32_t count);

/* What an owner keeps beside its first block's word. */
struct heap_note {
    uint64_t nonce, base_lsn;
};
struct heap_note heap_note_get(const struct heap *heap, uint32_t block);

/* Own taken blocks, with a new generation, in two steps. Begin writes note and words of the blocks behind the
 * first. Then the caller writes what the first block must show (a segment's header) and drains: debt. End writes
 * the first block's word, which says that all this is there. Debt: a drain of `pm`. */
void heap_own_begin_nofence(struct heap *heap, struct pm *pm, uint32_t block, uint32_t count,
                            struct heap_entry as, struct heap_note note, uint32_t *generation);
void heap_own_end_nofence(struct heap *heap, struct pm *pm, uint32_t block);
/* For taken blocks that were written to and are not wanted: owned from here on, though no word says so, that they can
 * be disowned and recycled as all others. */
void heap_own_unwritten(struct heap *heap, uint32_t block, uint32_t count);
/* Write the words: free; of several blocks the first one's first. Debt: a drain of `pm`, then heap_recycle() when no
 * reader is left. FL_IO. */
FL_NODISCARD fl_status heap_disown_nofence(struct heap *heap, struct pm *pm, uint32_t block,
                                           uint32_t count);
/* Make available: punched, but for a few that keep their space and old bytes until they are taken. A block of
 * generation 2^32 - 1 is punched and never taken again: a link or a reference could take its next owner for an earlier
 * one. */
void heap_recycle(struct heap *heap, uint32_t block, uint32_t count);

/* Start growing ahead in the background, by one block at least; until then, or without it, heap_take() makes blocks
 * itself. */
FL_NODISCARD fl_status heap_ahead_start(struct heap *heap);

/* One step of grow-ahead. FL_OK: made a block ready; FL_END: enough are ready; FL_NO_SPACE, FL_IO. */
FL_NODISCARD fl_status heap_ahead_step(struct heap *heap);

/* Can `bytes` of normal claims still be met from blocks that are ready, free or can be grown? A hint that errs on the
 * side of no once growth has failed. */
bool heap_has_room(struct heap *heap, uint32_t blocks);

/* The same to promise by: what the file system will give is not known before it has, so as many of `blocks` as are kept
 * ahead must be ready, beside the reserve. Waits while the thread makes them, or makes them. Who was promised room
 * takes it by HEAP_RESERVE, should the cleaner have needed a block meanwhile. */
bool heap_make_room(struct heap *heap, uint32_t blocks);

void heap_root_get(const struct heap *heap, struct heap_root *root);
/* Durable on return. The sequence is counted here. */
FL_NODISCARD fl_status heap_root_put(struct heap *heap, struct pm *pm,
                                     const struct heap_root *root);

/* The clock's high-water mark, milliseconds since 1970; 0: never written. Durable on return. */
uint64_t heap_clock_get(const struct heap *heap);
FL_NODISCARD fl_status heap_clock_put(struct heap *heap, struct pm *pm, uint64_t ms);

struct heap_stats {
    uint64_t blocks_total, blocks_owned, blocks_ready, blocks_free;
    uint64_t takes_waited; /* heap_take() calls that had to wait or fault */
    uint64_t
        writers_faulted; /* calls of it, but the cleaner's, and of heap_make_room() that made blocks themselves */
    bool growth_failed;       /* the last attempt to grow met FL_NO_SPACE */
    struct pm_counts *counts; /* of the grow-ahead thread and format */
};
void heap_stats_get(struct heap *heap, struct heap_stats *stats);

#endif
