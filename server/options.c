#include "server/options.h"

#include "base/fail.h"
#include "base/log.h"
#include "server/loop.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum kind {
    KIND_TEXT,
    KIND_NUMBER,
    KIND_OCTAL,
    KIND_BYTES, /* "64mb", "1gb", "1000" */
    KIND_YES_NO,
    KIND_CHOICE,
    KIND_OUTPUT_LIMIT, /* "normal HARD SOFT SECONDS" */
};

struct choice {
    const char *name; /* NULL ends the list */
    uint64_t value;
};

struct option {
    const char *name;
    enum kind kind;
    unsigned flags; /* enum options_flags */
    size_t off;     /* in struct options */
    size_t cap;     /* of a text */
    uint64_t min, max;
    const struct choice *choices;
    const char *value_name; /* in --help */
    const char *help;
};

static const struct choice mappings[] = {
    {"auto", FL_MAPPING_AUTO},         {"dax", FL_MAPPING_DAX},     {"page", FL_MAPPING_PAGE},
    {"volatile", FL_MAPPING_VOLATILE}, {"model", FL_MAPPING_MODEL}, {NULL, 0},
};
static const struct choice durabilities[] = {
    {"powercut", FL_DURABILITY_POWERCUT},
    {"process", FL_DURABILITY_PROCESS},
    {NULL, 0},
};
static const struct choice loops[] = {
    {"auto", LOOP_AUTO}, {"uring", LOOP_URING}, {"epoll", LOOP_EPOLL}, {NULL, 0}};
static const struct choice levels[] = {{"debug", LOGGER_DEBUG},
                                       {"info", LOGGER_INFO},
                                       {"warning", LOGGER_WARNING},
                                       {"error", LOGGER_ERROR},
                                       {NULL, 0}};

#define TEXT(member) offsetof(struct options, member), sizeof(((struct options *)NULL)->member)
#define PLACE(member) offsetof(struct options, member), 0
#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)
#define TIB ((uint64_t)1 << 40)

static const struct option table[] = {
    {"config", KIND_TEXT, 0, TEXT(config), 0, 0, NULL, "FILE",
     "read options from FILE, lines \"name value\"; flags win over it"},
    {"bind", KIND_TEXT, 0, TEXT(bind), 0, 0, NULL, "ADDR",
     "addresses to listen on (127.0.0.1); others than loopback need --requirepass"},
    {"port", KIND_NUMBER, 0, PLACE(port), 0, 65535, NULL, "N",
     "TCP port (6379); 0: none with --unixsocket, else one that is free"},
    {"unixsocket", KIND_TEXT, 0, TEXT(unixsocket), 0, 0, NULL, "PATH",
     "listen on a unix socket as well"},
    {"unixsocketperm", KIND_OCTAL, 0, PLACE(unixsocketperm), 0, 0777, NULL, "MODE",
     "its permissions, octal (what umask leaves)"},
    {"store", KIND_TEXT, 0, TEXT(store), 0, 0, NULL, "PATH",
     "the store's file, created if absent (./data); modelfs:DEVICE/NAME is one of a model device"},
    {"mapping", KIND_CHOICE, 0, PLACE(mapping), 0, 0, mappings, "KIND",
     "auto, dax, page, volatile or model (auto: the strongest that the file grants)"},
    {"durability-min", KIND_CHOICE, 0, PLACE(durability_min), 0, 0, durabilities, "LEVEL",
     "refuse to start below it: powercut or process (powercut)"},
    {"requirepass", KIND_TEXT, OPTION_LIVE | OPTION_SECRET, TEXT(requirepass), 0, 0, NULL, "P",
     "the password that clients must give"},
    {"maxclients", KIND_NUMBER, OPTION_LIVE, PLACE(maxclients), 1, 1000000, NULL, "N",
     "connections at a time (10000)"},
    {"loop", KIND_CHOICE, 0, PLACE(loop), 0, 0, loops, "KIND",
     "auto, uring or epoll (auto: io_uring where it is allowed)"},
    {"log-level", KIND_CHOICE, OPTION_LIVE, PLACE(log_level), 0, 0, levels, "LEVEL",
     "debug, info, warning or error (info)"},
    {"timeout", KIND_NUMBER, OPTION_LIVE, PLACE(timeout_s), 0, 31536000, NULL, "SECONDS",
     "close clients that are idle for so long (0: never)"},
    {"tcp-keepalive", KIND_NUMBER, OPTION_LIVE, PLACE(tcp_keepalive_s), 0, 86400, NULL, "SECONDS",
     "probe silent clients after so long (300; 0: never)"},
    {"tcp-backlog", KIND_NUMBER, 0, PLACE(tcp_backlog), 1, 65535, NULL, "N",
     "connections waiting to be accepted (511)"},
    {"proto-max-bulk-len", KIND_BYTES, OPTION_LIVE, PLACE(proto_max_bulk_len), MIB,
     (uint64_t)FL_VALUE_BYTES_MAX, NULL, "BYTES", "longest argument of a request (512mb)"},
    {"client-query-buffer-limit", KIND_BYTES, OPTION_LIVE, PLACE(query_buffer_limit), MIB, 64 * GIB,
     NULL, "BYTES", "unexecuted requests that a client may have waiting (1gb)"},
    {"client-output-buffer-limit", KIND_OUTPUT_LIMIT, OPTION_LIVE, PLACE(output_hard), 0, 0, NULL,
     "\"normal HARD SOFT SECONDS\"",
     "unread replies for which a client is closed (1gb 0 0; 0: no limit)"},
    {"size-max", KIND_BYTES, 0, PLACE(size_max), 0, 1024 * TIB, NULL, "BYTES",
     "size over which the store never grows (0: as it is; 1tb when it is created)"},
    {"block-bytes", KIND_BYTES, 0, PLACE(block_bytes), 4096, GIB, NULL, "BYTES",
     "block of a new store (2mb)"},
    {"blocks-ahead", KIND_NUMBER, 0, PLACE(blocks_ahead), 1, 65536, NULL, "N",
     "blocks kept ready ahead of the log (4)"},
    {"threads-open", KIND_NUMBER, 0, PLACE(threads_open), 0, 1024, NULL, "N",
     "threads that rebuild the index at start (0: one a core)"},
    {"verify-reads", KIND_YES_NO, 0, PLACE(verify_reads), 0, 0, NULL, "yes|no",
     "check the checksum of what is read (yes)"},
};
enum { OPTIONS_COUNT = sizeof(table) / sizeof(table[0]) };

void
options_init(struct options *options)
{
    struct fl_options store;

    fl_options_init(&store);
    *options = (struct options){
        .bind = "127.0.0.1",
        .port = 6379,
        .store = "./data",
        .mapping = FL_MAPPING_AUTO,
        .durability_min = FL_DURABILITY_POWERCUT,
        .size_max = store.size_bytes_max,
        .block_bytes = store.block_bytes,
        .blocks_ahead = store.blocks_ahead,
        .verify_reads = store.verify_reads,
        .maxclients = 10000,
        .loop = LOOP_AUTO,
        .log_level = LOGGER_INFO,
        .tcp_keepalive_s = 300,
        .tcp_backlog = 511,
        .proto_max_bulk_len = 512 * MIB,
        .query_buffer_limit = GIB,
        .output_hard = GIB,
    };
}

static const struct option *
option_find(const char *name)
{
    for (size_t i = 0; i < OPTIONS_COUNT; i++) {
        if (strcasecmp(table[i].name, name) == 0) {
            return &table[i];
        }
    }
    return NULL;
}

fl_status
options_known(const char *name)
{
    if (option_find(name) == NULL) {
        return FL_FAIL(FL_NOT_FOUND, "no option is called '%s'; --help lists them", name);
    }
    return FL_OK;
}

static uint64_t *
number_at(struct options *options, const struct option *option)
{
    return (uint64_t *)(void *)((char *)options + option->off);
}

static uint64_t
number_of(const struct options *options, const struct option *option)
{
    return *(const uint64_t *)(const void *)((const char *)options + option->off);
}

/* ---- values ---- */

static bool
parse_number(const char *text, int base, uint64_t *out, const char **rest)
{
    char *end;

    if (!isdigit((unsigned char)text[0])) {
        return false;
    }
    errno = 0;
    *out = strtoull(text, &end, base);
    *rest = end;
    return errno == 0;
}

/* A unit of "k" is 1000, of "kb" 1024, as in Redis. */
static bool
parse_bytes(const char *text, uint64_t *out)
{
    static const struct choice units[] = {
        {"", 1},
        {"b", 1},
        {"k", 1000},
        {"kb", 1 << 10},
        {"m", 1000000},
        {"mb", 1 << 20},
        {"g", 1000000000},
        {"gb", 1 << 30},
        {"t", 1000000000000},
        {"tb", (uint64_t)1 << 40},
        {NULL, 0},
    };
    const char *unit;

    if (!parse_number(text, 10, out, &unit)) {
        return false;
    }
    for (size_t i = 0; units[i].name != NULL; i++) {
        if (strcasecmp(units[i].name, unit) == 0) {
            return !__builtin_mul_overflow(*out, units[i].value, out);
        }
    }
    return false;
}

static fl_status
set_choice(struct options *options, const struct option *option, const char *value)
{
    char known[128] = "";
    size_t len = 0;

    for (const struct choice *choice = option->choices; choice->name != NULL; choice++) {
        if (strcasecmp(choice->name, value) == 0) {
            *number_at(options, option) = choice->value;
            return FL_OK;
        }
        len += (size_t)snprintf(known + len, sizeof(known) - len, "%s%s", len > 0 ? ", " : "",
                                choice->name);
    }
    return FL_FAIL(FL_INVALID, "%s: '%s' is none of %s", option->name, value, known);
}

static fl_status
set_range(struct options *options, const struct option *option, const char *value, bool parsed,
          uint64_t number)
{
    if (!parsed) {
        return FL_FAIL(FL_INVALID, "%s: '%s' is not a number%s", option->name, value,
                       option->kind == KIND_BYTES ? " of bytes such as 64mb" : "");
    }
    if (number < option->min || number > option->max) {
        return FL_FAIL(FL_INVALID, "%s: %s is not within %" PRIu64 " and %" PRIu64, option->name,
                       value, option->min, option->max);
    }
    *number_at(options, option) = number;
    return FL_OK;
}

/* Redis's classes besides "normal" have no clients here: their limits are accepted and mean
 * nothing. */
static fl_status
set_output_limit(struct options *options, const char *value)
{
    char text[OPTIONS_VALUE_BYTES];
    char *rest = NULL;
    const char *words[4];
    uint64_t numbers[3];
    const char *behind = "";

    snprintf(text, sizeof(text), "%s", value);
    char *word = strtok_r(text, " \t", &rest);

    if (word == NULL) {
        return FL_FAIL(FL_INVALID, "client-output-buffer-limit: no limits given");
    }
    while (word != NULL) {
        for (size_t i = 0; i < 4; i++) {
            if (word == NULL) {
                return FL_FAIL(FL_INVALID,
                               "client-output-buffer-limit: a class, hard and soft limit and "
                               "seconds belong together");
            }
            words[i] = word;
            word = strtok_r(NULL, " \t", &rest);
        }
        if (!parse_bytes(words[1], &numbers[0]) || !parse_bytes(words[2], &numbers[1]) ||
            !parse_number(words[3], 10, &numbers[2], &behind) || *behind != '\0') {
            return FL_FAIL(FL_INVALID, "client-output-buffer-limit: '%s %s %s' are no limits",
                           words[1], words[2], words[3]);
        }
        if (strcasecmp(words[0], "normal") == 0) {
            options->output_hard = numbers[0];
            options->output_soft = numbers[1];
            options->output_soft_s = numbers[2];
        } else if (strcasecmp(words[0], "replica") != 0 && strcasecmp(words[0], "slave") != 0 &&
                   strcasecmp(words[0], "pubsub") != 0) {
            return FL_FAIL(FL_INVALID, "client-output-buffer-limit: no class '%s'", words[0]);
        }
    }
    return FL_OK;
}

static fl_status
set_text(struct options *options, const struct option *option, const char *value)
{
    if (strlen(value) >= option->cap) {
        return FL_FAIL(FL_INVALID, "%s: longer than %zu bytes", option->name, option->cap - 1);
    }
    memset((char *)options + option->off, 0, option->cap);
    memcpy((char *)options + option->off, value, strlen(value));
    return FL_OK;
}

fl_status
options_set(struct options *options, const char *name, const char *value)
{
    const struct option *option = option_find(name);
    uint64_t number = 0;
    const char *rest = "";
    bool parsed;

    if (option == NULL) {
        return options_known(name);
    }
    switch (option->kind) {
    case KIND_TEXT:
        return set_text(options, option, value);
    case KIND_CHOICE:
        return set_choice(options, option, value);
    case KIND_OUTPUT_LIMIT:
        return set_output_limit(options, value);
    case KIND_BYTES:
        parsed = parse_bytes(value, &number);
        return set_range(options, option, value, parsed, number);
    case KIND_YES_NO:
        number = strcasecmp(value, "yes") == 0;
        if (number == 0 && strcasecmp(value, "no") != 0) {
            return FL_FAIL(FL_INVALID, "%s: '%s' is neither yes nor no", option->name, value);
        }
        *number_at(options, option) = number;
        return FL_OK;
    case KIND_NUMBER:
    case KIND_OCTAL:
    default:
        parsed = parse_number(value, option->kind == KIND_OCTAL ? 8 : 10, &number, &rest) &&
                 *rest == '\0';
        return set_range(options, option, value, parsed, number);
    }
}

bool
options_at(const struct options *options, size_t i, const char **name, unsigned *flags,
           char value[OPTIONS_VALUE_BYTES])
{
    if (i >= OPTIONS_COUNT) {
        return false;
    }
    const struct option *option = &table[i];
    const uint64_t number = option->kind == KIND_TEXT ? 0 : number_of(options, option);

    *name = option->name;
    *flags = option->flags;
    if (option->kind == KIND_TEXT) {
        snprintf(value, OPTIONS_VALUE_BYTES, "%s", (const char *)options + option->off);
    } else if (option->kind == KIND_YES_NO) {
        snprintf(value, OPTIONS_VALUE_BYTES, "%s", number != 0 ? "yes" : "no");
    } else if (option->kind == KIND_OCTAL) {
        snprintf(value, OPTIONS_VALUE_BYTES, "%" PRIo64, number);
    } else if (option->kind == KIND_OUTPUT_LIMIT) {
        snprintf(value, OPTIONS_VALUE_BYTES, "normal %" PRIu64 " %" PRIu64 " %" PRIu64,
                 options->output_hard, options->output_soft, options->output_soft_s);
    } else if (option->kind == KIND_CHOICE) {
        const struct choice *choice = option->choices;

        while (choice->value != number) {
            choice++;
        }
        snprintf(value, OPTIONS_VALUE_BYTES, "%s", choice->name);
    } else {
        snprintf(value, OPTIONS_VALUE_BYTES, "%" PRIu64, number);
    }
    return true;
}

void
options_apply_live(struct options *options, const struct options *from, unsigned *ignored)
{
    char mine[OPTIONS_VALUE_BYTES];
    char theirs[OPTIONS_VALUE_BYTES];
    const char *name;
    unsigned flags;

    *ignored = 0;
    for (size_t i = 0; options_at(options, i, &name, &flags, mine); i++) {
        options_at(from, i, &name, &flags, theirs);
        if (strcmp(mine, theirs) == 0) {
            continue;
        }
        if ((flags & OPTION_LIVE) == 0 || options_set(options, name, theirs) != FL_OK) {
            *ignored += 1;
        }
    }
}

/* ---- judging the whole ---- */

static bool
is_loopback(const char *host)
{
    struct in_addr in;
    struct in6_addr in6;

    if (inet_pton(AF_INET, host, &in) == 1) {
        return (ntohl(in.s_addr) >> 24) == 127;
    }
    if (inet_pton(AF_INET6, host, &in6) == 1) {
        return IN6_IS_ADDR_LOOPBACK(&in6);
    }
    return strcasecmp(host, "localhost") == 0;
}

bool
options_bind_is_loopback(const char *bind)
{
    char hosts[OPTIONS_BIND_BYTES];
    char *rest = NULL;

    snprintf(hosts, sizeof(hosts), "%s", bind);
    for (char *host = strtok_r(hosts, " \t", &rest); host != NULL;
         host = strtok_r(NULL, " \t", &rest)) {
        if (!is_loopback(host[0] == '-' ? host + 1 : host)) {
            return false;
        }
    }
    return true;
}

fl_status
options_check(const struct options *options)
{
    const bool tcp = options->port != 0 || options->unixsocket[0] == '\0';

    if (options->store[0] == '\0') {
        return FL_FAIL(FL_INVALID, "store: a path is needed");
    }
    if ((options->block_bytes & (options->block_bytes - 1)) != 0) {
        return FL_FAIL(FL_INVALID, "block-bytes: %llu is not a power of two",
                       (unsigned long long)options->block_bytes);
    }
    if (tcp && strspn(options->bind, " \t") == strlen(options->bind)) {
        return FL_FAIL(FL_INVALID, "bind: no address to listen on");
    }
    if (tcp && options->requirepass[0] == '\0' && !options_bind_is_loopback(options->bind)) {
        return FL_FAIL(FL_INVALID,
                       "bind %s: everybody who reaches that address could read and write; set a "
                       "password with --requirepass, or bind 127.0.0.1",
                       options->bind);
    }
    return FL_OK;
}

void
options_why(char *why, size_t cap)
{
    snprintf(why, cap, "%s", fl_last_error());
    char *origin = strrchr(why, '(');

    if (origin != NULL && origin > why && origin[-1] == ' ') {
        origin[-1] = '\0';
    }
}

void
options_help(char *buf, size_t cap)
{
    size_t len = (size_t)snprintf(
        buf, cap,
        "usage: faultline-server [FILE] [--NAME VALUE] ...\n\n"
        "A durable key-value server that Redis clients talk to. FILE is a configuration file.\n\n");

    for (size_t i = 0; i < OPTIONS_COUNT && len < cap; i++) {
        char flag[96];

        snprintf(flag, sizeof(flag), "--%s %s", table[i].name, table[i].value_name);
        len += (size_t)snprintf(buf + len, cap - len,
                                strlen(flag) > 30 ? "  %s\n%34s%s\n" : "  %-30s  %s%s\n", flag, "",
                                table[i].help);
    }
    if (len < cap) {
        snprintf(buf + len, cap - len,
                 "  --version                       print the version\n"
                 "  --help                          print this\n\n"
                 "SIGHUP reads the file again; SIGTERM and SIGINT end the server cleanly.\n");
    }
}
