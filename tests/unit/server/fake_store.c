#include "tests/unit/server/fake_internal.h"

#include "base/fail.h"

#include <faultline/batch.h>

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

void *
fake_alloc(struct fl_store *store, size_t bytes)
{
    void *block = calloc(1, bytes > 0 ? bytes : 1);

    FL_ASSERT(block != NULL && store->blocks_count < FAKE_BLOCKS_MAX);
    store->blocks[store->blocks_count++] = block;
    return block;
}

static struct fl_bytes
store_copy(struct fl_store *store, const void *ptr, size_t len)
{
    void *copy = fake_alloc(store, len);

    if (len > 0) {
        memcpy(copy, ptr, len);
    }
    return fl_bytes(copy, len);
}

/* ---- for the test ---- */

struct fl_store *
fake_store_create(void)
{
    struct fl_store *store = calloc(1, sizeof(*store));

    FL_ASSERT(store != NULL);
    store->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    store->now_ms = 1000000;
    store->puts_left = UINT64_MAX;
    return store;
}

void
fake_store_destroy(struct fl_store *store)
{
    for (size_t i = 0; i < store->blocks_count; i++) {
        free(store->blocks[i]);
    }
    close(store->event_fd);
    free(store);
}

void
fake_store_hold(struct fl_store *store)
{
    store->holds = true;
}

static void
tell(struct fl_store *store)
{
    const uint64_t one = 1;

    FL_ASSERT(write(store->event_fd, &one, sizeof(one)) == (ssize_t)sizeof(one));
}

bool
fake_store_complete(struct fl_store *store)
{
    if (store->ticket_durable == store->ticket_last) {
        return false;
    }
    store->ticket_durable++;
    for (size_t i = 0; i < store->entries_count; i++) {
        if (store->entries[i]->latest.ticket <= store->ticket_durable) {
            store->entries[i]->durable = store->entries[i]->latest;
        }
    }
    tell(store);
    return true;
}

void
fake_store_fail(struct fl_store *store)
{
    store->failed = true;
    tell(store);
}

void
fake_store_full_after(struct fl_store *store, uint64_t puts)
{
    store->puts_left = puts;
}

void
fake_store_set_now(struct fl_store *store, uint64_t now_ms)
{
    store->now_ms = now_ms;
}

unsigned
fake_store_submits(const struct fl_store *store)
{
    return store->submits;
}

unsigned
fake_store_in_flight(const struct fl_store *store)
{
    return (unsigned)(store->ticket_last - store->ticket_durable);
}

unsigned
fake_store_views(const struct fl_store *store)
{
    return store->views;
}

unsigned
fake_store_blobs(const struct fl_store *store)
{
    return store->blobs;
}

/* ---- entries ---- */

int
fake_entry_compare(const struct entry *entry, uint8_t space, struct fl_bytes key)
{
    const size_t common = entry->key.len < key.len ? entry->key.len : key.len;

    if (entry->space != space) {
        return entry->space < space ? -1 : 1;
    }
    const int order = common > 0 ? memcmp(entry->key.ptr, key.ptr, common) : 0;

    return order != 0 ? order : (entry->key.len < key.len ? -1 : entry->key.len > key.len);
}

/* The place of the first entry that isn't before the key. */
size_t
fake_entry_seek(const struct fl_store *store, uint8_t space, struct fl_bytes key)
{
    size_t at = 0;

    while (at < store->entries_count && fake_entry_compare(store->entries[at], space, key) < 0) {
        at++;
    }
    return at;
}

static struct entry *
entry_of(struct fl_store *store, struct fl_key key)
{
    const struct fl_bytes bytes = fl_bytes(key.ptr, key.len);
    const size_t at = fake_entry_seek(store, key.space, bytes);

    if (at < store->entries_count &&
        fake_entry_compare(store->entries[at], key.space, bytes) == 0) {
        return store->entries[at];
    }
    FL_ASSERT(store->entries_count < FAKE_ENTRIES_MAX);
    struct entry *entry = fake_alloc(store, sizeof(*entry));

    entry->key = store_copy(store, key.ptr, key.len);
    entry->space = key.space;
    memmove(&store->entries[at + 1], &store->entries[at],
            (store->entries_count - at) * sizeof(store->entries[0]));
    store->entries[at] = entry;
    store->entries_count++;
    return entry;
}

bool
fake_version_lives(const struct fl_store *store, const struct version *version)
{
    return version->exists && (version->deadline_ms == 0 || version->deadline_ms > store->now_ms);
}

fl_status
fake_version_view(struct fl_store *store, const struct version *version, struct fl_view *view)
{
    memset(view, 0, sizeof(*view));
    view->ticket = version->ticket > store->ticket_durable ? version->ticket : 0;
    if (!fake_version_lives(store, version)) {
        return FL_NOT_FOUND;
    }
    view->value = version->value;
    view->lsn = version->lsn;
    view->deadline_ms = version->deadline_ms;
    view->type = version->type;
    view->guard = store;
    store->views++;
    return FL_OK;
}

static fl_status
version_info(struct fl_store *store, const struct version *version, struct fl_info *info)
{
    struct fl_view view;
    const fl_status status = fake_version_view(store, version, &view);

    *info = (struct fl_info){.ticket = view.ticket};
    if (status == FL_OK) {
        info->value_bytes = view.value.len;
        info->lsn = view.lsn;
        info->deadline_ms = view.deadline_ms;
        info->type = view.type;
        fl_view_release(&view);
    }
    return status;
}

static void
entry_change(struct fl_store *store, struct entry *entry, struct version latest)
{
    FL_ASSERT(store->undo_count < FAKE_UNDO_MAX);
    store->undo[store->undo_count++] = (struct undo){.entry = entry, .before = entry->latest};
    latest.ticket = PENDING;
    latest.lsn = ++store->lsn;
    entry->latest = latest;
}

/* ---- the API: the store ---- */

void
fl_options_init(struct fl_options *options)
{
    *options = (struct fl_options){.struct_bytes = sizeof(*options),
                                   .block_bytes = 2 * 1024 * 1024,
                                   .size_bytes_max = (uint64_t)1 << 40,
                                   .blocks_ahead = 4,
                                   .verify_reads = true};
}

const char *
fl_mapping_name(enum fl_mapping mapping)
{
    return mapping == FL_MAPPING_VOLATILE ? "volatile" : "?";
}

const char *
fl_durability_name(enum fl_durability durability)
{
    return durability == FL_DURABILITY_PROCESS ? "process" : "?";
}

const char *
fl_version(void)
{
    return "0.0.0";
}

void
fl_stats(struct fl_store *store, struct fl_stats *stats)
{
    memset(stats, 0, sizeof(*stats));
    stats->struct_bytes = sizeof(*stats);
    stats->mapping = FL_MAPPING_VOLATILE;
    stats->durability = FL_DURABILITY_PROCESS;
    stats->inline_bytes_max = FAKE_INLINE_BYTES_MAX;
    stats->commits_total = store->submits;
}

uint64_t
fl_now_ms(struct fl_store *store)
{
    return store->now_ms;
}

void
fl_prefetch_many(struct fl_store *store, const struct fl_key *keys, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        FL_ASSERT(store != NULL && keys[i].len > 0);
    }
}

fl_status
fl_get_view(struct fl_store *store, struct fl_key key, struct fl_view *view)
{
    return fake_version_view(store, &entry_of(store, key)->durable, view);
}

fl_status
fl_get_info(struct fl_store *store, struct fl_key key, struct fl_info *info)
{
    return version_info(store, &entry_of(store, key)->durable, info);
}

void
fl_view_release(struct fl_view *view)
{
    struct fl_store *store = view->guard;

    if (store != NULL) {
        store->views--;
        view->guard = NULL;
    }
}

uint64_t
fl_count(struct fl_store *store, uint8_t space)
{
    uint64_t count = 0;

    for (size_t i = 0; i < store->entries_count; i++) {
        count += store->entries[i]->space == space && store->entries[i]->durable.exists;
    }
    return count;
}

fl_status
fl_random_key(struct fl_store *store, uint8_t space, void *buf, size_t cap, size_t *len)
{
    for (size_t i = 0; i < store->entries_count; i++) {
        const struct entry *entry = store->entries[i];

        if (entry->space == space && entry->durable.exists && entry->key.len <= cap) {
            memcpy(buf, entry->key.ptr, entry->key.len);
            *len = entry->key.len;
            return FL_OK;
        }
    }
    return FL_FAIL(FL_NOT_FOUND, "no keys");
}

fl_status
fl_delete_spaces(struct fl_store *store, uint8_t space_first, uint8_t space_last)
{
    for (size_t i = 0; i < store->entries_count; i++) {
        struct entry *entry = store->entries[i];

        if (entry->space >= space_first && entry->space <= space_last) {
            entry->latest = (struct version){0};
            entry->durable = entry->latest;
        }
    }
    return FL_OK;
}

/* ---- blobs ---- */

fl_status
fl_blob_create(struct fl_store *store, size_t len, struct fl_blob **out)
{
    if (store->puts_left == 0) {
        return FL_FAIL(FL_NO_SPACE, "full");
    }
    struct fl_blob *blob = fake_alloc(store, sizeof(*blob));

    *blob = (struct fl_blob){.store = store, .ptr = fake_alloc(store, len), .cap = len};
    store->blobs++;
    *out = blob;
    return FL_OK;
}

fl_status
fl_blob_append(struct fl_blob *blob, const void *data, size_t len)
{
    if (len > blob->cap - blob->len) {
        return FL_FAIL(FL_INVALID, "more than was reserved");
    }
    memcpy(blob->ptr + blob->len, data, len);
    blob->len += len;
    return FL_OK;
}

void
fl_blob_discard(struct fl_blob *blob)
{
    blob->store->blobs--;
}

/* ---- batches ---- */

fl_status
fl_batch_create(struct fl_store *store, struct fl_batch **out)
{
    struct fl_batch *batch = fake_alloc(store, sizeof(*batch));

    batch->store = store;
    *out = batch;
    return FL_OK;
}

void
fl_batch_destroy(struct fl_batch *batch)
{
    if (batch != NULL) {
        fl_batch_clear(batch);
    }
}

size_t
fl_batch_count(const struct fl_batch *batch)
{
    return batch->store->undo_count;
}

size_t
fl_batch_bytes(const struct fl_batch *batch)
{
    return batch->store->undo_count * 128;
}

size_t
fl_batch_mark(const struct fl_batch *batch)
{
    return batch->store->undo_count;
}

void
fl_batch_rollback(struct fl_batch *batch, size_t mark)
{
    struct fl_store *store = batch->store;

    while (store->undo_count > mark) {
        const struct undo *undo = &store->undo[--store->undo_count];

        undo->entry->latest = undo->before;
    }
}

void
fl_batch_clear(struct fl_batch *batch)
{
    fl_batch_rollback(batch, 0);
}

fl_status
fl_batch_get_view(struct fl_batch *batch, struct fl_key key, struct fl_view *view)
{
    return fake_version_view(batch->store, &entry_of(batch->store, key)->latest, view);
}

fl_status
fl_batch_get_range(struct fl_batch *batch, struct fl_key key, size_t off, size_t len,
                   struct fl_view *view)
{
    const fl_status status = fl_batch_get_view(batch, key, view);

    if (status == FL_OK) {
        FL_ASSERT(off + len <= view->value.len);
        view->value = fl_bytes((const uint8_t *)view->value.ptr + off, len);
    }
    return status;
}

fl_status
fl_batch_get_info(struct fl_batch *batch, struct fl_key key, struct fl_info *info)
{
    return version_info(batch->store, &entry_of(batch->store, key)->latest, info);
}

static fl_status
put(struct fl_store *store, struct fl_key key, struct fl_bytes value,
    const struct fl_put_options *options)
{
    static const struct fl_put_options none = {0};
    struct entry *entry = entry_of(store, key);
    const bool lives = fake_version_lives(store, &entry->latest);

    options = options != NULL ? options : &none;
    if (store->failed) {
        return FL_FAIL(FL_READ_ONLY, "a commit failed");
    }
    if (options->condition == FL_IF_ABSENT && lives) {
        return FL_EXISTS;
    }
    if (options->condition == FL_IF_PRESENT && !lives) {
        return FL_NOT_FOUND;
    }
    if (store->puts_left == 0) {
        return FL_FAIL(FL_NO_SPACE, "full");
    }
    store->puts_left -= store->puts_left != UINT64_MAX;
    entry_change(store, entry,
                 (struct version){.exists = true,
                                  .type = options->type,
                                  .value = value,
                                  .deadline_ms = options->deadline_ms});
    return FL_OK;
}

fl_status
fl_batch_put(struct fl_batch *batch, struct fl_key key, struct fl_bytes value,
             const struct fl_put_options *options)
{
    FL_ASSERT(value.len <= FAKE_INLINE_BYTES_MAX);
    return put(batch->store, key, store_copy(batch->store, value.ptr, value.len), options);
}

fl_status
fl_batch_put_blob(struct fl_batch *batch, struct fl_key key, struct fl_blob *blob,
                  const struct fl_put_options *options)
{
    FL_ASSERT(blob->len == blob->cap);
    const fl_status status = put(batch->store, key, fl_bytes(blob->ptr, blob->len), options);

    batch->store->blobs -= status == FL_OK;
    return status;
}

fl_status
fl_batch_put_from(struct fl_batch *batch, struct fl_key to, struct fl_key from,
                  const struct fl_put_options *options)
{
    const struct version version = entry_of(batch->store, from)->latest;
    const struct fl_put_options same = {.deadline_ms = version.deadline_ms, .type = version.type};

    if (!fake_version_lives(batch->store, &version)) {
        return FL_NOT_FOUND;
    }
    return put(batch->store, to, version.value, options != NULL ? options : &same);
}

fl_status
fl_batch_delete(struct fl_batch *batch, struct fl_key key)
{
    struct entry *entry = entry_of(batch->store, key);

    if (!fake_version_lives(batch->store, &entry->latest)) {
        return FL_NOT_FOUND;
    }
    entry_change(batch->store, entry, (struct version){0});
    return FL_OK;
}

fl_status
fl_batch_submit(struct fl_batch *batch, uint64_t *ticket)
{
    struct fl_store *store = batch->store;

    if (store->failed) {
        fl_batch_clear(batch);
        return FL_FAIL(FL_IO, "a commit failed");
    }
    store->ticket_last++;
    store->submits++;
    for (size_t i = 0; i < store->undo_count; i++) {
        if (store->undo[i].entry->latest.ticket == PENDING) {
            store->undo[i].entry->latest.ticket = store->ticket_last;
        }
    }
    store->undo_count = 0;
    *ticket = store->ticket_last;
    if (!store->holds) {
        fake_store_complete(store);
        *ticket = 0;
    }
    return FL_OK;
}

uint64_t
fl_durable_ticket(struct fl_store *store)
{
    return store->ticket_durable;
}

int
fl_event_fd(struct fl_store *store)
{
    return store->event_fd;
}

fl_status
fl_commit_status(struct fl_store *store)
{
    return store->failed ? FL_FAIL(FL_IO, "the medium is gone") : FL_OK;
}
