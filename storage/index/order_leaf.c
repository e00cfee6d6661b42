/* The leaves of the order. */
#include "base/fail.h"
#include "storage/index/order.h"

#include <string.h>

/* ---- slots in order ---- */

/* Does slot a's key come behind slot b's? A key that can't be read counts as the greater. */
static inline bool
slot_above(const struct order *order, unsigned prefix_len, uint64_t a, uint64_t b)
{
    struct fl_key ka;
    struct fl_key kb;

    if (slot_head(a) != slot_head(b)) {
        return slot_head(a) > slot_head(b);
    }
    if (!order_key(order, (uint32_t)a, &ka)) {
        return true;
    }
    return order_key(order, (uint32_t)b, &kb) && key_compare(&ka, &kb, prefix_len) > 0;
}

/* Put slots[sorted..count) in order among those before them. */
static void
slots_tidy(const struct order *order, uint64_t *slots, unsigned sorted, unsigned count,
           unsigned prefix_len)
{
    uint64_t tail[ORDER_TAIL_MAX];
    unsigned tail_count = 0;
    unsigned to = count;

    FL_ASSERT(count - sorted <= ORDER_TAIL_MAX);
    for (unsigned i = sorted; i < count; i++) {
        const uint64_t slot = slots[i];
        unsigned j = tail_count++;

        for (; j > 0 && slot_above(order, prefix_len, tail[j - 1], slot); j--) {
            tail[j] = tail[j - 1];
        }
        tail[j] = slot;
    }
    while (tail_count > 0) {
        if (sorted > 0 && slot_above(order, prefix_len, slots[sorted - 1], tail[tail_count - 1])) {
            slots[--to] = slots[--sorted];
        } else {
            slots[--to] = tail[--tail_count];
        }
    }
}

void
leaf_tidy(const struct order *order, struct leaf *leaf)
{
    if (leaf->sorted < leaf->count) {
        slots_tidy(order, leaf_slots(leaf), leaf->sorted, leaf->count, leaf->prefix_len);
        leaf->sorted = leaf->count;
    }
}

const uint64_t *
leaf_view(const struct order *order, struct leaf *leaf, uint64_t copy[ORDER_LEAF_SLOTS])
{
    if (leaf->sorted == leaf->count) {
        return leaf_slots(leaf);
    }
    memcpy(copy, leaf_slots(leaf), leaf->count * sizeof(copy[0]));
    slots_tidy(order, copy, leaf->sorted, leaf->count, leaf->prefix_len);
    return copy;
}

/* The first slot that is not below `slot`. */
static inline unsigned
slots_lower(const uint64_t *slots, unsigned count, uint64_t slot)
{
    const uint64_t *base = slots;

    if (count == 0) {
        return 0;
    }
    while (count > 1) {
        const unsigned half = count / 2;

        /* A multiplication, not a choice: the comparison's outcome can't be predicted. */
        base += (size_t)(base[half - 1] < slot) * half;
        count -= half;
    }
    return (unsigned)(base - slots) + (*base < slot);
}

unsigned
leaf_place(const struct order *order, struct leaf *leaf, const uint64_t *slots,
           const struct fl_key *key)
{
    int difference;

    order_prefix_common(leaf_prefix(leaf), leaf->prefix_len, key, &difference);
    if (difference != 0) {
        return difference < 0 ? 0 : leaf->count;
    }
    const uint32_t head = key_head4(key, leaf->prefix_len);
    unsigned lo = slots_lower(slots, leaf->count, (uint64_t)head << 32);
    unsigned hi = lo;

    while (hi < leaf->count && slot_head(slots[hi]) == head) {
        hi++;
    }
    while (lo < hi) {
        const unsigned mid = (lo + hi) / 2;
        struct fl_key other;

        if (order_key(order, (uint32_t)slots[mid], &other) &&
            key_compare(&other, key, leaf->prefix_len) < 0) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

bool
leaf_add(const struct order *order, struct leaf *leaf, const struct fl_key *key, uint32_t id)
{
    unsigned common = leaf->prefix_len;
    int difference;

    if (!order_prefix_holds(leaf_prefix(leaf), common, key)) {
        common = order_prefix_common(leaf_prefix(leaf), common, key, &difference);
    }
    if (leaf->count >= leaf_room(common)) {
        leaf_tidy(order, leaf);
        return false;
    }
    if (common < leaf->prefix_len) {
        leaf_shrink(leaf, common);
    }
    if (leaf->count - leaf->sorted == ORDER_TAIL_MAX) {
        leaf_tidy(order, leaf);
    }
    uint64_t *slots = leaf_slots(leaf);
    const uint32_t head = key_head4(key, common);
    const unsigned count = leaf->count;

    slots[count] = (uint64_t)head << 32 | id;
    if (leaf->sorted == count && (count == 0 || slot_head(slots[count - 1]) < head)) {
        leaf->sorted++;
    }
    leaf->count++;
    return true;
}

/* ---- prefixes ---- */

void
leaf_set_prefix(struct leaf *leaf, const struct fl_key *key, unsigned len)
{
    leaf->prefix_len = (uint16_t)len;
    for (unsigned i = 0; i < len; i++) {
        leaf_prefix(leaf)[i] = key_byte(key, i);
    }
}

/* The head of a key that begins with `prefix` and whose head behind it is `head`, as seen `dropped` bytes
 * before. */
static uint32_t
head4_lengthen(const uint8_t *prefix, unsigned dropped, uint32_t head)
{
    uint32_t front = 0;

    for (unsigned i = 0; i < 4; i++) {
        front = front << 8 | (i < dropped ? prefix[i] : 0);
    }
    return dropped < 4 ? front | head >> (8 * dropped) : front;
}

void
leaf_shrink(struct leaf *leaf, unsigned len)
{
    const unsigned dropped = leaf->prefix_len - len;
    const uint64_t *from = leaf_slots(leaf);
    uint8_t prefix[ORDER_PREFIX_MAX];

    memcpy(prefix, leaf_prefix(leaf), leaf->prefix_len);
    leaf->prefix_len = (uint16_t)len;
    uint64_t *to = leaf_slots(leaf);

    /* Downwards in memory, if at all: from the first on. */
    for (unsigned i = 0; i < leaf->count; i++) {
        const uint64_t slot = from[i];
        const uint32_t head = head4_lengthen(prefix + len, dropped, slot_head(slot));

        to[i] = (uint64_t)head << 32 | (uint32_t)slot;
    }
}

static bool
slots_tie(const uint64_t *slots, unsigned count)
{
    for (unsigned i = 1; i < count; i++) {
        if (slot_head(slots[i]) == slot_head(slots[i - 1])) {
            return true;
        }
    }
    return false;
}

void
leaf_sharpen(const struct order *order, struct leaf *leaf)
{
    const uint64_t *slots = leaf_slots(leaf);
    const unsigned count = leaf->count;
    uint32_t ids[ORDER_LEAF_SLOTS];
    struct fl_key keys[ORDER_LEAF_SLOTS];

    if (count < 2 || !slots_tie(slots, count)) {
        return;
    }
    for (unsigned i = 0; i < count; i++) {
        ids[i] = (uint32_t)slots[i];
        __builtin_prefetch(entries_word(order->entries, ids[i]));
    }
    if (!order_key(order, ids[0], &keys[0]) ||
        !order_key(order, ids[count - 1], &keys[count - 1])) {
        return;
    }
    const unsigned len = order_prefix_of(&keys[0], &keys[count - 1]);

    if (len <= leaf->prefix_len || count > leaf_room(len)) {
        return;
    }
    for (unsigned i = 1; i + 1 < count; i++) {
        if (!order_key(order, ids[i], &keys[i])) {
            return;
        }
    }
    leaf_set_prefix(leaf, &keys[0], len);
    for (unsigned i = 0; i < count; i++) {
        leaf_slots(leaf)[i] = (uint64_t)key_head4(&keys[i], len) << 32 | ids[i];
    }
}
