#include "storage/heap/super.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/fail.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

void
heap_report_finding(const struct heap_report *report, const char *rule, uint64_t off, uint64_t len,
                    const char *format, ...)
{
    char text[256];
    va_list args;

    if (report == NULL || report->finding == NULL) {
        return;
    }
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    report->finding(report->context, rule, off, len, text);
}

static bool
power_of_two(uint64_t v)
{
    return v != 0 && (v & (v - 1)) == 0;
}

fl_status
super_geometry_check(const struct heap_geometry *geometry)
{
    const uint64_t block = geometry->block_bytes;

    if (!power_of_two(block) || block < HEAP_BLOCK_BYTES_MIN || block > HEAP_BLOCK_BYTES_MAX) {
        return FL_FAIL(FL_INVALID, "block_bytes %" PRIu64 " is not a power of two from %d to %d",
                       block, HEAP_BLOCK_BYTES_MIN, HEAP_BLOCK_BYTES_MAX);
    }
    if (geometry->size_bytes_max / block > HEAP_BLOCKS_MAX ||
        geometry->size_bytes_max < 8 * block || geometry->size_bytes_max > HEAP_SIZE_BYTES_MAX) {
        return FL_FAIL(FL_INVALID,
                       "size_bytes_max %" PRIu64 " is not 8 to %d blocks of %" PRIu64
                       " bytes, and at most 64 TiB",
                       geometry->size_bytes_max, HEAP_BLOCKS_MAX, block);
    }
    if (geometry->inline_bytes_max < 64 || geometry->inline_bytes_max > block / 2) {
        return FL_FAIL(FL_INVALID, "inline_bytes_max %u is not 64 to half a block",
                       geometry->inline_bytes_max);
    }
    return FL_OK;
}

void
super_encode(const struct heap_geometry *geometry, struct heap_super_media *super)
{
    memset(super, 0, sizeof(*super));
    bytes_put_le64(&super->magic, HEAP_MAGIC);
    bytes_put_le32(&super->version, HEAP_VERSION);
    bytes_put_le32(&super->bytes, HEAP_SUPER_BYTES);
    memcpy(super->uuid, geometry->uuid, sizeof(super->uuid));
    bytes_put_le32(&super->block_bytes, geometry->block_bytes);
    bytes_put_le32(&super->inline_bytes_max, geometry->inline_bytes_max);
    bytes_put_le64(&super->size_bytes_max, geometry->size_bytes_max);
    bytes_put_le64(&super->created_ms, geometry->created_ms);
    bytes_put_le32(&super->crc, crc32c(0, super, offsetof(struct heap_super_media, crc)));
}

fl_status
super_decode(const struct heap_super_media *super, struct heap_geometry *geometry)
{
    if (bytes_get_le64(&super->magic) != HEAP_MAGIC) {
        return FL_FAIL(FL_CORRUPT, "no superblock: the magic number is wrong");
    }
    if (bytes_get_le32(&super->crc) != crc32c(0, super, offsetof(struct heap_super_media, crc))) {
        return FL_FAIL(FL_CORRUPT, "the superblock's CRC is wrong");
    }
    if (bytes_get_le32(&super->version) != HEAP_VERSION ||
        (bytes_get_le64(&super->incompat) & ~HEAP_INCOMPAT_KNOWN) != 0) {
        return FL_FAIL(FL_VERSION,
                       "media format version %u, incompat bits %#" PRIx64
                       ": this library knows version %d; use a newer one",
                       bytes_get_le32(&super->version), bytes_get_le64(&super->incompat),
                       HEAP_VERSION);
    }
    geometry->ro_only = (bytes_get_le64(&super->ro_compat) & ~HEAP_RO_COMPAT_KNOWN) != 0;
    geometry->block_bytes = bytes_get_le32(&super->block_bytes);
    geometry->inline_bytes_max = bytes_get_le32(&super->inline_bytes_max);
    geometry->size_bytes_max = bytes_get_le64(&super->size_bytes_max);
    geometry->created_ms = bytes_get_le64(&super->created_ms);
    memcpy(geometry->uuid, super->uuid, sizeof(geometry->uuid));
    return super_geometry_check(geometry) == FL_OK ? FL_OK : FL_CORRUPT;
}

void
super_size_set(struct heap_super_media *super, uint64_t size_bytes_max)
{
    bytes_put_le64(&super->size_bytes_max, size_bytes_max);
    bytes_put_le32(&super->crc, crc32c(0, super, offsetof(struct heap_super_media, crc)));
}

bool
super_same_but_size(const struct heap_super_media *a, const struct heap_super_media *b)
{
    struct heap_super_media same = *a;

    super_size_set(&same, bytes_get_le64(&b->size_bytes_max));
    return memcmp(&same, b, sizeof(same)) == 0;
}

bool
super_rewriting(const struct heap_super_media *super)
{
    return bytes_get_le64(&super->magic) == HEAP_MAGIC_REWRITING;
}

fl_status
super_uuid_make(uint8_t uuid[16])
{
    if (getrandom(uuid, 16, 0) != 16) {
        return FL_FAIL_ERRNO(FL_IO, "getrandom");
    }
    /* RFC 9562, version 4. */
    uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40);
    uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
    return FL_OK;
}

static uint32_t
uuid_seed(const struct heap_geometry *geometry)
{
    return crc32c(0, geometry->uuid, sizeof(geometry->uuid));
}

void
super_root_encode(const struct heap_geometry *geometry, const struct heap_root *root,
                  struct heap_root_media *media)
{
    memset(media, 0, sizeof(*media));
    bytes_put_le64(&media->sequence, root->sequence);
    bytes_put_le64(&media->flags, root->flags);
    bytes_put_le64(&media->lsn_next, root->lsn_next);
    bytes_put_le64(&media->tail_off, root->tail_off);
    bytes_put_le32(&media->crc,
                   crc32c(uuid_seed(geometry), media, offsetof(struct heap_root_media, crc)));
}

bool
super_root_decode(const struct heap_geometry *geometry, const struct heap_root_media *media,
                  unsigned slot, struct heap_root *root)
{
    if (bytes_get_le32(&media->crc) !=
        crc32c(uuid_seed(geometry), media, offsetof(struct heap_root_media, crc))) {
        return false;
    }
    root->sequence = bytes_get_le64(&media->sequence);
    root->flags = bytes_get_le64(&media->flags);
    root->lsn_next = bytes_get_le64(&media->lsn_next);
    root->tail_off = bytes_get_le64(&media->tail_off);
    return root->sequence > 0 && super_root_slot(root->sequence) == slot && !(root->lsn_next >> 63);
}

/* The 16-bit check of an 8-byte word that changes by one store: binds it to its place and its store. */
static uint64_t
word_check(const struct heap_geometry *geometry, uint64_t place, uint64_t low48)
{
    uint8_t bytes[16];

    bytes_put_le64(bytes, place);
    bytes_put_le64(bytes + 8, low48);
    return crc32c(uuid_seed(geometry), bytes, sizeof(bytes)) & 0xffff;
}

static const uint64_t low48_mask = (UINT64_C(1) << 48) - 1;

uint64_t
super_clock_encode(const struct heap_geometry *geometry, unsigned half, uint64_t ms)
{
    /* No block has a number as high. */
    const uint64_t place = (UINT64_C(1) << 32) + half;

    ms &= low48_mask;
    return ms | word_check(geometry, place, ms) << 48;
}

bool
super_clock_decode(const struct heap_geometry *geometry, unsigned half, uint64_t word, uint64_t *ms)
{
    *ms = word & low48_mask;
    return word == super_clock_encode(geometry, half, *ms);
}

uint64_t
super_entry_encode(const struct heap_geometry *geometry, uint32_t block, struct heap_entry entry)
{
    const uint64_t low48 =
        entry.generation | (uint64_t)entry.state << 32 | (uint64_t)entry.head << 36;

    return low48 | word_check(geometry, block, low48) << 48;
}

bool
super_entry_decode(const struct heap_geometry *geometry, uint32_t block, uint64_t word,
                   struct heap_entry *entry)
{
    const uint64_t low48 = word & low48_mask;

    entry->generation = (uint32_t)word;
    entry->state = (enum heap_state)((word >> 32) & 0xf);
    entry->head = (uint8_t)(word >> 36);
    if (word == 0) {
        return true;
    }
    return word >> 48 == word_check(geometry, block, low48) && entry->state <= HEAP_META &&
           entry->head < HEAP_HEADS;
}
