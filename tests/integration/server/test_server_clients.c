/* Goal:   clients that are too many, idle, strangers, slow or rude are dealt with as announced,
 * and the others
 *         are served all the while.
 * Method: the real server over epoll and over the default loop, talked to over plain sockets. */
#include "tests/integration/support/talk.h"
#include "tests/lib/sanitized.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

enum { STOP_MS = 20000, MIB = 1 << 20 };

static const char *program;

struct scene {
    struct subject subject;
    struct tmpdir dir;
};

#define FLAGS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void
open_scene(struct scene *scene, void **state, const char *name, const char *value)
{
    tmpdir_create(&scene->dir);
    talk_start(&scene->subject, program, &scene->dir,
               FLAGS("--port", "0", "--loop", (const char *)*state, name, value));
}

static void
close_scene(struct scene *scene)
{
    subject_stop(&scene->subject, STOP_MS);
    tmpdir_destroy(&scene->dir);
}

static void
client_over_the_maximum_is_told_and_closed(void **state)
{
    struct scene scene;
    static char heard[TALK_BYTES];

    open_scene(&scene, state, "--maxclients", "2");
    const int one = talk_connect(&scene.subject);
    int two = talk_connect(&scene.subject);

    assert_true(talk(one, "PING\r\n", "+PONG\r\n"));
    assert_true(talk(two, "PING\r\n", "+PONG\r\n"));
    const int three = talk_connect(&scene.subject);

    assert_true(talk_hear(three, "-ERR max number of clients reached\r\n", heard));
    assert_true(talk_ends(three, TALK_MS));
    close(two);
    close(three);
    for (int tries = 0; tries < 50; tries++) { /* Its end must have reached the server. */
        two = talk_connect(&scene.subject);
        talk_say(two, "PING\r\n");
        if (talk_hear(two, "+PONG\r\n", heard)) {
            break;
        }
        close(two);
        two = -1;
        usleep(20000);
    }
    assert_true(two >= 0);
    close(one);
    close(two);
    close_scene(&scene);
}

static void
idle_client_is_closed_and_a_busy_one_is_not(void **state)
{
    struct scene scene;

    open_scene(&scene, state, "--timeout", "1");
    const int idle = talk_connect(&scene.subject);
    const int busy = talk_connect(&scene.subject);
    const uint64_t start_ns = clock_mono_ns();
    bool ended = false;

    while (!ended && clock_mono_ns() - start_ns < (uint64_t)8 * CLOCK_NS_PER_S) {
        assert_true(talk(busy, "PING\r\n", "+PONG\r\n"));
        ended = talk_ends(idle, 200);
    }
    assert_true(ended);
    assert_true(clock_mono_ns() - start_ns >= (uint64_t)CLOCK_NS_PER_S);
    assert_true(talk(busy, "PING\r\n", "+PONG\r\n"));
    close(idle);
    close(busy);
    close_scene(&scene);
}

static void
stranger_gets_nowhere_without_the_password(void **state)
{
    struct scene scene;

    open_scene(&scene, state, "--requirepass", "se cret");
    const int fd = talk_connect(&scene.subject);

    assert_true(talk(fd, "SET a 1\r\n", "-NOAUTH Authentication required.\r\n"));
    assert_true(talk(fd, "AUTH secret\r\n",
                     "-WRONGPASS invalid username-password pair or user is disabled.\r\n"));
    assert_true(talk(fd, "AUTH \"se cret\"\r\nSET a 1\r\n", "+OK\r\n+OK\r\n"));
    close(fd);
    close_scene(&scene);
}

/* The longest that a PING takes while `ms` pass. */
static uint64_t
worst_ping_ns(int fd, unsigned ms)
{
    const uint64_t start_ns = clock_mono_ns();
    uint64_t worst_ns = 0;

    while (clock_mono_ns() - start_ns < (uint64_t)ms * CLOCK_NS_PER_MS) {
        const uint64_t before_ns = clock_mono_ns();

        assert_true(talk(fd, "PING\r\n", "+PONG\r\n"));
        const uint64_t took_ns = clock_mono_ns() - before_ns;

        worst_ns = took_ns > worst_ns ? took_ns : worst_ns;
    }
    return worst_ns;
}

static void
set_big(int fd, size_t mib)
{
    static char piece[MIB + 1];
    char head[64];

    memset(piece, 'v', MIB);
    snprintf(head, sizeof(head), "*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$%zu\r\n", mib * MIB);
    talk_say(fd, head);
    for (size_t i = 0; i < mib; i++) {
        talk_say(fd, piece);
    }
    assert_true(talk(fd, "\r\n", "+OK\r\n"));
}

static void
client_that_does_not_read_costs_little_and_stalls_nobody(void **state)
{
    struct scene scene;
    static char pings[60000];

    open_scene(&scene, state, "--tcp-backlog", "64");
    const int rude = talk_connect(&scene.subject);
    const int other = talk_connect(&scene.subject);

    set_big(rude, 8);
    const uint64_t memory = subject_memory_bytes(&scene.subject);

    for (int i = 0; i < 100; i++) {
        talk_say(rude, "GET big\r\n");
    }
    for (size_t i = 0; i + 6 < sizeof(pings); i += 6) {
        memcpy(pings + i, "PING\r\n", 6);
    }
    talk_say(rude, pings);
    assert_true(worst_ping_ns(other, 1000) < (uint64_t)2 * CLOCK_NS_PER_S);
    /* A sanitizer's shadow of what is sent would count as memory of the server's. */
    assert_true(SANITIZED || subject_memory_bytes(&scene.subject) < memory + 32 * MIB);

    /* And when it reads after all, everything is there. */
    size_t got = 0;
    const size_t expected = (size_t)100 * (8 * MIB + 12) + 9999 * 7;
    static char drop[MIB];

    while (got < expected) {
        const ssize_t n = recv(rude, drop, sizeof(drop), 0);

        assert_true(n > 0);
        got += (size_t)n;
    }
    assert_int_equal(got, expected);
    close(rude);
    close(other);
    close_scene(&scene);
}

static void
client_that_sends_byte_by_byte_stalls_nobody(void **state)
{
    struct scene scene;
    static const char request[] = "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$5\r\nhello\r\n";

    open_scene(&scene, state, "--tcp-backlog", "64");
    const int slow = talk_connect(&scene.subject);
    const int other = talk_connect(&scene.subject);

    for (size_t i = 0; i + 1 < sizeof(request); i++) {
        assert_int_equal(send(slow, request + i, 1, 0), 1);
        assert_true(talk(other, "PING\r\n", "+PONG\r\n"));
    }
    assert_true(talk(slow, "GET a\r\n", "+OK\r\n$5\r\nhello\r\n"));
    close(slow);
    close(other);
    close_scene(&scene);
}

static void
replies_over_the_output_limit_end_the_connection(void **state)
{
    struct scene scene;

    open_scene(&scene, state, "--client-output-buffer-limit", "normal 4mb 0 0");
    const int rude = talk_connect(&scene.subject);
    const int other = talk_connect(&scene.subject);

    set_big(rude, 3);
    talk_say(rude, "MGET big big big big big big\r\n");
    static char heard[TALK_BYTES];

    for (int i = 0; i < 100; i++) {
        assert_true(talk(other, "PING\r\n", "+PONG\r\n"));
        talk_say(other, "INFO stats\r\n");
        assert_true(talk_hear(other, "\r\n\r\n", heard) || true);
        if (strstr(heard, "client_output_buffer_limit_disconnections:1") != NULL) {
            break;
        }
    }
    assert_true(talk_ends(rude, TALK_MS));
    close(rude);
    close(other);
    close_scene(&scene);
}

static void
blank_connections_that_come_and_go_leave_nothing(void **state)
{
    struct scene scene;
    char heard[TALK_BYTES];

    open_scene(&scene, state, "--tcp-backlog", "64");
    const int fd = talk_connect(&scene.subject);

    for (int i = 0; i < 300; i++) {
        const int blank = talk_connect(&scene.subject);

        if (i % 3 == 0) {
            talk_say(blank, "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$500000\r\nxx");
        } else if (i % 3 == 1) {
            talk_say(blank, "MULTI\r\nSET a 1\r\n");
        }
        close(blank);
    }
    for (int tries = 0; tries < 100; tries++) {
        talk_say(fd, "CLIENT KILL ID 0\r\n");
        assert_true(talk_hear(fd, "\r\n", heard));
        struct fl_client *client = subject_connect(&scene.subject, TALK_MS);
        const uint64_t clients = subject_info(client, "connected_clients");

        fl_client_close(client);
        if (clients <= 3) {
            break;
        }
        assert_true(tries < 99);
    }
    close(fd);
    close_scene(&scene);
}

int
main(int argc, char **argv)
{
    static char epoll[] = "epoll";
    static char automatic[] = "auto";
    void *loops[] = {epoll, automatic};
    int failed = 0;

    if (argc != 2) {
        fprintf(stderr, "usage: %s PROGRAM\n", argv[0]);
        return 2;
    }
    program = argv[1];
    for (size_t i = 0; i < 2; i++) {
        const struct CMUnitTest tests[] = {
            cmocka_unit_test_prestate(client_over_the_maximum_is_told_and_closed, loops[i]),
            cmocka_unit_test_prestate(idle_client_is_closed_and_a_busy_one_is_not, loops[i]),
            cmocka_unit_test_prestate(stranger_gets_nowhere_without_the_password, loops[i]),
            cmocka_unit_test_prestate(client_that_does_not_read_costs_little_and_stalls_nobody,
                                      loops[i]),
            cmocka_unit_test_prestate(client_that_sends_byte_by_byte_stalls_nobody, loops[i]),
            cmocka_unit_test_prestate(replies_over_the_output_limit_end_the_connection, loops[i]),
            cmocka_unit_test_prestate(blank_connections_that_come_and_go_leave_nothing, loops[i]),
        };

        failed += cmocka_run_group_tests(tests, NULL, NULL);
    }
    return failed;
}
