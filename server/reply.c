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

/* Send `len` bytes of the key's value from where they lie. `view` came through the batch and
 * ends with the batch's next change: the reply gets a guard of its own, if the store still shows
 * the same bytes. */
static bool
reply_in_place(struct call *call, const struct fl_view *view, size_t off, size_t len)
{
    struct fl_view own;
    const struct fl_bytes key = call->view_key;

    if (key.len == 0 ||
        fl_get_view(call->server->store, fl_key_in(SPACE_ROOT, key.ptr, key.len), &own) != FL_OK) {
        return false;
    }
    if (own.lsn != view->lsn || own.value.len != view->value.len) {
        fl_view_release(&own);
        return false;
    }
    struct fl_view *kept = resp_write_bulk_reference(call->out, (const char *)own.value.ptr + off,
                                                     len, sizeof(own), release_view);

    if (kept == NULL) {
        fl_view_release(&own); /* The output has failed; the connection will be closed. */
    } else {
        *kept = own;
    }
    return true;
}

void
reply_view_range(struct call *call, struct fl_view *view, size_t off, size_t len)
{
    const bool in_place = len >= RESP_REFERENCE_BYTES_MIN && view->ticket == 0 &&
                          reply_in_place(call, view, off, len);

    if (!in_place) {
        resp_write_bulk(call->out, (const char *)view->value.ptr + off, len);
    }
    fl_view_release(view);
}

void
reply_view(struct call *call, struct fl_view *view)
{
    reply_view_range(call, view, 0, view->value.len);
}
