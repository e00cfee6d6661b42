/* Goal:   the fast parser and the plainest one that could be written agree on every stream, valid
 * or hostile. Method: random streams of requests, most of them damaged in some bytes, are fed in
 * random pieces and compared with a
 *         reference that sees the whole stream and takes it apart byte by byte, with the C library's conversions.
 */
#include "proto/limits.h"
#include "tests/lib/rng.h"
#include "tests/unit/proto/trace.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROUNDS = 6000 };

#define ERROR(text) "error ERR Protocol error: " text "\n"

/* ---- the reference ---- */

struct reference {
    const char *data;
    size_t len;
    size_t pos;
    const struct trace_request_options *options;
    struct text *out;
};

enum ref_result { REF_DONE, REF_REST, REF_STOP };

static enum ref_result
ref_error(struct reference *ref, const char *text)
{
    text_add(ref->out, text, strlen(text));
    return REF_STOP;
}

/* The canonical number from `from` to `to`. */
static bool
ref_number(const struct reference *ref, size_t from, size_t to, long long *value)
{
    char text[32] = "";
    char again[32];

    if (to - from >= sizeof(text)) {
        return false;
    }
    memcpy(text, ref->data + from, to - from);
    errno = 0;
    *value = strtoll(text, NULL, 10);
    snprintf(again, sizeof(again), "%lld", *value);
    return errno == 0 && strlen(text) == to - from && strcmp(text, again) == 0;
}

/* A line "?N" that ends with CR LF: its number, or invalid. */
static enum ref_result
ref_count(struct reference *ref, const char *too_big, long long *value, bool *valid)
{
    size_t end = ref->pos;

    while (end < ref->len && ref->data[end] != '\r') {
        if (end - ref->pos == RESP_LINE_BYTES_MAX) {
            return ref_error(ref, too_big);
        }
        end++;
    }
    if (end + 1 >= ref->len) {
        return REF_REST;
    }
    *valid =
        ref->data[end + 1] == '\n' && end > ref->pos && ref_number(ref, ref->pos + 1, end, value);
    ref->pos = end + 2;
    return REF_DONE;
}

static enum ref_result
ref_bulk(struct reference *ref, struct text *line)
{
    const long long max =
        ref->options->bulk_bytes_max > 0 ? ref->options->bulk_bytes_max : RESP_BULK_BYTES_MAX;
    const size_t start = ref->pos;
    long long bulk_len = 0;
    bool valid = false;
    const enum ref_result result =
        ref_count(ref, ERROR("too big bulk count string"), &bulk_len, &valid);

    if (result != REF_DONE) {
        return result;
    }
    if (ref->data[start] != '$') {
        const char got = ref->data[start];
        char text[64];

        snprintf(text, sizeof(text), ERROR("expected '$', got '%c'"),
                 got == '\r' || got == '\n' || got == '\0' ? ' ' : got);
        return ref_error(ref, text);
    }
    if (!valid || bulk_len < 0 || bulk_len > max) {
        return ref_error(ref, ERROR("invalid bulk length"));
    }
    if (ref->options->unauthenticated && bulk_len > RESP_UNAUTH_BULK_BYTES_MAX) {
        return ref_error(ref, ERROR("unauthenticated bulk length"));
    }
    if (ref->len - ref->pos < (size_t)bulk_len + 2) {
        return REF_REST;
    }
    if (memcmp(ref->data + ref->pos + bulk_len, "\r\n", 2) != 0) {
        return ref_error(ref, ERROR("expected CRLF behind a bulk string"));
    }
    text_add(line, " ", line->len > 0);
    text_quote(line, ref->data + ref->pos, (size_t)bulk_len);
    ref->pos += (size_t)bulk_len + 2;
    return REF_DONE;
}

static enum ref_result
ref_array(struct reference *ref, struct text *line)
{
    long long count = 0;
    bool valid = false;
    enum ref_result result = ref_count(ref, ERROR("too big mbulk count string"), &count, &valid);

    if (result == REF_DONE && (!valid || count > RESP_ARGS_MAX)) {
        return ref_error(ref, ERROR("invalid multibulk length"));
    }
    if (result == REF_DONE && ref->options->unauthenticated && count > RESP_UNAUTH_ARGS_MAX) {
        return ref_error(ref, ERROR("unauthenticated multibulk length"));
    }
    while (result == REF_DONE && count-- > 0) {
        result = ref_bulk(ref, line);
    }
    return result;
}

/* One character of a quoted word, and how many bytes stand for it. */
static char
ref_quoted(const char *at, size_t left, char quote, size_t *used)
{
    static const char names[] = "nrtba";
    static const char values[] = "\n\r\t\b\a";
    char hex[3] = "";

    *used = 1;
    if (*at != '\\' || left < 2 || (quote == '\'' && at[1] != '\'')) {
        return *at;
    }
    *used = 2;
    if (quote == '\'') {
        return '\'';
    }
    if (at[1] == 'x' && left >= 4) {
        memcpy(hex, at + 2, 2);
        if (strspn(hex, "0123456789abcdefABCDEF") == 2) {
            *used = 4;
            return (char)strtol(hex, NULL, 16);
        }
    }
    const char *name = at[1] != '\0' ? strchr(names, at[1]) : NULL;

    return name != NULL ? values[name - names] : at[1];
}

static bool
ref_is_space(char c)
{
    return c != '\0' && strchr(" \t\n\v\f\r", c) != NULL;
}

/* The words of a line; false if quotes are unbalanced. */
static bool
ref_words(const char *at, const char *end, struct text *line)
{
    struct text word = {0};
    bool good = true;

    while (good) {
        while (at < end && ref_is_space(*at)) {
            at++;
        }
        if (at == end) {
            break;
        }
        word.len = 0;
        while (at < end && *at != '"' && *at != '\'' &&
               (*at == '\v' || *at == '\f' || !ref_is_space(*at))) {
            text_add(&word, at++, 1);
        }
        if (at < end && (*at == '"' || *at == '\'')) {
            const char quote = *at++;

            while (at < end && *at != quote) {
                size_t used;
                const char c = ref_quoted(at, (size_t)(end - at), quote, &used);

                text_add(&word, &c, 1);
                at += used;
            }
            good = at < end && (at + 1 == end || ref_is_space(at[1]));
            at++;
        }
        text_add(line, " ", line->len > 0);
        text_quote(line, word.ptr, word.len);
    }
    text_free(&word);
    return good;
}

static enum ref_result
ref_inline(struct reference *ref, struct text *line)
{
    const char *at = ref->data + ref->pos;
    size_t len = 0;

    while (ref->pos + len < ref->len && at[len] != '\n') {
        if (len == RESP_LINE_BYTES_MAX) {
            return ref_error(ref, ERROR("too big inline request"));
        }
        len++;
    }
    if (ref->pos + len == ref->len) {
        return REF_REST;
    }
    ref->pos += len + 1;
    if (len > 0 && at[len - 1] == '\r') {
        len--;
    }
    if (!ref_words(at, at + len, line)) {
        return ref_error(ref, ERROR("unbalanced quotes in request"));
    }
    return REF_DONE;
}

static void
trace_reference(struct text *out, const char *data, size_t len,
                const struct trace_request_options *options)
{
    struct reference ref = {.data = data, .len = len, .options = options, .out = out};
    struct text line = {0};
    enum ref_result result = REF_DONE;

    text_add(out, "", 0);
    while (result == REF_DONE && ref.pos < len) {
        const size_t start = ref.pos;

        line.len = 0;
        result = data[start] == '*' ? ref_array(&ref, &line) : ref_inline(&ref, &line);
        if (result == REF_DONE && line.len > 0) {
            text_add(out, line.ptr, line.len);
            text_add(out, "\n", 1);
        }
        if (result == REF_REST) {
            text_addf(out, "rest %zu\n", len - start);
        }
    }
    text_free(&line);
}

/* ---- random streams ---- */

/* Mostly a few bytes, sometimes thousands. */
static size_t
random_len(struct rng *rng)
{
    static const uint64_t bounds[] = {4, 4, 20, 20, 130, 1200, 20000};

    return rng_below(rng, bounds[rng_below(rng, sizeof(bounds) / sizeof(bounds[0]))]);
}

static void
add_random_array(struct rng *rng, struct text *stream)
{
    static char bytes[20000];
    const uint64_t count = rng_below(rng, 20) == 0 ? rng_below(rng, 40) : rng_below(rng, 5);

    text_addf(stream, "*%llu\r\n", (unsigned long long)count);
    for (uint64_t i = 0; i < count; i++) {
        const size_t len = random_len(rng);

        rng_fill(rng, bytes, len);
        text_addf(stream, "$%zu\r\n", len);
        text_add(stream, bytes, len);
        text_add(stream, "\r\n", 2);
    }
}

static void
add_random_inline(struct rng *rng, struct text *stream)
{
    static const char *const parts[] = {
        "PING",  " ",  "  ",   "\t", "\"a b\"", "'a b'", "\"\\x41\\n\\\"\"",
        "'\\''", "\\", "\"",   "'",  "x",       "\v",    "\f",
        "\r",    "",   "\"\"", "''", " \"q\" ", " 'q' ", "\"\\xg1\\q\"",
        "\x80",  "*1",
    };
    const uint64_t count = rng_below(rng, 6);

    for (uint64_t i = 0; i < count; i++) {
        const char *part = parts[rng_below(rng, sizeof(parts) / sizeof(parts[0]))];

        text_add(stream, part, strlen(part));
    }
    text_add(stream, "\r\n", 2);
}

static void
add_random_head(struct rng *rng, struct text *stream)
{
    static const char *const heads[] = {
        "*-1\r\n",
        "*0\r\n",
        "*1\r\n",
        "*2\r\n$",
        "*x\r\n",
        "*1048577\r\n",
        "*11\r\n",
        "$5\r\n",
        "*1\r\n$-1\r\n",
        "*1\r\n$16385\r\n",
        "*1\r\n$536870913\r\n",
        "*1\r\n$0\r\n\r\n",
        "\r\n",
        "\n",
        "*1\r\n$00\r\n",
        "*99999999999999999999\r\n",
        "*1\r\n$99999999999999999999\r\n",
        "*1\r\n\r\n",
    };
    const char *head = heads[rng_below(rng, sizeof(heads) / sizeof(heads[0]))];

    text_add(stream, head, strlen(head));
}

static void
make_stream(struct rng *rng, struct text *stream)
{
    static const char edges[] = "\r\n*$-0123456789\"'\\ \0\xff";
    const uint64_t count = 1 + rng_below(rng, 6);

    for (uint64_t i = 0; i < count; i++) {
        switch (rng_below(rng, 8)) {
        case 0:
            add_random_head(rng, stream);
            break;
        case 1:
        case 2:
            add_random_inline(rng, stream);
            break;
        default:
            add_random_array(rng, stream);
        }
    }
    for (uint64_t damages = rng_below(rng, 4); damages > 0; damages--) {
        /* Near the beginning, where what is behind still matters. */
        const size_t at =
            rng_below(rng, rng_below(rng, 2) == 0 ? stream->len : (stream->len + 9) / 10);

        stream->ptr[at] = edges[rng_below(rng, sizeof(edges) - 1)];
    }
    if (rng_below(rng, 4) == 0) {
        stream->len = rng_below(rng, stream->len + 1);
    }
}

static size_t
piece_random(void *context, size_t left)
{
    const size_t n = 1 + random_len(context);

    return n < left ? n : left;
}

static void
parser_agrees_with_the_reference_on_random_streams(void **state)
{
    struct rng rng = rng_seeded(7);
    (void)state;

    for (int round = 0; round < ROUNDS; round++) {
        const struct trace_request_options options = {
            .unauthenticated = rng_below(&rng, 4) == 0,
            .bulk_bytes_max = rng_below(&rng, 4) == 0 ? 1000 : 0,
            .stream_min = rng_below(&rng, 2) == 0 ? 100 : 0,
        };
        struct text stream = {0};
        struct text expected = {0};
        struct text whole = {0};
        struct text split = {0};

        make_stream(&rng, &stream);
        trace_reference(&expected, stream.ptr, stream.len, &options);
        trace_requests(&whole, stream.ptr, stream.len, &options, piece_whole, NULL);
        assert_string_equal(whole.ptr, expected.ptr);
        trace_requests(&split, stream.ptr, stream.len, &options, piece_random, &rng);
        assert_string_equal(split.ptr, expected.ptr);
        text_free(&stream);
        text_free(&expected);
        text_free(&whole);
        text_free(&split);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parser_agrees_with_the_reference_on_random_streams),
    };

    return cmocka_run_group_tests_name("resp_parse_property", tests, NULL, NULL);
}
