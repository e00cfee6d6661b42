/* Reading beside the writers: inside an epoch section, without locks. */
#include "storage/engine/engine_internal.h"

#include "base/fail.h"

uint32_t
engine_enter(struct engine *engine)
{
    return epoch_enter(engine->epoch);
}

void
engine_exit(struct engine *engine, uint32_t token)
{
    epoch_exit(engine->epoch, token);
}

uint64_t
engine_hash(const struct engine *engine, struct fl_key key)
{
    return index_hash(engine->index, key);
}

static void
prefetch_media(void *context, const index_loc *locs, size_t count)
{
    const struct engine *engine = context;
    const uint8_t *base = heap_media(engine->heap)->base;

    for (size_t i = 0; i < count; i++) {
        const uint8_t *at = base + (locs[i] & INDEX_LOC_OFF_MASK);

        __builtin_prefetch(at);
        __builtin_prefetch(at + LOG_LINE_BYTES);
    }
}

static void
prefetch_replaced(void *context, const index_loc *locs, size_t count)
{
    const struct engine *engine = context;

    prefetch_media(context, locs, count);
    for (size_t i = 0; i < count; i++) {
        log_dead_prefetch(engine->log, locs[i] & INDEX_LOC_OFF_MASK);
    }
}

void
engine_prefetch(struct engine *engine, const uint64_t *hashes, size_t count, enum index_depth depth)
{
    index_prefetch(engine->index, hashes, count, depth, prefetch_media);
}

void
engine_prefetch_replaced(struct engine *engine, const uint64_t *hashes, size_t count)
{
    index_prefetch(engine->index, hashes, count, INDEX_TO_RECORD, prefetch_replaced);
}

struct index *
engine_index(struct engine *engine)
{
    return engine->index;
}

struct log *
engine_log(struct engine *engine)
{
    return engine->log;
}

bool
engine_record_at(struct engine *engine, index_loc loc, struct log_record *record)
{
    return log_peek(engine->log, loc & INDEX_LOC_OFF_MASK, record);
}

/* A read in progress: what a SIGBUS may end. */
struct reading {
    struct engine *engine;
    struct fl_key key;
    uint64_t hash, at_lsn, now_ms;
    index_loc *loc;
    struct log_record *record;
    struct fl_bytes *value;
    struct log_segment **segment;
    struct engine_part part;
    fl_status status;
};

static void
find(void *context)
{
    struct reading *r = context;
    struct engine *engine = r->engine;

    if (!index_find(engine->index, r->hash, r->key, r->at_lsn, r->loc)) {
        /* The record that should have the key may have been damaged since it was read at open. */
        r->status = *r->loc == 0
                        ? FL_OK
                        : log_decode(engine->log, *r->loc & INDEX_LOC_OFF_MASK, true, r->record);
        r->status = r->status == FL_OK ? FL_NOT_FOUND : r->status;
        return;
    }
    r->status =
        log_decode(engine->log, *r->loc & INDEX_LOC_OFF_MASK, engine->user.verify_reads, r->record);
    if (r->status == FL_OK && r->record->deadline_ms != 0) {
        const uint64_t now = r->now_ms != ENGINE_NOW ? r->now_ms : engine_now_ms(engine);

        r->status = r->record->deadline_ms <= now ? FL_NOT_FOUND : FL_OK;
    }
}

static void
resolve(void *context)
{
    struct reading *r = context;
    struct log_blob_ref ref;
    uint32_t block = 0;

    if (r->record->kind != LOG_KIND_PUT_BLOB) {
        *r->segment = log_segment_at(r->engine->log, *r->loc & INDEX_LOC_OFF_MASK, &block);
        *r->value = r->record->value;
        r->status = FL_OK;
    } else if (!log_blob_ref_decode(r->record->value, &ref)) {
        r->status = FL_FAIL(FL_CORRUPT, "the reference to a big value does not decode");
    } else {
        *r->segment = log_blob_segment(r->engine->log, &ref);
        r->status = log_blob_view(r->engine->log, &ref, false, r->value);
        if (r->status == FL_OK && r->engine->user.verify_reads) {
            r->status = log_blob_verify(r->engine->log, &ref, r->part.off, r->part.len);
        }
    }
}

fl_status
engine_guarded(struct engine *engine, void (*body)(void *context), void *context,
               const fl_status *status)
{
    if ((engine->user.flags & FL_OPEN_SIGBUS) == 0) {
        body(context);
        return *status;
    }
    return nosync_guard(body, context)
               ? *status
               : FL_FAIL(FL_IO, "the file could not be read or written there (SIGBUS): it was cut "
                                "short, its file system is full, or the media is failing");
}

struct touching {
    const uint8_t *at;
    uint64_t bytes;
    fl_status status;
};

static void
touch(void *context)
{
    const struct touching *t = context;

    for (uint64_t i = 0; i < t->bytes; i += LOG_LINE_BYTES) {
        (void)*(const volatile uint8_t *)(t->at + i);
    }
}

fl_status
engine_readable(struct engine *engine, uint64_t off, uint64_t bytes)
{
    struct touching t = {heap_media(engine->heap)->base + off, bytes, FL_OK};

    return (engine->user.flags & FL_OPEN_SIGBUS) == 0
               ? FL_OK
               : engine_guarded(engine, touch, &t, &t.status);
}

fl_status
engine_find(struct engine *engine, struct fl_key key, uint64_t hash, uint64_t at_lsn,
            uint64_t now_ms, index_loc *loc, struct log_record *record)
{
    struct reading r = {.engine = engine,
                        .key = key,
                        .hash = hash,
                        .at_lsn = at_lsn,
                        .now_ms = now_ms,
                        .loc = loc,
                        .record = record};

    return engine_guarded(engine, find, &r, &r.status);
}

fl_status
engine_value_part(struct engine *engine, index_loc loc, const struct log_record *record,
                  struct engine_part part, struct fl_bytes *value, struct log_segment **segment)
{
    struct log_record copy = *record;
    struct reading r = {.engine = engine,
                        .loc = &loc,
                        .record = &copy,
                        .value = value,
                        .segment = segment,
                        .part = part};

    return engine_guarded(engine, resolve, &r, &r.status);
}

fl_status
engine_value(struct engine *engine, index_loc loc, const struct log_record *record,
             struct fl_bytes *value, struct log_segment **segment)
{
    return engine_value_part(engine, loc, record, ENGINE_WHOLE, value, segment);
}

fl_status
engine_pin(struct engine *engine, uint64_t *lsn)
{
    pthread_mutex_lock(&engine->commit_lock);
    *lsn = engine->lsn_published;
    const fl_status status = index_pin(engine->index, *lsn);

    pthread_mutex_unlock(&engine->commit_lock);
    return status;
}

void
engine_unpin(struct engine *engine, uint64_t lsn)
{
    pthread_mutex_lock(&engine->commit_lock);
    index_unpin(engine->index, lsn);
    pthread_mutex_unlock(&engine->commit_lock);
    atomic_store(&engine->unblock, true);
    engine_keeper_kick(engine);
}

uint64_t
engine_random(struct engine *engine)
{
    /* splitmix64 over a counter. */
    uint64_t z = atomic_fetch_add_explicit(&engine->random_state, UINT64_C(0x9E3779B97F4A7C15),
                                           memory_order_relaxed);

    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}
