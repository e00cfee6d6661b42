/* Deadlines: EXPIRE and its three kin, TTL and its three kin, PERSIST. */
#include "server/cmd.h"
#include "server/cmd_util.h"

enum expire_condition {
    EXPIRE_NX = 1, /* only if it has no deadline */
    EXPIRE_XX = 2, /* only if it has one */
    EXPIRE_GT = 4, /* only if the new one is later; none is the latest of all */
    EXPIRE_LT = 8, /* only if the new one is earlier */
};

/* False: an error was replied. */
static bool
parse_conditions(struct call *call, unsigned *conditions)
{
    static const struct {
        const char *word;
        unsigned condition;
    } words[] = {{"nx", EXPIRE_NX}, {"xx", EXPIRE_XX}, {"gt", EXPIRE_GT}, {"lt", EXPIRE_LT}};

    for (unsigned i = 3; i < call->argc; i++) {
        const struct fl_bytes arg = call->argv[i];
        unsigned condition = 0;

        for (size_t w = 0; w < sizeof(words) / sizeof(words[0]); w++) {
            condition |= arg_is(arg, words[w].word) ? words[w].condition : 0;
        }
        if (condition == 0) {
            reply_errorf(call, "ERR Unsupported option %.*s", arg_precision(arg),
                         (const char *)arg.ptr);
            return false;
        }
        *conditions |= condition;
    }
    if ((*conditions & EXPIRE_NX) != 0 && *conditions != EXPIRE_NX) {
        reply_error(call, "ERR NX and XX, GT or LT options at the same time are not compatible");
        return false;
    }
    if ((*conditions & EXPIRE_GT) != 0 && (*conditions & EXPIRE_LT) != 0) {
        reply_error(call, "ERR GT and LT options at the same time are not compatible");
        return false;
    }
    return true;
}

/* `present_ms` 0: the key has no deadline. */
static bool
conditions_hold(unsigned conditions, int64_t deadline_ms, int64_t present_ms)
{
    const bool none = present_ms == 0;

    if (((conditions & EXPIRE_NX) != 0 && !none) || ((conditions & EXPIRE_XX) != 0 && none)) {
        return false;
    }
    if ((conditions & EXPIRE_GT) != 0 && (none || deadline_ms <= present_ms)) {
        return false;
    }
    return (conditions & EXPIRE_LT) == 0 || none || deadline_ms < present_ms;
}

/* Set the deadline to argv[2] seconds or milliseconds behind `base_ms`. */
static void
expire(struct call *call, bool seconds, int64_t base_ms)
{
    const struct fl_bytes key = call->argv[1];
    unsigned conditions = 0;
    struct fl_info info;
    int64_t deadline_ms;

    if (!parse_conditions(call, &conditions) || !arg_integer(call, call->argv[2], &deadline_ms)) {
        return;
    }
    if ((seconds && __builtin_mul_overflow(deadline_ms, 1000, &deadline_ms)) ||
        __builtin_add_overflow(deadline_ms, base_ms, &deadline_ms)) {
        reply_expire_time(call);
        return;
    }
    const enum lookup found = lookup_info(call, key, &info);

    if (found == LOOKUP_ANSWERED) {
        return;
    }
    bool changes = false;
    struct fl_put_options options = {0};

    if (found == LOOKUP_FOUND) {
        changes = conditions_hold(conditions, deadline_ms, (int64_t)info.deadline_ms);
        options.type = info.type;
    }
    fl_status status = FL_OK;

    if (changes && deadline_passed(call, deadline_ms)) {
        status = delete_expired(call, key);
    } else if (changes) {
        options.deadline_ms = (uint64_t)deadline_ms;
        status = call_put_from(call, key, key, &options);
    }
    if (status == FL_OK) {
        resp_write_integer(call->out, changes);
    } else {
        call_fail(call, status);
    }
}

void
cmd_expire(struct call *call)
{
    expire(call, true, (int64_t)call->now_ms);
}

void
cmd_pexpire(struct call *call)
{
    expire(call, false, (int64_t)call->now_ms);
}

void
cmd_expireat(struct call *call)
{
    expire(call, true, 0);
}

void
cmd_pexpireat(struct call *call)
{
    expire(call, false, 0);
}

static void
reply_deadline(struct call *call, bool seconds, int64_t base_ms)
{
    struct fl_info info;
    int64_t value = -2;
    const enum lookup found = lookup_info(call, call->argv[1], &info);

    if (found == LOOKUP_ANSWERED) {
        return;
    }
    if (found == LOOKUP_FOUND) {
        value = -1;
        if (info.deadline_ms != 0) {
            value = (int64_t)info.deadline_ms - base_ms;
            value = value < 0 ? 0 : value;
            value = seconds ? (value + 500) / 1000 : value;
        }
    }
    resp_write_integer(call->out, value);
}

void
cmd_ttl(struct call *call)
{
    reply_deadline(call, true, (int64_t)call->now_ms);
}

void
cmd_pttl(struct call *call)
{
    reply_deadline(call, false, (int64_t)call->now_ms);
}

void
cmd_expiretime(struct call *call)
{
    reply_deadline(call, true, 0);
}

void
cmd_pexpiretime(struct call *call)
{
    reply_deadline(call, false, 0);
}

void
cmd_persist(struct call *call)
{
    struct fl_info info;
    const enum lookup found = lookup_info(call, call->argv[1], &info);
    bool changes = false;
    fl_status status = FL_OK;

    if (found == LOOKUP_ANSWERED) {
        return;
    }
    if (found == LOOKUP_FOUND) {
        const struct fl_put_options options = {.type = info.type};

        changes = info.deadline_ms != 0;
        if (changes) {
            status = call_put_from(call, call->argv[1], call->argv[1], &options);
        }
    }
    if (status == FL_OK) {
        resp_write_integer(call->out, changes);
    } else {
        call_fail(call, status);
    }
}
