#include "storage/index/version.h"

#include "base/fail.h"
#include "base/mem.h"

#include <string.h>

enum { VERSION_BLOCK_MIN = 63, PINS_MIN = 8 };

struct version_block {
    struct version_block *next;
    size_t count;
    struct version versions[] __attribute__((aligned(64)));
};

index_loc
version_at(const struct version *newest, uint64_t at_lsn)
{
    if (at_lsn == INDEX_LSN_LATEST || newest->lsn <= at_lsn) {
        return version_loc(newest);
    }
    for (const struct version *v = version_older(newest); v != NULL; v = version_older(v)) {
        if (v->lsn <= at_lsn) {
            const uint64_t end = atomic_load_explicit(&v->lsn_end, memory_order_acquire);

            return at_lsn < end ? version_loc(v) : 0;
        }
    }
    return 0;
}

/* The first pin at `lsn` or above. */
static size_t
pins_place(const struct pins *pins, uint64_t lsn)
{
    size_t lo = 0;
    size_t hi = pins->count;

    while (lo < hi) {
        const size_t mid = (lo + hi) / 2;

        if (pins->pins[mid].lsn < lsn) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

struct pin *
pins_below(const struct pins *pins, uint64_t lsn_end)
{
    const size_t place = pins_place(pins, lsn_end);

    return place > 0 ? &pins->pins[place - 1] : NULL;
}

struct pin *
pins_find(const struct pins *pins, uint64_t lsn)
{
    const size_t place = pins_place(pins, lsn);

    return place < pins->count && pins->pins[place].lsn == lsn ? &pins->pins[place] : NULL;
}

struct pin *
pins_at(struct pins *pins, uint64_t lsn)
{
    const size_t place = pins_place(pins, lsn);

    if (place < pins->count && pins->pins[place].lsn == lsn) {
        return &pins->pins[place];
    }
    if (pins->count == pins->room) {
        const size_t room = pins->room > 0 ? pins->room * 2 : PINS_MIN;
        struct pin *grown = mem_alloc(room * sizeof(*grown));

        if (grown == NULL) {
            return NULL;
        }
        if (pins->count > 0) {
            memcpy(grown, pins->pins, pins->count * sizeof(*grown));
        }
        mem_free(pins->pins);
        pins->pins = grown;
        pins->room = room;
    }
    memmove(&pins->pins[place + 1], &pins->pins[place],
            (pins->count - place) * sizeof(pins->pins[0]));
    pins->count++;
    pins->pins[place] = (struct pin){.lsn = lsn};
    return &pins->pins[place];
}

void
pins_remove(struct pins *pins, struct pin *pin)
{
    const size_t place = (size_t)(pin - pins->pins);

    memmove(pin, pin + 1, (pins->count - place - 1) * sizeof(*pin));
    pins->count--;
}

void
pins_deinit(struct pins *pins)
{
    mem_free(pins->pins);
    *pins = (struct pins){0};
}

static void
version_pool_collect(struct version_pool *pool)
{
    struct version *v = atomic_exchange_explicit(&pool->returned, NULL, memory_order_acquire);

    while (v != NULL) {
        struct version *next = v->pin_next;

        v->pin_next = pool->free_list;
        pool->free_list = v;
        pool->free_count++;
        v = next;
    }
}

fl_status
version_pool_reserve(struct version_pool *pool, size_t count)
{
    if (pool->free_count >= count) {
        return FL_OK;
    }
    version_pool_collect(pool);
    if (pool->free_count >= count) {
        return FL_OK;
    }
    size_t more = count - pool->free_count;
    if (more < VERSION_BLOCK_MIN) {
        more = VERSION_BLOCK_MIN;
    }
    const size_t bytes = sizeof(struct version_block) + more * sizeof(struct version);
    struct version_block *block = mem_alloc(bytes);

    if (block == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "no memory for %zu versions kept for snapshots", more);
    }
    block->next = pool->blocks;
    block->count = more;
    pool->blocks = block;
    pool->blocks_bytes += bytes;
    for (size_t i = 0; i < more; i++) {
        block->versions[i].pin_next = pool->free_list;
        pool->free_list = &block->versions[i];
    }
    pool->free_count += more;
    return FL_OK;
}

struct version *
version_pool_take(struct version_pool *pool)
{
    if (pool->free_list == NULL) {
        version_pool_collect(pool);
    }
    struct version *v = pool->free_list;

    if (v != NULL) {
        pool->free_list = v->pin_next;
        pool->free_count--;
    }
    return v;
}

void
version_pool_return(struct version_pool *pool, struct version *version)
{
    struct version *head = atomic_load_explicit(&pool->returned, memory_order_relaxed);

    do {
        version->pin_next = head;
    } while (!atomic_compare_exchange_weak_explicit(&pool->returned, &head, version,
                                                    memory_order_release, memory_order_relaxed));
}

void
version_pool_deinit(struct version_pool *pool)
{
    while (pool->blocks != NULL) {
        struct version_block *next = pool->blocks->next;

        mem_free(pool->blocks);
        pool->blocks = next;
    }
    memset(pool, 0, sizeof(*pool));
}
