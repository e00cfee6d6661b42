#include "proto/resp_write.h"

#include "proto/decimal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    HEAD_BYTES_MAX = 1 + DECIMAL_I64_CHARS_MAX + 2, /* "*N\r\n" */
    WHOLE_BYTES_MAX = 1024, /* a shorter bulk string is written in one piece */
};

static inline char *
put_line_end(char *at)
{
    at[0] = '\r';
    at[1] = '\n';
    return at + 2;
}

static size_t
format_head(char *text, char type, int64_t value)
{
    char *at = text;

    *at++ = type;
    if (value >= 0 && value < 10) { /* lengths and counts mostly are */
        *at++ = (char)('0' + value);
    } else {
        at += decimal_format_i64(value, at);
    }
    return (size_t)(put_line_end(at) - text);
}

/* One line of a type byte and a number. */
static void
write_head(struct resp_out *out, char type, int64_t value)
{
    char *room = resp_out_reserve(out, HEAD_BYTES_MAX);

    if (room != NULL) {
        resp_out_advance(out, format_head(room, type, value));
    }
}

/* ---- plain types ---- */

void
resp_write_ok(struct resp_out *out)
{
    char *room = resp_out_reserve(out, 5);

    if (room != NULL) {
        memcpy(room, "+OK\r\n", 5);
        resp_out_advance(out, 5);
    }
}

void
resp_write_simple(struct resp_out *out, const char *text)
{
    resp_out_append(out, "+", 1);
    resp_out_append(out, text, strlen(text));
    resp_out_append(out, "\r\n", 2);
}

void
resp_write_error(struct resp_out *out, const char *text)
{
    const size_t len = strnlen(text, RESP_ERROR_BYTES_MAX);
    char *room = resp_out_reserve(out, len + 3);

    if (room == NULL) {
        return;
    }
    *room++ = '-';
    for (size_t i = 0; i < len; i++) {
        *room++ = text[i] == '\r' || text[i] == '\n' ? ' ' : text[i];
    }
    put_line_end(room);
    resp_out_advance(out, len + 3);
}

void
resp_write_errorf(struct resp_out *out, const char *format, ...)
{
    char text[RESP_ERROR_BYTES_MAX + 1];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    resp_write_error(out, text);
}

void
resp_write_integer(struct resp_out *out, int64_t value)
{
    write_head(out, ':', value);
}

void
resp_write_bulk(struct resp_out *out, const void *data, size_t len)
{
    if (len > WHOLE_BYTES_MAX) {
        write_head(out, '$', (int64_t)len);
        resp_out_append(out, data, len);
        resp_out_append(out, "\r\n", 2);
        return;
    }
    char *room = resp_out_reserve(out, HEAD_BYTES_MAX + len + 2);

    if (room == NULL) {
        return;
    }
    const size_t head_len = format_head(room, '$', (int64_t)len);

    if (len > 0) {
        memcpy(room + head_len, data, len);
    }
    put_line_end(room + head_len + len);
    resp_out_advance(out, head_len + len + 2);
}

void
resp_write_bulk_text(struct resp_out *out, const char *text)
{
    resp_write_bulk(out, text, strlen(text));
}

void
resp_write_bulk_integer(struct resp_out *out, int64_t value)
{
    char text[DECIMAL_I64_CHARS_MAX];

    resp_write_bulk(out, text, decimal_format_i64(value, text));
}

void *
resp_write_bulk_reference(struct resp_out *out, const void *data, size_t len, size_t context_bytes,
                          void (*release)(void *context))
{
    write_head(out, '$', (int64_t)len);
    void *context = resp_out_reference(out, data, len, context_bytes, release);

    resp_out_append(out, "\r\n", 2);
    return context;
}

void
resp_write_null(struct resp_out *out)
{
    if (out->protocol >= 3) {
        resp_out_append(out, "_\r\n", 3);
    } else {
        resp_out_append(out, "$-1\r\n", 5);
    }
}

void
resp_write_null_array(struct resp_out *out)
{
    if (out->protocol >= 3) {
        resp_out_append(out, "_\r\n", 3);
    } else {
        resp_out_append(out, "*-1\r\n", 5);
    }
}

/* ---- what RESP2 lacks ---- */

/* A line of text in RESP3, a bulk string in RESP2. */
static void
write_line_or_bulk(struct resp_out *out, const char *type, const char *text, size_t len)
{
    if (out->protocol < 3) {
        resp_write_bulk(out, text, len);
        return;
    }
    resp_out_append(out, type, 1);
    resp_out_append(out, text, len);
    resp_out_append(out, "\r\n", 2);
}

void
resp_write_double(struct resp_out *out, double value)
{
    char text[DECIMAL_DOUBLE_CHARS_MAX];

    write_line_or_bulk(out, ",", text, decimal_format_double(value, text));
}

void
resp_write_bool(struct resp_out *out, bool value)
{
    if (out->protocol >= 3) {
        resp_out_append(out, value ? "#t\r\n" : "#f\r\n", 4);
    } else {
        resp_out_append(out, value ? ":1\r\n" : ":0\r\n", 4);
    }
}

void
resp_write_big_number(struct resp_out *out, const char *digits)
{
    write_line_or_bulk(out, "(", digits, strlen(digits));
}

void
resp_write_verbatim(struct resp_out *out, const char *format, const void *data, size_t len)
{
    if (out->protocol < 3) {
        resp_write_bulk(out, data, len);
        return;
    }
    write_head(out, '=', (int64_t)len + 4);
    resp_out_append(out, format, 3);
    resp_out_append(out, ":", 1);
    resp_out_append(out, data, len);
    resp_out_append(out, "\r\n", 2);
}

/* ---- aggregates ---- */

void
resp_write_array(struct resp_out *out, uint64_t count)
{
    write_head(out, '*', (int64_t)count);
}

void
resp_write_set(struct resp_out *out, uint64_t count)
{
    write_head(out, out->protocol >= 3 ? '~' : '*', (int64_t)count);
}

void
resp_write_push(struct resp_out *out, uint64_t count)
{
    write_head(out, out->protocol >= 3 ? '>' : '*', (int64_t)count);
}

void
resp_write_map(struct resp_out *out, uint64_t pairs_count)
{
    if (out->protocol >= 3) {
        write_head(out, '%', (int64_t)pairs_count);
    } else {
        write_head(out, '*', (int64_t)pairs_count * 2);
    }
}

bool
resp_write_attribute(struct resp_out *out, uint64_t pairs_count)
{
    if (out->protocol < 3) {
        return false;
    }
    write_head(out, '|', (int64_t)pairs_count);
    return true;
}

struct resp_seg *
resp_write_later(struct resp_out *out)
{
    return resp_out_later(out);
}

static void
fill_head(struct resp_out *out, struct resp_seg *later, char type, uint64_t count)
{
    char text[HEAD_BYTES_MAX];

    resp_out_fill(out, later, text, format_head(text, type, (int64_t)count));
}

void
resp_write_later_array(struct resp_out *out, struct resp_seg *later, uint64_t count)
{
    fill_head(out, later, '*', count);
}

void
resp_write_later_set(struct resp_out *out, struct resp_seg *later, uint64_t count)
{
    fill_head(out, later, out->protocol >= 3 ? '~' : '*', count);
}

void
resp_write_later_map(struct resp_out *out, struct resp_seg *later, uint64_t pairs_count)
{
    if (out->protocol >= 3) {
        fill_head(out, later, '%', pairs_count);
    } else {
        fill_head(out, later, '*', pairs_count * 2);
    }
}

/* ---- requests ---- */

void
resp_write_request(struct resp_out *out, size_t argc, const char *const *argv, const size_t *lens)
{
    resp_write_array(out, argc);
    for (size_t i = 0; i < argc; i++) {
        resp_write_bulk(out, argv[i], lens != NULL ? lens[i] : strlen(argv[i]));
    }
}
