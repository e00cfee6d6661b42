#include "server/key_iter.h"

#include "base/fail.h"
#include "server/exec_keys.h"
#include "server/server.h"

#include <stdlib.h>
#include <string.h>

enum { RANDOM_TRIES = 64 };

/* Two sources are merged: the cursor (durable), where keys of the overlay are passed over; and
 * the overlay (keys that the transaction wrote), where those are passed over that it deleted. */
struct key_iter {
    struct call *call;
    const struct exec_keys *overlay; /* NULL: the cursor alone */
    struct fl_cursor *cursor;
    struct fl_bytes prefix;
    bool forward;    /* the direction that both sources stand for */
    bool on_cursor;  /* the cursor stands on a key that counts */
    bool at_overlay; /* the present key is the overlay's */
    bool valid;
    size_t place; /* in the overlay; its count: none */
};

fl_status
key_iter_open(struct call *call, struct fl_bytes prefix, struct key_iter **out)
{
    struct key_iter *iter = calloc(1, sizeof(*iter));

    if (iter == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "iterator");
    }
    iter->call = call;
    iter->prefix = prefix;
    if (call->in_exec && call->server->exec_keys.tracks) {
        exec_keys_sort(&call->server->exec_keys);
        iter->overlay = &call->server->exec_keys;
    }
    const struct fl_cursor_options options = {.space = SPACE_ROOT, .live = true, .prefix = prefix};
    const fl_status status = fl_cursor_open(call->server->store, &options, &iter->cursor);

    if (status != FL_OK) {
        free(iter);
        return status;
    }
    *out = iter;
    return FL_OK;
}

void
key_iter_close(struct key_iter *iter)
{
    if (iter != NULL) {
        /* A page or a LIMIT ends before the cursor does: what was passed over until then is told here. */
        if (fl_cursor_damage(iter->cursor) != FL_OK) {
            logger_write(&iter->call->server->logger, LOGGER_ERROR, "%s: %s",
                         iter->call->command->name, fl_last_error());
        }
        fl_cursor_close(iter->cursor);
        free(iter);
    }
}

/* ---- the overlay ---- */

static bool
is_pending(struct call *call, struct fl_bytes key)
{
    struct fl_info info;

    return fl_batch_get_info(call->batch, fl_key_in(SPACE_ROOT, key.ptr, key.len), &info) == FL_OK;
}

static bool
overlay_counts(const struct key_iter *iter, size_t place)
{
    const struct fl_bytes key = iter->overlay->keys[place];

    return key.len >= iter->prefix.len &&
           (iter->prefix.len == 0 || memcmp(key.ptr, iter->prefix.ptr, iter->prefix.len) == 0) &&
           is_pending(iter->call, key);
}

/* From iter->place on in its direction, to one that counts. Backwards past the first wraps to
 * SIZE_MAX, which is as good as the count. */
static void
overlay_settle(struct key_iter *iter)
{
    while (iter->place < iter->overlay->count && !overlay_counts(iter, iter->place)) {
        iter->place += iter->forward ? 1 : SIZE_MAX;
    }
}

static bool
overlay_valid(const struct key_iter *iter)
{
    return iter->overlay != NULL && iter->place < iter->overlay->count;
}

/* ---- the merge ---- */

static fl_status
cursor_settle(struct key_iter *iter, fl_status status)
{
    while (status == FL_OK && iter->overlay != NULL &&
           (iter->overlay->flushed || exec_keys_has(iter->overlay, fl_cursor_key(iter->cursor)))) {
        if (iter->overlay->flushed) {
            status = FL_END;
        } else {
            status = iter->forward ? fl_cursor_next(iter->cursor) : fl_cursor_prev(iter->cursor);
        }
    }
    iter->on_cursor = status == FL_OK;
    return status == FL_END ? FL_OK : status;
}

/* Both sources stand: the nearer one is the present key. */
static fl_status
choose(struct key_iter *iter, fl_status status)
{
    iter->valid = false;
    if (status != FL_OK) {
        return status;
    }
    const bool overlay = overlay_valid(iter);

    if (!overlay && !iter->on_cursor) {
        return FL_END;
    }
    if (overlay && iter->on_cursor) {
        const int order =
            key_compare(iter->overlay->keys[iter->place], fl_cursor_key(iter->cursor));

        iter->at_overlay = iter->forward ? order < 0 : order > 0;
    } else {
        iter->at_overlay = overlay;
    }
    iter->valid = true;
    return FL_OK;
}

static fl_status
stand(struct key_iter *iter, bool forward, size_t place, fl_status cursor_status)
{
    iter->forward = forward;
    iter->place = place;
    if (iter->overlay != NULL) {
        overlay_settle(iter);
    }
    return choose(iter, cursor_settle(iter, cursor_status));
}

fl_status
key_iter_first(struct key_iter *iter)
{
    return stand(iter, true, 0, fl_cursor_first(iter->cursor));
}

fl_status
key_iter_last(struct key_iter *iter)
{
    const size_t count = iter->overlay != NULL ? iter->overlay->count : 0;

    return stand(iter, false, count - 1, fl_cursor_last(iter->cursor));
}

fl_status
key_iter_seek(struct key_iter *iter, struct fl_bytes key)
{
    const size_t place = iter->overlay != NULL ? exec_keys_seek(iter->overlay, key) : 0;

    return stand(iter, true, place, fl_cursor_seek(iter->cursor, key));
}

fl_status
key_iter_seek_before(struct key_iter *iter, struct fl_bytes key)
{
    size_t place = 0;

    if (iter->overlay != NULL) {
        place = exec_keys_seek(iter->overlay, key);
        if (place == iter->overlay->count || key_compare(iter->overlay->keys[place], key) != 0) {
            place--; /* SIZE_MAX before the first: none. */
        }
    }
    return stand(iter, false, place, fl_cursor_seek_before(iter->cursor, key));
}

/* One source moves on; the other stands where it is. */
static fl_status
step(struct key_iter *iter)
{
    if (iter->at_overlay) {
        iter->place += iter->forward ? 1 : SIZE_MAX;
        overlay_settle(iter);
        return choose(iter, FL_OK);
    }
    const fl_status status =
        iter->forward ? fl_cursor_next(iter->cursor) : fl_cursor_prev(iter->cursor);

    return choose(iter, cursor_settle(iter, status));
}

/* Turning round: both sources stand on the far side of the present key and are placed anew. */
static fl_status
turn(struct key_iter *iter, bool forward)
{
    unsigned char copy[FL_KEY_BYTES_MAX];
    const struct fl_bytes key = key_iter_key(iter);

    memcpy(copy, key.ptr, key.len);
    const struct fl_bytes here = fl_bytes(copy, key.len);
    const fl_status status = forward ? key_iter_seek(iter, here) : key_iter_seek_before(iter, here);

    if (status != FL_OK || key_compare(key_iter_key(iter), here) != 0) {
        return status; /* It was deleted meanwhile: this is the next one. */
    }
    return step(iter);
}

fl_status
key_iter_next(struct key_iter *iter)
{
    if (!iter->valid) {
        return FL_END;
    }
    return iter->forward ? step(iter) : turn(iter, true);
}

fl_status
key_iter_prev(struct key_iter *iter)
{
    if (!iter->valid) {
        return FL_END;
    }
    return iter->forward ? turn(iter, false) : step(iter);
}

struct fl_bytes
key_iter_key(const struct key_iter *iter)
{
    if (!iter->valid) {
        return fl_bytes(NULL, 0);
    }
    return iter->at_overlay ? iter->overlay->keys[iter->place] : fl_cursor_key(iter->cursor);
}

fl_status
key_iter_view(struct key_iter *iter, struct fl_view *view)
{
    if (!iter->valid) {
        return FL_END;
    }
    if (!iter->at_overlay) {
        return fl_cursor_view(iter->cursor, view);
    }
    const struct fl_bytes key = iter->overlay->keys[iter->place];

    return fl_batch_get_view(iter->call->batch, fl_key_in(SPACE_ROOT, key.ptr, key.len), view);
}

/* ---- counting, choosing ---- */

static bool
is_durable(struct call *call, struct fl_bytes key)
{
    struct fl_info info;

    return fl_get_info(call->server->store, fl_key_in(SPACE_ROOT, key.ptr, key.len), &info) ==
           FL_OK;
}

uint64_t
call_key_count(struct call *call)
{
    struct exec_keys *overlay = &call->server->exec_keys;
    uint64_t count = fl_count(call->server->store, SPACE_ROOT);

    if (!call->in_exec || !overlay->tracks) {
        return count;
    }
    exec_keys_sort(overlay);
    count = overlay->flushed ? 0 : count;
    for (size_t i = 0; i < overlay->count; i++) {
        const struct fl_bytes key = overlay->keys[i];

        count += is_pending(call, key);
        count -= !overlay->flushed && is_durable(call, key);
    }
    return count;
}

static fl_status
first_key(struct call *call, void *buf, size_t *len)
{
    struct key_iter *iter = NULL;
    fl_status status = key_iter_open(call, fl_bytes(NULL, 0), &iter);

    if (status != FL_OK) {
        return status;
    }
    status = key_iter_first(iter);
    if (status == FL_OK) {
        const struct fl_bytes key = key_iter_key(iter);

        FL_ASSERT(key.ptr != NULL);
        memcpy(buf, key.ptr, key.len);
        *len = key.len;
    }
    key_iter_close(iter);
    return status == FL_END ? FL_NOT_FOUND : status;
}

fl_status
call_random_key(struct call *call, void *buf, size_t *len)
{
    for (int i = 0; i < RANDOM_TRIES; i++) {
        const fl_status status =
            fl_random_key(call->server->store, SPACE_ROOT, buf, FL_KEY_BYTES_MAX, len);

        if (status == FL_NOT_FOUND) {
            break;
        }
        /* It may have expired uncollected, or have been deleted by this transaction. */
        if (status != FL_OK || is_pending(call, fl_bytes(buf, *len))) {
            return status;
        }
    }
    return first_key(call, buf, len);
}
