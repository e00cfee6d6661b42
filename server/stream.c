#include "server/stream.h"

#include "proto/command_table.h"
#include "server/conn.h"
#include "server/server.h"

#include <faultline/faultline.h>

/* Commands whose handlers take their value with call_put_arg(), and which argument it is. 0:
 * none. */
static unsigned
stream_arg_of(const struct command *command)
{
    if (command == NULL) {
        return 0;
    }
    /* Not a switch: -Wswitch-enum would want every command of the table in it. */
    if (command->id == COMMAND_SET || command->id == COMMAND_SETNX ||
        command->id == COMMAND_GETSET) {
        return 2;
    }
    return command->id == COMMAND_SETEX || command->id == COMMAND_PSETEX ? 3 : 0;
}

static void
stream_write(struct input *in, const char *data, size_t len)
{
    if (in->blob != NULL) {
        in->blob_status = fl_blob_append(in->blob, data, len);
        if (in->blob_status != FL_OK) {
            fl_blob_discard(in->blob);
            in->blob = NULL;
        }
    }
    resp_parser_take(&in->parser, (uint32_t)len);
}

void
stream_begin(struct conn *conn)
{
    struct input *in = &conn->in;
    struct resp_pending pending;

    if ((conn->flags & CONN_AUTHENTICATED) == 0 || in->blob_arg != 0 ||
        !resp_parser_pending(&in->parser, input_waiting(in), &pending) ||
        pending.bytes_total < RESP_STREAM_BYTES_MIN ||
        pending.bytes_total <= conn->server->inline_bytes_max || pending.index == 0) {
        return;
    }
    const char *request = in->buf + in->pos;
    const struct resp_arg name = in->parser.argv[0];
    const struct command *command =
        command_find(&conn->server->commands, request + name.off, name.len);

    if (pending.index != stream_arg_of(command)) {
        return;
    }
    in->blob_arg = pending.index;
    in->blob_status = fl_blob_create(conn->server->store, pending.bytes_total, &in->blob);
    if (in->blob_status != FL_OK) {
        in->blob = NULL; /* The bytes are dropped; the command answers why. */
    }
    resp_parser_stream(&in->parser);
    stream_write(in, request + pending.off, pending.bytes_here);
    in->len = in->pos + pending.off;
}

size_t
stream_take(struct conn *conn, const char *data, size_t len)
{
    struct input *in = &conn->in;
    const size_t left = in->parser.stream_left;
    const size_t take = left < len ? left : len;

    if (take > 0) {
        stream_write(in, data, take);
    }
    return take;
}
