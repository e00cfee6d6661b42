/* The built-in transports: TCP and unix sockets, both without blocking. */
#ifndef FL_CLIENT_SOCKET_H
#define FL_CLIENT_SOCKET_H

#include <faultline/client.h>

/* Connect to host and port, trying each address of the name, until deadline_ms of client_clock_ms()
 * (< 0: no limit). Looking the name up is not bounded by it.
 * Owner:  the caller owns *out and ends it with out->close(out->self).
 * Errors: FL_IO (the last address's cause), FL_AGAIN (the time is over), FL_NO_MEMORY. */
fl_status socket_connect_tcp(const char *host, uint16_t port, int64_t deadline_ms,
                             struct fl_client_transport *out);

/* The same to the unix socket at `path`. FL_INVALID: the path is too long for one. */
fl_status socket_connect_unix(const char *path, int64_t deadline_ms,
                              struct fl_client_transport *out);

#endif
