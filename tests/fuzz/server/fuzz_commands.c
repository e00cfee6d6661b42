/* Goal:   nothing that a client sends makes the server crash, hang, read outside of it or fail an assertion: not the
 *         protocol, which has targets of its own, but what commands make of their arguments.
 * Method: the input is what two clients send, in turns, to a server over a store in memory: a byte says how long the
 *         next piece is, and its lowest bit who sends it. All that comes back is read and thrown away. */
#include "server/conn.h"
#include "server/server.h"
#include "tests/lib/die.h"
#include "tests/lib/fuzz/fuzz.h"
#include "tests/unit/server/fake_store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CLIENTS = 2, TURNS = 3, INPUT_BYTES_MAX = 16384 };

struct bench {
    struct server *server;
    struct fl_store *store;
    int fds[CLIENTS];
};

static void
bench_open(struct bench *bench)
{
    struct options options;

    options_init(&options);
    options.loop = LOOP_EPOLL;
    options.port = 0;
    bench->store = fake_store_create();
    bench->server = calloc(1, sizeof(*bench->server));
    if (bench->server == NULL) {
        die_errno("calloc");
    }
    logger_init(&bench->server->logger, STDERR_FILENO, LOGGER_ERROR);
    bench->server->signal_fd = -1;
    if (server_init(bench->server, &options) != FL_OK ||
        server_start(bench->server, bench->store) != FL_OK) {
        die("the server doesn't start");
    }
    server_tick_begin(bench->server);
    for (int i = 0; i < CLIENTS; i++) {
        struct conn *conn = NULL;
        int pair[2];

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0 ||
            fcntl(pair[0], F_SETFL, O_NONBLOCK) != 0 ||
            conn_create(bench->server, pair[1], true, &conn) != FL_OK) {
            die_errno("a client");
        }
        bench->fds[i] = pair[0];
    }
}

static void
turn(struct bench *bench)
{
    static char rest[65536];

    for (int i = 0; i < TURNS; i++) {
        bench->server->cron_due_ms = 0; /* it doesn't wait */
        if (server_turn(bench->server) != FL_OK) {
            die("the server's loop failed");
        }
        for (int c = 0; c < CLIENTS; c++) {
            while (bench->fds[c] >= 0 && recv(bench->fds[c], rest, sizeof(rest), 0) > 0) {
            }
        }
    }
}

static void
say(struct bench *bench, int client, const uint8_t *data, size_t len)
{
    while (len > 0) {
        const ssize_t sent = send(bench->fds[client], data, len, MSG_NOSIGNAL);

        if (sent < 0 && errno != EAGAIN) {
            return; /* it was closed */
        }
        data += sent > 0 ? sent : 0;
        len -= sent > 0 ? (size_t)sent : 0;
        turn(bench);
    }
}

static void
bench_close(struct bench *bench)
{
    for (int i = 0; i < CLIENTS; i++) {
        close(bench->fds[i]);
    }
    server_deinit(bench->server);
    if (fake_store_views(bench->store) != 0 || fake_store_blobs(bench->store) != 0) {
        die("the server keeps views or blobs of the store");
    }
    free(bench->server);
    fake_store_destroy(bench->store);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bench bench;

    if (size > INPUT_BYTES_MAX) {
        return 0;
    }
    bench_open(&bench);
    while (size > 1) {
        const size_t wanted = (size_t)(data[0] >> 1) * 4 + 1;
        const size_t len = wanted < size - 1 ? wanted : size - 1;

        say(&bench, data[0] & 1, data + 1, len);
        data += 1 + len;
        size -= 1 + len;
    }
    turn(&bench);
    bench_close(&bench);
    return 0;
}
