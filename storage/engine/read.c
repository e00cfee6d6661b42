/* Reading beside the writers: inside an epoch section, without locks. */
#include "storage/engine/engine_internal.h"

#include "base/fail.h"

static bool
shields(const struct engine *engine)
{
    return (engine->user.flags & FL_OPEN_SIGBUS) != 0;
}

void
engine_shield_begin(const struct engine *engine)
{
    if (shields(engine)) {
        nosync_shield_begin();
    }
}

void
engine_shield_end(const struct engine *engine)
{
    if (shields(engine)) {
        nosync_shield_end();
    }
}

uint32_t
engine_enter(struct engine *engine)
{
    engine_shield_begin(engine);
    return epoch_enter(engine->epoch);
}

void
engine_exit(struct engine *engine, uint32_t token)
{
    epoch_exit(engine->epoch, token);
    engine_shield_end(engine);
}

bool
engine_is_bad(const struct engine *engine, struct fl_bytes bytes)
{
    const uint64_t off = (uint64_t)((const uint8_t *)bytes.ptr - engine->map->media.base);

    return bytes.len > 0 && off < engine->map->media.size_bytes_max &&
           nosync_is_bad(engine->map, off, bytes.len);
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
    return log_decode(engine->log, loc & INDEX_LOC_OFF_MASK, true, record) == FL_OK;
}

static fl_status
unreadable(void)
{
    return FL_FAIL(FL_IO, "the file could not be read or written there (SIGBUS): it was cut "
                          "short, its file system is full, or the media is failing");
}

/* What reading the record at `loc` came to, `status`, but FL_IO if zeros stood in for what can't be read. */
static fl_status
record_status(const struct engine *engine, index_loc loc, fl_status status)
{
    const uint64_t off = loc & INDEX_LOC_OFF_MASK;
    struct log_record record;

    if (__builtin_expect(nosync_bad_pages(engine->map) == 0, 1) || off == 0) {
        return status;
    }
    const uint64_t bytes = log_peek(engine->log, off, &record) ? record.bytes : LOG_LINE_BYTES;

    return nosync_is_bad(engine->map, off, bytes) ? unreadable() : status;
}

fl_status
engine_guarded(struct engine *engine, void (*body)(void *context), void *context,
               const fl_status *status)
{
    if (!shields(engine)) {
        body(context);
        return *status;
    }
    return nosync_guard(body, context) ? *status : unreadable();
}

fl_status
engine_find(struct engine *engine, struct fl_key key, uint64_t hash, uint64_t at_lsn,
            uint64_t now_ms, index_loc *loc, struct log_record *record)
{
    fl_status status = FL_NOT_FOUND;

    if (!index_find(engine->index, hash, key, at_lsn, loc)) {
        /* The record that should have the key may have been damaged since it was read at open. */
        if (*loc != 0) {
            status = log_decode(engine->log, *loc & INDEX_LOC_OFF_MASK, true, record);
            status = record_status(engine, *loc, status);
        }
        return status == FL_OK ? FL_NOT_FOUND : status;
    }
    status = log_decode(engine->log, *loc & INDEX_LOC_OFF_MASK, engine->user.verify_reads, record);
    status = record_status(engine, *loc, status);
    if (status == FL_OK && record->deadline_ms != 0) {
        const uint64_t now = now_ms != ENGINE_NOW ? now_ms : engine_now_ms(engine);

        status = record->deadline_ms <= now ? FL_NOT_FOUND : FL_OK;
    }
    return status;
}

struct fl_bytes
engine_part_cut(struct fl_bytes value, struct engine_part part)
{
    const size_t off = part.off < value.len ? (size_t)part.off : value.len;
    const size_t left = value.len - off;

    return fl_bytes((const uint8_t *)value.ptr + off, part.len < left ? (size_t)part.len : left);
}

fl_status
engine_value_part(struct engine *engine, index_loc loc, const struct log_record *record,
                  struct engine_part part, struct fl_bytes *value, struct log_segment **segment)
{
    struct log_blob_ref ref;
    uint32_t block = 0;

    if (record->kind != LOG_KIND_PUT_BLOB) {
        *segment = log_segment_at(engine->log, loc & INDEX_LOC_OFF_MASK, &block);
        *value = record->value;
        return FL_OK;
    }
    if (!log_blob_ref_decode(record->value, &ref)) {
        return FL_FAIL(FL_CORRUPT, "the reference to a big value does not decode");
    }
    *segment = log_blob_segment(engine->log, &ref);
    fl_status status = log_blob_view(engine->log, &ref, false, value);

    if (status == FL_OK && engine->user.verify_reads) {
        status = log_blob_verify(engine->log, &ref, part.off, part.len);
    }
    if (__builtin_expect(nosync_bad_pages(engine->map) == 0, 1) || *segment == NULL) {
        return status;
    }
    /* If it doesn't validate, that may be for the CRCs, which stand before it. */
    const uint64_t off = (uint64_t)ref.block * heap_geometry(engine->heap)->block_bytes;
    const bool bad = status == FL_OK ? engine_is_bad(engine, engine_part_cut(*value, part))
                                     : nosync_is_bad(engine->map, off, (*segment)->end);

    return bad ? unreadable() : status;
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
    engine_shield_begin(engine);
    const fl_status status = index_pin(engine->index, *lsn);

    engine_shield_end(engine);
    pthread_mutex_unlock(&engine->commit_lock);
    return status;
}

void
engine_unpin(struct engine *engine, uint64_t lsn)
{
    pthread_mutex_lock(&engine->commit_lock);
    engine_shield_begin(engine);
    index_unpin(engine->index, lsn);
    engine_shield_end(engine);
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
