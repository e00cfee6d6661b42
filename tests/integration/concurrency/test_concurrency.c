/* Goal:   readers, writers, cleaner and grow-ahead of a store work beside each other: no update is lost, no
 *         batch seen in half, no held view, cursor or snapshot disturbed, and what is there at the end is
 *         there after a reopen; with two stores in one process.
 * Method: two stores with small blocks, so that segments turn over all the time: one on the volatile
 *         mapping, one on the page mapping. On each, for some seconds, threads put, delete, batch, submit,
 *         transfer and count beside threads that read points, hold views, walk cursors both ways and keep
 *         snapshots. Values describe themselves; batches keep pairs equal and sums constant. Run it under
 *         ThreadSanitizer too. */
#include "tests/integration/concurrency/field.h"
#include "tests/integration/support/place.h"
#include "tests/lib/die.h"

#include <faultline/check.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { BLOCK_BYTES = 64 * 1024, SECONDS = 8, STORES = 2 };

static unsigned seconds = SECONDS;

static void
put_number(struct field *field, enum field_kind kind, unsigned i, int64_t number)
{
    char name[FIELD_KEY_BYTES + 1];

    assert_int_equal(
        fl_put(field->store, field_key(kind, 0, i, name), fl_bytes(&number, sizeof(number)), NULL),
        FL_OK);
}

static void
field_open(struct field *field, enum fl_mapping mapping, uint64_t seed)
{
    const uint64_t room = (uint64_t)2 << 30;

    memset(field, 0, sizeof(*field));
    field->seed = seed;
    if (!(mapping == FL_MAPPING_VOLATILE ? place_in_memory(&field->dir, room)
                                         : place_on_disk(&field->dir, room))) {
        die_skip("no 2 GiB free for a store of kind %s", fl_mapping_name(mapping));
    }
    fl_options_init(&field->options);
    field->options.mapping = mapping;
    field->options.durability_min = FL_DURABILITY_PROCESS;
    field->options.block_bytes = BLOCK_BYTES;
    field->options.size_bytes_max = (uint64_t)4 << 30;
    tmpdir_join(&field->dir, "store", field->path);
    field_must(fl_open(field->path, &field->options, &field->store), field->path);
    for (unsigned i = 0; i < FIELD_ACCOUNTS; i++) {
        put_number(field, FIELD_ACCOUNT, i, FIELD_ACCOUNT_START);
    }
    for (unsigned i = 0; i < FIELD_COUNTERS; i++) {
        put_number(field, FIELD_COUNTER, i, 0);
    }
}

static void
launch(struct field *field, void *(*body)(void *), unsigned number)
{
    struct field_hand *hand = calloc(1, sizeof(*hand));

    assert_non_null(hand);
    hand->field = field;
    hand->number = number;
    hand->rng.state = field->seed + field->threads_count * UINT64_C(0xD1B54A32D192ED03);
    hand->value = malloc((size_t)FIELD_VALUE_BYTES_MAX);
    assert_non_null(hand->value);
    assert_true(field->threads_count < FIELD_THREADS_MAX);
    assert_int_equal(pthread_create(&field->threads[field->threads_count++], NULL, body, hand), 0);
}

static void
field_start(struct field *field)
{
    for (unsigned i = 0; i < FIELD_WRITERS; i++) {
        launch(field, field_writer, i);
    }
    for (unsigned i = 0; i < 2; i++) {
        launch(field, field_counter, i);
        launch(field, field_banker, i);
    }
    launch(field, field_reader, 0);
    launch(field, field_holder, 0);
    launch(field, field_walker, 0);
    launch(field, field_historian, 0);
    launch(field, field_statistician, 0);
}

static void
field_join(struct field *field)
{
    atomic_store(&field->stop, true);
    for (unsigned i = 0; i < field->threads_count; i++) {
        pthread_join(field->threads[i], NULL);
    }
}

static int64_t
number_at(struct field *field, enum field_kind kind, unsigned i)
{
    char name[FIELD_KEY_BYTES + 1];
    struct fl_view view;

    assert_int_equal(fl_get_view(field->store, field_key(kind, 0, i, name), &view), FL_OK);
    const int64_t number = field_number(view.value);

    fl_view_release(&view);
    return number;
}

/* Exactly what the threads know to have written. */
static void
field_verify(struct field *field)
{
    static uint8_t scratch[FIELD_VALUE_BYTES_MAX];
    int64_t sum = 0;

    for (unsigned i = 0; i < FIELD_ACCOUNTS; i++) {
        sum += number_at(field, FIELD_ACCOUNT, i);
    }
    assert_int_equal(sum, FIELD_ACCOUNTS * FIELD_ACCOUNT_START);
    for (unsigned i = 0; i < FIELD_COUNTERS; i++) {
        assert_int_equal(number_at(field, FIELD_COUNTER, i), atomic_load(&field->counted[i]));
    }
    for (unsigned writer = 0; writer < FIELD_WRITERS; writer++) {
        for (unsigned i = 0; i < FIELD_KEYS; i++) {
            char name[FIELD_KEY_BYTES + 1];
            struct fl_view view;
            uint64_t version = 0;
            const fl_status status =
                fl_get_view(field->store, field_key(FIELD_OWNED, writer, i, name), &view);

            if (status == FL_OK) {
                version = field_version(field, FIELD_OWNED, writer, i, view.value, scratch);
                fl_view_release(&view);
            } else {
                assert_int_equal(status, FL_NOT_FOUND);
            }
            assert_int_equal(version, field->owned[writer][i]);
        }
    }
}

static void
field_report(struct field *field)
{
    struct fl_stats stats = {.struct_bytes = sizeof(stats)};
    uint64_t counted = 0;

    for (unsigned i = 0; i < FIELD_COUNTERS; i++) {
        counted += atomic_load(&field->counted[i]);
    }
    fl_stats(field->store, &stats);
    print_message(
        "%s: %lu puts, %lu deletes, %lu batches, %lu increments, %lu conflicts; %lu gets, %lu "
        "views "
        "held, %lu passes, %lu snapshots; %lu segment changes, %lu blocks freed, %lu MiB copied, "
        "file %lu KiB, live %lu KiB\n",
        fl_mapping_name(stats.mapping), (unsigned long)atomic_load(&field->puts),
        (unsigned long)atomic_load(&field->deletes), (unsigned long)atomic_load(&field->batches),
        (unsigned long)counted, (unsigned long)atomic_load(&field->conflicts),
        (unsigned long)atomic_load(&field->gets), (unsigned long)atomic_load(&field->views),
        (unsigned long)atomic_load(&field->passes), (unsigned long)atomic_load(&field->snapshots),
        (unsigned long)stats.segment_changes_total, (unsigned long)stats.cleaner_freed_blocks_total,
        (unsigned long)(stats.cleaner_copied_bytes_total >> 20),
        (unsigned long)(stats.file_bytes >> 10), (unsigned long)(stats.live_bytes >> 10));
    assert_int_equal(stats.put_path_faults_total, 0);
    assert_true(stats.segment_changes_total > 0);
    assert_true(counted > 0 && atomic_load(&field->passes) > 0 &&
                atomic_load(&field->snapshots) > 0);
}

static void
field_check(const struct field *field)
{
    const struct fl_check_options options = {.struct_bytes = sizeof(options)};
    struct fl_check_report report = {0};

    field_must(fl_check(field->path, &options, &report), "fl_check");
    assert_int_equal(report.findings, 0);
}

static void
field_reopen(struct field *field)
{
    struct fl_stats stats = {.struct_bytes = sizeof(stats)};

    field_must(fl_open(field->path, &field->options, &field->store), field->path);
    fl_stats(field->store, &stats);
    assert_false(stats.recovered);
}

static void
field_close(struct field *field)
{
    assert_int_equal(fl_close(field->store), FL_OK);
    tmpdir_destroy(&field->dir);
}

static void
threads_on_two_stores_lose_nothing_and_see_whole_states(void **state)
{
    static struct field fields[STORES];
    struct rng rng = rng_seeded(20260905);
    const struct timespec time = {.tv_sec = seconds};

    (void)state;
    field_open(&fields[0], FL_MAPPING_VOLATILE, rng_u64(&rng));
    field_open(&fields[1], FL_MAPPING_PAGE, rng_u64(&rng));
    for (unsigned i = 0; i < STORES; i++) {
        field_start(&fields[i]);
    }
    nanosleep(&time, NULL);
    for (unsigned i = 0; i < STORES; i++) {
        field_join(&fields[i]);
    }
    for (unsigned i = 0; i < STORES; i++) {
        field_report(&fields[i]);
        field_verify(&fields[i]);
        field_must(fl_close(fields[i].store), "fl_close");
    }
    for (unsigned i = 0; i < STORES; i++) {
        field_check(&fields[i]);
        field_reopen(&fields[i]);
        field_verify(&fields[i]);
        field_close(&fields[i]);
    }
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_on_two_stores_lose_nothing_and_see_whole_states),
    };

    if (argc == 3 && strcmp(argv[1], "--seconds") == 0) {
        seconds = (unsigned)strtoul(argv[2], NULL, 10);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
