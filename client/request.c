#include "client/client_internal.h"

#include "base/fail.h"
#include "client/clock.h"
#include "proto/limits.h"
#include "proto/resp_write.h"

#include <stdarg.h>
#include <string.h>

enum { CALL_ARGS_MAX = 64 };

static fl_status
usable(const struct fl_client *client)
{
    if (client->pushing) {
        return FL_FAIL(FL_INVALID, "the client can't be used from inside on_push");
    }
    if (client->broken) {
        return FL_FAIL(FL_CLOSED, "the connection is broken: %s", client->error);
    }
    return FL_OK;
}

static size_t
arg_len(const char *const *argv, const size_t *lens, size_t i)
{
    return lens != NULL ? lens[i] : strlen(argv[i]);
}

static fl_status
request_check(size_t argc, const char *const *argv, const size_t *lens)
{
    uint64_t total = 0;

    if (argc == 0) {
        return FL_FAIL(FL_INVALID, "a command has a name at least");
    }
    if (argc > RESP_ARGS_MAX) {
        return FL_FAIL(FL_TOO_LARGE, "%zu arguments, at most %d", argc, RESP_ARGS_MAX);
    }
    for (size_t i = 0; i < argc; i++) {
        const size_t len = arg_len(argv, lens, i);

        if (len > RESP_BULK_BYTES_MAX) {
            return FL_FAIL(FL_TOO_LARGE, "argument %zu has %zu bytes, at most %d", i, len,
                           RESP_BULK_BYTES_MAX);
        }
        total += len;
    }
    if (total > RESP_REQUEST_BYTES_MAX) {
        return FL_FAIL(FL_TOO_LARGE, "the arguments have %zu bytes, at most %d", (size_t)total,
                       RESP_REQUEST_BYTES_MAX);
    }
    return FL_OK;
}

static fl_status
queued(struct fl_client *client)
{
    if (resp_out_failed(&client->out)) {
        return client_break(client, FL_FAIL(FL_NO_MEMORY, "no memory for a request"));
    }
    return FL_OK;
}

static void
release_nothing(void *context)
{
    (void)context;
}

fl_status
client_exchange(struct fl_client *client, const struct client_patience *patience, size_t argc,
                const char *const *argv, const size_t *lens, struct fl_client_reply **reply)
{
    fl_status status = request_check(argc, argv, lens);

    if (status != FL_OK) {
        return status;
    }
    resp_write_array(&client->out, argc);
    for (size_t i = 0; i < argc; i++) {
        const size_t len = arg_len(argv, lens, i);

        if (len >= RESP_REFERENCE_BYTES_MIN) {
            resp_write_bulk_reference(&client->out, argv[i], len, 0, release_nothing);
        } else {
            resp_write_bulk(&client->out, argv[i], len);
        }
    }
    status = queued(client);
    if (status != FL_OK) {
        return status;
    }
    client->owed++;
    status = client_send(client, patience);
    if (status == FL_AGAIN) {
        /* The arguments are the caller's again on return, so the rest of them can't be sent
         * later. */
        status = client_break(client, FL_FAIL(FL_IO, "the request could not be sent in time"));
    }
    if (status != FL_OK) {
        resp_out_clear(&client->out);
        if (status != FL_CLOSED) {
            return status;
        }
        /* A server that hangs up may have said why before ("max number of clients reached"). */
    }
    const fl_status received = client_receive(client, patience, reply);

    return received != FL_OK && status != FL_OK ? status : received;
}

static struct client_patience
patience_of(const struct fl_client *client)
{
    return (struct client_patience){.idle_ms = client->io_timeout_ms};
}

fl_status
fl_client_command(struct fl_client *client, size_t argc, const char *const *argv,
                  const size_t *lens, struct fl_client_reply **reply)
{
    const struct client_patience patience = patience_of(client);
    const fl_status status = usable(client);

    if (status != FL_OK) {
        return status;
    }
    if (client->owed > 0 || resp_out_pending(&client->out) > 0) {
        return FL_FAIL(FL_INVALID, "a pipeline is not finished: %zu replies are owed",
                       (size_t)client->owed);
    }
    return client_exchange(client, &patience, argc, argv, lens, reply);
}

fl_status
fl_client_call(struct fl_client *client, struct fl_client_reply **reply, ...)
{
    const char *argv[CALL_ARGS_MAX];
    size_t argc = 0;
    va_list args;

    va_start(args, reply);
    const char *arg = va_arg(args, const char *);

    while (arg != NULL && argc < CALL_ARGS_MAX) {
        argv[argc++] = arg;
        arg = va_arg(args, const char *);
    }
    va_end(args);
    if (arg != NULL) {
        return FL_FAIL(FL_INVALID, "more than %d arguments", CALL_ARGS_MAX);
    }
    return fl_client_command(client, argc, argv, NULL, reply);
}

static fl_status
append(struct fl_client *client, size_t argc, const char *const *argv, const size_t *lens,
       uint64_t owed)
{
    fl_status status = usable(client);

    if (status == FL_OK) {
        status = request_check(argc, argv, lens);
    }
    if (status != FL_OK) {
        return status;
    }
    resp_write_request(&client->out, argc, argv, lens);
    status = queued(client);
    if (status == FL_OK) {
        client->owed += owed;
    }
    return status;
}

fl_status
fl_client_append(struct fl_client *client, size_t argc, const char *const *argv, const size_t *lens)
{
    return append(client, argc, argv, lens, 1);
}

fl_status
fl_client_append_unanswered(struct fl_client *client, size_t argc, const char *const *argv,
                            const size_t *lens)
{
    return append(client, argc, argv, lens, 0);
}

fl_status
fl_client_append_raw(struct fl_client *client, const void *data, size_t len)
{
    const fl_status status = usable(client);

    if (status != FL_OK) {
        return status;
    }
    resp_out_append(&client->out, data, len);
    return queued(client);
}

fl_status
fl_client_flush(struct fl_client *client)
{
    const struct client_patience patience = patience_of(client);
    const fl_status status = usable(client);

    return status == FL_OK ? client_send(client, &patience) : status;
}

static fl_status
read_reply(struct fl_client *client, const struct client_patience *patience,
           struct fl_client_reply **reply)
{
    if (client->pushing) {
        return FL_FAIL(FL_INVALID, "the client can't be used from inside on_push");
    }
    return client_receive(client, patience, reply);
}

fl_status
fl_client_read(struct fl_client *client, struct fl_client_reply **reply)
{
    const struct client_patience patience = patience_of(client);

    return read_reply(client, &patience, reply);
}

fl_status
fl_client_read_within(struct fl_client *client, int64_t timeout_ms, struct fl_client_reply **reply)
{
    const struct client_patience patience = {
        .whole_call = true,
        .deadline_ms = client_deadline_ms(timeout_ms),
    };

    return read_reply(client, &patience, reply);
}

uint64_t
fl_client_owed(const struct fl_client *client)
{
    return client->owed;
}
