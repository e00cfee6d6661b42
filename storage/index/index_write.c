/* The index: changing it. */
#include "storage/index/index.h"

#include "base/fail.h"
#include "storage/index/index_internal.h"

/* Room is made for so many puts at a time, so that most calls of index_reserve() find it made. */
enum { RESERVE_STEP = 4096 };

fl_status
index_reserve(struct index *index, size_t count)
{
    if (__builtin_expect(index->credits >= count, 1)) {
        return FL_OK;
    }
    const uint64_t wanted = count > RESERVE_STEP ? count : RESERVE_STEP;
    fl_status status = index_state_reserve(index_state(index), wanted);

    if (status == FL_OK && index->pins.count > 0) {
        status = version_pool_reserve(&index->pool, wanted * VERSIONS_PER_PUT);
    }
    if (status == FL_OK) {
        index->credits = wanted;
    }
    return status;
}

fl_status
index_reserve_clear(struct index *index, uint8_t space_first, uint8_t space_last)
{
    uint64_t keys = 0;

    if (index->pins.count == 0) {
        return FL_OK;
    }
    for (unsigned space = space_first; space <= space_last; space++) {
        keys += index_count(index, (uint8_t)space);
    }
    return version_pool_reserve(&index->pool, (index->credits + keys) * VERSIONS_PER_PUT);
}

/* The id of the entry whose key is `key`, 0: none; its word. */
static uint32_t
index_lookup(const struct index *index, uint64_t hash, const struct fl_key *key, uint64_t *word)
{
    const struct index_state *state = index_state(index);
    struct index_search search = {index, state, key, 0, 0};
    const uint32_t id = hash_find(&state->hash, hash, index_search_match, &search);

    *word = search.word;
    return id;
}

void
index_remove_entry(struct index *index, uint64_t hash, const struct fl_key *key, uint32_t id,
                   index_loc key_loc)
{
    struct index_state *state = index_state(index);

    /* First gone for all readers at once, then taken out of both structures. */
    entries_store(&state->entries, id, ENTRY_LEAVING | key_loc);
    const bool removed = hash_remove(&state->hash, hash, id);

    FL_ASSERT(removed);
    if (order_remove(&state->order, key, id)) {
        entries_free(&state->entries, id);
    }
}

static void
put_new(struct index *index, uint64_t hash, const struct fl_key *key, index_loc loc)
{
    struct index_state *state = index_state(index);
    const uint32_t id = entries_take(&state->entries);

    entries_store(&state->entries, id, loc);
    hash_insert(&state->hash, hash, id);
    order_add(&state->order, key, id);
    index_count_add(index, key->space, 1);
}

index_loc
index_put(struct index *index, uint64_t hash, struct fl_key key, index_loc loc, uint64_t lsn)
{
    const bool tombstone = (loc & INDEX_LOC_TOMBSTONE) != 0;
    uint64_t word;

    FL_ASSERT((loc & ~ENTRY_LOC_MASK) == 0 && (loc & INDEX_LOC_OFF_MASK) != 0);
    index->credits -= index->credits > 0;
    index->lsn_max = lsn > index->lsn_max ? lsn : index->lsn_max;
    const uint32_t id = index_lookup(index, hash, &key, &word);

    if (id == 0) {
        if (tombstone) {
            index_dead(index, loc);
        } else {
            put_new(index, hash, &key, loc);
        }
        return 0;
    }
    if (__builtin_expect((word & ENTRY_VERSIONED) != 0 || index->pins.count > 0, 0)) {
        const struct change change = change_begin(index, hash, &key, id, word, lsn);

        index_count_add(index, key.space, (int)!tombstone - (int)change.live);
        if (change_keeps(&change)) {
            change_push(&change, loc, lsn, lsn);
            return change.loc;
        }
        FL_ASSERT((word & ENTRY_VERSIONED) == 0); /* a chain goes with its last older version */
    } else if (tombstone) {
        index_count_add(index, key.space, -1);
    }
    if (tombstone) {
        index_remove_entry(index, hash, &key, id, word);
        index_dead(index, loc);
    } else {
        entries_store(&index_state(index)->entries, id, loc);
    }
    index_dead(index, word);
    return word;
}

void
index_drop_newest(const struct change *change, uint64_t lsn, uint64_t lsn_end)
{
    struct index *index = change->index;

    index_count_add(index, change->key->space, -(int)change->live);
    if (change_keeps(change)) {
        change_push(change, 0, lsn, lsn_end);
        return;
    }
    index_remove_entry(index, change->hash, change->key, change->id, change->loc);
    index_dead(index, change->loc);
}

bool
index_expire(struct index *index, uint64_t hash, struct fl_key key, index_loc loc)
{
    uint64_t word;
    const uint32_t id = index_lookup(index, hash, &key, &word);

    if (id == 0) {
        return false;
    }
    const struct change change = change_begin(index, hash, &key, id, word, UINT64_MAX);

    if (!change.live || !index_same_place(change.loc, loc)) {
        return false;
    }
    /* Not at the cost of what puts were promised. */
    if (change_keeps(&change) &&
        version_pool_reserve(&index->pool, (index->credits + 1) * VERSIONS_PER_PUT) != FL_OK) {
        return false;
    }
    index_drop_newest(&change, UINT64_MAX, UINT64_MAX);
    return true;
}

bool
index_relocate(struct index *index, uint64_t hash, struct fl_key key, index_loc from, index_loc to)
{
    uint64_t word;
    const uint32_t id = index_lookup(index, hash, &key, &word);

    if (id == 0) {
        return false;
    }
    if ((word & ENTRY_VERSIONED) == 0) {
        if (!index_same_place(word, from)) {
            return false;
        }
        entries_store(&index_state(index)->entries, id, to);
        return true;
    }
    for (struct version *v = entry_versions(word); v != NULL; v = version_older(v)) {
        if (index_same_place(version_loc(v), from)) {
            atomic_store_explicit(&v->loc, to, memory_order_release);
            return true;
        }
    }
    return false;
}
