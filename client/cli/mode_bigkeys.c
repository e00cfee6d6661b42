#include "client/cli/modes.h"

#include "client/cli/scan.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TYPES_MAX = 16,       /* more than servers have; the rest is not told apart */
    KEYS_PER_STEP = 100,  /* three round trips each: few enough, and no long stop for the server */
    STEPS_PER_PAUSE = 10, /* of -i */
};

struct big_type {
    char name[32];
    const char *command; /* asks for the size; NULL: nobody knows how */
    const char *unit;
    uint64_t keys;
    uint64_t total;
    uint64_t biggest;
    char *biggest_key; /* owned; NULL: none yet */
    size_t biggest_key_len;
};

struct big_run {
    struct session *session;
    struct big_type types[TYPES_MAX];
    size_t types_count;
    uint64_t keys_expected;
    uint64_t keys;
    uint64_t keys_bytes;
};

static struct big_type *
type_of(struct big_run *run, const char *name)
{
    static const struct {
        const char *name, *command, *unit;
    } known[] = {
        {"string", "STRLEN", "bytes"}, {"list", "LLEN", "items"},    {"set", "SCARD", "members"},
        {"hash", "HLEN", "fields"},    {"zset", "ZCARD", "members"}, {"stream", "XLEN", "entries"},
    };

    for (size_t i = 0; i < run->types_count; i++) {
        if (strcmp(run->types[i].name, name) == 0) {
            return &run->types[i];
        }
    }
    if (run->types_count == TYPES_MAX) {
        return &run->types[TYPES_MAX - 1];
    }
    struct big_type *type = &run->types[run->types_count++];

    snprintf(type->name, sizeof(type->name), "%s", name);
    type->unit = "";
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(known[i].name, name) == 0) {
            type->command = known[i].command;
            type->unit = known[i].unit;
        }
    }
    return type;
}

static void
print_biggest(const struct big_run *run, const struct big_type *type)
{
    const double percent =
        run->keys_expected > 0 ? 100.0 * (double)run->keys / (double)run->keys_expected : 100;

    printf("[%05.2f%%] Biggest %-6s found so far ", percent < 100 ? percent : 100, type->name);
    output_quoted(stdout, type->biggest_key, type->biggest_key_len);
    printf(" with %" PRIu64 " %s\n", type->biggest, type->unit);
    fflush(stdout);
}

static bool
take_size(struct big_run *run, struct big_type *type, const struct fl_client_reply *key,
          uint64_t size)
{
    size_t len;
    const char *text = fl_client_reply_text(key, &len);

    type->total += size;
    if (type->biggest_key != NULL && size <= type->biggest) {
        return true;
    }
    char *copy = malloc(len + 1);

    if (copy == NULL) {
        return false;
    }
    memcpy(copy, text, len + 1);
    free(type->biggest_key);
    type->biggest_key = copy;
    type->biggest_key_len = len;
    type->biggest = size;
    print_biggest(run, type);
    return true;
}

/* Queue "command key". */
static fl_status
ask_about(struct fl_client *client, const char *command, const struct fl_client_reply *key)
{
    size_t lens[2] = {strlen(command), 0};
    const char *argv[2] = {command, fl_client_reply_text(key, &lens[1])};

    return fl_client_append(client, 2, argv, lens);
}

/* Types of the keys into types[]: NULL for those that are gone already, or no keys at all. */
static fl_status
find_types(struct big_run *run, const struct fl_client_reply *keys, struct big_type **types)
{
    struct fl_client *client = run->session->client;
    const size_t count = fl_client_reply_count(keys);
    fl_status status = FL_OK;

    for (size_t i = 0; i < count && status == FL_OK; i++) {
        types[i] = NULL;
        if (fl_client_reply_text(fl_client_reply_item(keys, i), NULL) == NULL) {
            return FL_PROTOCOL;
        }
        status = ask_about(client, "TYPE", fl_client_reply_item(keys, i));
    }
    for (size_t i = 0; i < count && status == FL_OK; i++) {
        struct fl_client_reply *reply = NULL;

        status = fl_client_read(client, &reply);
        if (status != FL_OK) {
            break;
        }
        const char *name = fl_client_reply_text(reply, NULL);

        if (fl_client_reply_type(reply) == FL_CLIENT_STATUS && strcmp(name, "none") != 0) {
            types[i] = type_of(run, name);
        }
        fl_client_reply_destroy(reply);
    }
    return status;
}

/* One step's keys: their types, then their sizes, each in one pipeline. */
static fl_status
take_keys(struct big_run *run, const struct fl_client_reply *keys, struct big_type **types)
{
    struct fl_client *client = run->session->client;
    const size_t count = fl_client_reply_count(keys);
    fl_status status = find_types(run, keys, types);

    for (size_t i = 0; i < count && status == FL_OK; i++) {
        if (types[i] != NULL && types[i]->command != NULL) {
            status = ask_about(client, types[i]->command, fl_client_reply_item(keys, i));
        }
    }
    for (size_t i = 0; i < count && status == FL_OK; i++) {
        const struct fl_client_reply *key = fl_client_reply_item(keys, i);
        struct fl_client_reply *reply = NULL;
        size_t len;

        fl_client_reply_text(key, &len);
        run->keys++;
        run->keys_bytes += len;
        if (types[i] == NULL) {
            continue;
        }
        types[i]->keys++;
        if (types[i]->command == NULL) {
            continue;
        }
        status = fl_client_read(client, &reply);
        /* An error: the key has another type by now. */
        if (status == FL_OK && fl_client_reply_type(reply) == FL_CLIENT_INTEGER &&
            !take_size(run, types[i], key, (uint64_t)fl_client_reply_integer(reply))) {
            status = FL_NO_MEMORY;
        }
        fl_client_reply_destroy(reply);
    }
    return status;
}

static void
print_summary(const struct big_run *run)
{
    printf("\n-------- summary -------\n\nSampled %" PRIu64 " keys in the keyspace!\n", run->keys);
    printf("Total key length in bytes is %" PRIu64 " (avg len %.2f)\n\n", run->keys_bytes,
           run->keys > 0 ? (double)run->keys_bytes / (double)run->keys : 0);
    for (size_t i = 0; i < run->types_count; i++) {
        const struct big_type *type = &run->types[i];

        if (type->biggest_key != NULL) {
            printf("Biggest %6s found ", type->name);
            output_quoted(stdout, type->biggest_key, type->biggest_key_len);
            printf(" has %" PRIu64 " %s\n", type->biggest, type->unit);
        }
    }
    printf("\n");
    for (size_t i = 0; i < run->types_count; i++) {
        const struct big_type *type = &run->types[i];
        const double keys = type->keys > 0 ? (double)type->keys : 1;

        printf("%" PRIu64 " %ss with %" PRIu64 " %s (%05.2f%% of keys, avg size %.2f)\n",
               type->keys, type->name, type->total, type->unit, 100.0 * keys / (double)run->keys,
               (double)type->total / keys);
    }
}

static uint64_t
keys_expected(struct session *session)
{
    const char *const argv[] = {"DBSIZE"};
    struct fl_client_reply *reply = session_ask(session, 1, argv, NULL);
    const int64_t count = reply != NULL ? fl_client_reply_integer(reply) : 0;

    fl_client_reply_destroy(reply);
    return count > 0 ? (uint64_t)count : 0;
}

/* All keys, step by step. False, with the reason printed, if it didn't get to the end. */
static bool
run_steps(struct big_run *run)
{
    struct scan scan = {.session = run->session, .count = KEYS_PER_STEP};
    struct fl_client_reply *reply;
    const struct fl_client_reply *keys;
    bool failed;

    for (uint64_t step = 0; scan_next(&scan, &reply, &keys, &failed); step++) {
        const size_t count = fl_client_reply_count(keys);
        struct big_type **types = calloc(count + 1, sizeof(struct big_type *));
        const fl_status status = types != NULL ? take_keys(run, keys, types) : FL_NO_MEMORY;

        free(types);
        fl_client_reply_destroy(reply);
        if (status != FL_OK) {
            fprintf(stderr, "faultline-cli: looking at keys failed: %s\n",
                    status == FL_NO_MEMORY ? "no memory" : session_why());
            fl_client_close(run->session->client);
            run->session->client = NULL;
            return false;
        }
        if (run->session->args->interval_s > 0 && step % STEPS_PER_PAUSE == STEPS_PER_PAUSE - 1) {
            session_pause(run->session, 0);
        }
    }
    return !failed;
}

enum cli_exit
mode_bigkeys(struct session *session)
{
    struct big_run run = {.session = session};

    run.keys_expected = keys_expected(session);
    if (session->client == NULL) {
        return CLI_EXIT_NO_CONNECTION;
    }
    printf("# Scanning the entire keyspace to find the biggest key of each type.%s\n\n",
           session->args->interval_s > 0 ? "" : " -i 0.1 makes it gentle on a busy server.");
    const bool complete = run_steps(&run);

    if (complete) {
        print_summary(&run);
    }
    for (size_t i = 0; i < run.types_count; i++) {
        free(run.types[i].biggest_key);
    }
    return complete ? CLI_EXIT_OK : scan_failed_exit(session);
}
