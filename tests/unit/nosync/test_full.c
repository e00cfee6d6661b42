/* Goal:   on a full filesystem growth is refused with a status, nothing that was there is lost, and growth works
 *         again once there is room: for every kind that the filesystem carries.
 * Method: a filesystem of some MiB of the test's own, tmpfs or ext4 by the first argument, filled by the
 *         heap itself and by a file beside it. Or dax: $FL_TEST_DAX_DIR (skipped without it), all but some
 *         MiB of it taken up first.
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
#include <sys/statvfs.h>
#include <unistd.h>

#define BLOCK UINT64_C(262144)

enum { BLOCKS_MAX = 256 };

static uint64_t place_bytes = UINT64_C(24) << 20;

static struct tmpdir place;

static void
check_blocks(struct nosync_map *map, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        uint64_t word;

        memcpy(&word, map->media.base + i * BLOCK, sizeof(word));
        assert_int_equal(word, i + 1);
        memcpy(&word, map->media.base + (i + 1) * BLOCK - sizeof(word), sizeof(word));
        assert_int_equal(word, i + 1);
    }
}

static uint64_t
fill(struct nosync_map *map, struct pm *pm, uint64_t from)
{
    uint64_t count = from;
    fl_status status = FL_OK;

    while (count < BLOCKS_MAX) {
        status = nosync_fault_in(map, count * BLOCK, BLOCK);
        if (status != FL_OK) {
            break;
        }
        pm_store_u64_nofence(pm, count * BLOCK, count + 1);
        pm_store_u64_nofence(pm, (count + 1) * BLOCK - 8, count + 1);
        assert_int_equal(pm_drain(pm), FL_OK);
        count++;
    }
    assert_string_equal(fl_status_name(status), "FL_NO_SPACE");
    return count;
}

static void
check_kind(enum fl_mapping mapping)
{
    char path[TMPDIR_PATH_BYTES];
    char ballast[TMPDIR_PATH_BYTES];
    const struct nosync_request request =
        place_request(tmpdir_join(&place, "heap", path), mapping, BLOCKS_MAX * BLOCK);
    struct nosync_map *map = place_open(&request);
    struct pm pm;
    const int fd =
        open(tmpdir_join(&place, "ballast", ballast), O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    pm_init(&pm, &map->media);
    assert_int_equal(posix_fallocate(fd, 0, (off_t)place_bytes / 2), 0);

    const uint64_t first = fill(map, &pm, 0);
    const uint64_t size_bytes = nosync_size_bytes(map);
    const uint64_t file_bytes = nosync_file_bytes(map);

    assert_in_range(first, 4, 48);
    assert_int_equal(size_bytes, first * BLOCK);
    /* The block that failed left nothing of itself; the filesystem's own bookkeeping may count in. */
    assert_in_range(file_bytes, first * BLOCK, first * BLOCK + 16 * UINT64_C(1024));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(nosync_fault_in(map, first * BLOCK, BLOCK), FL_NO_SPACE);
        /* Larger than all that is left: some of it could have been had. */
        assert_int_equal(nosync_fault_in(map, first * BLOCK, 40 * BLOCK), FL_NO_SPACE);
    }
    assert_int_equal(nosync_size_bytes(map), size_bytes);
    assert_int_equal(nosync_file_bytes(map), file_bytes);
    check_blocks(map, first);

    /* Commits to blocks that exist go on. */
    pm_store_u64_nofence(&pm, 8, 77);
    assert_int_equal(pm_drain(&pm), FL_OK);
    assert_int_equal(map->media.base[8], 77);

    /* Room by a punch of our own, then by the ballast's going. */
    assert_int_equal(nosync_punch(map, (first - 1) * BLOCK, BLOCK), FL_OK);
    assert_int_equal(nosync_sync_file(map), FL_OK);
    assert_int_equal(fill(map, &pm, first - 1), first);
    check_blocks(map, first);
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(fsync(fd), 0);
    const uint64_t second = fill(map, &pm, first);

    assert_true(second >= first + place_bytes / 2 / BLOCK - 2);
    check_blocks(map, second);
    nosync_close(map);

    map = place_open(&request);
    check_blocks(map, second);
    nosync_close(map);
    assert_int_equal(close(fd), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(unlink(ballast), 0);
}

static void
page_kind_outlives_a_full_filesystem(void **state)
{
    (void)state;
    check_kind(FL_MAPPING_PAGE);
}

static void
volatile_kind_outlives_a_full_filesystem(void **state)
{
    (void)state;
    check_kind(FL_MAPPING_VOLATILE);
}

static void
create_on_a_full_filesystem_can_be_tried_again(void **state)
{
    char path[TMPDIR_PATH_BYTES];
    char ballast[TMPDIR_PATH_BYTES];
    const struct nosync_request request =
        place_request(tmpdir_join(&place, "late", path), FL_MAPPING_PAGE, BLOCK);
    const int fd =
        open(tmpdir_join(&place, "ballast", ballast), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    off_t end = 0;

    (void)state;
    for (off_t step = (off_t)place_bytes; step >= 4096; step /= 2) {
        while (posix_fallocate(fd, end, step) == 0) {
            end += step;
        }
    }
    struct nosync_map *map = place_open(&request);

    assert_int_equal(nosync_fault_in(map, 0, BLOCK), FL_NO_SPACE);
    assert_int_equal(nosync_size_bytes(map), 0);
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(fsync(fd), 0);
    assert_int_equal(nosync_fault_in(map, 0, BLOCK), FL_OK);
    nosync_close(map);
    assert_int_equal(close(fd), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(unlink(ballast), 0);
}

static void
dax_kind_outlives_a_full_filesystem(void **state)
{
    (void)state;
    check_kind(FL_MAPPING_DAX);
}

/* A place of place_bytes on the DAX filesystem, by a file that takes the rest. */
static void
place_dax(void)
{
    const char *parent = getenv("FL_TEST_DAX_DIR");
    char path[TMPDIR_PATH_BYTES];
    struct statvfs fs;

    if (parent == NULL) {
        die_skip("FL_TEST_DAX_DIR names no directory on a DAX filesystem");
    }
    tmpdir_create_in(&place, parent);
    if (statvfs(place.path, &fs) != 0) {
        die_errno("%s", place.path);
    }
    const uint64_t left = (uint64_t)fs.f_bavail * fs.f_frsize;
    const int fd = open(tmpdir_join(&place, "filler", path), O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (posix_fallocate(fd, 0, (off_t)(left - place_bytes)) != 0 || close(fd) != 0) {
        die_errno("fill %s", place.path);
    }
}

static int
run_dax(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dax_kind_outlives_a_full_filesystem),
        cmocka_unit_test(page_kind_outlives_a_full_filesystem),
        cmocka_unit_test(volatile_kind_outlives_a_full_filesystem),
    };

    place_bytes = UINT64_C(8) << 20; /* an emulated machine is slow */
    place_dax();
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);

    tmpdir_destroy(&place);
    return failed;
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(page_kind_outlives_a_full_filesystem),
        cmocka_unit_test(volatile_kind_outlives_a_full_filesystem),
        cmocka_unit_test(create_on_a_full_filesystem_can_be_tried_again),
    };

    if (argc > 1 && strcmp(argv[1], "dax") == 0) {
        return run_dax();
    }
    if (argc > 1 && strcmp(argv[1], "ext4") == 0) {
        place_ext4(&place, place_bytes, NULL);
    } else {
        place_tmpfs(&place, place_bytes);
    }
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);

    place_remove(&place);
    return failed;
}
