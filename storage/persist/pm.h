/* Stores to media: the only way storage code changes a byte of the file, and the only place with flush
 * instructions.
 *
 * Media is addressed by byte offset in the file. Reading is plain loads from pm_media.base; that pointer is
 * const, so that a plain store does not compile. A writer has a `struct pm`: what it writes is durable when
 * its pm_drain() has returned FL_OK, in every kind of mapping, and in no order before that.
 *
 *   direct   (dax, volatile)  bytes go to the mapping at once, past the cache or flushed; drain = sfence
 *   staged   (page)           ranges are collected; drain = one synchronous write. Readers see the bytes
 *                             in the mapping only after it
 *   hooked   (model, tests)   bytes go to the mapping; every store, flush and fence is told to the hooks
 *
 * Crash model: before the drain has returned, any subset of the 8-byte aligned words of what was written may be
 * on media (staged: any subset of 512-byte sectors). pm_store_u64_nofence() is never torn.
 */
#ifndef FL_STORAGE_PERSIST_PM_H
#define FL_STORAGE_PERSIST_PM_H

#include <faultline/status.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PM_LINE_BYTES = 64, PM_SECTOR_BYTES = 512 };

enum pm_mode { PM_DIRECT, PM_STAGED, PM_HOOKED };

struct pm_range {
    uint64_t off; /* bytes from the start of the file */
    const void *src;
    size_t len; /* bytes */
};

/* What staged and hooked media must do; direct media has none. */
struct pm_media_ops {
    /* Staged. Write all ranges and make them durable; `all` : also everything written through before.
     * FL_IO: the outcome is unknown. */
    fl_status (*write_durable)(void *context, const struct pm_range *ranges, size_t count,
                               bool all);
    /* Staged. Write now, durable at the next write_durable(all). */
    fl_status (*write_through)(void *context, uint64_t off, const void *src, size_t len);
    /* Hooked: perform the store (`atomic`: 8 aligned bytes by one instruction), then be told of flush, fence. */
    void (*store)(void *context, uint64_t off, const void *src, size_t len, bool atomic);
    void (*flush)(void *context, uint64_t off, size_t len);
    void (*fence)(void *context);
};

/* A mapped file. Filled by storage/nosync/; read-only for everybody else. */
struct pm_media {
    const uint8_t *base; /* address of offset 0; never moves */
    uint8_t *base_store; /* the same, writable; direct and hooked. For persist/ and nosync/ only */
    uint64_t size_bytes_max;
    enum pm_mode mode;
    bool eadr; /* caches are in the persistence domain: no flush instructions */
    const struct pm_media_ops *ops;
    void *context;
};

/* Counts of one writer. Written by it, read by anyone (relaxed). */
struct pm_counts {
    _Atomic(uint64_t) lines;  /* 64-byte lines flushed or written past the cache */
    _Atomic(uint64_t) fences; /* drains that had something to make durable, by fence */
    _Atomic(uint64_t) syncs;  /* the same, by synchronous write or fdatasync */
};

enum { PM_RANGES_MAX = 64 };

/* The instruction that writes a line back; chosen by pm_init(). */
enum pm_flush { PM_FLUSH_CLFLUSH, PM_FLUSH_CLFLUSHOPT, PM_FLUSH_CLWB, PM_FLUSH_NONE };

/* A writer. Stays where it is from the first write to the drain: staged 8-byte stores point into it. Threads: one
 * at a time from the first write to the drain (a fence covers only its own thread's flushes). */
struct pm {
    const struct pm_media *media;
    struct pm_counts counts;
    enum pm_flush flush;
    size_t ranges_count; /* staged: ascending, disjoint, one source per range */
    size_t words_count;  /* staged */
    bool through;        /* staged: write_through since the last drain */
    bool dirty;          /* something to drain */
    fl_status failed;    /* the first failure; sticky: every later drain returns it */
    struct pm_range ranges[PM_RANGES_MAX];
    uint64_t words[PM_RANGES_MAX]; /* what 8-byte ranges point to */
};

void pm_init(struct pm *pm, const struct pm_media *media);

/* Write `len` bytes at `off`. `src` must stay as it is until pm_drain() (staged media reads it then). Whole lines of
 * the range go past the cache, the rest of it is flushed. Of two writes to one byte the later wins. Never fails; a
 * failure shows at the drain. Staged: when the table of ranges is full, all are written unsynced (readers may
 * see them before the drain) and the drain covers them. */
void pm_write_nofence(struct pm *pm, uint64_t off, const void *src, size_t len);

/* Write 8 bytes, little-endian, at `off`, a multiple of 8, by one store. */
void pm_store_u64_nofence(struct pm *pm, uint64_t off, uint64_t value);

/* Write several of them, from `off` on, all in one line: a store each, one flush. */
void pm_store_words_nofence(struct pm *pm, uint64_t off, const uint64_t *values, size_t words);

/* Write a large range now; `src` is free on return. A failure shows at the drain too. */
fl_status pm_write_through_nofence(struct pm *pm, uint64_t off, const void *src, size_t len);

/* Everything this writer wrote is durable on FL_OK. FL_IO: unknown, and so for ever after (sticky). */
FL_NODISCARD fl_status pm_drain(struct pm *pm);

/* For a writer whose drain another thread's pm will do: makes this thread's stores safe to leave (a fence on
 * direct media, counted). On staged media what is still staged is written through, and any later pm_drain_all()
 * covers it. */
void pm_handoff(struct pm *pm);

/* As pm_drain(), and everything anybody has written through is durable too. On staged media it always costs a
 * sync; elsewhere what others wrote is already durable by their own drain or handoff. */
FL_NODISCARD fl_status pm_drain_all(struct pm *pm);

/* Which instructions pm uses on direct media: "clwb, NT stores". */
const char *pm_instructions(bool eadr);

#endif
