/* Codec of records and frames: bytes in, validated fields out, and back. No I/O, no state. */
#ifndef FL_STORAGE_LOG_RECORD_H
#define FL_STORAGE_LOG_RECORD_H

#include "storage/log/log_layout.h"

#include <faultline/faultline.h>

#include <stdbool.h>

/* What makes a CRC valid at one place of one segment only. */
struct log_seed {
    uint64_t nonce;
    uint64_t lsn; /* of the place */
};

struct log_record {
    enum log_kind kind;
    uint8_t type; /* 0 to 15 */
    uint8_t space;
    bool batched;
    bool lsn_explicit;
    struct fl_bytes key;
    struct fl_bytes value; /* PUT_BLOB: the reference */
    uint64_t deadline_ms;  /* 0: none */
    uint64_t lsn;          /* explicit; else of the place */
    size_t bytes;          /* encoded */
};

/* Encoded size in bytes of `record` (kind, key, value, deadline_ms, lsn_explicit count). */
size_t log_record_bytes(const struct log_record *record);

/* Encode into `dst`, log_record_bytes() long; returns the CRC that was stored. record->lsn is read only if
 * lsn_explicit. */
uint32_t log_record_encode(const struct log_record *record, struct log_seed seed, uint8_t *dst);

/* Has its kind what it must have, and nothing that it can't? What a writer encodes has to be; nothing else decodes. */
bool log_record_canonical(const struct log_record *record);

/* Decode what is at `src`, of which `cap` bytes may be read. Slices of *record point into src. Checks every length and
 * flag, and that no other encoding of the same exists; the CRC only if `verify`. False: not a record. */
bool log_record_decode(const uint8_t *src, size_t cap, struct log_seed seed, bool verify,
                       struct log_record *record);

struct log_batch {
    uint32_t payload_bytes;
    uint32_t count;
};

/* The batch's header; the running CRC starts here and takes log_batch_crc_add() of each record's. */
uint32_t log_batch_encode(struct log_batch batch, struct log_seed seed, uint8_t *dst);
uint32_t log_batch_crc_add(uint32_t crc, uint32_t record_crc);
void log_batch_crc_store(uint8_t *dst, uint32_t crc);

/* A whole frame at `src`: a record that isn't batched, or a batch with all its records verified. Returns its bytes
 * without padding, 0 if no frame validates here. *batch: count 0 for a lone record. */
size_t log_frame_decode(const uint8_t *src, size_t cap, struct log_seed seed,
                        struct log_batch *batch);

/* True if `src` holds the end of the log: LOG_RECORD_BYTES zeros. */
bool log_end_decode(const uint8_t *src);

struct log_blob_ref {
    uint32_t block, generation, blocks, table_crc;
    uint64_t len, nonce;
};
void log_blob_ref_encode(const struct log_blob_ref *ref, uint8_t dst[LOG_BLOB_REF_BYTES]);
bool log_blob_ref_decode(struct fl_bytes value, struct log_blob_ref *ref);

#endif
