#include "tests/crash/media.h"

#include "tests/crash/hash.h"
#include "tests/lib/die.h"

#include <stdlib.h>
#include <string.h>

static void *
zeroed(size_t count, size_t unit)
{
    void *at = calloc(count > 0 ? count : 1, unit);

    if (at == NULL) {
        die("media: no memory");
    }
    return at;
}

static void *
grown(void *at, uint32_t *cap, size_t unit)
{
    *cap = *cap == 0 ? 64 : *cap * 2;
    at = realloc(at, *cap * unit);
    if (at == NULL) {
        die("media: no memory");
    }
    return at;
}

static uint64_t
exists_hash(uint64_t page)
{
    return hash_mix(page, UINT64_C(0x5851F42D4C957F2D));
}

void
media_init(struct media *media, const struct trace *trace, const struct media_options *options,
           const uint8_t *bytes, const uint8_t *exists, uint64_t size_bytes)
{
    const size_t max = (size_t)options->size_bytes_max;

    memset(media, 0, sizeof(*media));
    media->trace = trace;
    media->options = *options;
    media->word_bytes =
        options->mode == PM_STAGED ? (uint32_t)PM_SECTOR_BYTES : (uint32_t)sizeof(uint64_t);
    media->cell_bytes =
        options->mode == PM_STAGED ? (uint32_t)PM_SECTOR_BYTES : (uint32_t)PM_LINE_BYTES;
    media->size_bytes = size_bytes;
    media->pages = (uint32_t)(max / IMAGE_PAGE);
    media->base = zeroed(max, 1);
    media->now = zeroed(max, 1);
    media->exists = zeroed(media->pages, 1);
    media->punched = zeroed(media->pages, 1);
    media->active_of = zeroed(max / media->cell_bytes, sizeof(uint32_t));
    memcpy(media->base, bytes, max);
    memcpy(media->now, bytes, max);
    memcpy(media->exists, exists, media->pages);
    media->base_hash = hash_words(0, bytes, max);
    for (uint32_t page = 0; page < media->pages; page++) {
        media->base_hash += exists[page] ? exists_hash(page) : 0;
    }
}

void
media_deinit(struct media *media)
{
    for (uint32_t i = 0; i < media->active_count; i++) {
        free(media->active[i]);
    }
    for (uint32_t i = 0; i < media->spare_count; i++) {
        free(media->spare[i]);
    }
    free(media->active);
    free(media->spare);
    free(media->base);
    free(media->now);
    free(media->exists);
    free(media->punched);
    free(media->active_of);
    free(media->faults);
    mempool_free(&media->values);
}

/* ---- cells ---- */

static struct media_cell *
cell_get(struct media *media, uint64_t off)
{
    struct media_cell *cell = media_cell_at(media, off);

    if (cell != NULL) {
        return cell;
    }
    if (media->active_count == media->active_cap) {
        uint32_t cap = media->active_cap;

        media->active = grown(media->active, &media->active_cap, sizeof(media->active[0]));
        media->spare = grown(media->spare, &cap, sizeof(media->spare[0]));
    }
    cell = media->spare_count > 0 ? media->spare[--media->spare_count] : zeroed(1, sizeof(*cell));
    cell->off = off - off % media->cell_bytes;
    cell->count = 0;
    cell->group_last = 0;
    cell->barrier_last = 0;
    cell->decided = 0;
    cell->chosen = 0;
    cell->in = 0;
    cell->out = 0;
    memset(cell->flushed, 0, sizeof(cell->flushed));
    cell->place = media->active_count;
    media->active[media->active_count++] = cell;
    media->active_of[off / media->cell_bytes] = media->active_count;
    return cell;
}

static void
cell_drop(struct media *media, struct media_cell *cell)
{
    struct media_cell *last = media->active[--media->active_count];

    media->active_of[cell->off / media->cell_bytes] = 0;
    if (last != cell) {
        media->active[cell->place] = last;
        last->place = cell->place;
        media->active_of[last->off / media->cell_bytes] = last->place + 1;
    }
    media->spare[media->spare_count++] = cell;
}

/* Is the earlier entry on media whenever the later one is? */
static bool
goes_before(const struct media_entry *a, const struct media_entry *b)
{
    if (a->word == b->word) {
        return true;
    }
    if (a->past_cache || b->past_cache) {
        return false;
    }
    return a->group != b->group || (a->ordered && b->ordered);
}

static void
order_entry(struct media_cell *cell, uint32_t at)
{
    cell->before[at] = 0;
    cell->after[at] = 0;
    for (uint32_t i = 0; i < at; i++) {
        if (goes_before(&cell->entries[i], &cell->entries[at])) {
            cell->before[at] |= UINT64_C(1) << i | cell->before[i];
        }
    }
    for (uint32_t i = 0; i < at; i++) {
        if (cell->before[at] >> i & 1) {
            cell->after[i] |= UINT64_C(1) << at;
        }
    }
}

static void
base_write(struct media *media, uint64_t off, const uint8_t *value, size_t len)
{
    media->base_hash -= hash_words(off, media->base + off, len);
    memcpy(media->base + off, value, len);
    media->base_hash += hash_words(off, value, len);
}

static uint64_t
mask_moved(uint64_t mask, uint64_t gone)
{
    uint64_t moved = 0;
    unsigned to = 0;

    for (unsigned i = 0; i < MEDIA_ENTRIES_MAX; i++) {
        if (!(gone >> i & 1)) {
            moved |= (mask >> i & 1) << to++;
        }
    }
    return moved;
}

/* These entries, and what goes before them, are on media. True: the cell is gone. */
static bool
cell_guarantee(struct media *media, struct media_cell *cell, uint64_t entries)
{
    uint64_t gone = entries;
    uint32_t kept = 0;

    for (uint32_t i = 0; i < cell->count; i++) {
        gone |= entries >> i & 1 ? cell->before[i] : 0;
    }
    for (uint32_t i = 0; i < cell->count; i++) {
        const struct media_entry *entry = &cell->entries[i];

        if (gone >> i & 1) {
            base_write(media, cell->off + (uint64_t)entry->word * media->word_bytes, entry->value,
                       media->word_bytes);
        } else {
            cell->entries[kept++] = *entry;
        }
    }
    cell->count = kept;
    if (kept == 0) {
        cell_drop(media, cell);
        return true;
    }
    for (unsigned thread = 0; thread < MEDIA_THREADS_MAX; thread++) {
        cell->flushed[thread] = mask_moved(cell->flushed[thread], gone);
    }
    for (uint32_t i = 0; i < kept; i++) {
        order_entry(cell, i);
    }
    return false;
}

/* ---- events ---- */

static uint32_t
group_of(struct media *media, const struct media_cell *cell, const struct trace_event *event,
         uint32_t group)
{
    const uint64_t barrier = media->barriers[event->thread] << 3 | event->thread;
    const bool plain = (event->flags & (WATCH_RELEASE | WATCH_PAST_CACHE)) == 0;

    return media->options.weak && plain && cell->group_last != 0 && cell->barrier_last == barrier
               ? cell->group_last
               : group;
}

/* Whether it is on media or not, nothing differs. */
static bool
says_nothing_new(const struct media *media, uint64_t off)
{
    const struct media_cell *cell = media_cell_at(media, off);
    const uint64_t word = off % media->cell_bytes / media->word_bytes;

    for (uint32_t i = 0; cell != NULL && i < cell->count; i++) {
        if (cell->entries[i].word == word) {
            return false;
        }
    }
    return memcmp(media->base + off, media->now + off, media->word_bytes) == 0;
}

static void
entry_add(struct media *media, const struct trace_event *event, uint64_t off, uint32_t group)
{
    const bool past_cache = (event->flags & WATCH_PAST_CACHE) != 0;
    struct media_cell *cell = cell_get(media, off);
    uint8_t *value = mempool_take(&media->values, media->word_bytes);

    if (cell->count == MEDIA_ENTRIES_MAX) {
        media->coarse++;
        (void)cell_guarantee(media, cell, 1);
        cell = cell_get(media, off);
    }
    memcpy(value, media->now + off, media->word_bytes);
    const uint32_t at = cell->count++;

    cell->entries[at] = (struct media_entry){
        .value = value,
        .group = group_of(media, cell, event, group),
        .event = (uint32_t)media->at,
        .word = (uint8_t)(off % media->cell_bytes / media->word_bytes),
        .past_cache = past_cache,
        .ordered = (event->flags & (WATCH_ORDERED | WATCH_RELEASE)) != 0,
    };
    order_entry(cell, at);
    if (past_cache) {
        cell->flushed[event->thread] |= UINT64_C(1) << at;
    } else {
        cell->group_last = event->flags & WATCH_RELEASE ? 0 : cell->entries[at].group;
        cell->barrier_last = media->barriers[event->thread] << 3 | event->thread;
    }
}

static void
step_store(struct media *media, const struct trace_event *event)
{
    const uint32_t unit = media->word_bytes;
    const uint32_t group = ++media->groups;

    for (uint64_t page = event->off / IMAGE_PAGE; page * IMAGE_PAGE < event->off + event->len;
         page++) {
        media->stray += !media->exists[page] || media->punched[page];
    }
    memcpy(media->now + event->off, media->trace->bytes + event->data, (size_t)event->len);
    if (event->flags & WATCH_RELEASE) {
        media->barriers[event->thread]++;
    }
    for (uint64_t off = event->off - event->off % unit; off < event->off + event->len;
         off += unit) {
        if (!says_nothing_new(media, off)) {
            entry_add(media, event, off, group);
        }
    }
}

static void
step_flush(struct media *media, const struct trace_event *event)
{
    media->barriers[event->thread]++;
    for (uint64_t off = event->off - event->off % PM_LINE_BYTES; off < event->off + event->len;
         off += PM_LINE_BYTES) {
        struct media_cell *cell = media_cell_at(media, off);

        for (uint32_t i = 0; cell != NULL && i < cell->count; i++) {
            if (!cell->entries[i].past_cache) {
                cell->flushed[event->thread] |= UINT64_C(1) << i;
            }
        }
    }
}

static void
step_fence(struct media *media, const struct trace_event *event)
{
    media->barriers[event->thread]++;
    for (uint32_t i = 0; i < media->active_count;) {
        struct media_cell *cell = media->active[i];
        const uint64_t flushed = cell->flushed[event->thread];

        i += flushed != 0 && cell_guarantee(media, cell, flushed) ? 0 : 1;
    }
}

static void
sync_range(struct media *media, uint64_t off, uint64_t len)
{
    const uint64_t end = off + len;

    for (off -= off % media->cell_bytes; off < end; off += media->cell_bytes) {
        struct media_cell *cell = media_cell_at(media, off);

        if (cell != NULL) {
            (void)cell_guarantee(media, cell, UINT64_MAX >> (MEDIA_ENTRIES_MAX - cell->count));
        }
    }
}

static void
step_sync(struct media *media, const struct trace_event *event)
{
    if (event->all) {
        sync_range(media, 0, media->options.size_bytes_max);
        return;
    }
    uint64_t left = event->len;

    for (size_t i = media->at; i > 0 && left > 0; i--) {
        const struct trace_event *write = &media->trace->events[i - 1];

        if (!write->is_mark && write->kind == MEM_MAP_WRITE) {
            sync_range(media, write->off, write->len);
            left--;
        }
    }
}

static void
punched_set(struct media *media, uint32_t page, bool punched)
{
    media->punched_count += (uint32_t)punched - media->punched[page];
    media->punched[page] = punched;
}

/* The page is zeros on media, whatever was under way. */
static void
page_settle(struct media *media, uint32_t page, bool exists)
{
    const uint64_t off = (uint64_t)page * IMAGE_PAGE;

    sync_range(media, off, IMAGE_PAGE);
    media->base_hash -= hash_words(off, media->base + off, IMAGE_PAGE);
    memset(media->base + off, 0, IMAGE_PAGE);
    media->base_hash -= media->exists[page] ? exists_hash(page) : 0;
    media->base_hash += exists ? exists_hash(page) : 0;
    media->exists[page] = exists;
    punched_set(media, page, false);
}

static void
step_fault_in(struct media *media, const struct trace_event *event)
{
    const uint64_t end = event->off + event->len;

    if (media->options.plain) {
        if (media->faults_count == media->faults_cap) {
            media->faults = grown(media->faults, &media->faults_cap, sizeof(media->faults[0]));
        }
        media->faults[media->faults_count++] =
            (struct media_fault){event->off, event->len, media->size_bytes};
    }
    for (uint64_t off = event->off; off < end; off += IMAGE_PAGE) {
        page_settle(media, (uint32_t)(off / IMAGE_PAGE), true);
    }
    memset(media->now + event->off, 0, (size_t)event->len);
    if (media->size_bytes < end) {
        media->size_bytes = end;
    }
}

static void
step_punch(struct media *media, const struct trace_event *event)
{
    for (uint64_t off = event->off; off < event->off + event->len; off += IMAGE_PAGE) {
        const uint32_t page = (uint32_t)(off / IMAGE_PAGE);

        punched_set(media, page, media->exists[page]);
    }
    memset(media->now + event->off, 0, (size_t)event->len);
}

static void
step_sync_file(struct media *media)
{
    for (uint32_t page = 0; page < media->pages; page++) {
        if (media->punched[page]) {
            page_settle(media, page, false);
        }
    }
    media->faults_count = 0;
    sync_range(media, 0, media->options.size_bytes_max);
}

void
media_step(struct media *media)
{
    const struct trace_event *event = &media->trace->events[media->at];

    if (!event->is_mark) {
        switch (event->kind) {
        case MEM_MAP_STORE:
        case MEM_MAP_WRITE:
            step_store(media, event);
            break;
        case MEM_MAP_FLUSH:
            step_flush(media, event);
            break;
        case MEM_MAP_FENCE:
            step_fence(media, event);
            break;
        case MEM_MAP_SYNC:
            step_sync(media, event);
            break;
        case MEM_MAP_FAULT_IN:
            step_fault_in(media, event);
            break;
        case MEM_MAP_PUNCH:
            step_punch(media, event);
            break;
        case MEM_MAP_SYNC_FILE:
            step_sync_file(media);
            break;
        }
    }
    media->at++;
}

/* ---- what is undecided ---- */

static int
cell_compare(const void *a, const void *b)
{
    const struct media_cell *x = *(struct media_cell *const *)a;
    const struct media_cell *y = *(struct media_cell *const *)b;

    return (x->off > y->off) - (x->off < y->off);
}

static uint64_t
cell_hash(const struct media *media, const struct media_cell *cell)
{
    uint64_t hash = cell->off;

    for (uint32_t i = 0; i < cell->count; i++) {
        hash = hash_mix(hash, cell->before[i] << 4 | cell->entries[i].word);
        hash = hash_mix(hash, hash_bytes(cell->entries[i].value, media->word_bytes));
    }
    return hash;
}

uint64_t
media_list(struct media *media)
{
    uint64_t hash = hash_mix(media->base_hash, media->size_bytes);

    if (media->active_count > 1) {
        qsort(media->active, media->active_count, sizeof(media->active[0]), cell_compare);
    }
    for (uint32_t i = 0; i < media->active_count; i++) {
        struct media_cell *cell = media->active[i];

        cell->place = i;
        cell->rank = i;
        media->active_of[cell->off / media->cell_bytes] = i + 1;
        hash = hash_mix(hash, cell_hash(media, cell));
    }
    for (uint32_t page = 0; media->punched_count > 0 && page < media->pages; page++) {
        hash = media->punched[page] ? hash_mix(hash, page) : hash;
    }
    return hash_mix(hash, media->faults_count);
}
