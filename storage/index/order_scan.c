/* Walking the order. */
#include "storage/index/order.h"

static uint32_t
order_last_leaf(const struct order *order)
{
    uint32_t node = order->root;

    for (unsigned level = order->height; level > 0; level--) {
        const struct inner *inner = order_inner(order, node);

        node = inner->children[inner->count - 1];
    }
    return node;
}

/* The space of a slot's key, without reading it. */
static uint8_t
slot_space(struct leaf *leaf, uint64_t slot)
{
    return leaf->prefix_len > 0 ? leaf_prefix(leaf)[0] : (uint8_t)(slot >> 56);
}

struct walk {
    struct order *order;
    const struct fl_key *from;
    bool (*visit)(void *context, uint32_t id);
    void *context;
};

/* Visit slots[i]; false: stop. */
static bool
walk_visit(const struct walk *walk, struct leaf *leaf, uint64_t slot)
{
    return slot_space(leaf, slot) == walk->from->space &&
           walk->visit(walk->context, (uint32_t)slot);
}

/* The leaf's slots in order, their entries on the way into the cache. */
static const uint64_t *
walk_view(const struct walk *walk, struct leaf *leaf, uint64_t copy[ORDER_LEAF_SLOTS],
          uint32_t next)
{
    const uint64_t *slots = leaf_view(walk->order, leaf, copy);

    order_prefetch_leaf(walk->order, next);
    for (unsigned i = 0; i < leaf->count; i++) {
        __builtin_prefetch(entries_word(walk->order->entries, (uint32_t)slots[i]));
    }
    return slots;
}

/* From the slots that are not below `bound` on. */
static void
walk_forward(const struct walk *walk, uint32_t node, const struct fl_key *bound, bool step_over)
{
    uint64_t copy[ORDER_LEAF_SLOTS];
    bool first = true;

    for (; node != 0; node = order_leaf(walk->order, node)->next) {
        struct leaf *leaf = order_leaf(walk->order, node);
        const uint64_t *slots = walk_view(walk, leaf, copy, leaf->next);
        unsigned i = first ? leaf_place(walk->order, leaf, slots, bound) : 0;
        struct fl_key there;

        /* `bound` itself may be the first of the next leaf. */
        first = first && i == leaf->count;
        if (step_over && i < leaf->count) {
            step_over = false;
            i += order_key(walk->order, (uint32_t)slots[i], &there) && key_equal(&there, bound);
        }
        for (; i < leaf->count; i++) {
            if (!walk_visit(walk, leaf, slots[i])) {
                return;
            }
        }
    }
}

/* From the slots below `bound` on, or, included, from `bound` itself. */
static void
walk_backward(const struct walk *walk, uint32_t node, const struct fl_key *bound, bool included)
{
    uint64_t copy[ORDER_LEAF_SLOTS];
    bool first = bound != NULL;

    for (; node != 0; node = order_leaf(walk->order, node)->prev) {
        struct leaf *leaf = order_leaf(walk->order, node);
        const uint64_t *slots = walk_view(walk, leaf, copy, leaf->prev);
        unsigned i = leaf->count;
        struct fl_key there;

        if (first) {
            first = false;
            i = leaf_place(walk->order, leaf, slots, bound);
            i += included && i < leaf->count &&
                 order_key(walk->order, (uint32_t)slots[i], &there) && key_equal(&there, bound);
        }
        while (i-- > 0) {
            if (!walk_visit(walk, leaf, slots[i])) {
                return;
            }
        }
    }
}

void
order_scan(struct order *order, const struct fl_key *from, bool inclusive,
           enum index_direction direction, bool (*visit)(void *context, uint32_t id), void *context)
{
    const struct walk walk = {order, from, visit, context};
    struct fl_key bound = *from;
    struct order_path path;

    order_merge_all(order);
    pthread_rwlock_rdlock(&order->lock);
    if (direction == INDEX_FORWARD) {
        order_descend(order, &bound, &path);
        walk_forward(&walk, path.leaf, &bound, from->len > 0 && !inclusive);
    } else if (from->len == 0 && from->space == UINT8_MAX) {
        walk_backward(&walk, order_last_leaf(order), NULL, false);
    } else {
        bound.space = (uint8_t)(from->space + (from->len == 0));
        order_descend(order, &bound, &path);
        walk_backward(&walk, path.leaf, &bound, from->len > 0 && inclusive);
    }
    pthread_rwlock_unlock(&order->lock);
}

/* ---- a random entry ---- */

uint32_t
order_random(struct order *order, uint8_t space, uint64_t random)
{
    const struct fl_key first = fl_key_in(space, "", 0);
    const struct fl_key end = fl_key_in((uint8_t)(space + 1), "", 0);
    uint32_t id = 0;

    order_merge_all(order);
    pthread_rwlock_rdlock(&order->lock);
    uint32_t node = order->root;

    for (unsigned level = order->height; level > 0; level--) {
        const struct inner *inner = order_inner(order, node);
        const unsigned lo = inner_place(order, inner, level, &first);
        const unsigned hi =
            space == UINT8_MAX ? inner->count - 1U : inner_place(order, inner, level, &end);

        node = inner->children[lo + random % (hi - lo + 1)];
        random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        random ^= random >> 29;
    }
    uint64_t copy[ORDER_LEAF_SLOTS];
    struct leaf *leaf = order_leaf(order, node);
    const uint64_t *slots = leaf_view(order, leaf, copy);
    const unsigned lo = leaf_place(order, leaf, slots, &first);
    const unsigned hi = space == UINT8_MAX ? leaf->count : leaf_place(order, leaf, slots, &end);

    if (lo < hi) {
        id = (uint32_t)slots[lo + random % (hi - lo)];
    }
    pthread_rwlock_unlock(&order->lock);
    return id;
}

uint64_t
order_dram_bytes(const struct order *order)
{
    const uint64_t added = atomic_load_explicit(&order->ring_tail, memory_order_relaxed);
    const uint64_t batch = added < ORDER_BATCH ? added : ORDER_BATCH;

    /* Of ring and batch what has been touched. */
    return arena_dram_bytes(&order->leaves) + arena_dram_bytes(&order->inners) +
           (uint64_t)atomic_load_explicit(&order->entries->words.next, memory_order_relaxed) / 8 +
           (added < ORDER_RING ? added : ORDER_RING) * sizeof(order->ring[0]) +
           batch * (sizeof(*order->batch) / ORDER_BATCH) + sizeof(*order);
}
