/* Stands in for storage/persist/pm_flush.h when the persist layer is compiled a second time: the same functions, told
 * to watch.h instead of executed. Included before everything by the compiler's -include. */
#ifndef FL_STORAGE_PERSIST_PM_FLUSH_H
#define FL_STORAGE_PERSIST_PM_FLUSH_H

#include "storage/persist/pm.h"
#include "tests/crash/watch.h"

void crash_copy_past_cache(void *dst, const void *src, size_t len);

static inline enum pm_flush
pm_flush_choose(void)
{
    return PM_FLUSH_CLWB;
}

static inline void
pm_flush_line(enum pm_flush flush, void *addr)
{
    (void)flush;
    watch_flush((void *)((uintptr_t)addr & ~(uintptr_t)(PM_LINE_BYTES - 1)), PM_LINE_BYTES);
}

static inline void
pm_store_word(void *dst, uint64_t word)
{
    __atomic_store_n((uint64_t *)dst, word, __ATOMIC_RELEASE);
}

static inline void
pm_copy_lines_nt(uint8_t *dst, const uint8_t *src, size_t len)
{
    crash_copy_past_cache(dst, src, len);
}

static inline void
pm_sfence(void)
{
    watch_fence();
}

#endif
