#include "client/cli/output.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DOUBLE_DIGITS_MIN = 15, DOUBLE_DIGITS_MAX = 17 };

/* jansson writes the scalars; brackets come from here, so that no tree of the reply is built a
 * second time, and a map may hold keys that are no strings. */
static void
put_scalar(FILE *file, json_t *value, size_t flags)
{
    if (value == NULL || json_dumpf(value, file, JSON_ENCODE_ANY | flags) != 0) {
        fprintf(stderr, "faultline-cli: no memory to write JSON\n");
        exit(EXIT_FAILURE);
    }
    json_decref(value);
}

/* Length of the UTF-8 sequence at `text`, 0 if there is none: no overlong form, no surrogate. */
static size_t
utf8_len(const unsigned char *text, size_t len)
{
    static const struct {
        unsigned char first_min, first_max, second_min, second_max;
        size_t len;
    } forms[] = {
        {0x00, 0x7f, 0x00, 0x00, 1}, {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };

    for (size_t f = 0; f < sizeof(forms) / sizeof(forms[0]); f++) {
        if (text[0] < forms[f].first_min || text[0] > forms[f].first_max) {
            continue;
        }
        if (forms[f].len > len) {
            return 0;
        }
        if (forms[f].len > 1 && (text[1] < forms[f].second_min || text[1] > forms[f].second_max)) {
            return 0;
        }
        for (size_t i = 2; i < forms[f].len; i++) {
            if ((text[i] & 0xc0) != 0x80) {
                return 0;
            }
        }
        return forms[f].len;
    }
    return 0;
}

void
output_json_text(FILE *file, const char *text, size_t len)
{
    json_t *value = json_stringn(text, len);

    if (value == NULL) {
        char *readable = malloc(len * 4 + 1);
        size_t used = 0;

        for (size_t i = 0; readable != NULL && i < len;) {
            const size_t step = utf8_len((const unsigned char *)text + i, len - i);

            if (step > 0) {
                memcpy(readable + used, text + i, step);
                used += step;
                i += step;
            } else {
                used += (size_t)sprintf(readable + used, "\\x%02x", (unsigned char)text[i]);
                i++;
            }
        }
        value = readable != NULL ? json_stringn(readable, used) : NULL;
        free(readable);
    }
    put_scalar(file, value, 0);
}

/* JSON has no infinities: they become strings. Others get the fewest digits that read back the
 * same. */
static void
put_double(FILE *file, const struct fl_client_reply *reply)
{
    const double number = fl_client_reply_double(reply);
    char text[64];
    int digits = DOUBLE_DIGITS_MIN;

    if (!isfinite(number)) {
        size_t len;
        const char *as_sent = fl_client_reply_text(reply, &len);

        output_json_text(file, as_sent, len);
        return;
    }
    for (; digits < DOUBLE_DIGITS_MAX; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, number);
        if (strtod(text, NULL) == number) {
            break;
        }
    }
    put_scalar(file, json_real(number), JSON_REAL_PRECISION((size_t)digits));
}

/* Keys are strings in JSON: others are shown as the text of their own JSON. */
static void
put_key(FILE *file, const struct fl_client_reply *key)
{
    size_t len;
    const char *text = fl_client_reply_text(key, &len);
    char *made = NULL;

    if (text == NULL) {
        FILE *memory = open_memstream(&made, &len);

        if (memory == NULL) {
            put_scalar(file, NULL, 0);
        }
        output_json(memory, key);
        fclose(memory);
        text = made;
    }
    output_json_text(file, text, len);
    free(made);
}

/* JSON's numbers have any length, but neither a plus sign nor leading zeros. */
static void
put_big_number(FILE *file, const char *text)
{
    if (text[0] == '-') {
        fputc('-', file);
    }
    text += text[0] == '-' || text[0] == '+' ? 1 : 0;
    while (text[0] == '0' && text[1] != '\0') {
        text++;
    }
    fputs(text, file);
}

static void
put_items(FILE *file, const struct fl_client_reply *reply)
{
    const bool is_map = fl_client_reply_type(reply) == FL_CLIENT_MAP;

    fputc(is_map ? '{' : '[', file);
    for (size_t i = 0; i < fl_client_reply_count(reply); i++) {
        if (i > 0) {
            fputc(',', file);
        }
        if (is_map) {
            put_key(file, fl_client_reply_key(reply, i));
            fputc(':', file);
        }
        output_json(file, fl_client_reply_item(reply, i));
    }
    fputc(is_map ? '}' : ']', file);
}

/* The depth is the parser's, RESP_NESTING_MAX at most. */
void
output_json(FILE *file, const struct fl_client_reply *reply)
{
    size_t len;
    const char *text = fl_client_reply_text(reply, &len);

    switch (fl_client_reply_type(reply)) {
    case FL_CLIENT_NIL:
        fputs("null", file);
        break;
    case FL_CLIENT_ERROR:
        fputs("{\"error\":", file);
        output_json_text(file, text, len);
        fputc('}', file);
        break;
    case FL_CLIENT_STATUS:
    case FL_CLIENT_STRING:
    case FL_CLIENT_VERBATIM:
        output_json_text(file, text, len);
        break;
    case FL_CLIENT_INTEGER:
        fprintf(file, "%" PRId64, fl_client_reply_integer(reply));
        break;
    case FL_CLIENT_BIG_NUMBER:
        put_big_number(file, text);
        break;
    case FL_CLIENT_DOUBLE:
        put_double(file, reply);
        break;
    case FL_CLIENT_BOOL:
        fputs(fl_client_reply_integer(reply) != 0 ? "true" : "false", file);
        break;
    case FL_CLIENT_ARRAY:
    case FL_CLIENT_MAP:
    case FL_CLIENT_SET:
    case FL_CLIENT_PUSH:
        put_items(file, reply);
        break;
    }
}
