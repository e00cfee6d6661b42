/* The keys that the EXEC being run has changed so far. A cursor sees durable state only: what
 * reads by cursor inside EXEC looks at these through the batch (key_iter.c). Kept only for an
 * EXEC that has such a command. */
#ifndef FL_SERVER_EXEC_KEYS_H
#define FL_SERVER_EXEC_KEYS_H

#include <faultline/faultline.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zeroed: empty and not tracking. */
struct exec_keys {
    bool tracks;
    bool flushed; /* every key that is durable was deleted; the ones here were written after it */
    bool sorted;
    size_t count;
    size_t cap;
    struct fl_bytes *keys; /* each a copy of its own */
};

void exec_keys_begin(struct exec_keys *keys);
void exec_keys_end(struct exec_keys *keys); /* gives the memory back */

FL_NODISCARD fl_status exec_keys_add(struct exec_keys *keys, struct fl_bytes key);
void exec_keys_flushed(struct exec_keys *keys);

/* In order, without repetition. */
void exec_keys_sort(struct exec_keys *keys);

/* The place of the first key >= `key`; count if there is none. They must be sorted. */
size_t exec_keys_seek(const struct exec_keys *keys, struct fl_bytes key);
bool exec_keys_has(const struct exec_keys *keys, struct fl_bytes key);

/* The order of the store's keys: bytes, shorter first. */
int key_compare(struct fl_bytes a, struct fl_bytes b);

#endif
