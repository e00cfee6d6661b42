/* Goal:   the command table is Redis's, so that clients which rely on it work.
 * Method: ask an installed redis-server 7.0 (on loopback, for some seconds) for COMMAND INFO and
 * COMMAND DOCS of every row
 *         and compare field by field. Skipped where there is no redis-server. Rows that are newer than that
 *         server, and our own, are left out.
 */
#include "proto/command_table.h"
#include "tests/unit/proto/redis_link.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { WORDS_MAX = 32 };

/* ---- nodes as text ---- */

static const struct resp_node *
node_at(const struct link *link, uint32_t node)
{
    return &link->reader.nodes[node];
}

static uint32_t
child_at(const struct link *link, uint32_t node, uint32_t index)
{
    assert_true(index < node_at(link, node)->count);
    uint32_t at = resp_first(&link->reader, node);

    while (index-- > 0) {
        at = resp_after(&link->reader, at);
    }
    return at;
}

static void
add_string(struct text *text, const struct link *link, uint32_t node)
{
    text_add(text, link->in.ptr + node_at(link, node)->off, node_at(link, node)->len);
}

/* The value behind a key of a flat map; UINT32_MAX if it isn't there. */
static uint32_t
value_of(const struct link *link, uint32_t map, const char *key)
{
    uint32_t at = resp_first(&link->reader, map);

    for (uint32_t i = 0; i < node_at(link, map)->count; i += 2) {
        const struct resp_node *name = node_at(link, at);
        const uint32_t value = resp_after(&link->reader, at);

        if (name->len == strlen(key) && memcmp(link->in.ptr + name->off, key, name->len) == 0) {
            return value;
        }
        at = resp_after(&link->reader, value);
    }
    return UINT32_MAX;
}

static int
compare_words(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Sets as words in alphabetical order. */
struct words {
    char word[WORDS_MAX][64];
    size_t count;
};

static void
words_add(struct words *words, const char *word, size_t len)
{
    assert_true(words->count < WORDS_MAX && len < sizeof(words->word[0]));
    memcpy(words->word[words->count], word, len);
    words->word[words->count++][len] = '\0';
}

static void
words_print(struct words *words, struct text *text)
{
    qsort(words->word, words->count, sizeof(words->word[0]), compare_words);
    for (size_t i = 0; i < words->count; i++) {
        text_addf(text, " %s", words->word[i]);
    }
    text_addf(text, "\n");
}

static void
add_their_words(struct text *text, const struct link *link, uint32_t set)
{
    struct words words = {.count = 0};

    for (uint32_t i = 0; i < node_at(link, set)->count; i++) {
        const struct resp_node *node = node_at(link, child_at(link, set, i));

        words_add(&words, link->in.ptr + node->off, node->len);
    }
    words_print(&words, text);
}

static void
add_our_bits(struct text *text, uint32_t bits, unsigned count, const char *(*name)(unsigned))
{
    struct words words = {.count = 0};

    for (unsigned bit = 0; bit < count; bit++) {
        if ((bits >> bit & 1) != 0) {
            words_add(&words, name(bit), strlen(name(bit)));
        }
    }
    words_print(&words, text);
}

/* ---- COMMAND INFO ---- */

static void
add_their_key_spec(struct text *text, const struct link *link, uint32_t spec)
{
    const uint32_t begin = value_of(link, spec, "begin_search");
    const uint32_t find = value_of(link, spec, "find_keys");
    const uint32_t begin_spec = value_of(link, begin, "spec");
    const uint32_t find_spec = value_of(link, find, "spec");

    text_addf(text, "key %lld %lld %lld",
              (long long)node_at(link, value_of(link, begin_spec, "index"))->integer,
              (long long)node_at(link, value_of(link, find_spec, "lastkey"))->integer,
              (long long)node_at(link, value_of(link, find_spec, "keystep"))->integer);
    add_their_words(text, link, value_of(link, spec, "flags"));
}

static void
describe_theirs(struct text *text, const struct link *link, uint32_t info)
{
    add_string(text, link, child_at(link, info, 0));
    text_addf(text, " arity %lld", (long long)node_at(link, child_at(link, info, 1))->integer);
    for (uint32_t i = 3; i <= 5; i++) {
        text_addf(text, " %lld", (long long)node_at(link, child_at(link, info, i))->integer);
    }
    text_addf(text, "\nflags");
    add_their_words(text, link, child_at(link, info, 2));
    text_addf(text, "categories");
    add_their_words(text, link, child_at(link, info, 6));
    text_addf(text, "tips");
    add_their_words(text, link, child_at(link, info, 7));
    const uint32_t specs = child_at(link, info, 8);

    for (uint32_t i = 0; i < node_at(link, specs)->count; i++) {
        add_their_key_spec(text, link, child_at(link, specs, i));
    }
}

static void
describe_ours(struct text *text, const struct command *command)
{
    const struct command_range range = command_key_range(command);
    struct words tips = {.count = 0};

    text_addf(text, "%s arity %d %d %d %d\nflags", command->name, command->arity, range.first,
              range.last, range.step);
    add_our_bits(text, command->flags, COMMAND_FLAGS_COUNT, command_flag_name);
    text_addf(text, "categories");
    add_our_bits(text, command->categories, COMMAND_CATEGORIES_COUNT, command_category_name);
    text_addf(text, "tips");
    for (const char *at = command->tips; *at != '\0';) {
        const size_t len = strcspn(at, " ");

        words_add(&tips, at, len);
        at += len + (at[len] == ' ');
    }
    words_print(&tips, text);
    for (size_t i = 0; i < command->keys_count; i++) {
        const struct command_key_spec *spec = &command->keys[i];

        text_addf(text, "key %d %d %d", spec->begin, spec->last, spec->step);
        add_our_bits(text, spec->flags, COMMAND_KEY_FLAGS_COUNT, command_key_flag_name);
    }
}

/* "7.0.15" as a number that sorts. */
static long
version_number(const char *text)
{
    long parts[3] = {0};

    sscanf(text, "%ld.%ld.%ld", &parts[0], &parts[1], &parts[2]);
    return (parts[0] * 1000 + parts[1]) * 1000 + parts[2];
}

static long
their_version(struct link *link)
{
    static const char *const argv[] = {"INFO", "server"};
    static const char key[] = "redis_version:";

    link_ask(link, 2, argv);
    const char *at = strstr(link->in.ptr, key);

    assert_non_null(at);
    return version_number(at + sizeof(key) - 1);
}

/* Rows change from one release to the next: compare with the one they were taken from. */
static void
skip_unless_7_0(long version)
{
    if (version / 1000 != 7000) {
        print_message("redis-server is not 7.0\n");
        skip();
    }
}

static bool
is_theirs_too(const struct command *command, long version)
{
    return strcmp(command->group, "faultline") != 0 && version_number(command->since) <= version;
}

static void
rows_are_those_of_command_info(void **state)
{
    struct link link;
    int compared = 0;
    (void)state;

    link_open(&link);
    const long version = their_version(&link);

    skip_unless_7_0(version);
    for (int id = 0; id < COMMANDS_COUNT; id++) {
        const struct command *command = command_by_id((enum command_id)id);
        const char *const argv[] = {"COMMAND", "INFO", command->name};
        struct text ours = {0};
        struct text theirs = {0};

        if (!is_theirs_too(command, version)) {
            continue;
        }
        const uint32_t info = child_at(&link, link_ask(&link, 3, argv), 0);

        assert_int_not_equal(node_at(&link, info)->type, RESP_NULL);
        describe_ours(&ours, command);
        describe_theirs(&theirs, &link, info);
        assert_string_equal(ours.ptr, theirs.ptr);
        text_free(&ours);
        text_free(&theirs);
        compared++;
    }
    assert_true(compared > 80);
    link_close(&link);
}

/* ---- COMMAND DOCS ---- */

static void
add_our_args(struct text *text, const struct command_arg *args, int depth)
{
    for (; args != NULL && args->type != COMMAND_ARG_END; args++) {
        text_addf(text, "%*s%s %s", depth * 2, "", args->name,
                  command_arg_type_name((enum command_arg_type)args->type));
        if (args->token != NULL) {
            text_addf(text, " token %s", args->token);
        }
        if (args->type == COMMAND_ARG_KEY) {
            text_addf(text, " spec %d", args->key_spec);
        }
        text_addf(text, "%s%s\n", (args->flags & COMMAND_ARG_OPTIONAL) != 0 ? " optional" : "",
                  (args->flags & COMMAND_ARG_MULTIPLE) != 0 ? " multiple" : "");
        add_our_args(text, args->args, depth + 1);
    }
}

static void
add_their_args(struct text *text, const struct link *link, uint32_t args, int depth)
{
    if (args == UINT32_MAX) {
        return;
    }
    for (uint32_t i = 0; i < node_at(link, args)->count; i++) {
        const uint32_t arg = child_at(link, args, i);
        const uint32_t token = value_of(link, arg, "token");
        const uint32_t spec = value_of(link, arg, "key_spec_index");
        const uint32_t flags = value_of(link, arg, "flags");

        text_addf(text, "%*s", depth * 2, "");
        add_string(text, link, value_of(link, arg, "name"));
        text_addf(text, " ");
        add_string(text, link, value_of(link, arg, "type"));
        if (token != UINT32_MAX) {
            text_addf(text, " token ");
            add_string(text, link, token);
        }
        if (spec != UINT32_MAX) {
            text_addf(text, " spec %lld", (long long)node_at(link, spec)->integer);
        }
        for (uint32_t k = 0; flags != UINT32_MAX && k < node_at(link, flags)->count; k++) {
            text_addf(text, " ");
            add_string(text, link, child_at(link, flags, k));
        }
        text_addf(text, "\n");
        add_their_args(text, link, value_of(link, arg, "arguments"), depth + 1);
    }
}

static void
rows_are_those_of_command_docs(void **state)
{
    struct link link;
    (void)state;

    link_open(&link);
    const long version = their_version(&link);

    skip_unless_7_0(version);
    for (int id = 0; id < COMMANDS_COUNT; id++) {
        const struct command *command = command_by_id((enum command_id)id);
        const char *const argv[] = {"COMMAND", "DOCS", command->name};
        struct text ours = {0};
        struct text theirs = {0};

        if (!is_theirs_too(command, version)) {
            continue;
        }
        const uint32_t doc = child_at(&link, link_ask(&link, 3, argv), 1);

        text_addf(&ours, "%s group %s since %s\n", command->name, command->group, command->since);
        add_our_args(&ours, command->args, 1);
        text_addf(&theirs, "%s group ", command->name);
        add_string(&theirs, &link, value_of(&link, doc, "group"));
        text_addf(&theirs, " since ");
        add_string(&theirs, &link, value_of(&link, doc, "since"));
        text_addf(&theirs, "\n");
        add_their_args(&theirs, &link, value_of(&link, doc, "arguments"), 1);
        assert_string_equal(ours.ptr, theirs.ptr);
        text_free(&ours);
        text_free(&theirs);
    }
    link_close(&link);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_those_of_command_info),
        cmocka_unit_test(rows_are_those_of_command_docs),
    };

    redis_require();
    return cmocka_run_group_tests_name("redis_commands", tests, redis_start, redis_stop);
}
