/* Goal:   every kind of mapping keeps the vtable's contract: blocks faulted in are zeros, stay where they are and
 *         take no page fault on the put path; drained bytes are in the file; punched blocks are given back; no
 *         room is a status that leaves the file as it was.
 * Method: the same tests over one kind, named by the first argument, in a directory that suits it: $TMPDIR or
 *         /tmp for page, /dev/shm for volatile, $FL_TEST_DAX_DIR for dax (skipped without it), a model device there for
 *         model (skipped without userfaultfd). The file is read back through a descriptor of the test's own, or an
 *         attachment of its own.
 */
#include "place.h"
#include "tests/lib/die.h"
#include "tests/lib/rng.h"

#include <faultline/modelfs.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#define BIG_BLOCK (UINT64_C(2) << 20)

enum { BLOCKS_MAX = 64 };

static struct {
    enum fl_mapping mapping;
    const char *parent;
    uint32_t block_bytes; /* of a model device */
} subject;

struct fixture {
    struct tmpdir dir;
    char device[TMPDIR_PATH_BYTES];
    char path[TMPDIR_PATH_BYTES + 16];
    struct nosync_request request;
    struct nosync_map *map;
    struct pm pm;
};

static int
setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    if (subject.parent == NULL) {
        tmpdir_create(&f->dir);
    } else {
        tmpdir_create_in(&f->dir, subject.parent);
    }
    if (subject.mapping == FL_MAPPING_MODEL) {
        (void)snprintf(f->path, sizeof(f->path), "modelfs:%s/heap",
                       tmpdir_join(&f->dir, "device", f->device));
    } else {
        tmpdir_join(&f->dir, "heap", f->path);
    }
    f->request = place_request(f->path, subject.mapping, BLOCKS_MAX * BIG_BLOCK);
    f->request.map_align = BIG_BLOCK;
    f->request.block_bytes = subject.block_bytes;
    f->map = place_open(&f->request);
    pm_init(&f->pm, &f->map->media);
    *state = f;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;

    nosync_close(f->map);
    tmpdir_destroy(&f->dir);
    free(f);
    return 0;
}

static void
reopen(struct fixture *f)
{
    nosync_close(f->map);
    f->map = place_open(&f->request);
    pm_init(&f->pm, &f->map->media);
}

static void
assert_bytes(const uint8_t *bytes, uint64_t len, uint8_t expected)
{
    for (uint64_t i = 0; i < len; i++) {
        if (bytes[i] != expected) {
            fail_msg("byte %llu is %d, not %d", (unsigned long long)i, bytes[i], expected);
        }
    }
}

static void
put(struct fixture *f, uint64_t off, const void *src, size_t len)
{
    pm_write_nofence(&f->pm, off, src, len);
    assert_int_equal(pm_drain(&f->pm), FL_OK);
}

static void
grant_is_the_kind_that_was_asked_for(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(f->map->grant.mapping, subject.mapping);
    assert_true(f->map->grant.created);
    assert_int_equal((uintptr_t)f->map->media.base % BIG_BLOCK, 0);
    assert_int_equal(f->map->media.size_bytes_max, f->request.size_bytes_max);
    assert_int_equal(nosync_size_bytes(f->map), 0);
    switch (subject.mapping) {
    case FL_MAPPING_DAX:
        assert_int_equal(f->map->grant.durability, FL_DURABILITY_POWERCUT);
        assert_int_equal(f->map->media.mode, PM_DIRECT);
        break;
    case FL_MAPPING_PAGE:
        assert_true(f->map->grant.durability >= FL_DURABILITY_POWERCUT_UNVERIFIED);
        assert_int_equal(f->map->media.mode, PM_STAGED);
        break;
    case FL_MAPPING_MODEL:
        assert_int_equal(f->map->grant.durability, FL_DURABILITY_PROCESS);
        assert_int_equal(f->map->media.mode, PM_HOOKED);
        break;
    case FL_MAPPING_VOLATILE:
    case FL_MAPPING_AUTO:
        assert_int_equal(f->map->grant.durability, FL_DURABILITY_PROCESS);
        assert_int_equal(f->map->media.mode, PM_DIRECT);
        break;
    }
    print_message("granted: durability %d, %s\n", (int)f->map->grant.durability,
                  f->map->grant.detail);
}

static void
fault_in_grows_by_zeros_at_fixed_addresses(void **state)
{
    struct fixture *f = *state;
    const uint8_t *base = f->map->media.base;

    for (uint64_t i = 0; i < 40; i++) {
        assert_int_equal(nosync_fault_in(f->map, i * BIG_BLOCK, BIG_BLOCK), FL_OK);
        assert_int_equal(nosync_size_bytes(f->map), (i + 1) * BIG_BLOCK);
        assert_bytes(base + i * BIG_BLOCK, BIG_BLOCK, 0);
        put(f, i * BIG_BLOCK + 64, &i, sizeof(i));
    }
    assert_ptr_equal(f->map->media.base, base);
    /* Blocks of the file's own bookkeeping may count in. */
    assert_in_range(nosync_file_bytes(f->map), 40 * BIG_BLOCK,
                    40 * BIG_BLOCK + 256 * UINT64_C(1024));
    reopen(f);
    assert_int_equal(nosync_size_bytes(f->map), 40 * BIG_BLOCK);
    for (uint64_t i = 0; i < 40; i++) {
        uint64_t found;

        memcpy(&found, f->map->media.base + i * BIG_BLOCK + 64, sizeof(found));
        assert_int_equal(found, i);
    }
}

static void
fault_in_with_a_gap_leaves_a_hole(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(nosync_fault_in(f->map, 4 * BIG_BLOCK, BIG_BLOCK), FL_OK);
    assert_int_equal(nosync_size_bytes(f->map), 5 * BIG_BLOCK);
    assert_true(nosync_file_bytes(f->map) < 2 * BIG_BLOCK);
    assert_bytes(f->map->media.base, BIG_BLOCK, 0);
    assert_int_equal(nosync_fault_in(f->map, 0, BIG_BLOCK), FL_OK);
    assert_int_equal(nosync_size_bytes(f->map), 5 * BIG_BLOCK);
}

static void
fault_in_over_old_bytes_reads_as_zeros(void **state)
{
    struct fixture *f = *state;
    uint8_t old[4096];

    memset(old, 0xee, sizeof(old));
    assert_int_equal(nosync_fault_in(f->map, 0, PLACE_BLOCK), FL_OK);
    put(f, 0, old, sizeof(old));
    put(f, PLACE_BLOCK - sizeof(old), old, sizeof(old));
    assert_int_equal(nosync_fault_in(f->map, 0, PLACE_BLOCK), FL_OK);
    assert_bytes(f->map->media.base, PLACE_BLOCK, 0);
    reopen(f);
    assert_bytes(f->map->media.base, PLACE_BLOCK, 0);
}

/* Not through the mapping. */
static void
read_back(const struct fixture *f, uint8_t *to, size_t len)
{
    struct fl_modelfs *fs;
    size_t done = 0;

    if (subject.mapping == FL_MAPPING_MODEL) {
        assert_int_equal(fl_modelfs_attach(f->device, NULL, &fs), FL_OK);
        assert_int_equal(fl_modelfs_read(fs, "heap", 0, to, len, &done), FL_OK);
        fl_modelfs_detach(fs);
    } else {
        const int fd = open(f->path, O_RDONLY | O_CLOEXEC);

        done = (size_t)pread(fd, to, len, 0);
        assert_int_equal(close(fd), 0);
    }
    assert_int_equal(done, len);
}

static void
drained_bytes_are_in_the_file(void **state)
{
    struct fixture *f = *state;
    struct rng rng = rng_seeded(3);
    uint8_t *oracle = calloc(1, PLACE_BLOCK);
    uint8_t *found = malloc(PLACE_BLOCK);
    uint8_t src[3000];

    assert_int_equal(nosync_fault_in(f->map, 0, PLACE_BLOCK), FL_OK);
    for (int i = 0; i < 300; i++) {
        for (uint64_t k = rng_below(&rng, 4); k < 5; k++) {
            const size_t len = 1 + (size_t)rng_below(&rng, sizeof(src) / 5);
            const uint64_t off = rng_below(&rng, PLACE_BLOCK - len);
            uint8_t *at = src + k * (sizeof(src) / 5);

            rng_fill(&rng, at, len);
            memcpy(oracle + off, at, len);
            pm_write_nofence(&f->pm, off, at, len);
        }
        assert_int_equal(pm_drain(&f->pm), FL_OK);
        assert_memory_equal(f->map->media.base, oracle, PLACE_BLOCK);
    }
    read_back(f, found, PLACE_BLOCK);
    assert_memory_equal(found, oracle, PLACE_BLOCK);
    free(oracle);
    free(found);
}

static void
large_write_through_and_drain_all(void **state)
{
    struct fixture *f = *state;
    uint8_t *src = malloc(BIG_BLOCK);
    struct pm other;

    assert_int_equal(nosync_fault_in(f->map, 0, 4 * BIG_BLOCK), FL_OK);
    memset(src, 'v', BIG_BLOCK);
    pm_init(&other, &f->map->media);
    assert_int_equal(pm_write_through_nofence(&other, BIG_BLOCK, src, BIG_BLOCK), FL_OK);
    pm_handoff(&other);
    pm_write_nofence(&f->pm, 0, "ref", 3);
    assert_int_equal(pm_drain_all(&f->pm), FL_OK);
    free(src);
    reopen(f);
    assert_bytes(f->map->media.base + BIG_BLOCK, BIG_BLOCK, 'v');
    assert_memory_equal(f->map->media.base, "ref", 3);
}

static void
punch_gives_blocks_back_and_they_can_be_had_again(void **state)
{
    struct fixture *f = *state;
    uint8_t *src = malloc(BIG_BLOCK);

    memset(src, 1, BIG_BLOCK);
    assert_int_equal(nosync_fault_in(f->map, 0, 3 * BIG_BLOCK), FL_OK);
    for (uint64_t i = 0; i < 3; i++) {
        put(f, i * BIG_BLOCK, src, BIG_BLOCK);
    }
    const uint64_t before = nosync_file_bytes(f->map);

    assert_int_equal(nosync_punch(f->map, BIG_BLOCK, BIG_BLOCK), FL_OK);
    assert_int_equal(nosync_sync_file(f->map), FL_OK);
    assert_int_equal(before - nosync_file_bytes(f->map), BIG_BLOCK);
    assert_int_equal(nosync_size_bytes(f->map), 3 * BIG_BLOCK);
    assert_bytes(f->map->media.base, BIG_BLOCK, 1);
    assert_bytes(f->map->media.base + BIG_BLOCK, BIG_BLOCK, 0);
    assert_bytes(f->map->media.base + 2 * BIG_BLOCK, BIG_BLOCK, 1);

    assert_int_equal(nosync_fault_in(f->map, BIG_BLOCK, BIG_BLOCK), FL_OK);
    assert_int_equal(nosync_file_bytes(f->map), before);
    put(f, BIG_BLOCK, src, BIG_BLOCK);
    reopen(f);
    assert_bytes(f->map->media.base, 3 * BIG_BLOCK, 1);
    free(src);
}

static void
growth_over_the_limit_is_no_space(void **state)
{
    struct fixture *f = *state;
    const uint64_t max = f->request.size_bytes_max;

    assert_int_equal(nosync_fault_in(f->map, max, BIG_BLOCK), FL_NO_SPACE);
    assert_int_equal(nosync_fault_in(f->map, max - BIG_BLOCK, 2 * BIG_BLOCK), FL_NO_SPACE);
    assert_int_equal(nosync_size_bytes(f->map), 0);
    assert_int_equal(nosync_fault_in(f->map, max - BIG_BLOCK, BIG_BLOCK), FL_OK);
    assert_int_equal(nosync_size_bytes(f->map), max);
    put(f, max - 8, "12345678", 8);
    reopen(f);
    assert_memory_equal(f->map->media.base + max - 8, "12345678", 8);
}

/* This thread's page faults so far; of a model device those that its host has answered. The model of the media, in the
 * same process, has some of its own. */
static uint64_t
count_faults(const struct fixture *f)
{
    struct fl_modelfs_figures figures = {.struct_bytes = sizeof(figures)};
    struct rusage usage;
    struct fl_modelfs *fs;

    if (subject.mapping != FL_MAPPING_MODEL) {
        assert_int_equal(getrusage(RUSAGE_THREAD, &usage), 0);
        return (uint64_t)(usage.ru_minflt + usage.ru_majflt);
    }
    assert_int_equal(fl_modelfs_attach(f->device, NULL, &fs), FL_OK);
    assert_int_equal(fl_modelfs_figures(fs, &figures), FL_OK);
    fl_modelfs_detach(fs);
    return figures.faults_read + figures.faults_write + figures.faults_bus;
}

static uint64_t
faults_of_commits(struct fixture *f, uint64_t first, uint64_t end)
{
    const uint64_t before = count_faults(f);
    uint8_t record[128] = {5};

    for (uint64_t off = first * BIG_BLOCK; off < end * BIG_BLOCK; off += 32768) {
        pm_write_nofence(&f->pm, off, record, sizeof(record));
        assert_int_equal(pm_drain(&f->pm), FL_OK);
    }
    return count_faults(f) - before;
}

static void
commits_on_faulted_blocks_take_no_page_fault(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(nosync_fault_in(f->map, 0, BIG_BLOCK), FL_OK);
    (void)faults_of_commits(f, 0, 1); /* the code's own pages */
    assert_int_equal(faults_of_commits(f, 0, 1), 0);
    for (uint64_t i = 1; i < 6; i++) {
        assert_int_equal(nosync_fault_in(f->map, i * BIG_BLOCK, BIG_BLOCK), FL_OK);
    }
    assert_int_equal(faults_of_commits(f, 0, 6), 0);

    /* Shrinking in one place costs the others nothing, nor does mapping a new stretch of the file. */
    assert_int_equal(nosync_punch(f->map, 2 * BIG_BLOCK, BIG_BLOCK), FL_OK);
    assert_int_equal(faults_of_commits(f, 0, 2), 0);
    assert_int_equal(faults_of_commits(f, 3, 6), 0);
    assert_int_equal(nosync_fault_in(f->map, 50 * BIG_BLOCK, BIG_BLOCK), FL_OK);
    assert_int_equal(nosync_fault_in(f->map, 2 * BIG_BLOCK, BIG_BLOCK), FL_OK);
    assert_int_equal(faults_of_commits(f, 0, 6), 0);
    assert_int_equal(faults_of_commits(f, 50, 51), 0);
}

static void
durability_costs_are_counted_by_kind(void **state)
{
    struct fixture *f = *state;
    const bool staged = subject.mapping == FL_MAPPING_PAGE;
    uint8_t record[128] = {1};

    assert_int_equal(nosync_fault_in(f->map, 0, PLACE_BLOCK), FL_OK);
    for (uint64_t i = 0; i < 100; i++) {
        put(f, i * 128, record, sizeof(record));
    }
    assert_int_equal(atomic_load(&f->pm.counts.fences), staged ? 0 : 100);
    assert_int_equal(atomic_load(&f->pm.counts.syncs), staged ? 100 : 0);
    assert_int_equal(atomic_load(&f->pm.counts.lines), staged || f->map->media.eadr ? 0 : 200);
}

struct grower {
    struct fixture *f;
    uint64_t first;
    pthread_t thread;
};

static void *
grow(void *context)
{
    struct grower *grower = context;
    struct pm pm;

    pm_init(&pm, &grower->f->map->media);
    for (uint64_t i = grower->first; i < BLOCKS_MAX; i += 4) {
        const uint64_t off = i * BIG_BLOCK;

        if (nosync_fault_in(grower->f->map, off, PLACE_BLOCK) != FL_OK) {
            die("fault_in: %s", fl_last_error());
        }
        pm_store_u64_nofence(&pm, off, i + 1);
        if (pm_drain(&pm) != FL_OK) {
            die("drain: %s", fl_last_error());
        }
    }
    return NULL;
}

static void
threads_grow_disjoint_ranges(void **state)
{
    struct fixture *f = *state;
    struct grower growers[4];

    for (uint64_t i = 0; i < 4; i++) {
        growers[i] = (struct grower){.f = f, .first = i};
        assert_int_equal(pthread_create(&growers[i].thread, NULL, grow, &growers[i]), 0);
    }
    for (uint64_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(growers[i].thread, NULL), 0);
    }
    reopen(f);
    for (uint64_t i = 0; i < BLOCKS_MAX; i++) {
        assert_int_equal(f->map->media.base[i * BIG_BLOCK], i + 1);
    }
}

int
main(int argc, char **argv)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(grant_is_the_kind_that_was_asked_for),
        CASE(fault_in_grows_by_zeros_at_fixed_addresses),
        CASE(fault_in_with_a_gap_leaves_a_hole),
        CASE(fault_in_over_old_bytes_reads_as_zeros),
        CASE(drained_bytes_are_in_the_file),
        CASE(large_write_through_and_drain_all),
        CASE(punch_gives_blocks_back_and_they_can_be_had_again),
        CASE(growth_over_the_limit_is_no_space),
        CASE(commits_on_faulted_blocks_take_no_page_fault),
        CASE(durability_costs_are_counted_by_kind),
        CASE(threads_grow_disjoint_ranges),
    };
    const char *kind = argc > 1 ? argv[1] : "page";

    if (strcmp(kind, "page") == 0) {
        subject.mapping = FL_MAPPING_PAGE;
    } else if (strcmp(kind, "volatile") == 0) {
        subject.mapping = FL_MAPPING_VOLATILE;
        subject.parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : NULL;
    } else if (strcmp(kind, "dax") == 0) {
        subject.mapping = FL_MAPPING_DAX;
        subject.parent = getenv("FL_TEST_DAX_DIR");
        if (subject.parent == NULL) {
            die_skip("FL_TEST_DAX_DIR names no directory on a DAX filesystem");
        }
    } else if (strcmp(kind, "model") == 0) {
        place_need_userfaultfd();
        subject.mapping = FL_MAPPING_MODEL;
        subject.parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : NULL;
        subject.block_bytes = BIG_BLOCK;
    } else {
        die("%s: no such kind", kind);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
