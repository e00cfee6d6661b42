#include "client/cli/line.h"

#include "base/fail.h"
#include "proto/resp_parse.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

void
line_deinit(struct line *line)
{
    free(line->argv);
    *line = (struct line){0};
}

/* Copy the arguments out of the parser's buffer into one allocation: pointers, lengths, bytes. */
static fl_status
line_take(const struct resp_parser *parser, const char *buf, struct line *out)
{
    size_t bytes = 0;

    for (uint32_t i = 0; i < parser->argc; i++) {
        bytes += parser->argv[i].len + 1;
    }
    const size_t slots_bytes = parser->argc * (sizeof(*out->argv) + sizeof(*out->lens));
    char *memory = malloc(slots_bytes + bytes + 1);

    if (memory == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "no memory for a line");
    }
    out->argc = parser->argc;
    out->argv = (void *)memory;
    out->lens = (void *)(memory + parser->argc * sizeof(*out->argv));

    char *to = memory + slots_bytes;

    for (uint32_t i = 0; i < parser->argc; i++) {
        const struct resp_arg arg = parser->argv[i];

        out->argv[i] = to;
        out->lens[i] = arg.len;
        memcpy(to, buf + arg.off, arg.len);
        to[arg.len] = '\0';
        to += arg.len + 1;
    }
    return FL_OK;
}

fl_status
line_split(const char *text, size_t len, struct line *out)
{
    struct resp_parser parser;
    char *buf = malloc(len + 2);
    fl_status status;

    *out = (struct line){0};
    if (buf == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "no memory for a line");
    }
    /* The blank in front makes an inline command even of a line that starts with an asterisk. */
    buf[0] = ' ';
    memcpy(buf + 1, text, len);
    buf[len + 1] = '\n';
    resp_parser_init(&parser);
    status = resp_parse(&parser, buf, len + 2);
    if (status == FL_OK) {
        status = line_take(&parser, buf, out);
    } else if (status == FL_PROTOCOL && parser.error == RESP_ERROR_UNBALANCED_QUOTES) {
        status = FL_FAIL(FL_INVALID, "Invalid argument(s): quotes that are not balanced");
    } else if (status != FL_NO_MEMORY) {
        status = FL_FAIL(FL_TOO_LARGE, "a line of %zu bytes is too long, at most %d", len,
                         RESP_LINE_BYTES_MAX - 2);
    }
    resp_parser_deinit(&parser);
    free(buf);
    return status;
}

bool
line_is(size_t argc, const char *const *argv, size_t i, const char *word)
{
    return i < argc && strcasecmp(argv[i], word) == 0;
}

static bool
any_is(size_t argc, const char *const *argv, size_t from, const char *const *words)
{
    for (size_t i = from; i < argc; i++) {
        for (const char *const *word = words; *word != NULL; word++) {
            if (strcasecmp(argv[i], *word) == 0) {
                return true;
            }
        }
    }
    return false;
}

bool
line_is_secret(const char *text, size_t len)
{
    static const char *const auth_words[] = {"AUTH", "AUTH2", NULL};
    static const char *const config_words[] = {"requirepass", "masterauth", NULL};
    struct line line;
    bool secret = false;

    if (line_split(text, len, &line) != FL_OK) {
        return true;
    }
    const char *const *argv = line.argv;
    size_t argc = line.argc;

    if (argc > 1 && argv[0][strspn(argv[0], "0123456789")] == '\0') {
        argv++; /* "3 AUTH password": three times */
        argc--;
    }
    if (line_is(argc, argv, 0, "AUTH") ||
        (line_is(argc, argv, 0, "ACL") && line_is(argc, argv, 1, "SETUSER"))) {
        secret = true;
    } else if (line_is(argc, argv, 0, "HELLO") || line_is(argc, argv, 0, "MIGRATE")) {
        secret = any_is(argc, argv, 1, auth_words);
    } else if (line_is(argc, argv, 0, "CONFIG") && line_is(argc, argv, 1, "SET")) {
        secret = any_is(argc, argv, 2, config_words);
    }
    line_deinit(&line);
    return secret;
}
