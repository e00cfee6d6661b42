#include "server/watch.h"

#include "base/fail.h"
#include "server/txn.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

enum { WATCH_BUCKETS_MIN = 64 };

struct watch {
    struct watch *bucket_next;
    struct watch *txn_next;
    struct txn *txn;
    uint64_t hash;
    uint64_t deadline_ms;
    size_t key_bytes;
    char key[];
};

static uint64_t
watch_hash(const struct watch_table *table, struct fl_bytes key)
{
    return XXH3_64bits_withSeed(key.ptr, key.len, table->seed);
}

static bool
watch_is(const struct watch *watch, uint64_t hash, struct fl_bytes key)
{
    return watch->hash == hash && watch->key_bytes == key.len &&
           memcmp(watch->key, key.ptr, key.len) == 0;
}

static fl_status
watch_grow(struct watch_table *table)
{
    const size_t count = table->buckets_count == 0 ? WATCH_BUCKETS_MIN : table->buckets_count * 2;
    struct watch **buckets = calloc(count, sizeof(*buckets));

    if (buckets == NULL) {
        return table->buckets_count == 0 ? FL_FAIL(FL_NO_MEMORY, "table of watched keys") : FL_OK;
    }
    if (table->buckets_count == 0 &&
        getrandom(&table->seed, sizeof(table->seed), GRND_NONBLOCK) < 0) {
        table->seed = (uint64_t)(uintptr_t)buckets;
    }
    for (size_t i = 0; i < table->buckets_count; i++) {
        while (table->buckets[i] != NULL) {
            struct watch *watch = table->buckets[i];
            struct watch **place = &buckets[watch->hash & (count - 1)];

            table->buckets[i] = watch->bucket_next;
            watch->bucket_next = *place;
            *place = watch;
        }
    }
    free(table->buckets);
    table->buckets = buckets;
    table->buckets_count = count;
    return FL_OK;
}

void
watch_table_deinit(struct watch_table *table)
{
    FL_ASSERT(table->count == 0);
    free(table->buckets);
    *table = (struct watch_table){0};
}

fl_status
watch_add(struct watch_table *table, struct txn *txn, struct fl_bytes key, uint64_t deadline_ms)
{
    if (table->count >= table->buckets_count) {
        const fl_status status = watch_grow(table);

        if (status != FL_OK) {
            return status;
        }
    }
    const uint64_t hash = watch_hash(table, key);
    struct watch **place = &table->buckets[hash & (table->buckets_count - 1)];

    for (const struct watch *watch = *place; watch != NULL; watch = watch->bucket_next) {
        if (watch->txn == txn && watch_is(watch, hash, key)) {
            return FL_OK;
        }
    }
    struct watch *watch = malloc(sizeof(*watch) + key.len);

    if (watch == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "a watched key");
    }
    *watch = (struct watch){.bucket_next = *place,
                            .txn_next = txn->watches,
                            .txn = txn,
                            .hash = hash,
                            .deadline_ms = deadline_ms,
                            .key_bytes = key.len};
    memcpy(watch->key, key.ptr, key.len);
    *place = watch;
    txn->watches = watch;
    txn->watches_bytes += sizeof(*watch) + key.len;
    table->count++;
    return FL_OK;
}

static void
watch_unlink(struct watch_table *table, struct watch *gone)
{
    struct watch **place = &table->buckets[gone->hash & (table->buckets_count - 1)];

    while (*place != gone) {
        place = &(*place)->bucket_next;
    }
    *place = gone->bucket_next;
    table->count--;
}

void
watch_remove_all(struct watch_table *table, struct txn *txn)
{
    while (txn->watches != NULL) {
        struct watch *watch = txn->watches;

        txn->watches = watch->txn_next;
        watch_unlink(table, watch);
        free(watch);
    }
    txn->watches_bytes = 0;
    txn->watch_dirty = false;
}

bool
watch_expired(const struct txn *txn, uint64_t now_ms)
{
    for (const struct watch *watch = txn->watches; watch != NULL; watch = watch->txn_next) {
        if (watch->deadline_ms != 0 && watch->deadline_ms <= now_ms) {
            return true;
        }
    }
    return false;
}

void
watch_touch_slow(struct watch_table *table, struct fl_bytes key)
{
    const uint64_t hash = watch_hash(table, key);
    struct watch *watch = table->buckets[hash & (table->buckets_count - 1)];

    for (; watch != NULL; watch = watch->bucket_next) {
        if (watch_is(watch, hash, key)) {
            watch->txn->watch_dirty = true;
        }
    }
}

void
watch_touch_present(struct watch_table *table,
                    bool (*is_present)(void *context, struct fl_bytes key), void *context)
{
    for (size_t i = 0; i < table->buckets_count; i++) {
        for (struct watch *watch = table->buckets[i]; watch != NULL; watch = watch->bucket_next) {
            if (!watch->txn->watch_dirty &&
                is_present(context, fl_bytes(watch->key, watch->key_bytes))) {
                watch->txn->watch_dirty = true;
            }
        }
    }
}
