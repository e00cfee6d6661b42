/* From bytes to calls: parse, look up, check, queue or run. */
#ifndef FL_SERVER_DISPATCH_H
#define FL_SERVER_DISPATCH_H

#include "server/command.h"

#include <stdbool.h>
#include <stddef.h>

struct conn;
struct server;

/* Run what is complete of the requests in `buf`, as long as the connection may run. Returns the
 * bytes that are done with: the rest begins a request, and is given again with more behind it.
 * After about `commands_max` of them it stops: then *more is true. */
size_t dispatch_requests(struct conn *conn, char *buf, size_t len, unsigned commands_max,
                         bool *more);

/* Run the request that had to wait. False: it must wait longer. */
bool dispatch_parked(struct conn *conn);

/* Call the handler of call->command and account for it: the commands of an EXEC. */
void dispatch_call(struct call *call, const struct command_handler *handler);

/* The handler's line of `command`, its container's for a subcommand without one. */
const struct command_handler *dispatch_handler(const struct command *command);

#endif
