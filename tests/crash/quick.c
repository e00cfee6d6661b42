/* Memory that each open of a store asks the kernel for, kept between opens: they follow one another many thousand
 * times a second, and mapping, faulting and unmapping would take most of the time. What is given back is zeroed
 * where it was touched, so that the storage sees no difference. One thread only. */
#include "tests/crash/plant.h"

#include "base/mem.h"
#include "tests/lib/die.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { KEPT_MAX = 64, PAGE = 4096, PAGES_LOOK = 4096, SMALL_BYTES = 1 << 20 };

struct region {
    uint8_t *at;
    size_t bytes;
    size_t committed;
    bool used;
    bool small; /* from mmap() itself */
};

static struct region regions[KEPT_MAX];

void *__real_mem_map_reserve(size_t bytes);
void *__wrap_mem_map_reserve(size_t bytes);
bool __real_mem_map_commit(void *ptr, size_t bytes);
bool __wrap_mem_map_commit(void *ptr, size_t bytes);
void __real_mem_map_release(void *ptr, size_t bytes);
void __wrap_mem_map_release(void *ptr, size_t bytes);
void *__real_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t off);
void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t off);
int __real_munmap(void *at, size_t bytes);
int __wrap_munmap(void *at, size_t bytes);

static bool fails_now(void);

static struct region *
region_take(size_t bytes, bool small)
{
    for (size_t i = 0; i < KEPT_MAX; i++) {
        struct region *region = &regions[i];

        if (region->at != NULL && !region->used && region->bytes == bytes &&
            region->small == small) {
            region->used = true;
            return region;
        }
    }
    return NULL;
}

static void
region_add(void *at, size_t bytes, bool small)
{
    for (size_t i = 0; i < KEPT_MAX && at != NULL; i++) {
        if (regions[i].at == NULL) {
            regions[i] = (struct region){at, bytes, small ? bytes : 0, true, small};
            return;
        }
    }
}

static struct region *
region_find(const void *at)
{
    const uint8_t *byte = at;

    for (size_t i = 0; i < KEPT_MAX; i++) {
        struct region *region = &regions[i];

        if (region->used && byte >= region->at && byte < region->at + region->bytes) {
            return region;
        }
    }
    return NULL;
}

static void
region_give_back(struct region *region)
{
    unsigned char resident[PAGES_LOOK];

    for (size_t off = 0; off < region->committed; off += (size_t)PAGES_LOOK * PAGE) {
        const size_t left = region->committed - off;
        const size_t bytes = left < (size_t)PAGES_LOOK * PAGE ? left : (size_t)PAGES_LOOK * PAGE;

        if (mincore(region->at + off, bytes, resident) != 0) {
            die_errno("mincore");
        }
        for (size_t page = 0; page * PAGE < bytes; page++) {
            if (resident[page] & 1) {
                memset(region->at + off + page * PAGE, 0, PAGE);
            }
        }
    }
    region->used = false;
}

void *
__wrap_mem_map_reserve(size_t bytes)
{
    if (fails_now()) {
        return NULL;
    }
    struct region *region = region_take(bytes, false);

    if (region != NULL) {
        return region->at;
    }
    void *at = __real_mem_map_reserve(bytes);

    region_add(at, bytes, false);
    return at;
}

bool
__wrap_mem_map_commit(void *ptr, size_t bytes)
{
    struct region *region = region_find(ptr);
    uint8_t *const end = (uint8_t *)ptr + bytes;

    if (fails_now()) {
        return false;
    }
    if (region == NULL || end > region->at + region->committed) {
        if (!__real_mem_map_commit(ptr, bytes)) {
            return false;
        }
        if (region != NULL) {
            region->committed = (size_t)(end - region->at);
        }
    }
    return true;
}

void
__wrap_mem_map_release(void *ptr, size_t bytes)
{
    struct region *region = ptr != NULL ? region_find(ptr) : NULL;

    if (region != NULL) {
        region_give_back(region);
    } else {
        __real_mem_map_release(ptr, bytes);
    }
}

void *
__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t off)
{
    const size_t whole = (bytes + PAGE - 1) / PAGE * PAGE;
    const bool small = at == NULL && fd < 0 && bytes < SMALL_BYTES &&
                       protection == (PROT_READ | PROT_WRITE) && (flags & MAP_PRIVATE) != 0;
    struct region *region = small ? region_take(whole, true) : NULL;

    if (region != NULL) {
        return region->at;
    }
    void *mapped = __real_mmap(at, bytes, protection, flags, fd, off);

    if (small && mapped != MAP_FAILED) {
        region_add(mapped, whole, true);
    }
    return mapped;
}

int
__wrap_munmap(void *at, size_t bytes)
{
    struct region *region = region_find(at);

    if (region == NULL || !region->small) {
        return __real_munmap(at, bytes);
    }
    region_give_back(region);
    return 0;
}

/* ---- allocations that fail ---- */

static _Thread_local unsigned long allocations_left;

void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__real_realloc(void *at, size_t bytes);
void *__wrap_realloc(void *at, size_t bytes);
void *__real_aligned_alloc(size_t align, size_t bytes);
void *__wrap_aligned_alloc(size_t align, size_t bytes);

unsigned long
plant_allocation_fail(unsigned long n)
{
    const unsigned long left = allocations_left;

    allocations_left = n;
    return left;
}

unsigned long
plant_allocation_pause(void)
{
    return plant_allocation_fail(0);
}

void
plant_allocation_resume(unsigned long paused)
{
    allocations_left = paused;
}

static bool
fails_now(void)
{
    return __builtin_expect(allocations_left > 0, 0) && --allocations_left == 0;
}

void *
__wrap_malloc(size_t bytes)
{
    return fails_now() ? NULL : __real_malloc(bytes);
}

void *
__wrap_calloc(size_t count, size_t bytes)
{
    return fails_now() ? NULL : __real_calloc(count, bytes);
}

void *
__wrap_realloc(void *at, size_t bytes)
{
    return fails_now() ? NULL : __real_realloc(at, bytes);
}

void *
__wrap_aligned_alloc(size_t align, size_t bytes)
{
    return fails_now() ? NULL : __real_aligned_alloc(align, bytes);
}
