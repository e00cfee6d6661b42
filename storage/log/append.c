/* Appending: frames on a head, and the change to a new segment. */
#include "storage/log/log_internal.h"

#include "base/bytes.h"
#include "base/fail.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { FRAME_KEEP_BYTES = 4 * 1024 * 1024 }; /* a buffer over it is given back after its frame */

void
log_header_encode(const struct log *log, uint32_t block, const struct log_segment *segment,
                  uint32_t prev_block, uint32_t prev_generation, struct log_header_media *header)
{
    memset(header, 0, sizeof(*header));
    bytes_put_le32(header->magic, segment->use == LOG_USE_BLOB ? LOG_MAGIC_BLOB : LOG_MAGIC_LOG);
    bytes_put_le32(header->generation, segment->generation);
    bytes_put_le64(header->nonce, segment->nonce);
    bytes_put_le64(header->base_lsn, segment->base_lsn);
    bytes_put_le64(header->open_lsn, segment->open_lsn);
    bytes_put_le32(header->prev_block, prev_block);
    bytes_put_le32(header->prev_generation, prev_generation);
    bytes_put_le32(header->blocks, segment->blocks);
    header->head = segment->head;
    bytes_put_le32(header->crc, log_header_crc(log, block, header));
}

/* Blocks of the head's run if it has one of so many, or others. */
static fl_status
blocks_take(const struct log *log, struct log_head *head, uint32_t *blocks, enum heap_claim claim,
            uint32_t *block)
{
    struct log_run *run = head->run;

    if (run == NULL || run->taken < *blocks) {
        return heap_take(log->heap, *blocks, claim, block);
    }
    *block = run->block;
    *blocks = run->taken;
    memset(run, 0, sizeof(*run));
    heap_count_made(log->heap);
    return FL_OK;
}

/* Take blocks for a new segment and write its header. Debt: a drain of the head's pm, then heap_own_end_nofence(). */
static fl_status
segment_begin_nofence(struct log *log, enum log_head_id id, uint32_t blocks, enum heap_claim claim,
                      uint32_t prev, uint32_t *out, struct log_header_media *header)
{
    struct log_head *head = &log->heads[id];
    uint32_t block = 0;
    uint32_t generation = 0;
    uint64_t nonce = 0;

    if (atomic_load(&log->lsn_next) >
        LOG_LSN_END - LOG_HEADS * (uint64_t)blocks * log->block_bytes) {
        return FL_FAIL(FL_NO_SPACE, "the store has used up its LSNs");
    }
    fl_status status = log_nonce_make(&nonce);

    if (status == FL_OK) {
        status = blocks_take(log, head, &blocks, claim, &block);
    }
    if (status != FL_OK) {
        return status;
    }
    const uint64_t bytes = (uint64_t)blocks * log->block_bytes;
    const uint64_t base = atomic_fetch_add(&log->lsn_next, bytes);
    const struct heap_entry as = {.state = HEAP_LOG, .head = (uint8_t)id};

    heap_own_begin_nofence(log->heap, &head->pm, block, blocks, as, (struct heap_note){nonce, base},
                           &generation);
    struct log_segment *segment = &log->segments[block];

    pthread_mutex_lock(&log->chain_lock);
    log_segment_note(log, block, blocks, LOG_USE_LOG);
    segment->generation = generation;
    segment->nonce = nonce;
    segment->base_lsn = base;
    segment->open_lsn = id == LOG_HEAD_MAIN ? base : log->lsn_copies;
    segment->head = (uint8_t)id;
    segment->end = LOG_HEADER_BYTES;
    log_header_encode(log, block, segment, prev, prev != 0 ? log->segments[prev].generation : 0,
                      header);
    pthread_mutex_unlock(&log->chain_lock);
    pm_write_nofence(&head->pm, (uint64_t)block << log->block_shift, header, sizeof(*header));
    *out = block;
    return FL_OK;
}

static void
seal_nofence(const struct log *log, struct pm *pm, uint32_t block)
{
    const struct log_segment *segment = &log->segments[block];

    pm_store_u64_nofence(pm, ((uint64_t)block << log->block_shift) + LOG_SEAL_OFF,
                         log_tail_encode(log, segment->nonce, LOG_SEAL_OFF, segment->end));
}

/* The new segment is on media and led to: the head goes on there. */
static void
segment_enter(struct log *log, enum log_head_id id, uint32_t block, uint32_t prev)
{
    struct log_head *head = &log->heads[id];

    pthread_mutex_lock(&log->chain_lock);
    if (prev != 0) {
        log->segments[prev].sealed = true;
        log->segments[prev].linked = true;
    }
    head->block = block;
    head->prev_block = block;
    head->linking_block = 0;
    head->pos = LOG_HEADER_BYTES;
    pthread_mutex_unlock(&log->chain_lock);
    if (id == LOG_HEAD_MAIN) {
        atomic_store_explicit(&log->lsn_main, log->segments[block].base_lsn + head->pos,
                              memory_order_release);
    }
    atomic_store_explicit(&head->room, log_head_room(log, id), memory_order_relaxed);
    atomic_fetch_add_explicit(&head->changes, 1, memory_order_relaxed);
}

static uint32_t
linking_begin(struct log *log, struct log_head *head)
{
    pthread_mutex_lock(&log->chain_lock);
    const uint32_t prev = head->prev_block;

    head->linking_block = prev; /* nobody frees it from here on */
    pthread_mutex_unlock(&log->chain_lock);
    return prev;
}

static fl_status
segment_change(struct log *log, enum log_head_id id, uint32_t blocks, enum heap_claim claim)
{
    struct log_head *head = &log->heads[id];
    const uint32_t prev = linking_begin(log, head);
    struct log_header_media header; /* staged media reads it at the drain */
    uint32_t block = 0;

    fl_status status = segment_begin_nofence(log, id, blocks, claim, prev, &block, &header);

    if (status != FL_OK) {
        pthread_mutex_lock(&log->chain_lock);
        head->linking_block = 0;
        pthread_mutex_unlock(&log->chain_lock);
        return status;
    }
    if (prev != 0 && !log->segments[prev].sealed) {
        seal_nofence(log, &head->pm, prev);
    }
    /* order: header and seal before ownership. An owned block without a header is a lost block, never a crash. */
    status = pm_drain(&head->pm);
    if (status == FL_OK) {
        heap_own_end_nofence(log->heap, &head->pm, block);
        /* order: ownership before the link. Recovery takes a link's target for a whole segment. */
        status = pm_drain(&head->pm);
    }
    if (status == FL_OK && prev != 0) {
        const struct log_segment *segment = &log->segments[block];

        pm_store_u64_nofence(&head->pm, ((uint64_t)prev << log->block_shift) + LOG_LINK_OFF,
                             block | (uint64_t)segment->generation << 32);
        /* order: the link before the first frame. A frame in a segment that nothing leads to would be lost. */
        status = pm_drain(&head->pm);
    }
    if (status == FL_OK) {
        segment_enter(log, id, block, prev);
    }
    return status;
}

size_t
log_head_room(const struct log *log, enum log_head_id id)
{
    const struct log_head *head = &log->heads[id];

    return head->block == 0
               ? 0
               : (size_t)(log_segment_bytes(log, &log->segments[head->block]) - head->pos);
}

size_t
log_head_room_hint(const struct log *log, enum log_head_id id)
{
    return atomic_load_explicit(&log->heads[id].room, memory_order_relaxed);
}

uint64_t
log_head_off(const struct log *log, enum log_head_id id)
{
    const struct log_head *head = &log->heads[id];

    return head->block == 0 ? 0 : ((uint64_t)head->block << log->block_shift) + head->pos;
}

static fl_status
frame_reserve(struct log_head *head, size_t bytes)
{
    if (bytes <= head->frame_cap) {
        return FL_OK;
    }
    const size_t cap = bytes_align_up(bytes + bytes / 2, 4096);
    uint8_t *frame = aligned_alloc(LOG_LINE_BYTES, cap);

    if (frame == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "a frame of %zu bytes", bytes);
    }
    free(head->frame);
    head->frame = frame;
    head->frame_cap = cap;
    return FL_OK;
}

fl_status
log_frame_begin(struct log *log, enum log_head_id id, uint32_t count, size_t bytes,
                enum heap_claim claim)
{
    struct log_head *head = &log->heads[id];
    const bool batch = count > 1;
    const size_t frame_bytes =
        (size_t)bytes_align_up(bytes + (batch ? (size_t)LOG_BATCH_BYTES : 0), LOG_LINE_BYTES);

    FL_ASSERT(count > 0 && head->frame_bytes == 0);
    fl_status status = frame_reserve(head, frame_bytes);

    if (status == FL_OK && (frame_bytes > log_head_room(log, id) || head->run != NULL)) {
        const uint64_t blocks = log_frame_blocks(log, frame_bytes);

        status = blocks > UINT32_MAX ? FL_FAIL(FL_TOO_LARGE, "a frame of %zu bytes", frame_bytes)
                                     : segment_change(log, id, (uint32_t)blocks, claim);
    }
    head->run = NULL;
    if (status != FL_OK) {
        return status;
    }
    head->batch = batch;
    head->frame_count = 0;
    if (batch) {
        const struct log_segment *segment = &log->segments[head->block];

        head->batch_crc = log_batch_encode(
            (struct log_batch){(uint32_t)bytes, count},
            (struct log_seed){segment->nonce, segment->base_lsn + head->pos}, head->frame);
        head->frame_bytes = LOG_BATCH_BYTES;
    }
    return FL_OK;
}

uint64_t
log_frame_add(struct log *log, enum log_head_id id, struct log_record *record, uint64_t *lsn)
{
    struct log_head *head = &log->heads[id];
    const struct log_segment *segment = &log->segments[head->block];
    const uint64_t place = head->pos + head->frame_bytes;
    const struct log_seed seed = {segment->nonce, segment->base_lsn + place};

    record->batched = head->batch;
    record->bytes = log_record_bytes(record);
    FL_ASSERT(head->frame_bytes + record->bytes <= head->frame_cap && log_record_canonical(record));
    const uint32_t crc = log_record_encode(record, seed, head->frame + head->frame_bytes);

    if (head->batch) {
        head->batch_crc = log_batch_crc_add(head->batch_crc, crc);
    }
    head->frame_bytes += record->bytes;
    head->frame_count++;
    *lsn = record->lsn_explicit ? record->lsn : seed.lsn;
    return ((uint64_t)head->block << log->block_shift) + place;
}

void
log_frame_abandon(struct log *log, enum log_head_id id)
{
    log->heads[id].frame_bytes = 0;
}

fl_status
log_frame_commit(struct log *log, enum log_head_id id, bool all)
{
    struct log_head *head = &log->heads[id];
    struct log_segment *segment = &log->segments[head->block];
    const size_t bytes = (size_t)bytes_align_up(head->frame_bytes, LOG_LINE_BYTES);

    if (head->batch) {
        log_batch_crc_store(head->frame, head->batch_crc);
    }
    memset(head->frame + head->frame_bytes, 0, bytes - head->frame_bytes);
    /* order: values written through before the record that names them. One sync of both may leave the record alone. */
    fl_status status = all ? pm_drain_all(&head->pm) : FL_OK;

    if (status == FL_OK) {
        pm_write_nofence(&head->pm, ((uint64_t)head->block << log->block_shift) + head->pos,
                         head->frame, bytes);
        /* order: the frame before return. The caller publishes and acknowledges what is in it. */
        status = pm_drain(&head->pm);
    }
    head->frame_bytes = 0;
    if (head->frame_cap > FRAME_KEEP_BYTES) {
        free(head->frame);
        head->frame = NULL;
        head->frame_cap = 0;
    }
    if (status != FL_OK) {
        return status;
    }
    head->pos += bytes;
    segment->end = head->pos;
    atomic_store_explicit(&head->room, log_head_room(log, id), memory_order_relaxed);
    if (id == LOG_HEAD_MAIN) {
        atomic_store_explicit(&log->lsn_main, segment->base_lsn + head->pos, memory_order_release);
    }
    atomic_fetch_add_explicit(&head->frames, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&head->records, head->frame_count, memory_order_relaxed);
    return FL_OK;
}

/* The copies that stand in for a segment that is freed now were durable, although nothing may stand behind them
 * yet. Only by the thread that has the cleaner's head. */
static void
mark_nofence(const struct log *log, struct pm *pm)
{
    const struct log_head *head = &log->heads[LOG_HEAD_CLEANER];

    if (head->block != 0 && log->segments[head->block].marked < head->pos) {
        log->segments[head->block].marked = head->pos;
        pm_store_u64_nofence(
            pm, ((uint64_t)head->block << log->block_shift) + LOG_MARK_OFF,
            log_tail_encode(log, log->segments[head->block].nonce, LOG_MARK_OFF, head->pos));
    }
}

fl_status
log_segment_free(struct log *log, struct pm *pm, uint32_t block)
{
    pthread_mutex_lock(&log->chain_lock);
    for (int i = 0; i < LOG_HEADS; i++) {
        FL_ASSERT(log->heads[i].block != block);
        if (log->heads[i].linking_block == block) {
            pthread_mutex_unlock(&log->chain_lock);
            return FL_AGAIN;
        }
        if (log->heads[i].prev_block == block) {
            log->heads[i].prev_block = 0;
        }
    }
    pthread_mutex_unlock(&log->chain_lock);
    mark_nofence(log, pm);
    const fl_status status = heap_disown_nofence(log->heap, pm, block, log->segments[block].blocks);

    if (status != FL_OK) {
        return status;
    }
    /* order: free in the table before reuse. A crash must not find two owners, or old frames owned. */
    return pm_drain(pm);
}

void
log_segment_recycle(struct log *log, uint32_t block)
{
    const uint32_t blocks = log->segments[block].blocks;

    pthread_mutex_lock(&log->chain_lock);
    log_segment_note(log, block, blocks, LOG_USE_NONE);
    pthread_mutex_unlock(&log->chain_lock);
    heap_recycle(log->heap, block, blocks);
}
