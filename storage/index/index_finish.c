/* The index: the end of loading. One hash of the shards' hashes, and the order of all entries: collect them with the
 * first bytes of their keys, part them by a sample, then sort each part and lay its leaves. */
#include "storage/index/index.h"

#include "base/fail.h"
#include "base/mem.h"
#include "storage/index/index_internal.h"

enum {
    FINISH_BLOCK_IDS =
        65536, /* collected at a time; a multiple of 64: blocks share no word of bits */
    FINISH_PARTS = 64,
    FINISH_SAMPLES = 16 * FINISH_PARTS,
    FINISH_THREADS_MAX = 64,
};

struct finish_block {
    uint32_t counts[FINISH_PARTS]; /* items by part; then where the part's next goes */
    uint32_t count;
};

struct finish {
    struct index *index;
    struct index_state *state;
    bool (*drop)(void *context, index_loc loc, uint64_t lsn, struct fl_key key);
    unsigned threads;

    struct sort_item *items;  /* block b's from b * FINISH_BLOCK_IDS on; later the sort's scratch */
    struct sort_item *parted; /* by part */
    struct finish_block *blocks;
    size_t blocks_count;
    uint32_t *nodes; /* leaves, part p's from node_begin[p] on */

    uint32_t skip; /* bytes that all samples share */
    struct fl_key splitters[FINISH_PARTS - 1];
    uint64_t splitter_heads[FINISH_PARTS - 1];
    unsigned splitters_count;

    size_t part_begin[FINISH_PARTS + 1];
    size_t node_begin[FINISH_PARTS + 1];
    size_t node_count[FINISH_PARTS];

    _Atomic size_t next; /* block or part to be worked on */
    _Atomic bool sweep;  /* the hash still names ids that were dropped */
};

/* ---- threads ---- */

struct finish_worker {
    struct finish *finish;
    void (*work)(struct finish *finish, size_t i);
    size_t count;
    pthread_t thread;
};

static void *
finish_worker_run(void *arg)
{
    const struct finish_worker *worker = arg;
    const struct index_media *media = &worker->finish->index->media;
    size_t i;

    if (media->thread != NULL) {
        media->thread(media->context, true);
    }
    while ((i = atomic_fetch_add(&worker->finish->next, 1)) < worker->count) {
        worker->work(worker->finish, i);
    }
    if (media->thread != NULL) {
        media->thread(media->context, false);
    }
    return NULL;
}

/* work(0) to work(count - 1), on all threads; where one can't be had the others do its share. */
static void
finish_run(struct finish *finish, size_t count, void (*work)(struct finish *finish, size_t i))
{
    struct finish_worker workers[FINISH_THREADS_MAX];
    unsigned started = 0;

    atomic_store(&finish->next, 0);
    workers[0] = (struct finish_worker){.finish = finish, .work = work, .count = count};
    while (started + 1 < finish->threads && started + 1 < count) {
        struct finish_worker *worker = &workers[started + 1];

        *worker = workers[0];
        if (pthread_create(&worker->thread, NULL, finish_worker_run, worker) != 0) {
            break;
        }
        started++;
    }
    (void)finish_worker_run(&workers[0]);
    for (unsigned t = 1; t <= started; t++) {
        pthread_join(workers[t].thread, NULL);
    }
}

/* ---- the sample ---- */

static void
finish_key(void *context, const struct sort_item *item, struct fl_key *key)
{
    const struct finish *finish = context;

    /* It was read when it was collected. Should it fail now, any key keeps the sort going. */
    if (!order_key(&finish->state->order, item->id, key)) {
        *key = fl_key_in(UINT8_MAX, "", 0);
    }
}

/* Keys that part all others about evenly, and the bytes that they share. */
static void
finish_sample(struct finish *finish)
{
    struct sort_item samples[FINISH_SAMPLES];
    struct sort_item scratch[FINISH_SAMPLES];
    const struct order *order = &finish->state->order;
    const uint32_t ids = atomic_load(&finish->state->entries.words.next);
    struct fl_key first = {0};
    size_t count = 0;

    finish->skip = ORDER_PREFIX_MAX;
    for (size_t i = 0; i < FINISH_SAMPLES; i++) {
        const uint32_t id = (uint32_t)((uint64_t)ids * i / FINISH_SAMPLES);
        struct fl_key key;

        if (id == 0 || (count > 0 && samples[count - 1].id == id) || !order_key(order, id, &key)) {
            continue;
        }
        first = count == 0 ? key : first;
        const uint32_t common = key_common(&first, &key, 0);

        finish->skip = common < finish->skip ? common : finish->skip;
        samples[count++] = (struct sort_item){0, id, 0};
    }
    finish->skip = count == 0 ? 0 : finish->skip;
    sort_keys(samples, scratch, count, 0, finish_key, finish);
    for (size_t p = 1; p < FINISH_PARTS && count >= (size_t)2 * FINISH_PARTS; p++) {
        struct fl_key *splitter = &finish->splitters[finish->splitters_count];

        finish_key(finish, &samples[count * p / FINISH_PARTS], splitter);
        finish->splitter_heads[finish->splitters_count++] = key_head8(splitter, finish->skip);
    }
}

/* The part that `key` belongs to, and its head. Keys that lack the samples' common prefix are in the first part or
 * the last: their heads count for nothing there. */
static unsigned
finish_part(const struct finish *finish, const struct fl_key *key, uint64_t *head)
{
    const unsigned n = finish->splitters_count;
    unsigned part = 0;

    *head = key_head8(key, finish->skip);
    if (n == 0) {
        return 0;
    }
    if (key_common(&finish->splitters[0], key, 0) < finish->skip) {
        return key_compare(key, &finish->splitters[0], 0) < 0 ? 0 : n;
    }
    for (unsigned half = n; half > 0;) {
        const unsigned step = half / 2;
        const bool above = finish->splitter_heads[part + step] < *head;

        part += above ? step + 1 : 0;
        half = above ? half - step - 1 : step;
    }
    while (part < n && finish->splitter_heads[part] == *head &&
           key_compare(&finish->splitters[part], key, finish->skip) <= 0) {
        part++;
    }
    return part;
}

/* ---- the steps ---- */

static void
finish_drop_entry(struct finish *finish, uint32_t id, index_loc loc, const struct fl_key *key)
{
    struct index_state *state = finish->state;

    if (key == NULL || !hash_remove(&state->hash, index_hash(finish->index, *key), id)) {
        atomic_store(&finish->sweep, true);
    }
    entries_return(&state->entries, id);
    index_dead(finish->index, loc);
}

static bool
finish_drops(const struct finish *finish, index_loc loc, const struct fl_key *key)
{
    const struct index *index = finish->index;

    return (loc & INDEX_LOC_TOMBSTONE) != 0 ||
           (finish->drop != NULL &&
            finish->drop(index->media.context, loc, index_lsn_at(index, loc), *key));
}

/* Sort out what stays of a block of ids. */
static void
finish_collect(struct finish *finish, size_t b)
{
    struct index_state *state = finish->state;
    struct finish_block *block = &finish->blocks[b];
    struct sort_item *items = finish->items + b * FINISH_BLOCK_IDS;
    const uint64_t begin = b * FINISH_BLOCK_IDS;
    const uint64_t next = atomic_load(&state->entries.words.next);
    const uint64_t end = begin + FINISH_BLOCK_IDS < next ? begin + FINISH_BLOCK_IDS : next;
    uint64_t counts[INDEX_SPACES] = {0};

    for (uint64_t i = begin > 0 ? begin : 1; i < end; i++) {
        const uint32_t id = (uint32_t)i;
        const index_loc loc = entries_load(&state->entries, id);
        struct fl_key key;

        if (loc == 0) {
            entries_return(&state->entries, id);
            continue;
        }
        const bool readable = index_key_at(finish->index, loc, &key);

        if (!readable || finish_drops(finish, loc, &key)) {
            finish_drop_entry(finish, id, loc, readable ? &key : NULL);
            continue;
        }
        struct sort_item *item = &items[block->count++];

        item->id = id;
        item->aux = finish_part(finish, &key, &item->head);
        block->counts[item->aux]++;
        counts[key.space]++;
        order_set_placed(&state->order, id, true);
    }
    for (unsigned space = 0; space < INDEX_SPACES; space++) {
        if (counts[space] > 0) {
            atomic_fetch_add_explicit(&state->counts[space], counts[space], memory_order_relaxed);
        }
    }
}

static void
finish_scatter(struct finish *finish, size_t b)
{
    struct finish_block *block = &finish->blocks[b];
    const struct sort_item *items = finish->items + b * FINISH_BLOCK_IDS;

    for (uint32_t i = 0; i < block->count; i++) {
        const unsigned part = items[i].aux;

        finish->parted[block->counts[part]++] = items[i];
    }
}

/* Where each block's items of each part go; how many there are. */
static size_t
finish_lay_out(struct finish *finish)
{
    size_t place = 0;
    size_t node = 0;

    for (unsigned p = 0; p < FINISH_PARTS; p++) {
        finish->part_begin[p] = place;
        for (size_t b = 0; b < finish->blocks_count; b++) {
            const uint32_t count = finish->blocks[b].counts[p];

            finish->blocks[b].counts[p] = (uint32_t)place;
            place += count;
        }
        finish->node_begin[p] = node;
        node += order_build_leaves_max(place - finish->part_begin[p]);
    }
    finish->part_begin[FINISH_PARTS] = place;
    finish->node_begin[FINISH_PARTS] = node;
    return place;
}

static void
finish_sort(struct finish *finish, size_t p)
{
    const size_t begin = finish->part_begin[p];
    const size_t count = finish->part_begin[p + 1] - begin;
    struct sort_item *items = finish->parted + begin;
    struct sort_item *scratch = finish->items + begin;

    if (p == 0 || p == finish->splitters_count) {
        /* Some may lack the prefix. */
        sort_keys(items, scratch, count, 0, finish_key, finish);
        for (size_t i = 0; i < count; i++) {
            struct fl_key key;

            finish_key(finish, &items[i], &key);
            items[i].head = key_head8(&key, 0);
            items[i].aux = 0;
        }
    } else {
        sort_headed_keys(items, scratch, count, finish->skip, finish_key, finish);
    }
    finish->node_count[p] = order_build_leaves(&finish->state->order, items, count,
                                               finish->nodes + finish->node_begin[p]);
}

static bool
finish_keeps(void *context, uint32_t id)
{
    const struct finish *finish = context;

    return (entries_load(&finish->state->entries, id) & ENTRY_FREE) == 0;
}

static fl_status
finish_order(struct finish *finish)
{
    finish_sample(finish);
    finish_run(finish, finish->blocks_count, finish_collect);
    if (atomic_load(&finish->sweep)) {
        hash_sweep(&finish->state->hash, finish_keeps, finish);
    }
    const size_t count = finish_lay_out(finish);
    const size_t nodes = finish->node_begin[FINISH_PARTS];
    const fl_status status = order_build_reserve(&finish->state->order, count, FINISH_PARTS);

    if (status != FL_OK) {
        return status;
    }
    finish->nodes = mem_alloc(nodes * sizeof(finish->nodes[0]));
    if (finish->nodes == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "no memory to build the index's order");
    }
    finish_run(finish, finish->blocks_count, finish_scatter);
    finish_run(finish, FINISH_PARTS, finish_sort);

    size_t made = 0;

    for (unsigned p = 0; p < FINISH_PARTS; p++) {
        for (size_t i = 0; i < finish->node_count[p]; i++) {
            finish->nodes[made++] = finish->nodes[finish->node_begin[p] + i];
        }
    }
    order_build_finish(&finish->state->order, finish->nodes, made, count);
    mem_free(finish->nodes);
    return FL_OK;
}

/* One hash of the shards' hashes. */
static fl_status
finish_hash(struct index *index)
{
    struct index_load *load = index->load;
    struct hash *parts[INDEX_LOAD_SHARDS_MAX];

    for (unsigned s = 0; s < load->shards; s++) {
        parts[s] = &load->shard[s].hash;
        index->lsn_max =
            load->shard[s].lsn_max > index->lsn_max ? load->shard[s].lsn_max : index->lsn_max;
    }
    const fl_status status = hash_join(&index_state(index)->hash, parts, load->shards);

    if (status == FL_OK) {
        index_load_abandon(index);
    }
    return status;
}

fl_status
index_load_finish(struct index *index, unsigned threads,
                  bool (*drop)(void *context, index_loc loc, uint64_t lsn, struct fl_key key))
{
    struct index_state *state = index_state(index);
    const size_t ids = atomic_load(&state->entries.words.next);
    const size_t blocks = ids / FINISH_BLOCK_IDS + 1;
    fl_status status = finish_hash(index);

    if (status != FL_OK) {
        return status;
    }
    struct finish *finish = mem_alloc_zero(sizeof(*finish));
    struct sort_item *items = mem_alloc(2 * blocks * FINISH_BLOCK_IDS * sizeof(*items));
    struct finish_block *rows = mem_alloc_zero(blocks * sizeof(*rows));

    if (finish == NULL || items == NULL || rows == NULL) {
        status = FL_FAIL(FL_NO_MEMORY, "no memory to sort the index");
    } else {
        finish->index = index;
        finish->state = state;
        finish->drop = drop;
        finish->threads = threads < 1                    ? 1
                          : threads < FINISH_THREADS_MAX ? threads
                                                         : FINISH_THREADS_MAX;
        finish->items = items;
        finish->parted = items + blocks * FINISH_BLOCK_IDS;
        finish->blocks = rows;
        finish->blocks_count = blocks;
        status = arena_commit(&state->order.placed, ids / 64);
        if (status == FL_OK) {
            status = finish_order(finish);
        }
    }
    mem_free(rows);
    mem_free(items);
    mem_free(finish);
    return status;
}
