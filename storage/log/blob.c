/* Values in blocks of their own: written as they come, owned only through the record that names them. */
#include "storage/log/log_internal.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/fail.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static uint64_t
chunks_of(uint64_t len)
{
    return (len + LOG_BLOB_CHUNK_BYTES - 1) / LOG_BLOB_CHUNK_BYTES;
}

/* Where the value starts, bytes from the segment's start. */
static uint64_t
data_off(uint64_t len)
{
    return bytes_align_up(LOG_HEADER_BYTES + chunks_of(len) * sizeof(uint32_t),
                          LOG_BLOB_ALIGN_BYTES);
}

static uint32_t
chunk_seed(uint64_t nonce, uint64_t chunk)
{
    uint8_t bytes[16];

    bytes_put_le64(bytes, nonce);
    bytes_put_le64(bytes + 8, chunk);
    return crc32c(0, bytes, sizeof(bytes));
}

/* What is kept back of each block: as much as a header would be looked for in. */
struct log_line {
    uint8_t bytes[sizeof(struct log_header_media)];
};

static fl_status
blob_take(struct log_blob *blob)
{
    struct heap *heap = blob->log->heap;
    fl_status status;

    if (blob->blocks == 1) {
        status = heap_take(heap, 1, HEAP_NORMAL, &blob->block);
    } else {
        status = heap_pick(heap, blob->blocks, &blob->block);
        if (status == FL_OK) {
            status = heap_take_picked(heap, blob->block);
            if (status != FL_OK) {
                heap_unpick(heap, blob->block, blob->blocks);
            }
        }
    }
    blob->taken = status == FL_OK;
    return status;
}

/* The segment in DRAM: nobody can name it before it is finished. */
static void
blob_note(struct log_blob *blob)
{
    struct log *log = blob->log;
    struct log_segment *segment = &log->segments[blob->block];

    pthread_mutex_lock(&log->chain_lock);
    log_segment_note(log, blob->block, blob->blocks, LOG_USE_BLOB);
    segment->nonce = blob->nonce;
    segment->end = data_off(blob->len) + blob->len;
    segment->sealed = true;
    atomic_store(&segment->refs, 1);
    atomic_store(&segment->live_bytes, log_segment_bytes(log, segment));
    pthread_mutex_unlock(&log->chain_lock);
}

/* Only now, when all blocks exist: a word of a block behind the file's end would be damage. */
static fl_status
blob_own(struct log_blob *blob)
{
    struct log *log = blob->log;
    struct log_segment *segment = &log->segments[blob->block];
    struct log_header_media header;

    FL_ASSERT(blob->taken == blob->blocks);
    blob->owned = true;
    heap_own_begin_nofence(log->heap, &blob->pm, blob->block, blob->blocks,
                           (struct heap_entry){.state = HEAP_BLOB},
                           (struct heap_note){.nonce = blob->nonce}, &blob->generation);
    pthread_mutex_lock(&log->chain_lock);
    segment->generation = blob->generation;
    log_header_encode(log, blob->block, segment, 0, 0, &header);
    pthread_mutex_unlock(&log->chain_lock);
    pm_write_nofence(&blob->pm, (uint64_t)blob->block << log->block_shift, &header, sizeof(header));
    /* order: the header before ownership. An owned block without a header is a lost block, never a crash. */
    const fl_status status = pm_drain(&blob->pm);

    if (status == FL_OK) {
        heap_own_end_nofence(log->heap, &blob->pm, blob->block);
    }
    return status;
}

static void
blob_free(struct log_blob *blob)
{
    free(blob->crcs);
    free(blob->kept);
    free(blob);
}

fl_status
log_blob_create(struct log *log, uint64_t len, struct log_blob **out)
{
    const uint64_t blocks = (data_off(len) + len + log->block_bytes - 1) / log->block_bytes;

    *out = NULL;
    if (blocks > log->blocks_max) {
        return FL_FAIL(FL_TOO_LARGE, "a value of %" PRIu64 " bytes in a store of at most %u blocks",
                       len, log->blocks_max);
    }
    struct log_blob *blob = calloc(1, sizeof(*blob));

    if (blob == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "a blob");
    }
    blob->log = log;
    blob->len = len;
    blob->blocks = (uint32_t)blocks;
    blob->crcs = calloc((size_t)chunks_of(len) + 1, sizeof(uint32_t));
    blob->kept = calloc(blob->blocks, sizeof(*blob->kept));
    pm_init(&blob->pm, log->media);
    fl_status status = blob->crcs == NULL || blob->kept == NULL
                           ? FL_FAIL(FL_NO_MEMORY, "a blob's chunk CRCs")
                           : log_nonce_make(&blob->nonce);

    if (status == FL_OK) {
        status = blob_take(blob);
    }
    if (status != FL_OK) {
        blob_free(blob);
        return status;
    }
    blob_note(blob);
    blob->chunk_crc = chunk_seed(blob->nonce, 0);
    *out = blob;
    return FL_OK;
}

/* Bytes to `off` from the segment's start. Until the table says whose a later block is, an open looks for a header at
 * its start, and must not find one in bytes that somebody sent us: those are kept until finish. */
static fl_status
blob_write(struct log_blob *blob, uint64_t off, const uint8_t *src, size_t len)
{
    const struct log *log = blob->log;
    const uint64_t start = (uint64_t)blob->block << log->block_shift;
    fl_status status = FL_OK;

    while (len > 0 && status == FL_OK) {
        const uint64_t index = off >> log->block_shift;
        const uint64_t at = off & (log->block_bytes - 1);
        const bool keep = index > 0 && at < sizeof(struct log_line);
        const uint64_t left = (keep ? sizeof(struct log_line) : log->block_bytes) - at;
        const size_t part = len < left ? len : (size_t)left;

        if (index >= blob->taken) {
            status = heap_take_picked(log->heap, blob->block + blob->taken);
            blob->taken += status == FL_OK;
            continue;
        }
        if (keep) {
            memcpy(blob->kept[index].bytes + at, src, part);
        } else {
            status = pm_write_through_nofence(&blob->pm, start + off, src, part);
        }
        off += part;
        src += part;
        len -= part;
    }
    return status;
}

static fl_status
blob_write_kept(struct log_blob *blob)
{
    const struct log *log = blob->log;
    const uint64_t start = (uint64_t)blob->block << log->block_shift;
    const uint64_t first = data_off(blob->len);
    fl_status status = FL_OK;

    for (uint32_t i = 1; i < blob->blocks && status == FL_OK; i++) {
        const uint64_t off = (uint64_t)i << log->block_shift;
        const uint64_t left = first + blob->len - off;

        if (off >= first) {
            status = pm_write_through_nofence(
                &blob->pm, start + off, blob->kept[i].bytes,
                left < sizeof(struct log_line) ? (size_t)left : sizeof(struct log_line));
        }
    }
    return status;
}

fl_status
log_blob_append(struct log_blob *blob, const void *data, size_t len)
{
    const uint8_t *src = data;

    if (len > blob->len - blob->filled) {
        return FL_FAIL(FL_INVALID, "%zu bytes for a value that lacks %" PRIu64, len,
                       blob->len - blob->filled);
    }
    while (len > 0) {
        const uint64_t in_chunk = LOG_BLOB_CHUNK_BYTES - blob->filled % LOG_BLOB_CHUNK_BYTES;
        const size_t part = len < in_chunk ? len : (size_t)in_chunk;

        blob->chunk_crc = crc32c(blob->chunk_crc, src, part);
        const fl_status status = blob_write(blob, data_off(blob->len) + blob->filled, src, part);

        if (status != FL_OK) {
            return status;
        }
        blob->filled += part;
        src += part;
        len -= part;
        if (part == in_chunk || blob->filled == blob->len) {
            blob->crcs[blob->chunks_done++] = htole32(blob->chunk_crc);
            blob->chunk_crc = chunk_seed(blob->nonce, blob->chunks_done);
        }
    }
    /* order: these bytes before the record that names them. Another thread commits it, and its fence does not
     * cover this thread's stores. */
    pm_handoff(&blob->pm);
    return FL_OK;
}

fl_status
log_blob_finish(struct log_blob *blob, struct log_blob_ref *ref)
{
    const uint64_t start = (uint64_t)blob->block << blob->log->block_shift;
    const size_t table_bytes = blob->chunks_done * sizeof(uint32_t);

    if (blob->filled != blob->len) {
        return FL_FAIL(FL_INVALID, "a value of %" PRIu64 " bytes has only %" PRIu64, blob->len,
                       blob->filled);
    }
    fl_status status = blob->owned ? blob->pm.failed : blob_own(blob);

    if (status == FL_OK) {
        status = blob_write_kept(blob);
    }
    if (status == FL_OK) {
        status =
            pm_write_through_nofence(&blob->pm, start + LOG_HEADER_BYTES, blob->crcs, table_bytes);
    }
    if (status != FL_OK) {
        return status;
    }
    /* order: the chunk CRCs before the record that names them. Another thread commits it. */
    pm_handoff(&blob->pm);
    *ref = (struct log_blob_ref){.block = blob->block,
                                 .generation = blob->generation,
                                 .blocks = blob->blocks,
                                 .len = blob->len,
                                 .nonce = blob->nonce,
                                 .table_crc = crc32c(0, blob->crcs, table_bytes)};
    return FL_OK;
}

void
log_blob_close(struct log_blob *blob)
{
    struct log *log = blob->log;

    if (!blob->owned) {
        const uint32_t rest = blob->blocks - blob->taken;

        pthread_mutex_lock(&log->chain_lock);
        log_segment_note(log, blob->block + blob->taken, rest, LOG_USE_NONE);
        log->segments[blob->block].blocks = blob->taken;
        pthread_mutex_unlock(&log->chain_lock);
        heap_unpick(log->heap, blob->block + blob->taken, rest);
        heap_own_unwritten(log->heap, blob->block, blob->taken);
    }
    blob_free(blob);
}

struct log_segment *
log_blob_segment(const struct log *log, const struct log_blob_ref *ref)
{
    if (ref->block >= log->blocks_max) {
        return NULL;
    }
    struct log_segment *segment = &log->segments[ref->block];
    const bool same = segment->use == LOG_USE_BLOB && segment->generation == ref->generation &&
                      segment->nonce == ref->nonce && segment->blocks == ref->blocks;

    return same && ref->len <= log_segment_bytes(log, segment) &&
                   data_off(ref->len) + ref->len <= log_segment_bytes(log, segment)
               ? segment
               : NULL;
}

fl_status
log_blob_verify(const struct log *log, const struct log_blob_ref *ref, uint64_t off, uint64_t len)
{
    const uint64_t start = (uint64_t)ref->block << log->block_shift;
    const uint8_t *table = log->media->base + start + LOG_HEADER_BYTES;
    const uint64_t data = start + data_off(ref->len);

    if (off >= ref->len || len == 0) {
        return FL_OK;
    }
    const uint64_t end = len < ref->len - off ? off + len : ref->len;

    if (crc32c(0, table, (size_t)chunks_of(ref->len) * sizeof(uint32_t)) != ref->table_crc) {
        return FL_FAIL(FL_CORRUPT, "the chunk CRCs at file offset %" PRIu64 " are damaged",
                       start + LOG_HEADER_BYTES);
    }
    for (uint64_t i = off / LOG_BLOB_CHUNK_BYTES; i < chunks_of(end); i++) {
        const uint64_t at = i * LOG_BLOB_CHUNK_BYTES;
        const uint64_t left = ref->len - at;
        const size_t part = left < LOG_BLOB_CHUNK_BYTES ? (size_t)left : LOG_BLOB_CHUNK_BYTES;

        if (crc32c(chunk_seed(ref->nonce, i), log->media->base + data + at, part) !=
            bytes_get_le32(table + i * sizeof(uint32_t))) {
            return FL_FAIL(FL_CORRUPT,
                           "a value's chunk at file offset %" PRIu64
                           " is damaged; run faultline-check --repair",
                           data + at);
        }
    }
    return FL_OK;
}

fl_status
log_blob_view(const struct log *log, const struct log_blob_ref *ref, bool verify,
              struct fl_bytes *value)
{
    const uint64_t start = (uint64_t)ref->block << log->block_shift;

    if (log_blob_segment(log, ref) == NULL) {
        return FL_FAIL(FL_CORRUPT,
                       "the blocks of a value of %" PRIu64 " bytes at file offset %" PRIu64
                       " are gone; run faultline-check --repair",
                       ref->len, start);
    }
    value->ptr = log->media->base + start + data_off(ref->len);
    value->len = (size_t)ref->len;
    return verify ? log_blob_verify(log, ref, 0, ref->len) : FL_OK;
}
