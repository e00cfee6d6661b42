/* The hash: its memory, and what is done to all of it. */
#include "storage/index/hash.h"

#include "base/fail.h"
#include "base/mem.h"
#include "storage/index/hash_internal.h"

#include <string.h>

fl_status
hash_store_init(struct hash_store *store, uint64_t keys_max)
{
    const uint64_t segments_max = keys_max / HASH_SPLIT_KEYS_MIN + 1024;

    memset(store, 0, sizeof(*store));
    pthread_mutex_init(&store->lock, NULL);
    fl_status status = arena_init(&store->segments, sizeof(struct hash_segment), segments_max);

    if (status == FL_OK) {
        status = arena_init(&store->infos, sizeof(struct hash_segment_info), segments_max);
    }
    if (status == FL_OK) {
        status = arena_init(&store->overflows, sizeof(struct hash_overflow), keys_max / 32 + 1024);
    }
    if (status != FL_OK) {
        hash_store_deinit(store);
    }
    return status;
}

void
hash_store_deinit(struct hash_store *store)
{
    arena_deinit(&store->segments);
    arena_deinit(&store->infos);
    arena_deinit(&store->overflows);
    pthread_mutex_destroy(&store->lock);
}

static struct hash_directory *
hash_directory_create(struct hash_store *store, unsigned skip, unsigned depth)
{
    const size_t bytes = sizeof(struct hash_directory) + (sizeof(uint64_t) << depth);
    struct hash_directory *directory = mem_alloc(bytes);

    if (directory != NULL) {
        directory->skip = skip;
        directory->depth = depth;
        atomic_fetch_add_explicit(&store->directory_bytes, bytes, memory_order_relaxed);
    }
    return directory;
}

static void
hash_directory_destroy(struct hash_store *store, struct hash_directory *directory)
{
    if (directory != NULL) {
        atomic_fetch_sub_explicit(&store->directory_bytes,
                                  sizeof(*directory) + (sizeof(uint64_t) << directory->depth),
                                  memory_order_relaxed);
        mem_free(directory);
    }
}

static void
hash_directory_release(void *context, uint64_t arg)
{
    (void)arg;
    mem_free(context);
}

void
hash_directory_retire(struct hash *hash, struct hash_directory *directory)
{
    atomic_fetch_sub_explicit(&hash->store->directory_bytes,
                              sizeof(*directory) + (sizeof(uint64_t) << directory->depth),
                              memory_order_relaxed);
    epoch_retire(hash->epoch, hash_directory_release, directory, 0);
}

/* Segments fill up at about the same time: then one insertion in some hundred needs a split. */
enum { HASH_KEYS_PER_SPLIT = 64, HASH_SPARES_MIN = 4 };

static fl_status
hash_reserve_segments(struct hash *hash, unsigned count)
{
    struct hash_store *store = hash->store;
    fl_status status = FL_OK;

    pthread_mutex_lock(&store->lock);
    while (status == FL_OK && hash->spares_count < count) {
        const uint64_t next = atomic_load_explicit(&store->segments.next, memory_order_relaxed);

        status = arena_commit(&store->segments, next);
        if (status == FL_OK) {
            status = arena_commit(&store->infos, next);
        }
        if (status == FL_OK) {
            hash->spares[hash->spares_count++] = arena_take(&store->segments);
            (void)arena_take(&store->infos);
        }
    }
    pthread_mutex_unlock(&store->lock);
    return status;
}

static void
hash_overflow_give(struct hash *hash, uint32_t node)
{
    atomic_store_explicit(&hash_overflow_at(hash, node)->next, hash->overflow_free,
                          memory_order_relaxed);
    hash->overflow_free = node;
    hash->overflow_free_count++;
}

/* Nodes are linked into the free list after their first use only: what is never needed is never touched. */
static fl_status
hash_reserve_overflow(struct hash *hash, uint64_t count)
{
    struct hash_store *store = hash->store;

    pthread_mutex_lock(&store->lock);
    const uint64_t next = atomic_load_explicit(&store->overflows.next, memory_order_relaxed);
    const fl_status status = arena_commit(&store->overflows, next + count);

    if (status == FL_OK) {
        atomic_store_explicit(&store->overflows.next, (uint32_t)(next + count),
                              memory_order_relaxed);
    }
    pthread_mutex_unlock(&store->lock);
    if (status != FL_OK) {
        return status;
    }
    if (hash->overflow_end != next) {
        /* Another shard's nodes lie between. */
        while (hash->overflow_next < hash->overflow_end) {
            hash_overflow_give(hash, (uint32_t)hash->overflow_next++);
        }
        hash->overflow_next = next;
    }
    hash->overflow_end = next + count;
    return FL_OK;
}

fl_status
hash_reserve(struct hash *hash, uint64_t count)
{
    const uint64_t splits = HASH_SPARES_MIN + count / HASH_KEYS_PER_SPLIT;
    const unsigned spares = splits < HASH_SPARE_SEGMENTS ? (unsigned)splits : HASH_SPARE_SEGMENTS;

    if (hash->spares_count < spares) {
        const fl_status status = hash_reserve_segments(hash, spares);

        if (status != FL_OK) {
            return status;
        }
    }
    if (hash->directory_spare == NULL) {
        const struct hash_directory *directory =
            atomic_load_explicit(&hash->directory, memory_order_relaxed);

        if (directory->depth + directory->skip < HASH_DEPTH_MAX) {
            hash->directory_spare =
                hash_directory_create(hash->store, directory->skip, directory->depth + 1);
            if (hash->directory_spare == NULL) {
                return FL_FAIL(FL_NO_MEMORY, "no memory for the index's directory");
            }
        }
    }
    const uint64_t nodes = hash->overflow_free_count + hash->overflow_end - hash->overflow_next;

    if (nodes < count) {
        return hash_reserve_overflow(hash, count - nodes < 64 ? 64 : count - nodes);
    }
    return FL_OK;
}

fl_status
hash_init(struct hash *hash, struct hash_store *store, struct epoch *epoch, unsigned skip)
{
    memset(hash, 0, sizeof(*hash));
    hash->store = store;
    hash->epoch = epoch;
    fl_status status = hash_reserve_segments(hash, 1);

    if (status != FL_OK) {
        return status;
    }
    struct hash_directory *directory = hash_directory_create(store, skip, 0);

    if (directory == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "no memory for the index's directory");
    }
    const uint32_t segment = hash->spares[--hash->spares_count];

    hash_info(hash, segment)->depth = 0;
    atomic_init(&directory->words[0], segment);
    atomic_init(&hash->directory, directory);
    return FL_OK;
}

void
hash_deinit(struct hash *hash)
{
    if (hash->store == NULL) {
        return;
    }
    hash_directory_destroy(hash->store, atomic_load(&hash->directory));
    hash_directory_destroy(hash->store, hash->directory_spare);
    hash->store = NULL;
}

uint64_t
hash_dram_bytes(const struct hash *hash)
{
    const struct hash_store *store = hash->store;

    return arena_dram_bytes(&store->segments) + arena_dram_bytes(&store->infos) +
           arena_dram_bytes(&store->overflows) +
           atomic_load_explicit(&store->directory_bytes, memory_order_relaxed);
}

uint32_t
hash_find_overflow(const struct hash_walk *walk, hash_match match, void *context)
{
    const uint32_t tag = hash_tag(walk->key_hash);
    uint32_t node = atomic_load_explicit(&hash_info(walk->hash, (uint32_t)walk->word)->overflow,
                                         memory_order_acquire);

    while (node != 0) {
        const struct hash_overflow *overflow = hash_overflow_at(walk->hash, node);

        for (unsigned i = 0; i < HASH_OVERFLOW_SLOTS; i++) {
            const uint64_t slot = atomic_load_explicit(&overflow->slots[i], memory_order_acquire);

            if ((uint32_t)(slot >> 32) == tag && (uint32_t)slot != 0 &&
                match(context, (uint32_t)slot)) {
                return (uint32_t)slot;
            }
        }
        node = atomic_load_explicit(&overflow->next, memory_order_acquire);
    }
    return 0;
}

static bool
slots_each(const _Atomic uint64_t *slots, unsigned count,
           bool (*visit)(void *context, uint32_t tag, uint32_t id), void *context)
{
    for (unsigned i = 0; i < count; i++) {
        const uint64_t slot = slot_load(&slots[i]);

        if (slot != 0 && !visit(context, (uint32_t)(slot >> 32), (uint32_t)slot)) {
            return false;
        }
    }
    return true;
}

bool
hash_each(const struct hash *hash, bool (*visit)(void *context, uint32_t tag, uint32_t id),
          void *context)
{
    /* By numbers: each segment and each chain once, however many words or segments name it. */
    const uint32_t segments = atomic_load(&hash->store->segments.next);
    const uint32_t nodes = atomic_load(&hash->store->overflows.next);

    for (uint32_t s = 1; s < segments; s++) {
        const struct hash_segment *segment = hash_segment_of(hash, s);

        for (unsigned b = 0; b < HASH_BUCKETS; b++) {
            if (!slots_each(segment->slots[b], HASH_SLOTS, visit, context)) {
                return false;
            }
        }
    }
    for (uint32_t n = 1; n < nodes; n++) {
        if (!slots_each(hash_overflow_at(hash, n)->slots, HASH_OVERFLOW_SLOTS, visit, context)) {
            return false;
        }
    }
    return true;
}

static void
slots_sweep(_Atomic uint64_t *slots, unsigned count, bool (*keep)(void *context, uint32_t id),
            void *context)
{
    for (unsigned i = 0; i < count; i++) {
        const uint64_t slot = slot_load(&slots[i]);

        if (slot != 0 && !keep(context, (uint32_t)slot)) {
            slot_store(&slots[i], 0);
        }
    }
}

void
hash_sweep(struct hash *hash, bool (*keep)(void *context, uint32_t id), void *context)
{
    const uint32_t segments = atomic_load(&hash->store->segments.next);
    const uint32_t nodes = atomic_load(&hash->store->overflows.next);

    for (uint32_t s = 1; s < segments; s++) {
        struct hash_segment *segment = hash_segment_of(hash, s);

        for (unsigned b = 0; b < HASH_BUCKETS; b++) {
            slots_sweep(segment->slots[b], HASH_SLOTS, keep, context);
        }
    }
    for (uint32_t n = 1; n < nodes; n++) {
        slots_sweep(hash_overflow_at(hash, n)->slots, HASH_OVERFLOW_SLOTS, keep, context);
    }
}

/* Append a part's free overflow nodes and spare segments to those of `hash`. */
static void
hash_take_spares(struct hash *hash, struct hash *part)
{
    while (part->spares_count > 0 && hash->spares_count < HASH_SPARE_SEGMENTS) {
        hash->spares[hash->spares_count++] = part->spares[--part->spares_count];
    }
    while (part->overflow_next < part->overflow_end) {
        hash_overflow_give(hash, (uint32_t)part->overflow_next++);
    }
}

fl_status
hash_join(struct hash *hash, struct hash *const *parts, unsigned count)
{
    unsigned bits = 0;
    unsigned depth = 0;

    while (1U << bits < count) {
        bits++;
    }
    for (unsigned p = 0; p < count; p++) {
        const struct hash_directory *part = atomic_load(&parts[p]->directory);

        depth = part->depth > depth ? part->depth : depth;
    }
    struct hash_directory *joined = hash_directory_create(hash->store, 0, bits + depth);

    if (joined == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "no memory for the index's directory");
    }
    for (unsigned p = 0; p < count; p++) {
        const struct hash_directory *part = atomic_load(&parts[p]->directory);
        const unsigned wider = depth - part->depth;

        for (size_t i = 0; i < (size_t)1 << depth; i++) {
            const uint64_t word = atomic_load(&part->words[i >> wider]);

            atomic_init(&joined->words[((size_t)p << depth) + i], word);
            /* Words lie beside each other: each segment is met first where its run begins. */
            if (i == 0 || atomic_load(&part->words[(i - 1) >> wider]) != word) {
                hash_info(hash, (uint32_t)word)->depth =
                    (uint8_t)(hash_info(hash, (uint32_t)word)->depth + bits);
            }
        }
        hash_take_spares(hash, parts[p]);
        hash_deinit(parts[p]);
    }
    hash_directory_destroy(hash->store, atomic_load(&hash->directory));
    hash_directory_destroy(hash->store, hash->directory_spare);
    hash->directory_spare = NULL;
    atomic_store(&hash->directory, joined);
    return FL_OK;
}
