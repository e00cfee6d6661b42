/* Requests become durable: judge, write one frame for all who wait, drain once, publish, complete. */
#include "storage/engine/engine_internal.h"

#include "base/fail.h"

#include <stdio.h>
#include <string.h>

enum {
    GROUP_REQUESTS_MAX = 1024,
    GROUP_BYTES_MAX = 1 << 20,
    PREFETCH_AHEAD = 16,
};

void
engine_request_measure(struct engine_request *request)
{
    request->bytes = 0;
    request->count_live = 0;
    request->deadlines = false;
    for (uint32_t i = 0; i < request->count; i++) {
        if (!request->changes[i].skip) {
            request->bytes += log_record_bytes(&request->changes[i].record);
            request->deadlines |= request->changes[i].record.deadline_ms != 0;
            request->count_live++;
        }
    }
}

void
engine_fail(struct engine *engine, fl_status status)
{
    if (status == FL_IO) {
        atomic_store(&engine->failed, FL_IO);
    }
}

fl_status
engine_writable(struct engine *engine)
{
    if (engine->read_only) {
        return FL_FAIL(FL_READ_ONLY, "the store was opened read-only");
    }
    if (atomic_load_explicit(&engine->failed, memory_order_relaxed) != FL_OK) {
        return FL_FAIL(FL_IO, "an earlier write failed: nothing more is written; close the store "
                              "and open it again");
    }
    return FL_OK;
}

bool
engine_is_async(const struct engine *engine)
{
    return engine->async;
}

static void
request_done(struct engine_request *request, fl_status status)
{
    request->status = status;
    if (status != FL_OK) {
        snprintf(request->error, sizeof(request->error), "%s", fl_last_error());
    }
    if (request->complete != NULL) {
        request->complete(request);
    } else {
        atomic_store_explicit(&request->done, true, memory_order_release);
    }
}

/* The LSN of the key's present version, 0 if it is absent or expired. FL_IO: nobody knows. */
static fl_status
present_lsn(struct engine *engine, struct fl_key key, uint64_t hash, uint64_t *lsn)
{
    struct log_record record;
    index_loc loc = 0;
    const fl_status status =
        engine_find(engine, key, hash, INDEX_LSN_LATEST, ENGINE_NOW, &loc, &record);

    /* A damaged record is there: it may be overwritten and deleted, and it isn't absent. */
    *lsn = status == FL_OK ? record.lsn : status == FL_CORRUPT ? UINT64_MAX : 0;
    return status == FL_CORRUPT || status == FL_NOT_FOUND ? FL_OK : status;
}

static fl_status
judge(struct engine *engine, const struct engine_request *request)
{
    fl_status status;
    uint64_t lsn = 0;

    if (request->condition != FL_IF_ANY) {
        const struct engine_change *change = &request->changes[0];

        status = present_lsn(engine, engine_record_key(&change->record), change->hash, &lsn);
        if (status != FL_OK) {
            return status;
        }
        if (request->condition == FL_IF_ABSENT && lsn != 0) {
            return FL_FAIL(FL_EXISTS, "the key is there");
        }
        if (request->condition == FL_IF_PRESENT && lsn == 0) {
            return FL_FAIL(FL_NOT_FOUND, "the key is not there");
        }
        if (request->condition == FL_IF_LSN && lsn != request->condition_lsn) {
            return FL_FAIL(FL_CONFLICT, "the key's version is not the one required");
        }
    }
    for (size_t i = 0; i < request->requires_count; i++) {
        const struct engine_require *require = &request->requires[i];

        status = present_lsn(engine, require->key, require->hash, &lsn);
        if (status != FL_OK) {
            return status;
        }
        if (lsn != require->lsn) {
            return FL_FAIL(FL_CONFLICT, "a required version of a key has changed");
        }
    }
    return FL_OK;
}

static bool
is_conditional(const struct engine_request *request)
{
    return request->condition != FL_IF_ANY || request->requires_count > 0;
}

static void
publish_change(struct engine *engine, struct engine_change *change)
{
    const struct log_record *record = &change->record;

    if (record->kind == LOG_KIND_DELETE || record->kind == LOG_KIND_RANGE_DELETE) {
        engine_account_mask(engine, change->loc, record, change->lsn);
    } else {
        engine_account_live(engine, change->loc, record);
        if (record->kind == LOG_KIND_PUT_BLOB) {
            atomic_fetch_add(&log_segment_of(engine->log, change->blob_block)->index_refs, 1);
        }
    }
    if (record->kind == LOG_KIND_RANGE_DELETE) {
        const uint8_t last = *(const uint8_t *)record->value.ptr;

        if (index_clear_spaces(engine->index, record->space, last, change->lsn)) {
            engine_account_reset(engine);
        }
        return;
    }
    index_put(engine->index, change->hash, engine_record_key(record), change->loc, change->lsn);
    if (record->deadline_ms != 0) {
        /* Without memory for the note the key still expires, lazily, when it is read. */
        (void)!expiry_add(engine,
                          (struct expiry_item){record->deadline_ms, change->hash, change->loc});
    }
}

static void
prefetch_changes(struct engine *engine, const struct engine_change *changes, uint32_t count)
{
    uint64_t hashes[PREFETCH_AHEAD];
    size_t wanted = 0;

    for (uint32_t i = 0; i < count; i++) {
        hashes[wanted] = changes[i].hash;
        wanted += !changes[i].skip;
    }
    engine_prefetch_replaced(engine, hashes, wanted);
}

static void
publish(struct engine *engine, struct engine_request *request)
{
    for (uint32_t i = 0; i < request->count; i++) {
        if (i % PREFETCH_AHEAD == 0 && request->count > 2) {
            const uint32_t left = request->count - i;

            prefetch_changes(engine, request->changes + i,
                             left < PREFETCH_AHEAD ? left : PREFETCH_AHEAD);
        }
        if (!request->changes[i].skip) {
            publish_change(engine, &request->changes[i]);
            engine->lsn_published = request->changes[i].lsn;
        }
    }
}

/* A group on its way into a frame: what a SIGBUS may end, with an unknown outcome. */
struct writing {
    struct engine *engine;
    struct engine_request *group;
    uint32_t count;
    size_t bytes;
    bool all;
    enum heap_claim claim;
    fl_status status;
};

static bool
has_run(const struct engine_request *request)
{
    return request->run != NULL && request->run->taken > 0;
}

static void
write_frame(void *context)
{
    struct writing *w = context;
    struct log *log = w->engine->log;

    if (has_run(w->group)) {
        log_run_use(log, LOG_HEAD_MAIN, w->group->run);
    }
    w->status = log_frame_begin(log, LOG_HEAD_MAIN, w->count, w->bytes, w->claim);
    if (w->status != FL_OK) {
        return;
    }
    for (struct engine_request *r = w->group; r != NULL; r = r->next) {
        for (uint32_t i = 0; i < r->count; i++) {
            struct engine_change *change = &r->changes[i];

            if (!change->skip) {
                change->loc = log_frame_add(log, LOG_HEAD_MAIN, &change->record, &change->lsn);
                change->loc = engine_loc(change->loc, &change->record);
            }
        }
    }
    w->status = log_frame_commit(log, LOG_HEAD_MAIN, w->all);
}

/* Write the group as one frame and make it durable. Nothing has happened unless FL_OK or FL_IO. */
static fl_status
write_group(struct engine *engine, struct engine_request *group)
{
    uint32_t count = 0;
    size_t bytes = 0;
    bool all = false;
    bool deadlines = false;
    enum heap_claim claim = HEAP_RESERVE;

    for (struct engine_request *r = group; r != NULL; r = r->next) {
        count += r->count_live;
        bytes += r->bytes;
        all |= r->sync_all;
        deadlines |= r->deadlines;
        claim = r->claim == HEAP_NORMAL ? HEAP_NORMAL : claim;
    }
    if (count == 0) {
        return FL_OK;
    }
    struct writing w = {engine, group, count, bytes, all, claim, FL_OK};

    if (group->next == NULL && group->count == 1 && !group->spaces) {
        /* A lone look-up waits for its misses one by one: the first is on its way while the frame is written. */
        engine_prefetch(engine, &group->changes[0].hash, 1, INDEX_TO_BUCKET);
    }
    fl_status status = index_reserve(engine->index, count);

    if (status == FL_OK && group->spaces) { /* alone, by group_take() */
        const struct log_record *record = &group->changes[0].record;

        status =
            index_reserve_clear(engine->index, record->space, *(const uint8_t *)record->value.ptr);
    }
    if (status == FL_OK && deadlines) {
        status = engine_clock_start(engine);
    }
    if (status == FL_OK) {
        status = engine_guarded(engine, write_frame, &w, &w.status);
    }
    engine_fail(engine, status);
    return status;
}

/* A keeper that sleeps until its tick would let a fast writer leave megabytes dead. */
static void
remind_cleaner(struct engine *engine)
{
    if (engine->keeper_runs && log_lsn_next(engine->log) >=
                                   atomic_load_explicit(&engine->look_lsn, memory_order_relaxed)) {
        atomic_store_explicit(&engine->look_lsn, UINT64_MAX, memory_order_relaxed);
        engine_keeper_kick(engine);
    }
}

static void
commit_group(struct engine *engine, struct engine_request *group)
{
    fl_status status = engine_writable(engine);

    if (status == FL_OK) {
        status = write_group(engine, group);
    }
    if (status != FL_OK && status != FL_IO && group->next != NULL) {
        /* One that doesn't fit must not fail the others. */
        while (group != NULL) {
            struct engine_request *next = group->next;

            group->next = NULL;
            commit_group(engine, group);
            group = next;
        }
        return;
    }
    while (group != NULL) {
        struct engine_request *next = group->next;

        if (status == FL_OK) {
            publish(engine, group);
        }
        request_done(group, status);
        group = next;
    }
    remind_cleaner(engine);
}

/* Take requests off the front of `list` that may share a frame. A conditional one sees the index, so it comes first. */
static struct engine_request *
group_take(struct engine *engine, struct engine_request **list)
{
    struct engine_request *first = NULL;
    struct engine_request **tail = &first;
    size_t bytes = 0;
    unsigned count = 0;

    while (*list != NULL && count < GROUP_REQUESTS_MAX) {
        struct engine_request *r = *list;

        if (first != NULL &&
            (is_conditional(r) || r->spaces || has_run(r) || bytes + r->bytes > GROUP_BYTES_MAX)) {
            break;
        }
        *list = r->next;
        r->next = NULL;
        if (is_conditional(r)) {
            const fl_status status = judge(engine, r);

            if (status != FL_OK) {
                request_done(r, status);
                continue;
            }
        }
        *tail = r;
        tail = &r->next;
        bytes += r->bytes;
        count++;
        if (r->spaces || has_run(r)) {
            break;
        }
    }
    return first;
}

static struct engine_request *
queue_take(struct engine *engine)
{
    struct engine_request *newest =
        atomic_exchange_explicit(&engine->queue, NULL, memory_order_acq_rel);
    struct engine_request *oldest = NULL;

    while (newest != NULL) {
        struct engine_request *next = newest->next;

        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}

/* Under commit_lock. Shielded: a key's present record is read for conditions and, once the frame is durable, to
 * publish: that it can't be read must not end what is half done. */
static void
commit_queue(struct engine *engine)
{
    struct engine_request *list;

    engine_shield_begin(engine);
    while ((list = queue_take(engine)) != NULL) {
        while (list != NULL) {
            struct engine_request *group = group_take(engine, &list);

            if (group != NULL) {
                commit_group(engine, group);
            }
        }
    }
    engine_shield_end(engine);
}

static void
queue_put(struct engine *engine, struct engine_request *request)
{
    struct engine_request *head = atomic_load_explicit(&engine->queue, memory_order_relaxed);

    do {
        request->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&engine->queue, &head, request,
                                                    memory_order_release, memory_order_relaxed));
}

fl_status
engine_commit(struct engine *engine, struct engine_request *request)
{
    request->complete = NULL;
    atomic_store_explicit(&request->done, false, memory_order_relaxed);
    queue_put(engine, request);
    pthread_mutex_lock(&engine->commit_lock);
    if (!atomic_load_explicit(&request->done, memory_order_acquire)) {
        commit_queue(engine);
    }
    pthread_mutex_unlock(&engine->commit_lock);
    FL_ASSERT(atomic_load_explicit(&request->done, memory_order_acquire));
    if (request->status != FL_OK) {
        return FL_FAIL(request->status, "%s", request->error);
    }
    return FL_OK;
}

void
engine_submit(struct engine *engine, struct engine_request *request)
{
    FL_ASSERT(request->complete != NULL && engine->committer_runs);
    pthread_mutex_lock(&engine->queue_lock);
    queue_put(engine, request);
    pthread_cond_signal(&engine->queue_cond);
    pthread_mutex_unlock(&engine->queue_lock);
}

fl_status
engine_sync(struct engine *engine)
{
    pthread_mutex_lock(&engine->commit_lock);
    commit_queue(engine);
    pthread_mutex_unlock(&engine->commit_lock);
    return atomic_load(&engine->failed);
}

static void *
committer_main(void *arg)
{
    struct engine *engine = arg;

    (void)pthread_setname_np(pthread_self(), "fl-commit");
    pthread_mutex_lock(&engine->queue_lock);
    for (;;) {
        while (!engine->queue_stop && atomic_load(&engine->queue) == NULL) {
            pthread_cond_wait(&engine->queue_cond, &engine->queue_lock);
        }
        if (atomic_load(&engine->queue) == NULL) {
            break;
        }
        pthread_mutex_unlock(&engine->queue_lock);
        pthread_mutex_lock(&engine->commit_lock);
        commit_queue(engine);
        pthread_mutex_unlock(&engine->commit_lock);
        pthread_mutex_lock(&engine->queue_lock);
    }
    pthread_mutex_unlock(&engine->queue_lock);
    return NULL;
}

fl_status
engine_committer_start(struct engine *engine)
{
    if (pthread_create(&engine->committer, NULL, committer_main, engine) != 0) {
        return FL_FAIL(FL_NO_MEMORY, "the committer thread could not be started");
    }
    engine->committer_runs = true;
    return FL_OK;
}

void
engine_committer_stop(struct engine *engine)
{
    if (!engine->committer_runs) {
        return;
    }
    pthread_mutex_lock(&engine->queue_lock);
    engine->queue_stop = true;
    pthread_cond_broadcast(&engine->queue_cond);
    pthread_mutex_unlock(&engine->queue_lock);
    pthread_join(engine->committer, NULL);
    engine->committer_runs = false;
}
