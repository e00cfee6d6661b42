/* The lost block, shown. One course of events for two worlds: page tables in memory, where nothing but the model takes
 * part, and real mappings of this process served through userfaultfd. */
#ifndef FL_STORAGE_MODELFS_TOOL_DEMO_H
#define FL_STORAGE_MODELFS_TOOL_DEMO_H

#include "storage/modelfs/fs.h"

enum { DEMO_BLOCK_BYTES = 4096, DEMO_DEVICE_BYTES = 1024 * 1024 };

struct demo_world;

struct demo_world_ops {
    const char *name;
    /* A fresh device with an empty file, mapped over two blocks. */
    fl_status (*begin)(struct demo_world *world, enum mfs_map_kind kind);
    fl_status (*resize)(struct demo_world *world, uint64_t size_bytes);
    fl_status (*sync)(struct demo_world *world); /* fsync of the file and its name */
    fl_status (*store)(struct demo_world *world, uint64_t off, const void *src, size_t len);
    fl_status (*flush)(struct demo_world *world, uint64_t off, size_t len);
    fl_status (*fence)(struct demo_world *world);
    fl_status (*commits)(struct demo_world *world, uint64_t *commits); /* of metadata, so far */
    /* The power is cut; what was not fenced is drawn from `seed`. The device is mounted again: *media and *fs are what
     * is left, the caller's until end(). */
    fl_status (*cut)(struct demo_world *world, uint64_t seed, struct mfs **fs);
    void (*end)(struct demo_world *world); /* safe after any of the above has failed */
};

struct demo_world {
    const struct demo_world_ops *ops;
};

#define DEMO_FILE "list"

/* Owner: the caller, free(). NULL: no memory. */
struct demo_world *demo_table_create(void);
/* The device is made at `path`, and left there. */
struct demo_world *demo_mapped_create(const char *path);

#endif
