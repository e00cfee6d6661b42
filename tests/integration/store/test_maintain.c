/* Goal:   a store's background work is done by its threads or by fl_maintain(), never by both.
 * Method: fl_maintain() on a store with threads is refused, the store goes on; without threads it comes to an end,
 *         and has done the work: keys that expired are gone, and so are their blocks. */
#include <faultline/faultline.h>

#include "tests/lib/tmpdir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { KEYS = 200 };

static const uint64_t start_ms = 1000000;

static uint64_t
clock_ms(void *context)
{
    return *(const uint64_t *)context;
}

static struct fl_store *
open_store(const struct tmpdir *dir, bool background, uint64_t *now_ms)
{
    char path[TMPDIR_PATH_BYTES];
    struct fl_options options;
    struct fl_store *store = NULL;

    fl_options_init(&options);
    options.mapping = FL_MAPPING_VOLATILE;
    options.durability_min = FL_DURABILITY_PROCESS;
    options.block_bytes = 4096;
    options.size_bytes_max = 4 << 20;
    options.background = background;
    options.now_ms = clock_ms;
    options.context = now_ms;
    assert_int_equal(fl_open(tmpdir_join(dir, "data", path), &options, &store), FL_OK);
    return store;
}

static void
fill(struct fl_store *store)
{
    static const uint8_t value[2000]; /* a block each */
    const struct fl_put_options options = {.deadline_ms = start_ms + 1};
    char name[16];

    for (unsigned i = 0; i < KEYS; i++) {
        const size_t len = (size_t)snprintf(name, sizeof(name), "%u", i);

        assert_int_equal(fl_put(store, fl_key(name, len), fl_bytes(value, sizeof(value)), &options),
                         FL_OK);
    }
}

static void
maintain_beside_the_stores_threads_is_refused(void **state)
{
    uint64_t now_ms = start_ms;
    struct tmpdir dir;

    (void)state;
    tmpdir_create(&dir);
    struct fl_store *store = open_store(&dir, true, &now_ms);

    fill(store);
    assert_int_equal(fl_maintain(store), FL_INVALID);
    assert_non_null(strstr(fl_last_error(), "options.background"));
    assert_int_equal(fl_put(store, fl_key("k", 1), fl_bytes("v", 1), NULL), FL_OK);
    assert_int_equal(fl_close(store), FL_OK);
    tmpdir_destroy(&dir);
}

static void
maintain_without_threads_does_the_work_and_ends(void **state)
{
    struct fl_stats stats = {.struct_bytes = sizeof(stats)};
    uint64_t now_ms = start_ms;
    unsigned steps = 0;
    struct tmpdir dir;
    fl_status status;

    (void)state;
    tmpdir_create(&dir);
    struct fl_store *store = open_store(&dir, false, &now_ms);

    fill(store);
    fl_stats(store, &stats);
    const uint64_t owned = stats.blocks_owned;

    now_ms += 10;
    do {
        status = fl_maintain(store);
    } while (status == FL_OK && steps++ < 100000);
    assert_int_equal(status, FL_END);
    fl_stats(store, &stats);
    assert_int_equal(stats.expired_total, KEYS);
    assert_true(stats.blocks_owned + KEYS / 2 < owned);
    assert_int_equal(fl_close(store), FL_OK);
    tmpdir_destroy(&dir);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(maintain_beside_the_stores_threads_is_refused),
        cmocka_unit_test(maintain_without_threads_does_the_work_and_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
