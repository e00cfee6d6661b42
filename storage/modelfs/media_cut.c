#include "storage/modelfs/media_internal.h"

#include "base/bytes.h"
#include "base/fail.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- what a power cut may leave ---- */

enum { NUMBER_LIVE = -1 }; /* of what is live: newer than any snapshot */

struct candidates {
    struct media_snapshot *list;
    size_t count;
    size_t capacity;
};

static bool
add_candidate(struct candidates *c, uint64_t off, uint64_t number, const void *bytes)
{
    if (c->count == c->capacity) {
        const size_t capacity = c->capacity == 0 ? 256 : c->capacity * 2;
        struct media_snapshot *list = mem_alloc(capacity * sizeof(*list));
        if (list == NULL) {
            return false;
        }
        if (c->count > 0) {
            memcpy(list, c->list, c->count * sizeof(*list));
        }
        mem_free(c->list);
        c->list = list;
        c->capacity = capacity;
    }
    c->list[c->count] = (struct media_snapshot){.off = off, .number = number};
    media_copy_line(&c->list[c->count].line, bytes);
    c->count++;
    return true;
}

static bool
still_pending(const struct mfs_media *media, const struct media_snapshot *s)
{
    return s->number > media->control->cut && s->number > *media_line_word(media, s->off) >> 1;
}

static bool
add_snapshots(struct mfs_media *media, struct candidates *c)
{
    bool room = true;

    (void)pthread_mutex_lock(&media->cpus_lock);
    for (struct mfs_cpu *cpu = media->cpus; cpu != NULL; cpu = cpu->next) {
        (void)pthread_mutex_lock(&cpu->lock);
        for (size_t i = 0; i < cpu->count && room; i++) {
            const struct media_snapshot *s = &cpu->pending[i];
            room = !still_pending(media, s) || add_candidate(c, s->off, s->number, &s->line);
        }
        (void)pthread_mutex_unlock(&cpu->lock);
    }
    (void)pthread_mutex_unlock(&media->cpus_lock);
    return room;
}

static bool
add_live_page(const struct mfs_media *media, struct candidates *c, uint64_t off)
{
    if (memcmp(media->live + off, media->persisted + off, MEDIA_PAGE_BYTES) == 0) {
        return true;
    }
    for (const uint64_t end = off + MEDIA_PAGE_BYTES; off < end; off += MFS_LINE_BYTES) {
        if (memcmp(media->live + off, media->persisted + off, MFS_LINE_BYTES) != 0 &&
            !add_candidate(c, off, (uint64_t)NUMBER_LIVE, media->live + off)) {
            return false;
        }
    }
    return true;
}

static bool
add_live(const struct mfs_media *media, struct candidates *c)
{
    uint64_t off = 0;
    uint64_t end;

    while (media_next_data(media, &off, &end)) {
        for (; off < end; off += MEDIA_PAGE_BYTES) {
            if (!add_live_page(media, c, off)) {
                return false;
            }
        }
    }
    return true;
}

static int
by_place_and_age(const void *a, const void *b)
{
    const struct media_snapshot *x = a;
    const struct media_snapshot *y = b;

    return x->off != y->off ? (x->off > y->off) - (x->off < y->off)
                            : (x->number > y->number) - (x->number < y->number);
}

static bool
is_among(const uint8_t (*values)[MFS_LINE_BYTES], unsigned count, const void *bytes)
{
    for (unsigned i = 0; i < count; i++) {
        if (memcmp(values[i], bytes, MFS_LINE_BYTES) == 0) {
            return true;
        }
    }
    return false;
}

/* One list entry for each place that may be left in more than one way. */
static bool
group(const struct mfs_media *media, const struct candidates *c, struct mfs_choices *out)
{
    const size_t list_bytes =
        bytes_align_up(c->count * sizeof(struct mfs_choice), sizeof(struct media_line));
    uint8_t *memory = mem_alloc(list_bytes + 2 * c->count * MFS_LINE_BYTES + 1);

    if (memory == NULL) {
        return false;
    }
    uint8_t(*values)[MFS_LINE_BYTES] = (void *)(memory + list_bytes);
    *out = (struct mfs_choices){.list = (void *)memory, .memory = memory};
    for (size_t i = 0; i < c->count;) {
        const uint64_t off = c->list[i].off;
        unsigned count = 1;
        media_copy_line(values[0], media->persisted + off);
        for (; i < c->count && c->list[i].off == off; i++) {
            if (!is_among(values, count, &c->list[i].line)) {
                media_copy_line(values[count++], &c->list[i].line);
            }
        }
        if (count > 1) {
            out->list[out->count++] =
                (struct mfs_choice){.off = off, .count = count, .values = values};
            values += count;
        }
    }
    return true;
}

fl_status
mfs_media_choices(struct mfs_media *media, struct mfs_choices *out)
{
    struct candidates c = {0};
    const bool room = add_snapshots(media, &c) && add_live(media, &c);

    if (room && c.count > 0) {
        qsort(c.list, c.count, sizeof(*c.list), by_place_and_age);
    }
    const bool grouped = room && group(media, &c, out);
    mem_free(c.list);
    return grouped ? FL_OK : FL_FAIL(FL_NO_MEMORY, "no memory for a power cut's choices");
}

void
mfs_choices_free(struct mfs_choices *choices)
{
    mem_free(choices->memory);
    *choices = (struct mfs_choices){0};
}

/* ---- the cut ---- */

static void
forget_pending(struct mfs_media *media)
{
    (void)pthread_mutex_lock(&media->cpus_lock);
    for (struct mfs_cpu *cpu = media->cpus; cpu != NULL; cpu = cpu->next) {
        (void)pthread_mutex_lock(&cpu->lock);
        cpu->count = 0;
        (void)pthread_mutex_unlock(&cpu->lock);
    }
    (void)pthread_mutex_unlock(&media->cpus_lock);
    /* Those of other processes stay with them, and are dropped by their fences. */
    media_lock(media);
    media->control->cut = ++media->control->numbers;
    media_unlock(media);
}

static void
copy_page_if_different(uint8_t *to, const uint8_t *from)
{
    if (memcmp(to, from, MEDIA_PAGE_BYTES) != 0) {
        memcpy(to, from, MEDIA_PAGE_BYTES);
    }
}

static void
live_from_persisted(struct mfs_media *media)
{
    uint64_t off = 0;
    uint64_t end;

    while (media_next_data(media, &off, &end)) {
        for (; off < end; off += MEDIA_PAGE_BYTES) {
            copy_page_if_different(media->live + off, media->persisted + off);
        }
    }
}

fl_status
mfs_media_cut(struct mfs_media *media, const struct mfs_choices *choices, const unsigned *picked)
{
    for (size_t i = 0; i < choices->count; i++) {
        const struct mfs_choice *choice = &choices->list[i];
        if (picked[i] >= choice->count || choice->off > media->size_bytes - MFS_LINE_BYTES) {
            return FL_FAIL(FL_INVALID, "value %u of line %" PRIu64 ", which has %u", picked[i],
                           choice->off, choice->count);
        }
    }
    forget_pending(media);
    for (size_t i = 0; i < choices->count; i++) {
        const struct mfs_choice *choice = &choices->list[i];
        if (picked[i] > 0) {
            media_copy_line(media->persisted + choice->off, choice->values[picked[i]]);
        }
    }
    live_from_persisted(media);
    return FL_OK;
}

/* SplitMix64: any seed will do. */
static uint64_t
next_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15U);

    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31);
}

static unsigned
pick_live(const struct mfs_media *media, const struct mfs_choice *choice)
{
    unsigned i = choice->count - 1;

    while (i > 0 && memcmp(choice->values[i], media->live + choice->off, MFS_LINE_BYTES) != 0) {
        i--;
    }
    return i;
}

fl_status
mfs_media_cut_random(struct mfs_media *media, uint64_t seed)
{
    struct mfs_choices choices;
    uint64_t state = seed;

    fl_status status = mfs_media_choices(media, &choices);
    if (status != FL_OK) {
        return status;
    }
    unsigned *picked = mem_alloc_zero((choices.count + 1) * sizeof(*picked));
    if (picked == NULL) {
        mfs_choices_free(&choices);
        return FL_FAIL(FL_NO_MEMORY, "no memory for a power cut");
    }
    for (size_t i = 0; i < choices.count && seed != 0; i++) {
        picked[i] = seed == UINT64_MAX ? pick_live(media, &choices.list[i])
                                       : (unsigned)(next_random(&state) % choices.list[i].count);
    }
    status = mfs_media_cut(media, &choices, picked);
    mem_free(picked);
    mfs_choices_free(&choices);
    return status;
}

/* ---- save and restore ---- */

struct saved_cpu {
    const struct mfs_cpu *cpu;
    size_t first;
    size_t count;
};

struct mfs_saved {
    uint64_t size_bytes;
    size_t cpus_count;
    struct saved_cpu *cpus;
    struct media_snapshot *pending;
    uint8_t *pages_saved; /* [pages] 1: not a hole */
    uint8_t *live;        /* of such pages only */
    uint8_t *persisted;
};

void
mfs_saved_free(struct mfs_saved *saved)
{
    if (saved != NULL) {
        mem_free(saved->cpus);
        mem_free(saved->pending);
        mem_free(saved->pages_saved);
        mem_free(saved->live);
        mem_free(saved->persisted);
        mem_free(saved);
    }
}

/* With the list's lock held. */
static bool
save_pending(struct mfs_media *media, struct mfs_saved *saved)
{
    size_t cpus = 0;
    size_t lines = 0;
    size_t at = 0;

    for (const struct mfs_cpu *cpu = media->cpus; cpu != NULL; cpu = cpu->next) {
        cpus++;
        lines += cpu->count;
    }
    saved->cpus = mem_alloc((cpus + 1) * sizeof(*saved->cpus));
    saved->pending = mem_alloc((lines + 1) * sizeof(*saved->pending));
    if (saved->cpus == NULL || saved->pending == NULL) {
        return false;
    }
    for (const struct mfs_cpu *cpu = media->cpus; cpu != NULL; cpu = cpu->next) {
        struct saved_cpu *to = &saved->cpus[saved->cpus_count++];
        *to = (struct saved_cpu){.cpu = cpu, .first = at};
        for (size_t i = 0; i < cpu->count; i++) {
            if (still_pending(media, &cpu->pending[i])) {
                saved->pending[at++] = cpu->pending[i];
            }
        }
        to->count = at - to->first;
    }
    return true;
}

static bool
save_pages(const struct mfs_media *media, struct mfs_saved *saved)
{
    const size_t size = (size_t)media->size_bytes;
    uint64_t off = 0;
    uint64_t end;

    saved->pages_saved = mem_alloc_zero(size / MEDIA_PAGE_BYTES);
    saved->live = mem_alloc(size);
    saved->persisted = mem_alloc(size);
    if (saved->pages_saved == NULL || saved->live == NULL || saved->persisted == NULL) {
        return false;
    }
    while (media_next_data(media, &off, &end)) {
        memset(saved->pages_saved + off / MEDIA_PAGE_BYTES, 1,
               (size_t)(end - off) / MEDIA_PAGE_BYTES);
        memcpy(saved->live + off, media->live + off, (size_t)(end - off));
        memcpy(saved->persisted + off, media->persisted + off, (size_t)(end - off));
        off = end;
    }
    return true;
}

fl_status
mfs_media_save(struct mfs_media *media, struct mfs_saved **out)
{
    struct mfs_saved *saved = mem_alloc_zero(sizeof(*saved));
    bool room = saved != NULL;

    if (room) {
        saved->size_bytes = media->size_bytes;
        (void)pthread_mutex_lock(&media->cpus_lock);
        room = save_pending(media, saved);
        (void)pthread_mutex_unlock(&media->cpus_lock);
    }
    if (!room || !save_pages(media, saved)) {
        mfs_saved_free(saved);
        return FL_FAIL(FL_NO_MEMORY, "no memory to save a device's state");
    }
    *out = saved;
    return FL_OK;
}

static int
by_age(const void *a, const void *b)
{
    const struct media_snapshot *const *x = a;
    const struct media_snapshot *const *y = b;

    return ((*x)->number > (*y)->number) - ((*x)->number < (*y)->number);
}

/* Snapshots that were pending are so again, with new numbers in the old order: what was published since then is not
 * newer than they are. */
static void
restore_pending(struct mfs_media *media, const struct mfs_saved *saved)
{
    size_t count = 0;

    for (struct mfs_cpu *cpu = media->cpus; cpu != NULL; cpu = cpu->next) {
        for (size_t i = 0; i < saved->cpus_count; i++) {
            const struct saved_cpu *from = &saved->cpus[i];
            if (from->cpu == cpu && from->count > 0) {
                FL_ASSERT(from->count <= cpu->capacity); /* it never shrinks */
                memcpy(cpu->pending, saved->pending + from->first,
                       from->count * sizeof(*cpu->pending));
                cpu->count = from->count;
                count += from->count;
            }
        }
    }
    if (count == 0) {
        return;
    }
    struct media_snapshot **order = mem_alloc(count * sizeof(struct media_snapshot *));
    FL_ASSERT(order != NULL);
    size_t at = 0;
    for (struct mfs_cpu *cpu = media->cpus; cpu != NULL; cpu = cpu->next) {
        for (size_t i = 0; i < cpu->count; i++) {
            order[at++] = &cpu->pending[i];
        }
    }
    qsort(order, count, sizeof(struct media_snapshot *), by_age);
    media_lock(media);
    for (size_t i = 0; i < count; i++) {
        order[i]->number = ++media->control->numbers;
        *media_line_word(media, order[i]->off) |= 1;
    }
    media_unlock(media);
    mem_free(order);
}

static void
clear_page(uint8_t *page)
{
    if (!bytes_are_zero(page, MEDIA_PAGE_BYTES)) {
        memset(page, 0, MEDIA_PAGE_BYTES);
    }
}

void
mfs_media_restore(struct mfs_media *media, const struct mfs_saved *saved)
{
    uint64_t off = 0;
    uint64_t end;

    FL_ASSERT(saved->size_bytes == media->size_bytes);
    forget_pending(media);
    while (media_next_data(media, &off, &end)) {
        for (; off < end; off += MEDIA_PAGE_BYTES) {
            if (saved->pages_saved[off / MEDIA_PAGE_BYTES] == 0) {
                clear_page(media->live + off);
                clear_page(media->persisted + off);
            }
        }
    }
    for (off = 0; off < media->size_bytes; off += MEDIA_PAGE_BYTES) {
        if (saved->pages_saved[off / MEDIA_PAGE_BYTES] != 0) {
            copy_page_if_different(media->live + off, saved->live + off);
            copy_page_if_different(media->persisted + off, saved->persisted + off);
        }
    }
    (void)pthread_mutex_lock(&media->cpus_lock);
    restore_pending(media, saved);
    (void)pthread_mutex_unlock(&media->cpus_lock);
}
