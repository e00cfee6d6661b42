#include "tests/integration/kill9/clients.h"

#include "tests/lib/die.h"
#include "tests/lib/rng.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { IO_MS = 30000, READER_DEPTH = 8 };

struct hand {
    struct clients *clients;
    unsigned number; /* the writer's */
    struct rng rng;
    struct fl_client *client;
    uint8_t *value;
};

static void __attribute__((format(printf, 2, 3)))
fault(struct clients *clients, const char *format, ...)
{
    va_list args;

    pthread_mutex_lock(&clients->lock);
    if (clients->error[0] == '\0') {
        va_start(args, format);
        vsnprintf(clients->error, sizeof(clients->error), format, args);
        va_end(args);
    }
    pthread_mutex_unlock(&clients->lock);
}

/* A call failed: the server was killed, or it should not have. */
static void
lost_connection(struct clients *clients, fl_status status)
{
    if (!atomic_load(&clients->killed) || (status != FL_CLOSED && status != FL_IO)) {
        fault(clients, "connection lost before the kill (status %d): %s", (int)status,
              fl_last_error());
    }
}

/* ---- writers ---- */

static fl_status
append_set(struct hand *hand, const struct ledger_step *step, unsigned i)
{
    char key[LEDGER_KEY_BYTES + 1];
    const size_t len =
        ledger_value(hand->clients->seed, hand->number, i, step->number, hand->value);
    const char *const argv[] = {"SET", key, (const char *)hand->value};
    const size_t lens[] = {3, LEDGER_KEY_BYTES, len};

    ledger_key(hand->number, i, key);
    return fl_client_append(hand->client, 3, argv, lens);
}

static fl_status
append_delete(struct hand *hand, const struct ledger_step *step)
{
    char keys[LEDGER_MEMBERS][LEDGER_KEY_BYTES + 1];
    const char *argv[1 + LEDGER_MEMBERS] = {"DEL"};

    for (unsigned i = 0; i < step->count; i++) {
        ledger_key(hand->number, step->first + i, keys[i]);
        argv[1 + i] = keys[i];
    }
    return fl_client_append(hand->client, 1 + step->count, argv, NULL);
}

static fl_status
append_mset(struct hand *hand, const struct ledger_step *step)
{
    char keys[LEDGER_MEMBERS][LEDGER_KEY_BYTES + 1];
    const char *argv[1 + 2 * LEDGER_MEMBERS] = {"MSET"};
    size_t lens[1 + 2 * LEDGER_MEMBERS] = {4};
    uint8_t *at = hand->value;

    for (unsigned i = 0; i < step->count; i++) {
        ledger_key(hand->number, step->first + i, keys[i]);
        argv[1 + 2 * i] = keys[i];
        lens[1 + 2 * i] = LEDGER_KEY_BYTES;
        argv[2 + 2 * i] = (const char *)at;
        lens[2 + 2 * i] =
            ledger_value(hand->clients->seed, hand->number, step->first + i, step->number, at);
        at += lens[2 + 2 * i];
    }
    return fl_client_append(hand->client, 1 + 2 * (size_t)step->count, argv, lens);
}

static fl_status
append_exec(struct hand *hand, const struct ledger_step *step)
{
    static const char *const multi[] = {"MULTI"};
    static const char *const incr[] = {"INCR", CLIENTS_COUNTER};
    static const char *const exec[] = {"EXEC"};
    fl_status status = fl_client_append(hand->client, 1, multi, NULL);

    for (unsigned i = 0; i < step->count && status == FL_OK; i++) {
        status = append_set(hand, step, step->first + i);
    }
    if (status == FL_OK) {
        status = fl_client_append(hand->client, 2, incr, NULL);
    }
    return status == FL_OK ? fl_client_append(hand->client, 1, exec, NULL) : status;
}

static fl_status
append_step(struct hand *hand, const struct ledger_step *step)
{
    switch (step->kind) {
    case LEDGER_SET:
        return append_set(hand, step, step->first);
    case LEDGER_GROUP_SET:
        return append_mset(hand, step);
    case LEDGER_GROUP_EXEC:
        return append_exec(hand, step);
    case LEDGER_DELETE:
    case LEDGER_GROUP_DELETE:
    default:
        return append_delete(hand, step);
    }
}

/* Read one reply, which must be of `type`; an array has `count` items, none of them an error. */
static fl_status
expect(struct hand *hand, const struct ledger_step *step, enum fl_client_type type, size_t count)
{
    struct fl_client_reply *reply = NULL;
    const fl_status status = fl_client_read(hand->client, &reply);

    if (status != FL_OK) {
        return status;
    }
    bool good = fl_client_reply_type(reply) == type && fl_client_reply_count(reply) == count;

    for (size_t i = 0; i < count && good; i++) {
        good = fl_client_reply_type(fl_client_reply_item(reply, i)) != FL_CLIENT_ERROR;
    }
    if (!good) {
        const char *text = fl_client_reply_text(reply, NULL);

        fault(hand->clients, "writer %u, step %" PRIu64 ": a reply of type %s: %s", hand->number,
              step->number, fl_client_type_name(fl_client_reply_type(reply)),
              text != NULL ? text : "");
    }
    fl_client_reply_destroy(reply);
    return FL_OK;
}

static fl_status
read_step(struct hand *hand, const struct ledger_step *step)
{
    fl_status status = FL_OK;

    switch (step->kind) {
    case LEDGER_GROUP_EXEC:
        for (unsigned i = 0; i < step->count + 2 && status == FL_OK; i++) {
            status = expect(hand, step, FL_CLIENT_STATUS, 0);
        }
        return status == FL_OK ? expect(hand, step, FL_CLIENT_ARRAY, step->count + 1) : status;
    case LEDGER_SET:
    case LEDGER_GROUP_SET:
        return expect(hand, step, FL_CLIENT_STATUS, 0);
    case LEDGER_DELETE:
    case LEDGER_GROUP_DELETE:
    default:
        return expect(hand, step, FL_CLIENT_INTEGER, 0);
    }
}

static fl_status
write_pipeline(struct hand *hand, struct ledger *ledger)
{
    const uint64_t depth = 1 + rng_below(&hand->rng, hand->clients->pipelines_max);
    fl_status status = FL_OK;

    for (uint64_t i = 1; i <= depth && status == FL_OK; i++) {
        const struct ledger_step step = ledger_step(ledger->seed, hand->number, ledger->acked + i);

        status = append_step(hand, &step);
    }
    ledger->sent = ledger->acked + depth;
    for (uint64_t i = 1; i <= depth && status == FL_OK; i++) {
        const struct ledger_step step = ledger_step(ledger->seed, hand->number, ledger->acked + 1);

        status = read_step(hand, &step);
        if (status == FL_OK) {
            ledger->acked++;
        }
    }
    return status;
}

static void *
writer_main(void *arg)
{
    struct hand *hand = arg;
    struct ledger *ledger = &hand->clients->ledgers[hand->number];
    fl_status status = FL_OK;

    while (status == FL_OK) {
        status = write_pipeline(hand, ledger);
    }
    lost_connection(hand->clients, status);
    fl_client_close(hand->client);
    free(hand->value);
    free(hand);
    return NULL;
}

/* ---- the reader ---- */

static void
look_at(struct hand *hand, unsigned writer, unsigned i, const struct fl_client_reply *reply,
        uint64_t *number)
{
    size_t len = 0;
    const char *value = fl_client_reply_text(reply, &len);

    *number = 0;
    if (fl_client_reply_type(reply) == FL_CLIENT_STRING) {
        *number = ledger_identify(hand->clients->seed, writer, i, value, len, hand->value);
        if (*number == 0) {
            fault(hand->clients, "the reader got wrong bytes for writer %u's key %u", writer, i);
        }
    } else if (fl_client_reply_type(reply) != FL_CLIENT_NIL) {
        fault(hand->clients, "the reader got a %s: %s",
              fl_client_type_name(fl_client_reply_type(reply)), value != NULL ? value : "");
    }
    if (*number > hand->clients->seen[writer]) {
        hand->clients->seen[writer] = *number;
    }
    hand->clients->reads++;
}

static fl_status
read_single(struct hand *hand, unsigned writer)
{
    struct fl_client_reply *reply = NULL;
    const unsigned i = (unsigned)rng_below(&hand->rng, LEDGER_SINGLES);
    char key[LEDGER_KEY_BYTES + 1];
    uint64_t number;

    ledger_key(writer, i, key);
    const fl_status status = fl_client_call(hand->client, &reply, "GET", key, NULL);

    if (status == FL_OK) {
        look_at(hand, writer, i, reply, &number);
        fl_client_reply_destroy(reply);
    }
    return status;
}

static fl_status
read_group(struct hand *hand, unsigned writer)
{
    struct fl_client_reply *reply = NULL;
    const unsigned first =
        LEDGER_SINGLES + (unsigned)rng_below(&hand->rng, LEDGER_GROUPS) * LEDGER_MEMBERS;
    char keys[LEDGER_MEMBERS][LEDGER_KEY_BYTES + 1];
    const char *argv[1 + LEDGER_MEMBERS] = {"MGET"};
    uint64_t numbers[LEDGER_MEMBERS];

    for (unsigned i = 0; i < LEDGER_MEMBERS; i++) {
        ledger_key(writer, first + i, keys[i]);
        argv[1 + i] = keys[i];
    }
    const fl_status status =
        fl_client_command(hand->client, 1 + LEDGER_MEMBERS, argv, NULL, &reply);

    if (status != FL_OK) {
        return status;
    }
    for (unsigned i = 0; i < LEDGER_MEMBERS; i++) {
        look_at(hand, writer, first + i, fl_client_reply_item(reply, i), &numbers[i]);
        if (numbers[i] != numbers[0]) {
            fault(hand->clients, "the reader met half of writer %u's step %" PRIu64, writer,
                  numbers[i] > numbers[0] ? numbers[i] : numbers[0]);
        }
    }
    fl_client_reply_destroy(reply);
    return FL_OK;
}

static void *
reader_main(void *arg)
{
    struct hand *hand = arg;
    fl_status status = FL_OK;

    while (status == FL_OK) {
        const unsigned writer = (unsigned)rng_below(&hand->rng, CLIENTS_WRITERS);

        status =
            rng_below(&hand->rng, 2) == 0 ? read_single(hand, writer) : read_group(hand, writer);
    }
    lost_connection(hand->clients, status);
    fl_client_close(hand->client);
    free(hand->value);
    free(hand);
    return NULL;
}

/* ---- together ---- */

static pthread_t
launch(struct clients *clients, unsigned number, void *(*body)(void *))
{
    struct hand *hand = calloc(1, sizeof(*hand));
    pthread_t thread;

    if (hand == NULL) {
        die("out of memory");
    }
    hand->clients = clients;
    hand->number = number;
    hand->rng.state = clients->seed ^ ((uint64_t)number << 40) ^ clients->ledgers[0].settled;
    hand->value = malloc((size_t)LEDGER_VALUE_BYTES_MAX);
    hand->client = subject_connect(clients->subject, IO_MS);
    if (hand->value == NULL || pthread_create(&thread, NULL, body, hand) != 0) {
        die("no memory or no thread for a client");
    }
    return thread;
}

void
clients_start(struct clients *clients, const struct subject *subject, struct ledger *ledgers,
              uint64_t seed, unsigned pipelines_max)
{
    memset(clients, 0, sizeof(*clients));
    clients->subject = subject;
    clients->ledgers = ledgers;
    clients->seed = seed;
    clients->pipelines_max = pipelines_max;
    pthread_mutex_init(&clients->lock, NULL);
    for (unsigned i = 0; i < CLIENTS_WRITERS; i++) {
        clients->writers[i] = launch(clients, i, writer_main);
    }
    clients->reader = launch(clients, CLIENTS_WRITERS, reader_main);
}

bool
clients_join(struct clients *clients)
{
    for (unsigned i = 0; i < CLIENTS_WRITERS; i++) {
        pthread_join(clients->writers[i], NULL);
    }
    pthread_join(clients->reader, NULL);
    for (unsigned i = 0; i < CLIENTS_WRITERS; i++) {
        clients->ledgers[i].seen = clients->seen[i];
    }
    pthread_mutex_destroy(&clients->lock);
    return clients->error[0] == '\0';
}

/* ---- what is there ---- */

static struct fl_client_reply *
ask(struct fl_client *client, size_t argc, const char *const *argv)
{
    struct fl_client_reply *reply = NULL;

    if (fl_client_command(client, argc, argv, NULL, &reply) != FL_OK ||
        fl_client_reply_type(reply) == FL_CLIENT_ERROR) {
        die("%s after the restart: %s", argv[0],
            reply != NULL ? fl_client_reply_text(reply, NULL) : fl_last_error());
    }
    return reply;
}

static void
observe_points(struct fl_client *client, uint64_t seed, unsigned writer,
               uint64_t observed[LEDGER_KEYS], uint8_t *scratch)
{
    char keys[LEDGER_KEYS][LEDGER_KEY_BYTES + 1];
    const char *argv[1 + LEDGER_KEYS] = {"MGET"};

    for (unsigned i = 0; i < LEDGER_KEYS; i++) {
        ledger_key(writer, i, keys[i]);
        argv[1 + i] = keys[i];
    }
    struct fl_client_reply *reply = ask(client, 1 + LEDGER_KEYS, argv);

    for (unsigned i = 0; i < LEDGER_KEYS; i++) {
        const struct fl_client_reply *item = fl_client_reply_item(reply, i);
        size_t len = 0;
        const char *value = fl_client_reply_text(item, &len);

        observed[i] = 0;
        if (fl_client_reply_type(item) == FL_CLIENT_STRING) {
            observed[i] = ledger_identify(seed, writer, i, value, len, scratch);
            if (observed[i] == 0) {
                die("writer %u's key %u has %zu wrong bytes", writer, i, len);
            }
        }
    }
    fl_client_reply_destroy(reply);
}

/* The next key that was observed, from *at on; false at the end. The counter comes last. */
static bool
next_key(uint64_t observed[CLIENTS_WRITERS][LEDGER_KEYS], bool counter, unsigned *at, char *key)
{
    while (*at < CLIENTS_WRITERS * LEDGER_KEYS) {
        const unsigned writer = *at / LEDGER_KEYS;
        const unsigned i = *at % LEDGER_KEYS;

        *at += 1;
        if (observed[writer][i] != 0) {
            ledger_key(writer, i, key);
            return true;
        }
    }
    if (*at == CLIENTS_WRITERS * LEDGER_KEYS && counter) {
        *at += 1;
        strcpy(key, CLIENTS_COUNTER);
        return true;
    }
    return false;
}

static void
same_text(const struct fl_client_reply *item, const char *key, const char *what)
{
    size_t len = 0;
    const char *text = fl_client_reply_text(item, &len);

    if (text == NULL || len != strlen(key) || memcmp(text, key, len) != 0) {
        die("%s: expected %s, got %s", what, key, text != NULL ? text : "the end");
    }
}

static void
check_order(struct fl_client *client, uint64_t seed,
            uint64_t observed[CLIENTS_WRITERS][LEDGER_KEYS], bool counter, uint8_t *scratch)
{
    static const char *const forward[] = {"FL.RANGE", "", ""};
    static const char *const backward[] = {"FL.RANGE", "", "", "REV", "KEYSONLY"};
    struct fl_client_reply *pairs = ask(client, 3, forward);
    struct fl_client_reply *keys = ask(client, 5, backward);
    const size_t count = fl_client_reply_count(keys);
    char key[LEDGER_KEY_BYTES + 1];
    unsigned at = 0;
    size_t met = 0;

    while (next_key(observed, counter, &at, key)) {
        const unsigned place = at - 1;
        size_t len = 0;
        const char *value = fl_client_reply_text(fl_client_reply_item(pairs, 2 * met + 1), &len);

        same_text(fl_client_reply_item(pairs, 2 * met), key, "in order");
        same_text(met < count ? fl_client_reply_item(keys, count - 1 - met) : NULL, key,
                  "in order backwards");
        if (place < CLIENTS_WRITERS * LEDGER_KEYS &&
            ledger_identify(seed, place / LEDGER_KEYS, place % LEDGER_KEYS, value, len, scratch) !=
                observed[place / LEDGER_KEYS][place % LEDGER_KEYS]) {
            die("in order, %s has another value than by point", key);
        }
        met++;
    }
    if (count != met || fl_client_reply_count(pairs) != 2 * met) {
        die("%zu keys by point, %zu in order, %zu backwards", met, fl_client_reply_count(pairs) / 2,
            count);
    }
    fl_client_reply_destroy(pairs);
    fl_client_reply_destroy(keys);

    struct fl_client_reply *size = ask(client, 1, (const char *const[]){"DBSIZE"});

    if (fl_client_reply_integer(size) != (int64_t)met) {
        die("DBSIZE is %" PRId64 ", there are %zu keys", fl_client_reply_integer(size), met);
    }
    fl_client_reply_destroy(size);
}

void
clients_observe(const struct subject *subject, uint64_t seed,
                uint64_t observed[CLIENTS_WRITERS][LEDGER_KEYS], uint64_t *execs)
{
    static const char *const get[] = {"GET", CLIENTS_COUNTER};
    struct fl_client *client = subject_connect(subject, IO_MS);
    uint8_t *scratch = malloc((size_t)LEDGER_VALUE_BYTES_MAX);

    if (scratch == NULL) {
        die("out of memory");
    }
    for (unsigned writer = 0; writer < CLIENTS_WRITERS; writer++) {
        observe_points(client, seed, writer, observed[writer], scratch);
    }
    struct fl_client_reply *reply = ask(client, 2, get);
    const char *text = fl_client_reply_text(reply, NULL);

    *execs = text != NULL ? strtoull(text, NULL, 10) : 0;
    check_order(client, seed, observed, text != NULL, scratch);
    fl_client_reply_destroy(reply);
    free(scratch);
    fl_client_close(client);
}
