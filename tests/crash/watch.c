#include "tests/crash/watch.h"

#include "tests/lib/die.h"

#include <stdlib.h>
#include <string.h>

enum { WATCH_ALIGN = 64 };

struct watch watch_range;

/* A plain store that was announced. One: nobody else runs before it has been told. */
static struct {
    uint64_t off, len;
    unsigned flags;
} announced;
bool watch_announced;

static uint64_t
off_of(const void *at)
{
    return (uint64_t)((const uint8_t *)at - watch_range.base);
}

/* A range that begins inside and ends outside is a bug of the code under test. */
static uint64_t
len_of(const void *at, size_t len)
{
    if (len > watch_range.len - off_of(at)) {
        die("watch: %zu bytes at %p leave the file", len, at);
    }
    return len;
}

struct watch
watch_set(struct watch range)
{
    watch_settle();
    const struct watch before = watch_range;

    if ((uintptr_t)range.base % WATCH_ALIGN != 0) {
        die("watch: lines are told by address, so the file has to begin with one");
    }
    watch_range = range;
    return before;
}

struct watch
watch_shadowed(uint8_t *base, uint64_t len, const struct watch_ops *ops, void *context)
{
    uint8_t *shadow = malloc((size_t)len);

    if (shadow == NULL) {
        die("watch: no memory");
    }
    memcpy(shadow, base, (size_t)len);
    return (struct watch){base, len, shadow, ops, context};
}

void
watch_shadow_free(struct watch *range)
{
    free(range->shadow);
    range->shadow = NULL;
}

static void
tell_store(uint64_t off, uint64_t len, unsigned flags)
{
    if (watch_range.shadow != NULL) {
        memcpy(watch_range.shadow + off, watch_range.base + off, (size_t)len);
    }
    if (watch_range.ops->store != NULL) {
        watch_range.ops->store(watch_range.context, off, len, flags);
    }
}

void
watch_settle_slow(void)
{
    watch_announced = false;
    tell_store(announced.off, announced.len, announced.flags);
}

void
watch_expect(uint64_t off, uint64_t len, const void *src)
{
    watch_settle();
    if (watch_range.shadow != NULL && src != NULL) {
        memcpy(watch_range.shadow + off, src, (size_t)len);
    } else if (watch_range.shadow != NULL) {
        memset(watch_range.shadow + off, 0, (size_t)len);
    }
}

uint64_t
watch_check(void)
{
    watch_settle();
    if (watch_range.shadow == NULL ||
        memcmp(watch_range.shadow, watch_range.base, (size_t)watch_range.len) == 0) {
        return UINT64_MAX;
    }
    uint64_t off = 0;

    while (watch_range.shadow[off] == watch_range.base[off]) {
        off++;
    }
    memcpy(watch_range.shadow, watch_range.base, (size_t)watch_range.len);
    return off;
}

/* Not settled here: for a struct that is assigned gcc announces the store, then the load, then copies. */
void
watch_load_slow(const void *at, size_t len)
{
    if (!watch_announced) {
        baton_point();
    }
    if (watch_range.ops->load != NULL) {
        watch_range.ops->load(watch_range.context, off_of(at), len_of(at, len));
    }
}

void
watch_change_slow(void *at, size_t len)
{
    if (len > 0 && watch_range.ops->change != NULL) {
        watch_range.ops->change(watch_range.context, off_of(at), len_of(at, len));
    }
}

void
watch_store_slow(void *at, size_t len, unsigned flags)
{
    baton_point();
    watch_change_slow(at, len);
    announced.off = off_of(at);
    announced.len = len;
    announced.flags = flags;
    watch_announced = true;
}

void
watch_stored_slow(void *at, size_t len, unsigned flags)
{
    if (len > 0) {
        tell_store(off_of(at), len_of(at, len), flags);
    }
}

void
watch_flush(const void *at, size_t len)
{
    watch_settle();
    baton_point();
    if (len > 0 && watch_inside(at) && watch_range.ops->flush != NULL) {
        watch_range.ops->flush(watch_range.context, off_of(at), len_of(at, len));
    }
}

void
watch_fence(void)
{
    watch_settle();
    baton_point();
    if (watch_range.ops != NULL && watch_range.ops->fence != NULL) {
        watch_range.ops->fence(watch_range.context);
    }
}
