/* Requests as a server receives them: RESP arrays of bulk strings, and inline commands.
 *
 * Works on the caller's contiguous buffer and copies nothing: arguments are slices, as offsets from
 * the request's first byte, so that the buffer may move between calls. What was parsed is not
 * looked at again when more has arrived.
 *
 *     for (;;) {
 *         status = resp_parse(parser, buf + start, end - start);
 *         if (status != FL_OK)
 *             break;            // FL_AGAIN: receive more, and keep all from buf + start
 *         if (parser->argc > 0) // 0: an empty line or array, which asks for nothing
 *             execute(buf + start, parser->argv, parser->argc);
 *         start += parser->used;
 *     }
 *
 * A caller that parses ahead of execution stops after a request that may change the limits (AUTH).
 *
 * Differences from Redis, none of which a client that keeps to the protocol can see: a CR without
 * its LF behind a number, and an argument that isn't followed by CR LF, are refused, since they
 * only occur when a client has lost count; a NUL byte has no special meaning in a line; and a line
 * over its limit is refused however it arrives, not only if it does so in pieces.
 */
#ifndef FL_PROTO_RESP_PARSE_H
#define FL_PROTO_RESP_PARSE_H

#include "proto/limits.h"

#include <faultline/status.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An argument: `len` bytes at `off` from the request's first byte. */
struct resp_arg {
    uint32_t off; /* RESP_ARG_STREAMED: the caller took the bytes, see resp_parser_stream() */
    uint32_t len;
};

#define RESP_ARG_STREAMED UINT32_MAX

/* Why a request was refused; resp_parser_error() has Redis's words. */
enum resp_error {
    RESP_ERROR_NONE = 0,
    RESP_ERROR_INLINE_TOO_BIG,
    RESP_ERROR_UNBALANCED_QUOTES,
    RESP_ERROR_MULTIBULK_TOO_BIG, /* the line that holds the count */
    RESP_ERROR_MULTIBULK_LENGTH,
    RESP_ERROR_MULTIBULK_UNAUTH,
    RESP_ERROR_BULK_EXPECTED,
    RESP_ERROR_BULK_TOO_BIG, /* the line that holds the length */
    RESP_ERROR_BULK_LENGTH,
    RESP_ERROR_BULK_UNAUTH,
    RESP_ERROR_BULK_END,
    RESP_ERROR_REQUEST_TOO_BIG,
};

/* One connection's parser. `argv`, `argc` and `used` may be read after FL_OK, `stream_left` between
 * resp_parser_stream() and the next FL_OK; the rest is the parser's own. */
struct resp_parser {
    struct resp_arg *argv;
    uint32_t argc; /* after FL_AGAIN: arguments complete so far */
    uint32_t used; /* bytes of the request */

    uint32_t bulk_bytes_max;

    uint32_t argv_slots;
    uint32_t pos;       /* everything before it is parsed */
    uint32_t scanned;   /* a line's end was not found before it */
    uint32_t args_left; /* of the array, 0 between requests */
    uint32_t bulk_len;  /* of the argument at `pos`, valid in phase BODY */
    uint32_t stream_left;
    uint8_t phase;
    uint8_t error; /* enum resp_error */
    char error_byte;
    bool unauthenticated;
};

/* Owner: the caller; resp_parser_deinit() releases argv. Allocates nothing yet. */
void resp_parser_init(struct resp_parser *parser);
void resp_parser_deinit(struct resp_parser *parser);

/* Choose the limits: those for a client that hasn't authenticated, or RESP_ARGS_MAX and
 * `bulk_bytes_max`, which is at most RESP_BULK_BYTES_MAX. At any time: in the middle of a request
 * they hold for what is yet to be parsed of it. */
void resp_parser_limit(struct resp_parser *parser, bool authenticated, uint32_t bulk_bytes_max);

/* Parse one request, or what has arrived of it. `buf` is the request's first byte, `len` what
 * follows it: all that earlier calls saw, and more. Inline requests with quotes are unquoted in
 * place.
 *
 * Errors: FL_AGAIN      incomplete: call again with more
 *         FL_PROTOCOL   refused, and so is every later call: send resp_parser_error() and close
 *         FL_NO_MEMORY  for slices; close, for the request may be half unquoted */
FL_NODISCARD fl_status resp_parse(struct resp_parser *parser, char *buf, size_t len);

/* After FL_AGAIN: with fewer than this many bytes in the buffer resp_parse() will say FL_AGAIN
 * again. Lets a server size its buffer once, and skip calls. */
size_t resp_parser_wanted(const struct resp_parser *parser, size_t len);

/* After FL_PROTOCOL: "ERR Protocol error: ..." without CR LF, cut to `cap` and 0-terminated;
 * returns its length. */
size_t resp_parser_error(const struct resp_parser *parser, char *out, size_t cap);

/* The parser's memory goes back to the idle state if it has grown large. Between requests only. */
void resp_parser_trim(struct resp_parser *parser);

/* ---- big arguments ---- */

/* The argument that resp_parse() stopped in with FL_AGAIN. */
struct resp_pending {
    uint32_t index;       /* argv[0] to argv[index - 1] are complete */
    uint32_t bytes_total; /* its length */
    uint32_t bytes_here;  /* of them are in the buffer, from `off` to the buffer's end */
    uint32_t bytes_left;  /* not yet taken by resp_parser_take(); without it equal to bytes_total */
    uint32_t off;
};

/* False if resp_parse() stopped elsewhere, or only the CR LF behind the argument lacks. `len` is
 * that of the last call. */
bool resp_parser_pending(const struct resp_parser *parser, size_t len,
                         struct resp_pending *pending);

/* Take the pending argument out of the buffer, say to write it straight to storage:
 *
 *     resp_parser_pending(parser, len, &pending) and pending.bytes_total is big:
 *     resp_parser_stream(parser);                    // argv[index] = {RESP_ARG_STREAMED, ..}
 *     take pending.bytes_here bytes at pending.off;  // they are the last of the buffer
 *     resp_parser_take(parser, pending.bytes_here);  // the buffer ends at pending.off now
 *     for each chunk received:
 *         n = min(parser->stream_left, chunk length);
 *         take n bytes; resp_parser_take(parser, n);
 *         the chunk's rest, if any, goes to the buffer at pending.off
 *
 * and on with resp_parse() once stream_left is 0; before that it says FL_AGAIN. */
void resp_parser_stream(struct resp_parser *parser);
void resp_parser_take(struct resp_parser *parser, uint32_t bytes_count);

#endif
