/* What the hash's two files share. */
#ifndef FL_STORAGE_INDEX_HASH_INTERNAL_H
#define FL_STORAGE_INDEX_HASH_INTERNAL_H

#include "storage/index/hash.h"

/* A segment less than this full isn't split: its keys' hashes hardly differ, a split would only grow the directory. */
enum { HASH_SPLIT_KEYS_MIN = HASH_BUCKETS * HASH_SLOTS / 4 };

static inline struct hash_segment_info *
hash_info(const struct hash *hash, uint32_t segment)
{
    return (struct hash_segment_info *)arena_at(&hash->store->infos, segment);
}

static inline struct hash_overflow *
hash_overflow_at(const struct hash *hash, uint32_t node)
{
    return (struct hash_overflow *)arena_at(&hash->store->overflows, node);
}

static inline uint64_t
slot_load(const _Atomic uint64_t *slot)
{
    return atomic_load_explicit(slot, memory_order_relaxed);
}

static inline void
slot_store(_Atomic uint64_t *slot, uint64_t value)
{
    /* Release: who meets a cleared slot sees the directory word that was stored before. */
    atomic_store_explicit(slot, value, memory_order_release);
}

static inline uint64_t
hash_supply_count(const struct hash_supply *supply)
{
    return supply->free_count + (supply->end - supply->next);
}

/* What links the free items of a supply. */
typedef _Atomic uint32_t *(*hash_link)(const struct hash *hash, uint32_t item);

static inline _Atomic uint32_t *
hash_segment_link(const struct hash *hash, uint32_t segment)
{
    return &hash_info(hash, segment)->overflow;
}

static inline _Atomic uint32_t *
hash_overflow_link(const struct hash *hash, uint32_t node)
{
    return &hash_overflow_at(hash, node)->next;
}

/* There must be one. */
uint32_t hash_supply_take(struct hash *hash, struct hash_supply *supply, hash_link link);

/* Another thread's readers may still use it: to be freed by the epoch. */
void hash_directory_retire(struct hash *hash, struct hash_directory *directory);

#endif
