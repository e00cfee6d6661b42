#include "storage/log/record.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/fail.h"

#include <string.h>

enum { KLEN_SHORT_MAX = 0xffff, VLEN_SHORT_MAX = 0xffffff, WIDE_BYTES = 12 };

enum {
    PREFETCH_BYTES = 1024
}; /* before what is verified: the processor's own stops at each page's end */

static uint32_t
seed_crc(struct log_seed seed)
{
    uint8_t bytes[16];

    bytes_put_le64(bytes, seed.nonce);
    bytes_put_le64(bytes + 8, seed.lsn);
    return crc32c(0, bytes, sizeof(bytes));
}

static bool
is_wide(uint64_t key_len, uint64_t value_len)
{
    return key_len > KLEN_SHORT_MAX || value_len > VLEN_SHORT_MAX;
}

static uint8_t
record_flags(const struct log_record *record)
{
    unsigned flags = 0;

    flags |= record->batched ? LOG_FLAG_BATCHED : 0;
    flags |= record->deadline_ms != 0 ? LOG_FLAG_DEADLINE : 0;
    flags |= record->lsn_explicit ? LOG_FLAG_LSN : 0;
    flags |= is_wide(record->key.len, record->value.len) ? LOG_FLAG_WIDE : 0;
    return (uint8_t)flags;
}

static size_t
extension_bytes(unsigned flags)
{
    return ((flags & LOG_FLAG_WIDE) ? WIDE_BYTES : 0u) + ((flags & LOG_FLAG_DEADLINE) ? 8u : 0u) +
           ((flags & LOG_FLAG_LSN) ? 8u : 0u);
}

size_t
log_record_bytes(const struct log_record *record)
{
    return LOG_RECORD_BYTES + extension_bytes(record_flags(record)) + record->key.len +
           record->value.len;
}

uint32_t
log_record_encode(const struct log_record *record, struct log_seed seed, uint8_t *dst)
{
    const unsigned flags = record_flags(record);
    const bool wide = (flags & LOG_FLAG_WIDE) != 0;
    uint8_t *p = dst + LOG_RECORD_BYTES;

    FL_ASSERT(record->key.len <= UINT32_MAX && record->type < 16);
    const unsigned kind_type = (unsigned)record->kind << 4 | record->type;
    const uint64_t klen = wide ? 0 : record->key.len;
    const uint64_t vlen = wide ? 0 : record->value.len;

    /* Bytes 4 to 11 by one store: the CRC below reads them by one load. */
    bytes_put_le64(dst + 4, flags | (uint64_t)kind_type << 8 | (uint64_t)record->space << 16 |
                                klen << 24 | vlen << 40);
    if (wide) {
        bytes_put_le32(p, (uint32_t)record->key.len);
        bytes_put_le64(p + 4, record->value.len);
        p += WIDE_BYTES;
    }
    if (flags & LOG_FLAG_DEADLINE) {
        bytes_put_le64(p, record->deadline_ms);
        p += 8;
    }
    if (flags & LOG_FLAG_LSN) {
        bytes_put_le64(p, record->lsn);
        p += 8;
    }
    if (record->key.len > 0) {
        memcpy(p, record->key.ptr, record->key.len);
        p += record->key.len;
    }
    if (record->value.len > 0) {
        memcpy(p, record->value.ptr, record->value.len);
        p += record->value.len;
    }
    const uint32_t crc = crc32c(seed_crc(seed), dst + 4, (size_t)(p - dst) - 4);

    bytes_put_le32(dst, crc);
    return crc;
}

/* The fields and lengths of the header; false if they can't be a record's. */
static bool
header_decode(const uint8_t *src, size_t cap, struct log_record *record, size_t *key_off)
{
    if (cap < LOG_RECORD_BYTES) {
        return false;
    }
    const unsigned flags = src[4];
    uint64_t klen = bytes_get_le16(src + 7);
    uint64_t vlen = bytes_get_le16(src + 9) | (uint64_t)src[11] << 16;
    const size_t ext = extension_bytes(flags);
    const uint8_t *p = src + LOG_RECORD_BYTES;

    if ((flags & ~(unsigned)LOG_FLAGS_KNOWN) != 0 || cap - LOG_RECORD_BYTES < ext) {
        return false;
    }
    record->kind = (enum log_kind)(src[5] >> 4);
    record->type = src[5] & 0xf;
    record->space = src[6];
    record->batched = (flags & LOG_FLAG_BATCHED) != 0;
    record->lsn_explicit = (flags & LOG_FLAG_LSN) != 0;
    record->deadline_ms = 0;
    if (flags & LOG_FLAG_WIDE) {
        if (klen != 0 || vlen != 0) {
            return false;
        }
        klen = bytes_get_le32(p);
        vlen = bytes_get_le64(p + 4);
        p += WIDE_BYTES;
        if (!is_wide(klen, vlen)) {
            return false;
        }
    }
    if (flags & LOG_FLAG_DEADLINE) {
        record->deadline_ms = bytes_get_le64(p);
        p += 8;
        if (record->deadline_ms == 0) {
            return false;
        }
    }
    if (flags & LOG_FLAG_LSN) {
        record->lsn = bytes_get_le64(p);
    }
    const uint64_t room = cap - LOG_RECORD_BYTES - ext;

    if (klen > room || vlen > room - klen) {
        return false;
    }
    record->key.len = (size_t)klen;
    record->value.len = (size_t)vlen;
    *key_off = LOG_RECORD_BYTES + ext;
    return true;
}

bool
log_record_canonical(const struct log_record *record)
{
    const size_t klen = record->key.len;
    const size_t vlen = record->value.len;

    if (klen > FL_KEY_BYTES_MAX || (record->lsn_explicit && record->lsn >= LOG_LSN_END)) {
        return false;
    }
    switch (record->kind) {
    case LOG_KIND_PUT:
        return klen > 0;
    case LOG_KIND_DELETE:
        return klen > 0 && vlen == 0 && record->deadline_ms == 0;
    case LOG_KIND_PUT_BLOB:
        return klen > 0 && vlen == LOG_BLOB_REF_BYTES;
    case LOG_KIND_RANGE_DELETE:
        return vlen > 0 && vlen <= 1 + (size_t)FL_KEY_BYTES_MAX &&
               *(const uint8_t *)record->value.ptr >= record->space && record->deadline_ms == 0;
    case LOG_KIND_NONE:
    case LOG_KIND_BATCH:
    default:
        return false;
    }
}

bool
log_record_decode(const uint8_t *src, size_t cap, struct log_seed seed, bool verify,
                  struct log_record *record)
{
    size_t key_off = 0;

    record->lsn = seed.lsn;
    if (!header_decode(src, cap, record, &key_off)) {
        return false;
    }
    record->key.ptr = src + key_off;
    record->value.ptr = src + key_off + record->key.len;
    record->bytes = key_off + record->key.len + record->value.len;
    if (!log_record_canonical(record)) {
        return false;
    }
    return !verify || bytes_get_le32(src) == crc32c(seed_crc(seed), src + 4, record->bytes - 4);
}

uint32_t
log_batch_encode(struct log_batch batch, struct log_seed seed, uint8_t *dst)
{
    memset(dst, 0, LOG_BATCH_BYTES);
    dst[5] = LOG_KIND_BATCH << 4;
    bytes_put_le32(dst + 8, batch.payload_bytes);
    bytes_put_le32(dst + 12, batch.count);
    return crc32c(seed_crc(seed), dst + 4, LOG_BATCH_BYTES - 4);
}

uint32_t
log_batch_crc_add(uint32_t crc, uint32_t record_crc)
{
    uint8_t bytes[4];

    bytes_put_le32(bytes, record_crc);
    return crc32c(crc, bytes, sizeof(bytes));
}

void
log_batch_crc_store(uint8_t *dst, uint32_t crc)
{
    bytes_put_le32(dst, crc);
}

/* Every record of the batch verifies, they fill the payload exactly, and the batch's CRC covers theirs. */
static bool
batch_verify(const uint8_t *src, struct log_batch batch, struct log_seed seed)
{
    uint32_t crc = crc32c(seed_crc(seed), src + 4, LOG_BATCH_BYTES - 4);
    size_t pos = 0;

    if (src[4] != 0 || src[5] != LOG_KIND_BATCH << 4) {
        return false; /* a flag or a type that batches don't have; what is zero besides is ignored */
    }
    for (uint32_t i = 0; i < batch.count; i++) {
        const uint8_t *at = src + LOG_BATCH_BYTES + pos;
        const struct log_seed place = {seed.nonce, seed.lsn + LOG_BATCH_BYTES + pos};
        struct log_record record;

        __builtin_prefetch(at + PREFETCH_BYTES);
        __builtin_prefetch(at + PREFETCH_BYTES + LOG_LINE_BYTES);
        if (!log_record_decode(at, batch.payload_bytes - pos, place, true, &record) ||
            !record.batched) {
            return false;
        }
        crc = log_batch_crc_add(crc, bytes_get_le32(at));
        pos += record.bytes;
    }
    return pos == batch.payload_bytes && crc == bytes_get_le32(src);
}

size_t
log_frame_decode(const uint8_t *src, size_t cap, struct log_seed seed, struct log_batch *batch)
{
    struct log_record record;

    *batch = (struct log_batch){0, 0};
    if (cap < LOG_RECORD_BYTES) {
        return 0;
    }
    if (src[5] >> 4 != LOG_KIND_BATCH) {
        return log_record_decode(src, cap, seed, true, &record) && !record.batched ? record.bytes
                                                                                   : 0;
    }
    if (cap < LOG_BATCH_BYTES) {
        return 0;
    }
    batch->payload_bytes = bytes_get_le32(src + 8);
    batch->count = bytes_get_le32(src + 12);
    if (batch->count == 0 || batch->payload_bytes > cap - LOG_BATCH_BYTES ||
        batch->count > batch->payload_bytes / LOG_RECORD_BYTES ||
        !batch_verify(src, *batch, seed)) {
        *batch = (struct log_batch){0, 0};
        return 0;
    }
    return LOG_BATCH_BYTES + (size_t)batch->payload_bytes;
}

bool
log_end_decode(const uint8_t *src)
{
    static const uint8_t zeros[LOG_RECORD_BYTES];

    return memcmp(src, zeros, sizeof(zeros)) == 0;
}

void
log_blob_ref_encode(const struct log_blob_ref *ref, uint8_t dst[LOG_BLOB_REF_BYTES])
{
    struct log_blob_ref_media media;

    bytes_put_le32(media.block, ref->block);
    bytes_put_le32(media.generation, ref->generation);
    bytes_put_le64(media.len, ref->len);
    bytes_put_le64(media.nonce, ref->nonce);
    bytes_put_le32(media.blocks, ref->blocks);
    bytes_put_le32(media.table_crc, ref->table_crc);
    memcpy(dst, &media, sizeof(media));
}

bool
log_blob_ref_decode(struct fl_bytes value, struct log_blob_ref *ref)
{
    struct log_blob_ref_media media;

    if (value.len != sizeof(media)) {
        return false;
    }
    memcpy(&media, value.ptr, sizeof(media));
    ref->block = bytes_get_le32(media.block);
    ref->generation = bytes_get_le32(media.generation);
    ref->len = bytes_get_le64(media.len);
    ref->nonce = bytes_get_le64(media.nonce);
    ref->blocks = bytes_get_le32(media.blocks);
    ref->table_crc = bytes_get_le32(media.table_crc);
    return ref->blocks > 0;
}
