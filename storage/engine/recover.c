/* Rebuilding the index on open: every segment is scanned, by several threads; the highest LSN of a key wins. */
#include "storage/engine/engine_internal.h"

#include "base/bytes.h"
#include "base/fail.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SHARDS = 8, THREADS_MAX = 16, BUFFER_ITEMS = 4096 };

/* A record on its way to the index, kept until its shard's turn. */
struct item {
    uint64_t hash;
    index_loc loc;
    uint64_t lsn;
    struct fl_key key;
};

struct range_mask {
    uint64_t lsn;
    uint8_t space_first, space_last;
    struct fl_bytes low, high;
};

struct loader {
    struct engine *engine;
    const struct heap_report *report; /* the caller's */
    struct heap_report report_one;    /* the same for several threads: one at a time */
    pthread_mutex_t report_lock;
    uint32_t blocks_total;
    _Atomic(uint32_t) next_block;
    _Atomic(uint64_t) done_bytes;
    uint64_t total_bytes;
    _Atomic(fl_status) status;
    pthread_mutex_t shard_locks[SHARDS];
    _Atomic(uint64_t) lost_blobs;    /* values in blocks of their own that aren't there */
    _Atomic(uint64_t) lost_blob_off; /* a record that names one */
    pthread_mutex_t lock;            /* what follows */
    char error[200];
    uint64_t space_lsn[256];  /* the highest LSN of range deletes of the whole space */
    struct range_mask *masks; /* the others */
    size_t masks_count, masks_cap;
    uint64_t records, lost_ranges, lost_bytes, torn_bytes;
    uint64_t lsn_max;
    uint64_t now_ms;
};

struct worker {
    struct loader *loader;
    size_t counts[SHARDS];
    struct item *items[SHARDS]; /* BUFFER_ITEMS each */
    uint64_t lsn_max;
    bool reports; /* the thread that called fl_open() */
};

static fl_status
shard_flush(struct worker *worker, unsigned shard)
{
    struct loader *loader = worker->loader;
    fl_status status = FL_OK;

    pthread_mutex_lock(&loader->shard_locks[shard]);
    for (size_t i = 0; i < worker->counts[shard] && status == FL_OK; i++) {
        const struct item *item = &worker->items[shard][i];

        status = index_load_put(loader->engine->index, item->hash, item->key, item->loc, item->lsn);
    }
    pthread_mutex_unlock(&loader->shard_locks[shard]);
    worker->counts[shard] = 0;
    return status;
}

static fl_status
note_mask(struct loader *loader, const struct log_record *record)
{
    const uint8_t *value = record->value.ptr;
    const unsigned space_last = value[0];
    fl_status status = FL_OK;

    pthread_mutex_lock(&loader->lock);
    if (record->key.len == 0 && record->value.len == 1) {
        for (unsigned space = record->space; space <= space_last; space++) {
            if (record->lsn > loader->space_lsn[space]) {
                loader->space_lsn[space] = record->lsn;
            }
        }
        pthread_mutex_unlock(&loader->lock);
        return FL_OK;
    }
    if (loader->masks_count == loader->masks_cap) {
        const size_t cap = loader->masks_cap == 0 ? 16 : 2 * loader->masks_cap;
        struct range_mask *masks = realloc(loader->masks, cap * sizeof(*masks));

        if (masks == NULL) {
            status = FL_FAIL(FL_NO_MEMORY, "range deletes found on open");
        } else {
            loader->masks = masks;
            loader->masks_cap = cap;
        }
    }
    if (status == FL_OK) {
        loader->masks[loader->masks_count++] = (struct range_mask){
            .lsn = record->lsn,
            .space_first = record->space,
            .space_last = (uint8_t)space_last,
            .low = record->key,
            .high = {value + 1, record->value.len - 1},
        };
    }
    pthread_mutex_unlock(&loader->lock);
    return status;
}

/* References are counted before the index can report the record dead. */
static void
account_loaded(struct engine *engine, index_loc loc, const struct log_record *record)
{
    uint32_t block = 0;

    if (record->kind == LOG_KIND_DELETE || record->kind == LOG_KIND_RANGE_DELETE) {
        engine_account_mask(engine, loc, record, record->lsn);
        return;
    }
    engine_account_live(engine, loc, record);
    struct log_segment *blob = engine_blob_of(engine, record, &block);

    if (blob != NULL) {
        atomic_fetch_add(&blob->refs, 1);
        atomic_fetch_add(&blob->index_refs, 1);
    }
}

static fl_status
load_record(void *context, uint32_t block, uint64_t off, const struct log_record *record)
{
    struct worker *worker = context;
    struct loader *loader = worker->loader;
    struct engine *engine = loader->engine;
    const index_loc loc = engine_loc(off, record);
    const struct fl_key key = engine_record_key(record);
    const uint64_t hash = index_hash(engine->index, key);

    (void)block;
    account_loaded(engine, loc, record);
    if (record->lsn > worker->lsn_max) {
        worker->lsn_max = record->lsn;
    }
    if (record->kind == LOG_KIND_RANGE_DELETE) {
        return note_mask(loader, record);
    }
    if (record->deadline_ms != 0) {
        pthread_mutex_lock(&loader->lock);
        const fl_status status =
            expiry_append(engine, (struct expiry_item){record->deadline_ms, hash, loc});

        pthread_mutex_unlock(&loader->lock);
        if (status != FL_OK) {
            return status;
        }
    }
    const unsigned shard = index_load_shard(engine->index, hash);

    worker->items[shard][worker->counts[shard]++] = (struct item){hash, loc, record->lsn, key};
    return worker->counts[shard] == BUFFER_ITEMS ? shard_flush(worker, shard) : FL_OK;
}

static void
loader_fail(struct loader *loader, fl_status status)
{
    pthread_mutex_lock(&loader->lock);
    if (atomic_load(&loader->status) == FL_OK) {
        atomic_store(&loader->status, status);
        snprintf(loader->error, sizeof(loader->error), "%s", fl_last_error());
    }
    pthread_mutex_unlock(&loader->lock);
}

static void
finding_one(void *context, const char *rule, uint64_t off, uint64_t len, const char *text)
{
    struct loader *loader = context;

    pthread_mutex_lock(&loader->report_lock);
    heap_report_finding(loader->report, rule, off, len, "%s", text);
    pthread_mutex_unlock(&loader->report_lock);
}

static fl_status
load_segment(struct worker *worker, uint32_t block)
{
    struct loader *loader = worker->loader;
    struct engine *engine = loader->engine;
    struct log_segment *segment = log_segment_of(engine->log, block);
    const bool open = !segment->sealed;
    const struct log_scan scan = {worker, load_record, &loader->report_one, engine->salvage};
    struct log_scan_result result;
    const fl_status status = log_segment_scan(engine->log, block, &scan, &result);

    pthread_mutex_lock(&loader->lock);
    loader->records += result.records;
    loader->lost_ranges += result.damaged_ranges;
    loader->lost_bytes += result.damaged_bytes;
    loader->torn_bytes += result.torn_bytes;
    pthread_mutex_unlock(&loader->lock);
    if (status == FL_OK && open) {
        segment->end = result.end;
    }
    return status;
}

static void *
worker_main(void *arg)
{
    struct worker *worker = arg;
    struct loader *loader = worker->loader;
    const uint32_t block_bytes = heap_geometry(loader->engine->heap)->block_bytes;
    const struct fl_options *user = &loader->engine->user;

    engine_shield_begin(loader->engine);
    for (;;) {
        const uint32_t block = atomic_fetch_add(&loader->next_block, 1);

        if (block >= loader->blocks_total || atomic_load(&loader->status) != FL_OK) {
            break;
        }
        if (log_segment_of(loader->engine->log, block)->use == LOG_USE_LOG) {
            const fl_status status = load_segment(worker, block);

            if (status != FL_OK) {
                loader_fail(loader, status);
            }
        }
        const uint64_t done = atomic_fetch_add(&loader->done_bytes, block_bytes) + block_bytes;

        if (worker->reports && user->progress != NULL) {
            user->progress(user->context, done, loader->total_bytes);
        }
    }
    for (unsigned shard = 0; shard < SHARDS; shard++) {
        const fl_status status =
            atomic_load(&loader->status) == FL_OK ? shard_flush(worker, shard) : FL_OK;

        if (status != FL_OK) {
            loader_fail(loader, status);
        }
    }
    pthread_mutex_lock(&loader->lock);
    if (worker->lsn_max > loader->lsn_max) {
        loader->lsn_max = worker->lsn_max;
    }
    pthread_mutex_unlock(&loader->lock);
    engine_shield_end(loader->engine);
    return NULL;
}

static bool
mask_covers(const struct range_mask *mask, uint64_t lsn, struct fl_key key)
{
    if (lsn >= mask->lsn || key.space < mask->space_first || key.space > mask->space_last) {
        return false;
    }
    if (key.space == mask->space_first &&
        bytes_compare(key.ptr, key.len, mask->low.ptr, mask->low.len) < 0) {
        return false;
    }
    return key.space != mask->space_last || mask->high.len == 0 ||
           bytes_compare(key.ptr, key.len, mask->high.ptr, mask->high.len) <= 0;
}

/* What the scan could not know about one record alone: range deletes, deadlines that have passed; and, for a record
 * that stays, whether the big value that it names is there. */
static bool
drop_loaded(void *context, index_loc loc, uint64_t lsn, struct fl_key key)
{
    struct engine *engine = context;
    struct loader *loader = engine->loader;
    struct log_record record;
    uint32_t block = 0;

    if (lsn < loader->space_lsn[key.space]) {
        return true;
    }
    for (size_t i = 0; i < loader->masks_count; i++) {
        if (mask_covers(&loader->masks[i], lsn, key)) {
            return true;
        }
    }
    if ((loc & (INDEX_LOC_DEADLINE | INDEX_LOC_BLOB)) == 0 ||
        !log_peek(engine->log, loc & INDEX_LOC_OFF_MASK, &record)) {
        return false;
    }
    if (record.deadline_ms != 0 && record.deadline_ms <= loader->now_ms) {
        return true;
    }
    if (record.kind == LOG_KIND_PUT_BLOB && engine_blob_of(engine, &record, &block) == NULL) {
        atomic_fetch_add(&loader->lost_blobs, 1);
        atomic_store(&loader->lost_blob_off, loc & INDEX_LOC_OFF_MASK);
    }
    return false;
}

static unsigned
threads_count(const struct engine *engine)
{
    unsigned wanted = engine->user.threads_open;

    if (wanted == 0) {
        const long cores = sysconf(_SC_NPROCESSORS_ONLN);

        wanted = cores > 0 ? (unsigned)cores : 1;
    }
    return wanted < THREADS_MAX ? wanted : THREADS_MAX;
}

static fl_status
worker_init(struct worker *worker, struct loader *loader)
{
    worker->loader = loader;
    for (unsigned shard = 0; shard < SHARDS; shard++) {
        worker->items[shard] = malloc(BUFFER_ITEMS * sizeof(struct item));
        if (worker->items[shard] == NULL) {
            return FL_FAIL(FL_NO_MEMORY, "buffers of the open");
        }
    }
    return FL_OK;
}

/* The calling thread works too, and tells the progress. */
static fl_status
scan_all(struct loader *loader, struct worker *workers, unsigned threads)
{
    pthread_t ids[THREADS_MAX];
    unsigned started = 0;

    for (unsigned i = 0; i < threads; i++) {
        const fl_status status = worker_init(&workers[i], loader);

        if (status != FL_OK) {
            return status;
        }
    }
    workers[0].reports = true;
    while (started + 1 < threads &&
           pthread_create(&ids[started], NULL, worker_main, &workers[started + 1]) == 0) {
        started++;
    }
    worker_main(&workers[0]);
    for (unsigned i = 0; i < started; i++) {
        pthread_join(ids[i], NULL);
    }
    const fl_status status = atomic_load(&loader->status);

    return status == FL_OK ? FL_OK : FL_FAIL(status, "%s", loader->error);
}

/* A clean close noted where the log ended: frames that are missing before it are damage, not a torn tail. */
static fl_status
clean_tail_check(struct loader *loader, const struct heap_root *root)
{
    struct engine *engine = loader->engine;
    uint32_t block = 0;

    if ((root->flags & HEAP_ROOT_CLEAN) == 0 || root->tail_off == 0) {
        return FL_OK;
    }
    const struct log_segment *segment = log_segment_at(engine->log, root->tail_off - 1, &block);
    const uint64_t start = heap_block_off(heap_geometry(engine->heap), block);

    if (segment != NULL && segment->use == LOG_USE_LOG &&
        (segment->sealed || start + segment->end >= root->tail_off)) {
        return FL_OK;
    }
    const uint64_t found =
        segment != NULL && segment->use == LOG_USE_LOG ? start + segment->end : 0;

    heap_report_finding(loader->report, "clean-tail", found, root->tail_off - found,
                        "the store was closed cleanly with its log ending at %" PRIu64
                        ", but it ends before: its last records are damaged",
                        root->tail_off);
    loader->lost_ranges++;
    loader->lost_bytes += root->tail_off - found;
    if (engine->salvage) {
        return FL_OK;
    }
    return FL_FAIL(FL_CORRUPT,
                   "the log ends at file offset %" PRIu64 ", but ended at %" PRIu64
                   " when the store was closed; run faultline-check --repair",
                   found, root->tail_off);
}

/* A record is durable after the value that it names: one without its value is damage. */
static fl_status
lost_blobs_check(struct loader *loader)
{
    const uint64_t lost = atomic_load(&loader->lost_blobs);

    loader->lost_ranges += lost;
    if (lost == 0 || loader->engine->salvage) {
        return FL_OK;
    }
    return FL_FAIL(FL_CORRUPT,
                   "the values of %" PRIu64
                   " keys are lost, one of them named at file offset %" PRIu64
                   ": run faultline-check --repair on the file, or open it for salvage",
                   lost, atomic_load(&loader->lost_blob_off));
}

/* Storage rule 1: what was found open is sealed where it ends and never appended to. */
static fl_status
seal_all(struct loader *loader)
{
    struct engine *engine = loader->engine;

    for (uint32_t block = 2; block < loader->blocks_total; block++) {
        const struct log_segment *segment = log_segment_of(engine->log, block);

        if (segment->use == LOG_USE_LOG && !segment->sealed) {
            const fl_status status = log_seal(engine->log, block, segment->end, !engine->read_only);

            if (status != FL_OK) {
                return status;
            }
        }
    }
    return FL_OK;
}

/* Blobs that no record names: written for a commit that never came, or superseded before the crash. */
static void
blobs_sweep(struct loader *loader)
{
    struct engine *engine = loader->engine;

    for (uint32_t block = 2; block < loader->blocks_total; block++) {
        const struct log_segment *segment = log_segment_of(engine->log, block);

        if (segment->use == LOG_USE_BLOB) {
            engine_blob_created(engine, block);
            if (atomic_load(&segment->refs) == 0) {
                engine_blob_dead(engine, block);
            }
        }
    }
}

static fl_status
load_all(struct loader *loader, struct worker *workers)
{
    struct engine *engine = loader->engine;
    const unsigned threads = threads_count(engine);
    struct heap_root root;

    heap_root_get(engine->heap, &root);
    /* Shards are for threads: a small store that one thread opens touches the memory of one only. */
    fl_status status = index_load_begin(engine->index, threads == 1 ? 1 : SHARDS);

    if (status == FL_OK) {
        status = scan_all(loader, workers, threads);
    }
    if (status == FL_OK) {
        status = clean_tail_check(loader, &root);
    }
    if (status == FL_OK) {
        loader->now_ms = engine_now_ms(engine);
        status = index_load_finish(engine->index, threads, drop_loaded);
    }
    if (status == FL_OK) {
        status = lost_blobs_check(loader);
    }
    if (status == FL_OK) {
        status = seal_all(loader);
    }
    if (status != FL_OK) {
        return status;
    }
    engine->loading = false;
    blobs_sweep(loader);
    engine->open_records = loader->records;
    engine->lost_ranges += loader->lost_ranges;
    engine->lost_bytes = loader->lost_bytes;
    engine->recovered = (root.flags & HEAP_ROOT_CLEAN) == 0;
    engine->lsn_published = loader->lsn_max;
    log_lsn_raise(engine->log, loader->lsn_max);
    /* Also when all of them have passed: that they have is shown to readers from here on. */
    const bool deadlines = engine->expiry.count > 0;

    expiry_settle(engine);
    if (!deadlines) {
        return FL_OK;
    }
    engine_clock_judged(engine, loader->now_ms);
    return engine_clock_start(engine);
}

fl_status
engine_load(struct engine *engine, const struct heap_report *report)
{
    struct loader *loader = calloc(1, sizeof(*loader));
    struct worker *workers = calloc(THREADS_MAX, sizeof(*workers));

    if (loader == NULL || workers == NULL) {
        free(loader);
        free(workers);
        return FL_FAIL(FL_NO_MEMORY, "the open");
    }
    loader->engine = engine;
    loader->report = report;
    loader->report_one = (struct heap_report){loader, finding_one};
    pthread_mutex_init(&loader->report_lock, NULL);
    loader->blocks_total = heap_blocks_total(engine->heap);
    loader->total_bytes = (uint64_t)loader->blocks_total * heap_geometry(engine->heap)->block_bytes;
    pthread_mutex_init(&loader->lock, NULL);
    for (unsigned shard = 0; shard < SHARDS; shard++) {
        pthread_mutex_init(&loader->shard_locks[shard], NULL);
    }
    engine->loader = loader;
    engine->loading = true;
    const fl_status status = load_all(loader, workers);

    engine->loader = NULL;
    engine->loading = false;
    for (unsigned i = 0; i < THREADS_MAX; i++) {
        for (unsigned shard = 0; shard < SHARDS; shard++) {
            free(workers[i].items[shard]);
        }
    }
    for (unsigned shard = 0; shard < SHARDS; shard++) {
        pthread_mutex_destroy(&loader->shard_locks[shard]);
    }
    pthread_mutex_destroy(&loader->lock);
    pthread_mutex_destroy(&loader->report_lock);
    free(loader->masks);
    free(loader);
    free(workers);
    return status;
}
