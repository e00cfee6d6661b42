/* Checking the order. */
#include "storage/index/order.h"

#include "base/fail.h"

#include <inttypes.h>

static fl_status
leaf_verify_slot(const struct order *order, struct leaf *leaf, uint64_t slot, struct fl_key *last,
                 bool *have_last)
{
    const uint32_t id = (uint32_t)slot;
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
    if (key_head4(&key, leaf->prefix_len) != slot_head(slot)) {
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
    uint32_t last_node = order->root;
    uint64_t copy[ORDER_LEAF_SLOTS];
    uint32_t node = order->root;

    for (unsigned level = order->height; level > 0; level--) {
        node = order_inner(order, node)->children[0];
    }
    for (unsigned level = order->height; level > 0; level--) {
        const struct inner *inner = order_inner(order, last_node);

        last_node = inner->children[inner->count - 1];
    }
    for (; status == FL_OK && node != 0; node = order_leaf(order, node)->next) {
        struct leaf *leaf = order_leaf(order, node);

        if (leaf->prev != prev || leaf->count > leaf_room(leaf->prefix_len) ||
            (leaf->count == 0 && order->height > 0) || leaf->sorted > leaf->count ||
            leaf->count - leaf->sorted > ORDER_TAIL_MAX) {
            return FL_FAIL(FL_CORRUPT, "leaf %" PRIu32 " is badly linked or filled", node);
        }
        const uint64_t *slots = leaf_view(order, leaf, copy);

        for (unsigned i = 0; status == FL_OK && i < leaf->count; i++) {
            status = leaf_verify_slot(order, leaf, slots[i], &last, &have_last);
        }
        count += leaf->count;
        prev = node;
    }
    if (status == FL_OK && (prev != last_node || count != order->count)) {
        return FL_FAIL(FL_CORRUPT, "the order holds %" PRIu64 " entries, not %" PRIu64, count,
                       order->count);
    }
    return status;
}
