/* Goal:   kind dax is granted where the kernel grants MAP_SYNC, is refused where it could lose data, and says what it
 *         stands on; a commit there costs the filesystem nothing.
 * Method: a directory on a DAX filesystem, $FL_TEST_DAX_DIR (skipped without it): tests/powercut/ runs this in a
 *         virtual machine. The contract that all kinds share is test_kinds' subject.
 */
#include "place.h"
#include "tests/lib/die.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define BIG_BLOCK (UINT64_C(2) << 20)

enum { BLOCKS_MAX = 100, MIB = 1024 * 1024 };

static const char *place;

struct fixture {
    struct tmpdir dir;
    char path[TMPDIR_PATH_BYTES];
    struct nosync_request request;
    bool reflink;
};

static int
setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    tmpdir_create_in(&f->dir, place);
    f->request = place_request(tmpdir_join(&f->dir, "heap", f->path), FL_MAPPING_AUTO,
                               BLOCKS_MAX * BIG_BLOCK);
    f->request.map_align = BIG_BLOCK;
    f->request.durability_min = FL_DURABILITY_POWERCUT;
    f->reflink = getenv("FL_TEST_DAX_REFLINK") != NULL;
    *state = f;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;

    tmpdir_destroy(&f->dir);
    free(f);
    return 0;
}

static void
auto_takes_dax_and_promises_a_power_cut(void **state)
{
    struct fixture *f = *state;
    struct nosync_map *map = place_open(&f->request);

    print_message("granted: %s\n", map->grant.detail);
    assert_int_equal(map->grant.mapping, FL_MAPPING_DAX);
    if (f->reflink) {
        assert_int_equal(map->grant.durability, FL_DURABILITY_POWERCUT_UNVERIFIED);
        assert_non_null(strstr(map->grant.detail, "reflink"));
    } else {
        assert_int_equal(map->grant.durability, FL_DURABILITY_POWERCUT);
        assert_null(strstr(map->grant.detail, "reflink"));
    }
    assert_false(map->media.eadr); /* plain QEMU has no persistence_domain */
    assert_null(strstr(map->grant.detail, "forced"));
    nosync_close(map);
}

static void
weaker_kinds_are_granted_as_what_they_are(void **state)
{
    struct fixture *f = *state;
    struct nosync_map *map;

    f->request.mapping = FL_MAPPING_PAGE;
    map = place_open(&f->request);
    assert_int_equal(map->grant.mapping, FL_MAPPING_PAGE);
    assert_int_equal(map->grant.durability, FL_DURABILITY_POWERCUT);
    nosync_close(map);

    f->request.mapping = FL_MAPPING_VOLATILE;
    assert_int_equal(nosync_open(&f->request, &map), FL_NOT_GRANTED);
    f->request.durability_min = FL_DURABILITY_PROCESS;
    map = place_open(&f->request);
    assert_int_equal(map->grant.durability, FL_DURABILITY_PROCESS);
    nosync_close(map);
}

static void
forced_granularity_is_reported_and_not_believed(void **state)
{
    struct fixture *f = *state;
    struct nosync_map *map;

    f->request.mapping = FL_MAPPING_DAX;
    assert_int_equal(setenv("PMEM2_FORCE_GRANULARITY", "BYTE", 1), 0);
    map = place_open(&f->request);
    assert_int_equal(map->grant.durability, FL_DURABILITY_POWERCUT_UNVERIFIED);
    assert_non_null(strstr(map->grant.detail, "forced by PMEM2_FORCE_GRANULARITY=BYTE"));
    nosync_close(map);

    assert_int_equal(setenv("PMEM2_FORCE_GRANULARITY", "CACHE_LINE", 1), 0);
    map = place_open(&f->request);
    assert_non_null(strstr(map->grant.detail, "forced by PMEM2_FORCE_GRANULARITY=CACHE_LINE"));
    assert_false(map->media.eadr);
    nosync_close(map);

    assert_int_equal(setenv("PMEM2_FORCE_GRANULARITY", "PAGE", 1), 0);
    assert_int_equal(nosync_open(&f->request, &map), FL_NOT_GRANTED);
    assert_non_null(strstr(fl_last_error(), "PMEM2_FORCE_GRANULARITY=PAGE"));
    assert_int_equal(unsetenv("PMEM2_FORCE_GRANULARITY"), 0);
}

static void
read_only_reads_a_file_of_any_length(void **state)
{
    struct fixture *f = *state;
    static const off_t lengths[] = {0, 1, 4096, 5000, (off_t)64 * MIB, (off_t)64 * MIB + 9};

    f->request.mapping = FL_MAPPING_DAX;
    f->request.read_only = true;
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        const int fd = open(f->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

        assert_int_equal(ftruncate(fd, lengths[i]), 0);
        assert_true(lengths[i] == 0 || pwrite(fd, "z", 1, lengths[i] - 1) == 1);
        assert_int_equal(close(fd), 0);
        struct nosync_map *map = place_open(&f->request);

        assert_null(map->media.base_store);
        assert_int_equal(nosync_size_bytes(map), lengths[i]);
        assert_true(lengths[i] == 0 || map->media.base[lengths[i] - 1] == 'z');
        assert_int_equal(nosync_fault_in(map, 0, BIG_BLOCK), FL_READ_ONLY);
        nosync_close(map);
    }
}

static void
file_of_any_length_can_grow(void **state)
{
    struct fixture *f = *state;
    const int fd = open(f->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    assert_int_equal(pwrite(fd, "odd", 3, (off_t)70 * MIB), 3);
    assert_int_equal(close(fd), 0);
    struct nosync_map *map = place_open(&f->request);
    struct pm pm;

    assert_int_equal(nosync_size_bytes(map), UINT64_C(70) * MIB + 3);
    assert_memory_equal(map->media.base + UINT64_C(70) * MIB, "odd", 3);
    assert_int_equal(nosync_fault_in(map, 90 * BIG_BLOCK, BIG_BLOCK), FL_OK);
    pm_init(&pm, &map->media);
    pm_store_u64_nofence(&pm, 90 * BIG_BLOCK, 5);
    assert_int_equal(pm_drain(&pm), FL_OK);
    assert_int_equal(nosync_size_bytes(map), 91 * BIG_BLOCK);
    nosync_close(map);
}

static void
shared_extents_are_refused(void **state)
{
    struct fixture *f = *state;
    char clone_path[TMPDIR_PATH_BYTES];
    struct nosync_map *map = NULL;

    if (!f->reflink) {
        skip();
    }
    map = place_open(&f->request);
    assert_int_equal(nosync_fault_in(map, 0, 4 * BIG_BLOCK), FL_OK);
    nosync_close(map);
    nosync_close(place_open(&f->request)); /* not shared yet */

    const int from = open(f->path, O_RDONLY | O_CLOEXEC);
    const int to =
        open(tmpdir_join(&f->dir, "clone", clone_path), O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    assert_int_equal(ioctl(to, FICLONE, from), 0);
    assert_int_equal(close(from), 0);
    assert_int_equal(close(to), 0);
    for (int mapping = FL_MAPPING_AUTO; mapping <= FL_MAPPING_DAX; mapping++) {
        f->request.mapping = (enum fl_mapping)mapping;
        f->request.path = mapping == FL_MAPPING_AUTO ? f->path : clone_path;
        assert_int_equal(nosync_open(&f->request, &map), FL_NOT_SUPPORTED);
        assert_non_null(strstr(fl_last_error(), "reflink=0"));
    }
    assert_int_equal(unlink(clone_path), 0);
    f->request.path = f->path;
    nosync_close(place_open(&f->request)); /* nobody shares any more */
}

/* How often the journal of the place's ext4 has committed; -1 on another filesystem. */
static long
transactions(void)
{
    const char *path = getenv("FL_TEST_DAX_JOURNAL");
    FILE *info = path == NULL ? NULL : fopen(path, "re");
    char line[256];
    long count = -1;

    if (info != NULL) {
        if (fgets(line, sizeof(line), info) == NULL ||
            sscanf(line, "%ld transactions", &count) != 1) {
            die("%s", path);
        }
        (void)fclose(info);
    }
    return count;
}

static long
faults(void)
{
    struct rusage usage;

    assert_int_equal(getrusage(RUSAGE_THREAD, &usage), 0);
    return usage.ru_minflt + usage.ru_majflt;
}

static void
growth_costs_transactions_and_commits_none(void **state)
{
    struct fixture *f = *state;
    struct nosync_map *map = place_open(&f->request);
    uint8_t record[128] = {1};
    struct pm pm;

    pm_init(&pm, &map->media);
    assert_int_equal(nosync_fault_in(map, 0, BIG_BLOCK), FL_OK);
    pm_write_nofence(&pm, 0, record, sizeof(record)); /* the code's own pages */
    assert_int_equal(pm_drain(&pm), FL_OK);
    const long before = transactions();
    const long faults_before = faults();

    for (uint64_t i = 1; i <= 10; i++) {
        assert_int_equal(nosync_fault_in(map, i * BIG_BLOCK, BIG_BLOCK), FL_OK);
    }
    const long grown = transactions();
    const long faults_grown = faults();

    for (uint64_t off = 0; off < 11 * BIG_BLOCK; off += 4096) {
        pm_write_nofence(&pm, off, record, sizeof(record));
        assert_int_equal(pm_drain(&pm), FL_OK);
    }
    const long faults_after = faults();

    print_message("10 blocks of 2 MiB: %ld faults, %ld transactions; 5632 commits: %ld, %ld\n",
                  faults_grown - faults_before, grown - before, faults_after - faults_grown,
                  transactions() - grown);
    assert_int_equal(faults_after - faults_grown, 0);
    assert_in_range(transactions() - grown, 0, 2); /* the journal's timer */
    nosync_close(map);
}

int
main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(auto_takes_dax_and_promises_a_power_cut),
        CASE(weaker_kinds_are_granted_as_what_they_are),
        CASE(forced_granularity_is_reported_and_not_believed),
        CASE(read_only_reads_a_file_of_any_length),
        CASE(file_of_any_length_can_grow),
        CASE(shared_extents_are_refused),
        CASE(growth_costs_transactions_and_commits_none),
    };

    place = getenv("FL_TEST_DAX_DIR");
    if (place == NULL) {
        die_skip("FL_TEST_DAX_DIR names no directory on a DAX filesystem");
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
