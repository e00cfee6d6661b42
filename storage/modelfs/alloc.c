/* Which blocks are free: nothing on the device says so, the references do. */
#include "storage/modelfs/fs_internal.h"

#include "base/fail.h"

#include <inttypes.h>

/* Zeros that wait for their fence: a large range is fenced in between, so that it takes little memory. */
enum { UNFENCED_MAX = 4 << 20 };

static bool
block_free(const struct mfs *fs, uint32_t block)
{
    if (fs->mutant == MFS_MUTANT_REUSE_BEFORE_COMMIT && fs->refs[block] == 0) {
        return true; /* Mutant: what the running transaction freed is given out before its commit. */
    }
    return fs->held[block] == 0;
}

static uint32_t
run_from(const struct mfs *fs, uint32_t first, uint32_t want)
{
    uint32_t blocks = 0;

    while (blocks < want && first + blocks < fs->geometry.blocks &&
           block_free(fs, first + blocks)) {
        blocks++;
    }
    return blocks;
}

fl_status
block_alloc(struct mfs *fs, uint32_t goal, uint32_t want, struct run *out)
{
    struct run best = {goal, goal < fs->geometry.blocks ? run_from(fs, goal, want) : 0};

    while (fs->blocks_hint < fs->geometry.blocks && !block_free(fs, fs->blocks_hint)) {
        fs->blocks_hint++;
    }
    /* What continues the file is worth more than what is longer. */
    if (best.blocks == 0) {
        for (uint32_t block = fs->blocks_hint; best.blocks < want && block < fs->geometry.blocks;) {
            const uint32_t blocks = run_from(fs, block, want);

            if (blocks > best.blocks) {
                best = (struct run){block, blocks};
            }
            block += blocks + 1;
        }
    }
    if (best.blocks == 0) {
        return FL_FAIL(FL_NO_SPACE, "none of %" PRIu32 " blocks is free, %" PRIu64 " will be",
                       fs->geometry.blocks, fs->blocks_freeing);
    }
    *out = best;
    return txn_blocks_take(fs, best.first, best.blocks);
}

fl_status
block_zero(struct mfs *fs, uint32_t physical)
{
    const uint64_t off = block_off(fs, physical);
    fl_status status = FL_OK;

    if (fs->mutant == MFS_MUTANT_ZEROING_SKIPPED) {
        return FL_OK; /* Mutant: the block's next owner sees its last one's bytes. */
    }
    if (fs->unfenced >= UNFENCED_MAX) {
        /* order: none is needed here, the commit's own fence comes; this one bounds what waits for it. */
        status = fs_fence(fs);
        if (status != FL_OK) {
            return status;
        }
    }
    mfs_media_zero(fs->media, off, fs->geometry.block_bytes);
    return fs_flush(fs, off, fs->geometry.block_bytes);
}
