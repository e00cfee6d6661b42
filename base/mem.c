#include "base/mem.h"

#include "base/bytes.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { MEM_ALIGN = 128 };

#define MEM_HUGE_BYTES ((size_t)2 << 20)
#define MEM_HUGE_MIN_BYTES (4 * MEM_HUGE_BYTES)

/* Per thread, so that tests that run beside others don't meet their failures. */
static _Thread_local unsigned long mem_calls_left;

static bool
mem_fails_now(void)
{
    if (__builtin_expect(mem_calls_left == 0, 1)) {
        return false;
    }
    if (mem_calls_left == 1) {
        return true;
    }
    mem_calls_left--;
    return false;
}

unsigned long
mem_fail_from(unsigned long n)
{
    const unsigned long left = mem_calls_left;

    mem_calls_left = n;
    return left;
}

void *
mem_alloc(size_t bytes)
{
    if (mem_fails_now() || bytes > SIZE_MAX - MEM_HUGE_BYTES) {
        return NULL;
    }
    if (bytes < MEM_HUGE_MIN_BYTES) {
        return aligned_alloc(MEM_ALIGN, bytes_align_up(bytes > 0 ? bytes : 1, MEM_ALIGN));
    }
    /* So large that it is mapped: in huge pages it takes fewer faults. */
    void *ptr = aligned_alloc(MEM_HUGE_BYTES, bytes_align_up(bytes, MEM_HUGE_BYTES));

    if (ptr != NULL) {
        (void)madvise(ptr, bytes_align_up(bytes, MEM_HUGE_BYTES), MADV_HUGEPAGE);
    }
    return ptr;
}

void *
mem_alloc_zero(size_t bytes)
{
    void *ptr = mem_alloc(bytes);

    if (ptr != NULL) {
        memset(ptr, 0, bytes);
    }
    return ptr;
}

void
mem_free(void *ptr)
{
    free(ptr);
}

void *
mem_map_reserve(size_t bytes)
{
    if (mem_fails_now()) {
        return NULL;
    }
    char *raw = mmap(NULL, bytes + MEM_HUGE_BYTES, PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (raw == MAP_FAILED) {
        return NULL;
    }
    const size_t skip = bytes_align_up((uintptr_t)raw, MEM_HUGE_BYTES) - (uintptr_t)raw;

    if (skip > 0) {
        munmap(raw, skip);
    }
    munmap(raw + skip + bytes, MEM_HUGE_BYTES - skip);
    /* The first huge page's worth stays in small pages: a small store takes little memory. */
    if (bytes > MEM_HUGE_BYTES) {
        (void)madvise(raw + skip + MEM_HUGE_BYTES, bytes - MEM_HUGE_BYTES, MADV_HUGEPAGE);
    }
    return raw + skip;
}

bool
mem_map_commit(void *ptr, size_t bytes)
{
    if (mem_fails_now()) {
        return false;
    }
    return mprotect(ptr, bytes, PROT_READ | PROT_WRITE) == 0;
}

void
mem_map_release(void *ptr, size_t bytes)
{
    if (ptr != NULL) {
        munmap(ptr, bytes);
    }
}
