/* Entries that wait for their place in the order, and how they get there: in sorted batches. */
#include "storage/index/order.h"

#include "base/fail.h"

#include <string.h>

uint64_t
order_waiting(const struct order *order)
{
    const uint64_t head = atomic_load_explicit(&order->ring_head, memory_order_acquire);
    const uint64_t tail = atomic_load_explicit(&order->ring_tail, memory_order_acquire);

    /* The head was read first: it may have passed the tail that was read then, never this one. */
    return tail - head;
}

static inline const struct order_wait *
batch_wait(const struct order *order, uint32_t aux)
{
    return &order->ring[(order->batch->head + aux) % ORDER_RING];
}

/* The key of an item. It may be called for as long as the epoch section lasts that batch_collect() ran in. */
static void
batch_sort_key(void *context, const struct sort_item *item, struct fl_key *key)
{
    const struct order *order = context;
    const struct order_wait *wait = batch_wait(order, item->aux);

    *key = wait->len > 0 ? fl_key_in(wait->space, wait->bytes, wait->len)
                         : order->batch->keys[item->aux];
}

/* The key of an entry, whose record may have moved since it was sorted. One that can't be read any more goes
 * behind all others: false. */
static bool
batch_key(const struct order *order, const struct sort_item *item, struct fl_key *key)
{
    static const uint8_t highest[ORDER_PREFIX_MAX + 16] = {
        [0 ... ORDER_PREFIX_MAX + 15] = 0xff,
    };
    const struct order_wait *wait = batch_wait(order, item->aux);

    if (wait->len > 0) {
        *key = fl_key_in(wait->space, wait->bytes, wait->len);
        return true;
    }
    if (order_key(order, item->id, key)) {
        return true;
    }
    *key = fl_key_in(UINT8_MAX, highest, sizeof(highest));
    return false;
}

/* Make a batch of what waits, as far as it goes. An entry that has left already gives its id back here; one that
 * leaves later, when its turn comes. */
static void
batch_collect(struct order *order, uint64_t head, uint64_t tail)
{
    struct order_batch *batch = order->batch;
    size_t count = 0;
    size_t unreadable = 0;

    batch->head = head;
    batch->tail = tail - head > ORDER_BATCH ? head + ORDER_BATCH : tail;
    for (uint32_t i = 0; i < batch->tail - head; i++) {
        const struct order_wait *wait = batch_wait(order, i);

        if (entries_load(order->entries, wait->id) == ENTRY_ABANDONED) {
            entries_return(order->entries, wait->id);
        } else if (wait->len > 0 || order_key(order, wait->id, &batch->keys[i])) {
            batch->items[count].id = wait->id;
            batch->items[count++].aux = i;
        } else {
            batch->scratch[ORDER_BATCH - ++unreadable] = (struct sort_item){0, wait->id, i};
        }
    }
    for (size_t i = 0; i < unreadable; i++) {
        batch->items[count + i] = batch->scratch[ORDER_BATCH - 1 - i];
    }
    sort_keys(batch->items, batch->scratch, count, 0, batch_sort_key, order);
    batch->count = count + unreadable;
    batch->done = 0;
    batch->inner = 0;
}

/* The batch has come to another node above the leaves: fetch the next one, where it will be soon. */
static void
batch_prefetch_inner(struct order *order, const struct order_path *path)
{
    if (order->height < 2 || order->batch->inner == path->at[1].node) {
        return;
    }
    order->batch->inner = path->at[1].node;
    const struct inner *parent = order_inner(order, path->at[2].node);
    const unsigned next = path->at[2].place + 1;

    if (next < parent->count) {
        const struct inner *inner = order_inner(order, parent->children[next]);
        /* As full as its neighbour, as a guess: to look would be a miss of its own. */
        const unsigned count = order_inner(order, path->at[1].node)->count;

        __builtin_prefetch(inner);
        for (unsigned i = 0; i < count; i += 64 / sizeof(inner->heads_high[0])) {
            __builtin_prefetch(&inner->heads_high[i]);
        }
        for (unsigned i = 0; i < count; i += 64 / sizeof(inner->children[0])) {
            __builtin_prefetch(&inner->children[i]);
        }
    }
}

/* Insert items[0..count) under one holding of the lock: all the ways down first, so that the leaves come into
 * the cache side by side. */
static void
batch_insert(struct order *order, const struct sort_item *items, size_t count)
{
    struct order_path paths[ORDER_SLICE];
    struct fl_key keys[ORDER_SLICE];
    uint32_t ids[ORDER_SLICE];
    size_t n = 0;
    bool ascending = true;
    uint32_t split = 0;

    pthread_rwlock_wrlock(&order->lock);
    for (size_t i = 0; i < count; i++) {
        /* Whether it has left is decided under the lock that is held here: see order_remove(). */
        if (entries_load(order->entries, items[i].id) == ENTRY_ABANDONED) {
            entries_return(order->entries, items[i].id);
            continue;
        }
        ids[n] = items[i].id;
        /* In order, but for damage. */
        ascending = batch_key(order, &items[i], &keys[n]) && ascending;
        order_descend_to_insert(order, &keys[n], ascending && n > 0 ? &paths[n - 1] : NULL,
                                &paths[n]);
        __builtin_prefetch(order_leaf(order, paths[n].leaf));
        batch_prefetch_inner(order, &paths[n]);
        n++;
    }
    for (size_t i = 0; i < n; i++) {
        struct leaf *leaf = order_leaf(order, paths[i].leaf);

        __builtin_prefetch(leaf_slots(leaf) + leaf->count);
    }
    for (size_t i = 0; i < n; i++) {
        /* One before it may have split its leaf, or a node above it, which then admits what it held only: the way
         * down has to be found again. */
        const uint32_t leaf = paths[i].leaf;
        const uint64_t shape = order->shape;

        if (leaf == split || paths[i].inner_shape != order->inner_shape) {
            order_descend_to_insert(order, &keys[i], NULL, &paths[i]);
        }
        order_insert(order, &paths[i], &keys[i], ids[i]);
        split = order->shape != shape ? leaf : split;
    }
    pthread_rwlock_unlock(&order->lock);
}

/* Start the cache misses of the next slice's keys. */
static void
batch_prefetch(const struct order *order)
{
    const struct order_batch *batch = order->batch;

    for (size_t i = batch->done; i < batch->count && i < batch->done + ORDER_SLICE; i++) {
        __builtin_prefetch(batch_wait(order, batch->items[i].aux));
        __builtin_prefetch(entries_word(order->entries, batch->items[i].id));
    }
}

static bool
order_step_locked(struct order *order)
{
    struct order_batch *batch = order->batch;
    const uint64_t head = atomic_load_explicit(&order->ring_head, memory_order_relaxed);

    if (batch->done == batch->count) {
        const uint64_t tail = atomic_load_explicit(&order->ring_tail, memory_order_acquire);

        if (head == tail) {
            return false;
        }
        batch_collect(order, head, tail);
    } else {
        const size_t rest = batch->count - batch->done;
        const size_t slice = rest < ORDER_SLICE ? rest : ORDER_SLICE;

        batch->done += slice;
        batch_prefetch(order);
        batch_insert(order, &batch->items[batch->done - slice], slice);
    }
    if (batch->done == batch->count) {
        atomic_store_explicit(&order->ring_head, batch->tail, memory_order_release);
    }
    return true;
}

bool
order_step(struct order *order)
{
    pthread_mutex_lock(&order->merge_lock);
    const bool stepped = order_step_locked(order);

    pthread_mutex_unlock(&order->merge_lock);
    return stepped;
}

void
order_merge_all(struct order *order)
{
    const uint64_t tail = atomic_load_explicit(&order->ring_tail, memory_order_acquire);

    while (atomic_load_explicit(&order->ring_head, memory_order_acquire) < tail) {
        (void)order_step(order);
    }
}

void
order_add(struct order *order, const struct fl_key *key, uint32_t id)
{
    const uint64_t tail = atomic_load_explicit(&order->ring_tail, memory_order_relaxed);
    const uint64_t head = atomic_load_explicit(&order->ring_head, memory_order_acquire);
    const uint64_t maintained = atomic_load_explicit(&order->maintained, memory_order_relaxed);

    if (tail - head >= ORDER_BATCH && tail - maintained >= ORDER_RING && tail % ORDER_SLICE == 0) {
        /* Nobody does it in the background: a step now and then, as many in as out. */
        (void)order_step(order);
    }
    while (tail - atomic_load_explicit(&order->ring_head, memory_order_acquire) >= ORDER_RING) {
        (void)order_step(order);
    }
    struct order_wait *wait = &order->ring[tail % ORDER_RING];

    wait->id = id;
    wait->space = key->space;
    wait->len = 0;
    if (key->len <= sizeof(wait->bytes)) {
        wait->len = (uint8_t)key->len;
        memcpy(wait->bytes, key->ptr, key->len);
    }
    atomic_store_explicit(&order->ring_tail, tail + 1, memory_order_release);
}
