/* Batches: filled by one thread, committed as a whole; and commits that complete later. */
#include "storage/api/data.h"

#include "base/fail.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

fl_status
fl_batch_create(struct fl_store *store, struct fl_batch **out)
{
    struct fl_batch *batch = calloc(1, sizeof(*batch));

    *out = NULL;
    if (batch == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "a batch");
    }
    batch->store = store;
    const fl_status status = batch_data_get(store, &batch->data);

    if (status != FL_OK) {
        free(batch);
        return status;
    }
    *out = batch;
    return FL_OK;
}

static void
claim_set(struct fl_batch *batch)
{
    /* Who has blocks claims none. */
    const size_t bytes = batch->data->run.taken > 0 ? 0 : batch->data->bytes;

    atomic_fetch_add_explicit(&batch->store->claimed, bytes - batch->claimed, memory_order_relaxed);
    batch->claimed = bytes;
}

void
fl_batch_clear(struct fl_batch *batch)
{
    batch_data_clear(batch->data, false);
    claim_set(batch);
}

void
fl_batch_destroy(struct fl_batch *batch)
{
    if (batch != NULL) {
        fl_batch_clear(batch);
        batch_data_unref(batch->data);
        free(batch);
    }
}

/* ---- changing ---- */

static fl_status
condition_check(struct fl_batch *batch, struct fl_key key, uint64_t hash,
                const struct fl_put_options *options)
{
    struct fl_info info;

    if (options == NULL || options->condition == FL_IF_ANY) {
        return FL_OK;
    }
    const fl_status found = batch_info(batch, key, hash, &info);
    /* A damaged record is there; it isn't absent. */
    const bool there = found == FL_OK || found == FL_CORRUPT;

    if (options->condition == FL_IF_ABSENT && there) {
        return FL_EXISTS;
    }
    if (options->condition == FL_IF_PRESENT && !there) {
        return FL_NOT_FOUND;
    }
    if (options->condition == FL_IF_LSN && (there ? info.lsn : 0) != options->lsn) {
        return FL_CONFLICT;
    }
    return FL_OK;
}

static fl_status
room_check(struct fl_batch *batch, const struct log_record *record)
{
    const size_t bytes = log_record_bytes(record);
    fl_status status = engine_writable(batch->store->engine);

    if (status != FL_OK) {
        return status;
    }
    if (batch->data->bytes + bytes > batch->store->batch_bytes_max) {
        return FL_FAIL(FL_TOO_LARGE, "a batch of over %zu bytes", batch->store->batch_bytes_max);
    }
    status = log_run_extend(engine_log(batch->store->engine), &batch->data->run,
                            batch->data->bytes + bytes);
    if (status != FL_OK || record->kind == LOG_KIND_DELETE) {
        return status; /* deletes: from the reserve */
    }
    return engine_room(batch->store->engine, bytes,
                       atomic_load_explicit(&batch->store->claimed, memory_order_relaxed));
}

static fl_status
change_add(struct fl_batch *batch, const struct log_record *record, uint64_t hash,
           uint32_t blob_block)
{
    fl_status status = room_check(batch, record);

    if (status == FL_OK) {
        status = batch_data_add(batch->data, record, hash, blob_block);
    }
    if (status == FL_OK) {
        claim_set(batch);
    }
    return status;
}

static fl_status
record_make(struct fl_key key, struct fl_bytes value, const struct fl_put_options *options,
            struct log_record *record)
{
    memset(record, 0, sizeof(*record));
    record->kind = LOG_KIND_PUT;
    record->space = key.space;
    record->key = fl_bytes(key.ptr, key.len);
    record->value = value;
    if (options != NULL) {
        record->deadline_ms = options->deadline_ms;
        record->type = options->type;
        if (options->type > 15) {
            return FL_FAIL(FL_INVALID, "type %u is over 15", options->type);
        }
    }
    return store_key_check(key);
}

fl_status
fl_batch_put(struct fl_batch *batch, struct fl_key key, struct fl_bytes value,
             const struct fl_put_options *options)
{
    struct log_record record;
    fl_status status = record_make(key, value, options, &record);

    if (status != FL_OK) {
        return status;
    }
    if (value.len > batch->store->inline_bytes_max) {
        struct fl_blob *blob = NULL;

        status = store_blob_write(batch->store, value, &blob);
        if (status == FL_OK) {
            status = fl_batch_put_blob(batch, key, blob, options);
            if (status != FL_OK) {
                fl_blob_discard(blob);
            }
        }
        return status;
    }
    const uint64_t hash = engine_hash(batch->store->engine, key);

    status = condition_check(batch, key, hash, options);
    return status == FL_OK ? change_add(batch, &record, hash, 0) : status;
}

fl_status
fl_batch_put_blob(struct fl_batch *batch, struct fl_key key, struct fl_blob *blob,
                  const struct fl_put_options *options)
{
    uint8_t ref_media[LOG_BLOB_REF_BYTES];
    struct log_blob_ref ref;
    struct log_record record;

    fl_status status = record_make(key, fl_bytes(ref_media, sizeof(ref_media)), options, &record);

    if (status != FL_OK) {
        return status;
    }
    const uint64_t hash = engine_hash(batch->store->engine, key);

    status = condition_check(batch, key, hash, options);
    if (status == FL_OK) {
        status = log_blob_finish(blob->log, &ref);
    }
    if (status == FL_OK) {
        record.kind = LOG_KIND_PUT_BLOB;
        log_blob_ref_encode(&ref, ref_media);
        status = change_add(batch, &record, hash, ref.block);
    }
    if (status != FL_OK) {
        return status;
    }
    batch->data->sync_all = true;
    log_blob_close(blob->log); /* its reference is the change's now */
    free(blob);
    return FL_OK;
}

fl_status
fl_batch_delete(struct fl_batch *batch, struct fl_key key)
{
    struct log_record record;
    struct fl_info info;

    fl_status status = record_make(key, fl_bytes("", 0), NULL, &record);

    if (status != FL_OK) {
        return status;
    }
    const uint64_t hash = engine_hash(batch->store->engine, key);

    status = batch_info(batch, key, hash, &info);
    if (status != FL_OK && status != FL_CORRUPT) {
        return status;
    }
    record.kind = LOG_KIND_DELETE;
    return change_add(batch, &record, hash, 0);
}

/* A value that lies in the log is written anew. */
static fl_status
put_copy(struct fl_batch *batch, struct fl_key to, struct fl_key from,
         const struct fl_put_options *options)
{
    const struct engine *engine = batch->store->engine;
    const size_t mark = fl_batch_mark(batch);
    struct fl_view view;
    fl_status status = fl_batch_get_view(batch, from, &view);

    if (status != FL_OK) {
        return status;
    }
    engine_shield_begin(engine);
    status = fl_batch_put(batch, to, view.value, options);
    if (status == FL_OK && engine_is_bad(engine, view.value)) { /* since it was checked */
        fl_batch_rollback(batch, mark);
        status = FL_FAIL(FL_IO, "the value can't be read (SIGBUS)");
    }
    engine_shield_end(engine);
    fl_view_release(&view);
    return status;
}

fl_status
fl_batch_put_from(struct fl_batch *batch, struct fl_key to, struct fl_key from,
                  const struct fl_put_options *options)
{
    struct fl_put_options keep = {0};
    struct log_blob_ref ref;
    struct log_record record;
    struct fl_info info;

    fl_status status = store_key_check(to);

    if (status == FL_OK) {
        status = fl_batch_get_info(batch, from, &info);
    }
    if (status != FL_OK) {
        return status;
    }
    keep.deadline_ms = info.deadline_ms;
    keep.type = info.type;
    options = options != NULL ? options : &keep;
    if (!batch_blob_hold(batch, from, engine_hash(batch->store->engine, from), &ref)) {
        return put_copy(batch, to, from, options);
    }
    const uint64_t hash = engine_hash(batch->store->engine, to);
    uint8_t media[LOG_BLOB_REF_BYTES];

    log_blob_ref_encode(&ref, media);
    status = record_make(to, fl_bytes(media, sizeof(media)), options, &record);
    if (status == FL_OK) {
        status = condition_check(batch, to, hash, options);
    }
    if (status == FL_OK) {
        record.kind = LOG_KIND_PUT_BLOB;
        status = change_add(batch, &record, hash, ref.block);
    }
    if (status != FL_OK) {
        engine_blob_release(batch->store->engine, ref.block);
        return status;
    }
    batch->data->sync_all = true; /* the blob may still be on its way, in a batch before */
    return FL_OK;
}

fl_status
fl_batch_require(struct fl_batch *batch, struct fl_key key, uint64_t lsn)
{
    const fl_status status = store_key_check(key);

    return status == FL_OK
               ? batch_data_require(batch->data, key, engine_hash(batch->store->engine, key), lsn)
               : status;
}

size_t
fl_batch_count(const struct fl_batch *batch)
{
    return batch->data->count;
}

size_t
fl_batch_bytes(const struct fl_batch *batch)
{
    return batch->data->bytes;
}

size_t
fl_batch_mark(const struct fl_batch *batch)
{
    return batch->data->count;
}

void
fl_batch_rollback(struct fl_batch *batch, size_t mark)
{
    batch_data_rollback(batch->data, (uint32_t)mark);
    claim_set(batch);
}

/* ---- committing ---- */

static void
request_fill(struct batch_data *data)
{
    struct engine_request *request = &data->request;

    memset(request, 0, sizeof(*request));
    request->changes = data->changes;
    request->count = data->count;
    request->requires = data->requires;
    request->requires_count = data->requires_count;
    request->condition = data->condition;
    request->condition_lsn = data->condition_lsn;
    request->sync_all = data->sync_all;
    request->owner = data;
    request->run = &data->run;
    engine_request_measure(request);
    request->claim = HEAP_RESERVE; /* it was promised room, change by change */
}

static bool
nothing_to_do(const struct batch_data *data)
{
    return data->count == 0 && data->requires_count == 0;
}

fl_status
fl_batch_commit(struct fl_batch *batch)
{
    struct batch_data *data = batch->data;

    if (nothing_to_do(data)) {
        return FL_OK;
    }
    request_fill(data);
    const fl_status status = store_commit(batch->store, &data->request);

    batch_data_clear(data, status == FL_OK);
    claim_set(batch);
    return status;
}

/* In the committing thread: what was submitted is durable, or lost for good. */
static void
submitted_done(struct engine_request *request)
{
    struct batch_data *data = request->owner;
    struct fl_store *store = data->store;
    const fl_status status = request->status;
    const uint64_t one = 1;

    pthread_mutex_lock(&store->lock);
    for (struct batch_data **at = &store->inflight; *at != NULL; at = &(*at)->next) {
        if (*at == data) {
            *at = data->next;
            atomic_fetch_sub_explicit(&store->inflight_count, 1, memory_order_release);
            break;
        }
    }
    if (status == FL_OK && atomic_load(&store->commit_status) == FL_OK) {
        FL_ASSERT(data->ticket == atomic_load(&store->ticket_durable) + 1);
        atomic_store_explicit(&store->ticket_durable, data->ticket, memory_order_release);
    } else {
        /* Others may have acted on it: whatever the cause, nothing after it counts. */
        atomic_store(&store->commit_status, FL_IO);
    }
    pthread_cond_broadcast(&store->durable_cond);
    pthread_mutex_unlock(&store->lock);
    while (write(store->event_fd, &one, sizeof(one)) < 0 && errno == EINTR) {
    }
    batch_data_settle(data, status == FL_OK);
    batch_data_unref(data);
}

fl_status
fl_batch_submit(struct fl_batch *batch, uint64_t *ticket)
{
    struct fl_store *store = batch->store;
    struct batch_data *data = batch->data;
    struct batch_data *fresh = NULL;

    *ticket = 0;
    if (nothing_to_do(data)) {
        return FL_OK;
    }
    if (!engine_is_async(store->engine) || data->requires_count > 0) {
        return fl_batch_commit(batch);
    }
    fl_status status = atomic_load(&store->commit_status);

    if (status != FL_OK) {
        fl_batch_clear(batch);
        return FL_FAIL(status, "an earlier commit failed: nothing more is written");
    }
    /* Had while it was filled, but if others were faster when it had to move. */
    status = log_run_extend(engine_log(store->engine), &data->run, data->bytes);
    if (status != FL_OK) {
        fl_batch_clear(batch);
        return status;
    }
    status = batch_data_get(store, &fresh);
    if (status != FL_OK) {
        return fl_batch_commit(batch);
    }
    request_fill(data);
    data->request.complete = submitted_done;
    /* Tickets are given and requests queued in one order, which is that of the commits. */
    pthread_mutex_lock(&store->lock);
    data->ticket = ++store->ticket_last;
    data->claimed = batch->claimed;
    batch->claimed = 0;
    data->next = store->inflight;
    store->inflight = data;
    atomic_fetch_add_explicit(&store->inflight_count, 1, memory_order_release);
    *ticket = data->ticket;
    batch->data = fresh;
    engine_submit(store->engine, &data->request);
    pthread_mutex_unlock(&store->lock);
    return FL_OK;
}

uint64_t
fl_durable_ticket(struct fl_store *store)
{
    return atomic_load_explicit(&store->ticket_durable, memory_order_acquire);
}

fl_status
fl_wait(struct fl_store *store, uint64_t ticket)
{
    fl_status status = FL_OK;

    pthread_mutex_lock(&store->lock);
    while (atomic_load(&store->ticket_durable) < ticket &&
           atomic_load(&store->commit_status) == FL_OK) {
        pthread_cond_wait(&store->durable_cond, &store->lock);
    }
    if (atomic_load(&store->ticket_durable) < ticket) {
        status = FL_FAIL(FL_IO, "the commit failed");
    }
    pthread_mutex_unlock(&store->lock);
    return status;
}

int
fl_event_fd(struct fl_store *store)
{
    return store->event_fd;
}

fl_status
fl_commit_status(struct fl_store *store)
{
    return atomic_load(&store->commit_status);
}
