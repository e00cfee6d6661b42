/* Background work: the clock's lease, expiry, cleaning, giving back; and writers that wait for room. */
#include "storage/engine/engine_internal.h"

#include "base/fail.h"

#include <time.h>

enum {
    TICK_MS = 50,
    INDEX_STEPS = 64,      /* calls of index_maintain() between other work */
    ROOM_WAIT_MS = 2000,   /* how long a writer waits for the cleaner on a full store */
    PRESSURE_WAIT_MS = 20, /* and each commit when dead space is near its limit */
    TELL_TURNS = 256,      /* of a busy keeper between looks at what is to be told */
};

static void
unblock(void *context, uint32_t block, struct log_segment *segment, uint64_t bytes)
{
    (void)context;
    (void)block;
    (void)bytes;
    segment->blocked = false;
}

/* New keys into their places in the order, so that neither writers nor scans have to. */
static bool
index_step(struct engine *engine)
{
    bool did = false;

    for (unsigned i = 0; i < INDEX_STEPS && index_maintain(engine->index) > 0; i++) {
        did = true;
    }
    return did;
}

fl_status
engine_maintain(struct engine *engine)
{
    bool did = engine_clock_step(engine);

    if (atomic_exchange(&engine->unblock, false)) {
        log_segments_visit(engine->log, LOG_CLEANABLE, NULL, unblock);
    }
    engine_shield_begin(engine);
    did |= index_step(engine);
    did |= engine_expire_step(engine);
    engine_shield_end(engine);
    did |= engine_clean_step(engine);
    did |= engine_free_step(engine);
    did |= epoch_reclaim(engine->epoch) > 0;
    if (!engine->read_only && !engine->keeper_runs) {
        did |= heap_ahead_step(engine->heap) == FL_OK;
    }
    return did ? FL_OK : FL_END;
}

static void
wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, unsigned ms)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)ms * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    pthread_cond_timedwait(cond, lock, &until);
}

static void *
keeper_main(void *arg)
{
    struct engine *engine = arg;
    unsigned turns = 0;

    (void)pthread_setname_np(pthread_self(), "fl-keeper");
    pthread_mutex_lock(&engine->keeper_lock);
    while (!engine->keeper_stop) {
        pthread_mutex_unlock(&engine->keeper_lock);
        const bool did = engine_maintain(engine) == FL_OK;

        if (!did || turns++ % TELL_TURNS == 0) {
            engine_tell_changes(engine);
        }
        pthread_mutex_lock(&engine->keeper_lock);
        engine->cleaner_idle = !did;
        if (!did) {
            pthread_cond_broadcast(&engine->room_cond);
            if (!engine->keeper_stop) {
                wait_until(&engine->keeper_cond, &engine->keeper_lock, TICK_MS);
            }
        }
    }
    pthread_mutex_unlock(&engine->keeper_lock);
    return NULL;
}

fl_status
engine_keeper_start(struct engine *engine)
{
    engine->keeper_runs = true; /* before the thread looks at it */
    if (pthread_create(&engine->keeper, NULL, keeper_main, engine) != 0) {
        engine->keeper_runs = false;
        return FL_FAIL(FL_NO_MEMORY, "the cleaner thread could not be started");
    }
    return FL_OK;
}

void
engine_keeper_stop(struct engine *engine)
{
    if (!engine->keeper_runs) {
        return;
    }
    pthread_mutex_lock(&engine->keeper_lock);
    engine->keeper_stop = true;
    pthread_cond_broadcast(&engine->keeper_cond);
    pthread_mutex_unlock(&engine->keeper_lock);
    pthread_join(engine->keeper, NULL);
    engine->keeper_runs = false;
}

void
engine_keeper_kick(struct engine *engine)
{
    pthread_mutex_lock(&engine->keeper_lock);
    pthread_cond_signal(&engine->keeper_cond);
    pthread_mutex_unlock(&engine->keeper_lock);
}

/* Blocks that `bytes` more may take: half of each is counted as lost to frames that don't fit its end. */
static uint32_t
blocks_for(const struct engine *engine, size_t bytes)
{
    const size_t capacity = heap_geometry(engine->heap)->block_bytes - LOG_HEADER_BYTES;

    return (uint32_t)(2 * bytes / capacity + 1);
}

static bool
has_room(struct engine *engine, size_t bytes, size_t claimed)
{
    const size_t left = log_head_room_hint(engine->log, LOG_HEAD_MAIN);

    return bytes + claimed + LOG_BATCH_BYTES + LOG_LINE_BYTES <= left ||
           heap_make_room(engine->heap, blocks_for(engine, bytes + claimed));
}

fl_status
engine_room(struct engine *engine, size_t bytes, size_t claimed)
{
    if (atomic_load_explicit(&engine->pressure, memory_order_relaxed) && engine->keeper_runs) {
        pthread_mutex_lock(&engine->keeper_lock);
        pthread_cond_signal(&engine->keeper_cond);
        wait_until(&engine->room_cond, &engine->keeper_lock, PRESSURE_WAIT_MS);
        pthread_mutex_unlock(&engine->keeper_lock);
    }
    if (has_room(engine, bytes, claimed)) {
        return FL_OK;
    }
    for (unsigned waited = 0; waited < ROOM_WAIT_MS && engine->keeper_runs; waited += TICK_MS) {
        pthread_mutex_lock(&engine->keeper_lock);
        const bool hopeless = engine->cleaner_idle && waited >= 2 * TICK_MS;

        pthread_cond_signal(&engine->keeper_cond);
        if (!hopeless) {
            wait_until(&engine->room_cond, &engine->keeper_lock, TICK_MS);
        }
        pthread_mutex_unlock(&engine->keeper_lock);
        if (has_room(engine, bytes, claimed)) {
            return FL_OK;
        }
        if (hopeless) {
            break;
        }
    }
    const fl_status writable =
        engine_writable(engine); /* what failed may have been more than room */

    if (writable != FL_OK) {
        return writable;
    }
    return FL_FAIL(FL_NO_SPACE,
                   "no room for %zu bytes: the file system is full or the store has reached "
                   "its size; deletes still work",
                   bytes);
}
