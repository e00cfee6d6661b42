/* Workloads of several threads on one store: each goes through its own operations, chosen by the seed, on a few keys
 * that all of them use; the baton says who runs. */
#include "tests/crash/baton.h"
#include "tests/crash/driver_internal.h"
#include "tests/crash/history.h"
#include "tests/crash/workloads.h"
#include "tests/lib/die.h"
#include "tests/lib/rng.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { THREADS_MAX = 4, KEYS = 3, READ_MAX = 1024, SWITCH_EVERY = 40 };

/* What share of the operations is what. */
struct threads_plan {
    unsigned threads;
    unsigned ops;                                     /* of each */
    unsigned puts, deletes, gets, batches, maintains; /* of their sum */
    uint32_t len_max;
};

struct worker {
    struct driver *driver;
    struct history *history;
    const struct threads_plan *plan;
    struct rng rng;
    unsigned number;
    unsigned done;
    bool failed;
    char why[160];
};

static struct contents_item
item_for(struct worker *worker, bool value)
{
    static const char *const keys[KEYS] = {"a", "b", "c"};
    const char *key = keys[rng_below(&worker->rng, KEYS)];
    struct contents_item item = {.key_len = 1};

    item.key[0] = (uint8_t)key[0];
    if (value) {
        /* Each value is another's, so that it says whose it is. */
        item.len = 1 + (uint32_t)rng_below(&worker->rng, worker->plan->len_max);
        item.value = driver_value(worker->driver->mempool,
                                  (worker->number + 1) * 1000 + worker->done, key, item.len);
    }
    return item;
}

static struct fl_key
key_of(const struct contents_item *item)
{
    return fl_key_in(item->space, item->key, item->key_len);
}

static void
do_get(struct worker *worker, struct history_op *op)
{
    struct contents_item *item = &op->changes[0].item;
    uint8_t buf[READ_MAX];
    size_t len = 0;

    op->status = fl_get(worker->driver->store, key_of(item), buf, sizeof(buf), &len);
    if (op->status == FL_OK) {
        uint8_t *value = mempool_take(worker->driver->mempool, len + 1);

        memcpy(value, buf, len);
        item->value = value;
        item->len = (uint32_t)len;
    } else if (op->status != FL_NOT_FOUND) {
        worker->failed = true;
        (void)snprintf(worker->why, sizeof(worker->why), "a read: %.120s", fl_last_error());
    }
}

static void
do_batch(struct worker *worker, struct history_op *op)
{
    struct fl_batch *batch = NULL;

    op->status = fl_batch_create(worker->driver->store, &batch);
    for (unsigned i = 0; i < op->count && op->status == FL_OK; i++) {
        const struct contents_item *item = &op->changes[i].item;

        op->status = fl_batch_put(batch, key_of(item), fl_bytes(item->value, item->len), NULL);
    }
    if (op->status == FL_OK) {
        op->status = fl_batch_commit(batch);
    }
    fl_batch_destroy(batch);
}

static void
do_op(struct worker *worker, struct history_op *op)
{
    static const struct fl_put_options if_absent = {.condition = FL_IF_ABSENT};
    const struct contents_item *item = &op->changes[0].item;
    struct fl_store *store = worker->driver->store;

    switch (op->kind) {
    case HISTORY_PUT:
    case HISTORY_PUT_ABSENT:
        op->status = fl_put(store, key_of(item), fl_bytes(item->value, item->len),
                            op->kind == HISTORY_PUT ? NULL : &if_absent);
        break;
    case HISTORY_DELETE:
        op->status = fl_delete(store, key_of(item));
        break;
    case HISTORY_GET:
        do_get(worker, op);
        break;
    case HISTORY_BATCH:
        do_batch(worker, op);
        break;
    }
}

static enum history_kind
kind_choose(struct worker *worker, bool *maintain)
{
    const struct threads_plan *plan = worker->plan;
    const unsigned all = plan->puts + plan->deletes + plan->gets + plan->batches + plan->maintains;
    unsigned n = (unsigned)rng_below(&worker->rng, all);

    *maintain = false;
    if (n < plan->puts) {
        return rng_below(&worker->rng, 4) == 0 ? HISTORY_PUT_ABSENT : HISTORY_PUT;
    }
    n -= plan->puts;
    if (n < plan->deletes) {
        return HISTORY_DELETE;
    }
    n -= plan->deletes;
    if (n < plan->gets) {
        return HISTORY_GET;
    }
    n -= plan->gets;
    *maintain = n >= plan->batches;
    return HISTORY_BATCH;
}

/* One thread at a time may: the first. The cleaner changes nothing that anybody sees. */
static void
maintain(struct worker *worker)
{
    if (worker->number == 0) {
        (void)!fl_maintain(worker->driver->store);
    }
}

static void
one_op(struct worker *worker)
{
    static const char *const names[] = {"put", "put-absent", "delete", "get", "batch"};
    struct history_op op = {.thread = worker->number, .count = 1};
    bool maintains;

    op.kind = kind_choose(worker, &maintains);
    if (maintains) {
        maintain(worker);
        return;
    }
    const bool value = op.kind != HISTORY_DELETE && op.kind != HISTORY_GET;

    op.text = names[op.kind];
    op.changes[0].item = item_for(worker, value);
    if (op.kind == HISTORY_BATCH) {
        op.changes[1].item = item_for(worker, true);
        op.count = 2;
    }
    struct history_op *kept = history_begin(worker->history, &op);

    do_op(worker, kept);
    history_end(worker->history, kept);
}

static void *
work(void *context)
{
    struct worker *worker = context;

    baton_enter(worker->number);
    for (worker->done = 0; worker->done < worker->plan->ops && !worker->failed; worker->done++) {
        one_op(worker);
    }
    baton_leave();
    return NULL;
}

/* What is there now is what some order of all that was answered leaves. */
static void
settle(struct driver *driver, const struct trace_mark *last)
{
    char why[160];
    const uint64_t now_ms = fl_now_ms(driver->store);

    for (uint32_t i = 0; i < last->may_count; i++) {
        if (contents_match(last->may[i], driver->store, now_ms, false, &driver->lsn_now, why,
                           sizeof(why))) {
            driver->now = last->may[i];
            driver->lsn_max = driver->lsn_now > driver->lsn_max ? driver->lsn_now : driver->lsn_max;
            return;
        }
    }
    driver_wrong(driver, "after all threads: %s", why);
}

static void
run_threads(struct driver *driver, uint64_t seed, const struct threads_plan *plan)
{
    struct worker workers[THREADS_MAX];
    pthread_t threads[THREADS_MAX];
    struct history history;
    struct rng rng = {seed * 7919 + 1};
    const struct trace_mark *last = NULL;

    if (driver->store == NULL || driver->trace == NULL) {
        return;
    }
    history_init(&history, driver->trace, driver->mempool, driver->now, driver->wall_ms,
                 driver->seen_ms);
    baton_start(plan->threads, rng_u64(&rng), 2 + (unsigned)rng_below(&rng, SWITCH_EVERY));
    for (unsigned i = 0; i < plan->threads; i++) {
        workers[i] = (struct worker){.driver = driver,
                                     .history = &history,
                                     .plan = plan,
                                     .rng = {rng_u64(&rng)},
                                     .number = i};
        if (pthread_create(&threads[i], NULL, work, &workers[i]) != 0) {
            die_errno("pthread_create");
        }
    }
    for (unsigned i = 0; i < plan->threads; i++) {
        (void)pthread_join(threads[i], NULL);
        if (workers[i].failed) {
            driver_wrong(driver, "%s", workers[i].why);
        }
    }
    driver->switches += baton_switches();
    baton_end();
    if (!history_resolve(&history, &last, driver->why, sizeof(driver->why))) {
        driver->wrong = true;
    } else if (last != NULL && !driver->wrong) {
        settle(driver, last);
    }
}

void
run_writers(struct driver *driver, uint64_t seed)
{
    static const struct threads_plan plan = {3, 3, 4, 2, 2, 1, 0, 12};

    driver_put(driver, 0, "a", 4);
    run_threads(driver, seed, &plan);
    driver_close(driver);
}

void
run_readers(struct driver *driver, uint64_t seed)
{
    static const struct threads_plan plan = {3, 4, 2, 1, 5, 0, 0, 8};

    driver_put(driver, 0, "b", 4);
    run_threads(driver, seed, &plan);
    driver_close(driver);
}

/* A cleaner with something to clean beside writers. */
void
run_beside_cleaner(struct driver *driver, uint64_t seed)
{
    static const struct threads_plan plan = {2, 5, 3, 2, 2, 0, 6, 8};

    for (unsigned i = 0; i < 8; i++) {
        driver_put(driver, 0, i % 4 == 0 ? "a" : "c", 490);
    }
    driver_put(driver, 0, "c", 5);
    run_threads(driver, seed, &plan);
    driver_close(driver);
}

/* Each thread writes big values by itself; whoever leads a commit makes their records durable. */
void
run_blobs_beside(struct driver *driver, uint64_t seed)
{
    static const struct threads_plan plan = {3, 3, 5, 1, 2, 0, 0, 1000};

    run_threads(driver, seed, &plan);
    driver_close(driver);
}

/* Segments change under their feet. */
void
run_segments_beside(struct driver *driver, uint64_t seed)
{
    static const struct threads_plan plan = {3, 4, 5, 1, 1, 2, 0, 500};

    for (unsigned i = 0; i < 5; i++) {
        driver_put(driver, 0, "b", 500);
    }
    run_threads(driver, seed, &plan);
    driver_close(driver);
}
