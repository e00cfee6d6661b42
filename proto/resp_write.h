/* Replies, written in the form of the connection's protocol (out->protocol, 2 or 3); and requests.
 *
 * What RESP2 lacks is written as Redis does there: a map as an array twice as long, a set or push
 * as an array, a double, big number or verbatim text as a bulk string, a boolean as 1 or 0.
 *
 * Nothing here fails: see resp_out_failed().
 */
#ifndef FL_PROTO_RESP_WRITE_H
#define FL_PROTO_RESP_WRITE_H

#include "proto/limits.h"
#include "proto/resp_out.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void resp_write_ok(struct resp_out *out);
/* 0-terminated and without CR or LF: "PONG". */
void resp_write_simple(struct resp_out *out, const char *text);

/* An error with its code and without the dash: "ERR syntax error". CR and LF in it become spaces,
 * since clients' bytes may be quoted in it; cut at RESP_ERROR_BYTES_MAX. */
void resp_write_error(struct resp_out *out, const char *text);
void resp_write_errorf(struct resp_out *out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

void resp_write_integer(struct resp_out *out, int64_t value);
void resp_write_bulk(struct resp_out *out, const void *data, size_t len);
void resp_write_bulk_text(struct resp_out *out, const char *text); /* 0-terminated */
void resp_write_bulk_integer(struct resp_out *out, int64_t value); /* "$2\r\n42" */

/* A bulk string that is not copied: see resp_out_reference(). */
void *resp_write_bulk_reference(struct resp_out *out, const void *data, size_t len,
                                size_t context_bytes, void (*release)(void *context));

/* "No value": $-1 in RESP2; and where an array would have stood (EXEC that was aborted): *-1. RESP3
 * has one null for both. */
void resp_write_null(struct resp_out *out);
void resp_write_null_array(struct resp_out *out);

void resp_write_double(struct resp_out *out, double value);
void resp_write_bool(struct resp_out *out, bool value);
/* Digits with a sign, 0-terminated. */
void resp_write_big_number(struct resp_out *out, const char *digits);
/* Text to be shown to people as it is; `format` has three letters: "txt", "mkd". */
void resp_write_verbatim(struct resp_out *out, const char *format, const void *data, size_t len);

/* Heads of aggregates; the elements follow. A map counts pairs. */
void resp_write_array(struct resp_out *out, uint64_t count);
void resp_write_set(struct resp_out *out, uint64_t count);
void resp_write_push(struct resp_out *out, uint64_t count);
void resp_write_map(struct resp_out *out, uint64_t pairs_count);
/* RESP3 only: in RESP2 it writes nothing and returns false, and the pairs must be left out. */
bool resp_write_attribute(struct resp_out *out, uint64_t pairs_count);

/* An aggregate whose count is known only behind its elements:
 *     struct resp_seg *later = resp_write_later(out);
 *     ... elements ...
 *     resp_write_later_array(out, later, count);
 * `later` may be NULL. */
struct resp_seg *resp_write_later(struct resp_out *out);
void resp_write_later_array(struct resp_out *out, struct resp_seg *later, uint64_t count);
void resp_write_later_set(struct resp_out *out, struct resp_seg *later, uint64_t count);
void resp_write_later_map(struct resp_out *out, struct resp_seg *later, uint64_t pairs_count);

/* ---- requests ---- */

/* A request is an array of bulk strings in both protocols: resp_write_array(), then
 * resp_write_bulk() for each argument; or this for all of them. lens may be NULL: the arguments are
 * 0-terminated. */
void resp_write_request(struct resp_out *out, size_t argc, const char *const *argv,
                        const size_t *lens);

#endif
