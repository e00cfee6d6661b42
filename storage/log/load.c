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
    heap_report_finding(l->load->report, rule, off, len, "%s; run faultline-check --repair", text);
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

/* Is the table silent about `block`: its word damaged, or zeroed as if it had never been used? */
static bool
word_lost(struct heap_entry entry)
{
    return entry.damaged || (entry.state == HEAP_FREE && entry.generation == 0);
}

/* How many blocks behind `block` carry its generation as continuations; `lost`: or were lost by the table. */
static uint32_t
continuations(const struct loading *l, uint32_t block, uint32_t generation, bool lost)
{
    uint32_t n = 0;

    while (block + 1 + n < l->total) {
        const struct heap_entry entry = heap_entry_get(l->log->heap, block + 1 + n);

        if ((entry.state != HEAP_CONT || entry.generation != generation) &&
            !(lost && word_lost(entry))) {
            break;
        }
        n++;
    }
    return n;
}

static const struct log_header_media *
header_at(const struct loading *l, uint32_t block)
{
    return (const struct log_header_media *)(l->log->media->base + off_of(l, block));
}

static bool
header_valid(const struct loading *l, uint32_t block, uint32_t magic)
{
    const struct log_header_media *header = header_at(l, block);
    const uint64_t bytes = (uint64_t)bytes_get_le32(header->blocks) << l->log->block_shift;
    const uint64_t base_lsn = bytes_get_le64(header->base_lsn);

    return bytes_get_le32(header->magic) == magic && bytes > 0 && header->head < LOG_HEADS &&
           base_lsn < LOG_LSN_END && bytes <= LOG_LSN_END - base_lsn &&
           bytes_get_le32(header->crc) == log_header_crc(l->log, block, header);
}

/* What a segment's header says. */
struct header {
    uint64_t nonce, base_lsn, open_lsn;
    uint32_t generation, blocks;
    uint8_t head;
};

static struct header
header_read(const struct loading *l, uint32_t block)
{
    const struct log_header_media *header = header_at(l, block);

    return (struct header){
        .nonce = bytes_get_le64(header->nonce),
        .base_lsn = bytes_get_le64(header->base_lsn),
        .open_lsn = bytes_get_le64(header->open_lsn),
        .generation = bytes_get_le32(header->generation),
        .blocks = bytes_get_le32(header->blocks),
        .head = header->head,
    };
}

/* The header is lost: what the table knows is enough to read the frames. */
static struct header
header_of_note(const struct loading *l, uint32_t block, struct heap_entry entry)
{
    const struct heap_note note = heap_note_get(l->log->heap, block);

    return (struct header){
        .nonce = note.nonce,
        .base_lsn = note.base_lsn,
        .generation = entry.generation,
        .blocks = 1 + continuations(l, block, entry.generation, true),
        .head = entry.head,
    };
}

/* False: it is longer than the blocks that belong to it. */
static bool
segment_load(struct loading *l, uint32_t block, struct header header, bool blob)
{
    struct log *log = l->log;

    if (header.blocks - 1 > continuations(l, block, header.generation, l->load->salvage)) {
        return false;
    }
    struct log_segment *segment = &log->segments[block];

    log_segment_note(log, block, header.blocks, blob ? LOG_USE_BLOB : LOG_USE_LOG);
    segment->generation = header.generation;
    segment->nonce = header.nonce;
    segment->base_lsn = header.base_lsn;
    segment->open_lsn = header.open_lsn;
    segment->head = header.head;
    segment->end = log_segment_bytes(log, segment);
    segment->sealed = blob;
    atomic_store(&segment->live_bytes, blob ? segment->end : 0);
    const uint64_t lsn_end = segment->base_lsn + segment->end;

    if (!blob && lsn_end > atomic_load(&log->lsn_next)) {
        atomic_store(&log->lsn_next, lsn_end);
    }
    return true;
}

/* What a crash left behind: owned in the table, but never led to. log_load_finish() gives it back. */
static void
drop(struct loading *l, uint32_t block, uint32_t blocks)
{
    log_segment_note(l->log, block, blocks, LOG_USE_NONE);
    for (uint32_t i = 0; i < blocks; i++) {
        l->log->segments[block + i].dropped = true;
    }
}

/* The copy in the table is only wanted if the header is lost, so that damage to it is no reason to refuse the store. */
static void
note_check(struct loading *l, uint32_t block)
{
    const struct heap_note note = heap_note_get(l->log->heap, block);
    const struct log_segment *segment = &l->log->segments[block];

    if (note.nonce != segment->nonce || note.base_lsn != segment->base_lsn) {
        heap_report_finding(l->load->report, "table-note", off_of(l, block), 0,
                            "the segment table's copy of the header of block %u is damaged; run "
                            "faultline-check --repair",
                            block);
    }
}

/* Owned blocks have a header: it was durable before the table's word. */
static void
owned_load(struct loading *l, uint32_t block, struct heap_entry entry)
{
    const bool blob = entry.state == HEAP_BLOB;

    if (l->log->segments[block].use != LOG_USE_NONE) {
        return;
    }
    if (!header_valid(l, block, blob ? LOG_MAGIC_BLOB : LOG_MAGIC_LOG) ||
        bytes_get_le32(header_at(l, block)->generation) != entry.generation ||
        header_at(l, block)->head != entry.head) {
        damage(l, "segment-header", off_of(l, block), sizeof(struct log_header_media),
               "block %u is in use, but the header of its segment does not validate", block);
        if (l->load->salvage) {
            (void)segment_load(l, block, header_of_note(l, block, entry), blob);
        }
        return;
    }
    const struct header header = header_read(l, block);

    if (header.blocks - 1 > continuations(l, block, header.generation, false)) {
        damage(l, "segment-blocks", off_of(l, block), sizeof(struct log_header_media),
               "the table does not know all blocks of the segment at block %u", block);
    }
    if (segment_load(l, block, header, blob)) {
        note_check(l, block);
    }
}

/* A block of which the table says nothing. A header without anything behind it is a segment change that a crash cut
 * short; with frames behind it the table's word was lost. (A blob's word may follow its bytes: if a record names
 * it, the engine finds it missing.) */
static void
unowned_load(struct loading *l, uint32_t block, struct heap_entry entry)
{
    struct log *log = l->log;
    const bool blob = header_valid(l, block, LOG_MAGIC_BLOB);

    if (log->segments[block].use != LOG_USE_NONE ||
        (!blob && (!header_valid(l, block, LOG_MAGIC_LOG) ||
                   bytes_are_zero(log->media->base + off_of(l, block) + LOG_SEAL_OFF,
                                  log->block_bytes - LOG_SEAL_OFF)))) {
        return;
    }
    if (!blob && !entry.damaged) {
        damage(l, "table-word", off_of(l, block), sizeof(struct log_header_media),
               "block %u holds a segment of the log that the segment table does not know", block);
    }
    if (l->load->salvage && segment_load(l, block, header_read(l, block), blob)) {
        log->segments[block].adopted = !entry.damaged;
    }
}

static void
headers_load(struct loading *l)
{
    for (uint32_t block = 2; block < l->total; block++) {
        const struct heap_entry entry = heap_entry_get(l->log->heap, block);

        if (entry.state == HEAP_LOG || entry.state == HEAP_BLOB) {
            owned_load(l, block, entry);
        }
    }
    for (uint32_t block = 2; block < l->total; block++) {
        const struct heap_entry entry = heap_entry_get(l->log->heap, block);

        if (word_lost(entry)) {
            unowned_load(l, block, entry);
        }
    }
}

static uint64_t
word_at(const struct loading *l, uint32_t block, unsigned word_off)
{
    return bytes_get_le64(l->log->media->base + off_of(l, block) + word_off);
}

static void
seal_load(struct loading *l, uint32_t block)
{
    struct log *log = l->log;
    struct log_segment *segment = &log->segments[block];
    const uint64_t seal = word_at(l, block, LOG_SEAL_OFF);
    const uint64_t mark = word_at(l, block, LOG_MARK_OFF);
    uint64_t end = 0;

    if (mark != 0 && !log_tail_decode(log, segment, LOG_MARK_OFF, mark, &segment->marked)) {
        segment->marked = 0;
        damage(l, "mark-word", off_of(l, block) + LOG_MARK_OFF, sizeof(mark),
               "the mark of the segment at block %u does not validate", block);
    }
    if (seal == 0) {
        return;
    }
    if (!log_tail_decode(log, segment, LOG_SEAL_OFF, seal, &end)) {
        damage(l, "seal-word", off_of(l, block) + LOG_SEAL_OFF, sizeof(seal),
               "the seal of the segment at block %u does not validate", block);
        return;
    }
    segment->sealed = true;
    segment->end = end;
    if (end < segment->marked) {
        segment->end = segment->marked;
        damage(l, "seal-word", off_of(l, block) + LOG_SEAL_OFF, sizeof(seal),
               "the segment at block %u is sealed below its mark", block);
    }
}

/* A link must lead to the segment it was written for, or to one that was freed since (rule 7). */
static void
link_check(struct loading *l, uint32_t block)
{
    struct log *log = l->log;
    struct log_segment *segment = &log->segments[block];
    const uint64_t off = off_of(l, block) + LOG_LINK_OFF;
    const uint64_t link = word_at(l, block, LOG_LINK_OFF);
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
static void
orphan_check(struct loading *l, uint32_t block)
{
    struct log *log = l->log;
    const struct log_segment *segment = &log->segments[block];
    const uint64_t off = off_of(l, block);
    const struct log_header_media *header =
        (const struct log_header_media *)(log->media->base + off);
    const uint32_t prev = bytes_get_le32(header->prev_block);

    if (!header_valid(l, block, LOG_MAGIC_LOG)) {
        return; /* salvaged without it */
    }
    if (prev < 2 || prev >= l->total || log->segments[prev].use != LOG_USE_LOG ||
        log->segments[prev].generation != bytes_get_le32(header->prev_generation)) {
        return;
    }
    const uint64_t link = word_at(l, prev, LOG_LINK_OFF);

    if (link == (block | (uint64_t)segment->generation << 32)) {
        return;
    }
    if (!bytes_are_zero(log->media->base + off + LOG_SEAL_OFF,
                        (size_t)log_segment_bytes(log, segment) - LOG_SEAL_OFF)) {
        damage(l, "link-missing", off_of(l, prev) + LOG_LINK_OFF, sizeof(link),
               "the segment at block %u has frames, but block %u before it does not lead to it",
               block, prev);
        return;
    }
    drop(l, block, segment->blocks);
}

/* Blocks marked as the inside of a segment that isn't there. */
static void
continuations_check(struct loading *l)
{
    for (uint32_t block = 2; block < l->total; block++) {
        const struct heap_entry entry = heap_entry_get(l->log->heap, block);

        if (entry.state == HEAP_CONT && l->log->segments[block].use != LOG_USE_CONT) {
            drop(l, block, 1);
        }
    }
}

/* A clean close sealed every segment. What format leaves says the same of a log that isn't there yet, and may be all
 * that is left of the roots. */
static bool
closed_cleanly(const struct loading *l)
{
    struct heap_root root;

    heap_root_get(l->log->heap, &root);
    return (root.flags & HEAP_ROOT_CLEAN) != 0 && root.sequence > 1;
}

/* Each head goes on behind its newest segment; only that one may be open. */
static void
heads_load(struct loading *l)
{
    struct log *log = l->log;
    const bool clean = closed_cleanly(l);

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
            (clean || log->heads[segment->head].prev_block != block)) {
            damage(l, "segment-open", off_of(l, block) + LOG_SEAL_OFF, sizeof(uint64_t),
                   "the segment at block %u is open, but %s", block,
                   clean ? "the store was closed cleanly" : "not the newest of its head");
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
    const char *text = "";

    if (l == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "loading the log");
    }
    l->log = log;
    l->load = load;
    l->total = heap_blocks_total(log->heap);
    l->damaged = heap_damage(log->heap, &l->first_off, &text);
    snprintf(l->first_text, sizeof(l->first_text), "%s", text);
    headers_load(l);
    for (uint32_t block = 2; block < l->total; block++) {
        if (log->segments[block].use == LOG_USE_LOG) {
            seal_load(l, block);
        }
    }
    for (uint32_t block = 2; block < l->total; block++) {
        if (log->segments[block].use == LOG_USE_LOG) {
            orphan_check(l, block);
        }
    }
    for (uint32_t block = 2; block < l->total; block++) {
        if (log->segments[block].use == LOG_USE_LOG) {
            link_check(l, block);
        }
    }
    continuations_check(l);
    heads_load(l);
    *load->damaged = l->damaged;
    const fl_status status =
        l->damaged == 0 || load->salvage
            ? FL_OK
            : FL_FAIL(FL_CORRUPT, "at file offset %" PRIu64 ": %s; run faultline-check --repair",
                      l->first_off, l->first_text);

    free(l);
    return status;
}

fl_status
log_load_finish(struct log *log)
{
    const uint32_t total = heap_blocks_total(log->heap);
    struct pm pm;

    pm_init(&pm, log->media);
    for (uint32_t block = 2; block < total; block++) {
        if (!log->segments[block].dropped) {
            continue;
        }
        fl_status status = heap_disown_nofence(log->heap, &pm, block, 1);

        if (status == FL_OK) {
            /* order: free in the table before reuse; and the first block before those behind. */
            status = pm_drain(&pm);
        }
        if (status != FL_OK) {
            return status;
        }
        log->segments[block].dropped = false;
        heap_recycle(log->heap, block, 1);
    }
    return FL_OK;
}
