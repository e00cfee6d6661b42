/* The index: loading on open, by several threads at once. */
#include "storage/index/index.h"

#include "base/fail.h"
#include "base/mem.h"
#include "storage/index/index_internal.h"

enum { LOAD_IDS = 4096 /* a shard takes so many ids at a time */ };

unsigned
index_load_shard(const struct index *index, uint64_t hash)
{
    return (unsigned)((hash >> 1) >> (63 - index->load->bits));
}

const struct hash *
index_hash_for(const struct index *index, const struct index_state *state, uint64_t key_hash)
{
    return __builtin_expect(index->load == NULL, 1)
               ? &state->hash
               : &index->load->shard[index_load_shard(index, key_hash)].hash;
}

void
index_load_abandon(struct index *index)
{
    struct index_load *load = index->load;

    if (load == NULL) {
        return;
    }
    for (unsigned s = 0; s < load->shards; s++) {
        hash_deinit(&load->shard[s].hash);
    }
    pthread_mutex_destroy(&load->lock);
    mem_free(load);
    index->load = NULL;
}

fl_status
index_load_begin(struct index *index, unsigned shards)
{
    FL_ASSERT(index->load == NULL && shards > 0 && shards <= INDEX_LOAD_SHARDS_MAX &&
              (shards & (shards - 1)) == 0);
    struct index_load *load = mem_alloc_zero(sizeof(*load));

    if (load == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "no memory to load the index");
    }
    pthread_mutex_init(&load->lock, NULL);
    load->bits = (unsigned)__builtin_ctz(shards);
    index->load = load;
    for (; load->shards < shards; load->shards++) {
        const fl_status status = hash_init(&load->shard[load->shards].hash,
                                           &index_state(index)->store, index->epoch, load->bits);

        if (status != FL_OK) {
            hash_deinit(&load->shard[load->shards].hash);
            index_load_abandon(index);
            return status;
        }
    }
    return FL_OK;
}

static fl_status
load_take_ids(struct index *index, struct index_load_shard *shard)
{
    struct arena *words = &index_state(index)->entries.words;

    pthread_mutex_lock(&index->load->lock);
    const uint32_t next = atomic_load_explicit(&words->next, memory_order_relaxed);
    const fl_status status = arena_commit(words, (uint64_t)next + LOAD_IDS);

    if (status == FL_OK) {
        atomic_store_explicit(&words->next, next + LOAD_IDS, memory_order_relaxed);
        shard->id_next = next;
        shard->id_end = next + LOAD_IDS;
    }
    pthread_mutex_unlock(&index->load->lock);
    return status;
}

fl_status
index_load_put(struct index *index, uint64_t hash, struct fl_key key, index_loc loc, uint64_t lsn)
{
    struct index_load_shard *shard = &index->load->shard[index_load_shard(index, hash)];
    struct index_state *state = index_state(index);
    struct index_search search = {index, state, &key, 0, 0};
    const uint32_t id = hash_find(&shard->hash, hash, index_search_match, &search);

    shard->lsn_max = lsn > shard->lsn_max ? lsn : shard->lsn_max;
    if (id != 0) {
        const bool newer = lsn > index_lsn_at(index, search.word);

        if (newer) {
            entries_store(&state->entries, id, loc);
        }
        index_dead(index, newer ? search.word : loc);
        return FL_OK;
    }
    fl_status status = hash_reserve(&shard->hash, 1);

    if (status == FL_OK && shard->id_next == shard->id_end) {
        status = load_take_ids(index, shard);
    }
    if (status != FL_OK) {
        return status;
    }
    entries_store(&state->entries, shard->id_next, loc);
    hash_insert(&shard->hash, hash, shard->id_next++);
    return FL_OK;
}
