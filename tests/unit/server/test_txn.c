/* Goal:   MULTI, EXEC, DISCARD and WATCH behave as Redis's; an EXEC happens whole or not at all.
 * Method: a server over a fake store, two clients that get in each other's way. */
#include "tests/unit/server/harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>

static void
misuse_is_refused_in_redis_words(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 1, NULL);
    assert_answer(&h, 0, "EXEC", "-ERR EXEC without MULTI\r\n");
    assert_answer(&h, 0, "DISCARD", "-ERR DISCARD without MULTI\r\n");
    assert_answer(&h, 0, "MULTI\r\nMULTI", "+OK\r\n-ERR MULTI calls can not be nested\r\n");
    assert_answer(&h, 0, "WATCH a", "-ERR WATCH inside MULTI is not allowed\r\n");
    assert_answer(&h, 0, "SET a 1\r\nDISCARD\r\nGET a", "+QUEUED\r\n+OK\r\n$-1\r\n");
    harness_deinit(&h);
}

static void
exec_after_refused_command_is_aborted(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 1, NULL);
    assert_answer(&h, 0, "MULTI\r\nSET a 1\r\nGET",
                  "+OK\r\n+QUEUED\r\n-ERR wrong number of arguments for 'get' command\r\n");
    assert_answer(&h, 0, "EXEC",
                  "-EXECABORT Transaction discarded because of previous errors.\r\n");
    assert_answer(&h, 0, "GET a", "$-1\r\n");
    harness_deinit(&h);
}

static void
exec_with_command_failing_at_run_time_does_the_others(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 1, NULL);
    harness_say(&h, 0, "SET a x\r\nMULTI\r\nINCR a\r\nSET b 1\r\nEXEC\r\nGET b");
    assert_string_equal(harness_received(&h, 0),
                        "+OK\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n"
                        "-ERR value is not an integer or out of range\r\n+OK\r\n$1\r\n1\r\n");
    harness_deinit(&h);
}

static void
exec_without_space_changes_nothing(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 1, NULL);
    assert_answer(&h, 0, "SET a 1", "+OK\r\n");
    fake_store_full_after(h.store, 1);
    assert_answer(&h, 0, "MULTI\r\nSET a 2\r\nSET b 2", "+OK\r\n+QUEUED\r\n+QUEUED\r\n");
    harness_say(&h, 0, "EXEC");
    assert_non_null(strstr(harness_received(&h, 0),
                           "-EXECABORT Transaction discarded because of: no space left"));
    assert_answer(&h, 0, "GET a\r\nGET b", "$1\r\n1\r\n$-1\r\n");
    harness_deinit(&h);
}

static void
exec_with_key_over_the_limit_changes_nothing(void **state)
{
    static char request[FL_KEY_BYTES_MAX + 64] = "*3\r\n$3\r\nSET\r\n$65537\r\n";
    const size_t head = strlen(request);
    struct harness h;

    (void)state;
    memset(request + head, 'k', FL_KEY_BYTES_MAX + 1);
    memcpy(request + head + FL_KEY_BYTES_MAX + 1, "\r\n$1\r\n1\r\n", 10);
    harness_init(&h, 1, NULL);
    assert_answer(&h, 0, "MULTI\r\nSET a 1", "+OK\r\n+QUEUED\r\n");
    harness_send_text(&h, 0, request);
    assert_answer(&h, 0, "EXEC\r\nGET a",
                  "+QUEUED\r\n-EXECABORT Transaction discarded because of: keys have at most 65536 "
                  "bytes. Nothing of it was done\r\n$-1\r\n");
    harness_deinit(&h);
}

static void
watch_key_written_by_another_ends_in_nil(void **state)
{
    static const char *const writes[] = {"SET a 2",  "DEL a",      "APPEND a x", "EXPIRE a 100",
                                         "FLUSHALL", "RENAME a b", "GETDEL a"};

    (void)state;
    for (size_t i = 0; i < sizeof(writes) / sizeof(writes[0]); i++) {
        struct harness h;

        harness_init(&h, 2, NULL);
        assert_answer(&h, 0, "SET a 1\r\nWATCH a", "+OK\r\n+OK\r\n");
        harness_say(&h, 1, writes[i]);
        assert_answer(&h, 0, "MULTI\r\nSET c 1\r\nEXEC", "+OK\r\n+QUEUED\r\n*-1\r\n");
        assert_answer(&h, 0, "GET c", "$-1\r\n");
        assert_answer(&h, 0, "MULTI\r\nEXEC", "+OK\r\n*0\r\n"); /* EXEC has ended the watch */
        harness_deinit(&h);
    }
}

static void
watch_absent_key_set_and_deleted_again_ends_in_nil(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 2, NULL);
    assert_answer(&h, 0, "WATCH a", "+OK\r\n");
    assert_answer(&h, 1, "SET a 1\r\nDEL a", "+OK\r\n:1\r\n");
    assert_answer(&h, 0, "MULTI\r\nEXEC", "+OK\r\n*-1\r\n");
    harness_deinit(&h);
}

static void
watch_key_that_expires_ends_in_nil(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 1, NULL);
    fake_store_set_now(h.store, 1000000);
    assert_answer(&h, 0, "SET a 1 PXAT 1000500\r\nWATCH a", "+OK\r\n+OK\r\n");
    fake_store_set_now(h.store, 1000501);
    assert_answer(&h, 0, "MULTI\r\nEXEC", "+OK\r\n*-1\r\n");
    harness_deinit(&h);
}

static void
watch_untouched_or_given_up_lets_exec_run(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 2, NULL);
    assert_answer(&h, 0, "WATCH a b", "+OK\r\n");
    assert_answer(&h, 1, "SET c 1\r\nGET a\r\nSETNX c 2\r\nDEL nothing",
                  "+OK\r\n$-1\r\n:0\r\n:0\r\n");
    assert_answer(&h, 0, "MULTI\r\nEXEC", "+OK\r\n*0\r\n");
    assert_answer(&h, 0, "WATCH a\r\nUNWATCH", "+OK\r\n+OK\r\n");
    assert_answer(&h, 1, "SET a 1", "+OK\r\n");
    assert_answer(&h, 0, "MULTI\r\nEXEC", "+OK\r\n*0\r\n");
    harness_deinit(&h);
}

static void
watched_keys_over_the_input_limit_end_the_connection(void **state)
{
    enum { KEY_BYTES = 50000 };
    static char request[KEY_BYTES + 64];
    struct harness h;

    (void)state;
    harness_init(&h, 2, NULL);
    h.server->options.query_buffer_limit = 1 << 20;
    for (unsigned i = 0; i < 60; i++) {
        const int len = snprintf(request, sizeof(request), "*2\r\n$5\r\nWATCH\r\n$%d\r\n%0*u\r\n",
                                 KEY_BYTES, KEY_BYTES, i < 30 ? 0 : i);

        if (send(h.clients[0], request, (size_t)len, MSG_NOSIGNAL) != len) {
            break;
        }
        harness_turn(&h);
        /* The same key again takes nothing. */
        assert_int_equal(h.server->conns_count, i < 49 ? 2 : 1);
    }
    assert_int_equal(h.server->metrics.query_limit_closed, 1);
    assert_int_equal(h.server->watches.count, 0);
    assert_answer(&h, 1, "PING", "+PONG\r\n");
    harness_deinit(&h);
}

static void
cursor_commands_in_exec_see_what_it_wrote(void **state)
{
    struct harness h;

    (void)state;
    harness_init(&h, 1, NULL);
    assert_answer(&h, 0, "MSET a 1 c 3 e 5", "+OK\r\n");
    harness_say(
        &h, 0,
        "MULTI\r\nSET b 2\r\nDEL c\r\nSET d 4\r\nDEL d\r\nSET a 9\r\nKEYS *\r\nDBSIZE\r\nFL.RANGE "
        "\"\" \"\" REV KEYSONLY\r\nFLUSHALL\r\nDBSIZE\r\nSET z 1\r\nKEYS *\r\nRANDOMKEY\r\nEXEC");
    const char *answer = harness_received(&h, 0);
    assert_non_null(strstr(answer, "*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\ne\r\n:3\r\n"));
    assert_non_null(strstr(
        answer,
        "*3\r\n$1\r\ne\r\n$1\r\nb\r\n$1\r\na\r\n+OK\r\n:0\r\n+OK\r\n*1\r\n$1\r\nz\r\n$1\r\nz\r\n"));
    assert_answer(&h, 0, "KEYS *", "*1\r\n$1\r\nz\r\n");
    harness_deinit(&h);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(misuse_is_refused_in_redis_words),
        cmocka_unit_test(exec_after_refused_command_is_aborted),
        cmocka_unit_test(exec_with_command_failing_at_run_time_does_the_others),
        cmocka_unit_test(exec_without_space_changes_nothing),
        cmocka_unit_test(exec_with_key_over_the_limit_changes_nothing),
        cmocka_unit_test(watch_key_written_by_another_ends_in_nil),
        cmocka_unit_test(watch_absent_key_set_and_deleted_again_ends_in_nil),
        cmocka_unit_test(watch_key_that_expires_ends_in_nil),
        cmocka_unit_test(watch_untouched_or_given_up_lets_exec_run),
        cmocka_unit_test(watched_keys_over_the_input_limit_end_the_connection),
        cmocka_unit_test(cursor_commands_in_exec_see_what_it_wrote),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
