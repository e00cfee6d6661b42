/* Loopback TCP for tests of servers: a port nobody has, and waiting for one to be served. */
#ifndef FL_TESTS_LIB_NET_H
#define FL_TESTS_LIB_NET_H

#include <stdint.h>

/* A TCP port of 127.0.0.1 that was free a moment ago, from below the ephemeral range. Another process may
 * take it before it is used; tests that can should let the server bind port 0 instead. */
uint16_t net_port_free(void);

/* Connect to 127.0.0.1:`port`, trying again until `timeout_ms` have passed. Returns the socket,
 * which the caller closes, or -1. */
int net_connect(uint16_t port, unsigned timeout_ms);

#endif
