#include "tests/unit/proto/trace.h"

#include "proto/resp_parse.h"
#include "proto/resp_reply.h"
#include "tests/lib/die.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { QUOTED_BYTES_MAX = 64 };

/* ---- text ---- */

void
text_add(struct text *text, const char *data, size_t len)
{
    if (text->len + len + 1 > text->cap) {
        text->cap = (text->len + len + 1) * 2;
        text->ptr = realloc(text->ptr, text->cap);
        if (text->ptr == NULL) {
            die_errno("realloc");
        }
    }
    if (len > 0) {
        memcpy(text->ptr + text->len, data, len);
    }
    text->len += len;
    text->ptr[text->len] = '\0';
}

void
text_addf(struct text *text, const char *format, ...)
{
    char piece[256];
    va_list args;

    va_start(args, format);
    const int len = vsnprintf(piece, sizeof(piece), format, args);
    va_end(args);
    if (len < 0 || (size_t)len >= sizeof(piece)) {
        die("too long a text: %s", format);
    }
    text_add(text, piece, (size_t)len);
}

void
text_quote(struct text *text, const char *data, size_t len)
{
    if (len > QUOTED_BYTES_MAX) {
        uint64_t hash = len;

        for (size_t i = 0; i < len; i++) {
            hash = (hash ^ (unsigned char)data[i]) * 0x100000001b3;
        }
        text_addf(text, "<%zu bytes %016llx>", len, (unsigned long long)hash);
        return;
    }
    text_add(text, "\"", 1);
    for (size_t i = 0; i < len; i++) {
        if (data[i] >= ' ' && data[i] <= '~' && data[i] != '"' && data[i] != '\\') {
            text_add(text, data + i, 1);
        } else {
            text_addf(text, "\\x%02x", (unsigned)(unsigned char)data[i]);
        }
    }
    text_add(text, "\"", 1);
}

void
text_free(struct text *text)
{
    free(text->ptr);
    *text = (struct text){0};
}

/* ---- pieces ---- */

size_t
piece_whole(void *context, size_t left)
{
    (void)context;
    return left;
}

size_t
piece_cut(void *context, size_t left)
{
    size_t *cut = context;
    const size_t len = *cut > 0 && *cut < left ? *cut : left;

    *cut = 0;
    return len;
}

size_t
piece_even(void *context, size_t left)
{
    const size_t *even = context;

    return *even < left ? *even : left;
}

/* The bytes that a connection keeps: at the end of a block of exactly their size. */
struct input {
    char *buf;
    size_t len;
};

/* Drop `used` bytes and put `len` more behind the others, in another block. */
static void
input_move(struct input *input, size_t used, const char *data, size_t len)
{
    const size_t kept = input->len - used;
    char *buf = malloc(kept + len > 0 ? kept + len : 1);

    if (buf == NULL) {
        die_errno("malloc");
    }
    if (kept > 0) {
        memcpy(buf, input->buf + used, kept);
    }
    if (len > 0) {
        memcpy(buf + kept, data, len);
    }
    free(input->buf);
    *input = (struct input){.buf = buf, .len = kept + len};
}

/* ---- requests ---- */

struct request_trace {
    struct text *out;
    struct resp_parser parser;
    struct input input;
    struct text streamed; /* bytes of streamed arguments, in the order of the arguments */
    unsigned stream_min;
    size_t wanted; /* what the parser said last that it needs */
};

static void
add_request(struct request_trace *trace)
{
    size_t streamed_at = 0;

    if (trace->parser.argc == 0) {
        return; /* how many empty ones there are may depend on the pieces; they mean nothing */
    }
    for (uint32_t i = 0; i < trace->parser.argc; i++) {
        const struct resp_arg *arg = &trace->parser.argv[i];

        text_add(trace->out, i > 0 ? " " : "", i > 0);
        if (arg->off == RESP_ARG_STREAMED) {
            text_quote(trace->out, trace->streamed.ptr + streamed_at, arg->len);
            streamed_at += arg->len;
        } else {
            text_quote(trace->out, trace->input.buf + arg->off, arg->len);
        }
    }
    text_add(trace->out, "\n", 1);
    trace->streamed.len = 0;
}

/* Take the pending argument out of the buffer if it is long enough, as a server would. */
static void
begin_stream(struct request_trace *trace)
{
    struct resp_pending pending;

    if (trace->stream_min == 0 || trace->parser.stream_left > 0 ||
        !resp_parser_pending(&trace->parser, trace->input.len, &pending) ||
        pending.bytes_total < trace->stream_min) {
        return;
    }
    if (pending.off + pending.bytes_here != trace->input.len ||
        pending.bytes_left != pending.bytes_total || pending.index != trace->parser.argc) {
        die("the pending argument is not the buffer's end");
    }
    resp_parser_stream(&trace->parser);
    text_add(&trace->streamed, trace->input.buf + pending.off, pending.bytes_here);
    resp_parser_take(&trace->parser, pending.bytes_here);
    trace->input.len = pending.off;
}

/* Execute what is complete. False: refused. */
static bool
run_requests(struct request_trace *trace)
{
    for (;;) {
        const fl_status status = resp_parse(&trace->parser, trace->input.buf, trace->input.len);

        if (status == FL_AGAIN) {
            begin_stream(trace);
            trace->wanted = resp_parser_wanted(&trace->parser, trace->input.len);
            return true;
        }
        if (trace->input.len < trace->wanted) {
            die("%zu bytes were enough, though it wanted %zu", trace->input.len, trace->wanted);
        }
        trace->wanted = 0;
        if (status != FL_OK) {
            char error[128];

            if (status != FL_PROTOCOL) {
                die("resp_parse: %s", fl_status_name(status));
            }
            resp_parser_error(&trace->parser, error, sizeof(error));
            text_addf(trace->out, "error %s\n", error);
            return false;
        }
        add_request(trace);
        input_move(&trace->input, trace->parser.used, NULL, 0);
    }
}

void
trace_requests(struct text *out, const char *data, size_t len,
               const struct trace_request_options *options, piece_fn *piece, void *context)
{
    struct request_trace trace = {.out = out, .stream_min = options->stream_min};
    bool good = true;

    resp_parser_init(&trace.parser);
    resp_parser_limit(&trace.parser, !options->unauthenticated,
                      options->bulk_bytes_max > 0 ? options->bulk_bytes_max : RESP_BULK_BYTES_MAX);
    text_add(out, "", 0);
    while (len > 0 && good) {
        size_t n = piece(context, len);
        const size_t taken = n < trace.parser.stream_left ? n : trace.parser.stream_left;

        if (taken > 0) {
            text_add(&trace.streamed, data, taken);
            resp_parser_take(&trace.parser, (uint32_t)taken);
        }
        input_move(&trace.input, 0, data + taken, n - taken);
        good = run_requests(&trace);
        data += n;
        len -= n;
    }
    if (good && trace.input.len + trace.streamed.len > 0) {
        text_addf(out, "rest %zu\n", trace.input.len + trace.streamed.len);
    }
    resp_parser_deinit(&trace.parser);
    text_free(&trace.streamed);
    free(trace.input.buf);
}

/* ---- replies ---- */

static void
add_leaf(struct text *out, const struct resp_node *node, const char *buf)
{
    static const char *const marks[] = {
        [RESP_NULL] = "null", [RESP_SIMPLE] = "+",     [RESP_ERROR] = "-",
        [RESP_INTEGER] = ":", [RESP_BULK] = "$",       [RESP_DOUBLE] = ",",
        [RESP_BOOL] = "#",    [RESP_BIG_NUMBER] = "(", [RESP_VERBATIM] = "=",
    };

    text_addf(out, "%s", marks[node->type]);
    if (node->type == RESP_INTEGER || node->type == RESP_BOOL) {
        text_addf(out, "%lld", (long long)node->integer);
    } else if (node->type != RESP_NULL) {
        text_quote(out, buf + node->off, node->len);
    }
}

/* The nodes from `at` to before `end`, attributes too, by their own order: no stack is needed,
 * since each says where it ends. */
static void
add_nodes(struct text *out, const struct resp_reader *reader, const char *buf)
{
    static const char *const marks[] = {
        [RESP_ARRAY] = "*", [RESP_SET] = "~",       [RESP_PUSH] = ">",
        [RESP_MAP] = "%",   [RESP_ATTRIBUTE] = "|",
    };
    uint32_t ends[RESP_NESTING_MAX];
    uint32_t depth = 0;

    for (uint32_t at = 0; at < reader->nodes_count; at++) {
        const struct resp_node *node = &reader->nodes[at];

        if (node->next <= at || node->next > reader->nodes_count) {
            die("node %u ends at %u of %u", at, node->next, reader->nodes_count);
        }
        text_add(out, at > 0 ? " " : "", at > 0);
        if (!resp_type_is_aggregate((enum resp_type)node->type)) {
            add_leaf(out, node, buf);
        } else {
            text_addf(out, "%s%u[", marks[node->type], node->count);
            if (node->next > at + 1 && depth < RESP_NESTING_MAX) {
                ends[depth++] = node->next;
            } else {
                text_add(out, "]", 1);
            }
        }
        while (depth > 0 && ends[depth - 1] == at + 1) {
            text_add(out, "]", 1);
            depth--;
        }
    }
    if (depth != 0 || resp_skip_attributes(reader, 0) != reader->root ||
        reader->nodes[reader->root].next != reader->nodes_count) {
        die("the tree doesn't end where its root does");
    }
    text_add(out, "\n", 1);
}

void
trace_replies(struct text *out, const char *data, size_t len, size_t bytes_max, piece_fn *piece,
              void *context)
{
    struct resp_reader reader;
    struct input input = {0};
    fl_status status = FL_AGAIN;

    resp_reader_init(&reader, bytes_max);
    text_add(out, "", 0);
    while (len > 0 && status == FL_AGAIN) {
        const size_t n = piece(context, len);

        input_move(&input, 0, data, n);
        while ((status = resp_read(&reader, input.buf, input.len)) == FL_OK) {
            add_nodes(out, &reader, input.buf);
            input_move(&input, reader.used, NULL, 0);
        }
        data += n;
        len -= n;
    }
    if (status == FL_PROTOCOL) {
        text_addf(out, "error %s\n", reader.error);
    } else if (input.len > 0) {
        text_addf(out, "rest\n"); /* streamed strings are shorter once they are joined */
    }
    resp_reader_deinit(&reader);
    free(input.buf);
}
