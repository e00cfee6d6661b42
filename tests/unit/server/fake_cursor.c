#include "tests/unit/server/fake_internal.h"

#include <faultline/cursor.h>

#include <string.h>

fl_status
fl_cursor_open(struct fl_store *store, const struct fl_cursor_options *options,
               struct fl_cursor **out)
{
    struct fl_cursor *cursor = fake_alloc(store, sizeof(*cursor));

    *cursor =
        (struct fl_cursor){.store = store, .space = options->space, .prefix = options->prefix};
    *out = cursor;
    return FL_OK;
}

void
fl_cursor_close(struct fl_cursor *cursor)
{
    cursor->at = NULL;
}

fl_status
fl_cursor_damage(struct fl_cursor *cursor)
{
    (void)cursor;
    return FL_OK;
}

static bool
cursor_counts(const struct fl_cursor *cursor, const struct entry *entry)
{
    return entry->space == cursor->space && fake_version_lives(cursor->store, &entry->durable) &&
           entry->key.len >= cursor->prefix.len &&
           (cursor->prefix.len == 0 ||
            memcmp(entry->key.ptr, cursor->prefix.ptr, cursor->prefix.len) == 0);
}

/* The first that counts from place `at` on; backwards a place past SIZE_MAX ends it. */
static fl_status
cursor_move(struct fl_cursor *cursor, size_t at, bool forward)
{
    cursor->at = NULL;
    while (at < cursor->store->entries_count) {
        if (cursor_counts(cursor, cursor->store->entries[at])) {
            cursor->at = cursor->store->entries[at];
            return FL_OK;
        }
        at += forward ? 1 : SIZE_MAX;
    }
    return FL_END;
}

fl_status
fl_cursor_first(struct fl_cursor *cursor)
{
    return cursor_move(cursor, 0, true);
}

fl_status
fl_cursor_last(struct fl_cursor *cursor)
{
    return cursor_move(cursor, cursor->store->entries_count - 1, false);
}

fl_status
fl_cursor_seek(struct fl_cursor *cursor, struct fl_bytes key)
{
    return cursor_move(cursor, fake_entry_seek(cursor->store, cursor->space, key), true);
}

fl_status
fl_cursor_seek_before(struct fl_cursor *cursor, struct fl_bytes key)
{
    size_t at = fake_entry_seek(cursor->store, cursor->space, key);

    if (at == cursor->store->entries_count ||
        fake_entry_compare(cursor->store->entries[at], cursor->space, key) != 0) {
        at--;
    }
    return cursor_move(cursor, at, false);
}

fl_status
fl_cursor_next(struct fl_cursor *cursor)
{
    return cursor_move(cursor, fake_entry_seek(cursor->store, cursor->space, cursor->at->key) + 1,
                       true);
}

fl_status
fl_cursor_prev(struct fl_cursor *cursor)
{
    return cursor_move(cursor, fake_entry_seek(cursor->store, cursor->space, cursor->at->key) - 1,
                       false);
}

struct fl_bytes
fl_cursor_key(const struct fl_cursor *cursor)
{
    return cursor->at != NULL ? cursor->at->key : fl_bytes(NULL, 0);
}

fl_status
fl_cursor_view(struct fl_cursor *cursor, struct fl_view *view)
{
    const fl_status status = fake_version_view(cursor->store, &cursor->at->durable, view);

    if (status == FL_OK) {
        cursor->store->views--; /* It is the cursor's own. */
        view->guard = NULL;
    }
    return status;
}
