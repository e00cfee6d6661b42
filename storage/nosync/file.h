/* What every kind on a real file shares: the open and locked file, its place in the address space, its
 * allocation. Internal to nosync/. */
#ifndef FL_STORAGE_NOSYNC_FILE_H
#define FL_STORAGE_NOSYNC_FILE_H

#include "storage/nosync/nosync.h"
#include "storage/nosync/trust.h"

#include <pthread.h>
#include <sys/uio.h>

struct dax;

/* dax: blocks that were faulted in lately, and the first one: those that are stored to. */
enum { HOT_MAX = 16 };

struct hot_range {
    uint64_t off;
    uint64_t len; /* 0: none */
};

struct nosync_file {
    struct nosync_map map; /* first: what callers hold */
    int fd;
    bool read_only;
    bool sigbus;
    uint8_t *base; /* of the reserved address space; NULL: none */
    uint64_t reserved_bytes;
    uint64_t size_bytes_max; /* of the request, rounded up to pages */
    uint32_t map_align;
    struct trust trust;
    struct dax *dax;
    struct hot_range hot[HOT_MAX]; /* under grow_lock */
    size_t hot_next;
    pthread_mutex_t grow_lock;  /* st_size, and blocks half allocated */
    _Atomic(uint64_t) end_seen; /* st_size as last read */
    atomic_bool failed;         /* page: a sync has failed; nothing is written any more */
    char *path;
};

static inline struct nosync_file *
file_of(struct nosync_map *map)
{
    return (struct nosync_file *)map;
}

/* The status for an errno of a system call on the file. */
fl_status file_status(int error);

/* Open or create, lock. On FL_OK the caller ends it with file_close(). */
FL_NODISCARD fl_status file_open(const struct nosync_request *request, struct nosync_file **out);

/* Remove the file again if this open created it. The open failed. */
void file_uncreate(struct nosync_file *file);

/* Unmap, unlock, free. */
void file_close(struct nosync_file *file);

/* Map all of size_bytes_max at once; what lies beyond the end of the file comes into being as it grows. */
FL_NODISCARD fl_status file_map_whole(struct nosync_file *file, bool writable);

/* Children of fork() don't get the mapping. */
void file_forbid_fork(void *base, uint64_t bytes);

/* Set grant.detail; cut if it is too long. */
void file_describe(struct nosync_file *file, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* st_size. To be asked before it is changed: who doesn't know it may cut the file. FL_IO. */
FL_NODISCARD fl_status file_size(struct nosync_file *file, uint64_t *end);
/* The same for showing: what it was when it was last to be had. */
uint64_t file_end(struct nosync_file *file);

/* Blocks for the range, without a change of st_size. FL_NO_SPACE gives back what was had of them.
 * FL_NOT_SUPPORTED: this filesystem allocates only by writing. Under grow_lock. */
FL_NODISCARD fl_status file_allocate(struct nosync_file *file, uint64_t off, uint64_t len);

/* st_size is at least `end`. */
FL_NODISCARD fl_status file_extend(struct nosync_file *file, uint64_t end);

/* FL_NOT_SUPPORTED: this filesystem can't. */
FL_NODISCARD fl_status file_punch(struct nosync_file *file, uint64_t off, uint64_t len);

/* The same for what a failed call leaves behind: as far as it goes, touching no error text. */
void file_give_back(struct nosync_file *file, uint64_t off, uint64_t len);

/* What every fault_in and punch must be asked for, and what may be asked of this file. */
FL_NODISCARD fl_status file_check_range(struct nosync_file *file, uint64_t off, uint64_t len);

/* The vtable calls that are the same for all kinds. */
fl_status file_op_sync(struct nosync_map *map);
uint64_t file_op_size_bytes(struct nosync_map *map);
uint64_t file_op_file_bytes(struct nosync_map *map);
void file_op_close(struct nosync_map *map);

/* ---- writing by system calls ---- */

/* Write all of `vec`, which is used up. Returns 0 or an errno. */
int file_write_all(int fd, struct iovec *vec, int vec_count, uint64_t off, int flags);
int file_write_zeros(struct nosync_file *file, uint64_t off, uint64_t len);

/* Give back what writing to [off, off + len) got before it failed, st_size too if nothing came behind it. Under
 * grow_lock. */
void file_undo_growth(struct nosync_file *file, uint64_t end_before, uint64_t off, uint64_t len);

/* ---- storing through the mapping ---- */

/* Page-table entries for writing. On MAP_SYNC the blocks' metadata is durable then. Not `allocated`: there may be no
 * space for them. */
FL_NODISCARD fl_status mapped_populate(struct nosync_file *file, uint64_t off, uint64_t len,
                                       bool allocated);
/* The same for blocks that had them and lost them; failing is no error, stores then fault. */
bool mapped_populate_again(struct nosync_file *file, uint64_t off, uint64_t len);

/* Zeros, durable as the kind goes; or only where there are none: a block that was there before, after a punch
 * that rolled back, still has its old bytes. */
FL_NODISCARD fl_status mapped_zero(struct nosync_map *map, uint64_t off, uint64_t len);
FL_NODISCARD fl_status mapped_zero_stale(struct nosync_map *map, uint64_t off, uint64_t len);

/* Punch; FL_NOT_SUPPORTED: zeroed instead. */
FL_NODISCARD fl_status mapped_punch(struct nosync_file *file, uint64_t off, uint64_t len);

/* ---- the kinds ---- */

/* Map the file and fill map.ops, media and grant. */
FL_NODISCARD fl_status page_map(struct nosync_file *file);
FL_NODISCARD fl_status volatile_map(struct nosync_file *file);
/* FL_NOT_GRANTED: not a file that MAP_SYNC is granted on. */
FL_NODISCARD fl_status dax_map(struct nosync_file *file);
void dax_unmap(struct nosync_file *file);
/* Addresses up to `end` can be used once st_size covers them. Under grow_lock. *zapped: other blocks have lost their
 * page-table entries by it. */
FL_NODISCARD fl_status dax_grow(struct nosync_file *file, uint64_t end, bool *zapped);
/* The blocks' side of it. */
extern const struct nosync_ops dax_ops;

/* ---- SIGBUS ---- */

FL_NODISCARD fl_status sigbus_add(const void *base, uint64_t bytes, struct nosync_bad **bad);
void sigbus_remove(const void *base);

#endif
