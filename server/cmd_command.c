/* COMMAND: the command table, as clients and redis-cli ask for it. COMMAND DOCS is in cmd_docs.c. */
#include "server/cmd.h"
#include "server/cmd_served.h"
#include "server/cmd_util.h"
#include "server/server.h"

#include "proto/command_table.h"

#include <stdlib.h>
#include <string.h>

enum { KEYS_ON_STACK = 64 };

static bool
is_served(enum command_id id)
{
    const struct command *command = command_by_id(id);

    return command_handlers[id].fn != NULL || command_subs_count(id) > 0 ||
           (command->container != COMMAND_NONE && command_handlers[command->container].fn != NULL);
}

int
served_next(enum command_id container, int id)
{
    for (id++; id < COMMANDS_COUNT; id++) {
        if (command_by_id((enum command_id)id)->container == container &&
            is_served((enum command_id)id)) {
            return id;
        }
    }
    return COMMANDS_COUNT;
}

uint64_t
served_count(enum command_id container)
{
    uint64_t count = 0;

    for (int id = served_next(container, -1); id < COMMANDS_COUNT;
         id = served_next(container, id)) {
        count++;
    }
    return count;
}

const struct command *
served_find(struct call *call, struct fl_bytes name)
{
    const struct command *command = command_find_full(&call->server->commands, name.ptr, name.len);

    return command != NULL && is_served(command->id) ? command : NULL;
}

static void
reply_bits(struct call *call, uint32_t bits, unsigned count, const char *(*name)(unsigned bit))
{
    resp_write_set(call->out, (uint64_t)__builtin_popcount(bits));
    for (unsigned bit = 0; bit < count; bit++) {
        if ((bits >> bit & 1) != 0) {
            resp_write_simple(call->out, name(bit));
        }
    }
}

static void
reply_tips(struct call *call, const char *tips)
{
    uint64_t count = tips[0] != '\0';

    for (const char *at = tips; *at != '\0'; at++) {
        count += *at == ' ';
    }
    resp_write_set(call->out, count);
    while (*tips != '\0') {
        const size_t len = strcspn(tips, " ");

        resp_write_bulk(call->out, tips, len);
        tips += len + (tips[len] == ' ');
    }
}

static void
reply_key_spec(struct call *call, const struct command_key_spec *spec)
{
    resp_write_map(call->out, spec->notes != NULL ? 4 : 3);
    if (spec->notes != NULL) {
        reply_pair_text(call, "notes", spec->notes);
    }
    resp_write_bulk_text(call->out, "flags");
    reply_bits(call, spec->flags, COMMAND_KEY_FLAGS_COUNT, command_key_flag_name);
    resp_write_bulk_text(call->out, "begin_search");
    resp_write_map(call->out, 2);
    reply_pair_text(call, "type", "index");
    resp_write_bulk_text(call->out, "spec");
    resp_write_map(call->out, 1);
    reply_pair_int(call, "index", spec->begin);
    resp_write_bulk_text(call->out, "find_keys");
    resp_write_map(call->out, 2);
    reply_pair_text(call, "type", "range");
    resp_write_bulk_text(call->out, "spec");
    resp_write_map(call->out, 3);
    reply_pair_int(call, "lastkey", spec->last);
    reply_pair_int(call, "keystep", spec->step);
    reply_pair_int(call, "limit", 0);
}

static void
reply_entry_head(struct call *call, const struct command *command)
{
    const struct command_range range = command_key_range(command);

    resp_write_array(call->out, 10);
    resp_write_bulk_text(call->out, command->name);
    resp_write_integer(call->out, command->arity);
    reply_bits(call, command->flags, COMMAND_FLAGS_COUNT, command_flag_name);
    resp_write_integer(call->out, range.first);
    resp_write_integer(call->out, range.last);
    resp_write_integer(call->out, range.step);
    reply_bits(call, command->categories, COMMAND_CATEGORIES_COUNT, command_category_name);
    reply_tips(call, command->tips);
    resp_write_set(call->out, command->keys_count);
    for (size_t i = 0; i < command->keys_count; i++) {
        reply_key_spec(call, &command->keys[i]);
    }
}

static void
reply_entry(struct call *call, const struct command *command)
{
    const uint64_t subs = command_subs_count(command->id) > 0 ? served_count(command->id) : 0;

    reply_entry_head(call, command);
    if (subs == 0) {
        resp_write_set(call->out, 0);
        return;
    }
    resp_write_array(call->out, subs);
    for (int id = served_next(command->id, -1); id < COMMANDS_COUNT;
         id = served_next(command->id, id)) {
        reply_entry_head(call, command_by_id((enum command_id)id));
        resp_write_set(call->out, 0);
    }
}

/* COMMAND without a subcommand. */
void
cmd_command(struct call *call)
{
    resp_write_array(call->out, served_count(COMMAND_NONE));
    for (int id = served_next(COMMAND_NONE, -1); id < COMMANDS_COUNT;
         id = served_next(COMMAND_NONE, id)) {
        reply_entry(call, command_by_id((enum command_id)id));
    }
}

void
cmd_command_count(struct call *call)
{
    resp_write_integer(call->out, (int64_t)served_count(COMMAND_NONE));
}

void
cmd_command_info(struct call *call)
{
    if (call->argc == 2) {
        cmd_command(call);
        return;
    }
    resp_write_array(call->out, call->argc - 2);
    for (unsigned i = 2; i < call->argc; i++) {
        const struct command *command = served_find(call, call->argv[i]);

        if (command != NULL) {
            reply_entry(call, command);
        } else {
            resp_write_null(call->out);
        }
    }
}

enum list_filter { LIST_ALL, LIST_NONE, LIST_CATEGORY, LIST_PATTERN };

static bool
list_takes(const struct command *command, enum list_filter filter, struct fl_bytes word)
{
    if (filter == LIST_PATTERN) {
        return arg_matches(word, fl_bytes(command->name, strlen(command->name)), true);
    }
    if (filter == LIST_CATEGORY) {
        for (unsigned bit = 0; bit < COMMAND_CATEGORIES_COUNT; bit++) {
            if (arg_is(word, command_category_name(bit) + 1)) { /* behind the @ */
                return (command->categories >> bit & 1) != 0;
            }
        }
    }
    return filter == LIST_ALL;
}

void
cmd_command_list(struct call *call)
{
    enum list_filter filter = LIST_ALL;
    struct fl_bytes word = {0};
    uint64_t count = 0;

    if (call->argc > 2) {
        if (call->argc != 5 || !arg_is(call->argv[2], "filterby")) {
            reply_syntax_error(call);
            return;
        }
        word = call->argv[4];
        if (arg_is(call->argv[3], "module")) {
            filter = LIST_NONE; /* there are no modules */
        } else if (arg_is(call->argv[3], "aclcat")) {
            filter = LIST_CATEGORY;
        } else if (arg_is(call->argv[3], "pattern")) {
            filter = LIST_PATTERN;
        } else {
            reply_syntax_error(call);
            return;
        }
    }
    struct resp_seg *head = resp_write_later(call->out);

    for (int id = 0; id < COMMANDS_COUNT; id++) {
        const struct command *command = command_by_id((enum command_id)id);

        if (is_served(command->id) && list_takes(command, filter, word)) {
            resp_write_bulk_text(call->out, command->name);
            count++;
        }
    }
    resp_write_later_array(call->out, head, count);
}

/* What is done with a key may depend on options: SET only reads it with GET. */
static uint32_t
flags_of_key(const struct command *command, const struct command_key *key,
             const struct fl_bytes *argv, size_t argc)
{
    if ((key->flags & COMMAND_KEY_VARIABLE) == 0) {
        return key->flags;
    }
    for (size_t i = 3; i < argc; i++) {
        if (command->id == COMMAND_SET && arg_is(argv[i], "get")) {
            return COMMAND_KEY_RW | COMMAND_KEY_ACCESS | COMMAND_KEY_UPDATE;
        }
    }
    return COMMAND_KEY_OW | COMMAND_KEY_UPDATE;
}

static void
reply_keys(struct call *call, bool with_flags)
{
    struct command_key small[KEYS_ON_STACK];
    const struct fl_bytes *argv = call->argv + 2;
    const size_t argc = call->argc - 2;
    const struct command_table *table = &call->server->commands;
    const struct command *command = command_find(table, argv[0].ptr, argv[0].len);

    if (command != NULL && command_subs_count(command->id) > 0 && argc > 1) {
        command = command_find_sub(table, command->id, argv[1].ptr, argv[1].len);
    }
    if (command == NULL || !is_served(command->id)) {
        reply_error(call, "ERR Invalid command specified");
        return;
    }
    if (command->keys_count == 0) {
        reply_error(call, "ERR The command has no key arguments");
        return;
    }
    if (!command_arity_fits(command, argc)) {
        reply_error(call, "ERR Invalid number of arguments specified for command");
        return;
    }
    const size_t count = command_keys(command, argc, small, KEYS_ON_STACK);
    struct command_key *keys = small;

    if (count > KEYS_ON_STACK) {
        keys = calloc(count, sizeof(*keys));
        if (keys == NULL) {
            call_fail(call, FL_NO_MEMORY);
            return;
        }
        command_keys(command, argc, keys, count);
    }
    resp_write_array(call->out, count);
    for (size_t i = 0; i < count; i++) {
        const struct fl_bytes key = argv[keys[i].index];

        if (with_flags) {
            resp_write_array(call->out, 2);
        }
        resp_write_bulk(call->out, key.ptr, key.len);
        if (with_flags) {
            reply_bits(call, flags_of_key(command, &keys[i], argv, argc), COMMAND_KEY_FLAGS_COUNT,
                       command_key_flag_name);
        }
    }
    if (keys != small) {
        free(keys);
    }
}

void
cmd_command_getkeys(struct call *call)
{
    reply_keys(call, false);
}

void
cmd_command_getkeysandflags(struct call *call)
{
    reply_keys(call, true);
}

void
cmd_command_help(struct call *call)
{
    static const char *const lines[] = {
        "COMMAND: every command, as COMMAND INFO shows it.",
        "COMMAND COUNT: how many there are.",
        "COMMAND INFO [<name> ...]: arity, flags, categories and where the keys are.",
        "COMMAND DOCS [<name> ...]: what they do and which arguments they take.",
        "COMMAND LIST [FILTERBY (MODULE <name>|ACLCAT <category>|PATTERN <pattern>)]: names only.",
        "COMMAND GETKEYS <command> [<arg> ...]: which of the arguments are keys.",
        "COMMAND GETKEYSANDFLAGS <command> [<arg> ...]: and what is done with each.",
        "COMMAND HELP: this text.",
    };

    reply_lines(call, lines, sizeof(lines) / sizeof(lines[0]));
}
