/* SCAN's cursors. A position in an ordered key space is a key, the protocol wants a number: a
 * bounded table holds number -> the key to go on from. A number that was evicted or never given
 * out is told apart from 0. */
#ifndef FL_SERVER_SCAN_CURSOR_H
#define FL_SERVER_SCAN_CURSOR_H

#include <faultline/faultline.h>

#include <stddef.h>
#include <stdint.h>

enum { SCAN_CURSORS_DEFAULT = 4096 };

struct scan_cursors;

FL_NODISCARD fl_status scan_cursors_create(size_t cursors_max, struct scan_cursors **out);
void scan_cursors_destroy(struct scan_cursors *cursors);

/* Remember `next`, the first key not yet returned (copied, never empty). *id is never 0. When the table is full one is
 * evicted for it: the oldest of those that were asked for already, so that a slow iteration outlasts many fast ones; if
 * there is none, the oldest of all. Errors: FL_NO_MEMORY. */
FL_NODISCARD fl_status scan_cursors_put(struct scan_cursors *cursors, struct fl_bytes next,
                                        uint64_t *id);

/* The key of `id`; valid until the next put. It stays for now: a client may ask twice for the same page.
 * FL_NOT_FOUND: unknown or evicted; answer an error, never an empty page. */
FL_NODISCARD fl_status scan_cursors_get(struct scan_cursors *cursors, uint64_t id,
                                        struct fl_bytes *next);

#endif
