#include "base/fail.h"
#include "client/client_internal.h"

#include <stdlib.h>
#include <string.h>

/* A reply and each of its items is one of these; all of them stand in one array behind the tree. */
struct fl_client_reply {
    const struct reply_tree *tree;
    struct resp_node node;
    uint32_t items; /* an aggregate's first entry in tree->items */
};

struct reply_tree {
    char *bytes;     /* as received, but for a 0 byte behind each text */
    uint32_t *items; /* children of all aggregates, as indices of nodes; makes item() O(1) */
    struct fl_client_reply nodes[];
};

/* Whether a node is bytes that stand in the reply. They are followed by a CR there at the least,
 * which nobody needs any more. */
static bool
node_has_text(const struct resp_node *node)
{
    switch ((enum resp_type)node->type) {
    case RESP_SIMPLE:
    case RESP_ERROR:
    case RESP_BULK:
    case RESP_DOUBLE:
    case RESP_BIG_NUMBER:
    case RESP_VERBATIM:
        return true;
    case RESP_NULL:
    case RESP_INTEGER:
    case RESP_BOOL:
    case RESP_ARRAY:
    case RESP_SET:
    case RESP_PUSH:
    case RESP_MAP:
    case RESP_ATTRIBUTE:
        break;
    }
    return false;
}

static void
tree_fill(struct reply_tree *tree, const struct resp_reader *reader)
{
    uint32_t items_used = 0;

    for (uint32_t i = 0; i < reader->nodes_count; i++) {
        const struct resp_node *node = &reader->nodes[i];

        tree->nodes[i] = (struct fl_client_reply){tree, *node, items_used};
        if (node_has_text(node)) {
            tree->bytes[node->off + node->len] = '\0';
        }
        if (resp_type_is_aggregate((enum resp_type)node->type) && node->count > 0) {
            uint32_t child = resp_first(reader, i);

            tree->items[items_used++] = child;
            for (uint32_t left = node->count - 1; left > 0; left--) {
                child = resp_after(reader, child);
                tree->items[items_used++] = child;
            }
        }
    }
}

fl_status
client_reply_create(const struct resp_reader *reader, char *bytes, struct fl_client_reply **out)
{
    const size_t nodes_bytes = reader->nodes_count * sizeof(struct fl_client_reply);
    /* A node is a child of at most one other. */
    struct reply_tree *tree = malloc(sizeof(struct reply_tree) + nodes_bytes);
    uint32_t *items = malloc(reader->nodes_count * sizeof(uint32_t));

    if (tree == NULL || items == NULL) {
        free(tree);
        free(items);
        free(bytes);
        return FL_FAIL(FL_NO_MEMORY, "no memory for a reply of %u items", reader->nodes_count);
    }
    tree->bytes = bytes;
    tree->items = items;
    tree_fill(tree, reader);
    *out = &tree->nodes[reader->root];
    return FL_OK;
}

void
fl_client_reply_destroy(struct fl_client_reply *reply)
{
    if (reply == NULL) {
        return;
    }
    struct fl_client_reply *first = reply - (reply - reply->tree->nodes);
    struct reply_tree *tree = (void *)((char *)first - offsetof(struct reply_tree, nodes));

    free(tree->bytes);
    free(tree->items);
    free(tree);
}

enum fl_client_type
fl_client_reply_type(const struct fl_client_reply *reply)
{
    switch ((enum resp_type)reply->node.type) {
    case RESP_SIMPLE:
        return FL_CLIENT_STATUS;
    case RESP_ERROR:
        return FL_CLIENT_ERROR;
    case RESP_INTEGER:
        return FL_CLIENT_INTEGER;
    case RESP_BULK:
        return FL_CLIENT_STRING;
    case RESP_DOUBLE:
        return FL_CLIENT_DOUBLE;
    case RESP_BOOL:
        return FL_CLIENT_BOOL;
    case RESP_BIG_NUMBER:
        return FL_CLIENT_BIG_NUMBER;
    case RESP_VERBATIM:
        return FL_CLIENT_VERBATIM;
    case RESP_ARRAY:
        return FL_CLIENT_ARRAY;
    case RESP_SET:
        return FL_CLIENT_SET;
    case RESP_PUSH:
        return FL_CLIENT_PUSH;
    case RESP_MAP:
        return FL_CLIENT_MAP;
    case RESP_ATTRIBUTE: /* never handed out */
    case RESP_NULL:
        break;
    }
    return FL_CLIENT_NIL;
}

const char *
fl_client_type_name(enum fl_client_type type)
{
    static const char *const names[] = {
        [FL_CLIENT_NIL] = "nil",
        [FL_CLIENT_STATUS] = "status",
        [FL_CLIENT_ERROR] = "error",
        [FL_CLIENT_INTEGER] = "integer",
        [FL_CLIENT_STRING] = "string",
        [FL_CLIENT_ARRAY] = "array",
        [FL_CLIENT_DOUBLE] = "double",
        [FL_CLIENT_BOOL] = "bool",
        [FL_CLIENT_BIG_NUMBER] = "big number",
        [FL_CLIENT_VERBATIM] = "verbatim",
        [FL_CLIENT_MAP] = "map",
        [FL_CLIENT_SET] = "set",
        [FL_CLIENT_PUSH] = "push",
    };
    const size_t i = (size_t)type;

    return i < sizeof(names) / sizeof(names[0]) ? names[i] : "?";
}

const char *
fl_client_reply_text(const struct fl_client_reply *reply, size_t *len)
{
    const bool has_text = node_has_text(&reply->node);

    if (len != NULL) {
        *len = has_text ? reply->node.len : 0;
    }
    return has_text ? reply->tree->bytes + reply->node.off : NULL;
}

void
fl_client_reply_format(const struct fl_client_reply *reply, char format[4])
{
    format[0] = '\0';
    if (reply->node.type == RESP_VERBATIM) {
        memcpy(format, reply->tree->bytes + reply->node.off - 4, 3);
        format[3] = '\0';
    }
}

int64_t
fl_client_reply_integer(const struct fl_client_reply *reply)
{
    return reply->node.type == RESP_INTEGER || reply->node.type == RESP_BOOL ? reply->node.integer
                                                                             : 0;
}

double
fl_client_reply_double(const struct fl_client_reply *reply)
{
    if (reply->node.type == RESP_DOUBLE) {
        return resp_node_double(&reply->node, reply->tree->bytes);
    }
    return reply->node.type == RESP_INTEGER ? (double)reply->node.integer : 0;
}

size_t
fl_client_reply_count(const struct fl_client_reply *reply)
{
    if (!resp_type_is_aggregate((enum resp_type)reply->node.type)) {
        return 0;
    }
    return reply->node.type == RESP_MAP ? reply->node.count / 2 : reply->node.count;
}

static const struct fl_client_reply *
reply_child(const struct fl_client_reply *reply, size_t i)
{
    return &reply->tree->nodes[reply->tree->items[reply->items + i]];
}

const struct fl_client_reply *
fl_client_reply_item(const struct fl_client_reply *reply, size_t i)
{
    if (i >= fl_client_reply_count(reply)) {
        return NULL;
    }
    return reply_child(reply, reply->node.type == RESP_MAP ? 2 * i + 1 : i);
}

const struct fl_client_reply *
fl_client_reply_key(const struct fl_client_reply *reply, size_t i)
{
    if (reply->node.type != RESP_MAP || i >= fl_client_reply_count(reply)) {
        return NULL;
    }
    return reply_child(reply, 2 * i);
}

const struct fl_client_reply *
fl_client_reply_find(const struct fl_client_reply *reply, const char *name)
{
    const size_t name_len = strlen(name);

    if (reply->node.type != RESP_MAP && reply->node.type != RESP_ARRAY) {
        return NULL;
    }
    for (uint32_t i = 0; i + 1 < reply->node.count; i += 2) {
        size_t len;
        const char *text = fl_client_reply_text(reply_child(reply, i), &len);

        if (text != NULL && len == name_len && memcmp(text, name, len) == 0) {
            return reply_child(reply, i + 1);
        }
    }
    return NULL;
}
