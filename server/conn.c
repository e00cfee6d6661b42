#include "server/conn.h"

#include "base/clock.h"
#include "base/fail.h"
#include "server/commit.h"
#include "server/dispatch.h"
#include "server/server.h"
#include "server/stream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

static uint64_t
conn_now_ms(const struct server *server)
{
    return server->mono_ns / CLOCK_NS_PER_MS;
}

fl_status
conn_create(struct server *server, int fd, bool unix_socket, struct conn **out)
{
    struct conn *conn = calloc(1, sizeof(*conn));

    if (conn == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "a connection");
    }
    conn->server = server;
    const fl_status status = loop_add(server->loop, &conn->sock, fd);

    if (status != FL_OK) {
        free(conn);
        return status;
    }
    conn->id = ++server->conn_id_last;
    conn->flags = unix_socket ? CONN_UNIX : 0;
    if (server->options.requirepass[0] == '\0') {
        conn->flags |= CONN_AUTHENTICATED;
    }
    conn->command_last = COMMAND_NONE;
    conn->created_ms = conn_now_ms(server);
    conn->active_ms = conn->created_ms;
    input_init(&conn->in);
    resp_parser_limit(&conn->in.parser, (conn->flags & CONN_AUTHENTICATED) != 0,
                      (uint32_t)server->options.proto_max_bulk_len);
    resp_out_init(&conn->out, &server->pool);
    conn->out.pending_max = server->options.output_hard;
    conn->next = server->conns;
    if (server->conns != NULL) {
        server->conns->prev = conn;
    }
    server->conns = conn;
    server->conns_count++;
    *out = conn;
    return FL_OK;
}

static void
conn_unlink(struct conn *conn)
{
    struct server *server = conn->server;

    if (conn->prev != NULL) {
        conn->prev->next = conn->next;
    } else {
        server->conns = conn->next;
    }
    if (conn->next != NULL) {
        conn->next->prev = conn->prev;
    }
    server->conns_count--;
}

static void
conn_ready(struct conn *conn)
{
    if ((conn->flags & (CONN_READY | CONN_CLOSED)) == 0) {
        conn->flags |= CONN_READY;
        conn->ready_next = conn->server->ready;
        conn->server->ready = conn;
    }
}

/* Out of the list of those that may execute again. */
static void
conn_unready(struct conn *conn)
{
    if ((conn->flags & CONN_READY) != 0) {
        struct conn **place = &conn->server->ready;

        while (*place != NULL && *place != conn) {
            place = &(*place)->ready_next;
        }
        if (*place == conn) { /* Else it is about to be run, and will find itself closed. */
            *place = conn->ready_next;
        }
        conn->flags &= ~(unsigned)CONN_READY;
    }
}

void
conn_close(struct conn *conn)
{
    struct server *server = conn->server;

    if ((conn->flags & CONN_CLOSED) != 0) {
        return;
    }
    conn->flags |= CONN_CLOSED;
    commit_forget(server, conn);
    conn_unready(conn);
    if (conn->blocked != 0) {
        server->conns_blocked--;
        conn->blocked = 0;
    }
    watch_remove_all(&server->watches, &conn->txn);
    txn_clear(&conn->txn);
    loop_close(server->loop, &conn->sock);
}

void
conn_released(struct conn *conn)
{
    conn_unlink(conn);
    txn_command_destroy(conn->parked);
    input_deinit(&conn->in);
    resp_out_deinit(&conn->out);
    free(conn->name);
    free(conn->lib_name);
    free(conn->lib_ver);
    free(conn);
}

void
conn_close_soon(struct conn *conn)
{
    conn->flags |= CONN_CLOSE_SOON;
    conn_mark_dirty(conn);
}

void
conn_mark_dirty(struct conn *conn)
{
    if ((conn->flags & (CONN_DIRTY | CONN_CLOSED)) == 0) {
        conn->flags |= CONN_DIRTY;
        conn->dirty_next = conn->server->dirty;
        conn->server->dirty = conn;
    }
}

/* ---- input ---- */

bool
conn_check_input_limit(struct conn *conn, size_t more)
{
    struct server *server = conn->server;
    uint64_t limit = server->options.query_buffer_limit;

    if ((conn->flags & CONN_AUTHENTICATED) == 0 && limit > CONN_INPUT_UNAUTH_BYTES_MAX) {
        limit = CONN_INPUT_UNAUTH_BYTES_MAX;
    }
    if (input_waiting(&conn->in) + conn->txn.bytes + conn->txn.watches_bytes + more <= limit) {
        return true;
    }
    logger_write(&server->logger, LOGGER_WARNING,
                 "client %" PRIu64 " closed: more than %" PRIu64
                 " bytes of unexecuted requests and watched keys (%s)",
                 conn->id, limit,
                 limit < server->options.query_buffer_limit ? "it has not authenticated"
                                                            : "client-query-buffer-limit");
    server->metrics.query_limit_closed++;
    conn_close(conn);
    return false;
}

/* With much to do already let the client wait with more, where it is. Not if it must read its replies first: many
 * clients send a whole pipeline before they read any, and would wait for ever. */
static void
conn_pace(struct conn *conn)
{
    struct server *server = conn->server;
    const bool waits_for_us =
        (conn->flags & CONN_READY) != 0 || (conn->blocked & ~(unsigned)CONN_BLOCK_OUTPUT) != 0;

    if (waits_for_us && input_waiting(&conn->in) > CONN_INPUT_WAIT_BYTES_MAX) {
        loop_recv_pause(server->loop, &conn->sock);
    } else {
        loop_recv_resume(server->loop, &conn->sock);
    }
}

/* Keep bytes that can't be executed now. */
static void
conn_keep(struct conn *conn, const char *data, size_t len)
{
    struct server *server = conn->server;

    if (!conn_check_input_limit(conn, len)) {
        return;
    }
    const size_t wanted = resp_parser_wanted(&conn->in.parser, input_waiting(&conn->in) + len);

    if (input_keep(&conn->in, data, len, wanted) != FL_OK) {
        logger_write(&server->logger, LOGGER_ERROR, "client %" PRIu64 " closed: %s", conn->id,
                     fl_last_error());
        conn_close(conn);
    }
}

/* Stream the value that is arriving into the store, if it is worth it and the client is in earnest: room in the
 * store is made for all of it at once, which is dear for a length that nothing follows. */
static void
conn_stream(struct conn *conn)
{
    struct resp_pending pending;

    if (resp_parser_pending(&conn->in.parser, input_waiting(&conn->in), &pending) &&
        (pending.bytes_here >= CONN_STREAM_HERE_MIN ||
         pending.bytes_here >= pending.bytes_total / 4)) {
        stream_begin(conn);
    }
}

/* Run what the connection's own buffer holds. */
static void
conn_execute_kept(struct conn *conn)
{
    struct input *in = &conn->in;

    if (input_waiting(in) > 0 && conn_may_run(conn)) {
        bool more;
        const size_t done = dispatch_requests(conn, in->buf + in->pos, input_waiting(in),
                                              SERVER_TICK_COMMANDS_MAX, &more);

        input_consume(in, done);
        if (more) {
            conn_ready(conn); /* The others have their turn first. */
        } else if (conn_may_run(conn) && input_waiting(in) > 0) {
            conn_stream(conn);
        }
    }
    input_trim(in);
}

void
conn_execute(struct conn *conn)
{
    if ((conn->flags & CONN_CLOSED) != 0) {
        return;
    }
    server_tick_begin(conn->server);
    if (conn->parked != NULL && (!conn_may_run(conn) || !dispatch_parked(conn))) {
        return;
    }
    conn_execute_kept(conn);
    conn_pace(conn);
    if ((conn->flags & CONN_ENDED) != 0) {
        conn_mark_dirty(conn); /* Nothing comes any more: perhaps it can be closed. */
    }
}

void
conn_received(struct conn *conn, char *data, size_t len)
{
    struct server *server = conn->server;

    if ((conn->flags & (CONN_CLOSE_SOON | CONN_CLOSED)) != 0) {
        return;
    }
    server_tick_begin(server);
    server->metrics.input_bytes_total += len;
    conn->active_ms = conn_now_ms(server);

    const size_t streamed = stream_take(conn, data, len);

    data += streamed;
    len -= streamed;
    /* One that is ready has something to do first: a request that was parked, perhaps. */
    if (input_waiting(&conn->in) > 0 || !conn_may_run(conn) || (conn->flags & CONN_READY) != 0) {
        if (len > 0) {
            conn_keep(conn, data, len);
            if ((conn->flags & (CONN_CLOSED | CONN_READY)) == 0) {
                conn_execute_kept(conn);
            }
            conn_pace(conn);
        }
        return;
    }
    bool more;
    const size_t done = dispatch_requests(conn, data, len, UINT_MAX, &more);

    if (done < len && (conn->flags & (CONN_CLOSE_SOON | CONN_CLOSED)) == 0) {
        conn_keep(conn, data + done, len - done);
        if (more) {
            conn_ready(conn);
        } else if (conn_may_run(conn)) {
            conn_stream(conn);
        }
        conn_pace(conn);
    }
    input_trim(&conn->in);
}

void
conn_ended(struct conn *conn, int error)
{
    conn->flags |= CONN_ENDED;
    if (error != 0) {
        conn_close(conn);
        return;
    }
    conn_mark_dirty(conn);
}

/* ---- waiting ---- */

void
conn_block(struct conn *conn, uint8_t reason)
{
    if ((conn->flags & CONN_CLOSED) == 0) {
        conn->server->conns_blocked += conn->blocked == 0;
        conn->blocked |= reason;
    }
}

void
conn_unblock(struct conn *conn, uint8_t reasons)
{
    if ((conn->blocked & reasons) == 0) {
        return;
    }
    conn->blocked &= (uint8_t)~reasons;
    if (conn->blocked == 0) {
        conn->server->conns_blocked--;
        conn_ready(conn);
    }
    conn_pace(conn);
}

void
conn_unblock_all(struct server *server, uint8_t reasons)
{
    for (struct conn *conn = server->conns; conn != NULL && server->conns_blocked > 0;
         conn = conn->next) {
        conn_unblock(conn, reasons);
    }
}

/* ---- output ---- */

/* Below the soft limit its time begins anew. */
static bool
conn_is_below_soft_limit(struct conn *conn, uint64_t pending)
{
    const struct options *options = &conn->server->options;
    const bool below = options->output_soft == 0 || pending <= options->output_soft;

    if (below) {
        conn->output_soft_since_ms = 0;
    }
    return below;
}

/* Replies that a client doesn't fetch take memory: it is closed for too much of it. */
static void
conn_check_output_limit(struct conn *conn)
{
    struct server *server = conn->server;
    const struct options *options = &server->options;
    const uint64_t pending = resp_out_pending(&conn->out);
    bool over = conn->out.over || (options->output_hard != 0 && pending > options->output_hard);

    if (!conn_is_below_soft_limit(conn, pending)) {
        const uint64_t now_ms = conn_now_ms(server);

        if (conn->output_soft_since_ms == 0) {
            conn->output_soft_since_ms = now_ms;
        }
        over |= now_ms > conn->output_soft_since_ms &&
                now_ms - conn->output_soft_since_ms >= options->output_soft_s * CLOCK_MS_PER_S;
    }
    if (over) {
        logger_write(&server->logger, LOGGER_WARNING,
                     "client %" PRIu64 " closed: %" PRIu64
                     " bytes of replies it did not read%s (client-output-buffer-limit)",
                     conn->id, pending, conn->out.over ? ", and more to come" : "");
        server->metrics.output_limit_closed++;
        conn_close(conn);
    }
}

/* All is sent: see whether that was what the connection waited for. */
static void
conn_flushed(struct conn *conn)
{
    /* One that is being run may have more behind what is answered: it is looked at again then. */
    const bool ended = (conn->flags & CONN_ENDED) != 0 && conn->blocked == 0 &&
                       (conn->flags & CONN_READY) == 0 && conn->server->running != conn;

    if (((conn->flags & CONN_CLOSE_SOON) != 0 || ended) && conn->hold.count == 0 &&
        resp_out_pending(&conn->out) == 0) {
        conn_close(conn);
    }
}

void
conn_flush(struct conn *conn)
{
    struct iovec iov[LOOP_IOV_MAX];

    if ((conn->flags & CONN_CLOSED) != 0) {
        return;
    }
    if (resp_out_failed(&conn->out) && !conn->out.over) {
        logger_write(&conn->server->logger, LOGGER_ERROR,
                     "client %" PRIu64 " closed: out of memory for its replies", conn->id);
        conn_close(conn);
        return;
    }
    while (!conn->sock.send_busy && !conn->out.over) {
        const uint64_t end = resp_out_position(&conn->out);
        const uint64_t limit = hold_limit(&conn->hold, end);
        const unsigned count = resp_out_iov(&conn->out, limit, iov, LOOP_IOV_MAX);

        if (count == 0) {
            conn_flushed(conn);
            break;
        }
        uint64_t behind = conn->out.sent;

        for (unsigned i = 0; i < count; i++) {
            behind += iov[i].iov_len;
        }
        const ssize_t sent = loop_send(conn->server->loop, &conn->sock, iov, count, behind < limit);

        if (sent < 0) {
            conn_close(conn);
        } else if (sent > 0) {
            conn_sent(conn, (size_t)sent, 0);
        }
        if (sent <= 0) {
            break;
        }
    }
    if ((conn->flags & CONN_CLOSED) == 0) {
        conn_check_output_limit(conn);
    }
}

/* The loop's news of a send; conn_flush() goes on from it. */
void
conn_sent(struct conn *conn, size_t len, int error)
{
    struct server *server = conn->server;

    if (error != 0) {
        conn_close(conn);
        return;
    }
    resp_out_sent(&conn->out, len);
    server->metrics.output_bytes_total += len;
    conn->active_ms = conn_now_ms(server);
    (void)conn_is_below_soft_limit(conn, resp_out_pending(&conn->out));
    if ((conn->blocked & CONN_BLOCK_OUTPUT) != 0 &&
        resp_out_pending(&conn->out) <= CONN_OUTPUT_RUN_BYTES_MAX / 2) {
        conn_unblock(conn, CONN_BLOCK_OUTPUT);
    }
}

/* ---- what it is called ---- */

void
conn_address(const struct conn *conn, bool peer, char text[CONN_ADDRESS_BYTES])
{
    struct sockaddr_storage storage = {0};
    socklen_t len = sizeof(storage);
    struct sockaddr *address = (struct sockaddr *)&storage;
    char host[INET6_ADDRSTRLEN] = "?";

    if ((conn->flags & CONN_UNIX) != 0) {
        snprintf(text, CONN_ADDRESS_BYTES, "%s:0", conn->server->options.unixsocket);
        return;
    }
    const int result = peer ? getpeername(conn->sock.fd, address, &len)
                            : getsockname(conn->sock.fd, address, &len);

    if (result == 0 && address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&storage;

        inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
        snprintf(text, CONN_ADDRESS_BYTES, "%s:%u", host, ntohs(in->sin_port));
    } else if (result == 0 && address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&storage;

        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
        snprintf(text, CONN_ADDRESS_BYTES, "[%s]:%u", host, ntohs(in6->sin6_port));
    } else {
        snprintf(text, CONN_ADDRESS_BYTES, "?:0");
    }
}
