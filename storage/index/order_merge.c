/* Entries that wait for their place in the order, and how they get there: in sorted batches. */
#include "storage/index/order.h"

#include "base/fail.h"

uint64_t
order_waiting(const struct order *order)
{
    const uint64_t head = atomic_load_explicit(&order->ring_head, memory_order_acquire);
    const uint64_t tail = atomic_load_explicit(&order->ring_tail, memory_order_acquire);

    /* The head was read first: it may have passed the tail that was read then, never this one. */
    return tail - head;
}

static void
batch_key(void *context, const struct sort_item *item, struct fl_key *key)
{
    const struct order_batch *batch = context;

    *key = batch->keys[item->aux];
}

/* The entries of ring places [head, tail) that are still wanted, sorted. Returns how many. An entry that left
 * meanwhile gives its id back; one whose key can't be read is counted in *unreadable and kept at the end. */
static size_t
batch_collect(struct order *order, uint64_t head, uint64_t tail, size_t *unreadable)
{
    struct order_batch *batch = order->batch;
    size_t count = 0;

    *unreadable = 0;
    for (uint64_t i = head; i < tail; i++) {
        const uint32_t id = order->ring[i % ORDER_RING];
        const uint64_t word = entries_load(order->entries, id);
        const index_loc loc = entry_key_loc(word);

        if ((word & ENTRY_LEAVING) != 0) {
            entries_return(order->entries, id);
            continue;
        }
        if (loc == 0 || !order->media->key_at(order->media->context, loc, &batch->keys[count])) {
            ++*unreadable;
            batch->scratch[ORDER_BATCH - *unreadable].id = id;
            continue;
        }
        batch->items[count].id = id;
        batch->items[count].aux = (uint32_t)count;
        count++;
    }
    for (size_t i = 0; i < *unreadable; i++) {
        batch->items[count + i].id = batch->scratch[ORDER_BATCH - 1 - i].id;
    }
    sort_keys(batch->items, batch->scratch, count, 0, batch_key, batch);
    return count;
}

/* Insert items[0..count) under one holding of the lock. */
static void
batch_insert(struct order *order, const struct sort_item *items, size_t count)
{
    pthread_rwlock_wrlock(&order->lock);
    for (size_t i = 0; i < count; i++) {
        const uint32_t id = items[i].id;

        /* It may have left since it was collected: order_remove() decides under this lock. */
        if ((entries_load(order->entries, id) & ENTRY_LEAVING) != 0) {
            entries_return(order->entries, id);
            continue;
        }
        order_insert(order, &order->batch->keys[items[i].aux], id);
    }
    pthread_rwlock_unlock(&order->lock);
}

/* An entry whose record is damaged comes last of all. */
static void
batch_insert_last(struct order *order, uint32_t id)
{
    static const uint8_t highest[ORDER_PREFIX_MAX + 16] = {
        [0 ... ORDER_PREFIX_MAX + 15] = 0xff,
    };
    const struct fl_key key = fl_key_in(UINT8_MAX, highest, sizeof(highest));

    pthread_rwlock_wrlock(&order->lock);
    if ((entries_load(order->entries, id) & ENTRY_LEAVING) != 0) {
        entries_return(order->entries, id);
    } else {
        order_insert(order, &key, id);
    }
    pthread_rwlock_unlock(&order->lock);
}

static bool
order_merge_locked(struct order *order)
{
    const uint64_t head = atomic_load_explicit(&order->ring_head, memory_order_relaxed);
    uint64_t tail = atomic_load_explicit(&order->ring_tail, memory_order_acquire);
    size_t unreadable;

    if (head == tail) {
        return false;
    }
    tail = tail - head > ORDER_BATCH ? head + ORDER_BATCH : tail;
    const size_t count = batch_collect(order, head, tail, &unreadable);

    for (size_t i = 0; i < count; i += ORDER_SLICE) {
        const size_t slice = count - i < ORDER_SLICE ? count - i : ORDER_SLICE;

        batch_insert(order, &order->batch->items[i], slice);
    }
    for (size_t i = 0; i < unreadable; i++) {
        batch_insert_last(order, order->batch->items[count + i].id);
    }
    atomic_store_explicit(&order->ring_head, tail, memory_order_release);
    return true;
}

bool
order_merge(struct order *order)
{
    pthread_mutex_lock(&order->merge_lock);
    const bool merged = order_merge_locked(order);

    pthread_mutex_unlock(&order->merge_lock);
    return merged;
}

void
order_merge_all(struct order *order)
{
    const uint64_t tail = atomic_load_explicit(&order->ring_tail, memory_order_acquire);

    while (atomic_load_explicit(&order->ring_head, memory_order_acquire) < tail) {
        (void)order_merge(order);
    }
}

void
order_add(struct order *order, uint32_t id)
{
    const uint64_t tail = atomic_load_explicit(&order->ring_tail, memory_order_relaxed);

    while (tail - atomic_load_explicit(&order->ring_head, memory_order_acquire) >= ORDER_RING) {
        (void)order_merge(order);
    }
    order->ring[tail % ORDER_RING] = id;
    atomic_store_explicit(&order->ring_tail, tail + 1, memory_order_release);
}
