/* Crashes in recovery and in the work after it, and the generations that come of that. */
#include "tests/crash/explore_internal.h"

#include "tests/crash/user.h"
#include "tests/lib/die.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An image whose stores are recorded. */
struct taped {
    struct image image;
    struct trace trace;
};

static void
on_change(void *context, uint64_t off, uint64_t len)
{
    struct taped *taped = context;

    image_touch(&taped->image, off, len);
}

static void
on_store(void *context, uint64_t off, uint64_t len, unsigned flags)
{
    struct taped *taped = context;

    trace_watch.store(&taped->trace, off, len, flags);
}

static void
on_flush(void *context, uint64_t off, uint64_t len)
{
    struct taped *taped = context;

    trace_watch.flush(&taped->trace, off, len);
}

static void
on_fence(void *context)
{
    struct taped *taped = context;

    trace_watch.fence(&taped->trace);
}

static const struct watch_ops taped_watch = {
    .change = on_change, .store = on_store, .flush = on_flush, .fence = on_fence};

static struct nosync_map *
open_image(void *context)
{
    return image_open(context);
}

/* Go on after recovery, differently from one state to another. */
static void
go_on(struct driver *driver, uint64_t hash)
{
    static const char *const changes[] = {"+g1", "+g2", "+a"};

    if (hash & 1) {
        driver_put(driver, 0, "g0", 8);
    } else {
        driver_put(driver, 0, "g0", 700);
    }
    driver_maintain(driver, hash & 2 ? 1 : 4);
    driver_batch(driver, 10, changes, 3);
    driver_delete(driver, 0, hash & 4 ? "a" : "g1");
    if (hash & 8) {
        driver_put(driver, 0, "b", 480);
        driver_put(driver, 0, "b", 470);
    }
    if (hash & 16) {
        driver_maintain(driver, 0);
    }
    if (hash & 32) {
        driver_close(driver);
        (void)driver_open(driver);
    }
    driver_put(driver, 0, "g0", 12);
    driver_close(driver);
}

/* Recover and work on the taped image; false: that went wrong. */
static bool
tape(struct explorer *x, struct level *level, struct taped *taped, uint64_t hash)
{
    const struct trace_mark *mark = level->mark;
    const struct contents *found = x->check.found;
    const uint64_t lsn_max = x->check.lsn_max;
    struct driver driver;
    const struct watch before = watch_set(
        (struct watch){taped->image.bytes, taped->image.size_bytes_max, NULL, &taped_watch, taped});

    taped->image.recorder = trace_record;
    taped->image.recorder_context = &taped->trace;
    if (x->config->user != NULL) {
        trace_mark(&taped->trace, mark);
        const bool good =
            user_check(x->config->user, &taped->image, mark, x->check.why, sizeof(x->check.why));

        (void)watch_set(before);
        return good;
    }
    driver_init(&driver, &x->check.geometry, &x->mempool, &taped->trace);
    driver_raise(&driver); /* a raise cut short is gone on with, or one is new */
    driver.open_map = open_image;
    driver.open_context = &taped->image;
    driver.wall_ms = level->wall_ms > mark->wall_ms ? level->wall_ms : mark->wall_ms;
    driver.seen_ms = mark->seen_ms;
    driver.op = (x->depth + 1) * 1000;
    driver.now = mark->may[0];
    driver.among = mark;
    driver.lsn_max = lsn_max > mark->lsn_max ? lsn_max : mark->lsn_max;
    if (driver_open(&driver) == FL_OK) {
        driver.now = found;
        driver.among = NULL;
        go_on(&driver, hash);
    }
    if (driver.store != NULL) {
        driver_close(&driver);
    }
    (void)watch_set(before);
    if (driver.wrong) {
        (void)snprintf(x->check.why, sizeof(x->check.why), "going on after recovery: %s",
                       driver.why);
    }
    return !driver.wrong;
}

bool
explore_again(struct explorer *x, struct level *level, uint64_t hash)
{
    const struct image *from = &level->frozen;
    const size_t bytes = (size_t)from->size_bytes_max;
    uint8_t *start = malloc(bytes + bytes / IMAGE_PAGE);
    struct taped taped = {.trace = {.site = plant_site, .call = plant_call}};
    bool good;

    if (start == NULL || x->depth + 1 >= EXPLORE_DEPTH_MAX) {
        die("explore: no memory, or too deep");
    }
    memcpy(start, from->bytes, bytes);
    memcpy(start + bytes, from->exists, bytes / IMAGE_PAGE);
    const uint64_t size_bytes = from->size_bytes;

    image_init(&taped.image, from->mode, from->size_bytes_max);
    image_load(&taped.image, start, start + bytes, size_bytes);
    if (tape(x, level, &taped, hash)) {
        x->result->counts.again++;
        x->depth++;
        good = explore_level(x, &taped.trace, start, start + bytes, size_bytes);
        x->depth--;
    } else {
        good = explore_violation(x, level, x->check.why);
    }
    image_deinit(&taped.image);
    trace_deinit(&taped.trace);
    free(start);
    return good;
}
