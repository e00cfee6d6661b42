#include "server/group.h"

#include "base/fail.h"
#include "server/command.h"

#include <stdlib.h>

fl_status
group_init(struct request_group *group)
{
    *group = (struct request_group){.args_cap = GROUP_ARGS_MIN};
    group->args = calloc(GROUP_ARGS_MIN, sizeof(*group->args));
    return group->args != NULL ? FL_OK : FL_FAIL(FL_NO_MEMORY, "arguments of requests");
}

void
group_deinit(struct request_group *group)
{
    free(group->args);
    group->args = NULL;
}

/* False: there is no room for its arguments in this group. */
static bool
group_add(struct request_group *group, const struct command_table *commands,
          const struct resp_parser *parser, char *request, size_t end)
{
    const unsigned count = group->requests_count;
    const unsigned first =
        count == 0 ? 0 : group->requests[count - 1].args + group->requests[count - 1].argc;

    if (parser->argc > group->args_cap - first) {
        if (count > 0) {
            return false;
        }
        struct fl_bytes *args = realloc(group->args, parser->argc * sizeof(*args));

        if (args == NULL) {
            group->status = FL_NO_MEMORY;
            return false;
        }
        group->args = args;
        group->args_cap = parser->argc;
    }
    struct fl_bytes *const args = &group->args[first];

    for (unsigned i = 0; i < parser->argc; i++) {
        const struct resp_arg arg = parser->argv[i];

        args[i] = fl_bytes(arg.off == RESP_ARG_STREAMED ? NULL : request + arg.off, arg.len);
    }
    group->requests[count] =
        (struct request){.command = command_find(commands, args[0].ptr, args[0].len),
                         .args = first,
                         .argc = parser->argc,
                         .end = end};
    group->requests_count = count + 1;
    return true;
}

/* The last request of a group must end it if it may change how the next ones are to be read, or
 * is of a kind whose keys nobody prefetches anyway. */
static bool
group_ends_with(const struct request_group *group)
{
    const struct request *last = &group->requests[group->requests_count - 1];

    return group->requests_count == GROUP_MAX || last->command == NULL ||
           last->command->keys_count == 0;
}

void
group_parse(struct request_group *group, const struct command_table *commands,
            struct resp_parser *parser, char *buf, size_t len)
{
    size_t pos = 0;

    group->requests_count = 0;
    group->parsed = 0;
    group->status = FL_OK;
    while (pos < len) {
        if (group->requests_count > 0 && buf[pos] != '*') {
            return; /* An inline request is unquoted in place: it must not be parsed twice. */
        }
        const struct resp_parser before = *parser;

        group->status = resp_parse(parser, buf + pos, len - pos);
        if (group->status != FL_OK) {
            if (group->requests_count > 0) {
                /* Whether it is come to depends on the ones before it. What it has for slots
                 * stays. */
                struct resp_arg *const argv = parser->argv;
                const uint32_t slots = parser->argv_slots;

                *parser = before;
                parser->argv = argv;
                parser->argv_slots = slots;
                group->status = FL_OK;
            }
            return;
        }
        if (parser->argc == 0) {
            pos += parser->used;
            if (group->requests_count == 0) {
                group->parsed = pos;
            } else {
                group->requests[group->requests_count - 1].end = pos;
            }
            continue;
        }
        if (!group_add(group, commands, parser, buf + pos, pos + parser->used)) {
            return;
        }
        pos += parser->used;
        if (group_ends_with(group)) {
            return;
        }
    }
    group->status = FL_AGAIN;
}

/* Whether the request reads its keys when it runs. A plain SET doesn't, and what its commit needs the
 * store sees to itself. */
static bool
request_reads(const struct request *request)
{
    return request->command != NULL && request->command->keys_count > 0 &&
           (request->command->keys[0].flags & COMMAND_KEY_OW) == 0 &&
           !(request->command->id == COMMAND_SET && request->argc == 3);
}

void
group_prefetch(const struct request_group *group, struct fl_store *store)
{
    struct fl_key keys[GROUP_PREFETCH_MAX];
    size_t count = 0;

    for (unsigned i = 0; i < group->requests_count; i++) {
        const struct request *request = &group->requests[i];

        if (!request_reads(request)) {
            continue;
        }
        const struct command_key_spec *spec = &request->command->keys[0];
        const int begin = spec->begin;
        const int step = spec->step > 0 ? spec->step : 1;
        const int argc = (int)request->argc;
        const int last = spec->last < 0 ? argc + spec->last : begin + spec->last;

        for (int at = begin; at <= last && at < argc && count < GROUP_PREFETCH_MAX; at += step) {
            const struct fl_bytes key = group->args[request->args + (unsigned)at];

            if (key.len > 0 && key.len <= FL_KEY_BYTES_MAX) {
                keys[count++] = fl_key_in(SPACE_ROOT, key.ptr, key.len);
            }
        }
    }
    if (count > 1) {
        fl_prefetch_many(store, keys, count);
    }
}
