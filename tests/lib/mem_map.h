/* A file in memory behind the mapping's vtable: what storage code is tested over where the kernel
 * is not the subject.
 *
 * The "file" outlives the mappings of it, so that a test can close a store and open it again, or lay
 * a crash image under it. What a kernel does to the real kinds can be made to happen here on purpose: the
 * N-th call fails, space runs out and comes back, every step is told to a recorder.
 *
 *   PM_DIRECT  real stores and flush instructions into the memory (as kind volatile)
 *   PM_HOOKED  every store, flush and fence goes through this file and can be recorded
 *   PM_STAGED  the memory changes only by write_durable and write_through (as kind page)
 *
 * A store to a block that was never faulted in or has been punched is a bug of the code under test and ends
 * the program: with a text on hooked and staged media, by SIGSEGV on direct ones if `guard` is set.
 *
 * Threads: the vtable's calls may come from any thread; the mem_map_ calls come from one, while no
 * other is inside the vtable, but for mem_map_set_space() and the counters.
 */
#ifndef FL_TESTS_LIB_MEM_MAP_H
#define FL_TESTS_LIB_MEM_MAP_H

#include "storage/nosync/nosync.h"

struct mem_map;

enum mem_map_event_kind {
    MEM_MAP_STORE, /* hooked: `len` bytes of `src` to `off`; `atomic`: one aligned 8-byte store */
    MEM_MAP_FLUSH, /* hooked: the lines of [off, off + len) */
    MEM_MAP_FENCE, /* hooked: by the thread that is calling */
    MEM_MAP_WRITE, /* staged: unsynced write of `len` bytes of `src` to `off` */
    MEM_MAP_SYNC,  /* staged: `len` WRITEs just before it are durable; `all`: every one ever made */
    MEM_MAP_FAULT_IN, /* [off, off + len) becomes durable zeros, the file at least so long */
    MEM_MAP_PUNCH, /* [off, off + len) becomes zeros, which may roll back until MEM_MAP_SYNC_FILE */
    MEM_MAP_SYNC_FILE,
};

struct mem_map_event {
    enum mem_map_event_kind kind;
    bool atomic;
    bool all;
    uint64_t off;
    uint64_t len;
    const void *src;
};

/* Told just before the event takes effect, so that the bytes it replaces can still be read; not told of
 * calls that fail. May sleep, to hold a call up. Comes from the thread that makes the call: a recorder for several
 * threads locks for itself. */
typedef void (*mem_map_recorder)(void *context, const struct mem_map_event *event);

struct mem_map_options {
    enum pm_mode mode;
    uint64_t size_bytes_max; /* a multiple of 4096 */
    bool eadr;
    bool guard;                /* direct: page protection finds stores to blocks not faulted in */
    uint64_t space_bytes;      /* as mem_map_set_space(); 0: no limit */
    mem_map_recorder recorder; /* NULL: none */
    void *recorder_context;
};

/* Owner: the caller, mem_map_destroy() after the mapping has been closed. Ends the program if memory is
 * lacking. The file is empty: size_bytes is 0. */
struct mem_map *mem_map_create(const struct mem_map_options *options);
void mem_map_destroy(struct mem_map *mem);

/* Map the file. One mapping at a time; nosync_close() ends it and leaves the file. Grants: direct is volatile
 * (process), staged is page, hooked is model (both powercut); created is true while the file is empty. */
struct nosync_map *mem_map_open(struct mem_map *mem);

/* Change or remove the recorder. */
void mem_map_record(struct mem_map *mem, mem_map_recorder recorder, void *context);

/* ---- images ---- */

/* The file becomes these bytes: all of them blocks that exist, nothing behind. No mapping may be open. Clears a
 * failed sync. */
void mem_map_load(struct mem_map *mem, const void *image, uint64_t len);

/* Copy the file, size_bytes of it, to a new buffer that the caller frees; its length to *len. */
void *mem_map_copy(const struct mem_map *mem, uint64_t *len);

/* The file's bytes themselves, for damaging them or for a crash explorer to put back; size_bytes_max of them.
 * With `guard` writable only where blocks exist. */
uint8_t *mem_map_bytes(struct mem_map *mem);

uint64_t mem_map_size_bytes(const struct mem_map *mem);

/* ---- faults ---- */

enum mem_map_call {
    MEM_MAP_CALL_FAULT_IN,
    MEM_MAP_CALL_PUNCH,
    MEM_MAP_CALL_WRITE_DURABLE, /* staged: a drain */
    MEM_MAP_CALL_WRITE_THROUGH, /* staged */
    MEM_MAP_CALL_SYNC_FILE,
    MEM_MAP_CALLS,
};

struct mem_map_failure {
    enum mem_map_call call;
    uint64_t nth; /* counted from now: 1 is the next */
    fl_status status;
    bool applied; /* it takes effect all the same: "outcome unknown" */
    bool sticky;  /* every later call of any kind fails with FL_IO, as after a failed sync */
};

/* One plan per kind of call; a new one replaces the old, nth 0 removes it. */
void mem_map_fail(struct mem_map *mem, const struct mem_map_failure *failure);

/* How many bytes of blocks (4 KiB each) may exist; fault_in over it is FL_NO_SPACE and changes nothing. 0: no limit. */
void mem_map_set_space(struct mem_map *mem, uint64_t space_bytes);

/* Calls made since mem_map_create(), failed ones included. */
uint64_t mem_map_calls(struct mem_map *mem, enum mem_map_call call);

#endif
