/* Operations on a real store, told to a trace and to a model of what it should hold.
 *
 * Time and randomness come from here, so that a run can be repeated bit by bit.
 */
#ifndef FL_TESTS_CRASH_DRIVER_H
#define FL_TESTS_CRASH_DRIVER_H

#include "tests/crash/trace.h"

#include <faultline/batch.h>

enum { DRIVER_STEPS_MAX = 512 };
enum { DRIVER_LEASE_MS = 1000 }; /* the clock's lease, however often a crash leaves one behind */

struct driver {
    struct fl_options options;
    uint64_t size_bytes_raised;
    struct fl_store *store; /* NULL: closed, or it could not be opened */
    struct nosync_map *(*open_map)(void *context);
    void *open_context;
    struct mempool *mempool;
    struct trace *trace;            /* NULL: not told */
    const struct contents *now;     /* what is there */
    const struct contents *maybe;   /* after FL_IO: or this */
    const struct trace_mark *among; /* while it opens: what is there is one of these; NULL: `now` */
    uint64_t wall_ms;
    uint64_t seen_ms;
    uint64_t lsn_max, lsn_now; /* the highest LSN that was ever read; of what is there */
    unsigned op;
    uint32_t statuses; /* what operations have returned: a bit each */
    fl_status last;    /* of the last operation */
    bool
        may_refuse; /* an open that fails is not wrong; operations on the store that is not there are left out */
    bool wrong; /* the running store showed something that it should not; `why` */
    char why[256];
    /* How far it got, over all opens. */
    unsigned no_space;
    uint64_t copied_bytes, freed_blocks, segment_changes, expired;
    uint64_t switches;        /* between threads */
    const uint64_t *left_out; /* operations not to be made, a bit each; NULL: none */
    unsigned steps;           /* operations asked for, made or not */
};

struct driver_geometry {
    uint32_t block_bytes;
    uint32_t blocks_max;
    uint32_t blocks_ahead;
    uint32_t blocks_first; /* the size until driver_raise(); 0: blocks_max from the start */
};

void driver_init(struct driver *driver, const struct driver_geometry *geometry,
                 struct mempool *mempool, struct trace *trace);

/* The options that a store is opened with; the clock is driver->wall_ms. */
void driver_options(struct driver *driver, const struct driver_geometry *geometry);

fl_status driver_open(struct driver *driver);
/* From the next open on, ask for blocks_max. */
void driver_raise(struct driver *driver);
void driver_close(struct driver *driver);

/* A value of `len` bytes that tells which operation wrote it. */
const uint8_t *driver_value(struct mempool *mempool, unsigned op, const char *key, uint32_t len);

void driver_put(struct driver *driver, uint8_t space, const char *key, uint32_t len);
void driver_put_deadline(struct driver *driver, uint8_t space, const char *key, uint32_t len,
                         uint64_t deadline_ms);
void driver_delete(struct driver *driver, uint8_t space, const char *key);
void driver_delete_spaces(struct driver *driver, uint8_t first, uint8_t last);
/* Up to `count` steps of background work, until there is none; all of them if count is 0. */
void driver_maintain(struct driver *driver, unsigned count);
void driver_clock(struct driver *driver, uint64_t wall_ms);

/* The same as a server does it: "?key" reads through the batch, which must show what it would come to; it is submitted,
 * waited for, and then answered. */
void driver_tick(struct driver *driver, uint32_t len, const char *const *commands, unsigned count);

/* A batch: "+key" puts `len` bytes, "-key" deletes, "a>b" renames. Space 0. */
void driver_batch(struct driver *driver, uint32_t len, const char *const *changes, unsigned count);

#endif
