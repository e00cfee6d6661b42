/* What stands in a segment. All integers little-endian, nothing aligned but by chance.
 *
 * Segment: one or more contiguous blocks.
 *   0    header, CRC'd, never changed       64 bytes
 *   64   seal word   end of the log in lines 32 | check 32; 0: open. 8-byte store
 *   72   link word   next block 32 | its generation 32;     0: none. 8-byte store
 *   80   mark word   as the seal: every frame below it was durable once; 0: nothing is known. 8-byte store
 *   88   zeros
 *   128  frames, each on a fresh line (64 bytes), zeros behind it to the line's end
 *
 * Frame: one record, or a batch.
 * Record
 *   0    crc32c 4    of {nonce 8, LSN of this place 8} and of everything behind the field
 *   4    flags 1     LOG_FLAG_*
 *   5    kind 4 | type 4 (high nibble: kind)
 *   6    space 1
 *   7    key bytes 2
 *   9    value bytes 3
 *   12   wide: key bytes 4, value bytes 8 (the two short fields are then zero)
 *        deadline: milliseconds 8;  LSN: 8      - each only if its flag is set, in this order
 *        key, value
 * Batch
 *   0    crc32c 4    of {nonce 8, LSN 8}, bytes 4-23, then the crc fields of its records in order
 *   4    0 1, kind 1, 0 2
 *   8    payload bytes 4, records 4
 *   16   0 8
 *   24   records, packed, each with LOG_FLAG_BATCHED
 * A record's LSN is segment base LSN + its offset in the segment, but for LOG_FLAG_LSN (a copy made by the cleaner).
 * Twelve zero bytes are the end of the log, never a frame.
 *
 * Blob segment (a value over the heap's inline_bytes_max): the same 128 bytes of header, then one crc32c a chunk of
 * 64 KiB (of {nonce 8, chunk number 8} and the chunk), then zeros to a multiple of 4 KiB, then the value.
 */
#ifndef FL_STORAGE_LOG_LAYOUT_H
#define FL_STORAGE_LOG_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

enum {
    LOG_MAGIC_LOG = 0x47534C46,  /* "FLSG" */
    LOG_MAGIC_BLOB = 0x4C424C46, /* "FLBL" */
    LOG_HEADER_BYTES = 128,
    LOG_HEADER_CRC_BYTES = 60,
    LOG_SEAL_OFF = 64,
    LOG_LINK_OFF = 72,
    LOG_MARK_OFF = 80,
    LOG_LINE_BYTES = 64,
    LOG_RECORD_BYTES = 12,
    LOG_BATCH_BYTES = 24,
    LOG_BLOB_CHUNK_BYTES = 65536,
    LOG_BLOB_ALIGN_BYTES = 4096,
    LOG_BLOB_REF_BYTES = 32,
};

/* LSNs are below it. */
#define LOG_LSN_END (UINT64_C(1) << 63)

/* Kept, and refused until an incompat feature brings them: 0x08 (a database, 2 bytes behind the LSN), 0x80 (a byte with
 * more flags follows). */
enum log_flag {
    LOG_FLAG_BATCHED = 0x01,
    LOG_FLAG_DEADLINE = 0x02,
    LOG_FLAG_LSN = 0x04,
    LOG_FLAG_WIDE = 0x10,
    LOG_FLAGS_KNOWN = 0x17,
};

enum log_kind {
    LOG_KIND_NONE = 0,
    LOG_KIND_PUT = 1,
    LOG_KIND_DELETE = 2,
    /* key: the range's low end in `space`; value: last space 1, then the high end (empty: all of it). Masks every
     * lower LSN from (space, low) to (last space, high) inclusive. */
    LOG_KIND_RANGE_DELETE = 3,
    LOG_KIND_PUT_BLOB = 4, /* value: a log_blob_ref_media */
    LOG_KIND_BATCH = 5,
};

struct log_header_media {
    uint8_t magic[4];
    uint8_t generation[4];
    uint8_t nonce[8];
    uint8_t base_lsn[8];
    uint8_t open_lsn[8]; /* no record here was copied or written before the log stood at this LSN */
    uint8_t prev_block[4];
    uint8_t prev_generation[4];
    uint8_t blocks[4];
    uint8_t head; /* append head: 0 writers, 1 cleaner; more may come */
    uint8_t reserved0[3];
    uint8_t base_repl_off[8]; /* kept for replication, zero */
    uint8_t reserved1[4];
    uint8_t crc[4]; /* of the 60 bytes before, seeded with the heap's uuid and the block's number */
};
_Static_assert(sizeof(struct log_header_media) == 64, "segment header layout");
_Static_assert(offsetof(struct log_header_media, crc) == LOG_HEADER_CRC_BYTES,
               "segment header layout");

struct log_blob_ref_media {
    uint8_t block[4];
    uint8_t generation[4];
    uint8_t len[8];
    uint8_t nonce[8];
    uint8_t blocks[4];
    uint8_t table_crc[4]; /* of the chunk CRCs */
};
_Static_assert(sizeof(struct log_blob_ref_media) == LOG_BLOB_REF_BYTES, "blob reference layout");

#endif
