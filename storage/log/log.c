#include "storage/log/log_internal.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/fail.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

fl_status
log_nonce_make(uint64_t *nonce)
{
    if (getrandom(nonce, sizeof(*nonce), 0) != (ssize_t)sizeof(*nonce)) {
        return FL_FAIL_ERRNO(FL_IO, "getrandom");
    }
    return FL_OK;
}

uint32_t
log_header_crc(const struct log *log, uint32_t block, const struct log_header_media *header)
{
    uint8_t place[8];

    bytes_put_le32(place, log->uuid_crc);
    bytes_put_le32(place + 4, block);
    return crc32c(crc32c(0, place, sizeof(place)), header, LOG_HEADER_CRC_BYTES);
}

uint64_t
log_tail_encode(const struct log *log, uint64_t nonce, unsigned word_off, uint64_t end)
{
    const uint64_t lines = end / LOG_LINE_BYTES;
    uint8_t bytes[16];

    FL_ASSERT(end % LOG_LINE_BYTES == 0 && lines <= UINT32_MAX);
    bytes_put_le64(bytes, nonce ^ log->uuid_crc);
    bytes_put_le64(bytes + 8, lines | (uint64_t)word_off << 32);
    return lines | (uint64_t)crc32c(0, bytes, sizeof(bytes)) << 32;
}

bool
log_tail_decode(const struct log *log, const struct log_segment *segment, unsigned word_off,
                uint64_t word, uint64_t *end)
{
    *end = (word & UINT32_MAX) * LOG_LINE_BYTES;
    return word == log_tail_encode(log, segment->nonce, word_off, *end) &&
           *end >= LOG_HEADER_BYTES && *end <= log_segment_bytes(log, segment);
}

fl_status
log_create(struct heap *heap, struct log **out)
{
    const struct heap_geometry *geometry = heap_geometry(heap);
    struct log *log = calloc(1, sizeof(*log));
    struct heap_root root;

    *out = NULL;
    if (log == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "a log");
    }
    log->heap = heap;
    log->media = heap_media(heap);
    log->block_bytes = geometry->block_bytes;
    log->block_shift = (unsigned)__builtin_ctz(geometry->block_bytes);
    log->blocks_max = (uint32_t)(geometry->size_bytes_max / geometry->block_bytes);
    log->uuid_crc = crc32c(0, geometry->uuid, sizeof(geometry->uuid));
    pthread_mutex_init(&log->chain_lock, NULL);
    heap_root_get(heap, &root);
    atomic_init(&log->lsn_next, root.lsn_next > 4096 ? root.lsn_next : 4096);
    atomic_init(&log->lsn_main, log->lsn_next);
    for (int i = 0; i < LOG_HEADS; i++) {
        pm_init(&log->heads[i].pm, log->media);
    }
    log->segments = mmap(NULL, log->blocks_max * sizeof(log->segments[0]), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (log->segments == MAP_FAILED) {
        const uint32_t blocks_max = log->blocks_max;

        log->segments = NULL;
        log_destroy(log);
        return FL_FAIL(FL_NO_MEMORY, "states of %u segments", blocks_max);
    }
    const fl_status status = log_dead_init(log);

    if (status != FL_OK) {
        log_destroy(log);
        return status;
    }
    *out = log;
    return FL_OK;
}

void
log_destroy(struct log *log)
{
    if (log == NULL) {
        return;
    }
    for (int i = 0; i < LOG_HEADS; i++) {
        free(log->heads[i].frame);
    }
    if (log->segments != NULL) {
        munmap(log->segments, log->blocks_max * sizeof(log->segments[0]));
    }
    log_dead_deinit(log);
    pthread_mutex_destroy(&log->chain_lock);
    free(log);
}

struct heap *
log_heap(const struct log *log)
{
    return log->heap;
}

struct log_segment *
log_segment_of(const struct log *log, uint32_t block)
{
    FL_ASSERT(block < log->blocks_max);
    return &log->segments[block];
}

struct log_segment *
log_segment_at(const struct log *log, uint64_t off, uint32_t *block)
{
    const uint64_t index = off >> log->block_shift;

    if (index >= log->blocks_max) {
        return NULL;
    }
    struct log_segment *segment = &log->segments[index];

    *block = (uint32_t)index;
    if (segment->use == LOG_USE_CONT) {
        *block = segment->first;
        segment = &log->segments[segment->first];
    }
    return segment->use == LOG_USE_NONE ? NULL : segment;
}

void
log_segment_note(struct log *log, uint32_t block, uint32_t blocks, enum log_use use)
{
    log_dead_forget(log, block, blocks);
    for (uint32_t i = 0; i < blocks; i++) {
        struct log_segment *segment = &log->segments[block + i];

        memset(segment, 0, sizeof(*segment));
        segment->use = (uint8_t)(i == 0 ? use : use == LOG_USE_NONE ? LOG_USE_NONE : LOG_USE_CONT);
        segment->first = block;
        segment->blocks = i == 0 ? blocks : 0;
    }
}

/* The record at `off`; false if it can't be one. */
static bool
decode_at(const struct log *log, uint64_t off, bool verify, struct log_record *record)
{
    uint32_t block = 0;
    const struct log_segment *segment = log_segment_at(log, off, &block);

    if (segment == NULL || segment->use != LOG_USE_LOG) {
        return false;
    }
    const uint64_t start = (uint64_t)block << log->block_shift;
    const struct log_seed seed = {segment->nonce, segment->base_lsn + (off - start)};

    return log_record_decode(log->media->base + off,
                             (size_t)(start + log_segment_bytes(log, segment) - off), seed, verify,
                             record);
}

fl_status
log_decode(const struct log *log, uint64_t off, bool verify, struct log_record *record)
{
    if (!decode_at(log, off, verify, record)) {
        return FL_FAIL(
            FL_CORRUPT,
            "the record at file offset %" PRIu64 " is damaged; run faultline-check --repair", off);
    }
    return FL_OK;
}

bool
log_peek(const struct log *log, uint64_t off, struct log_record *record)
{
    return decode_at(log, off, false, record);
}

uint64_t
log_account_bytes(const struct log_record *record)
{
    return record->batched ? record->bytes : bytes_align_up(record->bytes, LOG_LINE_BYTES);
}

uint64_t
log_lsn_main(const struct log *log)
{
    return atomic_load_explicit(&log->lsn_main, memory_order_acquire);
}

uint64_t
log_lsn_next(const struct log *log)
{
    return atomic_load_explicit(&log->lsn_next, memory_order_relaxed);
}

void
log_lsn_raise(struct log *log, uint64_t lsn)
{
    if (lsn >= atomic_load(&log->lsn_next)) {
        atomic_store(&log->lsn_next, lsn + 1);
        atomic_store(&log->lsn_main, lsn + 1);
    }
}

struct pm *
log_head_pm(struct log *log, enum log_head_id id)
{
    return &log->heads[id].pm;
}

void
log_head_stats(const struct log *log, enum log_head_id id, struct log_head_stats *stats)
{
    const struct log_head *head = &log->heads[id];

    stats->counts = &head->pm.counts;
    stats->frames = atomic_load_explicit(&head->frames, memory_order_relaxed);
    stats->records = atomic_load_explicit(&head->records, memory_order_relaxed);
    stats->segment_changes = atomic_load_explicit(&head->changes, memory_order_relaxed);
}

void
log_copies_begin(struct log *log)
{
    log->lsn_copies = log_lsn_main(log);
}

uint64_t
log_open_lsn_min(const struct log *log, uint32_t except, uint64_t *next)
{
    struct log *mutable_log = (struct log *)(uintptr_t)log;
    const uint32_t total = heap_blocks_total(log->heap);
    uint64_t min = UINT64_MAX;
    uint64_t second = UINT64_MAX;

    pthread_mutex_lock(&mutable_log->chain_lock);
    for (uint32_t block = 2; block < total; block++) {
        const struct log_segment *segment = &log->segments[block];

        if (segment->use != LOG_USE_LOG || block == except) {
            continue;
        }
        if (segment->open_lsn < min) {
            second = min;
            min = segment->open_lsn;
        } else if (segment->open_lsn < second) {
            second = segment->open_lsn;
        }
    }
    pthread_mutex_unlock(&mutable_log->chain_lock);
    if (next != NULL) {
        *next = second;
    }
    return min;
}

static bool
is_cleanable(const struct log *log, uint32_t block, const struct log_segment *segment)
{
    bool cleanable = segment->use == LOG_USE_LOG && segment->sealed;

    for (int i = 0; i < LOG_HEADS; i++) {
        cleanable =
            cleanable && log->heads[i].block != block && log->heads[i].linking_block != block;
    }
    return cleanable;
}

void
log_segments_visit(const struct log *log, enum log_which which, void *context,
                   void (*visit)(void *context, uint32_t block, struct log_segment *segment,
                                 uint64_t bytes))
{
    struct log *mutable_log = (struct log *)(uintptr_t)log;
    const uint32_t total = heap_blocks_total(log->heap);

    pthread_mutex_lock(&mutable_log->chain_lock);
    for (uint32_t block = 2; block < total; block++) {
        struct log_segment *segment = &log->segments[block];

        if (which == LOG_ALL ? segment->use == LOG_USE_LOG || segment->use == LOG_USE_BLOB
                             : is_cleanable(log, block, segment)) {
            visit(context, block, segment, log_segment_bytes(log, segment));
        }
    }
    pthread_mutex_unlock(&mutable_log->chain_lock);
}
