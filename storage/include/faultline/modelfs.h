/* Faultline: the model filesystem's client. Map a file of a model device no-sync, from one or several processes, on a
 * machine without persistent memory, and see what a power cut would leave.
 *
 * A device is an ordinary file made by `faultline-modelfs format`. One process hosts it: `faultline-modelfs serve` or
 * `mount`, or the first program that attaches and finds no host. Files on it are mapped with userfaultfd: a first store
 * to a block is answered by the host, which makes the block's metadata durable on the device before the store goes on.
 * What is flushed and fenced with the calls below is in the device's persisted image; a simulated power cut (or a
 * real kill of everything) keeps that and loses the rest. The device file itself is written without sync calls: it
 * survives crashes of processes, not of this machine.
 *
 * Rules and their reasons: docs/contract.md. Format and daemon: docs/modelfs.md.
 */
#ifndef FAULTLINE_MODELFS_H
#define FAULTLINE_MODELFS_H

#include <faultline/status.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct fl_modelfs;     /* a device that this process is attached to */
struct fl_modelfs_map; /* a mapping of one of its files */

enum fl_modelfs_attach_flags {
    FL_MODELFS_HOST = 1,   /* host it here if nobody does; else FL_NOT_FOUND without a host */
    FL_MODELFS_FORMAT = 2, /* with HOST: if the device is absent, make it */
};

struct fl_modelfs_options {
    size_t struct_bytes;  /* sizeof(struct fl_modelfs_options) */
    unsigned flags;       /* enum fl_modelfs_attach_flags */
    uint64_t size_bytes;  /* FORMAT: of the device; default 1 GiB, allocated in full */
    uint32_t block_bytes; /* FORMAT: default 4096, up to 2 MiB */
};
FL_API void fl_modelfs_options_init(struct fl_modelfs_options *options);

/* Attach to the device at `path`.
 *
 * Owner:   the caller, fl_modelfs_detach().
 * Threads: any; several attachments of one process work.
 * Errors:  FL_NOT_FOUND (no device; or no host and not FL_MODELFS_HOST), FL_BUSY (a host that doesn't answer holds it),
 *          FL_CORRUPT, FL_VERSION, FL_NOT_SUPPORTED (no userfaultfd here: the text says what to do), FL_NO_MEMORY,
 *          FL_IO */
FL_API FL_NODISCARD fl_status fl_modelfs_attach(const char *path,
                                                const struct fl_modelfs_options *options,
                                                struct fl_modelfs **out);
/* Unmaps what is mapped. If this attachment hosts the device, the host commits and ends: whoever else is attached
 * loses access (SIGBUS, FL_CLOSED). */
FL_API void fl_modelfs_detach(struct fl_modelfs *fs);

FL_API uint32_t fl_modelfs_block_bytes(const struct fl_modelfs *fs);

/* ---- files; the same rules as system calls on them, docs/contract.md ---- */

/* All: FL_NOT_FOUND (no such file), FL_INVALID (name or range), FL_NO_SPACE, FL_BUSY, FL_CLOSED (the host is gone),
 * FL_IO (it has failed a commit). Threads: any. */
FL_API FL_NODISCARD fl_status fl_modelfs_create(struct fl_modelfs *fs, const char *name);
FL_API FL_NODISCARD fl_status fl_modelfs_unlink(struct fl_modelfs *fs, const char *name);
FL_API FL_NODISCARD fl_status fl_modelfs_rename(struct fl_modelfs *fs, const char *from,
                                                const char *to);
FL_API FL_NODISCARD fl_status fl_modelfs_clone(struct fl_modelfs *fs, const char *from,
                                               const char *to);
FL_API FL_NODISCARD fl_status fl_modelfs_size(struct fl_modelfs *fs, const char *name,
                                              uint64_t *size_bytes, uint64_t *allocated_bytes);
FL_API FL_NODISCARD fl_status fl_modelfs_read(struct fl_modelfs *fs, const char *name, uint64_t off,
                                              void *buf, size_t len, size_t *done);
FL_API FL_NODISCARD fl_status fl_modelfs_write(struct fl_modelfs *fs, const char *name,
                                               uint64_t off, const void *buf, size_t len,
                                               size_t *done);
FL_API FL_NODISCARD fl_status fl_modelfs_truncate(struct fl_modelfs *fs, const char *name,
                                                  uint64_t size_bytes);
FL_API FL_NODISCARD fl_status fl_modelfs_allocate(struct fl_modelfs *fs, const char *name,
                                                  uint64_t off, uint64_t len, bool keep_size);
FL_API FL_NODISCARD fl_status fl_modelfs_punch(struct fl_modelfs *fs, const char *name,
                                               uint64_t off, uint64_t len);
FL_API FL_NODISCARD fl_status fl_modelfs_collapse(struct fl_modelfs *fs, const char *name,
                                                  uint64_t off, uint64_t len);
/* "": every file, and the names. */
FL_API FL_NODISCARD fl_status fl_modelfs_fsync(struct fl_modelfs *fs, const char *name);

/* ---- mappings ---- */

enum fl_modelfs_kind {
    FL_MODELFS_PLAIN = 1, /* as MAP_SHARED: durable by fsync only */
    FL_MODELFS_NOSYNC = 2 /* as MAP_SYNC: durable by flush and fence */
};

/* Map [off, off + len) of the file, whole filesystem blocks; it may end before. An access beyond its end, or to a hole
 * when the device is full, raises SIGBUS. All or nothing: no kind falls back to another.
 *
 * Owner:   the caller, fl_modelfs_unmap(). Children of fork() don't get it (an access there raises SIGSEGV).
 * Durable: stores by fl_modelfs_flush() and the same thread's fl_modelfs_fence().
 * Errors:  FL_NOT_SUPPORTED (no-sync on a device formatted without it), FL_BUSY (shared extents), and as above */
FL_API FL_NODISCARD fl_status fl_modelfs_mmap(struct fl_modelfs *fs, const char *name, uint64_t off,
                                              uint64_t len, enum fl_modelfs_kind kind,
                                              struct fl_modelfs_map **out, void **address);
FL_API void fl_modelfs_unmap(struct fl_modelfs_map *map);

/* Write back the lines of [address, address + len), as clwb does: durable at this thread's next fl_modelfs_fence(). */
FL_API void fl_modelfs_flush(struct fl_modelfs_map *map, const void *address, size_t len);
/* As sfence, for this thread's flushes of all mappings of the device. */
FL_API void fl_modelfs_fence(struct fl_modelfs *fs);
/* Fault the range for writing, as MADV_POPULATE_WRITE does, with the true error: FL_NO_SPACE instead of SIGBUS. */
FL_API FL_NODISCARD fl_status fl_modelfs_populate(struct fl_modelfs_map *map, uint64_t off,
                                                  uint64_t len);

/* ---- evidence ---- */

/* Cut the device's power: every line not fenced is lost or not, drawn from `seed` (0: all are lost). Processes that
 * have it mapped are killed, other than this one, whose mappings end (an access raises SIGBUS); the host stops without
 * a word to the device. FL_BUSY: a process could not be killed. */
FL_API FL_NODISCARD fl_status fl_modelfs_powercut(struct fl_modelfs *fs, uint64_t seed);

struct fl_modelfs_figures {
    size_t struct_bytes; /* in: sizeof(struct fl_modelfs_figures) */
    uint64_t commits;
    uint64_t faults_read;
    uint64_t faults_write;
    uint64_t faults_protected;
    uint64_t faults_bus;
    uint64_t blocks;
    uint64_t blocks_free;
};
FL_API FL_NODISCARD fl_status fl_modelfs_figures(struct fl_modelfs *fs,
                                                 struct fl_modelfs_figures *out);

#ifdef __cplusplus
}
#endif
#endif
