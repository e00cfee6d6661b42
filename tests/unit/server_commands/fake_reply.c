/* Replies as server/reply.c writes them, but for values in place. */
#include "tests/unit/server_commands/fake_store.h"

#include "server/command.h"

#include <stdarg.h>
#include <stdio.h>

void
reply_error(struct call *call, const char *text)
{
    call->failed = true;
    resp_write_error(call->out, text);
}

void
reply_errorf(struct call *call, const char *format, ...)
{
    char text[RESP_ERROR_BYTES_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    reply_error(call, text);
}

void
reply_wrong_arity(struct call *call)
{
    reply_errorf(call, "ERR wrong number of arguments for '%s' command", call->command->name);
}

void
reply_view(struct call *call, struct fl_view *view)
{
    resp_write_bulk(call->out, view->value.ptr, view->value.len);
    fl_view_release(view);
}
