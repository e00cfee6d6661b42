#include "tests/crash/contents.h"

#include <faultline/cursor.h>

#include "tests/crash/hash.h"
#include "tests/crash/plant.h"
#include "tests/crash/watch.h"
#include "tests/lib/die.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MEMPOOL_CHUNK_BYTES = 1 << 18 };

struct mempool_chunk {
    struct mempool_chunk *next;
    size_t cap, used;
    uint8_t bytes[];
};

void *
mempool_take(struct mempool *mempool, size_t bytes)
{
    struct mempool_chunk *chunk = mempool->chunks;

    bytes = (bytes + 15) & ~(size_t)15;
    if (chunk == NULL || chunk->cap - chunk->used < bytes) {
        const size_t cap = bytes > MEMPOOL_CHUNK_BYTES ? bytes : MEMPOOL_CHUNK_BYTES;

        const unsigned long paused = plant_allocation_pause();

        chunk = malloc(sizeof(*chunk) + cap);
        plant_allocation_resume(paused);
        if (chunk == NULL) {
            die("mempool: no memory");
        }
        chunk->cap = cap;
        chunk->used = 0;
        chunk->next = mempool->chunks;
        mempool->chunks = chunk;
    }
    void *at = chunk->bytes + chunk->used;

    chunk->used += bytes;
    return at;
}

void
mempool_free(struct mempool *mempool)
{
    while (mempool->chunks != NULL) {
        struct mempool_chunk *next = mempool->chunks->next;

        free(mempool->chunks);
        mempool->chunks = next;
    }
}

struct mempool_point
mempool_save(const struct mempool *mempool)
{
    return (struct mempool_point){mempool->chunks,
                                  mempool->chunks != NULL ? mempool->chunks->used : 0};
}

void
mempool_restore(struct mempool *mempool, struct mempool_point point)
{
    while (mempool->chunks != point.chunk) {
        struct mempool_chunk *next = mempool->chunks->next;

        free(mempool->chunks);
        mempool->chunks = next;
    }
    if (point.chunk != NULL) {
        point.chunk->used = point.used;
    }
}

static struct contents *
contents_make(struct mempool *mempool, uint32_t count)
{
    struct contents *contents =
        mempool_take(mempool, sizeof(*contents) + count * sizeof(contents->items[0]));

    if (count > CONTENTS_ITEMS_MAX) {
        die("contents: %u items", count);
    }
    contents->hash = 0;
    contents->count = 0;
    return contents;
}

const struct contents *
contents_empty(struct mempool *mempool)
{
    return contents_make(mempool, 0);
}

static uint64_t
item_hash(const struct contents_item *item)
{
    const uint64_t key = hash_bytes(item->key, item->key_len);
    const uint64_t value = hash_bytes(item->value, item->len);

    return hash_mix(hash_mix(key, value), hash_mix(item->deadline_ms, item->space + 1));
}

static void
contents_add(struct contents *contents, const struct contents_item *item)
{
    contents->items[contents->count++] = *item;
    contents->hash += item->hash;
}

static int
item_compare(const struct contents_item *item, uint8_t space, const void *key, size_t len)
{
    if (item->space != space) {
        return item->space < space ? -1 : 1;
    }
    const int c = memcmp(item->key, key, item->key_len < len ? item->key_len : len);

    return c != 0 ? c : (item->key_len > len) - (item->key_len < len);
}

const struct contents *
contents_with(struct mempool *mempool, const struct contents *old, const struct contents_item *item)
{
    struct contents *contents = contents_make(mempool, old->count + 1);
    uint32_t i = 0;

    while (i < old->count &&
           item_compare(&old->items[i], item->space, item->key, item->key_len) < 0) {
        contents_add(contents, &old->items[i++]);
    }
    if (item->value != NULL) {
        struct contents_item copy = *item;

        copy.hash = item_hash(item);
        contents_add(contents, &copy);
    }
    if (i < old->count &&
        item_compare(&old->items[i], item->space, item->key, item->key_len) == 0) {
        i++;
    }
    while (i < old->count) {
        contents_add(contents, &old->items[i++]);
    }
    return contents;
}

const struct contents *
contents_without_spaces(struct mempool *mempool, const struct contents *old, uint8_t first,
                        uint8_t last)
{
    struct contents *contents = contents_make(mempool, old->count);

    for (uint32_t i = 0; i < old->count; i++) {
        if (old->items[i].space < first || old->items[i].space > last) {
            contents_add(contents, &old->items[i]);
        }
    }
    return contents;
}

const struct contents_item *
contents_find(const struct contents *contents, uint8_t space, const void *key, size_t len)
{
    for (uint32_t i = 0; i < contents->count; i++) {
        if (item_compare(&contents->items[i], space, key, len) == 0) {
            return &contents->items[i];
        }
    }
    return NULL;
}

/* ---- against a store ---- */

struct matching {
    struct fl_store *store;
    uint64_t now_ms;
    uint64_t lsn_max; /* of point reads */
    char *why;
    size_t why_size;
};

static bool
differs(struct matching *m, const char *what, const struct contents_item *item, const char *text)
{
    if (item != NULL) {
        snprintf(m->why, m->why_size, "%s %u:%.*s: %s", what, item->space, item->key_len,
                 (const char *)item->key, text);
    } else {
        snprintf(m->why, m->why_size, "%s: %s", what, text);
    }
    return false;
}

static bool
view_matches(struct matching *m, const struct contents_item *item, const struct fl_view *view,
             const char *what)
{
    watch_load(view->value.ptr, view->value.len);
    if (view->value.len != item->len ||
        (item->len > 0 && memcmp(view->value.ptr, item->value, item->len) != 0)) {
        return differs(m, what, item, "another value than was acknowledged");
    }
    return view->deadline_ms == item->deadline_ms ||
           differs(m, what, item, "another deadline than was acknowledged");
}

/* The cursor stands on what should be `item`. */
static bool
cursor_matches(struct matching *m, struct fl_cursor *cursor, const struct contents_item *item)
{
    const struct fl_bytes key = fl_cursor_key(cursor);
    struct fl_view view;

    watch_load(key.ptr, key.len);

    if (item_compare(item, item->space, key.ptr, key.len) != 0) {
        char text[96];

        snprintf(text, sizeof(text), "iteration meets %.*s instead", (int)key.len,
                 (const char *)key.ptr);
        return differs(m, "key", item, text);
    }
    const fl_status status = fl_cursor_view(cursor, &view);

    if (status != FL_OK) {
        return differs(m, "iterated", item, fl_last_error());
    }
    return view_matches(m, item, &view, "iterated");
}

static bool
point_matches(struct matching *m, const struct contents_item *item)
{
    struct fl_view view;
    const fl_status status =
        fl_get_view(m->store, fl_key_in(item->space, item->key, item->key_len), &view);

    if (status != FL_OK) {
        return differs(m, "point read", item,
                       status == FL_NOT_FOUND ? "not found" : fl_last_error());
    }
    const bool same = view_matches(m, item, &view, "point read");

    m->lsn_max = view.lsn > m->lsn_max ? view.lsn : m->lsn_max;
    fl_view_release(&view);
    return same;
}

static bool
shows(const struct matching *m, const struct contents_item *item)
{
    return item->deadline_ms == 0 || item->deadline_ms > m->now_ms;
}

/* Items [from, end) of the space, in its order. */
static bool
space_matches(struct matching *m, const struct contents *contents, uint32_t from, uint32_t end,
              uint8_t space)
{
    const struct fl_cursor_options options = {.space = space, .live = true};
    struct fl_cursor *cursor = NULL;
    bool same = true;

    if (fl_cursor_open(m->store, &options, &cursor) != FL_OK) {
        return differs(m, "cursor", NULL, fl_last_error());
    }
    fl_status status = fl_cursor_first(cursor);

    for (uint32_t i = from; i < end && same; i++) {
        const struct contents_item *item = &contents->items[i];

        if (!shows(m, item)) {
            continue;
        }
        if (status == FL_OK) {
            same = cursor_matches(m, cursor, item) && point_matches(m, item);
            status = fl_cursor_next(cursor);
        } else {
            same = differs(m, "key", item,
                           status == FL_END ? "missing in the iteration" : fl_last_error());
        }
    }
    if (same && status != FL_END) {
        char text[64];
        const struct fl_bytes key = fl_cursor_key(cursor);

        snprintf(text, sizeof(text), "%u:%.*s", space, (int)key.len, (const char *)key.ptr);
        same = differs(m, "a key nobody has put, or that was deleted", NULL,
                       status == FL_OK ? text : fl_last_error());
    }
    fl_cursor_close(cursor);
    return same;
}

bool
contents_match(const struct contents *contents, struct fl_store *store, uint64_t now_ms,
               bool just_opened, uint64_t *lsn_max, char *why, size_t why_size)
{
    struct matching m = {store, now_ms, 0, why, why_size};
    uint32_t from = 0;

    for (unsigned i = 0; i < CONTENTS_SPACES; i++) {
        const uint8_t space = (uint8_t)i;
        uint32_t end = from;
        uint32_t shown = 0;

        while (end < contents->count && contents->items[end].space == space) {
            shown += shows(&m, &contents->items[end]);
            end++;
        }
        if (!space_matches(&m, contents, from, end, space)) {
            return false;
        }
        const uint64_t count = fl_count(store, space);

        if (count < shown || (just_opened ? count > shown : count > end - from)) {
            char text[64];

            snprintf(text, sizeof(text), "space %u: %" PRIu64 " counted, %u there", space, count,
                     shown);
            return differs(&m, "count", NULL, text);
        }
        from = end;
    }
    if (lsn_max != NULL) {
        *lsn_max = m.lsn_max;
    }
    return true;
}
