/* CONFIG. The server's own options are those of options.c. Parameters of Redis that clients and tools ask for
 * are answered as well, with what holds here; they can be "set" to what they are already. */
#include "server/cmd.h"
#include "server/cmd_util.h"
#include "server/server.h"

#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

struct parameter {
    const char *name;
    const char *value;
};

static const struct parameter fixed[] = {
    {"appendonly", "yes"}, /* the store is a log, and there is no other way to run */
    {"cluster-enabled", "no"},
    {"daemonize", "no"},
    {"databases", "1"},
    {"io-threads", "1"},
    {"maxmemory", "0"},
    {"maxmemory-policy", "noeviction"},
    {"notify-keyspace-events", ""},
    {"save", ""}, /* no snapshots at intervals: what was acknowledged is in the store */
};

static const char *const derived[] = {"appendfsync", "dbfilename", "dir"};

enum {
    FIXED_COUNT = sizeof(fixed) / sizeof(fixed[0]),
    DERIVED_COUNT = sizeof(derived) / sizeof(derived[0]),
};

/* "always" only where an acknowledged write survives a power cut. */
static const char *
appendfsync_value(const struct server *server)
{
    struct fl_stats stats = {.struct_bytes = sizeof(stats)};

    fl_stats(server->store, &stats);
    return stats.durability >= FL_DURABILITY_POWERCUT_UNVERIFIED ? "always" : "no";
}

static void
derived_value(const struct server *server, const char *name, char value[OPTIONS_VALUE_BYTES])
{
    char path[OPTIONS_PATH_BYTES];

    snprintf(path, sizeof(path), "%s", server->options.store);
    if (strcmp(name, "dir") == 0) {
        snprintf(value, OPTIONS_VALUE_BYTES, "%s", dirname(path));
    } else if (strcmp(name, "dbfilename") == 0) {
        snprintf(value, OPTIONS_VALUE_BYTES, "%s", basename(path));
    } else {
        snprintf(value, OPTIONS_VALUE_BYTES, "%s", appendfsync_value(server));
    }
}

/* Parameter `i` of all there are. False: `i` is past the last. */
static bool
parameter_at(const struct server *server, size_t i, const char **name, unsigned *flags,
             char value[OPTIONS_VALUE_BYTES])
{
    *flags = 0;
    if (i < FIXED_COUNT) {
        *name = fixed[i].name;
        snprintf(value, OPTIONS_VALUE_BYTES, "%s", fixed[i].value);
        return true;
    }
    if (i < FIXED_COUNT + DERIVED_COUNT) {
        *name = derived[i - FIXED_COUNT];
        derived_value(server, *name, value);
        return true;
    }
    return options_at(&server->options, i - FIXED_COUNT - DERIVED_COUNT, name, flags, value);
}

/* The name to answer a request for `name` under: a request without wildcards gets it as it spelled it.
 * ptr NULL: it isn't asked for. */
static struct fl_bytes
asked_name(const struct call *call, const char *name)
{
    const struct fl_bytes text = fl_bytes(name, strlen(name));

    for (unsigned i = 2; i < call->argc; i++) {
        if (arg_is(call->argv[i], name)) {
            return call->argv[i];
        }
        if (arg_matches(call->argv[i], text, true)) {
            return text;
        }
    }
    return fl_bytes(NULL, 0);
}

void
cmd_config_get(struct call *call)
{
    char value[OPTIONS_VALUE_BYTES];
    const char *name;
    unsigned flags;
    uint64_t count = 0;
    struct resp_seg *head = resp_write_later(call->out);

    for (size_t i = 0; parameter_at(call->server, i, &name, &flags, value); i++) {
        const struct fl_bytes asked = asked_name(call, name);

        if (asked.ptr != NULL) {
            resp_write_bulk(call->out, asked.ptr, asked.len);
            resp_write_bulk_text(call->out, value);
            count++;
        }
    }
    resp_write_later_map(call->out, head, count);
}

static void
reply_set_failed(struct call *call, struct fl_bytes name, const char *why)
{
    reply_errorf(call, "ERR CONFIG SET failed (possibly related to argument '%.*s') - %s",
                 arg_precision(name), (const char *)name.ptr, why);
}

/* Copy an argument to a 0-terminated text; false: it doesn't fit or has a 0 in it. */
static bool
arg_text(struct fl_bytes arg, char *text, size_t cap)
{
    if (arg.len >= cap || (arg.len > 0 && memchr(arg.ptr, '\0', arg.len) != NULL)) {
        return false;
    }
    if (arg.len > 0) {
        memcpy(text, arg.ptr, arg.len);
    }
    text[arg.len] = '\0';
    return true;
}

static bool
parameter_find(const struct server *server, struct fl_bytes word, const char **name,
               unsigned *flags, char value[OPTIONS_VALUE_BYTES])
{
    for (size_t i = 0; parameter_at(server, i, name, flags, value); i++) {
        if (arg_is(word, *name)) {
            return true;
        }
    }
    return false;
}

/* Judge argv[i] = argv[i + 1] and write it to `options`. False: an error was replied. */
static bool
set_one(struct call *call, unsigned i, struct options *options)
{
    const struct fl_bytes word = call->argv[i];
    char present[OPTIONS_VALUE_BYTES];
    char value[OPTIONS_VALUE_BYTES];
    char why[OPTIONS_WHY_BYTES];
    const char *name;
    unsigned flags;

    if (!parameter_find(call->server, word, &name, &flags, present)) {
        reply_errorf(call, "ERR Unknown option or number of arguments for CONFIG SET - '%.*s'",
                     arg_precision(word), (const char *)word.ptr);
        return false;
    }
    for (unsigned other = 2; other < i; other += 2) {
        if (arg_is(call->argv[other], name)) {
            reply_set_failed(call, word, "duplicate parameter");
            return false;
        }
    }
    if (!arg_text(call->argv[i + 1], value, sizeof(value))) {
        reply_set_failed(call, word, "the value is too long or has a zero byte in it");
        return false;
    }
    if ((flags & OPTION_LIVE) == 0) {
        if (strcasecmp(value, present) == 0) {
            return true;
        }
        reply_set_failed(call, word, "can't set immutable config");
        return false;
    }
    if (options_set(options, name, value) != FL_OK) {
        options_why(why, sizeof(why));
        reply_set_failed(call, word, why);
        return false;
    }
    return true;
}

/* All or nothing. */
void
cmd_config_set(struct call *call)
{
    struct options options = call->server->options;

    if (call->argc % 2 != 0) {
        reply_syntax_error(call);
        return;
    }
    for (unsigned i = 2; i < call->argc; i += 2) {
        if (!set_one(call, i, &options)) {
            return;
        }
    }
    if (options_check(&options) != FL_OK) {
        char why[OPTIONS_WHY_BYTES];

        options_why(why, sizeof(why));
        reply_set_failed(call, call->argv[2], why);
        return;
    }
    call->server->options = options;
    server_options_changed(call->server);
    resp_write_ok(call->out);
}

void
cmd_config_resetstat(struct call *call)
{
    metrics_reset(&call->server->metrics);
    resp_write_ok(call->out);
}

void
cmd_config_help(struct call *call)
{
    static const char *const lines[] = {
        "CONFIG GET <pattern> [<pattern> ...]: the parameters that match, with their values.",
        "CONFIG SET <name> <value> [<name> <value> ...]: change parameters, all of them or none.",
        "CONFIG RESETSTAT: begin INFO's counters at 0 again.",
        "CONFIG HELP: this text.",
    };

    reply_lines(call, lines, sizeof(lines) / sizeof(lines[0]));
}
