/* TIME and SHUTDOWN. */
#include "server/cmd.h"
#include "server/cmd_util.h"
#include "server/conn.h"
#include "server/server.h"

#include <inttypes.h>
#include <time.h>

void
cmd_time(struct call *call)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    resp_write_array(call->out, 2);
    resp_write_bulk_integer(call->out, now.tv_sec);
    resp_write_bulk_integer(call->out, now.tv_nsec / 1000);
}

/* SHUTDOWN [NOSAVE|SAVE] [NOW] [FORCE] [ABORT]: as SIGTERM. Everything is durable already, so the words
 * change nothing; there is never a shutdown under way that waits and could be aborted. */
void
cmd_shutdown(struct call *call)
{
    bool save = false;
    bool nosave = false;
    bool other = false;
    bool abort = false;

    for (unsigned i = 1; i < call->argc; i++) {
        const struct fl_bytes word = call->argv[i];

        if (arg_is(word, "nosave")) {
            nosave = true;
        } else if (arg_is(word, "save")) {
            save = true;
        } else if (arg_is(word, "now") || arg_is(word, "force")) {
            other = true;
        } else if (arg_is(word, "abort")) {
            abort = true;
        } else {
            reply_syntax_error(call);
            return;
        }
    }
    if ((save && nosave) || (abort && (save || nosave || other))) {
        reply_syntax_error(call);
    } else if (abort) {
        reply_error(call, "ERR No shutdown in progress.");
    } else {
        logger_write(&call->server->logger, LOGGER_INFO,
                     "SHUTDOWN from client %" PRIu64 ": stopping", call->conn->id);
        server_stop(call->server);
        conn_close_soon(call->conn); /* no reply on success; nor to what comes behind it */
    }
}
