/* The log: segments of frames, appended by heads, linked from one to the next by one 8-byte store.
 *
 * Segment change, in this order (storage rule 7; the link is the step that plain DAX mappings lose):
 *   new header, seal of the previous one -> drain -> owned in the table -> drain -> link in the previous one ->
 *   drain -> first frame
 * Commit: frame -> drain -> the caller may publish and acknowledge. One frame is in flight per head, so an invalid
 * frame with a valid one behind it, or below a seal, is damage; otherwise it is the torn tail of a crash.
 *
 * LSN: 64 bits, segment base + offset. Base ranges are given out once; the writers' head opens segments in rising
 * order. The cleaner's copies carry their LSN in the record.
 *
 * Threads: each head, and frames on it, one thread at a time. Segment accounts are atomic. log_decode() and
 *          log_blob_view() run beside writers inside an epoch section.
 */
#ifndef FL_STORAGE_LOG_LOG_H
#define FL_STORAGE_LOG_LOG_H

#include "storage/heap/heap.h"
#include "storage/log/record.h"

#include <stdatomic.h>

enum log_head_id { LOG_HEAD_MAIN = 0, LOG_HEAD_CLEANER = 1, LOG_HEADS = 2 };

enum log_use { LOG_USE_NONE = 0, LOG_USE_LOG, LOG_USE_BLOB, LOG_USE_CONT };

/* What is known of the block in DRAM; for LOG and BLOB of the whole segment that starts there. */
struct log_segment {
    uint64_t nonce;
    uint64_t base_lsn;
    uint64_t open_lsn;
    uint32_t generation;
    uint32_t blocks;
    uint32_t first; /* CONT: the segment's first block */
    uint8_t use;    /* enum log_use */
    uint8_t head;
    bool sealed;
    bool linked;
    uint64_t end;    /* bytes from the segment's start; behind it there are no frames */
    uint64_t marked; /* every frame below it was durable; 0: not known */
    _Atomic(uint64_t) live_bytes;   /* records that the index names, blobs: the whole segment */
    _Atomic(uint64_t) mask_bytes;   /* tombstones, range deletes, expired records */
    _Atomic(uint32_t) pins;         /* views that point into it */
    _Atomic(uint32_t) refs;         /* BLOB: versions and holders that name it */
    _Atomic(uint32_t) index_refs;   /* BLOB: those of them that are versions in the index */
    _Atomic(uint64_t) mask_lsn_max; /* the highest LSN of those masks */
    bool blocked; /* the cleaner leaves it alone: damaged, or a pin holds an older version in it */
    bool freeing; /* free in the table; readers are waited for */
    bool dropped; /* NONE: a crash left it owned, and log_load_finish() gives it back */
    bool adopted; /* salvage: taken by its header, the table's word being lost or never written */
};

struct log;

FL_NODISCARD fl_status log_create(struct heap *heap, struct log **out);
void log_destroy(struct log *log);

struct heap *log_heap(const struct log *log);

/* The segment that holds file offset `off` (NULL: none), and its first block. */
struct log_segment *log_segment_at(const struct log *log, uint64_t off, uint32_t *block);
struct log_segment *log_segment_of(const struct log *log, uint32_t block);

/* The record at `off` (as put into index_loc). FL_CORRUPT: it doesn't validate. */
FL_NODISCARD fl_status log_decode(const struct log *log, uint64_t off, bool verify,
                                  struct log_record *record);
/* As log_decode() without CRC and without an error text; false if lengths or flags are impossible. */
bool log_peek(const struct log *log, uint64_t off, struct log_record *record);
/* Note that the index names the record of `bytes` at `off` no more, and ask whether that was noted: so that the cleaner
 * need not look up most of what it meets. A note stands until the block is used again. It is at the first line that
 * starts in the record, which no other record has; shorter ones may have none, then nothing is noted. Threads: one
 * notes, any ask. */
void log_dead_note(struct log *log, uint64_t off, size_t bytes);
bool log_dead_noted(const struct log *log, uint64_t off, size_t bytes);
void log_dead_prefetch(const struct log *log, uint64_t off); /* for the note */

/* What the record at `off` counts for in live_bytes. */
uint64_t log_account_bytes(const struct log_record *record);

/* The LSN at which the writers' head stands: every record appended later has this one or a higher. */
uint64_t log_lsn_main(const struct log *log);
uint64_t log_lsn_next(const struct log *log);

struct log_head_stats {
    const struct pm_counts *counts;
    uint64_t frames, records, segment_changes;
};
void log_head_stats(const struct log *log, enum log_head_id id, struct log_head_stats *stats);
struct pm *log_head_pm(struct log *log, enum log_head_id id);

/* Blocks side by side, for a frame that takes more than one. Zero: none. Threads: one at a time. */
struct log_run {
    uint32_t block;  /* the first */
    uint32_t picked; /* blocks that nobody else gets */
    uint32_t taken;  /* and of them those that exist */
};
/* Have blocks for a frame of `bytes` encoded, if they are more than one. What the run had it keeps if it can. Errors:
 * FL_NO_SPACE (there may be enough blocks, but not side by side), FL_TOO_LARGE, FL_IO. */
FL_NODISCARD fl_status log_run_extend(struct log *log, struct log_run *run, size_t bytes);
/* Give back what was not used. */
void log_run_drop(struct log *log, struct log_run *run);
/* The head's next frame goes into the run, if that is big enough; then the run is empty. */
void log_run_use(struct log *log, enum log_head_id id, struct log_run *run);

/* Begin a frame of `count` records, `bytes` encoded in all (batched, if count > 1 or the caller says so). Makes room
 * first, by a segment change if need be. Errors: FL_NO_SPACE, FL_TOO_LARGE, FL_NO_MEMORY, FL_IO: nothing was begun. */
FL_NODISCARD fl_status log_frame_begin(struct log *log, enum log_head_id id, uint32_t count,
                                       size_t bytes, enum heap_claim claim);
/* Add the next record; returns its place and sets *lsn (the place's, or record->lsn if explicit). */
uint64_t log_frame_add(struct log *log, enum log_head_id id, struct log_record *record,
                       uint64_t *lsn);
/* Begun, and not wanted. */
void log_frame_abandon(struct log *log, enum log_head_id id);
/* Write it and make it durable (`all`: also what anybody wrote through, big values). FL_IO: outcome unknown. */
FL_NODISCARD fl_status log_frame_commit(struct log *log, enum log_head_id id, bool all);

/* Bytes that a frame may still take in the head's open segment; 0: none is open. */
size_t log_head_room(const struct log *log, enum log_head_id id);
/* The same from any thread: what it was a moment ago. */
size_t log_head_room_hint(const struct log *log, enum log_head_id id);
/* Where the head's next frame goes, a file offset; 0: no segment is open. */
uint64_t log_head_off(const struct log *log, enum log_head_id id);

/* Free a segment: the table first, durably. Then the caller waits for readers and calls log_segment_recycle(). By the
 * thread that has the cleaner's head: what it copied is marked as durable. Not the segment a head has open. FL_AGAIN: a
 * head is linking from it just now; nothing was done. */
FL_NODISCARD fl_status log_segment_free(struct log *log, struct pm *pm, uint32_t block);
void log_segment_recycle(struct log *log, uint32_t block);

/* Before the cleaner judges what to copy, and with all that was committed published: no version that is deleted
 * from here on may come to stand, as a copy, in a segment that says to be younger than its tombstone. The cleaner's
 * thread. */
void log_copies_begin(struct log *log);

/* The lowest open_lsn of all log segments but `except` (UINT32_MAX: none), and *next, if wanted, the second lowest:
 * no older version of anything is left that a mask with a lower LSN would be needed for (storage rule 4). */
uint64_t log_open_lsn_min(const struct log *log, uint32_t except, uint64_t *next);

/* Which: log segments that are sealed and that no head needs, or log segments and blobs of all states. */
enum log_which { LOG_CLEANABLE, LOG_ALL };

/* Call `visit` for every such segment, under a lock: short, no calls back. */
void log_segments_visit(const struct log *log, enum log_which which, void *context,
                        void (*visit)(void *context, uint32_t block, struct log_segment *segment,
                                      uint64_t bytes));

/* ---- scanning ---- */

struct log_scan {
    void *context;
    /* Each record of each valid frame, in order. Anything but FL_OK ends the scan with it. */
    fl_status (*record)(void *context, uint32_t block, uint64_t off,
                        const struct log_record *record);
    const struct heap_report *report; /* damage, NULL: not reported */
    bool salvage; /* go on behind damage; of a damaged batch take the records that validate */
};

struct log_scan_result {
    uint64_t end;           /* bytes from the segment's start: behind the last valid frame */
    uint64_t torn_bytes;    /* an unfinished commit behind it */
    uint64_t damaged_bytes; /* salvage: lost */
    uint64_t damaged_ranges;
    uint64_t records;
};

/* Walk a segment's frames. FL_CORRUPT: damage (not salvage); fl_last_error() names the offset. */
FL_NODISCARD fl_status log_segment_scan(const struct log *log, uint32_t block,
                                        const struct log_scan *scan,
                                        struct log_scan_result *result);

/* Read every segment header the table names, check links and ownership; leave out what an interrupted segment change,
 * blob or free left behind. Writes nothing. FL_CORRUPT unless `salvage`, which also takes segments by their header
 * alone where the table's word is lost. */
struct log_load {
    const struct heap_report *report;
    bool salvage;
    uint64_t *damaged; /* count of findings */
};
FL_NODISCARD fl_status log_load(struct log *log, const struct log_load *load);
/* For writing, once all of the file was found undamaged: give back on media what was left out. What looks like a
 * crash's remains here may be a value whose first word was lost, and only its record, met by the scan, tells. FL_IO. */
FL_NODISCARD fl_status log_load_finish(struct log *log);

/* After the scan of all: seal, at `end`, a segment that was found open (`write`). */
FL_NODISCARD fl_status log_seal(struct log *log, uint32_t block, uint64_t end, bool write);

/* At a clean close: seal what the heads have open, so that what is missing later is damage, not a torn tail. The
 * heads go on in new segments. Durable on return. */
FL_NODISCARD fl_status log_seal_heads(struct log *log);

/* LSNs given out from here on are over `lsn`, which was found in a record. */
void log_lsn_raise(struct log *log, uint64_t lsn);

/* ---- values in blocks of their own ---- */

struct log_blob {
    struct log *log;
    struct pm pm;
    uint32_t block, blocks, generation;
    uint64_t nonce;
    uint64_t len, filled;
    uint32_t chunks_done, chunk_crc;
    uint32_t *crcs;
    uint32_t taken;        /* blocks that exist; the others are picked */
    bool owned;            /* in the heap, by finish */
    struct log_line *kept; /* of each later block, its first bytes until finish */
};

/* Picks the blocks; all but the first are made to exist by the append that reaches them, so that no call takes
 * longer than what it is given. Durable: nothing; until finish a crash leaves the blocks free. Errors: FL_NO_SPACE
 * (no such run below size_bytes_max, or not even one block), FL_TOO_LARGE, FL_NO_MEMORY, FL_IO. */
FL_NODISCARD fl_status log_blob_create(struct log *log, uint64_t len, struct log_blob **out);
/* Errors: FL_NO_SPACE, FL_IO: the blob is to be closed. FL_INVALID: more than it lacks. */
FL_NODISCARD fl_status log_blob_append(struct log_blob *blob, const void *data, size_t len);
/* Full: own it durably, write the chunk CRCs, make all safe for another thread's drain (log_frame_commit(all)). */
FL_NODISCARD fl_status log_blob_finish(struct log_blob *blob, struct log_blob_ref *ref);
/* Release the writer; the segment stays, with the one reference that create gave it. Not finished: its blocks that
 * don't exist are given back, and the segment is left with the others, to be freed as any other. */
void log_blob_close(struct log_blob *blob);

/* The value in place. `verify`: check every chunk's CRC. FL_CORRUPT. */
FL_NODISCARD fl_status log_blob_view(const struct log *log, const struct log_blob_ref *ref,
                                     bool verify, struct fl_bytes *value);
/* Check the CRCs of the chunks that `len` bytes from `off` of the value touch; bytes behind its end are none. The
 * reference names a segment that is there. FL_CORRUPT. */
FL_NODISCARD fl_status log_blob_verify(const struct log *log, const struct log_blob_ref *ref,
                                       uint64_t off, uint64_t len);
/* Does the reference name a blob segment that is there? */
struct log_segment *log_blob_segment(const struct log *log, const struct log_blob_ref *ref);

#endif
