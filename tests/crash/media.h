/* What may be on media after a crash: a trace replayed under the x86 rules, or the page kind's.
 *
 * Direct (dax, volatile): aligned words of 8 bytes are atomic. Of the plain stores to one line those on media are the
 * first so many (a prefix); what memcpy or a struct store writes has no order of its own, nor have NT stores, nor lines
 * among one another. A flush takes the stores of its line that have been made; they are on media after the next
 * fence of the same thread, as are that thread's NT stores. `weak`: plain stores to a line have no order either,
 * unless a release store, flush or fence of the thread stands between (what a compiler may do).
 * Staged (page): sectors of 512 bytes are atomic and independent; a sync guarantees those of the writes that it covers.
 * A fault_in is durable at its return. A punch may be on media or not, block by block, until sync_file or the next
 * fault_in of the block. With `plain`, a mapping without the no-sync promise: a fault_in is not durable before
 * sync_file, and those that are lost are lost from some one on (a journal).
 *
 * Invariants: `base` is what is guaranteed, `now` what loads see; what lies between is entries of cells (a line, a
 * sector). Entry i of a cell can be on media only with all of before[i]; entries of one word are ordered.
 */
#ifndef FL_TESTS_CRASH_MEDIA_H
#define FL_TESTS_CRASH_MEDIA_H

#include "tests/crash/image.h"
#include "tests/crash/trace.h"

enum { MEDIA_ENTRIES_MAX = 64, MEDIA_THREADS_MAX = 8 };

/* A word, as a store left it. */
struct media_entry {
    const uint8_t *value;
    uint32_t group; /* stores of one group have no order among them */
    uint32_t event;
    uint8_t word;
    bool past_cache;
    bool ordered;
};

struct media_cell {
    uint64_t off;
    uint32_t place; /* in media.active */
    uint32_t rank;  /* among the active cells by off; media_list() */
    uint32_t count;
    uint32_t group_last;
    uint64_t barrier_last;
    struct media_entry entries[MEDIA_ENTRIES_MAX];
    uint64_t before[MEDIA_ENTRIES_MAX], after[MEDIA_ENTRIES_MAX];
    uint64_t flushed[MEDIA_THREADS_MAX]; /* entries that wait for the thread's fence */
    /* A state being chosen (state.h). */
    uint64_t decided; /* words */
    uint64_t chosen;  /* of them, by a choice; others were overwritten before they were looked at */
    uint64_t in, out; /* entries */
};

struct media_fault {
    uint64_t off, len, size_before;
};

struct media_options {
    enum pm_mode mode;
    uint64_t size_bytes_max;
    bool plain;
    bool weak;
};

struct media {
    const struct trace *trace;
    struct media_options options;
    size_t at; /* events before it have happened */
    uint32_t word_bytes, cell_bytes;
    uint64_t size_bytes;
    uint32_t pages;
    uint8_t *base;
    uint8_t *now;
    uint8_t *exists;  /* pages; as base */
    uint8_t *punched; /* pages whose punch may roll back; their bytes in base are those before it */
    uint32_t punched_count;
    uint32_t *active_of; /* cell number -> place in active + 1 */
    struct media_cell **active;
    uint32_t active_count, active_cap;
    struct media_cell **spare;
    uint32_t spare_count;
    struct mempool values;
    struct media_fault *faults; /* plain */
    uint32_t faults_count, faults_cap;
    uint32_t groups;
    uint64_t barriers[MEDIA_THREADS_MAX];
    uint64_t base_hash;
    uint64_t stray; /* stores where no block was */
    uint64_t
        coarse; /* entries guaranteed early because a cell was full: states that are not seen */
};

/* Begin before the first event, on the file that the trace began with. */
void media_init(struct media *media, const struct trace *trace, const struct media_options *options,
                const uint8_t *bytes, const uint8_t *exists, uint64_t size_bytes);
void media_deinit(struct media *media);

/* Apply the event at media->at. */
void media_step(struct media *media);

/* Sort the active cells; returns a hash of everything that decides what a crash here can leave. */
uint64_t media_list(struct media *media);

/* The active cell of this place; NULL: nothing is undecided there. */
static inline struct media_cell *
media_cell_at(const struct media *media, uint64_t off)
{
    const uint32_t place = media->active_of[off / media->cell_bytes];

    return place != 0 ? media->active[place - 1] : NULL;
}

#endif
