#include "server/scan_cursor.h"

#include "base/fail.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* A number names its slot: it is that modulo the table's size, so that each slot has numbers of its own. They begin
 * at a random place: one of an earlier run is unknown. */
struct slot {
    struct slot *prev;
    struct slot *next;
    uint64_t id; /* of the last number given out; before the first one nobody knows it */
    bool live;   /* in the queue of those that nobody has gone on from */
    size_t cap;
    size_t len;
    unsigned char *key;
};

/* The oldest first. */
struct queue {
    struct slot *first;
    struct slot *last;
};

struct scan_cursors {
    size_t count;
    struct queue live;
    struct queue spent; /* gone on from, or never used: these are given away first */
    struct slot slots[];
};

static void
queue_add(struct queue *queue, struct slot *slot)
{
    slot->prev = queue->last;
    slot->next = NULL;
    if (queue->last != NULL) {
        queue->last->next = slot;
    } else {
        queue->first = slot;
    }
    queue->last = slot;
}

static void
queue_remove(struct queue *queue, struct slot *slot)
{
    if (slot->prev != NULL) {
        slot->prev->next = slot->next;
    } else {
        queue->first = slot->next;
    }
    if (slot->next != NULL) {
        slot->next->prev = slot->prev;
    } else {
        queue->last = slot->prev;
    }
}

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
    for (size_t i = 0; i < cursors_max; i++) {
        cursors->slots[i].id = ((uint64_t)start + 1) * cursors_max + i;
        queue_add(&cursors->spent, &cursors->slots[i]);
    }
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
    struct queue *const queue = cursors->spent.first != NULL ? &cursors->spent : &cursors->live;
    struct slot *const slot = queue->first;

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
    slot->id += cursors->count;
    *id = slot->id;
    queue_remove(queue, slot);
    queue_add(&cursors->live, slot);
    slot->live = true;
    return FL_OK;
}

fl_status
scan_cursors_get(struct scan_cursors *cursors, uint64_t id, struct fl_bytes *next)
{
    struct slot *slot = &cursors->slots[id % cursors->count];

    if (slot->id != id || slot->key == NULL) {
        return FL_FAIL(FL_NOT_FOUND, "cursor %llu is unknown or was given up",
                       (unsigned long long)id);
    }
    if (slot->live) {
        slot->live = false;
        queue_remove(&cursors->live, slot);
        queue_add(&cursors->spent, slot);
    }
    *next = fl_bytes(slot->key, slot->len);
    return FL_OK;
}
