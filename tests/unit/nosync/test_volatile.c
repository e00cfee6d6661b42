/* Goal:   a block of the volatile kind that could not be populated leaves the file as it was: neither longer nor with
 *         space of its own; and the next attempt succeeds.
 * Method: madvise() is taken over and fails when it is told to, as on a poisoned block. */
#include "place.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <sys/mman.h>

#define BLOCK UINT64_C(65536)

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

int __real_madvise(void *addr, size_t len, int advice);
int __wrap_madvise(void *addr, size_t len, int advice);

static bool fail_populate;

int
__wrap_madvise(void *addr, size_t len, int advice)
{
    if (advice == MADV_POPULATE_WRITE && fail_populate) {
        errno = EFAULT;
        return -1;
    }
    return __real_madvise(addr, len, advice);
}

static void
block_that_could_not_be_populated_leaves_the_file_as_it_was(void **state)
{
    struct tmpdir place;
    char path[TMPDIR_PATH_BYTES];

    (void)state;
    tmpdir_create(&place);
    const struct nosync_request request =
        place_request(tmpdir_join(&place, "heap", path), FL_MAPPING_VOLATILE, 16 * BLOCK);
    struct nosync_map *map = place_open(&request);

    assert_int_equal(nosync_fault_in(map, 0, 2 * BLOCK), FL_OK);
    const uint64_t file_bytes = nosync_file_bytes(map);

    fail_populate = true;
    assert_int_equal(nosync_fault_in(map, 2 * BLOCK, BLOCK), FL_IO);
    assert_int_equal(nosync_size_bytes(map), 2 * BLOCK);
    assert_int_equal(nosync_file_bytes(map), file_bytes);
    /* Inside the file there is nothing to cut. */
    assert_int_equal(nosync_punch(map, 0, BLOCK), FL_OK);
    assert_int_equal(nosync_fault_in(map, 0, BLOCK), FL_IO);
    assert_int_equal(nosync_size_bytes(map), 2 * BLOCK);
    fail_populate = false;
    assert_int_equal(nosync_fault_in(map, 0, 3 * BLOCK), FL_OK);
    assert_int_equal(nosync_size_bytes(map), 3 * BLOCK);
    nosync_close(map);
    tmpdir_destroy(&place);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(block_that_could_not_be_populated_leaves_the_file_as_it_was),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
