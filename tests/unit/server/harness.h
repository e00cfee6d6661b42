/* A server over the fake store, with clients at the other end of socket pairs, turned by hand. */
#ifndef FL_TESTS_UNIT_SERVER_HARNESS_H
#define FL_TESTS_UNIT_SERVER_HARNESS_H

#include "server/conn.h"
#include "server/server.h"
#include "tests/unit/server/fake_store.h"

#include <stddef.h>

enum { HARNESS_CLIENTS_MAX = 8, HARNESS_REPLY_BYTES = 1 << 16 };

struct harness {
    struct server *server;
    struct fl_store *store;
    int clients[HARNESS_CLIENTS_MAX];
    struct conn *conns[HARNESS_CLIENTS_MAX]; /* may be gone once the client was closed */
    char reply[HARNESS_REPLY_BYTES];
};

/* Over epoll, with `clients` connected clients. password NULL: none. */
void harness_init(struct harness *harness, unsigned clients, const char *password);
void harness_deinit(struct harness *harness);

/* Let the server do all it can do now. */
void harness_turn(struct harness *harness);

/* Send bytes, then let it turn. */
void harness_send(struct harness *harness, unsigned client, const char *data, size_t len);

void harness_send_text(struct harness *harness, unsigned client, const char *text);

/* What has arrived for a client, 0-terminated: "" if nothing has. "(closed)" is appended once
 * the server has closed the connection. */
const char *harness_received(struct harness *harness, unsigned client);

/* An inline request: "SET a 1". */
void harness_say(struct harness *harness, unsigned client, const char *request);

/* Say it and see what comes at once. */
#define assert_answer(harness, client, request, answer)                                            \
    do {                                                                                           \
        harness_say((harness), (client), (request));                                               \
        assert_string_equal(harness_received((harness), (client)), (answer));                      \
    } while (0)

#define assert_silent(harness, client)                                                             \
    assert_string_equal(harness_received((harness), (client)), "")

#endif
