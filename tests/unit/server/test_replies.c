/* Goal:   nothing is acknowledged, read or denied before what it depends on is durable; commits
 * that are slow are
 *         shared; a failed one is told to nobody.
 * Method: a server over a fake store whose commits complete one at a time, when the test says
 * so. */
#include "tests/unit/server/harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static void
set_commit_in_flight_is_not_acknowledged(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 1, NULL);
    fake_store_hold(h.store);
    assert_answer(&h, 0, "SET a 1", "");
    assert_true(fake_store_complete(h.store));
    harness_turn(&h);
    assert_string_equal(harness_received(&h, 0), "+OK\r\n");
    harness_deinit(&h);
}

static void
get_value_in_flight_is_not_told(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 3, NULL);
    fake_store_hold(h.store);
    harness_say(&h, 0, "SET a 1");
    assert_answer(&h, 1, "GET a", "");
    assert_answer(&h, 2, "GET b", "$-1\r\n"); /* depends on nothing */
    fake_store_complete(h.store);
    harness_turn(&h);
    assert_string_equal(harness_received(&h, 1), "$1\r\n1\r\n");
    harness_deinit(&h);
}

static void
miss_of_deleted_key_in_flight_is_not_told(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 2, NULL);
    assert_answer(&h, 0, "SET a 1", "+OK\r\n");
    fake_store_hold(h.store);
    assert_answer(&h, 0, "DEL a", "");
    assert_answer(&h, 1, "GET a", "");
    assert_answer(&h, 1, "SETNX b 1", "");
    fake_store_complete(h.store);
    harness_turn(&h);
    assert_string_equal(harness_received(&h, 0), ":1\r\n");
    assert_string_equal(harness_received(&h, 1), "$-1\r\n");
    fake_store_complete(h.store);
    harness_turn(&h);
    assert_string_equal(harness_received(&h, 1), ":1\r\n");
    harness_deinit(&h);
}

static void
refused_condition_on_value_in_flight_is_not_told(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 2, NULL);
    fake_store_hold(h.store);
    harness_say(&h, 0, "SET a 1");
    assert_answer(&h, 1, "SETNX a 2", "");
    fake_store_complete(h.store);
    harness_turn(&h);
    assert_string_equal(harness_received(&h, 1), ":0\r\n");
    harness_deinit(&h);
}

static void
reply_behind_held_one_waits_for_it(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 1, NULL);
    fake_store_hold(h.store);
    assert_answer(&h, 0, "SET a 1\r\nPING", "");
    fake_store_complete(h.store);
    harness_turn(&h);
    assert_string_equal(harness_received(&h, 0), "+OK\r\n+PONG\r\n");
    harness_deinit(&h);
}

static void
commits_while_one_is_in_flight_are_one(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 4, NULL);
    fake_store_hold(h.store);
    harness_say(&h, 0, "SET a 1");
    assert_int_equal(fake_store_submits(h.store), 1);
    harness_say(&h, 1, "SET b 1");
    harness_say(&h, 2, "SET c 1");
    harness_say(&h, 3, "GET b");
    assert_int_equal(fake_store_submits(h.store), 1);
    fake_store_complete(h.store);
    harness_turn(&h);
    assert_string_equal(harness_received(&h, 0), "+OK\r\n");
    assert_int_equal(fake_store_submits(h.store), 2);
    assert_silent(&h, 1);
    assert_silent(&h, 3);
    fake_store_complete(h.store);
    harness_turn(&h);
    assert_string_equal(harness_received(&h, 1), "+OK\r\n");
    assert_string_equal(harness_received(&h, 2), "+OK\r\n");
    assert_string_equal(harness_received(&h, 3), "$1\r\n1\r\n");
    harness_deinit(&h);
}

static void
barrier_command_waits_for_commits_and_sees_them(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 2, NULL);
    fake_store_hold(h.store);
    harness_say(&h, 0, "SET a 1");
    assert_answer(&h, 1, "DBSIZE\r\nPING", "");
    fake_store_complete(h.store);
    harness_turn(&h);
    assert_string_equal(harness_received(&h, 1), ":1\r\n+PONG\r\n");
    harness_deinit(&h);
}

static void
barrier_command_is_not_starved_by_writers(void **state)
{
    struct harness h;
    bool answered = false;

    (void)state;
    harness_init(&h, 3, NULL);
    fake_store_hold(h.store);
    harness_say(&h, 0, "SET a 1");
    harness_say(&h, 1, "DBSIZE");
    for (int i = 0; i < 10 && !answered; i++) {
        /* Both arrive in one turn: the end of a commit, and the next write. */
        assert_int_equal(send(h.clients[2], "SET b 1\r\n", 9, 0), 9);
        fake_store_complete(h.store);
        harness_turn(&h);
        answered = strlen(harness_received(&h, 1)) > 0;
    }
    assert_true(answered);
    while (fake_store_complete(h.store)) {
        harness_turn(&h);
    }
    assert_non_null(strstr(harness_received(&h, 2), "+OK\r\n"));
    harness_deinit(&h);
}

static void
barrier_command_inline_with_quotes_is_parsed_once(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 2, NULL);
    fake_store_hold(h.store);
    harness_say(&h, 0, "SET a* 1");
    assert_answer(&h, 1, "KEYS \"a\\x2a\"\r\nPING", "");
    fake_store_complete(h.store);
    harness_turn(&h);
    assert_string_equal(harness_received(&h, 1), "*1\r\n$2\r\na*\r\n+PONG\r\n");
    harness_deinit(&h);
}

static void
failed_commit_closes_who_depends_on_it_only(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 4, NULL);
    assert_answer(&h, 2, "SET z 1", "+OK\r\n");
    fake_store_hold(h.store);
    harness_say(&h, 0, "SET a 1");
    harness_say(&h, 1, "GET a");
    harness_say(&h, 3, "SET b 1"); /* not even submitted */
    fake_store_fail(h.store);
    harness_turn(&h);
    assert_string_equal(harness_received(&h, 0), "(closed)");
    assert_string_equal(harness_received(&h, 1), "(closed)");
    assert_string_equal(harness_received(&h, 3), "(closed)");
    assert_answer(&h, 2, "GET z", "$1\r\n1\r\n");
    harness_say(&h, 2, "SET z 2");
    assert_non_null(strstr(harness_received(&h, 2), "-ERR "));
    harness_deinit(&h);
}

static void
shutdown_is_the_last_that_its_client_has_executed(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 2, NULL);
    assert_answer(&h, 0, "PING\r\nSHUTDOWN\r\nSET a 1\r\nPING", "+PONG\r\n(closed)");
    assert_answer(&h, 1, "EXISTS a", ":0\r\n");
    assert_int_equal(h.server->stop, SERVER_STOPS);
    harness_deinit(&h);
}

static void
writes_of_clients_that_left_are_submitted_at_the_end(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 2, NULL);
    fake_store_hold(h.store);
    harness_say(&h, 0, "SET a 1");
    harness_say(&h, 1, "SET b 1"); /* waits in the batch */
    assert_int_equal(fake_store_submits(h.store), 1);
    h.server->stop = SERVER_STOPS_NOW;
    assert_int_equal(server_run(h.server), FL_OK);
    assert_int_equal(fake_store_submits(h.store), 2);
    harness_deinit(&h);
}

static void
exec_is_one_commit_and_one_answer(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 1, NULL);
    fake_store_hold(h.store);
    assert_answer(&h, 0, "MULTI\r\nSET a 1\r\nINCR a\r\nGET a",
                  "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n");
    assert_answer(&h, 0, "EXEC", "");
    assert_int_equal(fake_store_submits(h.store), 1);
    fake_store_complete(h.store);
    harness_turn(&h);
    assert_string_equal(harness_received(&h, 0), "*3\r\n+OK\r\n:2\r\n$1\r\n2\r\n");
    harness_deinit(&h);
}

static void
exec_refused_by_write_in_flight_is_not_told(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 2, NULL);
    assert_answer(&h, 0, "WATCH a", "+OK\r\n");
    fake_store_hold(h.store);
    harness_say(&h, 1, "SET a 1");
    assert_answer(&h, 0, "MULTI\r\nEXEC", "+OK\r\n");
    fake_store_complete(h.store);
    harness_turn(&h);
    assert_string_equal(harness_received(&h, 0), "*-1\r\n");
    harness_deinit(&h);
}

static void
write_that_was_undone_does_not_hold_its_answer_for_ever(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 1, NULL);
    fake_store_hold(h.store);
    fake_store_full_after(h.store, 1);
    harness_say(&h, 0, "MSET a 1 b 2");
    assert_non_null(strstr(harness_received(&h, 0), "-ERR no space left"));
    assert_int_equal(fake_store_submits(h.store), 0);
    assert_answer(&h, 0, "GET a", "$-1\r\n");
    harness_deinit(&h);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set_commit_in_flight_is_not_acknowledged),
        cmocka_unit_test(get_value_in_flight_is_not_told),
        cmocka_unit_test(miss_of_deleted_key_in_flight_is_not_told),
        cmocka_unit_test(refused_condition_on_value_in_flight_is_not_told),
        cmocka_unit_test(reply_behind_held_one_waits_for_it),
        cmocka_unit_test(commits_while_one_is_in_flight_are_one),
        cmocka_unit_test(barrier_command_waits_for_commits_and_sees_them),
        cmocka_unit_test(barrier_command_is_not_starved_by_writers),
        cmocka_unit_test(barrier_command_inline_with_quotes_is_parsed_once),
        cmocka_unit_test(failed_commit_closes_who_depends_on_it_only),
        cmocka_unit_test(shutdown_is_the_last_that_its_client_has_executed),
        cmocka_unit_test(writes_of_clients_that_left_are_submitted_at_the_end),
        cmocka_unit_test(exec_is_one_commit_and_one_answer),
        cmocka_unit_test(exec_refused_by_write_in_flight_is_not_told),
        cmocka_unit_test(write_that_was_undone_does_not_hold_its_answer_for_ever),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
