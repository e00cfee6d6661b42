/* CLIENT. */
#include "server/cmd.h"

#include "base/clock.h"
#include "proto/decimal.h"
#include "server/cmd_conn.h"
#include "server/cmd_util.h"
#include "server/conn.h"
#include "server/info.h"
#include "server/server.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- CLIENT LIST, INFO ---- */

static uint64_t
now_ms(const struct server *server)
{
    return server->mono_ns / CLOCK_NS_PER_MS;
}

static void
client_line(struct info_text *text, const struct conn *conn)
{
    char peer[CONN_ADDRESS_BYTES];
    char local[CONN_ADDRESS_BYTES];
    char kind[8];
    unsigned kinds = 0;
    const uint64_t now = now_ms(conn->server);
    const size_t waiting = input_waiting(&conn->in);
    const size_t pending = resp_out_pending(&conn->out);

    conn_address(conn, true, peer);
    conn_address(conn, false, local);
    if (conn->txn.open) {
        kind[kinds++] = 'x';
    }
    if (conn->txn.watch_dirty) {
        kind[kinds++] = 'd';
    }
    if ((conn->flags & CONN_CLOSE_SOON) != 0) {
        kind[kinds++] = 'c';
    }
    if ((conn->flags & CONN_UNIX) != 0) {
        kind[kinds++] = 'U';
    }
    if ((conn->flags & CONN_NO_EVICT) != 0) {
        kind[kinds++] = 'e';
    }
    if (kinds == 0) {
        kind[kinds++] = 'N';
    }
    info_printf(text,
                "id=%" PRIu64 " addr=%s laddr=%s fd=%d name=%s age=%" PRIu64 " idle=%" PRIu64
                " flags=%.*s db=0 sub=0 psub=0 ssub=0 multi=%d qbuf=%zu qbuf-free=%zu argv-mem=0"
                " multi-mem=%zu rbs=0 rbp=0 obl=0 oll=0 omem=%zu tot-mem=%zu events=%s cmd=%s"
                " user=default redir=-1 resp=%u lib-name=%s lib-ver=%s\n",
                conn->id, peer, local, conn->sock.fd, conn->name != NULL ? conn->name : "",
                (now - conn->created_ms) / CLOCK_MS_PER_S, (now - conn->active_ms) / CLOCK_MS_PER_S,
                (int)kinds, kind, conn->txn.open ? (int)conn->txn.count : -1, waiting,
                conn->in.cap - conn->in.len, conn->txn.bytes, pending,
                sizeof(*conn) + conn->in.cap + conn->txn.bytes + conn->txn.watches_bytes + pending,
                conn->sock.send_busy ? "rw" : "r",
                conn->command_last < COMMANDS_COUNT ? command_by_id(conn->command_last)->name
                                                    : "NULL",
                conn->out.protocol, conn->lib_name != NULL ? conn->lib_name : "",
                conn->lib_ver != NULL ? conn->lib_ver : "");
}

static void
reply_text(struct call *call, struct info_text *text)
{
    if (text->failed) {
        reply_error(call, "ERR out of memory");
    } else {
        resp_write_verbatim(call->out, "txt", text->ptr, text->len);
    }
    free(text->ptr);
}

static int
compare_ids(const void *a, const void *b)
{
    const uint64_t *left = a;
    const uint64_t *right = b;

    return (*left > *right) - (*left < *right);
}

/* The numbers of LIST ID (any, as in Redis: nobody has one below 1), sorted: there may be a million of them, and as
 * many connections as the system allows. NULL: an error was replied. Owner: the caller, free(). */
static uint64_t *
list_ids(struct call *call)
{
    uint64_t *ids = calloc(call->argc - 3, sizeof(*ids));

    if (ids == NULL) {
        reply_error(call, "ERR out of memory");
        return NULL;
    }
    for (unsigned i = 3; i < call->argc; i++) {
        int64_t id;

        if (!decimal_parse_i64(call->argv[i].ptr, call->argv[i].len, &id)) {
            free(ids);
            reply_error(call, "ERR Invalid client ID");
            return NULL;
        }
        ids[i - 3] = (uint64_t)id;
    }
    qsort(ids, call->argc - 3, sizeof(*ids), compare_ids);
    return ids;
}

/* TYPE's word. False: an error was replied. */
static bool
parse_type(struct call *call, struct fl_bytes word, bool *normal)
{
    *normal = arg_is(word, "normal");
    if (!*normal && !arg_is(word, "master") && !arg_is(word, "replica") && !arg_is(word, "slave") &&
        !arg_is(word, "pubsub")) {
        reply_errorf(call, "ERR Unknown client type '%.*s'", arg_precision(word),
                     (const char *)word.ptr);
        return false;
    }
    return true;
}

static void
client_list(struct call *call)
{
    struct info_text text = {0};
    uint64_t *ids = NULL;
    bool normal = true;

    if (call->argc == 4 && arg_is(call->argv[2], "type")) {
        if (!parse_type(call, call->argv[3], &normal)) {
            return;
        }
    } else if (call->argc > 3 && arg_is(call->argv[2], "id")) {
        ids = list_ids(call);
        if (ids == NULL) {
            return;
        }
    } else if (call->argc > 2) {
        reply_syntax_error(call);
        return;
    }
    for (const struct conn *conn = call->server->conns; conn != NULL; conn = conn->next) {
        const bool wanted = ids == NULL || bsearch(&conn->id, ids, call->argc - 3, sizeof(*ids),
                                                   compare_ids) != NULL;

        if ((conn->flags & CONN_CLOSED) == 0 && normal && wanted) {
            client_line(&text, conn);
        }
    }
    free(ids);
    reply_text(call, &text);
}

static void
client_info(struct call *call)
{
    struct info_text text = {0};

    client_line(&text, call->conn);
    reply_text(call, &text);
}

/* ---- CLIENT KILL ---- */

struct kill_filter {
    uint64_t id; /* 0: any */
    struct fl_bytes peer;
    struct fl_bytes local;
    bool any_type;
    bool normal;
    bool skip_me;
};

static bool
kill_parse_one(struct call *call, unsigned i, struct kill_filter *filter)
{
    const struct fl_bytes word = call->argv[i];
    const struct fl_bytes value = call->argv[i + 1];
    int64_t id;

    if (arg_is(word, "id")) {
        if (!decimal_parse_i64(value.ptr, value.len, &id) || id < 1) {
            reply_error(call, "ERR client-id should be greater than 0");
            return false;
        }
        filter->id = (uint64_t)id;
    } else if (arg_is(word, "addr")) {
        filter->peer = value;
    } else if (arg_is(word, "laddr")) {
        filter->local = value;
    } else if (arg_is(word, "type")) {
        filter->any_type = false;
        return parse_type(call, value, &filter->normal);
    } else if (arg_is(word, "user")) {
        if (!arg_is(value, "default")) {
            reply_errorf(call, "ERR No such user '%.*s'", arg_precision(value),
                         (const char *)value.ptr);
            return false;
        }
    } else if (arg_is(word, "skipme") && (arg_is(value, "yes") || arg_is(value, "no"))) {
        filter->skip_me = arg_is(value, "yes");
    } else {
        reply_syntax_error(call);
        return false;
    }
    return true;
}

static bool
address_is(const struct conn *conn, bool peer, struct fl_bytes wanted)
{
    char text[CONN_ADDRESS_BYTES];

    if (wanted.ptr == NULL) {
        return true;
    }
    conn_address(conn, peer, text);
    return strlen(text) == wanted.len && memcmp(text, wanted.ptr, wanted.len) == 0;
}

static bool
kill_fits(const struct call *call, const struct kill_filter *filter, const struct conn *conn)
{
    return (conn->flags & CONN_CLOSED) == 0 && (filter->id == 0 || filter->id == conn->id) &&
           (filter->any_type || filter->normal) && !(filter->skip_me && conn == call->conn) &&
           address_is(conn, true, filter->peer) && address_is(conn, false, filter->local);
}

static void
client_kill(struct call *call)
{
    struct kill_filter filter = {.any_type = true, .skip_me = true};
    const bool old = call->argc == 3;
    int64_t killed = 0;

    if (old) {
        filter.peer = call->argv[2];
        filter.skip_me = false;
    } else if (call->argc % 2 != 0) {
        reply_syntax_error(call);
        return;
    }
    for (unsigned i = 2; !old && i < call->argc; i += 2) {
        if (!kill_parse_one(call, i, &filter)) {
            return;
        }
    }
    for (struct conn *conn = call->server->conns; conn != NULL; conn = conn->next) {
        if (kill_fits(call, &filter, conn)) {
            killed++;
            if (conn == call->conn) {
                conn_close_soon(conn);
            } else {
                conn_close(conn);
            }
        }
    }
    if (!old) {
        resp_write_integer(call->out, killed);
    } else if (killed > 0) {
        resp_write_ok(call->out);
    } else {
        reply_error(call, "ERR No such client");
    }
}

/* ---- the rest ---- */

static void
client_setname(struct call *call)
{
    if (!name_is_clean(call->argv[2])) {
        reply_error(call, NAME_ERROR);
    } else if (name_set(call, &call->conn->name, call->argv[2])) {
        resp_write_ok(call->out);
    }
}

static void
client_getname(struct call *call)
{
    if (call->conn->name == NULL) {
        resp_write_null(call->out);
    } else {
        resp_write_bulk_text(call->out, call->conn->name);
    }
}

static void
client_setinfo(struct call *call)
{
    const bool name = arg_is(call->argv[2], "lib-name");

    if (!name && !arg_is(call->argv[2], "lib-ver")) {
        reply_errorf(call, "ERR Unrecognized option '%.*s'", arg_precision(call->argv[2]),
                     (const char *)call->argv[2].ptr);
    } else if (!name_is_clean(call->argv[3])) {
        reply_errorf(call, "ERR %s cannot contain spaces, newlines or special characters.",
                     name ? "lib-name" : "lib-ver");
    } else if (name_set(call, name ? &call->conn->lib_name : &call->conn->lib_ver, call->argv[3])) {
        resp_write_ok(call->out);
    }
}

static void
client_reply(struct call *call)
{
    struct conn *conn = call->conn;

    if (arg_is(call->argv[2], "on")) {
        conn->flags &= ~(unsigned)(CONN_REPLY_OFF | CONN_REPLY_SKIP);
        call->out = &conn->out;
        resp_write_ok(call->out);
    } else if (arg_is(call->argv[2], "off")) {
        conn->flags |= CONN_REPLY_OFF;
    } else if (arg_is(call->argv[2], "skip")) {
        if ((conn->flags & CONN_REPLY_OFF) == 0) {
            conn->flags |= CONN_REPLY_SKIP_NEXT;
        }
    } else {
        reply_syntax_error(call);
    }
}

static void
client_no_evict(struct call *call)
{
    if (arg_is(call->argv[2], "on")) {
        call->conn->flags |= CONN_NO_EVICT;
        resp_write_ok(call->out);
    } else if (arg_is(call->argv[2], "off")) {
        call->conn->flags &= ~(unsigned)CONN_NO_EVICT;
        resp_write_ok(call->out);
    } else {
        reply_syntax_error(call);
    }
}

static void
client_pause(struct call *call)
{
    struct server *server = call->server;
    bool all = true;
    int64_t ms;

    if (call->argc > 4) {
        reply_syntax_error(call);
        return;
    }
    if (call->argc == 4) {
        all = arg_is(call->argv[3], "all");
        if (!all && !arg_is(call->argv[3], "write")) {
            reply_error(call, "ERR CLIENT PAUSE mode must be WRITE or ALL");
            return;
        }
    }
    if (!decimal_parse_i64(call->argv[2].ptr, call->argv[2].len, &ms) || ms > INT64_MAX / 2) {
        reply_error(call, "ERR timeout is not an integer or out of range");
        return;
    }
    if (ms < 0) {
        reply_error(call, "ERR timeout is negative");
        return;
    }
    const uint64_t until = now_ms(server) + (uint64_t)ms;

    server->pause_all = all || (server->pause_until_ms != 0 && server->pause_all);
    server->pause_until_ms = until > server->pause_until_ms ? until : server->pause_until_ms;
    resp_write_ok(call->out);
}

static void
client_unpause(struct call *call)
{
    call->server->pause_until_ms = 0;
    conn_unblock_all(call->server, CONN_BLOCK_PAUSE);
    resp_write_ok(call->out);
}

static void
client_help(struct call *call)
{
    static const char *const lines[] = {
        "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "GETNAME, SETNAME <name>: the connection's name.",
        "ID: the connection's number. INFO: all about it.",
        "KILL <ip:port>, KILL [ID|ADDR|LADDR|TYPE|USER|SKIPME <value>] ...: close connections.",
        "LIST [TYPE <type>] [ID <id> ...]: all connections.",
        "NO-EVICT (ON|OFF): accepted; nothing is evicted here.",
        "PAUSE <milliseconds> [WRITE|ALL], UNPAUSE: let commands wait.",
        "REPLY (ON|OFF|SKIP): whether this connection gets replies.",
        "SETINFO (LIB-NAME|LIB-VER) <value>: what the client is.",
    };

    reply_lines(call, lines, sizeof(lines) / sizeof(lines[0]));
}

void
cmd_client(struct call *call)
{
    static const struct {
        enum command_id id;
        command_fn *fn;
    } subs[] = {
        {COMMAND_CLIENT_GETNAME, client_getname}, {COMMAND_CLIENT_HELP, client_help},
        {COMMAND_CLIENT_INFO, client_info},       {COMMAND_CLIENT_KILL, client_kill},
        {COMMAND_CLIENT_LIST, client_list},       {COMMAND_CLIENT_NO_EVICT, client_no_evict},
        {COMMAND_CLIENT_PAUSE, client_pause},     {COMMAND_CLIENT_REPLY, client_reply},
        {COMMAND_CLIENT_SETINFO, client_setinfo}, {COMMAND_CLIENT_SETNAME, client_setname},
        {COMMAND_CLIENT_UNPAUSE, client_unpause},
    };

    if (call->command->id == COMMAND_CLIENT_ID) {
        resp_write_integer(call->out, (int64_t)call->conn->id);
        return;
    }
    for (size_t i = 0; i < sizeof(subs) / sizeof(subs[0]); i++) {
        if (subs[i].id == call->command->id) {
            subs[i].fn(call);
            return;
        }
    }
    reply_syntax_error(call);
}
