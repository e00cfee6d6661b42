/* Goal:   a fill on the volatile mapping asks the kernel for no synchronisation: no msync, fsync, fdatasync,
 *         sync_file_range or synchronous write, neither embedded nor through the server. Growing the file is
 *         allowed.
 * Method: strace records these calls of all threads, with the time of each. The program traced is this one
 *         (its fill stands between two marks in the trace) and faultline-server (its fill lies between two
 *         times). That strace would show them is shown by the same fill on the page mapping, which makes one
 *         synchronous write for each commit. */
#include "tests/integration/support/place.h"
#include "tests/integration/support/subject.h"
#include "tests/lib/die.h"

#include <faultline/faultline.h>

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    VALUE_BYTES = 1000,
    PUTS_VOLATILE = 65536,
    PUTS_PAGE = 200,
    PIPELINE = 64,
    WAIT_MS = 120000,
    LINE_BYTES = 1024,
    OUT_BYTES = 4096,
    ROOM_MIB = 512,
};

#define CALLS "trace=msync,fsync,fdatasync,sync,syncfs,sync_file_range,pwritev2,fallocate,chdir"
#define MARK_BEGIN "/the fill begins"
#define MARK_END "/the fill ends"

struct settings {
    char *self;
    char *program;
};

static struct settings settings;

struct calls {
    uint64_t syncs;       /* msync, fsync, fdatasync, sync, syncfs, sync_file_range */
    uint64_t sync_writes; /* pwritev2 with RWF_SYNC or RWF_DSYNC */
    uint64_t fallocates;
    uint64_t syncs_outside;
};

/* ---- the program that is traced ---- */

static void
mark(const char *text)
{
    if (chdir(text) == 0) { /* only to be seen in the trace */
        die("there is a directory %s", text);
    }
}

/* --fill PATH MAPPING COUNT */
static int
fill(char **argv)
{
    struct fl_options options;
    struct fl_store *store = NULL;
    char name[24];
    static char value[VALUE_BYTES];

    fl_options_init(&options);
    options.mapping = (enum fl_mapping)strtoul(argv[1], NULL, 10);
    options.durability_min = FL_DURABILITY_PROCESS;
    options.size_bytes_max = (uint64_t)4 << 30;
    if (fl_open(argv[0], &options, &store) != FL_OK) {
        die("%s", fl_last_error());
    }
    mark(MARK_BEGIN);
    for (unsigned i = 0; i < strtoul(argv[2], NULL, 10); i++) {
        const int len = snprintf(name, sizeof(name), "key:%012u", i);

        if (fl_put(store, fl_key(name, (size_t)len), fl_bytes(value, sizeof(value)), NULL) !=
            FL_OK) {
            die("%s", fl_last_error());
        }
    }
    mark(MARK_END);
    return fl_close(store) == FL_OK ? 0 : 1;
}

/* ---- the trace ---- */

static bool
names_call(const char *line, const char *call)
{
    const char *at = strstr(line, call);

    /* A call that another thread's interrupts is continued on a line "<... fsync resumed>": count it once. */
    return at != NULL && at > line && at[-1] == ' ' && at[strlen(call)] == '(';
}

static void
count_line(const char *line, bool inside, struct calls *calls)
{
    static const char *const syncs[] = {"msync", "fsync",  "fdatasync",
                                        "sync",  "syncfs", "sync_file_range"};

    for (unsigned i = 0; i < sizeof(syncs) / sizeof(syncs[0]); i++) {
        if (names_call(line, syncs[i])) {
            calls->syncs += inside;
            calls->syncs_outside += !inside;
        }
    }
    if (inside && names_call(line, "pwritev2") &&
        (strstr(line, "RWF_DSYNC") != NULL || strstr(line, "RWF_SYNC") != NULL)) {
        calls->sync_writes++;
    }
    calls->fallocates += inside && names_call(line, "fallocate");
}

/* Lines between the marks, or with a time between the two; a line is "pid seconds call". */
static struct calls
read_trace(const char *path, bool marked, double begin_s, double end_s)
{
    struct calls calls = {0};
    char line[LINE_BYTES];
    bool inside = false;
    bool ended = false;
    FILE *file = fopen(path, "re");

    if (file == NULL) {
        die_errno("%s", path);
    }
    while (fgets(line, sizeof(line), file) != NULL) {
        double at_s = 0;

        if (sscanf(line, "%*d %lf", &at_s) != 1) {
            continue;
        }
        if (!marked) {
            inside = at_s >= begin_s && at_s <= end_s;
        } else if (strstr(line, MARK_BEGIN) != NULL) {
            inside = true;
        } else if (strstr(line, MARK_END) != NULL) {
            inside = false;
            ended = true;
        }
        count_line(line, inside, &calls);
    }
    fclose(file);
    assert_true(!marked || ended);
    return calls;
}

static struct calls
trace_fill(const struct tmpdir *dir, enum fl_mapping mapping, unsigned count)
{
    char store[TMPDIR_PATH_BYTES];
    char trace[TMPDIR_PATH_BYTES];
    char kind[16];
    char number[16];
    char out[OUT_BYTES];
    struct child child;

    snprintf(kind, sizeof(kind), "%d", (int)mapping);
    snprintf(number, sizeof(number), "%u", count);
    char *const argv[] = {(char *)(uintptr_t) "strace",
                          (char *)(uintptr_t) "-f",
                          (char *)(uintptr_t) "-ttt",
                          (char *)(uintptr_t) "--seccomp-bpf",
                          (char *)(uintptr_t) "-o",
                          tmpdir_join(dir, "trace", trace),
                          (char *)(uintptr_t) "-e",
                          (char *)(uintptr_t)CALLS,
                          settings.self,
                          (char *)(uintptr_t) "--fill",
                          tmpdir_join(dir, "store", store),
                          kind,
                          number,
                          NULL};

    child_start(&child, argv);
    if (!child_wait(&child, WAIT_MS, out, sizeof(out)) || !child_exited(&child, 0)) {
        fail_msg("the traced fill failed: %s", out);
    }
    const struct calls calls = read_trace(trace, true, 0, 0);

    print_message(
        "%u puts on %s: %lu syncs, %lu synchronous writes, %lu fallocates; %lu syncs before or "
        "after\n",
        count, fl_mapping_name(mapping), (unsigned long)calls.syncs,
        (unsigned long)calls.sync_writes, (unsigned long)calls.fallocates,
        (unsigned long)calls.syncs_outside);
    return calls;
}

/* ---- tests ---- */

static void
fill_on_the_page_mapping_shows_a_synchronous_write_for_each_put(void **state)
{
    struct tmpdir dir;

    (void)state;
    if (!place_on_disk(&dir, (uint64_t)ROOM_MIB << 20)) {
        skip();
    }
    const struct calls calls = trace_fill(&dir, FL_MAPPING_PAGE, PUTS_PAGE);

    assert_true(calls.sync_writes >= PUTS_PAGE);
    assert_true(calls.syncs_outside > 0);
    tmpdir_destroy(&dir);
}

static void
fill_on_the_volatile_mapping_shows_no_sync(void **state)
{
    struct tmpdir dir;

    (void)state;
    if (!place_in_memory(&dir, (uint64_t)ROOM_MIB << 20)) {
        skip();
    }
    const struct calls calls = trace_fill(&dir, FL_MAPPING_VOLATILE, PUTS_VOLATILE);

    assert_int_equal(calls.syncs, 0);
    assert_int_equal(calls.sync_writes, 0);
    assert_true(calls.fallocates > 0); /* it did grow meanwhile, and the trace saw it */
    tmpdir_destroy(&dir);
}

static double
now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void
set_many(const struct subject *subject)
{
    static char value[VALUE_BYTES + 1];
    struct fl_client *client = subject_connect(subject, WAIT_MS);
    char key[24];
    const char *const argv[] = {"SET", key, value};

    memset(value, 'v', VALUE_BYTES);
    for (unsigned i = 0; i < PUTS_VOLATILE; i += PIPELINE) {
        for (unsigned k = 0; k < PIPELINE; k++) {
            snprintf(key, sizeof(key), "key:%012u", i + k);
            assert_int_equal(fl_client_append(client, 3, argv, NULL), FL_OK);
        }
        for (unsigned k = 0; k < PIPELINE; k++) {
            struct fl_client_reply *reply = NULL;

            assert_int_equal(fl_client_read(client, &reply), FL_OK);
            assert_int_equal(fl_client_reply_type(reply), FL_CLIENT_STATUS);
            fl_client_reply_destroy(reply);
        }
    }
    assert_int_equal(subject_info(client, "syncs_total"), 0);
    fl_client_close(client);
}

/* With -D the tracer is a process beside, and the server our child. */
static void
fill_through_the_server_on_the_volatile_mapping_shows_no_sync(void **state)
{
    static struct subject subject;
    struct tmpdir dir;
    char store[TMPDIR_PATH_BYTES];
    char trace[TMPDIR_PATH_BYTES];

    (void)state;
    if (settings.program == NULL || !place_in_memory(&dir, (uint64_t)ROOM_MIB << 20)) {
        skip();
    }
    const char *const argv[] = {"strace",
                                "-D",
                                "-f",
                                "-ttt",
                                "--seccomp-bpf",
                                "-o",
                                tmpdir_join(&dir, "trace", trace),
                                "-e",
                                CALLS,
                                settings.program,
                                "--store",
                                tmpdir_join(&dir, "store", store),
                                "--mapping",
                                "volatile",
                                "--durability-min",
                                "process",
                                "--size-max",
                                "4gb",
                                "--port",
                                "0",
                                NULL};

    subject_start_under(&subject, argv, WAIT_MS);
    const double begin_s = now_s();

    set_many(&subject);
    const double end_s = now_s();

    subject_stop(&subject, WAIT_MS);
    const struct calls calls = read_trace(trace, false, begin_s, end_s);

    print_message(
        "%u SETs: %lu syncs, %lu synchronous writes, %lu fallocates; %lu syncs before or after\n",
        (unsigned)PUTS_VOLATILE, (unsigned long)calls.syncs, (unsigned long)calls.sync_writes,
        (unsigned long)calls.fallocates, (unsigned long)calls.syncs_outside);
    assert_int_equal(calls.syncs, 0);
    assert_int_equal(calls.sync_writes, 0);
    assert_true(calls.fallocates > 0);
    tmpdir_destroy(&dir);
}

/* A sanitized program that is traced can't look for leaks: both need the one tracer that there may be. */
static void
leave_leaks_alone(void)
{
    const char *given = getenv("ASAN_OPTIONS");
    char options[LINE_BYTES];

    snprintf(options, sizeof(options), "%s:detect_leaks=0", given != NULL ? given : "");
    setenv("ASAN_OPTIONS", options, 1);
}

static void
need_strace(void)
{
    char *const argv[] = {(char *)(uintptr_t) "strace",
                          (char *)(uintptr_t) "-f",
                          (char *)(uintptr_t) "--seccomp-bpf",
                          (char *)(uintptr_t) "-o",
                          (char *)(uintptr_t) "/dev/null",
                          (char *)(uintptr_t) "true",
                          NULL};
    struct child child;
    char out[OUT_BYTES];

    child_start(&child, argv);
    if (!child_wait(&child, WAIT_MS, out, sizeof(out)) || !child_exited(&child, 0)) {
        die_skip("strace can't trace a program here: %s", out);
    }
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fill_on_the_page_mapping_shows_a_synchronous_write_for_each_put),
        cmocka_unit_test(fill_on_the_volatile_mapping_shows_no_sync),
        cmocka_unit_test(fill_through_the_server_on_the_volatile_mapping_shows_no_sync),
    };

    settings.self = argv[0];
    if (argc == 5 && strcmp(argv[1], "--fill") == 0) {
        return fill(argv + 2);
    }
    if (argc == 3 && strcmp(argv[1], "--server") == 0) {
        settings.program = argv[2];
    }
    leave_leaks_alone();
    need_strace();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
