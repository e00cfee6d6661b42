/* What stands in block 0 and in the table blocks. All integers little-endian.
 *
 * Block 0: each of its halves begins with
 *   0     superblock (256 bytes), the same in both
 *   512   clock word (8 bytes), the same in both: milliseconds 48 bits | check 16 bits; 0 ms until something expires
 *   1024  root slot (256 bytes): 0 in the first half, 1 in the second
 * Blocks over 4 KiB have their halves in different pages: no bad page takes both.
 *
 * Segment table: one 32-byte entry a block. Group g is the blocks [g x G, (g + 1) x G), G = block_bytes / 32; its
 * entries fill its table block: block 1 for group 0, block g x G for the others.
 *   entry  0  state word: generation 32 | state 4 | head 8 | 0 4 | check 16, changed by one 8-byte store
 *          8  note: 16 bytes of the owner's (a segment's nonce and base LSN, for salvage if its header is lost)
 *         24  8 bytes kept for the checkpointer, zero in version 1
 * An entry that was never written is all zeros: free, generation 0. Blocks 0, 1 and the table blocks say META; the
 * generation of block 1 is the number of table blocks, which are made in order: a file cut short before one of them
 * shows.
 */
#ifndef FL_STORAGE_HEAP_LAYOUT_H
#define FL_STORAGE_HEAP_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#define HEAP_MAGIC UINT64_C(0x314E4C544C554146) /* "FAULTLN1" */
/* In its place while a copy is rewritten and the other one is whole: "REWRITE!" */
#define HEAP_MAGIC_REWRITING UINT64_C(0x2145544952574552)

enum {
    HEAP_VERSION = 1,
    HEAP_SUPER_BYTES = 256,
    HEAP_ROOT_BYTES = 256,
    HEAP_CLOCK_OFF = 512,
    HEAP_ROOT_OFF = 1024,
    HEAP_HALVES = 2, /* of block 0 */
    HEAP_HEADS = 2,  /* that a table word may name */
    HEAP_ENTRY_BYTES = 32,
    HEAP_NOTE_OFF = 8, /* in an entry */
    HEAP_BLOCK_BYTES_MIN = 4096,
    HEAP_BLOCK_BYTES_MAX = 1 << 30,
    HEAP_BLOCKS_MAX =
        1 << 24, /* DRAM for the states of all blocks stays under 1 GiB, reserved lazily */
};

/* Of address space, and of what an index entry's place can name. */
#define HEAP_SIZE_BYTES_MAX (UINT64_C(1) << 46)

/* Feature bits: compat may be ignored, ro_compat forbids writing, incompat forbids opening. None yet. */
#define HEAP_COMPAT_KNOWN UINT64_C(0)
#define HEAP_RO_COMPAT_KNOWN UINT64_C(0)
#define HEAP_INCOMPAT_KNOWN UINT64_C(0)

struct le16 {
    uint8_t b[2];
};
struct le32 {
    uint8_t b[4];
};
struct le64 {
    uint8_t b[8];
};

struct heap_super_media {
    struct le64 magic;
    struct le32 version;
    struct le32 bytes; /* HEAP_SUPER_BYTES */
    uint8_t uuid[16];
    struct le64 compat;
    struct le64 ro_compat;
    struct le64 incompat;
    struct le32 block_bytes;
    struct le32 inline_bytes_max; /* values over this live in blocks of their own */
    struct le64 size_bytes_max;
    struct le64 created_ms;
    uint8_t reserved[172];
    struct le32 crc; /* CRC-32C of the bytes before it */
};
_Static_assert(sizeof(struct heap_super_media) == HEAP_SUPER_BYTES, "superblock layout");
_Static_assert(offsetof(struct heap_super_media, crc) == 252, "superblock layout");

/* The root: the slot with the higher sequence that validates. Written alternately. */
struct heap_root_media {
    struct le64 sequence;
    struct le64 flags;    /* bit 0: closed cleanly */
    struct le64 lsn_next; /* no LSN at or over it had been given out */
    struct le64 tail_off; /* closed cleanly: end of the log's open segment in the file; 0: none */
    struct le64 checkpoint_lsn; /* from here on: kept for later versions, zero */
    struct le64 log_start;
    struct le64 index_root;
    struct le64 free_map;
    struct le64 expiry_root;
    struct le64 repl_off;
    uint8_t repl_id[40];
    uint8_t reserved[132];
    struct le32 crc; /* of the bytes before it, seeded with the uuid */
};
_Static_assert(sizeof(struct heap_root_media) == HEAP_ROOT_BYTES, "root layout");
_Static_assert(offsetof(struct heap_root_media, crc) == 252, "root layout");

/* The file offset of what stands at `off` of a half. */
static inline uint64_t
heap_half_off(uint32_t block_bytes, unsigned half, uint64_t off)
{
    return half * (uint64_t)(block_bytes / HEAP_HALVES) + off;
}

#endif
