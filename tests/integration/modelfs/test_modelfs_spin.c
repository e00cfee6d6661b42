/* Goal:   once the filesystem has taken a block back from a mapping, no store of a thread that stores without pause
 *         gets through: not to the block while it is copied, committed or freed, and never to its next owner.
 * Method: threads of this process spin on a block; this process hosts the device too and, with the host's lock held, so
 *         that no fault is answered, protects, zaps, punches and moves the block thousands of times, and each time
 *         looks twice at the live image. */
#include "tests/integration/modelfs/peer.h"
#include "tests/lib/die.h"
#include "tests/lib/tmpdir.h"

#include "base/clock.h"
#include "storage/modelfs/host.h"
#include "storage/modelfs/record.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    BLOCK = 4096,
    BLOCKS = 4,
    DEVICE = 4 << 20,
    WRITERS = 1, /* more than there are processors left would only take turns */
    TRIES = 2500,
    LOOKS_MUTANT = 10000,
    LOOK_NS = 3000, /* a spinning thread stores some thousand times in that time */
    STORED_MS = 20,
    TIME_MS_MAX = 5000,
};

struct fixture {
    struct tmpdir dir;
    struct mfs_host *host;
    struct fl_modelfs *fs;
    struct fl_modelfs_map *map;
    uint8_t *ptr;
    uint64_t ino;
    uint64_t data_off;
    atomic_bool stop;
    _Atomic(uint64_t) stores;
    pthread_t writers[WRITERS];
};

static void *
spin(void *argument)
{
    struct fixture *fixture = argument;
    uint64_t *const words = (uint64_t *)(void *)fixture->ptr;

    for (uint64_t i = 1; !atomic_load_explicit(&fixture->stop, memory_order_relaxed); i++) {
        __atomic_store_n(&words[(i % 2) * 8], i, __ATOMIC_RELAXED);
        __atomic_store_n(&words[BLOCK / sizeof(*words) + 8], i, __ATOMIC_RELAXED);
        atomic_fetch_add_explicit(&fixture->stores, 1, memory_order_relaxed);
    }
    return NULL;
}

static int
setup_with(void **state, enum mfs_mutant mutant)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    const struct mfs_host_options options = {
        .format = true, .size_bytes = DEVICE, .mutant = mutant};
    char path[TMPDIR_PATH_BYTES];
    struct mfs_geometry geometry;
    void *address;

    if (fixture == NULL) {
        return -1;
    }
    tmpdir_create(&fixture->dir);
    (void)tmpdir_join(&fixture->dir, "device", path);
    assert_int_equal(mfs_host_create(path, &options, &fixture->host), FL_OK);
    assert_int_equal(mfs_host_start(fixture->host), FL_OK);
    assert_int_equal(fl_modelfs_attach(path, NULL, &fixture->fs), FL_OK);
    assert_int_equal(fl_modelfs_create(fixture->fs, "f"), FL_OK);
    assert_int_equal(fl_modelfs_create(fixture->fs, "g"), FL_OK);
    assert_int_equal(fl_modelfs_truncate(fixture->fs, "f", BLOCKS * BLOCK), FL_OK);
    assert_int_equal(fl_modelfs_mmap(fixture->fs, "f", 0, BLOCKS * BLOCK, FL_MODELFS_NOSYNC,
                                     &fixture->map, &address),
                     FL_OK);
    fixture->ptr = address;
    struct mfs *fs = mfs_host_lock(fixture->host);
    assert_int_equal(mfs_lookup(fs, "f", &fixture->ino), FL_OK);
    assert_int_equal(
        mfs_super_decode(mfs_media_live(mfs_host_media(fixture->host)), DEVICE, &geometry), FL_OK);
    fixture->data_off = geometry.data_off;
    mfs_host_unlock(fixture->host);
    for (size_t i = 0; i < WRITERS; i++) {
        assert_int_equal(pthread_create(&fixture->writers[i], NULL, spin, fixture), 0);
    }
    *state = fixture;
    return 0;
}

static int
setup(void **state)
{
    return setup_with(state, MFS_MUTANT_NONE);
}

static int
setup_without_zap(void **state)
{
    return setup_with(state, MFS_MUTANT_ZAP_SKIPPED);
}

static int
teardown(void **state)
{
    struct fixture *fixture = *state;

    atomic_store(&fixture->stop, true);
    for (size_t i = 0; i < WRITERS; i++) {
        assert_int_equal(pthread_join(fixture->writers[i], NULL), 0);
    }
    fl_modelfs_detach(fixture->fs);
    mfs_host_destroy(fixture->host);
    tmpdir_destroy(&fixture->dir);
    free(fixture);
    return 0;
}

/* Where the block lies in the live image now; 0: nowhere. */
static uint64_t
place_of(struct fixture *fixture, struct mfs *fs, uint32_t block)
{
    struct mfs_extent extent;

    if (mfs_extent_at(fs, fixture->ino, block, &extent) != FL_OK || extent.logical > block) {
        return 0;
    }
    return fixture->data_off + (uint64_t)(extent.physical + block - extent.logical) * BLOCK;
}

static uint64_t
word_at(struct fixture *fixture, uint64_t off)
{
    const uint8_t *live = mfs_media_live(mfs_host_media(fixture->host));

    return __atomic_load_n((const uint64_t *)(const void *)(live + off), __ATOMIC_RELAXED);
}

static void
wait_ns(uint64_t ns)
{
    const uint64_t until = clock_mono_ns() + ns;

    while (clock_mono_ns() < until) {
    }
}

/* Nobody stores to the block at `place` while we look. */
static bool
is_quiet(struct fixture *fixture, uint64_t place)
{
    const uint64_t before[] = {word_at(fixture, place), word_at(fixture, place + 64)};

    wait_ns(LOOK_NS);
    return before[0] == word_at(fixture, place) && before[1] == word_at(fixture, place + 64);
}

/* Wait for a store to the block: a machine with less processors than threads takes its time. */
static bool
is_stored_to(struct fixture *fixture, uint64_t place)
{
    const uint64_t until = clock_mono_ns() + (uint64_t)STORED_MS * CLOCK_NS_PER_MS;
    bool quiet = true;

    while (quiet && clock_mono_ns() < until) {
        quiet = is_quiet(fixture, place);
        if (quiet) {
            (void)sched_yield();
        }
    }
    return !quiet;
}

/* Let the writers have their faults answered and store for a while. */
static void
let_store(struct fixture *fixture)
{
    const uint64_t before = atomic_load(&fixture->stores);
    const uint64_t until = clock_mono_ns() + (uint64_t)1000 * CLOCK_NS_PER_MS;

    while (atomic_load(&fixture->stores) < before + 4 && clock_mono_ns() < until) {
        (void)sched_yield();
    }
}

typedef fl_status (*take_back)(struct fixture *fixture, struct mfs *fs, uint64_t i);

/* Returns how often stores got through. */
static unsigned
try_often(struct fixture *fixture, const char *name, take_back take)
{
    const uint64_t end = clock_mono_ns() + (uint64_t)TIME_MS_MAX * CLOCK_NS_PER_MS;
    unsigned tries = 0;
    unsigned live = 0; /* tries that found a block and stores to stop */
    unsigned through = 0;

    for (; tries < TRIES && clock_mono_ns() < end; tries++) {
        let_store(fixture);
        struct mfs *fs = mfs_host_lock(fixture->host);
        const uint64_t place = place_of(fixture, fs, 0);
        const bool stored = place != 0 && is_stored_to(fixture, place);
        const fl_status status = take(fixture, fs, tries);
        if (status != FL_OK) {
            die("%s: %s", name, fl_last_error());
        }
        live += stored ? 1 : 0;
        through += place != 0 && !is_quiet(fixture, place) ? 1 : 0;
        mfs_host_unlock(fixture->host);
    }
    print_message("%s: %u tries, %u with stores under way, stores that got through: %u\n", name,
                  tries, live, through);
    assert_true(live > 0);
    return through;
}

static fl_status
take_by_fsync(struct fixture *fixture, struct mfs *fs, uint64_t i)
{
    (void)i;
    return mfs_fsync(fs, fixture->ino);
}

static fl_status
take_by_write(struct fixture *fixture, struct mfs *fs, uint64_t i)
{
    size_t done;

    return mfs_write(fs, fixture->ino, 256, &i, sizeof(i), &done);
}

static fl_status
take_by_punch(struct fixture *fixture, struct mfs *fs, uint64_t i)
{
    (void)i;
    return mfs_punch(fs, fixture->ino, 0, BLOCK);
}

/* The block goes to another file at once, which has its own bytes there. */
static fl_status
take_by_reuse(struct fixture *fixture, struct mfs *fs, uint64_t i)
{
    const uint64_t zero = 0;
    uint64_t ino;
    size_t done;

    fl_status status = mfs_punch(fs, fixture->ino, 0, BLOCK);
    if (status == FL_OK) {
        status = mfs_lookup(fs, "g", &ino);
    }
    if (status == FL_OK) {
        status = mfs_write(fs, ino, i % 64 * BLOCK, &zero, sizeof(zero), &done);
    }
    return status;
}

static void
fsync_stops_stores(void **state)
{
    assert_int_equal(try_often(*state, "fsync (protect)", take_by_fsync), 0);
}

static void
buffered_write_stops_stores(void **state)
{
    assert_int_equal(try_often(*state, "write (zap, bytes kept)", take_by_write), 0);
}

static void
punch_stops_stores(void **state)
{
    assert_int_equal(try_often(*state, "punch (zap)", take_by_punch), 0);
}

static void
freed_block_is_never_stored_to_again(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(try_often(fixture, "punch and reuse", take_by_reuse), 0);
    struct mfs *fs = mfs_host_lock(fixture->host);
    uint8_t bytes[BLOCK];
    uint64_t ino;
    size_t done;
    assert_int_equal(mfs_lookup(fs, "g", &ino), FL_OK);
    for (uint64_t block = 0; block < 64; block++) {
        assert_int_equal(mfs_read(fs, ino, block * BLOCK, bytes, BLOCK, &done), FL_OK);
        for (size_t i = 0; i < done; i++) {
            assert_int_equal(bytes[i], 0);
        }
    }
    mfs_host_unlock(fixture->host);
}

/* A filesystem that forgets to take the block back is seen, and the engine can be told to leave a stale mapping. */
static void
forgotten_zap_lets_stores_through_to_the_next_owner(void **state)
{
    struct fixture *fixture = *state;

    let_store(fixture);
    struct mfs *fs = mfs_host_lock(fixture->host);
    const uint64_t place = place_of(fixture, fs, 0);
    assert_int_not_equal(place, 0);
    assert_int_equal(mfs_punch(fs, fixture->ino, 0, BLOCK), FL_OK);
    assert_int_equal(place_of(fixture, fs, 0), 0);
    bool quiet = true;
    for (unsigned look = 0; look < LOOKS_MUTANT && quiet; look++) {
        quiet = is_quiet(fixture, place);
        (void)sched_yield();
    }
    mfs_host_unlock(fixture->host);
    assert_false(quiet);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(fsync_stops_stores),
        T(buffered_write_stops_stores),
        T(punch_stops_stores),
        T(freed_block_is_never_stored_to_again),
#undef T
        cmocka_unit_test_setup_teardown(forgotten_zap_lets_stores_through_to_the_next_owner,
                                        setup_without_zap, teardown),
    };

    skip_without_userfaultfd();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
