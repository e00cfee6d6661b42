/* The order: a B+-tree of entry ids by (space, key bytes). It holds no keys, only heads: a few bytes of each key
 * behind the bytes that all keys of the node share.
 *
 *   leaf   512 bytes: the shared prefix, slots {head 32 bits, id 32 bits} in key order, and a tail of some that came
 *          last, in no order: an insertion touches two lines of a leaf, not all
 *   inner  4 KiB: children, each with a 16-byte head that parts it from the child before
 *
 * Heads of keys in child i-1 <= head i <= heads of keys in child i. Where a key's head equals head i, the smallest key
 * of child i decides, read through the leaf's first entry. So separators need no room of their own, however long
 * keys are, and keys are read from media only where heads tie. When a node with ties is split, its halves take
 * the longer prefix that they share, and with it better heads.
 *
 * New entries wait in a ring and are merged in sorted batches: by a scan (which must see them), by
 * index_maintain() in a background thread, or by the writer when the ring is full. Sorted insertions find the
 * upper nodes in cache and fetch leaves ahead.
 *
 * Threads: `lock` shared for reading, exclusive for changing; the ring has one producer, the writer, and one
 * consumer, whoever holds merge_lock. Order of locks: merge_lock, lock.
 */
#ifndef FL_STORAGE_INDEX_ORDER_H
#define FL_STORAGE_INDEX_ORDER_H

#include "storage/index/arena.h"
#include "storage/index/entry.h"
#include "storage/index/index.h"
#include "storage/index/key.h"
#include "storage/index/sort.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    ORDER_LEAF_BYTES = 512,
    ORDER_LEAF_SLOTS = 62, /* without a prefix */
    ORDER_TAIL_MAX = 32,
    ORDER_INNER_BYTES = 4096,
    ORDER_INNER_CHILDREN = 194,
    ORDER_PREFIX_MAX = 192, /* bytes; what keys share beyond them is compared through media */
    ORDER_HEIGHT_MAX = 12,
    ORDER_RING = 65536,  /* entries that may wait */
    ORDER_BATCH = 16384, /* sorted at a time; the more, the nearer to each other they fall */
    ORDER_SLICE = 16,    /* inserted under one holding of the lock */
};

struct leaf {
    uint16_t count;
    uint16_t
        sorted; /* the first so many slots are in order; the rest, ORDER_TAIL_MAX at most, are not */
    uint16_t prefix_len; /* bytes that all its keys share, the space's included */
    uint16_t unused;
    uint32_t next; /* leaf after it in key order; 0: none. Of a free leaf: the next free one */
    uint32_t prev;
    uint64_t
        rest[ORDER_LEAF_SLOTS]; /* the prefix, rounded up to 8 bytes; then slots, head << 32 | id */
};

typedef unsigned __int128 order_head;

struct inner {
    uint16_t count; /* children */
    uint16_t prefix_len;
    uint32_t next_free;
    uint8_t prefix[ORDER_PREFIX_MAX];
    uint32_t children[ORDER_INNER_CHILDREN];
    /* Heads: 16 bytes in two arrays, for the first 8 nearly always decide. The first child's is not used. */
    uint64_t heads_high[ORDER_INNER_CHILDREN];
    uint64_t heads_low[ORDER_INNER_CHILDREN];
};

_Static_assert(sizeof(struct leaf) == ORDER_LEAF_BYTES, "leaves fill their items");
_Static_assert(sizeof(struct inner) <= ORDER_INNER_BYTES, "inner nodes fit their items");

/* An entry that waits for its place. A short key comes with it: its record may have left the cache by then. */
struct order_wait {
    uint32_t id;
    uint8_t space;
    uint8_t len; /* 0: read the key from the record */
    uint8_t bytes[26];
};

_Static_assert(sizeof(struct order_wait) == 32, "two a line");

struct order_path {
    uint64_t shape, inner_shape; /* the order's when it was found */
    struct {
        uint32_t node;
        unsigned place;
    } at[ORDER_HEIGHT_MAX]; /* by level, 1 above the leaves */
    uint32_t leaf;
};

/* A batch on its way into the tree; the merger's. */
struct order_batch {
    uint64_t head; /* ring places [head, tail) are in it */
    uint64_t tail;
    size_t count;   /* items, sorted by key */
    size_t done;    /* of them are in the tree */
    uint32_t inner; /* above the leaf that the last one went to */
    struct sort_item items[ORDER_BATCH];
    struct sort_item scratch[ORDER_BATCH];
    struct fl_key keys[ORDER_BATCH]; /* by item->aux, its number in the batch; only while sorting */
};

struct order {
    struct entries *entries;
    const struct index_media *media;

    pthread_rwlock_t lock;
    struct arena leaves;
    struct arena inners;
    uint32_t leaf_free, inner_free; /* chains of free nodes */
    _Atomic uint32_t leaves_free, inners_free;
    uint32_t root;           /* a leaf if height is 0 */
    unsigned height;         /* levels of inner nodes */
    uint32_t leaf_ascending; /* the last key to come to it came behind all others: split it full */
    uint64_t count;          /* slots in the tree */
    uint64_t shape;          /* changes with every path that a node's coming or going changes */
    uint64_t inner_shape; /* changes when inner nodes may have become choosier about their keys */
    struct arena placed;  /* a bit an entry id: it is in the tree */

    pthread_mutex_t merge_lock;
    struct order_wait *ring;
    struct order_batch *batch;
    _Atomic uint64_t maintained; /* the ring's tail when index_maintain() came last */
    _Atomic uint64_t ring_head __attribute__((aligned(64))); /* merged up to here */
    _Atomic uint64_t ring_tail __attribute__((aligned(64)));
};

FL_NODISCARD fl_status order_init(struct order *order, struct entries *entries,
                                  const struct index_media *media, uint64_t ids_max);
void order_deinit(struct order *order);

/* W. Room for `count` more entries beside those that wait. FL_NO_MEMORY. */
FL_NODISCARD fl_status order_reserve(struct order *order, uint64_t count);

/* W. There must be room. The entry's word is set. */
void order_add(struct order *order, const struct fl_key *key, uint32_t id);

/* W. Take out an entry whose word is LEAVING and still holds a loc of its key. True: it is out, the id is the
 * caller's; false: it waits in the ring: the word has lost its loc, whoever merges gives the id back. */
bool order_remove(struct order *order, const struct fl_key *key, uint32_t id);

/* Any thread, inside an epoch section. One step: sort a batch, or insert a few of it. False: nothing waits. */
bool order_step(struct order *order);
/* Merge all that waits now. */
void order_merge_all(struct order *order);
uint64_t order_waiting(const struct order *order);

/* R. Walk from `from`, as index_scan() says, over the entries of its space. visit() is called under the shared
 * lock and returns false to stop. */
void order_scan(struct order *order, const struct fl_key *from, bool inclusive,
                enum index_direction direction, bool (*visit)(void *context, uint32_t id),
                void *context);

/* R. An entry of `space`, any, by `random`; 0: none. */
uint32_t order_random(struct order *order, uint8_t space, uint64_t random);

/* No readers. Building an empty tree from sorted items, bottom-up: reserve; then leaves for parts of the items,
 * by several threads at once; then the rest. */
FL_NODISCARD fl_status order_build_reserve(struct order *order, uint64_t count, unsigned parts);
/* Leaves for one part; their names go to nodes[], of which there are order_build_leaves_max(count). item->head holds
 * bytes of the key from item->aux on. Returns how many leaves. */
size_t order_build_leaves(struct order *order, const struct sort_item *items, size_t count,
                          uint32_t *nodes);
static inline size_t
order_build_leaves_max(size_t count)
{
    return count / (ORDER_LEAF_SLOTS / 2) + 1;
}
/* All leaves in order. nodes[] is used up. The entries are marked as placed by the caller. */
void order_build_finish(struct order *order, uint32_t *nodes, size_t nodes_count, uint64_t count);

/* W, nothing waits. Check the tree: FL_CORRUPT with what is wrong. */
FL_NODISCARD fl_status order_verify(struct order *order);

uint64_t order_dram_bytes(const struct order *order);

/* ---- shared by the order's own files ---- */

static inline struct leaf *
order_leaf(const struct order *order, uint32_t node)
{
    return (struct leaf *)arena_at(&order->leaves, node);
}

static inline struct inner *
order_inner(const struct order *order, uint32_t node)
{
    return (struct inner *)arena_at(&order->inners, node);
}

static inline uint8_t *
leaf_prefix(struct leaf *leaf)
{
    return (uint8_t *)leaf->rest;
}

static inline uint64_t *
leaf_slots(struct leaf *leaf)
{
    return leaf->rest + (leaf->prefix_len + 7U) / 8;
}

/* Slots that fit beside a prefix. */
static inline unsigned
leaf_room(unsigned prefix_len)
{
    return ORDER_LEAF_SLOTS - (prefix_len + 7) / 8;
}

static inline uint32_t
slot_head(uint64_t slot)
{
    return (uint32_t)(slot >> 32);
}

/* The entry's key; false: it can't be read. */
static inline bool
order_key(const struct order *order, uint32_t id, struct fl_key *key)
{
    const index_loc loc = entry_key_loc(entries_load(order->entries, id));

    return loc != 0 && order->media->key_at(order->media->context, loc, key);
}

static inline bool
order_placed(const struct order *order, uint32_t id)
{
    return (((uint64_t *)arena_at(&order->placed, id / 64))[0] >> (id % 64) & 1) != 0;
}

static inline void
order_set_placed(struct order *order, uint32_t id, bool placed)
{
    uint64_t *word = arena_at(&order->placed, id / 64);
    const uint64_t bit = UINT64_C(1) << (id % 64);

    *word = placed ? *word | bit : *word & ~bit;
}

uint32_t order_leaf_take(struct order *order);
void order_leaf_give(struct order *order, uint32_t node);
uint32_t order_inner_take(struct order *order);
void order_inner_give(struct order *order, uint32_t node);

/* Smallest (that can be read) or largest key below a node of `level`, 0: a leaf. False: none can be read. */
bool order_min_key(const struct order *order, uint32_t node, unsigned level, struct fl_key *key);
bool order_max_key(const struct order *order, uint32_t node, unsigned level, struct fl_key *key);

/* The slots of a leaf in order: its own, or a copy in `copy` if it has a tail. */
const uint64_t *leaf_view(const struct order *order, struct leaf *leaf,
                          uint64_t copy[ORDER_LEAF_SLOTS]);
/* Put the tail in order. */
void leaf_tidy(const struct order *order, struct leaf *leaf);
/* In such a view: the slot where `key` is or belongs. */
unsigned leaf_place(const struct order *order, struct leaf *leaf, const uint64_t *slots,
                    const struct fl_key *key);
/* Add a slot to the tail. False: the leaf is full; it has been put in order. */
bool leaf_add(const struct order *order, struct leaf *leaf, const struct fl_key *key, uint32_t id);
/* An empty leaf gets `key`'s first `len` bytes as its prefix. */
void leaf_set_prefix(struct leaf *leaf, const struct fl_key *key, unsigned len);
/* Keep only the first `len` bytes of the prefix, and extend the heads to match. */
void leaf_shrink(struct leaf *leaf, unsigned len);
/* Where heads tie and the keys share more than the prefix: take the longer prefix. The leaf is in order. */
void leaf_sharpen(const struct order *order, struct leaf *leaf);

/* Bytes that keys between these two share, as far as a prefix may go. */
static inline unsigned
order_prefix_of(const struct fl_key *first, const struct fl_key *last)
{
    const uint32_t common = key_common(first, last, 0);

    return common < ORDER_PREFIX_MAX ? common : ORDER_PREFIX_MAX;
}

/* Child number that `key` belongs to; _within as above. */
unsigned inner_place(const struct order *order, const struct inner *inner, unsigned level,
                     const struct fl_key *key);
/* `from`: the child is known to be that one or behind it. */
unsigned inner_place_within(const struct order *order, const struct inner *inner, unsigned level,
                            const struct fl_key *key, unsigned from);
void inner_shrink(struct inner *inner, unsigned len);
/* If its keys share more than the prefix: take the longer prefix. */
void inner_sharpen(const struct order *order, struct inner *inner, unsigned level);
order_head key_head16(const struct fl_key *key, uint32_t skip);

static inline order_head
inner_head(const struct inner *inner, unsigned i)
{
    return (order_head)inner->heads_high[i] << 64 | inner->heads_low[i];
}

static inline void
inner_set_head(struct inner *inner, unsigned i, order_head head)
{
    inner->heads_high[i] = (uint64_t)(head >> 64);
    inner->heads_low[i] = (uint64_t)head;
}

/* Are `len` bytes the same? A call of memcmp() costs more than the few bytes that prefixes have. */
static inline bool
bytes_same(const uint8_t *a, const uint8_t *b, unsigned len)
{
    if (len > 16) {
        return memcmp(a, b, len) == 0;
    }
    if (len >= 8) {
        return key_load8(a) == key_load8(b) && key_load8(a + len - 8) == key_load8(b + len - 8);
    }
    for (unsigned i = 0; i < len; i++) {
        if (a[i] != b[i]) {
            return false;
        }
    }
    return true;
}

/* Does `key` begin with the prefix? */
static inline bool
order_prefix_holds(const uint8_t *prefix, unsigned prefix_len, const struct fl_key *key)
{
    return prefix_len == 0 || (prefix[0] == key->space && prefix_len <= key_len(key) &&
                               bytes_same(prefix + 1, key->ptr, prefix_len - 1));
}

/* How many of the prefix's bytes `key` begins with; order < 0, > 0 if it differs there. */
unsigned order_prefix_common(const uint8_t *prefix, unsigned prefix_len, const struct fl_key *key,
                             int *order_out);

/* Under the exclusive lock: find the leaf for `key`, making every node on the way admit it; and put it there. `before`
 * is the path of a key that is not above this one, of the present shape, or NULL. A path may be of an older shape, but
 * for inner_shape, as long as its leaf hasn't been split or dropped since. */
void order_descend_to_insert(struct order *order, const struct fl_key *key,
                             const struct order_path *before, struct order_path *path);
void order_insert(struct order *order, struct order_path *path, const struct fl_key *key,
                  uint32_t id);

/* The way to a key's leaf. */
void order_descend(const struct order *order, const struct fl_key *key, struct order_path *path);

static inline void
order_prefetch_leaf(const struct order *order, uint32_t node)
{
    const char *bytes = (const char *)order_leaf(order, node);

    for (unsigned i = 0; i < ORDER_LEAF_BYTES; i += 64) {
        __builtin_prefetch(bytes + i);
    }
}

#endif
