/* Goal:   a call that fails under the store - for memory, for the file, whichever and however often it is - fails
 *         operations with a status that says why, and nothing else: what was acknowledged is there, now and after
 *         reopening; a write with an unknown outcome is there as a whole or not at all, and no other is taken behind
 *         it; the store goes on, or says that it doesn't; nothing leaks.
 * Method: a workload is run with the first, second, third ... call of a kind failing, until none is left to fail; then
 *         the same with all behind it failing too, and with short writes. Both mappings that any file has, by hand
 *         and with the store's own threads. Then repair of a damaged store, the same way. */
#include "tests/faults/inject.h"
#include "tests/faults/tally.h"
#include "tests/faults/work.h"

#include <faultline/check.h>

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* By day under a sanitizer, where a run takes several times as long. */
#ifdef FL_FAULTS_SPARSE
enum { SPARSE = 4 };
#else
enum { SPARSE = 1 };
#endif

enum { NTH_MAX = 20000 };

static bool thorough;
static struct tally tallies[INJECT_KINDS];

#define STATUS(s) (UINT32_C(1) << (s))

/* What any workload returns without failures. */
#define USUAL (STATUS(FL_OK) | STATUS(FL_END) | STATUS(FL_NOT_FOUND))

struct fault {
    enum inject_kind kind;
    int error;
    uint32_t statuses; /* that it may show as */
    unsigned step;     /* by day: every so many of the calls in the middle */
};

static const struct fault faults[] = {
    {INJECT_ALLOC, ENOMEM, STATUS(FL_NO_MEMORY), 9},
    {INJECT_MMAP, ENOMEM, STATUS(FL_NO_MEMORY), 1},
    {INJECT_FALLOCATE, ENOSPC, STATUS(FL_NO_SPACE), 3},
    {INJECT_FALLOCATE, EIO, STATUS(FL_IO) | STATUS(FL_NO_SPACE), 5},
    {INJECT_PUNCH, EIO, 0, 3},
    {INJECT_PUNCH, EOPNOTSUPP, 0, 3},
    {INJECT_POPULATE, EFAULT, STATUS(FL_IO) | STATUS(FL_NO_SPACE), 3},
    {INJECT_WRITE, EIO, STATUS(FL_IO) | STATUS(FL_NO_SPACE), 5},
    {INJECT_WRITE, ENOSPC, STATUS(FL_IO) | STATUS(FL_NO_SPACE), 5},
    {INJECT_SYNC, EIO, STATUS(FL_IO) | STATUS(FL_NO_SPACE), 3},
    {INJECT_TRUNCATE, EIO, STATUS(FL_IO) | STATUS(FL_NO_SPACE), 1},
    {INJECT_TRUNCATE, ENOSPC, STATUS(FL_NO_SPACE), 1},
    {INJECT_OPEN, EMFILE, STATUS(FL_IO) | STATUS(FL_NO_MEMORY), 1},
    {INJECT_OPEN, EINTR, STATUS(FL_IO), 1},
    {INJECT_STAT, EIO, STATUS(FL_IO) | STATUS(FL_CORRUPT) | STATUS(FL_NO_SPACE), 5},
    {INJECT_LOCK, EIO, STATUS(FL_IO) | STATUS(FL_BUSY), 1},
    {INJECT_RANDOM, EIO, STATUS(FL_IO), 3},
    {INJECT_EVENT, EMFILE, STATUS(FL_IO) | STATUS(FL_NO_MEMORY), 1},
};

static unsigned
files_open(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned count = 0;

    assert_non_null(dir);
    while (readdir(dir) != NULL) {
        count++;
    }
    closedir(dir);
    return count;
}

static void
assert_statuses(const struct work *work, const struct fault *fault, const struct inject_plan *plan)
{
    /* After FL_IO the store is read-only, and says FL_IO or what keeps it from growing. */
    const uint32_t others = work->statuses & ~(USUAL | fault->statuses);

    if (others != 0) {
        fail_msg("%s %s, call %lu, how %d: an operation returned %s", inject_name(plan->kind),
                 strerror(plan->error), plan->nth, (int)plan->how,
                 fl_status_name((fl_status)__builtin_ctz(others)));
    }
}

/* One run; false: there was no such call. */
static bool
run_once(const struct fault *fault, const struct inject_plan *plan, enum fl_mapping mapping,
         bool background)
{
    const unsigned files = files_open();
    struct work work;

    work_init(&work, mapping, background);
    inject_plan(plan);
    work_run(&work);
    const unsigned long failed = inject_failed();

    inject_plan(NULL);
    tally_add(&tallies[fault->kind], failed, (work.statuses & ~USUAL) != 0);
    assert_statuses(&work, fault, plan);
    work_check(&work);
    work_deinit(&work);
    if (files_open() != files) {
        fail_msg("%s, call %lu: a file was left open", inject_name(plan->kind), plan->nth);
    }
    return failed > 0;
}

static void
run_all(const struct fault *fault, enum inject_how how, enum fl_mapping mapping, bool background)
{
    /* The first calls are those of the open, each another: all of them. */
    const bool once = how == INJECT_ONCE || how == INJECT_SHORT;
    const unsigned step = thorough ? 1 : (once ? 1U : 5U) * (unsigned)SPARSE * fault->step;
    const unsigned long each = thorough || once ? 24UL / SPARSE : 8UL;
    unsigned long nth = 1;
    unsigned long failed = tallies[fault->kind].injected;

    for (; nth < NTH_MAX; nth += nth < each ? 1 : step) {
        const struct inject_plan plan = {fault->kind, how, nth, fault->error};

        if (!run_once(fault, &plan, mapping, background)) {
            break;
        }
    }
    assert_true(nth < NTH_MAX);
    failed = tallies[fault->kind].injected - failed;
    if (thorough) {
        print_message("%s %s, how %d, mapping %s%s: %lu calls, %lu failed\n",
                      inject_name(fault->kind), strerror(fault->error), (int)how,
                      fl_mapping_name(mapping), background ? ", threads" : "", nth - 1, failed);
    }
}

static void
run_faults(enum fl_mapping mapping, bool background)
{
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        run_all(&faults[i], INJECT_ONCE, mapping, background);
        if (faults[i].error != EINTR) {
            run_all(&faults[i], INJECT_FROM_THERE, mapping, background);
        }
    }
}

static void
failing_call_on_a_volatile_mapping_loses_nothing_acknowledged(void **state)
{
    (void)state;
    run_faults(FL_MAPPING_VOLATILE, false);
}

static void
failing_call_on_a_page_mapping_loses_nothing_acknowledged(void **state)
{
    (void)state;
    run_faults(FL_MAPPING_PAGE, false);
}

static void
short_and_interrupted_writes_cost_nothing(void **state)
{
    const struct fault shorter = {INJECT_WRITE, 0, 0, 7};
    const struct fault interrupted = {INJECT_WRITE, EINTR, 0, 7};

    (void)state;
    run_all(&shorter, INJECT_SHORT, FL_MAPPING_PAGE, false);
    run_once(&shorter, &(struct inject_plan){INJECT_WRITE, INJECT_ALL_SHORT, 1, 0}, FL_MAPPING_PAGE,
             false);
    run_all(&interrupted, INJECT_ONCE, FL_MAPPING_PAGE, false);
}

/* The store's own threads too: which call is the N-th differs from run to run. */
static void
failing_call_beside_threads_loses_nothing_acknowledged(void **state)
{
    const struct fault thread = {INJECT_THREAD, EAGAIN, STATUS(FL_NO_MEMORY), 1};

    (void)state;
    run_all(&thread, INJECT_ONCE, FL_MAPPING_PAGE, true);
    run_all(&thread, INJECT_FROM_THERE, FL_MAPPING_VOLATILE, true);
    if (thorough) {
        run_faults(FL_MAPPING_PAGE, true);
        run_faults(FL_MAPPING_VOLATILE, true);
    }
}

/* ---- repair ---- */

static uint8_t *
file_read(const char *path, size_t *len)
{
    FILE *file = fopen(path, "re");
    uint8_t *bytes = malloc(1 << 22);

    assert_true(file != NULL && bytes != NULL);
    *len = fread(bytes, 1, 1 << 22, file);
    assert_int_equal(fclose(file), 0);
    return bytes;
}

static void
file_write(const char *path, const uint8_t *bytes, size_t len)
{
    FILE *file = fopen(path, "we");

    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

struct patient {
    struct work work;
    uint8_t *damaged;
    size_t len;
    uint64_t keys; /* that a repair saves */
    char path_repaired[TMPDIR_PATH_BYTES + 16];
    char path_damaged[TMPDIR_PATH_BYTES + 16];
};

static void
patient_create(struct patient *p)
{
    work_init(&p->work, FL_MAPPING_VOLATILE, false);
    (void)snprintf(p->path_repaired, sizeof(p->path_repaired), "%s.repaired", p->work.path);
    (void)snprintf(p->path_damaged, sizeof(p->path_damaged), "%s.damaged", p->work.path);
    inject_plan(NULL);
    work_run(&p->work);
    work_check(&p->work);
    p->damaged = file_read(p->work.path, &p->len);
    /* A frame in the first segment of the log. */
    for (size_t off = 2 * WORK_BLOCK_BYTES; off + 300 < p->len; off += WORK_BLOCK_BYTES) {
        if (memcmp(p->damaged + off, "FLSG", 4) == 0) {
            p->damaged[off + 140] ^= 0x10;
        }
    }
}

/* What a repair that failed left in place is the file as it was, or the repaired one; then it works. */
static bool
repair_once(struct patient *p, const struct fault *fault, const struct inject_plan *plan)
{
    struct fl_check_options options = {.struct_bytes = sizeof(options)};
    struct fl_check_report report;
    size_t len = 0;

    file_write(p->work.path, p->damaged, p->len);
    inject_plan(plan);
    const fl_status status = (fl_status)INJECTED(fl_check_repair(p->work.path, &options, &report));
    const unsigned long failed = inject_failed();

    inject_plan(NULL);
    tally_add(&tallies[fault->kind], failed, status != FL_OK);
    uint8_t *left = file_read(p->work.path, &len);
    const bool same = len == p->len && memcmp(left, p->damaged, len) == 0;

    free(left);
    assert_int_equal(fl_check(p->work.path, &options, &report), FL_OK);
    if (status == FL_OK) {
        if (report.findings > 0) { /* it could not be told from one that needs none: never */
            fail_msg("%s, call %lu: said to be repaired, and is not", inject_name(plan->kind),
                     plan->nth);
        }
    } else if (!same && report.findings > 0) {
        fail_msg("%s, call %lu: neither the old file nor a repaired one", inject_name(plan->kind),
                 plan->nth);
    }
    (void)unlink(p->path_repaired);
    (void)unlink(p->path_damaged);
    if (same) {
        assert_int_equal(fl_check_repair(p->work.path, &options, &report), FL_OK);
        assert_int_equal(report.keys, p->keys);
        (void)unlink(p->path_damaged);
    }
    return failed > 0;
}

static void
failing_repair_leaves_the_file_or_a_repaired_one(void **state)
{
    static const struct fault repair_faults[] = {
        {INJECT_ALLOC, ENOMEM, 0, 3},     {INJECT_MMAP, ENOMEM, 0, 1},
        {INJECT_FALLOCATE, ENOSPC, 0, 3}, {INJECT_WRITE, EIO, 0, 3},
        {INJECT_SYNC, EIO, 0, 1},         {INJECT_OPEN, EMFILE, 0, 1},
        {INJECT_STAT, EIO, 0, 3},         {INJECT_LOCK, EIO, 0, 1},
        {INJECT_RENAME, EIO, 0, 1},       {INJECT_RANDOM, EIO, 0, 1},
        {INJECT_POPULATE, EFAULT, 0, 3},
    };
    struct fl_check_options options = {.struct_bytes = sizeof(options)};
    struct fl_check_report report;
    struct patient p;

    (void)state;
    patient_create(&p);
    file_write(p.work.path, p.damaged, p.len);
    assert_int_equal(fl_check_repair(p.work.path, &options, &report), FL_OK);
    assert_true(report.findings > 0 && report.keys > 10);
    p.keys = report.keys;
    (void)unlink(p.path_damaged);
    for (size_t i = 0; i < sizeof(repair_faults) / sizeof(repair_faults[0]); i++) {
        const unsigned step = thorough ? 1 : (unsigned)SPARSE * repair_faults[i].step;

        for (unsigned long nth = 1; nth < NTH_MAX; nth += nth < 60UL / SPARSE ? 1 : step) {
            const struct inject_plan plan = {repair_faults[i].kind, INJECT_ONCE, nth,
                                             repair_faults[i].error};

            if (!repair_once(&p, &repair_faults[i], &plan)) {
                break;
            }
        }
    }
    free(p.damaged);
    work_deinit(&p.work);
}

/* A call that is not injected into any more would pass everything. */
static int
count_never_injected(void)
{
    int count = 0;

    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        if (tallies[faults[i].kind].injected == 0) {
            fprintf(stderr, "%s: no call was made to fail\n", inject_name(faults[i].kind));
            count++;
        }
    }
    return count + (tallies[INJECT_THREAD].injected == 0);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failing_call_on_a_volatile_mapping_loses_nothing_acknowledged),
        cmocka_unit_test(failing_call_on_a_page_mapping_loses_nothing_acknowledged),
        cmocka_unit_test(short_and_interrupted_writes_cost_nothing),
        cmocka_unit_test(failing_call_beside_threads_loses_nothing_acknowledged),
        cmocka_unit_test(failing_repair_leaves_the_file_or_a_repaired_one),
    };

    thorough = argc == 2 && strcmp(argv[1], "--all") == 0;
    const int failed = cmocka_run_group_tests_name("faults store", tests, NULL, NULL);

    for (int i = 0; i < INJECT_KINDS; i++) {
        if (tallies[i].injected > 0) {
            tallies[i].kind = inject_name((enum inject_kind)i);
            tally_print(&tallies[i]);
        }
    }
    return failed + count_never_injected();
}
