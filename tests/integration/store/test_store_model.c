/* Goal:   the embedded store behaves as a sorted map with deadlines, whatever is mixed: puts, conditions, deletes,
 *         batches with rollback, big values, renames, snapshots, cursors both ways, expiry, cleaning, reopening.
 * Method: a seeded random sequence is applied to a store with tiny blocks and to a plain array in the test; every
 *         result is compared, and at intervals the whole contents, in order, through points, cursors and
 *         a snapshot. Time is injected. Each value is derived from its key and a version, so that a wrong byte
 *         shows. */
#include <faultline/batch.h>
#include <faultline/check.h>
#include <faultline/cursor.h>

#include "tests/lib/rng.h"
#include "tests/lib/tmpdir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { KEYS = 300, STEPS = 3000, VALUE_MAX = 40000 };

struct entry {
    bool there;
    uint32_t version;
    uint32_t len;
    uint64_t deadline_ms;
};

struct model {
    struct fl_store *store;
    struct rng rng;
    _Atomic(uint64_t) now_ms; /* the store's threads ask for it */
    uint32_t version;
    struct entry entries[KEYS];
    struct fl_snapshot *snapshot;
    struct entry snapshot_entries[KEYS];
    uint64_t snapshot_now_ms;
    uint8_t value[VALUE_MAX];
    uint8_t got[VALUE_MAX];
    char path[TMPDIR_PATH_BYTES + 64];
    struct fl_options options;
};

static uint64_t
model_now(void *context)
{
    return ((const struct model *)context)->now_ms;
}

/* Keys of very different lengths whose order is that of their number. */
static struct fl_key
key_of(unsigned i, uint8_t buf[512])
{
    const size_t len = i % 7 == 0 ? 300 : i % 5 == 0 ? 64 : 11;

    memset(buf, 'k', len);
    snprintf((char *)buf, 12, "key:%06u", i);
    buf[10] = i % 3 == 0 ? 0 : 0xff;
    return fl_key(buf, len);
}

static struct fl_bytes
value_of(struct model *m, unsigned i, uint32_t version, uint32_t len)
{
    for (uint32_t at = 0; at < len; at++) {
        m->value[at] = (uint8_t)(i * 31 + version * 7 + at);
    }
    return fl_bytes(m->value, len);
}

static bool
alive(const struct entry *entry, uint64_t now_ms)
{
    return entry->there && (entry->deadline_ms == 0 || entry->deadline_ms > now_ms);
}

static uint32_t
some_length(struct model *m)
{
    switch (rng_below(&m->rng, 10)) {
    case 0:
        return 0;
    case 1:
        return (uint32_t)rng_below(&m->rng, VALUE_MAX);
    case 2:
        return (uint32_t)rng_below(&m->rng, 3000);
    default:
        return (uint32_t)rng_below(&m->rng, 200);
    }
}

static void
check_view(struct model *m, unsigned i, const struct entry *entry, fl_status status,
           struct fl_view *view, uint64_t now_ms)
{
    if (!alive(entry, now_ms)) {
        assert_int_equal(status, FL_NOT_FOUND);
        return;
    }
    assert_int_equal(status, FL_OK);
    const struct fl_bytes value = value_of(m, i, entry->version, entry->len);

    assert_int_equal(view->value.len, value.len);
    assert_memory_equal(view->value.ptr, value.ptr, value.len);
    assert_int_equal(view->deadline_ms, entry->deadline_ms);
    fl_view_release(view);
}

static void
check_key(struct model *m, unsigned i)
{
    uint8_t buf[512];
    const struct fl_key key = key_of(i, buf);
    struct fl_view view;

    check_view(m, i, &m->entries[i], fl_get_view(m->store, key, &view), &view, m->now_ms);
}

/* A cursor in both directions sees exactly the living keys, in order. */
static void
check_order(struct model *m, struct fl_snapshot *snapshot, const struct entry *entries,
            uint64_t now_ms)
{
    const struct fl_cursor_options options = {.snapshot = snapshot,
                                              .live = rng_below(&m->rng, 2) == 0};
    struct fl_cursor *cursor = NULL;
    uint8_t buf[512];

    assert_int_equal(fl_cursor_open(m->store, &options, &cursor), FL_OK);
    fl_status status = fl_cursor_first(cursor);

    for (unsigned i = 0; i < KEYS; i++) {
        if (alive(&entries[i], now_ms)) {
            const struct fl_key key = key_of(i, buf);
            struct fl_view view;

            assert_int_equal(status, FL_OK);
            assert_int_equal(fl_cursor_key(cursor).len, key.len);
            assert_memory_equal(fl_cursor_key(cursor).ptr, key.ptr, key.len);
            status = fl_cursor_view(cursor, &view);
            check_view(m, i, &entries[i], status, &view, now_ms);
            status = fl_cursor_next(cursor);
        }
    }
    assert_int_equal(status, FL_END);
    status = fl_cursor_last(cursor);
    for (unsigned i = KEYS; i-- > 0;) {
        if (alive(&entries[i], now_ms)) {
            assert_int_equal(status, FL_OK);
            assert_memory_equal(fl_cursor_key(cursor).ptr, key_of(i, buf).ptr, 10);
            status = fl_cursor_prev(cursor);
        }
    }
    assert_int_equal(status, FL_END);
    fl_cursor_close(cursor);
}

static void
check_all(struct model *m)
{
    struct fl_stats stats = {.struct_bytes = sizeof(stats)};
    uint64_t count = 0;
    uint64_t expiring_min = 0;
    uint64_t expiring_max = 0; /* with those that have expired and may not be collected */

    for (unsigned i = 0; i < KEYS; i++) {
        const bool expires = m->entries[i].there && m->entries[i].deadline_ms != 0;

        check_key(m, i);
        count += alive(&m->entries[i], m->now_ms);
        expiring_min += expires && alive(&m->entries[i], m->now_ms);
        expiring_max += expires;
    }
    assert_true(fl_count(m->store, 0) >= count);
    fl_stats(m->store, &stats);
    /* What a released snapshot held goes in the background. */
    for (int ms = 0; ms < 2000 && m->snapshot == NULL && stats.keys_expiring > expiring_max; ms++) {
        usleep(1000);
        fl_stats(m->store, &stats);
    }
    assert_true(stats.keys_expiring >= expiring_min);
    assert_true(m->snapshot != NULL || stats.keys_expiring <= expiring_max);
    check_order(m, NULL, m->entries, m->now_ms);
    if (m->snapshot != NULL) {
        check_order(m, m->snapshot, m->snapshot_entries, m->snapshot_now_ms);
    }
}

static void
step_put(struct model *m, unsigned i)
{
    uint8_t buf[512];
    struct fl_put_options options = {0};
    struct entry *entry = &m->entries[i];
    const uint32_t len = some_length(m);
    const uint32_t version = ++m->version;
    fl_status want = FL_OK;

    if (rng_below(&m->rng, 4) == 0) {
        options.deadline_ms = m->now_ms + 1 + rng_below(&m->rng, 400);
    }
    options.condition = (enum fl_condition)rng_below(&m->rng, 3);
    if (options.condition == FL_IF_ABSENT && alive(entry, m->now_ms)) {
        want = FL_EXISTS;
    }
    if (options.condition == FL_IF_PRESENT && !alive(entry, m->now_ms)) {
        want = FL_NOT_FOUND;
    }
    const fl_status status =
        fl_put(m->store, key_of(i, buf), value_of(m, i, version, len), &options);

    if (status != want) {
        fail_msg("put of %u bytes: %s, not %s: %s", len, fl_status_name(status),
                 fl_status_name(want), fl_last_error());
    }
    if (want == FL_OK) {
        *entry = (struct entry){true, version, len, options.deadline_ms};
    }
}

static void
step_delete(struct model *m, unsigned i)
{
    uint8_t buf[512];
    const bool there = alive(&m->entries[i], m->now_ms);

    assert_int_equal(fl_delete(m->store, key_of(i, buf)), there ? FL_OK : FL_NOT_FOUND);
    m->entries[i].there = false;
}

/* Within a batch: pending changes are seen through it and by nobody else; a rollback leaves no trace. */
static void
batch_change(struct model *m, struct fl_batch *batch, struct entry *entries)
{
    const unsigned i = (unsigned)rng_below(&m->rng, KEYS);
    uint8_t buf[512];
    uint8_t other[512];
    struct fl_view view;

    switch (rng_below(&m->rng, 4)) {
    case 0: {
        const fl_status status = fl_batch_delete(batch, key_of(i, buf));

        assert_int_equal(status, alive(&entries[i], m->now_ms) ? FL_OK : FL_NOT_FOUND);
        entries[i].there = false;
        break;
    }
    case 1: {
        /* A copy keeps its bytes: the model gives the target the same contents, so only a key may be its own. */
        const fl_status status =
            fl_batch_put_from(batch, key_of(i, buf), key_of(i, other),
                              &(struct fl_put_options){.deadline_ms = m->now_ms + 250});

        assert_int_equal(status, alive(&entries[i], m->now_ms) ? FL_OK : FL_NOT_FOUND);
        if (status == FL_OK) {
            entries[i].deadline_ms = m->now_ms + 250;
        }
        break;
    }
    default: {
        const uint32_t len = some_length(m);
        const uint32_t version = ++m->version;

        assert_int_equal(fl_batch_put(batch, key_of(i, buf), value_of(m, i, version, len), NULL),
                         FL_OK);
        entries[i] = (struct entry){true, version, len, 0};
        break;
    }
    }
    check_view(m, i, &entries[i], fl_batch_get_view(batch, key_of(i, buf), &view), &view,
               m->now_ms);
}

static void
step_batch(struct model *m)
{
    struct entry entries[KEYS];
    struct fl_batch *batch = NULL;
    const unsigned changes = 1 + (unsigned)rng_below(&m->rng, 30);

    memcpy(entries, m->entries, sizeof(entries));
    assert_int_equal(fl_batch_create(m->store, &batch), FL_OK);
    for (unsigned i = 0; i < changes; i++) {
        if (rng_below(&m->rng, 10) == 0) {
            struct entry kept[KEYS];
            const size_t mark = fl_batch_mark(batch);

            memcpy(kept, entries, sizeof(kept));
            for (unsigned undone = 0; undone < 5; undone++) {
                batch_change(m, batch, entries);
            }
            fl_batch_rollback(batch, mark);
            memcpy(entries, kept, sizeof(entries));
        }
        batch_change(m, batch, entries);
    }
    check_key(m, (unsigned)rng_below(&m->rng, KEYS)); /* nothing is visible outside yet */
    if (rng_below(&m->rng, 5) != 0) {
        uint64_t ticket = 0;
        struct fl_view view;
        uint8_t buf[512];
        const unsigned i = (unsigned)rng_below(&m->rng, KEYS);

        assert_int_equal(fl_batch_submit(batch, &ticket), FL_OK);
        check_view(m, i, &entries[i], fl_batch_get_view(batch, key_of(i, buf), &view), &view,
                   m->now_ms);
        assert_int_equal(fl_wait(m->store, ticket), FL_OK);
        assert_true(fl_durable_ticket(m->store) >= ticket);
        memcpy(m->entries, entries, sizeof(entries));
    }
    fl_batch_destroy(batch);
}

static void
step_snapshot(struct model *m)
{
    if (m->snapshot != NULL) {
        check_order(m, m->snapshot, m->snapshot_entries, m->snapshot_now_ms);
        fl_snapshot_release(m->snapshot);
        m->snapshot = NULL;
        return;
    }
    assert_int_equal(fl_snapshot_create(m->store, &m->snapshot), FL_OK);
    memcpy(m->snapshot_entries, m->entries, sizeof(m->entries));
    m->snapshot_now_ms = m->now_ms;
}

static void
step_reopen(struct model *m)
{
    struct fl_check_options check = {.struct_bytes = sizeof(check)};
    struct fl_check_report report;

    if (m->snapshot != NULL) {
        fl_snapshot_release(m->snapshot);
        m->snapshot = NULL;
    }
    assert_int_equal(fl_close(m->store), FL_OK);
    assert_int_equal(fl_check(m->path, &check, &report), FL_OK);
    assert_int_equal(report.findings, 0);
    if (fl_open(m->path, &m->options, &m->store) != FL_OK) {
        fail_msg("open: %s", fl_last_error());
    }
    check_all(m);
}

static void
step_maintain(struct model *m)
{
    /* The store's clock follows once its lease over that moment is durable. */
    for (unsigned i = 0; m->options.background && fl_now_ms(m->store) < m->now_ms; i++) {
        assert_true(i < 5000);
        usleep(1000);
    }
    for (unsigned i = 0; !m->options.background && i < 20; i++) {
        const fl_status status = fl_maintain(m->store);

        assert_true(status == FL_OK || status == FL_END);
        if (status == FL_END) {
            break;
        }
    }
}

static void
run(const struct tmpdir *dir, enum fl_mapping mapping, bool background, uint32_t block_bytes,
    uint64_t seed)
{
    struct model *m = calloc(1, sizeof(*m));

    assert_non_null(m);
    m->rng = rng_seeded(seed);
    m->now_ms = 1700000000000;
    snprintf(m->path, sizeof(m->path), "%s/store-%d-%d-%u", dir->path, (int)mapping, background,
             block_bytes);
    fl_options_init(&m->options);
    m->options.mapping = mapping;
    m->options.durability_min = FL_DURABILITY_PROCESS;
    m->options.block_bytes = block_bytes;
    m->options.size_bytes_max = 256 * 1024 * 1024;
    m->options.background = background;
    m->options.now_ms = model_now;
    m->options.context = m;
    if (fl_open(m->path, &m->options, &m->store) != FL_OK) {
        fail_msg("open: %s", fl_last_error());
    }
    for (unsigned step = 0; step < STEPS; step++) {
        const uint64_t dice = rng_below(&m->rng, 1000);
        const unsigned i = (unsigned)rng_below(&m->rng, KEYS);

        if (dice < 500) {
            step_put(m, i);
        } else if (dice < 650) {
            step_delete(m, i);
        } else if (dice < 800) {
            check_key(m, i);
        } else if (dice < 880) {
            step_batch(m);
        } else if (dice < 900) {
            step_snapshot(m);
        } else if (dice < 950) {
            m->now_ms += rng_below(&m->rng, 60);
            step_maintain(m);
        } else if (dice < 953) {
            step_reopen(m);
        } else if (dice < 955) {
            assert_int_equal(fl_delete_spaces(m->store, 0, 3), FL_OK);
            memset(m->entries, 0, sizeof(m->entries));
        } else if (dice < 965) {
            check_all(m);
        }
    }
    step_reopen(m);
    assert_int_equal(fl_close(m->store), FL_OK);
    free(m);
}

static void
store_volatile_tiny_blocks_matches_model(void **state)
{
    run(*state, FL_MAPPING_VOLATILE, false, 4096, 1);
    run(*state, FL_MAPPING_VOLATILE, false, 16384, 2);
}

static void
store_volatile_background_matches_model(void **state)
{
    run(*state, FL_MAPPING_VOLATILE, true, 65536, 3);
    run(*state, FL_MAPPING_VOLATILE, true, 2 * 1024 * 1024, 4);
}

static void
store_page_background_matches_model(void **state)
{
    run(*state, FL_MAPPING_PAGE, true, 65536, 5);
}

static int
setup(void **state)
{
    static struct tmpdir dir;

    tmpdir_create(&dir);
    *state = &dir;
    return 0;
}

static int
teardown(void **state)
{
    tmpdir_destroy(*state);
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(store_volatile_tiny_blocks_matches_model, setup, teardown),
        cmocka_unit_test_setup_teardown(store_volatile_background_matches_model, setup, teardown),
        cmocka_unit_test_setup_teardown(store_page_background_matches_model, setup, teardown),
    };

    return cmocka_run_group_tests_name("store_model", tests, NULL, NULL);
}
