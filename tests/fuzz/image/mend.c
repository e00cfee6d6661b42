#include "tests/fuzz/image/mend.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "storage/heap/super.h"
#include "storage/log/record.h"

#include <string.h>

struct mending {
    uint8_t *image;
    size_t len;
    struct heap_geometry geometry;
    uint32_t uuid_crc;
};

static bool
superblocks_mend(struct mending *m)
{
    const uint32_t block =
        bytes_get_le32(m->image + offsetof(struct heap_super_media, block_bytes));

    if (block < HEAP_BLOCK_BYTES_MIN || block > m->len / 2) {
        return false;
    }
    for (int i = 0; i < 2; i++) {
        struct heap_super_media *super =
            (struct heap_super_media *)(m->image + (i == 0 ? 0 : block / 2));

        bytes_put_le32(&super->crc, crc32c(0, super, offsetof(struct heap_super_media, crc)));
    }
    if (super_decode((const struct heap_super_media *)m->image, &m->geometry) != FL_OK) {
        return false;
    }
    m->uuid_crc = crc32c(0, m->geometry.uuid, sizeof(m->geometry.uuid));
    return true;
}

static void
block_zero_mend(const struct mending *m)
{
    for (unsigned half = 0; half < HEAP_HALVES; half++) {
        uint8_t *start = m->image + heap_half_off(m->geometry.block_bytes, half, 0);
        uint8_t *clock = start + HEAP_CLOCK_OFF;
        uint8_t *root = start + HEAP_ROOT_OFF;
        const size_t bytes = offsetof(struct heap_root_media, crc);

        bytes_put_le64(clock, super_clock_encode(&m->geometry, half, bytes_get_le64(clock)));
        bytes_put_le32(root + bytes, crc32c(m->uuid_crc, root, bytes));
    }
}

static struct heap_entry
entry_mend(const struct mending *m, uint32_t block)
{
    uint8_t *at = m->image + m->geometry.block_bytes + (size_t)block * HEAP_ENTRY_BYTES;
    const uint64_t word = bytes_get_le64(at);
    struct heap_entry entry = {.state = (enum heap_state)((word >> 32) & 0xf),
                               .generation = (uint32_t)word,
                               .head = (uint8_t)(word >> 36)};

    if (word != 0) {
        bytes_put_le64(at, super_entry_encode(&m->geometry, block, entry));
    }
    return entry;
}

static void
tail_mend(const struct mending *m, uint8_t *segment, unsigned word_off, uint64_t nonce)
{
    const uint32_t lines = bytes_get_le32(segment + word_off);
    uint8_t bytes[16];

    if (bytes_get_le64(segment + word_off) == 0) {
        return;
    }
    bytes_put_le64(bytes, nonce ^ m->uuid_crc);
    bytes_put_le64(bytes + 8, lines | (uint64_t)word_off << 32);
    bytes_put_le32(segment + word_off + 4, crc32c(0, bytes, sizeof(bytes)));
}

static uint32_t
seed_crc(struct log_seed seed)
{
    uint8_t bytes[16];

    bytes_put_le64(bytes, seed.nonce);
    bytes_put_le64(bytes + 8, seed.lsn);
    return crc32c(0, bytes, sizeof(bytes));
}

/* Returns the record's bytes; 0: there can't be one. */
static size_t
record_mend(uint8_t *at, size_t cap, struct log_seed seed)
{
    struct log_record record;

    if (!log_record_decode(at, cap, seed, false, &record)) {
        return 0;
    }
    bytes_put_le32(at, crc32c(seed_crc(seed), at + 4, record.bytes - 4));
    return record.bytes;
}

static size_t
batch_mend(uint8_t *at, size_t cap, struct log_seed seed)
{
    const uint64_t payload = cap < LOG_BATCH_BYTES ? 0 : bytes_get_le32(at + 8);
    uint64_t pos = LOG_BATCH_BYTES;

    if (payload == 0 || payload > cap - LOG_BATCH_BYTES) {
        return 0;
    }
    uint32_t crc = crc32c(seed_crc(seed), at + 4, LOG_BATCH_BYTES - 4);

    while (pos < LOG_BATCH_BYTES + payload) {
        const struct log_seed place = {seed.nonce, seed.lsn + pos};
        const size_t bytes = record_mend(at + pos, LOG_BATCH_BYTES + payload - pos, place);

        if (bytes == 0) {
            return 0;
        }
        crc = log_batch_crc_add(crc, bytes_get_le32(at + pos));
        pos += bytes;
    }
    log_batch_crc_store(at, crc);
    return LOG_BATCH_BYTES + payload;
}

static void
frames_mend(uint8_t *segment, size_t bytes, uint64_t nonce, uint64_t base_lsn)
{
    for (size_t pos = LOG_HEADER_BYTES; pos + LOG_RECORD_BYTES <= bytes;) {
        const struct log_seed seed = {nonce, base_lsn + pos};
        const bool batch = segment[pos + 5] >> 4 == LOG_KIND_BATCH;
        const size_t frame = batch ? batch_mend(segment + pos, bytes - pos, seed)
                                   : record_mend(segment + pos, bytes - pos, seed);

        if (log_end_decode(segment + pos) || frame == 0) {
            return;
        }
        pos = bytes_align_up(pos + frame, LOG_LINE_BYTES);
    }
}

static void
segment_mend(const struct mending *m, uint32_t block, struct heap_entry entry)
{
    const size_t start = (size_t)block * m->geometry.block_bytes;
    uint8_t *segment = m->image + start;
    struct log_header_media *header = (struct log_header_media *)segment;
    const uint64_t nonce = bytes_get_le64(header->nonce);
    uint64_t bytes = (uint64_t)bytes_get_le32(header->blocks) * m->geometry.block_bytes;
    uint8_t place[8];

    bytes_put_le32(place, m->uuid_crc);
    bytes_put_le32(place + 4, block);
    bytes_put_le32(header->crc,
                   crc32c(crc32c(0, place, sizeof(place)), header, LOG_HEADER_CRC_BYTES));
    if (entry.state == HEAP_LOG) {
        bytes = bytes < m->len - start ? bytes : m->len - start;
        tail_mend(m, segment, LOG_SEAL_OFF, nonce);
        tail_mend(m, segment, LOG_MARK_OFF, nonce);
        frames_mend(segment, bytes, nonce, bytes_get_le64(header->base_lsn));
    }
}

void
mend_image(uint8_t *image, size_t len)
{
    struct mending m = {.image = image, .len = len};

    if (len < 2 * (size_t)HEAP_BLOCK_BYTES_MIN || !superblocks_mend(&m)) {
        return;
    }
    block_zero_mend(&m);
    const size_t block_bytes = m.geometry.block_bytes;

    /* The first group: all of a small image. */
    for (uint32_t block = 0;
         (block + 1) * block_bytes <= len && block < block_bytes / HEAP_ENTRY_BYTES; block++) {
        const struct heap_entry entry = entry_mend(&m, block);

        if (entry.state == HEAP_LOG || entry.state == HEAP_BLOB) {
            segment_mend(&m, block, entry);
        }
    }
}
