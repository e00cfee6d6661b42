#include "server/reply.h"

#include "server/command.h"
#include "server/server.h"

#include <stdarg.h>
#include <stdio.h>

void
reply_error(struct call *call, const char *text)
{
    call->failed = true;
    call->server->metrics.errors_total++;
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

static void
release_view(void *context)
{
    fl_view_release(context);
}

void
reply_view(struct call *call, struct fl_view *view)
{
    const struct fl_bytes value = view->value;

    /* One that is pending may end with the batch's next change; others stay until they are released. */
    if (value.len < RESP_REFERENCE_BYTES_MIN || view->ticket != 0) {
        resp_write_bulk(call->out, value.ptr, value.len);
        fl_view_release(view);
        return;
    }
    struct fl_view *kept =
        resp_write_bulk_reference(call->out, value.ptr, value.len, sizeof(*kept), release_view);

    if (kept == NULL) {
        fl_view_release(view); /* The output has failed; the connection will be closed. */
    } else {
        *kept = *view;
        view->guard = NULL;
    }
}
