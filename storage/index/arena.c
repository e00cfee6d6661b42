#include "storage/index/arena.h"

#include "base/bytes.h"
#include "base/fail.h"
#include "base/mem.h"

#define ARENA_UNIT_BYTES ((size_t)2 << 20)
#define ARENA_BYTES_MIN ((size_t)64 << 20)
#define ARENA_STEP_BYTES_MAX ((size_t)256 << 20)

enum { ARENA_PAGE_BYTES = 4096 };

fl_status
arena_init(struct arena *arena, size_t item_bytes, uint64_t items_max)
{
    size_t bytes = bytes_align_up(items_max * item_bytes, ARENA_UNIT_BYTES);

    arena->item_bytes = item_bytes;
    arena->base = mem_map_reserve(bytes);
    /* A limit on address space (RLIMIT_AS) makes the index smaller, not impossible. */
    while (arena->base == NULL && bytes >= 2 * ARENA_BYTES_MIN) {
        bytes = bytes_align_up(bytes / 2, ARENA_UNIT_BYTES);
        arena->base = mem_map_reserve(bytes);
    }
    if (arena->base == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "no address space for the index");
    }
    arena->bytes_max = bytes;
    atomic_init(&arena->bytes_committed, 0);
    atomic_init(&arena->next, 1);
    return FL_OK;
}

void
arena_deinit(struct arena *arena)
{
    mem_map_release(arena->base, arena->bytes_max);
    arena->base = NULL;
}

fl_status
arena_commit(struct arena *arena, uint64_t last)
{
    const size_t committed = atomic_load_explicit(&arena->bytes_committed, memory_order_relaxed);
    const uint64_t needed = bytes_align_up((last + 1) * arena->item_bytes, ARENA_UNIT_BYTES);

    if (needed <= committed) {
        return FL_OK;
    }
    if (needed > arena->bytes_max || last > UINT32_MAX) {
        return FL_FAIL(FL_NO_MEMORY, "the index is full: %zu bytes of address space are used up",
                       arena->bytes_max);
    }
    /* More than needed, so that system calls stay rare; untouched pages cost nothing. */
    size_t target = bytes_align_up(committed + committed / 2, ARENA_UNIT_BYTES);
    if (target > committed + ARENA_STEP_BYTES_MAX) {
        target = committed + ARENA_STEP_BYTES_MAX;
    }
    if (target < needed) {
        target = needed;
    }
    if (target > arena->bytes_max) {
        target = arena->bytes_max;
    }
    if (!mem_map_commit(arena->base + committed, target - committed)) {
        return FL_FAIL(FL_NO_MEMORY, "no memory for the index: %zu bytes more were asked for",
                       target - committed);
    }
    atomic_store_explicit(&arena->bytes_committed, target, memory_order_relaxed);
    return FL_OK;
}

uint32_t
arena_take(struct arena *arena)
{
    const uint32_t item = atomic_load_explicit(&arena->next, memory_order_relaxed);

    FL_ASSERT(arena_room(arena) > 0);
    atomic_store_explicit(&arena->next, item + 1, memory_order_relaxed);
    return item;
}

uint32_t
arena_take_shared(struct arena *arena)
{
    const uint32_t item = atomic_fetch_add_explicit(&arena->next, 1, memory_order_relaxed);

    FL_ASSERT(((uint64_t)item + 1) * arena->item_bytes <=
              atomic_load_explicit(&arena->bytes_committed, memory_order_relaxed));
    return item;
}

uint64_t
arena_dram_bytes(const struct arena *arena)
{
    const uint64_t next = atomic_load_explicit(&arena->next, memory_order_relaxed);
    const uint64_t used = next > 1 ? next * arena->item_bytes : 0;

    /* Huge pages come whole, behind the first stretch. */
    return used <= ARENA_UNIT_BYTES ? bytes_align_up(used, ARENA_PAGE_BYTES)
                                    : bytes_align_up(used, ARENA_UNIT_BYTES);
}
