/* Recovery, mount and unmount. */
#include "storage/modelfs/fs_internal.h"
#include "storage/modelfs/image.h"

#include "base/bytes.h"
#include "base/fail.h"
#include "base/mem.h"

#include <string.h>

static fl_status
make_arrays(struct mfs *fs)
{
    const struct mfs_geometry *g = &fs->geometry;

    fs->inodes = mem_alloc_zero(g->inodes * sizeof(*fs->inodes));
    fs->extents = mem_alloc_zero(g->extents * sizeof(*fs->extents));
    fs->refs = mem_alloc_zero(g->blocks * sizeof(*fs->refs));
    fs->held = mem_alloc_zero(g->blocks * sizeof(*fs->held));
    fs->inodes_dirty.list = mem_alloc(g->inodes * sizeof(uint32_t));
    fs->inodes_dirty.is = mem_alloc_zero(g->inodes);
    fs->extents_dirty.list = mem_alloc(g->extents * sizeof(uint32_t));
    fs->extents_dirty.is = mem_alloc_zero(g->extents);
    if (fs->inodes == NULL || fs->extents == NULL || fs->refs == NULL || fs->held == NULL ||
        fs->inodes_dirty.list == NULL || fs->inodes_dirty.is == NULL ||
        fs->extents_dirty.list == NULL || fs->extents_dirty.is == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "to mount %u blocks", g->blocks);
    }
    return FL_OK;
}

static void
count_blocks(struct mfs *fs, const struct mfs_extent_state *e)
{
    for (uint32_t block = e->physical; block < e->physical + e->blocks; block++) {
        fs->blocks_free -= fs->held[block] == 0;
        fs->refs[block]++;
        fs->held[block]++;
    }
}

/* The image has been judged: every slot's file is there, every range fits. */
static fl_status
load_tables(struct mfs *fs, const struct mfs_image *image)
{
    const struct mfs_geometry *g = &fs->geometry;

    fs->blocks_free = g->blocks;
    for (uint32_t i = 0; i < g->inodes; i++) {
        fs->inodes[i].index = i;
        (void)mfs_inode_decode(image->inodes + i * sizeof(struct mfs_inode_rec),
                               &fs->inodes[i].state);
    }
    for (uint32_t slot = 0; slot < g->extents; slot++) {
        struct mfs_extent_state *e = &fs->extents[slot];

        (void)mfs_extent_decode(image->extents + (uint64_t)slot * sizeof(struct mfs_extent_rec), e);
        fs->extents_free += e->ino == 0;
        if (e->ino != 0) {
            fs->inodes[(uint32_t)e->ino].count++;
            count_blocks(fs, e);
        }
    }
    for (uint32_t i = 0; i < g->inodes; i++) {
        struct inode *inode = &fs->inodes[i];
        const fl_status status =
            array_grow(&inode->slots, &inode->capacity, inode->count, sizeof(*inode->slots));

        if (status != FL_OK) {
            return status;
        }
        inode->count = 0;
    }
    for (uint32_t slot = 0; slot < g->extents; slot++) {
        if (fs->extents[slot].ino != 0) {
            struct inode *inode = &fs->inodes[(uint32_t)fs->extents[slot].ino];

            inode->slots[inode->count++] = slot;
        }
    }
    for (uint32_t i = 0; i < g->inodes; i++) {
        extent_sort(fs, &fs->inodes[i]);
    }
    return FL_OK;
}

/* Lines of [off, off + len) that are not as `to` has them. */
static fl_status
store_lines(struct mfs *fs, uint64_t off, const uint8_t *to, uint64_t len)
{
    fl_status status = FL_OK;

    for (uint64_t at = 0; status == FL_OK && at < len; at += 64) {
        const size_t part = len - at < 64 ? (size_t)(len - at) : 64;

        if (memcmp(mfs_media_live(fs->media) + off + at, to + at, part) != 0) {
            mfs_media_store(fs->media, off + at, to + at, part);
            status = fs_flush(fs, off + at, part);
        }
    }
    return status;
}

/* What the journal and the spare copies know is put where it belongs; the journal is empty then. A clean device is not
 * written to. */
static fl_status
write_recovered(struct mfs *fs, const struct mfs_image *image)
{
    const struct mfs_geometry *g = &fs->geometry;
    struct mfs_super_rec super;

    if (image->replayed == 0 && !image->spares_differ) {
        return FL_OK;
    }
    mfs_super_encode(g, &super);
    fl_status status = store_lines(fs, 0, (const uint8_t *)&super, sizeof(super));

    if (status == FL_OK) {
        status = store_lines(fs, MFS_SUPER_COPY_OFF, (const uint8_t *)&super, sizeof(super));
    }
    if (status == FL_OK) {
        status =
            store_lines(fs, g->inodes_off, image->inodes, g->inodes * sizeof(struct mfs_inode_rec));
    }
    if (status == FL_OK) {
        status = store_lines(fs, g->extents_off, image->extents,
                             g->extents * sizeof(struct mfs_extent_rec));
    }
    return status == FL_OK ? journal_checkpoint(fs) : status;
}

/* Rule C11: no mapping outlives a mount. */
static fl_status
forget_flags(struct mfs *fs)
{
    if (!fs->read_only) {
        return sync_clear_flags(fs, NULL);
    }
    for (uint32_t slot = 0; slot < fs->geometry.extents; slot++) {
        fs->extents[slot].flags &= ~(uint32_t)MFS_EXTENT_NOSYNC;
    }
    return FL_OK;
}

static fl_status
recover(struct mfs *fs, const struct mfs_image *image)
{
    fs->geometry = image->geometry;
    fs->seq_next = image->seq_next;
    fs->head_off = MFS_JOURNAL_FRONT;
    fs->counts.replayed = image->replayed;
    fl_status status = make_arrays(fs);

    if (status == FL_OK) {
        status = load_tables(fs, image);
    }
    if (status == FL_OK && !fs->read_only) {
        status = write_recovered(fs, image);
    }
    return status == FL_OK ? forget_flags(fs) : status;
}

fl_status
mfs_mount(struct mfs_media *media, const struct mfs_mount_options *options, struct mfs **out)
{
    struct mfs_image image;
    struct mfs *fs = NULL;
    fl_status status =
        mfs_image_init(&image, mfs_media_live(media), mfs_media_size_bytes(media), NULL, NULL);

    if (status == FL_OK) {
        status = mfs_image_judge(&image);
    }
    if (status == FL_OK && image.damaged > 0) {
        status = FL_FAIL(FL_CORRUPT, "%s", image.damaged_text);
    }
    if (status == FL_OK) {
        fs = mem_alloc_zero(sizeof(*fs));
        status = fs != NULL ? FL_OK : FL_FAIL(FL_NO_MEMORY, "to mount");
    }
    if (status == FL_OK) {
        fs->media = media;
        fs->engine = options->engine;
        fs->mutant = options->mutant;
        fs->read_only = options->read_only;
        status = mfs_cpu_create(media, &fs->cpu);
    }
    if (status == FL_OK) {
        status = recover(fs, &image);
    }
    mfs_image_deinit(&image);
    if (status == FL_OK) {
        *out = fs;
    } else {
        mfs_abandon(fs);
    }
    return status;
}

static fl_status
settle(struct mfs *fs)
{
    fl_status status = mfs_fsync(fs, 0);

    if (status == FL_OK) {
        status = sync_clear_flags(fs, NULL);
    }
    if (status == FL_OK && fs->head_off > MFS_JOURNAL_FRONT) {
        status = journal_checkpoint(fs);
    }
    return status;
}

void
mfs_unmount(struct mfs *fs)
{
    for (uint32_t i = 0; i < fs->geometry.inodes; i++) {
        revoke_all(fs, &fs->inodes[i], 0, MFS_LOGICAL_MAX);
        revoke_empty(fs, &fs->inodes[i], 0, MFS_LOGICAL_MAX, true);
    }
    if (!fs->read_only && (fs->shut || settle(fs) != FL_OK)) {
        /* Of what is not durable the next mount must see nothing: it takes for durable what it reads. */
        static const struct mfs_choices none;

        const fl_status status = mfs_media_cut(fs->media, &none, NULL);

        FL_ASSERT(status == FL_OK); /* there is nothing to pick wrongly */
    }
    mfs_abandon(fs);
}

void
mfs_abandon(struct mfs *fs)
{
    if (fs == NULL) {
        return;
    }
    map_free_all(fs);
    for (uint32_t i = 0; fs->inodes != NULL && i < fs->geometry.inodes; i++) {
        mem_free(fs->inodes[i].slots);
    }
    mem_free(fs->inodes);
    mem_free(fs->extents);
    mem_free(fs->refs);
    mem_free(fs->held);
    mem_free(fs->inodes_dirty.list);
    mem_free(fs->inodes_dirty.is);
    mem_free(fs->extents_dirty.list);
    mem_free(fs->extents_dirty.is);
    mem_free(fs->released.list);
    mem_free(fs->undo.slots);
    mem_free(fs->undo.inodes);
    mem_free(fs->undo.taken.list);
    if (fs->cpu != NULL) {
        mfs_cpu_destroy(fs->cpu);
    }
    mem_free(fs);
}

uint32_t
mfs_block_bytes(const struct mfs *fs)
{
    return fs->geometry.block_bytes;
}

uint64_t
mfs_data_off(const struct mfs *fs)
{
    return fs->geometry.data_off;
}

struct mfs_counts
mfs_counts(const struct mfs *fs)
{
    return fs->counts;
}
