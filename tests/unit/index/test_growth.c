/* Goal:   the index stays whole while it grows to trees of several levels and shrinks again, for keys of every
 *         shape; growing uses the hash's overflow for nothing, and memory stays within 45 bytes a key.
 * Method: rounds of random puts and deletes over tens of thousands of keys; after each round the invariants are
 *         checked and both scans are compared with a sorted array.
 */
#include "storage/index/index_internal.h"
#include "tests/lib/rng.h"
#include "tests/unit/index/media.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { KEYS = 16000, KEY_ROOM = 320, ROUNDS = 5, RECORDS = 400000, SCAN = 500 };

struct entry {
    struct fl_key key;
    bool live;
};

struct fixture {
    struct media media;
    struct index_media calls;
    struct epoch *epoch;
    struct index *index;
    struct rng rng;
    struct entry *entries; /* in key order */
    size_t count;
    uint64_t lsn;
};

static int
order(const void *a, const void *b)
{
    const struct fl_key *ka = &((const struct entry *)a)->key;
    const struct fl_key *kb = &((const struct entry *)b)->key;

    return key_compare(ka, kb, 0);
}

static void
set(struct fixture *f, size_t i, bool live)
{
    const struct fl_key key = f->entries[i].key;
    const index_loc loc = media_write(&f->media, key, ++f->lsn, live ? 0 : INDEX_LOC_TOMBSTONE);

    assert_int_equal(index_reserve(f->index, 1), FL_OK);
    (void)index_put(f->index, index_hash(f->index, key), key, loc, f->lsn);
    f->entries[i].live = live;
}

static void
assert_scan(struct fixture *f, size_t start, bool backward)
{
    index_loc locs[SCAN];
    const size_t n =
        index_scan(f->index, f->entries[start].key, true, backward ? INDEX_BACKWARD : INDEX_FORWARD,
                   INDEX_LSN_LATEST, locs, SCAN);
    size_t got = 0;

    for (size_t i = start; i < f->count && got < n; i += backward ? SIZE_MAX : 1) {
        const struct fl_key *key = &f->entries[i].key;

        if (!f->entries[i].live || key->space != f->entries[start].key.space) {
            continue;
        }
        const struct media_record *record = media_at(&f->media, locs[got++]);

        assert_int_equal(record->key_len, key->len);
        assert_memory_equal(record->key, key->ptr, key->len);
    }
    assert_int_equal(got, n);
}

static void
assert_whole(struct fixture *f)
{
    uint64_t live[2] = {0, 0};
    index_loc loc;

    if (index_verify(f->index) != FL_OK) {
        fail_msg("%s", fl_last_error());
    }
    for (size_t i = 0; i < f->count; i++) {
        const struct fl_key key = f->entries[i].key;

        live[key.space] += f->entries[i].live;
        if (index_find(f->index, index_hash(f->index, key), key, INDEX_LSN_LATEST, &loc) !=
            f->entries[i].live) {
            fail_msg("key %zu is %s", i, f->entries[i].live ? "missing" : "still there");
        }
    }
    for (uint8_t space = 0; space < 2; space++) {
        assert_int_equal(index_count(f->index, space), live[space]);
    }
    for (size_t start = 0; start < f->count; start += SCAN / 2) {
        assert_scan(f, start, false);
        assert_scan(f, start, true);
    }
}

typedef size_t (*key_shape)(struct rng *rng, uint64_t i, uint8_t *bytes);

static size_t
shape_random(struct rng *rng, uint64_t i, uint8_t *bytes)
{
    (void)i;
    rng_fill(rng, bytes, 16);
    return 16;
}

static size_t
shape_decimal(struct rng *rng, uint64_t i, uint8_t *bytes)
{
    (void)rng;
    return (size_t)sprintf((char *)bytes, "key:%012lu", i);
}

/* Fields of records: long runs that share all but their ends. */
static size_t
shape_fields(struct rng *rng, uint64_t i, uint8_t *bytes)
{
    (void)rng;
    return (size_t)sprintf((char *)bytes, "%s:%06lu:profile:address:field%02lu",
                           i % 3 == 0 ? "user" : "session", i / 40, i % 40);
}

/* One byte in three hundred tells them apart, anywhere. */
static size_t
shape_far(struct rng *rng, uint64_t i, uint8_t *bytes)
{
    const size_t len = 300;

    (void)i;
    memset(bytes, 'x', len);
    bytes[rng_below(rng, len)] = (uint8_t)rng_below(rng, 256);
    bytes[rng_below(rng, len)] = (uint8_t)rng_below(rng, 256);
    return len;
}

/* Binary zeros, and keys that are others' beginnings. */
static size_t
shape_zeros(struct rng *rng, uint64_t i, uint8_t *bytes)
{
    const size_t len = 1 + rng_below(rng, 40);

    (void)i;
    memset(bytes, 0, len);
    for (int n = 0; n < 3; n++) {
        bytes[rng_below(rng, len)] = (uint8_t)rng_below(rng, 3);
    }
    return len;
}

static void
fixture_init(struct fixture *f, uint64_t seed, key_shape shape, size_t count)
{
    uint8_t bytes[KEY_ROOM];

    memset(f, 0, sizeof(*f));
    f->rng = rng_seeded(seed);
    media_init(&f->media, RECORDS, &f->calls);
    assert_int_equal(epoch_create(&f->epoch), FL_OK);
    assert_int_equal(index_create(&f->calls, f->epoch, &f->index), FL_OK);
    f->entries = calloc(count, sizeof(f->entries[0]));
    assert_non_null(f->entries);
    for (size_t i = 0; i < count; i++) {
        const size_t len = shape(&f->rng, i, bytes);
        uint8_t *copy = malloc(len);

        assert_non_null(copy);
        memcpy(copy, bytes, len);
        f->entries[i].key = fl_key_in((uint8_t)(i % 7 == 0), copy, len);
    }
    qsort(f->entries, count, sizeof(f->entries[0]), order);
    for (size_t i = 0; i < count; i++) {
        if (f->count > 0 && order(&f->entries[f->count - 1], &f->entries[i]) == 0) {
            free((void *)(uintptr_t)f->entries[i].key.ptr);
        } else {
            f->entries[f->count++] = f->entries[i];
        }
    }
}

static void
fixture_deinit(struct fixture *f)
{
    index_destroy(f->index);
    epoch_destroy(f->epoch);
    media_deinit(&f->media);
    for (size_t i = 0; i < f->count; i++) {
        free((void *)(uintptr_t)f->entries[i].key.ptr);
    }
    free(f->entries);
}

static void
run(uint64_t seed, key_shape shape)
{
    struct fixture f;

    fixture_init(&f, seed, shape, KEYS);
    for (int round = 0; round < ROUNDS; round++) {
        /* Up and down: all, half, nearly none. */
        const uint64_t live = round % 4 == 0 ? 95 : round % 4 == 1 ? 50 : round % 4 == 2 ? 2 : 70;

        for (size_t n = 0; n < f.count * 2; n++) {
            const size_t i = rng_below(&f.rng, f.count);

            set(&f, i, rng_below(&f.rng, 100) < live);
        }
        assert_whole(&f);
    }
    for (size_t i = 0; i < f.count; i++) {
        set(&f, i, false);
    }
    assert_whole(&f);
    assert_int_equal(index_state(f.index)->order.count, 0);
    assert_int_equal(index_state(f.index)->order.height, 0);
    fixture_deinit(&f);
}

static void
growth_random_keys_stays_whole(void **state)
{
    (void)state;
    run(1, shape_random);
}

static void
growth_decimal_keys_stays_whole(void **state)
{
    (void)state;
    run(2, shape_decimal);
}

static void
growth_fields_stays_whole(void **state)
{
    (void)state;
    run(3, shape_fields);
}

static void
growth_far_differences_stays_whole(void **state)
{
    (void)state;
    run(4, shape_far);
}

static void
growth_zeros_stays_whole(void **state)
{
    (void)state;
    run(5, shape_zeros);
}

/* In order and backwards, deletes too. */
static void
growth_in_order_stays_whole(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f, 6, shape_decimal, KEYS);
    for (int round = 0; round < 4; round++) {
        for (size_t n = 0; n < f.count; n++) {
            set(&f, round % 2 == 0 ? n : f.count - 1 - n, round < 2 || n % 3 != 0);
        }
        assert_whole(&f);
    }
    fixture_deinit(&f);
}

/* A stretch of keys that moves on: nodes whose keys shared much get some that don't. */
static void
growth_moving_window_stays_whole(void **state)
{
    struct fixture f;

    (void)state;
    for (uint64_t seed = 0; seed < 2; seed++) {
        fixture_init(&f, 70 + seed, seed % 2 == 0 ? shape_fields : shape_decimal, KEYS);
        for (size_t n = 0; n < 5 * f.count; n++) {
            const size_t window = f.count / 2 - seed * 2000;

            set(&f, (n / 4 + rng_below(&f.rng, window)) % f.count,
                rng_below(&f.rng, 100) < 60 + 10 * seed);
            if (n % 10000 == 0 && index_verify(f.index) != FL_OK) {
                fail_msg("%s", fl_last_error());
            }
        }
        assert_whole(&f);
        fixture_deinit(&f);
    }
}

static void
put_now(struct fixture *f, const char *text, bool live)
{
    const struct fl_key key = fl_key(text, strlen(text));
    const index_loc loc = media_write(&f->media, key, ++f->lsn, live ? 0 : INDEX_LOC_TOMBSTONE);

    assert_int_equal(index_reserve(f->index, 1), FL_OK);
    (void)index_put(f->index, index_hash(f->index, key), key, loc, f->lsn);
}

/* A key on its way into the tree lacks the prefix that an inner node's halves take when a key before it, inserted under
 * the same holding of the lock, splits that node. */
static void
growth_split_above_a_stranger_stays_whole(void **state)
{
    struct fixture f;
    struct order *tree;
    char text[KEY_ROOM];

    (void)state;
    fixture_init(&f, 9, shape_random, 1);
    tree = &index_state(f.index)->order;
    while (tree->height < 2) {
        const bool near =
            tree->height == 1 && order_inner(tree, tree->root)->count > ORDER_INNER_CHILDREN - 8;

        for (int n = 0; n < ORDER_SLICE - 1; n++) {
            snprintf(text, sizeof(text), "aaaa%016lx", rng_u64(&f.rng));
            put_now(&f, text, true);
        }
        if (near) {
            put_now(&f, "stranger", true);
        }
        order_merge_all(tree);
        if (near && tree->height < 2) {
            put_now(&f, "stranger", false);
        }
    }
    if (index_verify(f.index) != FL_OK) {
        fail_msg("%s", fl_last_error());
    }
    put_now(&f, "stranger", false);
    assert_int_equal(index_verify(f.index), FL_OK);
    fixture_deinit(&f);
}

/* Whether a key that leaves is in the tree is decided under the order's lock: a merge that comes between its leaving
 * and that decision inserts it. */
static void
order_merge_before_remove_inserts_the_leaving(void **state)
{
    struct fixture f;

    (void)state;
    for (int merge_first = 0; merge_first < 2; merge_first++) {
        fixture_init(&f, 10, shape_random, 1);
        struct index_state *inside = index_state(f.index);
        const struct fl_key key = fl_key("leaving", 7);
        const uint64_t hash = index_hash(f.index, key);

        put_now(&f, "leaving", true);
        const uint32_t id = 1;
        const uint64_t word = entries_load(&inside->entries, id);

        entries_store(&inside->entries, id, ENTRY_LEAVING | word);
        assert_true(hash_remove(&inside->hash, hash, id));
        if (merge_first == 1) {
            order_merge_all(&inside->order);
            assert_true(order_placed(&inside->order, id));
            assert_true(order_remove(&inside->order, &key, id));
            entries_free(&inside->entries, id);
        } else {
            assert_false(order_remove(&inside->order, &key, id));
            assert_int_equal(inside->entries.free_count, 0);
            order_merge_all(&inside->order);
            assert_false(order_placed(&inside->order, id));
        }
        atomic_store(&inside->counts[0], 0);
        assert_int_equal(inside->order.count, 0);
        assert_int_equal(index_verify(f.index), FL_OK);
        assert_int_equal(entries_take(&inside->entries), id);
        fixture_deinit(&f);
    }
}

/* Deletes of keys that wait for their place, and scans in between. */
static void
growth_short_lived_keys_stays_whole(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f, 7, shape_fields, KEYS);
    for (int n = 0; n < 120000; n++) {
        const size_t i = (size_t)n / 8 % f.count;

        set(&f, i, n % 8 < 4 || n % 3 == 0);
        if (rng_below(&f.rng, 5000) == 0) {
            (void)index_maintain(f.index);
        }
        if (rng_below(&f.rng, 10000) == 0) {
            assert_scan(&f, rng_below(&f.rng, f.count), (n & 1) != 0);
        }
    }
    assert_whole(&f);
    fixture_deinit(&f);
}

static void
growth_by_single_puts_needs_no_overflow_and_little_memory(void **state)
{
    enum { MANY = 200000 };
    struct fixture f;

    (void)state;
    fixture_init(&f, 8, shape_random, 1);
    for (uint64_t i = 0; i < MANY; i++) {
        uint8_t bytes[16];

        rng_fill(&f.rng, bytes, 16);
        const struct fl_key key = fl_key(bytes, 16);
        const index_loc loc = media_write(&f.media, key, ++f.lsn, 0);

        assert_int_equal(index_reserve(f.index, 1), FL_OK);
        (void)index_put(f.index, index_hash(f.index, key), key, loc, f.lsn);
    }
    while (index_maintain(f.index) > 0) {
    }
    assert_int_equal(index_verify(f.index), FL_OK);
    const struct hash *hash = &index_state(f.index)->hash;

    for (uint32_t s = 1; s < hash->segments.next; s++) {
        const struct hash_segment_info *info = arena_at(&hash->store->infos, s);

        assert_int_equal(atomic_load(&info->overflow), 0);
    }
    /* Ring, batch and what is reserved weigh more here than in a store of millions. Segments come in steps of 2 MiB:
     * one hash's secret in fifteen needs a step more. */
    assert_true(index_dram_bytes(f.index) < MANY * UINT64_C(45) + (7 << 20));
    fixture_deinit(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(growth_random_keys_stays_whole),
        cmocka_unit_test(growth_decimal_keys_stays_whole),
        cmocka_unit_test(growth_fields_stays_whole),
        cmocka_unit_test(growth_far_differences_stays_whole),
        cmocka_unit_test(growth_zeros_stays_whole),
        cmocka_unit_test(growth_in_order_stays_whole),
        cmocka_unit_test(growth_moving_window_stays_whole),
        cmocka_unit_test(growth_split_above_a_stranger_stays_whole),
        cmocka_unit_test(order_merge_before_remove_inserts_the_leaving),
        cmocka_unit_test(growth_short_lived_keys_stays_whole),
        cmocka_unit_test(growth_by_single_puts_needs_no_overflow_and_little_memory),
    };

    return cmocka_run_group_tests_name("index growth", tests, NULL, NULL);
}
