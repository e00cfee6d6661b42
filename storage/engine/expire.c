/* Deadlines: a heap of them, the clock that judges, and keys dropped when their time has come.
 *
 * Nothing is written when a key expires: its record masks older versions as a tombstone would, and the clock never goes
 * back behind what was judged by it. Across a crash: before anything is judged at time t, a lease over t is durable.
 * Within a run, and across a clean close: the floor rises to each time that was judged by (storage rule 21). */
#include "storage/engine/engine_internal.h"

#include "base/fail.h"

#include <stdlib.h>
#include <time.h>

enum {
    LEASE_MS = 1000, /* how far ahead of now the lease is written: after a crash, keys may expire so
                             much early, never late */
    LEASE_RENEW_MS = 600, /* renewed when less is left */
    EXPIRE_STEP = 256,    /* keys dropped under the commit lock at a time */
    COMPACT_MIN = 4096,
};

static uint64_t
wall_ms(const struct engine *engine)
{
    struct timespec now;

    if (engine->user.now_ms != NULL) {
        return engine->user.now_ms(engine->user.context);
    }
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Judged by: the clock does not go behind it any more. Returns it, or what the clock has come to meanwhile. */
static uint64_t
floor_raise(struct engine *engine, uint64_t floor, uint64_t now)
{
    while (now > floor &&
           !atomic_compare_exchange_weak_explicit(&engine->clock_floor_ms, &floor, now,
                                                  memory_order_release, memory_order_acquire)) {
    }
    return now > floor ? now : floor;
}

uint64_t
engine_now_ms(struct engine *engine)
{
    /* In this order: a floor that is seen lies under the lease that is seen. */
    const uint64_t floor = atomic_load_explicit(&engine->clock_floor_ms, memory_order_acquire);
    const uint64_t lease = atomic_load_explicit(&engine->clock_lease_ms, memory_order_acquire);
    const uint64_t wall = wall_ms(engine);
    const uint64_t now = wall > floor ? wall : floor;

    /* No lease: no deadline was ever seen, so nothing is judged by it, and the wall clock may still be put right. */
    return lease == 0 ? now : floor_raise(engine, floor, now > lease ? lease : now);
}

/* What a SIGBUS may end. */
struct leasing {
    struct engine *engine;
    struct pm *pm;
    uint64_t lease;
    fl_status status;
};

static void
clock_put(void *context)
{
    struct leasing *l = context;

    l->status = heap_clock_put(l->engine->heap, l->pm, l->lease);
}

static fl_status
lease_write(struct engine *engine, struct pm *pm, uint64_t wall)
{
    const uint64_t floor = atomic_load(&engine->clock_floor_ms);
    const uint64_t before = atomic_load(&engine->clock_lease_ms);
    /* Not over the floor: there the clock stands until the wall clock comes, and each of several crashes would take
     * keys another second of their time. Not under the one before, by whose last moment a reader may just judge. */
    const uint64_t least = floor > before ? floor : before;
    const uint64_t lease = wall + LEASE_MS > least ? wall + LEASE_MS : least;
    struct leasing l = {engine, pm, lease, FL_OK};
    const fl_status status = engine_guarded(engine, clock_put, &l, &l.status);

    if (status == FL_OK) {
        atomic_store_explicit(&engine->clock_lease_ms, lease, memory_order_release);
    }
    engine_fail(engine, status);
    return status;
}

/* While loading: records were dropped because they had expired at `now_ms`. */
void
engine_clock_judged(struct engine *engine, uint64_t now_ms)
{
    (void)floor_raise(engine, atomic_load(&engine->clock_floor_ms), now_ms);
}

/* Under commit_lock: the first deadline of this run wants a lease before anybody judges by it. */
fl_status
engine_clock_start(struct engine *engine)
{
    if (atomic_load(&engine->clock_lease_ms) != 0) {
        return FL_OK;
    }
    if (engine->read_only) {
        /* What is judged now leaves no trace on media; only within the run it must hold. */
        atomic_store(&engine->clock_lease_ms, UINT64_MAX);
        return FL_OK;
    }
    return lease_write(engine, log_head_pm(engine->log, LOG_HEAD_MAIN), wall_ms(engine));
}

bool
engine_clock_step(struct engine *engine)
{
    const uint64_t lease = atomic_load(&engine->clock_lease_ms);
    const uint64_t wall = wall_ms(engine);

    /* Good for longer also when the wall clock went back: the store's stands until it has caught up. */
    if (lease == 0 || lease == UINT64_MAX || wall + LEASE_RENEW_MS < lease ||
        atomic_load(&engine->failed) != FL_OK) {
        return false;
    }
    return lease_write(engine, &engine->keeper_pm, wall) == FL_OK;
}

static void
sift_down(struct expiry *expiry, size_t i)
{
    for (;;) {
        size_t least = i;

        for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < expiry->count; child++) {
            if (expiry->items[child].deadline_ms < expiry->items[least].deadline_ms) {
                least = child;
            }
        }
        if (least == i) {
            return;
        }
        const struct expiry_item item = expiry->items[i];

        expiry->items[i] = expiry->items[least];
        expiry->items[least] = item;
        i = least;
    }
}

/* Is the item's record still some key's newest version? Under commit_lock. The index is asked first: a place that it
 * doesn't name may be in a block that is just being freed or used anew, one that it names stays while we have the lock.
 */
static bool
item_valid(struct engine *engine, const struct expiry_item *item, struct log_record *record)
{
    return index_newest_at(engine->index, item->hash, item->loc) &&
           log_peek(engine->log, item->loc & INDEX_LOC_OFF_MASK, record) &&
           record->deadline_ms == item->deadline_ms &&
           index_hash(engine->index, engine_record_key(record)) == item->hash;
}

/* Overwritten keys leave their notes behind: drop those, so that the heap stays within twice what is valid. */
static void
compact(struct engine *engine)
{
    struct expiry *expiry = &engine->expiry;
    struct log_record record;
    size_t kept = 0;

    for (size_t i = 0; i < expiry->count; i++) {
        if (item_valid(engine, &expiry->items[i], &record)) {
            expiry->items[kept++] = expiry->items[i];
        }
    }
    expiry->count = kept;
    for (size_t i = kept / 2; i-- > 0;) {
        sift_down(expiry, i);
    }
    expiry->compact_at = 2 * kept + COMPACT_MIN;
}

/* A note at the end, out of order: while loading, before expiry_settle(). */
fl_status
expiry_append(struct engine *engine, struct expiry_item item)
{
    struct expiry *expiry = &engine->expiry;

    if (expiry->count == expiry->cap) {
        const size_t cap = expiry->cap == 0 ? 1024 : expiry->cap * 2;
        struct expiry_item *items = realloc(expiry->items, cap * sizeof(*items));

        if (items == NULL) {
            return FL_FAIL(FL_NO_MEMORY, "the note of a deadline");
        }
        expiry->items = items;
        expiry->cap = cap;
    }
    expiry->items[expiry->count++] = item;
    return FL_OK;
}

void
expiry_settle(struct engine *engine)
{
    compact(engine);
}

fl_status
expiry_add(struct engine *engine, struct expiry_item item)
{
    struct expiry *expiry = &engine->expiry;

    if (expiry->count >= expiry->compact_at && expiry->count > 0) {
        compact(engine);
    }
    const fl_status status = expiry_append(engine, item);

    if (status != FL_OK) {
        return status;
    }
    size_t i = expiry->count - 1;

    while (i > 0 && expiry->items[(i - 1) / 2].deadline_ms > item.deadline_ms) {
        expiry->items[i] = expiry->items[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    expiry->items[i] = item;
    return FL_OK;
}

void
expiry_deinit(struct expiry *expiry)
{
    free(expiry->items);
}

bool
engine_expire_step(struct engine *engine)
{
    struct expiry *expiry = &engine->expiry;
    unsigned dropped = 0;
    unsigned looked = 0;

    if (engine->read_only) {
        return false;
    }
    pthread_mutex_lock(&engine->commit_lock);
    const uint64_t now = engine_now_ms(engine);

    while (expiry->count > 0 && expiry->items[0].deadline_ms <= now && looked < EXPIRE_STEP) {
        const struct expiry_item item = expiry->items[0];
        struct log_record record;

        expiry->items[0] = expiry->items[--expiry->count];
        sift_down(expiry, 0);
        looked++;
        if (item_valid(engine, &item, &record) &&
            index_expire(engine->index, item.hash, engine_record_key(&record), item.loc)) {
            engine_account_mask(engine, item.loc, &record, record.lsn);
            dropped++;
        }
    }
    pthread_mutex_unlock(&engine->commit_lock);
    atomic_fetch_add_explicit(&engine->expired_total, dropped, memory_order_relaxed);
    return looked > 0;
}
