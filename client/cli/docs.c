#include "client/cli/docs.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Keys and values in turn, which RESP2 sends as an array and RESP3 as a map. */
static size_t
pairs_count(const struct fl_client_reply *reply)
{
    return fl_client_reply_type(reply) == FL_CLIENT_MAP ? fl_client_reply_count(reply)
                                                        : fl_client_reply_count(reply) / 2;
}

static const struct fl_client_reply *
pair_key(const struct fl_client_reply *reply, size_t i)
{
    return fl_client_reply_type(reply) == FL_CLIENT_MAP ? fl_client_reply_key(reply, i)
                                                        : fl_client_reply_item(reply, 2 * i);
}

static const struct fl_client_reply *
pair_value(const struct fl_client_reply *reply, size_t i)
{
    return fl_client_reply_type(reply) == FL_CLIENT_MAP ? fl_client_reply_item(reply, i)
                                                        : fl_client_reply_item(reply, 2 * i + 1);
}

static const char *
text_of(const struct fl_client_reply *doc, const char *field)
{
    const struct fl_client_reply *value = fl_client_reply_find(doc, field);
    const char *text = value != NULL ? fl_client_reply_text(value, NULL) : NULL;

    return text != NULL ? text : "";
}

/* ---- syntax ---- */

static void put_arguments(FILE *file, const struct fl_client_reply *arguments,
                          const char *separator);

static bool
has_flag(const struct fl_client_reply *argument, const char *name)
{
    const struct fl_client_reply *flags = fl_client_reply_find(argument, "flags");

    for (size_t i = 0; flags != NULL && i < fl_client_reply_count(flags); i++) {
        const char *text = fl_client_reply_text(fl_client_reply_item(flags, i), NULL);

        if (text != NULL && strcmp(text, name) == 0) {
            return true;
        }
    }
    return false;
}

/* What stands for the argument's value, without its token. */
static void
put_value(FILE *file, const struct fl_client_reply *argument)
{
    const struct fl_client_reply *inner = fl_client_reply_find(argument, "arguments");
    const char *type = text_of(argument, "type");
    const char *shown = text_of(argument, "display_text");

    if (strcmp(type, "oneof") == 0 && inner != NULL) {
        const bool bare = has_flag(argument, "optional"); /* has brackets already */

        fputs(bare ? "" : "<", file);
        put_arguments(file, inner, " | ");
        fputs(bare ? "" : ">", file);
    } else if (strcmp(type, "block") == 0 && inner != NULL) {
        put_arguments(file, inner, " ");
    } else {
        fputs(shown[0] != '\0' ? shown : text_of(argument, "name"), file);
    }
}

static void
put_argument(FILE *file, const struct fl_client_reply *argument)
{
    const char *token = text_of(argument, "token");
    const bool optional = has_flag(argument, "optional");

    fputs(optional ? "[" : "", file);
    fputs(token, file);
    if (strcmp(text_of(argument, "type"), "pure-token") != 0) {
        fputs(token[0] != '\0' ? " " : "", file);
        put_value(file, argument);
        if (has_flag(argument, "multiple")) {
            fputs(" [", file);
            if (has_flag(argument, "multiple_token")) {
                fprintf(file, "%s ", token);
            }
            put_value(file, argument);
            fputs(" ...]", file);
        }
    }
    fputs(optional ? "]" : "", file);
}

/* The depth is that of the reply, RESP_NESTING_MAX at most. */
static void
put_arguments(FILE *file, const struct fl_client_reply *arguments, const char *separator)
{
    for (size_t i = 0; i < fl_client_reply_count(arguments); i++) {
        fputs(i > 0 ? separator : "", file);
        put_argument(file, fl_client_reply_item(arguments, i));
    }
}

static char *
syntax_of(const struct fl_client_reply *doc)
{
    const struct fl_client_reply *arguments = fl_client_reply_find(doc, "arguments");
    char *text = NULL;
    size_t len;
    FILE *file = open_memstream(&text, &len);

    if (file == NULL) {
        return NULL;
    }
    if (arguments != NULL) {
        put_arguments(file, arguments, " ");
    }
    return fclose(file) == 0 ? text : NULL;
}

/* ---- the table ---- */

static void
command_free(struct docs_command *command)
{
    free(command->name);
    free(command->syntax);
    free(command->summary);
    free(command->since);
}

void
docs_deinit(struct docs *docs)
{
    for (size_t i = 0; i < docs->commands_count; i++) {
        command_free(&docs->commands[i]);
    }
    free(docs->commands);
    *docs = (struct docs){0};
}

/* "config|get" as people type it: "CONFIG GET". */
static char *
name_of(const char *text)
{
    char *name = strdup(text);

    for (char *c = name; c != NULL && *c != '\0'; c++) {
        *c = *c == '|' ? ' ' : (char)toupper((unsigned char)*c);
    }
    return name;
}

/* Add a command; without memory it is left out, and only helps nobody. `doc` may be NULL. */
static void
docs_add(struct docs *docs, const char *name, const struct fl_client_reply *doc)
{
    if (docs->commands_count == docs->commands_slots) {
        const size_t slots = docs->commands_slots * 2 + 64;
        struct docs_command *commands = realloc(docs->commands, slots * sizeof(*commands));

        if (commands == NULL) {
            return;
        }
        docs->commands = commands;
        docs->commands_slots = slots;
    }
    struct docs_command command = {
        .name = name_of(name),
        .syntax = doc != NULL ? syntax_of(doc) : strdup(""),
        .summary = strdup(doc != NULL ? text_of(doc, "summary") : ""),
        .since = strdup(doc != NULL ? text_of(doc, "since") : ""),
    };

    if (command.name == NULL || command.syntax == NULL || command.summary == NULL ||
        command.since == NULL) {
        command_free(&command);
        return;
    }
    docs->commands[docs->commands_count++] = command;
}

static int
compare(const void *a, const void *b)
{
    const struct docs_command *left = a;
    const struct docs_command *right = b;

    return strcmp(left->name, right->name);
}

static void
docs_sort(struct docs *docs)
{
    if (docs->commands_count > 0) {
        qsort(docs->commands, docs->commands_count, sizeof(*docs->commands), compare);
    }
}

void
docs_read(const struct fl_client_reply *reply, struct docs *out)
{
    *out = (struct docs){0};
    for (size_t i = 0; i < pairs_count(reply); i++) {
        const char *name = fl_client_reply_text(pair_key(reply, i), NULL);
        const struct fl_client_reply *doc = pair_value(reply, i);
        const struct fl_client_reply *subs = fl_client_reply_find(doc, "subcommands");

        if (name == NULL) {
            continue;
        }
        docs_add(out, name, doc);
        for (size_t s = 0; subs != NULL && s < pairs_count(subs); s++) {
            const char *sub_name = fl_client_reply_text(pair_key(subs, s), NULL);

            if (sub_name != NULL) {
                docs_add(out, sub_name, pair_value(subs, s));
            }
        }
    }
    docs_sort(out);
}

void
docs_load(struct fl_client *client, struct docs *out)
{
    struct fl_client_reply *reply = NULL;

    *out = (struct docs){0};
    if (fl_client_call(client, &reply, "COMMAND", "DOCS", NULL) != FL_OK) {
        return;
    }
    if (fl_client_reply_type(reply) != FL_CLIENT_ERROR) {
        docs_read(reply, out);
        fl_client_reply_destroy(reply);
        return;
    }
    fl_client_reply_destroy(reply);
    if (fl_client_call(client, &reply, "COMMAND", "LIST", NULL) != FL_OK) {
        return;
    }
    for (size_t i = 0; i < fl_client_reply_count(reply); i++) {
        const char *name = fl_client_reply_text(fl_client_reply_item(reply, i), NULL);

        if (name != NULL) {
            docs_add(out, name, NULL);
        }
    }
    fl_client_reply_destroy(reply);
    docs_sort(out);
}

/* ---- lines ---- */

/* How many bytes of the line `name` covers, any run of blanks counting as one: 0 if it doesn't
 * fit, or not whole and `whole` is asked for. *matched gets the letters of the name that are
 * there. */
static bool
name_fits(const char *name, const char *line, size_t len, bool whole, size_t *matched)
{
    size_t at = 0;
    size_t n = 0;

    while (at < len && isblank((unsigned char)line[at])) {
        at++;
    }
    while (name[n] != '\0' && at < len) {
        if (name[n] == ' ' && isblank((unsigned char)line[at])) {
            while (at < len && isblank((unsigned char)line[at])) {
                at++;
            }
        } else if (toupper((unsigned char)line[at]) == name[n]) {
            at++;
        } else {
            return false;
        }
        n++;
    }
    *matched = n;
    if (!whole) {
        return at == len;
    }
    return name[n] == '\0' && (at == len || isblank((unsigned char)line[at]));
}

const struct docs_command *
docs_find(const struct docs *docs, const char *line, size_t len)
{
    const struct docs_command *found = NULL;
    size_t matched_most = 0;

    for (size_t i = 0; i < docs->commands_count; i++) {
        size_t matched = 0;

        if (name_fits(docs->commands[i].name, line, len, true, &matched) &&
            matched > matched_most) {
            found = &docs->commands[i];
            matched_most = matched;
        }
    }
    return found;
}

void
docs_complete(const struct docs *docs, const char *line, size_t len, struct docs_completion *out)
{
    *out = (struct docs_completion){0};
    for (size_t i = 0; i < docs->commands_count && out->count < DOCS_CANDIDATES_MAX; i++) {
        const char *name = docs->commands[i].name;
        size_t matched = 0;

        if (!name_fits(name, line, len, false, &matched) || matched == 0 ||
            /* "CONFIG" alone is completed by CONFIG: its subcommands wait for the blank. */
            strchr(name + matched, ' ') != NULL) {
            continue;
        }
        if (out->count == 0) {
            out->typed = matched;
            out->shared = strlen(name + matched);
        } else {
            const char *first = out->candidates[0]->name + matched;
            size_t shared = 0;

            while (shared < out->shared && name[matched + shared] == first[shared]) {
                shared++;
            }
            out->shared = shared;
        }
        out->candidates[out->count++] = &docs->commands[i];
    }
}
