/* Replies as a client receives them: RESP2 and RESP3, as a tree of slices into the caller's buffer.
 *
 * The tree is an array of nodes in the order of the bytes (parents before children), which a reader
 * reuses: in steady state a reply costs no allocation. Nesting costs no stack and is bounded by
 * RESP_NESTING_MAX.
 *
 *     status = resp_read(reader, buf + start, end - start);   // FL_AGAIN: receive more
 *     const struct resp_node *root = &reader->nodes[reader->root];
 *     uint32_t i = resp_first(reader, reader->root);
 *     for (uint32_t n = root->count; n > 0; n--, i = resp_after(reader, i))
 *         use(&reader->nodes[i]);
 *     start += reader->used;
 *
 * All types of RESP3 are read. Streamed strings ("$?") are joined in place and look like plain
 * ones, streamed aggregates ("*?", "%?", "~?") have their count set once they end. The null bulk
 * string and the null array of RESP2 are RESP_NULL. Pushes are read as replies of their own type,
 * at the top only.
 *
 * Attributes ("|") are kept as nodes in front of the reply that they describe and counted nowhere:
 * resp_first() and resp_after() step over them.
 */
#ifndef FL_PROTO_RESP_REPLY_H
#define FL_PROTO_RESP_REPLY_H

#include "proto/limits.h"

#include <faultline/status.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum resp_type {
    RESP_NULL = 0,
    RESP_SIMPLE,     /* +OK */
    RESP_ERROR,      /* -ERR text, and RESP3's bulk error */
    RESP_INTEGER,    /* :1 */
    RESP_BULK,       /* $ */
    RESP_DOUBLE,     /* , its text is kept; resp_node_double() has the number */
    RESP_BOOL,       /* # integer is 0 or 1 */
    RESP_BIG_NUMBER, /* ( as text, of digits with a sign */
    RESP_VERBATIM,   /* = the text without "txt:"; the three letters stand 4 bytes before it */
    RESP_ARRAY,      /* * and all below: aggregates */
    RESP_SET,        /* ~ */
    RESP_PUSH,       /* > */
    RESP_MAP,        /* % count is that of keys and values together */
    RESP_ATTRIBUTE,  /* | as a map */
};

struct resp_node {
    uint8_t type;  /* enum resp_type */
    uint32_t next; /* the node behind this one and all that is inside it */
    union {
        struct {
            uint32_t off; /* from the reply's first byte */
            uint32_t len;
        };
        int64_t integer;
        uint32_t count; /* children */
    };
};

/* One connection's reader. `nodes`, `nodes_count`, `root` and `used` may be read after FL_OK. */
struct resp_reader {
    struct resp_node *nodes;
    uint32_t nodes_count;
    uint32_t root; /* the reply; attributes may stand before it */
    uint32_t used; /* bytes of the reply */

    const char *error; /* after FL_PROTOCOL: what was wrong */

    uint32_t nodes_slots;
    uint32_t bytes_max;
    uint32_t pos;     /* everything before it is parsed */
    uint32_t scanned; /* a line's end was not found before it */
    uint32_t want;    /* nothing can be done with fewer bytes than this */
    uint32_t join;    /* the node of a streamed string that is being joined, else UINT32_MAX */
    uint32_t depth;
    bool started;
    bool attribute_last; /* what it describes must follow */
    struct {
        uint32_t node;
        uint32_t left; /* children still to come; UINT32_MAX: until "." */
    } open[RESP_NESTING_MAX];
};

/* Owner: the caller; resp_reader_deinit() releases the nodes. A reply over `bytes_max`, at most
 * UINT32_MAX, is refused as soon as its length is known. */
void resp_reader_init(struct resp_reader *reader, size_t bytes_max);
void resp_reader_deinit(struct resp_reader *reader);

/* Read one reply, or what has arrived of it. `buf` is the reply's first byte, `len` what follows
 * it: all that earlier calls saw, and more. Streamed strings are joined in place.
 *
 * Errors: FL_AGAIN      incomplete: call again with more
 *         FL_PROTOCOL   no reply, or over a limit: reader->error says. Every later call fails
 *         FL_NO_MEMORY  for nodes; call again later or close */
FL_NODISCARD fl_status resp_read(struct resp_reader *reader, char *buf, size_t len);

/* After FL_AGAIN: with fewer than this many bytes resp_read() will say FL_AGAIN again. */
size_t resp_reader_wanted(const struct resp_reader *reader, size_t len);

static inline bool
resp_type_is_aggregate(enum resp_type type)
{
    return type >= RESP_ARRAY;
}

/* The first child of an aggregate that has any; and the sibling behind a node that has one.
 * Attributes are stepped over. */
static inline uint32_t
resp_skip_attributes(const struct resp_reader *reader, uint32_t node)
{
    while (node < reader->nodes_count && reader->nodes[node].type == RESP_ATTRIBUTE) {
        node = reader->nodes[node].next;
    }
    return node;
}

static inline uint32_t
resp_first(const struct resp_reader *reader, uint32_t node)
{
    return resp_skip_attributes(reader, node + 1);
}

static inline uint32_t
resp_after(const struct resp_reader *reader, uint32_t node)
{
    return resp_skip_attributes(reader, reader->nodes[node].next);
}

/* The number of a RESP_DOUBLE, infinite or not a number included. `buf` as in resp_read(). */
double resp_node_double(const struct resp_node *node, const char *buf);

#endif
