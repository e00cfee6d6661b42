/* Goal:   an index that was loaded in shards holds what one holds that was filled by puts, whatever the order of
 *         records, with duplicates, tombstones and drops; and goes on working.
 * Method: the same records to both, the loading by a thread a shard; full scans compared both ways, every key
 *         found, every loser reported dead once, the invariants checked; then more puts and deletes.
 */
#include "tests/lib/rng.h"
#include "tests/unit/index/media.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { KEY_BYTES_MAX = 40, SHARDS_MAX = 8 };

struct fixture {
    struct media media;
    struct index_media calls;
    struct epoch *epoch;
    struct index *index;
};

static void
fixture_init(struct fixture *f, uint64_t room)
{
    media_init(&f->media, room, &f->calls);
    assert_int_equal(epoch_create(&f->epoch), FL_OK);
    assert_int_equal(index_create(&f->calls, f->epoch, &f->index), FL_OK);
}

static void
fixture_deinit(struct fixture *f)
{
    index_destroy(f->index);
    epoch_destroy(f->epoch);
    media_deinit(&f->media);
}

/* Record i of a made-up log: the same for every index. */
struct log_record {
    uint8_t bytes[KEY_BYTES_MAX];
    struct fl_key key;
    uint64_t lsn;
    uint64_t flags;
};

static void
log_record(struct log_record *record, uint64_t seed, uint64_t i, uint64_t keys)
{
    struct rng rng = {seed * 1000003 + i + 1};
    const uint64_t k = rng_below(&rng, keys);
    const unsigned shape = (unsigned)(k % 4);

    memset(record->bytes, 0, sizeof(record->bytes));
    size_t len;

    if (shape == 0) {
        struct rng from_key = {k + 1};

        rng_fill(&from_key, record->bytes, 16);
        len = 16;
    } else if (shape == 1) {
        len = (size_t)sprintf((char *)record->bytes, "key:%012lu", k);
    } else if (shape == 2) {
        len = (size_t)sprintf((char *)record->bytes, "user:%04lu:field:%lu", k % 97, k);
    } else {
        memcpy(record->bytes, &k, sizeof(k));
        len = 3 + k % 20; /* binary zeros at the end */
    }
    record->key = fl_key_in((uint8_t)(k % 5 == 0), record->bytes, len);
    record->lsn = 10 + i;
    record->flags = rng_below(&rng, 8) == 0 ? INDEX_LOC_TOMBSTONE : 0;
}

struct load_job {
    struct fixture *f;
    uint64_t seed, records, keys;
    unsigned shard;
    bool backwards;
    pthread_t thread;
};

static void *
load_shard(void *arg)
{
    const struct load_job *job = arg;

    for (uint64_t n = 0; n < job->records; n++) {
        const uint64_t i = job->backwards ? job->records - 1 - n : n;
        struct log_record record;

        log_record(&record, job->seed, i, job->keys);
        const uint64_t hash = index_hash(job->f->index, record.key);

        if (index_load_shard(job->f->index, hash) != job->shard) {
            continue;
        }
        index_prefetch(job->f->index, &hash, 1, INDEX_TO_BUCKET, NULL);
        const index_loc loc = media_write(&job->f->media, record.key, record.lsn, record.flags);

        if (index_load_put(job->f->index, hash, record.key, loc, record.lsn) != FL_OK) {
            abort();
        }
        if (i % 10 == 0) { /* a copy that the cleaner made */
            const index_loc copy =
                media_write(&job->f->media, record.key, record.lsn, record.flags);

            if (index_load_put(job->f->index, hash, record.key, copy, record.lsn) != FL_OK) {
                abort();
            }
        }
    }
    return NULL;
}

static bool
drop_every_seventh(void *context, index_loc loc, uint64_t lsn, struct fl_key key)
{
    (void)context;
    (void)loc;
    (void)key;
    return lsn % 7 == 0;
}

static void
load(struct fixture *f, uint64_t seed, uint64_t records, uint64_t keys, unsigned shards,
     unsigned threads, bool backwards, bool drop)
{
    struct load_job jobs[SHARDS_MAX];

    assert_int_equal(index_load_begin(f->index, shards), FL_OK);
    for (unsigned s = 0; s < shards; s++) {
        jobs[s] = (struct load_job){f, seed, records, keys, s, backwards, 0};
        assert_int_equal(pthread_create(&jobs[s].thread, NULL, load_shard, &jobs[s]), 0);
    }
    for (unsigned s = 0; s < shards; s++) {
        pthread_join(jobs[s].thread, NULL);
    }
    assert_int_equal(index_load_finish(f->index, threads, drop ? drop_every_seventh : NULL), FL_OK);
}

/* The same by puts. */
static void
fill(struct fixture *f, uint64_t seed, uint64_t first, uint64_t records, uint64_t keys)
{
    for (uint64_t i = first; i < records; i++) {
        struct log_record record;

        log_record(&record, seed, i, keys);
        const index_loc loc = media_write(&f->media, record.key, record.lsn, record.flags);

        assert_int_equal(index_reserve(f->index, 1), FL_OK);
        (void)index_put(f->index, index_hash(f->index, record.key), record.key, loc, record.lsn);
    }
}

static void
fill_drop(struct fixture *f)
{
    const uint64_t count = atomic_load(&f->media.count);

    for (uint64_t i = 0; i < count; i++) {
        struct media_record *r = &f->media.records[i];
        const struct fl_key key = fl_key_in(r->space, r->key, r->key_len);

        if (r->lsn % 7 == 0) {
            (void)index_expire(f->index, index_hash(f->index, key), key, i + 1);
        }
    }
}

static size_t
scan_all(struct fixture *f, uint8_t space, enum index_direction direction, index_loc *locs,
         size_t room)
{
    size_t count = 0;
    struct fl_key from = fl_key_in(space, "", 0);

    for (;;) {
        const size_t chunk = room - count < 100 ? room - count : 100;
        const size_t got =
            index_scan(f->index, from, false, direction, INDEX_LSN_LATEST, locs + count, chunk);

        count += got;
        if (got < 100) {
            return count;
        }
        const struct media_record *last = media_at(&f->media, locs[count - 1]);

        from = fl_key_in(space, last->key, last->key_len);
    }
}

static void
assert_same(struct fixture *a, struct fixture *b, uint64_t keys)
{
    index_loc *la = calloc(keys + 1, sizeof(*la));
    index_loc *lb = calloc(keys + 1, sizeof(*lb));

    assert_non_null(la);
    assert_non_null(lb);
    for (uint8_t space = 0; space < 2; space++) {
        assert_int_equal(index_count(a->index, space), index_count(b->index, space));
        for (int direction = 0; direction < 2; direction++) {
            const size_t na = scan_all(a, space, (enum index_direction)direction, la, keys + 1);
            const size_t nb = scan_all(b, space, (enum index_direction)direction, lb, keys + 1);

            assert_int_equal(na, nb);
            assert_int_equal(na, index_count(a->index, space));
            for (size_t i = 0; i < na; i++) {
                const struct media_record *ra = media_at(&a->media, la[i]);
                const struct media_record *rb = media_at(&b->media, lb[i]);
                const struct fl_key key = fl_key_in(space, ra->key, ra->key_len);
                index_loc loc;

                assert_int_equal(ra->lsn, rb->lsn);
                assert_int_equal(ra->key_len, rb->key_len);
                assert_memory_equal(ra->key, rb->key, ra->key_len);
                assert_true(
                    index_find(a->index, index_hash(a->index, key), key, INDEX_LSN_LATEST, &loc));
                assert_int_equal(loc, la[i]);
            }
        }
    }
    free(la);
    free(lb);
}

static void
assert_sound(struct fixture *f)
{
    const uint64_t live = index_count(f->index, 0) + index_count(f->index, 1);

    if (index_verify(f->index) != FL_OK) {
        fail_msg("%s", fl_last_error());
    }
    /* Every loc but the live ones was reported dead, once. */
    assert_int_equal(atomic_load(&f->media.dead_total) + live, atomic_load(&f->media.count));
}

static void
compare(uint64_t seed, uint64_t records, uint64_t keys, unsigned shards, unsigned threads,
        bool backwards, bool drop)
{
    struct fixture loaded;
    struct fixture filled;

    fixture_init(&loaded, records * 3);
    fixture_init(&filled, records * 3);
    load(&loaded, seed, records, keys, shards, threads, backwards, drop);
    fill(&filled, seed, 0, records, keys);
    if (drop) {
        fill_drop(&filled);
    }
    assert_sound(&loaded);
    assert_sound(&filled);
    assert_same(&loaded, &filled, keys);
    /* And on from there. */
    fill(&loaded, seed, records, records + records / 4, keys * 2);
    fill(&filled, seed, records, records + records / 4, keys * 2);
    assert_sound(&loaded);
    assert_sound(&filled);
    assert_same(&loaded, &filled, keys * 2);
    fixture_deinit(&loaded);
    fixture_deinit(&filled);
}

static void
load_nothing_is_empty(void **state)
{
    (void)state;
    compare(1, 0, 1, 2, 2, false, false);
}

static void
load_one_shard_equals_puts(void **state)
{
    (void)state;
    compare(2, 40000, 20000, 1, 1, false, false);
}

static void
load_two_shards_equals_puts(void **state)
{
    (void)state;
    compare(3, 60000, 50000, 2, 2, false, true);
}

static void
load_eight_shards_backwards_equals_puts(void **state)
{
    (void)state;
    compare(4, 60000, 30000, 8, 3, true, true);
}

/* More ids than one thread collects at a time. */
static void
load_many_keys_equals_puts(void **state)
{
    (void)state;
    compare(7, 260000, 200000, 2, 4, false, false);
}

static void
load_few_keys_equals_puts(void **state)
{
    (void)state;
    compare(5, 500, 60, 4, 2, true, false);
    compare(6, 3, 2, 8, 4, false, true);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(load_nothing_is_empty),
        cmocka_unit_test(load_one_shard_equals_puts),
        cmocka_unit_test(load_two_shards_equals_puts),
        cmocka_unit_test(load_eight_shards_backwards_equals_puts),
        cmocka_unit_test(load_many_keys_equals_puts),
        cmocka_unit_test(load_few_keys_equals_puts),
    };

    return cmocka_run_group_tests_name("index load", tests, NULL, NULL);
}
