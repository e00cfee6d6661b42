/* Goal:   a commit to a block that was faulted in overwrites in place: it makes the filesystem's journal commit
 *         nothing. That is what faulting in by real zeros is for.
 * Method: an ext4 of the test's own, whose journal counts its transactions; some hundred commits on
 *         faulted blocks beside as many writes to a hole and to a merely preallocated extent, which must
 *         each cost one, so that the count can be believed.
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
#include <stdio.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { PLACE_BYTES = 64 * 1024 * 1024, BLOCK = 4 * 1024 * 1024, COMMITS = 400, STRIDE = 8192 };

static struct tmpdir place;
static char device[32];

static uint64_t
transactions(void)
{
    char path[128];
    char line[256];
    unsigned long count;

    (void)snprintf(path, sizeof(path), "/proc/fs/jbd2/%s-8/info", device);
    FILE *info = fopen(path, "re");

    if (info == NULL || fgets(line, sizeof(line), info) == NULL ||
        sscanf(line, "%lu transactions", &count) != 1) {
        die_errno("%s", path);
    }
    (void)fclose(info);
    return count;
}

static double
seconds(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void
commits_on_faulted_blocks_cost_no_transaction(void **state)
{
    char path[TMPDIR_PATH_BYTES];
    const struct nosync_request request =
        place_request(tmpdir_join(&place, "heap", path), FL_MAPPING_PAGE, BLOCK);
    struct nosync_map *map = place_open(&request);
    uint8_t record[256];
    struct pm pm;

    (void)state;
    memset(record, 7, sizeof(record));
    assert_int_equal(nosync_fault_in(map, 0, BLOCK), FL_OK);
    pm_init(&pm, &map->media);
    const uint64_t before = transactions();
    const double start = seconds();

    for (uint64_t i = 0; i < COMMITS; i++) {
        pm_write_nofence(&pm, i * STRIDE, record, sizeof(record));
        assert_int_equal(pm_drain(&pm), FL_OK);
    }
    print_message("faulted blocks: %.0f us a commit, %d transactions\n",
                  (seconds() - start) / COMMITS * 1e6, (int)(transactions() - before));
    /* The journal also commits on a timer, every five seconds. */
    assert_in_range(transactions() - before, 0, 2);
    nosync_close(map);
}

static void
check_control(const char *name, bool preallocate)
{
    char path[TMPDIR_PATH_BYTES];
    const int fd = open(tmpdir_join(&place, name, path), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    uint8_t record[256];

    memset(record, 7, sizeof(record));
    assert_int_equal(ftruncate(fd, BLOCK), 0);
    if (preallocate) {
        assert_int_equal(fallocate(fd, 0, 0, BLOCK), 0);
    }
    assert_int_equal(fsync(fd), 0);
    const uint64_t before = transactions();
    const double start = seconds();

    for (int i = 0; i < COMMITS; i++) {
        const struct iovec vec = {record, sizeof(record)};

        assert_int_equal(pwritev2(fd, &vec, 1, (off_t)i * STRIDE, RWF_DSYNC), sizeof(record));
    }
    print_message("%s: %.0f us a commit, %d transactions\n", name,
                  (seconds() - start) / COMMITS * 1e6, (int)(transactions() - before));
    assert_true(transactions() - before >= COMMITS);
    assert_int_equal(close(fd), 0);
}

static void
writes_to_a_hole_cost_a_transaction_each(void **state)
{
    (void)state;
    check_control("hole", false);
}

static void
writes_to_a_preallocated_extent_cost_a_transaction_each(void **state)
{
    (void)state;
    check_control("preallocated", true);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commits_on_faulted_blocks_cost_no_transaction),
        cmocka_unit_test(writes_to_a_hole_cost_a_transaction_each),
        cmocka_unit_test(writes_to_a_preallocated_extent_cost_a_transaction_each),
    };

    place_ext4(&place, PLACE_BYTES, device);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);

    place_remove(&place);
    return failed;
}
