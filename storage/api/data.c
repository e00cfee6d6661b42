#include "storage/api/data.h"

#include "base/fail.h"

#include <stdlib.h>
#include <string.h>

enum {
    CHUNK_BYTES = 256 * 1024,
    CHUNK_KEEP_BYTES = 4 * 1024 * 1024, /* larger ones are not kept in the pool */
    POOL_MAX = 4,
    CHANGES_FIRST = 256,
};

static void data_reset(struct batch_data *data);

static void
data_free(struct batch_data *data)
{
    while (data->chunks != NULL) {
        struct data_chunk *next = data->chunks->next;

        free(data->chunks);
        data->chunks = next;
    }
    free(data->changes);
    free(data->older);
    free(data->slots);
    free(data->requires);
    free(data);
}

fl_status
batch_data_get(struct fl_store *store, struct batch_data **out)
{
    pthread_mutex_lock(&store->lock);
    struct batch_data *data = store->pool;

    if (data != NULL) {
        store->pool = data->next;
        store->pool_count--;
    }
    pthread_mutex_unlock(&store->lock);
    if (data == NULL) {
        data = calloc(1, sizeof(*data));
        if (data == NULL) {
            return FL_FAIL(FL_NO_MEMORY, "a batch");
        }
        data->store = store;
    }
    data->next = NULL;
    data->ticket = 0;
    atomic_store(&data->refs, 1);
    *out = data;
    return FL_OK;
}

void
batch_data_unref(struct batch_data *data)
{
    struct fl_store *store = data->store;

    if (atomic_fetch_sub(&data->refs, 1) != 1) {
        return;
    }
    data_reset(data);
    pthread_mutex_lock(&store->lock);
    const bool keep = store->pool_count < POOL_MAX;

    if (keep) {
        data->next = store->pool;
        store->pool = data;
        store->pool_count++;
    }
    pthread_mutex_unlock(&store->lock);
    if (!keep) {
        data_free(data);
    }
}

void
store_pool_drain(struct fl_store *store)
{
    while (store->pool != NULL) {
        struct batch_data *next = store->pool->next;

        data_free(store->pool);
        store->pool = next;
    }
}

static void *
chunk_take(struct batch_data *data, size_t bytes)
{
    struct data_chunk *chunk = data->chunks;

    if (chunk == NULL || chunk->cap - chunk->used < bytes) {
        const size_t cap = bytes > CHUNK_BYTES ? bytes : CHUNK_BYTES;

        chunk = malloc(sizeof(*chunk) + cap);
        if (chunk == NULL) {
            return NULL;
        }
        chunk->cap = cap;
        chunk->used = 0;
        chunk->next = data->chunks;
        data->chunks = chunk;
    }
    void *bytes_at = chunk->bytes + chunk->used;

    chunk->used += bytes;
    return bytes_at;
}

/* Keep one chunk of an ordinary size. */
static void
chunks_reset(struct batch_data *data)
{
    struct data_chunk *kept = NULL;

    while (data->chunks != NULL) {
        struct data_chunk *next = data->chunks->next;

        if (kept == NULL && data->chunks->cap <= CHUNK_KEEP_BYTES) {
            kept = data->chunks;
        } else {
            free(data->chunks);
        }
        data->chunks = next;
    }
    if (kept != NULL) {
        kept->next = NULL;
        kept->used = 0;
    }
    data->chunks = kept;
}

static void
blob_release(struct batch_data *data, const struct engine_change *change)
{
    if (change->record.kind == LOG_KIND_PUT_BLOB) {
        engine_blob_release(data->store->engine, change->blob_block);
    }
}

void
batch_data_settle(struct batch_data *data, bool kept)
{
    for (uint32_t i = 0; i < data->count; i++) {
        if (!kept || data->changes[i].skip) {
            blob_release(data, &data->changes[i]);
        }
    }
    log_run_drop(engine_log(data->store->engine), &data->run);
    atomic_fetch_sub_explicit(&data->store->claimed, data->claimed, memory_order_relaxed);
    data->claimed = 0;
}

static void
data_reset(struct batch_data *data)
{
    if (data->count > 0 && data->slots_cap > 0) {
        memset(data->slots, 0, data->slots_cap * sizeof(*data->slots));
    }
    data->slots_used = 0;
    data->count = 0;
    data->requires_count = 0;
    data->condition = FL_IF_ANY;
    data->deletes = 0;
    data->bytes = 0;
    data->sync_all = false;
    chunks_reset(data);
}

void
batch_data_clear(struct batch_data *data, bool kept)
{
    batch_data_settle(data, kept);
    data_reset(data);
}

static bool
same_key(const struct engine_change *change, struct fl_key key, uint64_t hash)
{
    const struct log_record *record = &change->record;

    return change->hash == hash && record->space == key.space && record->key.len == key.len &&
           memcmp(record->key.ptr, key.ptr, key.len) == 0;
}

/* The slot of the key, or the free one where it belongs. */
static uint32_t *
slot_find(const struct batch_data *data, struct fl_key key, uint64_t hash)
{
    const uint32_t mask = data->slots_cap - 1;
    uint32_t i = (uint32_t)(hash ^ hash >> 32) & mask;

    while (data->slots[i] != 0 && !same_key(&data->changes[data->slots[i] - 1], key, hash)) {
        i = (i + 1) & mask;
    }
    return &data->slots[i];
}

static struct fl_key
change_key(const struct engine_change *change)
{
    return fl_key_in(change->record.space, change->record.key.ptr, change->record.key.len);
}

struct engine_change *
batch_data_find(const struct batch_data *data, struct fl_key key, uint64_t hash)
{
    if (data->count == 0) {
        return NULL;
    }
    const uint32_t slot = *slot_find(data, key, hash);

    return slot == 0 ? NULL : &data->changes[slot - 1];
}

static void
slots_fill(struct batch_data *data)
{
    data->slots_used = 0;
    for (uint32_t i = 0; i < data->count; i++) {
        uint32_t *slot = slot_find(data, change_key(&data->changes[i]), data->changes[i].hash);

        data->slots_used += *slot == 0;
        *slot = i + 1;
    }
}

static fl_status
grow(struct batch_data *data)
{
    if (data->count == data->cap) {
        const uint32_t cap = data->cap == 0 ? CHANGES_FIRST : data->cap * 2;
        struct engine_change *changes = realloc(data->changes, cap * sizeof(*changes));

        if (changes != NULL) {
            data->changes = changes;
        }
        uint32_t *older = changes == NULL ? NULL : realloc(data->older, cap * sizeof(*older));

        if (older == NULL) {
            return FL_FAIL(FL_NO_MEMORY, "a batch of %u changes", cap);
        }
        data->older = older;
        data->cap = cap;
    }
    if (2 * (data->slots_used + 1) > data->slots_cap) {
        const uint32_t cap = data->slots_cap == 0 ? 2 * CHANGES_FIRST : data->slots_cap * 2;
        uint32_t *slots = calloc(cap, sizeof(*slots));

        if (slots == NULL) {
            return FL_FAIL(FL_NO_MEMORY, "a batch of %u changes", cap);
        }
        free(data->slots);
        data->slots = slots;
        data->slots_cap = cap;
        slots_fill(data);
    }
    return FL_OK;
}

static void
count_in(struct batch_data *data, struct engine_change *change, bool in)
{
    const size_t bytes = log_record_bytes(&change->record);

    change->skip = !in;
    data->bytes = in ? data->bytes + bytes : data->bytes - bytes;
    if (change->record.kind == LOG_KIND_DELETE) {
        data->deletes += in ? 1u : UINT32_MAX;
    }
}

fl_status
batch_data_add(struct batch_data *data, const struct log_record *record, uint64_t hash,
               uint32_t blob_block)
{
    fl_status status = grow(data);
    uint8_t *bytes = status == FL_OK ? chunk_take(data, record->key.len + record->value.len) : NULL;

    if (bytes == NULL) {
        return status != FL_OK ? status : FL_FAIL(FL_NO_MEMORY, "a change of a batch");
    }
    struct engine_change *change = &data->changes[data->count];

    change->record = *record;
    change->hash = hash;
    change->blob_block = blob_block;
    change->skip = false;
    change->loc = 0;
    change->lsn = 0;
    memcpy(bytes, record->key.ptr, record->key.len);
    change->record.key.ptr = bytes;
    if (record->value.len > 0) {
        memcpy(bytes + record->key.len, record->value.ptr, record->value.len);
    }
    change->record.value.ptr = bytes + record->key.len;
    uint32_t *slot = slot_find(data, change_key(change), hash);

    data->older[data->count] = *slot;
    if (*slot != 0) {
        count_in(data, &data->changes[*slot - 1], false);
    } else {
        data->slots_used++;
    }
    data->count++;
    *slot = data->count;
    count_in(data, change, true);
    return FL_OK;
}

fl_status
batch_data_require(struct batch_data *data, struct fl_key key, uint64_t hash, uint64_t lsn)
{
    if (data->requires_count == data->requires_cap) {
        const uint32_t cap = data->requires_cap == 0 ? 16 : data->requires_cap * 2;
        struct engine_require *requires = realloc(data->requires, cap * sizeof(*requires));

        if (requires == NULL) {
            return FL_FAIL(FL_NO_MEMORY, "a batch's requirements");
        }
        data->requires = requires;
        data->requires_cap = cap;
    }
    uint8_t *bytes = chunk_take(data, key.len);

    if (bytes == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "a batch's requirements");
    }
    memcpy(bytes, key.ptr, key.len);
    key.ptr = bytes;
    data->requires[data->requires_count++] = (struct engine_require){key, hash, lsn};
    return FL_OK;
}

void
batch_data_rollback(struct batch_data *data, uint32_t count)
{
    if (count >= data->count) {
        return;
    }
    while (data->count > count) {
        struct engine_change *change = &data->changes[--data->count];
        const uint32_t older = data->older[data->count];

        if (!change->skip) {
            count_in(data, change, false);
        }
        if (older != 0) {
            count_in(data, &data->changes[older - 1], true);
        }
        blob_release(data, change);
    }
    memset(data->slots, 0, data->slots_cap * sizeof(*data->slots));
    slots_fill(data);
}
