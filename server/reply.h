/* Replies that need more than proto/resp_write.h: errors, which are counted, and values in place.
 *
 * For all other replies a handler calls resp_write_*(call->out, ...) directly.
 */
#ifndef FL_SERVER_REPLY_H
#define FL_SERVER_REPLY_H

#include "proto/resp_write.h"

#include <faultline/faultline.h>

struct call;

/* Every error goes through one of these. The text begins with its code: "ERR syntax error". */
void reply_error(struct call *call, const char *text);
void reply_errorf(struct call *call, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* "ERR wrong number of arguments for 'get' command", by the table's name; for commands whose
 * arity depends on their arguments. */
void reply_wrong_arity(struct call *call);

static inline void
reply_syntax_error(struct call *call)
{
    reply_error(call, "ERR syntax error");
}

static inline void
reply_not_integer(struct call *call)
{
    reply_error(call, "ERR value is not an integer or out of range");
}

/* The bulk string of a view, which the reply takes over: don't release it. A big value is sent
 * from where it lies, a small one or one that is still pending is copied. */
void reply_view(struct call *call, struct fl_view *view);

#endif
