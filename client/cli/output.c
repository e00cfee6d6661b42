#include "client/cli/output.h"

#include <ctype.h>
#include <inttypes.h>

void
output_quoted(FILE *file, const char *text, size_t len)
{
    static const char escaped[] = "\\\"\n\r\t\a\b";
    static const char letters[] = "\\\"nrtab";

    fputc('"', file);
    for (size_t i = 0; i < len; i++) {
        const unsigned char byte = (unsigned char)text[i];
        size_t e = 0;

        while (escaped[e] != '\0' && (unsigned char)escaped[e] != byte) {
            e++;
        }
        if (escaped[e] != '\0') {
            fprintf(file, "\\%c", letters[e]);
        } else if (byte < 0x80 && isprint(byte)) {
            fputc(byte, file);
        } else {
            fprintf(file, "\\x%02x", byte);
        }
    }
    fputc('"', file);
}

static void
put_text(FILE *file, const struct fl_client_reply *reply)
{
    size_t len;
    const char *text = fl_client_reply_text(reply, &len);

    fwrite(text, 1, len, file);
}

static void human(FILE *file, const struct fl_client_reply *reply, int indent);

/* Whether a value takes several lines, which don't begin beside its key then. */
static bool
is_long(const struct fl_client_reply *reply)
{
    while (fl_client_reply_count(reply) == 1) {
        reply = fl_client_reply_item(reply, 0);
    }
    return fl_client_reply_count(reply) > 1;
}

/* Numbered items, one below the other, those inside an item below its first one. The depth is the
 * parser's, RESP_NESTING_MAX at most. */
static void
human_items(FILE *file, const struct fl_client_reply *reply, int indent, char mark,
            const char *name_if_empty)
{
    const size_t count = fl_client_reply_count(reply);
    int digits = 0;

    if (count == 0) {
        fprintf(file, "(empty %s)", name_if_empty);
        return;
    }
    for (size_t left = count; left > 0; left /= 10) {
        digits++;
    }
    for (size_t i = 0; i < count; i++) {
        const struct fl_client_reply *key = fl_client_reply_key(reply, i);
        const struct fl_client_reply *item = fl_client_reply_item(reply, i);
        const int inner = indent + digits + 2;

        fprintf(file, "%s%*s%*zu%c ", i > 0 ? "\n" : "", i > 0 ? indent : 0, "", digits, i + 1,
                mark);
        if (key != NULL) {
            human(file, key, inner);
            fputs(" => ", file);
            if (is_long(item)) {
                fprintf(file, "\n%*s", inner, "");
            }
        }
        human(file, item, inner);
    }
}

static void
human(FILE *file, const struct fl_client_reply *reply, int indent)
{
    size_t len;
    const char *text = fl_client_reply_text(reply, &len);

    switch (fl_client_reply_type(reply)) {
    case FL_CLIENT_NIL:
        fputs("(nil)", file);
        break;
    case FL_CLIENT_ERROR:
        fputs("(error) ", file);
        put_text(file, reply);
        break;
    case FL_CLIENT_INTEGER:
        fprintf(file, "(integer) %" PRId64, fl_client_reply_integer(reply));
        break;
    case FL_CLIENT_DOUBLE:
        fputs("(double) ", file);
        put_text(file, reply);
        break;
    case FL_CLIENT_BOOL:
        fputs(fl_client_reply_integer(reply) != 0 ? "(true)" : "(false)", file);
        break;
    case FL_CLIENT_STATUS:
    case FL_CLIENT_VERBATIM:
    case FL_CLIENT_BIG_NUMBER:
        put_text(file, reply);
        break;
    case FL_CLIENT_STRING:
        output_quoted(file, text, len);
        break;
    case FL_CLIENT_ARRAY:
        human_items(file, reply, indent, ')', "array");
        break;
    case FL_CLIENT_MAP:
        human_items(file, reply, indent, '#', "hash");
        break;
    case FL_CLIENT_SET:
        human_items(file, reply, indent, '~', "set");
        break;
    case FL_CLIENT_PUSH:
        human_items(file, reply, indent, '>', "push");
        break;
    }
}

static void
raw(FILE *file, const struct fl_client_reply *reply)
{
    switch (fl_client_reply_type(reply)) {
    case FL_CLIENT_NIL:
        break;
    case FL_CLIENT_INTEGER:
        fprintf(file, "%" PRId64, fl_client_reply_integer(reply));
        break;
    case FL_CLIENT_BOOL:
        fputs(fl_client_reply_integer(reply) != 0 ? "(true)" : "(false)", file);
        break;
    case FL_CLIENT_ERROR:
    case FL_CLIENT_DOUBLE:
    case FL_CLIENT_STATUS:
    case FL_CLIENT_VERBATIM:
    case FL_CLIENT_BIG_NUMBER:
    case FL_CLIENT_STRING:
        put_text(file, reply);
        break;
    case FL_CLIENT_ARRAY:
    case FL_CLIENT_MAP:
    case FL_CLIENT_SET:
    case FL_CLIENT_PUSH:
        for (size_t i = 0; i < fl_client_reply_count(reply); i++) {
            if (i > 0) {
                fputc('\n', file);
            }
            if (fl_client_reply_key(reply, i) != NULL) {
                raw(file, fl_client_reply_key(reply, i));
                fputc(' ', file);
            }
            raw(file, fl_client_reply_item(reply, i));
        }
        break;
    }
}

void
output_reply(FILE *file, enum output_format format, const struct fl_client_reply *reply,
             bool is_page)
{
    size_t len;
    const char *text = fl_client_reply_text(reply, &len);
    const enum fl_client_type type = fl_client_reply_type(reply);

    if (format == OUTPUT_JSON) {
        output_json(file, reply);
    } else if (format == OUTPUT_RAW) {
        raw(file, reply);
    } else if ((is_page && type == FL_CLIENT_STRING) || type == FL_CLIENT_VERBATIM) {
        put_text(file, reply);
        if (len > 0 && text[len - 1] == '\n') {
            return; /* a page has its line's end already */
        }
    } else {
        human(file, reply, 0);
    }
    fputc('\n', file);
}
