/* Names and files. */
#include "storage/modelfs/fs_internal.h"

#include "base/fail.h"

#include <inttypes.h>
#include <string.h>

static struct inode *
find_name(struct mfs *fs, const char *name)
{
    for (uint32_t i = 0; i < fs->geometry.inodes; i++) {
        if (fs->inodes[i].state.ino != 0 && strcmp(fs->inodes[i].state.name, name) == 0) {
            return &fs->inodes[i];
        }
    }
    return NULL;
}

static fl_status
not_found(const char *name)
{
    return FL_FAIL(FL_NOT_FOUND, "no file %s", name);
}

static fl_status
check_name(const char *name)
{
    if (!mfs_name_valid(name, strnlen(name, MFS_NAME_BYTES_MAX + 1))) {
        return FL_FAIL(FL_INVALID, "not a name: 1 to %d bytes without a slash, not . or ..",
                       MFS_NAME_BYTES_MAX);
    }
    return FL_OK;
}

fl_status
inode_get(struct mfs *fs, uint64_t ino, struct inode **out)
{
    *out = inode_of(fs, ino);
    return *out != NULL ? FL_OK : FL_FAIL(FL_NOT_FOUND, "no file with number %#" PRIx64, ino);
}

static void
name_set(struct mfs_inode_state *state, const char *name)
{
    state->name_bytes = (uint32_t)strlen(name);
    memset(state->name, 0, sizeof(state->name));
    memcpy(state->name, name, state->name_bytes);
}

struct create {
    struct inode *inode;
    const char *name;
};

static fl_status
op_create(struct mfs *fs, void *args)
{
    const struct create *create = args;
    struct mfs_inode_state state = {.changed = 1};

    state.ino = (create->inode->state.changed + 1) << 32 | create->inode->index;
    name_set(&state, create->name);
    return txn_inode_set(fs, create->inode, &state);
}

fl_status
mfs_create(struct mfs *fs, const char *name, uint64_t *ino)
{
    struct create create = {NULL, name};
    fl_status status = fs_writable(fs);

    if (status == FL_OK) {
        status = check_name(name);
    }
    if (status != FL_OK) {
        return status;
    }
    if (find_name(fs, name) != NULL) {
        return FL_FAIL(FL_EXISTS, "there is a file %s", name);
    }
    for (uint32_t i = 0; create.inode == NULL && i < fs->geometry.inodes; i++) {
        /* A slot whose generations are used up stays free for ever. */
        if (fs->inodes[i].state.ino == 0 && fs->inodes[i].state.changed < UINT32_MAX) {
            create.inode = &fs->inodes[i];
        }
    }
    if (create.inode == NULL) {
        return FL_FAIL(FL_NO_SPACE, "all %" PRIu32 " inodes are used", fs->geometry.inodes);
    }
    status = txn_run(fs, op_create, &create, false);
    if (status == FL_OK) {
        *ino = create.inode->state.ino;
    }
    return status;
}

fl_status
mfs_lookup(struct mfs *fs, const char *name, uint64_t *ino)
{
    const struct inode *inode = find_name(fs, name);

    if (inode == NULL) {
        return not_found(name);
    }
    *ino = inode->state.ino;
    return FL_OK;
}

fl_status
inode_free(struct mfs *fs, struct inode *inode)
{
    const struct mfs_inode_state none = {.changed = inode->state.ino >> 32};
    const fl_status status = extent_cut(fs, inode, 0, MFS_LOGICAL_MAX, true);

    return status == FL_OK ? txn_inode_set(fs, inode, &none) : status;
}

static fl_status
op_unlink(struct mfs *fs, void *args)
{
    return inode_free(fs, args);
}

fl_status
mfs_unlink(struct mfs *fs, const char *name)
{
    struct inode *inode = find_name(fs, name);
    fl_status status = fs_writable(fs);

    if (status != FL_OK || inode == NULL) {
        return status != FL_OK ? status : not_found(name);
    }
    if (inode->maps != NULL) {
        return FL_FAIL(FL_BUSY, "%s is mapped", name);
    }
    status = txn_run(fs, op_unlink, inode, false);
    if (status == FL_TOO_LARGE) {
        status = mfs_truncate(fs, inode->state.ino, 0);
        if (status == FL_OK) {
            status = txn_run(fs, op_unlink, inode, false);
        }
    }
    mfs_retry_bus(fs);
    return status;
}

struct rename {
    struct inode *inode;
    struct inode *replaced; /* or NULL */
    const char *to;
};

static fl_status
op_rename(struct mfs *fs, void *args)
{
    const struct rename *rename = args;
    struct mfs_inode_state state = rename->inode->state;
    const fl_status status = rename->replaced == NULL ? FL_OK : inode_free(fs, rename->replaced);

    name_set(&state, rename->to);
    state.changed++;
    return status == FL_OK ? txn_inode_set(fs, rename->inode, &state) : status;
}

fl_status
mfs_rename(struct mfs *fs, const char *from, const char *to)
{
    fl_status status = fs_writable(fs);

    if (status == FL_OK) {
        status = check_name(to);
    }
    if (status != FL_OK) {
        return status;
    }
    struct rename rename = {find_name(fs, from), find_name(fs, to), to};

    if (rename.inode == NULL) {
        return not_found(from);
    }
    if (rename.inode == rename.replaced) {
        return FL_OK;
    }
    if (rename.replaced != NULL && rename.replaced->maps != NULL) {
        return FL_FAIL(FL_BUSY, "%s is mapped", to);
    }
    status = txn_run(fs, op_rename, &rename, false);
    mfs_retry_bus(fs);
    return status;
}

static void
fill_stat(const struct mfs *fs, const struct inode *inode, struct mfs_stat *out)
{
    *out = (struct mfs_stat){
        .ino = inode->state.ino,
        .size_bytes = inode->state.size_bytes,
        .changed = inode->state.changed,
        .maps = inode->maps_count,
        .maps_nosync = inode->maps_nosync,
    };
    memcpy(out->name, inode->state.name, inode->state.name_bytes);
    for (uint32_t i = 0; i < inode->count; i++) {
        out->blocks += extent_at(fs, inode, i)->blocks;
    }
}

fl_status
mfs_stat(struct mfs *fs, uint64_t ino, struct mfs_stat *out)
{
    struct inode *inode = NULL;
    const fl_status status = inode_get(fs, ino, &inode);

    if (status == FL_OK) {
        fill_stat(fs, inode, out);
    }
    return status;
}

fl_status
mfs_next(struct mfs *fs, uint32_t *slot, struct mfs_stat *out)
{
    while (*slot < fs->geometry.inodes) {
        const struct inode *inode = &fs->inodes[(*slot)++];

        if (inode->state.ino != 0) {
            fill_stat(fs, inode, out);
            return FL_OK;
        }
    }
    return FL_END;
}

struct mfs_statfs
mfs_statfs(const struct mfs *fs)
{
    struct mfs_statfs out = {
        .block_bytes = fs->geometry.block_bytes,
        .blocks = fs->geometry.blocks,
        .blocks_free = fs->blocks_free,
        .blocks_freeing = fs->blocks_freeing,
        .inodes = fs->geometry.inodes,
    };

    for (uint32_t i = 0; i < fs->geometry.inodes; i++) {
        out.inodes_free += fs->inodes[i].state.ino == 0;
    }
    return out;
}

/* Of blocks [first, end) of an extent, how many from `first` on are alike in being on media as they are here. */
static uint32_t
committed_alike(const struct mfs *fs, const struct mfs_extent_state *e, uint32_t first,
                uint32_t end, bool *committed)
{
    const uint8_t *table = mfs_media_live(fs->media) + fs->geometry.extents_off;
    uint32_t next = end; /* where one begins that is */

    for (uint32_t slot = 0; slot < fs->geometry.extents; slot++) {
        struct mfs_extent_state there;

        if (!mfs_extent_decode(table + (uint64_t)slot * sizeof(struct mfs_extent_rec), &there) ||
            there.ino != e->ino || there.flags != e->flags || there.logical >= end ||
            there.logical + there.blocks <= first ||
            there.physical - there.logical != e->physical - e->logical) {
            continue;
        }
        if (there.logical <= first) {
            *committed = true;
            return (there.logical + there.blocks < end ? there.logical + there.blocks : end) -
                   first;
        }
        next = there.logical < next ? there.logical : next;
    }
    *committed = false;
    return next - first;
}

fl_status
mfs_extent_at(struct mfs *fs, uint64_t ino, uint32_t block, struct mfs_extent *out)
{
    struct inode *inode = NULL;
    const fl_status status = inode_get(fs, ino, &inode);

    if (status != FL_OK) {
        return status;
    }
    const uint32_t index = extent_find(fs, inode, block);

    if (index == inode->count) {
        return FL_END;
    }
    const struct mfs_extent_state *e = extent_at(fs, inode, index);
    const uint32_t first = e->logical > block ? e->logical : block;
    const uint32_t physical = extent_physical(e, first);

    *out = (struct mfs_extent){
        .logical = first,
        .blocks = e->logical + e->blocks - first,
        .physical = physical,
        .flags = e->flags,
        .shared = fs->refs[physical] > 1,
        .committed = true,
    };
    if (fs->extents_dirty.is[inode->slots[index]] != 0) {
        out->blocks = committed_alike(fs, e, first, first + out->blocks, &out->committed);
    }
    for (uint32_t i = 1; i < out->blocks; i++) {
        if ((fs->refs[physical + i] > 1) != out->shared) {
            out->blocks = i;
        }
    }
    return FL_OK;
}
