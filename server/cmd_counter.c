/* Strings that are numbers: INCR, DECR, INCRBY, DECRBY, INCRBYFLOAT. */
#include "server/cmd.h"
#include "server/cmd_util.h"
#include "server/number.h"

#include "proto/decimal.h"

#include <math.h>

static void
add(struct call *call, int64_t delta)
{
    struct fl_put_options options = {0};
    struct fl_view view;
    char text[DECIMAL_I64_CHARS_MAX];
    int64_t value = 0;
    const enum lookup found = lookup_string(call, call->argv[1], &view);

    if (found == LOOKUP_ANSWERED) {
        return;
    }
    if (found == LOOKUP_FOUND) {
        const bool is_integer = decimal_parse_i64(view.value.ptr, view.value.len, &value);

        options = options_of_view(&view);
        fl_view_release(&view);
        if (!is_integer) {
            reply_not_integer(call);
            return;
        }
    }
    if (__builtin_add_overflow(value, delta, &value)) {
        reply_error(call, "ERR increment or decrement would overflow");
        return;
    }
    const size_t len = decimal_format_i64(value, text);
    const fl_status status = call_put(call, call->argv[1], fl_bytes(text, len), &options);

    if (status == FL_OK) {
        resp_write_integer(call->out, value);
    } else {
        call_fail(call, status);
    }
}

void
cmd_incr(struct call *call)
{
    add(call, 1);
}

void
cmd_decr(struct call *call)
{
    add(call, -1);
}

void
cmd_incrby(struct call *call)
{
    int64_t delta;

    if (arg_integer(call, call->argv[2], &delta)) {
        add(call, delta);
    }
}

void
cmd_decrby(struct call *call)
{
    int64_t delta;

    if (!arg_integer(call, call->argv[2], &delta)) {
        return;
    }
    if (delta == INT64_MIN) {
        reply_error(call, "ERR decrement would overflow");
        return;
    }
    add(call, -delta);
}

void
cmd_incrbyfloat(struct call *call)
{
    struct fl_put_options options = {0};
    struct fl_view view;
    char text[NUMBER_REAL_CHARS_MAX];
    long double value = 0;
    long double delta;
    bool is_number = true;
    const enum lookup found = lookup_string(call, call->argv[1], &view);

    if (found == LOOKUP_ANSWERED) {
        return;
    }
    if (found == LOOKUP_FOUND) {
        is_number = number_parse_real(view.value.ptr, view.value.len, &value);
        options = options_of_view(&view);
        fl_view_release(&view);
    }
    if (!is_number || !number_parse_real(call->argv[2].ptr, call->argv[2].len, &delta)) {
        reply_error(call, "ERR value is not a valid float");
        return;
    }
    value += delta;
    if (!isfinite(value)) {
        reply_error(call, "ERR increment would produce NaN or Infinity");
        return;
    }
    const size_t len = number_format_real(value, text);
    const fl_status status = call_put(call, call->argv[1], fl_bytes(text, len), &options);

    if (status == FL_OK) {
        resp_write_bulk(call->out, text, len);
    } else {
        call_fail(call, status);
    }
}
