#include "proto/resp_reply.h"

#include "base/fail.h"
#include "proto/decimal.h"

#include <stdlib.h>
#include <string.h>

enum {
    NODES_SLOTS_MIN = 16,
    ELEMENT_BYTES_MIN = 3, /* "_\r\n" */
};

#define NODE_NONE UINT32_MAX
#define LEFT_STREAMED UINT32_MAX

void
resp_reader_init(struct resp_reader *reader, size_t bytes_max)
{
    memset(reader, 0, sizeof(*reader));
    reader->bytes_max = bytes_max < UINT32_MAX ? (uint32_t)bytes_max : UINT32_MAX;
    reader->join = NODE_NONE;
}

void
resp_reader_deinit(struct resp_reader *reader)
{
    free(reader->nodes);
    reader->nodes = NULL;
    reader->nodes_slots = 0;
    reader->nodes_count = 0;
}

size_t
resp_reader_wanted(const struct resp_reader *reader, size_t len)
{
    return reader->want > len ? reader->want : len + 1;
}

double
resp_node_double(const struct resp_node *node, const char *buf)
{
    double value = 0;

    return decimal_parse_double(buf + node->off, node->len, &value) ? value : 0;
}

static fl_status __attribute__((cold)) refuse(struct resp_reader *reader, const char *why)
{
    reader->error = why;
    return FL_FAIL(FL_PROTOCOL, "reply refused: %s", why);
}

/* ---- the tree ---- */

/* Room for one more node. Comes before anything is changed for it. */
static fl_status
reserve_node(struct resp_reader *reader)
{
    if (reader->nodes_count < reader->nodes_slots) {
        return FL_OK;
    }
    if (reader->nodes_count >= RESP_REPLY_NODES_MAX) {
        return refuse(reader, "too many elements");
    }
    const uint32_t slots = reader->nodes_slots > 0 ? reader->nodes_slots * 2 : NODES_SLOTS_MIN;
    struct resp_node *nodes = realloc(reader->nodes, slots * sizeof(*nodes));

    if (nodes == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "%u nodes of a reply", slots);
    }
    reader->nodes = nodes;
    reader->nodes_slots = slots;
    return FL_OK;
}

static struct resp_node *
add_node(struct resp_reader *reader, enum resp_type type)
{
    struct resp_node *node = &reader->nodes[reader->nodes_count++];

    *node = (struct resp_node){.type = (uint8_t)type, .next = reader->nodes_count};
    return node;
}

/* `node` and all inside it is here: tell what it is part of, which may be complete by it. */
static void
end_node(struct resp_reader *reader, uint32_t node)
{
    for (;;) {
        reader->nodes[node].next = reader->nodes_count;
        reader->attribute_last = reader->nodes[node].type == RESP_ATTRIBUTE;
        if (reader->attribute_last) {
            return;
        }
        if (reader->depth == 0) {
            reader->root = node;
            reader->started = false;
            return;
        }
        const uint32_t top = reader->depth - 1;

        if (reader->open[top].left == LEFT_STREAMED) {
            reader->nodes[reader->open[top].node].count++;
            return;
        }
        if (--reader->open[top].left > 0) {
            return;
        }
        node = reader->open[top].node;
        reader->depth--;
    }
}

static void
add_leaf(struct resp_reader *reader, enum resp_type type, uint32_t off, uint32_t len)
{
    struct resp_node *node = add_node(reader, type);

    node->off = off;
    node->len = len;
    end_node(reader, reader->nodes_count - 1);
}

/* ---- lines ---- */

/* The line at reader->pos without its type byte: [*off, *end). */
static fl_status
find_line(struct resp_reader *reader, const char *buf, uint32_t len, uint32_t *off, uint32_t *end)
{
    const uint32_t from = reader->scanned > reader->pos ? reader->scanned : reader->pos;
    const uint32_t line_end_max = reader->pos + RESP_REPLY_LINE_BYTES_MAX;
    const uint32_t stop = len < line_end_max ? len : line_end_max;
    const char *hit = from < stop ? memchr(buf + from, '\r', stop - from) : NULL;

    if (hit == NULL) {
        reader->scanned = stop;
        return stop < line_end_max ? FL_AGAIN : refuse(reader, "too long a line");
    }
    *off = reader->pos + 1;
    *end = (uint32_t)(hit - buf);
    reader->scanned = *end;
    if (*end + 1 >= len) {
        return FL_AGAIN;
    }
    if (buf[*end + 1] != '\n' || *end < *off) {
        return refuse(reader, "a line doesn't end with CR LF");
    }
    if (*end + 2 > reader->bytes_max) {
        return refuse(reader, "too long a reply");
    }
    return FL_OK;
}

static bool
parse_integer(const char *text, uint32_t len, int64_t *value)
{
    if (len > 1 && text[0] == '+') {
        return text[1] != '-' && decimal_parse_i64(text + 1, len - 1, value);
    }
    return decimal_parse_i64(text, len, value);
}

static bool
is_big_number(const char *text, uint32_t len)
{
    const uint32_t from = len > 0 && (text[0] == '-' || text[0] == '+');

    for (uint32_t i = from; i < len; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return false;
        }
    }
    return len > from;
}

/* What is complete with its line. */
static fl_status
read_scalar(struct resp_reader *reader, const char *buf, char type, uint32_t off, uint32_t end)
{
    const char *text = buf + off;
    const uint32_t len = end - off;
    double number;
    int64_t integer = 0;

    switch (type) {
    case '+':
        add_leaf(reader, RESP_SIMPLE, off, len);
        return FL_OK;
    case '-':
        add_leaf(reader, RESP_ERROR, off, len);
        return FL_OK;
    case ',':
        if (!decimal_parse_double(text, len, &number)) {
            return refuse(reader, "not a double");
        }
        add_leaf(reader, RESP_DOUBLE, off, len);
        return FL_OK;
    case '(':
        if (!is_big_number(text, len)) {
            return refuse(reader, "not a big number");
        }
        add_leaf(reader, RESP_BIG_NUMBER, off, len);
        return FL_OK;
    case '_':
        if (len != 0) {
            return refuse(reader, "not a null");
        }
        add_leaf(reader, RESP_NULL, off, 0);
        return FL_OK;
    case '#':
        if (len != 1 || (*text != 't' && *text != 'f')) {
            return refuse(reader, "not a boolean");
        }
        integer = *text == 't';
        break;
    default: /* ':' */
        if (!parse_integer(text, len, &integer)) {
            return refuse(reader, "not an integer");
        }
    }
    add_node(reader, type == '#' ? RESP_BOOL : RESP_INTEGER)->integer = integer;
    end_node(reader, reader->nodes_count - 1);
    return FL_OK;
}

/* The length or count in a line: a number, or "?". */
static fl_status
read_count(struct resp_reader *reader, const char *text, uint32_t len, bool *streamed,
           int64_t *count)
{
    *streamed = len == 1 && *text == '?';
    if (*streamed) {
        *count = 0;
        return FL_OK;
    }
    if (!decimal_parse_i64(text, len, count) || *count < -1) {
        return refuse(reader, "not a length");
    }
    return FL_OK;
}

/* ---- strings ---- */

/* FL_OK if the `bulk_len` bytes behind the line that ends at `end` are here, with their CR LF. */
static fl_status
find_body(struct resp_reader *reader, const char *buf, uint32_t len, uint32_t end, int64_t bulk_len)
{
    const uint64_t body_end = (uint64_t)end + 2 + (uint64_t)bulk_len;

    if ((uint64_t)bulk_len > reader->bytes_max || body_end + 2 > reader->bytes_max) {
        return refuse(reader, "too long a reply");
    }
    if (len < body_end + 2) {
        reader->want = (uint32_t)body_end + 2;
        return FL_AGAIN;
    }
    if (buf[body_end] != '\r' || buf[body_end + 1] != '\n') {
        return refuse(reader, "a string doesn't end with CR LF");
    }
    return FL_OK;
}

static fl_status
read_string(struct resp_reader *reader, const char *buf, uint32_t len, char type, uint32_t off,
            uint32_t end)
{
    bool streamed = false;
    int64_t bulk_len = 0;
    fl_status status = read_count(reader, buf + off, end - off, &streamed, &bulk_len);

    if (status != FL_OK) {
        return status;
    }
    if (type != '$' && (streamed || bulk_len < 0)) {
        return refuse(reader, "not a length");
    }
    if (streamed) {
        reader->join = reader->nodes_count;
        add_node(reader, RESP_BULK)->off = end + 2;
        reader->pos = end + 2;
        return FL_OK;
    }
    if (bulk_len < 0) {
        add_leaf(reader, RESP_NULL, off, 0);
        reader->pos = end + 2;
        return FL_OK;
    }
    status = find_body(reader, buf, len, end, bulk_len);
    if (status != FL_OK) {
        return status;
    }
    const uint32_t body = end + 2;
    const uint32_t body_len = (uint32_t)bulk_len;

    if (type == '=' && (body_len < 4 || buf[body + 3] != ':')) {
        return refuse(reader, "a verbatim string without its format");
    }
    if (type == '=') {
        add_leaf(reader, RESP_VERBATIM, body + 4, body_len - 4);
    } else {
        add_leaf(reader, type == '!' ? RESP_ERROR : RESP_BULK, body, body_len);
    }
    reader->pos = body + body_len + 2;
    return FL_OK;
}

/* A chunk of a streamed string: its bytes move up to those of the chunks before it. */
static fl_status
read_chunk(struct resp_reader *reader, char *buf, uint32_t len)
{
    uint32_t off = 0;
    uint32_t end = 0;
    bool streamed = false;
    int64_t chunk_len = 0;

    if (buf[reader->pos] != ';') {
        return refuse(reader, "a streamed string goes on without a chunk");
    }
    fl_status status = find_line(reader, buf, len, &off, &end);

    if (status == FL_OK) {
        status = read_count(reader, buf + off, end - off, &streamed, &chunk_len);
    }
    if (status != FL_OK) {
        return status;
    }
    if (streamed || chunk_len < 0) {
        return refuse(reader, "not a length");
    }
    if (chunk_len == 0) {
        const uint32_t node = reader->join;

        reader->join = NODE_NONE;
        reader->pos = end + 2;
        end_node(reader, node);
        return FL_OK;
    }
    status = find_body(reader, buf, len, end, chunk_len);
    if (status != FL_OK) {
        return status;
    }
    struct resp_node *node = &reader->nodes[reader->join];

    memmove(buf + node->off + node->len, buf + end + 2, (size_t)chunk_len);
    node->len += (uint32_t)chunk_len;
    reader->pos = end + 2 + (uint32_t)chunk_len + 2;
    return FL_OK;
}

/* ---- aggregates ---- */

static enum resp_type
aggregate_type(char type)
{
    switch (type) {
    case '~':
        return RESP_SET;
    case '>':
        return RESP_PUSH;
    case '%':
        return RESP_MAP;
    case '|':
        return RESP_ATTRIBUTE;
    default:
        return RESP_ARRAY;
    }
}

static fl_status
read_aggregate(struct resp_reader *reader, const char *buf, char byte, uint32_t off, uint32_t end)
{
    const enum resp_type type = aggregate_type(byte);
    bool streamed = false;
    int64_t count = 0;
    const fl_status status = read_count(reader, buf + off, end - off, &streamed, &count);

    if (status != FL_OK) {
        return status;
    }
    if ((count < 0 && type != RESP_ARRAY) ||
        (streamed && (type == RESP_PUSH || type == RESP_ATTRIBUTE))) {
        return refuse(reader, "not a length");
    }
    if (type == RESP_PUSH && reader->depth > 0) {
        return refuse(reader, "a push inside a reply");
    }
    if (count < 0) {
        add_leaf(reader, RESP_NULL, off, 0);
        return FL_OK;
    }
    if (count > RESP_REPLY_NODES_MAX) {
        return refuse(reader, "too many elements");
    }
    const uint32_t children = (uint32_t)count << (type == RESP_MAP || type == RESP_ATTRIBUTE);

    if (children > RESP_REPLY_NODES_MAX || children > reader->bytes_max / ELEMENT_BYTES_MIN) {
        return refuse(reader, "too many elements");
    }
    if (children > 0 || streamed) {
        if (reader->depth == RESP_NESTING_MAX) {
            return refuse(reader, "nested too deep");
        }
        reader->open[reader->depth].node = reader->nodes_count;
        reader->open[reader->depth].left = streamed ? LEFT_STREAMED : children;
        reader->depth++;
        reader->attribute_last = false;
    }
    add_node(reader, type)->count = children;
    if (children == 0 && !streamed) {
        end_node(reader, reader->nodes_count - 1);
    }
    return FL_OK;
}

/* "." */
static fl_status
end_streamed(struct resp_reader *reader, uint32_t off, uint32_t end)
{
    const uint32_t top = reader->depth - 1;

    if (off != end || reader->depth == 0 || reader->open[top].left != LEFT_STREAMED) {
        return refuse(reader, "an end of nothing");
    }
    const uint32_t node = reader->open[top].node;

    if (reader->attribute_last) {
        return refuse(reader, "an attribute of nothing");
    }
    if (reader->nodes[node].type == RESP_MAP && reader->nodes[node].count % 2 != 0) {
        return refuse(reader, "a key without a value");
    }
    reader->depth--;
    end_node(reader, node);
    return FL_OK;
}

/* ---- reading ---- */

static fl_status
read_element(struct resp_reader *reader, char *buf, uint32_t len)
{
    const char type = buf[reader->pos];
    uint32_t off = 0;
    uint32_t end = 0;

    if (memchr("+-:$*_,#!=(~>%|.", type, 16) == NULL) {
        return refuse(reader, "not a reply of RESP");
    }
    fl_status status = find_line(reader, buf, len, &off, &end);

    if (status == FL_OK) {
        status = reserve_node(reader);
    }
    if (status != FL_OK) {
        return status;
    }
    switch (type) {
    case '$':
    case '!':
    case '=':
        return read_string(reader, buf, len, type, off, end);
    case '*':
    case '~':
    case '>':
    case '%':
    case '|':
        status = read_aggregate(reader, buf, type, off, end);
        break;
    case '.':
        status = end_streamed(reader, off, end);
        break;
    default:
        status = read_scalar(reader, buf, type, off, end);
    }
    reader->pos = end + 2;
    return status;
}

fl_status
resp_read(struct resp_reader *reader, char *buf, size_t len_all)
{
    const uint32_t len = len_all < UINT32_MAX ? (uint32_t)len_all : UINT32_MAX;

    if (reader->error != NULL) {
        return FL_PROTOCOL;
    }
    if (!reader->started) {
        reader->started = true;
        reader->nodes_count = 0;
        reader->attribute_last = false;
    }
    while (reader->started) {
        if (len <= reader->pos || len < reader->want) {
            return FL_AGAIN;
        }
        const fl_status status = reader->join != NODE_NONE ? read_chunk(reader, buf, len)
                                                           : read_element(reader, buf, len);

        if (status != FL_OK) {
            return status;
        }
    }
    reader->used = reader->pos;
    reader->pos = 0;
    reader->scanned = 0;
    reader->want = 0;
    return FL_OK;
}
