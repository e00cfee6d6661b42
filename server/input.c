#include "server/input.h"

#include "base/fail.h"

#include <stdlib.h>
#include <string.h>

enum {
    INPUT_BYTES_MIN = 4 * 1024,
    INPUT_BYTES_IDLE_MAX = 64 * 1024, /* more than this is given back when nothing waits */
    INPUT_WANTED_MAX = 1024 * 1024,   /* a client's word alone reserves no more than this */
};

void
input_init(struct input *input)
{
    *input = (struct input){0};
    resp_parser_init(&input->parser);
}

void
input_deinit(struct input *input)
{
    resp_parser_deinit(&input->parser);
    if (input->blob != NULL) {
        fl_blob_discard(input->blob);
        input->blob = NULL;
    }
    free(input->buf);
    input->buf = NULL;
}

fl_status
input_keep(struct input *input, const char *data, size_t len, size_t wanted)
{
    /* Moving little to make room for much: what waits may be long, and is moved again and again. */
    if (input->pos > 0 && input->cap - input->len < len && input->pos >= input->len - input->pos) {
        memmove(input->buf, input->buf + input->pos, input->len - input->pos);
        input->len -= input->pos;
        input->pos = 0;
    }
    size_t need = input->len + len;

    if (need > input->cap) {
        if (wanted > need) {
            need = wanted < need + INPUT_WANTED_MAX ? wanted : need + INPUT_WANTED_MAX;
        }
        size_t cap = input->cap + input->cap / 2;

        cap = cap < need ? need : cap;
        cap = cap < INPUT_BYTES_MIN ? INPUT_BYTES_MIN : cap;
        char *buf = realloc(input->buf, cap);

        if (buf == NULL) {
            return FL_FAIL(FL_NO_MEMORY, "%zu bytes of a client's input", cap);
        }
        input->buf = buf;
        input->cap = cap;
    }
    if (len > 0) {
        memcpy(input->buf + input->len, data, len);
        input->len += len;
    }
    return FL_OK;
}

void
input_consume(struct input *input, size_t len)
{
    FL_ASSERT(len <= input_waiting(input));
    input->pos += len;
    if (input->pos == input->len) {
        input->pos = 0;
        input->len = 0;
    }
}

void
input_trim(struct input *input)
{
    resp_parser_trim(&input->parser);
    if (input_waiting(input) == 0 && input->buf != NULL) {
        if (input->cap > INPUT_BYTES_IDLE_MAX) {
            free(input->buf);
            input->buf = NULL;
            input->cap = 0;
        }
        input->pos = 0;
        input->len = 0;
    }
}
