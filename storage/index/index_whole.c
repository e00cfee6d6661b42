/* The index: removing whole spaces, and checking it. */
#include "storage/index/index.h"

#include "base/fail.h"
#include "base/mem.h"
#include "storage/index/index_internal.h"

#include <inttypes.h>

enum { CLEAR_BATCH = 256 };

static void
index_state_release(void *context, uint64_t arg)
{
    (void)arg;
    index_state_destroy(context);
}

struct clear_batch {
    uint32_t ids[CLEAR_BATCH];
    size_t count;
};

static bool
clear_visit(void *context, uint32_t id)
{
    struct clear_batch *batch = context;

    batch->ids[batch->count++] = id;
    return batch->count < CLEAR_BATCH;
}

/* Remove those of the batch that are older than `lsn`. Returns whether a key could be read to go on from. */
static bool
clear_entries(struct index *index, const struct clear_batch *batch, uint64_t lsn,
              struct fl_key *last)
{
    struct index_state *state = index_state(index);
    bool readable = false;

    for (size_t i = 0; i < batch->count; i++) {
        const uint32_t id = batch->ids[i];
        const uint64_t word = entries_load(&state->entries, id);
        struct fl_key key;

        if (!index_key_at(index, entry_key_loc(word), &key)) {
            continue;
        }
        *last = key;
        readable = true;
        const struct change change =
            change_begin(index, index_hash(index, key), &key, id, word, lsn);
        const uint64_t newest = (word & ENTRY_VERSIONED) != 0 ? entry_versions(word)->lsn
                                                              : index_lsn_at(index, change.loc);
        if (!change.live || newest >= lsn) {
            continue;
        }
        index_drop_newest(&change, lsn, lsn);
    }
    return readable;
}

static bool
clear_all(struct index *index, uint8_t space_first, uint8_t space_last, uint64_t lsn)
{
    struct index_state *old = index_state(index);
    struct index_state *fresh;

    if (index->pins_held > 0 || atomic_load(&index->versions_kept) > 0 || index->lsn_max >= lsn) {
        return false;
    }
    for (unsigned space = 0; space < INDEX_SPACES; space++) {
        if ((space < space_first || space > space_last) && atomic_load(&old->counts[space]) > 0) {
            return false;
        }
    }
    if (index_state_create(index, &fresh) != FL_OK) {
        return false;
    }
    if (index_state_reserve(fresh, index->credits) != FL_OK) {
        index_state_destroy(fresh);
        return false;
    }
    atomic_store_explicit(&index->state, fresh, memory_order_release);
    epoch_retire(index->epoch, index_state_release, old, 0);
    return true;
}

static void
clear_space(struct index *index, uint8_t space, uint64_t lsn)
{
    struct order *order = &index_state(index)->order;
    struct fl_key from = fl_key_in(space, "", 0);
    bool inclusive = true;

    for (;;) {
        struct clear_batch batch = {.count = 0};

        order_scan(order, &from, inclusive, INDEX_FORWARD, clear_visit, &batch);
        inclusive = false;
        /* Where nothing can be read any more there is no key to go on from: damage is left alone. */
        if (!clear_entries(index, &batch, lsn, &from) || batch.count < CLEAR_BATCH) {
            return;
        }
    }
}

bool
index_clear_spaces(struct index *index, uint8_t space_first, uint8_t space_last, uint64_t lsn)
{
    if (clear_all(index, space_first, space_last, lsn)) {
        return true;
    }
    for (unsigned space = space_first; space <= space_last; space++) {
        clear_space(index, (uint8_t)space, lsn);
    }
    return false;
}

/* ---- checking ---- */

struct verify {
    struct index *index;
    struct index_state *state;
    uint64_t *seen; /* a bit an id */
    uint64_t slots;
    uint64_t versions;
    uint64_t counts[INDEX_SPACES];
    fl_status status;
};

static fl_status
verify_chain(struct verify *verify, uint32_t id, const struct version *newest)
{
    const struct pins *pins = &verify->index->pins;
    uint64_t lsn = newest->lsn;

    if (version_older(newest) == NULL) {
        return FL_FAIL(FL_CORRUPT, "entry %" PRIu32 " has a chain without older versions", id);
    }
    for (const struct version *v = version_older(newest); v != NULL; v = version_older(v)) {
        const uint64_t end = atomic_load(&v->lsn_end);
        const struct pin *pin = pins_below(pins, end);

        if (v->lsn >= lsn || v->lsn >= end || v->id != id) {
            return FL_FAIL(FL_CORRUPT, "entry %" PRIu32 " has versions out of order", id);
        }
        if (pin == NULL || pin->lsn < v->lsn) {
            return FL_FAIL(FL_CORRUPT, "entry %" PRIu32 " keeps a version that no pin sees", id);
        }
        lsn = v->lsn;
        verify->versions++;
    }
    return FL_OK;
}

static fl_status
verify_entry(struct verify *verify, uint32_t id)
{
    struct index_state *state = verify->state;
    const uint64_t word = entries_load(&state->entries, id);
    const uint64_t bit = UINT64_C(1) << (id % 64);
    const index_loc live = index_visible(verify->index, word, INDEX_LSN_LATEST);
    struct fl_key key;

    if (id >= atomic_load(&state->entries.words.next) || entry_key_loc(word) == 0 ||
        (word & ENTRY_LEAVING) != 0) {
        return FL_FAIL(FL_CORRUPT, "the hash names entry %" PRIu32 ", which is free", id);
    }
    if ((verify->seen[id / 64] & bit) != 0) {
        return FL_FAIL(FL_CORRUPT, "entry %" PRIu32 " is in the hash twice", id);
    }
    verify->seen[id / 64] |= bit;
    verify->slots++;
    if (!order_placed(&state->order, id)) {
        return FL_FAIL(FL_CORRUPT, "entry %" PRIu32 " is in the hash, not in the order", id);
    }
    if (live != 0 && index_key_at(verify->index, live, &key)) {
        verify->counts[key.space]++;
    }
    if (live == 0 && (word & ENTRY_VERSIONED) == 0) {
        return FL_FAIL(FL_CORRUPT, "entry %" PRIu32 " is a tombstone that nobody needs", id);
    }
    return (word & ENTRY_VERSIONED) != 0 ? verify_chain(verify, id, entry_versions(word)) : FL_OK;
}

static bool
verify_slot(void *context, uint32_t tag, uint32_t id)
{
    struct verify *verify = context;

    (void)tag;
    verify->status = verify_entry(verify, id);
    return verify->status == FL_OK;
}

static fl_status
verify_sums(const struct verify *verify)
{
    if (verify->slots != verify->state->order.count) {
        return FL_FAIL(FL_CORRUPT, "the hash holds %" PRIu64 " entries, the order %" PRIu64,
                       verify->slots, verify->state->order.count);
    }
    if (verify->versions != atomic_load(&verify->index->versions_kept)) {
        return FL_FAIL(FL_CORRUPT, "%" PRIu64 " older versions are kept, counted as %" PRIu64,
                       verify->versions, atomic_load(&verify->index->versions_kept));
    }
    for (unsigned space = 0; space < INDEX_SPACES; space++) {
        const uint64_t count = atomic_load(&verify->state->counts[space]);

        /* Damaged records can't be told apart by space. */
        if (verify->counts[space] > count) {
            return FL_FAIL(FL_CORRUPT, "space %u holds %" PRIu64 " keys, counted as %" PRIu64,
                           space, verify->counts[space], count);
        }
    }
    return FL_OK;
}

fl_status
index_verify(struct index *index)
{
    struct index_state *state = index_state(index);
    struct verify verify = {.index = index, .state = state};
    const uint32_t token = epoch_enter(index->epoch);

    order_merge_all(&state->order);
    epoch_exit(index->epoch, token);
    verify.status = order_verify(&state->order);
    if (verify.status != FL_OK) {
        return verify.status;
    }
    verify.seen = mem_alloc_zero(((size_t)atomic_load(&state->entries.words.next) / 64 + 1) * 8);
    if (verify.seen == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "no memory to check the index");
    }
    if (hash_each(&state->hash, verify_slot, &verify)) {
        verify.status = verify_sums(&verify);
    }
    mem_free(verify.seen);
    return verify.status;
}
