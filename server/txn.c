#include "server/txn.h"

#include "server/command.h"

#include <stdlib.h>
#include <string.h>

enum { TXN_COMMANDS_MIN = 8 };

struct txn_command *
txn_command_create(struct call *call)
{
    size_t bytes = 0;

    for (unsigned i = 0; i < call->argc; i++) {
        bytes += call->argv[i].ptr != NULL ? call->argv[i].len : 0;
    }
    bytes += sizeof(struct txn_command) + call->argc * sizeof(struct fl_bytes);
    struct txn_command *command = malloc(bytes);

    if (command == NULL) {
        return NULL;
    }
    char *place = (char *)&command->argv[call->argc];

    command->command = call->command;
    command->argc = call->argc;
    command->bytes = bytes;
    for (unsigned i = 0; i < call->argc; i++) {
        const struct fl_bytes arg = call->argv[i];

        command->argv[i] = fl_bytes(arg.ptr != NULL ? place : NULL, arg.len);
        if (arg.ptr != NULL) {
            memcpy(place, arg.ptr, arg.len);
            place += arg.len;
        }
    }
    command->blob = call->blob;
    command->blob_arg = call->blob_arg;
    command->blob_status = call->blob_status;
    call->blob = NULL;
    return command;
}

void
txn_command_destroy(struct txn_command *command)
{
    if (command != NULL) {
        if (command->blob != NULL) {
            fl_blob_discard(command->blob);
        }
        free(command);
    }
}

void
txn_command_restore(struct txn_command *command, struct call *call)
{
    call->command = command->command;
    call->argv = command->argv;
    call->argc = command->argc;
    call->blob = command->blob;
    call->blob_arg = command->blob_arg;
    call->blob_status = command->blob_status;
    command->blob = NULL;
}

void
txn_queue(struct txn *txn, struct call *call)
{
    if (txn->count == txn->cap) {
        const unsigned cap = txn->cap == 0 ? TXN_COMMANDS_MIN : txn->cap * 2;
        struct txn_command **commands = realloc(txn->commands, cap * sizeof(*commands));

        if (commands == NULL) {
            txn->failed = true;
            reply_error(call, "ERR out of memory");
            return;
        }
        txn->commands = commands;
        txn->cap = cap;
    }
    struct txn_command *command = txn_command_create(call);

    if (command == NULL) {
        txn->failed = true;
        reply_error(call, "ERR out of memory");
        return;
    }
    txn->commands[txn->count++] = command;
    txn->bytes += command->bytes;
    txn->writes |= (command->command->flags & COMMAND_FLAG_WRITE) != 0;
    resp_write_simple(call->out, "QUEUED");
}

void
txn_clear(struct txn *txn)
{
    for (unsigned i = 0; i < txn->count; i++) {
        txn_command_destroy(txn->commands[i]);
    }
    free(txn->commands);
    txn->commands = NULL;
    txn->count = 0;
    txn->cap = 0;
    txn->bytes = 0;
    txn->open = false;
    txn->failed = false;
    txn->writes = false;
    txn->barrier = false;
}
