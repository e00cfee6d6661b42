/* What the files of the client library share. */
#ifndef FL_CLIENT_CLIENT_INTERNAL_H
#define FL_CLIENT_CLIENT_INTERNAL_H

#include "proto/resp_out.h"
#include "proto/resp_reply.h"

#include <faultline/client.h>

enum { CLIENT_ERROR_BYTES = 512 };

struct fl_client {
    struct fl_client_transport transport;
    bool transport_foreign; /* the caller's, which can't set fl_last_error() itself */

    struct resp_out out;
    uint64_t owed;

    /* Received and not yet parsed: from `start` to `end` of `cap` bytes. */
    char *in;
    size_t in_start;
    size_t in_end;
    size_t in_cap;
    struct resp_reader reader;
    size_t wanted; /* the reader will say FL_AGAIN below this many bytes */

    int64_t io_timeout_ms;
    void (*on_push)(void *context, const struct fl_client_reply *push);
    void *context;
    bool pushing; /* inside on_push */

    bool broken;
    char error[CLIENT_ERROR_BYTES];
};

/* How long a call may wait: either `idle_ms` each time that nothing moves, or until `deadline_ms`
 * of client_clock_ms() in all. < 0: for ever. */
struct client_patience {
    bool whole_call; /* deadline_ms counts, else idle_ms */
    int64_t deadline_ms;
    int64_t idle_ms;
};

/* ---- stream.c: bytes in and out ---- */

/* Note the connection as broken, for the reason that fl_last_error() holds. Returns `status`. */
fl_status client_break(struct fl_client *client, fl_status status);

/* Send all that is queued, and take in what arrives meanwhile. FL_AGAIN: out of patience. */
fl_status client_send(struct fl_client *client, const struct client_patience *patience);

/* The next reply that is no push, into *reply (NULL: dropped). Sends what is queued while it waits.
 * FL_AGAIN: out of patience. */
fl_status client_receive(struct fl_client *client, const struct client_patience *patience,
                         struct fl_client_reply **reply);

/* ---- request.c ---- */

/* One request and its reply, out-of-range arguments refused. Arguments over a limit are referenced,
 * not copied: if they can't be sent in time the connection breaks. */
fl_status client_exchange(struct fl_client *client, const struct client_patience *patience,
                          size_t argc, const char *const *argv, const size_t *lens,
                          struct fl_client_reply **reply);

/* ---- reply.c ---- */

/* Make a reply of the one that `reader` has just read, over its bytes.
 * Owner:  the caller owns *out; `bytes`, from malloc(), whose first byte is the reply's first, is
 *         the reply's from here on, freed even if this fails.
 * Errors: FL_NO_MEMORY. */
fl_status client_reply_create(const struct resp_reader *reader, char *bytes,
                              struct fl_client_reply **out);

#endif
