/* What a store may hold: immutable sets of keys with their values, and the test of a store against them. */
#ifndef FL_TESTS_CRASH_CONTENTS_H
#define FL_TESTS_CRASH_CONTENTS_H

#include <faultline/faultline.h>

enum { CONTENTS_KEY_MAX = 24, CONTENTS_ITEMS_MAX = 256, CONTENTS_SPACES = 3 };

struct contents_item {
    uint8_t space;
    uint8_t key_len;
    uint8_t key[CONTENTS_KEY_MAX];
    uint32_t len;
    const uint8_t *value; /* in the mempool */
    uint64_t deadline_ms;
    uint64_t hash; /* of all of it; contents_with() fills it in */
};

/* Sorted as the store sorts. */
struct contents {
    uint64_t hash; /* of the items: equal contents, equal hashes */
    uint32_t count;
    struct contents_item items[];
};

/* Memory that lives until the end of a case. */
struct mempool {
    struct mempool_chunk *chunks;
};

struct mempool_point {
    struct mempool_chunk *chunk;
    size_t used;
};

void *mempool_take(struct mempool *mempool, size_t bytes);
void mempool_free(struct mempool *mempool);
/* Give back what was taken since. */
struct mempool_point mempool_save(const struct mempool *mempool);
void mempool_restore(struct mempool *mempool, struct mempool_point point);

/* Make an empty set. */
const struct contents *contents_empty(struct mempool *mempool);
/* `old` with the item put in place of the one with its key; NULL value: without it. */
const struct contents *contents_with(struct mempool *mempool, const struct contents *old,
                                     const struct contents_item *item);
/* `old` without the spaces first to last. */
const struct contents *contents_without_spaces(struct mempool *mempool, const struct contents *old,
                                               uint8_t first, uint8_t last);
const struct contents_item *contents_find(const struct contents *contents, uint8_t space,
                                          const void *key, size_t len);

/* Does the store show exactly these keys and values, by cursor, by point reads and by count? Keys whose deadline is
 * not over now_ms don't show. `just_opened`: expired keys aren't counted either. False: *why says what differs. True:
 * *lsn_max, unless it is NULL, is the highest LSN among them; 0: there are none. */
bool contents_match(const struct contents *contents, struct fl_store *store, uint64_t now_ms,
                    bool just_opened, uint64_t *lsn_max, char *why, size_t why_size);

#endif
