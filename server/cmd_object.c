/* What is known about a key besides its value: OBJECT and MEMORY. */
#include "server/cmd.h"
#include "server/cmd_util.h"

#include "base/bytes.h"
#include "proto/decimal.h"

enum {
    EMBSTR_BYTES_MAX = 44, /* the longest string that Redis keeps beside its object's head */
    RECORD_HEADER_BYTES = 12,
    RECORD_DEADLINE_BYTES = 8,
    LINE_BYTES = 64,
};

/* Strings are not kept in several ways here: this is what Redis would call a value written in one go. */
static const char *
encoding_of(struct fl_bytes value)
{
    int64_t number;

    if (value.len <= DECIMAL_I64_CHARS_MAX && decimal_parse_i64(value.ptr, value.len, &number)) {
        return "int";
    }
    return "embstr";
}

/* False: the key isn't there (answered null, as Redis does) or can't be read. */
static bool
look(struct call *call, struct fl_info *info)
{
    const enum lookup found = lookup_info(call, call->argv[2], info);

    if (found == LOOKUP_MISSING) {
        resp_write_null(call->out);
    }
    return found == LOOKUP_FOUND;
}

void
cmd_object_encoding(struct call *call)
{
    struct fl_info info;
    struct fl_view view;

    if (!look(call, &info)) {
        return;
    }
    if (info.value_bytes > EMBSTR_BYTES_MAX) {
        resp_write_bulk_text(call->out, "raw");
        return;
    }
    const fl_status status = call_get(call, call->argv[2], &view);

    if (status == FL_OK) {
        resp_write_bulk_text(call->out, encoding_of(view.value));
        fl_view_release(&view);
    } else {
        call_fail(call, status);
    }
}

/* Values are never shared between keys. */
void
cmd_object_refcount(struct call *call)
{
    struct fl_info info;

    if (look(call, &info)) {
        resp_write_integer(call->out, 1);
    }
}

void
cmd_object_idletime(struct call *call)
{
    struct fl_info info;

    if (look(call, &info)) {
        /* A read would have to write to keep it. */
        reply_error(call, "ERR idle time is not tracked, so that reads write nothing");
    }
}

void
cmd_object_freq(struct call *call)
{
    struct fl_info info;

    if (look(call, &info)) {
        reply_error(call,
                    "ERR An LFU maxmemory policy is not selected, access frequency not tracked. "
                    "Please note that when switching between policies at runtime LRU and LFU "
                    "data will take some time to adjust.");
    }
}

void
cmd_object_help(struct call *call)
{
    static const char *const lines[] = {
        "OBJECT ENCODING <key>: how Redis would call the way the value is kept (int, embstr, raw).",
        "OBJECT REFCOUNT <key>: always 1, values are not shared.",
        "OBJECT IDLETIME <key>, OBJECT FREQ <key>: not tracked.",
        "OBJECT HELP: this text.",
    };

    reply_lines(call, lines, sizeof(lines) / sizeof(lines[0]));
}

/* The bytes that the key's record fills in the store, its last line included. */
static int64_t
record_bytes(struct fl_bytes key, const struct fl_info *info)
{
    const uint64_t deadline = info->deadline_ms != 0 ? RECORD_DEADLINE_BYTES : 0;

    return (int64_t)bytes_align_up(RECORD_HEADER_BYTES + deadline + key.len + info->value_bytes,
                                   LINE_BYTES);
}

void
cmd_memory_usage(struct call *call)
{
    struct fl_info info;
    int64_t samples;

    for (unsigned i = 3; i < call->argc; i += 2) {
        if (!arg_is(call->argv[i], "samples") || i + 1 == call->argc) {
            reply_syntax_error(call);
            return;
        }
        if (!arg_integer(call, call->argv[i + 1], &samples)) {
            return;
        }
        if (samples < 0) {
            reply_syntax_error(call);
            return;
        }
    }
    if (look(call, &info)) {
        resp_write_integer(call->out, record_bytes(call->argv[2], &info));
    }
}

void
cmd_memory_help(struct call *call)
{
    static const char *const lines[] = {
        "MEMORY USAGE <key> [SAMPLES <n>]: bytes that the key's record fills in the store.",
        "MEMORY HELP: this text.",
    };

    reply_lines(call, lines, sizeof(lines) / sizeof(lines[0]));
}
