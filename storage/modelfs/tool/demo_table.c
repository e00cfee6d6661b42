/* The demonstration over page tables in memory. */
#include "storage/modelfs/pte_table.h"
#include "storage/modelfs/tool/demo.h"

#include <stdlib.h>

struct table_world {
    struct demo_world world;
    struct mfs_media *media;
    struct mfs_pte_table *table;
    struct mfs_cpu *cpu; /* the application's */
    struct mfs *fs;
    struct mfs_map *map;
    uint64_t ino;
};

static struct table_world *
of(struct demo_world *world)
{
    return (struct table_world *)world;
}

static fl_status
mount_table(struct table_world *w)
{
    const struct mfs_mount_options options = {.engine = mfs_pte_table_engine(w->table)};
    const fl_status status = mfs_mount(w->media, &options, &w->fs);

    if (status == FL_OK) {
        mfs_pte_table_mounted(w->table, w->fs, mfs_data_off(w->fs));
    }
    return status;
}

static fl_status
table_begin(struct demo_world *world, enum mfs_map_kind kind)
{
    const struct mfs_media_source source = {.size_bytes = DEMO_DEVICE_BYTES};
    const struct mfs_format format = {.block_bytes = DEMO_BLOCK_BYTES};
    struct table_world *w = of(world);
    fl_status status = mfs_media_open(&source, &w->media);

    if (status == FL_OK) {
        status = mfs_format(w->media, &format);
    }
    if (status == FL_OK) {
        status = mfs_pte_table_create(w->media, &w->table);
    }
    if (status == FL_OK) {
        status = mfs_cpu_create(w->media, &w->cpu);
    }
    if (status == FL_OK) {
        status = mount_table(w);
    }
    if (status == FL_OK) {
        status = mfs_create(w->fs, DEMO_FILE, &w->ino);
    }
    return status == FL_OK ? mfs_map_open(w->fs, w->ino, 0, 2, kind, NULL, &w->map) : status;
}

static fl_status
table_resize(struct demo_world *world, uint64_t size_bytes)
{
    return mfs_truncate(of(world)->fs, of(world)->ino, size_bytes);
}

static fl_status
table_sync(struct demo_world *world)
{
    return mfs_fsync(of(world)->fs, 0);
}

static fl_status
table_store(struct demo_world *world, uint64_t off, const void *src, size_t len)
{
    return mfs_pte_store(of(world)->table, of(world)->map, off, src, len);
}

static fl_status
table_flush(struct demo_world *world, uint64_t off, size_t len)
{
    return mfs_pte_flush(of(world)->table, of(world)->map, of(world)->cpu, off, len);
}

static fl_status
table_fence(struct demo_world *world)
{
    /* order: the application's flushed lines before what it does next. It links them, or loses power. */
    return mfs_cpu_fence(of(world)->cpu);
}

static fl_status
table_commits(struct demo_world *world, uint64_t *commits)
{
    *commits = mfs_counts(of(world)->fs).commits;
    return FL_OK;
}

/* What the processor and the kernel had is gone; the media stays. */
static void
lose_power(struct table_world *w)
{
    mfs_abandon(w->fs);
    mfs_pte_table_destroy(w->table);
    w->fs = NULL;
    w->map = NULL;
    w->table = NULL;
}

static fl_status
table_cut(struct demo_world *world, uint64_t seed, struct mfs **fs)
{
    struct table_world *w = of(world);

    lose_power(w);
    fl_status status = mfs_media_cut_random(w->media, seed);

    if (status == FL_OK) {
        status = mfs_pte_table_create(w->media, &w->table);
    }
    if (status == FL_OK) {
        status = mount_table(w);
    }
    *fs = w->fs;
    return status;
}

static void
table_end(struct demo_world *world)
{
    struct table_world *w = of(world);

    if (w->fs != NULL) {
        mfs_abandon(w->fs);
    }
    if (w->table != NULL) {
        mfs_pte_table_destroy(w->table);
    }
    if (w->cpu != NULL) {
        mfs_cpu_destroy(w->cpu);
    }
    if (w->media != NULL) {
        mfs_media_close(w->media);
    }
    *w = (struct table_world){.world = w->world};
}

static const struct demo_world_ops table_ops = {
    .name = "page tables in memory",
    .begin = table_begin,
    .resize = table_resize,
    .sync = table_sync,
    .store = table_store,
    .flush = table_flush,
    .fence = table_fence,
    .commits = table_commits,
    .cut = table_cut,
    .end = table_end,
};

struct demo_world *
demo_table_create(void)
{
    struct table_world *w = calloc(1, sizeof(*w));

    if (w == NULL) {
        return NULL;
    }
    w->world.ops = &table_ops;
    return &w->world;
}
