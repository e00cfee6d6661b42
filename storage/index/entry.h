/* The entry table: entry id -> one 8-byte word, and what the word means.
 *
 * bits 0-55  the loc of the key's newest record; or, VERSIONED, the address of its newest `struct version`
 * bit 63     VERSIONED  older versions are kept for a pin, or the key is gone but for them
 * bit 62     FREE       the id is free; bits 0-31 name the next free one
 * bit 61     LEAVING    the key is gone for every reader; the loc, if any, only serves to find its place in
 *                       the order until it is taken out there
 *
 * Threads: words are stored by the writer alone, loaded by anybody. Ids may be used again at once: a reader
 * that still holds one compares the key that it finds there with its own.
 */
#ifndef FL_STORAGE_INDEX_ENTRY_H
#define FL_STORAGE_INDEX_ENTRY_H

#include "storage/index/arena.h"
#include "storage/index/index.h"
#include "storage/index/version.h"

#define ENTRY_LOC_MASK ((UINT64_C(1) << 56) - 1)
#define ENTRY_PTR_MASK INDEX_LOC_OFF_MASK
#define ENTRY_VERSIONED (UINT64_C(1) << 63)
#define ENTRY_FREE (UINT64_C(1) << 62)
#define ENTRY_LEAVING (UINT64_C(1) << 61)
#define ENTRY_ABANDONED                                                                            \
    ENTRY_LEAVING /* no loc: it left before it got into the order; whoever merges frees it */

struct entries {
    struct arena words;
    uint32_t free_head; /* the writer's list of free ids, linked through their words */
    uint32_t free_count;
    _Atomic uint32_t returned_head; /* ids given back by other threads, linked likewise */
};

FL_NODISCARD fl_status entries_init(struct entries *entries, uint64_t ids_max);
void entries_deinit(struct entries *entries);

/* W. Room for `count` more entries. FL_NO_MEMORY. */
FL_NODISCARD fl_status entries_reserve(struct entries *entries, uint64_t count);

/* W. A free id; there must be room. */
uint32_t entries_take(struct entries *entries);
/* W. The id names nothing from now on. */
void entries_free(struct entries *entries, uint32_t id);
/* Any thread. As entries_free(). */
void entries_return(struct entries *entries, uint32_t id);

static inline _Atomic uint64_t *
entries_word(const struct entries *entries, uint32_t id)
{
    return (_Atomic uint64_t *)arena_at(&entries->words, id);
}

static inline uint64_t
entries_load(const struct entries *entries, uint32_t id)
{
    return atomic_load_explicit(entries_word(entries, id), memory_order_acquire);
}

static inline void
entries_store(struct entries *entries, uint32_t id, uint64_t word)
{
    atomic_store_explicit(entries_word(entries, id), word, memory_order_release);
}

static inline struct version *
entry_versions(uint64_t word)
{
    return (struct version *)(uintptr_t)(word & ENTRY_PTR_MASK);
}

static inline uint64_t
entry_word_of(struct version *newest)
{
    return ENTRY_VERSIONED | (uint64_t)(uintptr_t)newest;
}

/* The newest loc, tombstone or not; 0: none. */
static inline index_loc
entry_newest(uint64_t word)
{
    if (__builtin_expect((word & (ENTRY_VERSIONED | ENTRY_FREE | ENTRY_LEAVING)) == 0, 1)) {
        return word;
    }
    if ((word & ENTRY_VERSIONED) == 0) {
        return 0;
    }
    return version_loc(entry_versions(word));
}

/* A loc whose record holds the entry's key, as long as the entry is in hash or order; 0: none. */
static inline index_loc
entry_key_loc(uint64_t word)
{
    if (__builtin_expect((word & (ENTRY_VERSIONED | ENTRY_FREE)) == 0, 1)) {
        return word & ENTRY_LOC_MASK;
    }
    if ((word & ENTRY_VERSIONED) == 0) {
        return 0;
    }
    return version_any_loc(entry_versions(word));
}

#endif
