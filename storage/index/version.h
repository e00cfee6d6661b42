/* Older versions of an entry, kept while a pin sees them.
 *
 * An entry with older versions names a chain: its newest version first (loc 0: the key is gone), then those
 * that are kept, from new to old. A version is visible at the pinned LSNs in [lsn, lsn_end). Tombstones are never
 * kept as older versions: lsn_end says the same.
 *
 * Each kept version hangs on the list of one pin that sees it. When the last holder of that pin goes, the
 * version moves to another pin that sees it, or is dropped: dropping a pin costs what it kept, however
 * much others keep.
 */
#ifndef FL_STORAGE_INDEX_VERSION_H
#define FL_STORAGE_INDEX_VERSION_H

#include "storage/index/index.h"

#include <stdatomic.h>

struct version {
    _Atomic uint64_t loc;
    uint64_t lsn;             /* newest of a key that is gone without a record: from this LSN on */
    _Atomic uint64_t lsn_end; /* LSN of what came after it; UINT64_MAX: gone without a record */
    _Atomic(struct version *) older;
    struct version *newer;    /* writer's */
    struct version *pin_next; /* writer's: the pin's list; in the pool: the next free one */
    uint64_t hash;
    uint32_t id;
};

_Static_assert(sizeof(struct version) == 64, "one line a version");

struct pin {
    uint64_t lsn;
    uint64_t holders;
    struct version *list; /* kept by this pin */
};

struct pins {
    struct pin *pins; /* ascending LSN */
    size_t count;
    size_t room;
};

/* Nodes that are free, so that a put can't fail for one. */
struct version_pool {
    struct version_block *blocks;
    struct version *free_list;
    size_t free_count;
    _Atomic(struct version *) returned; /* given back by the epoch */
    _Atomic uint64_t blocks_bytes;
};

static inline index_loc
version_loc(const struct version *version)
{
    return atomic_load_explicit(&version->loc, memory_order_acquire);
}

static inline struct version *
version_older(const struct version *version)
{
    return atomic_load_explicit(&version->older, memory_order_acquire);
}

/* The first loc of the chain; 0: none. */
static inline index_loc
version_any_loc(const struct version *newest)
{
    for (const struct version *v = newest; v != NULL; v = version_older(v)) {
        const index_loc loc = version_loc(v);

        if (loc != 0) {
            return loc;
        }
    }
    return 0;
}

/* The loc visible at the pinned at_lsn; 0: none. It may be a tombstone. R. */
index_loc version_at(const struct version *newest, uint64_t at_lsn);

/* The highest pin below `lsn_end`, or NULL. */
struct pin *pins_below(const struct pins *pins, uint64_t lsn_end);
/* The pin at `lsn`, made if it isn't there (holders 0). NULL: no memory. */
struct pin *pins_at(struct pins *pins, uint64_t lsn);
/* The pin at `lsn`, or NULL. */
struct pin *pins_find(const struct pins *pins, uint64_t lsn);
void pins_remove(struct pins *pins, struct pin *pin);
void pins_deinit(struct pins *pins);

FL_NODISCARD fl_status version_pool_reserve(struct version_pool *pool, size_t count);
/* NULL: the pool is empty. */
struct version *version_pool_take(struct version_pool *pool);
/* Back into the pool. Threads: any. */
void version_pool_return(struct version_pool *pool, struct version *version);
void version_pool_deinit(struct version_pool *pool);

#endif
