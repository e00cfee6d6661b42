#include "client/client_internal.h"

#include "base/fail.h"
#include "client/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    IN_BYTES_MIN = 16 * 1024,        /* room for each read */
    IN_BYTES_IDLE_MAX = 1024 * 1024, /* a larger buffer is given back when it is empty */
    IN_BYTES_HAND_OVER = 64 * 1024,  /* from here on a reply takes the buffer along */
    LATE_STEPS_MAX = 16, /* reads once the deadline has passed, of what is there already */
};

fl_status
client_break(struct fl_client *client, fl_status status)
{
    if (!client->broken) {
        client->broken = true;
        snprintf(client->error, sizeof(client->error), "%s", fl_last_error());
    }
    return status;
}

/* `status` of a function of the transport, with a text to it. */
static fl_status
transport_status(struct fl_client *client, fl_status status)
{
    if (status == FL_OK || status == FL_AGAIN || !client->transport_foreign) {
        return status;
    }
    const char *text =
        client->transport.error != NULL ? client->transport.error(client->transport.self) : NULL;

    return FL_FAIL(status, "%s", text != NULL ? text : "the transport failed");
}

/* Send what the transport takes now. *moved is set if that is anything. */
static fl_status
send_some(struct fl_client *client, bool *moved)
{
    while (resp_out_pending(&client->out) > 0) {
        struct iovec iov;
        size_t done = 0;
        const unsigned pieces =
            resp_out_iov(&client->out, resp_out_position(&client->out), &iov, 1);

        FL_ASSERT(pieces == 1);
        const fl_status status =
            client->transport.write(client->transport.self, iov.iov_base, iov.iov_len, &done);

        if (status == FL_AGAIN) {
            return FL_OK;
        }
        if (status != FL_OK) {
            return transport_status(client, status);
        }
        resp_out_sent(&client->out, done);
        *moved = true;
    }
    return FL_OK;
}

/* Make room behind in_end for one read. */
static fl_status
in_make_room(struct fl_client *client)
{
    const size_t len = client->in_end - client->in_start;

    if (client->in_cap - client->in_end >= IN_BYTES_MIN) {
        return FL_OK;
    }
    /* What was read already goes first: moving is worth it while at least half of the room comes
     * back, so that each byte is moved but a few times. */
    if (client->in_start >= len && client->in_cap - len >= IN_BYTES_MIN) {
        memmove(client->in, client->in + client->in_start, len);
    } else {
        /* Doubling, whatever length a reply has announced: memory only for what has arrived. */
        const size_t cap =
            2 * (client->in_cap > IN_BYTES_MIN ? client->in_cap : (size_t)IN_BYTES_MIN);
        char *in = malloc(cap);

        if (in == NULL) {
            return FL_FAIL(FL_NO_MEMORY, "no memory for %zu bytes from the server", cap);
        }
        if (len > 0) {
            memcpy(in, client->in + client->in_start, len);
        }
        free(client->in);
        client->in = in;
        client->in_cap = cap;
    }
    client->in_start = 0;
    client->in_end = len;
    return FL_OK;
}

/* Take in what has arrived, one read of it. *moved is set if that is anything. */
static fl_status
receive_some(struct fl_client *client, bool *moved)
{
    size_t len = 0;
    fl_status status = in_make_room(client);

    if (status != FL_OK) {
        return status;
    }
    status = client->transport.read(client->transport.self, client->in + client->in_end,
                                    client->in_cap - client->in_end, &len);
    if (status == FL_AGAIN) {
        return FL_OK;
    }
    if (status != FL_OK) {
        return transport_status(client, status);
    }
    client->in_end += len;
    *moved = true;
    return FL_OK;
}

/* Move bytes one way or the other, waiting if none can be now.
 * FL_AGAIN: out of patience; any other failure has broken the connection. */
static fl_status
step(struct fl_client *client, const struct client_patience *patience)
{
    bool moved = false;
    const fl_status sent = send_some(client, &moved);
    /* Even if nothing can be sent any more: the server may have said why. */
    const fl_status received = receive_some(client, &moved);

    if (sent != FL_OK && received == FL_OK && moved) {
        return FL_OK; /* there may be more to take in; sending will fail again */
    }
    if (sent != FL_OK || received != FL_OK) {
        return client_break(client, received != FL_OK ? received : sent);
    }
    if (moved) {
        return FL_OK;
    }
    const unsigned events =
        FL_CLIENT_READABLE | (resp_out_pending(&client->out) > 0 ? FL_CLIENT_WRITABLE : 0u);
    const int64_t wait_ms =
        patience->whole_call ? client_deadline_left_ms(patience->deadline_ms) : patience->idle_ms;
    const fl_status status = client->transport.wait(client->transport.self, events, wait_ms);

    if (status == FL_AGAIN) {
        return FL_FAIL(FL_AGAIN, "no answer from the server in time");
    }
    return status == FL_OK ? FL_OK : client_break(client, transport_status(client, status));
}

fl_status
client_send(struct fl_client *client, const struct client_patience *patience)
{
    while (resp_out_pending(&client->out) > 0) {
        if (client->broken) {
            return FL_FAIL(FL_CLOSED, "the connection is broken: %s", client->error);
        }
        const fl_status status = step(client, patience);

        if (status != FL_OK) {
            return status;
        }
    }
    return FL_OK;
}

/* Take the reply just read out of the input: its bytes alone, or the buffer whole if the reply is
 * most of it. */
static fl_status
in_take(struct fl_client *client, struct fl_client_reply **out)
{
    const size_t used = client->reader.used;
    const size_t rest = client->in_end - client->in_start - used;
    const bool hand_over =
        client->in_start == 0 && used >= IN_BYTES_HAND_OVER && used >= client->in_cap / 4;
    const size_t bytes_size = !hand_over ? used : (rest > 0 ? rest : 1);
    char *bytes = malloc(bytes_size);

    if (bytes == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "no memory for a reply of %zu bytes", used);
    }
    if (!hand_over) {
        memcpy(bytes, client->in + client->in_start, used);
        client->in_start += used;
        return client_reply_create(&client->reader, bytes, out);
    }
    char *reply_bytes = client->in;

    memcpy(bytes, reply_bytes + used, rest);
    client->in = bytes;
    client->in_cap = bytes_size;
    client->in_end = rest;
    return client_reply_create(&client->reader, reply_bytes, out);
}

/* The next reply or push that is complete in the input. FL_AGAIN: none. */
static fl_status
in_parse(struct fl_client *client, struct fl_client_reply **out)
{
    const size_t arrived = client->in_end - client->in_start;
    const size_t len = arrived < UINT32_MAX ? arrived : UINT32_MAX;

    if (len == 0 || len < client->wanted) {
        return FL_AGAIN;
    }
    fl_status status = resp_read(&client->reader, client->in + client->in_start, len);

    if (status == FL_AGAIN) {
        client->wanted = resp_reader_wanted(&client->reader, len);
        return FL_AGAIN;
    }
    client->wanted = 0;
    if (status == FL_PROTOCOL) {
        status = FL_FAIL(status, "the server broke the protocol: %s", client->reader.error);
    } else if (status != FL_OK) {
        status = FL_FAIL(status, "no memory for a reply of %zu bytes or more", len);
    } else {
        status = in_take(client, out);
    }
    if (status != FL_OK) {
        client->in_start = client->in_end = 0; /* nothing behind it can be trusted, or kept */
        return client_break(client, status);
    }
    if (client->in_start == client->in_end) {
        client->in_start = client->in_end = 0;
        if (client->in_cap > IN_BYTES_IDLE_MAX) {
            free(client->in);
            client->in = NULL;
            client->in_cap = 0;
        }
    }
    return FL_OK;
}

/* The same, with pushes handed to the program. */
static fl_status
in_parse_reply(struct fl_client *client, struct fl_client_reply **out)
{
    for (;;) {
        const fl_status status = in_parse(client, out);

        if (status != FL_OK || fl_client_reply_type(*out) != FL_CLIENT_PUSH) {
            return status;
        }
        if (client->on_push != NULL) {
            client->pushing = true;
            client->on_push(client->context, *out);
            client->pushing = false;
        }
        fl_client_reply_destroy(*out);
    }
}

fl_status
client_receive(struct fl_client *client, const struct client_patience *patience,
               struct fl_client_reply **reply)
{
    struct fl_client_reply *received = NULL;
    fl_status failed = FL_OK;
    unsigned late_steps = 0;

    if (!client->broken && resp_out_pending(&client->out) > 0) {
        /* Even if a reply is here already: the server should work on the rest meanwhile. */
        bool moved = false;
        const fl_status status = send_some(client, &moved);

        if (status != FL_OK && status != FL_CLOSED) {
            failed = client_break(client, status);
        }
    }
    for (;;) {
        /* What arrived before the connection broke is as good as ever. */
        fl_status status = in_parse_reply(client, &received);

        if (status == FL_OK) {
            break;
        }
        if (status != FL_AGAIN) {
            return status;
        }
        if (failed != FL_OK) {
            return failed; /* fl_last_error() still has its text */
        }
        if (client->broken) {
            return FL_FAIL(FL_CLOSED, "the connection is broken: %s", client->error);
        }
        if (patience->whole_call && client_deadline_left_ms(patience->deadline_ms) == 0 &&
            late_steps++ == LATE_STEPS_MAX) {
            return FL_FAIL(FL_AGAIN, "no answer from the server in time");
        }
        failed = step(client, patience);
        if (failed == FL_AGAIN) {
            return failed;
        }
    }
    client->owed -= client->owed > 0 ? 1 : 0;
    if (reply != NULL) {
        *reply = received;
    } else {
        fl_client_reply_destroy(received);
    }
    return FL_OK;
}
