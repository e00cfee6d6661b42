#include "tests/contract/model_adapter.h"

#include "tests/lib/die.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { JOURNAL_BYTES = 16 * 1024, INODES = 8, AREA_BYTES = 64 * 1024 };

static struct model *
model_of(struct adapter *a)
{
    return (struct model *)(void *)a; /* its first member */
}

struct mfs_map *
model_map(struct mapping *map)
{
    return (struct mfs_map *)(void *)map;
}

uint64_t
model_ino(struct model *m, const char *name)
{
    uint64_t ino = 0;

    return mfs_lookup(m->fs, name, &ino) == FL_OK ? ino : 0;
}

/* ---- files ---- */

static fl_status
op_create(struct adapter *a, const char *name)
{
    uint64_t ino;

    return mfs_create(model_of(a)->fs, name, &ino);
}

static fl_status
op_rename(struct adapter *a, const char *from, const char *to)
{
    return mfs_rename(model_of(a)->fs, from, to);
}

static fl_status
op_size(struct adapter *a, const char *name, uint64_t *bytes)
{
    struct mfs_stat st;
    uint64_t ino;

    fl_status status = mfs_lookup(model_of(a)->fs, name, &ino);
    if (status == FL_OK) {
        status = mfs_stat(model_of(a)->fs, ino, &st);
        *bytes = st.size_bytes;
    }
    return status;
}

static fl_status
op_read(struct adapter *a, const char *name, uint64_t off, void *buf, size_t len, size_t *done)
{
    uint64_t ino;

    const fl_status status = mfs_lookup(model_of(a)->fs, name, &ino);
    return status != FL_OK ? status : mfs_read(model_of(a)->fs, ino, off, buf, len, done);
}

static fl_status
op_write(struct adapter *a, const char *name, uint64_t off, const void *buf, size_t len)
{
    uint64_t ino;
    size_t done = 0;

    const fl_status status = mfs_lookup(model_of(a)->fs, name, &ino);
    return status != FL_OK ? status : mfs_write(model_of(a)->fs, ino, off, buf, len, &done);
}

static fl_status
op_truncate(struct adapter *a, const char *name, uint64_t bytes)
{
    return mfs_truncate(model_of(a)->fs, model_ino(model_of(a), name), bytes);
}

static fl_status
op_allocate(struct adapter *a, const char *name, uint64_t off, uint64_t len)
{
    return mfs_allocate(model_of(a)->fs, model_ino(model_of(a), name), off, len, false);
}

static fl_status
op_punch(struct adapter *a, const char *name, uint64_t off, uint64_t len)
{
    return mfs_punch(model_of(a)->fs, model_ino(model_of(a), name), off, len);
}

static fl_status
op_collapse(struct adapter *a, const char *name, uint64_t off, uint64_t len)
{
    return mfs_collapse(model_of(a)->fs, model_ino(model_of(a), name), off, len);
}

static fl_status
op_clone(struct adapter *a, const char *from, const char *to)
{
    struct model *m = model_of(a);

    return mfs_clone(m->fs, model_ino(m, from), model_ino(m, to));
}

static fl_status
op_sync(struct adapter *a, const char *name)
{
    struct model *m = model_of(a);

    return mfs_fsync(m->fs, name != NULL ? model_ino(m, name) : 0);
}

/* ---- mappings ---- */

static fl_status
op_map(struct adapter *a, const char *name, uint32_t blocks, bool nosync, struct mapping **out)
{
    struct model *m = model_of(a);
    struct mfs_map *map = NULL;

    const fl_status status = mfs_map_open(m->fs, model_ino(m, name), 0, blocks,
                                          nosync ? MFS_MAP_NOSYNC : MFS_MAP_PLAIN, NULL, &map);
    if (status == FL_OK) {
        *out = (struct mapping *)(void *)map;
    }
    return status;
}

static void
op_unmap(struct adapter *a, struct mapping *map)
{
    mfs_pte_unmap(model_of(a)->table, model_map(map));
    if (mfs_map_close(model_map(map)) != FL_OK) {
        (void)fprintf(stderr, "unmap: %s\n", fl_last_error());
    }
}

static fl_status
op_load(struct adapter *a, struct mapping *map, uint64_t off, void *buf, size_t len)
{
    return mfs_pte_load(model_of(a)->table, model_map(map), off, buf, len);
}

static fl_status
op_store(struct adapter *a, struct mapping *map, uint64_t off, const void *src, size_t len)
{
    return mfs_pte_store(model_of(a)->table, model_map(map), off, src, len);
}

static fl_status
op_flush(struct adapter *a, struct mapping *map, uint64_t off, size_t len)
{
    struct model *m = model_of(a);

    return mfs_pte_flush(m->table, model_map(map), m->cpu, off, len);
}

static fl_status
op_fence(struct adapter *a)
{
    return mfs_cpu_fence(model_of(a)->cpu);
}

static const char *
op_populate(struct adapter *a, struct mapping *map, uint32_t block, uint32_t blocks)
{
    (void)a;
    const fl_status status = mfs_populate(model_map(map), block, blocks);
    return status == FL_OK ? NULL : fl_status_name(status);
}

/* ---- looking ---- */

static uint64_t
op_commits(struct adapter *a)
{
    return mfs_counts(model_of(a)->fs).commits;
}

static uint64_t
op_faults(struct adapter *a)
{
    const struct mfs_counts counts = mfs_counts(model_of(a)->fs);

    return counts.faults_read + counts.faults_write;
}

static bool
extent_of(struct adapter *a, const char *name, uint32_t block, struct mfs_extent *out)
{
    struct model *m = model_of(a);

    return mfs_extent_at(m->fs, model_ino(m, name), block, out) == FL_OK && out->logical <= block &&
           block - out->logical < out->blocks;
}

static enum extent
op_extent(struct adapter *a, const char *name, uint32_t block)
{
    struct mfs_extent e;

    if (!extent_of(a, name, block, &e)) {
        return EXTENT_HOLE;
    }
    return (e.flags & MFS_EXTENT_UNWRITTEN) != 0 ? EXTENT_UNWRITTEN : EXTENT_WRITTEN;
}

static enum flag
op_flag(struct adapter *a, const char *name, uint32_t block)
{
    struct mfs_extent e;

    return extent_of(a, name, block, &e) && (e.flags & MFS_EXTENT_NOSYNC) != 0 ? FLAG_SET
                                                                               : FLAG_CLEAR;
}

/* ---- the rest ---- */

static fl_status
op_map_unsupported(struct adapter *a)
{
    const struct mfs_media_source source = {.size_bytes = 256 * 1024};
    const struct mfs_format format = {.inodes = 4, .journal_bytes = 8192, .without_nosync = true};
    struct model m = {.adapter = {.ops = a->ops}};
    struct mapping *map = NULL;

    if (mfs_media_open(&source, &m.media) != FL_OK || mfs_format(m.media, &format) != FL_OK ||
        mfs_cpu_create(m.media, &m.cpu) != FL_OK ||
        mfs_pte_table_create(m.media, &m.table) != FL_OK || model_mount(&m) != FL_OK ||
        op_create(&m.adapter, "f") != FL_OK) {
        die("a device without no-sync mappings: %s", fl_last_error());
    }
    const fl_status status = op_map(&m.adapter, "f", 1, true, &map);
    model_destroy(&m);
    return status;
}

static fl_status
fail_fences(void *context, enum mfs_step step, uint64_t off, uint64_t len)
{
    (void)context;
    (void)off;
    (void)len;
    return step == MFS_STEP_FENCE ? FL_IO : FL_OK;
}

static fl_status
op_fail_commits(struct adapter *a)
{
    mfs_media_set_hooks(model_of(a)->media, &(struct mfs_hooks){.step = fail_fences});
    return FL_OK;
}

static uint64_t
op_recover_again(struct adapter *a)
{
    struct model *m = model_of(a);

    model_abandon(m);
    if (mfs_media_cut_random(m->media, 0) != FL_OK || model_mount(m) != FL_OK) {
        die("a second recovery: %s", fl_last_error());
    }
    return mfs_counts(m->fs).commits;
}

static const struct adapter_ops model_ops = {
    .create = op_create,
    .rename = op_rename,
    .size = op_size,
    .read = op_read,
    .write = op_write,
    .truncate = op_truncate,
    .allocate = op_allocate,
    .punch = op_punch,
    .collapse = op_collapse,
    .clone = op_clone,
    .sync = op_sync,
    .map = op_map,
    .unmap = op_unmap,
    .load = op_load,
    .store = op_store,
    .flush = op_flush,
    .fence = op_fence,
    .populate = op_populate,
    .commits = op_commits,
    .faults = op_faults,
    .extent = op_extent,
    .flag = op_flag,
    .map_unsupported = op_map_unsupported,
    .fail_commits = op_fail_commits,
    .recover_again = op_recover_again,
};

void
model_create(struct model *m, uint32_t blocks, enum mfs_mutant mutant)
{
    const struct mfs_media_source source = {.size_bytes = AREA_BYTES + (uint64_t)blocks * BLOCK};
    const struct mfs_format format = {
        .inodes = INODES, .journal_bytes = JOURNAL_BYTES, .uuid = {1}};

    *m = (struct model){.adapter = {.ops = &model_ops, .loses_lines = true}, .mutant = mutant};
    if (mfs_media_open(&source, &m->media) != FL_OK || mfs_format(m->media, &format) != FL_OK ||
        mfs_cpu_create(m->media, &m->cpu) != FL_OK ||
        mfs_pte_table_create(m->media, &m->table) != FL_OK || model_mount(m) != FL_OK) {
        die("a model device: %s", fl_last_error());
    }
}

void
model_destroy(struct model *m)
{
    model_abandon(m);
    mfs_pte_table_destroy(m->table);
    mfs_cpu_destroy(m->cpu);
    mfs_media_close(m->media);
}

fl_status
model_mount(struct model *m)
{
    const struct mfs_mount_options options = {.engine = mfs_pte_table_engine(m->table),
                                              .mutant = m->mutant};

    mfs_media_set_hooks(m->media, NULL);
    const fl_status status = mfs_mount(m->media, &options, &m->fs);
    if (status == FL_OK) {
        mfs_pte_table_mounted(m->table, m->fs, mfs_data_off(m->fs));
    }
    return status;
}

void
model_abandon(struct model *m)
{
    if (m->fs != NULL) {
        mfs_abandon(m->fs);
        m->fs = NULL;
    }
}
