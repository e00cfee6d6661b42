#include "tests/faults/work.h"

#include "tests/faults/inject.h"

#include <faultline/check.h>
#include <faultline/cursor.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { VALUE_MAX = 10000, KEY_ROOM = 16, TIMED_SPACE = 3, TTL_MS = 5000 };

#define WALL_MS UINT64_C(1700000000000)

static uint64_t
wall_of(void *context)
{
    const struct work *work = context;

    return work->wall_ms;
}

void
work_init(struct work *work, enum fl_mapping mapping, bool background)
{
    memset(work, 0, sizeof(*work));
    tmpdir_create_in(&work->dir, "/dev/shm");
    (void)tmpdir_join(&work->dir, "store", work->path);
    work->wall_ms = WALL_MS;
    fl_options_init(&work->options);
    work->options.mapping = mapping;
    work->options.durability_min = FL_DURABILITY_PROCESS;
    work->options.block_bytes = WORK_BLOCK_BYTES;
    work->options.size_bytes_max = 512 * WORK_BLOCK_BYTES;
    work->options.blocks_ahead = 2;
    work->options.threads_open = background ? 2 : 1;
    work->options.background = background;
    work->options.now_ms = wall_of;
    work->options.context = work;
}

void
work_deinit(struct work *work)
{
    tmpdir_destroy(&work->dir);
}

/* ---- contents ---- */

static struct fl_key
key_of(unsigned i, char name[KEY_ROOM])
{
    return fl_key(name, (size_t)snprintf(name, KEY_ROOM, "key%u", i));
}

static struct fl_key
timed_of(unsigned i, char name[KEY_ROOM])
{
    return fl_key_in(TIMED_SPACE, name, (uint32_t)snprintf(name, KEY_ROOM, "timed%u", i));
}

static struct fl_bytes
value_of(uint32_t version, uint8_t value[VALUE_MAX])
{
    const size_t len = version % 7 == 0 ? 600 + version * 531 % 9000 : 40 + version * 37 % 400;

    for (size_t i = 0; i < len; i++) {
        value[i] = (uint8_t)(version * 31 + i * 7 + i / 251);
    }
    return fl_bytes(value, len);
}

/* What a key shows is its version's value. An error of reading is one of injection. */
static bool
shows(struct fl_store *store, struct fl_key key, uint32_t version, bool injected,
      uint32_t *statuses)
{
    static uint8_t value[VALUE_MAX];
    static uint8_t got[VALUE_MAX];
    size_t len = 0;
    const fl_status status = injected
                                 ? (fl_status)INJECTED(fl_get(store, key, got, sizeof(got), &len))
                                 : fl_get(store, key, got, sizeof(got), &len);

    *statuses |= UINT32_C(1) << status;
    if (injected && status != FL_OK && status != FL_NOT_FOUND) {
        return true;
    }
    if (version == 0 || status != FL_OK) {
        return status == FL_NOT_FOUND && version == 0;
    }
    const struct fl_bytes wanted = value_of(version, value);

    return len == wanted.len && memcmp(got, value, len) == 0;
}

static bool
table_shows(struct work *work, const struct work_table *table, bool injected, char why[80])
{
    char name[KEY_ROOM];

    for (unsigned i = 0; i < WORK_KEYS; i++) {
        if (!shows(work->store, key_of(i, name), table->versions[i], injected, &work->statuses)) {
            (void)snprintf(why, 80, "key%u is not of version %u", i, table->versions[i]);
            return false;
        }
    }
    for (unsigned i = 0; i < WORK_DEADLINES; i++) {
        const bool was_due = fl_now_ms(work->store) >= WALL_MS + TTL_MS;
        const uint32_t version = was_due ? 0 : table->timed[i];

        /* A thread of the store may take its clock over the deadline in between: seen a second time it stays so. */
        if (!shows(work->store, timed_of(i, name), version, injected, &work->statuses) &&
            (was_due || fl_now_ms(work->store) < WALL_MS + TTL_MS ||
             !shows(work->store, timed_of(i, name), 0, injected, &work->statuses))) {
            (void)snprintf(why, 80, "timed%u is not of version %u", i, version);
            return false;
        }
    }
    return true;
}

static void
assert_shown(struct work *work, bool injected)
{
    char why[2][80] = {"", "nothing is unknown"};

    if (table_shows(work, &work->now, injected, why[0])) {
        return;
    }
    if (work->unknown && table_shows(work, &work->maybe, injected, why[1])) {
        work->now = work->maybe;
        return;
    }
    fail_msg("%s: %s; %s", work->doing, why[0], why[1]);
}

/* ---- operations ---- */

/* A write returned `status`; it would have made `after` of what is there. */
static void
wrote(struct work *work, fl_status status, const struct work_table *after)
{
    work->statuses |= UINT32_C(1) << status;
    if (status == FL_OK) {
        work->now = *after;
        work->unknown = false; /* for good: what failed before must not come to stand */
    } else if (status == FL_IO && !work->unknown) {
        work->maybe = *after;
        work->unknown = true;
    }
}

static void
do_put(struct work *work, unsigned i)
{
    static uint8_t value[VALUE_MAX];
    struct work_table after = work->now;
    char name[KEY_ROOM];

    after.versions[i] = ++work->version;
    wrote(work,
          (fl_status)INJECTED(
              fl_put(work->store, key_of(i, name), value_of(work->version, value), NULL)),
          &after);
}

static void
do_delete(struct work *work, unsigned i)
{
    struct work_table after = work->now;
    char name[KEY_ROOM];

    after.versions[i] = 0;
    const fl_status status = (fl_status)INJECTED(fl_delete(work->store, key_of(i, name)));

    if (status == FL_NOT_FOUND) {
        assert_true(work->now.versions[i] == 0 || work->unknown);
    } else {
        wrote(work, status, &after);
    }
}

static void
do_timed(struct work *work)
{
    const struct fl_put_options options = {.deadline_ms = WALL_MS + TTL_MS};
    static uint8_t value[VALUE_MAX];
    char name[KEY_ROOM];

    for (unsigned i = 0; i < WORK_DEADLINES; i++) {
        struct work_table after = work->now;

        after.timed[i] = ++work->version;
        wrote(work,
              (fl_status)INJECTED(
                  fl_put(work->store, timed_of(i, name), value_of(work->version, value), &options)),
              &after);
    }
}

/* Filled as far as the store takes it, then committed. */
static void
do_batch(struct work *work, unsigned count, unsigned seed, bool submit)
{
    static uint8_t value[VALUE_MAX];
    struct work_table after = work->now;
    struct fl_batch *batch = NULL;
    uint64_t ticket = 0;
    char name[KEY_ROOM];
    fl_status status = (fl_status)INJECTED(fl_batch_create(work->store, &batch));

    work->statuses |= UINT32_C(1) << status;
    if (status != FL_OK) {
        return;
    }
    for (unsigned n = 0; n < count; n++) {
        const unsigned i = (seed + n * 3) % WORK_KEYS;
        const bool delete = n % 5 == 4;

        status = delete ? (fl_status)INJECTED(fl_batch_delete(batch, key_of(i, name)))
                        : (fl_status)INJECTED(fl_batch_put(batch, key_of(i, name),
                                                           value_of(++work->version, value), NULL));
        work->statuses |= UINT32_C(1) << status;
        if (status == FL_OK) {
            after.versions[i] = delete ? 0 : work->version;
        }
    }
    if (submit) {
        status = (fl_status)INJECTED(fl_batch_submit(batch, &ticket));
        if (status == FL_OK && ticket > 0) {
            status = (fl_status)INJECTED(fl_wait(work->store, ticket));
        }
    } else {
        status = (fl_status)INJECTED(fl_batch_commit(batch));
    }
    wrote(work, status, &after);
    inject_on();
    fl_batch_destroy(batch);
    inject_off();
}

/* A range of keys read through a snapshot, as it was when that was made. */
static void
do_snapshot(struct work *work)
{
    struct fl_cursor_options options = {.space = 0};
    struct fl_cursor *cursor = NULL;
    unsigned keys = 0;
    unsigned there = 0;
    fl_status status = (fl_status)INJECTED(fl_snapshot_create(work->store, &options.snapshot));

    work->statuses |= UINT32_C(1) << status;
    if (status != FL_OK) {
        return;
    }
    for (unsigned i = 0; i < WORK_KEYS; i++) {
        there += work->now.versions[i] != 0;
    }
    do_put(work, 0);
    do_delete(work, 1);
    status = (fl_status)INJECTED(fl_cursor_open(work->store, &options, &cursor));
    work->statuses |= UINT32_C(1) << status;
    if (status == FL_OK) {
        for (status = (fl_status)INJECTED(fl_cursor_first(cursor)); status == FL_OK;
             status = (fl_status)INJECTED(fl_cursor_next(cursor))) {
            keys++;
        }
        work->statuses |= UINT32_C(1) << status;
        if (status == FL_END && !work->unknown && keys != there) {
            fail_msg("the snapshot shows %u keys of %u", keys, there);
        }
        inject_on();
        fl_cursor_close(cursor);
        inject_off();
    }
    inject_on();
    fl_snapshot_release(options.snapshot);
    inject_off();
}

static void
do_maintain(struct work *work)
{
    fl_status status = FL_OK;

    for (unsigned i = 0; i < 300 && status == FL_OK && !work->options.background; i++) {
        status = (fl_status)INJECTED(fl_maintain(work->store));
    }
    work->statuses |= UINT32_C(1) << status;
}

static void
do_open(struct work *work)
{
    work->doing = "open";
    const fl_status status = (fl_status)INJECTED(fl_open(work->path, &work->options, &work->store));

    work->statuses |= UINT32_C(1) << status;
    if (status != FL_OK) {
        assert_null(work->store);
    }
}

static void
do_close(struct work *work)
{
    if (work->store != NULL) {
        work->doing = "close";
        work->statuses |= UINT32_C(1) << (fl_status)INJECTED(fl_close(work->store));
        work->store = NULL;
    }
}

static void
write_some(struct work *work, unsigned seed)
{
    work->doing = "points";
    for (unsigned i = 0; i < 60; i++) {
        do_put(work, (seed + i * 5) % WORK_KEYS);
        if (i % 6 == 5) {
            do_delete(work, (seed + i) % WORK_KEYS);
        }
    }
    work->doing = "batches";
    do_batch(work, WORK_BATCH, seed, false);
    do_batch(work, WORK_LONG_BATCH, seed + 1, true);
    do_timed(work);
    assert_shown(work, true);
    work->doing = "maintenance";
    do_maintain(work);
    assert_shown(work, true);
}

void
work_run(struct work *work)
{
    do_open(work);
    if (work->store != NULL) {
        write_some(work, 0);
        work->doing = "snapshot";
        do_snapshot(work);
        work->wall_ms += 2 * TTL_MS;
        write_some(work, 7);
        do_close(work);
        do_open(work);
    }
    if (work->store != NULL) {
        work->doing = "opened again";
        assert_shown(work, true);
        do_put(work, 3);
        do_maintain(work);
    }
}

static void
count_finding(void *context, const struct fl_check_finding *finding)
{
    (void)context;
    print_error("%s at %llu: %s\n", finding->rule, (unsigned long long)finding->off, finding->text);
}

void
work_check(struct work *work)
{
    struct fl_check_options check = {.struct_bytes = sizeof(check), .finding = count_finding};
    struct fl_check_report report;

    work->doing = "after it";
    if (work->store != NULL) {
        assert_shown(work, false);
        (void)fl_close(work->store);
        work->store = NULL;
    }
    const fl_status opened = fl_open(work->path, &work->options, &work->store);

    if (opened != FL_OK) {
        fail_msg("opened without failures: %s: %s", fl_status_name(opened), fl_last_error());
    }
    work->doing = "opened without failures";
    assert_shown(work, false);
    work->unknown = false;
    do_put(work, 2);
    do_batch(work, WORK_LONG_BATCH, 5, true);
    do_maintain(work);
    assert_shown(work, false);
    assert_int_equal(fl_close(work->store), FL_OK);
    work->store = NULL;
    assert_int_equal(fl_check(work->path, &check, &report), FL_OK);
    assert_int_equal(report.findings, 0);
}
