/* What only a loaded store can tell: the index against the log, big values, the accounts. */
#include "storage/engine/engine_internal.h"

#include "base/fail.h"

#include <inttypes.h>

enum { SCAN_STEP = 128 };

static void
verify_key(struct engine *engine, const struct heap_report *report, index_loc loc,
           struct log_record *record, uint64_t *live)
{
    const uint64_t off = loc & INDEX_LOC_OFF_MASK;
    struct log_segment *segment = NULL;
    struct fl_bytes value;
    index_loc found = 0;

    if (log_decode(engine->log, off, true, record) != FL_OK) {
        heap_report_finding(report, "record", off, 0, "a record that the index names is damaged");
        return;
    }
    *live += log_account_bytes(record);
    if (engine_value(engine, loc, record, &value, &segment) != FL_OK) {
        heap_report_finding(report, "blob", off, 0, "%s", fl_last_error());
    }
    const struct fl_key key = engine_record_key(record);

    if (!index_find(engine->index, index_hash(engine->index, key), key, INDEX_LSN_LATEST, &found) ||
        found != loc) {
        heap_report_finding(report, "index", off, 0,
                            "a key of the ordered index is not found by its hash");
    }
}

/* Key after key of one space. */
static void
verify_space(struct engine *engine, const struct heap_report *report, uint8_t space, uint64_t *live)
{
    struct fl_key from = fl_key_in(space, "", 0);
    index_loc locs[SCAN_STEP];
    uint64_t keys = 0;
    size_t found;

    do {
        struct log_record record = {.key = {NULL, 0}};
        bool advanced = false;

        found = index_scan(engine->index, from, from.len == 0, INDEX_FORWARD, INDEX_LSN_LATEST,
                           locs, SCAN_STEP);
        for (size_t i = 0; i < found; i++) {
            record.key.ptr = NULL;
            verify_key(engine, report, locs[i], &record, live);
            if (record.key.ptr != NULL) {
                from = fl_key_in(space, record.key.ptr, record.key.len);
                advanced = true;
            }
        }
        keys += found;
        if (!advanced) {
            break;
        }
    } while (found == SCAN_STEP);
    if (keys != index_count(engine->index, space)) {
        heap_report_finding(report, "index", 0, 0,
                            "space %u iterates %" PRIu64 " keys but counts %" PRIu64, space, keys,
                            index_count(engine->index, space));
    }
}

/* Space that nobody uses and nobody can free. */
static void
verify_owner(struct engine *engine, const struct heap_report *report, uint32_t block)
{
    const struct log_segment *segment = log_segment_of(engine->log, block);
    const enum heap_state state = heap_entry_get(engine->heap, block).state;

    if ((state == HEAP_LOG || state == HEAP_BLOB || state == HEAP_CONT) &&
        segment->use == LOG_USE_NONE && !segment->dropped) {
        heap_report_finding(report, "table-word",
                            heap_block_off(heap_geometry(engine->heap), block), 0,
                            "block %u is taken, but by no segment", block);
    }
}

fl_status
engine_verify(struct engine *engine, const struct heap_report *report)
{
    uint64_t live = 0;
    uint64_t blobs = 0;
    const uint64_t account = atomic_load(&engine->live_bytes) + atomic_load(&engine->blob_bytes);
    const uint32_t total = heap_blocks_total(engine->heap);

    engine_shield_begin(engine);
    if (index_verify(engine->index) != FL_OK) {
        heap_report_finding(report, "index", 0, 0, "%s", fl_last_error());
    }
    engine_shield_end(engine);
    const uint32_t token = engine_enter(engine);

    for (unsigned space = 0; space < 256; space++) {
        if (index_count(engine->index, (uint8_t)space) > 0) {
            verify_space(engine, report, (uint8_t)space, &live);
        }
    }
    engine_exit(engine, token);
    for (uint32_t block = 2; block < total; block++) {
        const struct log_segment *segment = log_segment_of(engine->log, block);

        verify_owner(engine, report, block);
        if (segment->use == LOG_USE_BLOB && atomic_load(&segment->refs) > 0) {
            blobs += atomic_load(&segment->live_bytes);
            if (segment->adopted) {
                heap_report_finding(report, "table-word",
                                    heap_block_off(heap_geometry(engine->heap), block), 0,
                                    "block %u holds a value that the segment table does not know; "
                                    "run faultline-check --repair",
                                    block);
            }
        }
    }
    if (live + blobs != account && engine->lost_ranges == 0) {
        heap_report_finding(report, "accounts", 0, 0,
                            "live bytes are %" PRIu64 ", counted %" PRIu64, account, live + blobs);
    }
    return FL_OK;
}
