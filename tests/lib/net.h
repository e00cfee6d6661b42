/* Loopback TCP for tests of servers: a port nobody has, and waiting for one to be served. */
#ifndef FL_TESTS_LIB_NET_H
#define FL_TESTS_LIB_NET_H

#include <stdbool.h>
#include <stdint.h>

/* A TCP port of 127.0.0.1 that was free a moment ago, drawn from below the ephemeral range. Another process may
 * take it before it is used; tests that can should let the server bind port 0 instead. */
uint16_t net_port_free(void);

/* A port on which nobody listens until the socket that is returned is closed: connecting is refused. The caller
 * closes it. */
int net_port_hold(uint16_t *port);

/* Connect to 127.0.0.1:`port`, trying again until `timeout_ms` have passed. Returns the socket,
 * which the caller closes, or -1. */
int net_connect(uint16_t port, unsigned timeout_ms);

/* Wait until connecting to 127.0.0.1:`port`, or to the unix socket `path`, is refused; false: it isn't within
 * `timeout_ms`. A server that ran on io_uring and was killed still accepts for some milliseconds after it was waited
 * for: the kernel takes the ring down, and the sockets with it, later. */
bool net_wait_gone(uint16_t port, unsigned timeout_ms);
bool net_wait_gone_unix(const char *path, unsigned timeout_ms);

#endif
