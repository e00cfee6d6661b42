/* PING ECHO HELLO AUTH QUIT RESET SELECT. */
#include "server/cmd.h"

#include "server/cmd_conn.h"
#include "server/cmd_util.h"
#include "server/conn.h"
#include "server/server.h"

#include "proto/decimal.h"

#include <stdlib.h>
#include <string.h>

void
cmd_ping(struct call *call)
{
    if (call->argc > 2) {
        reply_wrong_arity(call);
    } else if (call->argc == 2) {
        resp_write_bulk(call->out, call->argv[1].ptr, call->argv[1].len);
    } else {
        resp_write_simple(call->out, "PONG");
    }
}

void
cmd_echo(struct call *call)
{
    resp_write_bulk(call->out, call->argv[1].ptr, call->argv[1].len);
}

void
cmd_quit(struct call *call)
{
    resp_write_ok(call->out);
    conn_close_soon(call->conn);
}

void
cmd_select(struct call *call)
{
    if (arg_database(call, call->argv[1])) {
        resp_write_ok(call->out);
    }
}

/* ---- who it is ---- */

static void
authenticate(struct conn *conn, bool yes)
{
    conn->flags &= ~(unsigned)CONN_AUTHENTICATED;
    conn->flags |= yes ? CONN_AUTHENTICATED : 0;
    resp_parser_limit(&conn->in.parser, yes, (uint32_t)conn->server->options.proto_max_bulk_len);
}

/* The time it takes tells nothing about the password but its length. */
static bool
password_fits(const struct server *server, struct fl_bytes given)
{
    const char *password = server->options.requirepass;
    const size_t len = strlen(password);
    const unsigned char *ptr = given.ptr;
    unsigned differs = given.len != len;

    for (size_t i = 0; i < given.len; i++) {
        differs |= (unsigned)ptr[i] ^ (unsigned char)password[i < len ? i : 0];
    }
    return differs == 0;
}

static bool
login(struct call *call, struct fl_bytes user, struct fl_bytes password)
{
    const bool open = call->server->options.requirepass[0] == '\0';
    /* Not arg_is(): the case of a user's name counts. */
    const bool known = user.len == strlen("default") && memcmp(user.ptr, "default", user.len) == 0;

    if (!known || (!open && !password_fits(call->server, password))) {
        reply_error(call, "WRONGPASS invalid username-password pair or user is disabled.");
        return false;
    }
    authenticate(call->conn, true);
    return true;
}

void
cmd_auth(struct call *call)
{
    if (call->argc > 3) {
        reply_syntax_error(call);
        return;
    }
    if (call->argc == 2 && call->server->options.requirepass[0] == '\0') {
        reply_error(call, "ERR AUTH <password> called without any password configured for the "
                          "default user. Are you sure your configuration is correct?");
        return;
    }
    const struct fl_bytes user = call->argc == 3 ? call->argv[1] : fl_bytes("default", 7);

    if (login(call, user, call->argv[call->argc - 1])) {
        resp_write_ok(call->out);
    }
}

bool
name_is_clean(struct fl_bytes name)
{
    const char *ptr = name.ptr;

    for (size_t i = 0; i < name.len; i++) {
        if (ptr[i] < '!' || ptr[i] > '~') {
            return false;
        }
    }
    return true;
}

static bool
name_is_short(struct call *call, struct fl_bytes name)
{
    if (name.len > NAME_BYTES_MAX) {
        reply_errorf(call, "ERR names of clients and libraries have at most %d bytes",
                     NAME_BYTES_MAX);
    }
    return name.len <= NAME_BYTES_MAX;
}

bool
name_set(struct call *call, char **place, struct fl_bytes name)
{
    char *copy = NULL;

    if (!name_is_short(call, name)) {
        return false;
    }
    if (name.len > 0) {
        copy = strndup(name.ptr, name.len);
        if (copy == NULL) {
            reply_error(call, "ERR out of memory");
            return false;
        }
    }
    free(*place);
    *place = copy;
    return true;
}

static void
hello_reply(struct call *call)
{
    struct resp_out *out = call->out;

    resp_write_map(out, 7);
    reply_pair_text(call, "server", "redis");
    reply_pair_text(call, "version", SERVER_REDIS_VERSION);
    reply_pair_int(call, "proto", out->protocol);
    reply_pair_int(call, "id", (int64_t)call->conn->id);
    reply_pair_text(call, "mode", "standalone");
    reply_pair_text(call, "role", "master");
    resp_write_bulk_text(out, "modules");
    resp_write_array(out, 0);
}

struct hello {
    int64_t protocol; /* 0: as it is */
    bool auth;
    struct fl_bytes user;
    struct fl_bytes password;
    bool named;
    struct fl_bytes name;
};

/* False: an error was replied. */
static bool
hello_parse(struct call *call, struct hello *hello)
{
    unsigned i = 2;

    if (call->argc > 1) {
        if (!decimal_parse_i64(call->argv[1].ptr, call->argv[1].len, &hello->protocol)) {
            reply_error(call, "ERR Protocol version is not an integer or out of range");
            return false;
        }
        if (hello->protocol != 2 && hello->protocol != 3) {
            reply_error(call, "NOPROTO unsupported protocol version");
            return false;
        }
    }
    while (i < call->argc) {
        const unsigned left = call->argc - i - 1;

        if (arg_is(call->argv[i], "auth") && left >= 2) {
            hello->auth = true;
            hello->user = call->argv[i + 1];
            hello->password = call->argv[i + 2];
            i += 3;
        } else if (arg_is(call->argv[i], "setname") && left >= 1) {
            hello->named = true;
            hello->name = call->argv[i + 1];
            i += 2;
        } else {
            reply_errorf(call, "ERR Syntax error in HELLO option '%.*s'",
                         arg_precision(call->argv[i]), (const char *)call->argv[i].ptr);
            return false;
        }
    }
    if (hello->named && !name_is_clean(hello->name)) {
        reply_error(call, NAME_ERROR);
        return false;
    }
    return !hello->named || name_is_short(call, hello->name);
}

void
cmd_hello(struct call *call)
{
    struct conn *conn = call->conn;
    struct hello hello = {0};

    if (!hello_parse(call, &hello) || (hello.auth && !login(call, hello.user, hello.password))) {
        return;
    }
    if ((conn->flags & CONN_AUTHENTICATED) == 0) {
        reply_error(call,
                    "NOAUTH HELLO must be called with the client already authenticated, otherwise "
                    "the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the "
                    "client and select the RESP protocol version at the same time");
        return;
    }
    if (hello.named && !name_set(call, &conn->name, hello.name)) {
        return;
    }
    if (hello.protocol != 0) {
        conn->out.protocol = (uint8_t)hello.protocol;
        call->out->protocol = (uint8_t)hello.protocol;
    }
    hello_reply(call);
}

void
cmd_reset(struct call *call)
{
    struct conn *conn = call->conn;

    txn_clear(&conn->txn);
    watch_remove_all(&call->server->watches, &conn->txn);
    conn->flags &=
        ~(unsigned)(CONN_REPLY_OFF | CONN_REPLY_SKIP | CONN_REPLY_SKIP_NEXT | CONN_NO_EVICT);
    free(conn->name);
    conn->name = NULL;
    conn->out.protocol = 2;
    call->out = &conn->out; /* It may have been none: this ends it. */
    authenticate(conn, call->server->options.requirepass[0] == '\0');
    resp_write_simple(call->out, "RESET");
}
