/* Goal:   what writers do while the cleaner is between judging a record and copying it is not undone by its copy,
 *         now or after any number of opens.
 *         And a big value that is put on a condition is not put over what another writer has put since.
 * Method: the writer's step is taken at exactly that moment, in the cleaner's own thread; then the log is cleaned until
 *         nothing of that time is left that could hide a mistake, with a look at the contents after each open.
 */
#include "tests/crash/driver.h"
#include "tests/crash/plant.h"
#include "tests/crash/record.h"
#include "tests/lib/die.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct driver_geometry geometry = {4096, 48, 1, 0};

struct fixture {
    struct mem_map *mem;
    struct mempool mempool;
    struct driver driver;
    const char *key; /* what the writer deletes or overwrites */
    bool overwrite;
    unsigned acted;
};

static struct nosync_map *
open_mem(void *context)
{
    return mem_map_open(context);
}

static void
begin(struct fixture *f)
{
    const struct mem_map_options options = {
        .mode = PM_DIRECT,
        .size_bytes_max = (uint64_t)geometry.blocks_max * geometry.block_bytes,
    };

    memset(f, 0, sizeof(*f));
    f->mem = mem_map_create(&options);
    driver_init(&f->driver, &geometry, &f->mempool, NULL);
    f->driver.open_map = open_mem;
    f->driver.open_context = f->mem;
    assert_int_equal(driver_open(&f->driver), FL_OK);
}

static void
end(struct fixture *f)
{
    driver_close(&f->driver);
    mem_map_destroy(f->mem);
    mempool_free(&f->mempool);
}

static void
check(const struct fixture *f, const char *when)
{
    if (f->driver.wrong) {
        fail_msg("%s: %s", when, f->driver.why);
    }
}

/* The writer, between the cleaner's judgement and its copy. */
static void
act(void *context)
{
    struct fixture *f = context;

    if (f->acted++ > 0) {
        return;
    }
    if (f->overwrite) {
        driver_put(&f->driver, 0, f->key, 24);
        driver_delete(&f->driver, 0, f->key);
    } else {
        driver_delete(&f->driver, 0, f->key);
    }
}

static void
garbage(struct fixture *f, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        driver_put(&f->driver, 0, i % 2 == 0 ? "even" : "odd", 440);
    }
}

/* Segments of much garbage and one record each that stays: the cleaner's segments then are full of what never dies, and
 * outlive those of the writers. */
static void
delete_beside_cleaner_stays(bool overwrite)
{
    struct fixture f;

    begin(&f);
    f.key = "victim";
    f.overwrite = overwrite;
    driver_put(&f.driver, 0, f.key, 40);
    for (unsigned i = 0; i < 10; i++) {
        char key[16];

        (void)snprintf(key, sizeof(key), "stays%u", i);
        driver_put(&f.driver, 0, key, 440);
        garbage(&f, 7);
    }
    plant_before_copying(act, &f);
    driver_maintain(&f.driver, 0);
    plant_before_copying(NULL, NULL);
    assert_true(f.acted > 0);
    check(&f, "while cleaning");
    for (unsigned round = 0; round < 24; round++) {
        garbage(&f, 9);
        driver_maintain(&f.driver, 0);
        check(&f, "later");
        driver_close(&f.driver);
        (void)driver_open(&f.driver);
        check(&f, "opened again");
    }
    end(&f);
}

static void
delete_between_judgement_and_copy_is_not_undone(void **state)
{
    (void)state;
    delete_beside_cleaner_stays(false);
}

static void
overwrite_and_delete_between_judgement_and_copy_is_not_undone(void **state)
{
    (void)state;
    delete_beside_cleaner_stays(true);
}

/* The condition was judged before the value was committed, not with it. */
static void
big_conditional_puts_beside_writers_are_linearizable(void **state)
{
    enum { SCHEDULES = 150 };

    (void)state;
    for (uint64_t seed = 1; seed <= SCHEDULES; seed++) {
        struct record record;

        record_workload(&record, workload_find("blobs-beside"), PM_DIRECT, seed, NULL);
        if (record.wrong) {
            fail_msg("seed %d: %s", (int)seed, record.why);
        }
        record_deinit(&record);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delete_between_judgement_and_copy_is_not_undone),
        cmocka_unit_test(overwrite_and_delete_between_judgement_and_copy_is_not_undone),
        cmocka_unit_test(big_conditional_puts_beside_writers_are_linearizable),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
