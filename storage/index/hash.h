/* The hash: key hash -> entry ids. Extendible hashing with lock-free readers.
 *
 *   directory  indexed by the top bits of the hash; a word each: segment number, overflow flag
 *   segment    256 buckets of one line; a key lives in one of two buckets of its segment
 *   bucket     8 slots of 8 bytes: tag = hash bits 63..32, and the entry id; 0: empty
 *   overflow   a chain of slots, used when both buckets are full and the segment can't be split: for want of a
 *              spare segment, or because the keys' hashes don't differ. A split leaves it where it is: both
 *              halves share it from then on
 *
 * The tag holds the bits that the directory will be indexed by, and a slot's place in a segment doesn't depend on
 * them: a split moves slots to the same place of one new segment and reads no key.
 *
 * Readers never miss a key that is present throughout: a slot is copied to its new place first, then the directory
 * word changes, then the old slot is cleared. A reader that found nothing looks at the word
 * again; if it has changed it starts over.
 */
#ifndef FL_STORAGE_INDEX_HASH_H
#define FL_STORAGE_INDEX_HASH_H

#include "base/epoch.h"
#include "storage/index/arena.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* The thread sanitizer wants to see each load. */
#if defined(__SSE2__) && !defined(__SANITIZE_THREAD__)
#if !defined(__has_feature)
#define HASH_VECTORS 1
#elif !__has_feature(thread_sanitizer)
#define HASH_VECTORS 1
#endif
#endif
#ifdef HASH_VECTORS
#include <emmintrin.h>
#endif

enum {
    HASH_BUCKETS = 256,
    HASH_SLOTS = 8,
    HASH_OVERFLOW_SLOTS = 7,
    HASH_DEPTH_MAX = 28,
};

#define HASH_WORD_OVERFLOW (UINT64_C(1) << 32)

struct hash_segment {
    _Atomic uint64_t slots[HASH_BUCKETS][HASH_SLOTS];
} __attribute__((aligned(64)));

struct hash_overflow {
    _Atomic uint32_t next; /* 0: the last */
    _Atomic uint64_t slots[HASH_OVERFLOW_SLOTS];
} __attribute__((aligned(64)));

struct hash_segment_info {
    _Atomic uint32_t overflow; /* the chain; 0: none. Its first node never changes */
    uint8_t depth;             /* bits of the hash that all its keys share */
};

struct hash_directory {
    unsigned skip;  /* top bits of the hash that are left out (while loading in shards) */
    unsigned depth; /* bits that index it */
    _Atomic uint64_t words[];
};

/* What several hashes (the shards of a load) take their memory from. */
struct hash_store {
    pthread_mutex_t lock;
    struct arena segments;
    struct arena infos;
    struct arena overflows;
    _Atomic uint64_t directory_bytes;
};

/* Items of an arena that are one hash's to use: given back ones, and a stretch that was never used. */
struct hash_supply {
    uint32_t free_head; /* linked through the items */
    uint64_t free_count;
    uint64_t next, end;
};

struct hash {
    struct hash_store *store;
    struct epoch *epoch;
    _Atomic(struct hash_directory *) directory;

    /* The writer's. */
    struct hash_directory *directory_spare; /* deeper than the present one */
    struct hash_supply segments;
    struct hash_supply overflows;
    uint64_t segments_used;
};

FL_NODISCARD fl_status hash_store_init(struct hash_store *store, uint64_t keys_max);
void hash_store_deinit(struct hash_store *store);

/* An empty hash of one segment. */
FL_NODISCARD fl_status hash_init(struct hash *hash, struct hash_store *store, struct epoch *epoch,
                                 unsigned skip);
void hash_deinit(struct hash *hash);

/* W. Room so that `count` insertions can't fail, and most likely need no overflow. FL_NO_MEMORY. */
FL_NODISCARD fl_status hash_reserve(struct hash *hash, uint64_t count);

/* W. There must be room. */
void hash_insert(struct hash *hash, uint64_t key_hash, uint32_t id);
/* W. False: it isn't there. */
bool hash_remove(struct hash *hash, uint64_t key_hash, uint32_t id);

/* W, no readers. Make `hash` the union of `count` (a power of two) hashes that were indexed by what follows
 * the top log2(count) bits. The parts are left empty. FL_NO_MEMORY: nothing was done. */
FL_NODISCARD fl_status hash_join(struct hash *hash, struct hash *const *parts, unsigned count);

uint64_t hash_dram_bytes(const struct hash *hash);

/* W. Call visit for every slot in use; false: it returned false and the walk stopped. */
bool hash_each(const struct hash *hash, bool (*visit)(void *context, uint32_t tag, uint32_t id),
               void *context);

/* W, no readers. Empty every slot whose id keep() doesn't want. */
void hash_sweep(struct hash *hash, bool (*keep)(void *context, uint32_t id), void *context);

/* ---- finding: inline, for it is the hot path ---- */

static inline uint32_t
hash_tag(uint64_t key_hash)
{
    return (uint32_t)(key_hash >> 32);
}

static inline unsigned
hash_bucket_first(uint64_t key_hash)
{
    return (unsigned)key_hash & (HASH_BUCKETS - 1);
}

/* Another bucket of the same 4 KiB page: both cost one page walk. */
static inline unsigned
hash_bucket_second(uint64_t key_hash)
{
    enum { PAGE_BUCKETS = 64 };

    return hash_bucket_first(key_hash) ^ (((unsigned)(key_hash >> 8) & (PAGE_BUCKETS - 1)) | 1U);
}

static inline size_t
hash_directory_place(const struct hash_directory *directory, uint64_t key_hash)
{
    /* In two steps: a shift by 64 would not be defined. */
    return (size_t)(((key_hash << directory->skip) >> 1) >> (63 - directory->depth));
}

static inline struct hash_segment *
hash_segment_of(const struct hash *hash, uint64_t word)
{
    return (struct hash_segment *)arena_at(&hash->store->segments, (uint32_t)word);
}

/* A walk over the ids whose tag is that of key_hash. */
struct hash_walk {
    const struct hash *hash;
    uint64_t key_hash;
    const struct hash_directory *directory;
    uint64_t word;
    const struct hash_segment *segment;
};

static inline void
hash_walk_begin(struct hash_walk *walk, const struct hash *hash, uint64_t key_hash)
{
    walk->hash = hash;
    walk->key_hash = key_hash;
    walk->directory = atomic_load_explicit(&hash->directory, memory_order_acquire);
    walk->word = atomic_load_explicit(
        &walk->directory->words[hash_directory_place(walk->directory, key_hash)],
        memory_order_acquire);
    walk->segment = hash_segment_of(hash, walk->word);
}

/* True: something moved meanwhile; the walk stands at its beginning again. */
static inline bool
hash_walk_again(struct hash_walk *walk)
{
    const struct hash_directory *directory = walk->directory;
    const uint64_t word = walk->word;

    hash_walk_begin(walk, walk->hash, walk->key_hash);
    return __builtin_expect(walk->directory != directory || walk->word != word, 0);
}

typedef bool (*hash_match)(void *context, uint32_t id);

/* Slots of an overflow chain; 0: none matches. Out of line: it is rare. */
uint32_t hash_find_overflow(const struct hash_walk *walk, hash_match match, void *context);

/* A bit for each slot of a bucket whose half (0: the id, 1: the tag) is `value`. A look by vectors where there are
 * any: each half of one is as whole as a load of its own, and order is kept by the machine; who finds a bit loads
 * the slot again, atomically. */
static inline unsigned
hash_bucket_mask(const _Atomic uint64_t *slots, unsigned half, uint32_t value)
{
#ifdef HASH_VECTORS
    const void *bytes = slots;
    const __m128 *v = bytes;
    const __m128i wanted = _mm_set1_epi32((int)value);
    const __m128 low = half == 0 ? _mm_shuffle_ps(v[0], v[1], _MM_SHUFFLE(2, 0, 2, 0))
                                 : _mm_shuffle_ps(v[0], v[1], _MM_SHUFFLE(3, 1, 3, 1));
    const __m128 high = half == 0 ? _mm_shuffle_ps(v[2], v[3], _MM_SHUFFLE(2, 0, 2, 0))
                                  : _mm_shuffle_ps(v[2], v[3], _MM_SHUFFLE(3, 1, 3, 1));
    const __m128i words = _mm_packs_epi32(_mm_cmpeq_epi32(_mm_castps_si128(low), wanted),
                                          _mm_cmpeq_epi32(_mm_castps_si128(high), wanted));

    atomic_signal_fence(memory_order_seq_cst);
    return (unsigned)_mm_movemask_epi8(_mm_packs_epi16(words, _mm_setzero_si128()));
#else
    unsigned mask = 0;

    for (unsigned i = 0; i < HASH_SLOTS; i++) {
        const uint64_t slot = atomic_load_explicit(&slots[i], memory_order_acquire);

        mask |= (unsigned)((uint32_t)(slot >> (32 * half)) == value) << i;
    }
    return mask;
#endif
}

static inline uint32_t
hash_find_bucket(const _Atomic uint64_t *slots, uint32_t tag, hash_match match, void *context)
{
    for (unsigned mask = hash_bucket_mask(slots, 1, tag); mask != 0; mask &= mask - 1) {
        const uint64_t slot =
            atomic_load_explicit(&slots[__builtin_ctz(mask)], memory_order_acquire);

        if ((uint32_t)(slot >> 32) == tag && (uint32_t)slot != 0 &&
            match(context, (uint32_t)slot)) {
            return (uint32_t)slot;
        }
    }
    return 0;
}

/* R. The first id with the hash's tag for which match() is true; 0: none. */
static inline __attribute__((always_inline)) uint32_t
hash_find(const struct hash *hash, uint64_t key_hash, hash_match match, void *context)
{
    struct hash_walk walk;

    hash_walk_begin(&walk, hash, key_hash);
    do {
        const _Atomic uint64_t *first = walk.segment->slots[hash_bucket_first(key_hash)];
        const _Atomic uint64_t *second = walk.segment->slots[hash_bucket_second(key_hash)];

        __builtin_prefetch(second);
        uint32_t id = hash_find_bucket(first, hash_tag(key_hash), match, context);

        if (id == 0) {
            id = hash_find_bucket(second, hash_tag(key_hash), match, context);
        }
        if (id == 0 && __builtin_expect((walk.word & HASH_WORD_OVERFLOW) != 0, 0)) {
            id = hash_find_overflow(&walk, match, context);
        }
        if (id != 0) {
            return id;
        }
    } while (hash_walk_again(&walk));
    return 0;
}

#endif
