#include "server/dispatch.h"

#include "base/fail.h"
#include "proto/command_table.h"
#include "server/commit.h"
#include "server/conn.h"
#include "server/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* requests parsed, and their keys prefetched, before the first is run */
    DISPATCH_GROUP_MAX = 16,
    DISPATCH_ARGS_MIN = 1024,
    DISPATCH_QUOTED_BYTES_MAX = 128, /* of a client's words in an error */
};

struct request {
    const struct command *command; /* NULL: unknown */
    unsigned args;                 /* its first slot in dispatch.args */
    unsigned argc;
    size_t end; /* offset behind it in the buffer */
};

struct dispatch {
    struct request requests[DISPATCH_GROUP_MAX];
    unsigned requests_count;
    /* why parsing ended: FL_OK (the group is full), FL_AGAIN, FL_PROTOCOL, FL_NO_MEMORY */
    fl_status status;
    size_t parsed; /* bytes of requests that ask for nothing, when there are none that ask */
    unsigned args_cap;
    struct fl_bytes *args;
};

fl_status
dispatch_create(struct dispatch **out)
{
    struct dispatch *dispatch = calloc(1, sizeof(*dispatch));

    if (dispatch != NULL) {
        dispatch->args = calloc(DISPATCH_ARGS_MIN, sizeof(*dispatch->args));
        dispatch->args_cap = DISPATCH_ARGS_MIN;
    }
    if (dispatch == NULL || dispatch->args == NULL) {
        free(dispatch);
        return FL_FAIL(FL_NO_MEMORY, "dispatcher");
    }
    *out = dispatch;
    return FL_OK;
}

void
dispatch_destroy(struct dispatch *dispatch)
{
    if (dispatch != NULL) {
        free(dispatch->args);
        free(dispatch);
    }
}

const struct command_handler *
dispatch_handler(const struct command *command)
{
    const struct command_handler *handler = &command_handlers[command->id];

    if (handler->fn == NULL && command->container != COMMAND_NONE) {
        handler = &command_handlers[command->container];
    }
    return handler;
}

/* ---- parsing a group ---- */

/* False: there is no room for its arguments in this group. */
static bool
group_add(struct dispatch *dispatch, const struct command_table *commands,
          const struct resp_parser *parser, char *request, size_t end)
{
    const unsigned count = dispatch->requests_count;
    const unsigned first =
        count == 0 ? 0 : dispatch->requests[count - 1].args + dispatch->requests[count - 1].argc;

    if (parser->argc > dispatch->args_cap - first) {
        if (count > 0) {
            return false;
        }
        struct fl_bytes *args = realloc(dispatch->args, parser->argc * sizeof(*args));

        if (args == NULL) {
            dispatch->status = FL_NO_MEMORY;
            return false;
        }
        dispatch->args = args;
        dispatch->args_cap = parser->argc;
    }
    struct fl_bytes *const args = &dispatch->args[first];

    for (unsigned i = 0; i < parser->argc; i++) {
        const struct resp_arg arg = parser->argv[i];

        args[i] = fl_bytes(arg.off == RESP_ARG_STREAMED ? NULL : request + arg.off, arg.len);
    }
    dispatch->requests[count] =
        (struct request){.command = command_find(commands, args[0].ptr, args[0].len),
                         .args = first,
                         .argc = parser->argc,
                         .end = end};
    dispatch->requests_count = count + 1;
    return true;
}

/* The last request of a group must end it if it may change how the next ones are to be read, or
 * is of a kind whose keys nobody prefetches anyway. */
static bool
group_ends_with(const struct dispatch *dispatch)
{
    const struct request *last = &dispatch->requests[dispatch->requests_count - 1];

    return dispatch->requests_count == DISPATCH_GROUP_MAX || last->command == NULL ||
           last->command->keys_count == 0;
}

static void
group_parse(struct dispatch *dispatch, struct conn *conn, char *buf, size_t len)
{
    struct resp_parser *const parser = &conn->in.parser;
    size_t pos = 0;

    dispatch->requests_count = 0;
    dispatch->parsed = 0;
    dispatch->status = FL_OK;
    while (pos < len) {
        if (dispatch->requests_count > 0 && buf[pos] != '*') {
            return; /* An inline request is unquoted in place: it must not be parsed twice. */
        }
        const struct resp_parser before = *parser;

        dispatch->status = resp_parse(parser, buf + pos, len - pos);
        if (dispatch->status != FL_OK) {
            if (dispatch->requests_count > 0) {
                /* Whether it is come to depends on the ones before it. What it has for slots
                 * stays. */
                struct resp_arg *const argv = parser->argv;
                const uint32_t slots = parser->argv_slots;

                *parser = before;
                parser->argv = argv;
                parser->argv_slots = slots;
                dispatch->status = FL_OK;
            }
            return;
        }
        if (parser->argc == 0) {
            pos += parser->used;
            if (dispatch->requests_count == 0) {
                dispatch->parsed = pos;
            } else {
                dispatch->requests[dispatch->requests_count - 1].end = pos;
            }
            continue;
        }
        if (!group_add(dispatch, &conn->server->commands, parser, buf + pos, pos + parser->used)) {
            return;
        }
        pos += parser->used;
        if (group_ends_with(dispatch)) {
            return;
        }
    }
    dispatch->status = FL_AGAIN;
}

static void
group_prefetch(const struct dispatch *dispatch, struct fl_store *store)
{
    for (unsigned i = 0; i < dispatch->requests_count; i++) {
        const struct request *request = &dispatch->requests[i];

        if (request->command != NULL && request->command->keys_count > 0) {
            const unsigned at = (unsigned)request->command->keys[0].begin;

            if (at < request->argc && dispatch->args[request->args + at].len > 0) {
                const struct fl_bytes key = dispatch->args[request->args + at];

                fl_prefetch(store, fl_key_in(SPACE_ROOT, key.ptr, key.len));
            }
        }
    }
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
    if (conn->txn.open && (call->command->flags & COMMAND_FLAG_NO_MULTI) != 0) {
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
    struct metrics_command *metrics = &call->server->metrics.commands[call->command->id];
    const uint64_t stamp = metrics_stamp();

    call->mark = fl_batch_mark(call->batch);
    call->failed = false;
    handler->fn(call);
    if (call->wait) {
        return;
    }
    metrics->calls++;
    metrics->ticks += metrics_stamp() - stamp;
    metrics->failed += call->failed;
    call->server->metrics.commands_total++;
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
            conn_block(conn, waits);
            return false;
        }
        conn->command_last = (uint16_t)call->command->id;
        if (conn->txn.open && (handler->flags & HANDLER_NOT_QUEUED) == 0) {
            txn_queue(&conn->txn, call);
            conn->txn.barrier |= (handler->flags & HANDLER_BARRIER) != 0;
        } else {
            dispatch_call(call, handler);
        }
        if (__builtin_expect(call->wait, 0)) {
            call->wait = false;
            conn_block(conn, CONN_BLOCK_BARRIER);
            return false;
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

/* Run the group. Returns the bytes done with. */
static size_t
group_run(struct dispatch *dispatch, struct conn *conn)
{
    size_t done = dispatch->parsed;

    for (unsigned i = 0; i < dispatch->requests_count && conn_may_run(conn); i++) {
        const struct request *request = &dispatch->requests[i];
        struct call call;

        call_init(&call, conn);
        call.command = request->command;
        call.argv = &dispatch->args[request->args];
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
    if (server->tick_commands >= SERVER_TICK_COMMANDS_MAX ||
        server->tick_bytes >= SERVER_TICK_BYTES_MAX) {
        commit_tick(server);
        server_tick_begin(server);
    }
    if (commit_stalled(server)) {
        conn_block(conn, CONN_BLOCK_COMMITS);
    }
    if (resp_out_pending(&conn->out) > CONN_OUTPUT_RUN_BYTES_MAX) {
        conn_block(conn, CONN_BLOCK_OUTPUT);
    }
}

size_t
dispatch_requests(struct conn *conn, char *buf, size_t len, unsigned commands_max, bool *more)
{
    struct server *server = conn->server;
    struct dispatch *dispatch = server->dispatch;
    size_t done = 0;
    unsigned commands = 0;

    *more = false;
    server->running = conn;
    while (done < len && conn_may_run(conn)) {
        if (commands >= commands_max) {
            *more = true;
            break;
        }
        group_parse(dispatch, conn, buf + done, len - done);
        if (dispatch->requests_count > 1) {
            group_prefetch(dispatch, server->store);
        }
        const fl_status status = dispatch->status;
        const size_t group = group_run(dispatch, conn);

        done += group;
        server->tick_bytes += group;
        commands += dispatch->requests_count;
        if (status == FL_PROTOCOL) {
            protocol_error(conn);
        } else if (status == FL_NO_MEMORY) {
            conn_close(conn);
        }
        check_bounds(server, conn);
        if (status != FL_OK) {
            break;
        }
    }
    server->running = NULL;
    return done;
}
