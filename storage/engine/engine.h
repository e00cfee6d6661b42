/* The native engine: log, index and cleaner behind requests.
 *
 * A request is one atomic set of changes with its conditions. Whoever comes commits: requests are queued, the
 * thread that gets the commit lock writes those of all who wait as one frame, drains once, publishes and completes
 * them. On media whose drain blocks (page) a committer thread does it, so that submitting never waits.
 *
 * Invariants: 1. a change is published in the index only after its frame was drained;
 *             2. conditions are judged under the commit lock, in the order of LSNs;
 *             3. a failed drain is final: the store turns read-only, requests in flight get FL_IO;
 *             4. a segment is recycled only after its table word is durably free, readers have left, views are
 *             released.
 */
#ifndef FL_STORAGE_ENGINE_ENGINE_H
#define FL_STORAGE_ENGINE_ENGINE_H

#include "storage/index/index.h"
#include "storage/log/log.h"

#include <faultline/faultline.h>

struct engine;

/* Of fl_options.log. */
enum { ENGINE_LOG_INFO = 1, ENGINE_LOG_WARNING = 2, ENGINE_LOG_ERROR = 3 };

struct engine_options {
    const struct fl_options *user;
    const struct heap_report *report;
    bool read_only;
    bool salvage;
};

/* Of a store that is created by these options; who asked for no size gets `size_bytes_max`. */
void engine_geometry_wanted(const struct fl_options *user, uint64_t size_bytes_max,
                            struct heap_geometry *geometry);

/* Takes over `map` (closed by engine_close() or on failure). Formats it if it is empty and `create`. */
FL_NODISCARD fl_status engine_open(struct nosync_map *map, const struct engine_options *options,
                                   struct engine **out);
/* Stops the threads, marks the store as closed cleanly, releases everything. */
fl_status engine_close(struct engine *engine);

/* ---- writing ---- */

struct engine_change {
    struct log_record record; /* key and value stay the caller's until the request is complete */
    uint64_t hash;
    uint32_t blob_block; /* PUT_BLOB: a reference on this segment passes to the index on success */
    bool skip;           /* superseded inside its batch */
    /* results */
    index_loc loc;
    uint64_t lsn;
};

struct engine_require {
    struct fl_key key;
    uint64_t hash;
    uint64_t lsn; /* 0: absent */
};

struct engine_request {
    struct engine_request *next;
    struct engine_change *changes;
    uint32_t count;      /* of changes, skipped ones included */
    uint32_t count_live; /* not skipped; 0: nothing is written */
    size_t bytes;        /* encoded, of those not skipped */
    const struct engine_require *requires;
    size_t requires_count;
    enum fl_condition condition; /* of a request with one change */
    uint64_t condition_lsn;
    enum heap_claim claim;
    struct log_run *run; /* blocks for it; NULL: none were needed. Empty once they are used */
    bool deadlines;      /* a change has one */
    bool sync_all;       /* values were written through */
    bool spaces;         /* the change is a RANGE_DELETE of whole spaces */
    fl_status status;
    char error[160];
    _Atomic(bool) done;
    /* Asynchronous requests: called by the committing thread after publication or failure; may free the request. */
    void (*complete)(struct engine_request *request);
    void *owner;
};

/* Encoded sizes: fill request->bytes, count_live and deadlines from the changes. */
void engine_request_measure(struct engine_request *request);

/* Commit and wait. The request's status, with its text in fl_last_error(). */
FL_NODISCARD fl_status engine_commit(struct engine *engine, struct engine_request *request);

/* Queue, only where engine_is_async(). Requests commit in the order in which they were queued. complete() is called by
 * a thread that has the commit lock, never by this call: the caller may hold locks that complete() takes. */
void engine_submit(struct engine *engine, struct engine_request *request);

/* True where a drain blocks and a thread is there to do it: engine_submit() may be called. */
bool engine_is_async(const struct engine *engine);

/* FL_OK, or why nothing can be written: FL_READ_ONLY, FL_IO. */
fl_status engine_writable(struct engine *engine);

/* Is there room for a request of `bytes`, beside `claimed` bytes of others? Waits a bounded time for the cleaner if
 * that helps. FL_NO_SPACE. */
FL_NODISCARD fl_status engine_room(struct engine *engine, size_t bytes, size_t claimed);

/* Wait until everything queued is durable. */
FL_NODISCARD fl_status engine_sync(struct engine *engine);

/* ---- reading: inside an epoch section (engine_enter) ---- */

/* An epoch section and, with FL_OPEN_SIGBUS, a shield (nosync.h): media that can't be read reads as zeros until
 * engine_exit(), and engine_is_bad() tells. */
uint32_t engine_enter(struct engine *engine);
void engine_exit(struct engine *engine, uint32_t token);

uint64_t engine_hash(const struct engine *engine, struct fl_key key);
/* As index_prefetch(). */
void engine_prefetch(struct engine *engine, const uint64_t *hashes, size_t count,
                     enum index_depth depth);
/* The same for what a put of each key needs. */
void engine_prefetch_replaced(struct engine *engine, const uint64_t *hashes, size_t count);

/* Without the section: for who reads views of segments that it holds. */
void engine_shield_begin(const struct engine *engine);
void engine_shield_end(const struct engine *engine);
/* Are some of these bytes, that lie on media, ones that could not be read? To be asked once they were. */
bool engine_is_bad(const struct engine *engine, struct fl_bytes bytes);

/* Ask the clock only if the record has a deadline. */
#define ENGINE_NOW UINT64_C(0)

/* The key's newest durable version at `at_lsn`, not expired at `now_ms`. FL_NOT_FOUND, FL_CORRUPT, FL_IO (SIGBUS). */
FL_NODISCARD fl_status engine_find(struct engine *engine, struct fl_key key, uint64_t hash,
                                   uint64_t at_lsn, uint64_t now_ms, index_loc *loc,
                                   struct log_record *record);
/* The value of a record found, blobs resolved; *segment is the one to pin for it. */
FL_NODISCARD fl_status engine_value(struct engine *engine, index_loc loc,
                                    const struct log_record *record, struct fl_bytes *value,
                                    struct log_segment **segment);
/* The same, *value is the whole one, but of a blob's chunks only those are checked that the `part` touches. */
struct engine_part {
    uint64_t off, len; /* bytes of the value; may go over its end */
};
#define ENGINE_WHOLE ((struct engine_part){0, UINT64_MAX})
struct fl_bytes engine_part_cut(struct fl_bytes value, struct engine_part part);
FL_NODISCARD fl_status engine_value_part(struct engine *engine, index_loc loc,
                                         const struct log_record *record, struct engine_part part,
                                         struct fl_bytes *value, struct log_segment **segment);
struct index *engine_index(struct engine *engine);
struct log *engine_log(struct engine *engine);
bool engine_record_at(struct engine *engine, index_loc loc, struct log_record *record);

/* The store's clock (storage rule 21). */
uint64_t engine_now_ms(struct engine *engine);

/* Drop one reference to a blob segment; the last one's drop gives it to the cleaner. Threads: any. */
void engine_blob_release(struct engine *engine, uint32_t block);
/* One more reference, inside an epoch section; false: the blob is not there any more. */
bool engine_blob_hold(struct engine *engine, const struct log_blob_ref *ref);
void engine_blob_created(struct engine *engine, uint32_t block);

/* ---- pins ---- */

FL_NODISCARD fl_status engine_pin(struct engine *engine, uint64_t *lsn);
void engine_unpin(struct engine *engine, uint64_t lsn);

/* One bounded step of all background work: FL_OK did something, FL_END nothing to do. */
FL_NODISCARD fl_status engine_maintain(struct engine *engine);

void engine_stats(struct engine *engine, struct fl_stats *stats);

/* Check what only a loaded store can tell: index against log, big values, accounts. Findings go to `report`. Not beside
 * writers. */
FL_NODISCARD fl_status engine_verify(struct engine *engine, const struct heap_report *report);

/* Not for secrets: choosing a key. Threads: any. */
uint64_t engine_random(struct engine *engine);

#endif
