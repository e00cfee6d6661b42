#include "storage/index/sort.h"

#include "storage/index/key.h"

#include <string.h>

enum {
    SORT_SMALL = 24,     /* so few are sorted by insertion */
    SORT_LEVELS_MAX = 64 /* deeper ties are sorted by comparing whole keys */
};

struct sort_group {
    size_t place; /* items before it are done */
    size_t end;
    uint32_t skip; /* heads are the bytes from here on */
};

struct sorter {
    struct sort_item *items;
    struct sort_item *scratch;
    sort_key key_of;
    void *context;
    bool marks; /* item->aux says where item->head is from */
};

static int
item_compare(const struct sorter *sorter, const struct sort_item *a, const struct sort_item *b,
             uint32_t skip)
{
    struct fl_key ka;
    struct fl_key kb;

    sorter->key_of(sorter->context, a, &ka);
    sorter->key_of(sorter->context, b, &kb);
    return key_compare(&ka, &kb, skip);
}

static void
sort_small(const struct sorter *sorter, size_t begin, size_t end, uint32_t skip)
{
    struct sort_item *items = sorter->items;

    for (size_t i = begin + 1; i < end; i++) {
        const struct sort_item item = items[i];
        size_t j = i;

        while (j > begin && item_compare(sorter, &item, &items[j - 1], skip) < 0) {
            items[j] = items[j - 1];
            j--;
        }
        items[j] = item;
    }
}

static void
heap_sift(const struct sorter *sorter, struct sort_item *heap, size_t root, size_t count,
          uint32_t skip)
{
    const struct sort_item item = heap[root];

    for (;;) {
        size_t child = 2 * root + 1;

        if (child >= count) {
            break;
        }
        if (child + 1 < count && item_compare(sorter, &heap[child], &heap[child + 1], skip) < 0) {
            child++;
        }
        if (item_compare(sorter, &item, &heap[child], skip) >= 0) {
            break;
        }
        heap[root] = heap[child];
        root = child;
    }
    heap[root] = item;
}

static void
sort_heap(const struct sorter *sorter, size_t begin, size_t end, uint32_t skip)
{
    struct sort_item *heap = sorter->items + begin;
    const size_t count = end - begin;

    for (size_t i = count / 2; i-- > 0;) {
        heap_sift(sorter, heap, i, count, skip);
    }
    for (size_t i = count; i-- > 1;) {
        const struct sort_item last = heap[i];

        heap[i] = heap[0];
        heap[0] = last;
        heap_sift(sorter, heap, 0, i, skip);
    }
}

/* How many of the heads' first bytes it takes to tell nearly all of them apart; their counts by value. */
static unsigned
radix_depth(const struct sort_item *items, size_t count, size_t counts[8][256])
{
    uint64_t told_apart = 1;
    unsigned depth = 0;

    while (depth < 8 && told_apart < 2 * count) {
        size_t *row = counts[depth];
        const unsigned shift = 56 - 8 * depth;
        unsigned values = 0;

        memset(row, 0, 256 * sizeof(row[0]));
        for (size_t i = 0; i < count; i++) {
            row[items[i].head >> shift & 255]++;
        }
        for (unsigned v = 0; v < 256; v++) {
            values += row[v] > 0;
        }
        told_apart *= values;
        depth++;
    }
    return depth;
}

/* Sort by the first `depth` bytes of the heads, the last of them first. */
static void
radix_passes(struct sort_item *items, struct sort_item *scratch, size_t count, unsigned depth,
             size_t counts[8][256])
{
    struct sort_item *from = items;
    struct sort_item *to = scratch;

    while (depth-- > 0) {
        size_t *row = counts[depth];
        const unsigned shift = 56 - 8 * depth;
        size_t place = 0;

        if (row[items[0].head >> shift & 255] == count) {
            continue; /* the same in all */
        }
        for (unsigned v = 0; v < 256; v++) {
            const size_t n = row[v];

            row[v] = place;
            place += n;
        }
        for (size_t i = 0; i < count; i++) {
            to[row[from[i].head >> shift & 255]++] = from[i];
        }
        struct sort_item *swap = from;

        from = to;
        to = swap;
    }
    if (from != items) {
        memcpy(items, from, count * sizeof(*items));
    }
}

/* By all eight bytes. */
static void
sort_heads_fully(struct sort_item *items, struct sort_item *scratch, size_t count)
{
    size_t counts[8][256];

    memset(counts, 0, sizeof(counts));
    for (size_t i = 0; i < count; i++) {
        for (unsigned b = 0; b < 8; b++) {
            counts[b][items[i].head >> (56 - 8 * b) & 255]++;
        }
    }
    radix_passes(items, scratch, count, 8, counts);
}

/* By radix for as many bytes as tell nearly all apart; what is left are short runs, for which insertion is best. */
static void
sort_heads(struct sort_item *items, struct sort_item *scratch, size_t count)
{
    size_t counts[8][256];
    const unsigned depth = count > SORT_SMALL ? radix_depth(items, count, counts) : 0;
    size_t moves = 16 * count;

    radix_passes(items, scratch, count, depth, counts);
    for (size_t i = 1; i < count; i++) {
        const struct sort_item item = items[i];
        size_t j = i;

        for (; j > 0 && items[j - 1].head > item.head; j--) {
            items[j] = items[j - 1];
            if (moves-- == 0) {
                /* Not short at all: heads that are alike in the main and differ far behind. */
                items[j - 1] = item;
                sort_heads_fully(items, scratch, count);
                return;
            }
        }
        items[j] = item;
    }
}

/* Take heads at the first byte in which the group's keys differ, and sort by them. Returns that skip. */
static uint32_t
sort_group_heads(const struct sorter *sorter, size_t begin, size_t end, uint32_t skip)
{
    struct fl_key first;
    uint32_t common = UINT32_MAX;

    sorter->key_of(sorter->context, &sorter->items[begin], &first);
    for (size_t i = begin + 1; i < end && common > skip; i++) {
        struct fl_key key;

        sorter->key_of(sorter->context, &sorter->items[i], &key);
        const uint32_t c = key_common(&first, &key, skip);

        common = c < common ? c : common;
    }
    common = common < skip ? skip : common;
    for (size_t i = begin; i < end; i++) {
        struct fl_key key;

        sorter->key_of(sorter->context, &sorter->items[i], &key);
        sorter->items[i].head = key_head8(&key, common);
        if (sorter->marks) {
            sorter->items[i].aux = common;
        }
    }
    sort_heads(sorter->items + begin, sorter->scratch, end - begin);
    return common;
}

/* Of items whose heads at `skip` are equal, put those whose keys end within the head first, by length: the longer
 * has zeros where the shorter has ended. Returns where the others begin. */
static size_t
sort_ended(const struct sorter *sorter, size_t begin, size_t end, uint32_t skip)
{
    size_t ended = begin;

    for (size_t i = begin; i < end; i++) {
        struct fl_key key;

        sorter->key_of(sorter->context, &sorter->items[i], &key);
        if (key_len(&key) <= skip + 8) {
            const struct sort_item item = sorter->items[i];

            sorter->items[i] = sorter->items[ended];
            sorter->items[ended++] = item;
        }
    }
    if (ended - begin <= SORT_SMALL) {
        sort_small(sorter, begin, ended, skip);
    } else {
        sort_heap(sorter, begin, ended, skip);
    }
    return ended;
}

/* The items are sorted by their heads, from `skip` on; sort those whose heads tie. */
static void
sort_ties(const struct sorter *sorter, size_t count, uint32_t skip)
{
    const struct sort_item *items = sorter->items;
    struct sort_group groups[SORT_LEVELS_MAX];
    unsigned depth = 0;

    groups[depth++] = (struct sort_group){0, count, skip};
    while (depth > 0) {
        struct sort_group *group = &groups[depth - 1];
        const size_t begin = group->place;
        size_t end = begin + 1;

        if (begin == group->end) {
            depth--;
            continue;
        }
        while (end < group->end && items[end].head == items[begin].head) {
            end++;
        }
        group->place = end;
        if (end - begin == 1) {
            continue;
        }
        if (end - begin <= SORT_SMALL) {
            sort_small(sorter, begin, end, group->skip);
            continue;
        }
        const size_t rest = sort_ended(sorter, begin, end, group->skip);

        if (end - rest <= SORT_SMALL) {
            sort_small(sorter, rest, end, group->skip);
        } else if (depth == SORT_LEVELS_MAX) {
            sort_heap(sorter, rest, end, group->skip);
        } else {
            const uint32_t deeper = sort_group_heads(sorter, rest, end, group->skip + 8);

            groups[depth++] = (struct sort_group){rest, end, deeper};
        }
    }
}

void
sort_keys(struct sort_item *items, struct sort_item *scratch, size_t count, uint32_t skip,
          sort_key key_of, void *context)
{
    const struct sorter sorter = {items, scratch, key_of, context, false};

    if (count <= SORT_SMALL) {
        sort_small(&sorter, 0, count, skip);
        return;
    }
    skip = sort_group_heads(&sorter, 0, count, skip);
    sort_ties(&sorter, count, skip);
}

void
sort_headed_keys(struct sort_item *items, struct sort_item *scratch, size_t count, uint32_t skip,
                 sort_key key_of, void *context)
{
    const struct sorter sorter = {items, scratch, key_of, context, true};

    for (size_t i = 0; i < count; i++) {
        items[i].aux = skip;
    }
    if (count > 0) {
        sort_heads(items, scratch, count);
        sort_ties(&sorter, count, skip);
    }
}
