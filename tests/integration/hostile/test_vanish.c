/* Goal:   who says something and is gone at once is gone: nobody stays connected whose end came together with what it
 *         said, over TCP or the unix socket, with a goodbye or without one.
 * Method: thousands of clients that connect, say half a request and leave, each after another short while; and crowds
 *         that leave while the server is stopped, so that it finds both at once. Over io_uring kernels lose such an
 *         end: older ones behind each stop, all of them now and then while a receive is being armed (of TCP clients
 *         that reset, one in some hundreds). Soon the one who asks must be the only one connected. */
#include "tests/integration/hostile/attack.h"

#include "base/clock.h"
#include "tests/lib/net.h"
#include "tests/lib/rng.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>

enum { PAUSE_NS_MAX = 20000, ROUNDS = 4 };

static const char half[] = "*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$5\r\nhell";

static struct rng rng = {1};

static int
connect_over(bool unix_socket)
{
    return unix_socket ? talk_connect_unix(stage.socket) : talk_connect(&stage.subject);
}

static void
leave(int fd, bool resets)
{
    if (resets) {
        slam(fd);
    } else {
        close(fd);
    }
}

/* To meet the server at each point of taking the connection up. */
static void
hesitate(void)
{
    const uint64_t until_ns = clock_mono_ns() + rng_below(&rng, PAUSE_NS_MAX);

    while (clock_mono_ns() < until_ns) {
    }
}

static void
come_and_go(bool unix_socket, bool resets, unsigned clients)
{
    for (unsigned i = 0; i < clients; i++) {
        const int fd = connect_over(unix_socket);

        hesitate();
        talk_say(fd, half);
        leave(fd, resets);
    }
    assert_int_equal(assert_all_gone(NULL), 0);
}

static void
go_behind_the_servers_back(bool unix_socket, bool resets)
{
    int crowd[ATTACK_CROWD];

    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < ATTACK_CROWD; i++) {
            crowd[i] = connect_over(unix_socket);
            assert_true(talk(crowd[i], "PING\r\n", "+PONG\r\n"));
        }
        child_signal(&stage.subject.child, SIGSTOP);
        for (unsigned i = 0; i < ATTACK_CROWD; i++) {
            talk_say(crowd[i], half);
            leave(crowd[i], resets);
        }
        child_signal(&stage.subject.child, SIGCONT);
        assert_int_equal(assert_all_gone(NULL), 0);
    }
}

static void
clients_that_come_and_go_over_tcp_are_gone(void **state)
{
    (void)state;
    come_and_go(false, false, 1000);
    come_and_go(false, true, 5000);
    assert_polite_is_served();
}

static void
clients_that_come_and_go_over_the_unix_socket_are_gone(void **state)
{
    (void)state;
    come_and_go(true, false, 5000);
    come_and_go(true, true, 5000);
    assert_polite_is_served();
}

static void
clients_that_go_behind_the_servers_back_are_gone(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < 4; kind++) {
        go_behind_the_servers_back(kind % 2 != 0, kind / 2 != 0);
    }
    assert_polite_is_served();
}

int
main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(clients_that_come_and_go_over_tcp_are_gone),
        cmocka_unit_test(clients_that_come_and_go_over_the_unix_socket_are_gone),
        cmocka_unit_test(clients_that_go_behind_the_servers_back_are_gone),
    };

    if (argc != 3) {
        fprintf(stderr, "usage: %s PROGRAM LOOP\n", argv[0]);
        return 2;
    }
    attack_begin(argv[1], argv[2]);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);

    return !attack_end() || failed > 0;
}
