#include "client/cli/session.h"

#include "client/cli/line.h"
#include "client/cli/output.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { UNSUBSCRIBE_WAIT_MS = 200 };

const char *
session_why(void)
{
    static _Thread_local char text[512];

    snprintf(text, sizeof(text), "%s", fl_last_error());

    /* "... (socket.c:160)" */
    char *place = strrchr(text, '(');

    if (place != NULL && place > text && strstr(place, ".c:") != NULL) {
        place[-1] = '\0';
    }
    return text;
}

void
session_pause(const struct session *session, double seconds_default)
{
    const double seconds =
        session->args->interval_s >= 0 ? session->args->interval_s : seconds_default;
    const double whole = floor(seconds);
    struct timespec left = {
        .tv_sec = (time_t)whole,
        .tv_nsec = (long)((seconds - whole) * 1e9),
    };

    nanosleep(&left, NULL);
}

bool
session_init(struct session *session, const struct args *args)
{
    *session = (struct session){
        .args = args,
        .database = args->database,
        .protocol = args->protocol,
    };
    if (args->unix_path != NULL) {
        snprintf(session->where, sizeof(session->where), "%s", args->unix_path);
    } else {
        snprintf(session->where, sizeof(session->where),
                 strchr(args->host, ':') != NULL ? "[%s]:%u" : "%s:%u", args->host,
                 (unsigned)args->port);
    }
    if (args->user != NULL) {
        session->user = strdup(args->user);
    }
    if (args->password != NULL) {
        session->password = strdup(args->password);
    }
    return (args->user == NULL || session->user != NULL) &&
           (args->password == NULL || session->password != NULL);
}

void
session_deinit(struct session *session)
{
    fl_client_close(session->client);
    free(session->user);
    free(session->password);
    session->client = NULL;
    session->user = NULL;
    session->password = NULL;
}

static void
print_push(void *context, const struct fl_client_reply *push)
{
    const struct session *session = context;

    if (!session->quiet_pushes) {
        output_reply(stdout, session->args->format, push, false);
        fflush(stdout);
    }
}

static enum session_result
lost(struct session *session)
{
    fflush(stdout);
    fprintf(stderr, "faultline-cli: lost the connection to %s: %s\n", session->where,
            session_why());
    fl_client_close(session->client);
    session->client = NULL;
    session->in_multi = false;
    session->replies_off = false;
    session->skip_next = false;
    return SESSION_LOST;
}

/* One command of the handshake. `warning`, if not NULL, is printed before an error reply. False if
 * it was one, or the connection is lost. */
static bool
introduce(struct session *session, size_t argc, const char *const *argv, const char *warning)
{
    struct fl_client_reply *reply = NULL;

    if (session->client == NULL) {
        return false;
    }
    if (fl_client_command(session->client, argc, argv, NULL, &reply) != FL_OK) {
        lost(session);
        return false;
    }
    const bool refused = fl_client_reply_type(reply) == FL_CLIENT_ERROR;

    if (refused && warning != NULL) {
        fprintf(stderr, "%s%s\n", warning, fl_client_reply_text(reply, NULL));
    }
    fl_client_reply_destroy(reply);
    return !refused;
}

static bool
introduce_password(struct session *session)
{
    const char *const with_user[] = {"AUTH", session->user, session->password};
    const char *const without[] = {"AUTH", session->password};

    if (session->password == NULL) {
        return true;
    }
    return introduce(session, session->user != NULL ? 3 : 2,
                     session->user != NULL ? with_user : without, "AUTH failed: ");
}

/* Protocol 3 was asked for, or is only preferred (JSON output, which has maps then). */
static bool
introduce_protocol(struct session *session)
{
    const char *const hello[] = {"HELLO", "3"};
    const bool preferred = session->protocol == 0 && session->args->format == OUTPUT_JSON;

    if (session->protocol != 3 && !preferred) {
        return true;
    }
    return introduce(session, 2, hello, preferred ? NULL : "HELLO 3 failed: ") || preferred;
}

static bool
introduce_database(struct session *session)
{
    char number[24];
    const char *const argv[] = {"SELECT", number};

    if (session->database == 0) {
        return true;
    }
    snprintf(number, sizeof(number), "%" PRId64, session->database);
    if (introduce(session, 2, argv, "SELECT failed: ")) {
        return true;
    }
    session->database = 0;
    return false;
}

enum session_result
session_connect(struct session *session)
{
    const struct args *args = session->args;
    struct fl_client_options options;

    fl_client_options_init(&options);
    options.host = args->host;
    options.port = args->port;
    options.unix_path = args->unix_path;
    options.on_push = print_push;
    options.context = session;
    fl_client_close(session->client);
    session->client = NULL;
    if (fl_client_connect(&options, &session->client) != FL_OK) {
        fprintf(stderr, "faultline-cli: %s\n", session_why());
        return SESSION_LOST;
    }
    bool granted = introduce_password(session);

    granted &= introduce_protocol(session);
    granted &= introduce_database(session);
    if (session->client == NULL) {
        return SESSION_LOST;
    }
    return granted ? SESSION_OK : SESSION_ERROR_REPLY;
}

/* ---- what commands change ---- */

static void
remember_password(struct session *session, const char *user, const char *password)
{
    char *user_copy = user != NULL ? strdup(user) : NULL;
    char *password_copy = strdup(password);

    free(session->user);
    free(session->password);
    session->user = user_copy;
    session->password = password_copy;
}

/* A command has succeeded: note what a new connection would have to do again. */
static void
note_success(struct session *session, size_t argc, const char *const *argv,
             const struct fl_client_reply *reply)
{
    const char *text = fl_client_reply_text(reply, NULL);

    if (text != NULL && strcmp(text, "QUEUED") == 0) {
        return;
    }
    if (line_is(argc, argv, 0, "SELECT") && argc == 2) {
        session->database = strtoll(argv[1], NULL, 10);
    } else if (line_is(argc, argv, 0, "MULTI")) {
        session->in_multi = true;
    } else if (line_is(argc, argv, 0, "EXEC") || line_is(argc, argv, 0, "DISCARD")) {
        session->in_multi = false;
    } else if (line_is(argc, argv, 0, "RESET")) {
        session->in_multi = false;
        session->database = 0;
        session->protocol = 2;
    } else if (line_is(argc, argv, 0, "AUTH") && (argc == 2 || argc == 3)) {
        remember_password(session, argc == 3 ? argv[1] : NULL, argv[argc - 1]);
    } else if (line_is(argc, argv, 0, "HELLO") && argc > 1) {
        session->protocol = argv[1][0] == '3' ? 3 : 2;
        for (size_t i = 2; i + 2 < argc; i++) {
            if (line_is(argc, argv, i, "AUTH")) {
                remember_password(session, argv[i + 1], argv[i + 2]);
            }
        }
    }
}

/* ---- commands without one reply ---- */

static bool
is_stream(size_t argc, const char *const *argv)
{
    return line_is(argc, argv, 0, "SUBSCRIBE") || line_is(argc, argv, 0, "PSUBSCRIBE") ||
           line_is(argc, argv, 0, "SSUBSCRIBE") || line_is(argc, argv, 0, "MONITOR");
}

/* Print what comes until the user interrupts or the server ends it. */
static enum session_result
run_stream(struct session *session, size_t argc, const char *const *argv, const size_t *lens)
{
    fl_status status = fl_client_append_unanswered(session->client, argc, argv, lens);

    if (session->args->format == OUTPUT_HUMAN) {
        printf("Reading messages... (press Ctrl-C to quit)\n");
        fflush(stdout);
    }
    while (status == FL_OK) {
        struct fl_client_reply *reply = NULL;

        status = fl_client_read(session->client, &reply);
        if (status == FL_OK) {
            const bool refused = fl_client_reply_type(reply) == FL_CLIENT_ERROR;

            output_reply(stdout, session->args->format, reply, false);
            fflush(stdout);
            fl_client_reply_destroy(reply);
            if (refused) {
                return SESSION_ERROR_REPLY;
            }
        }
    }
    return lost(session);
}

static bool
is_unsubscribe(size_t argc, const char *const *argv)
{
    return line_is(argc, argv, 0, "UNSUBSCRIBE") || line_is(argc, argv, 0, "PUNSUBSCRIBE") ||
           line_is(argc, argv, 0, "SUNSUBSCRIBE");
}

/* One message for each channel, as replies under RESP2 and as pushes under RESP3: print all that
 * come. */
static enum session_result
run_unsubscribe(struct session *session, size_t argc, const char *const *argv, const size_t *lens)
{
    enum session_result result = SESSION_OK;
    fl_status status = fl_client_append_unanswered(session->client, argc, argv, lens);

    while (status == FL_OK) {
        struct fl_client_reply *reply = NULL;

        status = fl_client_read_within(session->client, UNSUBSCRIBE_WAIT_MS, &reply);
        if (status == FL_OK) {
            if (fl_client_reply_type(reply) == FL_CLIENT_ERROR) {
                result = SESSION_ERROR_REPLY;
            }
            output_reply(stdout, session->args->format, reply, false);
            fl_client_reply_destroy(reply);
        }
    }
    fflush(stdout);
    return status == FL_AGAIN ? result : lost(session);
}

/* Whether the server will keep silent about this command, as CLIENT REPLY OFF or SKIP has asked. */
static bool
is_unanswered(struct session *session, size_t argc, const char *const *argv)
{
    const bool is_reply = line_is(argc, argv, 0, "CLIENT") && line_is(argc, argv, 1, "REPLY");

    if (is_reply && line_is(argc, argv, 2, "ON")) {
        session->replies_off = false;
        session->skip_next = false;
        return false;
    }
    if (is_reply && line_is(argc, argv, 2, "OFF")) {
        session->replies_off = true;
    } else if (is_reply && line_is(argc, argv, 2, "SKIP")) {
        session->skip_next = true;
        return true;
    }
    const bool skipped = session->skip_next;

    session->skip_next = false;
    return skipped || session->replies_off;
}

/* ---- one command ---- */

static bool
is_page(size_t argc, const char *const *argv)
{
    static const char *const pages[][2] = {
        {"INFO", NULL},        {"LOLWUT", NULL},     {"CLIENT", "LIST"},
        {"CLIENT", "INFO"},    {"MEMORY", "DOCTOR"}, {"MEMORY", "MALLOC-STATS"},
        {"LATENCY", "DOCTOR"}, {"LATENCY", "GRAPH"}, {"CLUSTER", "INFO"},
        {"CLUSTER", "NODES"},
    };

    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
        if (line_is(argc, argv, 0, pages[i][0]) &&
            (pages[i][1] == NULL || line_is(argc, argv, 1, pages[i][1]))) {
            return true;
        }
    }
    return false;
}

static enum session_result
print_result(struct session *session, size_t argc, const char *const *argv,
             struct fl_client_reply *reply)
{
    const bool refused = fl_client_reply_type(reply) == FL_CLIENT_ERROR;

    output_reply(stdout, session->args->format, reply, is_page(argc, argv));
    fflush(stdout);
    if (!refused) {
        note_success(session, argc, argv, reply);
    } else if (line_is(argc, argv, 0, "EXEC")) {
        session->in_multi = false;
    }
    fl_client_reply_destroy(reply);
    return refused ? SESSION_ERROR_REPLY : SESSION_OK;
}

static enum session_result
ended(struct session *session)
{
    fl_client_close(session->client);
    session->client = NULL;
    return SESSION_ENDED;
}

enum session_result
session_run(struct session *session, size_t argc, const char *const *argv, const size_t *lens)
{
    struct fl_client_reply *reply = NULL;
    fl_status status;

    if (is_stream(argc, argv) && !session->in_multi) {
        return run_stream(session, argc, argv, lens);
    }
    if (is_unsubscribe(argc, argv) && !session->in_multi) {
        return run_unsubscribe(session, argc, argv, lens);
    }
    if (is_unanswered(session, argc, argv)) {
        status = fl_client_append_unanswered(session->client, argc, argv, lens);
        if (status == FL_OK) {
            status = fl_client_flush(session->client);
        }
    } else {
        status = fl_client_command(session->client, argc, argv, lens, &reply);
    }
    if (status == FL_OK) {
        const enum session_result result =
            reply != NULL ? print_result(session, argc, argv, reply) : SESSION_OK;

        return line_is(argc, argv, 0, "QUIT") ? ended(session) : result;
    }
    if (status == FL_INVALID || status == FL_TOO_LARGE) {
        fprintf(stderr, "faultline-cli: %s\n", session_why());
        return SESSION_NOT_SENT;
    }
    if (status == FL_CLOSED &&
        (line_is(argc, argv, 0, "SHUTDOWN") || line_is(argc, argv, 0, "QUIT"))) {
        return ended(session);
    }
    return lost(session);
}

struct fl_client_reply *
session_ask(struct session *session, size_t argc, const char *const *argv, const size_t *lens)
{
    struct fl_client_reply *reply = NULL;

    if (session->client == NULL) {
        return NULL;
    }
    if (fl_client_command(session->client, argc, argv, lens, &reply) != FL_OK) {
        lost(session);
        return NULL;
    }
    if (fl_client_reply_type(reply) == FL_CLIENT_ERROR) {
        fflush(stdout);
        fprintf(stderr, "faultline-cli: the server refused %s: %s\n", argv[0],
                fl_client_reply_text(reply, NULL));
        fl_client_reply_destroy(reply);
        return NULL;
    }
    return reply;
}
