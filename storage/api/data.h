/* What a batch holds: changes in order, the bytes they point to, and where each key's newest change is.
 *
 * A submitted batch gives its data away; other batches read it until it is durable. Immutable from then on.
 * Threads: one at a time while it is filled; any number once submitted. */
#ifndef FL_STORAGE_API_DATA_H
#define FL_STORAGE_API_DATA_H

#include "storage/api/store.h"

struct data_chunk {
    struct data_chunk *next;
    size_t cap, used;
    uint8_t bytes[];
};

struct batch_data {
    struct fl_store *store;
    struct batch_data *next; /* in the store's list in flight, or pool */
    _Atomic(uint32_t) refs;
    uint64_t ticket;
    struct data_chunk *chunks; /* the one being filled first */
    struct engine_change *changes;
    uint32_t *older; /* per change: the one it superseded + 1, or 0 */
    uint32_t count, cap;
    uint32_t *slots; /* open addressing: change + 1; 0 free */
    uint32_t slots_cap;
    uint32_t slots_used;
    struct engine_require *requires;
    uint32_t requires_count, requires_cap;
    enum fl_condition condition; /* of changes[0], judged by who commits it */
    uint64_t condition_lsn;
    uint32_t deletes; /* live changes that are deletes */
    size_t bytes;     /* encoded, of live changes */
    size_t claimed;   /* submitted: its part of store->claimed */
    bool sync_all;
    struct log_run run; /* blocks for a frame of `bytes`, if that takes more than one */
    struct engine_request request;
};

struct fl_batch {
    struct fl_store *store;
    struct batch_data *data;
    size_t claimed; /* of store->claimed */
};

/* batch_read.c: what the batch shows. */
/* As fl_batch_get_info(), of a key that was checked and hashed. */
fl_status batch_info(struct fl_batch *batch, struct fl_key key, uint64_t hash,
                     struct fl_info *info);
/* The reference behind a key whose value is a blob, with one more hold on it; false: it isn't one (any more). */
bool batch_blob_hold(struct fl_batch *batch, struct fl_key key, uint64_t hash,
                     struct log_blob_ref *ref);

/* From the pool or new. refs is 1. */
fl_status batch_data_get(struct fl_store *store, struct batch_data **out);
/* It was committed (`kept`: the index has the references to blobs) or given up: release references and claim. What
 * views point to stays until the last of them is released. */
void batch_data_settle(struct batch_data *data, bool kept);
/* The same, and empty it. */
void batch_data_clear(struct batch_data *data, bool kept);

/* The newest change of the key, NULL if there is none. */
struct engine_change *batch_data_find(const struct batch_data *data, struct fl_key key,
                                      uint64_t hash);

/* Add a change; key and value are copied, what it supersedes is skipped. FL_NO_MEMORY: as before. */
fl_status batch_data_add(struct batch_data *data, const struct log_record *record, uint64_t hash,
                         uint32_t blob_block);
fl_status batch_data_require(struct batch_data *data, struct fl_key key, uint64_t hash,
                             uint64_t lsn);
void batch_data_rollback(struct batch_data *data, uint32_t count);

#endif
