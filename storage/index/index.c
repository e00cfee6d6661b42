/* The index: making it, and reading it. */
#include "storage/index/index.h"

#include "base/fail.h"
#include "base/mem.h"
#include "storage/index/index_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

_Static_assert(XXH3_SECRET_SIZE_MIN <= INDEX_SECRET_BYTES, "the secret is long enough");

enum { RANDOM_TRIES = 32, RANDOM_WALKS = 8, MAINTAIN_STEPS = 64 };

/* ---- making ---- */

fl_status
index_state_create(struct index *index, struct index_state **out)
{
    struct index_state *state = mem_alloc_zero(sizeof(*state));

    if (state == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "no memory for the index");
    }
    fl_status status = entries_init(&state->entries, INDEX_KEYS_MAX);

    if (status == FL_OK) {
        status = hash_store_init(&state->store, INDEX_KEYS_MAX);
    }
    if (status == FL_OK) {
        status = hash_init(&state->hash, &state->store, index->epoch, 0);
    }
    if (status == FL_OK) {
        status = order_init(&state->order, &state->entries, &index->media, INDEX_KEYS_MAX);
    }
    if (status != FL_OK) {
        index_state_destroy(state);
        return status;
    }
    *out = state;
    return FL_OK;
}

void
index_state_destroy(struct index_state *state)
{
    order_deinit(&state->order);
    hash_deinit(&state->hash);
    hash_store_deinit(&state->store);
    entries_deinit(&state->entries);
    mem_free(state);
}

fl_status
index_state_reserve(struct index_state *state, uint64_t count)
{
    fl_status status = entries_reserve(&state->entries, count);

    if (status == FL_OK) {
        status = hash_reserve(&state->hash, count);
    }
    if (status == FL_OK) {
        status = order_reserve(&state->order, count);
    }
    return status;
}

fl_status
index_create(const struct index_media *media, struct epoch *epoch, struct index **out)
{
    struct index *index = mem_alloc_zero(sizeof(*index));
    struct index_state *state;

    if (index == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "no memory for the index");
    }
    index->media = *media;
    index->epoch = epoch;
    /* A secret nobody outside knows: keys can't be chosen to collide. */
    for (size_t got = 0; got < sizeof(index->secret);) {
        const ssize_t n = getrandom(index->secret + got, sizeof(index->secret) - got, 0);

        if (n < 0 && errno != EINTR) {
            mem_free(index);
            return FL_FAIL_ERRNO(FL_IO, "no random bytes for the index's hash");
        }
        got += n > 0 ? (size_t)n : 0;
    }
    const fl_status status = index_state_create(index, &state);

    if (status != FL_OK) {
        mem_free(index);
        return status;
    }
    atomic_init(&index->state, state);
    *out = index;
    return FL_OK;
}

void
index_destroy(struct index *index)
{
    if (index == NULL) {
        return;
    }
    /* Notes of ours that wait in the epoch name this memory. */
    (void)epoch_reclaim(index->epoch);
    index_load_abandon(index);
    index_state_destroy(index_state(index));
    pins_deinit(&index->pins);
    version_pool_deinit(&index->pool);
    mem_free(index);
}

uint64_t
index_hash(const struct index *index, struct fl_key key)
{
    return XXH3_64bits_withSecret(key.ptr, key.len, index->secret, sizeof(index->secret)) ^
           key.space * UINT64_C(0x9E3779B97F4A7C15);
}

/* ---- reading ---- */

bool
index_find(const struct index *index, uint64_t hash, struct fl_key key, uint64_t at_lsn,
           index_loc *loc)
{
    const struct index_state *state = index_state(index);
    struct index_search search = {index, state, &key, 0, 0};

    if (hash_find(&state->hash, hash, index_search_match, &search) == 0) {
        *loc = search.doubt;
        return false;
    }
    *loc = index_visible(index, search.word, at_lsn);
    return *loc != 0;
}

struct scan {
    const struct index *index;
    const struct index_state *state;
    uint64_t at_lsn;
    index_loc *locs;
    size_t count;
    size_t count_max;
};

static bool
scan_visit(void *context, uint32_t id)
{
    struct scan *scan = context;
    const index_loc loc =
        index_visible(scan->index, entries_load(&scan->state->entries, id), scan->at_lsn);

    if (loc != 0) {
        scan->locs[scan->count++] = loc;
    }
    return scan->count < scan->count_max;
}

size_t
index_scan(const struct index *index, struct fl_key from, bool inclusive,
           enum index_direction direction, uint64_t at_lsn, index_loc *locs, size_t count_max)
{
    struct index_state *state = index_state(index);
    struct scan scan = {index, state, at_lsn, locs, 0, count_max};

    if (count_max > 0) {
        order_scan(&state->order, &from, inclusive, direction, scan_visit, &scan);
    }
    return scan.count;
}

uint64_t
index_count(const struct index *index, uint8_t space)
{
    return atomic_load_explicit(&index_state(index)->counts[space], memory_order_relaxed);
}

uint64_t
index_dram_bytes(const struct index *index)
{
    const struct index_state *state = index_state(index);

    return sizeof(*index) + sizeof(*state) + arena_dram_bytes(&state->entries.words) +
           hash_dram_bytes(&state->hash) + order_dram_bytes(&state->order) +
           atomic_load_explicit(&index->pool.blocks_bytes, memory_order_relaxed);
}

/* The newest loc of entry `id`, if it is live and in `space`; else 0. */
static index_loc
random_loc(const struct index *index, const struct index_state *state, uint32_t id, uint8_t space)
{
    const index_loc loc = index_visible(index, entries_load(&state->entries, id), INDEX_LSN_LATEST);
    struct fl_key key;

    return loc != 0 && index_key_at(index, loc, &key) && key.space == space ? loc : 0;
}

bool
index_random(const struct index *index, uint8_t space, uint64_t random, index_loc *loc)
{
    struct index_state *state = index_state(index);

    if (index_count(index, space) == 0) {
        return false;
    }
    /* Any entry: even, and quick unless the space is a small part of the index. */
    for (int i = 0; i < RANDOM_TRIES; i++) {
        const uint32_t next =
            atomic_load_explicit(&state->entries.words.next, memory_order_relaxed);

        random = (random ^ random >> 33) * UINT64_C(0xFF51AFD7ED558CCD) + 1;
        if (next < 2) {
            break;
        }
        *loc = random_loc(index, state, 1 + (uint32_t)((random >> 32) % (next - 1)), space);
        if (*loc != 0) {
            return true;
        }
    }
    for (int i = 0; i < RANDOM_WALKS; i++) {
        random = (random ^ random >> 33) * UINT64_C(0xFF51AFD7ED558CCD) + 1;
        const uint32_t id = order_random(&state->order, space, random);

        *loc = id != 0 ? random_loc(index, state, id, space) : 0;
        if (*loc != 0) {
            return true;
        }
    }
    return index_scan(index, fl_key_in(space, "", 0), true, INDEX_FORWARD, INDEX_LSN_LATEST, loc,
                      1) == 1;
}

struct place_search {
    const struct index_state *state;
    index_loc loc;
};

static bool
match_place(void *context, uint32_t id)
{
    const struct place_search *search = context;
    const index_loc newest = entry_newest(entries_load(&search->state->entries, id));

    return newest != 0 && index_same_place(newest, search->loc);
}

bool
index_newest_at(const struct index *index, uint64_t hash, index_loc loc)
{
    struct place_search search = {index_state(index), loc};

    return hash_find(index_hash_for(index, search.state, hash), hash, match_place, &search) != 0;
}

bool
index_names(const struct index *index, uint64_t hash, struct fl_key key, index_loc loc)
{
    const struct index_state *state = index_state(index);
    struct index_search search = {index, state, &key, 0, 0};

    if (hash_find(&state->hash, hash, index_search_match, &search) == 0) {
        return false;
    }
    if ((search.word & ENTRY_VERSIONED) == 0) {
        return index_same_place(entry_newest(search.word), loc);
    }
    for (const struct version *v = entry_versions(search.word); v != NULL; v = version_older(v)) {
        if (index_same_place(version_loc(v), loc)) {
            return true;
        }
    }
    return false;
}

uint64_t
index_pins(const struct index *index, uint64_t *versions_kept)
{
    *versions_kept = atomic_load_explicit(&index->versions_kept, memory_order_relaxed);
    return atomic_load_explicit(&index->pins_held, memory_order_relaxed);
}

size_t
index_maintain(struct index *index)
{
    size_t waiting = 1;

    /* A section a step: they should be short. */
    for (int i = 0; i < MAINTAIN_STEPS && waiting > 0; i++) {
        const uint32_t token = epoch_enter(index->epoch);
        struct order *order = &index_state(index)->order;

        atomic_store_explicit(&order->maintained,
                              atomic_load_explicit(&order->ring_tail, memory_order_relaxed),
                              memory_order_relaxed);
        (void)order_step(order);
        waiting = (size_t)order_waiting(order);
        epoch_exit(index->epoch, token);
    }
    return waiting;
}
