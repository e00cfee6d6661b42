/* The tree of the order: putting in and taking out. */
#include "storage/index/order.h"

#include "base/fail.h"
#include "base/mem.h"

#include <string.h>

fl_status
order_init(struct order *order, struct entries *entries, const struct index_media *media,
           uint64_t ids_max)
{
    pthread_rwlockattr_t attr;

    memset(order, 0, sizeof(*order));
    order->entries = entries;
    order->media = media;
    pthread_mutex_init(&order->merge_lock, NULL);
    /* A stream of scans must not keep insertions out for ever. */
    pthread_rwlockattr_init(&attr);
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&order->lock, &attr);
    pthread_rwlockattr_destroy(&attr);

    fl_status status = arena_init(&order->leaves, ORDER_LEAF_BYTES, ids_max / 16 + ORDER_RING);

    if (status == FL_OK) {
        status = arena_init(&order->inners, ORDER_INNER_BYTES, ids_max / 512 + ORDER_RING);
    }
    if (status == FL_OK) {
        status = arena_init(&order->placed, sizeof(uint64_t), ids_max / 64 + 2);
    }
    if (status == FL_OK) {
        status = arena_commit(&order->leaves, 1);
    }
    if (status == FL_OK) {
        order->ring = mem_alloc(ORDER_RING * sizeof(order->ring[0]));
        order->batch = mem_alloc(sizeof(*order->batch));
        if (order->ring == NULL || order->batch == NULL) {
            status = FL_FAIL(FL_NO_MEMORY, "no memory for the index's order");
        } else {
            order->batch->count = 0;
            order->batch->done = 0;
        }
    }
    if (status != FL_OK) {
        order_deinit(order);
        return status;
    }
    order->root = order_leaf_take(order);
    return FL_OK;
}

void
order_deinit(struct order *order)
{
    if (order->entries == NULL) {
        return;
    }
    arena_deinit(&order->leaves);
    arena_deinit(&order->inners);
    arena_deinit(&order->placed);
    mem_free(order->ring);
    mem_free(order->batch);
    pthread_rwlock_destroy(&order->lock);
    pthread_mutex_destroy(&order->merge_lock);
    order->entries = NULL;
}

fl_status
order_reserve(struct order *order, uint64_t count)
{
    /* What waits is read before the free nodes are: a merge takes nodes first, then lets go of the entries. */
    const uint64_t inserts = order_waiting(order) + count;
    const uint64_t leaves_free = atomic_load_explicit(&order->leaves_free, memory_order_relaxed) +
                                 arena_room(&order->leaves);
    const uint64_t inners_next = atomic_load_explicit(&order->inners.next, memory_order_relaxed);
    const uint64_t inners_free = atomic_load_explicit(&order->inners_free, memory_order_relaxed) +
                                 arena_room(&order->inners);

    /* At worst each insertion splits a leaf, and each inner node is full now and splits once. */
    uint64_t inners_needed = inners_next + inserts / (ORDER_INNER_CHILDREN / 2);

    inners_needed = (inners_needed < inserts ? inners_needed : inserts) + ORDER_HEIGHT_MAX;
    if (leaves_free < inserts) {
        const fl_status status =
            arena_commit(&order->leaves, atomic_load(&order->leaves.next) +
                                             (inserts - leaves_free) + arena_room(&order->leaves));

        if (status != FL_OK) {
            return status;
        }
    }
    if (inners_free < inners_needed) {
        const fl_status status = arena_commit(&order->inners, atomic_load(&order->inners.next) +
                                                                  (inners_needed - inners_free) +
                                                                  arena_room(&order->inners));

        if (status != FL_OK) {
            return status;
        }
    }
    /* Ids are below the end of the entry table's committed part. */
    const uint64_t ids =
        atomic_load_explicit(&order->entries->words.bytes_committed, memory_order_relaxed) / 8;

    return arena_commit(&order->placed, ids / 64);
}

/* ---- finding the way ---- */

void
order_descend(const struct order *order, const struct fl_key *key, struct order_path *path)
{
    uint32_t node = order->root;

    for (unsigned level = order->height; level > 0; level--) {
        const struct inner *inner = order_inner(order, node);
        const unsigned place = inner_place(order, inner, level, key);

        path->at[level].node = node;
        path->at[level].place = place;
        node = inner->children[place];
    }
    path->leaf = node;
}

/* ---- putting in ---- */

static void
inner_insert(struct inner *inner, unsigned place, uint32_t child, order_head head)
{
    const unsigned after = inner->count - place;

    memmove(&inner->children[place + 1], &inner->children[place],
            after * sizeof(inner->children[0]));
    memmove(&inner->heads_high[place + 1], &inner->heads_high[place],
            after * sizeof(inner->heads_high[0]));
    memmove(&inner->heads_low[place + 1], &inner->heads_low[place],
            after * sizeof(inner->heads_low[0]));
    inner->children[place] = child;
    inner_set_head(inner, place, head);
    inner->count++;
}

/* The head that parts `child` (of level - 1) from what is before it in `inner`. */
static order_head
inner_head_for(const struct order *order, const struct inner *inner, unsigned level, uint32_t child)
{
    struct fl_key key;

    if (!order_min_key(order, child, level - 1, &key)) {
        return ~(order_head)0;
    }
    return key_head16(&key, inner->prefix_len);
}

/* Move the upper half of a full node to a new one. */
static uint32_t
inner_split(struct order *order, uint32_t node)
{
    const uint32_t fresh = order_inner_take(order);
    struct inner *left = order_inner(order, node);
    struct inner *right = order_inner(order, fresh);
    const unsigned half = left->count / 2U;

    right->count = (uint16_t)(left->count - half);
    right->prefix_len = left->prefix_len;
    memcpy(right->prefix, left->prefix, left->prefix_len);
    memcpy(right->children, &left->children[half], right->count * sizeof(right->children[0]));
    memcpy(right->heads_high, &left->heads_high[half], right->count * sizeof(right->heads_high[0]));
    memcpy(right->heads_low, &left->heads_low[half], right->count * sizeof(right->heads_low[0]));
    left->count = (uint16_t)half;
    return fresh;
}

/* `child` (of level - 1) stands right behind the one that `path` leads to: enter it at `level` and above. */
static void
order_enter_child(struct order *order, struct order_path *path, unsigned level, uint32_t child)
{
    order->shape++;
    for (; level <= order->height; level++) {
        const uint32_t node = path->at[level].node;
        struct inner *inner = order_inner(order, node);
        unsigned place = path->at[level].place + 1;

        if (inner->count < ORDER_INNER_CHILDREN) {
            inner_insert(inner, place, child, inner_head_for(order, inner, level, child));
            return;
        }
        const uint32_t fresh = inner_split(order, node);

        if (place > inner->count) {
            place -= inner->count;
            inner = order_inner(order, fresh);
        }
        inner_insert(inner, place, child, inner_head_for(order, inner, level, child));
        /* Now, not before: the longer prefixes must hold for `child` too. */
        order->inner_shape++;
        inner_sharpen(order, order_inner(order, node), level);
        inner_sharpen(order, order_inner(order, fresh), level);
        child = fresh;
    }
    FL_ASSERT(order->height + 1 < ORDER_HEIGHT_MAX);
    const uint32_t root = order_inner_take(order);
    struct inner *inner = order_inner(order, root);

    inner->children[0] = order->root;
    inner->count = 1;
    order->height++;
    inner_insert(inner, 1, child, inner_head_for(order, inner, order->height, child));
    order->root = root;
}

static void
leaf_link_after(struct order *order, uint32_t node, uint32_t fresh)
{
    struct leaf *left = order_leaf(order, node);
    struct leaf *right = order_leaf(order, fresh);

    right->prev = node;
    right->next = left->next;
    if (left->next != 0) {
        order_leaf(order, left->next)->prev = fresh;
    }
    left->next = fresh;
}

/* Move the upper half of a leaf, which is in order, to a new leaf behind it. */
static uint32_t
leaf_split(struct order *order, uint32_t node)
{
    const uint32_t fresh = order_leaf_take(order);
    struct leaf *left = order_leaf(order, node);
    struct leaf *right = order_leaf(order, fresh);
    const unsigned half = left->count / 2U;

    leaf_link_after(order, node, fresh);
    right->prefix_len = left->prefix_len;
    memcpy(leaf_prefix(right), leaf_prefix(left), left->prefix_len);
    right->count = (uint16_t)(left->count - half);
    right->sorted = right->count;
    memcpy(leaf_slots(right), leaf_slots(left) + half, right->count * sizeof(uint64_t));
    left->count = (uint16_t)half;
    left->sorted = left->count;
    leaf_sharpen(order, left);
    leaf_sharpen(order, right);
    return fresh;
}

/* A leaf of its own for a key that goes behind all of a full leaf: ascending keys fill leaves to the brim. */
static void
order_append_leaf(struct order *order, struct order_path *path, const struct fl_key *key,
                  uint32_t id)
{
    const uint32_t fresh = order_leaf_take(order);
    struct leaf *left = order_leaf(order, path->leaf);
    struct leaf *right = order_leaf(order, fresh);
    struct fl_key last;
    unsigned common = 0;

    leaf_link_after(order, path->leaf, fresh);
    /* What the next keys will share with this one is likely a little less than what the last one does. */
    if (order_key(order, (uint32_t)leaf_slots(left)[left->count - 1U], &last)) {
        common = order_prefix_of(key, &last);
        common -= common > 2 ? 2 : 0;
    }
    leaf_set_prefix(right, key, common);
    leaf_slots(right)[0] = (uint64_t)key_head4(key, common) << 32 | id;
    right->count = 1;
    right->sorted = 1;
    order_enter_child(order, path, 1, fresh);
    order->leaf_ascending = fresh;
}

void
order_descend_to_insert(struct order *order, const struct fl_key *key,
                        const struct order_path *before, struct order_path *path)
{
    uint32_t node = order->root;
    int difference;

    for (unsigned level = order->height; level > 0; level--) {
        struct inner *inner = order_inner(order, node);

        if (!order_prefix_holds(inner->prefix, inner->prefix_len, key)) {
            inner_shrink(inner,
                         order_prefix_common(inner->prefix, inner->prefix_len, key, &difference));
        }
        path->at[level].node = node;
        path->at[level].place = inner_place_within(
            order, inner, level, key,
            before != NULL && before->at[level].node == node ? before->at[level].place : 0);
        node = inner->children[path->at[level].place];
    }
    path->leaf = node;
    path->shape = order->shape;
    path->inner_shape = order->inner_shape;
}

void
order_insert(struct order *order, struct order_path *path, const struct fl_key *key, uint32_t id)
{
    for (;;) {
        struct leaf *leaf = order_leaf(order, path->leaf);

        if (leaf_add(order, leaf, key, id)) {
            if (leaf->sorted == leaf->count) {
                order->leaf_ascending = path->leaf;
            } else if (order->leaf_ascending == path->leaf) {
                order->leaf_ascending = 0;
            }
            break;
        }
        if (path->shape != order->shape) {
            const uint32_t was = path->leaf;

            order_descend_to_insert(order, key, NULL, path);
            FL_ASSERT(path->leaf == was);
        }
        if ((leaf->next == 0 || order->leaf_ascending == path->leaf) &&
            leaf_place(order, leaf, leaf_slots(leaf), key) == leaf->count) {
            order_append_leaf(order, path, key, id);
            break;
        }
        order_enter_child(order, path, 1, leaf_split(order, path->leaf));
        order_descend_to_insert(order, key, NULL, path);
    }
    order->count++;
    order_set_placed(order, id, true);
}
