/* All keys: KEYS in one reply, SCAN page by page. Both look only at the keys that begin as every match must. */
#include "server/cmd.h"
#include "server/cmd_util.h"
#include "server/glob.h"
#include "server/key_iter.h"
#include "server/number.h"
#include "server/scan_cursor.h"
#include "server/server.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SCAN_COUNT_DEFAULT = 10 };

/* A pattern and the prefix that all its matches share. */
struct filter {
    bool all; /* "*" or none: every key, the empty text included */
    struct fl_bytes pattern;
    struct fl_bytes prefix;
    char *prefix_mem; /* NULL, or to be freed */
};

static void
filter_deinit(struct filter *filter)
{
    free(filter->prefix_mem);
}

static fl_status
filter_init(struct filter *filter, struct fl_bytes pattern)
{
    memset(filter, 0, sizeof(*filter));
    filter->pattern = pattern;
    filter->all = pattern.len == 1 && *(const char *)pattern.ptr == '*';
    if (filter->all || pattern.len == 0) {
        return FL_OK;
    }
    filter->prefix_mem = malloc(pattern.len);
    if (filter->prefix_mem == NULL) {
        return FL_NO_MEMORY;
    }
    filter->prefix.ptr = filter->prefix_mem;
    filter->prefix.len = glob_prefix(pattern.ptr, pattern.len, filter->prefix_mem);
    return FL_OK;
}

static bool
filter_takes(const struct filter *filter, struct fl_bytes key)
{
    return filter->all || arg_matches(filter->pattern, key, false);
}

void
cmd_keys(struct call *call)
{
    struct key_iter *iter = NULL;
    struct filter filter;
    uint64_t count = 0;
    fl_status status = filter_init(&filter, call->argv[1]);

    if (status == FL_OK) {
        status = key_iter_open(call, filter.prefix, &iter);
    }
    if (status == FL_OK) {
        status = key_iter_first(iter);
    }
    if (status != FL_OK && status != FL_END) {
        call_fail(call, status);
        goto done;
    }
    struct resp_seg *head = resp_write_later(call->out);

    for (; status == FL_OK && !resp_out_failed(call->out); status = key_iter_next(iter)) {
        const struct fl_bytes key = key_iter_key(iter);

        if (filter_takes(&filter, key)) {
            resp_write_bulk(call->out, key.ptr, key.len);
            count++;
        }
    }
    if (status != FL_OK && status != FL_END) {
        call_fail(call, status); /* the list ends with the error: it isn't complete */
        count++;
    }
    resp_write_later_array(call->out, head, count);
done:
    if (iter != NULL) {
        key_iter_close(iter);
    }
    filter_deinit(&filter);
}

struct scan_options {
    struct fl_bytes match;
    struct fl_bytes type; /* ptr NULL: any */
    int64_t count;
};

/* False: an error was replied. */
static bool
parse_options(struct call *call, struct scan_options *options)
{
    options->match = fl_bytes("*", 1);
    options->type = fl_bytes(NULL, 0);
    options->count = SCAN_COUNT_DEFAULT;
    for (unsigned i = 2; i < call->argc; i += 2) {
        const struct fl_bytes word = call->argv[i];

        if (i + 1 == call->argc) {
            reply_syntax_error(call);
            return false;
        }
        if (arg_is(word, "count")) {
            if (!arg_integer(call, call->argv[i + 1], &options->count)) {
                return false;
            }
            if (options->count < 1) {
                reply_syntax_error(call);
                return false;
            }
        } else if (arg_is(word, "match")) {
            options->match = call->argv[i + 1];
        } else if (arg_is(word, "type")) {
            options->type = call->argv[i + 1];
        } else {
            reply_syntax_error(call);
            return false;
        }
    }
    return true;
}

/* FL_NOT_FOUND: the key is gone, or of another type. Its value, which may be long, is not read for that. */
static fl_status
type_fits(struct call *call, struct fl_bytes key, struct fl_bytes type)
{
    struct fl_info info;
    const fl_status status = call_get_info(call, key, &info);

    if (status == FL_OK && !arg_is(type, type_name(info.type))) {
        return FL_NOT_FOUND;
    }
    return status;
}

/* One page: look at up to options->count keys from where the iterator stands. FL_OK: it stands on the first key
 * of the next page. FL_END: that was all. */
static fl_status
scan_page(struct call *call, struct key_iter *iter, const struct scan_options *options,
          const struct filter *filter, uint64_t *replied)
{
    fl_status status = FL_OK;

    for (int64_t i = 0; i < options->count && status == FL_OK && !resp_out_failed(call->out); i++) {
        const struct fl_bytes key = key_iter_key(iter);
        bool wanted = filter_takes(filter, key);

        if (wanted && options->type.ptr != NULL) {
            const fl_status fits = type_fits(call, key, options->type);

            if (fits != FL_OK && fits != FL_NOT_FOUND) {
                return fits;
            }
            wanted = fits == FL_OK;
        }
        if (wanted) {
            resp_write_bulk(call->out, key.ptr, key.len);
            (*replied)++;
        }
        status = key_iter_next(iter);
    }
    return status;
}

/* Put the iterator where cursor `id` left off. FL_NOT_FOUND: nobody was given that cursor, or too long ago. */
static fl_status
scan_seek(struct call *call, struct key_iter *iter, uint64_t id)
{
    struct fl_bytes next;

    if (id == 0) {
        return key_iter_first(iter);
    }
    const fl_status status = scan_cursors_get(call->server->scan_cursors, id, &next);

    return status == FL_OK ? key_iter_seek(iter, next) : status;
}

static void
scan(struct call *call, struct key_iter *iter, uint64_t id, const struct scan_options *options,
     const struct filter *filter)
{
    char text[RESP_OUT_LATER_MAX + 1];
    uint64_t next = 0;
    uint64_t replied = 0;
    fl_status status = scan_seek(call, iter, id);

    if (status == FL_NOT_FOUND) {
        reply_error(call, "ERR this SCAN cursor is unknown or too old: begin again with 0");
        return;
    }
    if (status != FL_OK && status != FL_END) {
        call_fail(call, status);
        return;
    }
    resp_write_array(call->out, 2);
    struct resp_seg *cursor = resp_out_later(call->out);
    struct resp_seg *head = resp_write_later(call->out);

    if (status == FL_OK) {
        status = scan_page(call, iter, options, filter, &replied);
    }
    if (status == FL_OK) {
        status = scan_cursors_put(call->server->scan_cursors, key_iter_key(iter), &next);
    }
    if (status != FL_OK && status != FL_END) {
        call_fail(call,
                  status); /* an element of the page, so that no client takes it for complete */
        replied++;
    }
    resp_write_later_array(call->out, head, replied);
    const int digits = snprintf(NULL, 0, "%" PRIu64, next);
    const int len = snprintf(text, sizeof(text), "$%d\r\n%" PRIu64 "\r\n", digits, next);

    if (cursor != NULL) {
        resp_out_fill(call->out, cursor, text, (size_t)len);
    }
}

void
cmd_scan(struct call *call)
{
    struct scan_options options;
    struct key_iter *iter = NULL;
    struct filter filter;
    uint64_t id;

    if (!number_parse_cursor(call->argv[1].ptr, call->argv[1].len, &id)) {
        reply_error(call, "ERR invalid cursor");
        return;
    }
    if (!parse_options(call, &options)) {
        return;
    }
    fl_status status = filter_init(&filter, options.match);

    if (status == FL_OK) {
        status = key_iter_open(call, filter.prefix, &iter);
    }
    if (status == FL_OK) {
        scan(call, iter, id, &options, &filter);
        key_iter_close(iter);
    } else {
        call_fail(call, status);
    }
    filter_deinit(&filter);
}
