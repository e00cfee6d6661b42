/* A transport without a network: what "the server" sends is given, what the client sends is kept.
 * */
#ifndef FL_TESTS_UNIT_CLIENT_WIRE_H
#define FL_TESTS_UNIT_CLIENT_WIRE_H

#include <faultline/client.h>

#include <stdbool.h>
#include <stddef.h>

struct wire {
    const char *in; /* what the server sends, lent */
    size_t in_len;
    size_t in_pos;
    size_t split;     /* if > 0: no read goes over this place */
    size_t read_max;  /* if > 0: bytes of one read */
    fl_status in_end; /* behind the last byte: FL_AGAIN, FL_CLOSED, ... */
    bool flowing;     /* all bytes are there at once; otherwise FL_AGAIN comes before each read */
    bool paused;      /* and has just come */

    bool forgetful; /* what the client sends is taken, and not kept */
    char *out;      /* what the client sent, 0-terminated */
    size_t out_len;
    size_t write_max; /* if > 0: bytes of one write */
    size_t out_max;   /* from here on writes say out_end; SIZE_MAX at first */
    fl_status out_end;

    const char *error;
    unsigned waits;
    unsigned closes;
};

/* Nothing sent and nothing to come. */
void wire_init(struct wire *wire, const char *in, size_t in_len);
void wire_deinit(struct wire *wire);

/* More from the server, behind what was read of the old bytes. */
void wire_feed(struct wire *wire, const char *in, size_t in_len);

struct fl_client_transport wire_transport(struct wire *wire);

/* A client over the wire, without any handshake; `options` may be NULL. Fails the test if there
 * is none. */
struct fl_client *wire_client(struct wire *wire, const struct fl_client_options *options);

#endif
