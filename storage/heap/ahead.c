/* Growing ahead: blocks are faulted before somebody needs them, so that a put takes no page fault. */
#include "storage/heap/heap_internal.h"

#include "base/fail.h"

#include <inttypes.h>
#include <time.h>

enum { RETRY_MS = 200 }; /* between attempts to grow after the file system said that it is full */

static uint64_t
ready_target(const struct heap *heap)
{
    const uint64_t target = (uint64_t)heap->options.blocks_ahead + heap->options.reserve_blocks;

    return target < HEAP_READY_MAX ? target : HEAP_READY_MAX;
}

/* Pick `count` contiguous blocks that are free, the lowest first, else at the end of the file, and mark them.
 * A run never holds a table block, so it stays inside one group. Under heap->lock. */
static bool
pick_run(struct heap *heap, uint32_t count, uint32_t *first)
{
    uint32_t run = 0;

    if (count == 1 && heap->free_count == 0 && heap->free_hint < heap->blocks_total) {
        heap->free_hint = heap->blocks_total;
    }
    for (uint32_t block = count == 1 ? heap->free_hint : 2; block < heap->blocks_max; block++) {
        const uint8_t use = heap->blocks[block].use;
        const bool usable =
            !heap_block_is_meta(heap, block) && (use == HEAP_USE_FREE || use == HEAP_USE_BEYOND);

        run = usable ? run + 1 : 0;
        if (run == count) {
            *first = block + 1 - count;
            for (uint32_t b = *first; b <= block; b++) {
                heap->free_count -= heap->blocks[b].use == HEAP_USE_FREE;
                heap->blocks[b].use = HEAP_USE_FAULTING;
            }
            if (count == 1) {
                heap->free_hint = block + 1;
            }
            return true;
        }
    }
    return false;
}

/* Blocks below `end` are inside the file now; those between that nobody holds are free. Under heap->lock. */
static void
extend_total(struct heap *heap, uint32_t end)
{
    for (uint32_t block = heap->blocks_total; block < end; block++) {
        if (heap->blocks[block].use == HEAP_USE_BEYOND && !heap_block_is_meta(heap, block)) {
            heap->blocks[block].use = HEAP_USE_FREE;
            heap->free_count++;
            if (block < heap->free_hint) {
                heap->free_hint = block;
            }
        }
    }
    if (end > heap->blocks_total) {
        heap->blocks_total = end;
    }
}

static void
unpick(struct heap *heap, uint32_t first, uint32_t count)
{
    for (uint32_t b = first; b < first + count; b++) {
        const bool inside = b < heap->blocks_total;

        heap->blocks[b].use = inside ? HEAP_USE_FREE : HEAP_USE_BEYOND;
        heap->free_count += inside;
    }
    if (first < heap->free_hint) {
        heap->free_hint = first;
    }
}

/* The table block of `block`'s group, made when the file first reaches the group. Only one thread grows at a time:
 * the caller holds heap->lock; it is dropped while the block is faulted. */
static fl_status
table_block_make(struct heap *heap, uint32_t block)
{
    const uint32_t table = heap_table_block(heap, block);

    while (heap->blocks[table].use == HEAP_USE_FAULTING) {
        pthread_cond_wait(&heap->ready_cond, &heap->lock);
    }
    if (heap->blocks[table].use == HEAP_USE_OWNED) {
        return FL_OK;
    }
    const uint64_t off = heap_block_off(&heap->geometry, table);
    const struct heap_entry meta = {.state = HEAP_META, .generation = 1};

    heap->blocks[table].use = HEAP_USE_FAULTING;
    pthread_mutex_unlock(&heap->lock);
    fl_status status = nosync_fault_in(heap->map, off, heap->geometry.block_bytes);

    if (status == FL_OK) {
        struct pm pm; /* Two threads may make two table blocks at a time. */

        pm_init(&pm, heap->media);
        pm_store_u64_nofence(&pm, off, super_entry_encode(&heap->geometry, table, meta));
        /* order: the table block before any word in it. A word says who owns a block. */
        status = pm_drain(&pm);
        heap->counts.lines += pm.counts.lines;
        heap->counts.fences += pm.counts.fences;
        heap->counts.syncs += pm.counts.syncs;
    }
    pthread_mutex_lock(&heap->lock);
    if (status == FL_OK) {
        heap->blocks[table].use = HEAP_USE_OWNED;
        heap->blocks[table].state = HEAP_META;
        heap->blocks[table].generation = 1;
        heap->owned_count++;
        extend_total(heap, table + 1);
    } else {
        heap->blocks[table].use = HEAP_USE_BEYOND;
    }
    pthread_cond_broadcast(&heap->ready_cond);
    return status;
}

/* Fault `count` contiguous blocks; they come back taken. Holds heap->lock on entry and on return. */
static fl_status
fault_run(struct heap *heap, uint32_t count, uint32_t *first)
{
    const uint64_t unit = heap->geometry.block_bytes;

    if (!pick_run(heap, count, first)) {
        return FL_FAIL(FL_NO_SPACE,
                       "%u contiguous blocks: the store has reached size_bytes_max %" PRIu64, count,
                       heap->geometry.size_bytes_max);
    }
    fl_status status = table_block_make(heap, *first);

    if (status == FL_OK) {
        pthread_mutex_unlock(&heap->lock);
        status = nosync_fault_in(heap->map, *first * unit, count * unit);
        pthread_mutex_lock(&heap->lock);
    }
    if (status != FL_OK) {
        unpick(heap, *first, count);
        return status;
    }
    extend_total(heap, *first + count);
    for (uint32_t b = *first; b < *first + count; b++) {
        heap->blocks[b].use = HEAP_USE_TAKEN;
    }
    return FL_OK;
}

static void
make_ready(struct heap *heap, uint32_t block)
{
    heap->blocks[block].use = HEAP_USE_READY;
    heap->ready[heap->ready_count++] = block;
    pthread_cond_broadcast(&heap->ready_cond);
}

/* One more ready block. Under heap->lock. */
static fl_status
ahead_one(struct heap *heap)
{
    uint32_t block = 0;
    const fl_status status = fault_run(heap, 1, &block);

    heap->growth_failed = status != FL_OK;
    heap->growth_status = status;
    if (status == FL_OK) {
        make_ready(heap, block);
    } else {
        pthread_cond_broadcast(&heap->ready_cond);
    }
    return status;
}

fl_status
heap_ahead_step(struct heap *heap)
{
    pthread_mutex_lock(&heap->lock);
    const fl_status status = heap->ready_count < ready_target(heap) ? ahead_one(heap) : FL_END;

    pthread_mutex_unlock(&heap->lock);
    return status;
}

static void *
ahead_main(void *arg)
{
    struct heap *heap = arg;

    pthread_mutex_lock(&heap->lock);
    while (!heap->stop) {
        if (heap->ready_count >= ready_target(heap)) {
            pthread_cond_wait(&heap->ahead_cond, &heap->lock);
        } else if (ahead_one(heap) != FL_OK) {
            struct timespec until;

            clock_gettime(CLOCK_REALTIME, &until);
            until.tv_nsec += RETRY_MS * 1000000L;
            until.tv_sec += until.tv_nsec / 1000000000L;
            until.tv_nsec %= 1000000000L;
            pthread_cond_timedwait(&heap->ahead_cond, &heap->lock, &until);
        }
    }
    pthread_mutex_unlock(&heap->lock);
    return NULL;
}

fl_status
heap_ahead_start(struct heap *heap)
{
    if (pthread_create(&heap->thread, NULL, ahead_main, heap) != 0) {
        return FL_FAIL(FL_NO_MEMORY, "the grow-ahead thread could not be started");
    }
    heap->thread_runs = true;
    return FL_OK;
}

void
heap_ahead_stop(struct heap *heap)
{
    if (!heap->thread_runs) {
        return;
    }
    pthread_mutex_lock(&heap->lock);
    heap->stop = true;
    pthread_cond_broadcast(&heap->ahead_cond);
    pthread_mutex_unlock(&heap->lock);
    pthread_join(heap->thread, NULL);
    heap->thread_runs = false;
}

/* Under heap->lock: wait for, or make, one ready block that the claim may have. */
static fl_status
take_one(struct heap *heap, enum heap_claim claim, uint32_t *block)
{
    const uint64_t keep = claim == HEAP_RESERVE ? 0 : heap->options.reserve_blocks;
    bool waited = false;

    while (heap->ready_count <= keep) {
        heap->takes_waited += !waited;
        waited = true;
        if (!heap->thread_runs) {
            const fl_status status = ahead_one(heap);

            if (status != FL_OK) {
                return status;
            }
            continue;
        }
        if (heap->growth_failed) {
            const fl_status status = heap->growth_status;

            pthread_cond_signal(&heap->ahead_cond);
            return status == FL_NO_SPACE
                       ? FL_FAIL(status,
                                 "the file can't grow: the file system is full, or the store "
                                 "has reached size_bytes_max")
                       : FL_FAIL(status, "the file can't grow");
        }
        pthread_cond_signal(&heap->ahead_cond);
        pthread_cond_wait(&heap->ready_cond, &heap->lock);
    }
    *block = heap->ready[--heap->ready_count];
    heap->blocks[*block].use = HEAP_USE_TAKEN;
    pthread_cond_signal(&heap->ahead_cond);
    return FL_OK;
}

fl_status
heap_take(struct heap *heap, uint32_t count, enum heap_claim claim, uint32_t *block)
{
    fl_status status;

    FL_ASSERT(count > 0);
    pthread_mutex_lock(&heap->lock);
    if (count == 1) {
        status = take_one(heap, claim, block);
    } else if (count > heap->group_blocks - 2) {
        status = FL_FAIL(FL_TOO_LARGE, "%u contiguous blocks; a store with blocks of %u has %u",
                         count, heap->geometry.block_bytes, heap->group_blocks - 2);
    } else {
        status = fault_run(heap, count, block);
    }
    pthread_mutex_unlock(&heap->lock);
    return status;
}

void
heap_untake(struct heap *heap, uint32_t block, uint32_t count)
{
    pthread_mutex_lock(&heap->lock);
    for (uint32_t b = block; b < block + count; b++) {
        FL_ASSERT(heap->blocks[b].use == HEAP_USE_TAKEN);
        if (heap->ready_count < HEAP_READY_MAX) {
            make_ready(heap, b);
        } else {
            unpick(heap, b, 1);
        }
    }
    pthread_mutex_unlock(&heap->lock);
}

bool
heap_has_room(struct heap *heap, uint32_t blocks)
{
    pthread_mutex_lock(&heap->lock);
    const uint64_t ready = heap->ready_count > heap->options.reserve_blocks
                               ? heap->ready_count - heap->options.reserve_blocks
                               : 0;
    /* While growth works it is asked for when needed; size_bytes_max is known exactly. */
    const uint64_t growable =
        heap->growth_failed ? 0 : heap->free_count + (heap->blocks_max - heap->blocks_total);
    pthread_mutex_unlock(&heap->lock);
    return ready + growable >= blocks;
}
