/* The commands that this server has a handler for, out of the table. */
#ifndef FL_SERVER_CMD_SERVED_H
#define FL_SERVER_CMD_SERVED_H

#include "server/command.h"

#include "proto/command_table.h"

/* The next one behind `id` (-1: the first) that has that container (COMMAND_NONE: is no subcommand);
 * COMMANDS_COUNT: there is none. */
int served_next(enum command_id container, int id);
uint64_t served_count(enum command_id container);

/* "get" or "config|get" in any case; NULL: no such command. */
const struct command *served_find(struct call *call, struct fl_bytes name);

#endif
