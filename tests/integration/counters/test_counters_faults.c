/* Goal:   a fill of 1 GiB takes no page fault on the put path: neither by the store's own count, nor by the
 *         kernel's.
 * Method: the kernel reports each page fault of the writing thread with its address (perf events); those
 *         inside the store's mappings are counted, while the store is filled through the library and through
 *         the server. A file that is touched on purpose shows that such faults would be seen. Where perf
 *         events are forbidden the store's own count is still judged, and the program ends as skipped. */
#include "tests/integration/counters/faults.h"
#include "tests/integration/support/place.h"
#include "tests/integration/support/subject.h"
#include "tests/lib/die.h"

#include <faultline/batch.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    VALUE_BYTES = 1000,
    BATCH = 64,
    TAKE_EVERY = 256, /* puts */
    TOUCHED_PAGES = 64,
    READY_MS = 60000,
    PIPELINE = 128,
    EXIT_SKIP = 77,
};

struct settings {
    const char *program;
    uint64_t fill_bytes;
    bool can_see; /* perf events are allowed */
};

static struct settings settings = {.fill_bytes = (uint64_t)1 << 30};

static bool
place(struct tmpdir *dir)
{
    if (!place_in_memory(dir, settings.fill_bytes * 2)) {
        print_message("skipped: no %lu MiB free in memory\n",
                      (unsigned long)(settings.fill_bytes >> 19));
        return false;
    }
    return true;
}

static unsigned
fill_records(void)
{
    return (unsigned)(settings.fill_bytes / VALUE_BYTES);
}

static void
page_faults_of_a_file_touched_on_purpose_are_seen(void **state)
{
    struct tmpdir dir;
    struct faults faults;
    char path[TMPDIR_PATH_BYTES];
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint64_t bytes;

    (void)state;
    if (!settings.can_see || !place(&dir)) {
        skip();
    }
    const int fd = open(tmpdir_join(&dir, "touched", path), O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)(TOUCHED_PAGES * page)), 0);
    assert_true(faults_open(&faults, 0));
    char *ptr = mmap(NULL, TOUCHED_PAGES * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    assert_ptr_not_equal(ptr, MAP_FAILED);
    for (size_t i = 0; i < TOUCHED_PAGES; i++) {
        ((volatile char *)ptr)[i * page] = 1;
    }
    faults_take(&faults);
    const uint64_t seen = faults_inside(&faults, getpid(), path, &bytes);

    print_message("%u pages touched: %lu faults seen\n", (unsigned)TOUCHED_PAGES,
                  (unsigned long)seen);
    assert_int_equal(bytes, TOUCHED_PAGES * page);
    assert_true(seen > 0 && seen <= TOUCHED_PAGES); /* fewer where memory comes in huge pages */
    assert_int_equal(faults.lost, 0);
    faults_close(&faults);
    munmap(ptr, TOUCHED_PAGES * page);
    close(fd);
    tmpdir_destroy(&dir);
}

/* Half of the records alone, half in batches. */
static void
fill(struct fl_store *store, struct faults *faults)
{
    struct fl_batch *batch = NULL;
    char name[24];
    char value[VALUE_BYTES];

    assert_int_equal(fl_batch_create(store, &batch), FL_OK);
    for (unsigned i = 0; i < fill_records(); i++) {
        const bool alone = (i / BATCH) % 2 == 0;
        const int len = snprintf(name, sizeof(name), "key:%012u", i);
        const struct fl_key key = fl_key(name, (size_t)len);

        memset(value, (int)(i % 251), sizeof(value));
        assert_int_equal(alone ? fl_put(store, key, fl_bytes(value, sizeof(value)), NULL)
                               : fl_batch_put(batch, key, fl_bytes(value, sizeof(value)), NULL),
                         FL_OK);
        if (fl_batch_count(batch) == BATCH || i + 1 == fill_records()) {
            assert_int_equal(fl_batch_commit(batch), FL_OK);
        }
        if (settings.can_see && i % TAKE_EVERY == 0) {
            faults_take(faults);
        }
    }
    fl_batch_destroy(batch);
}

static void
fill_through_the_library_takes_no_fault_in_the_heap(void **state)
{
    struct tmpdir dir;
    struct faults faults = {0};
    struct fl_options options;
    struct fl_store *store = NULL;
    struct fl_stats stats = {.struct_bytes = sizeof(stats)};
    char path[TMPDIR_PATH_BYTES];
    uint64_t mapped = 0;

    (void)state;
    if (!place(&dir)) {
        skip();
    }
    fl_options_init(&options);
    options.mapping = FL_MAPPING_VOLATILE;
    options.durability_min = FL_DURABILITY_PROCESS;
    options.size_bytes_max = (uint64_t)4 << 30;
    assert_int_equal(fl_open(tmpdir_join(&dir, "store", path), &options, &store), FL_OK);
    if (settings.can_see) {
        assert_true(faults_open(&faults, 0));
    }
    fill(store, &faults);
    fl_stats(store, &stats);
    print_message(
        "library: %lu MiB in the file, put_path_faults_total %lu, put_path_waits_total %lu\n",
        (unsigned long)(stats.file_bytes >> 20), (unsigned long)stats.put_path_faults_total,
        (unsigned long)stats.put_path_waits_total);
    assert_int_equal(stats.put_path_faults_total, 0);
    assert_true(stats.file_bytes >= settings.fill_bytes);
    if (settings.can_see) {
        faults_take(&faults);
        const uint64_t inside = faults_inside(&faults, getpid(), path, &mapped);

        print_message(
            "kernel: %zu faults of the writing thread, %lu of them in the heap's %lu MiB\n",
            faults.count, (unsigned long)inside, (unsigned long)(mapped >> 20));
        assert_int_equal(inside, 0);
        assert_int_equal(faults.lost, 0);
        assert_true(mapped >= settings.fill_bytes);
        faults_close(&faults);
    }
    assert_int_equal(fl_close(store), FL_OK);
    tmpdir_destroy(&dir);
}

static void
fill_over_tcp(struct fl_client *client, struct faults *faults)
{
    char key[24];
    static char value[VALUE_BYTES + 1];
    const char *const argv[] = {"SET", key, value};
    uint64_t errors = 0;

    memset(value, 'v', VALUE_BYTES);
    for (unsigned i = 0; i < fill_records();) {
        unsigned sent = 0;

        for (; sent < PIPELINE && i < fill_records(); sent++, i++) {
            snprintf(key, sizeof(key), "key:%012u", i);
            assert_int_equal(fl_client_append(client, 3, argv, NULL), FL_OK);
        }
        for (unsigned k = 0; k < sent; k++) {
            struct fl_client_reply *reply = NULL;

            assert_int_equal(fl_client_read(client, &reply), FL_OK);
            errors += fl_client_reply_type(reply) != FL_CLIENT_STATUS;
            fl_client_reply_destroy(reply);
        }
        if (settings.can_see) {
            faults_take(faults);
        }
    }
    assert_int_equal(errors, 0);
}

static void
fill_through_the_server_takes_no_fault_in_the_heap(void **state)
{
    struct tmpdir dir;
    struct faults faults = {0};
    static struct subject subject;
    char path[TMPDIR_PATH_BYTES];
    const char *const flags[] = {
        "--store", path,         "--mapping", "volatile", "--durability-min",
        "process", "--size-max", "4gb",       NULL};
    uint64_t mapped = 0;

    (void)state;
    if (settings.program == NULL || !place(&dir)) {
        skip();
    }
    tmpdir_join(&dir, "store", path);
    subject_start(&subject, settings.program, flags, READY_MS);
    struct fl_client *client = subject_connect(&subject, READY_MS);

    if (settings.can_see) { /* its main thread is the one that executes and commits */
        assert_true(faults_open(&faults, subject.child.pid));
    }
    fill_over_tcp(client, &faults);
    const uint64_t counted = subject_info(client, "put_path_faults_total");
    const uint64_t file_bytes = subject_info(client, "file_bytes");

    print_message("server: %lu MiB in the file, put_path_faults_total %lu\n",
                  (unsigned long)(file_bytes >> 20), (unsigned long)counted);
    assert_int_equal(counted, 0);
    assert_true(file_bytes >= settings.fill_bytes);
    if (settings.can_see) {
        faults_take(&faults);
        const uint64_t inside = faults_inside(&faults, subject.child.pid, path, &mapped);

        print_message("kernel: %zu faults of the event loop, %lu of them in the heap's %lu MiB\n",
                      faults.count, (unsigned long)inside, (unsigned long)(mapped >> 20));
        assert_int_equal(inside, 0);
        assert_int_equal(faults.lost, 0);
        assert_true(mapped >= settings.fill_bytes);
        faults_close(&faults);
    }
    fl_client_close(client);
    subject_stop(&subject, READY_MS);
    tmpdir_destroy(&dir);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(page_faults_of_a_file_touched_on_purpose_are_seen),
        cmocka_unit_test(fill_through_the_library_takes_no_fault_in_the_heap),
        cmocka_unit_test(fill_through_the_server_takes_no_fault_in_the_heap),
    };
    struct faults probe;

    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--server") == 0) {
            settings.program = argv[i + 1];
        } else if (strcmp(argv[i], "--mib") == 0) {
            settings.fill_bytes = strtoull(argv[i + 1], NULL, 10) << 20;
        }
    }
    settings.can_see = faults_open(&probe, 0);
    const int why = errno;

    if (settings.can_see) {
        faults_close(&probe);
    }
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);

    if (failed == 0 && !settings.can_see) {
        fprintf(stderr, "skipped in part: perf_event_open: %s\n", strerror(why));
        return EXIT_SKIP;
    }
    return failed;
}
