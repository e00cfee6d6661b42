/* Goal:   beside one writer, readers never miss a key that is present throughout, see each key's versions only go
 *         forward, see a pinned state unchanged, and scans in order with nothing missing.
 * Method: a writer that grows the index through many splits, overwrites, deletes, relocates, clears and pins;
 *         readers that look up and scan the keys that it never removes; one thread that maintains, one that reclaims
 *         epochs. Meant for the thread sanitizer as well.
 */
#include "storage/index/index_internal.h"
#include "tests/lib/rng.h"
#include "tests/unit/index/media.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum {
    STABLE = 2000,   /* keys present throughout */
    PASSING = 30000, /* keys that come and go */
    STEPS = 60000,
    READERS = 2,
    RECORDS = 400000,
    KEY_LEN = 16,
};

struct fixture {
    struct media media;
    struct index_media calls;
    struct epoch *epoch;
    struct index *index;
    _Atomic int stop;
    _Atomic uint64_t lsn; /* all puts up to it have returned */
    _Atomic uint64_t pin; /* 0: none */
    index_loc stable_at_pin[STABLE];
    _Atomic int pin_users;
};

static struct fl_key
stable_key(uint64_t i, char *bytes)
{
    return fl_key_in(1, bytes, (size_t)sprintf(bytes, "stable:%08lu", i));
}

static struct fl_key
passing_key(uint64_t i, char *bytes)
{
    return fl_key_in(1, bytes, (size_t)sprintf(bytes, "%s:%08lu", i % 2 == 0 ? "a" : "tz", i));
}

static void
check(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "test_threads: %s\n", what);
        abort();
    }
}

/* ---- the writer ---- */

struct writer {
    struct fixture *f;
    struct rng rng;
    index_loc stable[STABLE];
    index_loc passing[PASSING];
    uint64_t lsn;
};

static void
writer_put(struct writer *w, struct fl_key key, index_loc *now, uint64_t flags)
{
    struct fixture *f = w->f;
    const index_loc loc = media_write(&f->media, key, ++w->lsn, flags);

    check(index_reserve(f->index, 1) == FL_OK, "reserve");
    check(index_put(f->index, index_hash(f->index, key), key, loc, w->lsn) == *now ||
              (flags & INDEX_LOC_TOMBSTONE) != 0 || *now == 0,
          "a put returns what was newest");
    *now = flags != 0 ? 0 : loc;
    atomic_store(&f->lsn, w->lsn);
}

static void
writer_relocate(struct writer *w, struct fl_key key, index_loc *now)
{
    struct fixture *f = w->f;

    if (*now != 0) {
        const index_loc to = media_write(&f->media, key, media_at(&f->media, *now)->lsn, 0);

        check(index_relocate(f->index, index_hash(f->index, key), key, *now, to), "relocate");
        *now = to;
    }
}

/* Pin, tell the readers what they are to see, unpin when none looks any more. */
static void
writer_pin(struct writer *w)
{
    struct fixture *f = w->f;

    if (atomic_load(&f->pin) == 0) {
        if (atomic_load(&f->pin_users) == 0) {
            check(index_pin(f->index, w->lsn) == FL_OK, "pin");
            for (int i = 0; i < STABLE; i++) {
                f->stable_at_pin[i] = media_at(&f->media, w->stable[i])->lsn;
            }
            atomic_store(&f->pin, w->lsn);
        }
        return;
    }
    const uint64_t pin = atomic_exchange(&f->pin, 0);

    while (atomic_load(&f->pin_users) > 0) {
        const struct timespec pause = {0, 100000};

        nanosleep(&pause, NULL);
    }
    index_unpin(f->index, pin);
}

static void
writer_step(struct writer *w, uint64_t step)
{
    char bytes[KEY_LEN + 8];
    const uint64_t s = rng_below(&w->rng, STABLE);
    /* A window that moves on: the index grows and shrinks. */
    const uint64_t p = (step / 4 + rng_below(&w->rng, PASSING / 2)) % PASSING;
    const uint64_t what = rng_below(&w->rng, 100);

    if (what < 25) {
        writer_put(w, stable_key(s, bytes), &w->stable[s], 0);
    } else if (what < 65) {
        writer_put(w, passing_key(p, bytes), &w->passing[p], 0);
    } else if (what < 90) {
        writer_put(w, passing_key(p, bytes), &w->passing[p], INDEX_LOC_TOMBSTONE);
    } else if (what < 95) {
        writer_relocate(w, stable_key(s, bytes), &w->stable[s]);
    } else {
        writer_relocate(w, passing_key(p, bytes), &w->passing[p]);
    }
    if (step % 3000 == 2999) {
        writer_pin(w);
    }
}

/* ---- readers ---- */

struct reader {
    struct fixture *f;
    struct rng rng;
    uint64_t seen[STABLE]; /* LSN last seen */
    uint64_t finds, scans, pinned;
};

static void
reader_find(struct reader *r)
{
    struct fixture *f = r->f;
    char bytes[KEY_LEN + 8];
    const uint64_t s = rng_below(&r->rng, STABLE);
    const struct fl_key key = stable_key(s, bytes);
    index_loc loc;
    const uint32_t token = epoch_enter(f->epoch);

    check(index_find(f->index, index_hash(f->index, key), key, INDEX_LSN_LATEST, &loc),
          "a key that is present throughout was not found");
    const uint64_t lsn = media_at(&f->media, loc)->lsn;

    check(lsn >= r->seen[s], "a key went back to an older version");
    r->seen[s] = lsn;
    r->finds++;
    epoch_exit(f->epoch, token);
}

/* A stretch of stable keys: all there, in order. */
static void
reader_scan(struct reader *r, uint64_t at_lsn)
{
    enum { LEN = 300 };
    struct fixture *f = r->f;
    char bytes[KEY_LEN + 8];
    index_loc locs[LEN];
    const uint64_t s = rng_below(&r->rng, STABLE);
    const bool backward = (rng_u64(&r->rng) & 1) != 0;
    const uint32_t token = epoch_enter(f->epoch);
    const size_t count = index_scan(f->index, stable_key(s, bytes), true,
                                    backward ? INDEX_BACKWARD : INDEX_FORWARD, at_lsn, locs, LEN);
    const uint64_t left = backward ? s + 1 : STABLE - s;

    check(count >= (left < LEN ? left : LEN), "a scan is too short");
    for (uint64_t i = 0; i < left && i < count; i++) {
        const uint64_t k = backward ? s - i : s + i;
        const struct media_record *record = media_at(&f->media, locs[i]);
        const struct fl_key key = stable_key(k, bytes);

        check(record->key_len == key.len && memcmp(record->key, key.ptr, key.len) == 0,
              "a scan misses a key that is present throughout");
        check(at_lsn == INDEX_LSN_LATEST || record->lsn == f->stable_at_pin[k],
              "a pinned scan sees another version");
    }
    r->scans++;
    epoch_exit(f->epoch, token);
}

static void
reader_pinned(struct reader *r)
{
    struct fixture *f = r->f;
    char bytes[KEY_LEN + 8];

    atomic_fetch_add(&f->pin_users, 1);
    const uint64_t pin = atomic_load(&f->pin);

    for (int i = 0; pin != 0 && i < 20; i++) {
        const uint64_t s = rng_below(&r->rng, STABLE);
        const struct fl_key key = stable_key(s, bytes);
        const uint32_t token = epoch_enter(f->epoch);
        index_loc loc;

        check(index_find(f->index, index_hash(f->index, key), key, pin, &loc),
              "a pinned version was not found");
        check(media_at(&f->media, loc)->lsn == f->stable_at_pin[s], "a pin sees another version");
        epoch_exit(f->epoch, token);
        r->pinned++;
    }
    if (pin != 0) {
        reader_scan(r, pin);
    }
    atomic_fetch_sub(&f->pin_users, 1);
}

static void *
reader_run(void *arg)
{
    struct reader *r = arg;
    index_loc loc;

    while (atomic_load(&r->f->stop) == 0) {
        for (int i = 0; i < 50; i++) {
            reader_find(r);
        }
        reader_scan(r, INDEX_LSN_LATEST);
        reader_pinned(r);
        const uint32_t token = epoch_enter(r->f->epoch);

        check(index_random(r->f->index, 1, rng_u64(&r->rng), &loc), "random");
        check(media_at(&r->f->media, loc)->space == 1, "a random key of another space");
        epoch_exit(r->f->epoch, token);
        check(index_count(r->f->index, 1) >= STABLE, "count");
    }
    return NULL;
}

/* ---- the others ---- */

static void *
maintainer_run(void *arg)
{
    struct fixture *f = arg;
    const struct timespec pause = {0, 300000};

    while (atomic_load(&f->stop) == 0) {
        if (index_maintain(f->index) == 0) {
            nanosleep(&pause, NULL);
        }
    }
    return NULL;
}

static void *
eager_maintainer_run(void *arg)
{
    struct fixture *f = arg;

    while (atomic_load(&f->stop) == 0) {
        (void)index_maintain(f->index);
    }
    return NULL;
}

static void *
reclaimer_run(void *arg)
{
    struct fixture *f = arg;
    const struct timespec pause = {0, 1000000};

    while (atomic_load(&f->stop) == 0) {
        (void)epoch_reclaim(f->epoch);
        (void)index_dram_bytes(f->index);
        nanosleep(&pause, NULL);
    }
    return NULL;
}

static void
run(uint64_t seed, bool maintained)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct writer *w = calloc(1, sizeof(*w));
    struct reader *readers = calloc(READERS, sizeof(*readers));
    pthread_t threads[READERS + 2];
    char bytes[KEY_LEN + 8];
    int n = 0;

    assert_true(f != NULL && w != NULL && readers != NULL);
    media_init(&f->media, RECORDS, &f->calls);
    assert_int_equal(epoch_create(&f->epoch), FL_OK);
    assert_int_equal(index_create(&f->calls, f->epoch, &f->index), FL_OK);
    w->f = f;
    w->rng = rng_seeded(seed);
    w->lsn = 1;
    for (uint64_t i = 0; i < STABLE; i++) {
        writer_put(w, stable_key(i, bytes), &w->stable[i], 0);
    }
    for (int i = 0; i < READERS; i++) {
        readers[i].f = f;
        readers[i].rng = (struct rng){seed * 77 + (uint64_t)i};
        assert_int_equal(pthread_create(&threads[n++], NULL, reader_run, &readers[i]), 0);
    }
    assert_int_equal(pthread_create(&threads[n++], NULL, reclaimer_run, f), 0);
    if (maintained) {
        assert_int_equal(pthread_create(&threads[n++], NULL, maintainer_run, f), 0);
    }
    for (uint64_t step = 0; step < STEPS; step++) {
        writer_step(w, step);
    }
    atomic_store(&f->stop, 1);
    for (int i = 0; i < n; i++) {
        pthread_join(threads[i], NULL);
    }
    for (int i = 0; i < READERS; i++) {
        assert_true(readers[i].finds > 0 && readers[i].scans > 0);
    }
    if (atomic_load(&f->pin) != 0) {
        writer_pin(w);
    }
    if (index_verify(f->index) != FL_OK) {
        fail_msg("%s", fl_last_error());
    }
    index_destroy(f->index);
    epoch_destroy(f->epoch);
    media_deinit(&f->media);
    free(readers);
    free(w);
    free(f);
}

static void
index_readers_beside_writer_miss_nothing(void **state)
{
    (void)state;
    run(1, false);
}

static void
index_readers_beside_writer_and_maintainer_miss_nothing(void **state)
{
    (void)state;
    run(2, true);
}

/* ---- leaving while being merged ---- */

static void
index_keys_deleted_while_merged_leave_no_trace(void **state)
{
    enum { LIVES = 60000, NAMES = 64 };
    struct fixture *f = calloc(1, sizeof(*f));
    struct writer *w = calloc(1, sizeof(*w));
    struct rng rng = rng_seeded(3);
    pthread_t threads[2];
    char bytes[KEY_LEN + 8];

    (void)state;
    assert_true(f != NULL && w != NULL);
    media_init(&f->media, RECORDS, &f->calls);
    assert_int_equal(epoch_create(&f->epoch), FL_OK);
    assert_int_equal(index_create(&f->calls, f->epoch, &f->index), FL_OK);
    w->f = f;
    for (int t = 0; t < 2; t++) {
        assert_int_equal(pthread_create(&threads[t], NULL, eager_maintainer_run, f), 0);
    }
    for (uint64_t n = 0; n < LIVES; n++) {
        const uint64_t i = rng_below(&rng, NAMES);

        writer_put(w, stable_key(i, bytes), &w->stable[i],
                   w->stable[i] != 0 ? INDEX_LOC_TOMBSTONE : 0);
        if (rng_below(&rng, 4) == 0 && w->stable[i] != 0) {
            writer_put(w, stable_key(i, bytes), &w->stable[i], INDEX_LOC_TOMBSTONE);
        }
    }
    atomic_store(&f->stop, 1);
    for (int t = 0; t < 2; t++) {
        pthread_join(threads[t], NULL);
    }
    if (index_verify(f->index) != FL_OK) {
        fail_msg("%s", fl_last_error());
    }
    /* Every id is a live key's or free, none is both or neither. */
    const struct entries *entries = &index_state(f->index)->entries;
    uint64_t returned = 0;

    for (uint32_t id = atomic_load(&entries->returned_head); id != 0; returned++) {
        id = (uint32_t)entries_load(entries, id);
    }
    assert_int_equal(entries->free_count + returned + index_count(f->index, 1) + 1,
                     atomic_load(&entries->words.next));
    index_destroy(f->index);
    epoch_destroy(f->epoch);
    media_deinit(&f->media);
    free(w);
    free(f);
}

/* ---- emptying at once ---- */

static void *
clear_reader_run(void *arg)
{
    struct reader *r = arg;
    char bytes[KEY_LEN + 8];
    index_loc locs[50];

    while (atomic_load(&r->f->stop) == 0) {
        const uint32_t token = epoch_enter(r->f->epoch);
        const struct fl_key key = stable_key(rng_below(&r->rng, STABLE), bytes);
        index_loc loc;

        (void)index_find(r->f->index, index_hash(r->f->index, key), key, INDEX_LSN_LATEST, &loc);
        const size_t n =
            index_scan(r->f->index, key, true, INDEX_FORWARD, INDEX_LSN_LATEST, locs, 50);

        for (size_t i = 0; i < n; i++) {
            check(media_at(&r->f->media, locs[i])->space == 1, "a scan left its space");
        }
        epoch_exit(r->f->epoch, token);
        r->scans++;
    }
    return NULL;
}

static void
index_cleared_beside_readers_is_empty(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct writer *w = calloc(1, sizeof(*w));
    struct reader reader = {.f = f, .rng = {7}};
    pthread_t threads[3];
    char bytes[KEY_LEN + 8];

    (void)state;
    assert_true(f != NULL && w != NULL);
    media_init(&f->media, RECORDS, &f->calls);
    assert_int_equal(epoch_create(&f->epoch), FL_OK);
    assert_int_equal(index_create(&f->calls, f->epoch, &f->index), FL_OK);
    w->f = f;
    assert_int_equal(pthread_create(&threads[0], NULL, clear_reader_run, &reader), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, reclaimer_run, f), 0);
    assert_int_equal(pthread_create(&threads[2], NULL, maintainer_run, f), 0);
    for (int round = 0; round < 20; round++) {
        for (uint64_t i = 0; i < STABLE; i++) {
            writer_put(w, stable_key(i, bytes), &w->stable[i], 0);
        }
        assert_int_equal(index_count(f->index, 1), STABLE);
        assert_true(index_clear_spaces(f->index, 0, 255, ++w->lsn));
        assert_int_equal(index_count(f->index, 1), 0);
        memset(w->stable, 0, sizeof(w->stable));
    }
    atomic_store(&f->stop, 1);
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    index_destroy(f->index);
    epoch_destroy(f->epoch);
    media_deinit(&f->media);
    free(w);
    free(f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(index_readers_beside_writer_miss_nothing),
        cmocka_unit_test(index_readers_beside_writer_and_maintainer_miss_nothing),
        cmocka_unit_test(index_keys_deleted_while_merged_leave_no_trace),
        cmocka_unit_test(index_cleared_beside_readers_is_empty),
    };

    return cmocka_run_group_tests_name("index threads", tests, NULL, NULL);
}
