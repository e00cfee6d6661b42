#include "tests/unit/client/wire.h"

#include "tests/lib/die.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

void
wire_init(struct wire *wire, const char *in, size_t in_len)
{
    *wire = (struct wire){
        .in = in,
        .in_len = in_len,
        .in_end = FL_AGAIN,
        .out_max = SIZE_MAX,
        .out_end = FL_AGAIN,
    };
}

void
wire_deinit(struct wire *wire)
{
    free(wire->out);
    wire->out = NULL;
}

void
wire_feed(struct wire *wire, const char *in, size_t in_len)
{
    wire->in = in;
    wire->in_len = in_len;
    wire->in_pos = 0;
}

static size_t
smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static fl_status
wire_read(void *self, void *buf, size_t cap, size_t *len)
{
    struct wire *wire = self;
    size_t n = smaller(cap, wire->in_len - wire->in_pos);

    if (n == 0) {
        return wire->in_end;
    }
    wire->paused = !wire->flowing && !wire->paused;
    if (wire->paused) {
        return FL_AGAIN;
    }
    if (wire->in_pos < wire->split) {
        n = smaller(n, wire->split - wire->in_pos);
    }
    if (wire->read_max > 0) {
        n = smaller(n, wire->read_max);
    }
    memcpy(buf, wire->in + wire->in_pos, n);
    wire->in_pos += n;
    *len = n;
    return FL_OK;
}

static fl_status
wire_write(void *self, const void *data, size_t len, size_t *done)
{
    struct wire *wire = self;
    size_t n = smaller(len, wire->out_max - wire->out_len);

    if (n == 0) {
        return wire->out_end;
    }
    if (wire->write_max > 0) {
        n = smaller(n, wire->write_max);
    }
    *done = n;
    if (wire->forgetful) {
        return FL_OK;
    }
    char *out = realloc(wire->out, wire->out_len + n + 1);

    if (out == NULL) {
        die("no memory");
    }
    memcpy(out + wire->out_len, data, n);
    wire->out = out;
    wire->out_len += n;
    out[wire->out_len] = '\0';
    return FL_OK;
}

/* Time is over at once when nothing can happen any more. */
static fl_status
wire_wait(void *self, unsigned events, int64_t timeout_ms)
{
    struct wire *wire = self;

    wire->waits++;
    if ((events & FL_CLIENT_READABLE) != 0 && wire->in_pos < wire->in_len) {
        return FL_OK;
    }
    if (timeout_ms < 0) {
        die("the client waits for ever for what never comes");
    }
    return FL_AGAIN;
}

static void
wire_close(void *self)
{
    struct wire *wire = self;

    wire->closes++;
}

static const char *
wire_error(void *self)
{
    const struct wire *wire = self;

    return wire->error;
}

struct fl_client_transport
wire_transport(struct wire *wire)
{
    return (struct fl_client_transport){
        .self = wire,
        .read = wire_read,
        .write = wire_write,
        .wait = wire_wait,
        .close = wire_close,
        .error = wire_error,
    };
}

struct fl_client *
wire_client(struct wire *wire, const struct fl_client_options *options)
{
    const struct fl_client_transport transport = wire_transport(wire);
    struct fl_client_options defaults;
    struct fl_client *client = NULL;

    fl_client_options_init(&defaults);
    defaults.io_timeout_ms = 1000;
    if (fl_client_connect_over(options != NULL ? options : &defaults, &transport, &client) !=
        FL_OK) {
        die("no client: %s", fl_last_error());
    }
    return client;
}
