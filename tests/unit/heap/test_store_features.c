/* Goal:   a store with features that this library doesn't know is used as far as its feature words allow: compat ones
 *         don't matter and stay, ro_compat ones allow reading only, incompat ones nothing; nothing is written by an
 *         open that is refused.
 * Method: a closed store in memory; each bit of each word is set in both superblocks, as a later library would. */
#include "storage/api/store.h"
#include "storage/heap/heap_layout.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/fail.h"
#include "tests/lib/mem_map.h"
#include "tests/lib/tmpdir.h"

#include <faultline/check.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { BLOCK = 4096, SIZE_MAX_BYTES = 64 * BLOCK };

static struct mem_map *mem;
static uint8_t *image; /* the store without features */
static uint64_t image_len;

static fl_status
open_store(unsigned flags, struct fl_store **store)
{
    struct fl_options options;

    fl_options_init(&options);
    options.flags = flags;
    options.durability_min = FL_DURABILITY_PROCESS;
    options.block_bytes = BLOCK;
    options.size_bytes_max = SIZE_MAX_BYTES;
    options.background = false;
    return store_open_map(mem_map_open(mem), &options, store);
}

static int
setup(void **state)
{
    const struct mem_map_options options = {.mode = PM_DIRECT, .size_bytes_max = SIZE_MAX_BYTES};
    struct fl_store *store = NULL;

    (void)state;
    mem = mem_map_create(&options);
    assert_int_equal(open_store(FL_OPEN_CREATE, &store), FL_OK);
    assert_int_equal(fl_put(store, fl_key("k", 1), fl_bytes("v", 1), NULL), FL_OK);
    assert_int_equal(fl_close(store), FL_OK);
    image = mem_map_copy(mem, &image_len);
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    free(image);
    mem_map_destroy(mem);
    return 0;
}

static struct heap_super_media *
copy_at(unsigned half)
{
    return (struct heap_super_media *)(mem_map_bytes(mem) + heap_half_off(BLOCK, half, 0));
}

enum word { COMPAT, RO_COMPAT, INCOMPAT };

static void
feature_set(enum word word, unsigned bit)
{
    mem_map_load(mem, image, image_len);
    for (unsigned half = 0; half < 2; half++) {
        struct heap_super_media *super = copy_at(half);
        struct le64 *words[] = {&super->compat, &super->ro_compat, &super->incompat};

        bytes_put_le64(words[word], UINT64_C(1) << bit);
        bytes_put_le32(&super->crc, crc32c(0, super, offsetof(struct heap_super_media, crc)));
    }
}

static void
assert_reads(struct fl_store *store)
{
    char got[8];
    size_t len = 0;

    assert_int_equal(fl_get(store, fl_key("k", 1), got, sizeof(got), &len), FL_OK);
    assert_int_equal(len, 1);
    assert_int_equal(got[0], 'v');
}

static void
assert_refused_unchanged(unsigned flags)
{
    struct fl_store *store = NULL;
    uint64_t len = 0;
    uint8_t *before = mem_map_copy(mem, &len);

    assert_int_equal(open_store(flags, &store), FL_VERSION);
    assert_non_null(strstr(fl_last_error(), "newer"));
    assert_memory_equal(mem_map_bytes(mem), before, len);
    free(before);
}

static void
compat_feature_is_ignored_and_stays(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < 64; bit++) {
        struct fl_store *store = NULL;

        feature_set(COMPAT, bit);
        if (bit % 2 == 1) {
            mem_map_bytes(mem)[100] ^= 1; /* to be healed from the other one */
        }
        assert_int_equal(open_store(0, &store), FL_OK);
        assert_reads(store);
        assert_int_equal(fl_put(store, fl_key("l", 1), fl_bytes("w", 1), NULL), FL_OK);
        assert_int_equal(fl_close(store), FL_OK);
        assert_int_equal(open_store(FL_OPEN_READ_ONLY, &store), FL_OK);
        assert_reads(store);
        assert_int_equal(fl_close(store), FL_OK);
        for (unsigned half = 0; half < 2; half++) {
            assert_int_equal(bytes_get_le64(&copy_at(half)->compat), UINT64_C(1) << bit);
        }
    }
}

static void
ro_compat_feature_allows_reading_only(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < 64; bit++) {
        struct fl_store *store = NULL;

        feature_set(RO_COMPAT, bit);
        assert_refused_unchanged(0);
        assert_refused_unchanged(FL_OPEN_CREATE);
        assert_int_equal(open_store(FL_OPEN_READ_ONLY, &store), FL_OK);
        assert_reads(store);
        assert_int_equal(fl_close(store), FL_OK);
    }
}

/* What the feature is about would be left out of the repaired file. */
static void
ro_compat_feature_forbids_repair(void **state)
{
    const struct fl_check_options check = {.struct_bytes = sizeof(check)};
    struct fl_check_report report;
    char path[TMPDIR_PATH_BYTES];
    struct tmpdir dir;
    FILE *file;

    (void)state;
    tmpdir_create(&dir);
    tmpdir_join(&dir, "store", path);
    feature_set(RO_COMPAT, 3);
    mem_map_bytes(mem)[heap_half_off(BLOCK, 1, 0)] ^= 1; /* something to repair */
    file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(mem_map_bytes(mem), 1, image_len, file), image_len);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(fl_check(path, &check, &report), FL_OK);
    assert_true(report.findings > 0);
    assert_int_equal(fl_check_repair(path, &check, &report), FL_VERSION);
    assert_non_null(strstr(fl_last_error(), "the version that wrote it"));
    tmpdir_join(&dir, "store.damaged", path);
    assert_int_equal(access(path, F_OK), -1);
    tmpdir_join(&dir, "store.repaired", path);
    assert_int_equal(access(path, F_OK), -1);
    tmpdir_destroy(&dir);
}

static void
incompat_feature_allows_nothing(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < 64; bit++) {
        feature_set(INCOMPAT, bit);
        assert_refused_unchanged(0);
        assert_refused_unchanged(FL_OPEN_READ_ONLY);
        assert_refused_unchanged(FL_OPEN_READ_ONLY | FL_OPEN_SALVAGE);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(compat_feature_is_ignored_and_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(ro_compat_feature_allows_reading_only, setup, teardown),
        cmocka_unit_test_setup_teardown(ro_compat_feature_forbids_repair, setup, teardown),
        cmocka_unit_test_setup_teardown(incompat_feature_allows_nothing, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
