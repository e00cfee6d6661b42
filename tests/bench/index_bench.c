/* Nanoseconds an operation of the index takes, over records in a flat array in place of media.
 *
 *   bench_index [keys] [decimal|random|ascending|groups] ...
 *
 * decimal: "key:000000123456" in random order; random: 16 random bytes; ascending: decimal in order; groups:
 * "user:00012345" and "session:00012345" mixed. "record reads" is what a random read of a record costs by
 * itself; a find or an overwrite contains one.
 */
#include "base/epoch.h"
#include "base/mem.h"
#include "storage/index/index.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { RECORD_BYTES = 128, KEY_OFF = 12, KEY_ROOM = 24, BATCH = 16 };

struct bench {
    char *records; /* record i at (i + 1) * RECORD_BYTES; its key's length is byte 0 */
    size_t records_bytes;
    uint64_t keys;
    struct epoch *epoch;
    struct index *index;
    _Atomic uint64_t dead;
    _Atomic int stop;
};

static uint64_t
mix(uint64_t x)
{
    x = (x ^ x >> 31) * UINT64_C(0x7FB5D329728EA185);
    x = (x ^ x >> 27) * UINT64_C(0x81DADEF4BC2DD44D);
    return x ^ x >> 33;
}

/* Elapsed time, and this process's processor time: on a busy machine only the second means something. */
struct span {
    double wall_ns, cpu_ns;
};

static double
clock_ns(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static struct span
span_begin(void)
{
    return (struct span){clock_ns(CLOCK_MONOTONIC), clock_ns(CLOCK_PROCESS_CPUTIME_ID)};
}

static void
report(const char *what, struct span since, uint64_t count)
{
    const struct span now = span_begin();

    printf("  %-34s %8.1f ns, processor %8.1f ns\n", what,
           (now.wall_ns - since.wall_ns) / (double)count,
           (now.cpu_ns - since.cpu_ns) / (double)count);
    fflush(stdout);
}

static bool
key_at(void *context, index_loc loc, struct fl_key *key)
{
    const char *record = ((struct bench *)context)->records + (loc & INDEX_LOC_OFF_MASK);

    *key = fl_key(record + KEY_OFF, (unsigned char)record[0]);
    return true;
}

static uint64_t
lsn_at(void *context, index_loc loc)
{
    (void)context;
    return loc & INDEX_LOC_OFF_MASK;
}

static void
dead(void *context, index_loc loc)
{
    (void)loc;
    /* Called by one thread at a time, but while loading. */
    _Atomic uint64_t *count = &((struct bench *)context)->dead;

    atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

static void
media_prefetch(void *context, const index_loc *locs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        __builtin_prefetch(((struct bench *)context)->records + (locs[i] & INDEX_LOC_OFF_MASK));
    }
}

static struct fl_key
record_key(const struct bench *bench, uint64_t i)
{
    const char *record = bench->records + (i + 1) * RECORD_BYTES;

    return fl_key(record + KEY_OFF, (unsigned char)record[0]);
}

static index_loc
record_loc(uint64_t i)
{
    return (i + 1) * RECORD_BYTES;
}

/* A permutation of [0, keys). */
static uint64_t
permuted(uint64_t i, uint64_t keys)
{
    uint64_t bits = 1;

    while (UINT64_C(1) << bits < keys) {
        bits++;
    }
    const uint64_t mask = (UINT64_C(1) << bits) - 1;

    do {
        i = (i * UINT64_C(0x9E3779B97F4A7C15) + 12345) & mask;
        i ^= i >> (bits / 2 + 1);
        i = (i * UINT64_C(0xD6E8FEB86659FD93)) & mask;
        i ^= i >> (bits / 2 + 1);
    } while (i >= keys);
    return i;
}

static void
write_records(struct bench *bench, const char *shape)
{
    for (uint64_t i = 0; i < bench->keys; i++) {
        char *record = bench->records + (i + 1) * RECORD_BYTES;
        const uint64_t k = shape[0] == 'a' ? i : permuted(i, bench->keys);
        int len = 16;

        if (shape[0] == 'r') {
            const uint64_t a = mix(2 * k + 1);
            const uint64_t b = mix(2 * k + 2);

            memcpy(record + KEY_OFF, &a, 8);
            memcpy(record + KEY_OFF + 8, &b, 8);
        } else if (shape[0] == 'g') {
            len = snprintf(record + KEY_OFF, KEY_ROOM, "%s:%09" PRIu64,
                           k % 2 == 0 ? "user" : "session", k / 2);
        } else {
            len = snprintf(record + KEY_OFF, KEY_ROOM, "key:%012" PRIu64, k);
        }
        record[0] = (char)len;
    }
}

static void
must(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "bench_index: %s: %s\n", what, fl_last_error());
        exit(1);
    }
}

static void
index_begin(struct bench *bench)
{
    const struct index_media media = {bench, key_at, lsn_at, dead, NULL};

    must(epoch_create(&bench->epoch) == FL_OK, "epoch");
    must(index_create(&media, bench->epoch, &bench->index) == FL_OK, "index");
}

static void
index_end(struct bench *bench)
{
    index_destroy(bench->index);
    epoch_destroy(bench->epoch);
}

static void
put(struct bench *bench, uint64_t hash, uint64_t i, index_loc loc, uint64_t lsn)
{
    must(index_reserve(bench->index, 1) == FL_OK, "reserve");
    (void)index_put(bench->index, hash, record_key(bench, i), loc, lsn);
}

static void
bench_insert(struct bench *bench)
{
    const struct span begin = span_begin();

    for (uint64_t i = 0; i < bench->keys; i++) {
        put(bench, index_hash(bench->index, record_key(bench, i)), i, record_loc(i), i + 1);
    }
    while (index_maintain(bench->index) > 0) {
    }
    report("insert, hash and order", begin, bench->keys);
}

static void
bench_insert_batched(struct bench *bench)
{
    const struct span begin = span_begin();

    for (uint64_t i = 0; i < bench->keys; i += BATCH) {
        const uint64_t n = bench->keys - i < BATCH ? bench->keys - i : BATCH;
        uint64_t hashes[BATCH];

        for (uint64_t j = 0; j < n; j++) {
            hashes[j] = index_hash(bench->index, record_key(bench, i + j));
        }
        index_prefetch(bench->index, hashes, n, INDEX_TO_BUCKET, NULL);
        for (uint64_t j = 0; j < n; j++) {
            put(bench, hashes[j], i + j, record_loc(i + j), i + j + 1);
        }
    }
    while (index_maintain(bench->index) > 0) {
    }
    report("insert, prefetched by 16", begin, bench->keys);
}

static void *
maintain(void *arg)
{
    struct bench *bench = arg;
    const struct timespec pause = {0, 200000};

    while (atomic_load(&bench->stop) == 0) {
        if (index_maintain(bench->index) == 0) {
            nanosleep(&pause, NULL);
        }
    }
    return NULL;
}

static void
bench_insert_beside(struct bench *bench)
{
    pthread_t thread;

    atomic_store(&bench->stop, 0);
    must(pthread_create(&thread, NULL, maintain, bench) == 0, "thread");
    bench_insert_batched(bench);
    atomic_store(&bench->stop, 1);
    pthread_join(thread, NULL);
}

static void
bench_reads(struct bench *bench)
{
    const uint64_t n = bench->keys;
    uint64_t sum = 0;
    struct span begin = span_begin();

    for (uint64_t i = 0; i < n; i++) {
        const uint64_t k = mix(i) % n;

        sum += (unsigned char)bench->records[(k + 1) * RECORD_BYTES + KEY_OFF + (sum & 1)];
    }
    report("record reads", begin, n);
    begin = span_begin();
    for (uint64_t i = 0; i < n; i++) {
        const struct fl_key key = record_key(bench, mix(i) % n);
        const uint32_t token = epoch_enter(bench->epoch);
        index_loc loc;

        must(index_find(bench->index, index_hash(bench->index, key), key, INDEX_LSN_LATEST, &loc),
             "find");
        sum += loc;
        epoch_exit(bench->epoch, token);
    }
    report("find, with its record's reads", begin, n);
    begin = span_begin();
    for (uint64_t i = 0; i + BATCH <= n; i += BATCH) {
        struct fl_key keys[BATCH];
        uint64_t hashes[BATCH];

        for (uint64_t j = 0; j < BATCH; j++) {
            keys[j] = record_key(bench, mix(i + j) % n);
            hashes[j] = index_hash(bench->index, keys[j]);
        }
        index_prefetch(bench->index, hashes, BATCH, INDEX_TO_RECORD, media_prefetch);
        for (uint64_t j = 0; j < BATCH; j++) {
            index_loc loc;

            must(index_find(bench->index, hashes[j], keys[j], INDEX_LSN_LATEST, &loc), "find");
            sum += loc;
        }
    }
    report("find, prefetched by 16", begin, n);
    begin = span_begin();
    for (uint64_t i = 0; i < n; i++) {
        struct fl_key key = record_key(bench, mix(i) % n);
        char absent[KEY_ROOM];
        index_loc loc;

        memcpy(absent, key.ptr, key.len);
        absent[2] ^= 0x40;
        key.ptr = absent;
        sum += index_find(bench->index, index_hash(bench->index, key), key, INDEX_LSN_LATEST, &loc);
    }
    report("find, absent", begin, n);
    if (sum == 1) {
        puts("");
    }
}

static void
bench_overwrites(struct bench *bench)
{
    const uint64_t n = bench->keys;
    struct span begin = span_begin();

    for (uint64_t i = 0; i < n; i++) {
        const uint64_t k = mix(i + 77) % n;

        put(bench, index_hash(bench->index, record_key(bench, k)), k, record_loc(k), n + i);
    }
    report("overwrite, with its record's reads", begin, n);
}

static void
bench_scans(struct bench *bench)
{
    enum { SCANS = 100000, LEN = 100 };
    index_loc locs[LEN];
    uint64_t total = 0;
    struct span begin = span_begin();

    for (uint64_t i = 0; i < SCANS; i++) {
        const struct fl_key key = record_key(bench, mix(i) % bench->keys);

        total += index_scan(bench->index, key, true, (enum index_direction)(i & 1),
                            INDEX_LSN_LATEST, locs, LEN);
    }
    report("scan of 100, a scan", begin, SCANS);
    begin = span_begin();
    for (uint64_t i = 0; i < SCANS; i++) {
        const struct fl_key key = record_key(bench, mix(i) % bench->keys);

        total += index_scan(bench->index, key, true, INDEX_FORWARD, INDEX_LSN_LATEST, locs, 1);
    }
    report("seek (scan of 1)", begin, SCANS);
    must(total > 0, "scan");
}

static void
bench_deletes(struct bench *bench)
{
    const uint64_t n = bench->keys / 5;
    const struct span begin = span_begin();

    for (uint64_t i = 0; i < n; i++) {
        const uint64_t k = permuted(i + 3, bench->keys);

        put(bench, index_hash(bench->index, record_key(bench, k)), k,
            record_loc(k) | INDEX_LOC_TOMBSTONE, UINT64_C(1) << 40);
    }
    report("delete, with its record's reads", begin, n);
}

static void
bench_memory(struct bench *bench)
{
    printf("  %-34s %8.1f bytes\n", "memory a key",
           (double)index_dram_bytes(bench->index) / (double)bench->keys);
}

struct load_job {
    struct bench *bench;
    unsigned shard;
    pthread_t thread;
};

/* Each shard's hashes stand ready: reading the log is not measured here. */
static uint64_t *load_hashes;

static void *
load_shard(void *arg)
{
    const struct load_job *job = arg;
    const struct bench *bench = job->bench;

    for (uint64_t i = 0; i < bench->keys; i++) {
        if (index_load_shard(bench->index, load_hashes[i]) == job->shard) {
            must(index_load_put(bench->index, load_hashes[i], record_key(bench, i), record_loc(i),
                                i + 1) == FL_OK,
                 "load");
        }
    }
    return NULL;
}

static void
bench_load(struct bench *bench, unsigned threads)
{
    struct load_job jobs[8];

    load_hashes = malloc(bench->keys * sizeof(*load_hashes));
    must(load_hashes != NULL, "memory");
    for (uint64_t i = 0; i < bench->keys; i++) {
        load_hashes[i] = index_hash(bench->index, record_key(bench, i));
    }
    struct span begin = span_begin();
    const struct span first = begin;

    must(index_load_begin(bench->index, threads) == FL_OK, "load");
    for (unsigned t = 0; t < threads; t++) {
        jobs[t] = (struct load_job){bench, t, 0};
        must(pthread_create(&jobs[t].thread, NULL, load_shard, &jobs[t]) == 0, "thread");
    }
    for (unsigned t = 0; t < threads; t++) {
        pthread_join(jobs[t].thread, NULL);
    }
    report("load, the hash", begin, bench->keys);
    begin = span_begin();
    must(index_load_finish(bench->index, threads, NULL) == FL_OK, "load");
    report("load, the order", begin, bench->keys);
    report("load, all", first, bench->keys);
    free(load_hashes);
}

static void
bench_epoch(struct bench *bench)
{
    enum { N = 20000000 };
    const struct span begin = span_begin();

    for (int i = 0; i < N; i++) {
        epoch_exit(bench->epoch, epoch_enter(bench->epoch));
    }
    report("epoch enter and exit", begin, N);
}

static void
bench_shape(struct bench *bench, const char *shape)
{
    printf("%s, %" PRIu64 " keys\n", shape, bench->keys);
    write_records(bench, shape);
    index_begin(bench);
    bench_epoch(bench);
    bench_insert(bench);
    bench_memory(bench);
    bench_reads(bench);
    bench_overwrites(bench);
    bench_scans(bench);
    bench_deletes(bench);
    index_end(bench);
    index_begin(bench);
    bench_insert_batched(bench);
    index_end(bench);
    index_begin(bench);
    printf("  beside a thread that maintains:\n");
    bench_insert_beside(bench);
    index_end(bench);
    index_begin(bench);
    bench_load(bench, 2);
    bench_memory(bench);
    bench_scans(bench);
    index_end(bench);
}

int
main(int argc, char **argv)
{
    struct bench bench = {0};
    static const char *const shapes[] = {"decimal", "random", "ascending", "groups"};

    bench.keys = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
    must(bench.keys > 0, "usage: bench_index [keys] [decimal|random|ascending|groups] ...");
    bench.records_bytes =
        ((bench.keys + 2) * RECORD_BYTES + ((1 << 21) - 1)) & ~(uint64_t)((1 << 21) - 1);
    bench.records = mem_map_reserve(bench.records_bytes);
    must(bench.records != NULL && mem_map_commit(bench.records, bench.records_bytes), "memory");
    for (int i = 2; i < argc; i++) {
        bench_shape(&bench, argv[i]);
    }
    for (int i = 0; argc <= 2 && i < 4; i++) {
        bench_shape(&bench, shapes[i]);
    }
    mem_map_release(bench.records, bench.records_bytes);
    return 0;
}
