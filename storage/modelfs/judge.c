/* Judging the tables of an image: every field in range, every name once, every block owned once or shared by clones. */
#include "storage/modelfs/image.h"

#include "base/fail.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct judge {
    struct mfs_image *image;
    struct mfs_inode_state *inodes;
    struct mfs_extent_state *extents;
    uint32_t *order;   /* slots of used inodes by name, then of used extents by file and place */
    uint32_t *owner;   /* per block: inode slot + 1 of the last one seen */
    uint8_t *claim;    /* per block */
    uint8_t *bad_file; /* per inode slot: its extents are not judged */
};

enum { CLAIM_SHARED = 1, CLAIM_ALONE = 2 };

static bool
enough(const struct judge *judge)
{
    return judge->image->findings >= MFS_FINDINGS_MAX;
}

static void
judge_inode(struct judge *judge, uint32_t slot)
{
    const struct mfs_geometry *g = &judge->image->geometry;
    const struct mfs_inode_state *inode = &judge->inodes[slot];

    if (inode->ino == 0) {
        return;
    }
    if ((uint32_t)inode->ino != slot || inode->ino >> 32 == 0) {
        mfs_image_finding(judge->image, true, "inode slot %" PRIu32 " has number %#" PRIx64, slot,
                          inode->ino);
        judge->bad_file[slot] = 1;
    }
    if (inode->flags != 0) {
        mfs_image_finding(judge->image, true, "inode slot %" PRIu32 " has flags %#" PRIx32, slot,
                          inode->flags);
    }
    if (!mfs_name_valid(inode->name, inode->name_bytes)) {
        mfs_image_finding(judge->image, true, "inode slot %" PRIu32 " has a bad name", slot);
    }
    if (inode->size_bytes > (uint64_t)MFS_LOGICAL_MAX << g->block_shift) {
        mfs_image_finding(judge->image, true, "inode slot %" PRIu32 " has a size of %" PRIu64, slot,
                          inode->size_bytes);
    }
}

static void
judge_extent(struct judge *judge, uint32_t slot)
{
    const struct mfs_geometry *g = &judge->image->geometry;
    struct mfs_extent_state *e = &judge->extents[slot];

    if (e->ino == 0) {
        return;
    }
    const uint32_t file = (uint32_t)e->ino;

    if (file >= g->inodes || judge->inodes[file].ino != e->ino) {
        mfs_image_finding(judge->image, true,
                          "extent slot %" PRIu32 " belongs to a file that is not there, %#" PRIx64,
                          slot, e->ino);
    } else if (e->blocks == 0 || e->blocks > MFS_LOGICAL_MAX ||
               e->logical > MFS_LOGICAL_MAX - e->blocks || e->blocks > g->blocks ||
               e->physical > g->blocks - e->blocks) {
        mfs_image_finding(judge->image, true,
                          "extent slot %" PRIu32 ": %" PRIu32 " blocks from %" PRIu32 " at %" PRIu32
                          " are out of range",
                          slot, e->blocks, e->logical, e->physical);
    } else if ((e->flags & ~(uint32_t)MFS_EXTENT_FLAGS_KNOWN) != 0 ||
               e->flags == MFS_EXTENT_FLAGS_KNOWN) {
        mfs_image_finding(judge->image, true, "extent slot %" PRIu32 " has flags %#" PRIx32, slot,
                          e->flags);
    } else {
        return;
    }
    e->ino = 0; /* what is out of range is not looked at again */
}

static void
decode(struct judge *judge)
{
    const struct mfs_geometry *g = &judge->image->geometry;

    for (uint32_t slot = 0; slot < g->inodes && !enough(judge); slot++) {
        const void *rec = judge->image->inodes + slot * sizeof(struct mfs_inode_rec);

        if (mfs_inode_decode(rec, &judge->inodes[slot])) {
            judge_inode(judge, slot);
        } else {
            mfs_image_finding(judge->image, true, "inode slot %" PRIu32 " at %" PRIu64 ": CRC",
                              slot, g->inodes_off + slot * sizeof(struct mfs_inode_rec));
        }
    }
    for (uint32_t slot = 0; slot < g->extents && !enough(judge); slot++) {
        const void *rec = judge->image->extents + (uint64_t)slot * sizeof(struct mfs_extent_rec);

        if (mfs_extent_decode(rec, &judge->extents[slot])) {
            judge_extent(judge, slot);
        } else {
            mfs_image_finding(judge->image, true, "extent slot %" PRIu32 " at %" PRIu64 ": CRC",
                              slot,
                              g->extents_off + (uint64_t)slot * sizeof(struct mfs_extent_rec));
        }
    }
}

static int
by_name(const void *a, const void *b, void *inodes)
{
    const struct mfs_inode_state *table = inodes;

    return strcmp(table[*(const uint32_t *)a].name, table[*(const uint32_t *)b].name);
}

static void
judge_names(struct judge *judge)
{
    uint32_t count = 0;

    for (uint32_t slot = 0; slot < judge->image->geometry.inodes; slot++) {
        if (judge->inodes[slot].ino != 0) {
            judge->order[count++] = slot;
        }
    }
    qsort_r(judge->order, count, sizeof(*judge->order), by_name, judge->inodes);
    for (uint32_t i = 1; i < count && !enough(judge); i++) {
        if (by_name(&judge->order[i - 1], &judge->order[i], judge->inodes) == 0) {
            mfs_image_finding(judge->image, true,
                              "inode slots %" PRIu32 " and %" PRIu32 " have the same name",
                              judge->order[i - 1], judge->order[i]);
        }
    }
}

static int
by_place(const void *a, const void *b, void *extents)
{
    const struct mfs_extent_state *table = extents;
    const struct mfs_extent_state *one = &table[*(const uint32_t *)a];
    const struct mfs_extent_state *two = &table[*(const uint32_t *)b];

    if (one->ino != two->ino) {
        return one->ino < two->ino ? -1 : 1;
    }
    return (one->logical > two->logical) - (one->logical < two->logical);
}

/* Clones share blocks, two places of one file never do, and neither do blocks that are flagged or unwritten. */
static void
claim_blocks(struct judge *judge, uint32_t slot)
{
    const struct mfs_extent_state *e = &judge->extents[slot];
    const uint32_t owner = (uint32_t)e->ino + 1;
    const uint8_t claim = e->flags == 0 ? CLAIM_SHARED : CLAIM_ALONE;

    for (uint32_t block = e->physical; block < e->physical + e->blocks; block++) {
        if (judge->claim[block] != 0 && (judge->owner[block] == owner || claim == CLAIM_ALONE ||
                                         judge->claim[block] == CLAIM_ALONE)) {
            mfs_image_finding(judge->image, true,
                              "block %" PRIu32 " has two owners: extent slot %" PRIu32
                              " of inode slot %" PRIu32 ", and inode slot %" PRIu32,
                              block, slot, owner - 1, judge->owner[block] - 1);
            return;
        }
        judge->claim[block] = claim;
        judge->owner[block] = owner;
    }
}

static void
judge_blocks(struct judge *judge)
{
    const struct mfs_geometry *g = &judge->image->geometry;
    uint32_t count = 0;

    for (uint32_t slot = 0; slot < g->extents; slot++) {
        const uint64_t ino = judge->extents[slot].ino;

        if (ino != 0 && judge->bad_file[(uint32_t)ino] == 0) {
            judge->order[count++] = slot;
        }
    }
    qsort_r(judge->order, count, sizeof(*judge->order), by_place, judge->extents);
    for (uint32_t i = 0; i < count && !enough(judge); i++) {
        const struct mfs_extent_state *e = &judge->extents[judge->order[i]];
        const struct mfs_extent_state *before =
            i == 0 ? NULL : &judge->extents[judge->order[i - 1]];

        if (before != NULL && before->ino == e->ino &&
            e->logical < before->logical + before->blocks) {
            mfs_image_finding(judge->image, true,
                              "extent slots %" PRIu32 " and %" PRIu32 " of inode slot %" PRIu32
                              " overlap at block %" PRIu32,
                              judge->order[i - 1], judge->order[i], (uint32_t)e->ino, e->logical);
        }
        claim_blocks(judge, judge->order[i]);
    }
}

fl_status
mfs_image_judge(struct mfs_image *image)
{
    const struct mfs_geometry *g = &image->geometry;
    const uint32_t most = g->inodes > g->extents ? g->inodes : g->extents;
    struct judge judge = {.image = image};
    fl_status status = FL_OK;

    judge.inodes = mem_alloc_zero(g->inodes * sizeof(*judge.inodes));
    judge.extents = mem_alloc_zero(g->extents * sizeof(*judge.extents));
    judge.order = mem_alloc_zero(most * sizeof(*judge.order));
    judge.owner = mem_alloc_zero(g->blocks * sizeof(*judge.owner));
    judge.claim = mem_alloc_zero(g->blocks);
    judge.bad_file = mem_alloc_zero(g->inodes);
    if (judge.inodes == NULL || judge.extents == NULL || judge.order == NULL ||
        judge.owner == NULL || judge.claim == NULL || judge.bad_file == NULL) {
        status = FL_FAIL(FL_NO_MEMORY, "to judge %" PRIu32 " blocks", g->blocks);
    } else {
        decode(&judge);
        judge_names(&judge);
        judge_blocks(&judge);
    }
    mem_free(judge.bad_file);
    mem_free(judge.claim);
    mem_free(judge.owner);
    mem_free(judge.order);
    mem_free(judge.extents);
    mem_free(judge.inodes);
    return status;
}
