/* Cursors: keys in order, forwards and backwards. */
#ifndef FAULTLINE_CURSOR_H
#define FAULTLINE_CURSOR_H

#include <faultline/faultline.h>

#ifdef __cplusplus
extern "C" {
#endif

struct fl_cursor;

struct fl_cursor_options {
    uint8_t space;
    bool live; /* false: one consistent state, that of the open (or of `snapshot`).
                                     true: pins nothing; a key present throughout is met exactly once */
    struct fl_snapshot *snapshot; /* NULL: the present state */
    struct fl_bytes prefix;       /* only keys that start so; empty: all */
};

/* Owner: the caller; fl_cursor_close() before fl_close(). options may be NULL: space 0, consistent.
 * A new cursor stands on no key: call first, last or a seek. Sees durable state only. */
FL_API FL_NODISCARD fl_status fl_cursor_open(struct fl_store *store,
                                             const struct fl_cursor_options *options,
                                             struct fl_cursor **out);
FL_API void fl_cursor_close(struct fl_cursor *cursor);

/* Each moves to a key: FL_OK, or FL_END when there is none (the cursor stands on no key then), or
 * FL_CORRUPT, FL_NO_MEMORY. Keys are in order of their bytes (memcmp, shorter first). */
FL_API FL_NODISCARD fl_status fl_cursor_first(struct fl_cursor *cursor);
FL_API FL_NODISCARD fl_status fl_cursor_last(struct fl_cursor *cursor);
/* The first key >= `key`, or (before) the last key <= `key`. */
FL_API FL_NODISCARD fl_status fl_cursor_seek(struct fl_cursor *cursor, struct fl_bytes key);
FL_API FL_NODISCARD fl_status fl_cursor_seek_before(struct fl_cursor *cursor, struct fl_bytes key);
FL_API FL_NODISCARD fl_status fl_cursor_next(struct fl_cursor *cursor);
FL_API FL_NODISCARD fl_status fl_cursor_prev(struct fl_cursor *cursor);

/* FL_CORRUPT, once, if records were passed over that are damaged, and moving past the end has not told it: for who
 * stops before. */
FL_API FL_NODISCARD fl_status fl_cursor_damage(struct fl_cursor *cursor);

/* The present key; valid until the cursor moves or is closed. {NULL, 0} on no key. */
FL_API struct fl_bytes fl_cursor_key(const struct fl_cursor *cursor);

/* The present key's value in place; valid until the cursor moves or is closed. Errors: FL_END (on no key),
 * FL_NOT_FOUND (live cursor: deleted since), FL_CORRUPT. */
FL_API FL_NODISCARD fl_status fl_cursor_view(struct fl_cursor *cursor, struct fl_view *view);

#ifdef __cplusplus
}
#endif
#endif
