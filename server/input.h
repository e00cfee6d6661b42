/* What a connection has received and not yet executed.
 *
 * Requests are parsed where they arrived, in the loop's receive buffer; only what is left over,
 * an incomplete request or one that must wait, is copied into the connection's own buffer. A big
 * value of SET and its kin is written into a blob of the store as it arrives.
 */
#ifndef FL_SERVER_INPUT_H
#define FL_SERVER_INPUT_H

#include "proto/resp_parse.h"

#include <faultline/faultline.h>

#include <stdbool.h>
#include <stddef.h>

struct input {
    struct resp_parser parser;
    char *buf; /* NULL while nothing is left over */
    size_t len;
    size_t cap;
    size_t pos;            /* bytes of buf that are executed */
    struct fl_blob *blob;  /* the streamed argument of the present request */
    unsigned blob_arg;     /* its index; 0: none */
    fl_status blob_status; /* why there is no blob for it: its bytes are dropped */
};

void input_init(struct input *input);
void input_deinit(struct input *input);

/* Bytes that wait. */
static inline size_t
input_waiting(const struct input *input)
{
    return input->len - input->pos;
}

/* Keep `len` bytes behind what is there. Errors: FL_NO_MEMORY. */
FL_NODISCARD fl_status input_keep(struct input *input, const char *data, size_t len, size_t wanted);

/* `len` more bytes of buf are executed. */
void input_consume(struct input *input, size_t len);

/* Give memory back that an idle connection doesn't need. */
void input_trim(struct input *input);

#endif
