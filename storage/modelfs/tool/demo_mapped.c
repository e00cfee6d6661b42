/* The demonstration over real mappings: stores are stores, faults are page faults. */
#include "storage/modelfs/tool/demo.h"

#include <faultline/modelfs.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct mapped_world {
    struct demo_world world;
    const char *path;
    struct fl_modelfs *client;
    struct fl_modelfs_map *map;
    uint8_t *address;
    struct mfs_media *media; /* after the cut */
    struct mfs *fs;
};

static struct mapped_world *
of(struct demo_world *world)
{
    return (struct mapped_world *)world;
}

static fl_status
mapped_begin(struct demo_world *world, enum mfs_map_kind kind)
{
    struct mapped_world *w = of(world);
    struct fl_modelfs_options options;
    void *address = NULL;

    fl_modelfs_options_init(&options);
    options.flags = FL_MODELFS_HOST | FL_MODELFS_FORMAT;
    options.size_bytes = DEMO_DEVICE_BYTES;
    options.block_bytes = DEMO_BLOCK_BYTES;
    (void)unlink(w->path);
    fl_status status = fl_modelfs_attach(w->path, &options, &w->client);

    if (status == FL_OK) {
        status = fl_modelfs_create(w->client, DEMO_FILE);
    }
    if (status == FL_OK) {
        status = fl_modelfs_mmap(w->client, DEMO_FILE, 0, UINT64_C(2) * DEMO_BLOCK_BYTES,
                                 kind == MFS_MAP_NOSYNC ? FL_MODELFS_NOSYNC : FL_MODELFS_PLAIN,
                                 &w->map, &address);
    }
    w->address = address;
    return status;
}

static fl_status
mapped_resize(struct demo_world *world, uint64_t size_bytes)
{
    return fl_modelfs_truncate(of(world)->client, DEMO_FILE, size_bytes);
}

static fl_status
mapped_sync(struct demo_world *world)
{
    return fl_modelfs_fsync(of(world)->client, "");
}

static fl_status
mapped_store(struct demo_world *world, uint64_t off, const void *src, size_t len)
{
    memcpy(of(world)->address + off, src, len);
    return FL_OK;
}

static fl_status
mapped_flush(struct demo_world *world, uint64_t off, size_t len)
{
    fl_modelfs_flush(of(world)->map, of(world)->address + off, len);
    return FL_OK;
}

static fl_status
mapped_fence(struct demo_world *world)
{
    /* order: the application's flushed lines before what it does next. It links them, or loses power. */
    fl_modelfs_fence(of(world)->client);
    return FL_OK;
}

static fl_status
mapped_commits(struct demo_world *world, uint64_t *commits)
{
    struct fl_modelfs_figures figures = {.struct_bytes = sizeof(figures)};
    const fl_status status = fl_modelfs_figures(of(world)->client, &figures);

    *commits = figures.commits;
    return status;
}

static void
leave(struct mapped_world *w)
{
    if (w->map != NULL) {
        fl_modelfs_unmap(w->map);
        w->map = NULL;
    }
    if (w->client != NULL) {
        fl_modelfs_detach(w->client);
        w->client = NULL;
    }
}

static fl_status
mapped_cut(struct demo_world *world, uint64_t seed, struct mfs **fs)
{
    struct mapped_world *w = of(world);
    const struct mfs_media_source source = {.path = w->path};
    const struct mfs_mount_options options = {.read_only = false};
    fl_status status = fl_modelfs_powercut(w->client, seed);

    if (status != FL_OK) {
        return status;
    }
    leave(w);
    status = mfs_media_open(&source, &w->media);
    if (status == FL_OK) {
        status = mfs_mount(w->media, &options, &w->fs);
    }
    *fs = w->fs;
    return status;
}

static void
mapped_end(struct demo_world *world)
{
    struct mapped_world *w = of(world);

    leave(w);
    if (w->fs != NULL) {
        mfs_unmount(w->fs);
    }
    if (w->media != NULL) {
        mfs_media_close(w->media);
    }
    w->fs = NULL;
    w->media = NULL;
}

static const struct demo_world_ops mapped_ops = {
    .name = "real mappings, page faults answered through userfaultfd",
    .begin = mapped_begin,
    .resize = mapped_resize,
    .sync = mapped_sync,
    .store = mapped_store,
    .flush = mapped_flush,
    .fence = mapped_fence,
    .commits = mapped_commits,
    .cut = mapped_cut,
    .end = mapped_end,
};

struct demo_world *
demo_mapped_create(const char *path)
{
    struct mapped_world *w = calloc(1, sizeof(*w));

    if (w == NULL) {
        return NULL;
    }
    w->world.ops = &mapped_ops;
    w->path = path;
    return &w->world;
}
