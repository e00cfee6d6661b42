/* Walking a segment's frames: where the log ends, what is torn, what is damaged. */
#include "storage/log/log_internal.h"

#include "base/bytes.h"
#include "base/fail.h"

#include <inttypes.h>
#include <string.h>

struct walk {
    const struct log *log;
    const struct log_segment *segment;
    const struct log_scan *scan;
    struct log_scan_result *result;
    uint32_t block;
    uint64_t start; /* file offset of the segment */
    uint64_t bytes; /* of the segment */
};

static struct log_seed
seed_at(const struct walk *walk, uint64_t pos)
{
    return (struct log_seed){walk->segment->nonce, walk->segment->base_lsn + pos};
}

static size_t
frame_at(const struct walk *walk, uint64_t pos, uint64_t limit, struct log_batch *batch)
{
    return log_frame_decode(walk->log->media->base + walk->start + pos, (size_t)(limit - pos),
                            seed_at(walk, pos), batch);
}

/* What may have to be read to tell that no record is at a place: longer ones are never written. It keeps a search
 * through bytes that look like headers from reading all the rest at each of them. */
static size_t
record_bytes_max(const struct walk *walk)
{
    return (size_t)heap_geometry(walk->log->heap)->inline_bytes_max + (size_t)2 * FL_KEY_BYTES_MAX +
           LOG_LINE_BYTES;
}

/* The next valid frame on a line behind `pos`, or `limit`. Stale bytes can't validate: the nonce is new. */
static uint64_t
find_frame(const struct walk *walk, uint64_t pos, uint64_t limit)
{
    const uint8_t *base = walk->log->media->base + walk->start;
    const size_t lone_max = record_bytes_max(walk);
    struct log_batch batch;

    for (pos = bytes_align_up(pos + 1, LOG_LINE_BYTES); pos + LOG_RECORD_BYTES <= limit;
         pos += LOG_LINE_BYTES) {
        const bool lone = base[pos + 5] >> 4 != LOG_KIND_BATCH;
        const uint64_t end = lone && limit - pos > lone_max ? pos + lone_max : limit;

        if (!log_end_decode(base + pos) && frame_at(walk, pos, end, &batch) != 0) {
            return pos;
        }
    }
    return limit;
}

static fl_status
visit_record(const struct walk *walk, uint64_t pos, const struct log_record *record)
{
    walk->result->records++;
    return walk->scan->record == NULL
               ? FL_OK
               : walk->scan->record(walk->scan->context, walk->block, walk->start + pos, record);
}

static fl_status
visit(const struct walk *walk, uint64_t pos, size_t bytes, struct log_batch batch)
{
    const uint8_t *base = walk->log->media->base + walk->start;
    const uint64_t end = pos + bytes;

    pos += batch.count > 0 ? LOG_BATCH_BYTES : 0;
    while (pos < end) {
        struct log_record record;

        if (!log_record_decode(base + pos, (size_t)(end - pos), seed_at(walk, pos), false,
                               &record)) {
            /* It verified a moment ago: somebody else writes to the file. */
            return FL_FAIL(FL_CORRUPT, "the file changes while it is read, at offset %" PRIu64,
                           walk->start + pos);
        }
        const fl_status status = visit_record(walk, pos, &record);

        if (status != FL_OK) {
            return status;
        }
        pos += record.bytes;
    }
    return FL_OK;
}

/* Records of a damaged batch that validate by themselves. They start at any byte: a damaged length hides where the
 * next one does. */
static fl_status
visit_remains(const struct walk *walk, uint64_t pos, uint64_t limit)
{
    const uint8_t *base = walk->log->media->base + walk->start;
    const size_t bytes_max = record_bytes_max(walk);

    while (pos + LOG_RECORD_BYTES <= limit) {
        const size_t cap = limit - pos < bytes_max ? (size_t)(limit - pos) : bytes_max;
        struct log_record record;

        if ((base[pos + 4] & LOG_FLAG_BATCHED) == 0 ||
            !log_record_decode(base + pos, cap, seed_at(walk, pos), true, &record)) {
            pos++;
            continue;
        }
        const fl_status status = visit_record(walk, pos, &record);

        if (status != FL_OK) {
            return status;
        }
        walk->result->damaged_bytes -= record.bytes;
        pos += record.bytes;
    }
    return FL_OK;
}

static fl_status
damage(const struct walk *walk, uint64_t pos, uint64_t next)
{
    const uint64_t off = walk->start + pos;

    heap_report_finding(walk->scan->report, "frame", off, next - pos,
                        "frames from LSN %" PRIu64 " to %" PRIu64
                        " don't validate, with valid ones or a seal behind them; older versions of "
                        "their keys may show; run faultline-check --repair",
                        walk->segment->base_lsn + pos, walk->segment->base_lsn + next);
    walk->result->damaged_bytes += next - pos;
    walk->result->damaged_ranges++;
    if (walk->scan->salvage) {
        return visit_remains(walk, pos, next);
    }
    return FL_FAIL(FL_CORRUPT,
                   "the log is damaged at file offset %" PRIu64 " (%" PRIu64
                   " bytes): run faultline-check --repair on the file, or open it for salvage",
                   off, next - pos);
}

fl_status
log_segment_scan(const struct log *log, uint32_t block, const struct log_scan *scan,
                 struct log_scan_result *result)
{
    const struct log_segment *segment = &log->segments[block];
    const struct walk walk = {log,
                              segment,
                              scan,
                              result,
                              block,
                              (uint64_t)block << log->block_shift,
                              log_segment_bytes(log, segment)};
    const uint64_t limit = segment->sealed ? segment->end : walk.bytes;
    uint64_t pos = LOG_HEADER_BYTES;

    memset(result, 0, sizeof(*result));
    result->end = pos;
    while (pos + LOG_RECORD_BYTES <= limit) {
        struct log_batch batch;
        const size_t bytes = frame_at(&walk, pos, limit, &batch);
        fl_status status = FL_OK;

        if (bytes > 0) {
            status = visit(&walk, pos, bytes, batch);
            pos = bytes_align_up(pos + bytes, LOG_LINE_BYTES);
            result->end = pos;
        } else {
            uint64_t next = find_frame(&walk, pos, limit);

            if (next == limit && !segment->sealed) {
                if (pos >= segment->marked) {
                    break; /* the end of the log, clean or torn */
                }
                next = segment->marked;
            }
            status = damage(&walk, pos, next);
            pos = next;
        }
        if (status != FL_OK) {
            return status;
        }
    }
    if (!segment->sealed) {
        const uint8_t *base = log->media->base + walk.start;

        for (uint64_t end = walk.bytes; end > result->end; end -= LOG_LINE_BYTES) {
            if (!bytes_are_zero(base + end - LOG_LINE_BYTES, LOG_LINE_BYTES)) {
                result->torn_bytes = end - result->end;
                break;
            }
        }
    }
    return FL_OK;
}

fl_status
log_seal(struct log *log, uint32_t block, uint64_t end, bool write)
{
    struct log_segment *segment = &log->segments[block];

    segment->end = end;
    segment->sealed = true;
    if (!write) {
        return FL_OK;
    }
    struct pm *pm = &log->heads[segment->head < LOG_HEADS ? segment->head : 0].pm;

    pm_store_u64_nofence(pm, ((uint64_t)block << log->block_shift) + LOG_SEAL_OFF,
                         log_tail_encode(log, segment->nonce, LOG_SEAL_OFF, end));
    /* order: the seal before any new segment. Torn bytes behind it are nobody's from here on. */
    return pm_drain(pm);
}

fl_status
log_seal_heads(struct log *log)
{
    for (int i = 0; i < LOG_HEADS; i++) {
        struct log_head *head = &log->heads[i];
        const uint32_t block = head->block;

        if (block == 0) {
            continue;
        }
        const fl_status status = log_seal(log, block, head->pos, true);

        if (status != FL_OK) {
            return status;
        }
        head->block = 0;
        atomic_store_explicit(&head->room, 0, memory_order_relaxed);
    }
    return FL_OK;
}
