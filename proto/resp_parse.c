#include "proto/resp_parse.h"

#include "base/fail.h"
#include "proto/decimal.h"
#include "proto/resp_words.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum resp_phase {
    PHASE_START = 0, /* at a request's first byte */
    PHASE_ARGS,      /* at an argument's "$" */
    PHASE_BODY,      /* at an argument's bytes, whose slot in argv exists */
    PHASE_STREAM,    /* the caller takes the argument; then at the CR LF behind it */
    PHASE_BROKEN,
};

/* ---- limits, memory, errors ---- */

void
resp_parser_init(struct resp_parser *parser)
{
    memset(parser, 0, sizeof(*parser));
    resp_parser_limit(parser, true, RESP_BULK_BYTES_MAX);
}

void
resp_parser_deinit(struct resp_parser *parser)
{
    free(parser->argv);
    parser->argv = NULL;
    parser->argv_slots = 0;
}

void
resp_parser_limit(struct resp_parser *parser, bool authenticated, uint32_t bulk_bytes_max)
{
    FL_ASSERT(bulk_bytes_max <= RESP_BULK_BYTES_MAX);
    parser->bulk_bytes_max = bulk_bytes_max;
    parser->unauthenticated = !authenticated;
}

void
resp_parser_trim(struct resp_parser *parser)
{
    if (parser->phase == PHASE_START && parser->argv_slots > RESP_ARGV_SLOTS_IDLE_MAX) {
        resp_parser_deinit(parser);
        parser->argc = 0;
    }
}

static const char *
error_text(enum resp_error error)
{
    static const char *const texts[] = {
        [RESP_ERROR_NONE] = "",
        [RESP_ERROR_INLINE_TOO_BIG] = "too big inline request",
        [RESP_ERROR_UNBALANCED_QUOTES] = "unbalanced quotes in request",
        [RESP_ERROR_MULTIBULK_TOO_BIG] = "too big mbulk count string",
        [RESP_ERROR_MULTIBULK_LENGTH] = "invalid multibulk length",
        [RESP_ERROR_MULTIBULK_UNAUTH] = "unauthenticated multibulk length",
        [RESP_ERROR_BULK_EXPECTED] = "expected '$', got ",
        [RESP_ERROR_BULK_TOO_BIG] = "too big bulk count string",
        [RESP_ERROR_BULK_LENGTH] = "invalid bulk length",
        [RESP_ERROR_BULK_UNAUTH] = "unauthenticated bulk length",
        [RESP_ERROR_BULK_END] = "expected CRLF behind a bulk string",
        [RESP_ERROR_REQUEST_TOO_BIG] = "too big request",
    };

    return texts[error];
}

size_t
resp_parser_error(const struct resp_parser *parser, char *out, size_t cap)
{
    const char *text = error_text((enum resp_error)parser->error);
    const char got = parser->error_byte;
    int len;

    if (parser->error == RESP_ERROR_BULK_EXPECTED) {
        const bool printable = got != '\r' && got != '\n' && got != '\0';

        len = snprintf(out, cap, "ERR Protocol error: %s'%c'", text, printable ? got : ' ');
    } else {
        len = snprintf(out, cap, "ERR Protocol error: %s", text);
    }
    return (size_t)len < cap ? (size_t)len : cap - 1;
}

static fl_status __attribute__((cold)) refuse(struct resp_parser *parser, enum resp_error error)
{
    parser->phase = PHASE_BROKEN;
    parser->error = (uint8_t)error;
    return FL_FAIL(FL_PROTOCOL, "request refused: %s", error_text(error));
}

static fl_status __attribute__((noinline)) grow_argv(struct resp_parser *parser)
{
    const uint32_t slots =
        parser->argv_slots > 0 ? parser->argv_slots * 2 : (uint32_t)RESP_ARGV_SLOTS_MIN;
    struct resp_arg *argv = realloc(parser->argv, slots * sizeof(*argv));

    if (argv == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "%u arguments", slots);
    }
    parser->argv = argv;
    parser->argv_slots = slots;
    return FL_OK;
}

/* ---- lines ---- */

/* Look for `end` (CR or LF) in the line at parser->pos. FL_OK sets *at to it. FL_PROTOCOL: there is
 * none in RESP_LINE_BYTES_MAX, which the caller reports in its own words. */
static fl_status
find_line_end(struct resp_parser *parser, const char *buf, uint32_t len, char end, uint32_t *at)
{
    const uint32_t line_end_max = parser->pos + RESP_LINE_BYTES_MAX + 1;
    const uint32_t stop = len < line_end_max ? len : line_end_max;
    const uint32_t from = parser->scanned > parser->pos ? parser->scanned : parser->pos;
    const char *hit = from < stop ? memchr(buf + from, end, stop - from) : NULL;

    if (hit != NULL) {
        *at = (uint32_t)(hit - buf);
        parser->scanned = *at; /* if the caller needs what is behind it: found again at once */
        return FL_OK;
    }
    parser->scanned = stop;
    return stop == line_end_max ? FL_PROTOCOL : FL_AGAIN;
}

/* The number in the line "*N" or "$N" at parser->pos, whose first byte is not looked at. FL_OK sets
 * *value and moves behind the line, or leaves *valid false. */
static fl_status
parse_count_line(struct resp_parser *parser, const char *buf, uint32_t len, int64_t *value,
                 bool *valid)
{
    uint32_t at;
    const fl_status status = find_line_end(parser, buf, len, '\r', &at);

    if (status != FL_OK) {
        return status;
    }
    if (at + 1 >= len) {
        return FL_AGAIN;
    }
    const uint32_t text = parser->pos + 1;

    *valid = buf[at + 1] == '\n' && at >= text && decimal_parse_i64(buf + text, at - text, value);
    parser->pos = at + 2;
    return FL_OK;
}

/* ---- inline requests ---- */

static fl_status
parse_inline(struct resp_parser *parser, char *buf, uint32_t len)
{
    uint32_t line_len;
    fl_status status = find_line_end(parser, buf, len, '\n', &line_len);

    if (status != FL_OK) {
        return status == FL_AGAIN ? status : refuse(parser, RESP_ERROR_INLINE_TOO_BIG);
    }
    parser->pos = line_len + 1; /* a CR before the LF is white space to the words */
    char *at = buf;
    struct resp_word word;

    for (;;) {
        switch (resp_word_next(&at, buf + line_len, &word)) {
        case RESP_WORDS_END:
            return FL_OK;
        case RESP_WORDS_UNBALANCED:
            return refuse(parser, RESP_ERROR_UNBALANCED_QUOTES);
        case RESP_WORDS_MORE:
            break;
        }
        if (parser->argc == parser->argv_slots && (status = grow_argv(parser)) != FL_OK) {
            return status;
        }
        parser->argv[parser->argc++] =
            (struct resp_arg){.off = (uint32_t)(word.ptr - buf), .len = (uint32_t)word.len};
    }
}

/* ---- arrays ---- */

static fl_status __attribute__((noinline))
parse_array_head_slow(struct resp_parser *parser, const char *buf, uint32_t len)
{
    int64_t count = 0;
    bool valid = false;
    const fl_status status = parse_count_line(parser, buf, len, &count, &valid);

    if (status != FL_OK) {
        return status == FL_AGAIN ? status : refuse(parser, RESP_ERROR_MULTIBULK_TOO_BIG);
    }
    if (!valid || count > RESP_ARGS_MAX) {
        return refuse(parser, RESP_ERROR_MULTIBULK_LENGTH);
    }
    if (parser->unauthenticated && count > RESP_UNAUTH_ARGS_MAX) {
        return refuse(parser, RESP_ERROR_MULTIBULK_UNAUTH);
    }
    parser->args_left = count > 0 ? (uint32_t)count : 0;
    parser->phase = PHASE_ARGS;
    return FL_OK;
}

/* Arrays of up to nine arguments, the rule, without a search for the line's end. */
static inline fl_status
parse_array_head(struct resp_parser *parser, const char *buf, uint32_t len)
{
    if (len >= 4 && buf[1] >= '1' && buf[1] <= '9' && buf[2] == '\r' && buf[3] == '\n') {
        parser->args_left = (uint32_t)(buf[1] - '0');
        parser->pos = 4;
        parser->phase = PHASE_ARGS;
        return FL_OK;
    }
    return parse_array_head_slow(parser, buf, len);
}

static fl_status __attribute__((noinline))
parse_bulk_head_slow(struct resp_parser *parser, const char *buf, uint32_t len)
{
    const uint32_t head = parser->pos;
    int64_t bulk_len = 0;
    bool valid = false;
    const fl_status status = parse_count_line(parser, buf, len, &bulk_len, &valid);

    if (status != FL_OK) {
        return status == FL_AGAIN ? status : refuse(parser, RESP_ERROR_BULK_TOO_BIG);
    }
    if (buf[head] != '$') {
        parser->error_byte = buf[head];
        return refuse(parser, RESP_ERROR_BULK_EXPECTED);
    }
    if (!valid || bulk_len < 0 || bulk_len > (int64_t)parser->bulk_bytes_max) {
        return refuse(parser, RESP_ERROR_BULK_LENGTH);
    }
    if (parser->unauthenticated && bulk_len > RESP_UNAUTH_BULK_BYTES_MAX) {
        return refuse(parser, RESP_ERROR_BULK_UNAUTH);
    }
    if (parser->pos + (uint64_t)bulk_len + 2 > RESP_REQUEST_BYTES_MAX) {
        return refuse(parser, RESP_ERROR_REQUEST_TOO_BIG);
    }
    parser->bulk_len = (uint32_t)bulk_len;
    parser->phase = PHASE_BODY;
    return FL_OK;
}

/* Length of a "$N\r\n" with up to four canonical digits at `head`, of which at least 7 bytes are
 * readable, and its value; 0: not one. */
static inline uint32_t
fast_bulk_head(const char *head, uint32_t *bulk_len)
{
    uint32_t value = (uint32_t)(unsigned char)head[1] - '0';
    uint32_t at = 2;

    if (head[0] != '$' || value > 9) {
        return 0;
    }
    if (head[2] != '\r') {
        const uint32_t digit = (uint32_t)(unsigned char)head[2] - '0';

        if (value == 0 || digit > 9) {
            return 0;
        }
        value = value * 10 + digit;
        at = 3;
        for (; at < 5 && head[at] != '\r'; at++) {
            const uint32_t more = (uint32_t)(unsigned char)head[at] - '0';

            if (more > 9) {
                return 0;
            }
            value = value * 10 + more;
        }
    }
    *bulk_len = value;
    return head[at] == '\r' && head[at + 1] == '\n' ? at + 2 : 0;
}

/* The arguments that lie in the buffer as a whole and have short heads: the hot path. Leaves the
 * state at the first that doesn't. */
static inline void
parse_args_fast(struct resp_parser *parser, const char *buf, uint32_t len_all)
{
    const uint32_t len = len_all < RESP_REQUEST_BYTES_MAX ? len_all : RESP_REQUEST_BYTES_MAX;
    const uint32_t slots = parser->argv_slots;
    struct resp_arg *argv = parser->argv;
    uint32_t pos = parser->pos;
    uint32_t argc = parser->argc;
    uint32_t left = parser->args_left;
    /* Larger ones take the slow path, which knows the limits that apply. */
    const uint32_t bulk_max = parser->bulk_bytes_max < RESP_UNAUTH_BULK_BYTES_MAX
                                  ? parser->bulk_bytes_max
                                  : (uint32_t)RESP_UNAUTH_BULK_BYTES_MAX;

    while (left > 0 && argc < slots && pos + 7 <= len) {
        uint32_t bulk_len;
        const uint32_t head_len = fast_bulk_head(buf + pos, &bulk_len);
        const uint32_t body = pos + head_len;

        if (head_len == 0 || bulk_len > bulk_max || len - body < bulk_len + 2 ||
            buf[body + bulk_len] != '\r' || buf[body + bulk_len + 1] != '\n') {
            break;
        }
        argv[argc++] = (struct resp_arg){.off = body, .len = bulk_len};
        pos = body + bulk_len + 2;
        left--;
    }
    parser->pos = pos;
    parser->argc = argc;
    parser->args_left = left;
}

/* The bytes of an argument and the CR LF behind it; both are in the buffer. */
static fl_status
end_body(struct resp_parser *parser, const char *buf, uint32_t body_len)
{
    const uint32_t end = parser->pos + body_len;

    if (buf[end] != '\r' || buf[end + 1] != '\n') {
        return refuse(parser, RESP_ERROR_BULK_END);
    }
    parser->pos = end + 2;
    parser->phase = PHASE_ARGS;
    return FL_OK;
}

/* One step of what parse_args_fast() leaves over. */
static fl_status
parse_arg_slow(struct resp_parser *parser, const char *buf, uint32_t len)
{
    if (parser->phase == PHASE_ARGS) {
        if (parser->argc == parser->argv_slots) {
            return grow_argv(parser);
        }
        return parse_bulk_head_slow(parser, buf, len);
    }
    if (parser->phase == PHASE_STREAM) {
        if (parser->stream_left > 0 || len < parser->pos + 2) {
            return FL_AGAIN;
        }
        return end_body(parser, buf, 0);
    }
    if (len - parser->pos < parser->bulk_len + 2) {
        return FL_AGAIN;
    }
    const struct resp_arg arg = {.off = parser->pos, .len = parser->bulk_len};
    const fl_status status = end_body(parser, buf, parser->bulk_len);

    if (status == FL_OK) {
        parser->argv[parser->argc++] = arg;
        parser->args_left--;
    }
    return status;
}

static fl_status
parse_args(struct resp_parser *parser, const char *buf, uint32_t len)
{
    for (;;) {
        if (parser->phase == PHASE_ARGS) {
            parse_args_fast(parser, buf, len);
            if (parser->args_left == 0) {
                return FL_OK;
            }
        }
        const fl_status status = parse_arg_slow(parser, buf, len);

        if (status != FL_OK) {
            return status;
        }
    }
}

fl_status
resp_parse(struct resp_parser *parser, char *buf, size_t len_all)
{
    const uint32_t len = len_all < UINT32_MAX ? (uint32_t)len_all : UINT32_MAX;
    fl_status status;

    if (parser->phase == PHASE_BROKEN) {
        return FL_PROTOCOL;
    }
    if (len <= parser->pos && parser->phase != PHASE_STREAM) {
        return FL_AGAIN;
    }
    if (parser->phase == PHASE_START) {
        parser->argc = 0;
        status =
            buf[0] == '*' ? parse_array_head(parser, buf, len) : parse_inline(parser, buf, len);
        if (status != FL_OK) {
            return status;
        }
    }
    if (parser->phase != PHASE_START) {
        status = parse_args(parser, buf, len);
        if (status != FL_OK) {
            return status;
        }
    }
    parser->used = parser->pos;
    parser->pos = 0;
    parser->scanned = 0;
    parser->phase = PHASE_START;
    return FL_OK;
}

/* ---- what a server asks in between ---- */

size_t
resp_parser_wanted(const struct resp_parser *parser, size_t len)
{
    if (parser->phase == PHASE_BODY) {
        return (size_t)parser->pos + parser->bulk_len + 2;
    }
    if (parser->phase == PHASE_STREAM) {
        return (size_t)parser->pos + 2;
    }
    return len + 1;
}

bool
resp_parser_pending(const struct resp_parser *parser, size_t len, struct resp_pending *pending)
{
    const bool streaming = parser->phase == PHASE_STREAM;
    const uint32_t left = streaming ? parser->stream_left : parser->bulk_len;

    if ((!streaming && parser->phase != PHASE_BODY) || left == 0 || len - parser->pos >= left) {
        return false;
    }
    *pending = (struct resp_pending){
        .index = streaming ? parser->argc - 1 : parser->argc,
        .bytes_total = parser->bulk_len,
        .bytes_here = (uint32_t)(len - parser->pos),
        .bytes_left = left,
        .off = parser->pos,
    };
    return true;
}

void
resp_parser_stream(struct resp_parser *parser)
{
    FL_ASSERT(parser->phase == PHASE_BODY && parser->argc < parser->argv_slots);
    parser->argv[parser->argc++] =
        (struct resp_arg){.off = RESP_ARG_STREAMED, .len = parser->bulk_len};
    parser->args_left--;
    parser->stream_left = parser->bulk_len;
    parser->phase = PHASE_STREAM;
}

void
resp_parser_take(struct resp_parser *parser, uint32_t bytes_count)
{
    FL_ASSERT(parser->phase == PHASE_STREAM && bytes_count <= parser->stream_left);
    parser->stream_left -= bytes_count;
}
