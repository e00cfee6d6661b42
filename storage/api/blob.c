/* Values written in pieces. */
#include "storage/api/store.h"

#include "base/fail.h"

#include <stdlib.h>

fl_status
fl_blob_create(struct fl_store *store, size_t len, struct fl_blob **out)
{
    *out = NULL;
    if (len > FL_VALUE_BYTES_MAX) {
        return FL_FAIL(FL_TOO_LARGE, "a value of %zu bytes; %u are allowed", len,
                       FL_VALUE_BYTES_MAX);
    }
    fl_status status = engine_writable(store->engine);

    if (status == FL_OK) {
        status = engine_room(store->engine, len,
                             atomic_load_explicit(&store->claimed, memory_order_relaxed));
    }
    if (status != FL_OK) {
        return status;
    }
    struct fl_blob *blob = calloc(1, sizeof(*blob));

    if (blob == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "a blob");
    }
    blob->store = store;
    status = log_blob_create(engine_log(store->engine), len, &blob->log);
    if (status != FL_OK) {
        free(blob);
        return status;
    }
    engine_blob_created(store->engine, blob->log->block);
    *out = blob;
    return FL_OK;
}

fl_status
fl_blob_append(struct fl_blob *blob, const void *data, size_t len)
{
    return log_blob_append(blob->log, data, len);
}

void
fl_blob_discard(struct fl_blob *blob)
{
    if (blob == NULL) {
        return;
    }
    const uint32_t block = blob->log->block;

    log_blob_close(blob->log); /* first: the cleaner may free the segment from the release on */
    engine_blob_release(blob->store->engine, block);
    free(blob);
}

fl_status
store_blob_write(struct fl_store *store, struct fl_bytes value, struct fl_blob **out)
{
    fl_status status = fl_blob_create(store, value.len, out);

    if (status == FL_OK) {
        status = fl_blob_append(*out, value.ptr, value.len);
        if (status != FL_OK) {
            fl_blob_discard(*out);
            *out = NULL;
        }
    }
    return status;
}
