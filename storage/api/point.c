/* One key at a time. */
#include "storage/api/data.h"
#include "storage/api/store.h"

#include "base/fail.h"

#include <string.h>

fl_status
store_key_check(struct fl_key key)
{
    if (key.len == 0) {
        return FL_FAIL(FL_INVALID, "an empty key");
    }
    if (key.len > FL_KEY_BYTES_MAX) {
        return FL_FAIL(FL_TOO_LARGE, "a key of %u bytes; %u are allowed", key.len,
                       FL_KEY_BYTES_MAX);
    }
    return FL_OK;
}

fl_status
store_commit(struct fl_store *store, struct engine_request *request)
{
    fl_status status = engine_commit(store->engine, request);

    /* The head's last segment and the ready blocks are used up: wait for the cleaner, once. */
    if (status == FL_NO_SPACE) {
        const uint32_t block_bytes =
            heap_geometry(log_heap(engine_log(store->engine)))->block_bytes;

        if (engine_room(store->engine, request->bytes + block_bytes, 0) == FL_OK) {
            request->claim = HEAP_RESERVE; /* it was promised room, and the cleaner may be faster */
        }
        status = engine_commit(store->engine, request);
    }
    return status;
}

static fl_status
put_blob(struct fl_store *store, struct fl_key key, struct fl_bytes value,
         const struct fl_put_options *options)
{
    struct fl_batch *batch = NULL;
    struct fl_blob *blob = NULL;

    fl_status status = fl_batch_create(store, &batch);

    if (status == FL_OK) {
        status = store_blob_write(store, value, &blob);
    }
    if (status == FL_OK) {
        status = fl_batch_put_blob(batch, key, blob, options);
        if (status == FL_OK) {
            blob = NULL;
            /* That was judged now; another writer may come before the commit. */
            batch->data->condition = options->condition;
            batch->data->condition_lsn = options->lsn;
            status = fl_batch_commit(batch);
        }
    }
    fl_blob_discard(blob);
    fl_batch_destroy(batch);
    return status;
}

fl_status
fl_put(struct fl_store *store, struct fl_key key, struct fl_bytes value,
       const struct fl_put_options *options)
{
    static const struct fl_put_options none;
    struct engine_change change;
    struct engine_request request;

    fl_status status = store_key_check(key);

    if (status != FL_OK) {
        return status;
    }
    options = options != NULL ? options : &none;
    if (value.len > store->inline_bytes_max) {
        return put_blob(store, key, value, options);
    }
    if (options->type > 15) {
        return FL_FAIL(FL_INVALID, "type %u is over 15", options->type);
    }
    memset(&change, 0, sizeof(change));
    change.record.kind = LOG_KIND_PUT;
    change.record.type = options->type;
    change.record.space = key.space;
    change.record.key = fl_bytes(key.ptr, key.len);
    change.record.value = value;
    change.record.deadline_ms = options->deadline_ms;
    change.hash = engine_hash(store->engine, key);
    memset(&request, 0, sizeof(request));
    request.changes = &change;
    request.count = 1;
    request.condition = options->condition;
    request.condition_lsn = options->lsn;
    engine_request_measure(&request);
    status = engine_room(store->engine, request.bytes,
                         atomic_load_explicit(&store->claimed, memory_order_relaxed));
    return status == FL_OK ? store_commit(store, &request) : status;
}

fl_status
fl_delete(struct fl_store *store, struct fl_key key)
{
    struct engine_change change = {.record = {.kind = LOG_KIND_DELETE,
                                              .space = key.space,
                                              .key = fl_bytes(key.ptr, key.len),
                                              .value = fl_bytes("", 0)}};
    struct engine_request request = {
        .changes = &change,
        .count = 1,
        .condition = FL_IF_PRESENT,
        .claim = HEAP_RESERVE,
    };
    const fl_status status = store_key_check(key);

    if (status != FL_OK) {
        return status;
    }
    change.hash = engine_hash(store->engine, key);
    engine_request_measure(&request);
    return store_commit(store, &request);
}

fl_status
fl_delete_spaces(struct fl_store *store, uint8_t space_first, uint8_t space_last)
{
    struct engine_change change = {.record = {.kind = LOG_KIND_RANGE_DELETE,
                                              .space = space_first,
                                              .key = fl_bytes("", 0),
                                              .value = fl_bytes(&space_last, 1)}};
    struct engine_request request = {
        .changes = &change,
        .count = 1,
        .spaces = true,
        .claim = HEAP_RESERVE,
    };

    if (space_first > space_last) {
        return FL_FAIL(FL_INVALID, "spaces %u to %u", space_first, space_last);
    }
    engine_request_measure(&request);
    return store_commit(store, &request);
}

void *
store_guard_segment(struct log_segment *segment)
{
    atomic_fetch_add_explicit(&segment->pins, 1, memory_order_relaxed);
    return segment;
}

void *
store_guard_data(struct batch_data *data)
{
    return (char *)data + 1;
}

void
fl_view_release(struct fl_view *view)
{
    char *guard = view->guard;

    if (guard == NULL) {
        return;
    }
    if (((uintptr_t)guard & 1) != 0) {
        batch_data_unref((struct batch_data *)(void *)(guard - 1));
    } else {
        struct log_segment *segment = (struct log_segment *)(void *)guard;

        atomic_fetch_sub_explicit(&segment->pins, 1, memory_order_release);
    }
    view->guard = NULL;
    view->value = (struct fl_bytes){NULL, 0};
}

/* What engine_find() found. */
static fl_status
view_fill(struct fl_store *store, index_loc loc, const struct log_record *record,
          struct engine_part part, struct fl_view *view)
{
    struct log_segment *segment = NULL;
    struct fl_bytes value;
    const fl_status status = engine_value_part(store->engine, loc, record, part, &value, &segment);

    if (status != FL_OK) {
        return status;
    }
    view->value = engine_part_cut(value, part);
    view->lsn = record->lsn;
    view->deadline_ms = record->deadline_ms;
    view->type = record->type;
    view->ticket = 0;
    view->guard = store_guard_segment(segment);
    return FL_OK;
}

fl_status
store_view_durable(struct fl_store *store, struct fl_key key, uint64_t hash, uint64_t at_lsn,
                   uint64_t now_ms, struct engine_part part, struct fl_view *view)
{
    struct log_record record;
    index_loc loc = 0;
    const fl_status status = engine_find(store->engine, key, hash, at_lsn, now_ms, &loc, &record);

    return status == FL_OK ? view_fill(store, loc, &record, part, view) : status;
}

static fl_status
view_at(struct fl_store *store, struct fl_key key, uint64_t at_lsn, uint64_t now_ms,
        struct engine_part part, struct fl_view *view)
{
    memset(view, 0, sizeof(*view));
    fl_status status = store_key_check(key);

    if (status != FL_OK) {
        return status;
    }
    const uint64_t hash = engine_hash(store->engine, key);
    const uint32_t token = engine_enter(store->engine);

    status = store_view_durable(store, key, hash, at_lsn, now_ms, part, view);
    engine_exit(store->engine, token);
    return status;
}

fl_status
fl_get_view(struct fl_store *store, struct fl_key key, struct fl_view *view)
{
    return view_at(store, key, INDEX_LSN_LATEST, ENGINE_NOW, ENGINE_WHOLE, view);
}

fl_status
fl_get_range(struct fl_store *store, struct fl_key key, size_t off, size_t len,
             struct fl_view *view)
{
    return view_at(store, key, INDEX_LSN_LATEST, ENGINE_NOW, (struct engine_part){off, len}, view);
}

fl_status
fl_snapshot_get_view(struct fl_snapshot *snapshot, struct fl_key key, struct fl_view *view)
{
    return view_at(snapshot->store, key, snapshot->lsn, snapshot->now_ms, ENGINE_WHOLE, view);
}

fl_status
store_info_of(const struct log_record *record, struct fl_info *info)
{
    struct log_blob_ref ref = {.len = record->value.len};

    if (record->kind == LOG_KIND_PUT_BLOB && !log_blob_ref_decode(record->value, &ref)) {
        return FL_FAIL(FL_CORRUPT, "the reference to a big value does not decode");
    }
    info->value_bytes = ref.len;
    info->lsn = record->lsn;
    info->deadline_ms = record->deadline_ms;
    info->type = record->type;
    return FL_OK;
}

fl_status
store_info_durable(struct fl_store *store, struct fl_key key, uint64_t hash, struct fl_info *info)
{
    struct log_record record;
    index_loc loc = 0;
    const uint32_t token = engine_enter(store->engine);

    fl_status status =
        engine_find(store->engine, key, hash, INDEX_LSN_LATEST, ENGINE_NOW, &loc, &record);

    if (status == FL_OK) {
        status = store_info_of(&record, info);
    }
    engine_exit(store->engine, token);
    return status;
}

fl_status
fl_get_info(struct fl_store *store, struct fl_key key, struct fl_info *info)
{
    memset(info, 0, sizeof(*info));
    const fl_status status = store_key_check(key);

    return status == FL_OK ? store_info_durable(store, key, engine_hash(store->engine, key), info)
                           : status;
}

fl_status
fl_get(struct fl_store *store, struct fl_key key, void *buf, size_t cap, size_t *len)
{
    struct log_segment *segment = NULL;
    struct fl_bytes value = {NULL, 0};
    struct log_record record;
    index_loc loc = 0;

    *len = 0;
    fl_status status = store_key_check(key);

    if (status != FL_OK) {
        return status;
    }
    const uint64_t hash = engine_hash(store->engine, key);
    const uint32_t token = engine_enter(store->engine);

    status = engine_find(store->engine, key, hash, INDEX_LSN_LATEST, ENGINE_NOW, &loc, &record);
    if (status == FL_OK) {
        status = engine_value(store->engine, loc, &record, &value, &segment);
    }
    if (status == FL_OK) {
        *len = value.len;
        if (value.len > 0) {
            memcpy(buf, value.ptr, value.len < cap ? value.len : cap);
        }
        if (engine_is_bad(store->engine, value)) { /* since it was checked */
            status = FL_FAIL(FL_IO, "the value can't be read (SIGBUS)");
        }
        if (status == FL_OK && value.len > cap) {
            status =
                FL_FAIL(FL_TOO_LARGE, "the value has %zu bytes, the buffer %zu", value.len, cap);
        }
    }
    engine_exit(store->engine, token);
    return status;
}

void
fl_prefetch(struct fl_store *store, struct fl_key key)
{
    const uint64_t hash = engine_hash(store->engine, key);
    const uint32_t token = engine_enter(store->engine);

    engine_prefetch(store->engine, &hash, 1, INDEX_TO_BUCKET);
    engine_exit(store->engine, token);
}

void
fl_prefetch_many(struct fl_store *store, const struct fl_key *keys, size_t count)
{
    uint64_t hashes[INDEX_PREFETCH_MAX];

    for (size_t first = 0; first < count; first += INDEX_PREFETCH_MAX) {
        const size_t n = count - first < INDEX_PREFETCH_MAX ? count - first : INDEX_PREFETCH_MAX;
        const uint32_t token = engine_enter(store->engine);

        for (size_t i = 0; i < n; i++) {
            hashes[i] = engine_hash(store->engine, keys[first + i]);
        }
        engine_prefetch(store->engine, hashes, n, INDEX_TO_RECORD);
        engine_exit(store->engine, token);
    }
}

uint64_t
fl_count(struct fl_store *store, uint8_t space)
{
    return index_count(engine_index(store->engine), space);
}

fl_status
fl_random_key(struct fl_store *store, uint8_t space, void *buf, size_t cap, size_t *len)
{
    struct log_record record;
    index_loc loc = 0;
    fl_status status = FL_NOT_FOUND;
    const uint32_t token = engine_enter(store->engine);

    *len = 0;
    /* A key that expired may be met: try some more, there may be others. */
    for (unsigned tries = 0; tries < 64 && status == FL_NOT_FOUND; tries++) {
        if (!index_random(engine_index(store->engine), space, engine_random(store->engine), &loc)) {
            break;
        }
        if (!engine_record_at(store->engine, loc, &record) ||
            (record.deadline_ms != 0 && record.deadline_ms <= engine_now_ms(store->engine))) {
            continue;
        }
        *len = record.key.len;
        memcpy(buf, record.key.ptr, record.key.len < cap ? record.key.len : cap);
        if (engine_is_bad(store->engine, record.key)) { /* since it was checked */
            continue;
        }
        status = record.key.len <= cap
                     ? FL_OK
                     : FL_FAIL(FL_TOO_LARGE, "the key has %zu bytes", record.key.len);
    }
    engine_exit(store->engine, token);
    return status;
}
