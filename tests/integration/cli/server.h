/* The servers that the CLI talks to in its tests: real ones, and one that says what it is told
 * to. */
#ifndef FL_TESTS_INTEGRATION_CLI_SERVER_H
#define FL_TESTS_INTEGRATION_CLI_SERVER_H

#include "tests/lib/child.h"
#include "tests/lib/tmpdir.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* redis-server, or faultline-server: whatever the path says. */
struct server {
    struct child child;
    struct tmpdir dir;
    uint16_t port;
    char port_text[8];
    char socket[TMPDIR_PATH_BYTES];
    bool is_redis;
};

/* Start it on 127.0.0.1 and a free port, keeping its data in a directory of its own; the test
 * fails if it doesn't serve in a few seconds. `password` may be NULL. */
void server_start(struct server *server, char *path, const char *password);
/* Kill it and wait until connecting is refused; start it again at the same port with the same data. */
void server_stop(struct server *server);
void server_restart(struct server *server, char *path);
/* Stop it and remove its data. */
void server_destroy(struct server *server);

/* To each connection: waits for the first bytes, sends `reply`, in two pieces if `split` > 0,
 * then closes (`closes`) or waits for the other side to. */
struct fake_answer {
    const char *reply; /* lent */
    size_t reply_len;
    size_t split;
    bool closes;
};

struct fake {
    pthread_mutex_t lock;
    struct fake_answer answer;
    int fd;
    uint16_t port;
    char port_text[8];
    pthread_t thread;
};

/* Owner: the caller; fake_destroy(). Answers nothing until it is told what. */
void fake_start(struct fake *fake);
/* For the connections from now on; waits until the last one is over, and its reply not used any
 * more. */
void fake_set(struct fake *fake, struct fake_answer answer);
void fake_destroy(struct fake *fake);

#endif
