/* MULTI: the queue of commands. EXEC (cmd_txn.c) runs them inside one batch: one atomic durable
 * frame. */
#ifndef FL_SERVER_TXN_H
#define FL_SERVER_TXN_H

#include <faultline/faultline.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct call;
struct command;
struct watch;

/* A command kept for later, with a copy of its arguments behind the structure. */
struct txn_command {
    const struct command *command;
    struct fl_blob *blob; /* of the streamed argument */
    fl_status blob_status;
    unsigned blob_arg;
    unsigned argc;
    size_t bytes; /* of memory */
    struct fl_bytes argv[];
};

struct txn {
    bool open;        /* after MULTI */
    bool failed;      /* a command could not be queued: EXEC answers EXECABORT */
    bool watch_dirty; /* a watched key was written: EXEC answers nil */
    bool writes;      /* a queued command may write */
    bool barrier;     /* a queued command is HANDLER_BARRIER */
    unsigned count;
    unsigned cap;
    size_t bytes; /* of memory that the queue takes */
    struct txn_command **commands;
    struct watch *watches; /* keys that this connection watches: watch.h */
    size_t watches_bytes;  /* of memory that they take */
};

/* Owner: the caller, txn_command_destroy(). Takes over call->blob. NULL without memory. */
struct txn_command *txn_command_create(struct call *call);
void txn_command_destroy(struct txn_command *command);

/* A call of `command`; its blob goes over to the call. */
void txn_command_restore(struct txn_command *command, struct call *call);

/* Put a call into the open transaction and answer QUEUED. */
void txn_queue(struct txn *txn, struct call *call);

/* Forget the queue and leave MULTI; watches stay. */
void txn_clear(struct txn *txn);

#endif
