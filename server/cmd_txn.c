/* MULTI EXEC DISCARD WATCH UNWATCH. */
#include "server/cmd.h"

#include "server/commit.h"
#include "server/conn.h"
#include "server/dispatch.h"
#include "server/server.h"

/* An EXEC goes into the batch whole: when the two together might not fit, the batch goes first. */
enum { EXEC_BATCH_BYTES = 16 * 1024 * 1024 };

static void
leave(struct call *call)
{
    txn_clear(&call->conn->txn);
    watch_remove_all(&call->server->watches, &call->conn->txn);
}

void
cmd_multi(struct call *call)
{
    if (call->conn->txn.open) {
        reply_error(call, "ERR MULTI calls can not be nested");
        return;
    }
    call->conn->txn.open = true;
    resp_write_ok(call->out);
}

void
cmd_discard(struct call *call)
{
    if (!call->conn->txn.open) {
        reply_error(call, "ERR DISCARD without MULTI");
        return;
    }
    leave(call);
    resp_write_ok(call->out);
}

void
cmd_watch(struct call *call)
{
    if (call->conn->txn.open) {
        reply_error(call, "ERR WATCH inside MULTI is not allowed");
        return;
    }
    for (unsigned i = 1; i < call->argc; i++) {
        struct fl_info info = {0};
        fl_status status = call_get_info(call, call->argv[i], &info);

        if (status == FL_OK || status == FL_NOT_FOUND) {
            const uint64_t deadline_ms = status == FL_OK ? info.deadline_ms : 0;

            status =
                watch_add(&call->server->watches, &call->conn->txn, call->argv[i], deadline_ms);
        }
        if (status != FL_OK) {
            call_fail(call, status);
            return;
        }
    }
    resp_write_ok(call->out);
    (void)conn_check_input_limit(call->conn, 0);
}

void
cmd_unwatch(struct call *call)
{
    watch_remove_all(&call->server->watches, &call->conn->txn);
    resp_write_ok(call->out);
}

/* Run one queued command. Not FL_OK: what it writes does not fit, and why. */
static fl_status
exec_one(struct call *exec, struct txn_command *command, struct resp_out *out)
{
    struct call call = {.server = exec->server,
                        .conn = exec->conn,
                        .batch = exec->batch,
                        .now_ms = exec->now_ms,
                        .ticket = exec->ticket,
                        .out = out,
                        .in_exec = true};

    txn_command_restore(command, &call);
    out->protocol = exec->conn->out.protocol; /* HELLO may have changed it just now. */
    dispatch_call(&call, dispatch_handler(call.command));
    exec->ticket = call.ticket;
    return call.unfit;
}

/* Little is copied to where there is room for it; much, and what is there by reference, stays where it is. */
static void
move_output(struct resp_out *to, struct resp_out *from)
{
    struct iovec iov[16];
    unsigned count;

    if (resp_out_pending(from) >= RESP_REFERENCE_BYTES_MIN || from->failed) {
        resp_out_move(to, from);
        return;
    }
    while ((count = resp_out_iov(from, resp_out_position(from), iov, 16)) > 0) {
        size_t len = 0;

        for (unsigned i = 0; i < count; i++) {
            resp_out_append(to, iov[i].iov_base, iov[i].iov_len);
            len += iov[i].iov_len;
        }
        resp_out_sent(from, len);
    }
}

/* All of it or nothing: the replies wait aside until it is known which. */
static void
exec_all(struct call *call, struct txn *txn)
{
    struct server *server = call->server;
    struct resp_out *out = &server->exec_out;
    const size_t mark = fl_batch_mark(call->batch);
    fl_status status = FL_OK;

    out->pending_max = call->out->pending_max;
    if (txn->barrier) {
        exec_keys_begin(&server->exec_keys);
    }
    for (unsigned i = 0; i < txn->count && status == FL_OK; i++) {
        status = exec_one(call, txn->commands[i], out);
    }
    if (status == FL_OK) {
        resp_write_array(call->out, txn->count);
        move_output(call->out, out);
    } else {
        call_discard(call, status, mark);
    }
    resp_out_clear(out);
    exec_keys_end(&server->exec_keys);
}

void
cmd_exec(struct call *call)
{
    struct txn *txn = &call->conn->txn;

    if (!txn->open) {
        reply_error(call, "ERR EXEC without MULTI");
        return;
    }
    if (txn->failed) {
        leave(call);
        reply_error(call, "EXECABORT Transaction discarded because of previous errors.");
        return;
    }
    if (txn->watch_dirty || watch_expired(txn, call->now_ms)) {
        const uint64_t ticket = commit_ticket(call->server);

        leave(call);
        call->ticket = ticket; /* "A key was written" must not be told before it is durable. */
        resp_write_null_array(call->out);
        return;
    }
    if (fl_batch_bytes(call->batch) + txn->bytes > EXEC_BATCH_BYTES) {
        commit_submit(call->server);
    }
    /* The queue is run from a place of its own: RESET and DISCARD in it must find no
     * transaction. */
    struct txn queue = *txn;

    *txn = (struct txn){.watches = queue.watches};
    queue.watches = NULL;
    watch_remove_all(&call->server->watches, txn);
    exec_all(call, &queue);
    txn_clear(&queue);
}
