/* The device's records, in and out of DRAM. Bytes from media are input: what doesn't fit is a status. */
#ifndef FL_STORAGE_MODELFS_RECORD_H
#define FL_STORAGE_MODELFS_RECORD_H

#include <faultline/status.h>

#include "storage/modelfs/modelfs_layout.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    MFS_SUPER_AREA_BYTES = 4096,
    MFS_EXTENT_FLAGS_KNOWN = MFS_EXTENT_UNWRITTEN | MFS_EXTENT_NOSYNC,
};

/* A file has blocks [0, MFS_LOGICAL_MAX) at most; physical numbers are below as well: fs.h uses the highest ones. */
#define MFS_LOGICAL_MAX (UINT32_MAX - 2)

struct mfs_geometry {
    uint32_t block_bytes;
    unsigned block_shift;
    uint64_t size_bytes;
    uint64_t journal_off;
    uint64_t journal_bytes;
    uint64_t inodes_off;
    uint64_t extents_off;
    uint64_t data_off;
    uint32_t blocks;
    uint32_t inodes;
    uint32_t extents;
    uint32_t features;
    uint8_t uuid[16];
};

void mfs_super_encode(const struct mfs_geometry *geometry, struct mfs_super_rec *out);
/* Errors: FL_INVALID (no such superblock), FL_CORRUPT, FL_VERSION. `size_bytes`: of the device. */
FL_NODISCARD fl_status mfs_super_decode(const void *rec, uint64_t size_bytes,
                                        struct mfs_geometry *out);

/* ino 0: a free slot, `changed` is its last generation. */
struct mfs_inode_state {
    uint64_t ino;
    uint64_t size_bytes;
    uint64_t changed;
    uint32_t flags;
    uint32_t name_bytes;
    char name[MFS_NAME_BYTES_MAX + 1];
};

/* ino 0: a free slot. */
struct mfs_extent_state {
    uint64_t ino;
    uint32_t logical;
    uint32_t blocks;
    uint32_t physical;
    uint32_t flags;
};

void mfs_inode_encode(const struct mfs_inode_state *state, struct mfs_inode_rec *out);
void mfs_extent_encode(const struct mfs_extent_state *state, struct mfs_extent_rec *out);
/* False: the CRC doesn't fit. A slot of zeros is free. */
bool mfs_inode_decode(const void *rec, struct mfs_inode_state *out);
bool mfs_extent_decode(const void *rec, struct mfs_extent_state *out);

/* 1 to MFS_NAME_BYTES_MAX bytes without '/' and NUL, not "." or "..". */
bool mfs_name_valid(const char *name, size_t len);

uint64_t mfs_journal_magic(const struct mfs_geometry *geometry);

struct mfs_tail {
    uint64_t seq;
    uint64_t off;
};
void mfs_tail_encode(const struct mfs_geometry *geometry, const struct mfs_tail *tail,
                     struct mfs_tail_rec *out);
bool mfs_tail_decode(const struct mfs_geometry *geometry, const void *rec, struct mfs_tail *out);

struct mfs_commit {
    uint64_t seq;
    uint64_t bytes;
    uint32_t entries;
    uint32_t body_crc;
};
/* Extend the check of a transaction's body over `len` bytes, a multiple of 8. Not a CRC of the bytes alone: each
 * slot ends in a CRC of its own, and over data and its CRC every CRC is the same, so that a body of another
 * transaction's slots would pass for this one's. */
uint32_t mfs_body_crc(uint32_t crc, const void *body, size_t len);

void mfs_commit_encode(const struct mfs_geometry *geometry, const struct mfs_commit *commit,
                       struct mfs_commit_rec *out);
/* False: no commit record, or a torn one. `room`: bytes up to the journal's end. */
bool mfs_commit_decode(const struct mfs_geometry *geometry, const void *rec, uint64_t room,
                       struct mfs_commit *out);

#endif
