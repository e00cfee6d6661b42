#include "storage/api/store.h"

#include "base/fail.h"
#include "storage/heap/super.h"
#include "storage/log/log_layout.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCK_BYTES_DEFAULT = 2 * 1024 * 1024, MAP_ALIGN = 2 * 1024 * 1024 };

#define SIZE_BYTES_MAX_DEFAULT (UINT64_C(1) << 40)

void
fl_options_init(struct fl_options *options)
{
    *options = (struct fl_options){
        .struct_bytes = sizeof(*options),
        .flags = FL_OPEN_CREATE,
        .mapping = FL_MAPPING_AUTO,
        .durability_min = FL_DURABILITY_POWERCUT,
        .block_bytes = BLOCK_BYTES_DEFAULT,
        .size_bytes_max = 0, /* not asked for: a number would raise a store that has less */
        .blocks_ahead = 4,
        .verify_reads = true,
        .background = true,
    };
}

static fl_status
options_check(const struct fl_options *options)
{
    if (options->struct_bytes != sizeof(*options)) {
        return FL_FAIL(FL_INVALID,
                       "options of %zu bytes: call fl_options_init(), and use the header "
                       "of this library",
                       options->struct_bytes);
    }
    if ((options->flags & FL_OPEN_SALVAGE) != 0 && (options->flags & FL_OPEN_READ_ONLY) == 0) {
        return FL_FAIL(FL_INVALID, "FL_OPEN_SALVAGE goes with FL_OPEN_READ_ONLY");
    }
    if (options->durability_min < FL_DURABILITY_PROCESS ||
        options->durability_min > FL_DURABILITY_POWERCUT) {
        return FL_FAIL(FL_INVALID, "durability_min %d is none of the three",
                       (int)options->durability_min);
    }
    return FL_OK;
}

/* What a file that is to be created would be made of is checked first: a wrong wish leaves none behind. */
static fl_status
creation_check(const char *path, const struct fl_options *options)
{
    struct heap_geometry geometry;
    struct stat st;

    if ((options->flags & FL_OPEN_READ_ONLY) != 0 || (options->flags & FL_OPEN_CREATE) == 0 ||
        (stat(path, &st) == 0 && st.st_size > 0)) {
        return FL_OK;
    }
    engine_geometry_wanted(options, SIZE_BYTES_MAX_DEFAULT, &geometry);
    return super_geometry_check(&geometry);
}

/* The address space to reserve: the largest of what the file may grow to and what the options raise that to. */
fl_status
store_map_open(const char *path, const struct fl_options *options, struct nosync_map **out)
{
    const bool read_only = (options->flags & FL_OPEN_READ_ONLY) != 0;
    struct nosync_request request = {
        .path = path,
        .mapping = options->mapping,
        .durability_min = options->durability_min,
        .create = !read_only && (options->flags & FL_OPEN_CREATE) != 0,
        .exclusive = (options->flags & FL_OPEN_EXCLUSIVE) != 0,
        .read_only = read_only,
        .sigbus = (options->flags & FL_OPEN_SIGBUS) != 0,
        .size_bytes_max =
            options->size_bytes_max != 0 ? options->size_bytes_max : SIZE_BYTES_MAX_DEFAULT,
        .map_align = MAP_ALIGN,
        .block_bytes = options->block_bytes,
    };
    struct heap_geometry geometry;
    struct stat st;

    if (stat(path, &st) == 0 && (uint64_t)st.st_size > request.size_bytes_max) {
        request.size_bytes_max = (uint64_t)st.st_size;
    }
    fl_status status = nosync_open(&request, out);

    if (status != FL_OK || heap_probe(*out, &geometry, NULL) != FL_OK ||
        geometry.size_bytes_max <= request.size_bytes_max) {
        return status;
    }
    nosync_close(*out);
    request.size_bytes_max = geometry.size_bytes_max;
    request.exclusive = false;
    return nosync_open(&request, out);
}

/* A batch is one frame, and that lies in blocks side by side: those that one table block describes, without two. */
static size_t
batch_bytes_max(const struct heap_geometry *geometry)
{
    const uint64_t run = geometry->block_bytes / HEAP_ENTRY_BYTES - 2;
    const uint64_t bytes = run * geometry->block_bytes - LOG_HEADER_BYTES - LOG_BATCH_BYTES;

    return bytes < FL_BATCH_BYTES_MAX ? (size_t)bytes : FL_BATCH_BYTES_MAX;
}

static fl_status
store_create(struct engine *engine, const struct fl_options *options, struct fl_store **out)
{
    struct fl_store *store = calloc(1, sizeof(*store));

    if (store == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "a store");
    }
    store->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (store->event_fd < 0) {
        free(store);
        return FL_FAIL_ERRNO(FL_IO, "eventfd");
    }
    const struct heap_geometry *geometry = heap_geometry(log_heap(engine_log(engine)));

    store->engine = engine;
    store->background = options->background;
    store->inline_bytes_max = geometry->inline_bytes_max;
    store->batch_bytes_max = batch_bytes_max(geometry);
    pthread_mutex_init(&store->lock, NULL);
    pthread_cond_init(&store->durable_cond, NULL);
    *out = store;
    return FL_OK;
}

/* Damage that an open can do without what it hit: one of two superblocks, the clock's mark. It doesn't fail. */
static void
on_finding(void *context, const char *rule, uint64_t off, uint64_t len, const char *text)
{
    const struct fl_options *options = context;
    char line[256];

    if (options->log != NULL) {
        snprintf(line, sizeof(line),
                 "damage (%s) at file offset %" PRIu64 ", %" PRIu64
                 " bytes: %s; faultline-check tells more",
                 rule, off, len, text);
        options->log(options->context, ENGINE_LOG_WARNING, line);
    }
}

fl_status
store_open_map(struct nosync_map *map, const struct fl_options *options, struct fl_store **out)
{
    const struct heap_report report = {(void *)(uintptr_t)options, on_finding};
    const struct engine_options engine_options = {
        .user = options,
        .report = &report,
        .read_only = (options->flags & FL_OPEN_READ_ONLY) != 0,
        .salvage = (options->flags & FL_OPEN_SALVAGE) != 0,
    };
    struct engine *engine = NULL;

    *out = NULL;
    fl_status status = engine_open(map, &engine_options, &engine);

    if (status == FL_OK) {
        status = store_create(engine, options, out);
        if (status != FL_OK) {
            (void)!engine_close(engine);
        }
    }
    return status;
}

fl_status
fl_open(const char *path, const struct fl_options *options, struct fl_store **out)
{
    struct fl_options defaults;
    struct nosync_map *map = NULL;

    *out = NULL;
    if (options == NULL) {
        fl_options_init(&defaults);
        options = &defaults;
    }
    fl_status status = options_check(options);

    if (status == FL_OK) {
        status = creation_check(path, options);
    }
    if (status == FL_OK) {
        status = store_map_open(path, options, &map);
    }
    return status == FL_OK ? store_open_map(map, options, out) : status;
}

/* Of all that was submitted and is not in flight any more. */
static fl_status
submitted_status(const struct fl_store *store)
{
    return atomic_load(&store->commit_status) == FL_OK
               ? FL_OK
               : FL_FAIL(FL_IO, "a batch that was submitted, and each that was after it, failed");
}

fl_status
fl_close(struct fl_store *store)
{
    if (store == NULL) {
        return FL_OK;
    }
    fl_status status = engine_close(store->engine);

    status = status == FL_OK ? submitted_status(store) : status;
    store_pool_drain(store);
    close(store->event_fd);
    pthread_cond_destroy(&store->durable_cond);
    pthread_mutex_destroy(&store->lock);
    free(store);
    return status;
}

const char *
fl_mapping_name(enum fl_mapping mapping)
{
    static const char *const names[] = {"auto", "dax", "page", "volatile", "model"};

    return (unsigned)mapping < sizeof(names) / sizeof(names[0]) ? names[mapping] : "?";
}

const char *
fl_durability_name(enum fl_durability durability)
{
    switch (durability) {
    case FL_DURABILITY_PROCESS:
        return "process";
    case FL_DURABILITY_POWERCUT_UNVERIFIED:
        return "powercut (unverified)";
    case FL_DURABILITY_POWERCUT:
        return "powercut";
    default:
        return "?";
    }
}

const char *
fl_version(void)
{
    return FL_VERSION_TEXT;
}

void
fl_stats(struct fl_store *store, struct fl_stats *stats)
{
    struct fl_stats full;

    memset(&full, 0, sizeof(full));
    engine_stats(store->engine, &full);
    full.struct_bytes = stats->struct_bytes < sizeof(full) ? stats->struct_bytes : sizeof(full);
    memcpy(stats, &full, full.struct_bytes);
}

uint64_t
fl_now_ms(struct fl_store *store)
{
    return engine_now_ms(store->engine);
}

fl_status
fl_sync(struct fl_store *store)
{
    const fl_status status = engine_sync(store->engine);

    if (status != FL_OK) {
        return FL_FAIL(status, "a write failed: nothing more is written; close the store and open "
                               "it again");
    }
    return submitted_status(store);
}

fl_status
fl_maintain(struct fl_store *store)
{
    if (store->background) {
        return FL_FAIL(FL_INVALID, "the store's own threads do its background work: open it with "
                                   "options.background off to do it by hand");
    }
    return engine_maintain(store->engine);
}

fl_status
fl_snapshot_create(struct fl_store *store, struct fl_snapshot **out)
{
    struct fl_snapshot *snapshot = calloc(1, sizeof(*snapshot));

    *out = NULL;
    if (snapshot == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "a snapshot");
    }
    snapshot->store = store;
    snapshot->now_ms = engine_now_ms(store->engine);
    const fl_status status = engine_pin(store->engine, &snapshot->lsn);

    if (status != FL_OK) {
        free(snapshot);
        return status;
    }
    *out = snapshot;
    return FL_OK;
}

void
fl_snapshot_release(struct fl_snapshot *snapshot)
{
    if (snapshot != NULL) {
        engine_unpin(snapshot->store->engine, snapshot->lsn);
        free(snapshot);
    }
}
