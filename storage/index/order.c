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

static void
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
leaf_find_id(const struct leaf *leaf, uint32_t id)
{
    unsigned i = 0;

    while (i < leaf->count && (uint32_t)leaf->slots[i] != id) {
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
    unsigned place = leaf_place(order, leaf, key);

    if (place < leaf->count && (uint32_t)leaf->slots[place] == id) {
        return place;
    }
    place = leaf_find_id(leaf, id);
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

/* Move the slots from `from` on to a new leaf behind it; at least one slot stays and one moves. */
static uint32_t
leaf_split(struct order *order, uint32_t node, unsigned from)
{
    const uint32_t fresh = order_leaf_take(order);
    struct leaf *left = order_leaf(order, node);
    struct leaf *right = order_leaf(order, fresh);

    leaf_link_after(order, node, fresh);
    right->count = (uint16_t)(left->count - from);
    memcpy(right->slots, &left->slots[from], right->count * sizeof(right->slots[0]));
    right->prefix_len = left->prefix_len;
    memcpy(leaf_prefix(right), leaf_prefix(left), left->prefix_len);
    left->count = (uint16_t)from;
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
    /* What the next keys will share with this one is likely what the last one does. */
    if (order_key(order, (uint32_t)left->slots[left->count - 1U], &last)) {
        common = key_common(key, &last, 0);
        common = common < ORDER_PREFIX_MAX ? common : ORDER_PREFIX_MAX;
        common = common > 2 ? common - 2 : common;
    }
    right->prefix_len = (uint16_t)common;
    for (unsigned i = 0; i < common; i++) {
        leaf_prefix(right)[i] = key_byte(key, i);
    }
    right->slots[0] = (uint64_t)key_head4(key, common) << 32 | id;
    right->count = 1;
    order_enter_child(order, path, 1, fresh);
    order->leaf_last_appended = fresh;
}

void
order_descend_to_insert(struct order *order, const struct fl_key *key,
                        const struct order_path *before, struct order_path *path)
{
    uint32_t node = order->root;
    int difference;

    for (unsigned level = order->height; level > 0; level--) {
        struct inner *inner = order_inner(order, node);
        const unsigned common =
            order_prefix_common(inner->prefix, inner->prefix_len, key, &difference);

        if (common < inner->prefix_len) {
            inner_shrink(inner, common);
        }
        path->at[level].node = node;
        path->at[level].place = inner_place_within(
            order, inner, level, key,
            before != NULL && before->at[level].node == node ? before->at[level].place : 0);
        node = inner->children[path->at[level].place];
    }
    path->leaf = node;
}

static bool
leaf_insert(struct order *order, struct leaf *leaf, const struct fl_key *key, uint32_t id,
            unsigned *place)
{
    int difference;
    const unsigned common =
        order_prefix_common(leaf_prefix(leaf), leaf->prefix_len, key, &difference);

    if (common < leaf->prefix_len) {
        /* It goes in front of all or behind them. */
        *place = difference < 0 ? 0 : leaf->count;
        if (leaf->count >= leaf_room(common)) {
            return false;
        }
        leaf_shrink(leaf, common);
    } else {
        *place = leaf_place_within(order, leaf, key);
        if (leaf->count >= leaf_room(common)) {
            return false;
        }
    }
    memmove(&leaf->slots[*place + 1], &leaf->slots[*place],
            (leaf->count - *place) * sizeof(leaf->slots[0]));
    leaf->slots[*place] = (uint64_t)key_head4(key, leaf->prefix_len) << 32 | id;
    leaf->count++;
    return true;
}

void
order_insert(struct order *order, struct order_path *path, const struct fl_key *key, uint32_t id)
{
    unsigned place;

    for (;;) {
        struct leaf *leaf = order_leaf(order, path->leaf);

        if (leaf_insert(order, leaf, key, id, &place)) {
            if (place + 1 == leaf->count) {
                order->leaf_last_appended = path->leaf;
            } else if (order->leaf_last_appended == path->leaf) {
                order->leaf_last_appended = 0;
            }
            break;
        }
        if (place == leaf->count && (leaf->next == 0 || order->leaf_last_appended == path->leaf)) {
            order_append_leaf(order, path, key, id);
            break;
        }
        order_enter_child(order, path, 1, leaf_split(order, path->leaf, leaf->count / 2U));
        order_descend_to_insert(order, key, NULL, path);
    }
    order->count++;
    order_set_placed(order, id, true);
}

/* ---- taking out ---- */

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
    if (order->leaf_last_appended == node) {
        order->leaf_last_appended = 0;
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
    leaf_shrink(left, common);
    leaf_shrink(right, common);
    memcpy(&left->slots[left->count], right->slots, right->count * sizeof(right->slots[0]));
    left->count = (uint16_t)(left->count + right->count);
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

    leaf->count--;
    memmove(&leaf->slots[place], &leaf->slots[place + 1],
            (leaf->count - place) * sizeof(leaf->slots[0]));
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
