/* Reading and replacing whole strings: GET, SET and their kin. */
#include "server/cmd.h"
#include "server/cmd_util.h"

#include <string.h>

/* The options of SET and GETEX. At most one of the five ways to say a deadline is given. */
struct set_options {
    bool absent;  /* NX */
    bool present; /* XX */
    bool get;
    bool keep_ttl;
    bool persist;
    const char *unit; /* "ex", "px", "exat", "pxat"; NULL: no deadline given */
    struct fl_bytes time;
};

static const char *const set_units[] = {"ex", "px", "exat", "pxat"};

static bool
parse_unit(struct set_options *options, struct fl_bytes word)
{
    for (size_t i = 0; i < sizeof(set_units) / sizeof(set_units[0]); i++) {
        if (arg_is(word, set_units[i])) {
            /* The same unit twice is allowed, as in Redis: the last one counts. */
            const bool allowed = options->unit == NULL || options->unit == set_units[i];

            options->unit = set_units[i];
            return allowed && !options->keep_ttl && !options->persist;
        }
    }
    return false;
}

static bool
parse_word(struct set_options *options, struct fl_bytes word, bool getex)
{
    if (getex) {
        options->persist = arg_is(word, "persist");
        return options->persist && options->unit == NULL;
    }
    if (arg_is(word, "nx")) {
        options->absent = true;
        return !options->present;
    }
    if (arg_is(word, "xx")) {
        options->present = true;
        return !options->absent;
    }
    if (arg_is(word, "get")) {
        options->get = true;
        return true;
    }
    options->keep_ttl = arg_is(word, "keepttl");
    return options->keep_ttl && options->unit == NULL;
}

/* False: a syntax error, which was replied. */
static bool
parse_options(struct call *call, unsigned first, bool getex, struct set_options *options)
{
    memset(options, 0, sizeof(*options));
    for (unsigned i = first; i < call->argc; i++) {
        const struct fl_bytes word = call->argv[i];

        if (i + 1 < call->argc && parse_unit(options, word)) {
            options->time = call->argv[++i];
        } else if (!parse_word(options, word, getex)) {
            reply_syntax_error(call);
            return false;
        }
    }
    return true;
}

/* The deadline in milliseconds since 1970. False: the time given is no good, which was replied. */
static bool
deadline_of(struct call *call, struct fl_bytes time, const char *unit, int64_t *deadline_ms)
{
    const bool seconds = unit[0] == 'e';
    const bool absolute = strlen(unit) > 2;
    int64_t value;

    if (!arg_integer(call, time, &value)) {
        return false;
    }
    if (value <= 0 || (seconds && __builtin_mul_overflow(value, 1000, &value)) ||
        (!absolute && __builtin_add_overflow(value, (int64_t)call->now_ms, &value))) {
        reply_expire_time(call);
        return false;
    }
    *deadline_ms = value;
    return true;
}

void
cmd_get(struct call *call)
{
    struct fl_view view;
    const enum lookup found = lookup_string(call, call->argv[1], &view);

    if (found == LOOKUP_FOUND) {
        reply_view(call, &view);
    } else if (found == LOOKUP_MISSING) {
        resp_write_null(call->out);
    }
}

/* SET with what has to look at the old value first. */
static void
set_after_look(struct call *call, const struct set_options *options, int64_t deadline_ms)
{
    const struct fl_bytes key = call->argv[1];
    struct fl_put_options put = {.deadline_ms = (uint64_t)deadline_ms};
    struct kept kept;
    struct fl_view view;
    struct fl_info info;
    const enum lookup found =
        options->get ? lookup_string(call, key, &view) : lookup_info(call, key, &info);
    const bool wanted = found == LOOKUP_FOUND ? !options->absent : !options->present;
    bool reply_old = false;
    fl_status status = FL_OK;

    if (found == LOOKUP_ANSWERED) {
        return;
    }
    if (found == LOOKUP_FOUND) {
        if (options->keep_ttl) {
            put.deadline_ms = options->get ? view.deadline_ms : info.deadline_ms;
        }
        if (options->get) {
            reply_old = true;
            status = kept_take(&kept, &view);
        }
    }
    if (status == FL_OK && wanted) {
        status = deadline_ms != 0 && deadline_passed(call, deadline_ms)
                     ? delete_expired(call, key)
                     : call_put_arg(call, key, 2, &put);
        if (status != FL_OK && reply_old) {
            kept_drop(&kept);
        }
    }
    if (status != FL_OK) {
        call_fail(call, status);
    } else if (reply_old) {
        kept_reply(call, &kept);
    } else if (options->get || !wanted) {
        resp_write_null(call->out);
    } else {
        resp_write_ok(call->out);
    }
}

void
cmd_set(struct call *call)
{
    struct fl_put_options put = {0};
    struct set_options options;
    int64_t deadline_ms = 0;

    if (!parse_options(call, 3, false, &options) ||
        (options.unit != NULL && !deadline_of(call, options.time, options.unit, &deadline_ms))) {
        return;
    }
    if (options.get || options.keep_ttl ||
        (deadline_ms != 0 && deadline_passed(call, deadline_ms))) {
        set_after_look(call, &options, deadline_ms);
        return;
    }
    put.deadline_ms = (uint64_t)deadline_ms;
    put.condition = options.absent ? FL_IF_ABSENT : options.present ? FL_IF_PRESENT : FL_IF_ANY;
    const fl_status status = call_put_arg(call, call->argv[1], 2, &put);

    if (status == FL_OK) {
        resp_write_ok(call->out);
    } else if (status == FL_EXISTS || status == FL_NOT_FOUND) {
        resp_write_null(call->out);
    } else {
        call_fail(call, status);
    }
}

void
cmd_setnx(struct call *call)
{
    const struct fl_put_options put = {.condition = FL_IF_ABSENT};
    const fl_status status = call_put_arg(call, call->argv[1], 2, &put);

    if (status == FL_OK || status == FL_EXISTS) {
        resp_write_integer(call->out, status == FL_OK);
    } else {
        call_fail(call, status);
    }
}

/* SETEX and PSETEX: key, time, value. */
static void
set_with_time(struct call *call, const char *unit)
{
    struct fl_put_options put = {0};
    int64_t deadline_ms;

    if (!deadline_of(call, call->argv[2], unit, &deadline_ms)) {
        return;
    }
    put.deadline_ms = (uint64_t)deadline_ms;
    const fl_status status = call_put_arg(call, call->argv[1], 3, &put);

    if (status == FL_OK) {
        resp_write_ok(call->out);
    } else {
        call_fail(call, status);
    }
}

void
cmd_setex(struct call *call)
{
    set_with_time(call, "ex");
}

void
cmd_psetex(struct call *call)
{
    set_with_time(call, "px");
}

void
cmd_getset(struct call *call)
{
    const struct set_options options = {.get = true};

    set_after_look(call, &options, 0);
}

void
cmd_getdel(struct call *call)
{
    struct kept kept;
    struct fl_view view;
    const enum lookup found = lookup_string(call, call->argv[1], &view);

    if (found == LOOKUP_MISSING) {
        resp_write_null(call->out);
    }
    if (found != LOOKUP_FOUND) {
        return;
    }
    fl_status status = kept_take(&kept, &view);

    if (status == FL_OK) {
        status = call_delete(call, call->argv[1]);
        if (status == FL_OK) {
            kept_reply(call, &kept);
            return;
        }
        kept_drop(&kept);
    }
    call_fail(call, status);
}

/* The value first: what follows ends the view. */
static void
getex_expired(struct call *call, struct fl_view *view)
{
    struct kept kept;
    fl_status status = kept_take(&kept, view);

    if (status == FL_OK) {
        status = delete_expired(call, call->argv[1]);
        if (status == FL_OK) {
            kept_reply(call, &kept);
            return;
        }
        kept_drop(&kept);
    }
    call_fail(call, status);
}

void
cmd_getex(struct call *call)
{
    const struct fl_bytes key = call->argv[1];
    struct set_options options;
    struct fl_view view;
    int64_t deadline_ms = 0;

    if (!parse_options(call, 2, true, &options)) {
        return;
    }
    const enum lookup found = lookup_string(call, key, &view);

    if (found != LOOKUP_FOUND) {
        if (found == LOOKUP_MISSING) {
            resp_write_null(call->out);
        }
        return;
    }
    if (options.unit != NULL && !deadline_of(call, options.time, options.unit, &deadline_ms)) {
        fl_view_release(&view);
        return;
    }
    if (deadline_ms != 0 && deadline_passed(call, deadline_ms)) {
        getex_expired(call, &view);
        return;
    }
    struct fl_put_options put = options_of_view(&view);

    put.deadline_ms = (uint64_t)deadline_ms;
    if ((deadline_ms != 0 || options.persist) && put.deadline_ms != view.deadline_ms) {
        fl_view_release(&view);
        fl_status status = call_put_from(call, key, key, &put);

        status = status == FL_OK ? call_get(call, key, &view) : status;
        if (status != FL_OK) {
            call_fail(call, status);
            return;
        }
    }
    reply_view(call, &view);
}

void
cmd_mget(struct call *call)
{
    struct fl_view view;

    resp_write_array(call->out, call->argc - 1);
    for (unsigned i = 1; i < call->argc && !resp_out_failed(call->out); i++) {
        const fl_status status = call_get(call, call->argv[i], &view);

        if (status == FL_OK && view.type == 0) {
            reply_view(call, &view);
        } else if (status == FL_OK) {
            fl_view_release(&view); /* of another type: as if it weren't there */
            resp_write_null(call->out);
        } else if (status == FL_NOT_FOUND) {
            resp_write_null(call->out);
        } else {
            call_fail(call, status); /* an error in place of one value: the others are good */
        }
    }
}

/* All pairs or, after a failure, none. */
static fl_status
put_pairs(struct call *call)
{
    fl_status status = FL_OK;

    for (unsigned i = 1; status == FL_OK && i < call->argc; i += 2) {
        status = call_put_arg(call, call->argv[i], i + 1, NULL);
    }
    return status;
}

void
cmd_mset(struct call *call)
{
    if (call->argc % 2 == 0) {
        reply_wrong_arity(call);
        return;
    }
    const fl_status status = put_pairs(call);

    if (status == FL_OK) {
        resp_write_ok(call->out);
    } else {
        call_fail(call, status);
    }
}

void
cmd_msetnx(struct call *call)
{
    struct fl_info info;

    if (call->argc % 2 == 0) {
        reply_wrong_arity(call);
        return;
    }
    for (unsigned i = 1; i < call->argc; i += 2) {
        const enum lookup found = lookup_info(call, call->argv[i], &info);

        if (found == LOOKUP_FOUND) {
            resp_write_integer(call->out, 0);
        }
        if (found != LOOKUP_MISSING) {
            return;
        }
    }
    const fl_status status = put_pairs(call);

    if (status == FL_OK) {
        resp_write_integer(call->out, 1);
    } else {
        call_fail(call, status);
    }
}
