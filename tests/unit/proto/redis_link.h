/* An installed redis-server on loopback, and connections to it. */
#ifndef FL_TESTS_PROTO_REDIS_LINK_H
#define FL_TESTS_PROTO_REDIS_LINK_H

#include "proto/resp_reply.h"
#include "tests/unit/proto/trace.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Exit 77 with the reason if there is no redis-server in $PATH. */
void redis_require(void);

/* Set-up and tear-down of a group of tests. The server dies with the test program. */
int redis_start(void **state);
int redis_stop(void **state);

struct link {
    int fd;
    struct text in; /* bytes received since the last link_ask() */
    struct resp_reader reader;
};

/* All of these abort where the server doesn't do its part within seconds. */
void link_open(struct link *link);
void link_close(struct link *link);
void link_send(struct link *link, const char *data, size_t len);

/* More of what it says, behind link->in; false at its end. */
bool link_receive(struct link *link);

/* Ask, and read the reply; returns its root. The reply before it is gone. */
uint32_t link_ask(struct link *link, size_t argc, const char *const *argv);

#endif
