/* Shared by the files of storage/log/ only. */
#ifndef FL_STORAGE_LOG_LOG_INTERNAL_H
#define FL_STORAGE_LOG_LOG_INTERNAL_H

#include "storage/log/log.h"

#include <pthread.h>

struct log_head {
    struct pm pm;
    uint32_t block;         /* the open segment's first; 0: none */
    uint32_t prev_block;    /* chain end: where the next segment is linked from; 0: none */
    uint32_t linking_block; /* a segment change is about to write its link; 0: none */
    struct log_run *run;    /* for the next frame; NULL: none */
    uint64_t pos;           /* next frame, bytes from the segment's start */
    uint8_t *frame;         /* the frame being built */
    size_t frame_cap;
    size_t frame_bytes; /* built so far */
    uint32_t frame_count;
    uint32_t batch_crc;
    bool batch;
    _Atomic(size_t) room; /* log_head_room(), for other threads */
    _Atomic(uint64_t) frames, records, changes;
};

struct log {
    struct heap *heap;
    const struct pm_media *media;
    uint32_t block_bytes;
    unsigned block_shift;
    uint32_t blocks_max;
    uint32_t uuid_crc;
    struct log_segment *segments; /* blocks_max, reserved lazily */
    _Atomic(uint64_t) *dead;      /* log_dead_note(): a bit a line of the file, reserved lazily */
    _Atomic(uint64_t) lsn_next;
    _Atomic(uint64_t) lsn_main;
    uint64_t lsn_copies;        /* lsn_main when the cleaner last began to judge; the cleaner's */
    pthread_mutex_t chain_lock; /* heads' prev_block beside frees */
    struct log_head heads[LOG_HEADS];
};

/* Blocks of a segment for one frame. */
uint64_t log_frame_blocks(const struct log *log, size_t frame_bytes);
uint32_t log_header_crc(const struct log *log, uint32_t block,
                        const struct log_header_media *header);
void log_header_encode(const struct log *log, uint32_t block, const struct log_segment *segment,
                       uint32_t prev_block, uint32_t prev_generation,
                       struct log_header_media *header);
/* A word that says where frames end; `word_off` is LOG_SEAL_OFF or LOG_MARK_OFF. */
uint64_t log_tail_encode(const struct log *log, uint64_t nonce, unsigned word_off, uint64_t end);
bool log_tail_decode(const struct log *log, const struct log_segment *segment, unsigned word_off,
                     uint64_t word, uint64_t *end);
fl_status log_nonce_make(uint64_t *nonce);
FL_NODISCARD fl_status log_dead_init(struct log *log);
void log_dead_deinit(struct log *log);
/* The blocks are used anew, or no more. */
void log_dead_forget(struct log *log, uint32_t block, uint32_t blocks);
void log_segment_note(struct log *log, uint32_t block, uint32_t blocks, enum log_use use);

static inline uint64_t
log_segment_bytes(const struct log *log, const struct log_segment *segment)
{
    return (uint64_t)segment->blocks * log->block_bytes;
}

#endif
