/* The server's keys in order: a cursor over the durable state, and inside EXEC over what the
 * transaction wrote before as well. For commands that are HANDLER_BARRIER. */
#ifndef FL_SERVER_KEY_ITER_H
#define FL_SERVER_KEY_ITER_H

#include "server/command.h"

#include <faultline/cursor.h>

struct key_iter;

/* Owner: the caller, until key_iter_close(); it stands on no key. Only keys that begin with
 * `prefix` (empty: all). Errors: as fl_cursor_open(). Don't write while one is open. */
FL_NODISCARD fl_status key_iter_open(struct call *call, struct fl_bytes prefix,
                                     struct key_iter **out);
void key_iter_close(struct key_iter *iter);

/* As in cursor.h: FL_OK or FL_END, FL_CORRUPT, FL_NO_MEMORY. */
FL_NODISCARD fl_status key_iter_first(struct key_iter *iter);
FL_NODISCARD fl_status key_iter_last(struct key_iter *iter);
FL_NODISCARD fl_status key_iter_seek(struct key_iter *iter, struct fl_bytes key);        /* >= */
FL_NODISCARD fl_status key_iter_seek_before(struct key_iter *iter, struct fl_bytes key); /* <= */
FL_NODISCARD fl_status key_iter_next(struct key_iter *iter);
FL_NODISCARD fl_status key_iter_prev(struct key_iter *iter);

/* Valid until the iterator moves. */
struct fl_bytes key_iter_key(const struct key_iter *iter);

/* The value; copy or reply_bulk() it before the iterator moves. FL_NOT_FOUND: expired since. The
 * view is the iterator's, not the caller's to release. */
FL_NODISCARD fl_status key_iter_view(struct key_iter *iter, struct fl_view *view);

/* DBSIZE, and RANDOMKEY, with the same eyes. `buf` holds FL_KEY_BYTES_MAX bytes. FL_NOT_FOUND:
 * no keys. */
uint64_t call_key_count(struct call *call);
FL_NODISCARD fl_status call_random_key(struct call *call, void *buf, size_t *len);

#endif
