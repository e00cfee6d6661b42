/* The mapping: a file that grows by faulting blocks, and what durability it was granted.
 *
 * One vtable; the kinds are dax (MAP_SYNC through libpmem2), page (ordinary file, synchronous writes), volatile
 * (flush and fence on memory that a power cut takes), model (a file of a model device, with a path of its own form:
 * modelfs:DEVICE/NAME). No kind falls back to another in silence, and no caller above this header knows which one it
 * has.
 *
 * Addresses never move: address space for size_bytes_max is reserved at open, growth is mapped into it.
 */
#ifndef FL_STORAGE_NOSYNC_NOSYNC_H
#define FL_STORAGE_NOSYNC_NOSYNC_H

#include "storage/persist/pm.h"

#include <faultline/faultline.h>

#include <stdatomic.h>

struct nosync_request {
    const char *path;
    enum fl_mapping mapping;           /* AUTO: the strongest that the file grants */
    enum fl_durability durability_min; /* POWERCUT lets UNVERIFIED through */
    bool create;                       /* if absent; fsyncs file and directory */
    bool exclusive;                    /* with create: FL_EXISTS if it is there */
    bool read_only;
    bool sigbus;             /* install the SIGBUS handler (chains); see nosync_guard() */
    uint64_t size_bytes_max; /* address space to reserve, >= the file's present size */
    uint32_t map_align;      /* alignment of the address, a power of two (2 MiB) */
    uint32_t block_bytes; /* model, if the device is made: its blocks, as near as it can; 0: 4096 */
};

/* What was granted: shared mapping, MAP_SYNC accepted by VALIDATE and the effective granularity, never a flag that is
 * only shown. */
struct nosync_grant {
    enum fl_mapping mapping;
    enum fl_durability durability;
    bool created;
    /* "clwb, NT stores on ext4", "pwritev2 RWF_DSYNC on ext4", "... forced by PMEM2_FORCE_GRANULARITY" */
    char detail[96];
};

struct nosync_map;

/* The vtable. Tests and the model make maps of their own with it. */
struct nosync_ops {
    /* Blocks [off, off + len) exist, their metadata is durable, they are populated for writing and read as zeros,
     * durably. Grows the file if it ends before. FL_NO_SPACE leaves the file as it was. Threads: any, on
     * disjoint ranges. */
    fl_status (*fault_in)(struct nosync_map *map, uint64_t off, uint64_t len);
    /* Give the blocks back; they read as zeros. May roll back in a power cut. FL_NOT_SUPPORTED: the range keeps its
     * blocks and has been zeroed instead. */
    fl_status (*punch)(struct nosync_map *map, uint64_t off, uint64_t len);
    /* Everything, metadata included, is durable (fsync). */
    fl_status (*sync_file)(struct nosync_map *map);
    uint64_t (*size_bytes)(struct nosync_map *map); /* st_size; never shrinks while open */
    uint64_t (*file_bytes)(struct nosync_map *map); /* st_blocks x 512 */
    void (*close)(struct nosync_map *map);
};

/* Pages that a shielded load found unreadable. */
struct nosync_bad {
    _Atomic(uint64_t) pages; /* how many */
    _Atomic(uint64_t) *bits; /* a bit a page */
    uint64_t pages_max;
};

struct nosync_map {
    const struct nosync_ops *ops;
    struct pm_media media;
    struct nosync_grant grant;
    struct nosync_bad *bad; /* NULL: without the SIGBUS handler */
};

/* Open the file, lock it (flock: exclusive, shared if read_only; FL_BUSY), map it.
 * Owner: the caller, nosync_close().
 * Errors: FL_NOT_GRANTED (text names what was granted and, on tmpfs, durability process), FL_BUSY, FL_NOT_FOUND,
 * FL_EXISTS, FL_NOT_SUPPORTED (dax: shared extents, see docs), FL_INVALID (not a regular file), FL_IO, FL_NO_MEMORY. */
FL_NODISCARD fl_status nosync_open(const struct nosync_request *request, struct nosync_map **out);

/* The name of the file at `path`, new or changed, is durable. FL_IO, FL_NO_MEMORY. */
FL_NODISCARD fl_status nosync_sync_directory(const char *path);

/* ---- names, of ordinary files and of files of model devices ---- */

/* What the path leads to if it is a link. Owner: the caller, free(). FL_IO. */
FL_NODISCARD fl_status nosync_name_real(const char *path, char **out);
FL_NODISCARD fl_status nosync_name_exists(const char *path, bool *out);
/* Who may read `as` may read `path`. FL_IO. */
FL_NODISCARD fl_status nosync_name_permit(const char *path, const char *as);
FL_NODISCARD fl_status nosync_name_remove(const char *path);
/* `with` takes the place of `path`, by one step that a crash undoes or doesn't; what was there is called `old` then, a
 * name that is free. Durable on return. */
FL_NODISCARD fl_status nosync_name_replace(const char *path, const char *with, const char *old);

/* ---- pages that can't be read ---- */

/* The first run of bad pages that begins or goes on at *off or behind it, and before `end`: to *off and *len. */
bool nosync_bad_next(const struct nosync_map *map, uint64_t *off, uint64_t end, uint64_t *len);
/* The pages in this range were made anew. */
void nosync_bad_forget(struct nosync_map *map, uint64_t off, uint64_t len);

static inline uint64_t
nosync_bad_pages(const struct nosync_map *map)
{
    return map->bad != NULL ? atomic_load_explicit(&map->bad->pages, memory_order_relaxed) : 0;
}

static inline fl_status
nosync_fault_in(struct nosync_map *map, uint64_t off, uint64_t len)
{
    return map->ops->fault_in(map, off, len);
}

static inline fl_status
nosync_punch(struct nosync_map *map, uint64_t off, uint64_t len)
{
    return map->ops->punch(map, off, len);
}

static inline fl_status
nosync_sync_file(struct nosync_map *map)
{
    return map->ops->sync_file(map);
}

static inline uint64_t
nosync_size_bytes(struct nosync_map *map)
{
    return map->ops->size_bytes(map);
}

static inline uint64_t
nosync_file_bytes(struct nosync_map *map)
{
    return map->ops->file_bytes(map);
}

static inline void
nosync_close(struct nosync_map *map)
{
    if (map != NULL) {
        map->ops->close(map);
    }
}

/* SIGBUS backstop: run `body(context)`; false if a load or store on a mapping of ours raised SIGBUS inside it
 * (no space, media poison). Only with request.sigbus; otherwise it just calls `body`. What `body` held (locks,
 * memory) when it was ended is the caller's to know. Threads: any. */
bool nosync_guard(void (*body)(void *context), void *context);

/* The same for loads that nothing may end half way: from begin to end a load of this thread that raises SIGBUS finds
 * zeros in that page, and the page is noted as bad. Zeros validate as nothing, so that what goes by checks sees damage;
 * who takes bytes without checking them, or keeps them after, asks nosync_is_bad() about them before the end. Not for
 * stores. May be nested; costs no system call. Threads: any, each its own. */
void nosync_shield_begin(void);
void nosync_shield_end(void);

/* Was a page of [off, off + len) found bad? */
static inline bool
nosync_is_bad(const struct nosync_map *map, uint64_t off, uint64_t len)
{
    uint64_t run = 0;

    return __builtin_expect(nosync_bad_pages(map) != 0, 0) &&
           nosync_bad_next(map, &off, off + len, &run);
}

#endif
