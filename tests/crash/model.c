#include "tests/crash/model.h"

#include "tests/lib/die.h"

#include <stdlib.h>
#include <string.h>

uint64_t
model_mix(uint64_t a, uint64_t b)
{
    uint64_t z = a * UINT64_C(0x9E3779B97F4A7C15) ^ b;

    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static void *
zeroed(size_t count, size_t unit)
{
    void *at = calloc(count > 0 ? count : 1, unit);

    if (at == NULL) {
        die("model: no memory");
    }
    return at;
}

static void *
grown(void *at, uint32_t *cap, size_t unit)
{
    const uint32_t old = *cap;

    *cap = old == 0 ? 64 : old * 2;
    at = realloc(at, *cap * unit);
    if (at == NULL) {
        die("model: no memory");
    }
    memset((uint8_t *)at + old * unit, 0, (*cap - old) * unit);
    return at;
}

void
model_init(struct model *model, const struct trace *trace, enum pm_mode mode,
           uint64_t size_bytes_max, bool plain)
{
    memset(model, 0, sizeof(*model));
    model->trace = trace;
    model->plain = plain;
    model->unit_bytes = mode == PM_STAGED ? (uint32_t)PM_SECTOR_BYTES : (uint32_t)sizeof(uint64_t);
    model->size_bytes_max = size_bytes_max;
    model->pages = (uint32_t)(size_bytes_max / IMAGE_PAGE);
    model->units = (uint32_t)(size_bytes_max / model->unit_bytes);
    model->base = zeroed(size_bytes_max, 1);
    model->now = zeroed(size_bytes_max, 1);
    model->exists = zeroed(model->pages, 1);
    model->punched = zeroed(model->pages, 1);
    model->pend_of = zeroed(model->units, sizeof(uint32_t));
}

void
model_deinit(struct model *model)
{
    for (uint32_t i = 0; i < model->pends_cap; i++) {
        free(model->pends[i].values);
    }
    free(model->pends);
    free(model->base);
    free(model->now);
    free(model->exists);
    free(model->punched);
    free(model->pend_of);
    free(model->faults);
    free(model->items);
}

void
model_start(struct model *model, const uint8_t *bytes, const uint8_t *exists, uint64_t size_bytes)
{
    memcpy(model->base, bytes, (size_t)model->size_bytes_max);
    memcpy(model->now, bytes, (size_t)model->size_bytes_max);
    memcpy(model->exists, exists, model->pages);
    model->size_bytes = size_bytes;
}

/* ---- units ---- */

static struct model_pend *
pend_get(struct model *model, uint32_t unit)
{
    if (model->pend_of[unit] == 0) {
        if (model->pends_count == model->pends_cap) {
            model->pends = grown(model->pends, &model->pends_cap, sizeof(model->pends[0]));
        }
        struct model_pend *pend = &model->pends[model->pends_count++];

        pend->unit = unit;
        pend->count = 0;
        pend->flushed = 0;
        model->pend_of[unit] = model->pends_count;
    }
    return &model->pends[model->pend_of[unit] - 1];
}

static void
pend_drop(struct model *model, uint32_t index)
{
    struct model_pend *pend = &model->pends[index];
    struct model_pend *last = &model->pends[model->pends_count - 1];
    const struct model_pend gone = *pend;

    model->pend_of[gone.unit] = 0;
    if (pend != last) {
        *pend = *last;
        model->pend_of[pend->unit] = index + 1;
        *last = gone; /* keeps its buffer */
    }
    model->pends_count--;
}

/* The unit has a new version: what `now` says. */
static void
unit_changed(struct model *model, uint32_t unit)
{
    const size_t bytes = model->unit_bytes;
    const uint8_t *value = model->now + unit * bytes;
    struct model_pend *pend = pend_get(model, unit);

    if (pend->count == pend->cap) {
        pend->values = grown(pend->values, &pend->cap, bytes);
    }
    memcpy(pend->values + pend->count * bytes, value, bytes);
    pend->count++;
}

/* The first `count` versions are on media. True: the pend is gone. */
static bool
unit_guarantee(struct model *model, uint32_t index, uint32_t count)
{
    struct model_pend *pend = &model->pends[index];
    const size_t bytes = model->unit_bytes;

    if (count == 0) {
        return false;
    }
    memcpy(model->base + pend->unit * bytes, pend->values + (count - 1) * bytes, bytes);
    pend->count -= count;
    pend->flushed = 0;
    memmove(pend->values, pend->values + count * bytes, pend->count * bytes);
    if (pend->count > 0) {
        return false;
    }
    pend_drop(model, index);
    return true;
}

/* ---- events ---- */

static void
step_store(struct model *model, const struct trace_event *event)
{
    const uint32_t first = (uint32_t)(event->off / model->unit_bytes);
    const uint32_t last = (uint32_t)((event->off + event->len - 1) / model->unit_bytes);

    memcpy(model->now + event->off, model->trace->bytes + event->data, (size_t)event->len);
    for (uint32_t unit = first; unit <= last; unit++) {
        unit_changed(model, unit);
    }
}

static void
step_flush(struct model *model, const struct trace_event *event)
{
    const uint32_t per_line = PM_LINE_BYTES / model->unit_bytes;
    const uint32_t first = (uint32_t)(event->off / PM_LINE_BYTES) * per_line;
    const uint32_t end = (uint32_t)((event->off + event->len - 1) / PM_LINE_BYTES + 1) * per_line;

    for (uint32_t unit = first; unit < end; unit++) {
        if (model->pend_of[unit] != 0) {
            struct model_pend *pend = &model->pends[model->pend_of[unit] - 1];

            pend->flushed = pend->count;
            pend->thread = event->thread;
        }
    }
}

static void
step_fence(struct model *model, const struct trace_event *event)
{
    for (uint32_t i = 0; i < model->pends_count;) {
        const struct model_pend *pend = &model->pends[i];
        const bool ours = pend->flushed > 0 && pend->thread == event->thread;

        i += ours && unit_guarantee(model, i, pend->flushed) ? 0 : 1;
    }
}

static void
sync_range(struct model *model, uint64_t off, uint64_t len)
{
    for (uint64_t unit = off / model->unit_bytes; unit * model->unit_bytes < off + len; unit++) {
        const uint32_t pend = model->pend_of[unit];

        if (pend != 0) {
            (void)unit_guarantee(model, pend - 1, model->pends[pend - 1].count);
        }
    }
}

static void
step_sync(struct model *model, const struct trace_event *event)
{
    if (event->all) {
        sync_range(model, 0, model->size_bytes_max);
        return;
    }
    uint64_t left = event->len;

    for (size_t i = model->at; i > 0 && left > 0; i--) {
        const struct trace_event *write = &model->trace->events[i - 1];

        if (!write->is_mark && write->kind == MEM_MAP_WRITE) {
            sync_range(model, write->off, write->len);
            left--;
        }
    }
}

/* The page is these bytes on media, whatever was under way. */
static void
page_settle(struct model *model, uint32_t page, bool exists)
{
    const uint64_t off = (uint64_t)page * IMAGE_PAGE;

    sync_range(model, off, IMAGE_PAGE);
    memset(model->base + off, 0, IMAGE_PAGE);
    model->exists[page] = exists;
    model->punched[page] = 0;
}

static void
step_fault_in(struct model *model, const struct trace_event *event)
{
    const uint64_t end = event->off + event->len;

    if (model->plain) {
        if (model->faults_count == model->faults_cap) {
            model->faults = grown(model->faults, &model->faults_cap, sizeof(model->faults[0]));
        }
        model->faults[model->faults_count++] =
            (struct model_fault){event->off, event->len, model->size_bytes};
    }
    for (uint64_t off = event->off; off < end; off += IMAGE_PAGE) {
        page_settle(model, (uint32_t)(off / IMAGE_PAGE), true);
    }
    memset(model->now + event->off, 0, (size_t)event->len);
    if (model->size_bytes < end) {
        model->size_bytes = end;
    }
}

static void
step_punch(struct model *model, const struct trace_event *event)
{
    for (uint64_t off = event->off; off < event->off + event->len; off += IMAGE_PAGE) {
        const uint32_t page = (uint32_t)(off / IMAGE_PAGE);

        model->punched[page] = model->exists[page];
    }
    memset(model->now + event->off, 0, (size_t)event->len);
}

static void
step_sync_file(struct model *model)
{
    for (uint32_t page = 0; page < model->pages; page++) {
        if (model->punched[page]) {
            page_settle(model, page, false);
        }
    }
    model->faults_count = 0;
    sync_range(model, 0, model->size_bytes_max);
}

void
model_step(struct model *model)
{
    const struct trace_event *event = &model->trace->events[model->at];

    if (!event->is_mark) {
        switch (event->kind) {
        case MEM_MAP_STORE:
        case MEM_MAP_WRITE:
            step_store(model, event);
            break;
        case MEM_MAP_FLUSH:
            step_flush(model, event);
            break;
        case MEM_MAP_FENCE:
            step_fence(model, event);
            break;
        case MEM_MAP_SYNC:
            step_sync(model, event);
            break;
        case MEM_MAP_FAULT_IN:
            step_fault_in(model, event);
            break;
        case MEM_MAP_PUNCH:
            step_punch(model, event);
            break;
        case MEM_MAP_SYNC_FILE:
            step_sync_file(model);
            break;
        }
    }
    model->at++;
}

/* ---- what is undecided ---- */

static uint64_t
hash_bytes(uint64_t off, const uint8_t *bytes, size_t len)
{
    uint64_t hash = 0;

    for (size_t i = 0; i < len; i += sizeof(uint64_t)) {
        uint64_t word;

        memcpy(&word, bytes + i, sizeof(word));
        hash += word != 0 ? model_mix(off + i, word) : 0;
    }
    return hash;
}

static uint64_t
hash_exists(uint64_t page)
{
    return model_mix(page, UINT64_C(0x5851F42D4C957F2D));
}

static void
item_add(struct model *model, enum model_item_kind kind, uint32_t index, uint32_t choices,
         uint32_t line)
{
    if (model->items_count == model->items_cap) {
        model->items = grown(model->items, &model->items_cap, sizeof(model->items[0]));
    }
    struct model_item *item = &model->items[model->items_count++];

    item->kind = kind;
    item->index = index;
    item->choices = choices;
    item->line = line;
    model->states = model->states > UINT64_MAX / choices ? UINT64_MAX : model->states * choices;
}

static bool
differs_from_base(const struct model *model, const struct model_pend *pend)
{
    const size_t bytes = model->unit_bytes;

    for (uint32_t v = 0; v < pend->count; v++) {
        if (memcmp(pend->values + v * bytes, model->base + pend->unit * bytes, bytes) != 0) {
            return true;
        }
    }
    return false;
}

static int
pend_compare(const void *a, const void *b)
{
    const struct model_item *x = a;
    const struct model_item *y = b;

    return x->line != y->line ? (x->line > y->line) - (x->line < y->line)
                              : (x->index > y->index) - (x->index < y->index);
}

void
model_list(struct model *model)
{
    model->items_count = 0;
    model->states = 1;
    for (uint32_t unit = 0; model->pends_count > 0 && unit < model->units; unit++) {
        const uint32_t i = model->pend_of[unit];

        if (i != 0 && differs_from_base(model, &model->pends[i - 1])) {
            item_add(model, MODEL_UNIT, i - 1, model->pends[i - 1].count + 1,
                     (uint32_t)((uint64_t)unit * model->unit_bytes / PM_LINE_BYTES));
        }
    }
    for (uint32_t page = 0; page < model->pages; page++) {
        if (model->punched[page]) {
            item_add(model, MODEL_PUNCH, page, 2, UINT32_MAX - 1);
        }
    }
    if (model->faults_count > 0) {
        item_add(model, MODEL_LOST, 0, model->faults_count + 1, UINT32_MAX);
    }
    if (model->items_count > 0) {
        qsort(model->items, model->items_count, sizeof(model->items[0]), pend_compare);
    }
    model->lines = 0;
    for (uint32_t i = 0; i < model->items_count; i++) {
        model->lines += i == 0 || model->items[i].line != model->items[i - 1].line;
    }
    model->base_hash =
        hash_bytes(0, model->base, (size_t)model->size_bytes_max) + model_mix(model->size_bytes, 1);
    for (uint32_t page = 0; page < model->pages; page++) {
        model->base_hash += model->exists[page] ? hash_exists(page) : 0;
    }
}

static uint64_t
apply_unit(const struct model *model, const struct model_item *item, uint32_t pick,
           struct image *image)
{
    const struct model_pend *pend = &model->pends[item->index];
    const size_t bytes = model->unit_bytes;
    const uint64_t off = (uint64_t)pend->unit * bytes;
    const uint8_t *value = pend->values + (pick - 1) * bytes;

    image_poke(image, off, value, bytes);
    return hash_bytes(off, value, bytes) - hash_bytes(off, model->base + off, bytes);
}

static uint64_t
apply_hole(struct image *image, uint64_t page)
{
    if (!image->exists[page]) {
        return 0;
    }
    const uint64_t hash =
        hash_bytes(page * IMAGE_PAGE, image->bytes + page * IMAGE_PAGE, IMAGE_PAGE) +
        hash_exists(page);

    image_poke_hole(image, page);
    return hash;
}

uint64_t
model_apply(const struct model *model, const uint32_t *picks, struct image *image)
{
    uint64_t hash = model->base_hash;

    for (uint32_t i = 0; i < model->items_count; i++) {
        if (picks[i] > 0 && model->items[i].kind == MODEL_UNIT) {
            hash += apply_unit(model, &model->items[i], picks[i], image);
        }
    }
    for (uint32_t i = 0; i < model->items_count; i++) {
        const struct model_item *item = &model->items[i];

        if (picks[i] > 0 && item->kind == MODEL_PUNCH) {
            hash -= apply_hole(image, item->index);
        }
        if (picks[i] > 0 && item->kind == MODEL_LOST) {
            /* The last picks[i] of them are lost. */
            for (uint32_t f = model->faults_count; f > model->faults_count - picks[i]; f--) {
                const struct model_fault *fault = &model->faults[f - 1];

                for (uint64_t off = fault->off; off < fault->off + fault->len; off += IMAGE_PAGE) {
                    hash -= apply_hole(image, off / IMAGE_PAGE);
                }
                hash += model_mix(fault->size_before, 1) - model_mix(image->size_bytes, 1);
                image->size_bytes = fault->size_before;
            }
        }
    }
    return hash;
}
