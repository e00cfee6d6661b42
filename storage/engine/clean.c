/* The cleaner: copy what counts out of the emptiest segments, free them, give their blocks back.
 *
 * Copies keep their LSN and are installed only if the index still names the source, so they may race with any
 * writer. What masks older versions (tombstones, range deletes, records that expired) is copied too, until no
 * segment is left that was opened before it (storage rule 4). A version that only a pin sees blocks its segment:
 * copied into a younger segment it could outlive its mask. */
#include "storage/engine/engine_internal.h"

#include "base/fail.h"

#include <stdlib.h>
#include <string.h>

enum {
    COPY_RECORDS = 256,
    GROUP = 32,        /* records looked up together */
    INSTALL_STEP = 16, /* copies installed under one hold of the commit lock */
    COPY_BYTES = 256 * 1024,
    OTHER_BLOCKS = 17, /* superblock, table, heads, reserve, ahead, warm, on their way back */
    MARGIN_SHARE = 20, /* of the live data, but at least */
    MARGIN_BLOCKS = 3,
    GARBAGE_SEGMENTS_MIN = 2, /* below it cleaning isn't worth a segment of its own */
};

/* ---- which segment ---- */

struct choice {
    uint64_t lsn_now;
    uint64_t open_min;      /* the lowest open_lsn of all, */
    uint64_t open_min_next; /* and of all but that one */
    uint64_t used, garbage, masks;
    uint32_t best, oldest;
    double best_score;
    uint64_t oldest_open;
};

static uint64_t
segment_masks(const struct choice *choice, const struct log_segment *segment)
{
    const uint64_t others =
        segment->open_lsn == choice->open_min ? choice->open_min_next : choice->open_min;

    return atomic_load_explicit(&segment->mask_lsn_max, memory_order_relaxed) < others
               ? 0
               : atomic_load_explicit(&segment->mask_bytes, memory_order_relaxed);
}

static void
visit_choice(void *context, uint32_t block, struct log_segment *segment, uint64_t bytes)
{
    struct choice *choice = context;

    if (segment->freeing) {
        return;
    }
    const uint64_t masks = segment_masks(choice, segment);
    const uint64_t live = atomic_load_explicit(&segment->live_bytes, memory_order_relaxed) + masks;
    const uint64_t garbage = bytes > live ? bytes - live : 0;

    choice->used += bytes;
    choice->garbage += garbage;
    choice->masks += masks;
    if (segment->blocked) {
        return;
    }
    if (choice->oldest == 0 || segment->open_lsn < choice->oldest_open) {
        choice->oldest = block;
        choice->oldest_open = segment->open_lsn;
    }
    /* Cost and benefit after the log-structured file system: free space won x age / cost of reading and copying. */
    const double u = (double)live / (double)bytes;
    const double age = (double)(choice->lsn_now - segment->open_lsn) + 1.0;
    const double score = garbage * 20 < bytes ? 0.0 : (1.0 - u) * age / (1.0 + u);

    if (score > choice->best_score) {
        choice->best_score = score;
        choice->best = block;
    }
}

/* 0: nothing is worth cleaning now. */
static uint32_t
victim_choose(struct engine *engine)
{
    struct choice choice = {.lsn_now = log_lsn_next(engine->log)};
    const uint64_t block_bytes = heap_geometry(engine->heap)->block_bytes;
    struct heap_stats heap;

    choice.open_min = log_open_lsn_min(engine->log, UINT32_MAX, &choice.open_min_next);
    log_segments_visit(engine->log, LOG_CLEANABLE, &choice, visit_choice);
    heap_stats_get(engine->heap, &heap);
    const uint64_t live = choice.used - choice.garbage;
    const bool tight = !heap_has_room(engine->heap, 4);
    const uint64_t slack = GARBAGE_SEGMENTS_MIN * block_bytes;
    /* The less is cleaned the emptier the victims, so as much is left dead as keeps the file, with all that isn't log,
     * a margin under the promised twice of the live data. A small file is mostly other things: there the log's own
     * share decides, and never so little that full segments would be copied round and round. */
    const uint64_t margin = live / MARGIN_SHARE > MARGIN_BLOCKS * block_bytes
                                ? live / MARGIN_SHARE
                                : MARGIN_BLOCKS * block_bytes;
    const uint64_t others = (uint64_t)OTHER_BLOCKS * block_bytes + margin;
    const uint64_t least = slack + live * 9 / 20;
    const uint64_t budget = live > others + least ? live - others : least;

    /* Half of the margin is used up, or a small file's share much exceeded: writers wait for the cleaner. */
    atomic_store(&engine->pressure,
                 choice.garbage > budget + (budget == least ? live / 10 + 2 * slack : margin / 2));
    /* Many masks: the oldest segment is what they are kept for. If that one is blocked, copying others is vain. */
    if (choice.masks > choice.used / 5 && choice.masks > slack && choice.oldest != 0 &&
        choice.oldest_open == choice.open_min) {
        return choice.oldest;
    }
    if (choice.garbage > budget || (tight && choice.garbage > block_bytes)) {
        return choice.best;
    }
    /* Not before so much more was written can there be more dead than may be; then a writer says so. */
    atomic_store(&engine->look_lsn,
                 choice.lsn_now + (budget - choice.garbage > block_bytes ? budget - choice.garbage
                                                                         : block_bytes));
    return 0;
}

/* ---- copying ---- */

struct copy {
    struct log_record record;
    uint64_t hash;
    index_loc from, to;
    bool mask;
    bool
        named; /* a tombstone in front of versions that a pin sees: the index reads its key there */
};

/* A record of the victim that has not been judged yet. */
struct candidate {
    struct log_record record;
    uint64_t hash;
    index_loc loc;
};

struct cleaning {
    struct engine *engine;
    uint32_t victim;
    uint64_t open_min; /* of all other segments, when the cleaning began */
    uint64_t now_ms;
    bool pinned;
    size_t count, bytes;
    struct copy copies[COPY_RECORDS];
    size_t group_count;
    struct candidate group[GROUP];
};

/* The index names the copy where it still names the source. Under the commit lock, so few at a time. */
static void
install_one(struct engine *engine, const struct copy *copy)
{
    const struct fl_key key = engine_record_key(&copy->record);
    struct log_record source;

    if (copy->mask) {
        engine_account_mask(engine, copy->to, &copy->record, copy->record.lsn);
        if (copy->named) {
            (void)index_relocate(engine->index, copy->hash, key, copy->from, copy->to);
        }
        return;
    }
    if (!index_relocate(engine->index, copy->hash, key, copy->from, copy->to)) {
        return;
    }
    if (log_peek(engine->log, copy->from & INDEX_LOC_OFF_MASK, &source)) {
        engine_account_dead(engine, copy->from, &source);
    }
    engine_account_live(engine, copy->to, &copy->record);
    if (copy->record.deadline_ms != 0) {
        (void)!expiry_add(engine,
                          (struct expiry_item){copy->record.deadline_ms, copy->hash, copy->to});
    }
}

static void
install(struct cleaning *c, size_t first, size_t count)
{
    struct engine *engine = c->engine;

    uint64_t hashes[INSTALL_STEP];

    for (size_t i = 0; i < count; i++) {
        hashes[i] = c->copies[first + i].hash;
    }
    const uint32_t token = engine_enter(engine);

    engine_prefetch(engine, hashes, count, INDEX_TO_ENTRY);
    engine_exit(engine, token);
    pthread_mutex_lock(&engine->commit_lock);
    for (size_t i = first; i < first + count; i++) {
        install_one(engine, &c->copies[i]);
    }
    pthread_mutex_unlock(&engine->commit_lock);
}

/* Writing is guarded; reading what is copied is not, it has the step's shield: a victim that can't be read is no reason
 * to write no more. */
struct flushing {
    struct cleaning *cleaning;
    fl_status status;
};

static void
frame_begin(void *context)
{
    struct flushing *f = context;
    struct cleaning *c = f->cleaning;

    f->status = log_frame_begin(c->engine->log, LOG_HEAD_CLEANER, (uint32_t)c->count, c->bytes,
                                HEAP_CLEANER);
}

static void
frame_commit(void *context)
{
    struct flushing *f = context;

    f->status = log_frame_commit(f->cleaning->engine->log, LOG_HEAD_CLEANER, false);
}

/* Copy what was found undamaged. FL_CORRUPT: by now it can't be read. */
static fl_status
frame_fill(struct cleaning *c)
{
    struct engine *engine = c->engine;
    bool bad = false;

    for (size_t i = 0; i < c->count; i++) {
        struct copy *copy = &c->copies[i];
        uint64_t lsn = 0;

        copy->to = engine_loc(log_frame_add(engine->log, LOG_HEAD_CLEANER, &copy->record, &lsn),
                              &copy->record);
        bad |= engine_is_bad(engine, copy->record.key) || engine_is_bad(engine, copy->record.value);
    }
    if (bad) {
        log_frame_abandon(engine->log, LOG_HEAD_CLEANER);
        return FL_FAIL(FL_CORRUPT, "records can't be read (SIGBUS)");
    }
    return FL_OK;
}

static fl_status
copies_flush(struct cleaning *c)
{
    struct engine *engine = c->engine;
    struct flushing f = {c, FL_OK};

    if (c->count == 0) {
        return FL_OK;
    }
    fl_status status = engine_guarded(engine, frame_begin, &f, &f.status);

    if (status == FL_OK) {
        status = frame_fill(c);
    }
    if (status == FL_OK) {
        status = engine_guarded(engine, frame_commit, &f, &f.status);
    }
    if (status != FL_OK) {
        return status;
    }
    for (size_t i = 0; i < c->count; i += INSTALL_STEP) {
        install(c, i, c->count - i < INSTALL_STEP ? c->count - i : INSTALL_STEP);
    }
    atomic_fetch_add_explicit(&engine->copied_bytes, c->bytes, memory_order_relaxed);
    c->count = 0;
    c->bytes = 0;
    return FL_OK;
}

enum verdict { DROP, COPY, COPY_AS_MASK, COPY_NAMED_MASK, KEEP_PINNED };

static enum verdict
judge_record(struct cleaning *c, const struct log_record *record, uint64_t hash, index_loc loc)
{
    const struct fl_key key = engine_record_key(record);
    index_loc newest = 0;
    uint64_t versions = 0;

    if (record->kind == LOG_KIND_RANGE_DELETE) {
        return record->lsn < c->open_min ? DROP : COPY_AS_MASK;
    }
    /* Most records are overwritten ones: told by their place, without reading the newer one's key. */
    if (record->kind != LOG_KIND_DELETE && index_newest_at(c->engine->index, hash, loc)) {
        return COPY;
    }
    if (record->kind != LOG_KIND_DELETE && record->deadline_ms == 0 &&
        index_pins(c->engine->index, &versions) == 0) {
        return DROP;
    }
    const bool present = index_find(c->engine->index, hash, key, INDEX_LSN_LATEST, &newest);

    if (index_names(c->engine->index, hash, key, loc)) {
        return record->kind == LOG_KIND_DELETE ? COPY_NAMED_MASK : KEEP_PINNED;
    }
    /* It masks what is older, unless something newer does. */
    const bool masks = record->kind == LOG_KIND_DELETE ||
                       (record->deadline_ms != 0 && record->deadline_ms <= c->now_ms);

    return masks && !present && record->lsn >= c->open_min ? COPY_AS_MASK : DROP;
}

/* Do with one record what was judged. */
static fl_status
take_record(struct cleaning *c, const struct log_record *record, uint64_t hash, index_loc loc,
            enum verdict verdict)
{
    if (verdict == DROP) {
        return FL_OK;
    }
    if (verdict == KEEP_PINNED) {
        c->pinned = true;
        return FL_OK;
    }
    struct copy copy = {.record = *record, .hash = hash, .from = loc};

    copy.record.lsn_explicit = true;
    if (verdict == COPY_AS_MASK || verdict == COPY_NAMED_MASK) {
        copy.mask = true;
        copy.named = verdict == COPY_NAMED_MASK;
        if (record->kind != LOG_KIND_RANGE_DELETE) {
            copy.record.kind = LOG_KIND_DELETE;
            copy.record.value = (struct fl_bytes){"", 0};
            copy.record.deadline_ms = 0;
        }
    }
    const size_t bytes = log_record_bytes(&copy.record);

    if (c->count == COPY_RECORDS || (c->count > 0 && c->bytes + bytes > COPY_BYTES)) {
        const fl_status status = copies_flush(c);

        if (status != FL_OK) {
            return status;
        }
    }
    c->copies[c->count++] = copy;
    c->bytes += bytes;
    return FL_OK;
}

/* Look at what has been gathered: first start the cache misses of all, then judge. */
static fl_status
group_flush(struct cleaning *c)
{
    enum verdict verdicts[GROUP];
    uint64_t hashes[GROUP];
    const size_t count = c->group_count;

    for (size_t i = 0; i < count; i++) {
        hashes[i] = c->group[i].hash;
    }
    const uint32_t token = engine_enter(c->engine); /* a reader of the index, as any other */

    engine_prefetch(c->engine, hashes, count, INDEX_TO_ENTRY);
    for (size_t i = 0; i < count; i++) {
        const struct candidate *one = &c->group[i];

        verdicts[i] = judge_record(c, &one->record, one->hash, one->loc);
    }
    engine_exit(c->engine, token);
    for (size_t i = 0; i < count; i++) {
        const struct candidate *one = &c->group[i];
        const fl_status status = take_record(c, &one->record, one->hash, one->loc, verdicts[i]);

        if (status != FL_OK) {
            return status;
        }
    }
    c->group_count = 0;
    return FL_OK;
}

static fl_status
clean_record(void *context, uint32_t block, uint64_t off, const struct log_record *record)
{
    struct cleaning *c = context;

    (void)block;
    if (record->deadline_ms == 0 &&
        (record->kind == LOG_KIND_PUT || record->kind == LOG_KIND_PUT_BLOB) &&
        log_dead_noted(c->engine->log, off, record->bytes)) {
        return FL_OK; /* it masks nothing, and no version names it */
    }
    struct candidate *one = &c->group[c->group_count++];

    one->record = *record;
    one->loc = engine_loc(off, record);
    one->hash = record->kind == LOG_KIND_RANGE_DELETE
                    ? 0
                    : engine_hash(c->engine, engine_record_key(record));
    return c->group_count == GROUP ? group_flush(c) : FL_OK;
}

static fl_status
victim_clean(struct cleaning *c)
{
    const struct log_scan scan = {.context = c, .record = clean_record};
    struct log_scan_result result;
    fl_status status = log_segment_scan(c->engine->log, c->victim, &scan, &result);

    if (status == FL_OK) {
        status = group_flush(c);
    }
    return status == FL_OK ? copies_flush(c) : status;
}

/* Bytes of the segment that can't be read are damage like others: it is left alone. */
static bool
segment_is_bad(const struct engine *engine, uint32_t block)
{
    return nosync_is_bad(engine->map, heap_block_off(heap_geometry(engine->heap), block),
                         log_segment_of(engine->log, block)->end);
}

static bool
freeing_push(struct engine *engine, uint32_t block)
{
    if (engine->freeing_count == engine->freeing_cap) {
        const size_t cap = engine->freeing_cap == 0 ? 64 : engine->freeing_cap * 2;
        uint32_t *blocks = realloc(engine->freeing, cap * sizeof(*blocks));

        if (blocks == NULL) {
            return false;
        }
        engine->freeing = blocks;
        engine->freeing_cap = cap;
    }
    engine->freeing[engine->freeing_count++] = block;
    return true;
}

struct freeing {
    struct engine *engine;
    uint32_t block;
    fl_status status;
};

static void
free_in_table(void *context)
{
    struct freeing *f = context;

    f->status = log_segment_free(f->engine->log, &f->engine->keeper_pm, f->block);
}

/* Free in the table, durably; its blocks follow when the readers have left. */
static bool
segment_free(struct engine *engine, uint32_t block)
{
    struct freeing f = {engine, block, FL_OK};

    if (!freeing_push(engine, block)) {
        return false;
    }
    const fl_status status = engine_guarded(engine, free_in_table, &f, &f.status);

    engine_fail(engine, status);
    if (status != FL_OK) {
        engine->freeing_count--;
        return false;
    }
    log_segment_of(engine->log, block)->freeing = true;
    return true;
}

bool
engine_clean_step(struct engine *engine)
{
    if (engine->read_only || atomic_load(&engine->failed) != FL_OK) {
        return false;
    }
    const uint32_t victim = victim_choose(engine);

    if (victim == 0) {
        return false;
    }
    struct log_segment *segment = log_segment_of(engine->log, victim);
    struct cleaning *c = malloc(sizeof(*c));

    if (c == NULL) {
        return false;
    }
    c->engine = engine;
    c->victim = victim;
    /* With the lock nobody is between making a record durable and publishing it. */
    pthread_mutex_lock(&engine->commit_lock);
    log_copies_begin(engine->log);
    pthread_mutex_unlock(&engine->commit_lock);
    c->open_min = log_open_lsn_min(engine->log, victim, NULL);
    c->now_ms = engine_now_ms(engine);
    c->pinned = false;
    c->count = 0;
    c->bytes = 0;
    c->group_count = 0;
    engine_shield_begin(engine);
    fl_status status = victim_clean(c);

    engine_shield_end(engine);
    if (status == FL_OK && segment_is_bad(engine, victim)) {
        status = FL_CORRUPT;
    }
    engine_fail(engine, status);
    const bool pinned = c->pinned;

    free(c);
    if (status == FL_NO_SPACE || status == FL_NO_MEMORY) {
        return false;
    }
    /* What the index still names here stays here: a pinned version, a damaged record. */
    if (status != FL_OK || pinned || atomic_load(&segment->live_bytes) != 0) {
        segment->blocked = true;
        return status == FL_OK;
    }
    return segment_free(engine, victim);
}

/* ---- giving blocks back ---- */

static bool
dead_blobs_free(struct engine *engine)
{
    bool did = false;

    for (;;) {
        pthread_mutex_lock(&engine->dead_lock);
        const uint32_t block =
            engine->dead_blobs_count > 0 ? engine->dead_blobs[--engine->dead_blobs_count] : 0;

        pthread_mutex_unlock(&engine->dead_lock);
        if (block == 0) {
            return did;
        }
        if (segment_is_bad(engine, block)) {
            continue; /* not to be used again; the next open gives it back, or finds it damaged */
        }
        if (!segment_free(engine, block)) {
            return did;
        }
        did = true;
    }
}

bool
engine_free_step(struct engine *engine)
{
    size_t kept = 0;

    if (engine->read_only || atomic_load(&engine->failed) != FL_OK) {
        return false;
    }
    const bool did = dead_blobs_free(engine);

    if (engine->freeing_count == 0) {
        return did;
    }
    epoch_synchronize(engine->epoch);
    const size_t count = engine->freeing_count;

    for (size_t i = 0; i < count; i++) {
        const uint32_t block = engine->freeing[i];
        struct log_segment *segment = log_segment_of(engine->log, block);

        if (atomic_load(&segment->pins) > 0) {
            engine->freeing[kept++] = block;
            continue;
        }
        atomic_fetch_add_explicit(&engine->freed_blocks, segment->blocks, memory_order_relaxed);
        log_segment_recycle(engine->log, block);
    }
    engine->freeing_count = kept;
    if (kept == count) {
        return did;
    }
    pthread_mutex_lock(&engine->keeper_lock);
    engine->recycled_count++;
    pthread_cond_broadcast(&engine->room_cond);
    pthread_mutex_unlock(&engine->keeper_lock);
    return true;
}
