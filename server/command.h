/* One command being executed: what a handler gets, and what it calls to read, write and answer.
 *
 * A handler reads through call_get(), writes through call_put() and its kin, and writes exactly
 * one reply to call->out with proto/resp_write.h and reply.h. It never waits and never commits:
 * the tick's batch is submitted once for all, and the reply leaves when what it depends on is
 * durable (commit.c). The helpers keep track of that, of WATCH and of the counters, so handlers
 * don't.
 *
 * Who writes what: cmd_conn.c PING ECHO HELLO AUTH QUIT RESET SELECT CLIENT, cmd_txn.c MULTI
 * EXEC DISCARD WATCH UNWATCH belong to the server; the other cmd_*.c to the commands. Both add
 * their lines to command_handlers.c and their prototypes to cmd.h.
 */
#ifndef FL_SERVER_COMMAND_H
#define FL_SERVER_COMMAND_H

#include "proto/command_table.h"
#include "server/reply.h"

#include <faultline/batch.h>
#include <faultline/faultline.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct server;
struct conn;

enum {
    SPACE_ROOT = 1,   /* the space of the server's keys */
    CALL_NO_BLOB = 0, /* call.blob_arg when no argument was streamed: argv[0] never is */
};

struct call {
    struct server *server;
    struct conn *conn;
    const struct command *command; /* a subcommand's own entry where there is one */
    const struct fl_bytes *argv; /* argv[0]: the name as it was sent; valid during the call only */
    unsigned argc;
    unsigned blob_arg;      /* that argument was streamed: its ptr is NULL; see call_put_arg() */
    struct fl_blob *blob;   /* its bytes, until a put takes them */
    fl_status blob_status;  /* why there is none: no space, say */
    struct resp_out *out;   /* where the reply goes: resp_write_*(call->out, ...) */
    struct fl_batch *batch; /* the tick's; handlers rarely need it */
    uint64_t now_ms;        /* the store's clock, one value for the whole tick */
    uint64_t ticket;        /* what the reply depends on so far: see struct fl_view */
    size_t mark;            /* fl_batch_mark() before the command */
    bool in_exec;           /* one of the commands of an EXEC */
    bool failed;            /* an error was replied */
    fl_status
        unfit; /* and it was because a change did not fit (why): an EXEC is undone as a whole */
};

typedef void command_fn(struct call *call);

enum handler_flags {
    /* Run only when every earlier commit is durable and nothing is pending, as what reads by
     * cursor or counts needs: KEYS SCAN FL.* RANDOMKEY DBSIZE FLUSHDB FLUSHALL. Inside EXEC what
     * the transaction itself wrote before is pending nevertheless: key_iter.h sees it. */
    HANDLER_BARRIER = 1,
    /* Runs inside MULTI at once instead of being queued: MULTI EXEC DISCARD WATCH QUIT RESET. */
    HANDLER_NOT_QUEUED = 2,
};

struct command_handler {
    command_fn *fn;
    unsigned flags; /* enum handler_flags */
};

/* By command id; in command_handlers.c, one line for each command. A subcommand may have a line
 * of its own, else its container's is used. fn NULL: answered as an unknown command. Arity,
 * subcommands, AUTH and MULTI are seen to before a handler is called. */
extern const struct command_handler command_handlers[COMMANDS_COUNT];

/* ---- reading ---- */

/* The value of `key`, with what is pending in the tick's batch seen. FL_OK: release the view, or
 * give it to reply_view(), before the next write. FL_NOT_FOUND (an empty key included): nothing
 * to release. Any other status: answer with call_fail() and return. */
FL_NODISCARD fl_status call_get(struct call *call, struct fl_bytes key, struct fl_view *view);

/* Whether the key is there and what is known of it; a big value is not read for it. Nothing to release, the rest
 * as above. */
FL_NODISCARD fl_status call_get_info(struct call *call, struct fl_bytes key, struct fl_info *info);

/* Of a value only `len` bytes from `off` on: no more of a big one is read. As call_get(), but it comes after
 * call_get_info() and doesn't count as a lookup of its own. */
FL_NODISCARD fl_status call_get_range(struct call *call, struct fl_bytes key, size_t off,
                                      size_t len, struct fl_view *view);

/* ---- writing ---- */

/* Each as its namesake in batch.h, for a root key. They mark the reply as dependent on this
 * tick's commit and dirty WATCHes of the key. A failed condition (FL_EXISTS, FL_NOT_FOUND) is
 * returned; the reply then depends on what was seen. Every other failure is for call_fail().
 * Values over the store's inline limit are written as blobs. */
FL_NODISCARD fl_status call_put(struct call *call, struct fl_bytes key, struct fl_bytes value,
                                const struct fl_put_options *options);

/* The same with argument `arg` as the value, streamed or not. Commands whose value may be
 * streamed (the server streams it for SET SETNX SETEX PSETEX GETSET) must use this and never
 * look at argv[arg].ptr. */
FL_NODISCARD fl_status call_put_arg(struct call *call, struct fl_bytes key, unsigned arg,
                                    const struct fl_put_options *options);

/* The same with a blob that the handler has filled: APPEND and SETRANGE of a big value don't
 * gather it in DRAM. The call owns it, whatever is returned. */
FL_NODISCARD fl_status call_put_blob(struct call *call, struct fl_bytes key, struct fl_blob *blob,
                                     const struct fl_put_options *options);

FL_NODISCARD fl_status call_put_from(struct call *call, struct fl_bytes to, struct fl_bytes from,
                                     const struct fl_put_options *options);
FL_NODISCARD fl_status call_delete(struct call *call, struct fl_bytes key);

/* Remove every key (FLUSHDB, FLUSHALL: both are HANDLER_BARRIER), and dirty their WATCHes. Durable
 * on return, but inside EXEC: there the keys are deleted one by one in the transaction's own
 * frame. */
FL_NODISCARD fl_status call_flush(struct call *call);

/* Answer for a storage status that is a failure, and undo what this command has added to the
 * batch: a command that fails half-way has no effect. Nothing may have been replied before it. */
void call_fail(struct call *call, fl_status status);

/* EXEC's answer when a command's change didn't fit (call->unfit), right after it: the batch is as at
 * `mark` again. */
void call_discard(struct call *call, fl_status status, size_t mark);

#endif
