/* The tree of the order: taking out. */
#include "storage/index/order.h"

#include "base/fail.h"

#include <string.h>

/* The path to the next leaf in order; false: there is none. */
static bool
order_path_next(const struct order *order, struct order_path *path)
{
    unsigned level = 1;

    while (level <= order->height &&
           path->at[level].place + 1 >= order_inner(order, path->at[level].node)->count) {
        level++;
    }
    if (level > order->height) {
        return false;
    }
    path->at[level].place++;
    for (;;) {
        const struct inner *inner = order_inner(order, path->at[level].node);
        const uint32_t node = inner->children[path->at[level].place];

        if (--level == 0) {
            path->leaf = node;
            return true;
        }
        path->at[level].node = node;
        path->at[level].place = 0;
    }
}

static unsigned
leaf_find_id(struct leaf *leaf, uint32_t id)
{
    unsigned i = 0;

    while (i < leaf->count && (uint32_t)leaf_slots(leaf)[i] != id) {
        i++;
    }
    return i;
}

/* The leaf that holds `id` and its slot there. */
static unsigned
order_find_id(const struct order *order, const struct fl_key *key, uint32_t id,
              struct order_path *path)
{
    order_descend(order, key, path);
    struct leaf *leaf = order_leaf(order, path->leaf);
    unsigned place = leaf_find_id(leaf, id);

    if (place < leaf->count) {
        return place;
    }
    /* Keys that can't be read any more led astray: look through all leaves. */
    uint32_t node = order->root;

    for (unsigned level = order->height; level > 0; level--) {
        path->at[level].node = node;
        path->at[level].place = 0;
        node = order_inner(order, node)->children[0];
    }
    path->leaf = node;
    do {
        leaf = order_leaf(order, path->leaf);
        place = leaf_find_id(leaf, id);
        if (place < leaf->count) {
            return place;
        }
    } while (order_path_next(order, path));
    FL_ASSERT(false);
    return 0;
}

/* Take the child that `path` leads to at `level` out of its parent; parents left empty go too. */
static void
order_drop_child(struct order *order, struct order_path *path, unsigned level)
{
    order->shape++;
    for (; level <= order->height; level++) {
        struct inner *inner = order_inner(order, path->at[level].node);
        const unsigned place = path->at[level].place;
        const unsigned after = inner->count - place - 1;

        memmove(&inner->children[place], &inner->children[place + 1],
                after * sizeof(inner->children[0]));
        memmove(&inner->heads_high[place], &inner->heads_high[place + 1],
                after * sizeof(inner->heads_high[0]));
        memmove(&inner->heads_low[place], &inner->heads_low[place + 1],
                after * sizeof(inner->heads_low[0]));
        inner->count--;
        if (inner->count > 0) {
            break;
        }
        order_inner_give(order, path->at[level].node);
    }
    while (order->height > 0 && order_inner(order, order->root)->count == 1) {
        const uint32_t root = order->root;

        order->root = order_inner(order, root)->children[0];
        order->height--;
        order_inner_give(order, root);
    }
}

static void
leaf_unlink(struct order *order, uint32_t node)
{
    const struct leaf *leaf = order_leaf(order, node);

    if (leaf->prev != 0) {
        order_leaf(order, leaf->prev)->next = leaf->next;
    }
    if (leaf->next != 0) {
        order_leaf(order, leaf->next)->prev = leaf->prev;
    }
    if (order->leaf_ascending == node) {
        order->leaf_ascending = 0;
    }
    order_leaf_give(order, node);
}

/* Pour the leaf behind the one of `path` into it, if they have one parent and both are rather empty. */
static void
order_merge_leaves(struct order *order, struct order_path *path)
{
    struct inner *parent = order_inner(order, path->at[1].node);
    struct leaf *left = order_leaf(order, path->leaf);

    if (path->at[1].place + 1 >= parent->count) {
        return;
    }
    const uint32_t node = parent->children[path->at[1].place + 1];
    struct leaf *right = order_leaf(order, node);

    if (left->count + right->count > ORDER_LEAF_SLOTS / 2) {
        return;
    }
    unsigned common = 0;
    const uint8_t *pl = leaf_prefix(left);
    const uint8_t *pr = leaf_prefix(right);

    while (common < left->prefix_len && common < right->prefix_len && pl[common] == pr[common]) {
        common++;
    }
    leaf_tidy(order, left);
    leaf_tidy(order, right);
    leaf_shrink(left, common);
    leaf_shrink(right, common);
    memcpy(leaf_slots(left) + left->count, leaf_slots(right), right->count * sizeof(uint64_t));
    left->count = (uint16_t)(left->count + right->count);
    left->sorted = left->count;
    leaf_unlink(order, node);
    path->at[1].place++;
    order_drop_child(order, path, 1);
}

static void
order_take_out(struct order *order, const struct fl_key *key, uint32_t id)
{
    struct order_path path;
    const unsigned place = order_find_id(order, key, id, &path);
    struct leaf *leaf = order_leaf(order, path.leaf);

    uint64_t *slots = leaf_slots(leaf);

    leaf->count--;
    memmove(&slots[place], &slots[place + 1], (leaf->count - place) * sizeof(slots[0]));
    leaf->sorted = (uint16_t)(leaf->sorted - (place < leaf->sorted));
    order->count--;
    order_set_placed(order, id, false);
    if (order->height == 0) {
        if (leaf->count == 0) {
            leaf->prefix_len = 0;
        }
        return;
    }
    if (leaf->count == 0) {
        leaf_unlink(order, path.leaf);
        order_drop_child(order, &path, 1);
    } else if (leaf->count < ORDER_LEAF_SLOTS / 4) {
        order_merge_leaves(order, &path);
    }
}

bool
order_remove(struct order *order, const struct fl_key *key, uint32_t id)
{
    pthread_rwlock_wrlock(&order->lock);
    const bool placed = order_placed(order, id);

    if (placed) {
        order_take_out(order, key, id);
    } else {
        entries_store(order->entries, id, ENTRY_ABANDONED);
    }
    pthread_rwlock_unlock(&order->lock);
    return placed;
}
