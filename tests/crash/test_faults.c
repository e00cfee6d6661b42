/* Goal:   a call of the mapping or an allocation that fails, whichever it is, fails an operation with a clear
 *         status and nothing else: what was acknowledged stays, nothing is half there, and the store goes on, or
 *         is read-only until it is opened again.
 * Method: a short workload is run again and again, with the first, second, third ... call failing, until none is
 *         left to fail. After each run the failure is taken away, the store is opened again and held to what was
 *         acknowledged. Runs with a failing sync are explored for crash states besides.
 */
#include "tests/crash/explore.h"
#include "tests/crash/plant.h"
#include "tests/crash/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { NTH_MAX = 4000 };

struct fixture {
    struct mem_map *mem;
    struct mempool mempool;
    struct driver driver;
};

static struct nosync_map *
open_mem(void *context)
{
    return mem_map_open(context);
}

static void
begin(struct fixture *f, const struct workload *workload, enum pm_mode mode)
{
    const struct mem_map_options options = {
        .mode = mode,
        .size_bytes_max = (uint64_t)workload->geometry.blocks_max * workload->geometry.block_bytes,
    };

    memset(f, 0, sizeof(*f));
    f->mem = mem_map_create(&options);
    plant_random_seed(1);
    driver_init(&f->driver, &workload->geometry, &f->mempool, NULL);
    f->driver.open_map = open_mem;
    f->driver.open_context = f->mem;
    f->driver.may_refuse = true;
}

/* A sync that failed is cleared by laying the file under the map anew. */
static void
heal(struct fixture *f)
{
    uint64_t len = 0;
    void *bytes = mem_map_copy(f->mem, &len);

    for (int call = 0; call < MEM_MAP_CALLS; call++) {
        const struct mem_map_failure none = {.call = (enum mem_map_call)call};

        mem_map_fail(f->mem, &none);
    }
    mem_map_load(f->mem, bytes, len);
    free(bytes);
}

static void
end(struct fixture *f)
{
    mem_map_destroy(f->mem);
    mempool_free(&f->mempool);
}

/* Operations return what the failure is, or what they would without it. */
static void
check_statuses(const struct driver *driver, const char *what, unsigned long nth, uint32_t more)
{
    const uint32_t others =
        driver->statuses & ~(more | 1u << FL_OK | 1u << FL_NOT_FOUND | 1u << FL_END);

    if (others != 0) {
        fail_msg("%s, call %lu: an operation returned %s", what, nth,
                 fl_status_name((fl_status)__builtin_ctz(others)));
    }
}

static void
check(const struct driver *driver, const char *what, unsigned long nth)
{
    if (driver->wrong) {
        fail_msg("%s, call %lu: %s", what, nth, driver->why);
    }
}

/* Opened without failures the store holds what was acknowledged, and can be used. */
static void
open_again(struct fixture *f, const char *what, unsigned long nth)
{
    struct driver *driver = &f->driver;
    const struct contents *may[2] = {driver->now, driver->maybe};
    char why[2][160] = {"", ""};

    driver->maybe = may[0]; /* not looked at while it opens */
    driver->wrong = false;
    assert_int_equal(driver_open(driver), FL_OK);
    driver->maybe = NULL;
    const uint64_t now_ms = fl_now_ms(driver->store);

    for (unsigned i = 0; i < 2; i++) {
        if (may[i] != NULL &&
            contents_match(may[i], driver->store, now_ms, true, NULL, why[i], sizeof(why[i]))) {
            driver->now = may[i];
            break;
        }
        if (i == 1) {
            fail_msg("%s, call %lu, opened again: %s; %s", what, nth, why[0], why[1]);
        }
    }
    driver_put(driver, 0, "after", 20);
    assert_int_equal(driver->last, FL_OK);
    driver_maintain(driver, 0);
    driver_close(driver);
    assert_int_equal(driver->last, FL_OK);
    check(driver, what, nth);
}

/* The file system refuses: no space, or a punch that it doesn't know. The store goes on. */
static unsigned
mapping_fails(const struct workload *workload, enum pm_mode mode, enum mem_map_call call,
              fl_status status)
{
    unsigned runs = 0;

    for (uint64_t nth = 1; nth < NTH_MAX; nth++) {
        const struct mem_map_failure failure = {.call = call, .nth = nth, .status = status};
        struct fixture f;

        begin(&f, workload, mode);
        mem_map_fail(f.mem, &failure);
        const fl_status opened = driver_open(&f.driver);

        if (opened == FL_OK) {
            workload->run(&f.driver, 1);
            check(&f.driver, workload->name, nth);
            check_statuses(&f.driver, workload->name, nth,
                           call == MEM_MAP_CALL_PUNCH ? 0 : UINT32_C(1) << status);
        } else {
            assert_int_equal(opened, status);
        }
        const bool reached = mem_map_calls(f.mem, call) >= nth;

        heal(&f);
        open_again(&f, workload->name, nth);
        end(&f);
        runs++;
        if (!reached) {
            return runs;
        }
    }
    fail_msg("%s: no end", workload->name);
    return 0;
}

static void
refused_growth_fails_one_operation(void **state)
{
    static const char *const names[] = {"segments", "batches", "blobs", "cleaner", "expiry"};
    unsigned runs = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        runs +=
            mapping_fails(workload_find(names[i]), PM_DIRECT, MEM_MAP_CALL_FAULT_IN, FL_NO_SPACE);
        runs +=
            mapping_fails(workload_find(names[i]), PM_STAGED, MEM_MAP_CALL_FAULT_IN, FL_NO_SPACE);
    }
    print_message("%u runs\n", runs);
}

static void
refused_punch_costs_space_only(void **state)
{
    static const char *const names[] = {"batches", "blobs", "cleaner", "spaces", "expiry"};
    unsigned runs = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        runs +=
            mapping_fails(workload_find(names[i]), PM_DIRECT, MEM_MAP_CALL_PUNCH, FL_NOT_SUPPORTED);
        runs += mapping_fails(workload_find(names[i]), PM_STAGED, MEM_MAP_CALL_PUNCH, FL_IO);
    }
    print_message("%u runs\n", runs);
}

/* A sync fails for good: the store is read-only from there on, says FL_IO, and what it had acknowledged is there. */
static unsigned
sync_fails(const struct workload *workload, enum mem_map_call call, bool applied)
{
    unsigned runs = 0;

    for (uint64_t nth = 1; nth < NTH_MAX; nth++) {
        const struct mem_map_failure failure = {
            .call = call, .nth = nth, .status = FL_IO, .applied = applied, .sticky = true};
        struct fixture f;

        begin(&f, workload, PM_STAGED);
        mem_map_fail(f.mem, &failure);
        const fl_status opened = driver_open(&f.driver);

        if (opened == FL_OK) {
            workload->run(&f.driver, 1);
            check(&f.driver, workload->name, nth);
            /* Growth fails too, and is asked about before the store. */
            check_statuses(&f.driver, workload->name, nth,
                           1u << FL_IO | 1u << FL_READ_ONLY | 1u << FL_NO_SPACE);
        } else {
            assert_int_equal(opened, FL_IO);
        }
        const bool reached = mem_map_calls(f.mem, call) >= nth;

        heal(&f);
        open_again(&f, workload->name, nth);
        end(&f);
        runs++;
        if (!reached) {
            return runs;
        }
    }
    fail_msg("%s: no end", workload->name);
    return 0;
}

static void
failed_sync_is_final_and_loses_nothing_acknowledged(void **state)
{
    static const char *const names[] = {"points", "batches", "blobs", "reopen", "raise"};
    unsigned runs = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        for (int applied = 0; applied < 2; applied++) {
            const struct workload *workload = workload_find(names[i]);

            runs += sync_fails(workload, MEM_MAP_CALL_WRITE_DURABLE, applied);
            runs += sync_fails(workload, MEM_MAP_CALL_WRITE_THROUGH, applied);
            runs += sync_fails(workload, MEM_MAP_CALL_SYNC_FILE, applied);
        }
    }
    print_message("%u runs\n", runs);
}

/* A run in which the N-th such call fails, cut short anywhere. False: there are not that many calls. */
static bool
cut_after_failure(const struct workload *workload, const struct mem_map_failure *failure,
                  uint64_t *states)
{
    const struct explore_config config = {
        .name = workload->name,
        .geometry = workload->geometry,
        .mode = PM_STAGED,
        .seed = 1,
        .states_max = 32,
        .usable_every = 60,
    };
    const struct record_options options = {.failure = failure};
    struct explore_result result;
    struct record record;

    record_workload(&record, workload, PM_STAGED, 1, &options);
    const bool reached = record.calls[failure->call] >= failure->nth;

    if (record.wrong) {
        fail_msg("%s, call %d, the %" PRIu64 "th: %s", workload->name, (int)failure->call,
                 failure->nth, record.why);
    }
    if (reached) {
        explore_trace(&config, &record.trace, NULL, 0, NULL, &result);
        *states += result.counts.states;
        if (result.failed) {
            fail_msg("%s, call %d, the %" PRIu64 "th%s: %s", workload->name, (int)failure->call,
                     failure->nth, failure->applied ? ", applied" : "", result.why);
        }
    }
    record_deinit(&record);
    return reached;
}

/* The same, and then the power goes: of what the failed sync covered any part may be there. */
static void
power_cut_after_failed_sync_recovers(void **state)
{
    /* Every call of the small ones; of the bigger ones some, from the first to the last. */
    static const struct {
        const char *name;
        unsigned stride;
    } runs[] = {{"points", 1},  {"expired", 1}, {"reopen", 1},
                {"batches", 2}, {"blobs", 3},   {"raise", 5}};
    static const enum mem_map_call calls[] = {MEM_MAP_CALL_WRITE_DURABLE,
                                              MEM_MAP_CALL_WRITE_THROUGH, MEM_MAP_CALL_SYNC_FILE};
    unsigned failures[MEM_MAP_CALLS] = {0};
    uint64_t states = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]); i++) {
        for (size_t c = 0; c < 2 * sizeof(calls) / sizeof(calls[0]); c++) {
            struct mem_map_failure failure = {
                .call = calls[c / 2], .nth = 1, .status = FL_IO, .applied = c % 2, .sticky = true};

            while (cut_after_failure(workload_find(runs[i].name), &failure, &states)) {
                failures[failure.call]++;
                failure.nth += runs[i].stride;
                assert_true(failure.nth < NTH_MAX);
            }
        }
    }
    print_message("%u durable writes, %u written through, %u syncs of the file failed; %" PRIu64
                  " states\n",
                  failures[MEM_MAP_CALL_WRITE_DURABLE], failures[MEM_MAP_CALL_WRITE_THROUGH],
                  failures[MEM_MAP_CALL_SYNC_FILE], states);
    for (size_t c = 0; c < sizeof(calls) / sizeof(calls[0]); c++) {
        assert_true(failures[calls[c]] > 0);
    }
}

static unsigned
allocations_fail(const struct workload *workload)
{
    unsigned runs = 0;

    for (unsigned long nth = 1; nth < NTH_MAX; nth++) {
        struct fixture f;

        begin(&f, workload, PM_DIRECT);
        (void)plant_allocation_fail(nth);
        const fl_status opened = driver_open(&f.driver);

        if (opened == FL_OK) {
            workload->run(&f.driver, 1);
        }
        const bool reached = plant_allocation_fail(0) == 0;

        if (opened == FL_OK) {
            check(&f.driver, workload->name, nth);
            check_statuses(&f.driver, workload->name, nth, 1u << FL_NO_MEMORY);
        } else {
            assert_int_equal(opened, FL_NO_MEMORY);
        }
        heal(&f);
        open_again(&f, workload->name, nth);
        end(&f);
        runs++;
        if (!reached) {
            return runs;
        }
    }
    fail_msg("%s: no end", workload->name);
    return 0;
}

static void
refused_allocation_fails_one_operation(void **state)
{
    static const char *const names[] = {"points", "batches", "blobs", "cleaner", "expiry"};
    unsigned runs = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        runs += allocations_fail(workload_find(names[i]));
    }
    print_message("%u runs\n", runs);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refused_growth_fails_one_operation),
        cmocka_unit_test(refused_punch_costs_space_only),
        cmocka_unit_test(failed_sync_is_final_and_loses_nothing_acknowledged),
        cmocka_unit_test(power_cut_after_failed_sync_recovers),
        cmocka_unit_test(refused_allocation_fails_one_operation),
    };

    explore_settle_process();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
