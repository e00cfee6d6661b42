/* Walking the order, and checking it. */
#include "storage/index/order.h"

#include "base/fail.h"

#include <inttypes.h>

/* The place of the first slot >= key: *node is its leaf, 0 if there is none. */
static unsigned
order_lower(const struct order *order, const struct fl_key *key, uint32_t *node_out)
{
    uint32_t node = order->root;

    for (unsigned level = order->height; level > 0; level--) {
        const struct inner *inner = order_inner(order, node);

        node = inner->children[inner_place(order, inner, level, key)];
    }
    struct leaf *leaf = order_leaf(order, node);
    const unsigned place = leaf_place(order, leaf, key);

    if (place < leaf->count) {
        *node_out = node;
        return place;
    }
    *node_out = leaf->next;
    return 0;
}

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
slot_space(struct leaf *leaf, unsigned place)
{
    return leaf->prefix_len > 0 ? leaf_prefix(leaf)[0] : (uint8_t)(leaf->slots[place] >> 56);
}

static void
leaf_prefetch_words(const struct order *order, const struct leaf *leaf)
{
    for (unsigned i = 0; i < leaf->count; i++) {
        __builtin_prefetch(entries_word(order->entries, (uint32_t)leaf->slots[i]));
    }
}

struct walk {
    uint8_t space;
    bool (*visit)(void *context, uint32_t id);
    void *context;
};

static void
order_walk_forward(const struct order *order, const struct walk *walk, uint32_t node,
                   unsigned place)
{
    for (; node != 0; place = 0) {
        struct leaf *leaf = order_leaf(order, node);

        order_prefetch_leaf(order, leaf->next);
        leaf_prefetch_words(order, leaf);
        for (unsigned i = place; i < leaf->count; i++) {
            if (slot_space(leaf, i) != walk->space ||
                !walk->visit(walk->context, (uint32_t)leaf->slots[i])) {
                return;
            }
        }
        node = leaf->next;
    }
}

/* Visits the slots before `place`. */
static void
order_walk_backward(const struct order *order, const struct walk *walk, uint32_t node,
                    unsigned place)
{
    while (node != 0) {
        struct leaf *leaf = order_leaf(order, node);

        order_prefetch_leaf(order, leaf->prev);
        leaf_prefetch_words(order, leaf);
        for (unsigned i = place; i-- > 0;) {
            if (slot_space(leaf, i) != walk->space ||
                !walk->visit(walk->context, (uint32_t)leaf->slots[i])) {
                return;
            }
        }
        node = leaf->prev;
        place = node != 0 ? order_leaf(order, node)->count : 0;
    }
}

/* Where the walk begins: forward at the slot, backward before it. */
static unsigned
order_walk_start(const struct order *order, const struct fl_key *from, bool inclusive,
                 enum index_direction direction, uint32_t *node)
{
    struct fl_key bound = *from;
    struct fl_key there;

    if (direction == INDEX_BACKWARD && from->len == 0) {
        if (from->space == UINT8_MAX) {
            *node = 0;
            return 0;
        }
        bound.space++;
    }
    const unsigned place = order_lower(order, &bound, node);

    /* Step over `from` itself: forward if it is not wanted, backward if it is. */
    if (from->len == 0 || *node == 0 || inclusive == (direction == INDEX_FORWARD)) {
        return place;
    }
    if (order_key(order, (uint32_t)order_leaf(order, *node)->slots[place], &there) &&
        key_equal(&there, from)) {
        return place + 1;
    }
    return place;
}

void
order_scan(struct order *order, const struct fl_key *from, bool inclusive,
           enum index_direction direction, bool (*visit)(void *context, uint32_t id), void *context)
{
    const struct walk walk = {from->space, visit, context};
    uint32_t node;

    order_merge_all(order);
    pthread_rwlock_rdlock(&order->lock);
    unsigned place = order_walk_start(order, from, inclusive, direction, &node);

    if (direction == INDEX_FORWARD) {
        order_walk_forward(order, &walk, node, place);
    } else {
        if (node == 0) {
            node = order_last_leaf(order);
            place = order_leaf(order, node)->count;
        }
        order_walk_backward(order, &walk, node, place);
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
    struct leaf *leaf = order_leaf(order, node);
    const unsigned lo = leaf_place(order, leaf, &first);
    const unsigned hi = space == UINT8_MAX ? leaf->count : leaf_place(order, leaf, &end);

    if (lo < hi) {
        id = (uint32_t)leaf->slots[lo + random % (hi - lo)];
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

/* ---- checking ---- */

static fl_status
leaf_verify_slot(const struct order *order, struct leaf *leaf, unsigned i, struct fl_key *last,
                 bool *have_last)
{
    const uint32_t id = (uint32_t)leaf->slots[i];
    struct fl_key key;
    int difference;

    if (!order_placed(order, id)) {
        return FL_FAIL(FL_CORRUPT, "entry %" PRIu32 " is in the order but not marked so", id);
    }
    if (!order_key(order, id, &key)) {
        return FL_OK; /* damage on media; nothing can be said */
    }
    if (order_prefix_common(leaf_prefix(leaf), leaf->prefix_len, &key, &difference) !=
        leaf->prefix_len) {
        return FL_FAIL(FL_CORRUPT, "entry %" PRIu32 " does not share its leaf's prefix", id);
    }
    if (key_head4(&key, leaf->prefix_len) != slot_head(leaf->slots[i])) {
        return FL_FAIL(FL_CORRUPT, "entry %" PRIu32 " has a wrong head in its leaf", id);
    }
    if (*have_last && key_compare(last, &key, 0) >= 0) {
        return FL_FAIL(FL_CORRUPT, "entry %" PRIu32 " is out of order", id);
    }
    *last = key;
    *have_last = true;
    return FL_OK;
}

/* Each child's keys lie between its head and the next one's. */
static fl_status
inner_verify(const struct order *order, uint32_t node, unsigned level)
{
    const struct inner *inner = order_inner(order, node);

    if (inner->count == 0 || inner->count > ORDER_INNER_CHILDREN) {
        return FL_FAIL(FL_CORRUPT, "inner node %" PRIu32 " has %u children", node, inner->count);
    }
    for (unsigned i = 0; i < inner->count; i++) {
        struct fl_key low;
        struct fl_key high;
        int difference;

        if (!order_min_key(order, inner->children[i], level - 1, &low) ||
            !order_max_key(order, inner->children[i], level - 1, &high)) {
            continue;
        }
        if (order_prefix_common(inner->prefix, inner->prefix_len, &low, &difference) !=
                inner->prefix_len ||
            order_prefix_common(inner->prefix, inner->prefix_len, &high, &difference) !=
                inner->prefix_len) {
            return FL_FAIL(FL_CORRUPT, "a key below inner node %" PRIu32 " lacks its prefix", node);
        }
        if ((i > 0 && key_head16(&low, inner->prefix_len) < inner_head(inner, i)) ||
            (i + 1 < inner->count &&
             key_head16(&high, inner->prefix_len) > inner_head(inner, i + 1))) {
            return FL_FAIL(FL_CORRUPT, "child %u of inner node %" PRIu32 " is misplaced", i, node);
        }
    }
    return FL_OK;
}

static fl_status
order_verify_inners(const struct order *order, uint32_t node, unsigned level)
{
    struct {
        uint32_t node;
        unsigned place;
    } stack[ORDER_HEIGHT_MAX];
    unsigned depth = 0;

    if (level == 0) {
        return FL_OK;
    }
    stack[depth].node = node;
    stack[depth++].place = 0;
    while (depth > 0) {
        const struct inner *inner = order_inner(order, stack[depth - 1].node);
        const unsigned at = level - (depth - 1);

        if (stack[depth - 1].place == 0) {
            const fl_status status = inner_verify(order, stack[depth - 1].node, at);

            if (status != FL_OK) {
                return status;
            }
        }
        if (at == 1 || stack[depth - 1].place == inner->count) {
            depth--;
            continue;
        }
        const uint32_t child = inner->children[stack[depth - 1].place++];

        stack[depth].node = child;
        stack[depth++].place = 0;
    }
    return FL_OK;
}

fl_status
order_verify(struct order *order)
{
    fl_status status = order_verify_inners(order, order->root, order->height);
    struct fl_key last = {0};
    bool have_last = false;
    uint64_t count = 0;
    uint32_t prev = 0;
    uint32_t node = order->root;

    for (unsigned level = order->height; level > 0; level--) {
        node = order_inner(order, node)->children[0];
    }
    for (; status == FL_OK && node != 0; node = order_leaf(order, node)->next) {
        struct leaf *leaf = order_leaf(order, node);

        if (leaf->prev != prev || leaf->count > leaf_room(leaf->prefix_len) ||
            (leaf->count == 0 && order->height > 0)) {
            return FL_FAIL(FL_CORRUPT, "leaf %" PRIu32 " is badly linked or filled", node);
        }
        for (unsigned i = 0; status == FL_OK && i < leaf->count; i++) {
            status = leaf_verify_slot(order, leaf, i, &last, &have_last);
        }
        count += leaf->count;
        prev = node;
    }
    if (status == FL_OK && (prev != order_last_leaf(order) || count != order->count)) {
        return FL_FAIL(FL_CORRUPT, "the order holds %" PRIu64 " entries, not %" PRIu64, count,
                       order->count);
    }
    return status;
}
