#include "base/epoch.h"

#include "base/fail.h"
#include "base/mem.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

/* A reader adds itself to the counter of the present phase in a slot chosen by its thread, and takes itself off
 * that very counter: the token names it, so that each counter alone comes back to zero.
 *
 * To wait, flip the phase and wait until the old phase's counters are zero, twice. Once is not enough: a reader
 * may have read the phase before an earlier flip and have counted itself after that flip's wait was
 * over; it then stands in the phase that a single flip would not look at. */
enum {
    EPOCH_SLOTS = 64,
    EPOCH_SLOT_BYTES = 128, /* two lines: the prefetcher fetches pairs */
    EPOCH_NOTES = 254,
    EPOCH_SPINS = 200,
    EPOCH_SLEEP_NS_MIN = 20000,
    EPOCH_SLEEP_NS_MAX = 1000000,
};

struct epoch_slot {
    _Atomic uint64_t inside[2];
} __attribute__((aligned(EPOCH_SLOT_BYTES)));

struct epoch_note {
    void (*release)(void *context, uint64_t arg);
    void *context;
    uint64_t arg;
};

struct epoch_notes {
    struct epoch_notes *next;
    size_t count;
    struct epoch_note notes[EPOCH_NOTES];
};

struct epoch {
    struct epoch_slot slots[EPOCH_SLOTS];
    _Atomic uint32_t phase __attribute__((aligned(EPOCH_SLOT_BYTES)));
    pthread_mutex_t wait_lock
        __attribute__((aligned(EPOCH_SLOT_BYTES))); /* one waiter flips at a time */
    pthread_mutex_t reclaim_lock;
    pthread_mutex_t list_lock; /* guards what follows */
    struct epoch_notes *list;
    struct epoch_notes *spare;
};

fl_status
epoch_create(struct epoch **out)
{
    struct epoch *epoch = mem_alloc_zero(sizeof(*epoch));

    if (epoch == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "no memory for an epoch");
    }
    pthread_mutex_init(&epoch->wait_lock, NULL);
    pthread_mutex_init(&epoch->reclaim_lock, NULL);
    pthread_mutex_init(&epoch->list_lock, NULL);
    *out = epoch;
    return FL_OK;
}

uint32_t
epoch_enter(struct epoch *epoch)
{
    /* Thread descriptors lie a stack apart: multiply to spread them. */
    const uint64_t self = (uint64_t)pthread_self();
    const uint32_t slot = (uint32_t)((self * UINT64_C(0x9E3779B97F4A7C15)) >> 58);
    const uint32_t phase = atomic_load_explicit(&epoch->phase, memory_order_relaxed) & 1;

    _Static_assert(EPOCH_SLOTS == 1 << (64 - 58), "the shift yields a slot");
    /* Sequentially consistent: the count before every read of the section. */
    atomic_fetch_add(&epoch->slots[slot].inside[phase], 1);
    return slot << 1 | phase;
}

void
epoch_exit(struct epoch *epoch, uint32_t token)
{
    /* Release: every read of the section before the count. */
    atomic_fetch_sub_explicit(&epoch->slots[token >> 1].inside[token & 1], 1, memory_order_release);
}

static void
epoch_wait_phase(struct epoch *epoch, uint32_t phase)
{
    struct timespec pause = {.tv_sec = 0, .tv_nsec = EPOCH_SLEEP_NS_MIN};

    for (size_t i = 0; i < EPOCH_SLOTS; i++) {
        for (unsigned spins = 0; atomic_load(&epoch->slots[i].inside[phase]) != 0; spins++) {
            if (spins < EPOCH_SPINS) {
                __builtin_ia32_pause();
                continue;
            }
            nanosleep(&pause, NULL);
            if (pause.tv_nsec < EPOCH_SLEEP_NS_MAX) {
                pause.tv_nsec *= 2;
            }
        }
    }
}

void
epoch_synchronize(struct epoch *epoch)
{
    pthread_mutex_lock(&epoch->wait_lock);
    for (int i = 0; i < 2; i++) {
        const uint32_t old = atomic_fetch_add(&epoch->phase, 1) & 1;

        epoch_wait_phase(epoch, old);
    }
    pthread_mutex_unlock(&epoch->wait_lock);
}

/* Room for one note at the head of the list, or NULL. Keeps a spare block, so that it is far from the
 * moment of need that an allocation fails. */
static struct epoch_notes *
epoch_notes_room(struct epoch *epoch)
{
    if (epoch->list != NULL && epoch->list->count < EPOCH_NOTES) {
        return epoch->list;
    }
    struct epoch_notes *notes = epoch->spare;

    epoch->spare = mem_alloc(sizeof(*notes));
    if (notes == NULL) {
        notes = epoch->spare;
        epoch->spare = NULL;
    }
    if (notes == NULL) {
        return NULL;
    }
    notes->count = 0;
    notes->next = epoch->list;
    epoch->list = notes;
    return notes;
}

void
epoch_retire(struct epoch *epoch, void (*release)(void *context, uint64_t arg), void *context,
             uint64_t arg)
{
    pthread_mutex_lock(&epoch->list_lock);
    struct epoch_notes *notes = epoch_notes_room(epoch);

    if (notes != NULL) {
        notes->notes[notes->count++] = (struct epoch_note){release, context, arg};
    }
    pthread_mutex_unlock(&epoch->list_lock);
    if (notes == NULL) {
        epoch_synchronize(epoch);
        release(context, arg);
    }
}

static size_t
epoch_release_all(struct epoch_notes *list)
{
    size_t released = 0;

    while (list != NULL) {
        struct epoch_notes *next = list->next;

        for (size_t i = 0; i < list->count; i++) {
            list->notes[i].release(list->notes[i].context, list->notes[i].arg);
        }
        released += list->count;
        mem_free(list);
        list = next;
    }
    return released;
}

static struct epoch_notes *
epoch_notes_take(struct epoch *epoch)
{
    pthread_mutex_lock(&epoch->list_lock);
    struct epoch_notes *list = epoch->list;

    epoch->list = NULL;
    pthread_mutex_unlock(&epoch->list_lock);
    return list;
}

size_t
epoch_reclaim(struct epoch *epoch)
{
    size_t released = 0;

    pthread_mutex_lock(&epoch->reclaim_lock);
    struct epoch_notes *list = epoch_notes_take(epoch);

    if (list != NULL) {
        epoch_synchronize(epoch);
        released = epoch_release_all(list);
    }
    pthread_mutex_unlock(&epoch->reclaim_lock);
    return released;
}

void
epoch_destroy(struct epoch *epoch)
{
    if (epoch == NULL) {
        return;
    }
    /* A release may retire more. */
    for (struct epoch_notes *list; (list = epoch_notes_take(epoch)) != NULL;) {
        epoch_release_all(list);
    }
    mem_free(epoch->spare);
    pthread_mutex_destroy(&epoch->wait_lock);
    pthread_mutex_destroy(&epoch->reclaim_lock);
    pthread_mutex_destroy(&epoch->list_lock);
    mem_free(epoch);
}
