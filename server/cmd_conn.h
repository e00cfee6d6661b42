/* What cmd_conn.c and cmd_client.c share: the names that clients give themselves. */
#ifndef FL_SERVER_CMD_CONN_H
#define FL_SERVER_CMD_CONN_H

#include "server/command.h"

#include <stdbool.h>

#define NAME_ERROR "ERR Client names cannot contain spaces, newlines or special characters."

/* Printable, without blanks. */
bool name_is_clean(struct fl_bytes name);

/* Replace *place by a copy of `name` (NULL if it is empty). False: an error was replied. */
bool name_set(struct call *call, char **place, struct fl_bytes name);

#endif
