/* Verifying a file, and salvaging what validates. */
#include "storage/api/store.h"

#include <faultline/check.h>
#include <faultline/cursor.h>

#include "base/fail.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH_BYTES_MAX = 512 * 1024 };

struct checking {
    const struct fl_check_options *options;
    struct fl_check_report *report;
};

static void
finding(void *context, const char *rule, uint64_t off, uint64_t len, const char *text)
{
    struct checking *checking = context;
    const struct fl_check_finding found = {rule, off, len, text};

    checking->report->findings++;
    if (checking->options->finding != NULL) {
        checking->options->finding(checking->options->context, &found);
    }
}

static const struct heap_geometry *
store_geometry(const struct fl_store *store)
{
    return heap_geometry(log_heap(engine_log(store->engine)));
}

static fl_status
check_options(const struct fl_check_options *options)
{
    if (options->struct_bytes != sizeof(*options)) {
        return FL_FAIL(FL_INVALID, "options of %zu bytes: set struct_bytes", options->struct_bytes);
    }
    return (options->flags & ~(uint32_t)FL_OPEN_SIGBUS) == 0
               ? FL_OK
               : FL_FAIL(FL_INVALID, "flags %#x: FL_OPEN_SIGBUS is all there is for a check",
                         (unsigned)options->flags);
}

static void
salvage_options(const struct fl_check_options *options, struct fl_options *open)
{
    fl_options_init(open);
    open->flags = FL_OPEN_READ_ONLY | FL_OPEN_SALVAGE | options->flags;
    open->durability_min = FL_DURABILITY_PROCESS;
    /* Less than any store's: the address space is what the file's geometry asks for, or, where that can't be read, what
     * the file has; never the default. */
    open->size_bytes_max = 1;
    open->progress = options->progress;
    open->context = options->context;
}

static void
report_fill(struct engine *engine, struct fl_check_report *report)
{
    struct fl_stats stats;

    memset(&stats, 0, sizeof(stats));
    engine_stats(engine, &stats);
    report->segments = stats.blocks_owned;
    report->records = stats.open_records;
    report->keys = stats.keys_total;
    report->bytes_checked = stats.blocks_total * stats.block_bytes;
}

fl_status
fl_check(const char *path, const struct fl_check_options *options, struct fl_check_report *report)
{
    struct checking checking = {options, report};
    const struct heap_report heap_report = {&checking, finding};
    struct heap_geometry geometry;
    struct nosync_map *map = NULL;
    struct engine *engine = NULL;
    struct fl_options open;

    memset(report, 0, sizeof(*report));
    fl_status status = check_options(options);

    if (status != FL_OK) {
        return status;
    }
    salvage_options(options, &open);
    status = store_map_open(path, &open, &map);
    if (status != FL_OK) {
        return status;
    }
    const bool store = heap_probe(map, &geometry, NULL) == FL_OK;
    const uint64_t bytes = nosync_size_bytes(map);
    const struct engine_options engine_options = {&open, &heap_report, true, true};

    status = engine_open(map, &engine_options, &engine);
    if (status == FL_OK) {
        status = engine_verify(engine, &heap_report);
        report_fill(engine, report);
        (void)!engine_close(engine);
    } else if (status == FL_CORRUPT && store) {
        /* It is a store, of which not enough is left to go on. */
        finding(&checking, "store", 0, bytes, fl_last_error());
        status = FL_OK;
    }
    return status;
}

struct copying {
    struct fl_store *from, *to;
    struct fl_batch *batch;
    size_t batch_bytes_max;
    struct fl_check_report *report;
};

static fl_status
copy_value(struct copying *c, struct fl_key key, const struct fl_view *view)
{
    const struct fl_put_options options = {.deadline_ms = view->deadline_ms, .type = view->type};
    const struct engine *from = c->from->engine;
    const size_t mark = fl_batch_mark(c->batch);

    engine_shield_begin(from);
    const fl_status status = fl_batch_put(c->batch, key, view->value, &options);

    if (status == FL_OK && engine_is_bad(from, view->value)) {
        fl_batch_rollback(c->batch, mark); /* since it was checked */
    }
    engine_shield_end(from);
    return status;
}

static fl_status
copy_key(struct copying *c, struct fl_cursor *cursor, uint8_t space)
{
    const struct fl_bytes key = fl_cursor_key(cursor);
    struct fl_view view;

    fl_status status = fl_cursor_view(cursor, &view);

    if (status == FL_CORRUPT || status == FL_NOT_FOUND || status == FL_IO) {
        return FL_OK; /* damaged, or it can't be read: left behind, it was reported */
    }
    if (status == FL_OK) {
        status = copy_value(c, fl_key_in(space, key.ptr, key.len), &view);
    }
    if (status == FL_OK && fl_batch_bytes(c->batch) > c->batch_bytes_max) {
        status = fl_batch_commit(c->batch);
    }
    c->report->keys++;
    return status;
}

static fl_status
copy_space(struct copying *c, uint8_t space)
{
    const struct fl_cursor_options options = {.space = space, .live = true};
    struct fl_cursor *cursor = NULL;
    fl_status status = fl_cursor_open(c->from, &options, &cursor);

    if (status != FL_OK) {
        return status;
    }
    status = fl_cursor_first(cursor);
    while (status == FL_OK) {
        status = copy_key(c, cursor, space);
        if (status == FL_OK) {
            status = fl_cursor_next(cursor);
        }
    }
    fl_cursor_close(cursor);
    /* FL_CORRUPT at the end: some were passed over, as reported. */
    return status == FL_END || status == FL_CORRUPT ? FL_OK : status;
}

static fl_status
copy_all(struct fl_store *from, struct fl_store *to, struct fl_check_report *report)
{
    const size_t batch_bytes = 16 * (size_t)store_geometry(from)->block_bytes;
    struct copying c = {.from = from, .to = to, .report = report};
    fl_status status = fl_batch_create(to, &c.batch);

    /* Contiguous blocks for a frame are found easily. */
    c.batch_bytes_max = batch_bytes < BATCH_BYTES_MAX ? batch_bytes : BATCH_BYTES_MAX;

    report->keys = 0;
    for (unsigned space = 0; space < 256 && status == FL_OK; space++) {
        if (fl_count(from, (uint8_t)space) > 0) {
            status = copy_space(&c, (uint8_t)space);
        }
    }
    if (status == FL_OK) {
        status = fl_batch_commit(c.batch);
    }
    fl_batch_destroy(c.batch);
    return status;
}

/* A new store in `repaired` with all that can be read from `from`. */
static fl_status
salvage(struct fl_store *from, const char *path, const char *repaired,
        struct fl_check_report *report)
{
    const struct heap_geometry *geometry = store_geometry(from);
    struct fl_store *to = NULL;
    struct fl_options open;

    fl_options_init(&open);
    open.flags = FL_OPEN_CREATE | FL_OPEN_EXCLUSIVE;
    open.durability_min = FL_DURABILITY_PROCESS;
    open.block_bytes = geometry->block_bytes;
    open.size_bytes_max = geometry->size_bytes_max;
    fl_status status = fl_open(repaired, &open, &to);

    if (status == FL_EXISTS) {
        return FL_FAIL(FL_EXISTS,
                       "%s is there from a repair that was interrupted: see what it is, and "
                       "move it away",
                       repaired);
    }
    if (status == FL_OK) {
        status = nosync_name_permit(repaired, path);
    }
    if (status == FL_OK) {
        status = copy_all(from, to, report);
    }
    const fl_status closed = fl_close(to);

    if (status == FL_OK) {
        status = closed;
    }
    if (status != FL_OK) {
        (void)!nosync_name_remove(repaired);
    }
    return status;
}

/* The damaged file stays locked until the other one has its name. */
static fl_status
repair(const char *path, const struct fl_check_options *options, const char *repaired,
       const char *damaged, struct fl_check_report *report)
{
    struct fl_store *from = NULL;
    struct fl_options open;
    bool there = false;

    salvage_options(options, &open);
    fl_status status = fl_open(path, &open, &from);

    if (status == FL_OK) {
        status = nosync_name_exists(damaged, &there);
    }
    if (status == FL_OK && there) {
        status = FL_FAIL(FL_EXISTS, "%s is there from an earlier repair: move it away", damaged);
    }
    if (status == FL_OK && store_geometry(from)->ro_only) {
        status = FL_FAIL(FL_VERSION,
                         "%s has features that this version may read but not write: repair it with "
                         "the version that wrote it",
                         path);
    }
    if (status == FL_OK) {
        status = salvage(from, path, repaired, report);
    }
    if (status == FL_OK) {
        status = nosync_name_replace(path, repaired, damaged);
    }
    (void)!fl_close(from);
    return status;
}

static fl_status
repair_real(const char *path, const struct fl_check_options *options,
            struct fl_check_report *report)
{
    char *repaired = NULL;
    char *damaged = NULL;

    if (asprintf(&repaired, "%s.repaired", path) < 0) {
        return FL_FAIL(FL_NO_MEMORY, "a file name");
    }
    if (asprintf(&damaged, "%s.damaged", path) < 0) {
        free(repaired);
        return FL_FAIL(FL_NO_MEMORY, "a file name");
    }
    const fl_status status = repair(path, options, repaired, damaged, report);

    free(repaired);
    free(damaged);
    return status;
}

fl_status
fl_check_repair(const char *path, const struct fl_check_options *options,
                struct fl_check_report *report)
{
    fl_status status = fl_check(path, options, report);

    if (status != FL_OK || report->findings == 0) {
        return status;
    }
    /* What a link leads to is repaired, beside it and not beside the link. */
    char *real = NULL;

    status = nosync_name_real(path, &real);
    if (status == FL_OK) {
        status = repair_real(real, options, report);
        free(real);
    }
    return status;
}
