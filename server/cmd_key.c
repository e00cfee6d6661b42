/* Whole keys: DEL UNLINK EXISTS TOUCH TYPE RENAME RENAMENX COPY RANDOMKEY DBSIZE FLUSHDB FLUSHALL. */
#include "server/cmd.h"
#include "server/cmd_util.h"
#include "server/key_iter.h"

#include <string.h>

/* DEL and UNLINK: all of the keys or, after a failure, none. Space is given back in the background in either case. */
void
cmd_del(struct call *call)
{
    int64_t deleted = 0;

    for (unsigned i = 1; i < call->argc; i++) {
        const fl_status status = call_delete(call, call->argv[i]);

        if (status == FL_OK) {
            deleted++;
        } else if (status != FL_NOT_FOUND) {
            call_fail(call, status);
            return;
        }
    }
    resp_write_integer(call->out, deleted);
}

/* EXISTS and TOUCH: a key named twice counts twice. No access times are kept, so a touch has nothing to change. */
void
cmd_exists(struct call *call)
{
    struct fl_info info;
    int64_t found_count = 0;

    for (unsigned i = 1; i < call->argc; i++) {
        const enum lookup found = lookup_info(call, call->argv[i], &info);

        if (found == LOOKUP_ANSWERED) {
            return;
        }
        found_count += found == LOOKUP_FOUND;
    }
    resp_write_integer(call->out, found_count);
}

void
cmd_type(struct call *call)
{
    struct fl_info info;
    const enum lookup found = lookup_info(call, call->argv[1], &info);

    if (found == LOOKUP_FOUND) {
        resp_write_simple(call->out, type_name(info.type));
    } else if (found == LOOKUP_MISSING) {
        resp_write_simple(call->out, "none");
    }
}

static bool
same_bytes(struct fl_bytes a, struct fl_bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* Whether the key is there; FL_OK or FL_NOT_FOUND, or a failure to answer. */
static fl_status
key_status(struct call *call, struct fl_bytes key)
{
    struct fl_info info;

    return call_get_info(call, key, &info);
}

static fl_status
move(struct call *call, struct fl_bytes from, struct fl_bytes to)
{
    const fl_status status = call_put_from(call, to, from, NULL);

    return status == FL_OK ? call_delete(call, from) : status;
}

void
cmd_rename(struct call *call)
{
    const struct fl_bytes from = call->argv[1];
    const struct fl_bytes to = call->argv[2];
    fl_status status = key_status(call, from);

    if (status == FL_OK && !same_bytes(from, to)) {
        status = move(call, from, to);
    }
    if (status == FL_OK) {
        resp_write_ok(call->out);
    } else if (status == FL_NOT_FOUND) {
        reply_error(call, "ERR no such key");
    } else {
        call_fail(call, status);
    }
}

void
cmd_renamenx(struct call *call)
{
    const struct fl_bytes from = call->argv[1];
    const struct fl_bytes to = call->argv[2];
    bool moved = false;
    fl_status status = key_status(call, from);

    if (status == FL_NOT_FOUND) {
        reply_error(call, "ERR no such key");
        return;
    }
    if (status == FL_OK) {
        status = key_status(call, to);
        if (status == FL_NOT_FOUND) {
            moved = true;
            status = move(call, from, to);
        }
    }
    if (status == FL_OK) {
        resp_write_integer(call->out, moved);
    } else {
        call_fail(call, status);
    }
}

/* COPY's options. False: an error was replied. */
static bool
copy_options(struct call *call, bool *replace)
{
    for (unsigned i = 3; i < call->argc; i++) {
        if (arg_is(call->argv[i], "replace")) {
            *replace = true;
        } else if (arg_is(call->argv[i], "db") && i + 1 < call->argc) {
            if (!arg_database(call, call->argv[++i])) {
                return false;
            }
        } else {
            reply_syntax_error(call);
            return false;
        }
    }
    return true;
}

void
cmd_copy(struct call *call)
{
    const struct fl_bytes from = call->argv[1];
    const struct fl_bytes to = call->argv[2];
    bool replace = false;

    if (!copy_options(call, &replace)) {
        return;
    }
    if (same_bytes(from, to)) {
        reply_error(call, "ERR source and destination objects are the same");
        return;
    }
    fl_status status = key_status(call, from);
    bool copied = false;

    if (status == FL_OK) {
        status = replace ? FL_NOT_FOUND : key_status(call, to);
        if (status == FL_NOT_FOUND) {
            copied = true;
            status = call_put_from(call, to, from, NULL);
        }
    } else if (status == FL_NOT_FOUND) {
        status = FL_OK;
    }
    if (status == FL_OK) {
        resp_write_integer(call->out, copied);
    } else {
        call_fail(call, status);
    }
}

void
cmd_randomkey(struct call *call)
{
    char key[FL_KEY_BYTES_MAX];
    size_t len = 0;
    const fl_status status = call_random_key(call, key, &len);

    if (status == FL_OK) {
        resp_write_bulk(call->out, key, len);
    } else if (status == FL_NOT_FOUND) {
        resp_write_null(call->out);
    } else {
        call_fail(call, status);
    }
}

void
cmd_dbsize(struct call *call)
{
    resp_write_integer(call->out, (int64_t)call_key_count(call));
}

/* FLUSHDB and FLUSHALL are the same: there is one database. SYNC and ASYNC too: the keys are gone at once, their
 * memory is given back in the background. */
void
cmd_flush(struct call *call)
{
    if (call->argc > 2 ||
        (call->argc == 2 && !arg_is(call->argv[1], "sync") && !arg_is(call->argv[1], "async"))) {
        reply_syntax_error(call);
        return;
    }
    const fl_status status = call_flush(call);

    if (status == FL_OK) {
        resp_write_ok(call->out);
    } else {
        call_fail(call, status);
    }
}
