/* Every command handler. Each is a command_fn: see command.h; command_handlers.c names the
 * command of each. */
#ifndef FL_SERVER_CMD_H
#define FL_SERVER_CMD_H

#include "server/command.h"

/* cmd_conn.c */
command_fn cmd_auth;
command_fn cmd_client;
command_fn cmd_echo;
command_fn cmd_hello;
command_fn cmd_ping;
command_fn cmd_quit;
command_fn cmd_reset;
command_fn cmd_select;

/* cmd_txn.c */
command_fn cmd_discard;
command_fn cmd_exec;
command_fn cmd_multi;
command_fn cmd_unwatch;
command_fn cmd_watch;

#endif
