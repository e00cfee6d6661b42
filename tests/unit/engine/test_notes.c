/* Goal:   notes of deadlines whose records are long gone are judged without a look at blocks that are freed and used
 *         anew at the same time; each key still expires in its time.
 * Method: keys with deadlines are overwritten in a small store with all its threads, so that segments are freed and
 *         notes pile up, while another thread writes big values into the blocks that come free. Under the thread
 *         sanitizer a look at the wrong time is a report.
 */
#include "base/clock.h"
#include "tests/unit/engine/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { BLOCK = 16384, KEYS = 300, VALUE = 300, BIG = 60000, RUN_MS = 2500, KEY_ROOM = 16 };

struct writer {
    struct fl_store *store;
    _Atomic bool stop;
    fl_status status;
};

static void *
write_big(void *arg)
{
    static const char value[BIG];
    struct writer *writer = arg;

    for (unsigned i = 0; !atomic_load(&writer->stop) && writer->status == FL_OK; i++) {
        char key[KEY_ROOM];
        const int len = snprintf(key, sizeof(key), "b%u", i % 6);

        writer->status = fl_put(writer->store, fl_key(key, (size_t)len),
                                fl_bytes(value, BIG / 2 + i * 7919 % (BIG / 2)), NULL);
    }
    return NULL;
}

static void
notes_of_records_that_are_gone_touch_no_block(void **state)
{
    const struct fl_put_options options = {.deadline_ms = 2000};
    static const char value[VALUE];
    struct fl_stats stats = {.struct_bytes = sizeof(stats)};
    struct writer writer = {.status = FL_OK};
    struct fixture f;
    pthread_t thread;

    (void)state;
    fixture_init(&f, BLOCK, 1000);
    f.options.background = true;
    fixture_reopen(&f);
    writer.store = f.store;
    assert_int_equal(pthread_create(&thread, NULL, write_big, &writer), 0);
    const uint64_t end_ns = clock_mono_ns() + (uint64_t)RUN_MS * 1000000;

    for (unsigned i = 0; i % KEYS != 0 || clock_mono_ns() < end_ns; i++) {
        char key[KEY_ROOM];
        const int len = snprintf(key, sizeof(key), "k%u", i % KEYS);

        assert_int_equal(
            fl_put(f.store, fl_key(key, (size_t)len), fl_bytes(value, VALUE), &options), FL_OK);
    }
    atomic_store(&writer.stop, true);
    pthread_join(thread, NULL);
    assert_int_equal(writer.status, FL_OK);
    fl_stats(f.store, &stats);
    assert_true(stats.cleaner_freed_blocks_total > 0);
    assert_int_equal(stats.keys_expiring, KEYS);
    f.options.background = false;
    fixture_reopen(&f);
    f.wall_ms = 1900;
    fixture_maintain(&f);
    f.wall_ms = 2100;
    fixture_maintain(&f);
    fl_stats(f.store, &stats);
    assert_int_equal(stats.expired_total, KEYS);
    assert_int_equal(stats.keys_expiring, 0);
    fixture_deinit(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(notes_of_records_that_are_gone_touch_no_block),
    };

    return cmocka_run_group_tests_name("engine notes", tests, NULL, NULL);
}
