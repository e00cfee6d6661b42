/* Reading through a batch: its own changes, then what was submitted and is not durable, then the store. */
#include "storage/api/data.h"

#include "base/fail.h"

#include <string.h>

static bool
shows_nothing(struct fl_store *store, const struct engine_change *change)
{
    const struct log_record *record = &change->record;

    return record->kind == LOG_KIND_DELETE ||
           (record->deadline_ms != 0 && record->deadline_ms <= engine_now_ms(store->engine));
}

/* What a pending change shows. `holder` keeps the bytes alive for the view (NULL: the batch itself does). */
static fl_status
view_pending(struct fl_store *store, const struct engine_change *change, struct batch_data *holder,
             struct engine_part part, struct fl_view *view)
{
    const struct log_record *record = &change->record;
    struct log_blob_ref ref;

    if (shows_nothing(store, change)) {
        return FL_NOT_FOUND;
    }
    view->deadline_ms = record->deadline_ms;
    view->type = record->type;
    if (record->kind == LOG_KIND_PUT_BLOB) {
        if (!log_blob_ref_decode(record->value, &ref)) {
            return FL_FAIL(FL_CORRUPT, "the reference to a big value does not decode");
        }
        const fl_status status =
            log_blob_view(engine_log(store->engine), &ref, false, &view->value);

        if (status == FL_OK) {
            view->value = engine_part_cut(view->value, part);
            view->guard = store_guard_segment(log_blob_segment(engine_log(store->engine), &ref));
        }
        return status;
    }
    view->value = engine_part_cut(record->value, part);
    if (holder != NULL) {
        atomic_fetch_add(&holder->refs, 1);
        view->guard = store_guard_data(holder);
    }
    return FL_OK;
}

static fl_status
info_pending(struct fl_store *store, const struct engine_change *change, struct fl_info *info)
{
    if (shows_nothing(store, change)) {
        return FL_NOT_FOUND;
    }
    const fl_status status = store_info_of(&change->record, info);

    info->lsn = 0; /* it has none yet */
    return status;
}

/* The key's newest change among what was submitted and is not durable, NULL if there is none: then store->lock is
 * not held, otherwise it is, and has to be until the change has been looked at. */
static const struct engine_change *
inflight_lock(struct fl_store *store, struct fl_key key, uint64_t hash, struct batch_data **holder)
{
    if (atomic_load_explicit(&store->inflight_count, memory_order_acquire) == 0) {
        return NULL;
    }
    pthread_mutex_lock(&store->lock);
    for (*holder = store->inflight; *holder != NULL; *holder = (*holder)->next) {
        const struct engine_change *change = batch_data_find(*holder, key, hash);

        if (change != NULL) {
            return change;
        }
    }
    pthread_mutex_unlock(&store->lock);
    return NULL;
}

static fl_status
batch_view(struct fl_batch *batch, struct fl_key key, uint64_t hash, struct engine_part part,
           struct fl_view *view)
{
    struct fl_store *store = batch->store;
    const struct engine_change *change = batch_data_find(batch->data, key, hash);
    struct batch_data *holder = NULL;
    fl_status status;

    memset(view, 0, sizeof(*view));
    if (change != NULL) {
        view->ticket = UINT64_MAX;
        return view_pending(store, change, NULL, part, view);
    }
    change = inflight_lock(store, key, hash, &holder);
    if (change != NULL) {
        view->ticket = holder->ticket;
        status = view_pending(store, change, holder, part, view);
        pthread_mutex_unlock(&store->lock);
        return status;
    }
    const uint32_t token = engine_enter(store->engine);

    status = store_view_durable(store, key, hash, INDEX_LSN_LATEST, ENGINE_NOW, part, view);
    engine_exit(store->engine, token);
    return status;
}

fl_status
batch_info(struct fl_batch *batch, struct fl_key key, uint64_t hash, struct fl_info *info)
{
    struct fl_store *store = batch->store;
    const struct engine_change *change = batch_data_find(batch->data, key, hash);
    struct batch_data *holder = NULL;
    fl_status status;

    memset(info, 0, sizeof(*info));
    if (change != NULL) {
        info->ticket = UINT64_MAX;
        return info_pending(store, change, info);
    }
    change = inflight_lock(store, key, hash, &holder);
    if (change != NULL) {
        info->ticket = holder->ticket;
        status = info_pending(store, change, info);
        pthread_mutex_unlock(&store->lock);
        return status;
    }
    return store_info_durable(store, key, hash, info);
}

static fl_status
batch_get(struct fl_batch *batch, struct fl_key key, struct engine_part part, struct fl_view *view)
{
    memset(view, 0, sizeof(*view));
    const fl_status status = store_key_check(key);

    return status == FL_OK
               ? batch_view(batch, key, engine_hash(batch->store->engine, key), part, view)
               : status;
}

fl_status
fl_batch_get_view(struct fl_batch *batch, struct fl_key key, struct fl_view *view)
{
    return batch_get(batch, key, ENGINE_WHOLE, view);
}

fl_status
fl_batch_get_range(struct fl_batch *batch, struct fl_key key, size_t off, size_t len,
                   struct fl_view *view)
{
    return batch_get(batch, key, (struct engine_part){off, len}, view);
}

fl_status
fl_batch_get_info(struct fl_batch *batch, struct fl_key key, struct fl_info *info)
{
    memset(info, 0, sizeof(*info));
    const fl_status status = store_key_check(key);

    return status == FL_OK ? batch_info(batch, key, engine_hash(batch->store->engine, key), info)
                           : status;
}

static bool
record_blob_hold(struct fl_store *store, const struct log_record *record, struct log_blob_ref *ref)
{
    return record->kind == LOG_KIND_PUT_BLOB && log_blob_ref_decode(record->value, ref) &&
           engine_blob_hold(store->engine, ref);
}

bool
batch_blob_hold(struct fl_batch *batch, struct fl_key key, uint64_t hash, struct log_blob_ref *ref)
{
    struct fl_store *store = batch->store;
    const struct engine_change *change = batch_data_find(batch->data, key, hash);
    struct batch_data *holder = NULL;
    struct log_record record;
    index_loc loc = 0;
    bool held;

    if (change != NULL) {
        return record_blob_hold(store, &change->record, ref);
    }
    change = inflight_lock(store, key, hash, &holder);
    if (change != NULL) {
        held = record_blob_hold(store, &change->record, ref);
        pthread_mutex_unlock(&store->lock);
        return held;
    }
    const uint32_t token = engine_enter(store->engine);

    held = index_find(engine_index(store->engine), hash, key, INDEX_LSN_LATEST, &loc) &&
           engine_record_at(store->engine, loc, &record) && record_blob_hold(store, &record, ref);
    engine_exit(store->engine, token);
    return held;
}
