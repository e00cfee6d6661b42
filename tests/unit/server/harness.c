#include "tests/unit/server/harness.h"

#include "base/fail.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HARNESS_TURNS = 4 };

void
harness_init(struct harness *harness, unsigned clients, const char *password)
{
    struct options options;

    memset(harness, 0, sizeof(*harness));
    options_init(&options);
    options.loop = LOOP_EPOLL;
    if (password != NULL) {
        FL_ASSERT(options_set(&options, "requirepass", password) == FL_OK);
    }
    harness->store = fake_store_create();
    harness->server = calloc(1, sizeof(*harness->server));
    FL_ASSERT(harness->server != NULL);
    logger_init(&harness->server->logger, STDERR_FILENO, LOGGER_ERROR);
    harness->server->signal_fd = -1;
    harness->server->cron_due_ms = UINT64_MAX; /* The test says when. */
    FL_ASSERT(server_init(harness->server, &options) == FL_OK);
    FL_ASSERT(server_start(harness->server, harness->store) == FL_OK);
    server_tick_begin(harness->server);
    for (unsigned i = 0; i < clients; i++) {
        int pair[2];

        FL_ASSERT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
        FL_ASSERT(fcntl(pair[0], F_SETFL, O_NONBLOCK) == 0);
        harness->clients[i] = pair[0];
        FL_ASSERT(conn_create(harness->server, pair[1], true, &harness->conns[i]) == FL_OK);
    }
    for (unsigned i = clients; i < HARNESS_CLIENTS_MAX; i++) {
        harness->clients[i] = -1;
    }
}

void
harness_deinit(struct harness *harness)
{
    for (unsigned i = 0; i < HARNESS_CLIENTS_MAX; i++) {
        if (harness->clients[i] >= 0) {
            close(harness->clients[i]);
        }
    }
    server_deinit(harness->server);
    FL_ASSERT(fake_store_views(harness->store) == 0);
    FL_ASSERT(fake_store_blobs(harness->store) == 0);
    free(harness->server);
    fake_store_destroy(harness->store);
}

void
harness_turn(struct harness *harness)
{
    for (int i = 0; i < HARNESS_TURNS; i++) {
        /* Due now: the loop doesn't wait. */
        harness->server->cron_due_ms = 0;
        FL_ASSERT(server_turn(harness->server) == FL_OK);
    }
}

void
harness_send(struct harness *harness, unsigned client, const char *data, size_t len)
{
    while (len > 0) {
        const ssize_t sent = send(harness->clients[client], data, len, MSG_NOSIGNAL);

        FL_ASSERT(sent > 0 || errno == EAGAIN);
        if (sent > 0) {
            data += sent;
            len -= (size_t)sent;
        }
        harness_turn(harness);
    }
}

void
harness_send_text(struct harness *harness, unsigned client, const char *text)
{
    harness_send(harness, client, text, strlen(text));
}

const char *
harness_received(struct harness *harness, unsigned client)
{
    size_t len = 0;
    ssize_t got;

    while ((got = recv(harness->clients[client], harness->reply + len,
                       sizeof(harness->reply) - len - 16, 0)) > 0) {
        len += (size_t)got;
        FL_ASSERT(len < sizeof(harness->reply) - 16);
        harness_turn(harness);
    }
    harness->reply[len] = '\0';
    if (got == 0) {
        strcat(harness->reply, "(closed)");
    }
    return harness->reply;
}

void
harness_say(struct harness *harness, unsigned client, const char *request)
{
    char line[1024];
    const int len = snprintf(line, sizeof(line), "%s\r\n", request);

    FL_ASSERT(len > 0 && (size_t)len < sizeof(line));
    harness_send(harness, client, line, (size_t)len);
}
