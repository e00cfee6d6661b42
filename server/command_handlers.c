#include "server/cmd.h"

#include "proto/command_table.h"

const struct command_handler command_handlers[COMMANDS_COUNT] = {
    /* cmd_conn.c */
    [COMMAND_AUTH] = {cmd_auth, 0},
    [COMMAND_CLIENT] = {cmd_client, 0},
    [COMMAND_ECHO] = {cmd_echo, 0},
    [COMMAND_HELLO] = {cmd_hello, 0},
    [COMMAND_PING] = {cmd_ping, 0},
    [COMMAND_QUIT] = {cmd_quit, HANDLER_NOT_QUEUED},
    [COMMAND_RESET] = {cmd_reset, HANDLER_NOT_QUEUED},
    [COMMAND_SELECT] = {cmd_select, 0},

    /* cmd_txn.c */
    [COMMAND_DISCARD] = {cmd_discard, HANDLER_NOT_QUEUED},
    [COMMAND_EXEC] = {cmd_exec, HANDLER_NOT_QUEUED},
    [COMMAND_MULTI] = {cmd_multi, HANDLER_NOT_QUEUED},
    [COMMAND_UNWATCH] = {cmd_unwatch, 0},
    [COMMAND_WATCH] = {cmd_watch, HANDLER_NOT_QUEUED},
};
