#include "tests/unit/server_commands/fake_store.h"

#include "base/fail.h"
#include "server/exec_keys.h"
#include "server/key_iter.h"
#include "server/scan_cursor.h"
#include "server/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ENTRIES_MAX = 64, VIEWS_MAX = 16 };

struct entry {
    struct fl_bytes key;
    struct fl_bytes value;
    uint64_t deadline_ms;
    uint8_t type;
};

struct entries {
    struct entry at[ENTRIES_MAX]; /* in order of keys */
    size_t count;
};

struct fl_blob {
    char *ptr;
    size_t len;
    size_t cap;
};

struct key_iter {
    struct fl_bytes prefix;
    size_t at; /* entries.count: on no key */
};

static struct {
    struct entries now;
    struct entries before;  /* as of fake_begin() */
    void *views[VIEWS_MAX]; /* what live views show */
    int fail_at;
    fl_status fail_status;
    bool failed;
    int blobs;
    int iters;
} fake;

static struct fl_bytes
copy_bytes(struct fl_bytes bytes)
{
    char *ptr = malloc(bytes.len + 1);

    FL_ASSERT(ptr != NULL);
    if (bytes.len > 0) {
        memcpy(ptr, bytes.ptr, bytes.len);
    }
    return fl_bytes(ptr, bytes.len);
}

static void
free_bytes(struct fl_bytes bytes)
{
    free((void *)(uintptr_t)bytes.ptr);
}

static void
entries_clear(struct entries *entries)
{
    for (size_t i = 0; i < entries->count; i++) {
        free_bytes(entries->at[i].key);
        free_bytes(entries->at[i].value);
    }
    entries->count = 0;
}

static void
entries_copy(struct entries *to, const struct entries *from)
{
    entries_clear(to);
    for (size_t i = 0; i < from->count; i++) {
        to->at[i] = from->at[i];
        to->at[i].key = copy_bytes(from->at[i].key);
        to->at[i].value = copy_bytes(from->at[i].value);
    }
    to->count = from->count;
}

/* The first key >= `key`. */
static size_t
entries_seek(struct fl_bytes key)
{
    size_t i = 0;

    while (i < fake.now.count && key_compare(fake.now.at[i].key, key) < 0) {
        i++;
    }
    return i;
}

static struct entry *
entries_find(struct fl_bytes key)
{
    const size_t i = entries_seek(key);

    return i < fake.now.count && key_compare(fake.now.at[i].key, key) == 0 ? &fake.now.at[i] : NULL;
}

static void
store(struct fl_bytes key, struct fl_bytes value, const struct fl_put_options *options)
{
    struct entry *entry = entries_find(key);

    if (entry == NULL) {
        const size_t i = entries_seek(key);

        FL_ASSERT(fake.now.count < ENTRIES_MAX);
        memmove(&fake.now.at[i + 1], &fake.now.at[i],
                (fake.now.count - i) * sizeof(fake.now.at[0]));
        fake.now.count++;
        entry = &fake.now.at[i];
        entry->key = copy_bytes(key);
    } else {
        free_bytes(entry->value);
    }
    entry->value = value;
    entry->deadline_ms = options != NULL ? options->deadline_ms : 0;
    entry->type = options != NULL ? options->type : 0;
}

/* A change of the batch ends every view. */
static void
views_end(void)
{
    for (size_t i = 0; i < VIEWS_MAX; i++) {
        free(fake.views[i]);
        fake.views[i] = NULL;
    }
}

static bool
fails(bool writes)
{
    if (fake.fail_at < 0 || (!writes && fake.fail_status == FL_NO_SPACE)) {
        return false;
    }
    if (fake.fail_at-- > 0) {
        return false;
    }
    fake.failed = true;
    return true;
}

void
fake_reset(void)
{
    views_end();
    entries_clear(&fake.now);
    entries_clear(&fake.before);
    fake.fail_at = -1;
    fake.failed = false;
}

void
fake_put(const char *key, const char *value, uint64_t deadline_ms, uint8_t type)
{
    const struct fl_put_options options = {.deadline_ms = deadline_ms, .type = type};

    store(fl_bytes(key, strlen(key)), copy_bytes(fl_bytes(value, strlen(value))), &options);
}

void
fake_fail_at(int n, fl_status status)
{
    fake.fail_at = n;
    fake.fail_status = status;
    fake.failed = false;
}

bool
fake_has_failed(void)
{
    return fake.failed;
}

void
fake_begin(struct call *call)
{
    (void)call;
    entries_copy(&fake.before, &fake.now);
}

void
fake_end(struct call *call)
{
    if (call->blob != NULL) {
        fl_blob_discard(call->blob);
        call->blob = NULL;
    }
}

int
fake_leaks(void)
{
    int views = 0;

    for (size_t i = 0; i < VIEWS_MAX; i++) {
        views += fake.views[i] != NULL;
    }
    return views + fake.blobs + fake.iters;
}

char *
fake_dump(void)
{
    char *text = NULL;
    size_t len = 0;
    FILE *file = open_memstream(&text, &len);

    FL_ASSERT(file != NULL);
    for (size_t i = 0; i < fake.now.count; i++) {
        const struct entry *entry = &fake.now.at[i];

        fwrite(entry->key.ptr, 1, entry->key.len, file);
        fputc('=', file);
        fwrite(entry->value.ptr, 1, entry->value.len, file);
        fprintf(file, "@%llu;", (unsigned long long)entry->deadline_ms);
    }
    fclose(file);
    return text;
}

/* ---- reading ---- */

static void
show(const struct entry *entry, struct fl_view *view)
{
    size_t i = 0;

    while (i < VIEWS_MAX && fake.views[i] != NULL) {
        i++;
    }
    FL_ASSERT(i < VIEWS_MAX);
    view->value = copy_bytes(entry->value);
    view->deadline_ms = entry->deadline_ms;
    view->type = entry->type;
    view->lsn = 1;
    view->ticket = 0;
    view->guard = (void *)(uintptr_t)view->value.ptr;
    fake.views[i] = view->guard;
}

void
fl_view_release(struct fl_view *view)
{
    for (size_t i = 0; i < VIEWS_MAX; i++) {
        if (view->guard != NULL && fake.views[i] == view->guard) {
            free(view->guard);
            fake.views[i] = NULL;
        }
    }
    view->guard = NULL;
}

static fl_status
find(const struct call *call, struct fl_bytes key, const struct entry **out)
{
    const struct entry *entry = entries_find(key);

    if (fails(false)) {
        return fake.fail_status;
    }
    if (entry == NULL || (entry->deadline_ms != 0 && entry->deadline_ms <= call->now_ms)) {
        return FL_NOT_FOUND;
    }
    *out = entry;
    return FL_OK;
}

fl_status
call_get(struct call *call, struct fl_bytes key, struct fl_view *view)
{
    const struct entry *entry = NULL;
    const fl_status status = find(call, key, &entry);

    if (status == FL_OK) {
        show(entry, view);
    }
    return status;
}

fl_status
call_get_range(struct call *call, struct fl_bytes key, size_t off, size_t len, struct fl_view *view)
{
    const fl_status status = call_get(call, key, view);

    if (status == FL_OK) {
        FL_ASSERT(off + len <= view->value.len);
        view->value = fl_bytes((const uint8_t *)view->value.ptr + off, len);
    }
    return status;
}

fl_status
call_get_info(struct call *call, struct fl_bytes key, struct fl_info *info)
{
    const struct entry *entry = NULL;
    const fl_status status = find(call, key, &entry);

    if (status == FL_OK && entry != NULL) {
        *info = (struct fl_info){.value_bytes = entry->value.len,
                                 .lsn = 1,
                                 .deadline_ms = entry->deadline_ms,
                                 .type = entry->type};
    }
    return status;
}

/* ---- writing ---- */

static fl_status
judge(struct fl_bytes key, const struct fl_put_options *options)
{
    const bool there = entries_find(key) != NULL;
    const enum fl_condition condition = options != NULL ? options->condition : FL_IF_ANY;

    if (fails(true)) {
        return fake.fail_status;
    }
    if (key.len == 0) {
        return FL_INVALID;
    }
    if (condition == FL_IF_ABSENT && there) {
        return FL_EXISTS;
    }
    return condition == FL_IF_PRESENT && !there ? FL_NOT_FOUND : FL_OK;
}

fl_status
call_put(struct call *call, struct fl_bytes key, struct fl_bytes value,
         const struct fl_put_options *options)
{
    const fl_status status = judge(key, options);
    (void)call;

    if (status == FL_OK) {
        store(key, copy_bytes(value), options);
        views_end();
    }
    return status;
}

fl_status
call_put_arg(struct call *call, struct fl_bytes key, unsigned arg,
             const struct fl_put_options *options)
{
    return call_put(call, key, call->argv[arg], options);
}

fl_status
call_put_blob(struct call *call, struct fl_bytes key, struct fl_blob *blob,
              const struct fl_put_options *options)
{
    FL_ASSERT(blob->len == blob->cap);
    const fl_status status = call_put(call, key, fl_bytes(blob->ptr, blob->len), options);

    fl_blob_discard(blob);
    return status;
}

fl_status
call_put_from(struct call *call, struct fl_bytes to, struct fl_bytes from,
              const struct fl_put_options *options)
{
    const struct entry *entry = entries_find(from);
    const fl_status status = judge(to, NULL);
    (void)call;

    if (status != FL_OK || entry == NULL) {
        return status != FL_OK ? status : FL_NOT_FOUND;
    }
    const struct fl_put_options keep = {.deadline_ms = entry->deadline_ms, .type = entry->type};

    store(to, copy_bytes(entry->value), options != NULL ? options : &keep);
    views_end();
    return FL_OK;
}

fl_status
call_delete(struct call *call, struct fl_bytes key)
{
    struct entry *entry = entries_find(key);
    (void)call;

    if (fails(true)) {
        return fake.fail_status;
    }
    if (entry == NULL) {
        return FL_NOT_FOUND;
    }
    free_bytes(entry->key);
    free_bytes(entry->value);
    fake.now.count--;
    memmove(entry, entry + 1,
            (size_t)(&fake.now.at[fake.now.count] - entry) * sizeof(fake.now.at[0]));
    views_end();
    return FL_OK;
}

fl_status
call_flush(struct call *call)
{
    (void)call;
    if (fails(true)) {
        return fake.fail_status;
    }
    entries_clear(&fake.now);
    return FL_OK;
}

void
call_fail(struct call *call, fl_status status)
{
    entries_copy(&fake.now, &fake.before);
    reply_errorf(call, "ERR %s", fl_status_name(status));
}

void
watch_touch_slow(struct watch_table *table, struct fl_bytes key)
{
    (void)table;
    (void)key;
}

/* ---- blobs ---- */

fl_status
fl_blob_create(struct fl_store *unused, size_t len, struct fl_blob **out)
{
    (void)unused;
    if (fails(true)) {
        return fake.fail_status;
    }
    *out = calloc(1, sizeof(**out));
    FL_ASSERT(*out != NULL);
    (*out)->ptr = malloc(len + 1);
    (*out)->cap = len;
    fake.blobs++;
    return FL_OK;
}

fl_status
fl_blob_append(struct fl_blob *blob, const void *data, size_t len)
{
    if (fails(true)) {
        return fake.fail_status;
    }
    FL_ASSERT(len <= blob->cap - blob->len);
    memcpy(blob->ptr + blob->len, data, len);
    blob->len += len;
    return FL_OK;
}

void
fl_blob_discard(struct fl_blob *blob)
{
    free(blob->ptr);
    free(blob);
    fake.blobs--;
}

/* ---- keys in order ---- */

fl_status
key_iter_open(struct call *call, struct fl_bytes prefix, struct key_iter **out)
{
    (void)call;
    if (fails(false)) {
        return fake.fail_status;
    }
    *out = calloc(1, sizeof(**out));
    FL_ASSERT(*out != NULL);
    (*out)->prefix = prefix;
    (*out)->at = fake.now.count;
    fake.iters++;
    return FL_OK;
}

void
key_iter_close(struct key_iter *iter)
{
    views_end();
    free(iter);
    fake.iters--;
}

static bool
has_prefix(const struct key_iter *iter, size_t i)
{
    const struct fl_bytes key = fake.now.at[i].key;

    return key.len >= iter->prefix.len &&
           (iter->prefix.len == 0 || memcmp(key.ptr, iter->prefix.ptr, iter->prefix.len) == 0);
}

/* Go on from `i` in steps of one until a key with the prefix. */
static fl_status
stand(struct key_iter *iter, size_t i, int step)
{
    if (fails(false)) {
        return fake.fail_status;
    }
    while (i < fake.now.count && !has_prefix(iter, i)) {
        i += (size_t)step;
    }
    iter->at = i < fake.now.count ? i : fake.now.count;
    return i < fake.now.count ? FL_OK : FL_END;
}

fl_status
key_iter_first(struct key_iter *iter)
{
    return stand(iter, 0, 1);
}

fl_status
key_iter_last(struct key_iter *iter)
{
    return stand(iter, fake.now.count - 1, -1);
}

fl_status
key_iter_seek(struct key_iter *iter, struct fl_bytes key)
{
    return stand(iter, entries_seek(key), 1);
}

fl_status
key_iter_seek_before(struct key_iter *iter, struct fl_bytes key)
{
    return stand(iter, entries_seek(key) - (entries_find(key) == NULL), -1);
}

fl_status
key_iter_next(struct key_iter *iter)
{
    return stand(iter, iter->at + 1, 1);
}

fl_status
key_iter_prev(struct key_iter *iter)
{
    return stand(iter, iter->at - 1, -1);
}

struct fl_bytes
key_iter_key(const struct key_iter *iter)
{
    FL_ASSERT(iter->at < fake.now.count);
    return fake.now.at[iter->at].key;
}

fl_status
key_iter_view(struct key_iter *iter, struct fl_view *view)
{
    if (fails(false)) {
        return fake.fail_status;
    }
    views_end();
    show(&fake.now.at[iter->at], view);
    return FL_OK;
}

uint64_t
call_key_count(struct call *call)
{
    (void)call;
    return fake.now.count;
}

fl_status
call_random_key(struct call *call, void *buf, size_t *len)
{
    (void)call;
    if (fails(false)) {
        return fake.fail_status;
    }
    if (fake.now.count == 0) {
        return FL_NOT_FOUND;
    }
    *len = fake.now.at[0].key.len;
    memcpy(buf, fake.now.at[0].key.ptr, *len);
    return FL_OK;
}
