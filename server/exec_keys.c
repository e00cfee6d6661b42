#include "server/exec_keys.h"

#include "base/bytes.h"
#include "base/fail.h"

#include <stdlib.h>
#include <string.h>

enum { EXEC_KEYS_MIN = 64 };

int
key_compare(struct fl_bytes a, struct fl_bytes b)
{
    return bytes_compare(a.ptr, a.len, b.ptr, b.len);
}

static void
drop_all(struct exec_keys *keys)
{
    for (size_t i = 0; i < keys->count; i++) {
        free((void *)(uintptr_t)keys->keys[i].ptr);
    }
    keys->count = 0;
}

void
exec_keys_begin(struct exec_keys *keys)
{
    *keys = (struct exec_keys){.tracks = true, .sorted = true};
}

void
exec_keys_end(struct exec_keys *keys)
{
    drop_all(keys);
    free(keys->keys);
    *keys = (struct exec_keys){0};
}

fl_status
exec_keys_add(struct exec_keys *keys, struct fl_bytes key)
{
    if (keys->count == keys->cap) {
        const size_t cap = keys->cap == 0 ? EXEC_KEYS_MIN : keys->cap * 2;
        struct fl_bytes *grown = realloc(keys->keys, cap * sizeof(*grown));

        if (grown == NULL) {
            return FL_FAIL(FL_NO_MEMORY, "keys of a transaction");
        }
        keys->keys = grown;
        keys->cap = cap;
    }
    void *copy = malloc(key.len);

    if (copy == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "a key of a transaction");
    }
    memcpy(copy, key.ptr, key.len);
    keys->keys[keys->count++] = fl_bytes(copy, key.len);
    keys->sorted = false;
    return FL_OK;
}

void
exec_keys_flushed(struct exec_keys *keys)
{
    drop_all(keys);
    keys->flushed = true;
    keys->sorted = true;
}

static int
compare_for_sort(const void *a, const void *b)
{
    return key_compare(*(const struct fl_bytes *)a, *(const struct fl_bytes *)b);
}

void
exec_keys_sort(struct exec_keys *keys)
{
    size_t kept = 0;

    if (keys->sorted) {
        return;
    }
    qsort(keys->keys, keys->count, sizeof(keys->keys[0]), compare_for_sort);
    for (size_t i = 0; i < keys->count; i++) {
        if (kept > 0 && key_compare(keys->keys[kept - 1], keys->keys[i]) == 0) {
            free((void *)(uintptr_t)keys->keys[i].ptr);
        } else {
            keys->keys[kept++] = keys->keys[i];
        }
    }
    keys->count = kept;
    keys->sorted = true;
}

size_t
exec_keys_seek(const struct exec_keys *keys, struct fl_bytes key)
{
    size_t low = 0;
    size_t high = keys->count;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;

        if (key_compare(keys->keys[middle], key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

bool
exec_keys_has(const struct exec_keys *keys, struct fl_bytes key)
{
    const size_t at = exec_keys_seek(keys, key);

    return at < keys->count && key_compare(keys->keys[at], key) == 0;
}
