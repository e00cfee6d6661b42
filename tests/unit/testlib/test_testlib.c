/* Goal:   the helpers that other tests lean on do what they say, so that a test can't pass or hang
 *         because of them.
 * Method: directories looked at from outside, ports bound and connected to, small shell programs as
 *         children that speak, hang, exit or are killed.
 */
#include "tests/lib/child.h"
#include "tests/lib/net.h"
#include "tests/lib/rng.h"
#include "tests/lib/tmpdir.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { TIMEOUT_MS = 10000 };

static void
start_shell(struct child *child, char *script)
{
    char *const argv[] = {(char[]){"sh"}, (char[]){"-c"}, script, NULL};

    child_start(child, argv);
}

static void
tmpdir_is_empty_and_removed_with_its_content(void **state)
{
    struct tmpdir dir;
    struct stat st;
    char path[TMPDIR_PATH_BYTES];
    char kept[TMPDIR_PATH_BYTES];
    (void)state;

    tmpdir_create(&dir);
    assert_int_equal(stat(dir.path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    snprintf(kept, sizeof(kept), "%s", dir.path);
    assert_int_equal(mkdir(tmpdir_join(&dir, "sub", path), 0700), 0);
    assert_int_equal(symlink("/", tmpdir_join(&dir, "sub/root", path)), 0);
    FILE *file = fopen(tmpdir_join(&dir, "sub/file", path), "w");

    assert_non_null(file);
    fclose(file);
    tmpdir_destroy(&dir);
    assert_int_equal(stat(kept, &st), -1);
    assert_int_equal(stat("/usr", &st), 0);
}

static void
net_free_port_can_be_bound_and_connected_to(void **state)
{
    const uint16_t port = net_port_free();
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};
    const int listener = socket(AF_INET, SOCK_STREAM, 0);
    (void)state;

    assert_int_equal(net_connect(port, 30), -1);
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(listener, 1), 0);
    const int fd = net_connect(port, TIMEOUT_MS);

    assert_true(fd >= 0);
    close(fd);
    close(listener);
}

static void
net_held_port_refuses_and_is_nobody_elses(void **state)
{
    uint16_t port;
    const int held = net_port_hold(&port);
    const struct sockaddr_in addr = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    const int other = socket(AF_INET, SOCK_STREAM, 0);
    const int on = 1;
    (void)state;

    assert_int_equal(net_connect(port, 0), -1);
    assert_true(net_wait_gone(port, 0));
    /* A server asks for addresses in this way. */
    assert_int_equal(setsockopt(other, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
    assert_int_not_equal(bind(other, (const struct sockaddr *)&addr, sizeof(addr)), 0);
    close(other);
    close(held);
}

static void
net_wait_gone_tells_who_listens_from_who_does_not(void **state)
{
    struct tmpdir dir;
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    char path[TMPDIR_PATH_BYTES];
    uint16_t port;
    const int listener = net_port_hold(&port);
    const int listener_unix = socket(AF_UNIX, SOCK_STREAM, 0);
    (void)state;

    assert_int_equal(listen(listener, 1), 0);
    assert_false(net_wait_gone(port, 0));
    close(listener);
    assert_true(net_wait_gone(port, TIMEOUT_MS));

    tmpdir_create(&dir);
    assert_true(strlen(tmpdir_join(&dir, "socket", path)) < sizeof(addr.sun_path));
    memcpy(addr.sun_path, path, strlen(path));
    assert_true(net_wait_gone_unix(path, 0)); /* There is none yet. */
    assert_int_equal(bind(listener_unix, (const struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(listener_unix, 4), 0);
    assert_false(net_wait_gone_unix(path, 0));
    close(listener_unix);
    assert_true(net_wait_gone_unix(path, TIMEOUT_MS));
    tmpdir_destroy(&dir);
}

static void
rng_same_seed_repeats_and_stays_below(void **state)
{
    struct rng a = {7};
    struct rng b = {7};
    unsigned char bytes[13] = {0};
    unsigned seen = 0;
    (void)state;

    for (int i = 0; i < 1000; i++) {
        const uint64_t v = rng_below(&a, 10);

        assert_true(v < 10);
        assert_true(v == rng_below(&b, 10));
        seen |= 1u << v;
    }
    assert_int_equal(seen, 0x3FF);
    rng_fill(&a, bytes, sizeof(bytes) - 1);
    assert_int_equal(bytes[12], 0);
    assert_true(rng_u64(&a) != rng_u64(&a));
}

static void
child_output_and_exit_code_are_seen(void **state)
{
    struct child child;
    char out[64];
    (void)state;

    start_shell(&child, (char[]){"echo ready; echo loud >&2; exit 3"});
    assert_true(child_expect(&child, "ready", TIMEOUT_MS, out, sizeof(out)));
    assert_true(child_wait(&child, TIMEOUT_MS, out, sizeof(out)));
    assert_true(child_exited(&child, 3));
    assert_false(child_exited(&child, 0));
}

static void
child_long_output_is_cut_not_stuck(void **state)
{
    struct child child;
    char out[16];
    (void)state;

    start_shell(&child, (char[]){"seq 100000"});
    assert_true(child_wait(&child, TIMEOUT_MS, out, sizeof(out)));
    assert_int_equal(strlen(out), sizeof(out) - 1);
    assert_true(child_exited(&child, 0));
}

static void
child_that_hangs_is_killed_at_the_limit(void **state)
{
    struct child child;
    char out[64];
    (void)state;

    start_shell(&child, (char[]){"exec sleep 60"});
    assert_false(child_expect(&child, "ready", 20, out, sizeof(out)));
    assert_false(child_wait(&child, 20, out, sizeof(out)));
    assert_true(WIFSIGNALED(child.status) && WTERMSIG(child.status) == SIGKILL);
    child_kill(&child);
}

static void
child_signal_reaches_it(void **state)
{
    struct child child;
    char out[64];
    (void)state;

    start_shell(&child,
                (char[]){"trap 'echo bye; exit 4' TERM; echo ready; while :; do sleep 0.01; done"});
    assert_true(child_expect(&child, "ready", TIMEOUT_MS, out, sizeof(out)));
    child_signal(&child, SIGTERM);
    assert_true(child_wait(&child, TIMEOUT_MS, out, sizeof(out)));
    assert_non_null(strstr(out, "bye"));
    assert_true(child_exited(&child, 4));
}

static void
child_without_a_program_exits_127(void **state)
{
    struct child child;
    char out[64];
    char *const argv[] = {(char[]){"/nonexistent/program"}, NULL};
    (void)state;

    child_start(&child, argv);
    assert_true(child_wait(&child, TIMEOUT_MS, out, sizeof(out)));
    assert_true(child_exited(&child, 127));
    assert_non_null(strstr(out, "/nonexistent/program"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tmpdir_is_empty_and_removed_with_its_content),
        cmocka_unit_test(net_free_port_can_be_bound_and_connected_to),
        cmocka_unit_test(net_held_port_refuses_and_is_nobody_elses),
        cmocka_unit_test(net_wait_gone_tells_who_listens_from_who_does_not),
        cmocka_unit_test(rng_same_seed_repeats_and_stays_below),
        cmocka_unit_test(child_output_and_exit_code_are_seen),
        cmocka_unit_test(child_long_output_is_cut_not_stuck),
        cmocka_unit_test(child_that_hangs_is_killed_at_the_limit),
        cmocka_unit_test(child_signal_reaches_it),
        cmocka_unit_test(child_without_a_program_exits_127),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
