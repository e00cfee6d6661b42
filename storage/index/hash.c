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

/* Segments fill up at about the same time; then many of a few hundred insertions need a split. */
enum { HASH_KEYS_PER_SPLIT = 128, HASH_SPARES_MIN = 4, HASH_SUPPLY_STEP = 40 };

/* A segment is split when it holds so many keys or more, as a rule: for guessing depths. */
enum { HASH_KEYS_PER_SEGMENT = HASH_BUCKETS * HASH_SLOTS / 4 };

uint32_t
hash_supply_take(struct hash *hash, struct hash_supply *supply, hash_link link)
{
    const uint32_t item = supply->free_head;

    if (item != 0) {
        supply->free_head = atomic_load_explicit(link(hash, item), memory_order_relaxed);
        supply->free_count--;
        atomic_store_explicit(link(hash, item), 0, memory_order_relaxed);
        return item;
    }
    FL_ASSERT(supply->next < supply->end);
    return (uint32_t)supply->next++;
}

/* Link what is left of the stretch, so that another can take its place. */
static void
hash_supply_link(struct hash *hash, struct hash_supply *supply, hash_link link)
{
    for (; supply->next < supply->end; supply->next++) {
        const uint32_t item = (uint32_t)supply->next;

        atomic_store_explicit(link(hash, item), supply->free_head, memory_order_relaxed);
        supply->free_head = item;
        supply->free_count++;
    }
}

/* At least `count` more items. `beside` is filled in step, or NULL. */
static fl_status
hash_supply_grow(struct hash *hash, struct hash_supply *supply, uint64_t count, hash_link link,
                 struct arena *arena, struct arena *beside)
{
    struct hash_store *store = hash->store;
    const uint64_t more = count < HASH_SUPPLY_STEP ? HASH_SUPPLY_STEP : count;

    pthread_mutex_lock(&store->lock);
    const uint64_t next = atomic_load_explicit(&arena->next, memory_order_relaxed);
    fl_status status = arena_commit(arena, next + more);

    if (status == FL_OK && beside != NULL) {
        status = arena_commit(beside, next + more);
    }
    if (status == FL_OK) {
        atomic_store_explicit(&arena->next, (uint32_t)(next + more), memory_order_relaxed);
        if (beside != NULL) {
            atomic_store_explicit(&beside->next, (uint32_t)(next + more), memory_order_relaxed);
        }
    }
    pthread_mutex_unlock(&store->lock);
    if (status != FL_OK) {
        return status;
    }
    if (supply->end != next) {
        /* Another shard took what follows. Else nothing is linked, for that would touch what may never be used. */
        hash_supply_link(hash, supply, link);
        supply->next = next;
    }
    supply->end = next + more;
    return FL_OK;
}

static fl_status
hash_reserve_directory(struct hash *hash, uint64_t count)
{
    const struct hash_directory *directory =
        atomic_load_explicit(&hash->directory, memory_order_relaxed);
    const uint64_t segments = hash->segments_used + count / HASH_KEYS_PER_SEGMENT;
    unsigned depth = directory->depth + 1;

    while (depth < HASH_DEPTH_MAX && UINT64_C(1) << depth < 2 * segments) {
        depth++;
    }
    if (depth + directory->skip > HASH_DEPTH_MAX ||
        (hash->directory_spare != NULL && hash->directory_spare->depth >= depth)) {
        return FL_OK;
    }
    struct hash_directory *spare = hash_directory_create(hash->store, directory->skip, depth);

    if (spare == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "no memory for the index's directory");
    }
    hash_directory_destroy(hash->store, hash->directory_spare);
    hash->directory_spare = spare;
    return FL_OK;
}

fl_status
hash_reserve(struct hash *hash, uint64_t count)
{
    const uint64_t splits = HASH_SPARES_MIN + (count < HASH_SUPPLY_STEP ? 0U : HASH_SUPPLY_STEP) +
                            count / HASH_KEYS_PER_SPLIT;
    const uint64_t spares = hash_supply_count(&hash->segments);
    const uint64_t nodes = hash_supply_count(&hash->overflows);
    fl_status status = FL_OK;

    if (spares < splits) {
        status = hash_supply_grow(hash, &hash->segments, splits - spares, hash_segment_link,
                                  &hash->store->segments, &hash->store->infos);
    }
    if (status == FL_OK && nodes < count) {
        status = hash_supply_grow(hash, &hash->overflows, count - nodes, hash_overflow_link,
                                  &hash->store->overflows, NULL);
    }
    return status == FL_OK ? hash_reserve_directory(hash, count) : status;
}

fl_status
hash_init(struct hash *hash, struct hash_store *store, struct epoch *epoch, unsigned skip)
{
    memset(hash, 0, sizeof(*hash));
    hash->store = store;
    hash->epoch = epoch;
    const fl_status status = hash_supply_grow(hash, &hash->segments, 1, hash_segment_link,
                                              &store->segments, &store->infos);

    if (status != FL_OK) {
        return status;
    }
    struct hash_directory *directory = hash_directory_create(store, skip, 0);

    if (directory == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "no memory for the index's directory");
    }
    const uint32_t segment = hash_supply_take(hash, &hash->segments, hash_segment_link);

    hash_info(hash, segment)->depth = 0;
    atomic_init(&directory->words[0], segment);
    atomic_init(&hash->directory, directory);
    hash->segments_used = 1;
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

/* Append a part's supply to the whole's. */
static void
hash_supply_join(struct hash *hash, struct hash_supply *supply, struct hash_supply *part,
                 hash_link link)
{
    hash_supply_link(hash, part, link);
    while (part->free_head != 0) {
        const uint32_t item = hash_supply_take(hash, part, link);

        atomic_store_explicit(link(hash, item), supply->free_head, memory_order_relaxed);
        supply->free_head = item;
        supply->free_count++;
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
        hash_supply_join(hash, &hash->segments, &parts[p]->segments, hash_segment_link);
        hash_supply_join(hash, &hash->overflows, &parts[p]->overflows, hash_overflow_link);
        hash->segments_used += parts[p]->segments_used;
        hash_deinit(parts[p]);
    }
    hash_directory_destroy(hash->store, atomic_load(&hash->directory));
    hash_directory_destroy(hash->store, hash->directory_spare);
    hash->directory_spare = NULL;
    atomic_store(&hash->directory, joined);
    return FL_OK;
}
