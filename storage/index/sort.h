/* Sorting of entries by key: by 8-byte heads with a radix sort, deeper only where heads tie. */
#ifndef FL_STORAGE_INDEX_SORT_H
#define FL_STORAGE_INDEX_SORT_H

#include <faultline/faultline.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sort_item {
    uint64_t head; /* the key's bytes from some skip on */
    uint32_t id;
    uint32_t aux;
};

/* The key of an item. It must be the same at each call. */
typedef void (*sort_key)(void *context, const struct sort_item *item, struct fl_key *key);

/* Sort `count` items by key. Their keys share the first `skip` bytes. `scratch` has room for as many.
 * item->aux is the caller's; item->head is of no meaning afterwards. */
void sort_keys(struct sort_item *items, struct sort_item *scratch, size_t count, uint32_t skip,
               sort_key key_of, void *context);

/* The same, where each head is there already, from `skip` on. On return each item says in aux from which skip its
 * head is. */
void sort_headed_keys(struct sort_item *items, struct sort_item *scratch, size_t count,
                      uint32_t skip, sort_key key_of, void *context);

#endif
