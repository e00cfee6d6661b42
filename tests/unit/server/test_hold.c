/* Goal:   bytes leave only when what they depend on is durable, and then at once. Method: marks
 * are added, submitted and made durable; the limit says which bytes may leave. A random run
 *         compares it with a list of every reply's own dependence. */
#include "server/hold.h"
#include "tests/lib/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void
limit_nothing_held_is_the_end(void **state)
{
    struct hold hold = {0};

    (void)state;
    hold_add(&hold, 0, 0);
    assert_int_equal(hold_limit(&hold, 10), 10);
}

static void
limit_pending_reply_is_its_start(void **state)
{
    struct hold hold = {0};

    (void)state;
    hold_add(&hold, 5, HOLD_PENDING);
    hold_add(&hold, 9, 0);
    assert_int_equal(hold_limit(&hold, 20), 5);
    hold_submitted(&hold, 3);
    hold_durable(&hold, 2);
    assert_int_equal(hold_limit(&hold, 20), 5);
    hold_durable(&hold, 3);
    assert_int_equal(hold_limit(&hold, 20), 20);
}

static void
limit_durable_on_submit_is_the_end(void **state)
{
    struct hold hold = {0};

    (void)state;
    hold_add(&hold, 5, HOLD_PENDING);
    hold_submitted(&hold, 0);
    assert_int_equal(hold_limit(&hold, 20), 20);
}

static void
limit_earlier_ticket_behind_a_later_one_waits_for_both(void **state)
{
    struct hold hold = {0};

    (void)state;
    hold_add(&hold, 1, 7);
    hold_add(&hold, 2, 4);
    hold_durable(&hold, 4);
    assert_int_equal(hold_limit(&hold, 9), 1);
}

enum { REPLIES = 400 };

static void
limit_random_run_never_lets_a_reply_go_early(void **state)
{
    struct rng rng = rng_seeded(20240607);
    uint64_t needs[REPLIES];

    (void)state;
    for (int round = 0; round < 200; round++) {
        struct hold hold = {0};
        uint64_t submitted = 0;
        uint64_t durable = 0;
        size_t resolved = 0; /* replies before it know their ticket */

        for (size_t i = 0; i < REPLIES; i++) {
            const uint64_t pick = rng_below(&rng, 4);

            needs[i] = pick == 0 ? HOLD_PENDING : (pick == 1 && submitted > 0 ? submitted : 0);
            hold_add(&hold, i, needs[i] > durable ? needs[i] : 0);
            if (rng_below(&rng, 5) == 0) {
                submitted++;
                hold_submitted(&hold, submitted);
                for (; resolved <= i; resolved++) {
                    needs[resolved] = needs[resolved] == HOLD_PENDING ? submitted : needs[resolved];
                }
            }
            if (durable < submitted && rng_below(&rng, 6) == 0) {
                durable++;
                hold_durable(&hold, durable);
            }
            const uint64_t limit = hold_limit(&hold, i + 1);

            for (size_t j = 0; j < limit; j++) {
                assert_true(needs[j] <= durable);
            }
        }
        submitted++;
        hold_submitted(&hold, submitted);
        hold_durable(&hold, submitted);
        assert_int_equal(hold_limit(&hold, REPLIES), REPLIES);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limit_nothing_held_is_the_end),
        cmocka_unit_test(limit_pending_reply_is_its_start),
        cmocka_unit_test(limit_durable_on_submit_is_the_end),
        cmocka_unit_test(limit_earlier_ticket_behind_a_later_one_waits_for_both),
        cmocka_unit_test(limit_random_run_never_lets_a_reply_go_early),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
