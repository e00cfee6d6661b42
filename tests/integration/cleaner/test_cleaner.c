/* Goal:   a steady load of overwrites, ten times the size of the data, keeps the file under twice its live
 *         bytes, while reads and writes go on; and deleting everything gives the space back.
 * Method: random keys are overwritten with values that describe themselves, while readers check that none is
 *         older than the last version known to be durable. File and live bytes are sampled 200 times: over the
 *         last tenth and in at least 90 % of the samples the ratio is below 2. Small values, and a mix with values
 *         that live in blocks of their own; on the volatile mapping and, smaller, on the page mapping. The
 *         figures are printed. */
#include "tests/integration/support/place.h"
#include "tests/lib/die.h"
#include "tests/lib/rng.h"

#include "base/clock.h"

#include <faultline/batch.h>
#include <faultline/check.h>

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum {
    READERS = 2,
    READS_AT_A_TIME = 100,
    SAMPLES = 200,
    OVERWRITES = 10, /* times the data's size */
    BYTES_MEAN = 800,
    HEAD_BYTES = 16,
    BIG_BYTES_MAX = 1 << 20,
    BATCH = 64,
    EMPTY_MS = 30000,
    STALL_MS_MAX = 10000,
    MIB_DEFAULT = 128,
    PAGE_MIB = 8,
};

static unsigned mib = MIB_DEFAULT; /* of live data on the volatile mapping; a power of two */

struct load {
    struct tmpdir dir;
    char path[TMPDIR_PATH_BYTES];
    struct fl_options options;
    struct fl_store *store;
    struct fl_batch *batch; /* NULL: puts one by one */
    struct rng rng;
    bool big; /* one value in 500 is large */
    uint32_t keys;
    uint64_t live_bytes;  /* to begin with */
    atomic_uint *durable; /* the last version of each key that is */
    uint32_t *pending;    /* of the keys in the batch: their versions */
    uint32_t pending_keys[BATCH];
    uint8_t *value;
    atomic_bool stop;
    atomic_uint_fast64_t reads;
    uint64_t written_bytes;
    uint64_t stall_ns; /* the longest commit */
    pthread_t readers[READERS];
};

static struct fl_key
key_of(uint32_t i, char name[16])
{
    snprintf(name, 16, "key:%09u", i);
    return fl_key(name, 13);
}

static size_t
value_of(bool big, uint32_t i, uint32_t version, uint8_t *buf)
{
    struct rng rng = {((uint64_t)i << 32) ^ version ^ UINT64_C(0xA0761D6478BD642F)};
    const size_t len = HEAD_BYTES + (big && rng_below(&rng, 500) == 0
                                         ? rng_below(&rng, BIG_BYTES_MAX - HEAD_BYTES)
                                         : rng_below(&rng, 2 * (BYTES_MEAN - HEAD_BYTES)));

    memcpy(buf, &i, sizeof(i));
    memcpy(buf + 4, &version, sizeof(version));
    memset(buf + 8, 0, HEAD_BYTES - 8);
    rng_fill(&rng, buf + HEAD_BYTES, len - HEAD_BYTES);
    return len;
}

static void
must(fl_status status, const char *what)
{
    if (status != FL_OK) {
        die("%s: status %d: %s", what, (int)status, fl_last_error());
    }
}

/* ---- readers ---- */

static void
read_one(struct load *load, struct rng *rng, uint8_t *scratch)
{
    const uint32_t i = (uint32_t)rng_below(rng, load->keys);
    const uint32_t known = atomic_load(&load->durable[i]);
    char name[16];
    struct fl_view view;
    uint32_t version = 0;

    must(fl_get_view(load->store, key_of(i, name), &view), "fl_get_view");
    if (view.value.len >= HEAD_BYTES) {
        memcpy(&version, (const uint8_t *)view.value.ptr + 4, sizeof(version));
    }
    if (version < known || value_of(load->big, i, version, scratch) != view.value.len ||
        memcmp(scratch, view.value.ptr, view.value.len) != 0) {
        die("key %u: version %u of %zu bytes, %u was durable, or bytes are wrong", i, version,
            view.value.len, known);
    }
    fl_view_release(&view);
    atomic_fetch_add(&load->reads, 1);
}

static void *
reader_main(void *arg)
{
    struct load *load = arg;
    const struct timespec pause = {.tv_nsec = 2000000};
    struct rng rng = {(uint64_t)(uintptr_t)&load ^ UINT64_C(0x9E3779B97F4A7C15)};
    uint8_t *scratch = malloc((size_t)BIG_BYTES_MAX);

    while (!atomic_load(&load->stop) && scratch != NULL) {
        for (unsigned n = 0; n < READS_AT_A_TIME; n++) {
            read_one(load, &rng, scratch);
        }
        nanosleep(&pause,
                  NULL); /* readers that never rest would take both cores of a small machine */
    }
    free(scratch);
    return NULL;
}

/* ---- the writer ---- */

static void
commit(struct load *load)
{
    const size_t count = fl_batch_count(load->batch);

    must(fl_batch_commit(load->batch), "fl_batch_commit");
    for (size_t n = 0; n < count; n++) {
        const uint32_t i = load->pending_keys[n];

        atomic_store(&load->durable[i], load->pending[i]);
    }
}

static void
write_one(struct load *load, uint32_t i)
{
    const uint32_t version = ++load->pending[i];
    const size_t len = value_of(load->big, i, version, load->value);
    const uint64_t begin_ns = clock_mono_ns();
    char name[16];

    if (load->batch == NULL) {
        must(fl_put(load->store, key_of(i, name), fl_bytes(load->value, len), NULL), "fl_put");
        atomic_store(&load->durable[i], version);
    } else {
        load->pending_keys[fl_batch_count(load->batch)] = i;
        must(fl_batch_put(load->batch, key_of(i, name), fl_bytes(load->value, len), NULL),
             "fl_batch_put");
        if (fl_batch_count(load->batch) == BATCH) {
            commit(load);
        }
    }
    const uint64_t took_ns = clock_mono_ns() - begin_ns;

    load->stall_ns = took_ns > load->stall_ns ? took_ns : load->stall_ns;
    load->written_bytes += len;
}

static struct fl_stats
stats_of(const struct load *load)
{
    struct fl_stats stats = {.struct_bytes = sizeof(stats)};

    fl_stats(load->store, &stats);
    return stats;
}

static void
load_open(struct load *load, enum fl_mapping mapping, uint64_t bytes, uint32_t block_bytes,
          bool big)
{
    const uint64_t room = bytes * 4 + ((uint64_t)64 << 20);

    memset(load, 0, sizeof(*load));
    if (!(mapping == FL_MAPPING_VOLATILE ? place_in_memory(&load->dir, room)
                                         : place_on_disk(&load->dir, room))) {
        print_message("skipped: not %lu MiB free for kind %s\n", (unsigned long)(room >> 20),
                      fl_mapping_name(mapping));
        skip();
    }
    load->rng = rng_seeded(20260910);
    load->big = big;
    /* A large value every 500 weighs more than the 499 others. */
    load->keys = (uint32_t)(bytes / (big ? 2 * BYTES_MEAN : BYTES_MEAN));
    load->durable = calloc(load->keys, sizeof(*load->durable));
    load->pending = calloc(load->keys, sizeof(*load->pending));
    load->value = malloc((size_t)BIG_BYTES_MAX);
    assert_true(load->durable != NULL && load->pending != NULL && load->value != NULL);
    fl_options_init(&load->options);
    load->options.mapping = mapping;
    load->options.durability_min = FL_DURABILITY_PROCESS;
    load->options.block_bytes = block_bytes;
    load->options.size_bytes_max = (uint64_t)8 << 30;
    tmpdir_join(&load->dir, "store", load->path);
    must(fl_open(load->path, &load->options, &load->store), load->path);
    if (mapping == FL_MAPPING_PAGE) {
        must(fl_batch_create(load->store, &load->batch), "fl_batch_create");
    }
    for (uint32_t i = 0; i < load->keys; i++) {
        write_one(load, i);
    }
    if (load->batch != NULL) {
        commit(load);
    }
    load->live_bytes = stats_of(load).live_bytes;
    load->written_bytes = 0;
    load->stall_ns = 0;
}

static void
start_readers(struct load *load)
{
    for (unsigned i = 0; i < READERS; i++) {
        assert_int_equal(pthread_create(&load->readers[i], NULL, reader_main, load), 0);
    }
}

static void
stop_readers(struct load *load)
{
    atomic_store(&load->stop, true);
    for (unsigned i = 0; i < READERS; i++) {
        pthread_join(load->readers[i], NULL);
    }
}

static void
overwrite(struct load *load)
{
    const uint64_t total = load->live_bytes * OVERWRITES;
    const struct fl_stats before = stats_of(load);
    const uint64_t begin_ns = clock_mono_ns();
    unsigned samples = 0;
    unsigned over = 0;
    double ratio_max = 0;
    double ratio_sum = 0;
    double end_sum = 0; /* over the last tenth: one sample more or less is chance */
    double ratio = 0;

    while (load->written_bytes < total) {
        write_one(load, (uint32_t)rng_below(&load->rng, load->keys));
        if (load->written_bytes * (uint64_t)SAMPLES >= total * (samples + 1)) {
            const struct fl_stats now = stats_of(load);

            ratio = (double)now.file_bytes / (double)now.live_bytes;
            ratio_max = ratio > ratio_max ? ratio : ratio_max;
            ratio_sum += ratio;
            end_sum += samples >= SAMPLES - SAMPLES / 10 ? ratio : 0;
            over += ratio >= 2;
            samples++;
        }
    }
    if (load->batch != NULL) {
        commit(load);
    }
    const struct fl_stats after = stats_of(load);
    const double seconds = (double)(clock_mono_ns() - begin_ns) / 1e9;
    const double copied =
        (double)(after.cleaner_copied_bytes_total - before.cleaner_copied_bytes_total);

    const unsigned samples_end = samples - (SAMPLES - SAMPLES / 10);
    const double end = end_sum / samples_end;

    print_message(
        "%s: %u keys, live %lu MiB, file %lu MiB; file / live: end %.2f, mean %.2f, max %.2f, "
        "%u of %u samples at 2 or over; %lu MiB overwritten in %.1f s, write amplification "
        "%.2f, longest commit %.0f ms, %lu reads\n",
        fl_mapping_name(after.mapping), load->keys, (unsigned long)(after.live_bytes >> 20),
        (unsigned long)(after.file_bytes >> 20), end, ratio_sum / samples, ratio_max, over, samples,
        (unsigned long)(load->written_bytes >> 20), seconds,
        1 + copied / (double)load->written_bytes, (double)load->stall_ns / 1e6,
        (unsigned long)atomic_load(&load->reads));
    assert_true(samples >= SAMPLES - 1);
    assert_true(end < 2);
    assert_true(over * 10 <= samples);
    assert_true(load->stall_ns < (uint64_t)STALL_MS_MAX * CLOCK_NS_PER_MS);
    assert_true(atomic_load(&load->reads) > 0);
    /* Batches are over a block's size here: each has blocks made for it. */
    assert_true(load->batch != NULL || after.put_path_faults_total == 0);
}

static void
delete_all(struct load *load)
{
    const uint64_t file_bytes = stats_of(load).file_bytes;
    const uint64_t limit_ns = clock_mono_ns() + (uint64_t)EMPTY_MS * CLOCK_NS_PER_MS;
    const struct timespec pause = {.tv_nsec = 200000000};
    struct fl_stats now = stats_of(load);
    uint64_t before_bytes;
    char name[16];

    for (uint32_t i = 0; i < load->keys; i++) {
        must(load->batch == NULL ? fl_delete(load->store, key_of(i, name))
                                 : fl_batch_delete(load->batch, key_of(i, name)),
             "delete");
        if (load->batch != NULL && (fl_batch_count(load->batch) == BATCH || i + 1 == load->keys)) {
            must(fl_batch_commit(load->batch), "fl_batch_commit");
        }
    }
    do { /* until it has shrunk, and shrinks no more */
        before_bytes = now.file_bytes;
        nanosleep(&pause, NULL);
        now = stats_of(load);
    } while ((now.file_bytes * 4 > file_bytes || now.file_bytes < before_bytes) &&
             clock_mono_ns() < limit_ns);
    print_message("all deleted: file %lu MiB -> %lu KiB, live %lu bytes\n",
                  (unsigned long)(file_bytes >> 20), (unsigned long)(now.file_bytes >> 10),
                  (unsigned long)now.live_bytes);
    assert_int_equal(now.keys_total, 0);
    assert_true(now.file_bytes * 4 <= file_bytes);
}

static void
load_close(struct load *load)
{
    const struct fl_check_options options = {.struct_bytes = sizeof(options)};
    struct fl_check_report report = {0};

    fl_batch_destroy(load->batch);
    must(fl_close(load->store), "fl_close");
    must(fl_check(load->path, &options, &report), "fl_check");
    assert_int_equal(report.findings, 0);
    free(load->durable);
    free(load->pending);
    free(load->value);
    tmpdir_destroy(&load->dir);
}

/* After a reopen every key has the version that was durable last. */
static void
reopen_and_read_all(struct load *load)
{
    char name[16];
    struct fl_view view;

    fl_batch_destroy(load->batch);
    load->batch = NULL;
    must(fl_close(load->store), "fl_close");
    must(fl_open(load->path, &load->options, &load->store), load->path);
    for (uint32_t i = 0; i < load->keys; i++) {
        must(fl_get_view(load->store, key_of(i, name), &view), "fl_get_view after a reopen");
        assert_int_equal(view.value.len,
                         value_of(load->big, i, atomic_load(&load->durable[i]), load->value));
        assert_memory_equal(view.value.ptr, load->value, view.value.len);
        fl_view_release(&view);
    }
    if (load->options.mapping == FL_MAPPING_PAGE) {
        must(fl_batch_create(load->store, &load->batch), "fl_batch_create");
    }
}

static void
run(enum fl_mapping mapping, uint64_t bytes, uint32_t block_bytes, bool big)
{
    static struct load load;

    load_open(&load, mapping, bytes, block_bytes, big);
    start_readers(&load);
    overwrite(&load);
    stop_readers(&load);
    reopen_and_read_all(&load);
    delete_all(&load);
    load_close(&load);
}

/* The reserve is some blocks whatever the size of the data: as many of them for a small run as for a large one. */
static void
overwrites_on_volatile_keep_the_file_under_twice_its_live_bytes(void **state)
{
    (void)state;
    run(FL_MAPPING_VOLATILE, (uint64_t)mib << 20, mib << (mib < MIB_DEFAULT ? 13 : 14), false);
}

static void
overwrites_with_big_values_keep_the_file_under_twice_its_live_bytes(void **state)
{
    (void)state;
    run(FL_MAPPING_VOLATILE, (uint64_t)mib << 19, mib << 11, true);
}

static void
overwrites_on_page_keep_the_file_under_twice_its_live_bytes(void **state)
{
    (void)state;
    run(FL_MAPPING_PAGE, (uint64_t)PAGE_MIB << 20, PAGE_MIB << 12, false);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(overwrites_on_volatile_keep_the_file_under_twice_its_live_bytes),
        cmocka_unit_test(overwrites_with_big_values_keep_the_file_under_twice_its_live_bytes),
        cmocka_unit_test(overwrites_on_page_keep_the_file_under_twice_its_live_bytes),
    };

    if (argc == 3 && strcmp(argv[1], "--mib") == 0) {
        mib = (unsigned)strtoul(argv[2], NULL, 10);
    }
    if (mib == 0 || (mib & (mib - 1)) != 0) {
        die("--mib takes a power of two");
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
