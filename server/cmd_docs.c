/* COMMAND DOCS: what redis-cli shows while one types. */
#include "server/cmd.h"
#include "server/cmd_served.h"
#include "server/cmd_util.h"

static void reply_arg(struct call *call, const struct command_arg *arg);

static void
reply_args(struct call *call, const struct command_arg *args)
{
    uint64_t count = 0;

    while (args[count].type != COMMAND_ARG_END) {
        count++;
    }
    resp_write_array(call->out, count);
    for (uint64_t i = 0; i < count; i++) {
        reply_arg(call, &args[i]); /* as deep as commands.def nests, which no client has a say in */
    }
}

static void
reply_arg(struct call *call, const struct command_arg *arg)
{
    const bool is_key = arg->type == COMMAND_ARG_KEY;
    const bool nested = arg->args != NULL;

    resp_write_map(call->out, 2u + is_key + (arg->token != NULL) + (arg->flags != 0) + nested);
    reply_pair_text(call, "name", arg->name);
    reply_pair_text(call, "type", command_arg_type_name((enum command_arg_type)arg->type));
    if (is_key) {
        reply_pair_int(call, "key_spec_index", arg->key_spec);
    }
    if (arg->token != NULL) {
        reply_pair_text(call, "token", arg->token);
    }
    if (arg->flags != 0) {
        const bool optional = (arg->flags & COMMAND_ARG_OPTIONAL) != 0;
        const bool multiple = (arg->flags & COMMAND_ARG_MULTIPLE) != 0;

        resp_write_bulk_text(call->out, "flags");
        resp_write_set(call->out, (uint64_t)optional + multiple);
        if (optional) {
            resp_write_simple(call->out, "optional");
        }
        if (multiple) {
            resp_write_simple(call->out, "multiple");
        }
    }
    if (nested) {
        resp_write_bulk_text(call->out, "arguments");
        reply_args(call, arg->args);
    }
}

/* Name and description: one pair of a map. `subs`: how many subcommands will follow in it. */
static void
reply_docs_head(struct call *call, const struct command *command, uint64_t subs)
{
    const bool deprecated = command->deprecated_since != NULL;

    resp_write_bulk_text(call->out, command->name);
    resp_write_map(call->out, 4u + (deprecated ? 2u : 0u) + (deprecated && command->replaced_by) +
                                  (command->args != NULL) + (subs > 0));
    reply_pair_text(call, "summary", command->summary);
    reply_pair_text(call, "since", command->since);
    reply_pair_text(call, "group", command->group);
    reply_pair_text(call, "complexity", command->complexity);
    if (deprecated) {
        resp_write_bulk_text(call->out, "doc_flags");
        resp_write_set(call->out, 1);
        resp_write_simple(call->out, "deprecated");
        reply_pair_text(call, "deprecated_since", command->deprecated_since);
        if (command->replaced_by != NULL) {
            reply_pair_text(call, "replaced_by", command->replaced_by);
        }
    }
    if (command->args != NULL) {
        resp_write_bulk_text(call->out, "arguments");
        reply_args(call, command->args);
    }
}

static void
reply_docs(struct call *call, const struct command *command)
{
    const uint64_t subs = command_subs_count(command->id) > 0 ? served_count(command->id) : 0;

    reply_docs_head(call, command, subs);
    if (subs == 0) {
        return;
    }
    resp_write_bulk_text(call->out, "subcommands");
    resp_write_map(call->out, subs);
    for (int id = served_next(command->id, -1); id < COMMANDS_COUNT;
         id = served_next(command->id, id)) {
        reply_docs_head(call, command_by_id((enum command_id)id), 0);
    }
}

void
cmd_command_docs(struct call *call)
{
    uint64_t known = 0;

    if (call->argc == 2) {
        resp_write_map(call->out, served_count(COMMAND_NONE));
        for (int id = served_next(COMMAND_NONE, -1); id < COMMANDS_COUNT;
             id = served_next(COMMAND_NONE, id)) {
            reply_docs(call, command_by_id((enum command_id)id));
        }
        return;
    }
    struct resp_seg *head = resp_write_later(call->out);

    for (unsigned i = 2; i < call->argc; i++) {
        const struct command *command = served_find(call, call->argv[i]);

        if (command != NULL) {
            reply_docs(call, command);
            known++;
        }
    }
    resp_write_later_map(call->out, head, known);
}
