/* WATCH: which connections watch which keys. A write, a flush or the expiry of a watched key
 * makes the watching connections' next EXEC answer nil. */
#ifndef FL_SERVER_WATCH_H
#define FL_SERVER_WATCH_H

#include <faultline/faultline.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct txn;
struct watch;

/* Zeroed: empty. */
struct watch_table {
    struct watch **buckets;
    size_t buckets_count; /* a power of two, or 0 */
    size_t count;
    uint64_t seed; /* clients choose the keys: without it they choose the bucket as well */
};

void watch_table_deinit(struct watch_table *table); /* every watch has been removed */

/* Watch `key` for `txn`; twice is once. `deadline_ms`: when the key expires, 0 for never or absent.
 * Errors: FL_NO_MEMORY. */
FL_NODISCARD fl_status watch_add(struct watch_table *table, struct txn *txn, struct fl_bytes key,
                                 uint64_t deadline_ms);

/* UNWATCH. Clears txn->watch_dirty as well. */
void watch_remove_all(struct watch_table *table, struct txn *txn);

/* Whether a watched key has expired by now. */
bool watch_expired(const struct txn *txn, uint64_t now_ms);

void watch_touch_slow(struct watch_table *table, struct fl_bytes key);

/* All keys are about to be removed: dirty the watches of those that are there. */
void watch_touch_present(struct watch_table *table,
                         bool (*is_present)(void *context, struct fl_bytes key), void *context);

/* `key` was written. */
static inline void
watch_touch(struct watch_table *table, struct fl_bytes key)
{
    if (table->count > 0) {
        watch_touch_slow(table, key);
    }
}

#endif
