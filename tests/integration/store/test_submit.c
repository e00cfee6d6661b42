/* Goal:   batches that are submitted become durable in the order of their tickets, whatever threads they come from:
 *         a ticket that is durable has its changes in the store, and so have all before it. A batch that can't be
 *         committed is refused before it is submitted.
 * Method: a store whose commits block (page mapping), on tmpfs so that they are quick. Several threads submit
 *         batches with a key of their own and one key that all write, while another watches the durable ticket. Then
 *         stores with small blocks: a batch is filled to the last byte that is taken, and one finds enough free
 *         blocks, but none side by side. */
#include <faultline/batch.h>

#include "tests/lib/sanitized.h"
#include "tests/lib/tmpdir.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { WRITERS = 6, BATCHES = SANITIZED ? 2500 : 20000, WAIT_EVERY = 64, KEY_BYTES = 32 };

struct scene {
    struct tmpdir dir;
    char path[TMPDIR_PATH_BYTES];
    struct fl_store *store;
};

struct writer {
    pthread_t thread;
    struct fl_store *store;
    unsigned id;
    uint64_t ticket_last;
    uint64_t failed;  /* calls that didn't return FL_OK */
    uint64_t missing; /* keys that weren't there although their ticket was durable */
};

struct watcher {
    pthread_t thread;
    struct fl_store *store;
    _Atomic(bool) stop;
    uint64_t went_back;
};

static void
begin_sized(struct scene *scene, uint32_t block_bytes, uint64_t size_bytes_max)
{
    struct fl_options options;

    tmpdir_create_in(&scene->dir, "/dev/shm");
    tmpdir_join(&scene->dir, "data", scene->path);
    fl_options_init(&options);
    options.mapping = FL_MAPPING_PAGE;
    options.durability_min = FL_DURABILITY_PROCESS;
    options.block_bytes = block_bytes;
    options.size_bytes_max = size_bytes_max;
    assert_int_equal(fl_open(scene->path, &options, &scene->store), FL_OK);
}

static void
begin(struct scene *scene, uint32_t block_bytes)
{
    begin_sized(scene, block_bytes, UINT64_C(64) << 20);
}

static void
end(struct scene *scene)
{
    assert_int_equal(fl_close(scene->store), FL_OK);
    tmpdir_destroy(&scene->dir);
}

/* What a writer puts under its own key and under the one of all. */
static struct fl_bytes
name_of(unsigned writer, unsigned i, char name[KEY_BYTES])
{
    return fl_bytes(name, (size_t)snprintf(name, KEY_BYTES, "%u:%u", writer, i));
}

static void
write_one(struct writer *w, struct fl_batch *batch, unsigned i)
{
    char name[KEY_BYTES];
    char got[KEY_BYTES];
    size_t len = 0;
    uint64_t ticket = 0;
    const struct fl_bytes value = name_of(w->id, i, name);
    const struct fl_key key = fl_key(value.ptr, value.len);

    w->failed += fl_batch_put(batch, key, value, NULL) != FL_OK;
    w->failed += fl_batch_put(batch, fl_key("last", 4), value, NULL) != FL_OK;
    w->failed += fl_batch_submit(batch, &ticket) != FL_OK;
    w->failed += ticket <= w->ticket_last;
    w->ticket_last = ticket;
    if (i % WAIT_EVERY == 0) {
        w->failed += fl_wait(w->store, ticket) != FL_OK;
        w->missing += fl_get(w->store, key, got, sizeof(got), &len) != FL_OK;
    }
}

static void *
writer_main(void *arg)
{
    struct writer *w = arg;
    struct fl_batch *batch = NULL;

    if (fl_batch_create(w->store, &batch) != FL_OK) {
        w->failed++;
        return NULL;
    }
    for (unsigned i = 1; i <= BATCHES; i++) {
        write_one(w, batch, i);
    }
    fl_batch_destroy(batch);
    return NULL;
}

static void *
watcher_main(void *arg)
{
    struct watcher *w = arg;
    uint64_t last = 0;

    while (!atomic_load(&w->stop)) {
        const uint64_t durable = fl_durable_ticket(w->store);

        w->went_back += durable < last;
        last = durable;
    }
    return NULL;
}

/* The last ticket's value is the one that stays. */
static void
assert_last(struct fl_store *store, const struct writer *writers)
{
    char name[KEY_BYTES];
    char got[KEY_BYTES];
    size_t len = 0;
    const struct writer *last = &writers[0];

    for (unsigned i = 1; i < WRITERS; i++) {
        last = writers[i].ticket_last > last->ticket_last ? &writers[i] : last;
    }
    const struct fl_bytes value = name_of(last->id, BATCHES, name);

    assert_int_equal(last->ticket_last, WRITERS * BATCHES);
    assert_int_equal(fl_durable_ticket(store), WRITERS * BATCHES);
    assert_int_equal(fl_get(store, fl_key("last", 4), got, sizeof(got), &len), FL_OK);
    assert_int_equal(len, value.len);
    assert_memory_equal(got, value.ptr, len);
}

static void
batches_of_several_threads_are_durable_in_the_order_of_tickets(void **state)
{
    struct writer writers[WRITERS];
    struct watcher watcher = {.went_back = 0};
    struct scene scene;

    (void)state;
    begin(&scene, 2 << 20);
    watcher.store = scene.store;
    assert_int_equal(pthread_create(&watcher.thread, NULL, watcher_main, &watcher), 0);
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.store = scene.store, .id = i};
        assert_int_equal(pthread_create(&writers[i].thread, NULL, writer_main, &writers[i]), 0);
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        pthread_join(writers[i].thread, NULL);
    }
    assert_int_equal(fl_sync(scene.store), FL_OK);
    atomic_store(&watcher.stop, true);
    pthread_join(watcher.thread, NULL);
    for (unsigned i = 0; i < WRITERS; i++) {
        assert_int_equal(writers[i].failed, 0);
        assert_int_equal(writers[i].missing, 0);
    }
    assert_int_equal(watcher.went_back, 0);
    assert_last(scene.store, writers);
    end(&scene);
}

static void
name_number(unsigned i, char name[KEY_BYTES], struct fl_key *key)
{
    *key = fl_key(name, (size_t)snprintf(name, KEY_BYTES, "%06u", i));
}

/* Add keys with values of `len` bytes until one is refused; returns how many were added. */
static unsigned
fill_batch(struct fl_batch *batch, size_t len, unsigned first, fl_status *refused)
{
    static const uint8_t value[300];
    char name[KEY_BYTES];
    struct fl_key key;
    unsigned i = first;

    do {
        name_number(i++, name, &key);
        *refused = fl_batch_put(batch, key, fl_bytes(value, len), NULL);
    } while (*refused == FL_OK);
    return i - 1 - first;
}

static void
fullest_batch_is_committed(uint32_t block_bytes)
{
    struct fl_batch *batch = NULL;
    struct scene scene;
    uint64_t ticket = 0;
    unsigned count = 0;
    fl_status status;

    begin(&scene, block_bytes);
    assert_int_equal(fl_batch_create(scene.store, &batch), FL_OK);
    for (size_t len = 300; len <= 300; len--) {
        count += fill_batch(batch, len, count, &status);
        assert_int_equal(status, FL_TOO_LARGE);
    }
    assert_true(fl_batch_bytes(batch) > (block_bytes / 32 - 3) * (size_t)block_bytes);
    assert_int_equal(fl_batch_count(batch), count);
    assert_int_equal(fl_batch_submit(batch, &ticket), FL_OK);
    assert_true(ticket > 0);
    assert_int_equal(fl_wait(scene.store, ticket), FL_OK);
    assert_int_equal(fl_sync(scene.store), FL_OK);
    assert_int_equal(fl_count(scene.store, 0), count);
    fl_batch_destroy(batch);
    end(&scene);
}

static void
batch_over_what_blocks_side_by_side_hold_is_refused(void **state)
{
    (void)state;
    fullest_batch_is_committed(4096);
    fullest_batch_is_committed(8192);
}

/* Values with a block each until no room is left, then every other one goes. */
static void
free_every_other_block(struct fl_store *store)
{
    static const uint8_t value[3000];
    struct fl_stats stats = {.struct_bytes = sizeof(stats)};
    char name[KEY_BYTES];
    struct fl_key key;
    unsigned count = 0;
    fl_status status;

    do {
        name_number(count++, name, &key);
        status = fl_put(store, key, fl_bytes(value, sizeof(value)), NULL);
    } while (status == FL_OK);
    assert_int_equal(status, FL_NO_SPACE);
    fl_stats(store, &stats);
    assert_true(stats.inline_bytes_max < sizeof(value));
    const uint64_t owned = stats.blocks_owned;

    for (unsigned i = 0; i + 1 < count; i += 2) {
        name_number(i, name, &key);
        assert_int_equal(fl_delete(store, key), FL_OK);
    }
    for (unsigned i = 0; i < 5000 && stats.blocks_owned > owned - count / 3; i++) {
        usleep(1000);
        fl_stats(store, &stats);
    }
    assert_true(stats.blocks_owned <= owned - count / 3);
}

/* It is told by the change with which the batch grows over one block, and what came before that is committed. */
static void
batch_without_blocks_side_by_side_is_refused_as_it_grows(void **state)
{
    static const uint8_t value[300];
    struct fl_batch *batch = NULL;
    struct scene scene;
    char name[KEY_BYTES];
    struct fl_key key;
    uint64_t ticket = 0;
    unsigned added = 0;
    struct fl_info info;
    fl_status status;

    (void)state;
    begin_sized(&scene, 4096, 1 << 20);
    free_every_other_block(scene.store);
    assert_int_equal(fl_sync(scene.store), FL_OK);
    assert_int_equal(fl_batch_create(scene.store, &batch), FL_OK);
    do {
        name_number(1000000 + added, name, &key);
        status = fl_batch_put(batch, key, fl_bytes(value, sizeof(value)), NULL);
        added += status == FL_OK;
    } while (status == FL_OK);
    assert_int_equal(status, FL_NO_SPACE);
    assert_true(added >= 10 && added < 160); /* free were three times as many blocks as 160 take */
    assert_int_equal(fl_batch_count(batch), added);
    assert_int_equal(fl_batch_submit(batch, &ticket), FL_OK);
    assert_true(ticket > 0);
    assert_int_equal(fl_wait(scene.store, ticket), FL_OK);
    assert_int_equal(fl_sync(scene.store), FL_OK);
    assert_int_equal(fl_commit_status(scene.store), FL_OK);
    name_number(1000000 + added - 1, name, &key);
    assert_int_equal(fl_get_info(scene.store, key, &info), FL_OK);
    fl_batch_destroy(batch);
    end(&scene);
}

/* A batch that is given up gives its blocks back. */
static void
blocks_of_a_batch_that_is_given_up_are_free_again(void **state)
{
    struct fl_stats stats = {.struct_bytes = sizeof(stats)};
    struct fl_batch *batch = NULL;
    struct scene scene;
    unsigned count[3];
    fl_status status;

    (void)state;
    begin_sized(&scene, 4096, 256 * 1024); /* 64 blocks */
    assert_int_equal(fl_batch_create(scene.store, &batch), FL_OK);
    for (int i = 0; i < 3; i++) {
        count[i] = fill_batch(batch, 300, 0, &status);
        assert_int_equal(status, FL_NO_SPACE);
        assert_true(count[i] > 200);
        fl_batch_clear(batch);
    }
    assert_true(count[2] + 30 > count[0]);
    fl_batch_destroy(batch);
    fl_stats(scene.store, &stats);
    assert_int_equal(stats.keys_total, 0);
    assert_int_equal(fl_put(scene.store, fl_key("x", 1), fl_bytes("y", 1), NULL), FL_OK);
    end(&scene);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_of_several_threads_are_durable_in_the_order_of_tickets),
        cmocka_unit_test(batch_over_what_blocks_side_by_side_hold_is_refused),
        cmocka_unit_test(batch_without_blocks_side_by_side_is_refused_as_it_grows),
        cmocka_unit_test(blocks_of_a_batch_that_is_given_up_are_free_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
