/* Goal:   a path modelfs:DEVICE/NAME opens what it says and nothing else: device and file made if they may be, one
 *         writer, no promise that a model can't keep; and what can't be had is refused with a text, leaving nothing.
 * Method: devices in a directory of the test's own, hosted by this process; a look at them through the client library
 *         (faultline/modelfs.h). Skipped without userfaultfd.
 */
#include "place.h"
#include "tests/lib/die.h"

#include <faultline/modelfs.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/stat.h>
#include <unistd.h>

#define BLOCK UINT64_C(65536)
#define BYTES_MAX (UINT64_C(16) << 20)

struct fixture {
    struct tmpdir dir;
    char device[TMPDIR_PATH_BYTES];
    char path[TMPDIR_PATH_BYTES + 16];
    struct nosync_request request;
};

static int
setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    tmpdir_create(&f->dir);
    tmpdir_join(&f->dir, "device", f->device);
    (void)snprintf(f->path, sizeof(f->path), "modelfs:%s/heap", f->device);
    f->request = place_request(f->path, FL_MAPPING_AUTO, BYTES_MAX);
    f->request.block_bytes = BLOCK;
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
assert_refused(const struct nosync_request *request, fl_status status, const char *text)
{
    struct nosync_map *map = NULL;

    assert_string_equal(fl_status_name(nosync_open(request, &map)), fl_status_name(status));
    assert_null(map);
    if (strstr(fl_last_error(), text) == NULL) {
        fail_msg("no \"%s\" in \"%s\"", text, fl_last_error());
    }
}

static struct fl_modelfs *
attach(const struct fixture *f)
{
    struct fl_modelfs_options options;
    struct fl_modelfs *fs;

    fl_modelfs_options_init(&options);
    options.flags = FL_MODELFS_HOST;
    if (fl_modelfs_attach(f->device, &options, &fs) != FL_OK) {
        die("%s", fl_last_error());
    }
    return fs;
}

static void
device_and_file_are_made_as_the_store_needs_them(void **state)
{
    struct fixture *f = *state;
    struct nosync_map *map = place_open(&f->request);
    struct stat st;

    assert_int_equal(map->grant.mapping, FL_MAPPING_MODEL);
    assert_int_equal(map->grant.durability, FL_DURABILITY_PROCESS);
    assert_true(map->grant.created);
    assert_non_null(strstr(map->grant.detail, "simulated power cut"));
    assert_int_equal(stat(f->device, &st), 0);
    assert_in_range(st.st_size, BYTES_MAX, 3 * BYTES_MAX);
    struct fl_modelfs *fs = attach(f);

    assert_int_equal(fl_modelfs_block_bytes(fs), BLOCK);
    fl_modelfs_detach(fs);
    nosync_close(map);
    map = place_open(&f->request);
    assert_false(map->grant.created);
    nosync_close(map);
}

static void
a_promise_for_real_power_cuts_is_refused_before_anything_is_made(void **state)
{
    struct fixture *f = *state;

    f->request.durability_min = FL_DURABILITY_POWERCUT;
    assert_refused(&f->request, FL_NOT_GRANTED, "--durability-min process");
    assert_int_not_equal(access(f->device, F_OK), 0);
}

static void
wrong_paths_and_mappings_are_refused(void **state)
{
    struct fixture *f = *state;
    static const char *const paths[] = {"modelfs:", "modelfs:heap", "modelfs:/heap",
                                        "modelfs:device/"};

    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        f->request.path = paths[i];
        assert_refused(&f->request, FL_INVALID, "modelfs:DEVICE/NAME");
    }
    f->request.path = f->path;
    f->request.mapping = FL_MAPPING_PAGE;
    assert_refused(&f->request, FL_INVALID, "'model' only");
    assert_int_not_equal(access(f->device, F_OK), 0);
}

static void
without_create_nothing_is_made(void **state)
{
    struct fixture *f = *state;

    f->request.create = false;
    assert_refused(&f->request, FL_NOT_FOUND, f->device);
    assert_int_not_equal(access(f->device, F_OK), 0);
    f->request.create = true;
    nosync_close(place_open(&f->request));
    (void)snprintf(f->path, sizeof(f->path), "modelfs:%s/other", f->device);
    f->request.create = false;
    assert_refused(&f->request, FL_NOT_FOUND, "other");
    f->request.create = true;
    nosync_close(place_open(&f->request));
    f->request.exclusive = true;
    assert_refused(&f->request, FL_EXISTS, "there already");
}

static void
one_writer_or_many_readers(void **state)
{
    struct fixture *f = *state;
    struct nosync_request reader = f->request;
    struct nosync_request other = f->request;
    char path[TMPDIR_PATH_BYTES + 16];
    struct nosync_map *map = place_open(&f->request);

    reader.read_only = true;
    assert_refused(&f->request, FL_BUSY, "in use");
    assert_refused(&reader, FL_BUSY, "in use");
    /* Another file of the device is another store. */
    (void)snprintf(path, sizeof(path), "modelfs:%s/second", f->device);
    other.path = path;
    struct nosync_map *second = place_open(&other);

    nosync_close(second);
    nosync_close(map);
    map = place_open(&reader);
    second = place_open(&reader);
    assert_refused(&f->request, FL_BUSY, "in use");
    assert_null(map->media.base_store);
    assert_int_equal(nosync_fault_in(map, 0, BLOCK), FL_READ_ONLY);
    nosync_close(second);
    nosync_close(map);
}

static void
full_device_is_no_space_and_leaves_the_file_as_it_was(void **state)
{
    struct fixture *f = *state;
    struct nosync_map *map = place_open(&f->request);
    struct fl_modelfs *fs = attach(f);
    struct pm pm;
    uint64_t end = 0;

    pm_init(&pm, &map->media);
    assert_int_equal(fl_modelfs_create(fs, "ballast"), FL_OK);
    for (uint64_t step = UINT64_C(64) << 20; step >= BLOCK; step /= 2) {
        while (fl_modelfs_allocate(fs, "ballast", end, step, false) == FL_OK) {
            end += step;
        }
    }
    assert_true(end > BYTES_MAX / 2);
    assert_int_equal(nosync_fault_in(map, 0, BLOCK), FL_NO_SPACE);
    assert_int_equal(nosync_size_bytes(map), 0);
    assert_int_equal(nosync_file_bytes(map), 0);
    assert_int_equal(fl_modelfs_truncate(fs, "ballast", end - 2 * BLOCK), FL_OK);
    assert_int_equal(nosync_fault_in(map, 0, 4 * BLOCK), FL_NO_SPACE);
    assert_int_equal(nosync_file_bytes(map), 0);
    assert_int_equal(nosync_fault_in(map, 0, 2 * BLOCK), FL_OK);
    pm_store_u64_nofence(&pm, 8, 7);
    assert_int_equal(pm_drain(&pm), FL_OK);
    assert_int_equal(nosync_fault_in(map, 2 * BLOCK, BLOCK), FL_NO_SPACE);
    assert_int_equal(nosync_size_bytes(map), 2 * BLOCK);
    assert_int_equal(map->media.base[8], 7);
    assert_int_equal(nosync_punch(map, BLOCK, BLOCK), FL_OK);
    assert_int_equal(nosync_fault_in(map, 2 * BLOCK, BLOCK), FL_OK);
    assert_int_equal(map->media.base[8], 7);
    fl_modelfs_detach(fs);
    nosync_close(map);
}

/* What was drained outlives everything but the mapping's end; what wasn't does not. */
static void
drained_bytes_outlive_a_simulated_power_cut(void **state)
{
    struct fixture *f = *state;
    struct nosync_map *map = place_open(&f->request);
    struct fl_modelfs *fs = attach(f);
    struct pm pm;

    pm_init(&pm, &map->media);
    assert_int_equal(nosync_fault_in(map, 0, 2 * BLOCK), FL_OK);
    pm_write_nofence(&pm, BLOCK, "drained", 7);
    assert_int_equal(pm_drain(&pm), FL_OK);
    pm_write_nofence(&pm, BLOCK + 4096, "pending", 7);
    assert_int_equal(fl_modelfs_powercut(fs, 0), FL_OK);
    fl_modelfs_detach(fs);
    nosync_close(map);
    map = place_open(&f->request);
    assert_int_equal(nosync_size_bytes(map), 2 * BLOCK);
    assert_memory_equal(map->media.base + BLOCK, "drained", 7);
    assert_int_equal(map->media.base[BLOCK + 4096], 0);
    nosync_close(map);
}

static void
names_are_found_removed_and_replaced(void **state)
{
    struct fixture *f = *state;
    char other[TMPDIR_PATH_BYTES + 32];
    char old[TMPDIR_PATH_BYTES + 32];
    struct nosync_request request = f->request;
    bool there = false;
    char *real;

    (void)snprintf(other, sizeof(other), "%s.repaired", f->path);
    (void)snprintf(old, sizeof(old), "%s.damaged", f->path);
    struct nosync_map *map = place_open(&f->request);

    assert_int_equal(nosync_fault_in(map, 0, BLOCK), FL_OK);
    request.path = other;
    nosync_close(place_open(&request));
    assert_int_equal(nosync_name_real(f->path, &real), FL_OK);
    assert_string_equal(real, f->path);
    free(real);
    assert_int_equal(nosync_name_permit(other, f->path), FL_OK);
    /* The old one is open meanwhile, and goes on under its new name. */
    assert_int_equal(nosync_name_replace(f->path, other, old), FL_OK);
    nosync_close(map);
    assert_int_equal(nosync_name_exists(other, &there), FL_OK);
    assert_false(there);
    assert_int_equal(nosync_name_exists(old, &there), FL_OK);
    assert_true(there);
    map = place_open(&f->request);
    assert_int_equal(nosync_size_bytes(map), 0);
    nosync_close(map);
    assert_int_equal(nosync_name_remove(old), FL_OK);
    assert_int_equal(nosync_name_exists(old, &there), FL_OK);
    assert_false(there);
    assert_int_equal(nosync_name_remove(old), FL_NOT_FOUND);
}

int
main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(device_and_file_are_made_as_the_store_needs_them),
        CASE(a_promise_for_real_power_cuts_is_refused_before_anything_is_made),
        CASE(wrong_paths_and_mappings_are_refused),
        CASE(without_create_nothing_is_made),
        CASE(one_writer_or_many_readers),
        CASE(full_device_is_no_space_and_leaves_the_file_as_it_was),
        CASE(drained_bytes_outlive_a_simulated_power_cut),
        CASE(names_are_found_removed_and_replaced),
    };

    place_need_userfaultfd();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
