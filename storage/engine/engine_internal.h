/* Shared by the files of storage/engine/ only. */
#ifndef FL_STORAGE_ENGINE_ENGINE_INTERNAL_H
#define FL_STORAGE_ENGINE_ENGINE_INTERNAL_H

#include "storage/engine/engine.h"

#include <pthread.h>

/* A record with a deadline: a binary heap by deadline. Entries validate themselves when they are popped. */
struct expiry {
    struct expiry_item {
        uint64_t deadline_ms;
        uint64_t hash;
        index_loc loc;
    } * items;
    size_t count, cap, compact_at;
};

struct engine {
    struct nosync_map *map;
    struct heap *heap;
    struct log *log;
    struct epoch *epoch;
    struct index *index;
    struct fl_options user; /* copied */
    bool read_only;
    bool salvage;
    bool async;
    bool loading;

    _Atomic(struct engine_request *) queue; /* newest first */
    _Atomic(fl_status) failed;              /* sticky: FL_IO */
    pthread_mutex_t commit_lock;            /* what follows, and index writes */
    struct expiry expiry;
    uint64_t lsn_published;
    _Atomic(uint64_t) live_bytes;     /* log records that the index names; blobs not included */
    _Atomic(uint64_t) blob_bytes;     /* blobs that somebody names */
    _Atomic(uint64_t) live_deadlines; /* records the index names that have one */
    _Atomic(uint64_t) expired_total;

    /* the clock */
    _Atomic(uint64_t) clock_floor_ms; /* this run, or an earlier one, may have judged by it */
    _Atomic(uint64_t) clock_lease_ms; /* durable; 0: none needed yet; UINT64_MAX: read-only */

    /* committer, for media whose drain blocks */
    pthread_t committer;
    bool committer_runs;
    pthread_mutex_t queue_lock;
    pthread_cond_t queue_cond;
    bool queue_stop;

    /* keeper: cleaner, expiry, reclaim */
    pthread_t keeper;
    _Atomic bool keeper_runs; /* the committer asks it beside a close */
    pthread_mutex_t keeper_lock;
    pthread_cond_t keeper_cond; /* there is work */
    pthread_cond_t room_cond;   /* a segment was recycled */
    bool keeper_stop;
    uint64_t recycled_count;    /* under keeper_lock */
    bool cleaner_idle;          /* under keeper_lock: the last look found no victim */
    _Atomic(bool) unblock;      /* a pin went: blocked segments are looked at again */
    _Atomic(uint64_t) look_lsn; /* when the log stands there the cleaner has to look again */
    _Atomic(bool) pressure;     /* dead space is near its limit: writers wait for the cleaner */
    struct pm keeper_pm;
    uint32_t *freeing; /* segments whose last reader is waited for; keeper only */
    size_t freeing_count, freeing_cap;
    pthread_mutex_t dead_lock;
    uint32_t *dead_blobs; /* blob segments without references */
    size_t dead_blobs_count, dead_blobs_cap;
    _Atomic(uint64_t) copied_bytes, freed_blocks;

    _Atomic(uint64_t) random_state;
    uint64_t open_ms, open_records;
    bool told_full, told_failed; /* keeper */
    bool recovered;
    struct loader *loader; /* while loading */
    uint64_t lost_ranges, lost_bytes;
};

/* Blocks for deletes and FLUSHALL on a full store, the last one for the cleaner (storage rule 8). */
enum { ENGINE_RESERVE_BLOCKS = 3 };

/* tell.c: keeper */
void engine_tell_changes(struct engine *engine);

/* recover.c */
fl_status engine_load(struct engine *engine, const struct heap_report *report);

/* account.c */
const struct index_media *engine_index_media(struct engine *engine, struct index_media *media);
void engine_account_live(struct engine *engine, index_loc loc, const struct log_record *record);
void engine_account_mask(struct engine *engine, index_loc loc, const struct log_record *record,
                         uint64_t lsn);
void engine_blob_dead(struct engine *engine, uint32_t block);
void engine_account_dead(struct engine *engine, index_loc loc, const struct log_record *record);
void engine_account_reset(struct engine *engine);
struct log_segment *engine_blob_of(const struct engine *engine, const struct log_record *record,
                                   uint32_t *block);

static inline index_loc
engine_loc(uint64_t off, const struct log_record *record)
{
    return off | (record->lsn_explicit ? INDEX_LOC_LSN_EXPLICIT : 0) |
           (record->deadline_ms != 0 ? INDEX_LOC_DEADLINE : 0) |
           (record->kind == LOG_KIND_PUT_BLOB ? INDEX_LOC_BLOB : 0) |
           (record->kind == LOG_KIND_DELETE ? INDEX_LOC_TOMBSTONE : 0);
}

static inline struct fl_key
engine_record_key(const struct log_record *record)
{
    return fl_key_in(record->space, record->key.ptr, record->key.len);
}

/* read.c */
/* Run `body`, which leaves its result in *status; FL_IO if SIGBUS ended it (only with FL_OPEN_SIGBUS). For stores: what
 * only loads is shielded. */
fl_status engine_guarded(struct engine *engine, void (*body)(void *context), void *context,
                         const fl_status *status);

/* expire.c */
fl_status expiry_add(struct engine *engine, struct expiry_item item);
fl_status expiry_append(struct engine *engine, struct expiry_item item);
void expiry_settle(struct engine *engine);
void expiry_deinit(struct expiry *expiry);
bool engine_expire_step(struct engine *engine);
bool engine_clock_step(struct engine *engine);
fl_status engine_clock_start(struct engine *engine);
void engine_clock_judged(struct engine *engine, uint64_t now_ms);

/* clean.c */
bool engine_clean_step(struct engine *engine);
bool engine_free_step(struct engine *engine);

/* keeper.c */
fl_status engine_keeper_start(struct engine *engine);
void engine_keeper_stop(struct engine *engine);
void engine_keeper_kick(struct engine *engine);

/* commit.c */
void engine_fail(struct engine *engine, fl_status status);
fl_status engine_committer_start(struct engine *engine);
void engine_committer_stop(struct engine *engine);

#endif
