/* The heap's blocks: states in DRAM beside the table on media, and who may take which.
 *
 * A block's DRAM state is under heap->lock; its table word is written by whoever holds the block. */
#include "storage/heap/heap_internal.h"

#include "base/bytes.h"
#include "base/fail.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

uint32_t
heap_table_block(const struct heap *heap, uint32_t block)
{
    const uint32_t first = block & ~(heap->group_blocks - 1); /* a power of two */

    return first == 0 ? 1 : first;
}

static uint64_t
entry_off(const struct heap *heap, uint32_t block)
{
    return heap_block_off(&heap->geometry, heap_table_block(heap, block)) +
           (uint64_t)(block & (heap->group_blocks - 1)) * HEAP_ENTRY_BYTES;
}

bool
heap_block_is_meta(const struct heap *heap, uint32_t block)
{
    return block < 2 || (block & (heap->group_blocks - 1)) == 0;
}

static void __attribute__((format(printf, 4, 5)))
damage(struct heap *heap, const char *rule, uint64_t off, const char *format, ...)
{
    char text[sizeof(heap->damaged_text)];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    heap_report_finding(heap->options.report, rule, off, sizeof(uint64_t),
                        "%s; run faultline-check --repair", text);
    if (heap->damaged++ == 0) {
        heap->damaged_off = off;
        memcpy(heap->damaged_text, text, sizeof(text));
    }
}

static struct heap_entry
entry_load(struct heap *heap, uint32_t block)
{
    const uint64_t off = entry_off(heap, block);
    struct heap_entry entry = {.state = HEAP_FREE};

    if (!super_entry_decode(&heap->geometry, block, bytes_get_le64(heap->media->base + off),
                            &entry) ||
        heap_block_is_meta(heap, block) != (entry.state == HEAP_META)) {
        damage(heap, "table-word", off, "the table word of block %u is damaged", block);
        entry = (struct heap_entry){.state = HEAP_META, .damaged = true};
    }
    return entry;
}

/* The words of one group. What is owned but lies behind the file's end was cut off. */
static void
group_load(struct heap *heap, uint32_t first, uint32_t end)
{
    for (uint32_t block = first; block < end; block++) {
        const struct heap_entry entry = entry_load(heap, block);
        struct heap_block *b = &heap->blocks[block];

        b->generation = entry.generation;
        if (block >= heap->blocks_total) {
            if (entry.state != HEAP_FREE) {
                damage(heap, "file-cut", heap_block_off(&heap->geometry, block),
                       "the file ends before block %u, which is in use", block);
            }
            continue;
        }
        b->state = (uint8_t)entry.state;
        b->head = entry.head;
        b->damaged = entry.damaged;
        b->use = entry.state != HEAP_FREE ? HEAP_USE_OWNED
                 : heap_block_is_worn(b)  ? HEAP_USE_WORN
                                          : HEAP_USE_FREE;
        heap->owned_count += b->use == HEAP_USE_OWNED;
        heap->free_count += b->use == HEAP_USE_FREE;
    }
}

/* How many table blocks were made; `in_file` if the word that says it is damaged. */
static uint32_t
groups_load(const struct heap *heap, uint32_t in_file)
{
    const uint64_t word = bytes_get_le64(heap->media->base + entry_off(heap, 1));
    const uint32_t groups_max = (heap->blocks_max - 1) / heap->group_blocks + 1;
    struct heap_entry entry;

    return super_entry_decode(&heap->geometry, 1, word, &entry) && entry.generation >= 1 &&
                   entry.generation <= groups_max
               ? entry.generation
               : in_file;
}

/* Read the table into DRAM. A word that doesn't validate is damage: its block is owned by nobody we know, so
 * it is kept out of use, and the open fails unless the caller salvages. */
static void
table_load(struct heap *heap)
{
    const uint32_t in_file = (heap->blocks_total - 1) / heap->group_blocks + 1;

    heap->groups = groups_load(heap, in_file);
    for (uint32_t group = 0; group < heap->groups; group++) {
        const uint32_t first = group * heap->group_blocks;
        const uint32_t left = heap->blocks_max - first;

        if (group >= in_file) {
            damage(heap, "file-cut", heap_block_off(&heap->geometry, first),
                   "the file ends before block %u, a part of the segment table", first);
            continue;
        }
        group_load(heap, first, first + (left < heap->group_blocks ? left : heap->group_blocks));
    }
    /* Inside the file, but of a group whose table block was not finished when a crash came. */
    for (uint32_t block = heap->groups * heap->group_blocks; block < heap->blocks_total; block++) {
        if (!heap_block_is_meta(heap, block)) {
            heap->blocks[block].use = HEAP_USE_FREE;
            heap->free_count++;
        }
    }
}

static void
root_load(struct heap *heap)
{
    unsigned valid = 0;

    for (unsigned slot = 0; slot < HEAP_HALVES; slot++) {
        const uint64_t off = heap_half_off(heap->geometry.block_bytes, slot, HEAP_ROOT_OFF);
        struct heap_root root;

        if (super_root_decode(&heap->geometry,
                              (const struct heap_root_media *)(heap->media->base + off), slot,
                              &root)) {
            valid++;
            if (root.sequence > heap->root.sequence) {
                heap->root = root;
            }
        }
    }
    if (valid == 0) {
        heap_report_finding(heap->options.report, "root", HEAP_ROOT_OFF, HEAP_ROOT_BYTES,
                            "no root slot validates; what it says is found again by scanning");
    }
    if (valid == 1 && heap->root.sequence > 1) {
        /* The other slot was cut short by a crash, or it was the newer one and is damaged: what this one says of
         * the log's end may be old. */
        heap->root.flags &= ~HEAP_ROOT_CLEAN;
    }
}

/* A crash may leave one word older than the other: the later time holds. */
static void
clock_load(struct heap *heap)
{
    bool valid[HEAP_HALVES];

    for (unsigned half = 0; half < HEAP_HALVES; half++) {
        const uint64_t off = heap_half_off(heap->geometry.block_bytes, half, HEAP_CLOCK_OFF);
        uint64_t ms = 0;

        valid[half] =
            super_clock_decode(&heap->geometry, half, bytes_get_le64(heap->media->base + off), &ms);
        if (valid[half] && ms > heap->clock_ms) {
            heap->clock_ms = ms;
        }
    }
    heap->clock_heal = valid[0] != valid[1];
    for (unsigned half = 0; half < HEAP_HALVES; half++) {
        if (!valid[half]) {
            heap_report_finding(heap->options.report, "clock",
                                heap_half_off(heap->geometry.block_bytes, half, HEAP_CLOCK_OFF),
                                sizeof(uint64_t), "the clock word is damaged; %s",
                                heap->clock_heal ? "its copy is used"
                                                 : "expiry goes by the wall clock");
        }
    }
}

fl_status
heap_open(struct nosync_map *map, const struct heap_geometry *geometry,
          const struct heap_options *options, struct heap **out)
{
    struct heap_geometry raised = *geometry;

    *out = NULL;
    if (!options->read_only && options->size_bytes_max > geometry->size_bytes_max) {
        raised.size_bytes_max = options->size_bytes_max;
        const fl_status status = super_geometry_check(&raised);

        if (status != FL_OK) {
            return status;
        }
    }
    const uint64_t blocks_mapped = raised.size_bytes_max / raised.block_bytes;
    struct heap *heap = calloc(1, sizeof(*heap));

    if (heap == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "a heap");
    }
    heap->map = map;
    heap->media = &map->media;
    heap->geometry = raised;
    heap->options = *options;
    heap->blocks_max = (uint32_t)(geometry->size_bytes_max / geometry->block_bytes);
    heap->blocks_mapped = (uint32_t)blocks_mapped;
    heap->group_blocks = geometry->block_bytes / HEAP_ENTRY_BYTES;
    heap->blocks_total = (uint32_t)(nosync_size_bytes(map) / geometry->block_bytes);
    if (heap->blocks_total > heap->blocks_max) {
        heap->blocks_total = heap->blocks_max;
    }
    pthread_mutex_init(&heap->lock, NULL);
    pthread_cond_init(&heap->ready_cond, NULL);
    pthread_cond_init(&heap->ahead_cond, NULL);
    heap->blocks = mmap(NULL, blocks_mapped * sizeof(heap->blocks[0]), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (heap->blocks == MAP_FAILED) {
        heap->blocks = NULL;
        heap_close(heap);
        return FL_FAIL(FL_NO_MEMORY, "states of %" PRIu64 " blocks", blocks_mapped);
    }
    if (heap->blocks_total < 2) {
        heap_close(heap);
        return FL_FAIL(FL_CORRUPT,
                       "the file was cut to %" PRIu64 " bytes: the segment table is gone",
                       nosync_size_bytes(map));
    }
    table_load(heap);
    root_load(heap);
    clock_load(heap);
    heap->options.report = NULL;
    *out = heap;
    return FL_OK;
}

fl_status
heap_open_finish(struct heap *heap)
{
    const uint64_t unit = heap->geometry.block_bytes;

    for (uint32_t block = 2; block < heap->blocks_total;) {
        uint32_t end = block;

        while (end < heap->blocks_total &&
               (heap->blocks[end].use == HEAP_USE_FREE || heap->blocks[end].use == HEAP_USE_WORN)) {
            end++;
        }
        if (end > block) {
            /* A failure costs space, nothing else: fault_in() zeroes what it finds. */
            (void)!nosync_punch(heap->map, block * unit, (end - block) * unit);
        }
        block = end > block ? end : block + 1;
    }
    fl_status status = super_heal(heap->map, &heap->geometry);

    if (status == FL_OK && heap->clock_heal) {
        struct pm pm;

        pm_init(&pm, heap->media);
        status = heap_clock_put(heap, &pm, heap->clock_ms);
    }
    if (status == FL_OK) {
        pthread_mutex_lock(&heap->lock);
        heap->blocks_max = heap->blocks_mapped;
        pthread_mutex_unlock(&heap->lock);
    }
    return status;
}

void
heap_close(struct heap *heap)
{
    if (heap == NULL) {
        return;
    }
    heap_ahead_stop(heap);
    if (heap->blocks != NULL) {
        munmap(heap->blocks, (size_t)heap->blocks_mapped * sizeof(heap->blocks[0]));
    }
    pthread_cond_destroy(&heap->ahead_cond);
    pthread_cond_destroy(&heap->ready_cond);
    pthread_mutex_destroy(&heap->lock);
    free(heap);
}

const struct heap_geometry *
heap_geometry(const struct heap *heap)
{
    return &heap->geometry;
}

const struct pm_media *
heap_media(const struct heap *heap)
{
    return heap->media;
}

struct nosync_map *
heap_map(const struct heap *heap)
{
    return heap->map;
}

uint64_t
heap_damage(const struct heap *heap, uint64_t *off, const char **text)
{
    *off = heap->damaged_off;
    *text = heap->damaged_text;
    return heap->damaged;
}

uint32_t
heap_blocks_total(const struct heap *heap)
{
    struct heap *mutable_heap = (struct heap *)(uintptr_t)heap;

    pthread_mutex_lock(&mutable_heap->lock);
    const uint32_t total = heap->blocks_total;
    pthread_mutex_unlock(&mutable_heap->lock);
    return total;
}

struct heap_entry
heap_entry_get(const struct heap *heap, uint32_t block)
{
    struct heap *mutable_heap = (struct heap *)(uintptr_t)heap;
    struct heap_entry entry = {.state = HEAP_FREE};

    pthread_mutex_lock(&mutable_heap->lock);
    if (block < heap->blocks_total) {
        entry.state = (enum heap_state)heap->blocks[block].state;
        entry.generation = heap->blocks[block].generation;
        entry.head = heap->blocks[block].head;
        entry.damaged = heap->blocks[block].damaged;
    }
    pthread_mutex_unlock(&mutable_heap->lock);
    return entry;
}

struct heap_note
heap_note_get(const struct heap *heap, uint32_t block)
{
    const uint8_t *note = heap->media->base + entry_off(heap, block) + HEAP_NOTE_OFF;

    return (struct heap_note){bytes_get_le64(note), bytes_get_le64(note + sizeof(uint64_t))};
}

static void
entry_store_nofence(struct heap *heap, struct pm *pm, uint32_t block, struct heap_entry entry)
{
    pm_store_u64_nofence(pm, entry_off(heap, block),
                         super_entry_encode(&heap->geometry, block, entry));
}

/* In DRAM. Returns the new generation, which no block of them has had. */
static uint32_t
own_noted(struct heap *heap, uint32_t block, uint32_t count, struct heap_entry as)
{
    uint32_t gen = 0;

    FL_ASSERT(count > 0 && as.state != HEAP_FREE);
    pthread_mutex_lock(&heap->lock);
    for (uint32_t i = 0; i < count; i++) {
        gen = gen > heap->blocks[block + i].generation ? gen : heap->blocks[block + i].generation;
    }
    FL_ASSERT(gen < UINT32_MAX);
    gen++;
    for (uint32_t i = 0; i < count; i++) {
        struct heap_block *b = &heap->blocks[block + i];

        FL_ASSERT(b->use == HEAP_USE_TAKEN);
        b->use = HEAP_USE_OWNED;
        b->state = (uint8_t)(i == 0 ? as.state : HEAP_CONT);
        b->head = as.head;
        b->generation = gen;
    }
    heap->owned_count += count;
    pthread_mutex_unlock(&heap->lock);
    return gen;
}

void
heap_own_unwritten(struct heap *heap, uint32_t block, uint32_t count)
{
    (void)own_noted(heap, block, count, (struct heap_entry){.state = HEAP_BLOB});
}

void
heap_own_begin_nofence(struct heap *heap, struct pm *pm, uint32_t block, uint32_t count,
                       struct heap_entry as, struct heap_note note, uint32_t *generation)
{
    const uint64_t words[] = {note.nonce, note.base_lsn};
    const uint32_t gen = own_noted(heap, block, count, as);

    *generation = gen;
    pm_store_words_nofence(pm, entry_off(heap, block) + HEAP_NOTE_OFF, words, 2);
    for (uint32_t i = 1; i < count; i++) {
        entry_store_nofence(
            heap, pm, block + i,
            (struct heap_entry){.state = HEAP_CONT, .generation = gen, .head = as.head});
    }
}

void
heap_own_end_nofence(struct heap *heap, struct pm *pm, uint32_t block)
{
    entry_store_nofence(heap, pm, block, heap_entry_get(heap, block));
}

fl_status
heap_disown_nofence(struct heap *heap, struct pm *pm, uint32_t block, uint32_t count)
{
    pthread_mutex_lock(&heap->lock);
    const uint32_t gen = heap->blocks[block].generation;

    for (uint32_t i = 0; i < count; i++) {
        FL_ASSERT(heap->blocks[block + i].use == HEAP_USE_OWNED);
        heap->blocks[block + i].use = HEAP_USE_FREEING;
        heap->blocks[block + i].state = HEAP_FREE;
    }
    heap->owned_count -= count;
    pthread_mutex_unlock(&heap->lock);
    entry_store_nofence(heap, pm, block,
                        (struct heap_entry){.state = HEAP_FREE, .generation = gen});
    if (count > 1) {
        /* order: the first word before those behind: it must not vouch for blocks that are free. */
        const fl_status status = pm_drain(pm);

        if (status != FL_OK) {
            return status;
        }
    }
    for (uint32_t i = 1; i < count; i++) {
        entry_store_nofence(heap, pm, block + i,
                            (struct heap_entry){.state = HEAP_FREE, .generation = gen});
    }
    return FL_OK;
}

/* A few freed blocks keep their space: a store that overwrites takes one for each it frees. Under heap->lock. */
static bool
warm_wanted(const struct heap *heap, uint32_t block, uint32_t count)
{
    const uint32_t wanted =
        heap->options.blocks_ahead < HEAP_WARM_MAX ? heap->options.blocks_ahead : HEAP_WARM_MAX;

    return count == 1 && heap->warm_count < wanted && !heap_block_is_worn(&heap->blocks[block]);
}

void
heap_recycle(struct heap *heap, uint32_t block, uint32_t count)
{
    const uint64_t unit = heap->geometry.block_bytes;

    pthread_mutex_lock(&heap->lock);
    const bool keep = warm_wanted(heap, block, count);

    if (!keep) {
        pthread_mutex_unlock(&heap->lock);
        /* A failure costs space until the block is used again; fault_in() zeroes what it finds. */
        (void)!nosync_punch(heap->map, block * unit, count * unit);
        pthread_mutex_lock(&heap->lock);
    }
    for (uint32_t i = 0; i < count; i++) {
        struct heap_block *b = &heap->blocks[block + i];
        const bool worn = heap_block_is_worn(b);

        FL_ASSERT(b->use == HEAP_USE_FREEING);
        b->use = worn ? HEAP_USE_WORN : HEAP_USE_FREE;
        heap->free_count += !worn;
    }
    if (keep) { /* free in the same breath: whoever meets it there takes it, or throws it away */
        heap->warm[heap->warm_count++] = block;
        heap->blocks[block].warm = true;
    }
    if (block < heap->free_hint) {
        heap->free_hint = block;
    }
    heap->growth_failed = false;
    pthread_cond_signal(&heap->ahead_cond);
    pthread_mutex_unlock(&heap->lock);
}

void
heap_root_get(const struct heap *heap, struct heap_root *root)
{
    *root = heap->root;
}

fl_status
heap_root_put(struct heap *heap, struct pm *pm, const struct heap_root *root)
{
    const uint64_t sequence = heap->root.sequence + 1;
    struct heap_root_media media;

    heap->root = *root;
    heap->root.sequence = sequence;
    super_root_encode(&heap->geometry, &heap->root, &media);
    pm_write_nofence(
        pm, heap_half_off(heap->geometry.block_bytes, super_root_slot(sequence), HEAP_ROOT_OFF),
        &media, sizeof(media));
    /* order: the root before return; the slot of the root before it is never written by this one. */
    return pm_drain(pm);
}

uint64_t
heap_clock_get(const struct heap *heap)
{
    return heap->clock_ms;
}

fl_status
heap_clock_put(struct heap *heap, struct pm *pm, uint64_t ms)
{
    for (unsigned half = 0; half < HEAP_HALVES; half++) {
        pm_store_u64_nofence(pm, heap_half_off(heap->geometry.block_bytes, half, HEAP_CLOCK_OFF),
                             super_clock_encode(&heap->geometry, half, ms));
    }
    /* order: the clock's mark before any judgement of expiry made up to it. */
    const fl_status status = pm_drain(pm);

    if (status == FL_OK) {
        heap->clock_ms = ms;
        heap->clock_heal = false;
    }
    return status;
}

void
heap_stats_get(struct heap *heap, struct heap_stats *stats)
{
    pthread_mutex_lock(&heap->lock);
    *stats = (struct heap_stats){
        .blocks_total = heap->blocks_total,
        .blocks_owned = heap->owned_count,
        .blocks_ready = heap->ready_count,
        .blocks_free = heap->free_count,
        .takes_waited = heap->takes_waited,
        .writers_faulted = heap->writers_faulted,
        .growth_failed = heap->growth_failed,
        .counts = &heap->counts,
    };
    pthread_mutex_unlock(&heap->lock);
}
