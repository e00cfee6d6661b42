/* The instructions: write a line back, copy past the cache, fence. Internal to persist/.
 *
 * x86-64 only, on purpose: the crash model that everything above is checked under (8-byte words never torn, stores
 * to one line durable in order, a flush guaranteed by the same thread's sfence) is x86's. A port starts with a
 * model of its own, not with a library's portable flush.
 */
#ifndef FL_STORAGE_PERSIST_PM_FLUSH_H
#define FL_STORAGE_PERSIST_PM_FLUSH_H

#include "storage/persist/pm.h"

#if !defined(__x86_64__)
#error "the persist layer's crash model is that of x86-64; see the comment above"
#endif

#include <cpuid.h>
#include <emmintrin.h>

/* The best that this machine has. */
static inline enum pm_flush
pm_flush_choose(void)
{
    enum { CLFLUSHOPT_BIT = 1u << 23, CLWB_BIT = 1u << 24 };
    unsigned eax;
    unsigned ebx;
    unsigned ecx;
    unsigned edx;

    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) {
        return PM_FLUSH_CLFLUSH;
    }
    if (ebx & CLWB_BIT) {
        return PM_FLUSH_CLWB;
    }
    return ebx & CLFLUSHOPT_BIT ? PM_FLUSH_CLFLUSHOPT : PM_FLUSH_CLFLUSH;
}

/* Write back the line that holds `addr`. The memory clobber keeps earlier stores ahead of it. */
static inline void
pm_flush_line(enum pm_flush flush, void *addr)
{
    switch (flush) {
    case PM_FLUSH_CLWB:
        __asm__ volatile("clwb %0" : "+m"(*(volatile char *)addr)::"memory");
        break;
    case PM_FLUSH_CLFLUSHOPT:
        __asm__ volatile("clflushopt %0" : "+m"(*(volatile char *)addr)::"memory");
        break;
    case PM_FLUSH_CLFLUSH:
        __asm__ volatile("clflush %0" : "+m"(*(volatile char *)addr)::"memory");
        break;
    case PM_FLUSH_NONE:
        break;
    }
}

/* One store: neither torn nor merged with its neighbours by the compiler. */
static inline void
pm_store_word(void *dst, uint64_t word)
{
    __atomic_store_n((uint64_t *)dst, word, __ATOMIC_RELEASE);
}

/* Copy whole lines past the cache. `dst` is line-aligned, `len` a multiple of a line, `src` anything.
 * 16 bytes at a time: 32 (AVX) measured the same from 128 bytes to 8 KiB, fence for fence, so that a
 * second version isn't worth its dispatch. */
static inline void
pm_copy_lines_nt(uint8_t *dst, const uint8_t *src, size_t len)
{
    for (const uint8_t *end = src + len; src < end; src += PM_LINE_BYTES, dst += PM_LINE_BYTES) {
        const __m128i a = _mm_loadu_si128((const __m128i *)(const void *)src);
        const __m128i b = _mm_loadu_si128((const __m128i *)(const void *)(src + 16));
        const __m128i c = _mm_loadu_si128((const __m128i *)(const void *)(src + 32));
        const __m128i d = _mm_loadu_si128((const __m128i *)(const void *)(src + 48));

        _mm_stream_si128((__m128i *)(void *)dst, a);
        _mm_stream_si128((__m128i *)(void *)(dst + 16), b);
        _mm_stream_si128((__m128i *)(void *)(dst + 32), c);
        _mm_stream_si128((__m128i *)(void *)(dst + 48), d);
    }
}

static inline void
pm_sfence(void)
{
    /* order: as the caller says. */
    __asm__ volatile("sfence" ::: "memory");
}

#endif
