#include "storage/engine/engine_internal.h"

#include <string.h>

static void
counts_add(struct fl_stats *stats, const struct pm_counts *counts)
{
    stats->lines_flushed_total += atomic_load_explicit(&counts->lines, memory_order_relaxed);
    stats->fences_total += atomic_load_explicit(&counts->fences, memory_order_relaxed);
    stats->syncs_total += atomic_load_explicit(&counts->syncs, memory_order_relaxed);
}

static void
log_stats(struct engine *engine, struct fl_stats *stats)
{
    for (int id = 0; id < LOG_HEADS; id++) {
        struct log_head_stats head;

        log_head_stats(engine->log, (enum log_head_id)id, &head);
        counts_add(stats, head.counts);
        if (id == LOG_HEAD_MAIN) {
            stats->commits_total = head.frames;
            stats->records_total = head.records;
            stats->segment_changes_total = head.segment_changes;
        }
    }
}

void
engine_stats(struct engine *engine, struct fl_stats *stats)
{
    struct heap_stats heap;

    heap_stats_get(engine->heap, &heap);
    log_stats(engine, stats);
    counts_add(stats, &engine->keeper_pm.counts);
    counts_add(stats, heap.counts);
    stats->mapping = engine->map->grant.mapping;
    stats->durability = engine->map->grant.durability;
    memcpy(stats->mapping_detail, engine->map->grant.detail, sizeof(stats->mapping_detail));
    stats->block_bytes = heap_geometry(engine->heap)->block_bytes;
    stats->inline_bytes_max = heap_geometry(engine->heap)->inline_bytes_max;
    stats->blocks_total = heap.blocks_total;
    stats->blocks_owned = heap.blocks_owned;
    stats->blocks_ahead = heap.blocks_ready;
    stats->put_path_waits_total = heap.takes_waited;
    stats->put_path_faults_total = heap.writers_faulted;
    stats->file_bytes = nosync_file_bytes(engine->map);
    stats->live_bytes = atomic_load(&engine->live_bytes) + atomic_load(&engine->blob_bytes);
    stats->cleaner_copied_bytes_total = atomic_load(&engine->copied_bytes);
    stats->cleaner_freed_blocks_total = atomic_load(&engine->freed_blocks);
    stats->expired_total = atomic_load(&engine->expired_total);
    for (unsigned space = 0; space < 256; space++) {
        stats->keys_total += index_count(engine->index, (uint8_t)space);
    }
    stats->keys_expiring = atomic_load(&engine->live_deadlines);
    stats->index_dram_bytes = index_dram_bytes(engine->index);
    stats->pins = index_pins(engine->index, &stats->pins_versions);
    stats->open_ms = engine->open_ms;
    stats->open_records = engine->open_records;
    stats->read_only = engine->read_only || atomic_load(&engine->failed) != FL_OK;
    stats->recovered = engine->recovered;
    stats->lost_ranges = engine->lost_ranges;
    stats->lost_bytes = engine->lost_bytes;
}
