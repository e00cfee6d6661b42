/* The index: pins, and the older versions kept for them. */
#include "storage/index/index.h"

#include "base/fail.h"
#include "storage/index/index_internal.h"

static void
version_release(void *context, uint64_t arg)
{
    version_pool_return(context, (struct version *)(uintptr_t)arg);
}

/* Readers may still stand on it. */
static void
version_retire(struct index *index, struct version *version)
{
    epoch_retire(index->epoch, version_release, &index->pool, (uint64_t)(uintptr_t)version);
}

static struct version *
version_make(struct index *index, uint64_t hash, uint32_t id, index_loc loc, uint64_t lsn)
{
    struct version *v = version_pool_take(&index->pool);

    FL_ASSERT(v != NULL); /* who pins, reserves, or expires a key has seen to it */
    atomic_init(&v->loc, loc);
    v->lsn = lsn;
    atomic_init(&v->lsn_end, UINT64_MAX);
    atomic_init(&v->older, NULL);
    v->newer = NULL;
    v->pin_next = NULL;
    v->hash = hash;
    v->id = id;
    return v;
}

static void
version_keep(struct index *index, struct pin *pin, struct version *version)
{
    version->pin_next = pin->list;
    pin->list = version;
    atomic_fetch_add_explicit(&index->versions_kept, 1, memory_order_relaxed);
}

struct change
change_begin(struct index *index, uint64_t hash, const struct fl_key *key, uint32_t id,
             uint64_t word, uint64_t lsn)
{
    struct change change = {index, hash, key, id, word, entry_newest(word), false, NULL, NULL};

    change.live = change.loc != 0 && (change.loc & INDEX_LOC_TOMBSTONE) == 0;
    if ((word & ENTRY_VERSIONED) != 0) {
        change.older = version_older(entry_versions(word));
    }
    if (change.live && index->pins.count > 0) {
        const uint64_t was = (word & ENTRY_VERSIONED) != 0 ? entry_versions(word)->lsn
                                                           : index_lsn_at(index, change.loc);
        struct pin *pin = pins_below(&index->pins, lsn);

        change.keep = pin != NULL && pin->lsn >= was ? pin : NULL;
    }
    return change;
}

void
change_push(const struct change *change, index_loc loc, uint64_t lsn, uint64_t lsn_end)
{
    struct index *index = change->index;
    struct version *was =
        (change->word & ENTRY_VERSIONED) != 0 ? entry_versions(change->word) : NULL;
    struct version *newest = version_make(index, change->hash, change->id, loc, lsn);
    struct version *next = change->older;

    if (change->keep != NULL) {
        struct version *kept = was;

        if (kept == NULL) {
            kept = version_make(index, change->hash, change->id, change->loc,
                                index_lsn_at(index, change->loc));
        }
        atomic_store_explicit(&kept->lsn_end, lsn_end, memory_order_release);
        version_keep(index, change->keep, kept);
        next = kept;
    } else if (next != NULL && atomic_load(&next->lsn_end) == UINT64_MAX) {
        /* It was gone without a record; from now on there is one again. */
        atomic_store_explicit(&next->lsn_end, lsn_end, memory_order_release);
    }
    FL_ASSERT(next != NULL); /* change_keeps() */
    atomic_store_explicit(&newest->older, next, memory_order_release);
    next->newer = newest;
    entries_store(&index_state(index)->entries, change->id, entry_word_of(newest));
    if (change->keep == NULL) {
        index_dead(index, change->loc);
        if (was != NULL) {
            version_retire(index, was);
        }
    }
}

/* ---- pins ---- */

fl_status
index_pin(struct index *index, uint64_t lsn)
{
    const fl_status status =
        version_pool_reserve(&index->pool, (size_t)index->credits * VERSIONS_PER_PUT);

    if (status != FL_OK) {
        return status;
    }
    struct pin *pin = pins_at(&index->pins, lsn);

    if (pin == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "no memory for a snapshot's pin");
    }
    pin->holders++;
    atomic_fetch_add_explicit(&index->pins_held, 1, memory_order_relaxed);
    return FL_OK;
}

/* The last older version of a chain has gone: the entry is a plain one again, or goes. `last` still holds a
 * record with its key. */
static void
chain_collapse(struct index *index, struct version *newest, const struct version *last)
{
    const index_loc loc = version_loc(newest);

    if (loc != 0 && (loc & INDEX_LOC_TOMBSTONE) == 0) {
        entries_store(&index_state(index)->entries, newest->id, loc);
    } else {
        const index_loc key_loc = loc != 0 ? loc : version_loc(last);
        struct fl_key key;

        if (!index_key_at(index, key_loc, &key)) {
            key = fl_key_in(0, "", 0); /* damage: the order finds it by its id */
        }
        index_remove_entry(index, newest->hash, &key, newest->id, key_loc);
        index_dead(index, loc);
    }
    version_retire(index, newest);
}

/* No pin sees it any more. */
static void
version_drop(struct index *index, struct version *version)
{
    struct version *newer = version->newer;
    struct version *older = version_older(version);
    const index_loc loc = version_loc(version);

    atomic_store_explicit(&newer->older, older, memory_order_release);
    if (older != NULL) {
        older->newer = newer;
    }
    if (newer->newer == NULL && older == NULL) {
        chain_collapse(index, newer, version);
    }
    atomic_fetch_sub_explicit(&index->versions_kept, 1, memory_order_relaxed);
    index_dead(index, loc);
    version_retire(index, version);
}

void
index_unpin(struct index *index, uint64_t lsn)
{
    struct pin *pin = pins_find(&index->pins, lsn);

    FL_ASSERT(pin != NULL);
    atomic_fetch_sub_explicit(&index->pins_held, 1, memory_order_relaxed);
    if (--pin->holders > 0) {
        return;
    }
    struct version *list = pin->list;

    pins_remove(&index->pins, pin);
    while (list != NULL) {
        struct version *next = list->pin_next;
        struct pin *other = pins_below(&index->pins, atomic_load(&list->lsn_end));

        if (other != NULL && other->lsn >= list->lsn) {
            list->pin_next = other->list;
            other->list = list;
        } else {
            version_drop(index, list);
        }
        list = next;
    }
}
