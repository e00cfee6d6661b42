/* Goal:   a page fault of the model costs at most one commit, and a range that is populated far fewer; and one command
 *         shows what faults cost in time.
 * Method: faults of each kind are taken one by one, with blocks of 4 KiB and of 2 MiB, with the host in this process
 *         and in another; their times and the commits they caused are printed as a table. Times are only printed. */
#include "tests/integration/modelfs/peer.h"
#include "tests/lib/die.h"
#include "tests/lib/tmpdir.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    MIB = 1 << 20,
    SMALL = 4096,
    LARGE = 2 * MIB,
    FAULTS_SMALL = 1000,
    FAULTS_LARGE = 12,
    GROWN_MIB = 64, /* as much as one call of the library asks for */
    DEVICE_MIB = 128,
};

/* On a machine so slow that the faults of one kind take longer, fewer are taken. */
#define KIND_NS_MAX ((uint64_t)2 * CLOCK_NS_PER_S)

struct bench {
    struct tmpdir dir;
    char path[TMPDIR_PATH_BYTES];
    struct peer host;
    bool apart;
    uint32_t block;
    uint32_t faults;
    struct fl_modelfs *fs;
    struct fl_modelfs_map *map;
    uint8_t *ptr;
    uint64_t *ns;
};

static void
check(fl_status status)
{
    if (status != FL_OK) {
        die("%s", fl_last_error());
    }
}

static uint64_t
commits(struct bench *bench)
{
    struct fl_modelfs_figures out = {.struct_bytes = sizeof(out)};

    check(fl_modelfs_figures(bench->fs, &out));
    return out.commits;
}

static void
begin(struct bench *bench, uint32_t block, bool apart)
{
    struct fl_modelfs_options options;

    *bench = (struct bench){
        .block = block, .apart = apart, .faults = block == SMALL ? FAULTS_SMALL : FAULTS_LARGE};
    tmpdir_create(&bench->dir);
    (void)tmpdir_join(&bench->dir, "device", bench->path);
    fl_modelfs_options_init(&options);
    options.flags = FL_MODELFS_HOST | FL_MODELFS_FORMAT;
    options.size_bytes = (uint64_t)DEVICE_MIB * MIB;
    options.block_bytes = block;
    check(fl_modelfs_attach(bench->path, &options, &bench->fs));
    if (apart) { /* formatted; now another process hosts it */
        fl_modelfs_detach(bench->fs);
        peer_start(&bench->host, bench->path);
        (void)peer_ok(&bench->host,
                      &(struct peer_order){.op = PEER_ATTACH, .value = FL_MODELFS_HOST});
        options.flags = 0;
        check(fl_modelfs_attach(bench->path, &options, &bench->fs));
    }
    bench->ns = calloc(bench->faults, sizeof(*bench->ns));
    assert_non_null(bench->ns);
}

static void
end(struct bench *bench)
{
    fl_modelfs_detach(bench->fs);
    peer_kill(&bench->host);
    tmpdir_destroy(&bench->dir);
    free(bench->ns);
}

static int
by_value(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a;
    const uint64_t y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void
map_file(struct bench *bench, uint64_t bytes, enum fl_modelfs_kind kind)
{
    void *address;

    check(fl_modelfs_mmap(bench->fs, "f", 0, bytes, kind, &bench->map, &address));
    bench->ptr = address;
}

static void
new_file(struct bench *bench, uint64_t bytes, enum fl_modelfs_kind kind)
{
    check(fl_modelfs_create(bench->fs, "f"));
    check(fl_modelfs_truncate(bench->fs, "f", bytes));
    check(fl_modelfs_fsync(bench->fs, ""));
    map_file(bench, bytes, kind);
}

static void
drop_file(struct bench *bench)
{
    fl_modelfs_unmap(bench->map);
    check(fl_modelfs_unlink(bench->fs, "f"));
    check(fl_modelfs_fsync(bench->fs, ""));
}

static void
touch(struct bench *bench, uint32_t i, bool store)
{
    volatile uint64_t *word = (volatile uint64_t *)(void *)(bench->ptr + (size_t)i * bench->block);

    if (store) {
        *word = i;
    } else {
        (void)*word;
    }
}

enum prepare { AS_HOLES, PREALLOCATED, WRITTEN_BEFORE, FSYNCED };

struct kind {
    const char *name;
    enum fl_modelfs_kind map;
    enum prepare prepare;
    bool store;
    unsigned commits_max; /* per fault */
};

static const struct kind kinds[] = {
    {"load from a hole", FL_MODELFS_NOSYNC, AS_HOLES, false, 0},
    {"load from a block", FL_MODELFS_NOSYNC, WRITTEN_BEFORE, false, 0},
    {"store to a hole, no-sync", FL_MODELFS_NOSYNC, AS_HOLES, true, 1},
    {"store to an unwritten block, no-sync", FL_MODELFS_NOSYNC, PREALLOCATED, true, 1},
    {"store to a block, no-sync", FL_MODELFS_NOSYNC, WRITTEN_BEFORE, true, 1},
    {"store to a protected block, no-sync", FL_MODELFS_NOSYNC, FSYNCED, true, 0},
    {"store to a hole, plain", FL_MODELFS_PLAIN, AS_HOLES, true, 0},
    {"store to a protected block, plain", FL_MODELFS_PLAIN, FSYNCED, true, 0},
};

static void
prepare(struct bench *bench, const struct kind *kind)
{
    const uint64_t bytes = (uint64_t)bench->faults * bench->block;

    new_file(bench, bytes, kind->map);
    if (kind->prepare == PREALLOCATED) {
        check(fl_modelfs_allocate(bench->fs, "f", 0, bytes, false));
        check(fl_modelfs_fsync(bench->fs, "f"));
    }
    if (kind->prepare == WRITTEN_BEFORE || kind->prepare == FSYNCED) {
        for (uint32_t i = 0; i < bench->faults; i++) {
            touch(bench, i, true);
        }
        check(fl_modelfs_fsync(bench->fs, "f"));
    }
    if (kind->prepare == WRITTEN_BEFORE) {
        fl_modelfs_unmap(bench->map);
        map_file(bench, bytes, kind->map);
    }
}

static void
measure(struct bench *bench, const struct kind *kind)
{
    prepare(bench, kind);
    const uint64_t before = commits(bench);
    const uint64_t begun = clock_mono_ns();
    uint32_t count = 0;
    while (count < bench->faults && clock_mono_ns() - begun < KIND_NS_MAX) {
        const uint64_t start = clock_mono_ns();
        touch(bench, count, kind->store);
        bench->ns[count++] = clock_mono_ns() - start;
    }
    const uint64_t made = commits(bench) - before;
    drop_file(bench);
    qsort(bench->ns, count, sizeof(*bench->ns), by_value);
    const uint32_t middle = count / 2;
    const uint32_t last = (uint32_t)((uint64_t)count * 99 / 100);
    print_message("| %-37s | %5u KiB | %-7s | %8.1f | %8.1f | %.3f |\n", kind->name,
                  bench->block / 1024, bench->apart ? "another" : "same",
                  (double)bench->ns[middle] / 1000, (double)bench->ns[last] / 1000,
                  (double)made / count);
    assert_true(made <= (uint64_t)count * kind->commits_max);
}

static void
fault_causes_one_commit_at_most(void **state)
{
    struct bench bench;

    (void)state;
    print_message("\n| fault | block | host in process | p50 us | p99 us | commits per fault |\n"
                  "|---|---|---|---|---|---|\n");
    for (unsigned way = 0; way < 4; way++) {
        begin(&bench, way % 2 == 0 ? SMALL : LARGE, way / 2 == 1);
        for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
            measure(&bench, &kinds[i]);
        }
        end(&bench);
    }
}

static uint64_t
grow(struct bench *bench, bool at_once, double *seconds)
{
    const uint64_t bytes = (uint64_t)GROWN_MIB * MIB;

    new_file(bench, bytes, FL_MODELFS_NOSYNC);
    const uint64_t before = commits(bench);
    const uint64_t start = clock_mono_ns();
    if (at_once) {
        check(fl_modelfs_populate(bench->map, 0, bytes));
    }
    for (uint32_t i = 0; i < bytes / bench->block; i++) {
        touch(bench, i, true);
    }
    *seconds = (double)(clock_mono_ns() - start) / CLOCK_NS_PER_S * 1024 / GROWN_MIB;
    const uint64_t made = commits(bench) - before;
    drop_file(bench);
    return made * 1024 / GROWN_MIB;
}

static void
populating_commits_far_less_than_single_faults(void **state)
{
    struct bench bench;
    double alone_s;
    double at_once_s;

    (void)state;
    print_message("\n| growing a GiB (measured: %d MiB) | block | commits | seconds |\n"
                  "|---|---|---|---|\n",
                  GROWN_MIB);
    for (unsigned way = 0; way < 2; way++) {
        begin(&bench, way == 0 ? SMALL : LARGE, false);
        const uint64_t alone = grow(&bench, false, &alone_s);
        const uint64_t at_once = grow(&bench, true, &at_once_s);
        print_message("| by single faults | %u KiB | %ju | %.2f |\n", bench.block / 1024,
                      (uintmax_t)alone, alone_s);
        print_message("| by populate | %u KiB | %ju | %.2f |\n", bench.block / 1024,
                      (uintmax_t)at_once, at_once_s);
        assert_true(alone <= 1024U * MIB / bench.block);
        assert_true(at_once <= 1024);
        end(&bench);
    }
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fault_causes_one_commit_at_most),
        cmocka_unit_test(populating_commits_far_less_than_single_faults),
    };

    peer_main(argc, argv);
    skip_without_userfaultfd();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
