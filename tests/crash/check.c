#include "tests/crash/check.h"

#include "storage/api/store.h"
#include "storage/heap/heap_layout.h"
#include "tests/crash/plant.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static bool __attribute__((format(printf, 2, 3)))
broken(struct check *check, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(check->why, sizeof(check->why), format, args);
    va_end(args);
    return false;
}

static struct nosync_map *
open_image(void *context)
{
    return image_open(context);
}

static void
driver_on(struct driver *driver, const struct check *check, struct image *image, uint64_t wall_ms)
{
    driver_init(driver, &check->geometry, check->mempool, NULL);
    driver->open_map = open_image;
    driver->open_context = image;
    driver->wall_ms = wall_ms;
}

static void
finding(void *context, const char *rule, uint64_t off, uint64_t len, const char *text)
{
    struct check *check = context;

    (void)len;
    /* Half a heap_format(): the other superblock counts, and the next open heals this one. */
    if (check->formatting && strcmp(rule, "superblock") == 0) {
        return;
    }
    if (check->why[0] == '\0') {
        (void)broken(check, "%s at %" PRIu64 ": %s", rule, off, text);
    }
}

static bool
verify(struct check *check, struct fl_store *store, struct image *image, bool index_too)
{
    const struct heap_report report = {check, finding};
    struct heap_stats heap;

    check->why[0] = '\0';
    if (index_too && engine_verify(store->engine, &report) != FL_OK) {
        return broken(check, "verify: %s", fl_last_error());
    }
    if (check->why[0] != '\0') {
        return false;
    }
    heap_stats_get(log_heap(engine_log(store->engine)), &heap);
    const uint64_t sum = heap.blocks_owned + heap.blocks_ready + heap.blocks_free;

    /* A table block that was not finished is nobody's; it is made again when its group is reached. */
    if (sum > heap.blocks_total || heap.blocks_total - sum > heap.blocks_total * HEAP_ENTRY_BYTES /
                                                                 check->geometry.block_bytes) {
        return broken(check,
                      "blocks: %" PRIu64 " owned + %" PRIu64 " ready + %" PRIu64
                      " free are not all %" PRIu64,
                      heap.blocks_owned, heap.blocks_ready, heap.blocks_free, heap.blocks_total);
    }
    if (image->fault_off != UINT64_MAX) {
        return broken(check, "a store at %" PRIu64 " where no block is", image->fault_off);
    }
    return true;
}

/* Deadlines: none that a reader has seen pass may show again, none is judged further ahead than a lease over what the
 * wall clock and the store's have been at. */
static bool
clock_holds(struct check *check, const struct trace_mark *mark, const struct contents *contents,
            uint64_t wall_ms)
{
    uint64_t wall = wall_ms > mark->wall_ms ? wall_ms : mark->wall_ms;

    wall = wall > mark->seen_ms ? wall : mark->seen_ms;
    for (uint32_t i = 0; i < contents->count; i++) {
        const uint64_t deadline = contents->items[i].deadline_ms;

        if (deadline == 0) {
            continue;
        }
        if (deadline <= mark->seen_ms && deadline > check->now_ms) {
            return broken(check,
                          "the key %.*s comes back: its deadline %" PRIu64
                          " was seen to pass, the clock says %" PRIu64,
                          contents->items[i].key_len, (const char *)contents->items[i].key,
                          deadline, check->now_ms);
        }
        if (check->now_ms > wall + DRIVER_LEASE_MS) {
            return broken(check, "the clock is at %" PRIu64 ", no clock was ever over %" PRIu64,
                          check->now_ms, wall);
        }
    }
    return true;
}

/* What was acknowledged comes back with the LSNs that it had. */
static bool
lsns_hold(struct check *check, const struct trace_mark *mark)
{
    return mark->lsn_max == 0 || check->found != mark->may[0] || check->lsn_max <= mark->lsn_max ||
           broken(check, "after \"%s\": an LSN of %" PRIu64 ", and none was above %" PRIu64,
                  mark->text, check->lsn_max, mark->lsn_max);
}

static bool
contents_admitted(struct check *check, struct fl_store *store, const struct trace_mark *mark,
                  bool just_opened)
{
    char why[2][160] = {"", ""};

    for (uint32_t i = 0; i < mark->may_count; i++) {
        char *text = why[i > 0];

        if (contents_match(mark->may[i], store, check->now_ms, just_opened, &check->lsn_max, text,
                           sizeof(why[0]))) {
            check->found = mark->may[i];
            return lsns_hold(check, mark);
        }
    }
    return mark->may_count == 1
               ? broken(check, "after \"%s\": %s", mark->text, why[0])
               : broken(check, "after \"%s\": not without it (%s), nor with it (%s)%s", mark->text,
                        why[0], why[1], mark->may_count > 2 ? ", nor with a part of it" : "");
}

bool
check_recover(struct check *check, struct image *image, const struct trace_mark *mark,
              uint64_t wall_ms, bool index_too)
{
    struct driver driver;

    driver_on(&driver, check, image, wall_ms);
    plant_random_seed(7);
    image->fault_off = UINT64_MAX;
    const fl_status status = store_open_map(image_open(image), &driver.options, &driver.store);

    if (status != FL_OK) {
        return broken(check, "after \"%s\": open: %s: %s", mark->text, fl_status_name(status),
                      fl_last_error());
    }
    check->now_ms = fl_now_ms(driver.store);
    const bool good = contents_admitted(check, driver.store, mark, true) &&
                      clock_holds(check, mark, check->found, wall_ms) &&
                      verify(check, driver.store, image, index_too);
    const fl_status closed = fl_close(driver.store);

    return good && closed != FL_OK ? broken(check, "close: %s", fl_last_error()) : good;
}

/* The store's own checker over the file. */
static bool
checker_clean(struct check *check, struct image *image, const struct trace_mark *mark,
              uint64_t wall_ms)
{
    const struct heap_report report = {check, finding};
    struct driver driver;
    struct engine *engine = NULL;
    const uint64_t stores = image->stores;

    driver_on(&driver, check, image, wall_ms);
    driver.options.flags = FL_OPEN_READ_ONLY | FL_OPEN_SALVAGE;
    const struct engine_options options = {&driver.options, &report, true, true};

    check->why[0] = '\0';
    const fl_status status = engine_open(image_open(image), &options, &engine);

    if (status == FL_NOT_FOUND && mark->may[0]->count == 0) {
        return true; /* not yet formatted */
    }
    if (status == FL_OK) {
        if (engine_verify(engine, &report) != FL_OK && check->why[0] == '\0') {
            (void)broken(check, "the checker: %s", fl_last_error());
        }
        (void)engine_close(engine);
    } else if (check->why[0] == '\0') {
        (void)broken(check, "the checker: %s", fl_last_error());
    }
    if (check->why[0] == '\0' && image->stores != stores) {
        (void)broken(check, "the checker has written");
    }
    return check->why[0] == '\0';
}

bool
check_read_only(struct check *check, struct image *image, const struct trace_mark *mark)
{
    char why[sizeof(check->why)];

    check->formatting = mark->seen_ms == 0;
    const bool clean = checker_clean(check, image, mark, mark->wall_ms);

    check->formatting = false;
    if (clean) {
        return true;
    }
    memcpy(why, check->why, sizeof(why));
    return broken(check, "after \"%.60s\", before recovery: %.300s", mark->text, why);
}

/* ---- usable ---- */

static void
fill(struct driver *driver)
{
    static const char *const changes[] = {"+u1", "+u2", "+u3"};

    driver_put(driver, 0, "u0", 24);
    driver_put(driver, 0, "u0", 300);
    driver_batch(driver, 16, changes, 3);
    driver_put(driver, 1, "u4", 700);
    driver_delete(driver, 0, "u2");
    driver_maintain(driver, 3);
}

static void
empty(struct driver *driver)
{
    const struct contents *all = driver->now;

    for (uint32_t i = 0; i < all->count && i < 3; i++) {
        char key[CONTENTS_KEY_MAX + 1] = {0};

        memcpy(key, all->items[i].key, all->items[i].key_len);
        driver_delete(driver, all->items[i].space, key);
    }
    driver_delete_spaces(driver, 0, 255);
    driver_maintain(driver, 0);
}

static bool
driver_good(struct check *check, const struct driver *driver, const char *when)
{
    return driver->wrong ? broken(check, "%s: %s", when, driver->why) : true;
}

/* What an empty store may keep: meta blocks, an open segment a head, what isn't worth cleaning. */
static bool
space_is_back(struct check *check, struct driver *driver)
{
    enum { KEPT_MAX = 8 };
    struct heap_stats heap;

    heap_stats_get(log_heap(engine_log(driver->store->engine)), &heap);
    return heap.blocks_owned <= KEPT_MAX
               ? true
               : broken(check, "an empty store keeps %" PRIu64 " of %" PRIu64 " blocks",
                        heap.blocks_owned, heap.blocks_total);
}

bool
check_usable(struct check *check, struct image *image, const struct trace_mark *before,
             uint64_t wall_ms)
{
    struct driver driver;
    struct trace_mark mark = {.may = &check->found,
                              .may_count = 1,
                              .lsn_max = check->lsn_max,
                              .wall_ms = before->wall_ms,
                              .seen_ms = before->seen_ms,
                              .text = "recovery"};

    if (!checker_clean(check, image, &mark, wall_ms) ||
        !check_recover(check, image, &mark, wall_ms, true)) {
        return false;
    }
    driver_on(&driver, check, image, wall_ms);
    driver.now = check->found;
    driver.lsn_max = before->lsn_max > check->lsn_max ? before->lsn_max : check->lsn_max;
    driver.op = 1u << 20;
    (void)driver_open(&driver);
    if (driver_good(check, &driver, "opened again")) {
        fill(&driver);
    }
    if (driver_good(check, &driver, "in use after recovery")) {
        (void)(verify(check, driver.store, image, true) || (driver.wrong = true));
    }
    if (!driver.wrong) {
        empty(&driver);
        (void)(verify(check, driver.store, image, true) || (driver.wrong = true));
    }
    if (!driver.wrong && !space_is_back(check, &driver)) {
        driver.wrong = true;
    }
    if (driver.wrong && driver.why[0] != '\0') {
        (void)broken(check, "in use after recovery: %s", driver.why);
    }
    (void)fl_close(driver.store);
    check->found = driver.now;
    mark.lsn_max = driver.lsn_max;
    mark.text = "emptied";
    return !driver.wrong && check_recover(check, image, &mark, wall_ms, true);
}
