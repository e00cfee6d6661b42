/* Building the order bottom-up from sorted entries. */
#include "storage/index/order.h"

#include "base/fail.h"

#include <string.h>

enum {
    BUILD_LEAF_FREE = 6, /* slots left free in each leaf, so that the first insertions split none */
    BUILD_INNER_FREE = 24, /* children left free */
};

fl_status
order_build_reserve(struct order *order, uint64_t count, unsigned parts)
{
    const uint64_t leaves = order_build_leaves_max(count) + parts;
    const uint64_t inners = leaves / (ORDER_INNER_CHILDREN / 2) + ORDER_HEIGHT_MAX;
    fl_status status = arena_commit(&order->leaves, atomic_load(&order->leaves.next) + leaves);

    if (status == FL_OK) {
        status = arena_commit(&order->inners, atomic_load(&order->inners.next) + inners);
    }
    return status == FL_OK
               ? arena_commit(&order->placed, atomic_load(&order->entries->words.next) / 64)
               : status;
}

/* Do the low halves of the heads, from the same skip on, tell the items apart, and is it all that differs? */
static bool
heads_suffice(const struct sort_item *items, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        if (items[i].aux != items[0].aux || items[i].head >> 32 != items[0].head >> 32 ||
            (uint32_t)items[i].head == (uint32_t)items[i - 1].head) {
            return false;
        }
    }
    return true;
}

/* The same for the first four bytes that differ. *from: which of the eight they begin at. */
static bool
heads_suffice_from(const struct sort_item *items, size_t count, unsigned *from)
{
    const uint64_t difference = items[0].head ^ items[count - 1].head;

    if (difference == 0) {
        return false;
    }
    *from = (unsigned)__builtin_clzll(difference) / 8;
    if (*from > 4) {
        *from = 4;
        return heads_suffice(items, count);
    }
    for (size_t i = 1; i < count; i++) {
        const unsigned shift = 32 - 8 * *from;

        if (items[i].aux != items[0].aux ||
            (uint32_t)(items[i].head >> shift) == (uint32_t)(items[i - 1].head >> shift)) {
            return false;
        }
    }
    return true;
}

/* A leaf from the items' heads alone, but for the first key and the last. False: they don't tell enough. */
static bool
build_leaf_from_heads(const struct order *order, struct leaf *leaf, const struct sort_item *items,
                      size_t count)
{
    struct fl_key first;
    struct fl_key last;
    unsigned from;

    if (count < 2 || !heads_suffice_from(items, count, &from)) {
        return false;
    }
    const unsigned len = items[0].aux + from;

    /* That heads are from one skip on doesn't mean that what is before them is the same. */
    if (len > ORDER_PREFIX_MAX || count > leaf_room(len) ||
        !order_key(order, items[0].id, &first) || !order_key(order, items[count - 1].id, &last) ||
        key_common(&first, &last, 0) < len) {
        return false;
    }
    leaf_set_prefix(leaf, &first, len);
    for (size_t i = 0; i < count; i++) {
        const uint32_t head = (uint32_t)(items[i].head >> (32 - 8 * from));

        leaf_slots(leaf)[i] = (uint64_t)head << 32 | items[i].id;
    }
    leaf->count = (uint16_t)count;
    leaf->sorted = leaf->count;
    return true;
}

/* A leaf of the first items: as many as fit with the prefix that they then share. Returns how many. */
static size_t
build_leaf_from_keys(const struct order *order, struct leaf *leaf, const struct sort_item *items,
                     size_t count)
{
    struct fl_key keys[ORDER_LEAF_SLOTS];
    unsigned len;

    for (size_t i = 0; i < count; i++) {
        __builtin_prefetch(entries_word(order->entries, items[i].id));
    }
    for (size_t i = 0; i < count; i++) {
        /* They were read a moment ago, to sort them. */
        FL_ASSERT(order_key(order, items[i].id, &keys[i]));
    }
    for (;;) {
        const uint32_t common = key_common(&keys[0], &keys[count - 1], 0);

        len = common < ORDER_PREFIX_MAX ? common : ORDER_PREFIX_MAX;
        /* A lone key's every byte would count as shared; leave its end to the head. */
        len = count == 1 && len > 4 ? len - 4 : len;
        if (count <= leaf_room(len)) {
            break;
        }
        count = leaf_room(len);
    }
    leaf_set_prefix(leaf, &keys[0], len);
    for (size_t i = 0; i < count; i++) {
        leaf_slots(leaf)[i] = (uint64_t)key_head4(&keys[i], len) << 32 | items[i].id;
    }
    leaf->count = (uint16_t)count;
    leaf->sorted = leaf->count;
    return count;
}

size_t
order_build_leaves(struct order *order, const struct sort_item *items, size_t count,
                   uint32_t *nodes)
{
    enum { FILL = ORDER_LEAF_SLOTS - BUILD_LEAF_FREE };
    size_t made = 0;
    uint32_t prev = 0;

    for (size_t done = 0; done < count;) {
        const uint32_t node = arena_take_shared(&order->leaves);
        struct leaf *leaf = order_leaf(order, node);
        const size_t left = count - done;
        size_t n = left < FILL ? left : FILL;

        if (left > FILL) {
            __builtin_prefetch(entries_word(order->entries, items[done + FILL].id));
        }
        if (!build_leaf_from_heads(order, leaf, items + done, n)) {
            n = build_leaf_from_keys(order, leaf, items + done, n);
        }
        leaf->prev = prev;
        if (prev != 0) {
            order_leaf(order, prev)->next = node;
        }
        prev = node;
        nodes[made++] = node;
        done += n;
    }
    return made;
}

/* One level of inner nodes over `count` nodes of level - 1, named in nodes[]; their own names replace them.
 * Returns how many there are. */
static size_t
build_inners(struct order *order, uint32_t *nodes, size_t count, unsigned level)
{
    size_t made = 0;
    size_t done = 0;

    while (done < count) {
        const uint32_t node = order_inner_take(order);
        struct inner *inner = order_inner(order, node);
        const size_t left = count - done;
        const unsigned fill = ORDER_INNER_CHILDREN - BUILD_INNER_FREE;
        const unsigned n = left < fill ? (unsigned)left : fill;
        struct fl_key first;
        struct fl_key last;

        inner->count = (uint16_t)n;
        memcpy(inner->children, &nodes[done], n * sizeof(nodes[0]));
        if (order_min_key(order, inner->children[0], level - 1, &first) &&
            order_max_key(order, inner->children[n - 1], level - 1, &last)) {
            const uint32_t common = key_common(&first, &last, 0);

            inner->prefix_len = (uint16_t)(common < ORDER_PREFIX_MAX ? common : ORDER_PREFIX_MAX);
            for (unsigned i = 0; i < inner->prefix_len; i++) {
                inner->prefix[i] = key_byte(&first, i);
            }
        }
        for (unsigned i = 1; i < n; i++) {
            struct fl_key key;

            FL_ASSERT(order_min_key(order, inner->children[i], level - 1, &key));
            inner_set_head(inner, i, key_head16(&key, inner->prefix_len));
        }
        done += n;
        nodes[made++] = node;
    }
    return made;
}

void
order_build_finish(struct order *order, uint32_t *nodes, size_t nodes_count, uint64_t count)
{
    FL_ASSERT(order->count == 0 && order->height == 0);
    if (nodes_count == 0) {
        return;
    }
    for (size_t i = 1; i < nodes_count; i++) {
        order_leaf(order, nodes[i])->prev = nodes[i - 1];
        order_leaf(order, nodes[i - 1])->next = nodes[i];
    }
    order_leaf_give(order, order->root);
    while (nodes_count > 1) {
        nodes_count = build_inners(order, nodes, nodes_count, ++order->height);
    }
    order->root = nodes[0];
    order->count = count;
}
