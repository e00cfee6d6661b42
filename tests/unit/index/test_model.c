/* Goal:   the index does what a sorted array with version lists does: find, scan both ways, count, at the newest
 *         state and at every pin; and every loc it was given is either still named or reported dead once.
 * Method: random puts, tombstones, expiries, relocations, clears, pins and unpins on both, compared in
 *         full every so often; several shapes of keys and of hashes (all equal, equal tags, few buckets).
 */
#include "base/mem.h"
#include "tests/lib/rng.h"
#include "tests/unit/index/media.h"
#include "tests/unit/index/shapes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { KEYS = 600, OLD_MAX = 64, PINS_MAX = 12, STEPS = 30000, RECORDS = 200000 };

struct old_version {
    index_loc loc;
    uint64_t lsn, lsn_end;
};

struct model_key {
    struct fl_key key;
    uint64_t hash;
    index_loc loc; /* newest, a tombstone perhaps; 0: none */
    uint64_t lsn;
    struct old_version old[OLD_MAX]; /* oldest first */
    int old_count;
};

struct fixture {
    struct media media;
    struct index_media calls;
    struct epoch *epoch;
    struct index *index;
    struct rng rng;
    struct model_key keys[KEYS]; /* in key order */
    int keys_count;
    uint64_t pins[PINS_MAX];
    int pins_count;
    uint64_t lsn;
    uint64_t dead; /* expected */
    bool own_hash; /* hashes chosen by the test */
};

static int
order(const void *a, const void *b)
{
    const struct fl_key *ka = &((const struct model_key *)a)->key;
    const struct fl_key *kb = &((const struct model_key *)b)->key;
    const uint32_t len = ka->len < kb->len ? ka->len : kb->len;
    const int c =
        ka->space != kb->space ? (ka->space < kb->space ? -1 : 1) : memcmp(ka->ptr, kb->ptr, len);

    return c != 0 ? c : (ka->len > kb->len) - (ka->len < kb->len);
}

static bool
model_seen(const struct fixture *f, uint64_t lsn, uint64_t lsn_end)
{
    for (int i = 0; i < f->pins_count; i++) {
        if (f->pins[i] >= lsn && f->pins[i] < lsn_end) {
            return true;
        }
    }
    return false;
}

static index_loc
model_at(const struct model_key *k, uint64_t at_lsn)
{
    if (at_lsn == INDEX_LSN_LATEST || k->lsn <= at_lsn) {
        return (k->loc & INDEX_LOC_TOMBSTONE) != 0 ? 0 : k->loc;
    }
    for (int i = k->old_count; i-- > 0;) {
        if (k->old[i].lsn <= at_lsn) {
            return at_lsn < k->old[i].lsn_end ? k->old[i].loc : 0;
        }
    }
    return 0;
}

static void
model_dead(struct fixture *f, index_loc loc)
{
    if (loc != 0) {
        f->dead++;
        assert_int_equal(atomic_load(&media_at(&f->media, loc)->dead), 1);
    }
}

static void
model_prune(struct fixture *f, struct model_key *k)
{
    int kept = 0;

    for (int i = 0; i < k->old_count; i++) {
        if (model_seen(f, k->old[i].lsn, k->old[i].lsn_end)) {
            k->old[kept++] = k->old[i];
        } else {
            model_dead(f, k->old[i].loc);
        }
    }
    k->old_count = kept;
    if (kept == 0 && (k->loc == 0 || (k->loc & INDEX_LOC_TOMBSTONE) != 0)) {
        model_dead(f, k->loc);
        k->loc = 0;
        k->lsn = 0;
    }
}

/* The newest version of k ends at lsn_end, `loc` of `lsn` follows. */
static void
model_change(struct fixture *f, struct model_key *k, index_loc loc, uint64_t lsn, uint64_t lsn_end)
{
    const bool live = k->loc != 0 && (k->loc & INDEX_LOC_TOMBSTONE) == 0;

    if (live) {
        assert_true(k->old_count < OLD_MAX);
        k->old[k->old_count++] = (struct old_version){k->loc, k->lsn, lsn_end};
    } else {
        model_dead(f, k->loc);
        if (k->old_count > 0 && k->old[k->old_count - 1].lsn_end == UINT64_MAX) {
            k->old[k->old_count - 1].lsn_end = lsn_end;
        }
    }
    k->loc = loc;
    k->lsn = lsn;
    model_prune(f, k);
}

/* ---- comparing ---- */

static void
compare_scan(struct fixture *f, uint8_t space, uint64_t at_lsn)
{
    static index_loc locs[KEYS + 1];
    const struct model_key *wanted[KEYS];
    int n = 0;

    for (int i = 0; i < f->keys_count; i++) {
        if (f->keys[i].key.space == space && model_at(&f->keys[i], at_lsn) != 0) {
            wanted[n++] = &f->keys[i];
        }
    }
    struct fl_key from = fl_key_in(space, "", 0);

    assert_int_equal(index_scan(f->index, from, true, INDEX_FORWARD, at_lsn, locs, KEYS + 1), n);
    for (int i = 0; i < n; i++) {
        assert_int_equal(locs[i], model_at(wanted[i], at_lsn));
    }
    assert_int_equal(index_scan(f->index, from, true, INDEX_BACKWARD, at_lsn, locs, KEYS + 1), n);
    for (int i = 0; i < n; i++) {
        assert_int_equal(locs[i], model_at(wanted[n - 1 - i], at_lsn));
    }
    /* From a key, there or not, a few. */
    const int pick = (int)rng_below(&f->rng, (uint64_t)f->keys_count);
    const bool inclusive = (rng_u64(&f->rng) & 1) != 0;
    const bool backward = (rng_u64(&f->rng) & 1) != 0;
    const int step = backward ? -1 : 1;
    size_t got = 0;

    from = f->keys[pick].key;
    const size_t count = index_scan(f->index, from, inclusive,
                                    backward ? INDEX_BACKWARD : INDEX_FORWARD, at_lsn, locs, 10);

    for (int i = inclusive ? pick : pick + step; i >= 0 && i < f->keys_count && got < 10;
         i += step) {
        const index_loc loc =
            f->keys[i].key.space == from.space ? model_at(&f->keys[i], at_lsn) : 0;

        if (loc != 0) {
            assert_true(got < count);
            assert_int_equal(locs[got], loc);
            got++;
        }
    }
    assert_int_equal(got, count);
}

static void
compare_key(struct fixture *f, const struct model_key *k, uint64_t at_lsn)
{
    const index_loc wanted = model_at(k, at_lsn);
    index_loc loc = 0;

    const bool found = index_find(f->index, k->hash, k->key, at_lsn, &loc);

    assert_int_equal(found, wanted != 0);
    if (found) {
        assert_int_equal(loc, wanted);
    }
}

static void
compare_random(struct fixture *f, uint8_t space, uint64_t count)
{
    index_loc loc;

    if (!index_random(f->index, space, rng_u64(&f->rng), &loc)) {
        assert_int_equal(count, 0);
        return;
    }
    assert_int_equal(media_at(&f->media, loc)->space, space);
    assert_int_equal(atomic_load(&media_at(&f->media, loc)->dead), 0);
    assert_int_equal(loc & INDEX_LOC_TOMBSTONE, 0);
}

static void
compare_all(struct fixture *f)
{
    uint64_t counts[3] = {0};
    uint64_t older = 0;
    uint64_t kept;

    for (int i = 0; i < f->keys_count; i++) {
        const struct model_key *k = &f->keys[i];

        counts[k->key.space] += model_at(k, INDEX_LSN_LATEST) != 0;
        older += (uint64_t)k->old_count;
        compare_key(f, k, INDEX_LSN_LATEST);
        for (int p = 0; p < f->pins_count; p++) {
            compare_key(f, k, f->pins[p]);
        }
        if (k->loc != 0) {
            assert_true(index_names(f->index, k->hash, k->key, k->loc));
        }
        for (int o = 0; o < k->old_count; o++) {
            assert_true(index_names(f->index, k->hash, k->key, k->old[o].loc));
        }
    }
    for (uint8_t space = 0; space < 3; space++) {
        assert_int_equal(index_count(f->index, space), counts[space]);
        compare_scan(f, space, INDEX_LSN_LATEST);
        for (int p = 0; p < f->pins_count; p++) {
            compare_scan(f, space, f->pins[p]);
        }
        compare_random(f, space, counts[space]);
    }
    assert_int_equal(index_pins(f->index, &kept), f->pins_count);
    assert_int_equal(kept, older);
    assert_int_equal(atomic_load(&f->media.dead_total), f->dead);
    if (index_verify(f->index) != FL_OK) {
        fail_msg("%s", fl_last_error());
    }
}

/* ---- steps ---- */

static struct model_key *
some_key(struct fixture *f)
{
    return &f->keys[rng_below(&f->rng, (uint64_t)f->keys_count)];
}

static void
step_put(struct fixture *f, bool tombstone)
{
    struct model_key *k = some_key(f);
    const uint64_t flags = (tombstone ? INDEX_LOC_TOMBSTONE : 0) |
                           ((rng_u64(&f->rng) & 1) != 0 ? INDEX_LOC_DEADLINE : 0);
    const index_loc was = k->loc;

    if (tombstone && k->old_count == OLD_MAX) {
        return;
    }
    f->lsn += 1 + rng_below(&f->rng, 3);
    const index_loc loc = media_write(&f->media, k->key, f->lsn, flags);

    assert_int_equal(index_reserve(f->index, 1), FL_OK);
    assert_int_equal(index_put(f->index, k->hash, k->key, loc, f->lsn), was);
    model_change(f, k, loc, f->lsn, f->lsn);
}

static void
step_expire(struct fixture *f)
{
    struct model_key *k = some_key(f);
    const bool live = k->loc != 0 && (k->loc & INDEX_LOC_TOMBSTONE) == 0;

    assert_false(index_expire(f->index, k->hash, k->key, k->loc + 1));
    if (!live) {
        return;
    }
    assert_true(index_expire(f->index, k->hash, k->key, k->loc));
    model_change(f, k, 0, UINT64_MAX, UINT64_MAX);
}

static void
step_relocate(struct fixture *f)
{
    struct model_key *k = some_key(f);
    const int which = (int)rng_below(&f->rng, (uint64_t)k->old_count + 1);
    index_loc *from = which == k->old_count ? &k->loc : &k->old[which].loc;

    if (*from == 0) {
        assert_false(index_relocate(f->index, k->hash, k->key, UINT64_C(1) << 40, 1));
        return;
    }
    const index_loc to = media_write(&f->media, k->key, media_at(&f->media, *from)->lsn,
                                     (*from & ~INDEX_LOC_OFF_MASK) | INDEX_LOC_LSN_EXPLICIT);

    assert_true(index_relocate(f->index, k->hash, k->key, *from, to));
    assert_false(index_names(f->index, k->hash, k->key, *from));
    *from = to;
}

static void
step_pin(struct fixture *f)
{
    if (f->pins_count == PINS_MAX) {
        return;
    }
    assert_int_equal(index_pin(f->index, f->lsn), FL_OK);
    f->pins[f->pins_count++] = f->lsn;
}

static void
step_unpin(struct fixture *f)
{
    if (f->pins_count == 0) {
        return;
    }
    const int i = (int)rng_below(&f->rng, (uint64_t)f->pins_count);
    const uint64_t lsn = f->pins[i];

    f->pins[i] = f->pins[--f->pins_count];
    index_unpin(f->index, lsn);
    for (int k = 0; k < f->keys_count; k++) {
        model_prune(f, &f->keys[k]);
    }
}

static void
step_clear(struct fixture *f)
{
    const uint8_t first = (uint8_t)rng_below(&f->rng, 3);
    const uint8_t last = (uint8_t)(first + rng_below(&f->rng, (uint64_t)3 - first));
    const uint64_t lsn = rng_below(&f->rng, 2) == 0 ? f->lsn / 2 : f->lsn + 1;

    if (f->own_hash) {
        return; /* it takes the index's own */
    }
    f->lsn = lsn > f->lsn ? lsn : f->lsn;
    assert_int_equal(index_reserve_clear(f->index, first, last), FL_OK);
    const bool whole = index_clear_spaces(f->index, first, last, lsn);

    for (int i = 0; i < f->keys_count; i++) {
        struct model_key *k = &f->keys[i];
        const bool live = k->loc != 0 && (k->loc & INDEX_LOC_TOMBSTONE) == 0;

        if (k->key.space < first || k->key.space > last || !live || k->lsn >= lsn) {
            continue;
        }
        if (whole) {
            assert_int_equal(k->old_count, 0);
            assert_int_equal(atomic_load(&media_at(&f->media, k->loc)->dead), 0);
            k->loc = 0;
            k->lsn = 0;
        } else {
            model_change(f, k, 0, lsn, lsn);
        }
    }
}

static void
step(struct fixture *f)
{
    const uint64_t what = rng_below(&f->rng, 1000);

    if (what < 500) {
        step_put(f, false);
    } else if (what < 780) {
        step_put(f, true);
    } else if (what < 850) {
        step_expire(f);
    } else if (what < 950) {
        step_relocate(f);
    } else if (what < 970) {
        step_pin(f);
    } else if (what < 990) {
        step_unpin(f);
    } else if (what < 992) {
        step_clear(f);
    } else if (what < 995) {
        (void)epoch_reclaim(f->epoch);
    } else {
        (void)index_maintain(f->index);
    }
}

static void
run(uint64_t seed, key_shape shape, int keys, int steps, hash_shape own_hash)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    f->rng = rng_seeded(seed);
    media_init(&f->media, RECORDS, &f->calls);
    assert_int_equal(epoch_create(&f->epoch), FL_OK);
    assert_int_equal(index_create(&f->calls, f->epoch, &f->index), FL_OK);
    f->lsn = 100;
    f->own_hash = own_hash != NULL;
    uint8_t *bytes = malloc(FL_KEY_BYTES_MAX);

    assert_non_null(bytes);
    for (int i = 0; i < keys; i++) {
        struct fl_key key;
        uint8_t *copy;

        shape(&f->rng, i, &key, bytes);
        copy = malloc(key.len);
        assert_non_null(copy);
        memcpy(copy, bytes, key.len);
        key.ptr = copy;
        f->keys[i].key = key;
        f->keys[i].hash = index_hash(f->index, key);
        if (own_hash != NULL) {
            f->keys[i].hash = own_hash(f->keys[i].hash);
        }
    }
    qsort(f->keys, (size_t)keys, sizeof(f->keys[0]), order);
    for (int i = 0; i < keys; i++) {
        if (i > 0 && order(&f->keys[f->keys_count - 1], &f->keys[i]) == 0) {
            free((void *)(uintptr_t)f->keys[i].key.ptr);
        } else {
            f->keys[f->keys_count++] = f->keys[i];
        }
    }
    for (int i = 0; i < steps; i++) {
        step(f);
        if (i % 500 == 499) {
            compare_all(f);
        }
    }
    while (f->pins_count > 0) {
        step_unpin(f);
    }
    compare_all(f);
    index_destroy(f->index);
    epoch_destroy(f->epoch);
    media_deinit(&f->media);
    for (int i = 0; i < f->keys_count; i++) {
        free((void *)(uintptr_t)f->keys[i].key.ptr);
    }
    free(bytes);
    free(f);
}

static void
index_random_keys_matches_model(void **state)
{
    (void)state;
    run(1, shape_random16, KEYS, STEPS, NULL);
}

static void
index_decimal_keys_matches_model(void **state)
{
    (void)state;
    run(2, shape_decimal, KEYS, STEPS, NULL);
}

static void
index_short_keys_matches_model(void **state)
{
    (void)state;
    run(3, shape_short, KEYS, STEPS, NULL);
}

static void
index_prefixed_keys_matches_model(void **state)
{
    (void)state;
    run(4, shape_prefixed, KEYS, STEPS, NULL);
}

static void
index_long_keys_matches_model(void **state)
{
    (void)state;
    run(5, shape_long, 150, 2000, NULL);
}

static void
index_equal_hashes_matches_model(void **state)
{
    (void)state;
    run(6, shape_random16, KEYS, STEPS / 3, hash_all_equal);
}

static void
index_equal_tags_matches_model(void **state)
{
    (void)state;
    run(7, shape_decimal, KEYS, STEPS / 3, hash_equal_tags);
}

static void
index_few_buckets_matches_model(void **state)
{
    (void)state;
    run(8, shape_random16, KEYS, STEPS / 3, hash_few_buckets);
}

static void
index_few_hash_bits_matches_model(void **state)
{
    (void)state;
    run(9, shape_short, KEYS, STEPS / 3, hash_few_bits);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(index_random_keys_matches_model),
        cmocka_unit_test(index_decimal_keys_matches_model),
        cmocka_unit_test(index_short_keys_matches_model),
        cmocka_unit_test(index_prefixed_keys_matches_model),
        cmocka_unit_test(index_long_keys_matches_model),
        cmocka_unit_test(index_equal_hashes_matches_model),
        cmocka_unit_test(index_equal_tags_matches_model),
        cmocka_unit_test(index_few_buckets_matches_model),
        cmocka_unit_test(index_few_hash_bits_matches_model),
    };

    return cmocka_run_group_tests_name("index model", tests, NULL, NULL);
}
