/* Big values: the last argument of SET and its kin goes into a blob of the store as it arrives,
 * instead of being gathered in DRAM first. */
#ifndef FL_SERVER_STREAM_H
#define FL_SERVER_STREAM_H

#include <stddef.h>

struct conn;

/* If the request that is incomplete in the connection's buffer waits for such a value, begin to
 * stream it. */
void stream_begin(struct conn *conn);

/* Of `len` bytes received, write those that belong to a value being streamed. Returns how many. */
size_t stream_take(struct conn *conn, const char *data, size_t len);

#endif
