/* Building the order bottom-up from sorted entries. */
#include "storage/index/order.h"

#include "base/fail.h"
#include "base/mem.h"

#include <string.h>

enum {
    BUILD_LEAF_FREE = 6, /* slots left free in each leaf, so that the first insertions split none */
    BUILD_INNER_FREE = 24, /* children left free */
};

/* A leaf of the first items: as many as fit with the prefix that they then share. Returns how many. */
static size_t
build_leaf(struct order *order, struct leaf *leaf, const struct sort_item *items, size_t count)
{
    struct fl_key keys[ORDER_LEAF_SLOTS];
    size_t n = 0;
    unsigned len = 0;

    while (n < count && n < ORDER_LEAF_SLOTS - BUILD_LEAF_FREE) {
        /* Their keys were read a moment ago, to sort them. */
        FL_ASSERT(order_key(order, items[n].id, &keys[n]));
        n++;
    }
    for (;;) {
        const uint32_t common = key_common(&keys[0], &keys[n - 1], 0);

        len = common < ORDER_PREFIX_MAX ? common : ORDER_PREFIX_MAX;
        /* A lone key's every byte would count as shared; leave its end to the head. */
        len = n == 1 && len > 4 ? len - 4 : len;
        if (n <= leaf_room(len)) {
            break;
        }
        n = leaf_room(len);
    }
    leaf->count = (uint16_t)n;
    leaf->prefix_len = (uint16_t)len;
    for (unsigned i = 0; i < len; i++) {
        leaf_prefix(leaf)[i] = key_byte(&keys[0], i);
    }
    for (size_t i = 0; i < n; i++) {
        leaf->slots[i] = (uint64_t)key_head4(&keys[i], len) << 32 | items[i].id;
    }
    return n;
}

/* One level of inner nodes over `count` nodes of level - 1, named in nodes[]; their own names replace them.
 * Returns how many there are. */
static uint32_t
build_inners(struct order *order, uint32_t *nodes, uint32_t count, unsigned level)
{
    uint32_t made = 0;
    uint32_t done = 0;

    while (done < count) {
        const uint32_t node = order_inner_take(order);
        struct inner *inner = order_inner(order, node);
        uint32_t n = ORDER_INNER_CHILDREN - BUILD_INNER_FREE;
        struct fl_key first;
        struct fl_key last;

        n = n < count - done ? n : count - done;
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
        for (uint32_t i = 1; i < n; i++) {
            struct fl_key key;

            FL_ASSERT(order_min_key(order, inner->children[i], level - 1, &key));
            inner_set_head(inner, i, key_head16(&key, inner->prefix_len));
        }
        done += n;
        nodes[made++] = node;
    }
    return made;
}

fl_status
order_build(struct order *order, struct sort_item *items, uint64_t count, unsigned threads)
{
    uint64_t done = 0;
    uint32_t made = 0;

    (void)threads;
    if (count == 0) {
        return FL_OK;
    }
    uint32_t *nodes = mem_alloc((count / (ORDER_PREFIX_MAX / 8) + 2) * sizeof(*nodes));

    if (nodes == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "no memory to build the index's order");
    }
    uint32_t prev = 0;

    FL_ASSERT(order->count == 0);
    order_leaf_give(order, order->root);
    while (done < count) {
        const uint32_t node = order_leaf_take(order);
        struct leaf *leaf = order_leaf(order, node);

        done += build_leaf(order, leaf, items + done, count - done);
        leaf->prev = prev;
        if (prev != 0) {
            order_leaf(order, prev)->next = node;
        }
        prev = node;
        nodes[made++] = node;
    }
    order->height = 0;
    while (made > 1) {
        made = build_inners(order, nodes, made, ++order->height);
    }
    order->root = nodes[0];
    order->count = count;
    for (uint64_t i = 0; i < count; i++) {
        order_set_placed(order, items[i].id, true);
    }
    mem_free(nodes);
    return FL_OK;
}
