/* Faultline's own reads, in key order.
 *
 *   FL.RANGE start end [REV] [LIMIT n] [KEYSONLY]
 *   FL.PREFIX prefix [REV] [LIMIT n] [KEYSONLY]
 *
 * Both bounds belong to the range. An empty start is the first key, an empty end the last one: no key is empty.
 * Keys are compared as bytes, the shorter of two that are alike first. The reply is one flat
 * array, in order: key, value, key, value, ... or only keys. REV goes from the end to the start; start stays
 * the lower bound. LIMIT counts keys; 0 is none.
 */
#include "server/cmd.h"
#include "server/cmd_util.h"
#include "server/exec_keys.h"
#include "server/key_iter.h"

struct range {
    struct fl_bytes prefix;
    struct fl_bytes start;
    struct fl_bytes end;
    bool reverse;
    bool keys_only;
    int64_t limit; /* -1: none */
};

/* Options from argv[first]. False: an error was replied. */
static bool
parse_options(struct call *call, unsigned first, struct range *range)
{
    range->limit = -1;
    for (unsigned i = first; i < call->argc; i++) {
        if (arg_is(call->argv[i], "rev")) {
            range->reverse = true;
        } else if (arg_is(call->argv[i], "keysonly")) {
            range->keys_only = true;
        } else if (arg_is(call->argv[i], "limit") && i + 1 < call->argc) {
            if (!arg_integer(call, call->argv[++i], &range->limit)) {
                return false;
            }
            if (range->limit < 0) {
                reply_error(call, "ERR LIMIT can't be negative");
                return false;
            }
        } else {
            reply_syntax_error(call);
            return false;
        }
    }
    return true;
}

static fl_status
range_begin(const struct range *range, struct key_iter *iter)
{
    if (range->reverse) {
        return range->end.len > 0 ? key_iter_seek_before(iter, range->end) : key_iter_last(iter);
    }
    return range->start.len > 0 ? key_iter_seek(iter, range->start) : key_iter_first(iter);
}

/* Whether a key met on the way is still inside. */
static bool
range_holds(const struct range *range, struct fl_bytes key)
{
    if (range->reverse) {
        return range->start.len == 0 || key_compare(key, range->start) >= 0;
    }
    return range->end.len == 0 || key_compare(key, range->end) <= 0;
}

/* The pair that the iterator stands on. False: its key has expired since, nothing was written. A value that is
 * damaged is an error in its place: the others are good. */
static bool
reply_pair(struct call *call, struct key_iter *iter, bool keys_only)
{
    const struct fl_bytes key = key_iter_key(iter);
    struct fl_view view;

    if (keys_only) {
        resp_write_bulk(call->out, key.ptr, key.len);
        return true;
    }
    fl_status status = key_iter_view(iter, &view);
    const bool is_short = status == FL_OK && view.value.len < RESP_REFERENCE_BYTES_MIN;

    if (status == FL_OK && !is_short) {
        /* A view of its own, so that the reply can refer to a big value instead of copying it. */
        status = call_get(call, key, &view);
    }
    if (status == FL_NOT_FOUND) {
        return false;
    }
    resp_write_bulk(call->out, key.ptr, key.len);
    if (is_short) {
        resp_write_bulk(call->out, view.value.ptr, view.value.len);
    } else if (status == FL_OK) {
        reply_view(call, &view);
    } else {
        call_fail(call, status);
    }
    return true;
}

static void
reply_range(struct call *call, const struct range *range)
{
    struct key_iter *iter = NULL;
    int64_t pairs = 0;
    uint64_t elements = 0;
    fl_status status = key_iter_open(call, range->prefix, &iter);

    if (status == FL_OK) {
        status = range_begin(range, iter);
    }
    if (status != FL_OK && status != FL_END) {
        call_fail(call, status);
        goto done;
    }
    struct resp_seg *head = resp_write_later(call->out);

    while (status == FL_OK && pairs != range->limit && !resp_out_failed(call->out) &&
           range_holds(range, key_iter_key(iter))) {
        if (reply_pair(call, iter, range->keys_only)) {
            pairs++;
            elements += range->keys_only ? 1 : 2;
        }
        status = range->reverse ? key_iter_prev(iter) : key_iter_next(iter);
    }
    if (status != FL_OK && status != FL_END) {
        call_fail(call, status); /* the last element is the error: the list isn't complete */
        elements++;
    }
    resp_write_later_array(call->out, head, elements);
done:
    if (iter != NULL) {
        key_iter_close(iter);
    }
}

void
cmd_fl_range(struct call *call)
{
    struct range range = {.start = call->argv[1], .end = call->argv[2]};

    if (parse_options(call, 3, &range)) {
        reply_range(call, &range);
    }
}

void
cmd_fl_prefix(struct call *call)
{
    struct range range = {.prefix = call->argv[1]};

    if (parse_options(call, 2, &range)) {
        reply_range(call, &range);
    }
}
