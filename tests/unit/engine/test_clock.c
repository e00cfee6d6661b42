/* Goal:   a key that was seen to expire, or whose expiry was acted on, stays away when the wall clock is set back
 *         within the run: for readers, for the next open, and for the cleaner. Where no deadline was ever seen the wall
 *         clock may be set back.
 * Method: a store whose wall clock the test moves; deadlines pass, the clock goes back behind them, and the keys are
 *         looked for before and after a clean close and an open.
 */
#include "tests/unit/engine/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { BLOCK = 4096, VALUE = 300, COLD = 400, HOT = 30, ROUNDS = 40 };

/* START: the first deadline is put. BACK: where the wall clock is set back to. */
#define START UINT64_C(1000000)
#define BACK UINT64_C(1001000)
#define DEADLINE UINT64_C(1005000)
#define LATER UINT64_C(1008000)

/* In steps that the lease keeps up with. */
static void
go_on_until(struct fixture *f, uint64_t wall_ms)
{
    while (f->wall_ms < wall_ms) {
        f->wall_ms += 500;
        fixture_maintain(f);
    }
}

static void
lazily_expired_key_stays_away_when_the_wall_clock_goes_back(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f, BLOCK, START);
    fixture_put(&f, "a", 8, DEADLINE);
    go_on_until(&f, DEADLINE - 500);
    assert_int_equal(fixture_get(&f, "a"), FL_OK);
    f.wall_ms = DEADLINE + 100; /* nobody drops it */
    assert_int_equal(fixture_get(&f, "a"), FL_NOT_FOUND);
    f.wall_ms = BACK;
    assert_int_equal(fixture_get(&f, "a"), FL_NOT_FOUND);
    assert_true(fl_now_ms(f.store) >= DEADLINE + 100);
    fixture_reopen(&f);
    assert_int_equal(fixture_get(&f, "a"), FL_NOT_FOUND);
    assert_true(fl_now_ms(f.store) >= DEADLINE + 100);
    fixture_deinit(&f);
}

static void
read_only_run_keeps_its_clock_too(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f, BLOCK, START);
    fixture_put(&f, "a", 8, DEADLINE);
    f.options.flags = FL_OPEN_READ_ONLY;
    fixture_reopen(&f);
    assert_int_equal(fixture_get(&f, "a"), FL_OK);
    f.wall_ms = LATER;
    assert_int_equal(fixture_get(&f, "a"), FL_NOT_FOUND);
    f.wall_ms = BACK;
    assert_int_equal(fixture_get(&f, "a"), FL_NOT_FOUND);
    assert_int_equal(fl_maintain(f.store), FL_END);
    fixture_deinit(&f);
}

/* Its blocks are free: an open that takes the key for live finds damage. */
static void
expired_big_value_is_no_damage_after_the_wall_clock_went_back(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f, BLOCK, START);
    fixture_put(&f, "big", 100000, DEADLINE);
    go_on_until(&f, LATER);
    f.wall_ms = BACK;
    fixture_maintain(&f);
    fixture_reopen(&f);
    assert_int_equal(fixture_get(&f, "big"), FL_NOT_FOUND);
    assert_int_equal(fl_count(f.store, 0), 0);
    fixture_deinit(&f);
}

/* The same with keys that only the open found expired. */
static void
expired_at_open_stays_away_when_the_wall_clock_goes_back(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f, BLOCK, START);
    fixture_put(&f, "a", 8, 0);
    fixture_put(&f, "a", 8, DEADLINE);
    assert_int_equal(fl_close(f.store), FL_OK);
    f.wall_ms = LATER;
    assert_int_equal(fl_open(f.path, &f.options, &f.store), FL_OK);
    f.wall_ms = BACK;
    assert_int_equal(fixture_get(&f, "a"), FL_NOT_FOUND);
    assert_true(fl_now_ms(f.store) >= LATER);
    fixture_reopen(&f);
    assert_int_equal(fixture_get(&f, "a"), FL_NOT_FOUND);
    fixture_deinit(&f);
}

/* X has an old version without a deadline, in a segment that stays, and a newer one that expired, in one that is
 * cleaned after the wall clock went back. */
static void
expired_version_goes_on_masking_when_the_wall_clock_goes_back(void **state)
{
    struct fl_stats stats = {.struct_bytes = sizeof(stats)};
    struct fixture f;
    char key[16];

    (void)state;
    fixture_init(&f, BLOCK, START);
    fixture_put(&f, "X", 3, 0);
    for (int i = 0; i < COLD; i++) {
        (void)snprintf(key, sizeof(key), "cold%d", i);
        fixture_put(&f, key, VALUE, 0);
    }
    for (int i = 0; i < HOT; i++) {
        if (i == HOT / 2) {
            fixture_put(&f, "X", 4, DEADLINE);
        }
        (void)snprintf(key, sizeof(key), "hot%d", i);
        fixture_put(&f, key, VALUE, 0);
    }
    go_on_until(&f, LATER);
    fl_stats(f.store, &stats);
    const uint64_t freed = stats.cleaner_freed_blocks_total;

    f.wall_ms = BACK;
    for (int i = 0; i < ROUNDS * HOT; i++) {
        (void)snprintf(key, sizeof(key), "hot%d", i % HOT);
        fixture_put(&f, key, VALUE, 0);
        fixture_maintain(&f);
    }
    fl_stats(f.store, &stats);
    assert_true(stats.cleaner_freed_blocks_total > freed);
    assert_int_equal(fixture_get(&f, "X"), FL_NOT_FOUND);
    fixture_reopen(&f);
    assert_int_equal(fixture_get(&f, "X"), FL_NOT_FOUND);
    f.wall_ms = 9 * START;
    fixture_reopen(&f);
    assert_int_equal(fixture_get(&f, "X"), FL_NOT_FOUND);
    assert_int_equal(fl_count(f.store, 0), COLD + HOT);
    fixture_deinit(&f);
}

static void
without_deadlines_the_wall_clock_may_be_put_right(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f, BLOCK, LATER);
    fixture_put(&f, "a", 8, 0);
    assert_int_equal(fl_now_ms(f.store), LATER);
    fixture_maintain(&f);
    f.wall_ms = BACK;
    assert_int_equal(fl_now_ms(f.store), BACK);
    fixture_reopen(&f);
    assert_int_equal(fl_now_ms(f.store), BACK);
    fixture_put(&f, "a", 8, DEADLINE);
    assert_int_equal(fixture_get(&f, "a"), FL_OK);
    fixture_deinit(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lazily_expired_key_stays_away_when_the_wall_clock_goes_back),
        cmocka_unit_test(read_only_run_keeps_its_clock_too),
        cmocka_unit_test(expired_big_value_is_no_damage_after_the_wall_clock_went_back),
        cmocka_unit_test(expired_at_open_stays_away_when_the_wall_clock_goes_back),
        cmocka_unit_test(expired_version_goes_on_masking_when_the_wall_clock_goes_back),
        cmocka_unit_test(without_deadlines_the_wall_clock_may_be_put_right),
    };

    return cmocka_run_group_tests_name("engine clock", tests, NULL, NULL);
}
