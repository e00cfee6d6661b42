/* What the model filesystem keeps on its device. Every integer is little-endian; every structure that recovery
 * reads has a CRC-32C over all of its other bytes. docs/modelfs.md has the byte diagrams.
 *
 *   0            superblock, twice: at 0 and at MFS_SUPER_COPY_OFF
 *   journal_off  ring of transactions
 *   inodes_off   table of struct mfs_inode_rec
 *   extents_off  table of struct mfs_extent_rec; any slot may belong to any inode
 *   data_off     blocks of block_bytes; all that no extent maps are free
 *
 * Nothing on the device says which blocks are free: that is what no extent maps, so that a crash can't leak one.
 */
#ifndef FL_STORAGE_MODELFS_MODELFS_LAYOUT_H
#define FL_STORAGE_MODELFS_MODELFS_LAYOUT_H

#include <assert.h>
#include <stdint.h>

#define MFS_MAGIC UINT64_C(0x31454c41464c4d46) /* "FMLFALE1" */

enum {
    MFS_VERSION = 1,
    MFS_JOURNAL_FRONT = 128, /* of the journal's area: behind the tail's two lines */
    MFS_SUPER_COPY_OFF = 2048,
    MFS_NAME_BYTES_MAX = 199,
    MFS_BLOCK_BYTES_MIN = 4096,
    MFS_BLOCK_BYTES_MAX = 2 * 1024 * 1024,
};

struct mfs_super_rec {
    uint64_t magic;
    uint32_t version;
    uint32_t block_bytes; /* power of two */
    uint64_t size_bytes;  /* of the device */
    uint64_t journal_off;
    uint64_t journal_bytes;
    uint64_t inodes_off;
    uint64_t extents_off;
    uint64_t data_off; /* multiple of block_bytes */
    uint64_t blocks;   /* of data */
    uint32_t inodes;   /* slots */
    uint32_t extents;  /* slots */
    uint8_t uuid[16];
    uint32_t features; /* enum mfs_features; an unknown bit refuses the mount */
    uint32_t reserved[6];
    uint32_t crc;
};
static_assert(sizeof(struct mfs_super_rec) == 128, "two lines");

enum mfs_features {
    MFS_FEATURE_NOSYNC = 1, /* no-sync mappings are granted; without it a request fails (rule C1) */
};

/* One file. A slot with ino 0 is free: all of it zero, or with its last generation in `changed`. */
struct mfs_inode_rec {
    uint64_t ino; /* never used twice: the slot, above bit 32 a generation from 1 on */
    uint64_t size_bytes;
    uint64_t changed; /* counts changes of size, name or contents by system calls */
    uint32_t flags;
    uint8_t name_bytes;
    char name[MFS_NAME_BYTES_MAX];
    uint8_t reserved[24];
    uint32_t crc;
};
static_assert(sizeof(struct mfs_inode_rec) == 256, "four lines");

enum mfs_extent_flags {
    MFS_EXTENT_UNWRITTEN = 1, /* allocated, reads as zeros; its bytes mean nothing */
    MFS_EXTENT_NOSYNC = 2,    /* rule C10: contents are what user-space flushes made durable */
};

/* Blocks [logical, logical + blocks) of file `ino` are physical blocks [physical, ...). ino 0: a free slot, all zero
 * but for the CRC, or with it. */
struct mfs_extent_rec {
    uint64_t ino;
    uint32_t logical;
    uint32_t blocks;
    uint32_t physical;
    uint32_t flags;
    uint32_t reserved;
    uint32_t crc;
};
static_assert(sizeof(struct mfs_extent_rec) == 32, "half a line");

/* The journal is filled with transactions from front to back, each a multiple of 64 bytes: a commit record, then its
 * entries (each: which table and slot, the slot's new bytes), then zeros. A transaction counts if its commit record's
 * CRC fits, its body's too, and its sequence number is the next one. Recovery replays from the tail on. When the next
 * transaction doesn't fit behind the last one, all of them are made durable in the tables, the tail is set to the front
 * and the next sequence number, and the front is used again. A valid commit record with a number above the next one
 * is damage: each is made durable before the next one is written. */
struct mfs_commit_rec {
    uint64_t magic; /* MFS_MAGIC xor the uuid's first word: older devices' bytes don't count */
    uint64_t seq;
    uint64_t bytes; /* of the whole transaction */
    uint32_t entries;
    uint32_t kind; /* enum mfs_commit_kind */
    uint64_t reserved[3];
    uint32_t body_crc; /* mfs_body_crc() of all behind this record */
    uint32_t crc;      /* of this header */
};
static_assert(sizeof(struct mfs_commit_rec) == 64, "one line: torn only between its words");

enum mfs_commit_kind {
    MFS_COMMIT_CHANGES = 0,
};

enum mfs_table { MFS_TABLE_INODES = 1, MFS_TABLE_EXTENTS = 2 };

struct mfs_entry_rec {
    uint32_t table; /* enum mfs_table */
    uint32_t slot;
    /* the slot's bytes follow: 256 or 32 */
};
static_assert(sizeof(struct mfs_entry_rec) == 8, "one word");

/* First two lines of the journal's area: where recovery begins. The first is written and made durable, then the second,
 * so that one of them is always whole, and either may be lost; the valid one with the higher tail_seq counts.
 * Transactions follow behind both. */
struct mfs_tail_rec {
    uint64_t magic;
    uint64_t tail_seq; /* first transaction that is not yet in the tables for sure */
    uint64_t tail_off; /* where it begins, from journal_off: MFS_JOURNAL_FRONT */
    uint64_t reserved[4];
    uint32_t reserved2;
    uint32_t crc;
};
static_assert(sizeof(struct mfs_tail_rec) == 64, "one line");

#endif
