/* The order's inner nodes, and what both kinds of node share. */
#include "base/fail.h"
#include "storage/index/order.h"

#include <string.h>

/* ---- giving and taking nodes ---- */

uint32_t
order_leaf_take(struct order *order)
{
    uint32_t node = order->leaf_free;

    if (node != 0) {
        order->leaf_free = order_leaf(order, node)->next;
        atomic_fetch_sub_explicit(&order->leaves_free, 1, memory_order_relaxed);
    } else {
        node = arena_take(&order->leaves);
    }
    memset(order_leaf(order, node), 0, offsetof(struct leaf, rest));
    return node;
}

void
order_leaf_give(struct order *order, uint32_t node)
{
    order_leaf(order, node)->next = order->leaf_free;
    order->leaf_free = node;
    atomic_fetch_add_explicit(&order->leaves_free, 1, memory_order_relaxed);
}

uint32_t
order_inner_take(struct order *order)
{
    uint32_t node = order->inner_free;

    if (node != 0) {
        order->inner_free = order_inner(order, node)->next_free;
        atomic_fetch_sub_explicit(&order->inners_free, 1, memory_order_relaxed);
    } else {
        node = arena_take(&order->inners);
    }
    order_inner(order, node)->count = 0;
    order_inner(order, node)->prefix_len = 0;
    return node;
}

void
order_inner_give(struct order *order, uint32_t node)
{
    order_inner(order, node)->next_free = order->inner_free;
    order->inner_free = node;
    atomic_fetch_add_explicit(&order->inners_free, 1, memory_order_relaxed);
}

/* ---- keys and heads ---- */

bool
order_min_key(const struct order *order, uint32_t node, unsigned level, struct fl_key *key)
{
    uint64_t copy[ORDER_LEAF_SLOTS];

    for (; level > 0; level--) {
        node = order_inner(order, node)->children[0];
    }
    struct leaf *leaf = order_leaf(order, node);
    const uint64_t *slots = leaf_view(order, leaf, copy);

    for (unsigned i = 0; i < leaf->count; i++) {
        if (order_key(order, (uint32_t)slots[i], key)) {
            return true;
        }
    }
    return false;
}

bool
order_max_key(const struct order *order, uint32_t node, unsigned level, struct fl_key *key)
{
    uint64_t copy[ORDER_LEAF_SLOTS];

    for (; level > 0; level--) {
        const struct inner *inner = order_inner(order, node);

        node = inner->children[inner->count - 1];
    }
    struct leaf *leaf = order_leaf(order, node);
    const uint64_t *slots = leaf_view(order, leaf, copy);

    for (unsigned i = leaf->count; i-- > 0;) {
        if (order_key(order, (uint32_t)slots[i], key)) {
            return true;
        }
    }
    return false;
}

order_head
key_head16(const struct fl_key *key, uint32_t skip)
{
    return (order_head)key_head8(key, skip) << 64 | key_head8(key, skip + 8);
}

unsigned
order_prefix_common(const uint8_t *prefix, unsigned prefix_len, const struct fl_key *key,
                    int *order_out)
{
    const uint8_t *bytes = key->ptr;

    *order_out = 0;
    if (order_prefix_holds(prefix, prefix_len, key)) {
        return prefix_len;
    }
    if (prefix[0] != key->space) {
        *order_out = key->space < prefix[0] ? -1 : 1;
        return 0;
    }
    const unsigned len = prefix_len < key_len(key) ? prefix_len : key_len(key);
    unsigned i = 1;

    while (i < len && prefix[i] == bytes[i - 1]) {
        i++;
    }
    *order_out = i == len ? -1 : (bytes[i - 1] < prefix[i] ? -1 : 1);
    return i;
}

/* The head of a key that begins with `prefix` and whose head behind it is `head`, as seen `dropped` bytes
 * before. */
static order_head
head16_lengthen(const uint8_t *prefix, unsigned dropped, order_head head)
{
    order_head front = 0;

    for (unsigned i = 0; i < 16; i++) {
        front = front << 8 | (i < dropped ? prefix[i] : 0);
    }
    return dropped < 16 ? front | head >> (8 * dropped) : front;
}

/* The first child behind `from` whose head is not below `head`; count if there is none. */
static inline unsigned
inner_lower(const struct inner *inner, order_head head, unsigned from)
{
    const uint64_t high = (uint64_t)(head >> 64);
    const uint64_t *base = &inner->heads_high[from + 1];
    const uint64_t *end = &inner->heads_high[inner->count];
    size_t n = (size_t)(end - base);

    if (from > 0) {
        /* Likely near: the steps double. */
        for (size_t step = 4; step < n; step *= 2) {
            if (base[step - 1] >= high) {
                n = step;
                break;
            }
            base += step;
            n -= step;
        }
    }
    while (n > 0) {
        const size_t half = (n + 1) / 2;

        /* A multiplication, not a choice: the comparison's outcome can't be predicted. */
        base += (base[half - 1] < high) * half;
        n -= half;
    }
    while (base < end && *base == high &&
           inner->heads_low[base - inner->heads_high] < (uint64_t)head) {
        base++;
    }
    return (unsigned)(base - inner->heads_high);
}

unsigned
inner_place(const struct order *order, const struct inner *inner, unsigned level,
            const struct fl_key *key)
{
    int difference;

    if (order_prefix_holds(inner->prefix, inner->prefix_len, key)) {
        return inner_place_within(order, inner, level, key, 0);
    }
    order_prefix_common(inner->prefix, inner->prefix_len, key, &difference);
    return difference < 0 ? 0 : inner->count - 1U;
}

unsigned
inner_place_within(const struct order *order, const struct inner *inner, unsigned level,
                   const struct fl_key *key, unsigned from)
{
    const order_head head = key_head16(key, inner->prefix_len);
    unsigned lo = inner_lower(inner, head, from);

    if (lo == inner->count || inner->heads_high[lo] != (uint64_t)(head >> 64) ||
        inner_head(inner, lo) != head) {
        return lo - 1;
    }
    unsigned hi = lo + 1;

    while (hi < inner->count && inner_head(inner, hi) == head) {
        hi++;
    }
    /* Tied: the last child whose smallest key is not above `key`. */
    while (lo < hi) {
        const unsigned mid = (lo + hi) / 2;
        struct fl_key other;

        if (order_min_key(order, inner->children[mid], level - 1, &other) &&
            key_compare(&other, key, inner->prefix_len) <= 0) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo - 1;
}

void
inner_shrink(struct inner *inner, unsigned len)
{
    const unsigned dropped = inner->prefix_len - len;

    for (unsigned i = 1; i < inner->count; i++) {
        inner_set_head(inner, i,
                       head16_lengthen(inner->prefix + len, dropped, inner_head(inner, i)));
    }
    inner->prefix_len = (uint16_t)len;
}

void
inner_sharpen(const struct order *order, struct inner *inner, unsigned level)
{
    struct fl_key first;
    struct fl_key last;

    if (!order_min_key(order, inner->children[0], level - 1, &first) ||
        !order_max_key(order, inner->children[inner->count - 1U], level - 1, &last)) {
        return;
    }
    const unsigned len = order_prefix_of(&first, &last);
    order_head heads[ORDER_INNER_CHILDREN];

    if (len <= inner->prefix_len) {
        return;
    }
    for (unsigned i = 1; i < inner->count; i++) {
        struct fl_key key;

        if (!order_min_key(order, inner->children[i], level - 1, &key)) {
            return;
        }
        heads[i] = key_head16(&key, len);
    }
    for (unsigned i = 1; i < inner->count; i++) {
        inner_set_head(inner, i, heads[i]);
    }
    for (unsigned i = 0; i < len; i++) {
        inner->prefix[i] = key_byte(&first, i);
    }
    inner->prefix_len = (uint16_t)len;
}
