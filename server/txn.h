/* MULTI: the queue of commands, and EXEC, which runs them inside one batch: one atomic durable
 * frame. */
#ifndef FL_SERVER_TXN_H
#define FL_SERVER_TXN_H

#include <faultline/faultline.h>

#include <stdbool.h>
#include <stddef.h>

struct call;
struct conn;
struct command;
struct watch;

struct txn_command; /* one queued command with a copy of its arguments */

struct txn {
    bool open;        /* after MULTI */
    bool failed;      /* a command could not be queued: EXEC answers EXECABORT */
    bool watch_dirty; /* a watched key was written: EXEC answers nil */
    unsigned count;
    unsigned cap;
    size_t bytes; /* of the queue's arguments */
    struct txn_command *commands;
    struct watch *watches; /* keys that this connection watches */
};

/* Put a command into the queue of its open transaction and answer QUEUED. Takes over call->blob. */
void txn_queue(struct call *call);

/* Forget the queue (DISCARD, end of EXEC); watches stay. */
void txn_clear(struct txn *txn);

/* A command was refused while a transaction is open. */
void txn_refuse(struct conn *conn);

void txn_deinit(struct conn *conn); /* watches included */

#endif
