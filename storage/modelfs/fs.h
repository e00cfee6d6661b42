/* The model filesystem: files, extents, a metadata journal, and what a page fault through a mapping does to them.
 *
 * Rules C1 to C17 of docs/contract.md are kept here; each is named where it is. What reaches a processor's page tables
 * is behind an engine (struct mfs_engine_ops): one is a table in memory for tests (pte_table.h), one is userfaultfd
 * on other processes' mappings (uffd.h). The filesystem does no I/O, starts no thread and takes no lock: the
 * caller calls one function at a time.
 *
 * Metadata changes gather in one running transaction in DRAM. It is committed by fsync, by a no-sync write fault, by
 * the operations that say so, and when an operation finds no room left in it or no free block but such as wait for its
 * commit; by nothing else: no timer, so that tests know what a power cut takes.
 *
 * An operation that fails has changed nothing but what it says.
 *
 * Names: one directory; a name is 1 to MFS_NAME_BYTES_MAX bytes without '/' and NUL, not "." or "..".
 * Errors, everywhere: FL_IO once a commit has failed (rule C17: the filesystem is shut down for changes until it is
 * mounted again; reads go on).
 */
#ifndef FL_STORAGE_MODELFS_FS_H
#define FL_STORAGE_MODELFS_FS_H

#include "storage/modelfs/media.h"
#include "storage/modelfs/modelfs_layout.h"

struct mfs;
struct mfs_map;

/* ---- the engine: page tables ---- */

enum mfs_access { MFS_ACCESS_NONE = 0, MFS_ACCESS_READ = 1, MFS_ACCESS_WRITE = 2 };

/* Where a block of a mapping leads, other than to a physical block. */
#define MFS_PHYS_ZERO UINT32_MAX      /* zeros, for reading only */
#define MFS_PHYS_BUS (UINT32_MAX - 1) /* an access raises SIGBUS */

struct mfs_engine_ops {
    /* Block `block` of the mapping leads to `phys`, for `access`. An engine that needs the mapper for it may finish
     * later, but not once the block has been protected, zapped or dropped. FL_IO: the mapper is gone. */
    fl_status (*install)(void *engine, struct mfs_map *map, uint32_t block, uint32_t phys,
                         enum mfs_access access);
    /* After return no store reaches the block through this mapping until it faults again; loads may. A mapper that is
     * dead or stopped doesn't hold it up. */
    void (*protect)(void *engine, struct mfs_map *map, uint32_t block);
    /* After return no load or store of any mapping reaches physical block `phys` until it faults again. `keep`: the
     * live bytes stay as they are, with no store lost (all are protected before); else they are undefined. */
    void (*zap)(void *engine, uint32_t phys, bool keep);
    /* A block that led to MFS_PHYS_ZERO or MFS_PHYS_BUS faults again. */
    void (*drop)(void *engine, struct mfs_map *map, uint32_t block);
};

struct mfs_engine {
    const struct mfs_engine_ops *ops;
    void *context;
};

/* Bugs on purpose, for tests that show that the suite would see them: the crash points' mutants. Set nowhere else. */
enum mfs_mutant {
    MFS_MUTANT_NONE = 0,
    MFS_MUTANT_PTE_BEFORE_COMMIT,
    MFS_MUTANT_FLAG_APART, /* flag in a transaction of its own, after the block's */
    MFS_MUTANT_ZAP_SKIPPED,
    MFS_MUTANT_ZAP_AFTER_FREE,
    MFS_MUTANT_ZEROING_SKIPPED,
    MFS_MUTANT_REUSE_BEFORE_COMMIT,
    MFS_MUTANT_COUNT,
};

/* ---- the filesystem ---- */

struct mfs_format {
    uint32_t block_bytes;   /* 0: 4096 */
    uint32_t inodes;        /* 0: 64 */
    uint64_t journal_bytes; /* 0: by the device's size; else 4096 or more */
    bool without_nosync;    /* a filesystem that grants no no-sync mapping */
    uint8_t uuid[16];       /* all zero: random */
};
/* Make an empty filesystem, durably. FL_INVALID: geometry out of range; FL_NO_SPACE: the device is too small. */
FL_NODISCARD fl_status mfs_format(struct mfs_media *media, const struct mfs_format *format);

struct mfs_mount_options {
    struct mfs_engine engine; /* ops NULL: no mapping is granted */
    enum mfs_mutant mutant;
    bool read_only; /* recovery in DRAM only; nothing is written */
};
/* Recover and mount. Committed transactions are replayed, others leave nothing (rule C11); flags that no mapper holds
 * any more are cleared in one transaction.
 * Errors: FL_CORRUPT (text names what and where), FL_VERSION, FL_INVALID (not such a filesystem), FL_NO_MEMORY,
 * FL_IO. */
FL_NODISCARD fl_status mfs_mount(struct mfs_media *media, const struct mfs_mount_options *options,
                                 struct mfs **out);
/* Do what fsync does for all files and clear all flags; end all mappings (their handles are invalid afterwards); free.
 * If the filesystem is shut down, or this fails, what is not durable is lost, as by a power cut. */
void mfs_unmount(struct mfs *fs);
/* Free without writing anything: the power was cut, or will be before the next mount. */
void mfs_abandon(struct mfs *fs);

uint32_t mfs_block_bytes(const struct mfs *fs);
uint64_t mfs_data_off(const struct mfs *fs); /* of physical block 0, on the device */

struct mfs_counts {
    uint64_t commits; /* transactions made durable */
    uint64_t faults_read;
    uint64_t faults_write;
    uint64_t faults_protected; /* of these, on blocks present but write-protected */
    uint64_t faults_bus;       /* refused: no space, beyond the end, shut down */
    uint64_t zaps;
    uint64_t protects;
    uint64_t replayed; /* transactions by the mount */
};
struct mfs_counts mfs_counts(const struct mfs *fs);

struct mfs_statfs {
    uint32_t block_bytes;
    uint64_t blocks;
    uint64_t blocks_free;    /* can be allocated now */
    uint64_t blocks_freeing; /* free once the running transaction is committed */
    uint32_t inodes;
    uint32_t inodes_free;
};
struct mfs_statfs mfs_statfs(const struct mfs *fs);

/* ---- names ---- */

struct mfs_stat {
    uint64_t ino;
    uint64_t size_bytes;
    uint64_t blocks; /* allocated, in filesystem blocks */
    uint64_t changed;
    uint32_t maps;        /* mappings open */
    uint32_t maps_nosync; /* of these, no-sync */
    char name[MFS_NAME_BYTES_MAX + 1];
};
/* Create: FL_EXISTS, FL_INVALID (the name), FL_NO_SPACE (inodes). Durable: by fsync (rule C16). */
FL_NODISCARD fl_status mfs_create(struct mfs *fs, const char *name, uint64_t *ino);
FL_NODISCARD fl_status mfs_lookup(struct mfs *fs, const char *name,
                                  uint64_t *ino); /* FL_NOT_FOUND */
/* FL_BUSY: it is mapped. A file of more extents than a transaction holds is truncated first, in steps. */
FL_NODISCARD fl_status mfs_unlink(struct mfs *fs, const char *name);
/* Replaces `to` if it is there (FL_BUSY: that one is mapped; FL_TOO_LARGE: it has more extents than a transaction
 * holds). Durable: by fsync (rule C16). */
FL_NODISCARD fl_status mfs_rename(struct mfs *fs, const char *from, const char *to);
FL_NODISCARD fl_status mfs_stat(struct mfs *fs, uint64_t ino, struct mfs_stat *out);
/* The first file in a slot >= *slot; *slot is moved behind it. FL_END. */
FL_NODISCARD fl_status mfs_next(struct mfs *fs, uint32_t *slot, struct mfs_stat *out);

/* ---- access by system calls ---- */

/* Rule C6: a block under a writable mapping is write-protected while it is copied. Bytes read, less at the end. */
FL_NODISCARD fl_status mfs_read(struct mfs *fs, uint64_t ino, uint64_t off, void *buf, size_t len,
                                size_t *done);
/* Allocates and extends as needed. Durable: by fsync; but rule C7: of a block under a no-sync mapping on return.
 * FL_NO_SPACE: *done bytes were written. Any other error: what was written may be there, nothing of it is promised. */
FL_NODISCARD fl_status mfs_write(struct mfs *fs, uint64_t ino, uint64_t off, const void *buf,
                                 size_t len, size_t *done);
/* Set the size. Shrinking is rule C9: durable on return if a block was given back; the last block's rest is zeroed,
 * durably if it is under a no-sync mapping. */
FL_NODISCARD fl_status mfs_truncate(struct mfs *fs, uint64_t ino, uint64_t size_bytes);
/* Allocate, unwritten, what is not there; `keep_size`: even beyond the end. FL_NO_SPACE: nothing was. */
FL_NODISCARD fl_status mfs_allocate(struct mfs *fs, uint64_t ino, uint64_t off, uint64_t len,
                                    bool keep_size);
/* Rule C9: durable on return, only whole blocks are given back, the rest is zeroed. More extents than a transaction
 * holds go in several. */
FL_NODISCARD fl_status mfs_punch(struct mfs *fs, uint64_t ino, uint64_t off, uint64_t len);
/* Rule C9: remove whole blocks [off, off + len), what is behind moves up with its flags. Durable on return,
 * all or nothing. FL_INVALID: not whole blocks, or not before the file's end. FL_TOO_LARGE: more extents move than a
 * transaction holds. */
FL_NODISCARD fl_status mfs_collapse(struct mfs *fs, uint64_t ino, uint64_t off, uint64_t len);
/* Rule C8: `to` shares all blocks of `from` (copy on write); never the flag. FL_BUSY: a no-sync mapping of either
 * lives. `to` must be there; its contents are replaced. Durable: by fsync. */
FL_NODISCARD fl_status mfs_clone(struct mfs *fs, uint64_t from, uint64_t to);
/* Rule C12: what any mapping dirtied, and all metadata, is durable on return; all mappings of the file are
 * write-protected. ino 0: of every file, and all names. */
FL_NODISCARD fl_status mfs_fsync(struct mfs *fs, uint64_t ino);

/* ---- mappings ---- */

enum mfs_map_kind { MFS_MAP_PLAIN = 1, MFS_MAP_NOSYNC = 2 };

/* Map blocks [first, first + blocks) of the file, which may end before. Rule C1: FL_NOT_SUPPORTED if this filesystem
 * grants no no-sync mapping (never a weaker one). FL_BUSY: shared extents under a no-sync request. `owner` is
 * kept for the engine: mfs_map_owner(). */
FL_NODISCARD fl_status mfs_map_open(struct mfs *fs, uint64_t ino, uint32_t first, uint32_t blocks,
                                    enum mfs_map_kind kind, void *owner, struct mfs_map **out);
/* The mapping is gone, or its process is. Rule C10: when the last no-sync mapping of the file goes, its flags are
 * cleared, after what fsync does. FL_IO: the flags stay. */
fl_status mfs_map_close(struct mfs_map *map);
void *mfs_map_owner(const struct mfs_map *map);
uint64_t mfs_map_ino(const struct mfs_map *map);
enum mfs_map_kind mfs_map_kind(const struct mfs_map *map);

/* A load (`write` false) or store found no page, or a protected one, at `block` of the mapping. Rules C2 to C5, C13: on
 * FL_OK the engine has been told to install what the access needs. FL_NO_SPACE, FL_INVALID (beyond the end), FL_IO:
 * it has been told to install MFS_PHYS_BUS; nothing else has changed. FL_NO_MEMORY: the same, and it is retried like
 * FL_NO_SPACE. At most one commit, and one before it if the only free blocks waited for a commit. */
fl_status mfs_fault(struct mfs_map *map, uint32_t block, bool write);
/* The same for a range of a no-sync mapping, writing, stopping at the first error: what MADV_POPULATE_WRITE does, but
 * with one commit for as much as one transaction holds and no MFS_PHYS_BUS. FL_NO_SPACE: no residue of its own.
 * FL_NOT_SUPPORTED: a plain mapping. */
fl_status mfs_populate(struct mfs_map *map, uint32_t block, uint32_t blocks);
/* Blocks that raise SIGBUS now and would not any more: space was freed, the file has grown. The engine drops
 * them. Called by the operations that free or grow; here for engines that want it after a commit. */
void mfs_retry_bus(struct mfs *fs);

/* ---- looking ---- */

/* Diagnostic only, causes no commit (rule C1). */
struct mfs_extent {
    uint32_t logical;
    uint32_t blocks;
    uint32_t physical;
    uint32_t flags; /* enum mfs_extent_flags */
    bool shared;    /* rule C8 */
    bool committed; /* as it is here it would survive a power cut now */
};
/* The first extent at or behind `block`, from `block` on if it begins before, as far as `shared` and `committed` are
 * the same. FL_END: none. */
FL_NODISCARD fl_status mfs_extent_at(struct mfs *fs, uint64_t ino, uint32_t block,
                                     struct mfs_extent *out);

/* Check everything a mounted or unmounted device claims, without changing it: every CRC, every extent in range, each
 * physical block owned once (or shared by clones), sizes, names unique, journal. `finding` gets each fault's text.
 * FL_OK: *findings is their number. */
FL_NODISCARD fl_status mfs_check(const uint8_t *image, uint64_t size_bytes,
                                 void (*finding)(void *context, const char *text), void *context,
                                 uint64_t *findings);

#endif
