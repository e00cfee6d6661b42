#include "server/commit.h"

#include "base/fail.h"
#include "server/conn.h"
#include "server/server.h"

#include <faultline/batch.h>

#include <unistd.h>

/* ---- lists ---- */

static void
waiting_add(struct server *server, struct conn *conn)
{
    if ((conn->flags & CONN_WAITING) == 0) {
        conn->flags |= CONN_WAITING;
        conn->waiting_prev = NULL;
        conn->waiting_next = server->waiting;
        if (server->waiting != NULL) {
            server->waiting->waiting_prev = conn;
        }
        server->waiting = conn;
    }
}

static void
waiting_remove(struct server *server, struct conn *conn)
{
    if ((conn->flags & CONN_WAITING) != 0) {
        conn->flags &= ~(unsigned)CONN_WAITING;
        if (conn->waiting_prev != NULL) {
            conn->waiting_prev->waiting_next = conn->waiting_next;
        } else {
            server->waiting = conn->waiting_next;
        }
        if (conn->waiting_next != NULL) {
            conn->waiting_next->waiting_prev = conn->waiting_prev;
        }
    }
}

void
commit_forget(struct server *server, struct conn *conn)
{
    waiting_remove(server, conn);
    if ((conn->flags & CONN_DIRTY) != 0) {
        struct conn **place = &server->dirty;

        while (*place != conn) {
            place = &(*place)->dirty_next;
        }
        *place = conn->dirty_next;
        conn->flags &= ~(unsigned)CONN_DIRTY;
    }
}

/* ---- failing ---- */

/* What was executed and not acknowledged has an unknown outcome: nobody may hear of it. */
static void
commit_fail(struct server *server, const char *what)
{
    if (!server->commit.failed) {
        logger_write(&server->logger, LOGGER_ERROR,
                     "%s: %s. Clients that wait for it are disconnected; the store is read-only "
                     "until the server is started again",
                     what, fl_last_error());
    }
    server->commit.failed = true;
    server->commit.in_flight_count = 0;
    fl_batch_clear(server->commit.batch);
    for (struct conn *conn = server->conns, *next; conn != NULL; conn = next) {
        next = conn->next;
        if (conn->hold.count > 0) {
            conn_close(conn);
        }
    }
}

/* ---- submitting ---- */

static void
resolve_pending(struct server *server, uint64_t ticket)
{
    for (struct conn *conn = server->dirty; conn != NULL; conn = conn->dirty_next) {
        hold_submitted(&conn->hold, ticket);
    }
    for (struct conn *conn = server->waiting; conn != NULL; conn = conn->waiting_next) {
        hold_submitted(&conn->hold, ticket);
    }
}

void
commit_submit(struct server *server)
{
    struct commit *commit = &server->commit;
    uint64_t ticket = 0;

    if (fl_batch_count(commit->batch) == 0) {
        return;
    }
    const fl_status status = fl_batch_submit(commit->batch, &ticket);

    if (status != FL_OK) {
        commit_fail(server, "committing");
        return;
    }
    server->metrics.commits_total++;
    if (ticket > commit->ticket_last) {
        commit->ticket_last = ticket;
    }
    resolve_pending(server, ticket);
    commit->ticket_durable = fl_durable_ticket(server->store);
    if (ticket > commit->ticket_durable && commit->in_flight_count < COMMIT_IN_FLIGHT_MAX) {
        commit->in_flight[commit->in_flight_count++] = ticket;
    }
}

/* A commit costs the medium the same whether it holds one record or a thousand: while one is in
 * flight the batch grows, unless it has become large. */
static void
submit_if_due(struct server *server)
{
    const struct commit *commit = &server->commit;

    if (commit->in_flight_count == 0 || (commit->in_flight_count < COMMIT_IN_FLIGHT_MAX &&
                                         fl_batch_bytes(commit->batch) >= SERVER_TICK_BYTES_MAX)) {
        commit_submit(server);
    }
}

/* Without it writers that never pause would keep a barrier waiting for ever. */
void
commit_quiesce(struct server *server)
{
    server->commit.quiet = true;
}

bool
commit_stalled(const struct server *server)
{
    if (__builtin_expect(server->commit.quiet, 0)) {
        return true;
    }
    return __builtin_expect(server->commit.in_flight_count == COMMIT_IN_FLIGHT_MAX, 0) &&
           fl_batch_bytes(server->commit.batch) >= SERVER_TICK_BYTES_MAX;
}

static void
refresh_durable(struct server *server)
{
    struct commit *commit = &server->commit;
    unsigned done = 0;

    commit->ticket_durable = fl_durable_ticket(server->store);
    while (done < commit->in_flight_count && commit->in_flight[done] <= commit->ticket_durable) {
        done++;
    }
    commit->in_flight_count -= done;
    for (unsigned i = 0; i < commit->in_flight_count && done > 0; i++) {
        commit->in_flight[i] = commit->in_flight[i + done];
    }
}

bool
commit_settled(struct server *server)
{
    commit_submit(server);
    refresh_durable(server);
    return server->commit.failed || server->commit.ticket_last <= server->commit.ticket_durable;
}

uint64_t
commit_ticket(const struct server *server)
{
    const struct commit *commit = &server->commit;

    if (fl_batch_count(commit->batch) > 0) {
        return HOLD_PENDING;
    }
    return commit->ticket_last > commit->ticket_durable ? commit->ticket_last : 0;
}

/* ---- replying ---- */

/* The one place where replies are let go: bytes leave up to the first that depends on what is not
 * yet durable. */
static void
release_replies(struct server *server, struct conn *conn)
{
    hold_durable(&conn->hold, server->commit.ticket_durable);
    if (conn->hold.count > 0) {
        waiting_add(server, conn);
    } else {
        waiting_remove(server, conn);
    }
    conn_flush(conn);
}

void
commit_tick(struct server *server)
{
    struct commit *commit = &server->commit;

    submit_if_due(server);
    if (fl_batch_count(commit->batch) == 0) {
        /* What was undone again is still said to be pending: it depends on what went before. */
        resolve_pending(server, commit->ticket_last);
    }
    while (server->dirty != NULL) {
        struct conn *conn = server->dirty;

        server->dirty = conn->dirty_next;
        conn->flags &= ~(unsigned)CONN_DIRTY;
        release_replies(server, conn);
    }
    if (server->tick_commands > 0) {
        server->metrics.ticks_total++;
        server->tick_commands = 0;
    }
    server->tick_bytes = 0;
    server->tick_open = false;
}

void
commit_completed(struct server *server)
{
    uint64_t count;

    if (read(fl_event_fd(server->store), &count, sizeof(count)) < 0) {
        count = 0; /* Taken before: what matters is asked below. */
    }
    refresh_durable(server);
    for (struct conn *conn = server->waiting, *next; conn != NULL; conn = next) {
        next = conn->waiting_next;
        release_replies(server, conn);
    }
    if (!server->commit.failed && fl_commit_status(server->store) != FL_OK) {
        commit_fail(server, "a commit");
    }
    if (server->commit.quiet && commit_settled(server)) {
        server->commit.quiet = false;
    }
    if (!server->commit.quiet) {
        /* What is unblocked last runs first: who waits for a barrier finds everything settled. */
        conn_unblock_all(server, CONN_BLOCK_COMMITS);
        conn_unblock_all(server, CONN_BLOCK_BARRIER);
    }
}
