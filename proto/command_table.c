#include "proto/command_table.h"

#include <string.h>

/* ---- the words of commands.def ---- */

enum {
    NO_FLAGS = 0,
    WRITE = COMMAND_FLAG_WRITE,
    READONLY = COMMAND_FLAG_READONLY,
    DENYOOM = COMMAND_FLAG_DENYOOM,
    ADMIN = COMMAND_FLAG_ADMIN,
    NOSCRIPT = COMMAND_FLAG_NOSCRIPT,
    LOADING = COMMAND_FLAG_LOADING,
    STALE = COMMAND_FLAG_STALE,
    SKIP_SLOWLOG = COMMAND_FLAG_SKIP_SLOWLOG,
    FAST = COMMAND_FLAG_FAST,
    NO_AUTH = COMMAND_FLAG_NO_AUTH,
    NO_MULTI = COMMAND_FLAG_NO_MULTI,
    ALLOW_BUSY = COMMAND_FLAG_ALLOW_BUSY,

    NO_CATEGORIES = 0,
    KEYSPACE = COMMAND_CATEGORY_KEYSPACE,
    STRING = COMMAND_CATEGORY_STRING,
    DANGEROUS = COMMAND_CATEGORY_DANGEROUS,
    CONNECTION = COMMAND_CATEGORY_CONNECTION,
    TRANSACTION = COMMAND_CATEGORY_TRANSACTION,

    RO = COMMAND_KEY_RO,
    RW = COMMAND_KEY_RW,
    OW = COMMAND_KEY_OW,
    RM = COMMAND_KEY_RM,
    ACCESS = COMMAND_KEY_ACCESS,
    UPDATE = COMMAND_KEY_UPDATE,
    INSERT = COMMAND_KEY_INSERT,
    DELETE = COMMAND_KEY_DELETE,
    VARIABLE = COMMAND_KEY_VARIABLE,

    OPTIONAL = COMMAND_ARG_OPTIONAL,
    MULTIPLE = COMMAND_ARG_MULTIPLE,
};

/* Categories that follow from flags, as in Redis. */
#define CATEGORIES_OF(flags)                                                                       \
    ((((flags)&WRITE) ? COMMAND_CATEGORY_WRITE : 0) |                                              \
     (((flags)&READONLY) ? COMMAND_CATEGORY_READ : 0) |                                            \
     (((flags)&ADMIN) ? COMMAND_CATEGORY_ADMIN | COMMAND_CATEGORY_DANGEROUS : 0) |                 \
     (((flags)&COMMAND_FLAG_PUBSUB) ? COMMAND_CATEGORY_PUBSUB : 0) |                               \
     (((flags)&COMMAND_FLAG_BLOCKING) ? COMMAND_CATEGORY_BLOCKING : 0) |                           \
     (((flags)&FAST) ? COMMAND_CATEGORY_FAST : COMMAND_CATEGORY_SLOW))

/* In parentheses, so that their commas don't part the arguments of ROW. */
#define NO_KEYS NULL
#define KEYS(...) ((const struct command_key_spec[]){__VA_ARGS__})
/* 0 of NO_KEYS, since a pointer is smaller than a spec. */
#define KEYS_COUNT(specs) (sizeof(specs) / sizeof(struct command_key_spec))
_Static_assert(sizeof(NULL) < sizeof(struct command_key_spec), "KEYS_COUNT(NO_KEYS) is 0");

#define KEY_RANGE(key_flags, first, end, by)                                                       \
    {                                                                                              \
        .flags = (key_flags), .begin = (first), .last = (end), .step = (by)                        \
    }
#define KEY(key_flags, at) KEY_RANGE(key_flags, at, 0, 1)
#define KEY_NOTED(key_flags, at, text)                                                             \
    {                                                                                              \
        .flags = (key_flags), .begin = (at), .last = 0, .step = 1, .notes = (text)                 \
    }

#define NO_ARGS NULL
#define ARGS(...) ((const struct command_arg[]){__VA_ARGS__, {.type = COMMAND_ARG_END}})
#define ARG_OF(kind, arg_name, arg_token, arg_flags)                                               \
    {                                                                                              \
        .type = COMMAND_ARG_##kind, .name = (arg_name), .token = (arg_token), .flags = (arg_flags) \
    }
#define ARG(kind, arg_name) ARG_OF(kind, arg_name, NULL, 0)
#define OPT(kind, arg_name) ARG_OF(kind, arg_name, NULL, OPTIONAL)
#define MANY(kind, arg_name) ARG_OF(kind, arg_name, NULL, MULTIPLE)
#define OPT_MANY(kind, arg_name) ARG_OF(kind, arg_name, NULL, OPTIONAL | MULTIPLE)
#define WITH(arg_token, kind, arg_name) ARG_OF(kind, arg_name, arg_token, 0)
#define OPT_WITH(arg_token, kind, arg_name) ARG_OF(kind, arg_name, arg_token, OPTIONAL)
#define TOKEN(arg_name, arg_token) ARG_OF(PURE_TOKEN, arg_name, arg_token, 0)
#define OPT_TOKEN(arg_name, arg_token) ARG_OF(PURE_TOKEN, arg_name, arg_token, OPTIONAL)
#define ARG_KEY_OF(spec, arg_name)                                                                 \
    {                                                                                              \
        .type = COMMAND_ARG_KEY, .name = (arg_name), .key_spec = (spec)                            \
    }
#define GROUP_OF(kind, arg_name, arg_token, arg_flags, ...)                                        \
    {                                                                                              \
        .type = COMMAND_ARG_##kind, .name = (arg_name), .token = (arg_token),                      \
        .flags = (arg_flags), .args = ARGS(__VA_ARGS__)                                            \
    }
#define ONEOF(...) GROUP_OF(ONEOF, __VA_ARGS__)
#define BLOCK(...) GROUP_OF(BLOCK, __VA_ARGS__)

#define NO_TIPS ""
#define TIPS(text) text
#define DEPRECATED(version, replacement) .deprecated_since = (version), .replaced_by = (replacement)

/* ---- the table ---- */

#define ROW(full_id, container_id, full_name, arity_count, flag_bits, category_bits, key_specs,    \
            group_name, version, cost, text, arguments, hints, ...)                                \
    [COMMAND_##                                                                                    \
        full_id] = {.name = (full_name),                                                           \
                    .id = COMMAND_##full_id,                                                       \
                    .container = (container_id),                                                   \
                    .arity = (arity_count),                                                        \
                    .flags = (flag_bits),                                                          \
                    .categories = (uint32_t)(category_bits) | (uint32_t)CATEGORIES_OF(flag_bits),  \
                    .keys = (key_specs),                                                           \
                    .keys_count = KEYS_COUNT(key_specs),                                           \
                    .args = (arguments),                                                           \
                    .group = (group_name),                                                         \
                    .since = (version),                                                            \
                    .complexity = (cost),                                                          \
                    .summary = (text),                                                             \
                    .tips = (hints),                                                               \
                    __VA_ARGS__},
#define COMMAND(id, ...) ROW(id, COMMAND_NONE, __VA_ARGS__)
#define SUBCOMMAND(container, id, ...) ROW(container##_##id, COMMAND_##container, __VA_ARGS__)

static const struct command commands[COMMANDS_COUNT] = {
#include "proto/commands.def"
};

const struct command *
command_by_id(enum command_id id)
{
    return &commands[id];
}

const char *
command_word(const struct command *command)
{
    const char *bar = strchr(command->name, '|');

    return bar != NULL ? bar + 1 : command->name;
}

size_t
command_count(void)
{
    size_t count = 0;

    for (size_t i = 0; i < COMMANDS_COUNT; i++) {
        count += commands[i].container == COMMAND_NONE;
    }
    return count;
}

size_t
command_subs_count(enum command_id container)
{
    size_t count = 0;

    for (size_t i = (size_t)container + 1; i < COMMANDS_COUNT; i++) {
        if (commands[i].container != container) {
            break;
        }
        count++;
    }
    return count;
}

/* ---- lookup ---- */

enum {
    WORD_BYTES = 8,
    NAME_BYTES_MAX = 2 * WORD_BYTES, /* of a command's word; longer ones aren't in the table */
};

/* A name of up to 16 bytes as two numbers, capitals made small. Together with the length they tell
 * names apart. */
struct name_words {
    uint64_t head;
    uint64_t tail;
};

static uint64_t
lower_bytes(uint64_t word)
{
    const uint64_t ones = 0x0101010101010101;
    const uint64_t low_bits = word & (0x7f * ones);
    /* The high bit of each byte: is it >= 'A', is it > 'Z'. */
    const uint64_t from_a = low_bits + (0x80 - 'A') * ones;
    const uint64_t past_z = low_bits + (0x80 - 'Z' - 1) * ones;
    const uint64_t capital = from_a & ~past_z & ~word & (0x80 * ones);

    return word | (capital >> 2);
}

static uint64_t
load_word(const char *at, size_t len)
{
    uint64_t word = 0;
    uint32_t low;
    uint32_t high;

    if (len == WORD_BYTES) {
        memcpy(&word, at, WORD_BYTES);
    } else if (len >= 4) { /* two loads that overlap */
        memcpy(&low, at, 4);
        memcpy(&high, at + len - 4, 4);
        word = low | (uint64_t)high << (8 * (len - 4));
    } else if (len > 0) {
        word = (unsigned char)at[0] | (uint64_t)(unsigned char)at[len / 2] << (8 * (len / 2)) |
               (uint64_t)(unsigned char)at[len - 1] << (8 * (len - 1));
    }
    return lower_bytes(word);
}

static struct name_words
name_words(const void *name, size_t len)
{
    const char *at = name;

    if (len <= WORD_BYTES) {
        return (struct name_words){.head = load_word(at, len)};
    }
    return (struct name_words){
        .head = load_word(at, WORD_BYTES),
        .tail = load_word(at + len - WORD_BYTES, WORD_BYTES),
    };
}

static size_t
slot_of(struct name_words words, size_t len, enum command_id container)
{
    const uint64_t mixed =
        (words.head ^ words.tail << 7 ^ words.tail >> 57 ^ len << 59 ^ (uint64_t)container << 40) *
        0x9e3779b97f4a7c15;

    return (size_t)(mixed >> 56) % COMMAND_SLOTS_COUNT;
}

void
command_table_init(struct command_table *table)
{
    for (size_t i = 0; i < COMMAND_SLOTS_COUNT; i++) {
        table->slots[i] = (struct command_slot){.id = COMMAND_NONE};
    }
    for (size_t i = 0; i < COMMANDS_COUNT; i++) {
        const char *word = command_word(&commands[i]);
        const size_t len = strlen(word);
        const struct name_words words = name_words(word, len);
        size_t at = slot_of(words, len, commands[i].container);

        while (table->slots[at].id != COMMAND_NONE) {
            at = (at + 1) % COMMAND_SLOTS_COUNT;
        }
        table->slots[at] = (struct command_slot){
            .head = words.head,
            .tail = words.tail,
            .id = (uint16_t)i,
            .container = (uint16_t)commands[i].container,
            .len = (uint8_t)len,
        };
    }
}

_Static_assert(COMMANDS_COUNT * 2 <= COMMAND_SLOTS_COUNT, "keep the table half empty");

const struct command *
command_find_sub(const struct command_table *table, enum command_id container, const void *name,
                 size_t len)
{
    if (len > NAME_BYTES_MAX) {
        return NULL;
    }
    const struct name_words words = name_words(name, len);

    for (size_t at = slot_of(words, len, container);; at = (at + 1) % COMMAND_SLOTS_COUNT) {
        const struct command_slot *slot = &table->slots[at];

        if (slot->id == COMMAND_NONE) {
            return NULL;
        }
        if (slot->head == words.head && slot->tail == words.tail && slot->len == len &&
            slot->container == (uint16_t)container) {
            return &commands[slot->id];
        }
    }
}

const struct command *
command_find(const struct command_table *table, const void *name, size_t len)
{
    return command_find_sub(table, COMMAND_NONE, name, len);
}

const struct command *
command_find_full(const struct command_table *table, const void *name, size_t len)
{
    const char *bar = memchr(name, '|', len);

    if (bar == NULL) {
        return command_find(table, name, len);
    }
    const size_t head_len = (size_t)(bar - (const char *)name);
    const struct command *container = command_find(table, name, head_len);

    if (container == NULL) {
        return NULL;
    }
    return command_find_sub(table, container->id, bar + 1, len - head_len - 1);
}

/* ---- keys ---- */

/* Redis sums up the specs that are plain ranges next to each other. */
struct command_range
command_key_range(const struct command *command)
{
    struct command_range range = {0, 0, 0};

    for (size_t i = 0; i < command->keys_count; i++) {
        const struct command_key_spec *spec = &command->keys[i];
        const int last = spec->last >= 0 ? spec->begin + spec->last : spec->last;

        if (range.first == 0) {
            range = (struct command_range){spec->begin, last, spec->step};
        } else if (range.last > 0 && spec->begin == range.last + 1 && spec->step == range.step) {
            range.last = last;
        }
    }
    return range;
}

size_t
command_keys(const struct command *command, size_t argc, struct command_key *keys, size_t max)
{
    size_t count = 0;

    for (size_t i = 0; i < command->keys_count; i++) {
        const struct command_key_spec *spec = &command->keys[i];
        const size_t last =
            spec->last >= 0 ? (size_t)(spec->begin + spec->last) : argc - (size_t)-spec->last;

        for (size_t at = (size_t)spec->begin; at <= last && at < argc; at += (size_t)spec->step) {
            if (count < max) {
                keys[count] = (struct command_key){.index = (uint32_t)at, .flags = spec->flags};
            }
            count++;
        }
    }
    return count;
}

/* ---- words ---- */

const char *
command_flag_name(unsigned bit)
{
    static const char *const names[COMMAND_FLAGS_COUNT] = {
        "write",    "readonly",     "denyoom",       "admin",
        "pubsub",   "noscript",     "blocking",      "loading",
        "stale",    "skip_monitor", "skip_slowlog",  "asking",
        "fast",     "no_auth",      "may_replicate", "no_mandatory_keys",
        "no_multi", "allow_busy",
    };

    return names[bit];
}

const char *
command_category_name(unsigned bit)
{
    static const char *const names[COMMAND_CATEGORIES_COUNT] = {
        "@keyspace",   "@read",        "@write",     "@set",         "@sortedset", "@list",
        "@hash",       "@string",      "@bitmap",    "@hyperloglog", "@geo",       "@stream",
        "@pubsub",     "@admin",       "@fast",      "@slow",        "@blocking",  "@dangerous",
        "@connection", "@transaction", "@scripting",
    };

    return names[bit];
}

const char *
command_key_flag_name(unsigned bit)
{
    static const char *const names[COMMAND_KEY_FLAGS_COUNT] = {
        "RO",     "RW",     "OW",      "RM",         "access",         "update",
        "insert", "delete", "not_key", "incomplete", "variable_flags",
    };

    return names[bit];
}

const char *
command_arg_type_name(enum command_arg_type type)
{
    static const char *const names[] = {
        [COMMAND_ARG_END] = "",
        [COMMAND_ARG_STRING] = "string",
        [COMMAND_ARG_INTEGER] = "integer",
        [COMMAND_ARG_DOUBLE] = "double",
        [COMMAND_ARG_KEY] = "key",
        [COMMAND_ARG_PATTERN] = "pattern",
        [COMMAND_ARG_UNIX_TIME] = "unix-time",
        [COMMAND_ARG_PURE_TOKEN] = "pure-token",
        [COMMAND_ARG_ONEOF] = "oneof",
        [COMMAND_ARG_BLOCK] = "block",
    };

    return names[type];
}
