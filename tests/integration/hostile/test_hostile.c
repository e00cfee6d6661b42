/* Goal:   clients that lie about lengths, break off in mid-word, flood, don't read, or try to stop the others get
 *         what the protocol says and nothing more: they cost little memory, leave nothing behind, and a
 *         well-behaved client is answered in time all the while.
 * Method: one real server, attacked over plain sockets by one kind of client after the other while a polite one
 *         asks; in the end the counters are back where they were and the store passes its check. */
#include "tests/integration/hostile/attack.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#define LENGTH(text) (sizeof(text) - 1)

/* ---- lengths ---- */

static void
malformed_frame_is_told_and_the_connection_closed(void **state)
{
#define FRAME(frame, why)                                                                          \
    {                                                                                              \
        "PING\r\n" frame, LENGTH("PING\r\n" frame), why                                            \
    }
    static const struct {
        const char *frame;
        size_t len;
        const char *why;
    } cases[] = {
        FRAME("*x\r\nPING\r\n", "invalid multibulk length"),
        FRAME("*1048577\r\n", "invalid multibulk length"),
        FRAME("*2147483648\r\n", "invalid multibulk length"),
        FRAME("*18446744073709551617\r\n", "invalid multibulk length"),
        FRAME("*1\r\n$-1\r\n", "invalid bulk length"),
        FRAME("*1\r\n$\r\n", "invalid bulk length"),
        FRAME("*2\r\n$3\r\nGET\r\n$536870913\r\n", "invalid bulk length"),
        FRAME("*2\r\n$3\r\nGET\r\n$4294967297\r\na\r\n", "invalid bulk length"),
        FRAME("*2\r\n$3\r\nGET\r\n$18446744073709551617\r\na\r\n", "invalid bulk length"),
        FRAME("*2\r\n$3\r\nGET\r\n:1\r\n", "expected '$', got ':'"),
        FRAME("*1\r\n\0\r\n", "expected '$', got ' '"),
        FRAME("*1\r\n$4\r\nPING--*1\r\n", "expected CRLF behind a bulk string"),
        FRAME("SET a \"b\r\n", "unbalanced quotes in request"),
        FRAME("SET a 'b'c\r\n", "unbalanced quotes in request"),
    };
    char answer[128];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        snprintf(answer, sizeof(answer), "+PONG\r\n-ERR Protocol error: %s\r\n", cases[i].why);
        assert_last_words(cases[i].frame, cases[i].len, answer);
    }
    assert_polite_is_served();
}

/* What a browser can be made to send: nothing behind the first line of HTTP is executed. */
static void
http_ends_the_connection(void **state)
{
    static const char post[] = "POST / HTTP/1.1\r\nSET forged 1\r\n";
    static const char get[] = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nSET forged 1\r\n";

    (void)state;
    assert_last_words(post, sizeof(post) - 1, "");
    assert_last_words(get, sizeof(get) - 1, "-ERR wrong number of arguments for 'get' command\r\n");
    assert_true(talk(stage.polite, "EXISTS forged\r\n", ":0\r\n"));
}

static void
line_without_an_end_is_refused(void **state)
{
    static const struct {
        const char *head, *why;
    } cases[] = {{"", "too big inline request"},
                 {"*", "too big mbulk count string"},
                 {"*1\r\n$", "too big bulk count string"}};
    static char line[70000];
    char answer[128];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        memset(line, '1', sizeof(line));
        memcpy(line, cases[i].head, strlen(cases[i].head));
        snprintf(answer, sizeof(answer), "-ERR Protocol error: %s\r\n", cases[i].why);
        assert_last_words(line, sizeof(line), answer);
    }
    /* And one that ends just in time is served. */
    memset(line, ' ', sizeof(line));
    memcpy(line + 65000, "PING\r\nQUIT\r\n", 12);
    assert_last_words(line, 65012, "+PONG\r\n+OK\r\n");
}

static void
broken_client_does_not_hinder_a_change_of_options(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        const int fd = talk_connect(&stage.subject);

        assert_true(talk(fd, "PING\r\n", "+PONG\r\n"));
        /* Both are there when the server looks next: it meets the one that is to be closed. */
        child_signal(&stage.subject.child, SIGSTOP);
        talk_say(fd, "*x\r\n");
        talk_say(stage.polite, "CONFIG SET timeout 0\r\n");
        child_signal(&stage.subject.child, SIGCONT);
        assert_true(talk(stage.polite, "PING\r\n", "+OK\r\n+PONG\r\n"));
        assert_true(talk_ends(fd, TALK_MS));
        close(fd);
    }
}

static void
announced_lengths_cost_next_to_nothing(void **state)
{
    static const char *const words[] = {
        "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$536870912\r\n",
        "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$536870912\r\nsome of it",
        "*1048576\r\n$4\r\nMSET\r\n$536870912\r\n",
    };
    int crowd[ATTACK_CROWD];

    (void)state;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        const uint64_t memory = subject_memory_bytes(&stage.subject);
        const uint64_t file_bytes = figure("file_bytes");

        connect_crowd(crowd, words[i]);
        assert_polite_is_served();
        assert_true(figure("connected_clients") >= ATTACK_CROWD);
        assert_memory_below(memory, 16);
        assert_true(figure("file_bytes") <= file_bytes + 128 * ATTACK_MIB);
        disperse_crowd(crowd);
        assert_int_equal(assert_all_gone(NULL), 0);
    }
    assert_true(talk(stage.polite, "EXISTS a\r\n", ":0\r\n"));
}

static void
many_arguments_are_forgotten_when_done(void **state)
{
    enum { ARGS = 100000, CLIENTS = 60 };
    const uint64_t memory = subject_memory_bytes(&stage.subject);
    int crowd[CLIENTS];

    (void)state;
    for (unsigned i = 0; i < CLIENTS; i++) {
        crowd[i] = talk_connect(&stage.subject);
        talk_say(crowd[i], "*100001\r\n$4\r\nPING\r\n");
        assert_true(say_often(crowd[i], "$1\r\na\r\n", ARGS));
        assert_true(talk(crowd[i], "", "-ERR wrong number of arguments for 'ping' command\r\n"));
    }
    assert_memory_below(memory, 24); /* With what the server needs for one. */
    for (unsigned i = 0; i < CLIENTS; i++) {
        close(crowd[i]);
    }
}

static void
most_arguments_that_are_allowed_are_taken(void **state)
{
    const int fd = talk_connect(&stage.subject);

    (void)state;
    talk_say(fd, "*1048575\r\n$4\r\nMSET\r\n");
    assert_true(say_often(fd, "$4\r\nmost\r\n$1\r\n7\r\n", 524287));
    assert_true(talk(fd, "GET most\r\n", "+OK\r\n$1\r\n7\r\n"));
    assert_polite_is_served();
    close(fd);
}

/* ---- breaking off ---- */

static void
command_broken_off_is_not_applied(void **state)
{
    static const char *const words[] = {
        "*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$5\r\nhell",
        "*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$5\r\nhello\r",
        "SET half 1",
        "MULTI\r\nSET half 1\r\nINCR half\r\n",
        "WATCH half\r\nMULTI\r\nSET half 1\r\nEXE",
        "MULTI\r\nSET half 1\r\n*1\r\n$4\r\nEXEC\r",
    };
    int crowd[ATTACK_CROWD];

    (void)state;
    assert_true(talk(stage.polite, "DEL half\r\n", ":0\r\n"));
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        connect_crowd(crowd, words[i]);
        assert_polite_is_served();
        disperse_crowd(crowd);
    }
    /* A big one is on its way into the store when it breaks off. */
    for (unsigned i = 0; i < 10; i++) {
        const int fd = talk_connect(&stage.subject);

        talk_say(fd, "*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$4194304\r\n");
        assert_true(say_often(fd, "0123456789abcdef", 3 * ATTACK_MIB / 16));
        slam(fd);
    }
    assert_int_equal(assert_all_gone(NULL), 0);
    assert_true(
        talk(stage.polite, "EXISTS half\r\nSET half 2\r\nDEL half\r\n", ":0\r\n+OK\r\n:1\r\n"));
}

static void
half_closed_client_gets_all_its_replies(void **state)
{
    const int fd = talk_connect(&stage.subject);

    (void)state;
    set_big();
    assert_true(say_often(fd, "GET big\r\n", 8));
    talk_say(fd, "MULTI\r\nSET closed 1\r\nEXEC\r\n");
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    assert_polite_is_served();
    swallow(fd, 8 * ATTACK_BIG_REPLY_BYTES);
    static char heard[TALK_BYTES];

    assert_true(talk_hear(fd, "+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n", heard));
    assert_true(talk_ends(fd, TALK_MS));
    close(fd);
    assert_true(talk(stage.polite, "DEL closed\r\n", ":1\r\n"));
}

static void
reset_in_the_middle_of_a_reply_harms_nobody(void **state)
{
    (void)state;
    set_big();
    for (unsigned i = 0; i < 40; i++) {
        const int fd = talk_connect(&stage.subject);

        assert_true(say_often(fd, i % 2 == 0 ? "GET big\r\n" : "MULTI\r\nGET big\r\nEXEC\r\n", 8));
        swallow(fd, 100000);
        slam(fd);
        if (i % 8 == 0) {
            assert_polite_is_served();
        }
    }
}

static void
connection_for_each_command_is_served(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 1000; i++) {
        const int fd = talk_connect(&stage.subject);

        if (i % 4 == 3) {
            talk_say(fd, "PING\r\n");
            slam(fd);
        } else {
            assert_true(talk(fd, "PING\r\n", "+PONG\r\n"));
            close(fd);
        }
    }
    assert_polite_is_served();
}

/* ---- floods ---- */

static void
pipeline_that_nobody_reads_is_answered_when_read(void **state)
{
    enum { PINGS = 100000 };
    const int fd = talk_connect(&stage.subject);

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        assert_true(say_often(fd, "PING\r\n", PINGS / 4));
        assert_polite_is_served();
    }
    swallow(fd, (size_t)7 * (PINGS - 1));
    assert_true(talk(fd, "ECHO end\r\n", "+PONG\r\n$3\r\nend\r\n"));
    close(fd);
}

static void
pipeline_of_slow_commands_stalls_nobody(void **state)
{
    enum { KEYS = 20000 };
    const int fd = talk_connect(&stage.subject);
    char head[64];

    (void)state;
    snprintf(head, sizeof(head), "*%d\r\n$4\r\nMSET\r\n", 2 * KEYS + 1);
    talk_say(fd, head);
    for (unsigned i = 0; i < KEYS; i++) {
        snprintf(head, sizeof(head), "$9\r\nslow%05u\r\n$1\r\nv\r\n", i);
        talk_say(fd, head);
    }
    assert_true(talk(fd, "PING\r\n", "+OK\r\n+PONG\r\n"));
    assert_true(say_often(fd, "KEYS *nowhere?\r\n", 4000));
    usleep(20000); /* so that it has begun */
    for (unsigned i = 0; i < 3; i++) {
        assert_polite_is_served();
    }
    slam(fd);
}

static void
huge_transaction_is_executed_whole(void **state)
{
    enum { SETS = 100000 };
    const int fd = talk_connect(&stage.subject);
    char head[64];

    (void)state;
    assert_true(talk(fd, "MULTI\r\n", "+OK\r\n"));
    assert_true(say_often(fd, "INCR huge\r\n", SETS));
    assert_polite_is_served();
    swallow(fd, (size_t)SETS * LENGTH("+QUEUED\r\n"));
    talk_say(fd, "EXEC\r\n");
    assert_polite_is_served();
    snprintf(head, sizeof(head), "*%d\r\n:1\r\n", SETS);
    swallow(fd, strlen(head));
    for (unsigned i = 2, from = 2, to = 10; from <= SETS; from = to, to *= 10) {
        const unsigned end = to < SETS + 1 ? to : SETS + 1;

        snprintf(head, sizeof(head), ":%u\r\n", i);
        swallow(fd, (size_t)(end - from) * strlen(head));
        i = to;
    }
    assert_true(talk(fd, "GET huge\r\n", "$6\r\n100000\r\n"));
    close(fd);
}

static void
transaction_over_the_input_limit_ends_the_connection(void **state)
{
    const uint64_t closed = figure("client_query_buffer_limit_disconnections");
    const int fd = talk_connect(&stage.subject);

    (void)state;
    assert_true(talk(stage.polite, "CONFIG SET client-query-buffer-limit 1mb\r\n", "+OK\r\n"));
    assert_true(talk(fd, "MULTI\r\n", "+OK\r\n"));
    (void)say_often(fd, "SET over 1\r\n", 50000);
    assert_true(talk_ends(fd, TALK_MS));
    close(fd);
    assert_true(talk(stage.polite, "CONFIG SET client-query-buffer-limit 1gb\r\nEXISTS over\r\n",
                     "+OK\r\n:0\r\n"));
    assert_int_equal(figure("client_query_buffer_limit_disconnections"), closed + 1);
}

static void
transaction_of_big_replies_takes_no_copies(void **state)
{
    enum { GETS = 64 };
    static char heard[TALK_BYTES];
    const int fd = talk_connect(&stage.subject);

    (void)state;
    set_big();
    const uint64_t memory = subject_memory_bytes(&stage.subject);

    talk_say(fd, "MULTI\r\n");
    assert_true(say_often(fd, "GET big\r\n", GETS));
    talk_say(fd, "PING\r\nEXEC\r\n");
    swallow(fd, LENGTH("+OK\r\n") + (GETS + 1) * LENGTH("+QUEUED\r\n") + LENGTH("*65\r\n"));
    assert_polite_is_served();
    assert_memory_below(memory, 32);
    swallow(fd, GETS * ATTACK_BIG_REPLY_BYTES);
    assert_true(talk_hear(fd, "+PONG\r\n", heard));
    assert_int_equal(strlen(heard), LENGTH("+PONG\r\n"));
    close(fd);
}

static void
stranger_who_floods_is_closed(void **state)
{
    static const char *const junk[] = {
        "HELLO\r\n",          "HELLO 9\r\n",         "HELLO x\r\n",
        "HELLO 3 AUTH a\r\n", "HELLO 3 SETNAME\r\n", "HELLO 3 AUTH default no\r\n",
        "HELLO 3 JUNK 1\r\n", "HELLO -1\r\n",        "HELLO 3 AUTH default secret SETNAME a\1\r\n",
    };
    static char heard[TALK_BYTES];
    const int small = 4096;

    (void)state;
    assert_true(talk(stage.polite, "CONFIG SET requirepass secret\r\n", "+OK\r\n"));
    const uint64_t memory = subject_memory_bytes(&stage.subject);
    const int stranger = talk_connect(&stage.subject);

    assert_true(talk(stranger, "PING\r\n", "-NOAUTH Authentication required.\r\n"));
    for (size_t i = 0; i < sizeof(junk) / sizeof(junk[0]); i++) {
        talk_say(stranger, junk[i]);
        assert_true(talk_hear(stranger, "\r\n", heard) && heard[0] == '-');
    }
    assert_true(say_often(stranger, "AUTH wrong\r\n", 5000));
    assert_polite_is_served();
    swallow(stranger, (size_t)5000 * LENGTH("-WRONGPASS invalid username-password pair or user "
                                            "is disabled.\r\n"));
    assert_true(talk(stranger, "AUTH secret\r\nPING\r\n", "+OK\r\n+PONG\r\n"));
    close(stranger);

    /* One that doesn't read what it is told. */
    const int rude = talk_connect(&stage.subject);

    setsockopt(rude, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    for (unsigned i = 0; i < 64 && say_often(rude, "GET a\r\n", ATTACK_MIB / 7); i++) {
        assert_memory_below(memory, 16);
    }
    assert_true(talk_ends(rude, TALK_MS));
    close(rude);
    assert_true(talk(stage.polite, "CONFIG SET requirepass \"\"\r\n", "+OK\r\n"));
}

/* ---- meddling ---- */

static void
kill_in_a_pipeline_hits_the_ones_meant(void **state)
{
    static char heard[TALK_BYTES];
    char words[128];
    const int killer = talk_connect(&stage.subject);

    (void)state;
    for (unsigned i = 0; i < 20; i++) {
        const int victim = talk_connect(&stage.subject);

        talk_say(victim, "CLIENT ID\r\n");
        assert_true(talk_hear(victim, "\r\n", heard));
        const long id = strtol(heard + 1, NULL, 10);

        assert_true(say_often(victim, i % 2 == 0 ? "GET big\r\n" : "MULTI\r\nSET killed 1\r\n", 4));
        snprintf(words, sizeof(words), "CLIENT KILL ID %ld\r\nCLIENT KILL ID %ld\r\nPING\r\n", id,
                 id);
        assert_true(talk(killer, words, ":1\r\n:0\r\n+PONG\r\n"));
        assert_true(talk_ends(victim, TALK_MS));
        close(victim);
    }
    talk_say(killer, "CLIENT ID\r\n");
    assert_true(talk_hear(killer, "\r\n", heard));
    snprintf(words, sizeof(words), "CLIENT KILL ID %ld SKIPME no\r\nSET killed 1\r\n",
             strtol(heard + 1, NULL, 10));
    assert_true(talk(killer, words, ":1\r\n"));
    assert_true(talk_ends(killer, TALK_MS));
    close(killer);
    assert_true(talk(stage.polite, "EXISTS killed\r\n", ":0\r\n"));
}

static void
pause_and_who_leaves_during_it_is_got_over(void **state)
{
    int crowd[ATTACK_CROWD];

    (void)state;
    assert_true(talk(stage.polite, "CLIENT PAUSE 60000 WRITE\r\n", "+OK\r\n"));
    connect_crowd(crowd, "SET paused 1\r\nGET paused\r\n");
    assert_true(talk(stage.polite, "GET polite\r\n", "$1\r\n1\r\n"));
    disperse_crowd(crowd);
    assert_true(talk(stage.polite, "PING\r\nCLIENT UNPAUSE\r\n", "+PONG\r\n+OK\r\n"));
    assert_polite_is_served();
}

static void
parked_request_is_answered_before_what_comes_behind(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 10; i++) {
        const int fd = talk_connect(&stage.subject);

        assert_true(talk(stage.polite, "CLIENT PAUSE 60000 WRITE\r\n", "+OK\r\n"));
        talk_say(fd, "SET parked 1\r\n");
        usleep(10000); /* to be received alone */
        /* It is let go and sends more before it has its turn. */
        child_signal(&stage.subject.child, SIGSTOP);
        talk_say(stage.polite, "CLIENT UNPAUSE\r\n");
        talk_say(fd, "PING\r\n");
        child_signal(&stage.subject.child, SIGCONT);
        assert_true(talk(fd, "", "+OK\r\n+PONG\r\n"));
        assert_true(talk(stage.polite, "PING\r\n", "+OK\r\n+PONG\r\n"));
        close(fd);
    }
}

static void
silence_never_puts_replies_out_of_step(void **state)
{
    const int fd = talk_connect(&stage.subject);

    (void)state;
    assert_true(talk(fd, "CLIENT REPLY SKIP\r\nPING\r\nECHO 1\r\n", "$1\r\n1\r\n"));
    assert_true(
        talk(fd, "CLIENT REPLY SKIP\r\nCLIENT REPLY SKIP\r\nPING\r\nECHO 2\r\n", "$1\r\n2\r\n"));
    assert_true(talk(fd,
                     "CLIENT REPLY OFF\r\nPING\r\nCLIENT REPLY SKIP\r\nNONSENSE\r\n"
                     "MULTI\r\nSET silent 1\r\nEXEC\r\nCLIENT REPLY ON\r\nGET silent\r\n",
                     "+OK\r\n$1\r\n1\r\n"));
    assert_true(talk(fd, "MULTI\r\nCLIENT REPLY ON\r\nPING\r\nEXEC\r\nECHO 3\r\n",
                     "+OK\r\n-ERR Command not allowed inside a transaction\r\n+QUEUED\r\n"
                     "-EXECABORT Transaction discarded because of previous errors.\r\n"
                     "$1\r\n3\r\n"));
    talk_say(fd, "CLIENT REPLY OFF\r\n*x\r\n");
    assert_true(talk_ends(fd, TALK_MS));
    close(fd);
}

static void
protocol_changed_in_a_pipeline_changes_what_follows(void **state)
{
    static char heard[TALK_BYTES];
    const int fd = talk_connect(&stage.subject);

    (void)state;
    talk_say(fd, "GET none\r\nHELLO 3\r\nGET none\r\nMULTI\r\nHELLO 2\r\nGET none\r\n"
                 "HELLO 3\r\nGET none\r\nEXEC\r\nRESET\r\nGET none\r\n");
    assert_true(talk_hear(fd, "+RESET\r\n$-1\r\n", heard));
    assert_non_null(strstr(heard, "$-1\r\n%7\r\n"));
    assert_non_null(strstr(heard, "*0\r\n_\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n"
                                  "*4\r\n*14\r\n"));
    assert_non_null(strstr(heard, "*0\r\n$-1\r\n%7\r\n"));
    assert_non_null(strstr(heard, "*0\r\n_\r\n+RESET\r\n"));
    close(fd);
}

#define ATTACK(name) cmocka_unit_test_teardown(name, assert_all_gone)

int
main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        ATTACK(malformed_frame_is_told_and_the_connection_closed),
        ATTACK(http_ends_the_connection),
        ATTACK(line_without_an_end_is_refused),
        ATTACK(broken_client_does_not_hinder_a_change_of_options),
        ATTACK(announced_lengths_cost_next_to_nothing),
        ATTACK(many_arguments_are_forgotten_when_done),
        ATTACK(most_arguments_that_are_allowed_are_taken),
        ATTACK(command_broken_off_is_not_applied),
        ATTACK(half_closed_client_gets_all_its_replies),
        ATTACK(reset_in_the_middle_of_a_reply_harms_nobody),
        ATTACK(connection_for_each_command_is_served),
        ATTACK(pipeline_that_nobody_reads_is_answered_when_read),
        ATTACK(pipeline_of_slow_commands_stalls_nobody),
        ATTACK(huge_transaction_is_executed_whole),
        ATTACK(transaction_over_the_input_limit_ends_the_connection),
        ATTACK(transaction_of_big_replies_takes_no_copies),
        ATTACK(stranger_who_floods_is_closed),
        ATTACK(kill_in_a_pipeline_hits_the_ones_meant),
        ATTACK(pause_and_who_leaves_during_it_is_got_over),
        ATTACK(parked_request_is_answered_before_what_comes_behind),
        ATTACK(silence_never_puts_replies_out_of_step),
        ATTACK(protocol_changed_in_a_pipeline_changes_what_follows),
    };

    if (argc != 3) {
        fprintf(stderr, "usage: %s PROGRAM LOOP\n", argv[0]);
        return 2;
    }
    attack_begin(argv[1], argv[2]);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);

    return !attack_end() || failed > 0;
}
