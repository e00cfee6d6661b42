/* Goal:   the program starts, refuses, listens, reloads and ends as it says. Method: the real
 * server over the real store in a directory of its own, talked to over plain sockets. */
#include "tests/integration/support/talk.h"

#include "base/clock.h"
#include "tests/integration/support/place.h"
#include "tests/lib/net.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

enum { STOP_MS = 20000, MIB = 1 << 20 };

static const char *program;

/* Run it to its end, with the flags given; what it said is in `out`. */
static void
run(struct child *child, char *out, const char *const *flags)
{
    char *argv[24] = {(char *)(uintptr_t)program};
    size_t count = 1;

    for (; *flags != NULL; flags++) {
        argv[count++] = (char *)(uintptr_t)*flags;
    }
    child_start(child, argv);
    assert_true(child_wait(child, STOP_MS, out, SUBJECT_LOG_BYTES));
    child_kill(child);
}

#define RUN(child, out, ...) run((child), (out), (const char *const[]){__VA_ARGS__, NULL})
#define FLAGS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void
flags_that_make_no_sense_end_it_with_two_and_a_reason(void **state)
{
    struct child child;
    char out[SUBJECT_LOG_BYTES];
    struct tmpdir dir;
    char path[TMPDIR_PATH_BYTES];

    (void)state;
    RUN(&child, out, "--prot", "7000");
    assert_true(child_exited(&child, 2));
    assert_non_null(strstr(out, "no option is called 'prot'"));
    assert_null(strstr(out, "options.c"));
    RUN(&child, out, "--port", "seven");
    assert_true(child_exited(&child, 2));
    assert_non_null(strstr(out, "port: 'seven' is not a number"));
    RUN(&child, out, "--bind", "0.0.0.0", "--port", "0");
    assert_true(child_exited(&child, 2));
    assert_non_null(strstr(out, "--requirepass"));
    RUN(&child, out, "--config", "/nowhere/at/all");
    assert_true(child_exited(&child, 2));
    assert_non_null(strstr(out, "/nowhere/at/all"));
    tmpdir_create(&dir);
    RUN(&child, out, "--size-max", "1mb", "--port", "0", "--store", tmpdir_join(&dir, "x", path));
    assert_true(child_exited(&child, 1));
    assert_non_null(strstr(out, "size_bytes_max 1048576"));
    assert_int_not_equal(access(path, F_OK), 0);
    tmpdir_destroy(&dir);
    RUN(&child, out, "--version");
    assert_true(child_exited(&child, 0));
    assert_non_null(strstr(out, "faultline-server "));
    RUN(&child, out, "--help");
    assert_true(child_exited(&child, 0));
    assert_non_null(strstr(out, "--durability-min"));
}

static void
memory_is_refused_unless_asked_for(void **state)
{
    struct tmpdir dir;
    struct child child;
    char out[SUBJECT_LOG_BYTES];
    char store[TMPDIR_PATH_BYTES];

    (void)state;
    if (!place_in_memory(&dir, 64 * MIB)) {
        skip();
    }
    RUN(&child, out, "--port", "0", "--size-max", "16gb", "--store",
        tmpdir_join(&dir, "data", store));
    assert_true(child_exited(&child, 1));
    assert_non_null(strstr(out, "--durability-min process"));
    tmpdir_destroy(&dir);
}

static void
store_and_port_in_use_are_refused(void **state)
{
    struct subject subject;
    struct tmpdir dir;
    struct child child;
    char out[SUBJECT_LOG_BYTES];
    char path[TMPDIR_PATH_BYTES];
    char port[16];

    (void)state;
    tmpdir_create(&dir);
    talk_start(&subject, program, &dir, FLAGS("--port", "0"));
    RUN(&child, out, "--port", "0", "--store", tmpdir_join(&dir, "data", path), "--durability-min",
        "process");
    assert_true(child_exited(&child, 1));
    assert_non_null(strstr(out, "opening "));
    snprintf(port, sizeof(port), "%u", subject.port);
    RUN(&child, out, "--port", port, "--store", tmpdir_join(&dir, "other", path),
        "--durability-min", "process");
    assert_true(child_exited(&child, 1));
    assert_non_null(strstr(out, "Address already in use"));
    assert_int_not_equal(access(tmpdir_join(&dir, "other", path), F_OK), 0); /* nothing was made */
    subject_stop(&subject, STOP_MS);
    tmpdir_destroy(&dir);
}

static void
serve_with_loop(const char *loop, const char *name)
{
    struct subject subject;
    struct tmpdir dir;
    char expected[64];

    tmpdir_create(&dir);
    talk_start(&subject, program, &dir, FLAGS("--port", "0", "--loop", loop));
    snprintf(expected, sizeof(expected), "(%s)", name);
    assert_non_null(strstr(subject.log, expected));
    int fd = talk_connect(&subject);

    assert_true(talk(fd, "SET a 1\r\nGET a\r\nMSET b 2 c 3\r\nDBSIZE\r\n",
                     "+OK\r\n$1\r\n1\r\n+OK\r\n:3\r\n"));
    close(fd);
    subject_stop(&subject, STOP_MS);
    talk_start(&subject, program, &dir, FLAGS("--port", "0", "--loop", loop));
    fd = talk_connect(&subject);
    assert_true(talk(fd, "MGET a b c\r\n", "*3\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n"));
    close(fd);
    subject_stop(&subject, STOP_MS);
    tmpdir_destroy(&dir);
}

static void
data_outlives_a_restart_over_epoll(void **state)
{
    (void)state;
    serve_with_loop("epoll", "epoll");
}

static void
data_outlives_a_restart_over_io_uring(void **state)
{
    struct tmpdir dir;
    struct child child;
    char out[SUBJECT_LOG_BYTES];
    char path[TMPDIR_PATH_BYTES];

    (void)state;
    /* Where io_uring is refused, so must be the request for it. */
    tmpdir_create(&dir);
    /* A sanitizer leaves too little of the address space for the default size. */
    const char *const argv[] = {program,
                                "--port",
                                "0",
                                "--loop",
                                "uring",
                                "--size-max",
                                "16gb",
                                "--durability-min",
                                "process",
                                "--store",
                                tmpdir_join(&dir, "data", path),
                                NULL};

    child_start(&child, (char *const *)(uintptr_t)argv);
    const bool ready = child_expect(&child, "ready on", STOP_MS, out, sizeof(out));

    child_kill(&child);
    tmpdir_destroy(&dir);
    if (!ready) {
        assert_non_null(strstr(out, "io_uring"));
        print_message("skipped: io_uring is not to be had\n");
        skip();
    }
    serve_with_loop("uring", "io_uring");
}

static void
unix_socket_serves_and_is_removed(void **state)
{
    struct subject subject;
    struct tmpdir dir;
    struct stat stat_now;
    char path[TMPDIR_PATH_BYTES];
    char port[16];

    (void)state;
    tmpdir_create(&dir);
    tmpdir_join(&dir, "sock", path);
    snprintf(port, sizeof(port), "%u", net_port_free());
    for (int round = 0; round < 2; round++) {
        talk_start(&subject, program, &dir,
                   FLAGS("--port", port, "--unixsocketperm", "700", "--unixsocket", path));
        assert_int_equal(stat(path, &stat_now), 0);
        assert_int_equal(stat_now.st_mode & 0777, 0700);
        const int fd = talk_connect_unix(path);

        assert_true(talk(fd, "PING\r\n", "+PONG\r\n"));
        close(fd);
        if (round == 0) {
            subject_kill(&subject); /* leaves the socket behind: the next one must cope */
            assert_int_equal(stat(path, &stat_now), 0);
        } else {
            subject_stop(&subject, STOP_MS);
            assert_int_not_equal(stat(path, &stat_now), 0);
        }
    }
    tmpdir_destroy(&dir);
}

static void
sighup_takes_over_what_can_change(void **state)
{
    struct subject subject;
    struct tmpdir dir;
    char path[TMPDIR_PATH_BYTES];
    static char heard[TALK_BYTES];

    (void)state;
    tmpdir_create(&dir);
    tmpdir_join(&dir, "conf", path);
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fputs("maxclients 100\n", file);
    fclose(file);
    talk_start(&subject, program, &dir, FLAGS("--config", path));
    const int fd = talk_connect(&subject);

    assert_true(talk(fd, "CONFIG GET maxclients\r\n", "*2\r\n$10\r\nmaxclients\r\n$3\r\n100\r\n"));
    file = fopen(path, "w");
    assert_non_null(file);
    fputs("maxclients 77\ntimeout nonsense\n", file);
    fclose(file);
    child_signal(&subject.child, SIGHUP);
    assert_true(child_expect(&subject.child, "nothing changed", STOP_MS, heard, sizeof(heard)));
    assert_true(talk(fd, "CONFIG GET maxclients\r\n", "*2\r\n$10\r\nmaxclients\r\n$3\r\n100\r\n"));
    file = fopen(path, "w");
    assert_non_null(file);
    fputs("maxclients 77\ntcp-backlog 5\n", file);
    fclose(file);
    child_signal(&subject.child, SIGHUP);
    assert_true(child_expect(&subject.child, "1 changed options need a restart", STOP_MS, heard,
                             sizeof(heard)));
    assert_non_null(
        strstr(heard, "tcp-backlog stays \"511\"")); /* in the same piece or before it */
    assert_true(talk(fd, "CONFIG GET maxclients\r\n", "*2\r\n$10\r\nmaxclients\r\n$2\r\n77\r\n"));
    close(fd);
    subject_stop(&subject, STOP_MS);
    tmpdir_destroy(&dir);
}

static void
shutdown_ends_it_as_sigterm_does(void **state)
{
    struct subject subject;
    struct tmpdir dir;
    char out[SUBJECT_LOG_BYTES];

    (void)state;
    tmpdir_create(&dir);
    talk_start(&subject, program, &dir, FLAGS("--port", "0"));
    const int fd = talk_connect(&subject);

    talk_say(fd, "SET a 1\r\nSHUTDOWN\r\n");
    assert_true(child_wait(&subject.child, STOP_MS, out, sizeof(out)));
    assert_true(child_exited(&subject.child, 0));
    assert_non_null(strstr(out, "SHUTDOWN from client"));
    assert_non_null(strstr(out, "store closed"));
    close(fd);
    subject_kill(&subject);
    tmpdir_destroy(&dir);
}

/* A client that asks for much and reads nothing must not keep the server from ending. */
static void
second_signal_ends_it_at_once(void **state)
{
    struct subject subject;
    struct tmpdir dir;
    char out[SUBJECT_LOG_BYTES];
    static char value[4 * MIB];

    (void)state;
    tmpdir_create(&dir);
    talk_start(&subject, program, &dir, FLAGS("--port", "0"));
    const int fd = talk_connect(&subject);

    memset(value, 'v', sizeof(value) - 1);
    talk_say(fd, "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$4194303\r\n");
    talk_say(fd, value);
    assert_true(talk(fd, "\r\n", "+OK\r\n"));
    for (int i = 0; i < 20; i++) {
        talk_say(fd, "GET a\r\n");
    }
    usleep(200000);
    const uint64_t start_ns = clock_mono_ns();

    child_signal(&subject.child, SIGTERM);
    assert_true(child_expect(&subject.child, "stopping", STOP_MS, out, sizeof(out)));
    usleep(300000);
    child_signal(&subject.child, SIGINT);
    assert_true(child_wait(&subject.child, STOP_MS, out, sizeof(out)));
    assert_true(child_exited(&subject.child, 0));
    assert_true(clock_mono_ns() - start_ns < (uint64_t)4 * CLOCK_NS_PER_S);
    close(fd);
    subject_kill(&subject);
    tmpdir_destroy(&dir);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flags_that_make_no_sense_end_it_with_two_and_a_reason),
        cmocka_unit_test(memory_is_refused_unless_asked_for),
        cmocka_unit_test(store_and_port_in_use_are_refused),
        cmocka_unit_test(data_outlives_a_restart_over_epoll),
        cmocka_unit_test(data_outlives_a_restart_over_io_uring),
        cmocka_unit_test(unix_socket_serves_and_is_removed),
        cmocka_unit_test(sighup_takes_over_what_can_change),
        cmocka_unit_test(shutdown_ends_it_as_sigterm_does),
        cmocka_unit_test(second_signal_ends_it_at_once),
    };

    if (argc != 2) {
        fprintf(stderr, "usage: %s PROGRAM\n", argv[0]);
        return 2;
    }
    program = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
