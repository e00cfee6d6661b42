/* Goal:   connecting says who it is, fails in time and by name, and two sides that are both full of
 *         bytes to send don't wait for each other.
 * Method: the handshake over a scripted transport; refused, silent and impossible addresses for
 *         real; a server thread on a unix socket that doesn't read while its answers pile up.
 */
#include "tests/unit/client/wire.h"

#include "tests/lib/die.h"
#include "tests/lib/net.h"
#include "tests/lib/tmpdir.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static fl_status
shake(struct wire *wire, const struct fl_client_options *options, const char *in)
{
    struct fl_client *client = NULL;

    wire_init(wire, in, strlen(in));
    const struct fl_client_transport transport = wire_transport(wire);
    const fl_status status = fl_client_connect_over(options, &transport, &client);

    assert_true((status == FL_OK) == (client != NULL));
    fl_client_close(client);
    assert_int_equal(wire->closes, 1);
    return status;
}

static void
handshake_without_wishes_sends_nothing(void **state)
{
    struct fl_client_options options;
    struct wire wire;

    (void)state;
    fl_client_options_init(&options);
    assert_int_equal(shake(&wire, &options, ""), FL_OK);
    assert_int_equal(wire.out_len, 0);
    wire_deinit(&wire);
}

static void
handshake_of_resp2_authenticates_then_names_then_selects(void **state)
{
    struct fl_client_options options;
    struct wire wire;

    (void)state;
    fl_client_options_init(&options);
    options.user = "u";
    options.password = "pw";
    options.name = "me";
    options.database = 7;
    assert_int_equal(shake(&wire, &options, "+OK\r\n+OK\r\n+OK\r\n"), FL_OK);
    assert_string_equal(wire.out, "*3\r\n$4\r\nAUTH\r\n$1\r\nu\r\n$2\r\npw\r\n"
                                  "*3\r\n$6\r\nCLIENT\r\n$7\r\nSETNAME\r\n$2\r\nme\r\n"
                                  "*2\r\n$6\r\nSELECT\r\n$1\r\n7\r\n");
    wire_deinit(&wire);
}

static void
handshake_of_resp3_is_one_hello(void **state)
{
    struct fl_client_options options;
    struct wire wire;

    (void)state;
    fl_client_options_init(&options);
    options.protocol = 3;
    options.password = "pw";
    options.name = "me";
    assert_int_equal(shake(&wire, &options, "%1\r\n+proto\r\n:3\r\n"), FL_OK);
    assert_string_equal(wire.out, "*7\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$7\r\ndefault\r\n"
                                  "$2\r\npw\r\n$7\r\nSETNAME\r\n$2\r\nme\r\n");
    wire_deinit(&wire);
}

static void
handshake_that_is_refused_says_why(void **state)
{
    struct fl_client_options options;
    struct wire wire;

    (void)state;
    fl_client_options_init(&options);
    options.password = "pw";
    assert_int_equal(shake(&wire, &options, "-WRONGPASS no\r\n"), FL_INVALID);
    assert_non_null(strstr(fl_last_error(), "WRONGPASS no"));
    wire_deinit(&wire);
    options.protocol = 3;
    assert_int_equal(shake(&wire, &options, "-NOPROTO unsupported\r\n"), FL_NOT_SUPPORTED);
    wire_deinit(&wire);
    assert_int_equal(shake(&wire, &options, "-ERR unknown command 'HELLO'\r\n"), FL_NOT_SUPPORTED);
    wire_deinit(&wire);
    assert_int_equal(shake(&wire, &options, "-WRONGPASS no\r\n"), FL_INVALID);
    wire_deinit(&wire);
}

static void
options_out_of_range_are_refused(void **state)
{
    struct fl_client_options good;
    struct fl_client *client = NULL;
    struct wire wire;

    (void)state;
    fl_client_options_init(&good);
    for (int wrong = 0; wrong < 7; wrong++) {
        struct fl_client_options options = good;

        switch (wrong) {
        case 0:
            options.protocol = 4;
            break;
        case 1:
            options.user = "u";
            break;
        case 2:
            options.database = -1;
            break;
        case 3:
            options.reply_bytes_max = 0;
            break;
        case 4:
            options.reply_bytes_max = (size_t)UINT32_MAX + 1;
            break;
        case 5:
            options.struct_bytes = 0;
            break;
        default:
            options.struct_bytes = sizeof(options) + 8;
            break;
        }
        assert_int_equal(shake(&wire, &options, ""), FL_INVALID);
        wire_deinit(&wire);
        assert_int_equal(fl_client_connect(&options, &client), FL_INVALID);
    }
    good.port = 0;
    assert_int_equal(fl_client_connect(&good, &client), FL_INVALID);
}

/* A program compiled with an older header knows fewer options. */
static void
options_of_an_older_program_are_completed(void **state)
{
    struct fl_client_options options;
    struct wire wire;

    (void)state;
    memset(&options, 0x55, sizeof(options));
    options.struct_bytes = offsetof(struct fl_client_options, host);
    assert_int_equal(shake(&wire, &options, ""), FL_OK);
    assert_int_equal(wire.out_len, 0);
    wire_deinit(&wire);
}

static void
address_that_nobody_serves_is_named(void **state)
{
    struct fl_client_options options;
    struct fl_client *client = NULL;
    char expected[64];
    uint16_t port;
    const int held = net_port_hold(&port);

    (void)state;
    fl_client_options_init(&options);
    options.port = port;
    snprintf(expected, sizeof(expected), "127.0.0.1:%u: Connection refused", options.port);
    assert_int_equal(fl_client_connect(&options, &client), FL_IO);
    assert_non_null(strstr(fl_last_error(), expected));
    assert_null(client);
    close(held);

    options.unix_path = "/nonexistent/faultline.sock";
    assert_int_equal(fl_client_connect(&options, &client), FL_IO);
    assert_non_null(strstr(fl_last_error(), "/nonexistent/faultline.sock: No such file"));
}

static void
unix_path_of_impossible_length_is_refused(void **state)
{
    struct fl_client_options options;
    struct fl_client *client = NULL;
    char path[200];

    (void)state;
    memset(path, 'x', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    fl_client_options_init(&options);
    options.unix_path = path;
    assert_int_equal(fl_client_connect(&options, &client), FL_INVALID);
    options.unix_path = "";
    assert_int_equal(fl_client_connect(&options, &client), FL_INVALID);
}

/* The kernel completes the connection; nobody ever answers. */
static void
silent_server_costs_no_more_than_the_time_limit(void **state)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof(address);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct fl_client_options options;
    struct fl_client *client = NULL;
    struct fl_client_reply *reply = NULL;

    (void)state;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, len) != 0 || listen(fd, 4) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) != 0) {
        die_errno("a listening socket");
    }
    fl_client_options_init(&options);
    options.port = ntohs(address.sin_port);
    options.connect_timeout_ms = 50;
    options.io_timeout_ms = 50;
    options.name = "x";
    assert_int_equal(fl_client_connect(&options, &client), FL_AGAIN);
    options.name = NULL;
    assert_int_equal(fl_client_connect(&options, &client), FL_OK);
    assert_int_equal(fl_client_call(client, &reply, "PING", NULL), FL_AGAIN);
    assert_int_equal(fl_client_read_within(client, 20, &reply), FL_AGAIN);
    assert_string_equal(fl_client_error(client), "");
    fl_client_close(client);
    close(fd);
}

enum { ECHOES = 3000, ECHO_BYTES = 2000 };

static void
write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        const ssize_t n = write(fd, data, len);

        if (n <= 0) {
            die_errno("answer");
        }
        data += n;
        len -= (size_t)n;
    }
}

/* Serve one connection: return every byte, reading nothing new while an answer can't be written. */
static void *
serve_mirror(void *arg)
{
    const int fd = accept(*(const int *)arg, NULL, NULL);
    char buf[4096];
    ssize_t n;

    if (fd < 0) {
        die_errno("accept");
    }
    while ((n = read(fd, buf, sizeof(buf))) > 0) {
        write_all(fd, buf, (size_t)n);
    }
    close(fd);
    return NULL;
}

static void
pipeline_longer_than_all_buffers_does_not_stall(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct fl_client_options options;
    struct fl_client *client = NULL;
    struct tmpdir dir;
    char path[TMPDIR_PATH_BYTES];
    char value[ECHO_BYTES + 1];
    pthread_t thread;
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)state;
    tmpdir_create(&dir);
    tmpdir_join(&dir, "s", path);
    snprintf(address.sun_path, sizeof(address.sun_path), "%.100s", path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(fd, 1) != 0) {
        die_errno("a listening socket");
    }
    assert_int_equal(pthread_create(&thread, NULL, serve_mirror, (void *)(uintptr_t)&fd), 0);
    fl_client_options_init(&options);
    options.unix_path = path;
    options.io_timeout_ms = 10000;
    assert_int_equal(fl_client_connect(&options, &client), FL_OK);
    memset(value, 'v', ECHO_BYTES);
    value[ECHO_BYTES] = '\0';
    for (int i = 0; i < ECHOES; i++) {
        const char *const argv[] = {"ECHO", value};

        snprintf(value, 16, "%08d", i);
        assert_int_equal(fl_client_append(client, 2, argv, NULL), FL_OK);
    }
    /* What comes back are the requests, which are arrays of two strings. */
    assert_int_equal(fl_client_flush(client), FL_OK);
    for (int i = 0; i < ECHOES; i++) {
        struct fl_client_reply *reply = NULL;

        assert_int_equal(fl_client_read(client, &reply), FL_OK);
        assert_int_equal(
            strtol(fl_client_reply_text(fl_client_reply_item(reply, 1), NULL), NULL, 10), i);
        fl_client_reply_destroy(reply);
    }
    fl_client_close(client);
    pthread_join(thread, NULL);
    close(fd);
    tmpdir_destroy(&dir);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handshake_without_wishes_sends_nothing),
        cmocka_unit_test(handshake_of_resp2_authenticates_then_names_then_selects),
        cmocka_unit_test(handshake_of_resp3_is_one_hello),
        cmocka_unit_test(handshake_that_is_refused_says_why),
        cmocka_unit_test(options_out_of_range_are_refused),
        cmocka_unit_test(options_of_an_older_program_are_completed),
        cmocka_unit_test(address_that_nobody_serves_is_named),
        cmocka_unit_test(unix_path_of_impossible_length_is_refused),
        cmocka_unit_test(silent_server_costs_no_more_than_the_time_limit),
        cmocka_unit_test(pipeline_longer_than_all_buffers_does_not_stall),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
