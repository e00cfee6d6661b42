/* Shared by the files of the model filesystem only. DRAM is authoritative while it is mounted; what differs from the
 * device's tables is marked dirty and goes there by the journal.
 *
 * An operation is a function that changes DRAM by way of txn_ calls only, run by txn_run(): if it fails, or its commit
 * does, what it changed is taken back. So it needs no estimate beforehand of what it will take. */
#ifndef FL_STORAGE_MODELFS_FS_INTERNAL_H
#define FL_STORAGE_MODELFS_FS_INTERNAL_H

#include "storage/modelfs/fs.h"
#include "storage/modelfs/record.h"

/* What the engine was told about a block of a mapping, or more than is there now: an engine may lose entries. */
enum map_entry {
    MAP_NONE = 0,
    MAP_READ,
    MAP_WRITE,
    MAP_ZERO,
    MAP_BUS_END,   /* beyond the end of the file */
    MAP_BUS_SPACE, /* no space, or no memory */
    MAP_BUS_IO,    /* for good */
};

struct mfs_map {
    struct mfs *fs;
    struct inode *inode;
    struct mfs_map *next; /* of the file's */
    enum mfs_map_kind kind;
    uint32_t first; /* of the file */
    uint32_t blocks;
    uint32_t bus_count; /* entries that are MAP_BUS_END or MAP_BUS_SPACE */
    void *owner;
    uint8_t entries[]; /* enum map_entry */
};

struct inode {
    struct mfs_inode_state state;
    uint32_t index;  /* its slot */
    uint32_t *slots; /* its extents' slots, sorted by logical block; never shrinks */
    uint32_t count;  /* of slots */
    uint32_t capacity;
    struct mfs_map *maps;
    uint32_t maps_count;
    uint32_t maps_nosync;
    bool dirty;   /* the running transaction may have changes of it */
    bool rebuild; /* while taking back: `slots` is to be made again */
};

/* The dirty slots of one table, in the order in which they became so. */
struct dirty {
    uint32_t *list;
    uint8_t *is;
    uint32_t count;
};

struct run {
    uint32_t first;
    uint32_t blocks;
};

struct runs {
    struct run *list;
    uint32_t count;
    uint32_t capacity;
};

struct undo_slot {
    uint32_t slot;
    struct mfs_extent_state old;
};

struct undo_inode {
    uint32_t index;
    struct mfs_inode_state old;
};

/* How to take the running operation back. */
struct undo {
    struct undo_slot *slots;
    uint32_t slots_count, slots_capacity;
    struct undo_inode *inodes;
    uint32_t inodes_count, inodes_capacity;
    struct runs taken;        /* references added */
    uint32_t released_before; /* fs->released.count when it began */
    uint32_t inodes_dirty_before;
    uint32_t extents_dirty_before;
};

struct mfs {
    struct mfs_media *media;
    struct mfs_cpu *cpu;
    struct mfs_geometry geometry;
    struct mfs_engine engine;
    enum mfs_mutant mutant;
    bool read_only;
    bool shut; /* a commit failed: rule C17 */

    struct inode *inodes;
    struct mfs_extent_state *extents; /* by slot */
    uint32_t extents_free;
    uint32_t extents_hint; /* no free slot is below */

    /* Per physical block: references by the extents as they are now, and those or such as the running transaction
     * took away. A block can be allocated if nothing holds it. */
    uint32_t *refs;
    uint32_t *held;
    uint64_t blocks_free;    /* not held */
    uint64_t blocks_freeing; /* held without a reference */
    uint32_t blocks_hint;    /* no free block is below */
    struct runs released;    /* references the running transaction took away */

    struct dirty inodes_dirty;
    struct dirty extents_dirty;
    uint64_t txn_bytes; /* of the dirty slots' journal entries */
    struct undo undo;

    uint64_t seq_next;
    uint64_t head_off;      /* where the next transaction goes, in the journal */
    uint64_t unfenced;      /* bytes flushed since the last fence, that the next commit needs */
    bool tables_unfenced;   /* a committed slot's flush waits for any fence */
    bool tables_unflushed;  /* a committed slot is in the tables, but not flushed */
    bool checkpoint_wanted; /* one was begun: nothing is committed before it is done */

    uint64_t bus_count; /* of all mappings */
    struct mfs_counts counts;
    uint8_t scratch[4096];
};

static inline uint64_t
block_off(const struct mfs *fs, uint32_t physical)
{
    return fs->geometry.data_off + ((uint64_t)physical << fs->geometry.block_shift);
}

/* How many blocks hold `bytes`. */
static inline uint64_t
blocks_of(const struct mfs *fs, uint64_t bytes)
{
    return (bytes >> fs->geometry.block_shift) + ((bytes & (fs->geometry.block_bytes - 1)) != 0);
}

/* ---- journal.c ---- */

/* Make the running transaction durable; a clean one takes no fence but for zeroed blocks. FL_IO: shut down.
 * FL_NO_MEMORY: it is still running. */
FL_NODISCARD fl_status journal_commit(struct mfs *fs);
/* All transactions into the tables, durably; the journal is empty. */
FL_NODISCARD fl_status journal_checkpoint(struct mfs *fs);
FL_NODISCARD fl_status fs_flush(struct mfs *fs, uint64_t off, size_t len);
/* What was flushed is durable. FL_IO: shut down. */
FL_NODISCARD fl_status fs_fence(struct mfs *fs);
/* Bytes that one transaction's entries may have. */
uint64_t journal_room(const struct mfs *fs);

/* ---- txn.c ---- */

typedef fl_status (*txn_op)(struct mfs *fs, void *args);
/* Run an operation, with `commit` durably. If it fails for room that a commit gives, it is run again after one. */
FL_NODISCARD fl_status txn_run(struct mfs *fs, txn_op op, void *args, bool commit);
/* FL_READ_ONLY, FL_IO: no change is taken any more. */
FL_NODISCARD fl_status fs_writable(const struct mfs *fs);
bool txn_dirty(const struct mfs *fs);

/* For operations. Errors: FL_NO_MEMORY, FL_TOO_LARGE (the transaction). */
FL_NODISCARD fl_status txn_extent_set(struct mfs *fs, uint32_t slot,
                                      const struct mfs_extent_state *state);
FL_NODISCARD fl_status txn_inode_set(struct mfs *fs, struct inode *inode,
                                     const struct mfs_inode_state *state);
FL_NODISCARD fl_status txn_blocks_take(struct mfs *fs, uint32_t first, uint32_t blocks);
FL_NODISCARD fl_status txn_blocks_release(struct mfs *fs, uint32_t first, uint32_t blocks);
/* FL_NO_SPACE: no extent slot is free. */
FL_NODISCARD fl_status txn_slot_find(struct mfs *fs, uint32_t *slot);
/* It is committed: what it took away is free. */
void txn_committed(struct mfs *fs);
struct inode *inode_of(struct mfs *fs, uint64_t ino); /* NULL: none */
/* An array of at least `need` elements. */
FL_NODISCARD fl_status array_grow(void *array_ptr, uint32_t *capacity, uint32_t need,
                                  size_t element_bytes);

/* ---- alloc.c ---- */

/* Take a run of 1 to `want` free blocks, at `goal` if that is free. For operations. */
FL_NODISCARD fl_status block_alloc(struct mfs *fs, uint32_t goal, uint32_t want, struct run *out);
/* Zero a block and flush the zeros, so that no commit shows what was there. */
FL_NODISCARD fl_status block_zero(struct mfs *fs, uint32_t physical);

/* ---- extent.c ---- */

/* Index in inode->slots of the first extent that ends behind `block`; inode->count if none. */
uint32_t extent_find(const struct mfs *fs, const struct inode *inode, uint32_t block);
const struct mfs_extent_state *extent_at(const struct mfs *fs, const struct inode *inode,
                                         uint32_t index);
/* The extent that holds `block`, or NULL. */
const struct mfs_extent_state *extent_lookup(const struct mfs *fs, const struct inode *inode,
                                             uint32_t block);
static inline uint32_t
extent_physical(const struct mfs_extent_state *e, uint32_t block)
{
    return e->physical + (block - e->logical);
}

/* Sort inode->slots anew. */
void extent_sort(struct mfs *fs, struct inode *inode);

/* For operations. Take the blocks [first, end) out, with `release` their references too. */
FL_NODISCARD fl_status extent_cut(struct mfs *fs, struct inode *inode, uint32_t first, uint32_t end,
                                  bool release);
/* Put blocks into a hole; merges with its neighbours. */
FL_NODISCARD fl_status extent_add(struct mfs *fs, struct inode *inode,
                                  const struct mfs_extent_state *add);
/* All that is at or behind `from` moves down by `by` blocks; there is a hole of as many in front of it. */
FL_NODISCARD fl_status extent_shift(struct mfs *fs, struct inode *inode, uint32_t from,
                                    uint32_t by);
/* Make `block` one that is there, written and not shared, with `flags` (0 or MFS_EXTENT_NOSYNC) at least. Of a shared
 * block's copy, bytes [zero_from, zero_to) are zero. */
FL_NODISCARD fl_status block_ensure(struct mfs *fs, struct inode *inode, uint32_t block,
                                    uint32_t flags, uint32_t zero_from, uint32_t zero_to);

/* ---- revoke.c: all mappings of a file, its blocks [first, end) ---- */

/* No store reaches them until they fault again. */
void revoke_stores(struct mfs *fs, struct inode *inode, uint32_t first, uint64_t end);
/* Neither load nor store; the bytes stay. */
void revoke_all(struct mfs *fs, struct inode *inode, uint32_t first, uint64_t end);
/* What led to zeros, or, with `bus`, raised SIGBUS, faults again. */
void revoke_empty(struct mfs *fs, struct inode *inode, uint32_t first, uint64_t end, bool bus);
bool map_covers(const struct mfs_map *map, uint32_t block);

/* ---- map.c, sync.c, write.c ---- */

void map_entry_set(struct mfs_map *map, uint32_t block, enum map_entry entry);
void map_free_all(struct mfs *fs);
bool nosync_covers(const struct inode *inode, uint32_t block);
/* Rule C12 for one file, without the commit. */
FL_NODISCARD fl_status sync_data(struct mfs *fs, struct inode *inode);
/* Clear the no-sync flags of a file, or of all (NULL), in as few transactions as hold them. */
FL_NODISCARD fl_status sync_clear_flags(struct mfs *fs, const struct inode *inode);
/* Zero bytes [from, to) of a block if it has any, and flush them. Not durable yet. */
FL_NODISCARD fl_status write_zeros(struct mfs *fs, struct inode *inode, uint32_t block,
                                   uint32_t from, uint32_t to);
/* Zero what is behind the end of the file in its last block, before the file grows. */
FL_NODISCARD fl_status write_zeros_at_end(struct mfs *fs, struct inode *inode);
/* FL_NOT_FOUND */
FL_NODISCARD fl_status inode_get(struct mfs *fs, uint64_t ino, struct inode **out);
/* Give all blocks and the slot back. For operations. */
FL_NODISCARD fl_status inode_free(struct mfs *fs, struct inode *inode);
/* The size from now on, and one change more. For operations. */
FL_NODISCARD fl_status inode_changed(struct mfs *fs, struct inode *inode, uint64_t size_bytes);

#endif
