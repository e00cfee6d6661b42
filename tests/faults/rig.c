#include "tests/faults/rig.h"

#include "server/conn.h"
#include "server/listener.h"
#include "tests/faults/inject.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

enum { ROUNDS = 3, TURNS_MAX = 12000, NAP_US = 100, REQUEST_BYTES = 1 << 16 };

size_t
rig_value(uint32_t version, char value[RIG_VALUE_MAX])
{
    const size_t len = version % 5 == 0 ? 600 + version * 211 % 4000 : 10 + version * 17 % 300;

    for (size_t i = 0; i < len; i++) {
        value[i] = (char)('a' + (version * 7 + i * 3 + i / 97) % 26);
    }
    return len;
}

/* ---- the server ---- */

void
rig_init(struct rig *rig, enum loop_kind loop, enum fl_mapping mapping)
{
    struct options options;

    memset(rig, 0, sizeof(*rig));
    tmpdir_create_in(&rig->dir, "/dev/shm");
    (void)tmpdir_join(&rig->dir, "store", rig->store_path);
    (void)tmpdir_join(&rig->dir, "socket", rig->socket_path);
    fl_options_init(&rig->store_options);
    rig->store_options.mapping = mapping;
    rig->store_options.durability_min = FL_DURABILITY_PROCESS;
    rig->store_options.block_bytes = 4096;
    rig->store_options.size_bytes_max = 512 * 4096;
    rig->store_options.threads_open = 1;
    rig->store_options.background = mapping == FL_MAPPING_PAGE; /* commits then complete later */
    rig->fd = -1;
    assert_int_equal(fl_open(rig->store_path, &rig->store_options, &rig->store), FL_OK);
    options_init(&options);
    options.loop = loop;
    options.maxclients = 50;
    assert_int_equal(options_set(&options, "port", "0"), FL_OK);
    assert_int_equal(options_set(&options, "unixsocket", rig->socket_path), FL_OK);
    rig->server = calloc(1, sizeof(*rig->server));
    assert_non_null(rig->server);
    logger_init(&rig->server->logger, STDERR_FILENO, LOGGER_ERROR + 1);
    rig->server->signal_fd = -1;
    fl_status status = (fl_status)INJECTED(server_init(rig->server, &options));

    if (status == FL_OK) {
        status = (fl_status)INJECTED(listener_open_all(rig->server));
    }
    if (status == FL_OK) {
        status = (fl_status)INJECTED(server_start(rig->server, rig->store));
    }
    rig->runs = status == FL_OK;
}

static void
turn(struct rig *rig)
{
    if (rig->runs) {
        rig->server->cron_due_ms = 0; /* it doesn't wait */
        rig->runs = INJECTED(server_turn(rig->server)) == FL_OK;
    }
}

void
rig_deinit(struct rig *rig)
{
    if (rig->fd >= 0) {
        close(rig->fd);
    }
    server_deinit(rig->server);
    free(rig->server);
    const fl_status closed = fl_close(rig->store);

    assert_true(closed == FL_OK || closed == FL_IO);
    tmpdir_destroy(&rig->dir);
}

/* ---- the client ---- */

static bool
reconnect(struct rig *rig)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};

    if (rig->fd >= 0) {
        return true;
    }
    if (!rig->runs) {
        return false;
    }
    rig->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(rig->fd >= 0);
    assert_true(strlen(rig->socket_path) < sizeof(at.sun_path));
    memcpy(at.sun_path, rig->socket_path, strlen(rig->socket_path));
    if (connect(rig->fd, (struct sockaddr *)&at, sizeof(at)) != 0) {
        close(rig->fd);
        rig->fd = -1;
        return false;
    }
    assert_int_equal(fcntl(rig->fd, F_SETFL, O_NONBLOCK), 0);
    rig->reply_len = 0;
    return true;
}

void
rig_cut_off(struct rig *rig)
{
    close(rig->fd);
    rig->fd = -1;
    rig->cuts++;
}

/* Bytes of the first reply in the buffer, 0: it isn't whole yet. Arrays of simple replies and bulks. */
static size_t
reply_bytes(const char *reply, size_t len)
{
    const char *end = memchr(reply, '\n', len);

    if (end == NULL) {
        return 0;
    }
    const size_t line = (size_t)(end - reply) + 1;
    const long n = strtol(reply + 1, NULL, 10);

    if (reply[0] == '$' && n >= 0) {
        return len >= line + (size_t)n + 2 ? line + (size_t)n + 2 : 0;
    }
    size_t at = line;

    for (long i = 0; reply[0] == '*' && i < n; i++) {
        const size_t one = at < len ? reply_bytes(reply + at, len - at) : 0;

        if (one == 0) {
            return 0;
        }
        at += one;
    }
    return at;
}

static void
receive(struct rig *rig)
{
    const ssize_t got =
        recv(rig->fd, rig->reply + rig->reply_len, RIG_REPLY_BYTES - rig->reply_len - 1, 0);

    if (got > 0) {
        rig->reply_len += (size_t)got;
        rig->reply[rig->reply_len] = '\0';
    } else if (got == 0 || errno != EAGAIN) {
        rig_cut_off(rig);
    }
}

/* Send a request and have its reply. NULL: cut off, or there is no answer from a server that has failed. */
const char *
rig_ask(struct rig *rig, const char *request, size_t len)
{
    size_t sent = 0;
    size_t bytes = 0;

    rig->sent = false;
    if (!reconnect(rig)) {
        return NULL;
    }
    rig->reply_len = 0;
    for (int i = 0; i < TURNS_MAX && rig->fd >= 0 && rig->runs; i++) {
        if (sent < len) {
            const ssize_t n = send(rig->fd, request + sent, len - sent, MSG_NOSIGNAL);

            sent += n > 0 ? (size_t)n : 0;
            rig->sent |= n > 0;
        }
        turn(rig);
        receive(rig);
        bytes = reply_bytes(rig->reply, rig->reply_len);
        if (bytes > 0) {
            assert_int_equal(bytes, rig->reply_len);
            rig->errors += rig->reply[0] == '-';
            return rig->reply;
        }
        if (i > 20) {
            usleep(NAP_US);
        }
    }
    if (rig->fd >= 0) {
        rig_cut_off(rig); /* it never answers: as a client that gives up */
    }
    return NULL;
}

static size_t
words(char *request, unsigned count, const char *const *words, const size_t *lens)
{
    size_t at = (size_t)sprintf(request, "*%u\r\n", count);

    for (unsigned i = 0; i < count; i++) {
        at += (size_t)sprintf(request + at, "$%zu\r\n", lens[i]);
        memcpy(request + at, words[i], lens[i]);
        at += lens[i];
        memcpy(request + at, "\r\n", 2);
        at += 2;
    }
    return at;
}

/* A write of some keys, one version each, as one command or transaction, was answered by `reply`. */
static void
wrote(struct rig *rig, const char *reply, bool done, const unsigned *keys, const uint32_t *versions,
      unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        const unsigned key = keys[i];

        if (done) {
            rig->now[key] = versions[i];
            rig->maybes[key] = 0;
        } else if (reply == NULL && rig->sent) {
            assert_true(rig->maybes[key] < RIG_MAYBES);
            rig->maybe[key][rig->maybes[key]++] = versions[i];
        }
    }
}

/* The i-th version that a key may be of, the acknowledged one first. */
uint32_t
rig_may_be(const struct rig *rig, unsigned key, unsigned i)
{
    return i == 0 ? rig->now[key] : rig->maybe[key][i - 1];
}

void
rig_set(struct rig *rig, unsigned key)
{
    static char request[REQUEST_BYTES];
    static char value[RIG_VALUE_MAX];
    char name[16];
    const uint32_t version = ++rig->version;

    const size_t len = rig_value(version, value);
    const char *const word[] = {"SET", name, value};
    const size_t lens[] = {3, (size_t)sprintf(name, "key%u", key), len};
    const char *reply = rig_ask(rig, request, words(request, 3, word, lens));

    wrote(rig, reply, reply != NULL && reply[0] == '+', &key, &version, 1);
}

static void
do_del(struct rig *rig, unsigned key)
{
    char request[64];
    const uint32_t none = 0;
    const char *reply =
        rig_ask(rig, request, (size_t)sprintf(request, "*2\r\n$3\r\nDEL\r\n$4\r\nkey%u\r\n", key));

    wrote(rig, reply, reply != NULL && reply[0] == ':', &key, &none, 1);
}

/* MULTI, two SETs and EXEC, sent at once. */
static void
do_transaction(struct rig *rig, unsigned key)
{
    static char request[REQUEST_BYTES];
    static char value[2][RIG_VALUE_MAX];
    char name[2][16];
    const unsigned keys[] = {key, key + 1};
    const uint32_t versions[] = {rig->version + 1, rig->version + 2};
    size_t at = (size_t)sprintf(request, "*1\r\n$5\r\nMULTI\r\n");

    rig->version += 2;
    for (unsigned i = 0; i < 2; i++) {
        const size_t len = rig_value(versions[i], value[i]);
        const char *const word[] = {"SET", name[i], value[i]};
        const size_t lens[] = {3, (size_t)sprintf(name[i], "key%u", keys[i]), len};

        at += words(request + at, 3, word, lens);
    }
    at += (size_t)sprintf(request + at, "*1\r\n$4\r\nEXEC\r\n");

    /* Four replies; only the last one counts. */
    size_t sent = 0;
    bool whole = false;

    rig->sent = false;
    if (!reconnect(rig)) {
        return;
    }
    rig->reply_len = 0;
    for (int i = 0; i < TURNS_MAX && rig->fd >= 0 && rig->runs && !whole; i++) {
        const ssize_t n = sent < at ? send(rig->fd, request + sent, at - sent, MSG_NOSIGNAL) : 0;
        size_t place = 0;
        unsigned replies = 0;

        sent += n > 0 ? (size_t)n : 0;
        rig->sent |= n > 0;
        turn(rig);
        receive(rig);
        for (size_t one = 1; one > 0 && place<rig->reply_len; replies += one> 0) {
            one = reply_bytes(rig->reply + place, rig->reply_len - place);
            place += one;
        }
        whole = replies == 4;
        if (i > 20) {
            usleep(NAP_US);
        }
    }
    if (!whole && rig->fd >= 0) {
        rig_cut_off(rig);
    }
    /* A command that fails leaves the others of its transaction standing, as Redis has it. */
    const char *exec = whole ? strstr(rig->reply, "*2\r\n") : NULL;

    rig->errors += exec == NULL || strchr(exec, '-') != NULL;
    for (unsigned i = 0; i < 2; i++) {
        const char *one = exec == NULL ? NULL : i == 0 ? exec + 4 : strchr(exec + 4, '\n') + 1;

        wrote(rig, whole ? rig->reply : NULL, one != NULL && one[0] == '+', &keys[i], &versions[i],
              1);
    }
}

static bool
reply_is(const char *reply, uint32_t version)
{
    static char wanted[RIG_VALUE_MAX + 32];
    size_t at = 0;

    if (version == 0) {
        return strcmp(reply, "$-1\r\n") == 0;
    }
    static char value[RIG_VALUE_MAX];
    const size_t len = rig_value(version, value);

    at = (size_t)sprintf(wanted, "$%zu\r\n", len);
    memcpy(wanted + at, value, len);
    memcpy(wanted + at + len, "\r\n", 3);
    return strcmp(reply, wanted) == 0;
}

void
rig_get(struct rig *rig, unsigned key)
{
    char request[64];
    char name[16];
    const int len = sprintf(name, "key%u", key);
    const char *reply = rig_ask(
        rig, request, (size_t)sprintf(request, "*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n", len, name));

    if (reply == NULL || reply[0] == '-') {
        return;
    }
    for (unsigned i = 0; i <= rig->maybes[key]; i++) {
        if (reply_is(reply, rig_may_be(rig, key, i))) {
            return;
        }
    }
    fail_msg("key%u: not version %u, nor one of %u others: %.60s", key, rig->now[key],
             rig->maybes[key], reply);
}

void
rig_work(struct rig *rig)
{
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned key = 0; key < RIG_KEYS - 2; key++) {
            rig_set(rig, key);
        }
        do_transaction(rig, RIG_KEYS - 2);
        do_del(rig, 3 + round);
        for (unsigned key = 0; key < RIG_KEYS; key++) {
            rig_get(rig, key);
        }
    }
}
