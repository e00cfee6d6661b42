/* What has been executed, becoming durable; and only then: replies. */
#ifndef FL_SERVER_COMMIT_H
#define FL_SERVER_COMMIT_H

#include <faultline/status.h>

#include <stdbool.h>
#include <stdint.h>

struct conn;
struct server;

/* The end of a tick: hand the batch to the store if it may go, then let the replies leave that
 * depend on nothing that is not durable. */
void commit_tick(struct server *server);

/* Hand over what is in the batch now, however much is on its way already. */
void commit_submit(struct server *server);

/* The store's eventfd is readable: commits were completed, or have failed. */
void commit_completed(struct server *server);

/* Whether everything that was executed is durable. A batch that can be made durable at once, is. */
bool commit_settled(struct server *server);

/* Execute nothing more until everything is durable: for who waits for that. */
void commit_quiesce(struct server *server);

/* Whether so much waits for the medium that nothing more should be executed. */
bool commit_stalled(const struct server *server);

/* The ticket of everything executed so far: for what depends on all of it. */
uint64_t commit_ticket(const struct server *server);

/* For conn.c: take a connection out of the lists that commit.c keeps. */
void commit_forget(struct server *server, struct conn *conn);

#endif
