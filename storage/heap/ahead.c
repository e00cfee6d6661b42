/* Growing ahead: blocks are faulted before somebody needs them, so that a put takes no page fault. */
#include "storage/heap/heap_internal.h"

#include "base/fail.h"

#include <inttypes.h>
#include <time.h>

enum {
    RETRY_MS = 200, /* between attempts to grow after the file system said that it is full */
    BAD_TRIES = 3,  /* more blocks, when one can't be faulted in */
};

static uint64_t
ready_target(const struct heap *heap)
{
    const uint64_t target = (uint64_t)heap->options.blocks_ahead + heap->options.reserve_blocks;

    return target < HEAP_READY_MAX ? target : HEAP_READY_MAX;
}

/* Under heap->lock. */
static void
pick_one(struct heap *heap, uint32_t block)
{
    heap->free_count -= heap->blocks[block].use == HEAP_USE_FREE;
    heap->picked_beyond += heap->blocks[block].use == HEAP_USE_BEYOND;
    heap->blocks[block].use = HEAP_USE_FAULTING;
}

/* Under heap->lock. */
static bool
pick_warm(struct heap *heap, uint32_t *block)
{
    while (heap->warm_count > 0) {
        *block = heap->warm[--heap->warm_count];
        if (heap->blocks[*block].use == HEAP_USE_FREE && heap->blocks[*block].warm) {
            pick_one(heap, *block);
            heap->blocks[*block].warm = false;
            return true;
        }
    }
    return false;
}

/* Pick `count` contiguous blocks that are free, the lowest first, else at the end of the file, and mark them.
 * A run never holds a table block, so it stays inside one group. Under heap->lock. */
static bool
pick_run(struct heap *heap, uint32_t count, uint32_t *first)
{
    uint32_t run = 0;

    if (count == 1 && pick_warm(heap, first)) {
        return true;
    }
    if (count == 1 && heap->free_count == 0 && heap->free_hint < heap->blocks_total) {
        heap->free_hint = heap->blocks_total;
    }
    for (uint32_t block = count == 1 ? heap->free_hint : 2; block < heap->blocks_max; block++) {
        const uint8_t use = heap->blocks[block].use;
        const bool usable = !heap_block_is_meta(heap, block) &&
                            (use == HEAP_USE_FREE || use == HEAP_USE_BEYOND) &&
                            !heap_block_is_worn(&heap->blocks[block]);

        run = usable ? run + 1 : 0;
        if (run == count) {
            *first = block + 1 - count;
            for (uint32_t b = *first; b <= block; b++) {
                pick_one(heap, b);
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
        heap->picked_beyond -= heap->blocks[block].use == HEAP_USE_FAULTING;
        if (heap->blocks[block].use == HEAP_USE_BEYOND && !heap_block_is_meta(heap, block)) {
            const bool worn = heap_block_is_worn(&heap->blocks[block]);

            heap->blocks[block].use = worn ? HEAP_USE_WORN : HEAP_USE_FREE;
            heap->free_count += !worn;
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

        if (heap->blocks[b].bad) {
            continue;
        }
        heap->blocks[b].use = inside ? HEAP_USE_FREE : HEAP_USE_BEYOND;
        heap->free_count += inside;
        heap->picked_beyond -= !inside;
    }
    if (first < heap->free_hint) {
        heap->free_hint = first;
    }
}

static fl_status
fault_in(struct heap *heap, uint64_t off, uint64_t len)
{
    const fl_status status = nosync_fault_in(heap->map, off, len);

    if (status == FL_OK) {
        nosync_bad_forget(heap->map, off, len);
    }
    return status;
}

/* A new table block, the last one. Its own word, then the count of table blocks in the word of block 1: from there on
 * a file that ends before it was cut. */
static fl_status
table_block_write(struct heap *heap, uint32_t table)
{
    const uint64_t off = heap_block_off(&heap->geometry, table);
    const struct heap_entry own = {.state = HEAP_META, .generation = 1};
    const struct heap_entry first = {.state = HEAP_META,
                                     .generation = table / heap->group_blocks + 1};
    struct pm pm;

    fl_status status = fault_in(heap, off, heap->geometry.block_bytes);

    if (status != FL_OK) {
        return status;
    }
    pm_init(&pm, heap->media);
    pm_store_u64_nofence(&pm, off, super_entry_encode(&heap->geometry, table, own));
    /* order: the table block before the count that includes it. */
    status = pm_drain(&pm);
    if (status == FL_OK) {
        pm_store_u64_nofence(&pm, heap->geometry.block_bytes + HEAP_ENTRY_BYTES,
                             super_entry_encode(&heap->geometry, 1, first));
        /* order: the count before any word in the new table block. Words outside the count are not read. */
        status = pm_drain(&pm);
    }
    heap->counts.lines += pm.counts.lines;
    heap->counts.fences += pm.counts.fences;
    heap->counts.syncs += pm.counts.syncs;
    return status;
}

/* Make the table blocks up to that of `block`, one after another, by one thread at a time. Holds heap->lock, and drops
 * it while a block is faulted. */
static fl_status
table_block_make(struct heap *heap, uint32_t block)
{
    fl_status status = FL_OK;

    while (status == FL_OK && heap->groups <= block / heap->group_blocks) {
        if (heap->table_making) {
            pthread_cond_wait(&heap->ready_cond, &heap->lock);
            continue;
        }
        const uint32_t table = heap->groups * heap->group_blocks;

        heap->table_making = true;
        pthread_mutex_unlock(&heap->lock);
        status = table_block_write(heap, table);
        pthread_mutex_lock(&heap->lock);
        heap->table_making = false;
        if (status == FL_OK) {
            heap->blocks[table] =
                (struct heap_block){.generation = 1, .use = HEAP_USE_OWNED, .state = HEAP_META};
            heap->blocks[1].generation = ++heap->groups;
            heap->owned_count++;
            extend_total(heap, table + 1);
        }
        pthread_cond_broadcast(&heap->ready_cond);
    }
    return status;
}

/* Give the space of warm blocks back. Holds heap->lock, and drops it meanwhile. */
static bool
cool(struct heap *heap)
{
    const uint64_t unit = heap->geometry.block_bytes;
    uint32_t block = 0;
    bool any = false;

    while (pick_warm(heap, &block)) {
        pthread_mutex_unlock(&heap->lock);
        (void)!nosync_punch(heap->map, block * unit, unit);
        pthread_mutex_lock(&heap->lock);
        unpick(heap, block, 1);
        any = true;
    }
    return any;
}

/* Pick `count` contiguous blocks, with the table block that describes them. Holds heap->lock on entry and on
 * return, and drops it meanwhile. */
static fl_status
pick_described(struct heap *heap, uint32_t count, uint32_t *first)
{
    if (!pick_run(heap, count, first)) {
        return FL_FAIL(FL_NO_SPACE,
                       "%u contiguous blocks: the store has reached size_bytes_max %" PRIu64, count,
                       heap->geometry.size_bytes_max);
    }
    const fl_status status = table_block_make(heap, *first);

    if (status != FL_OK) {
        unpick(heap, *first, count);
    }
    return status;
}

/* Faulting these failed, and not for lack of space: find out which it was. Holds heap->lock, and drops it meanwhile. */
static void
find_bad(struct heap *heap, uint32_t first, uint32_t count)
{
    const uint64_t unit = heap->geometry.block_bytes;

    for (uint32_t b = first; b < first + count; b++) {
        pthread_mutex_unlock(&heap->lock);
        const fl_status status = count == 1 ? FL_IO : fault_in(heap, b * unit, unit);

        if (status == FL_OK) {
            (void)!nosync_punch(heap->map, b * unit, unit);
        }
        pthread_mutex_lock(&heap->lock);
        heap->blocks[b].bad = status == FL_IO;
    }
}

/* Picked blocks become taken. Holds heap->lock on entry and on return, and drops it meanwhile. */
static fl_status
fault_picked(struct heap *heap, uint32_t first, uint32_t count)
{
    const uint64_t unit = heap->geometry.block_bytes;

    pthread_mutex_unlock(&heap->lock);
    const fl_status status = fault_in(heap, first * unit, count * unit);

    pthread_mutex_lock(&heap->lock);
    if (status == FL_IO) {
        find_bad(heap, first, count);
    }
    if (status != FL_OK) {
        return status;
    }
    extend_total(heap, first + count);
    for (uint32_t b = first; b < first + count; b++) {
        heap->blocks[b].use = HEAP_USE_TAKEN;
        heap->blocks[b].warm = false;
    }
    return FL_OK;
}

/* Fault `count` contiguous blocks; they come back taken. Holds heap->lock on entry and on return. */
static fl_status
fault_run_once(struct heap *heap, uint32_t count, uint32_t *first)
{
    fl_status status = pick_described(heap, count, first);

    if (status == FL_OK) {
        status = fault_picked(heap, *first, count);
        if (status != FL_OK) {
            /* Their space was given back with what they hadn't got yet. */
            for (uint32_t b = *first; b < *first + count; b++) {
                heap->blocks[b].warm = false;
            }
            unpick(heap, *first, count);
        }
    }
    return status;
}

static fl_status
fault_run(struct heap *heap, uint32_t count, uint32_t *first)
{
    fl_status status = fault_run_once(heap, count, first);

    /* What is bad has been set aside: others may do. Not for ever, after a failed sync none will. */
    for (unsigned i = 0; i < BAD_TRIES && status == FL_IO; i++) {
        status = fault_run_once(heap, count, first);
    }
    return status == FL_NO_SPACE && cool(heap) ? fault_run_once(heap, count, first) : status;
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

    (void)pthread_setname_np(pthread_self(), "fl-ahead");
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
    /* Who takes a block waits for the thread to have made one: there has to be one that it makes. */
    if (heap->options.blocks_ahead == 0) {
        heap->options.blocks_ahead = 1;
    }
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
    pthread_cond_broadcast(&heap->ready_cond);
    pthread_mutex_unlock(&heap->lock);
    pthread_join(heap->thread, NULL);
    heap->thread_runs = false;
}

/* Under heap->lock: wait for, or make, one ready block that the claim may have. */
static fl_status
take_one(struct heap *heap, enum heap_claim claim, uint32_t *block)
{
    const uint64_t keep = claim == HEAP_CLEANER   ? 0
                          : claim == HEAP_RESERVE ? 1
                                                  : heap->options.reserve_blocks;
    bool waited = false;
    bool faulted = false;

    while (heap->ready_count <= keep) {
        heap->takes_waited += !waited;
        waited = true;
        if (!heap->thread_runs) {
            const fl_status status = ahead_one(heap);

            if (status != FL_OK) {
                return status;
            }
            faulted = claim != HEAP_CLEANER;
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
    heap->writers_faulted += faulted;
    pthread_cond_signal(&heap->ahead_cond);
    return FL_OK;
}

static fl_status
run_check(const struct heap *heap, uint32_t count)
{
    FL_ASSERT(count > 0);
    return count <= heap->group_blocks - 2
               ? FL_OK
               : FL_FAIL(FL_TOO_LARGE, "%u contiguous blocks; a store with blocks of %u has %u",
                         count, heap->geometry.block_bytes, heap->group_blocks - 2);
}

fl_status
heap_take(struct heap *heap, uint32_t count, enum heap_claim claim, uint32_t *block)
{
    fl_status status = run_check(heap, count);

    if (status != FL_OK) {
        return status;
    }
    pthread_mutex_lock(&heap->lock);
    status = count == 1 ? take_one(heap, claim, block) : fault_run(heap, count, block);
    heap->writers_faulted += count > 1 && status == FL_OK && claim != HEAP_CLEANER;
    pthread_mutex_unlock(&heap->lock);
    return status;
}

fl_status
heap_pick(struct heap *heap, uint32_t count, uint32_t *block)
{
    fl_status status = run_check(heap, count);

    if (status != FL_OK) {
        return status;
    }
    pthread_mutex_lock(&heap->lock);
    status = pick_described(heap, count, block);
    if (status == FL_NO_SPACE && cool(heap)) {
        status = pick_described(heap, count, block); /* of a table block, by the file system */
    }
    pthread_mutex_unlock(&heap->lock);
    return status;
}

fl_status
heap_take_picked(struct heap *heap, uint32_t block)
{
    pthread_mutex_lock(&heap->lock);
    FL_ASSERT(heap->blocks[block].use == HEAP_USE_FAULTING);
    fl_status status = fault_picked(heap, block, 1);

    if (status == FL_NO_SPACE && cool(heap)) {
        status = fault_picked(heap, block, 1);
    }
    pthread_mutex_unlock(&heap->lock);
    return status;
}

void
heap_count_made(struct heap *heap)
{
    pthread_mutex_lock(&heap->lock);
    heap->writers_faulted++;
    pthread_mutex_unlock(&heap->lock);
}

void
heap_untake(struct heap *heap, uint32_t block, uint32_t count)
{
    const uint64_t unit = heap->geometry.block_bytes;

    /* A failure costs space until the block is used again. */
    (void)!nosync_punch(heap->map, block * unit, count * unit);
    pthread_mutex_lock(&heap->lock);
    for (uint32_t b = block; b < block + count; b++) {
        FL_ASSERT(heap->blocks[b].use == HEAP_USE_TAKEN);
        heap->blocks[b].use = HEAP_USE_FAULTING;
    }
    unpick(heap, block, count);
    pthread_cond_signal(&heap->ahead_cond);
    pthread_mutex_unlock(&heap->lock);
}

void
heap_unpick(struct heap *heap, uint32_t block, uint32_t count)
{
    const uint64_t unit = heap->geometry.block_bytes;

    pthread_mutex_lock(&heap->lock);
    for (uint32_t b = block; b < block + count; b++) {
        FL_ASSERT(heap->blocks[b].use == HEAP_USE_FAULTING);
        if (heap->blocks[b].warm) {
            /* Nobody looks for it among the warm ones any more: what it kept would be lost to others. */
            heap->blocks[b].warm = false;
            pthread_mutex_unlock(&heap->lock);
            (void)!nosync_punch(heap->map, b * unit, unit);
            pthread_mutex_lock(&heap->lock);
        }
        unpick(heap, b, 1);
    }
    pthread_cond_signal(&heap->ahead_cond);
    pthread_mutex_unlock(&heap->lock);
}

bool
heap_make_room(struct heap *heap, uint32_t blocks)
{
    const uint64_t reserve = heap->options.reserve_blocks;
    const uint64_t target = ready_target(heap);
    const uint64_t ahead = target > reserve ? target - reserve : 0;
    const uint64_t sure = reserve + (blocks < ahead ? blocks : ahead);
    bool faulted = false;

    pthread_mutex_lock(&heap->lock);
    while (heap->ready_count < sure) {
        if (!heap->thread_runs) {
            if (ahead_one(heap) != FL_OK) {
                break;
            }
            faulted = true;
            continue;
        }
        pthread_cond_signal(&heap->ahead_cond);
        if (heap->growth_failed || heap->stop) {
            break;
        }
        pthread_cond_wait(&heap->ready_cond, &heap->lock);
    }
    const bool made = heap->ready_count >= sure;

    heap->writers_faulted += faulted;

    pthread_mutex_unlock(&heap->lock);
    return made && heap_has_room(heap, blocks);
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
        heap->growth_failed
            ? 0
            : heap->free_count + (heap->blocks_max - heap->blocks_total) - heap->picked_beyond;
    pthread_mutex_unlock(&heap->lock);
    return ready + growable >= blocks;
}
