/* What cmd_conn.c and cmd_client.c share: the names that clients give themselves. */
#ifndef FL_SERVER_CMD_CONN_H
#define FL_SERVER_CMD_CONN_H

#include "server/command.h"

#include <stdbool.h>

#define NAME_ERROR "ERR Client names cannot contain spaces, newlines or special characters."

/* A connection has three for as long as it lasts, and CLIENT LIST shows them all. */
enum { NAME_BYTES_MAX = 1024 };

/* Printable, without blanks. */
bool name_is_clean(struct fl_bytes name);

/* Replace *place by a copy of `name` (NULL if it is empty). False: an error was replied, for a longer one than
 * NAME_BYTES_MAX too. */
bool name_set(struct call *call, char **place, struct fl_bytes name);

#endif
