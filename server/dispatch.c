#include "server/dispatch.h"

#include "base/clock.h"
#include "base/fail.h"
#include "proto/command_table.h"
#include "server/commit.h"
#include "server/conn.h"
#include "server/group.h"
#include "server/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    DISPATCH_QUOTED_BYTES_MAX = 128, /* of a client's words in an error */
    /* Of metrics_stamp(), some ms: a connection whose commands took longer lets the others have
     * their turn. */
    DISPATCH_SLICE_STAMPS = 20 * 1000 * 1000,
    DISPATCH_HTTP_TOLD_S = 60, /* between two lines about it in the log */
};

const struct command_handler *
dispatch_handler(const struct command *command)
{
    const struct command_handler *handler = &command_handlers[command->id];

    if (handler->fn == NULL && command->container != COMMAND_NONE) {
        handler = &command_handlers[command->container];
    }
    return handler;
}

/* ---- one request ---- */

static void
refuse(struct call *call)
{
    if (call->conn->txn.open) {
        call->conn->txn.failed = true;
    }
    if (call->command != NULL) {
        call->server->metrics.commands[call->command->id].rejected++;
    }
}

static void
refuse_unknown(struct call *call)
{
    char args[DISPATCH_QUOTED_BYTES_MAX * 2] = "";
    size_t len = 0;

    for (unsigned i = 1; i < call->argc && len < DISPATCH_QUOTED_BYTES_MAX; i++) {
        const int room = (int)(DISPATCH_QUOTED_BYTES_MAX - len);
        const int arg_len = call->argv[i].len < (size_t)room ? (int)call->argv[i].len : room;

        len += (size_t)snprintf(args + len, sizeof(args) - len, "'%.*s' ", arg_len,
                                call->argv[i].ptr != NULL ? (const char *)call->argv[i].ptr : "");
    }
    const int name_len = call->argv[0].len < DISPATCH_QUOTED_BYTES_MAX ? (int)call->argv[0].len
                                                                       : DISPATCH_QUOTED_BYTES_MAX;

    reply_errorf(call, "ERR unknown command '%.*s', with args beginning with: %s", name_len,
                 (const char *)call->argv[0].ptr, args);
    refuse(call);
}

/* A web page can make a browser send lines of its own here: what HTTP begins with ends the connection, as in Redis. */
static bool
is_http(const struct call *call)
{
    static const char *const names[] = {"post", "host:"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (call->argv[0].len == strlen(names[i]) &&
            strncasecmp(call->argv[0].ptr, names[i], call->argv[0].len) == 0) {
            return true;
        }
    }
    return false;
}

static void
refuse_http(struct call *call)
{
    struct server *server = call->server;
    char address[CONN_ADDRESS_BYTES];

    /* Not each time: strangers would fill the log. */
    if (server->http_told_ns == 0 ||
        (server->mono_ns - server->http_told_ns) / CLOCK_NS_PER_S >= DISPATCH_HTTP_TOLD_S) {
        server->http_told_ns = server->mono_ns;
        conn_address(call->conn, true, address);
        logger_write(&server->logger, LOGGER_WARNING,
                     "%s speaks HTTP: perhaps an attack from a web page; the connection is closed, "
                     "as are others in the next minute",
                     address);
    }
    conn_close_soon(call->conn);
}

static void
refuse_unknown_sub(struct call *call)
{
    char container[64];
    const int name_len = call->argv[1].len < DISPATCH_QUOTED_BYTES_MAX ? (int)call->argv[1].len
                                                                       : DISPATCH_QUOTED_BYTES_MAX;
    size_t i = 0;

    for (; call->command->name[i] != '\0' && i < sizeof(container) - 1; i++) {
        const char c = call->command->name[i];

        container[i] = c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
    }
    container[i] = '\0';
    reply_errorf(call, "ERR unknown subcommand '%.*s'. Try %s HELP.", name_len,
                 (const char *)call->argv[1].ptr, container);
    refuse(call);
}

/* An EXEC that is no EXEC ends the transaction. */
static void
refuse_arity(struct call *call)
{
    if (call->command->id == COMMAND_EXEC) {
        struct txn *txn = &call->conn->txn;

        txn_clear(txn);
        watch_remove_all(&call->server->watches, txn);
        reply_error(call,
                    "EXECABORT Transaction discarded because of: wrong number of arguments for "
                    "'exec' command");
    } else {
        reply_wrong_arity(call);
    }
    refuse(call);
}

/* Find the subcommand. False: refused. */
static bool
check_command(struct call *call)
{
    if (call->command == NULL && is_http(call)) {
        refuse_http(call);
        return false;
    }
    if (call->command == NULL) {
        refuse_unknown(call);
        return false;
    }
    if (call->argc > 1 && command_subs_count(call->command->id) > 0) {
        const struct command *sub = command_find_sub(&call->server->commands, call->command->id,
                                                     call->argv[1].ptr, call->argv[1].len);

        if (sub == NULL) {
            refuse_unknown_sub(call);
            return false;
        }
        call->command = sub;
    }
    if (!command_arity_fits(call->command, call->argc)) {
        refuse_arity(call);
        return false;
    }
    if (dispatch_handler(call->command)->fn == NULL) {
        if (call->command->container != COMMAND_NONE) {
            call->command = command_by_id(call->command->container);
            refuse_unknown_sub(call);
        } else {
            refuse_unknown(call);
        }
        return false;
    }
    return true;
}

static bool
check_allowed(struct call *call)
{
    const struct conn *conn = call->conn;

    if ((conn->flags & CONN_AUTHENTICATED) == 0 &&
        (call->command->flags & COMMAND_FLAG_NO_AUTH) == 0) {
        reply_error(call, "NOAUTH Authentication required.");
        refuse(call);
        return false;
    }
    /* CLIENT REPLY would take elements out of EXEC's answer, and leave the client out of step. */
    if (conn->txn.open && ((call->command->flags & COMMAND_FLAG_NO_MULTI) != 0 ||
                           call->command->id == COMMAND_CLIENT_REPLY)) {
        reply_error(call, "ERR Command not allowed inside a transaction");
        refuse(call);
        return false;
    }
    return true;
}

/* CLIENT PAUSE. The one who can end it must get through. */
static bool
is_paused(const struct call *call)
{
    const struct server *server = call->server;
    const struct txn *txn = &call->conn->txn;

    if (server->pause_until_ms == 0 || call->command->id == COMMAND_CLIENT_UNPAUSE) {
        return false;
    }
    return server->pause_all || (call->command->flags & COMMAND_FLAG_WRITE) != 0 ||
           (call->command->id == COMMAND_EXEC && txn->writes);
}

/* Why the call can't run now: enum conn_block, 0 if it can. */
static uint8_t
check_waits(struct call *call, const struct command_handler *handler)
{
    if (__builtin_expect(call->server->pause_until_ms != 0, 0) && is_paused(call)) {
        return CONN_BLOCK_PAUSE;
    }
    if ((handler->flags & HANDLER_BARRIER) != 0 && !call->conn->txn.open &&
        !commit_settled(call->server)) {
        return CONN_BLOCK_BARRIER;
    }
    if (call->command->id == COMMAND_EXEC && call->conn->txn.barrier &&
        !commit_settled(call->server)) {
        return CONN_BLOCK_BARRIER;
    }
    return 0;
}

void
dispatch_call(struct call *call, const struct command_handler *handler)
{
    struct server *server = call->server;
    struct metrics_command *metrics = &server->metrics.commands[call->command->id];

    call->mark = fl_batch_mark(call->batch);
    call->failed = false;
    handler->fn(call);
    const uint64_t stamp = metrics_stamp();

    /* One stamp a command: it ends this one's time and begins the next one's. */
    metrics->ticks += stamp - server->stamp;
    server->stamp = stamp;
    metrics->calls++;
    metrics->failed += call->failed;
    server->metrics.commands_total++;
    if (call->blob != NULL) {
        fl_blob_discard(call->blob);
        call->blob = NULL;
    }
}

/* CLIENT REPLY OFF and SKIP. */
static void
choose_output(struct call *call)
{
    struct conn *conn = call->conn;

    if (__builtin_expect((conn->flags & (CONN_REPLY_OFF | CONN_REPLY_SKIP)) != 0, 0)) {
        call->out = &call->server->null_out;
        call->out->protocol = conn->out.protocol;
        call->out->pending_max = conn->out.pending_max;
    } else {
        call->out = &conn->out;
    }
}

static void
finish_output(struct call *call, uint64_t start)
{
    struct conn *conn = call->conn;

    conn_mark_dirty(conn);
    if (call->out == &conn->out) {
        hold_add(&conn->hold, start, call->ticket);
    } else {
        resp_out_clear(call->out);
    }
    if (__builtin_expect((conn->flags & (CONN_REPLY_SKIP | CONN_REPLY_SKIP_NEXT)) != 0, 0)) {
        conn->flags &= ~(unsigned)CONN_REPLY_SKIP;
        if ((conn->flags & CONN_REPLY_SKIP_NEXT) != 0) {
            conn->flags &= ~(unsigned)CONN_REPLY_SKIP_NEXT;
            conn->flags |= CONN_REPLY_SKIP;
        }
    }
}

static void
block(struct call *call, uint8_t reason)
{
    if (reason == CONN_BLOCK_BARRIER) {
        commit_quiesce(call->server);
    }
    conn_block(call->conn, reason);
}

/* Check and run a call whose command was looked up. False: it must wait, and nothing was done. */
static bool
dispatch_one(struct call *call)
{
    struct conn *conn = call->conn;

    choose_output(call);

    const uint64_t start = resp_out_position(&conn->out);

    if (check_command(call) && check_allowed(call)) {
        const struct command_handler *handler = dispatch_handler(call->command);
        const uint8_t waits = check_waits(call, handler);

        if (__builtin_expect(waits != 0, 0)) {
            block(call, waits);
            return false;
        }
        conn->command_last = (uint16_t)call->command->id;
        if (conn->txn.open && (handler->flags & HANDLER_NOT_QUEUED) == 0) {
            txn_queue(&conn->txn, call);
            conn->txn.barrier |= (handler->flags & HANDLER_BARRIER) != 0;
            (void)conn_check_input_limit(conn, 0);
        } else {
            dispatch_call(call, handler);
        }
    }
    if (call->blob != NULL) {
        fl_blob_discard(call->blob);
        call->blob = NULL;
    }
    finish_output(call, start);
    call->server->tick_commands++;
    return true;
}

static void
call_init(struct call *call, struct conn *conn)
{
    struct server *server = conn->server;

    *call = (struct call){
        .server = server, .conn = conn, .batch = server->commit.batch, .now_ms = server->now_ms};
}

/* The call's request can't be kept in the buffer: its blob is filled, or the buffer isn't its
 * own. */
static void
park(struct call *call)
{
    call->conn->parked = txn_command_create(call);
    if (call->conn->parked == NULL) {
        if (call->blob != NULL) {
            fl_blob_discard(call->blob);
        }
        conn_close(call->conn);
    }
}

bool
dispatch_parked(struct conn *conn)
{
    struct txn_command *parked = conn->parked;
    struct call call;

    conn->server->stamp = metrics_stamp();
    call_init(&call, conn);
    txn_command_restore(parked, &call);
    if (call.command->container != COMMAND_NONE) {
        call.command = command_by_id(call.command->container); /* The check goes down again. */
    }
    const bool done = dispatch_one(&call);

    parked->blob = call.blob; /* Still there if it waits; else NULL. */
    if (done) {
        conn->parked = NULL;
        txn_command_destroy(parked);
    }
    return done;
}

static size_t
group_end(const struct request_group *group)
{
    const unsigned count = group->requests_count;

    return count > 0 ? group->requests[count - 1].end : group->parsed;
}

static bool
slice_is_over(const struct server *server, uint64_t begin)
{
    return __builtin_expect(server->stamp - begin > DISPATCH_SLICE_STAMPS, 0);
}

static bool
is_ahead_of_its_reading(const struct conn *conn)
{
    return resp_out_pending(&conn->out) > CONN_OUTPUT_RUN_BYTES_MAX;
}

/* Run the group, or as much of it as its reading and the time that began at the stamp `begin` is enough for, but one
 * request at least. Returns the bytes done with. */
static size_t
group_run(struct request_group *group, struct conn *conn, uint64_t begin)
{
    size_t done = group->parsed;

    for (unsigned i = 0; i < group->requests_count && conn_may_run(conn); i++) {
        if (i > 0 && slice_is_over(conn->server, begin)) {
            break;
        }
        const struct request *request = &group->requests[i];
        struct call call;

        call_init(&call, conn);
        call.command = request->command;
        call.argv = &group->args[request->args];
        call.argc = request->argc;
        if (__builtin_expect(conn->in.blob_arg != 0, 0)) {
            call.blob = conn->in.blob;
            call.blob_arg = conn->in.blob_arg;
            call.blob_status = conn->in.blob_status;
            conn->in.blob = NULL;
            conn->in.blob_arg = 0;
        }
        if (!dispatch_one(&call)) {
            park(&call);
        }
        done = request->end;
        if (__builtin_expect(is_ahead_of_its_reading(conn), 0)) {
            break;
        }
    }
    return done;
}

static void
protocol_error(struct conn *conn)
{
    char text[RESP_ERROR_BYTES_MAX];

    resp_parser_error(&conn->in.parser, text, sizeof(text));
    logger_write(&conn->server->logger, LOGGER_DEBUG, "client %llu: %s",
                 (unsigned long long)conn->id, text);
    conn->server->metrics.protocol_errors_total++;
    conn->server->metrics.errors_total++;
    resp_write_error(&conn->out, text);
    conn_close_soon(conn);
}

/* The tick has become long: end it here; and hold a connection back that is ahead of the medium
 * or of its own reading. */
static void
check_bounds(struct server *server, struct conn *conn)
{
    /* An APPEND of a byte writes a long value anew: what was asked doesn't tell how large the batch is. */
    if (server->tick_commands >= SERVER_TICK_COMMANDS_MAX ||
        server->tick_bytes >= SERVER_TICK_BYTES_MAX ||
        fl_batch_bytes(server->commit.batch) >= SERVER_TICK_BYTES_MAX) {
        commit_tick(server);
        server_tick_begin(server);
    }
    if (commit_stalled(server)) {
        conn_block(conn, CONN_BLOCK_COMMITS);
    }
    if (is_ahead_of_its_reading(conn)) {
        conn_block(conn, CONN_BLOCK_OUTPUT);
    }
}

size_t
dispatch_requests(struct conn *conn, char *buf, size_t len, unsigned commands_max, bool *more)
{
    struct server *server = conn->server;
    struct request_group *group = &server->group;
    size_t done = 0;
    unsigned commands = 0;

    *more = false;
    server->running = conn;
    const uint64_t begin = metrics_stamp();

    if (commit_stalled(server)) {
        conn_block(conn, CONN_BLOCK_COMMITS);
    }
    while (done < len && conn_may_run(conn)) {
        if (commands >= commands_max || (commands > 0 && slice_is_over(server, begin))) {
            *more = true;
            break;
        }
        group_parse(group, &server->commands, &conn->in.parser, buf + done, len - done);
        group_prefetch(group, server->store);
        server->stamp = metrics_stamp();
        const fl_status status = group->status;
        const size_t bytes = group_run(group, conn, begin);

        done += bytes;
        server->tick_bytes += bytes;
        commands += group->requests_count;
        if (status == FL_PROTOCOL) {
            protocol_error(conn);
        } else if (status == FL_NO_MEMORY) {
            conn_close(conn);
        }
        check_bounds(server, conn);
        if (bytes < group_end(group) && conn_may_run(conn)) {
            *more = true;
            break;
        }
        if (status != FL_OK) {
            break;
        }
    }
    server->running = NULL;
    return done;
}
