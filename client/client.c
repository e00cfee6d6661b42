#include "client/client_internal.h"

#include "base/fail.h"
#include "client/clock.h"
#include "client/socket.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PORT_DEFAULT = 6379,
    CONNECT_TIMEOUT_MS_DEFAULT = 5000,
    REPLY_BYTES_MAX_DEFAULT = 1024 * 1024 * 1024,
    HELLO_ARGS_MAX = 7, /* HELLO 3 AUTH user password SETNAME name */
};

void
fl_client_options_init(struct fl_client_options *options)
{
    *options = (struct fl_client_options){
        .struct_bytes = sizeof(*options),
        .host = "127.0.0.1",
        .port = PORT_DEFAULT,
        .connect_timeout_ms = CONNECT_TIMEOUT_MS_DEFAULT,
        .io_timeout_ms = -1,
        .protocol = 2,
        .reply_bytes_max = REPLY_BYTES_MAX_DEFAULT,
    };
}

/* The options of a program that may be older than this library, and know fewer of them. */
static fl_status
options_read(const struct fl_client_options *given, struct fl_client_options *out)
{
    fl_client_options_init(out);
    if (given->struct_bytes == 0 || given->struct_bytes > sizeof(*out)) {
        return FL_FAIL(FL_INVALID, "the options have %zu bytes, this library knows %zu",
                       given->struct_bytes, sizeof(*out));
    }
    memcpy(out, given, given->struct_bytes);
    if (out->protocol != 2 && out->protocol != 3) {
        return FL_FAIL(FL_INVALID, "protocol %d, not 2 or 3", out->protocol);
    }
    if (out->user != NULL && out->password == NULL) {
        return FL_FAIL(FL_INVALID, "a user without a password");
    }
    if (out->database < 0) {
        return FL_FAIL(FL_INVALID, "database %" PRId64, out->database);
    }
    if (out->reply_bytes_max == 0 || out->reply_bytes_max > UINT32_MAX) {
        return FL_FAIL(FL_INVALID, "reply_bytes_max is %zu", out->reply_bytes_max);
    }
    return FL_OK;
}

/* One command of the handshake, to which an error is an answer that ends it. */
static fl_status
handshake_step(struct fl_client *client, const struct client_patience *patience, size_t argc,
               const char *const *argv)
{
    struct fl_client_reply *reply = NULL;
    fl_status status = client_exchange(client, patience, argc, argv, NULL, &reply);

    if (status != FL_OK) {
        return status;
    }
    if (fl_client_reply_type(reply) == FL_CLIENT_ERROR) {
        const char *text = fl_client_reply_text(reply, NULL);
        const bool too_old =
            strcmp(argv[0], "HELLO") == 0 &&
            (strncmp(text, "NOPROTO ", 8) == 0 || strncmp(text, "ERR unknown command", 19) == 0);

        status = too_old ? FL_FAIL(FL_NOT_SUPPORTED, "the server doesn't speak RESP3: %s", text)
                         : FL_FAIL(FL_INVALID, "the server refused %s: %s", argv[0], text);
    }
    fl_client_reply_destroy(reply);
    return status;
}

static fl_status
handshake_hello(struct fl_client *client, const struct client_patience *patience,
                const struct fl_client_options *options)
{
    const char *argv[HELLO_ARGS_MAX] = {"HELLO", "3"};
    size_t argc = 2;

    if (options->password != NULL) {
        argv[argc++] = "AUTH";
        argv[argc++] = options->user != NULL ? options->user : "default";
        argv[argc++] = options->password;
    }
    if (options->name != NULL) {
        argv[argc++] = "SETNAME";
        argv[argc++] = options->name;
    }
    return handshake_step(client, patience, argc, argv);
}

static fl_status
handshake_resp2(struct fl_client *client, const struct client_patience *patience,
                const struct fl_client_options *options)
{
    fl_status status = FL_OK;

    if (options->user != NULL) {
        const char *const argv[] = {"AUTH", options->user, options->password};

        status = handshake_step(client, patience, 3, argv);
    } else if (options->password != NULL) {
        const char *const argv[] = {"AUTH", options->password};

        status = handshake_step(client, patience, 2, argv);
    }
    if (status == FL_OK && options->name != NULL) {
        const char *const argv[] = {"CLIENT", "SETNAME", options->name};

        status = handshake_step(client, patience, 3, argv);
    }
    return status;
}

static fl_status
handshake(struct fl_client *client, const struct client_patience *patience,
          const struct fl_client_options *options)
{
    fl_status status = options->protocol == 3 ? handshake_hello(client, patience, options)
                                              : handshake_resp2(client, patience, options);

    if (status == FL_OK && options->database != 0) {
        char number[24];
        const char *const argv[] = {"SELECT", number};

        snprintf(number, sizeof(number), "%" PRId64, options->database);
        status = handshake_step(client, patience, 2, argv);
    }
    return status;
}

static fl_status
connect_over(const struct fl_client_options *options, int64_t deadline_ms,
             const struct fl_client_transport *transport, bool foreign, struct fl_client **out)
{
    const struct client_patience patience = {.whole_call = true, .deadline_ms = deadline_ms};
    struct fl_client *client = calloc(1, sizeof(*client));

    if (client == NULL) {
        transport->close(transport->self);
        return FL_FAIL(FL_NO_MEMORY, "no memory for a client");
    }
    client->transport = *transport;
    client->transport_foreign = foreign;
    client->io_timeout_ms = options->io_timeout_ms;
    client->on_push = options->on_push;
    client->context = options->context;
    resp_out_init(&client->out, NULL);
    resp_reader_init(&client->reader, options->reply_bytes_max);

    const fl_status status = handshake(client, &patience, options);

    if (status != FL_OK) {
        fl_client_close(client);
        return status;
    }
    *out = client;
    return FL_OK;
}

fl_status
fl_client_connect_over(const struct fl_client_options *options,
                       const struct fl_client_transport *transport, struct fl_client **out)
{
    struct fl_client_options known;
    const fl_status status = options_read(options, &known);

    *out = NULL;
    if (status != FL_OK) {
        transport->close(transport->self);
        return status;
    }
    return connect_over(&known, client_deadline_ms(known.connect_timeout_ms), transport, true, out);
}

fl_status
fl_client_connect(const struct fl_client_options *options, struct fl_client **out)
{
    struct fl_client_options known;
    struct fl_client_transport transport;
    fl_status status = options_read(options, &known);

    *out = NULL;
    if (status != FL_OK) {
        return status;
    }
    if (known.unix_path == NULL && (known.host == NULL || known.port == 0)) {
        return FL_FAIL(FL_INVALID, "no host or no port");
    }
    const int64_t deadline_ms = client_deadline_ms(known.connect_timeout_ms);

    status = known.unix_path != NULL
                 ? socket_connect_unix(known.unix_path, deadline_ms, &transport)
                 : socket_connect_tcp(known.host, known.port, deadline_ms, &transport);
    return status == FL_OK ? connect_over(&known, deadline_ms, &transport, false, out) : status;
}

void
fl_client_close(struct fl_client *client)
{
    if (client == NULL) {
        return;
    }
    client->transport.close(client->transport.self);
    resp_out_deinit(&client->out);
    resp_reader_deinit(&client->reader);
    free(client->in);
    free(client);
}

const char *
fl_client_error(const struct fl_client *client)
{
    return client->error;
}
