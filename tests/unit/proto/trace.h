/* What a parser made of a stream, as text: two ways of feeding it must give the same.
 *
 * A stream is fed in pieces as a connection would get it: the bytes not yet used are moved, with
 * each piece, to a block of exactly their size, so that a parser that keeps pointers or reads too
 * far is seen by ASan.
 */
#ifndef FL_TESTS_PROTO_TRACE_H
#define FL_TESTS_PROTO_TRACE_H

#include <stdbool.h>
#include <stddef.h>

struct text {
    char *ptr; /* 0-terminated */
    size_t len;
    size_t cap;
};

void text_add(struct text *text, const char *data, size_t len);
void text_addf(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* In quotes, unprintable bytes as \xHH; of long data the length and a hash. */
void text_quote(struct text *text, const char *data, size_t len);
void text_free(struct text *text);

/* Says how long the next piece is, at least 1 of the `left` bytes. */
typedef size_t piece_fn(void *context, size_t left);

/* All in one piece; and `*(size_t *)context` bytes first, then the rest; and always that many. */
piece_fn piece_whole, piece_cut, piece_even;

/* One line for each request, 'set "a" "b"'; then "error ...", or "rest N" for an incomplete request
 * of N bytes, or nothing. */
struct trace_request_options {
    bool unauthenticated;
    unsigned bulk_bytes_max; /* 0: the default */
    unsigned stream_min;     /* arguments this long are streamed; 0: none */
};
void trace_requests(struct text *out, const char *data, size_t len,
                    const struct trace_request_options *options, piece_fn *piece, void *context);

/* One line for each reply, as nested brackets. */
void trace_replies(struct text *out, const char *data, size_t len, size_t bytes_max,
                   piece_fn *piece, void *context);

#endif
