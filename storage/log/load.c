/* Opening: what the table says is owned, against what the segments' headers and links say. */
#include "storage/log/log_internal.h"

#include "base/bytes.h"
#include "base/fail.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct loading {
    struct log *log;
    const struct log_load *load;
    struct pm pm;
    uint32_t total; /* blocks in the file */
    uint64_t damaged;
    uint64_t first_off;
    char first_text[160];
};

static void __attribute__((format(printf, 5, 6)))
damage(struct loading *l, const char *rule, uint64_t off, uint64_t len, const char *format, ...)
{
    char text[160];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    heap_report_finding(l->load->report, rule, off, len, "%s", text);
    if (l->damaged++ == 0) {
        l->first_off = off;
        memcpy(l->first_text, text, sizeof(text));
    }
}

static uint64_t
off_of(const struct loading *l, uint32_t block)
{
    return (uint64_t)block << l->log->block_shift;
}

static bool
zeros(const uint8_t *p, uint64_t len)
{
    return len == 0 || (p[0] == 0 && memcmp(p, p + 1, (size_t)len - 1) == 0);
}

/* How many blocks behind `block` carry its generation as continuations. */
static uint32_t
continuations(const struct loading *l, uint32_t block, uint32_t generation)
{
    uint32_t n = 0;

    while (block + 1 + n < l->total) {
        const struct heap_entry entry = heap_entry_get(l->log->heap, block + 1 + n);

        if (entry.state != HEAP_CONT || entry.generation != generation) {
            break;
        }
        n++;
    }
    return n;
}

/* Fill the segment from its header. False: the header is no header of this block and generation. */
static bool
header_load(struct loading *l, uint32_t block, struct heap_entry entry)
{
    struct log *log = l->log;
    const struct log_header_media *header =
        (const struct log_header_media *)(log->media->base + off_of(l, block));
    const bool blob = entry.state == HEAP_BLOB;
    const uint32_t blocks = bytes_get_le32(header->blocks);

    if (bytes_get_le32(header->magic) != (uint32_t)(blob ? LOG_MAGIC_BLOB : LOG_MAGIC_LOG) ||
        bytes_get_le32(header->generation) != entry.generation ||
        bytes_get_le32(header->crc) != log_header_crc(log, block, header) || blocks == 0 ||
        blocks - 1 > continuations(l, block, entry.generation)) {
        return false;
    }
    struct log_segment *segment = &log->segments[block];

    log_segment_note(log, block, blocks, blob ? LOG_USE_BLOB : LOG_USE_LOG);
    segment->generation = entry.generation;
    segment->nonce = bytes_get_le64(header->nonce);
    segment->base_lsn = bytes_get_le64(header->base_lsn);
    segment->open_lsn = bytes_get_le64(header->open_lsn);
    segment->head = header->head < LOG_HEADS ? header->head : LOG_HEAD_CLEANER;
    segment->end = log_segment_bytes(log, segment);
    segment->sealed = blob;
    atomic_store(&segment->live_bytes, blob ? segment->end : 0);
    const uint64_t lsn_end = segment->base_lsn + segment->end;

    if (!blob && lsn_end > atomic_load(&log->lsn_next)) {
        atomic_store(&log->lsn_next, lsn_end);
    }
    return true;
}

/* Give back what a crash left behind: owned in the table, but never led to. */
static fl_status
drop(struct loading *l, uint32_t block, uint32_t blocks)
{
    log_segment_note(l->log, block, blocks, LOG_USE_NONE);
    if (!l->load->write) {
        return FL_OK;
    }
    for (uint32_t i = 0; i < blocks; i++) {
        fl_status status = heap_disown_nofence(l->log->heap, &l->pm, block + i, 1);

        if (status == FL_OK) {
            /* order: free in the table before reuse; and the first block before those behind. */
            status = pm_drain(&l->pm);
        }
        if (status != FL_OK) {
            return status;
        }
        heap_recycle(l->log->heap, block + i, 1);
    }
    return FL_OK;
}

static bool
owned_without_header(const struct loading *l, uint32_t block, struct heap_entry *entry)
{
    *entry = heap_entry_get(l->log->heap, block);
    return (entry->state == HEAP_LOG || entry->state == HEAP_BLOB) &&
           l->log->segments[block].use == LOG_USE_NONE;
}

static void
headers_load(struct loading *l)
{
    struct heap_entry entry;

    for (uint32_t block = 2; block < l->total; block++) {
        if (owned_without_header(l, block, &entry)) {
            (void)header_load(l, block, entry);
        }
    }
}

/* Owned, but the header doesn't validate: a segment change or a blob cut short by a crash has written nothing
 * behind the header's first line, and no link leads there (link_check() has looked). Anything else is damage. */
static fl_status
headerless_check(struct loading *l)
{
    struct heap_entry entry;

    for (uint32_t block = 2; block < l->total; block++) {
        const uint8_t *base = l->log->media->base + off_of(l, block);
        const size_t line = sizeof(struct log_header_media);

        if (!owned_without_header(l, block, &entry)) {
            continue;
        }
        if (zeros(base + line, l->log->block_bytes - line) ||
            (entry.state == HEAP_BLOB && zeros(base, line))) {
            const fl_status status = drop(l, block, 1 + continuations(l, block, entry.generation));

            if (status != FL_OK) {
                return status;
            }
            continue;
        }
        damage(l, "segment-header", off_of(l, block), line,
               "block %u is owned by a segment, but its header does not validate", block);
    }
    return FL_OK;
}

static void
seal_load(struct loading *l, uint32_t block)
{
    struct log *log = l->log;
    struct log_segment *segment = &log->segments[block];
    const uint64_t off = off_of(l, block);
    const uint64_t seal = bytes_get_le64(log->media->base + off + LOG_SEAL_OFF);
    uint64_t end = 0;

    if (seal == 0) {
        return;
    }
    if (!log_seal_decode(log, segment->nonce, seal, &end) || end < LOG_HEADER_BYTES ||
        end > log_segment_bytes(log, segment)) {
        damage(l, "seal-word", off + LOG_SEAL_OFF, sizeof(seal),
               "the seal of the segment at block %u does not validate", block);
        return;
    }
    segment->sealed = true;
    segment->end = end;
}

/* A link must lead to the segment it was written for, or to one that was freed since (rule 7). */
static void
link_check(struct loading *l, uint32_t block)
{
    struct log *log = l->log;
    struct log_segment *segment = &log->segments[block];
    const uint64_t off = off_of(l, block) + LOG_LINK_OFF;
    const uint64_t link = bytes_get_le64(log->media->base + off);
    const uint32_t target = (uint32_t)link;
    const uint32_t generation = (uint32_t)(link >> 32);

    if (link == 0) {
        return;
    }
    segment->linked = true;
    if (!segment->sealed) {
        damage(l, "link-unsealed", off, sizeof(link),
               "the segment at block %u is linked on but not sealed", block);
    }
    if (target < 2 || target >= l->total) {
        damage(l, "link-target", off, sizeof(link),
               "block %u links to block %u, which is outside the file: the block was lost", block,
               target);
        return;
    }
    const struct heap_entry entry = heap_entry_get(log->heap, target);
    const struct log_segment *next = &log->segments[target];

    if (entry.generation > generation ||
        (entry.generation == generation && entry.state == HEAP_FREE)) {
        return; /* freed, and perhaps in use again */
    }
    if (entry.generation < generation || entry.state != HEAP_LOG || next->use != LOG_USE_LOG ||
        next->generation != generation) {
        damage(
            l, "link-target", off, sizeof(link),
            "block %u links to block %u of generation %u, which is not there: the block was lost",
            block, target, generation);
    }
}

/* A segment that its living predecessor doesn't lead to: a change cut short, which has no frames yet. */
static fl_status
orphan_check(struct loading *l, uint32_t block)
{
    struct log *log = l->log;
    const struct log_segment *segment = &log->segments[block];
    const uint64_t off = off_of(l, block);
    const struct log_header_media *header =
        (const struct log_header_media *)(log->media->base + off);
    const uint32_t prev = bytes_get_le32(header->prev_block);

    if (prev < 2 || prev >= l->total || log->segments[prev].use != LOG_USE_LOG ||
        log->segments[prev].generation != bytes_get_le32(header->prev_generation)) {
        return FL_OK;
    }
    const uint64_t link = bytes_get_le64(log->media->base + off_of(l, prev) + LOG_LINK_OFF);

    if (link == (block | (uint64_t)segment->generation << 32)) {
        return FL_OK;
    }
    if (!zeros(log->media->base + off + LOG_SEAL_OFF,
               log_segment_bytes(log, segment) - LOG_SEAL_OFF)) {
        damage(l, "link-missing", off_of(l, prev) + LOG_LINK_OFF, sizeof(link),
               "the segment at block %u has frames, but block %u before it does not lead to it",
               block, prev);
        return FL_OK;
    }
    return drop(l, block, segment->blocks);
}

/* Blocks marked as the inside of a segment that isn't there. */
static fl_status
continuations_check(struct loading *l)
{
    for (uint32_t block = 2; block < l->total; block++) {
        const struct heap_entry entry = heap_entry_get(l->log->heap, block);

        if (entry.state == HEAP_CONT && l->log->segments[block].use != LOG_USE_CONT &&
            l->damaged == 0) {
            const fl_status status = drop(l, block, 1);

            if (status != FL_OK) {
                return status;
            }
        }
    }
    return FL_OK;
}

/* Each head goes on behind its newest segment; only that one may be open. */
static void
heads_load(struct loading *l)
{
    struct log *log = l->log;

    for (uint32_t block = 2; block < l->total; block++) {
        const struct log_segment *segment = &log->segments[block];
        struct log_head *head = &log->heads[segment->head];

        if (segment->use == LOG_USE_LOG &&
            (head->prev_block == 0 ||
             log->segments[head->prev_block].base_lsn < segment->base_lsn)) {
            head->prev_block = block;
        }
    }
    for (uint32_t block = 2; block < l->total; block++) {
        const struct log_segment *segment = &log->segments[block];

        if (segment->use == LOG_USE_LOG && !segment->sealed &&
            log->heads[segment->head].prev_block != block) {
            damage(l, "segment-open", off_of(l, block) + LOG_SEAL_OFF, sizeof(uint64_t),
                   "the segment at block %u is open, but not the newest of its head", block);
        }
    }
    for (int i = 0; i < LOG_HEADS; i++) {
        if (log->heads[i].prev_block != 0 && log->segments[log->heads[i].prev_block].linked) {
            log->heads[i].prev_block = 0;
        }
    }
    atomic_store(&log->lsn_main, atomic_load(&log->lsn_next));
}

fl_status
log_load(struct log *log, const struct log_load *load)
{
    struct loading *l = calloc(1, sizeof(*l));

    if (l == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "loading the log");
    }
    l->log = log;
    l->load = load;
    l->total = heap_blocks_total(log->heap);
    pm_init(&l->pm, log->media);
    l->damaged = heap_damaged_words(log->heap, &l->first_off);
    if (l->damaged > 0) {
        snprintf(l->first_text, sizeof(l->first_text), "a word of the segment table is damaged");
    }
    fl_status status = FL_OK;

    headers_load(l);
    for (uint32_t block = 2; block < l->total; block++) {
        if (log->segments[block].use == LOG_USE_LOG) {
            seal_load(l, block);
        }
    }
    for (uint32_t block = 2; block < l->total && status == FL_OK; block++) {
        if (log->segments[block].use == LOG_USE_LOG) {
            status = orphan_check(l, block);
        }
    }
    for (uint32_t block = 2; block < l->total; block++) {
        if (log->segments[block].use == LOG_USE_LOG) {
            link_check(l, block);
        }
    }
    if (status == FL_OK) {
        status = headerless_check(l);
    }
    if (status == FL_OK) {
        status = continuations_check(l);
    }
    heads_load(l);
    *load->damaged = l->damaged;
    if (status == FL_OK && l->damaged > 0 && !load->salvage) {
        status = FL_FAIL(FL_CORRUPT, "at file offset %" PRIu64 ": %s; run faultline-check --repair",
                         l->first_off, l->first_text);
    }
    free(l);
    return status;
}
