/* Starting the cache misses of many look-ups before the first is made.
 *
 * Each step is a loop of a few instructions over all keys, and what it finds is kept for the next: the processor then
 * has as many misses and page walks under way as it can, instead of the two or three that fit between longer code.
 */
#include "storage/index/index.h"

#include "base/fail.h"
#include "storage/index/index_internal.h"

static bool
match_any(void *context, uint32_t id)
{
    (void)context;
    (void)id;
    return true;
}

static void
to_buckets(const struct index *index, const struct index_state *state, const uint64_t *hashes,
           size_t count)
{
    struct hash_walk walk;

    for (size_t i = 0; i < count; i++) {
        hash_walk_begin(&walk, index_hash_for(index, state, hashes[i]), hashes[i]);
        __builtin_prefetch(walk.segment->slots[hash_bucket_first(hashes[i])]);
        __builtin_prefetch(walk.segment->slots[hash_bucket_second(hashes[i])]);
    }
}

void
index_prefetch(const struct index *index, const uint64_t *hashes, size_t count,
               enum index_depth depth,
               void (*media_prefetch)(void *context, const index_loc *locs, size_t count))
{
    const struct index_state *state = index_state(index);
    uint32_t ids[INDEX_PREFETCH_MAX];
    index_loc locs[INDEX_PREFETCH_MAX];
    size_t found = 0;
    size_t locs_count = 0;

    FL_ASSERT(count <= INDEX_PREFETCH_MAX);
    to_buckets(index, state, hashes, count);
    if (depth == INDEX_TO_BUCKET) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        ids[found] = hash_find(index_hash_for(index, state, hashes[i]), hashes[i], match_any, NULL);
        found += ids[found] != 0;
    }
    for (size_t i = 0; i < found; i++) {
        __builtin_prefetch(entries_word(&state->entries, ids[i]));
    }
    if (depth == INDEX_TO_ENTRY) {
        return;
    }
    for (size_t i = 0; i < found; i++) {
        locs[locs_count] = entry_newest(entries_load(&state->entries, ids[i]));
        locs_count += locs[locs_count] != 0;
    }
    media_prefetch(index->media.context, locs, locs_count);
}
