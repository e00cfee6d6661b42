/* An array that grows in place: address space is reserved once, memory is committed as it is needed, so that
 * what lies in it never moves and is named by a 32-bit number. */
#ifndef FL_STORAGE_INDEX_ARENA_H
#define FL_STORAGE_INDEX_ARENA_H

#include <faultline/status.h>

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct arena {
    char *base;
    size_t item_bytes;
    size_t bytes_max;               /* address space */
    _Atomic size_t bytes_committed; /* usable, from base on */
    _Atomic uint32_t next; /* items below it have been given out; from 1 on: 0 names nothing */
};

/* Room for items_max items at most; where address space is short, for fewer. FL_NO_MEMORY. */
FL_NODISCARD fl_status arena_init(struct arena *arena, size_t item_bytes, uint64_t items_max);
void arena_deinit(struct arena *arena);

/* Make items up to and including number `last` usable. FL_NO_MEMORY. Threads: one at a time. */
FL_NODISCARD fl_status arena_commit(struct arena *arena, uint64_t last);

/* Items that can be taken without arena_commit(). */
static inline uint64_t
arena_room(const struct arena *arena)
{
    const size_t committed = atomic_load_explicit(&arena->bytes_committed, memory_order_relaxed);
    const uint64_t items = committed / arena->item_bytes;
    const uint64_t next = atomic_load_explicit(&arena->next, memory_order_relaxed);

    return items > next ? items - next : 0;
}

static inline void *
arena_at(const struct arena *arena, uint32_t item)
{
    return arena->base + (size_t)item * arena->item_bytes;
}

/* The next item, zeroed; there must be room. Threads: one at a time. */
uint32_t arena_take(struct arena *arena);

/* As arena_take(), by several threads at once. */
uint32_t arena_take_shared(struct arena *arena);

/* Memory behind the items that were given out. */
uint64_t arena_dram_bytes(const struct arena *arena);

#endif
