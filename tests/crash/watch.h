/* What instrumented code does to one range of memory: the file under test.
 *
 * The storage sources are compiled a second time with -fsanitize=thread and linked without it: the calls that the
 * compiler puts before each load and store end here (hooks_tsan.c), so do memcpy and its kin, redirected in the objects
 * (hooks_libc.c), and flushes, NT stores and fences (hooks_flush.h). Nothing of this is in what is shipped.
 *
 * Invariants:
 *   - `change` is told before bytes change, `load` before they are read: both may rewrite them.
 *   - `store` is told after the bytes have changed. The compiler's hook comes before a plain store, which therefore is
 *     told when the thread next does anything but load.
 *   - With a shadow, watch_check() finds a byte that changed without having been told.
 * One range at a time in a process; any number of threads while only one of them runs (baton.h).
 */
#ifndef FL_TESTS_CRASH_WATCH_H
#define FL_TESTS_CRASH_WATCH_H

#include "tests/crash/baton.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum watch_flag {
    WATCH_RELEASE = 1,    /* an atomic store with release or stronger: a barrier for the compiler */
    WATCH_ORDERED = 2,    /* atomic or volatile: not merged with its neighbours */
    WATCH_BULK = 4,       /* memcpy, a struct: words in any order */
    WATCH_PAST_CACHE = 8, /* an NT store */
};

/* Each may be NULL. */
struct watch_ops {
    void (*load)(void *context, uint64_t off, uint64_t len);
    void (*change)(void *context, uint64_t off, uint64_t len);
    void (*store)(void *context, uint64_t off, uint64_t len, unsigned flags);
    void (*flush)(void *context, uint64_t off, uint64_t len);
    void (*fence)(void *context);
};

struct watch {
    uint8_t *base;
    uint64_t len;
    uint8_t *shadow; /* NULL: none */
    const struct watch_ops *ops;
    void *context;
};

/* The range, for the hooks. */
extern struct watch watch_range;

/* Watch a range instead of the present one, which is returned: nested uses put it back. Unwatched: all zeros. */
struct watch watch_set(struct watch range);

/* A range with a shadow made of what it holds now; watch_shadow_free() gives it back. */
struct watch watch_shadowed(uint8_t *base, uint64_t len, const struct watch_ops *ops,
                            void *context);
void watch_shadow_free(struct watch *range);

/* Tell a plain store that is still to be told. */
extern bool watch_announced;
void watch_settle_slow(void);

static inline void
watch_settle(void)
{
    if (watch_announced) {
        watch_settle_slow();
    }
}

/* Bytes are about to be changed, to `src` (NULL: zeros), by what is no store of the code under test: a kernel. */
void watch_expect(uint64_t off, uint64_t len, const void *src);

/* The first offset that changed without having been told, UINT64_MAX: none. */
uint64_t watch_check(void);

/* Called by the hooks. */
void watch_load_slow(const void *at, size_t len);
void watch_store_slow(void *at, size_t len, unsigned flags);
void watch_change_slow(void *at, size_t len);
void watch_stored_slow(void *at, size_t len, unsigned flags);
void watch_flush(const void *at, size_t len);
void watch_fence(void);

static inline bool
watch_inside(const void *at)
{
    return (uint64_t)((uintptr_t)at - (uintptr_t)watch_range.base) < watch_range.len;
}

static inline void
watch_load(const void *at, size_t len)
{
    if (__builtin_expect(watch_inside(at), 0)) {
        watch_load_slow(at, len);
    }
}

/* Before a store that the hook does not make itself. */
static inline void
watch_store_soon(void *at, size_t len, unsigned flags)
{
    watch_settle();
    if (__builtin_expect(watch_inside(at), 0)) {
        watch_store_slow(at, len, flags);
    }
}

/* Before and after one that it does. Another thread may take over before it. */
static inline void
watch_change_now(void *at, size_t len)
{
    watch_settle();
    baton_point();
    if (__builtin_expect(watch_inside(at), 0)) {
        watch_change_slow(at, len);
    }
}

static inline void
watch_stored(void *at, size_t len, unsigned flags)
{
    if (__builtin_expect(watch_inside(at), 0)) {
        watch_stored_slow(at, len, flags);
    }
}

#endif
