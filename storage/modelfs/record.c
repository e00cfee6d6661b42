#include "storage/modelfs/record.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/fail.h"

#include <inttypes.h>
#include <string.h>

/* Sequence numbers never wrap; from the tail's on there is room for more than will ever be. */
#define SEQ_MAX (UINT64_C(1) << 62)

void
mfs_super_encode(const struct mfs_geometry *geometry, struct mfs_super_rec *out)
{
    memset(out, 0, sizeof(*out));
    bytes_put_le64(&out->magic, MFS_MAGIC);
    bytes_put_le32(&out->version, MFS_VERSION);
    bytes_put_le32(&out->block_bytes, geometry->block_bytes);
    bytes_put_le64(&out->size_bytes, geometry->size_bytes);
    bytes_put_le64(&out->journal_off, geometry->journal_off);
    bytes_put_le64(&out->journal_bytes, geometry->journal_bytes);
    bytes_put_le64(&out->inodes_off, geometry->inodes_off);
    bytes_put_le64(&out->extents_off, geometry->extents_off);
    bytes_put_le64(&out->data_off, geometry->data_off);
    bytes_put_le64(&out->blocks, geometry->blocks);
    bytes_put_le32(&out->inodes, geometry->inodes);
    bytes_put_le32(&out->extents, geometry->extents);
    memcpy(out->uuid, geometry->uuid, sizeof(out->uuid));
    bytes_put_le32(&out->features, geometry->features);
    bytes_put_le32(&out->crc, crc32c(0, out, offsetof(struct mfs_super_rec, crc)));
}

/* Whether [off, off + bytes) lies in [begin, end), without overflow. */
static bool
inside(uint64_t off, uint64_t bytes, uint64_t begin, uint64_t end)
{
    return off >= begin && off <= end && bytes <= end - off && off % 64 == 0;
}

static bool
geometry_valid(const struct mfs_geometry *g, uint64_t blocks)
{
    const uint64_t block = g->block_bytes;

    return (block & (block - 1)) == 0 && block >= MFS_BLOCK_BYTES_MIN &&
           block <= MFS_BLOCK_BYTES_MAX && g->inodes > 0 && g->extents > 0 && blocks > 0 &&
           blocks < MFS_LOGICAL_MAX && g->journal_bytes >= 4096 && g->journal_bytes % 64 == 0 &&
           inside(g->journal_off, g->journal_bytes, MFS_SUPER_AREA_BYTES, g->inodes_off) &&
           inside(g->inodes_off, (uint64_t)g->inodes * sizeof(struct mfs_inode_rec),
                  MFS_SUPER_AREA_BYTES, g->extents_off) &&
           inside(g->extents_off, (uint64_t)g->extents * sizeof(struct mfs_extent_rec),
                  MFS_SUPER_AREA_BYTES, g->data_off) &&
           g->data_off % block == 0 && g->data_off <= g->size_bytes &&
           blocks <= (g->size_bytes - g->data_off) / block;
}

fl_status
mfs_super_decode(const void *rec, uint64_t size_bytes, struct mfs_geometry *out)
{
    const struct mfs_super_rec *super = rec;

    if (bytes_get_le64(&super->magic) != MFS_MAGIC) {
        return FL_FAIL(FL_INVALID, "no model filesystem: the superblock's magic number is wrong");
    }
    if (bytes_get_le32(&super->crc) != crc32c(0, super, offsetof(struct mfs_super_rec, crc))) {
        return FL_FAIL(FL_CORRUPT, "the superblock's CRC is wrong");
    }
    const uint32_t features = bytes_get_le32(&super->features);

    if (bytes_get_le32(&super->version) != MFS_VERSION ||
        (features & ~(uint32_t)MFS_FEATURE_NOSYNC) != 0) {
        return FL_FAIL(FL_VERSION,
                       "format version %" PRIu32 ", features %#" PRIx32
                       ": this program knows version %d",
                       bytes_get_le32(&super->version), features, MFS_VERSION);
    }
    const uint64_t blocks = bytes_get_le64(&super->blocks);

    *out = (struct mfs_geometry){
        .block_bytes = bytes_get_le32(&super->block_bytes),
        .size_bytes = bytes_get_le64(&super->size_bytes),
        .journal_off = bytes_get_le64(&super->journal_off),
        .journal_bytes = bytes_get_le64(&super->journal_bytes),
        .inodes_off = bytes_get_le64(&super->inodes_off),
        .extents_off = bytes_get_le64(&super->extents_off),
        .data_off = bytes_get_le64(&super->data_off),
        .blocks = (uint32_t)blocks,
        .inodes = bytes_get_le32(&super->inodes),
        .extents = bytes_get_le32(&super->extents),
        .features = features,
    };
    memcpy(out->uuid, super->uuid, sizeof(out->uuid));
    if (out->size_bytes > size_bytes) {
        return FL_FAIL(FL_CORRUPT,
                       "the device has %" PRIu64 " bytes, its superblock says %" PRIu64
                       ": it was cut off",
                       size_bytes, out->size_bytes);
    }
    if (!geometry_valid(out, blocks)) {
        return FL_FAIL(FL_CORRUPT, "the superblock's areas overlap or leave the device");
    }
    out->block_shift = (unsigned)__builtin_ctz(out->block_bytes);
    return FL_OK;
}

void
mfs_inode_encode(const struct mfs_inode_state *state, struct mfs_inode_rec *out)
{
    memset(out, 0, sizeof(*out));
    bytes_put_le64(&out->ino, state->ino);
    bytes_put_le64(&out->size_bytes, state->size_bytes);
    bytes_put_le64(&out->changed, state->changed);
    bytes_put_le32(&out->flags, state->flags);
    out->name_bytes = (uint8_t)state->name_bytes;
    memcpy(out->name, state->name, state->name_bytes);
    bytes_put_le32(&out->crc, crc32c(0, out, offsetof(struct mfs_inode_rec, crc)));
}

bool
mfs_inode_decode(const void *rec, struct mfs_inode_state *out)
{
    const struct mfs_inode_rec *inode = rec;

    memset(out, 0, sizeof(*out));
    if (bytes_are_zero(rec, sizeof(*inode))) {
        return true;
    }
    if (bytes_get_le32(&inode->crc) != crc32c(0, inode, offsetof(struct mfs_inode_rec, crc))) {
        return false;
    }
    out->ino = bytes_get_le64(&inode->ino);
    out->size_bytes = bytes_get_le64(&inode->size_bytes);
    out->changed = bytes_get_le64(&inode->changed);
    out->flags = bytes_get_le32(&inode->flags);
    out->name_bytes = inode->name_bytes;
    if (out->name_bytes > MFS_NAME_BYTES_MAX) {
        return false;
    }
    memcpy(out->name, inode->name, out->name_bytes);
    return true;
}

void
mfs_extent_encode(const struct mfs_extent_state *state, struct mfs_extent_rec *out)
{
    memset(out, 0, sizeof(*out));
    bytes_put_le64(&out->ino, state->ino);
    bytes_put_le32(&out->logical, state->logical);
    bytes_put_le32(&out->blocks, state->blocks);
    bytes_put_le32(&out->physical, state->physical);
    bytes_put_le32(&out->flags, state->flags);
    bytes_put_le32(&out->crc, crc32c(0, out, offsetof(struct mfs_extent_rec, crc)));
}

bool
mfs_extent_decode(const void *rec, struct mfs_extent_state *out)
{
    const struct mfs_extent_rec *extent = rec;

    memset(out, 0, sizeof(*out));
    if (bytes_are_zero(rec, sizeof(*extent))) {
        return true;
    }
    if (bytes_get_le32(&extent->crc) != crc32c(0, extent, offsetof(struct mfs_extent_rec, crc))) {
        return false;
    }
    out->ino = bytes_get_le64(&extent->ino);
    out->logical = bytes_get_le32(&extent->logical);
    out->blocks = bytes_get_le32(&extent->blocks);
    out->physical = bytes_get_le32(&extent->physical);
    out->flags = bytes_get_le32(&extent->flags);
    return true;
}

bool
mfs_name_valid(const char *name, size_t len)
{
    if (len == 0 || len > MFS_NAME_BYTES_MAX || memchr(name, '/', len) != NULL ||
        memchr(name, '\0', len) != NULL) {
        return false;
    }
    return !(name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')));
}

uint64_t
mfs_journal_magic(const struct mfs_geometry *geometry)
{
    return MFS_MAGIC ^ bytes_get_le64(geometry->uuid);
}

void
mfs_tail_encode(const struct mfs_geometry *geometry, const struct mfs_tail *tail,
                struct mfs_tail_rec *out)
{
    memset(out, 0, sizeof(*out));
    bytes_put_le64(&out->magic, mfs_journal_magic(geometry));
    bytes_put_le64(&out->tail_seq, tail->seq);
    bytes_put_le64(&out->tail_off, tail->off);
    bytes_put_le32(&out->crc, crc32c(0, out, offsetof(struct mfs_tail_rec, crc)));
}

bool
mfs_tail_decode(const struct mfs_geometry *geometry, const void *rec, struct mfs_tail *out)
{
    const struct mfs_tail_rec *tail = rec;

    if (bytes_get_le64(&tail->magic) != mfs_journal_magic(geometry) ||
        bytes_get_le32(&tail->crc) != crc32c(0, tail, offsetof(struct mfs_tail_rec, crc))) {
        return false;
    }
    out->seq = bytes_get_le64(&tail->tail_seq);
    out->off = bytes_get_le64(&tail->tail_off);
    return out->seq > 0 && out->seq <= SEQ_MAX / 2 && out->off == MFS_JOURNAL_FRONT;
}

uint32_t
mfs_body_crc(uint32_t crc, const void *body, size_t len)
{
    const uint8_t *word = body;

    for (size_t i = 0; i < len; i += 8) {
        /* The product is what isn't linear. */
        crc = crc32c(crc, word + i, 8) * UINT32_C(0x9E3779B1);
    }
    return crc;
}

void
mfs_commit_encode(const struct mfs_geometry *geometry, const struct mfs_commit *commit,
                  struct mfs_commit_rec *out)
{
    memset(out, 0, sizeof(*out));
    bytes_put_le64(&out->magic, mfs_journal_magic(geometry));
    bytes_put_le64(&out->seq, commit->seq);
    bytes_put_le64(&out->bytes, commit->bytes);
    bytes_put_le32(&out->entries, commit->entries);
    bytes_put_le32(&out->kind, MFS_COMMIT_CHANGES);
    bytes_put_le32(&out->body_crc, commit->body_crc);
    bytes_put_le32(&out->crc, crc32c(0, out, offsetof(struct mfs_commit_rec, crc)));
}

bool
mfs_commit_decode(const struct mfs_geometry *geometry, const void *rec, uint64_t room,
                  struct mfs_commit *out)
{
    const struct mfs_commit_rec *commit = rec;

    if (room < sizeof(*commit) || bytes_get_le64(&commit->magic) != mfs_journal_magic(geometry) ||
        bytes_get_le32(&commit->crc) != crc32c(0, commit, offsetof(struct mfs_commit_rec, crc)) ||
        bytes_get_le32(&commit->kind) != MFS_COMMIT_CHANGES) {
        return false;
    }
    out->seq = bytes_get_le64(&commit->seq);
    out->bytes = bytes_get_le64(&commit->bytes);
    out->entries = bytes_get_le32(&commit->entries);
    out->body_crc = bytes_get_le32(&commit->body_crc);
    return out->seq <= SEQ_MAX && out->bytes >= sizeof(*commit) && out->bytes % 64 == 0 &&
           out->bytes <= room;
}
