#include "storage/engine/engine_internal.h"

#include "base/clock.h"
#include "base/fail.h"
#include "storage/heap/heap_layout.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { CAPACITY_INLINE = 256 * 1024 };

void
engine_geometry_wanted(const struct fl_options *user, uint64_t size_bytes_max,
                       struct heap_geometry *geometry)
{
    memset(geometry, 0, sizeof(*geometry));
    geometry->block_bytes = user->block_bytes;
    geometry->size_bytes_max = size_bytes_max;
    if (size_bytes_max / HEAP_BLOCKS_MAX > user->block_bytes) {
        geometry->size_bytes_max = (uint64_t)HEAP_BLOCKS_MAX * user->block_bytes;
    }
    if (user->size_bytes_max != 0) {
        geometry->size_bytes_max = user->size_bytes_max;
    }
    geometry->inline_bytes_max =
        user->block_bytes / 8 < CAPACITY_INLINE ? user->block_bytes / 8 : CAPACITY_INLINE;
}

static fl_status
geometry_get(struct engine *engine, const struct engine_options *options,
             struct heap_geometry *geometry)
{
    const struct fl_options *user = options->user;
    fl_status status = heap_probe(engine->map, geometry, options->report);

    if (status != FL_NOT_FOUND) {
        return status;
    }
    if (options->read_only || (user->flags & FL_OPEN_CREATE) == 0) {
        return FL_FAIL(FL_NOT_FOUND, "the file is empty: there is no store in it");
    }
    engine_geometry_wanted(user, engine->map->media.size_bytes_max, geometry);
    geometry->created_ms = engine_now_ms(engine);
    status = heap_format(engine->map, geometry);
    return status == FL_OK ? nosync_sync_file(engine->map) : status;
}

static fl_status
layers_open(struct engine *engine, const struct engine_options *options)
{
    const struct heap_options heap_options = {
        .blocks_ahead = engine->user.blocks_ahead,
        .reserve_blocks = ENGINE_RESERVE_BLOCKS,
        .read_only = engine->read_only,
        .size_bytes_max = engine->user.size_bytes_max,
        .report = options->report,
    };
    struct heap_geometry geometry;
    struct index_media media;

    fl_status status = geometry_get(engine, options, &geometry);

    if (status == FL_OK && geometry.ro_only && !engine->read_only) {
        status =
            FL_FAIL(FL_VERSION, "the store has a feature this library can't write beside: open it "
                                "read-only or use a newer library");
    }
    if (status == FL_OK) {
        status = heap_open(engine->map, &geometry, &heap_options, &engine->heap);
    }
    if (status == FL_OK &&
        heap_geometry(engine->heap)->size_bytes_max > engine->map->media.size_bytes_max) {
        status = FL_FAIL(FL_INVALID, "the mapping is smaller than the store may grow");
    }
    if (status == FL_OK) {
        status = log_create(engine->heap, &engine->log);
    }
    if (status == FL_OK) {
        status = epoch_create(&engine->epoch);
    }
    if (status == FL_OK) {
        status = index_create(engine_index_media(engine, &media), engine->epoch, &engine->index);
    }
    return status;
}

/* What can't be read was taken for zeros: say so, whatever that looked like. It may have been the end of the log. */
static fl_status
unreadable_check(struct engine *engine, const struct heap_report *report, fl_status status)
{
    const uint64_t first_unknown = UINT64_MAX;
    uint64_t first = first_unknown;
    uint64_t total = 0;
    uint64_t ranges = 0;
    uint64_t off = 0;
    uint64_t len = 0;

    while (nosync_bad_next(engine->map, &off, nosync_size_bytes(engine->map), &len)) {
        heap_report_finding(report, "unreadable", off, len,
                            "the file can't be read there (SIGBUS): older versions of keys may "
                            "show; run faultline-check --repair");
        first = first == first_unknown ? off : first;
        ranges++;
        total += len;
        off += len;
    }
    if (ranges == 0) {
        return status;
    }
    if (status == FL_OK && engine->salvage) {
        engine->lost_bytes += engine->lost_ranges == 0 ? total : 0;
        engine->lost_ranges += engine->lost_ranges == 0 ? ranges : 0;
        return FL_OK;
    }
    return status != FL_OK && status != FL_CORRUPT && status != FL_NOT_FOUND
               ? status
               : FL_FAIL(FL_CORRUPT,
                         "the file can't be read at offset %" PRIu64 " (%" PRIu64
                         " bytes in all, SIGBUS): run faultline-check --repair on it, or open it "
                         "for salvage",
                         first, total);
}

/* Read all that an open reads. Writes nothing, but to an empty file. */
static fl_status
load(struct engine *engine, const struct engine_options *options)
{
    uint64_t damaged = 0;
    const struct log_load how = {options->report, engine->salvage, &damaged};

    atomic_store(&engine->clock_floor_ms, heap_clock_get(engine->heap));
    pm_init(&engine->keeper_pm, heap_media(engine->heap));
    fl_status status = log_load(engine->log, &how);

    engine->lost_ranges = damaged;
    return status == FL_OK ? engine_load(engine, options->report) : status;
}

/* Say on media that the store is in use: from here to the next clean close a torn tail is to be expected.
 * `tail_off`: where the writers' log ended. */
static fl_status
root_mark(struct engine *engine, bool clean, uint64_t tail_off)
{
    struct heap_root root;

    heap_root_get(engine->heap, &root);
    root.flags = clean ? HEAP_ROOT_CLEAN : 0;
    root.lsn_next = log_lsn_next(engine->log);
    root.tail_off = tail_off;
    return heap_root_put(engine->heap, log_head_pm(engine->log, LOG_HEAD_MAIN), &root);
}

/* For writing, when all was read and nothing found damaged. What a SIGBUS may end. */
struct finishing {
    struct engine *engine;
    fl_status status;
};

static void
finish(void *context)
{
    struct finishing *f = context;

    f->status = log_load_finish(f->engine->log);
    if (f->status == FL_OK) {
        f->status = heap_open_finish(f->engine->heap);
    }
    if (f->status == FL_OK) {
        f->status = root_mark(f->engine, false, 0);
    }
}

static fl_status
threads_start(struct engine *engine)
{
    fl_status status = FL_OK;

    if (engine->map->media.mode == PM_STAGED && engine->user.background) {
        engine->async = true;
        status = engine_committer_start(engine);
    }
    if (status == FL_OK && engine->user.background) {
        status = heap_ahead_start(engine->heap);
    }
    if (status == FL_OK && engine->user.background) {
        status = engine_keeper_start(engine);
    }
    return status;
}

static void
locks_init(struct engine *engine)
{
    pthread_condattr_t monotonic;
    pthread_mutexattr_t adaptive;

    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    /* Held for a microsecond at a time but for a drain: spin a little before sleeping. */
    pthread_mutexattr_init(&adaptive);
    pthread_mutexattr_settype(&adaptive, PTHREAD_MUTEX_ADAPTIVE_NP);
    pthread_mutex_init(&engine->commit_lock, &adaptive);
    pthread_mutexattr_destroy(&adaptive);
    pthread_mutex_init(&engine->queue_lock, NULL);
    pthread_cond_init(&engine->queue_cond, NULL);
    pthread_mutex_init(&engine->keeper_lock, NULL);
    pthread_cond_init(&engine->keeper_cond, &monotonic);
    pthread_cond_init(&engine->room_cond, &monotonic);
    pthread_mutex_init(&engine->dead_lock, NULL);
    pthread_condattr_destroy(&monotonic);
}

static void
engine_destroy(struct engine *engine)
{
    engine_keeper_stop(engine);
    engine_committer_stop(engine);
    index_destroy(engine->index);
    epoch_destroy(engine->epoch);
    log_destroy(engine->log);
    heap_close(engine->heap);
    nosync_close(engine->map);
    expiry_deinit(&engine->expiry);
    free(engine->freeing);
    free(engine->dead_blobs);
    pthread_mutex_destroy(&engine->dead_lock);
    pthread_cond_destroy(&engine->room_cond);
    pthread_cond_destroy(&engine->keeper_cond);
    pthread_mutex_destroy(&engine->keeper_lock);
    pthread_cond_destroy(&engine->queue_cond);
    pthread_mutex_destroy(&engine->queue_lock);
    pthread_mutex_destroy(&engine->commit_lock);
    free(engine);
}

fl_status
engine_open(struct nosync_map *map, const struct engine_options *options, struct engine **out)
{
    const uint64_t begin_ns = clock_mono_ns();
    struct engine *engine = calloc(1, sizeof(*engine));

    *out = NULL;
    if (engine == NULL) {
        nosync_close(map);
        return FL_FAIL(FL_NO_MEMORY, "a store");
    }
    engine->map = map;
    engine->user = *options->user;
    engine->read_only = options->read_only;
    engine->salvage = options->salvage;
    locks_init(engine);
    atomic_store(&engine->random_state, begin_ns);
    struct finishing f = {engine, FL_OK};

    engine_shield_begin(engine);
    fl_status status = layers_open(engine, options);

    if (status == FL_OK) {
        status = load(engine, options);
    }
    status = unreadable_check(engine, options->report, status);
    engine_shield_end(engine);
    if (status == FL_OK && !engine->read_only) {
        status = engine_guarded(engine, finish, &f, &f.status);
    }
    if (status == FL_OK && !engine->read_only) {
        status = threads_start(engine);
    }
    if (status != FL_OK) {
        engine_destroy(engine);
        return status;
    }
    engine->open_ms = (clock_mono_ns() - begin_ns) / 1000000;
    *out = engine;
    return FL_OK;
}

/* What a SIGBUS may end. */
static void
close_cleanly(void *context)
{
    struct finishing *f = context;
    struct engine *engine = f->engine;
    const uint64_t tail_off = log_head_off(engine->log, LOG_HEAD_MAIN);

    if (atomic_load(&engine->clock_lease_ms) != 0) {
        /* Give back what is left of the lease: the next run starts at the present time, which nothing that was
         * judged by lies over. */
        f->status = heap_clock_put(engine->heap, &engine->keeper_pm, engine_now_ms(engine));
    }
    if (f->status == FL_OK) {
        f->status = log_seal_heads(engine->log);
    }
    if (f->status == FL_OK) {
        f->status = root_mark(engine, true, tail_off);
    }
    if (f->status == FL_OK) {
        f->status = nosync_sync_file(engine->map);
    }
}

fl_status
engine_close(struct engine *engine)
{
    struct finishing f = {engine, FL_OK};
    fl_status status = FL_OK;

    if (engine == NULL) {
        return FL_OK;
    }
    engine_keeper_stop(engine);
    engine_committer_stop(engine);
    if (!engine->read_only) {
        status = engine_sync(engine);
        if (status == FL_OK) {
            status = engine_guarded(engine, close_cleanly, &f, &f.status);
        }
    }
    engine_destroy(engine);
    return status;
}
