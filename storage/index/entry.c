#include "storage/index/entry.h"

#include "base/fail.h"

fl_status
entries_init(struct entries *entries, uint64_t ids_max)
{
    entries->free_head = 0;
    entries->free_count = 0;
    atomic_init(&entries->returned_head, 0);
    return arena_init(&entries->words, sizeof(uint64_t), ids_max);
}

void
entries_deinit(struct entries *entries)
{
    arena_deinit(&entries->words);
}

fl_status
entries_reserve(struct entries *entries, uint64_t count)
{
    const uint64_t room = entries->free_count + arena_room(&entries->words);

    if (room >= count) {
        return FL_OK;
    }
    const uint64_t next = atomic_load_explicit(&entries->words.next, memory_order_relaxed);

    return arena_commit(&entries->words, next + (count - entries->free_count));
}

/* Take over what other threads gave back. */
static void
entries_collect(struct entries *entries)
{
    uint32_t id = atomic_exchange_explicit(&entries->returned_head, 0, memory_order_acquire);

    while (id != 0) {
        const uint32_t next = (uint32_t)entries_load(entries, id);

        entries_free(entries, id);
        id = next;
    }
}

uint32_t
entries_take(struct entries *entries)
{
    if (entries->free_head == 0) {
        if (atomic_load_explicit(&entries->returned_head, memory_order_relaxed) != 0) {
            entries_collect(entries);
        }
    }
    if (entries->free_head == 0) {
        return arena_take(&entries->words);
    }
    const uint32_t id = entries->free_head;

    entries->free_head = (uint32_t)entries_load(entries, id);
    entries->free_count--;
    return id;
}

void
entries_free(struct entries *entries, uint32_t id)
{
    entries_store(entries, id, ENTRY_FREE | entries->free_head);
    entries->free_head = id;
    entries->free_count++;
}

void
entries_return(struct entries *entries, uint32_t id)
{
    uint32_t head = atomic_load_explicit(&entries->returned_head, memory_order_relaxed);

    do {
        entries_store(entries, id, ENTRY_FREE | head);
    } while (!atomic_compare_exchange_weak_explicit(&entries->returned_head, &head, id,
                                                    memory_order_release, memory_order_relaxed));
}
