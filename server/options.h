/* The server's options: one table serves flags, the configuration file, CONFIG GET / SET and
 * --help. */
#ifndef FL_SERVER_OPTIONS_H
#define FL_SERVER_OPTIONS_H

#include <faultline/faultline.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    OPTIONS_BIND_BYTES = 512,
    OPTIONS_PATH_BYTES = 1024,
    OPTIONS_SOCKET_BYTES = 108, /* sun_path */
    OPTIONS_SECRET_BYTES = 512,
    OPTIONS_VALUE_BYTES = 1024, /* the longest value, as text */
    OPTIONS_WHY_BYTES = 512,
};

/* No pointers: a copy is a whole set of options. */
struct options {
    char config[OPTIONS_PATH_BYTES];
    char bind[OPTIONS_BIND_BYTES]; /* addresses, separated by blanks */
    uint64_t port; /* 0: no TCP; with --port 0 and no unixsocket: an ephemeral port */
    char unixsocket[OPTIONS_SOCKET_BYTES];
    uint64_t unixsocketperm; /* 0: what umask leaves */
    char store[OPTIONS_PATH_BYTES];
    uint64_t mapping;        /* enum fl_mapping */
    uint64_t durability_min; /* enum fl_durability */
    uint64_t size_max;       /* bytes; 0: as the store is */
    uint64_t block_bytes;    /* read when the store is created */
    uint64_t blocks_ahead;
    uint64_t threads_open;
    uint64_t verify_reads; /* yes or no */
    char requirepass[OPTIONS_SECRET_BYTES];
    uint64_t maxclients;
    uint64_t loop;      /* enum loop_kind */
    uint64_t log_level; /* enum log_level */
    uint64_t timeout_s; /* idle clients are closed after it; 0: never */
    uint64_t tcp_keepalive_s;
    uint64_t tcp_backlog;
    uint64_t proto_max_bulk_len; /* bytes */
    uint64_t query_buffer_limit; /* bytes of unexecuted input a client may have */
    uint64_t output_hard;        /* bytes of unsent output: over it the client is closed; 0: none */
    uint64_t output_soft;        /* over it for output_soft_s: the same; 0: none */
    uint64_t output_soft_s;
};

enum options_action {
    OPTIONS_RUN,
    OPTIONS_HELP,
    OPTIONS_VERSION,
};

enum options_flags {
    OPTION_LIVE = 1,   /* CONFIG SET and SIGHUP can change it */
    OPTION_SECRET = 2, /* never logged */
};

void options_init(struct options *options);

/* FL_OK if there is an option of that name, in any case, else FL_NOT_FOUND. */
FL_NODISCARD fl_status options_known(const char *name);

/* Set one option by name, as in the file or a flag without its dashes. The value is checked
 * against its range. Errors: FL_NOT_FOUND (no such option), FL_INVALID; fl_last_error() says
 * why. */
FL_NODISCARD fl_status options_set(struct options *options, const char *name, const char *value);

/* Flags of the command line, `--name value` or `--name=value`; --config is read first, so that
 * flags win. A first argument without dashes is taken for the configuration file, as
 * redis-server does. What is given twice counts as it is given last, but `bind`, which is refused. Errors: as
 * options_set(), options_load(). */
FL_NODISCARD fl_status options_parse(struct options *options, int argc, char **argv,
                                     enum options_action *action);

/* Lines `name value` or `name = value`; '#' and ';' begin comments. Errors: FL_NOT_FOUND (no
 * such file), FL_IO, FL_INVALID: the text has the file's name and line. `options` may be changed
 * in part then. */
FL_NODISCARD fl_status options_load(struct options *options, const char *path);

/* What can't be judged option by option: an open bind without a password, no listener at all.
 * Errors: FL_INVALID. */
FL_NODISCARD fl_status options_check(const struct options *options);

/* Why the last of the above failed: fl_last_error() without the place in our sources that it ends with. What is
 * wrong is in the reader's command line or file. */
void options_why(char *why, size_t cap);

/* Whether each of the addresses in `bind` is a loopback address. */
bool options_bind_is_loopback(const char *bind);

/* The table, for CONFIG GET and for tests: i from 0 until false. *name is static. The value is
 * written as CONFIG GET shows it. */
bool options_at(const struct options *options, size_t i, const char **name, unsigned *flags,
                char value[OPTIONS_VALUE_BYTES]);

/* Copy from `from` what OPTION_LIVE lets change; *ignored counts the others that differ. */
void options_apply_live(struct options *options, const struct options *from, unsigned *ignored);

/* The text of --help. */
void options_help(char *buf, size_t cap);

#endif
