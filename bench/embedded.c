/* faultline-bench: what the embedded store costs, in time and, exactly, in flushed lines and fences.
 *
 *   faultline-bench [--store PATH] [--mapping auto|dax|page|volatile|model] [--records N] [--value BYTES] [--batch N]
 *   [--phases alone|batched] [--keep]
 *
 * Phases, one thread: insert alone, update alone (random), get (random), get of 16 with prefetch, scan; then, in a
 * second store, insert in batches and update in batches. Keys are 16 bytes, in an order that has nothing to do
 * with their own. Times are this machine's; compare ratios of runs made together. Lines and fences are exact. "CPUs"
 * says how many the whole process kept busy: the store's threads order keys, clean and fault blocks beside the
 * caller. The first line is what one read of memory costs that has to wait for the read before it. */
#include <faultline/batch.h>
#include <faultline/cursor.h>
#include <faultline/faultline.h>
#include <faultline/modelfs.h>

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { KEY_BYTES = 16, PREFETCH = 16, VALUE_BYTES_MAX = 1 << 20 };

struct bench {
    const char *path;
    enum fl_mapping mapping;
    uint64_t records;
    size_t value_bytes;
    unsigned batch;
    const char *phases; /* NULL: all */
    bool keep;
    struct fl_store *store;
    uint8_t *value;
    struct fl_stats before;
    double begin_s, begin_cpu_s;
};

static double
clock_s(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void
check(fl_status status, const char *what)
{
    if (status != FL_OK) {
        fprintf(stderr, "faultline-bench: %s: %s\n", what, fl_last_error());
        exit(1);
    }
}

/* A one-to-one mixing of 64 bits (splitmix64's finalizer): numbers 0, 1, 2 become keys in no order. */
static uint64_t
mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static struct fl_key
key_of(uint64_t i, char buf[KEY_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    const uint64_t h = mix(i + 1);

    for (unsigned d = 0; d < KEY_BYTES; d++) {
        buf[d] = digits[(h >> (4 * d)) & 0xf];
    }
    return fl_key(buf, KEY_BYTES);
}

static uint64_t
random_record(const struct bench *bench, uint64_t step)
{
    return mix(step ^ UINT64_C(0xD1B54A32D192ED03)) % bench->records;
}

static void
phase_begin(struct bench *bench)
{
    bench->before.struct_bytes = sizeof(bench->before);
    fl_stats(bench->store, &bench->before);
    bench->begin_s = clock_s(CLOCK_MONOTONIC);
    bench->begin_cpu_s = clock_s(CLOCK_PROCESS_CPUTIME_ID);
}

static void
phase_end(struct bench *bench, const char *name, uint64_t operations)
{
    const double seconds = clock_s(CLOCK_MONOTONIC) - bench->begin_s;
    const double cpu_s = clock_s(CLOCK_PROCESS_CPUTIME_ID) - bench->begin_cpu_s;
    struct fl_stats after = {.struct_bytes = sizeof(after)};
    const double n = (double)operations;

    fl_stats(bench->store, &after);
    printf("%-24s %7.3f M/s  %7.1f ns  %4.2f CPUs", name, n / seconds / 1e6, seconds / n * 1e9,
           cpu_s / seconds);
    if (after.commits_total != bench->before.commits_total) {
        printf("  %6.3f lines  %7.4f fences  %7.4f syncs",
               (double)(after.lines_flushed_total - bench->before.lines_flushed_total) / n,
               (double)(after.fences_total - bench->before.fences_total) / n,
               (double)(after.syncs_total - bench->before.syncs_total) / n);
    }
    printf("\n");
    fflush(stdout);
}

/* A walk through as much memory as the records take, in pages of 4 KiB as tmpfs has: each step waits for the one
 * before, as a look-up waits for its bucket, its entry and its record. */
static void
read_memory(const struct bench *bench)
{
    enum { LINE = 64, STEPS = 4000000 };
    const uint64_t lines = bench->records * ((bench->value_bytes + 28 + LINE - 1) / LINE);
    uint64_t *memory = mmap(NULL, lines * LINE, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    uint64_t at = 0;

    if (lines == 0 || memory == MAP_FAILED) {
        fprintf(stderr, "faultline-bench: no memory\n");
        exit(1);
    }
    (void)madvise(memory, lines * LINE, MADV_NOHUGEPAGE);
    for (uint64_t i = 0; i < lines; i++) {
        memory[i * (LINE / sizeof(*memory))] = mix(i) % lines;
    }
    const double begin_s = clock_s(CLOCK_MONOTONIC);

    for (uint64_t i = 0; i < STEPS; i++) {
        at = (memory[at * (LINE / sizeof(*memory))] + i) % lines;
    }
    const double seconds = clock_s(CLOCK_MONOTONIC) - begin_s;

    printf("# memory: %.1f ns for a read behind a read, over %" PRIu64 " MiB%s\n",
           seconds / STEPS * 1e9, lines * LINE >> 20, at == lines ? "?" : "");
    munmap(memory, lines * LINE);
}

static bool
is_model(const struct bench *bench)
{
    return strncmp(bench->path, "modelfs:", strlen("modelfs:")) == 0;
}

/* A file of a model device, once nobody has it mapped; the device stays. */
static void
model_remove(const struct bench *bench)
{
    const char *name = strrchr(bench->path, '/');
    const char *device = bench->path + strlen("modelfs:");
    struct fl_modelfs_options options;
    struct fl_modelfs *fs = NULL;
    char *path = strndup(device, (size_t)(name - device));

    fl_modelfs_options_init(&options);
    options.flags = FL_MODELFS_HOST;
    check(path == NULL ? FL_NO_MEMORY : fl_modelfs_attach(path, &options, &fs), bench->path);
    check(fl_modelfs_unlink(fs, name + 1), bench->path);
    fl_modelfs_detach(fs);
    free(path);
}

static void
store_open(struct bench *bench)
{
    struct fl_options options;
    struct fl_stats stats = {.struct_bytes = sizeof(stats)};

    fl_options_init(&options);
    options.mapping = bench->mapping;
    options.durability_min = FL_DURABILITY_PROCESS;
    options.flags |= FL_OPEN_EXCLUSIVE;
    check(fl_open(bench->path, &options, &bench->store), bench->path);
    if (!bench->keep && !is_model(bench)) {
        unlink(bench->path); /* at once, so that nothing is left by one that is interrupted */
    }
    fl_stats(bench->store, &stats);
    printf("# %s: mapping %s, survives %s (%s)\n", bench->path, fl_mapping_name(stats.mapping),
           fl_durability_name(stats.durability), stats.mapping_detail);
}

static void
store_close(struct bench *bench)
{
    struct fl_stats stats = {.struct_bytes = sizeof(stats)};

    fl_stats(bench->store, &stats);
    printf("# keys %" PRIu64 ", DRAM %.1f bytes a key, file %.2f x live, waits %" PRIu64
           ", put-path faults %" PRIu64 "\n",
           stats.keys_total, (double)stats.index_dram_bytes / (double)stats.keys_total,
           (double)stats.file_bytes / (double)stats.live_bytes, stats.put_path_waits_total,
           stats.put_path_faults_total);
    check(fl_close(bench->store), "close");
    if (!bench->keep && is_model(bench)) {
        model_remove(bench);
    }
}

static void
put_alone(struct bench *bench, bool update)
{
    char buf[KEY_BYTES];

    phase_begin(bench);
    for (uint64_t i = 0; i < bench->records; i++) {
        const struct fl_key key = key_of(update ? random_record(bench, i) : i, buf);

        check(fl_put(bench->store, key, fl_bytes(bench->value, bench->value_bytes), NULL), "put");
    }
    phase_end(bench, update ? "update alone" : "insert alone", bench->records);
}

static void
put_batched(struct bench *bench, bool update)
{
    struct fl_batch *batch = NULL;
    char name[32];
    char buf[KEY_BYTES];

    snprintf(name, sizeof(name), "%s in batches of %u", update ? "update" : "insert", bench->batch);
    check(fl_batch_create(bench->store, &batch), "batch");
    phase_begin(bench);
    for (uint64_t i = 0; i < bench->records; i++) {
        const struct fl_key key = key_of(update ? random_record(bench, i) : i, buf);

        check(fl_batch_put(batch, key, fl_bytes(bench->value, bench->value_bytes), NULL), "put");
        if (fl_batch_count(batch) == bench->batch) {
            check(fl_batch_commit(batch), "commit");
        }
    }
    check(fl_batch_commit(batch), "commit");
    phase_end(bench, name, bench->records);
    fl_batch_destroy(batch);
}

static void
get_alone(struct bench *bench)
{
    uint8_t *value = malloc(VALUE_BYTES_MAX);
    char buf[KEY_BYTES];
    size_t len = 0;

    phase_begin(bench);
    for (uint64_t i = 0; i < bench->records; i++) {
        check(fl_get(bench->store, key_of(random_record(bench, i), buf), value, VALUE_BYTES_MAX,
                     &len),
              "get");
    }
    phase_end(bench, "get", bench->records);
    free(value);
}

static void
get_prefetched(struct bench *bench)
{
    struct fl_key keys[PREFETCH];
    char bufs[PREFETCH][KEY_BYTES];
    struct fl_view view;

    phase_begin(bench);
    for (uint64_t i = 0; i + PREFETCH <= bench->records; i += PREFETCH) {
        for (unsigned j = 0; j < PREFETCH; j++) {
            keys[j] = key_of(random_record(bench, i + j), bufs[j]);
        }
        fl_prefetch_many(bench->store, keys, PREFETCH);
        for (unsigned j = 0; j < PREFETCH; j++) {
            check(fl_get_view(bench->store, keys[j], &view), "get");
            fl_view_release(&view);
        }
    }
    phase_end(bench, "get, 16 prefetched", bench->records);
}

static void
scan(struct bench *bench)
{
    struct fl_cursor *cursor = NULL;
    uint64_t keys = 0;

    check(fl_cursor_open(bench->store, NULL, &cursor), "cursor");
    phase_begin(bench);
    fl_status status = fl_cursor_first(cursor);

    for (; status == FL_OK; status = fl_cursor_next(cursor)) {
        keys++;
    }
    phase_end(bench, "scan keys", keys);
    fl_cursor_close(cursor);
    if (status != FL_END || keys != bench->records) {
        fprintf(stderr, "faultline-bench: the scan met %" PRIu64 " of %" PRIu64 " keys\n", keys,
                bench->records);
        exit(1);
    }
}

static void
usage(FILE *out)
{
    fprintf(out,
            "usage: faultline-bench [options]\n"
            "  --store PATH     a file that does not exist yet; default /dev/shm/faultline-bench\n"
            "  --mapping KIND   auto, dax, page or volatile; default auto\n"
            "  --records N      default 1000000\n"
            "  --value BYTES    default 100\n"
            "  --batch N        records in a batch; default 64\n"
            "  --phases SET     alone or batched; default both\n"
            "  --keep           leave the file\n"
            "  --version        print the version\n"
            "  --help           print this text\n");
}

static uint64_t
number(const char *text, uint64_t max)
{
    char *end = NULL;
    const unsigned long long v = strtoull(text, &end, 10);

    if (end == text || *end != '\0' || v == 0 || v > max) {
        fprintf(stderr, "faultline-bench: '%s' is not a number from 1 to %" PRIu64 "\n", text, max);
        exit(2);
    }
    return v;
}

static enum fl_mapping
mapping_named(const char *name)
{
    for (enum fl_mapping m = FL_MAPPING_AUTO; m <= FL_MAPPING_MODEL; m++) {
        if (strcmp(name, fl_mapping_name(m)) == 0) {
            return m;
        }
    }
    fprintf(stderr, "faultline-bench: unknown mapping '%s'\n", name);
    exit(2);
}

static void
arguments(struct bench *bench, int argc, char **argv)
{
    static const struct option options[] = {
        {"store", required_argument, NULL, 's'},   {"mapping", required_argument, NULL, 'm'},
        {"records", required_argument, NULL, 'n'}, {"value", required_argument, NULL, 'v'},
        {"batch", required_argument, NULL, 'b'},   {"phases", required_argument, NULL, 'p'},
        {"keep", no_argument, NULL, 'k'},          {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},       {NULL, 0, NULL, 0},
    };

    for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        switch (c) {
        case 's':
            bench->path = optarg;
            break;
        case 'm':
            bench->mapping = mapping_named(optarg);
            break;
        case 'n':
            bench->records = number(optarg, UINT32_MAX);
            break;
        case 'v':
            bench->value_bytes = number(optarg, VALUE_BYTES_MAX);
            break;
        case 'b':
            bench->batch = (unsigned)number(optarg, 1 << 20);
            break;
        case 'p':
            bench->phases = optarg;
            if (strcmp(optarg, "alone") != 0 && strcmp(optarg, "batched") != 0) {
                fprintf(stderr, "faultline-bench: phases are alone or batched, not '%s'\n", optarg);
                exit(2);
            }
            break;
        case 'k':
            bench->keep = true;
            break;
        case 'V':
            printf("faultline-bench %s\n", fl_version());
            exit(0);
        case 'h':
            usage(stdout);
            exit(0);
        default:
            usage(stderr);
            exit(2);
        }
    }
    if (optind < argc) {
        fprintf(stderr, "faultline-bench: what is '%s'?\n", argv[optind]);
        usage(stderr);
        exit(2);
    }
}

int
main(int argc, char **argv)
{
    struct bench bench = {
        .path = "/dev/shm/faultline-bench", .records = 1000000, .value_bytes = 100, .batch = 64};

    arguments(&bench, argc, argv);
    bench.value = malloc(bench.value_bytes);
    if (bench.value == NULL) {
        fprintf(stderr, "faultline-bench: no memory\n");
        return 1;
    }
    memset(bench.value, 'v', bench.value_bytes);
    read_memory(&bench);
    if (bench.phases == NULL || strcmp(bench.phases, "alone") == 0) {
        const bool keep = bench.keep;

        bench.keep = keep && bench.phases != NULL; /* of both stores the second is kept */
        store_open(&bench);
        put_alone(&bench, false);
        put_alone(&bench, true);
        get_alone(&bench);
        get_prefetched(&bench);
        scan(&bench);
        store_close(&bench);
        bench.keep = keep;
    }
    if (bench.phases == NULL || strcmp(bench.phases, "batched") == 0) {
        store_open(&bench);
        put_batched(&bench, false);
        put_batched(&bench, true);
        store_close(&bench);
    }
    free(bench.value);
    return 0;
}
