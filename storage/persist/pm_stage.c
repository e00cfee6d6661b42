#include "storage/persist/pm_stage.h"

#include "base/fail.h"

#include <string.h>

static inline uint64_t
end_of(const struct pm_range *range)
{
    return range->off + range->len;
}

static inline const uint8_t *
src_end(const struct pm_range *range)
{
    return (const uint8_t *)range->src + range->len;
}

static void
range_remove(struct pm *pm, size_t at)
{
    pm->ranges_count--;
    memmove(&pm->ranges[at], &pm->ranges[at + 1], (pm->ranges_count - at) * sizeof(pm->ranges[0]));
}

static void
range_insert(struct pm *pm, size_t at, struct pm_range range)
{
    FL_ASSERT(pm->ranges_count < PM_RANGES_MAX);
    memmove(&pm->ranges[at + 1], &pm->ranges[at], (pm->ranges_count - at) * sizeof(pm->ranges[0]));
    pm->ranges[at] = range;
    pm->ranges_count++;
}

/* Take the bytes [off, end) away from every range; returns where a range of them belongs. Needs room
 * for one more range: the new one may lie within an old one. */
static size_t
carve(struct pm *pm, uint64_t off, uint64_t end)
{
    size_t i = pm->ranges_count;

    while (i > 0 && end_of(&pm->ranges[i - 1]) > off) {
        i--; /* Writes mostly ascend, so the search starts from the end. */
    }
    if (i < pm->ranges_count && pm->ranges[i].off < off) {
        struct pm_range *range = &pm->ranges[i];

        if (end_of(range) > end) {
            const size_t cut = (size_t)(end - range->off);
            const struct pm_range rest = {end, (const uint8_t *)range->src + cut, range->len - cut};

            range_insert(pm, i + 1, rest);
        }
        pm->ranges[i].len = (size_t)(off - pm->ranges[i].off);
        i++;
    }
    while (i < pm->ranges_count && end_of(&pm->ranges[i]) <= end) {
        range_remove(pm, i);
    }
    if (i < pm->ranges_count && pm->ranges[i].off < end) {
        struct pm_range *range = &pm->ranges[i];
        const size_t cut = (size_t)(end - range->off);

        range->off = end;
        range->src = (const uint8_t *)range->src + cut;
        range->len -= cut;
    }
    return i;
}

/* One range of two that touch in the file and in memory. */
static void
merge_at(struct pm *pm, size_t i)
{
    if (i + 1 < pm->ranges_count && end_of(&pm->ranges[i]) == pm->ranges[i + 1].off &&
        src_end(&pm->ranges[i]) == (const uint8_t *)pm->ranges[i + 1].src) {
        pm->ranges[i].len += pm->ranges[i + 1].len;
        range_remove(pm, i + 1);
    }
}

void
pm_stage_add(struct pm *pm, uint64_t off, const void *src, size_t len)
{
    const struct pm_range range = {off, src, len};

    if (pm->ranges_count > 0) {
        struct pm_range *last = &pm->ranges[pm->ranges_count - 1];

        if (end_of(last) == off && src_end(last) == (const uint8_t *)src) {
            last->len += len;
            return;
        }
    }
    if (pm->ranges_count + 2 > PM_RANGES_MAX) {
        pm_stage_spill(pm);
    }
    const size_t at = carve(pm, off, off + len);

    range_insert(pm, at, range);
    merge_at(pm, at);
    if (at > 0) {
        merge_at(pm, at - 1);
    }
}

void
pm_stage_add_word(struct pm *pm, uint64_t off, uint64_t word)
{
    /* Not later: a spill gives back the slots, this word's too. */
    if (pm->words_count == PM_RANGES_MAX || pm->ranges_count + 2 > PM_RANGES_MAX) {
        pm_stage_spill(pm);
    }
    uint64_t *slot = &pm->words[pm->words_count++];

    *slot = word;
    pm_stage_add(pm, off, slot, sizeof(*slot));
}

static fl_status
through(struct pm *pm, uint64_t off, const void *src, size_t len)
{
    if (pm->failed != FL_OK) {
        return pm->failed;
    }
    const fl_status status = pm->media->ops->write_through(pm->media->context, off, src, len);

    pm->through = true;
    if (status != FL_OK) {
        pm->failed = status;
    }
    return status;
}

fl_status
pm_stage_through(struct pm *pm, uint64_t off, const void *src, size_t len)
{
    if (pm->ranges_count + 1 > PM_RANGES_MAX) {
        pm_stage_spill(pm);
    }
    (void)carve(pm, off, off + len);
    return through(pm, off, src, len);
}

void
pm_stage_spill(struct pm *pm)
{
    for (size_t i = 0; i < pm->ranges_count; i++) {
        (void)through(pm, pm->ranges[i].off, pm->ranges[i].src, pm->ranges[i].len);
    }
    pm->ranges_count = 0;
    pm->words_count = 0;
}

fl_status
pm_stage_commit(struct pm *pm, bool all)
{
    if (pm->failed == FL_OK) {
        pm->failed = pm->media->ops->write_durable(pm->media->context, pm->ranges, pm->ranges_count,
                                                   all || pm->through);
    }
    pm->ranges_count = 0;
    pm->words_count = 0;
    pm->through = false;
    pm->dirty = false;
    return pm->failed;
}
