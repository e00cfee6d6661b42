#include "storage/persist/pm.h"

#include "storage/persist/pm_flush.h"
#include "storage/persist/pm_stage.h"

#include "base/bytes.h"
#include "base/fail.h"

#include <string.h>

/* One writer, so a plain addition would do; relaxed atomics let others read while it counts. */
static inline void
count(_Atomic(uint64_t) *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

static inline uint64_t
lines_of(uint64_t off, uint64_t len)
{
    return (bytes_align_up(off + len, PM_LINE_BYTES) - bytes_align_down(off, PM_LINE_BYTES)) /
           PM_LINE_BYTES;
}

static inline void
check_range(const struct pm *pm, uint64_t off, size_t len)
{
    FL_ASSERT(off <= pm->media->size_bytes_max && len <= pm->media->size_bytes_max - off);
}

void
pm_init(struct pm *pm, const struct pm_media *media)
{
    memset(pm, 0, sizeof(*pm));
    pm->media = media;
    /* Asking the processor takes microseconds in a virtual machine; only direct media flush by themselves. */
    pm->flush = media->eadr                ? PM_FLUSH_NONE
                : media->mode == PM_DIRECT ? pm_flush_choose()
                                           : PM_FLUSH_CLFLUSH;
    pm->failed = FL_OK;
}

static void
direct_write(struct pm *pm, uint64_t off, const uint8_t *src, size_t len)
{
    uint8_t *dst = pm->media->base_store + off;

    if (pm->flush == PM_FLUSH_NONE) {
        memcpy(dst, src, len);
        return;
    }
    const size_t lines = lines_of(off, len);
    const size_t head_max = (size_t)(bytes_align_up(off, PM_LINE_BYTES) - off);
    const size_t head = head_max < len ? head_max : len;
    const size_t whole = (len - head) & ~(size_t)(PM_LINE_BYTES - 1);
    const size_t tail = len - head - whole;

    if (head > 0) {
        memcpy(dst, src, head);
        pm_flush_line(pm->flush, dst);
    }
    if (whole > 0) {
        pm_copy_lines_nt(dst + head, src + head, whole);
    }
    if (tail > 0) {
        memcpy(dst + head + whole, src + head + whole, tail);
        pm_flush_line(pm->flush, dst + head + whole);
    }
    count(&pm->counts.lines, lines);
}

static void
hooked_write(struct pm *pm, uint64_t off, const void *src, size_t len)
{
    const struct pm_media *media = pm->media;

    media->ops->store(media->context, off, src, len, false);
    if (pm->flush != PM_FLUSH_NONE) {
        media->ops->flush(media->context, off, len);
        count(&pm->counts.lines, lines_of(off, len));
    }
}

void
pm_write_nofence(struct pm *pm, uint64_t off, const void *src, size_t len)
{
    check_range(pm, off, len);
    if (len == 0) {
        return;
    }
    pm->dirty = true;
    switch (pm->media->mode) {
    case PM_DIRECT:
        direct_write(pm, off, src, len);
        break;
    case PM_STAGED:
        pm_stage_add(pm, off, src, len);
        break;
    case PM_HOOKED:
        hooked_write(pm, off, src, len);
        break;
    }
}

static void
store_word(const struct pm_media *media, uint64_t off, uint64_t word)
{
    if (media->mode == PM_DIRECT) {
        pm_store_word(media->base_store + off, word);
    } else {
        media->ops->store(media->context, off, &word, sizeof(word), true);
    }
}

void
pm_store_words_nofence(struct pm *pm, uint64_t off, const uint64_t *values, size_t words)
{
    const struct pm_media *media = pm->media;
    const size_t len = words * sizeof(*values);

    check_range(pm, off, len);
    FL_ASSERT(off % sizeof(*values) == 0 && words > 0 && lines_of(off, len) == 1);
    pm->dirty = true;
    for (size_t i = 0; i < words; i++) {
        const uint64_t at = off + i * sizeof(*values);
        if (media->mode == PM_STAGED) {
            pm_stage_add_word(pm, at, htole64(values[i]));
        } else {
            store_word(media, at, htole64(values[i]));
        }
    }
    if (media->mode == PM_STAGED || pm->flush == PM_FLUSH_NONE) {
        return;
    }
    if (media->mode == PM_DIRECT) {
        pm_flush_line(pm->flush, media->base_store + off);
    } else {
        media->ops->flush(media->context, off, len);
    }
    count(&pm->counts.lines, 1);
}

void
pm_store_u64_nofence(struct pm *pm, uint64_t off, uint64_t value)
{
    pm_store_words_nofence(pm, off, &value, 1);
}

fl_status
pm_write_through_nofence(struct pm *pm, uint64_t off, const void *src, size_t len)
{
    if (pm->media->mode != PM_STAGED) {
        pm_write_nofence(pm, off, src, len);
        return pm->failed;
    }
    check_range(pm, off, len);
    if (len == 0) {
        return pm->failed;
    }
    pm->dirty = true;
    return pm_stage_through(pm, off, src, len);
}

/* Make this thread's flushed lines and NT stores durable. The caller says what for. */
static void
fence(struct pm *pm)
{
    if (pm->media->mode == PM_HOOKED) {
        pm->media->ops->fence(pm->media->context);
    } else {
        /* order: every flush and NT store of this thread before whatever follows. Only a fence
         * makes them durable, and only the fence of the thread that issued them. */
        pm_sfence();
    }
    count(&pm->counts.fences, 1);
}

fl_status
pm_drain(struct pm *pm)
{
    if (!pm->dirty) {
        return pm->failed;
    }
    if (pm->media->mode == PM_STAGED) {
        count(&pm->counts.syncs, 1);
        return pm_stage_commit(pm, false);
    }
    /* order: what was written before the return. The caller acknowledges or links it then. */
    fence(pm);
    pm->dirty = false;
    return pm->failed;
}

fl_status
pm_drain_all(struct pm *pm)
{
    if (pm->media->mode != PM_STAGED) {
        return pm_drain(pm);
    }
    count(&pm->counts.syncs, 1);
    return pm_stage_commit(pm, true);
}

void
pm_handoff(struct pm *pm)
{
    if (!pm->dirty) {
        return;
    }
    if (pm->media->mode == PM_STAGED) {
        pm_stage_spill(pm);
        pm->through = false; /* Another's pm_drain_all() answers for it. */
    } else {
        /* order: this thread's stores before another thread's commit of them. Its fence can't
         * cover ours. */
        fence(pm);
    }
    pm->dirty = false;
}

const char *
pm_instructions(bool eadr)
{
    switch (eadr ? PM_FLUSH_NONE : pm_flush_choose()) {
    case PM_FLUSH_CLWB:
        return "clwb, NT stores";
    case PM_FLUSH_CLFLUSHOPT:
        return "clflushopt, NT stores";
    case PM_FLUSH_CLFLUSH:
        return "clflush, NT stores";
    case PM_FLUSH_NONE:
        break;
    }
    return "eADR, sfence";
}
