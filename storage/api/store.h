/* Shared by the files of storage/api/ only. */
#ifndef FL_STORAGE_API_STORE_H
#define FL_STORAGE_API_STORE_H

#include "storage/engine/engine.h"

#include <faultline/batch.h>

#include <pthread.h>

struct batch_data;

struct fl_store {
    struct engine *engine;
    uint64_t inline_bytes_max;
    size_t batch_bytes_max;  /* FL_BATCH_BYTES_MAX, or less where a frame of that doesn't fit */
    _Atomic(size_t) claimed; /* bytes of records in batches that were not committed yet */
    int event_fd;
    bool background; /* the store's threads do what fl_maintain() would */

    pthread_mutex_t lock; /* what follows */
    pthread_cond_t durable_cond;
    struct batch_data *inflight; /* submitted, not durable; newest first */
    struct batch_data *pool;
    unsigned pool_count;
    uint64_t ticket_last;
    _Atomic(uint64_t) ticket_durable;
    _Atomic(unsigned) inflight_count;
    _Atomic(fl_status) commit_status;
};

struct fl_snapshot {
    struct fl_store *store;
    uint64_t lsn;
    uint64_t now_ms;
};

struct fl_blob {
    struct fl_store *store;
    struct log_blob *log;
};

/* Open and map the file; the address space is what its geometry asks for, else the options. */
fl_status store_map_open(const char *path, const struct fl_options *options,
                         struct nosync_map **out);
/* fl_open() from a map on: a store over it. Takes over `map` (closed by fl_close() or on failure). For tests that bring
 * a map of their own. Errors: those of engine_open(). */
fl_status store_open_map(struct nosync_map *map, const struct fl_options *options,
                         struct fl_store **out);

/* FL_INVALID, FL_TOO_LARGE. */
fl_status store_key_check(struct fl_key key);

/* A durable value, or a part of it, in place; *view is filled on FL_OK only. Inside an epoch section. */
fl_status store_view_durable(struct fl_store *store, struct fl_key key, uint64_t hash,
                             uint64_t at_lsn, uint64_t now_ms, struct engine_part part,
                             struct fl_view *view);

/* What a record says of its value, without reading that; the ticket stays as it is. FL_CORRUPT. */
fl_status store_info_of(const struct log_record *record, struct fl_info *info);
/* The durable one; *info is filled on FL_OK only. */
fl_status store_info_durable(struct fl_store *store, struct fl_key key, uint64_t hash,
                             struct fl_info *info);

/* Retry a commit that found no room once the cleaner has made some. */
fl_status store_commit(struct fl_store *store, struct engine_request *request);

/* A guard is a tagged pointer: a pinned segment, or a batch that holds the bytes. */
void *store_guard_segment(struct log_segment *segment);
void *store_guard_data(struct batch_data *data);

/* data.c: what a batch holds, and gives away when it is submitted */
void batch_data_unref(struct batch_data *data);
void store_pool_drain(struct fl_store *store);

/* A whole value into a blob of its own. */
fl_status store_blob_write(struct fl_store *store, struct fl_bytes value, struct fl_blob **out);

#endif
