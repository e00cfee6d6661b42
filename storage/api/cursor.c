/* Cursors: keys are fetched some at a time, copied, and the index is left alone in between. */
#include "storage/api/store.h"

#include <faultline/cursor.h>

#include "base/bytes.h"
#include "base/fail.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { FETCH_KEYS = 128 };

struct cursor_item {
    size_t key_off; /* into cursor->keys */
    uint32_t key_len;
};

struct fl_cursor {
    struct fl_store *store;
    uint8_t space;
    bool live;
    bool own_pin;
    uint64_t lsn; /* INDEX_LSN_LATEST: live */
    uint64_t now_ms;
    uint8_t *prefix;
    size_t prefix_len;
    enum index_direction direction;
    bool at_end;          /* nothing behind the items in this direction */
    uint64_t damaged_off; /* the first record passed over, 0: none; told when the end is reached */
    size_t count, pos;    /* items; pos == count: on no key */
    struct cursor_item items[FETCH_KEYS];
    uint8_t *keys;
    size_t keys_len, keys_cap;
    bool viewing;
    struct fl_view view;
};

fl_status
fl_cursor_open(struct fl_store *store, const struct fl_cursor_options *options,
               struct fl_cursor **out)
{
    static const struct fl_cursor_options none;
    struct fl_cursor *cursor = calloc(1, sizeof(*cursor));
    fl_status status = FL_OK;

    *out = NULL;
    options = options != NULL ? options : &none;
    if (cursor == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "a cursor");
    }
    cursor->store = store;
    cursor->space = options->space;
    cursor->live = options->live;
    cursor->lsn = INDEX_LSN_LATEST;
    if (options->prefix.len > 0) {
        cursor->prefix = malloc(options->prefix.len);
        if (cursor->prefix == NULL) {
            status = FL_FAIL(FL_NO_MEMORY, "a cursor's prefix");
        } else {
            memcpy(cursor->prefix, options->prefix.ptr, options->prefix.len);
            cursor->prefix_len = options->prefix.len;
        }
    }
    if (status == FL_OK && options->snapshot != NULL) {
        cursor->lsn = options->snapshot->lsn;
        cursor->now_ms = options->snapshot->now_ms;
        cursor->live = false;
    } else if (status == FL_OK && !cursor->live) {
        cursor->now_ms = engine_now_ms(store->engine);
        status = engine_pin(store->engine, &cursor->lsn);
        cursor->own_pin = status == FL_OK;
    }
    if (status != FL_OK) {
        fl_cursor_close(cursor);
        return status;
    }
    *out = cursor;
    return FL_OK;
}

static void
view_end(struct fl_cursor *cursor)
{
    if (cursor->viewing) {
        fl_view_release(&cursor->view);
        cursor->viewing = false;
    }
}

void
fl_cursor_close(struct fl_cursor *cursor)
{
    if (cursor == NULL) {
        return;
    }
    view_end(cursor);
    if (cursor->own_pin) {
        engine_unpin(cursor->store->engine, cursor->lsn);
    }
    free(cursor->prefix);
    free(cursor->keys);
    free(cursor);
}

static bool
has_prefix(const struct fl_cursor *cursor, struct fl_bytes key)
{
    return key.len >= cursor->prefix_len &&
           (cursor->prefix_len == 0 || memcmp(key.ptr, cursor->prefix, cursor->prefix_len) == 0);
}

static uint64_t
now_ms(const struct fl_cursor *cursor)
{
    return cursor->live ? engine_now_ms(cursor->store->engine) : cursor->now_ms;
}

static fl_status
item_add(struct fl_cursor *cursor, struct fl_bytes key)
{
    if (cursor->keys_cap - cursor->keys_len < key.len) {
        const size_t cap = 2 * (cursor->keys_cap + key.len) + 4096;
        uint8_t *keys = realloc(cursor->keys, cap);

        if (keys == NULL) {
            return FL_FAIL(FL_NO_MEMORY, "a cursor's keys");
        }
        cursor->keys = keys;
        cursor->keys_cap = cap;
    }
    memcpy(cursor->keys + cursor->keys_len, key.ptr, key.len);
    cursor->items[cursor->count++] = (struct cursor_item){cursor->keys_len, (uint32_t)key.len};
    cursor->keys_len += key.len;
    return FL_OK;
}

/* Add the scanned records that count; *last: a copy of the last key met stays in cursor->keys. */
static fl_status
items_add(struct fl_cursor *cursor, const index_loc *locs, size_t found, struct fl_bytes *last)
{
    struct engine *engine = cursor->store->engine;
    const uint64_t now = now_ms(cursor);

    for (size_t i = 0; i < found; i++) {
        struct log_record record;
        const uint64_t off = locs[i] & INDEX_LOC_OFF_MASK;

        if (log_decode(engine_log(engine), off, true, &record) != FL_OK) {
            cursor->damaged_off = cursor->damaged_off == 0 ? off : cursor->damaged_off;
            continue;
        }
        *last = record.key;
        if (!has_prefix(cursor, record.key)) {
            cursor->at_end = true;
            break;
        }
        if (record.deadline_ms != 0 && record.deadline_ms <= now) {
            continue;
        }
        const fl_status status = item_add(cursor, record.key);

        if (status != FL_OK) {
            return status;
        }
        if (engine_is_bad(engine, record.key)) { /* since it was checked */
            cursor->count--;
            cursor->damaged_off = cursor->damaged_off == 0 ? off : cursor->damaged_off;
        }
    }
    return FL_OK;
}

/* Fetch from `from` on until there is an item or the end. */
static fl_status
fetch(struct fl_cursor *cursor, struct fl_bytes from, bool inclusive)
{
    struct engine *engine = cursor->store->engine;
    index_loc locs[FETCH_KEYS];
    uint8_t *start = malloc(from.len + 1);
    fl_status status = FL_OK;

    view_end(cursor);
    if (start == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "a cursor's key");
    }
    if (from.len > 0) {
        memcpy(start, from.ptr, from.len); /* it may stand in cursor->keys */
    }
    cursor->count = 0;
    cursor->pos = 0;
    cursor->keys_len = 0;
    cursor->at_end = false;
    struct fl_key key = fl_key_in(cursor->space, start, from.len);

    while (status == FL_OK && cursor->count == 0 && !cursor->at_end) {
        struct fl_bytes last = {NULL, 0};
        const uint32_t token = engine_enter(engine);
        const size_t found = index_scan(engine_index(engine), key, inclusive, cursor->direction,
                                        cursor->lsn, locs, FETCH_KEYS);

        status = items_add(cursor, locs, found, &last);
        if (found < FETCH_KEYS || last.ptr == NULL) {
            cursor->at_end = true;
        } else if (cursor->count == 0 && status == FL_OK) {
            uint8_t *next = realloc(start, last.len);

            if (next == NULL) {
                status = FL_FAIL(FL_NO_MEMORY, "a cursor's key");
            } else {
                start = next;
                memcpy(start, last.ptr, last.len);
                key = fl_key_in(cursor->space, start, last.len);
                inclusive = false;
            }
        }
        engine_exit(engine, token);
    }
    free(start);
    return status;
}

static fl_status
end_status(struct fl_cursor *cursor)
{
    const uint64_t off = cursor->damaged_off;

    if (off == 0) {
        return FL_END;
    }
    cursor->damaged_off = 0;
    return FL_FAIL(FL_CORRUPT,
                   "damaged records were passed over, the first at file offset %" PRIu64
                   "; run faultline-check --repair",
                   off);
}

fl_status
fl_cursor_damage(struct fl_cursor *cursor)
{
    const fl_status status = end_status(cursor);

    return status == FL_END ? FL_OK : status;
}

static fl_status
position(struct fl_cursor *cursor, struct fl_bytes from, bool inclusive)
{
    const fl_status status = fetch(cursor, from, inclusive);

    if (status != FL_OK) {
        return status;
    }
    return cursor->count > 0 ? FL_OK : end_status(cursor);
}

/* The first key that is greater than all with the prefix; false: there is none. */
static bool
prefix_end(const struct fl_cursor *cursor, uint8_t *end, size_t *len)
{
    *len = cursor->prefix_len;
    memcpy(end, cursor->prefix, *len);
    while (*len > 0 && end[*len - 1] == 0xff) {
        (*len)--;
    }
    if (*len > 0) {
        end[*len - 1]++;
    }
    return *len > 0;
}

fl_status
fl_cursor_first(struct fl_cursor *cursor)
{
    cursor->direction = INDEX_FORWARD;
    return position(cursor, fl_bytes(cursor->prefix, cursor->prefix_len), true);
}

fl_status
fl_cursor_last(struct fl_cursor *cursor)
{
    cursor->direction = INDEX_BACKWARD;
    if (cursor->prefix_len == 0) {
        return position(cursor, fl_bytes(NULL, 0), true);
    }
    size_t len = 0;
    uint8_t *end = malloc(cursor->prefix_len);

    if (end == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "a cursor's key");
    }
    const bool bounded = prefix_end(cursor, end, &len);
    const fl_status status = position(cursor, fl_bytes(end, bounded ? len : 0), !bounded);

    free(end);
    return status;
}

fl_status
fl_cursor_seek(struct fl_cursor *cursor, struct fl_bytes key)
{
    cursor->direction = INDEX_FORWARD;
    if (bytes_compare(key.ptr, key.len, cursor->prefix, cursor->prefix_len) <= 0) {
        return fl_cursor_first(cursor);
    }
    return position(cursor, key, true);
}

fl_status
fl_cursor_seek_before(struct fl_cursor *cursor, struct fl_bytes key)
{
    cursor->direction = INDEX_BACKWARD;
    if (!has_prefix(cursor, key) &&
        bytes_compare(key.ptr, key.len, cursor->prefix, cursor->prefix_len) > 0) {
        return fl_cursor_last(cursor); /* behind all that have the prefix */
    }
    if (key.len == 0) {
        /* Nothing is before the empty key. */
        view_end(cursor);
        cursor->count = cursor->pos = 0;
        return FL_END;
    }
    return position(cursor, key, true);
}

static fl_status
step(struct fl_cursor *cursor, enum index_direction direction)
{
    const struct fl_bytes key = fl_cursor_key(cursor);

    view_end(cursor);
    if (key.ptr == NULL) {
        return FL_FAIL(FL_INVALID, "the cursor stands on no key: call first, last or a seek");
    }
    if (direction != cursor->direction) {
        cursor->direction = direction;
        return position(cursor, key, false);
    }
    if (cursor->pos + 1 < cursor->count) {
        cursor->pos++;
        return FL_OK;
    }
    if (cursor->at_end) {
        cursor->pos = cursor->count;
        return end_status(cursor);
    }
    return position(cursor, key, false);
}

fl_status
fl_cursor_next(struct fl_cursor *cursor)
{
    return step(cursor, INDEX_FORWARD);
}

fl_status
fl_cursor_prev(struct fl_cursor *cursor)
{
    return step(cursor, INDEX_BACKWARD);
}

struct fl_bytes
fl_cursor_key(const struct fl_cursor *cursor)
{
    if (cursor->pos >= cursor->count) {
        return fl_bytes(NULL, 0);
    }
    const struct cursor_item *item = &cursor->items[cursor->pos];

    return fl_bytes(cursor->keys + item->key_off, item->key_len);
}

fl_status
fl_cursor_view(struct fl_cursor *cursor, struct fl_view *view)
{
    const struct fl_bytes bytes = fl_cursor_key(cursor);
    struct engine *engine = cursor->store->engine;

    if (bytes.ptr == NULL) {
        return FL_END;
    }
    view_end(cursor);
    memset(&cursor->view, 0, sizeof(cursor->view));
    const struct fl_key key = fl_key_in(cursor->space, bytes.ptr, bytes.len);
    const uint64_t hash = engine_hash(engine, key);
    const uint32_t token = engine_enter(engine);
    const fl_status status = store_view_durable(cursor->store, key, hash, cursor->lsn,
                                                now_ms(cursor), ENGINE_WHOLE, &cursor->view);

    engine_exit(engine, token);
    if (status == FL_OK) {
        cursor->viewing = true;
        *view = cursor->view;
        view->guard = NULL; /* the cursor's to release */
    }
    return status;
}
