/* The CLI's connection, and what it knows about its state: enough to make the same one again. */
#ifndef FL_CLIENT_CLI_SESSION_H
#define FL_CLIENT_CLI_SESSION_H

#include "client/cli/args.h"

#include <faultline/client.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct session {
    const struct args *args;
    struct fl_client *client; /* NULL: not connected */
    char where[160];          /* "127.0.0.1:6379", for the prompt and for messages */

    /* As the commands that were run have left it. */
    int64_t database;
    int protocol;
    char *user;     /* owned */
    char *password; /* owned */
    bool in_multi;
    bool replies_off; /* CLIENT REPLY OFF */
    bool skip_next;   /* CLIENT REPLY SKIP */

    bool quiet_pushes; /* drop out-of-band messages: the command is the program's own */
};

enum session_result {
    SESSION_OK,
    SESSION_ERROR_REPLY, /* the server answered an error; it was printed */
    SESSION_NOT_SENT,    /* nothing that can be sent; the reason was printed */
    SESSION_LOST,        /* the connection is gone; the reason was printed */
    SESSION_ENDED,       /* QUIT or SHUTDOWN: gone, as asked for */
};

/* Nothing is connected yet. `args` must outlive the session. False without memory. */
bool session_init(struct session *session, const struct args *args);
void session_deinit(struct session *session);

/* Connect, authenticate, choose protocol and database.
 * SESSION_OK; SESSION_ERROR_REPLY: there is a connection, but not as it was asked for; SESSION_LOST: there is none. The
 * reason was printed. */
enum session_result session_connect(struct session *session);

/* Run a command and print its replies to stdout. SUBSCRIBE and MONITOR print until the end. */
enum session_result session_run(struct session *session, size_t argc, const char *const *argv,
                                const size_t *lens);

/* Run a command of the program's own and hand out the reply, NULL if there is none: an error reply,
 * or a lost connection, is printed then. `lens` as for fl_client_command(). */
struct fl_client_reply *session_ask(struct session *session, size_t argc, const char *const *argv,
                                    const size_t *lens);

/* fl_last_error() without the place in the source, in a buffer of the thread's own. */
const char *session_why(void);

/* Sleep for -i seconds, or else for `seconds_default`. */
void session_pause(const struct session *session, double seconds_default);

#endif
