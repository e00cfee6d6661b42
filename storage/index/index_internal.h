/* What the files of the index share. */
#ifndef FL_STORAGE_INDEX_INTERNAL_H
#define FL_STORAGE_INDEX_INTERNAL_H

#include "storage/index/entry.h"
#include "storage/index/hash.h"
#include "storage/index/order.h"
#include "storage/index/version.h"

#include <stdatomic.h>

enum { INDEX_SPACES = 256, INDEX_SECRET_BYTES = 192, INDEX_LOAD_SHARDS_MAX = 8 };

/* Entries at most. Address space is reserved for so many. */
#define INDEX_KEYS_MAX (UINT64_C(1) << 31)

/* All that goes when the whole index is emptied at once: readers of before keep the old one. */
struct index_state {
    struct entries entries;
    struct hash_store store;
    struct hash hash;
    struct order order;
    _Atomic uint64_t counts[INDEX_SPACES]; /* live keys */
};

struct index_load;

struct index {
    struct index_media media;
    struct epoch *epoch;
    uint8_t secret[INDEX_SECRET_BYTES];
    _Atomic(struct index_state *) state;

    /* The writer's. */
    uint64_t credits; /* puts that index_reserve() has made room for and that have not come yet */
    uint64_t lsn_max; /* highest LSN put */
    struct pins pins;
    struct version_pool pool;
    struct index_load *load;

    _Atomic uint64_t pins_held;
    _Atomic uint64_t versions_kept;
};

static inline struct index_state *
index_state(const struct index *index)
{
    return atomic_load_explicit(&index->state, memory_order_acquire);
}

FL_NODISCARD fl_status index_state_create(struct index *index, struct index_state **out);
void index_state_destroy(struct index_state *state);
/* Room for `count` more puts in `state`. */
FL_NODISCARD fl_status index_state_reserve(struct index_state *state, uint64_t count);

static inline bool
index_key_at(const struct index *index, index_loc loc, struct fl_key *key)
{
    return index->media.key_at(index->media.context, loc, key);
}

static inline uint64_t
index_lsn_at(const struct index *index, index_loc loc)
{
    return index->media.lsn_at(index->media.context, loc);
}

static inline void
index_dead(const struct index *index, index_loc loc)
{
    if (loc != 0) {
        index->media.dead(index->media.context, loc);
    }
}

static inline bool
index_same_place(index_loc a, index_loc b)
{
    return ((a ^ b) & INDEX_LOC_OFF_MASK) == 0;
}

/* A search for a key; `word` is the entry's as it was when its key was compared. `doubt` is the place of a record
 * that has the key's tag, but not the key. */
struct index_search {
    const struct index *index;
    const struct index_state *state;
    const struct fl_key *key;
    uint64_t word;
    index_loc doubt;
};

static inline bool
index_search_match(void *context, uint32_t id)
{
    struct index_search *search = context;
    const uint64_t word = entries_load(&search->state->entries, id);
    const index_loc loc = entry_key_loc(word);
    struct fl_key key;

    if (loc == 0) {
        return false;
    }
    if (!index_key_at(search->index, loc, &key) || !key_equal(&key, search->key)) {
        search->doubt = loc;
        return false;
    }
    search->word = word;
    return true;
}

/* Of a plain word or a chain: the loc visible at at_lsn, no tombstone; 0: none. */
static inline index_loc
index_visible(const struct index *index, uint64_t word, uint64_t at_lsn)
{
    index_loc loc;

    if (at_lsn == INDEX_LSN_LATEST) {
        loc = entry_newest(word);
    } else if ((word & ENTRY_VERSIONED) != 0) {
        loc = version_at(entry_versions(word), at_lsn);
    } else {
        loc = entry_newest(word);
        if (loc != 0 && index_lsn_at(index, loc) > at_lsn) {
            return 0;
        }
    }
    return (loc & INDEX_LOC_TOMBSTONE) == 0 ? loc : 0;
}

/* The hash that a reader of `key_hash` is to look in. */
const struct hash *index_hash_for(const struct index *index, const struct index_state *state,
                                  uint64_t key_hash);

/* W. Take an entry out of hash and order; `key_loc` names a record with its key. */
void index_remove_entry(struct index *index, uint64_t hash, const struct fl_key *key, uint32_t id,
                        index_loc key_loc);

/* W. Add to the live keys of a space. */
static inline void
index_count_add(struct index *index, uint8_t space, int change)
{
    /* One writer: no locked addition. */
    _Atomic uint64_t *count = &index_state(index)->counts[space];

    atomic_store_explicit(
        count, atomic_load_explicit(count, memory_order_relaxed) + (uint64_t)(int64_t)change,
        memory_order_relaxed);
}

/* A put under a pin may need two: one for itself, one for the version before. */
enum { VERSIONS_PER_PUT = 2 };

/* An entry about to change while pins or older versions exist. */
struct change {
    struct index *index;
    uint64_t hash;
    const struct fl_key *key;
    uint32_t id;
    uint64_t word;
    index_loc loc;    /* newest now; 0: gone */
    bool live;        /* and it is no tombstone */
    struct pin *keep; /* a pin that sees it; NULL: none does */
    struct version *older;
};

/* What a change at `lsn` finds. */
struct change change_begin(struct index *index, uint64_t hash, const struct fl_key *key,
                           uint32_t id, uint64_t word, uint64_t lsn);

static inline bool
change_keeps(const struct change *change)
{
    return change->keep != NULL || change->older != NULL;
}

/* Put `loc` (0: nothing) of `lsn` in front of what is kept; what was newest ends at lsn_end. */
void change_push(const struct change *change, index_loc loc, uint64_t lsn, uint64_t lsn_end);
/* The key's newest version goes without a record; pins go on seeing it, those below lsn_end. */
void index_drop_newest(const struct change *change, uint64_t lsn, uint64_t lsn_end);

struct index_load_shard {
    struct hash hash;
    uint32_t id_next; /* ids of its own, up to id_end */
    uint32_t id_end;
    uint64_t lsn_max;
} __attribute__((aligned(128)));

struct index_load {
    pthread_mutex_t lock; /* for taking ids */
    unsigned shards;
    unsigned bits;
    struct index_load_shard shard[INDEX_LOAD_SHARDS_MAX];
};

void index_load_abandon(struct index *index);

#endif
