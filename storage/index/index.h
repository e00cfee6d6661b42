/* The index: key -> place of its newest record on media. Ordered, with O(1) point reads.
 *
 * Version 1 lives in DRAM and is rebuilt on open. It holds no keys: it reads them from the records, through
 * `struct index_media`. A later version (persistent, checkpointed) replaces what is behind this header.
 *
 * Structure:  entry   one 8-byte word a key: the loc of its newest record; its id never moves, so that an
 *                     overwrite and a move by the cleaner are one atomic store
 *             hash    key hash -> entry id; lock-free readers; grows piece by piece, never all at once
 *             order   a B+-tree of entry ids by (space, key bytes); not touched by overwrites. New entries wait
 *                     in a ring and are merged in sorted batches: see index_maintain()
 *             chains  older versions of an entry, kept while a pin sees them
 *
 * Invariants: 1. a key is in the hash exactly once if and only if it is in the order exactly once;
 *             2. an entry's word changes by one atomic store: a reader sees the old or the new record;
 *             3. every loc given to the index is handed to index_media.dead exactly once, when no reader
 *                that comes later can be given it any more (earlier ones are the epoch's affair) - but for
 *                index_clear_spaces() returning true and index_destroy();
 *             4. index_find(at_lsn) and index_scan(at_lsn) agree for every pinned at_lsn.
 *
 * Threads: one writer at a time (the caller's lock) for the calls marked W; those marked R run beside it, by
 *          any number of threads, inside an epoch section of the same epoch. R calls never wait for
 *          a writer but index_scan() and index_random(): they merge what waits, and take the order's
 *          lock, which is held for some sixteen insertions or one removal at a time.
 */
#ifndef FL_STORAGE_INDEX_H
#define FL_STORAGE_INDEX_H

#include "base/epoch.h"

#include <faultline/faultline.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A place on media: bits 0-47 the record's byte offset in the file (never 0), bits 48-55 flags of the record that
 * the engine knows (below), bits 56-63 are the index's own and are zero in every loc that passes this header. */
typedef uint64_t index_loc;
#define INDEX_LOC_OFF_MASK ((UINT64_C(1) << 48) - 1)
#define INDEX_LOC_LSN_EXPLICIT                                                                     \
    (UINT64_C(1) << 48)                         /* its LSN stands in the record, not in its place */
#define INDEX_LOC_TOMBSTONE (UINT64_C(1) << 49) /* a delete, or masks as one */
#define INDEX_LOC_DEADLINE (UINT64_C(1) << 50)  /* the record has a deadline */
#define INDEX_LOC_BLOB (UINT64_C(1) << 51)      /* the value lives in blocks of its own */

/* How the index sees the media. `context` is the engine. key_at and lsn_at are called from any thread, partly under
 * locks of the index: they must not call it. */
struct index_media {
    void *context;
    /* The key of the record at `loc`; false if it can't be read (damage): the index takes it as equal to no
     * key, and as greater than every key of the order (deterministically). The bytes stay valid for the
     * epoch section, or for the writer's call. */
    bool (*key_at)(void *context, index_loc loc, struct fl_key *key);
    uint64_t (*lsn_at)(void *context, index_loc loc);
    /* `loc` is out of the index for good. Called from W calls, and while loading from several threads at once. */
    void (*dead)(void *context, index_loc loc);
    /* A thread that index_load_finish() started begins to read media, or has ended; NULL: nothing to do. */
    void (*thread)(void *context, bool begins);
};

struct index;

FL_NODISCARD fl_status index_create(const struct index_media *media, struct epoch *epoch,
                                    struct index **out);
void index_destroy(struct index *index);

/* The hash that every call below takes; seeded for each index at random. R. */
uint64_t index_hash(const struct index *index, struct fl_key key);

/* ---- reading ---- */

#define INDEX_LSN_LATEST UINT64_MAX

/* R. The newest version with LSN <= at_lsn (LATEST: the newest). False: none, or it is a tombstone; *loc is then 0,
 * or the place of a record whose key had the same tag and is another: as good as never, unless media went bad
 * there. at_lsn other than LATEST must be pinned. */
bool index_find(const struct index *index, uint64_t hash, struct fl_key key, uint64_t at_lsn,
                index_loc *loc);

enum index_depth { INDEX_TO_BUCKET, INDEX_TO_ENTRY, INDEX_TO_RECORD };

enum { INDEX_PREFETCH_MAX = 64 };

/* R. Start the cache misses of index_find for `count` keys, INDEX_PREFETCH_MAX at most; TO_RECORD: those of the records
 * through `media_prefetch`. Waits for all misses but the last, of all keys together. */
void index_prefetch(const struct index *index, const uint64_t *hashes, size_t count,
                    enum index_depth depth,
                    void (*media_prefetch)(void *context, const index_loc *locs, size_t count));

enum index_direction { INDEX_FORWARD, INDEX_BACKWARD };

/* R. Up to `count_max` locs of live (not tombstone) versions at `at_lsn` in key order, from `from` on
 * (itself included if `inclusive`), never leaving from.space. from.len 0: from the space's first or, backward,
 * last key. Returns how many; fewer than count_max: the end of the space was reached. */
size_t index_scan(const struct index *index, struct fl_key from, bool inclusive,
                  enum index_direction direction, uint64_t at_lsn, index_loc *locs,
                  size_t count_max);

/* R. Keys whose newest version is no tombstone. */
uint64_t index_count(const struct index *index, uint8_t space);
uint64_t index_dram_bytes(const struct index *index);

/* R. A live key's loc in `space`, chosen about evenly by `random`. False: the space is empty. */
bool index_random(const struct index *index, uint8_t space, uint64_t random, index_loc *loc);

/* ---- writing ---- */

/* W. Make room so that the next `count` index_put() calls can't fail for memory. It is cheap to call before each batch:
 * room is made for some thousand puts at a time. FL_NO_MEMORY: nothing was changed. */
FL_NODISCARD fl_status index_reserve(struct index *index, size_t count);
/* W. The same for an index_clear_spaces() of these spaces before anything else is written: with pins it keeps a version
 * of each key that there is. What puts were promised stays theirs. FL_NO_MEMORY: nothing was changed. */
FL_NODISCARD fl_status index_reserve_clear(struct index *index, uint8_t space_first,
                                           uint8_t space_last);

/* Entries that index_put() has added wait for their place in the order and are put there in sorted batches: by the
 * next index_scan(), or by this call, which a background thread makes to keep the work from others, or by
 * the writer while nobody makes it. Inserts about a thousand and returns how many still wait (0: pause a while).
 * Threads: any, beside the writer and readers, outside of epoch sections. */
size_t index_maintain(struct index *index);

/* W. `loc` (LSN `lsn`, higher than the key's present one) is the key's newest version. A tombstone loc removes the
 * key: where no pin sees an older version the entry goes, and the tombstone itself is reported dead.
 * Can't fail after index_reserve(). Returns the loc that was newest before (0: none; a tombstone, if pins kept one);
 * it is reported dead now, or later if a pin sees it. */
index_loc index_put(struct index *index, uint64_t hash, struct fl_key key, index_loc loc,
                    uint64_t lsn);

/* W. Drop the key from DRAM without a record (it expired): only if its newest version is `loc`. Pinned
 * versions stay visible to their pins, also to pins of a later LSN that come while they are kept. False: it had
 * changed, or a pin sees it and there is no memory to keep it by; nothing was done. */
bool index_expire(struct index *index, uint64_t hash, struct fl_key key, index_loc loc);

/* W. The cleaner has copied the record at `from` to `to` (same key, same LSN): name `to` wherever `from`
 * is named, as the newest or as an older version. False: nobody names `from` any more. `from` is NOT
 * reported dead. */
bool index_relocate(struct index *index, uint64_t hash, struct fl_key key, index_loc from,
                    index_loc to);

/* R (beside the writer: a hint). Does any version name `loc`? */
bool index_names(const struct index *index, uint64_t hash, struct fl_key key, index_loc loc);

/* R. Is `loc` some key's newest version? Judged by the place alone: no key is read, so no media is touched. */
bool index_newest_at(const struct index *index, uint64_t hash, index_loc loc);

/* W. Remove every key of the spaces first..last with LSN < lsn; index_reserve_clear() comes before. True: the whole
 * index was emptied at once, and `dead` was called for nothing (the caller resets its own accounts); false: `dead` was
 * called for each, or will be when no pin sees it any more. All at once it is if no pin exists, no key of another
 * space, and no key of `lsn` or later; its memory is given back by epoch_reclaim(). It needs the hashes of keys to be
 * index_hash(). */
bool index_clear_spaces(struct index *index, uint8_t space_first, uint8_t space_last, uint64_t lsn);

/* ---- pins ---- */

/* W. From now on versions visible at `lsn` are kept (several pins may have one LSN). `lsn` is that of a pin that
 * exists, or not below the LSN of any put so far. FL_NO_MEMORY. */
FL_NODISCARD fl_status index_pin(struct index *index, uint64_t lsn);
/* W. The opposite; reports what nobody sees any more. */
void index_unpin(struct index *index, uint64_t lsn);
/* R. Number of pins, and of older versions kept for them. */
uint64_t index_pins(const struct index *index, uint64_t *versions_kept);

/* ---- loading on open: no readers, several loader threads ---- */

/* Split the loading into `shards` (1, 2, 4 or 8) that may be filled at the same time, a thread each. index_prefetch()
 * may be used meanwhile. After an error in loading the index can only be destroyed. */
FL_NODISCARD fl_status index_load_begin(struct index *index, unsigned shards);
unsigned index_load_shard(const struct index *index, uint64_t hash);
/* From the thread that owns the hash's shard. Records come in any order: the highest LSN wins; equal LSNs are
 * copies of one version, either is kept. Tombstones take part. A loser is reported dead (from this thread). */
FL_NODISCARD fl_status index_load_put(struct index *index, uint64_t hash, struct fl_key key,
                                      index_loc loc, uint64_t lsn);
/* Drop what `drop` says true to (range deletes, tombstones are dropped by themselves), then build the order with
 * `threads` threads (sort, then bottom-up), this one included. Every drop is reported dead, and so is a record
 * whose key can't be read any more. `drop` may be NULL; it is called from those threads, with media.context. After
 * it the index is in use. */
FL_NODISCARD fl_status index_load_finish(struct index *index, unsigned threads,
                                         bool (*drop)(void *context, index_loc loc, uint64_t lsn,
                                                      struct fl_key key));

/* Check the invariants (tests, faultline-check): FL_CORRUPT with what is wrong. W. */
FL_NODISCARD fl_status index_verify(struct index *index);

#endif
