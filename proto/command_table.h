/* The commands as data: commands.def made into a table, with lookup, categories and keys.
 *
 * What a command does is not here: a server maps enum command_id to its functions.
 */
#ifndef FL_PROTO_COMMAND_TABLE_H
#define FL_PROTO_COMMAND_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* COMMAND_GET, COMMAND_CONFIG_GET (a subcommand of COMMAND_CONFIG), ...: in the order of
 * commands.def. */
enum command_id {
#define COMMAND(id, ...) COMMAND_##id,
#define SUBCOMMAND(container, id, ...) COMMAND_##container##_##id,
#include "proto/commands.def"
#undef COMMAND
#undef SUBCOMMAND
    COMMANDS_COUNT, /* subcommands included */
    COMMAND_NONE = COMMANDS_COUNT,
};

/* Names and meaning are Redis's. command_flag_name() has the word that COMMAND INFO shows. */
enum command_flag {
    COMMAND_FLAG_WRITE = 1 << 0,    /* may change keys */
    COMMAND_FLAG_READONLY = 1 << 1, /* reads keys and changes none */
    COMMAND_FLAG_DENYOOM = 1 << 2,  /* may take space: refused when there is none */
    COMMAND_FLAG_ADMIN = 1 << 3,    /* administration */
    COMMAND_FLAG_PUBSUB = 1 << 4,
    COMMAND_FLAG_NOSCRIPT = 1 << 5, /* not from a script */
    COMMAND_FLAG_BLOCKING = 1 << 6, /* may wait for another client */
    COMMAND_FLAG_LOADING = 1 << 7,  /* allowed while the store opens */
    COMMAND_FLAG_STALE = 1 << 8,    /* allowed on a replica that lost its master */
    COMMAND_FLAG_SKIP_MONITOR = 1 << 9,
    COMMAND_FLAG_SKIP_SLOWLOG = 1 << 10,
    COMMAND_FLAG_ASKING = 1 << 11,
    COMMAND_FLAG_FAST = 1 << 12,    /* O(1) or O(log N) */
    COMMAND_FLAG_NO_AUTH = 1 << 13, /* allowed before AUTH */
    COMMAND_FLAG_MAY_REPLICATE = 1 << 14,
    COMMAND_FLAG_NO_MANDATORY_KEYS = 1 << 15,
    COMMAND_FLAG_NO_MULTI = 1 << 16,   /* not inside MULTI */
    COMMAND_FLAG_ALLOW_BUSY = 1 << 17, /* allowed while a script runs too long */
};
enum { COMMAND_FLAGS_COUNT = 18 };

/* The categories of ACLs; command_category_name() has "@keyspace" and so on. */
enum command_category {
    COMMAND_CATEGORY_KEYSPACE = 1 << 0,
    COMMAND_CATEGORY_READ = 1 << 1,
    COMMAND_CATEGORY_WRITE = 1 << 2,
    COMMAND_CATEGORY_SET = 1 << 3,
    COMMAND_CATEGORY_SORTEDSET = 1 << 4,
    COMMAND_CATEGORY_LIST = 1 << 5,
    COMMAND_CATEGORY_HASH = 1 << 6,
    COMMAND_CATEGORY_STRING = 1 << 7,
    COMMAND_CATEGORY_BITMAP = 1 << 8,
    COMMAND_CATEGORY_HYPERLOGLOG = 1 << 9,
    COMMAND_CATEGORY_GEO = 1 << 10,
    COMMAND_CATEGORY_STREAM = 1 << 11,
    COMMAND_CATEGORY_PUBSUB = 1 << 12,
    COMMAND_CATEGORY_ADMIN = 1 << 13,
    COMMAND_CATEGORY_FAST = 1 << 14,
    COMMAND_CATEGORY_SLOW = 1 << 15,
    COMMAND_CATEGORY_BLOCKING = 1 << 16,
    COMMAND_CATEGORY_DANGEROUS = 1 << 17,
    COMMAND_CATEGORY_CONNECTION = 1 << 18,
    COMMAND_CATEGORY_TRANSACTION = 1 << 19,
    COMMAND_CATEGORY_SCRIPTING = 1 << 20,
};
enum { COMMAND_CATEGORIES_COUNT = 21 };

/* What a command does with a key: one of the first four, and what it does with the value. */
enum command_key_flag {
    COMMAND_KEY_RO = 1 << 0,     /* reads */
    COMMAND_KEY_RW = 1 << 1,     /* reads and writes */
    COMMAND_KEY_OW = 1 << 2,     /* overwrites */
    COMMAND_KEY_RM = 1 << 3,     /* removes */
    COMMAND_KEY_ACCESS = 1 << 4, /* tells the client about the value */
    COMMAND_KEY_UPDATE = 1 << 5,
    COMMAND_KEY_INSERT = 1 << 6,
    COMMAND_KEY_DELETE = 1 << 7,
    COMMAND_KEY_NOT_KEY = 1 << 8,
    COMMAND_KEY_INCOMPLETE = 1 << 9,
    COMMAND_KEY_VARIABLE = 1 << 10, /* depends on the options given */
};
enum { COMMAND_KEY_FLAGS_COUNT = 11 };

/* Keys at argv[begin], argv[begin + step], ... to `last`: relative to `begin` if >= 0, to the end
 * of argv if < 0 (-1 is the last argument). */
struct command_key_spec {
    uint16_t flags; /* enum command_key_flag */
    int16_t begin;
    int16_t last;
    int16_t step;
    const char *notes; /* NULL: none */
};

enum command_arg_type {
    COMMAND_ARG_END = 0, /* ends a list */
    COMMAND_ARG_STRING,
    COMMAND_ARG_INTEGER,
    COMMAND_ARG_DOUBLE,
    COMMAND_ARG_KEY,
    COMMAND_ARG_PATTERN,
    COMMAND_ARG_UNIX_TIME,
    COMMAND_ARG_PURE_TOKEN, /* the token itself */
    COMMAND_ARG_ONEOF,      /* one of args */
    COMMAND_ARG_BLOCK,      /* all of args */
};

enum command_arg_flag {
    COMMAND_ARG_OPTIONAL = 1,
    COMMAND_ARG_MULTIPLE = 2,
};

/* An argument as COMMAND DOCS describes it. */
struct command_arg {
    const char *name;
    const char *token;              /* the word in front of it, NULL: none */
    const struct command_arg *args; /* of ONEOF and BLOCK, ends with COMMAND_ARG_END */
    uint8_t type;                   /* enum command_arg_type */
    uint8_t flags;                  /* enum command_arg_flag */
    uint8_t key_spec;               /* of a KEY: the index of its spec */
};

/* Fields that don't apply are NULL or 0. Everything is constant and lives as long as the program.
 * */
struct command {
    const char *name; /* in small letters; of a subcommand the full one: "config|get" */
    enum command_id id;
    enum command_id container; /* of a subcommand; else COMMAND_NONE */
    int16_t arity;             /* arguments, the command's name included; -N: N or more */
    uint32_t flags;            /* enum command_flag */
    uint32_t categories;       /* enum command_category, those that flags imply included */
    const struct command_key_spec *keys;
    size_t keys_count;
    const struct command_arg *args; /* ends with COMMAND_ARG_END; NULL: none */
    const char *group;              /* "string" */
    const char *since;              /* Redis's version; Faultline's own for FL.* */
    const char *complexity;
    const char *summary;
    const char *tips;             /* hints for proxies, separated by spaces; "" for none */
    const char *deprecated_since; /* NULL: it isn't */
    const char *replaced_by;
};

/* Never NULL for an id below COMMANDS_COUNT. A container's subcommands follow it directly. */
const struct command *command_by_id(enum command_id id);

/* Names in small letters and in two words, so that a lookup compares without a call. */
struct command_slot {
    uint64_t head;
    uint64_t tail;
    uint16_t id; /* COMMAND_NONE: free */
    uint16_t container;
    uint8_t len;
};

/* A hash table over the names: the same on every run. Read-only once it is made, so any number of
 * threads may look things up. */
enum { COMMAND_SLOTS_COUNT = 256 };
struct command_table {
    struct command_slot slots[COMMAND_SLOTS_COUNT];
};
void command_table_init(struct command_table *table);

/* The command called `name` (bytes of any value, any case), NULL if there is none. O(1). */
const struct command *command_find(const struct command_table *table, const void *name, size_t len);

/* The subcommand of `container` called `name` ("get", any case), NULL if there is none. O(1). */
const struct command *command_find_sub(const struct command_table *table, enum command_id container,
                                       const void *name, size_t len);

/* By a full name: "get", "config|get". NULL if there is none. */
const struct command *command_find_full(const struct command_table *table, const void *name,
                                        size_t len);

/* Number of commands without subcommands (COMMAND COUNT), and of a container's subcommands. */
size_t command_count(void);
size_t command_subs_count(enum command_id container);

static inline bool
command_arity_fits(const struct command *command, size_t argc)
{
    return command->arity >= 0 ? argc == (size_t)command->arity : argc >= (size_t)-command->arity;
}

/* The part of a subcommand's name behind the container's: "get" of "config|get". Else the name. */
const char *command_word(const struct command *command);

/* Where the keys are in one range, as the fields of COMMAND INFO before Redis 7 say: first 0 if
 * there are none. `last` < 0 counts from the end. */
struct command_range {
    int first;
    int last;
    int step;
};
struct command_range command_key_range(const struct command *command);

/* A key among the arguments. */
struct command_key {
    uint32_t index;
    uint16_t flags; /* enum command_key_flag */
};

/* Find the keys of a call with `argc` arguments, whose number fits the arity. Returns how many
 * there are; the first `max` of them are written to `keys`. */
size_t command_keys(const struct command *command, size_t argc, struct command_key *keys,
                    size_t max);

/* Words for a single bit of each set, as replies show them: "readonly", "@read", "RO", "optional".
 * */
const char *command_flag_name(unsigned bit);
const char *command_category_name(unsigned bit);
const char *command_key_flag_name(unsigned bit);
const char *command_arg_type_name(enum command_arg_type type);

#endif
