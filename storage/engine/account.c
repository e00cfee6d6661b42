/* Who counts: live bytes per segment, references to blobs, and how the index sees the media. */
#include "storage/engine/engine_internal.h"

#include <stdlib.h>

/* While loading several threads account; later one at a time, who holds commit_lock: locked additions, four a put,
 * would be a part of its time that shows. */
static void
add(const struct engine *engine, _Atomic(uint64_t) *account, uint64_t n)
{
    if (engine->loading) {
        atomic_fetch_add_explicit(account, n, memory_order_relaxed);
    } else {
        atomic_store_explicit(account, atomic_load_explicit(account, memory_order_relaxed) + n,
                              memory_order_relaxed);
    }
}

static struct log_segment *
segment_of_loc(const struct engine *engine, index_loc loc)
{
    uint32_t block = 0;

    return log_segment_at(engine->log, loc & INDEX_LOC_OFF_MASK, &block);
}

void
engine_account_live(struct engine *engine, index_loc loc, const struct log_record *record)
{
    struct log_segment *segment = segment_of_loc(engine, loc);
    const uint64_t bytes = log_account_bytes(record);

    if (segment != NULL) {
        add(engine, &segment->live_bytes, bytes);
        add(engine, &engine->live_bytes, bytes);
        if (record->deadline_ms != 0) {
            add(engine, &engine->live_deadlines, 1);
        }
    }
}

void
engine_account_mask(struct engine *engine, index_loc loc, const struct log_record *record,
                    uint64_t lsn)
{
    struct log_segment *segment = segment_of_loc(engine, loc);

    if (segment == NULL) {
        return;
    }
    atomic_fetch_add_explicit(&segment->mask_bytes, log_account_bytes(record),
                              memory_order_relaxed);
    uint64_t max = atomic_load_explicit(&segment->mask_lsn_max, memory_order_relaxed);

    while (lsn > max && !atomic_compare_exchange_weak(&segment->mask_lsn_max, &max, lsn)) {
    }
}

void
engine_account_dead(struct engine *engine, index_loc loc, const struct log_record *record)
{
    struct log_segment *segment = segment_of_loc(engine, loc);
    const uint64_t bytes = log_account_bytes(record);

    if (segment != NULL) {
        add(engine, &segment->live_bytes, 0 - bytes);
        add(engine, &engine->live_bytes, 0 - bytes);
        if (record->deadline_ms != 0) {
            add(engine, &engine->live_deadlines, UINT64_C(0) - 1);
        }
        if (!engine->loading) {
            log_dead_note(engine->log, loc & INDEX_LOC_OFF_MASK, record->bytes);
        }
    }
}

static void
visit_reset(void *context, uint32_t block, struct log_segment *segment, uint64_t bytes)
{
    struct engine *engine = context;

    (void)bytes;
    if (segment->use == LOG_USE_LOG) {
        const uint64_t live = atomic_exchange(&segment->live_bytes, 0);

        atomic_fetch_sub_explicit(&engine->live_bytes, live, memory_order_relaxed);
    } else {
        /* References of the index go; a holder that has not committed keeps its own. */
        const uint32_t named = atomic_exchange(&segment->index_refs, 0);

        for (uint32_t i = 0; i < named; i++) {
            engine_blob_release(engine, block);
        }
    }
}

/* The index was emptied at once: no log record is live, no blob is named by it. */
void
engine_account_reset(struct engine *engine)
{
    log_segments_visit(engine->log, LOG_ALL, engine, visit_reset);
    atomic_store_explicit(&engine->live_deadlines, 0, memory_order_relaxed);
}

void
engine_blob_created(struct engine *engine, uint32_t block)
{
    const struct log_segment *segment = log_segment_of(engine->log, block);

    atomic_fetch_add_explicit(&engine->blob_bytes, atomic_load(&segment->live_bytes),
                              memory_order_relaxed);
}

void
engine_blob_release(struct engine *engine, uint32_t block)
{
    struct log_segment *segment = log_segment_of(engine->log, block);

    if (atomic_fetch_sub(&segment->refs, 1) != 1 || engine->loading) {
        return; /* while loading another record may still name it: looked at afterwards */
    }
    engine_blob_dead(engine, block);
}

bool
engine_blob_hold(struct engine *engine, const struct log_blob_ref *ref)
{
    struct log_segment *segment = log_blob_segment(engine->log, ref);

    if (segment == NULL) {
        return false;
    }
    uint32_t refs = atomic_load(&segment->refs);

    while (refs > 0 && !atomic_compare_exchange_weak(&segment->refs, &refs, refs + 1)) {
    }
    return refs > 0;
}

/* Nobody names the blob any more: note it for the cleaner. */
void
engine_blob_dead(struct engine *engine, uint32_t block)
{
    const struct log_segment *segment = log_segment_of(engine->log, block);

    atomic_fetch_sub_explicit(&engine->blob_bytes, atomic_load(&segment->live_bytes),
                              memory_order_relaxed);
    pthread_mutex_lock(&engine->dead_lock);
    if (engine->dead_blobs_count == engine->dead_blobs_cap) {
        const size_t cap = engine->dead_blobs_cap == 0 ? 64 : engine->dead_blobs_cap * 2;
        uint32_t *blocks = realloc(engine->dead_blobs, cap * sizeof(*blocks));

        if (blocks != NULL) {
            engine->dead_blobs = blocks;
            engine->dead_blobs_cap = cap;
        }
    }
    if (engine->dead_blobs_count < engine->dead_blobs_cap) {
        engine->dead_blobs[engine->dead_blobs_count++] = block;
    } /* else it is given back at the next open, which finds it without references */
    pthread_mutex_unlock(&engine->dead_lock);
}

/* The blob segment a PUT_BLOB record names; NULL if it isn't there. */
struct log_segment *
engine_blob_of(const struct engine *engine, const struct log_record *record, uint32_t *block)
{
    struct log_blob_ref ref;

    if (record->kind != LOG_KIND_PUT_BLOB || !log_blob_ref_decode(record->value, &ref)) {
        return NULL;
    }
    *block = ref.block;
    return log_blob_segment(engine->log, &ref);
}

static bool
media_key_at(void *context, index_loc loc, struct fl_key *key)
{
    const struct engine *engine = context;
    struct log_record record;

    if (!log_peek(engine->log, loc & INDEX_LOC_OFF_MASK, &record) ||
        engine_is_bad(engine, record.key)) {
        return false;
    }
    *key = engine_record_key(&record);
    return true;
}

static uint64_t
media_lsn_at(void *context, index_loc loc)
{
    const struct engine *engine = context;
    struct log_record record;

    return log_peek(engine->log, loc & INDEX_LOC_OFF_MASK, &record) ? record.lsn : 0;
}

static void
media_dead(void *context, index_loc loc)
{
    struct engine *engine = context;
    struct log_record record;
    uint32_t block = 0;

    if ((loc & INDEX_LOC_TOMBSTONE) != 0 ||
        !log_peek(engine->log, loc & INDEX_LOC_OFF_MASK, &record)) {
        return; /* tombstones are accounted as masks until their segment goes */
    }
    engine_account_dead(engine, loc, &record);
    struct log_segment *blob = engine_blob_of(engine, &record, &block);

    if (blob != NULL) {
        atomic_fetch_sub(&blob->index_refs, 1);
        engine_blob_release(engine, block);
    }
}

static void
media_thread(void *context, bool begins)
{
    const struct engine *engine = context;

    if (begins) {
        engine_shield_begin(engine);
    } else {
        engine_shield_end(engine);
    }
}

const struct index_media *
engine_index_media(struct engine *engine, struct index_media *media)
{
    *media = (struct index_media){engine, media_key_at, media_lsn_at, media_dead, media_thread};
    return media;
}
