#include "tests/crash/driver.h"

#include "storage/api/store.h"
#include "tests/crash/driver_internal.h"
#include "tests/crash/plant.h"
#include "tests/lib/die.h"
#include "tests/lib/rng.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MAINTAIN_MAX = 400 };

static uint64_t
wall_of(void *context)
{
    const struct driver *driver = context;

    return driver->wall_ms;
}

void
driver_options(struct driver *driver, const struct driver_geometry *geometry)
{
    fl_options_init(&driver->options);
    driver->options.block_bytes = geometry->block_bytes;
    driver->options.size_bytes_max =
        (uint64_t)(geometry->blocks_first != 0 ? geometry->blocks_first : geometry->blocks_max) *
        geometry->block_bytes;
    driver->size_bytes_raised = (uint64_t)geometry->blocks_max * geometry->block_bytes;
    driver->options.blocks_ahead = geometry->blocks_ahead;
    driver->options.threads_open = 1;
    driver->options.background = false;
    driver->options.now_ms = wall_of;
    driver->options.context = driver;
}

void
driver_raise(struct driver *driver)
{
    driver->options.size_bytes_max = driver->size_bytes_raised;
}

void
driver_init(struct driver *driver, const struct driver_geometry *geometry, struct mempool *mempool,
            struct trace *trace)
{
    memset(driver, 0, sizeof(*driver));
    driver->mempool = mempool;
    driver->trace = trace;
    driver->now = contents_empty(mempool);
    driver->wall_ms = 1000000;
    driver_options(driver, geometry);
}

/* ---- marks ---- */

static void __attribute__((format(printf, 3, 4)))
mark(struct driver *driver, const struct contents *next, const char *format, ...)
{
    char text[96];
    va_list args;

    if (driver->trace == NULL) {
        return;
    }
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    char *kept = mempool_take(driver->mempool, strlen(text) + 1);

    memcpy(kept, text, strlen(text) + 1);
    const struct contents *other = driver->maybe != NULL ? driver->maybe : next;
    const struct contents **may = mempool_take(driver->mempool, 2 * sizeof(may[0]));

    may[0] = driver->now;
    may[1] = other;
    struct trace_mark m = {
        .may = may,
        .may_count = other != NULL && other != driver->now ? 2 : 1,
        .op = driver->op,
        .lsn_max = driver->lsn_max,
        .wall_ms = driver->wall_ms,
        .seen_ms = driver->seen_ms,
        .text = kept,
    };

    if (driver->among != NULL) {
        m.may = driver->among->may;
        m.may_count = driver->among->may_count;
        m.lsn_max = driver->among->lsn_max;
    }
    trace_mark(driver->trace, &m);
}

/* A deadline that was seen to pass has not passed any more. */
static bool
comes_back(const struct driver *driver, uint64_t now_ms)
{
    for (uint32_t i = 0; i < driver->now->count; i++) {
        const uint64_t deadline = driver->now->items[i].deadline_ms;

        if (deadline != 0 && deadline <= driver->seen_ms && deadline > now_ms) {
            return true;
        }
    }
    return false;
}

/* The running store shows what it should; who has read it may count on it. */
static void
look(struct driver *driver)
{
    if (driver->wrong || driver->store == NULL || driver->maybe != NULL || driver->among != NULL) {
        return;
    }
    const unsigned long paused = plant_allocation_pause();
    const uint64_t now_ms = fl_now_ms(driver->store);

    driver->wrong = !contents_match(driver->now, driver->store, now_ms, false, &driver->lsn_now,
                                    driver->why, sizeof(driver->why));
    if (!driver->wrong && comes_back(driver, now_ms)) {
        driver->wrong = true;
        (void)snprintf(driver->why, sizeof(driver->why),
                       "the clock has gone back behind a deadline that had passed");
    }
    driver->seen_ms = now_ms > driver->seen_ms ? now_ms : driver->seen_ms;
    driver->lsn_max = driver->lsn_now > driver->lsn_max ? driver->lsn_now : driver->lsn_max;
    plant_allocation_resume(paused);
}

/* Every byte that has changed was told to the recorder. */
static void
seen_by_hooks(struct driver *driver)
{
    const uint64_t off = watch_check();

    if (off != UINT64_MAX && !driver->wrong) {
        driver->wrong = true;
        (void)snprintf(driver->why, sizeof(driver->why),
                       "the byte at %" PRIu64 " has changed, and the recorder has not seen how",
                       off);
    }
}

static void
begin(struct driver *driver, const char *what, const struct contents *next)
{
    driver->op++;
    mark(driver, next, "%u %s begun", driver->op, what);
}

static void
done(struct driver *driver, const char *what, fl_status status, const struct contents *next)
{
    driver->last = status;
    driver->statuses |= UINT32_C(1) << status;
    driver->no_space += status == FL_NO_SPACE;
    if (status == FL_OK) {
        driver->now = next;
    } else if (status == FL_IO && driver->maybe == NULL) {
        driver->maybe = next; /* unknown until the next open; nothing is written after it */
    }
    seen_by_hooks(driver);
    const uint64_t lsn_max = driver->lsn_max;

    driver->lsn_max = 0; /* the new version's is not known before it is read */
    mark(driver, NULL, "%u %s: %s", driver->op, what, fl_status_name(status));
    driver->lsn_max = lsn_max;
    look(driver);
    mark(driver, NULL, "%u %s read", driver->op, what);
}

void
driver_wrong(struct driver *driver, const char *format, ...)
{
    va_list args;

    if (driver->wrong) {
        return;
    }
    va_start(args, format);
    (void)vsnprintf(driver->why, sizeof(driver->why), format, args);
    va_end(args);
    driver->wrong = true;
}

/* Is the next operation to be left out? A case is made smaller that way. */
static bool
passed_over(struct driver *driver)
{
    const unsigned step = driver->steps++;

    return driver->store == NULL || (driver->left_out != NULL && step < DRIVER_STEPS_MAX &&
                                     (driver->left_out[step / 64] >> step % 64 & 1) != 0);
}

/* ---- open and close ---- */

fl_status
driver_open(struct driver *driver)
{
    mark(driver, NULL, "open begun");
    plant_random_seed(driver->op + 1);
    driver->last =
        store_open_map(driver->open_map(driver->open_context), &driver->options, &driver->store);
    if (driver->last != FL_OK && !driver->may_refuse) {
        driver->wrong = true;
        (void)snprintf(driver->why, sizeof(driver->why), "open: %s", fl_last_error());
    }
    look(driver);
    mark(driver, NULL, "opened");
    return driver->last;
}

void
driver_close(struct driver *driver)
{
    if (driver->store == NULL) {
        return;
    }
    struct fl_stats stats = {.struct_bytes = sizeof(stats)};

    fl_stats(driver->store, &stats);
    driver->copied_bytes += stats.cleaner_copied_bytes_total;
    driver->freed_blocks += stats.cleaner_freed_blocks_total;
    driver->segment_changes += stats.segment_changes_total;
    driver->expired += stats.expired_total;
    begin(driver, "close", NULL);
    driver->last = fl_close(driver->store);
    driver->store = NULL;
    mark(driver, NULL, "%u close: %s", driver->op, fl_status_name(driver->last));
}

/* ---- operations ---- */

const uint8_t *
driver_value(struct mempool *mempool, unsigned op, const char *key, uint32_t len)
{
    struct rng rng = {(uint64_t)op << 32 ^ (uint64_t)len << 8 ^ (uint8_t)key[0]};
    uint8_t *value = mempool_take(mempool, len + 1);
    char text[48];

    /* Every word differs from zero and from other operations' words. */
    rng_fill(&rng, value, len);
    const int n = snprintf(text, sizeof(text), "%u.%s.", op, key);

    memcpy(value, text, (uint32_t)n < len ? (uint32_t)n : len);
    return value;
}

static struct contents_item
item_make(struct driver *driver, uint8_t space, const char *key, uint32_t len, bool value)
{
    struct contents_item item = {.space = space, .key_len = (uint8_t)strlen(key), .len = len};

    if (item.key_len > CONTENTS_KEY_MAX) {
        die("driver: the key %s is too long", key);
    }
    memcpy(item.key, key, item.key_len);
    item.value = value ? driver_value(driver->mempool, driver->op + 1, key, len) : NULL;
    return item;
}

static struct fl_key
item_key(const struct contents_item *item)
{
    return fl_key_in(item->space, item->key, item->key_len);
}

void
driver_put_deadline(struct driver *driver, uint8_t space, const char *key, uint32_t len,
                    uint64_t deadline_ms)
{
    if (passed_over(driver)) {
        return;
    }
    struct contents_item item = item_make(driver, space, key, len, true);
    const struct fl_put_options options = {.deadline_ms = deadline_ms};

    item.deadline_ms = deadline_ms;
    const struct contents *next = contents_with(driver->mempool, driver->now, &item);

    const uint64_t lsn_before = driver->lsn_max;

    begin(driver, "put", next);
    done(driver, "put",
         fl_put(driver->store, item_key(&item), fl_bytes(item.value, len),
                deadline_ms != 0 ? &options : NULL),
         next);
    if (driver->last == FL_OK && deadline_ms == 0 && driver->lsn_now <= lsn_before) {
        driver_wrong(driver, "a put's LSN is %" PRIu64 ", and there was %" PRIu64 " before it",
                     driver->lsn_now, lsn_before);
    }
}

void
driver_put(struct driver *driver, uint8_t space, const char *key, uint32_t len)
{
    driver_put_deadline(driver, space, key, len, 0);
}

void
driver_delete(struct driver *driver, uint8_t space, const char *key)
{
    if (passed_over(driver)) {
        return;
    }
    const struct contents_item item = item_make(driver, space, key, 0, false);
    const struct contents *next = contents_with(driver->mempool, driver->now, &item);

    begin(driver, "delete", next);
    done(driver, "delete", fl_delete(driver->store, item_key(&item)), next);
}

void
driver_delete_spaces(struct driver *driver, uint8_t first, uint8_t last)
{
    if (passed_over(driver)) {
        return;
    }
    const struct contents *next =
        contents_without_spaces(driver->mempool, driver->now, first, last);

    begin(driver, "delete spaces", next);
    done(driver, "delete spaces", fl_delete_spaces(driver->store, first, last), next);
}

void
driver_maintain(struct driver *driver, unsigned count)
{
    if (passed_over(driver)) {
        return;
    }
    for (unsigned i = 0; i < (count == 0 ? MAINTAIN_MAX : count); i++) {
        begin(driver, "maintain", NULL);
        const fl_status status = fl_maintain(driver->store);

        done(driver, "maintain", status == FL_END ? FL_OK : status, driver->now);
        if (status != FL_OK) {
            return;
        }
    }
    if (count == 0 && !driver->wrong) {
        driver->wrong = true;
        (void)snprintf(driver->why, sizeof(driver->why), "background work does not come to an end");
    }
}

void
driver_clock(struct driver *driver, uint64_t wall_ms)
{
    if (passed_over(driver)) {
        return;
    }
    driver->wall_ms = wall_ms;
    mark(driver, NULL, "the clock moves");
    look(driver);
    mark(driver, NULL, "the clock has moved");
}

static fl_status
batch_change(struct driver *driver, struct fl_batch *batch, const char *text, uint32_t len,
             const struct contents **next)
{
    const char *arrow = strchr(text, '>');
    struct contents_item item;

    if (arrow != NULL) {
        char from[CONTENTS_KEY_MAX + 1] = {0};

        memcpy(from, text, (size_t)(arrow - text));
        const struct contents_item *source = contents_find(*next, 0, from, strlen(from));

        const struct contents_item gone = item_make(driver, 0, from, 0, false);

        item = item_make(driver, 0, arrow + 1, source != NULL ? source->len : 0, false);
        if (source == NULL) {
            return fl_batch_put_from(batch, item_key(&item), item_key(&gone), NULL);
        }

        item.value = source->value;
        item.deadline_ms = source->deadline_ms;
        *next = contents_with(driver->mempool, *next, &item);
        *next = contents_with(driver->mempool, *next, &gone);
        const fl_status status = fl_batch_put_from(batch, item_key(&item), item_key(&gone), NULL);

        return status == FL_OK ? fl_batch_delete(batch, item_key(&gone)) : status;
    }
    item = item_make(driver, 0, text + 1, text[0] == '+' ? len : 0, text[0] == '+');
    *next = contents_with(driver->mempool, *next, &item);
    return text[0] == '+' ? fl_batch_put(batch, item_key(&item), fl_bytes(item.value, len), NULL)
                          : fl_batch_delete(batch, item_key(&item));
}

void
driver_batch(struct driver *driver, uint32_t len, const char *const *changes, unsigned count)
{
    if (passed_over(driver)) {
        return;
    }
    const struct contents *next = driver->now;
    struct fl_batch *batch = NULL;
    fl_status status = fl_batch_create(driver->store, &batch);

    begin(driver, "batch filled", NULL); /* values in blocks of their own are written now */
    for (unsigned i = 0; i < count && status == FL_OK; i++) {
        status = batch_change(driver, batch, changes[i], len, &next);
    }
    if (status == FL_OK) {
        mark(driver, next, "%u batch begun", driver->op);
        status = fl_batch_commit(batch);
    }
    done(driver, "batch", status, next);
    driver->op++; /* its values were made under the next number */
    fl_batch_destroy(batch);
}

static void
tick_read(struct driver *driver, struct fl_batch *batch, const char *key,
          const struct contents *next)
{
    const struct contents_item *item = contents_find(next, 0, key, strlen(key));
    struct fl_view view;
    const fl_status status = fl_batch_get_view(batch, fl_key_in(0, key, strlen(key)), &view);

    if (status != (item != NULL ? FL_OK : FL_NOT_FOUND) ||
        (item != NULL &&
         (view.value.len != item->len || memcmp(view.value.ptr, item->value, item->len) != 0))) {
        driver_wrong(driver, "a read of %s through a batch: %s", key, fl_status_name(status));
    }
    if (status == FL_OK) {
        fl_view_release(&view);
    }
}

void
driver_tick(struct driver *driver, uint32_t len, const char *const *commands, unsigned count)
{
    if (passed_over(driver)) {
        return;
    }
    const struct contents *next = driver->now;
    struct fl_batch *batch = NULL;
    uint64_t ticket = 0;
    fl_status status = fl_batch_create(driver->store, &batch);

    begin(driver, "commands executed", NULL);
    for (unsigned i = 0; i < count && status == FL_OK; i++) {
        if (commands[i][0] == '?') {
            tick_read(driver, batch, commands[i] + 1, next);
            continue;
        }
        status = batch_change(driver, batch, commands[i], len, &next);
        status = status == FL_NOT_FOUND ? FL_OK : status; /* that is an answer, too */
    }
    if (status == FL_OK) {
        mark(driver, next, "%u tick submitted", driver->op);
        status = fl_batch_submit(batch, &ticket);
    }
    if (status == FL_OK && ticket > 0) {
        status = fl_wait(driver->store, ticket);
    }
    done(driver, "replies queued", status, next);
    driver->op++;
    fl_batch_destroy(batch);
}
