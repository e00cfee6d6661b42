/* The sockets that the server listens on. */
#ifndef FL_SERVER_LISTENER_H
#define FL_SERVER_LISTENER_H

#include <faultline/status.h>

struct server;

/* Bind what the options name: TCP on each address of `bind`, the unix socket. Nobody can connect yet. Sets
 * server->listeners and port_bound. Errors: FL_INVALID (an address), FL_IO (in use, not
 * permitted); nothing stays open then. */
FL_NODISCARD fl_status listener_open_all(struct server *server);

/* Listen, and give them to the loop. Errors: FL_IO (another server was faster). */
FL_NODISCARD fl_status listener_start(struct server *server);

/* Let connections to come have the keep-alive that the options say now; those that are open keep theirs. */
void listener_options_changed(struct server *server);

void listener_close_all(struct server *server);

/* The loop accepted `fd`; `tag` is the listener's place in server->listeners. */
void listener_accepted(struct server *server, const int *listener, int fd);

#endif
