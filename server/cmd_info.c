/* INFO. */
#include "server/cmd.h"

#include "server/info.h"
#include "server/server.h"

#include <stdlib.h>

void
cmd_info(struct call *call)
{
    struct info_text text = {0};

    info_write(call->server, call->argv + 1, call->argc - 1, &text);
    if (text.failed) {
        reply_error(call, "ERR out of memory");
    } else {
        resp_write_verbatim(call->out, "txt", text.ptr != NULL ? text.ptr : "", text.len);
    }
    free(text.ptr);
}
