/* Parts of strings: APPEND, STRLEN, GETRANGE, SUBSTR, SETRANGE. */
#include "server/cmd.h"
#include "server/cmd_util.h"

/* The length of the string at argv[1]. False: it isn't there, and nothing was replied unless `or_zero`. */
static bool
reply_length(struct call *call, bool or_zero)
{
    struct fl_info info;
    const enum lookup found = lookup_string_info(call, call->argv[1], &info);

    if (found == LOOKUP_FOUND) {
        resp_write_integer(call->out, (int64_t)info.value_bytes);
    } else if (found == LOOKUP_MISSING && or_zero) {
        resp_write_integer(call->out, 0);
    }
    return found != LOOKUP_MISSING;
}

void
cmd_strlen(struct call *call)
{
    (void)reply_length(call, true);
}

/* Replace the value by `count` pieces of `len` bytes together and answer that length; ends the view. */
static void
replace(struct call *call, const struct piece *pieces, unsigned count, size_t len,
        struct fl_view *view)
{
    const struct fl_put_options options = options_of_view(view);
    const fl_status status = put_pieces(call, call->argv[1], pieces, count, &options);

    fl_view_release(view);
    if (status == FL_OK) {
        resp_write_integer(call->out, (int64_t)len);
    } else {
        call_fail(call, status);
    }
}

void
cmd_append(struct call *call)
{
    const struct fl_bytes tail = call->argv[2];
    struct fl_view view = {0};

    /* Nothing is to be added: only a key that isn't there yet comes to be by it. */
    if ((tail.len == 0 && reply_length(call, false)) ||
        lookup_string(call, call->argv[1], &view) == LOOKUP_ANSWERED) {
        return;
    }
    if (!string_length_fits(call, view.value.len, tail.len)) {
        fl_view_release(&view);
        return;
    }
    const struct piece pieces[] = {{view.value.ptr, view.value.len}, {tail.ptr, tail.len}};

    replace(call, pieces, 2, view.value.len + tail.len, &view);
}

void
cmd_setrange(struct call *call)
{
    const struct fl_bytes part = call->argv[3];
    struct fl_view view = {0};
    int64_t offset;

    if (!arg_integer(call, call->argv[2], &offset)) {
        return;
    }
    if (offset < 0) {
        reply_error(call, "ERR offset is out of range");
        return;
    }
    if (part.len == 0) {
        (void)reply_length(call, true);
        return;
    }
    if (lookup_string(call, call->argv[1], &view) == LOOKUP_ANSWERED) {
        return;
    }
    const size_t len_old = view.value.len;

    if (!string_length_fits(call, (uint64_t)offset, part.len)) {
        fl_view_release(&view);
        return;
    }
    const char *old = view.value.ptr;
    const size_t off = (size_t)offset;
    const size_t end = off + part.len;
    const struct piece pieces[] = {
        {old, off < len_old ? off : len_old},
        {NULL, off > len_old ? off - len_old : 0},
        {part.ptr, part.len},
        {end < len_old ? old + end : old, end < len_old ? len_old - end : 0},
    };

    replace(call, pieces, 4, end > len_old ? end : len_old, &view);
}

/* `first` to `last`, negative ones counted from the end, cut to the value; *len 0: nothing is left. */
static void
range_of(int64_t first, int64_t last, size_t value_len, size_t *off, size_t *len)
{
    const int64_t end = (int64_t)value_len;

    *off = 0;
    *len = 0;
    if (first < 0 && last < 0 && first > last) {
        return;
    }
    first = first < 0 ? first + end : first;
    last = last < 0 ? last + end : last;
    first = first < 0 ? 0 : first;
    last = last < 0 ? 0 : last;
    last = last >= end ? end - 1 : last;
    if (first <= last) {
        *off = (size_t)first;
        *len = (size_t)(last - first + 1);
    }
}

void
cmd_getrange(struct call *call)
{
    struct fl_info info;
    struct fl_view view;
    int64_t first;
    int64_t last;
    size_t off;
    size_t len = 0;

    if (!arg_integer(call, call->argv[2], &first) || !arg_integer(call, call->argv[3], &last)) {
        return;
    }
    const enum lookup found = lookup_string_info(call, call->argv[1], &info);

    if (found == LOOKUP_ANSWERED) {
        return;
    }
    if (found == LOOKUP_FOUND) {
        range_of(first, last, (size_t)info.value_bytes, &off, &len);
    }
    const fl_status status =
        len > 0 ? call_get_range(call, call->argv[1], off, len, &view) : FL_NOT_FOUND;

    if (status == FL_OK) {
        reply_view(call, &view);
    } else if (status == FL_NOT_FOUND) { /* it may have expired in between */
        resp_write_bulk(call->out, "", 0);
    } else {
        call_fail(call, status);
    }
}
