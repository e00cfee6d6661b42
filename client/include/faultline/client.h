/* libfaultline-client: a blocking client for faultline-server, or any server that speaks RESP2 or
 * RESP3.
 *
 * One struct fl_client is one connection. It never reconnects by itself: a command that was sent
 * may have been executed, so only the caller knows whether it may be sent again. Once a call
 * fails with FL_IO, FL_CLOSED or FL_PROTOCOL, or with FL_NO_MEMORY where the contract says so,
 * the connection is broken: every later call that needs it fails with FL_CLOSED. Replies that had
 * arrived before can still be read, and those handed out stay valid.
 *
 * Why a call failed, fl_last_error() tells (faultline/status.h).
 *
 * An error reply ("-ERR ...") is an answer, not a failure: the call yields FL_OK and a reply of
 * type FL_CLIENT_ERROR.
 *
 * Threads: a client and the replies read from it belong to one thread at a time. Different clients
 * share nothing. No call installs a signal handler or raises SIGPIPE.
 */
#ifndef FAULTLINE_CLIENT_H
#define FAULTLINE_CLIENT_H

#include <faultline/status.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct fl_client;
struct fl_client_reply;

/* ---- transport ---- */

enum fl_client_events {
    FL_CLIENT_READABLE = 1,
    FL_CLIENT_WRITABLE = 2,
};

/* How bytes travel. TCP and unix sockets are built in; another one (TLS, a test) fills this in
 * and goes through fl_client_connect_over(). read and write never block; wait does. */
struct fl_client_transport {
    void *self; /* handed to every function */

    /* Take up to `cap` (> 0) bytes. FL_OK with 0 < *len <= cap; FL_AGAIN: none now; FL_CLOSED: the
     * other side ended the stream; FL_IO. */
    fl_status (*read)(void *self, void *buf, size_t cap, size_t *len);
    /* Send up to `len` (> 0) bytes. FL_OK with 0 < *done <= len; FL_AGAIN: no room now; FL_CLOSED;
     * FL_IO. */
    fl_status (*write)(void *self, const void *data, size_t len, size_t *done);
    /* Wait until one of `events` (enum fl_client_events) may go on, at most timeout_ms (< 0: for
     * ever). FL_OK: try again, perhaps for nothing; FL_AGAIN: the time is over; FL_IO. */
    fl_status (*wait)(void *self, unsigned events, int64_t timeout_ms);
    /* Release everything, self included. Called once. */
    void (*close)(void *self);
    /* Why the last function failed with FL_CLOSED or FL_IO; lent until the next call. May be NULL:
     * there is no text. */
    const char *(*error)(void *self);
};

/* ---- connecting ---- */

/* Set by fl_client_options_init(); change what you need after it. */
struct fl_client_options {
    /* sizeof(struct fl_client_options), for a library newer than the program. */
    size_t struct_bytes;

    const char *host;      /* name or address; default "127.0.0.1" */
    uint16_t port;         /* default 6379 */
    const char *unix_path; /* if not NULL: a unix socket instead of host and port */

    int64_t connect_timeout_ms; /* connecting and handshake together; < 0: for ever; default 5000 */
    /* The longest that a call waits without any progress; < 0, the default: for ever. */
    int64_t io_timeout_ms;

    int protocol;         /* 2 or 3; default 2. 3 is asked for with HELLO 3 */
    const char *user;     /* NULL: the default user */
    const char *password; /* NULL: no AUTH is sent */
    const char *name;     /* NULL: none; the connection's name in CLIENT LIST */
    int64_t database;     /* >= 0; 0, the default: no SELECT is sent */

    /* A longer reply is refused with FL_PROTOCOL. 1 to UINT32_MAX; default 1 GiB. */
    size_t reply_bytes_max;

    /* Called for each out-of-band message of RESP3, in their order of arrival, from inside the call
     * that read it. The push is lent for the time of the call. The client can't be used in it
     * (FL_INVALID). NULL: they are dropped. */
    void (*on_push)(void *context, const struct fl_client_reply *push);
    void *context;
};

FL_API void fl_client_options_init(struct fl_client_options *options);

/* Connect, then authenticate, choose the protocol, name the connection and select the database,
 * as the options ask for. Tries each address of a name in turn.
 *
 * Owner:   the caller owns *out and releases it with fl_client_close(). What the options
 *          point to need not outlive the call.
 * Errors:  FL_IO             no connection; the text names address and cause
 *          FL_AGAIN          connect_timeout_ms is over
 *          FL_NOT_SUPPORTED  the server doesn't speak protocol 3
 *          FL_INVALID        an option is out of its range, or the server refused the
 *                            credentials, the name or the database; the text holds its answer
 *          FL_CLOSED, FL_PROTOCOL, FL_NO_MEMORY */
FL_API FL_NODISCARD fl_status fl_client_connect(const struct fl_client_options *options,
                                                struct fl_client **out);

/* The same over a transport of the caller's, which is already connected: host, port and unix_path
 * are not looked at.
 *
 * Owner: the transport is the client's from here on, and closed even if this fails. */
FL_API FL_NODISCARD fl_status fl_client_connect_over(const struct fl_client_options *options,
                                                     const struct fl_client_transport *transport,
                                                     struct fl_client **out);

/* Close the connection and release it; requests that were not flushed are dropped. NULL is
 * allowed. */
FL_API void fl_client_close(struct fl_client *client);

/* Why the connection is broken, "" while it is good.
 * Owner: the client. */
FL_API const char *fl_client_error(const struct fl_client *client);

/* ---- one command ---- */

/* Send a command of `argc` >= 1 arguments and wait for its reply. argv[i] holds lens[i] bytes of
 * any value; lens may be NULL: all are 0-terminated.
 *
 * Owner:   the caller owns *reply and releases it with fl_client_reply_destroy(). `reply` may be
 *          NULL: it is read and dropped.
 * Errors:  FL_INVALID    argc, or replies are still owed from a pipeline: nothing was sent
 *          FL_TOO_LARGE  argc or an argument is over the protocol's limit: nothing was sent
 *          FL_AGAIN      io_timeout_ms is over. The request was sent: go on with fl_client_read(),
 *                        or close
 *          FL_IO         or the request could not be sent within io_timeout_ms (broken)
 *          FL_CLOSED, FL_PROTOCOL, FL_NO_MEMORY (broken) */
FL_API FL_NODISCARD fl_status fl_client_command(struct fl_client *client, size_t argc,
                                                const char *const *argv, const size_t *lens,
                                                struct fl_client_reply **reply);

/* fl_client_command() of the 0-terminated strings up to the NULL that must end them:
 * fl_client_call(client, &reply, "SET", key, value, NULL). At most 64 of them. */
FL_API FL_NODISCARD fl_status fl_client_call(struct fl_client *client,
                                             struct fl_client_reply **reply, ...)
    __attribute__((sentinel));

/* ---- pipelines ---- */

/* Queue a command; nothing is sent before fl_client_flush() or fl_client_read(). One reply is
 * owed for it. Arguments are copied.
 * Errors: FL_INVALID, FL_TOO_LARGE (nothing was queued); FL_CLOSED; FL_NO_MEMORY (the connection is
 * broken). */
FL_API FL_NODISCARD fl_status fl_client_append(struct fl_client *client, size_t argc,
                                               const char *const *argv, const size_t *lens);

/* The same for a command that gets no reply of its own: SUBSCRIBE under RESP3, CLIENT REPLY OFF. */
FL_API FL_NODISCARD fl_status fl_client_append_unanswered(struct fl_client *client, size_t argc,
                                                          const char *const *argv,
                                                          const size_t *lens);

/* Queue bytes that are RESP requests already, split anywhere. The library doesn't look into them,
 * and doesn't count the replies that they provoke. Errors: as fl_client_append(). */
FL_API FL_NODISCARD fl_status fl_client_append_raw(struct fl_client *client, const void *data,
                                                   size_t len);

/* Send all that is queued. Replies that arrive meanwhile are taken in, so that neither side waits
 * for the other however long the pipeline is; they cost memory until they are read.
 * Errors: FL_AGAIN (io_timeout_ms is over; call again to go on), FL_CLOSED, FL_IO, FL_NO_MEMORY
 *         (the connection is broken). */
FL_API FL_NODISCARD fl_status fl_client_flush(struct fl_client *client);

/* Flush, then wait for the next reply, at most io_timeout_ms without progress. Replies come in
 * the order of their commands. It may be called when none is owed: to wait for pushes, for
 * messages under RESP2, or for the answers to raw bytes.
 *
 * Owner:   as in fl_client_command().
 * Errors:  FL_AGAIN     none came in time; the connection is good, call again
 *          FL_PROTOCOL  the bytes are no reply, or it is over reply_bytes_max
 *          FL_CLOSED, FL_IO, FL_NO_MEMORY (broken) */
FL_API FL_NODISCARD fl_status fl_client_read(struct fl_client *client,
                                             struct fl_client_reply **reply);

/* fl_client_read() with a time limit of its own for all of it: 0 takes only what has arrived, < 0
 * waits for ever. */
FL_API FL_NODISCARD fl_status fl_client_read_within(struct fl_client *client, int64_t timeout_ms,
                                                    struct fl_client_reply **reply);

/* Replies that are owed: appended commands, less replies read. */
FL_API uint64_t fl_client_owed(const struct fl_client *client);

/* ---- replies ---- */

enum fl_client_type {
    FL_CLIENT_NIL = 0,
    FL_CLIENT_STATUS = 1, /* +OK */
    FL_CLIENT_ERROR = 2,  /* -ERR text, or RESP3's bulk error */
    FL_CLIENT_INTEGER = 3,
    FL_CLIENT_STRING = 4,
    FL_CLIENT_ARRAY = 5,
    FL_CLIENT_DOUBLE = 6, /* this and all below: RESP3 only */
    FL_CLIENT_BOOL = 7,
    FL_CLIENT_BIG_NUMBER = 8,
    FL_CLIENT_VERBATIM = 9,
    FL_CLIENT_MAP = 10,
    FL_CLIENT_SET = 11,
    FL_CLIENT_PUSH = 12,
};

/* Release a reply that a call handed out, with everything inside it. NULL is allowed. Not for
 * items. */
FL_API void fl_client_reply_destroy(struct fl_client_reply *reply);

/* The functions below read a reply or an item of one, and allocate nothing. What they return
 * belongs to the reply. A type that doesn't fit is no failure of theirs: they say what they
 * return then. */
FL_API enum fl_client_type fl_client_reply_type(const struct fl_client_reply *reply);
FL_API const char *fl_client_type_name(enum fl_client_type type); /* "integer" */

/* The bytes of a STATUS, ERROR, STRING, VERBATIM (without its format) or BIG_NUMBER, and the text
 * that a DOUBLE had on the wire: *len of them and a 0 byte behind. Else NULL and 0. len may be
 * NULL. */
FL_API const char *fl_client_reply_text(const struct fl_client_reply *reply, size_t *len);
/* Write the three letters of a VERBATIM's format, "txt" or "mkd", and a 0 byte; else just that. */
FL_API void fl_client_reply_format(const struct fl_client_reply *reply, char format[4]);
/* An INTEGER, or a BOOL as 0 or 1; else 0. */
FL_API int64_t fl_client_reply_integer(const struct fl_client_reply *reply);
/* A DOUBLE, which may be infinite or no number; an INTEGER as one; else 0. */
FL_API double fl_client_reply_double(const struct fl_client_reply *reply);

/* Items of an ARRAY, SET or PUSH, pairs of a MAP; else 0. */
FL_API size_t fl_client_reply_count(const struct fl_client_reply *reply);
/* Item i, or the value of pair i; NULL if there is none. O(1). */
FL_API const struct fl_client_reply *fl_client_reply_item(const struct fl_client_reply *reply,
                                                          size_t i);
/* The key of pair i of a MAP; else NULL. O(1). */
FL_API const struct fl_client_reply *fl_client_reply_key(const struct fl_client_reply *reply,
                                                         size_t i);
/* The value behind the key `name` of a MAP, or of an ARRAY that lists keys and values in turn, as
 * RESP2 does; NULL if it isn't there. O(count). */
FL_API const struct fl_client_reply *fl_client_reply_find(const struct fl_client_reply *reply,
                                                          const char *name);

#ifdef __cplusplus
}
#endif
#endif
