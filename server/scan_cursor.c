#include "server/scan_cursor.h"

#include "base/fail.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* The table is a ring: number n has slot n modulo its size, so that the oldest is the one that a
 * new number evicts. The numbers begin at a random place: one of an earlier run is unknown. */
struct slot {
    uint64_t id; /* 0: free */
    size_t cap;
    size_t len;
    unsigned char *key;
};

struct scan_cursors {
    uint64_t next_id;
    size_t count;
    struct slot slots[];
};

fl_status
scan_cursors_create(size_t cursors_max, struct scan_cursors **out)
{
    struct scan_cursors *cursors =
        calloc(1, sizeof(*cursors) + cursors_max * sizeof(cursors->slots[0]));
    uint32_t start = 0;

    if (cursors == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "table of SCAN cursors");
    }
    if (getrandom(&start, sizeof(start), GRND_NONBLOCK) != (ssize_t)sizeof(start)) {
        start = (uint32_t)(uintptr_t)cursors;
    }
    cursors->count = cursors_max;
    cursors->next_id = (uint64_t)start + 1;
    *out = cursors;
    return FL_OK;
}

void
scan_cursors_destroy(struct scan_cursors *cursors)
{
    if (cursors != NULL) {
        for (size_t i = 0; i < cursors->count; i++) {
            free(cursors->slots[i].key);
        }
        free(cursors);
    }
}

fl_status
scan_cursors_put(struct scan_cursors *cursors, struct fl_bytes next, uint64_t *id)
{
    struct slot *slot = &cursors->slots[cursors->next_id % cursors->count];

    if (slot->cap < next.len) {
        unsigned char *key = realloc(slot->key, next.len);

        if (key == NULL) {
            return FL_FAIL(FL_NO_MEMORY, "a SCAN cursor");
        }
        slot->key = key;
        slot->cap = next.len;
    }
    if (next.len > 0) {
        memcpy(slot->key, next.ptr, next.len);
    }
    slot->len = next.len;
    slot->id = cursors->next_id++;
    *id = slot->id;
    return FL_OK;
}

fl_status
scan_cursors_get(struct scan_cursors *cursors, uint64_t id, struct fl_bytes *next)
{
    const struct slot *slot = &cursors->slots[id % cursors->count];

    if (id == 0 || slot->id != id) {
        return FL_FAIL(FL_NOT_FOUND, "cursor %llu is unknown or was given up",
                       (unsigned long long)id);
    }
    *next = fl_bytes(slot->key, slot->len);
    return FL_OK;
}
