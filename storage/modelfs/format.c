#include "storage/modelfs/fs.h"
#include "storage/modelfs/record.h"

#include "base/bytes.h"
#include "base/fail.h"

#include <inttypes.h>
#include <string.h>
#include <sys/random.h>

enum {
    INODES_DEFAULT = 64,
    JOURNAL_BYTES_MIN = 4096,
    JOURNAL_BYTES_DEFAULT_MIN = 64 << 10,
    JOURNAL_BYTES_DEFAULT_MAX = 8 << 20,
};

/* Where the blocks begin if there are `blocks` of them. An extent slot for each, so that slots don't run out before
 * blocks do, but where clones share. */
static uint64_t
data_off_with(const struct mfs_geometry *g, uint64_t blocks)
{
    return bytes_align_up(g->extents_off + blocks * sizeof(struct mfs_extent_rec), g->block_bytes);
}

static fl_status
plan(const struct mfs_format *format, uint64_t size_bytes, struct mfs_geometry *g)
{
    const uint64_t block = format->block_bytes == 0 ? MFS_BLOCK_BYTES_MIN : format->block_bytes;
    const uint64_t inodes = format->inodes == 0 ? INODES_DEFAULT : format->inodes;
    uint64_t journal = format->journal_bytes;

    if (journal == 0) {
        journal = bytes_align_down(size_bytes / 64, 4096);
        journal = journal < JOURNAL_BYTES_DEFAULT_MIN   ? JOURNAL_BYTES_DEFAULT_MIN
                  : journal > JOURNAL_BYTES_DEFAULT_MAX ? JOURNAL_BYTES_DEFAULT_MAX
                                                        : journal;
    }
    if ((block & (block - 1)) != 0 || block < MFS_BLOCK_BYTES_MIN || block > MFS_BLOCK_BYTES_MAX) {
        return FL_FAIL(FL_INVALID, "block_bytes %" PRIu64 " is not a power of two from %d to %d",
                       block, MFS_BLOCK_BYTES_MIN, MFS_BLOCK_BYTES_MAX);
    }
    if (journal < JOURNAL_BYTES_MIN || journal % 64 != 0) {
        return FL_FAIL(FL_INVALID, "journal_bytes %" PRIu64 " is not a multiple of 64 from %d on",
                       journal, JOURNAL_BYTES_MIN);
    }
    *g = (struct mfs_geometry){
        .block_bytes = (uint32_t)block,
        .size_bytes = size_bytes,
        .journal_off = MFS_SUPER_AREA_BYTES,
        .journal_bytes = journal,
        .inodes = (uint32_t)inodes,
        .features = format->without_nosync ? 0 : MFS_FEATURE_NOSYNC,
    };
    if (journal > size_bytes || inodes > size_bytes / sizeof(struct mfs_inode_rec)) {
        return FL_FAIL(FL_NO_SPACE,
                       "a device of %" PRIu64 " bytes doesn't hold a journal of %" PRIu64
                       " and %" PRIu64 " inodes",
                       size_bytes, journal, inodes);
    }
    g->inodes_off = g->journal_off + journal;
    g->extents_off = g->inodes_off + inodes * sizeof(struct mfs_inode_rec);
    uint64_t blocks = size_bytes < g->extents_off
                          ? 0
                          : (size_bytes - g->extents_off) / (block + sizeof(struct mfs_extent_rec));

    while (blocks > 0 && data_off_with(g, blocks) + blocks * block > size_bytes) {
        blocks--;
    }
    if (blocks == 0) {
        return FL_FAIL(FL_NO_SPACE,
                       "a device of %" PRIu64 " bytes doesn't hold one block of %" PRIu64,
                       size_bytes, block);
    }
    if (blocks >= MFS_LOGICAL_MAX) {
        return FL_FAIL(FL_INVALID, "a device of %" PRIu64 " blocks is too large", blocks);
    }
    g->blocks = (uint32_t)blocks;
    g->extents = (uint32_t)blocks;
    g->data_off = data_off_with(g, blocks);
    return FL_OK;
}

static fl_status
write_empty(struct mfs_media *media, struct mfs_cpu *cpu, const struct mfs_geometry *g)
{
    const struct mfs_tail tail = {.seq = 1, .off = MFS_JOURNAL_FRONT};
    struct mfs_tail_rec tail_rec;
    struct mfs_super_rec super;

    mfs_media_zero(media, 0, MFS_SUPER_AREA_BYTES);
    /* order: the old superblocks' end before the tables' change. A filesystem made by halves must not mount. */
    fl_status status = mfs_cpu_persist_dirty(cpu, 0, MFS_SUPER_AREA_BYTES);

    if (status != FL_OK) {
        return status;
    }
    mfs_media_zero(media, g->journal_off, g->data_off - g->journal_off);
    mfs_tail_encode(g, &tail, &tail_rec);
    mfs_media_store(media, g->journal_off, &tail_rec, sizeof(tail_rec));
    mfs_media_store(media, g->journal_off + sizeof(tail_rec), &tail_rec, sizeof(tail_rec));
    /* order: journal and tables before the superblocks. These make them count. */
    status = mfs_cpu_persist_dirty(cpu, g->journal_off, g->data_off - g->journal_off);
    if (status != FL_OK) {
        return status;
    }
    mfs_super_encode(g, &super);
    mfs_media_store(media, 0, &super, sizeof(super));
    mfs_media_store(media, MFS_SUPER_COPY_OFF, &super, sizeof(super));
    /* order: the superblocks before return. The caller says that it is formatted. */
    return mfs_cpu_persist_dirty(cpu, 0, MFS_SUPER_AREA_BYTES);
}

fl_status
mfs_format(struct mfs_media *media, const struct mfs_format *format)
{
    struct mfs_geometry geometry;
    struct mfs_cpu *cpu = NULL;
    fl_status status = plan(format, mfs_media_size_bytes(media), &geometry);

    if (status != FL_OK) {
        return status;
    }
    memcpy(geometry.uuid, format->uuid, sizeof(geometry.uuid));
    if (bytes_are_zero(format->uuid, sizeof(format->uuid)) &&
        getrandom(geometry.uuid, sizeof(geometry.uuid), 0) != (ssize_t)sizeof(geometry.uuid)) {
        return FL_FAIL_ERRNO(FL_IO, "getrandom");
    }
    status = mfs_cpu_create(media, &cpu);
    if (status == FL_OK) {
        status = write_empty(media, cpu, &geometry);
        mfs_cpu_destroy(cpu);
    }
    return status;
}
