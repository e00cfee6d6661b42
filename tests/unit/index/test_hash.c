/* Goal:   the hash finds what was put, wherever splits, deeper directories and overflow have moved it, and a
 *         reader whose search is overtaken by a split starts over instead of missing.
 * Method: a hash of numbers whose hashes the test chooses; a split in the middle of a search, by the callback that
 *         compares; then readers beside a writer that splits all the time; overflow forced by equal hashes and
 *         by refusing room.
 */
#include "base/epoch.h"
#include "storage/index/hash.h"
#include "tests/lib/rng.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { KEYS_MAX = 1 << 20, STABLE = 2000, GROWTH = 60000, ROUNDS = 4 };

struct fixture {
    struct epoch *epoch;
    struct hash_store store;
    struct hash hash;
};

static void
fixture_init(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    assert_int_equal(epoch_create(&f->epoch), FL_OK);
    assert_int_equal(hash_store_init(&f->store, KEYS_MAX), FL_OK);
    assert_int_equal(hash_init(&f->hash, &f->store, f->epoch, 0), FL_OK);
}

static void
fixture_deinit(struct fixture *f)
{
    (void)epoch_reclaim(f->epoch);
    hash_deinit(&f->hash);
    hash_store_deinit(&f->store);
    epoch_destroy(f->epoch);
}

static uint64_t
hash_of(uint64_t i)
{
    i = (i ^ i >> 31) * UINT64_C(0x7FB5D329728EA185);
    i = (i ^ i >> 27) * UINT64_C(0x81DADEF4BC2DD44D);
    return i ^ i >> 33;
}

static void
insert(struct fixture *f, uint64_t key_hash, uint32_t id)
{
    assert_int_equal(hash_reserve(&f->hash, 1), FL_OK);
    hash_insert(&f->hash, key_hash, id);
}

static bool
same_id(void *context, uint32_t id)
{
    return *(const uint32_t *)context == id;
}

static bool
holds(const struct fixture *f, uint64_t key_hash, uint32_t id)
{
    return hash_find(&f->hash, key_hash, same_id, &id) == id;
}

static unsigned
depth_of(const struct fixture *f)
{
    return atomic_load(&f->hash.directory)->depth;
}

static void
hash_grown_and_shrunk_holds_the_rest(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f);
    for (uint32_t i = 1; i <= GROWTH; i++) {
        insert(&f, hash_of(i), i);
    }
    assert_true(depth_of(&f) >= 5);
    for (uint32_t i = 1; i <= GROWTH; i++) {
        assert_true(holds(&f, hash_of(i), i));
        assert_false(holds(&f, hash_of(i), i + 1));
    }
    for (uint32_t i = 1; i <= GROWTH; i += 2) {
        assert_true(hash_remove(&f.hash, hash_of(i), i));
        assert_false(hash_remove(&f.hash, hash_of(i), i));
    }
    for (uint32_t i = 1; i <= GROWTH; i++) {
        assert_int_equal(holds(&f, hash_of(i), i), i % 2 == 0);
    }
    fixture_deinit(&f);
}

/* ---- a split in the middle of a search ---- */

struct overtaken {
    struct fixture *f;
    uint32_t wanted;
    uint32_t decoy;
    uint64_t next;
    unsigned calls;
};

/* On the decoy: grow until the wanted one has moved. */
static bool
split_on_decoy(void *context, uint32_t id)
{
    struct overtaken *o = context;

    if (id == o->wanted) {
        return true;
    }
    if (id == o->decoy && o->calls++ == 0) {
        for (int n = 0; n < 20000; n++) {
            o->next++;
            insert(o->f, hash_of(o->next), (uint32_t)o->next);
        }
    }
    return false;
}

static void
hash_split_during_search_is_noticed(void **state)
{
    unsigned noticed = 0;

    (void)state;
    /* Whether a slot moves depends on a bit of its hash: try some. */
    for (uint64_t try = 1; try <= 16; try++) {
        struct fixture f;
        const uint64_t key_hash = hash_of(try * 1000003);

        fixture_init(&f);
        struct overtaken o = {&f, 2, 1, 2, 0};

        insert(&f, key_hash, o.decoy);
        insert(&f, key_hash, o.wanted);
        assert_int_equal(hash_find(&f.hash, key_hash, split_on_decoy, &o), o.wanted);
        noticed += o.calls > 1;
        fixture_deinit(&f);
    }
    /* Where it moved the search has met the decoy again. */
    assert_true(noticed > 4);
}

/* ---- overflow ---- */

static void
hash_equal_hashes_go_to_overflow(void **state)
{
    enum { SAME = 500 };
    struct fixture f;

    (void)state;
    fixture_init(&f);
    for (uint32_t i = 1; i <= SAME; i++) {
        insert(&f, hash_of(7), i);
    }
    assert_int_equal(depth_of(&f), 0);
    /* The rest grows around them, and through splits they stay where they are. */
    for (uint32_t i = SAME + 1; i <= GROWTH; i++) {
        insert(&f, hash_of(i), i);
    }
    for (uint32_t i = 1; i <= SAME; i++) {
        assert_true(holds(&f, hash_of(7), i));
    }
    for (uint32_t i = SAME + 1; i <= GROWTH; i++) {
        assert_true(holds(&f, hash_of(i), i));
    }
    for (uint32_t i = 1; i <= SAME; i++) {
        assert_true(hash_remove(&f.hash, hash_of(7), i));
        assert_false(holds(&f, hash_of(7), i));
    }
    fixture_deinit(&f);
}

static void
hash_without_spare_segments_overflows_and_goes_on(void **state)
{
    struct fixture f;
    uint32_t id = 0;

    (void)state;
    fixture_init(&f);
    /* Room for the puts is promised once; more segments than that don't come. */
    assert_int_equal(hash_reserve(&f.hash, 30000), FL_OK);
    f.hash.segments.next = f.hash.segments.end - 2;
    while (id < 30000) {
        id++;
        hash_insert(&f.hash, hash_of(id), id);
    }
    for (uint32_t i = 1; i <= id; i += 7) {
        assert_true(holds(&f, hash_of(i), i));
    }
    while (id < GROWTH) {
        insert(&f, hash_of(id + 1), id + 1);
        id++;
    }
    for (uint32_t i = 1; i <= id; i += 7) {
        assert_true(holds(&f, hash_of(i), i));
        assert_true(hash_remove(&f.hash, hash_of(i), i));
    }
    fixture_deinit(&f);
}

/* ---- joining ---- */

static void
hash_joined_parts_hold_all(void **state)
{
    enum { PARTS = 4 };
    struct fixture f;
    struct hash parts[PARTS];
    struct hash *named[PARTS];

    (void)state;
    fixture_init(&f);
    for (unsigned p = 0; p < PARTS; p++) {
        assert_int_equal(hash_init(&parts[p], &f.store, f.epoch, 2), FL_OK);
        named[p] = &parts[p];
    }
    for (uint32_t i = 1; i <= GROWTH; i++) {
        const unsigned p = (unsigned)(hash_of(i) >> 62);

        /* Of different sizes. */
        if (i % (p + 1) == 0) {
            assert_int_equal(hash_reserve(&parts[p], 1), FL_OK);
            hash_insert(&parts[p], hash_of(i), i);
        }
    }
    assert_int_equal(hash_join(&f.hash, named, PARTS), FL_OK);
    for (uint32_t i = 1; i <= GROWTH; i++) {
        assert_int_equal(holds(&f, hash_of(i), i), i % ((hash_of(i) >> 62) + 1) == 0);
    }
    for (uint32_t i = GROWTH + 1; i <= 3 * GROWTH; i++) {
        insert(&f, hash_of(i), i);
    }
    for (uint32_t i = GROWTH + 1; i <= 3 * GROWTH; i++) {
        assert_true(holds(&f, hash_of(i), i));
    }
    fixture_deinit(&f);
}

/* ---- readers beside splits ---- */

struct reader {
    struct fixture *f;
    _Atomic int *stop;
    uint64_t finds;
};

static void *
reader_run(void *arg)
{
    struct reader *r = arg;

    do {
        const uint32_t token = epoch_enter(r->f->epoch);

        for (uint32_t i = 1; i <= STABLE; i++) {
            if (!holds(r->f, hash_of(i), i)) {
                fprintf(stderr, "test_hash: a key that is present throughout was not found\n");
                abort();
            }
        }
        r->finds += STABLE;
        epoch_exit(r->f->epoch, token);
    } while (atomic_load(r->stop) == 0);
    return NULL;
}

static void
hash_readers_beside_splits_miss_nothing(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct fixture f;
        _Atomic int stop = 0;
        struct reader readers[2];
        pthread_t threads[2];

        fixture_init(&f);
        for (uint32_t i = 1; i <= STABLE; i++) {
            insert(&f, hash_of(i), i);
        }
        for (int t = 0; t < 2; t++) {
            readers[t] = (struct reader){&f, &stop, 0};
            assert_int_equal(pthread_create(&threads[t], NULL, reader_run, &readers[t]), 0);
        }
        for (uint32_t i = STABLE + 1; i <= GROWTH; i++) {
            insert(&f, hash_of(i), i);
            if (i % 16 == 0) {
                assert_true(hash_remove(&f.hash, hash_of(i - 8), i - 8));
            }
        }
        atomic_store(&stop, 1);
        for (int t = 0; t < 2; t++) {
            pthread_join(threads[t], NULL);
            assert_true(readers[t].finds > 0);
        }
        fixture_deinit(&f);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hash_grown_and_shrunk_holds_the_rest),
        cmocka_unit_test(hash_split_during_search_is_noticed),
        cmocka_unit_test(hash_equal_hashes_go_to_overflow),
        cmocka_unit_test(hash_without_spare_segments_overflows_and_goes_on),
        cmocka_unit_test(hash_joined_parts_hold_all),
        cmocka_unit_test(hash_readers_beside_splits_miss_nothing),
    };

    return cmocka_run_group_tests_name("index hash", tests, NULL, NULL);
}
