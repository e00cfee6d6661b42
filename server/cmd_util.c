#include "server/cmd_util.h"

#include "proto/command_table.h"
#include "proto/decimal.h"
#include "server/glob.h"
#include "server/server.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { ERROR_QUOTE_BYTES = 128 };

bool
arg_is(struct fl_bytes arg, const char *word)
{
    const size_t len = strlen(word);

    return arg.len == len && strncasecmp(arg.ptr, word, len) == 0;
}

bool
arg_integer(struct call *call, struct fl_bytes arg, int64_t *out)
{
    if (decimal_parse_i64(arg.ptr, arg.len, out)) {
        return true;
    }
    reply_not_integer(call);
    return false;
}

bool
arg_database(struct call *call, struct fl_bytes arg)
{
    int64_t index;

    if (!arg_integer(call, arg, &index)) {
        return false;
    }
    if (index < INT_MIN || index > INT_MAX) {
        reply_errorf(call, "ERR value is out of range, value must between %d and %d", INT_MIN,
                     INT_MAX);
        return false;
    }
    if (index != 0) {
        reply_error(call, "ERR DB index is out of range");
        return false;
    }
    return true;
}

int
arg_precision(struct fl_bytes arg)
{
    return arg.len < ERROR_QUOTE_BYTES ? (int)arg.len : ERROR_QUOTE_BYTES;
}

bool
arg_matches(struct fl_bytes pattern, struct fl_bytes text, bool fold)
{
    return glob_match(pattern.ptr, pattern.len, text.ptr, text.len, fold);
}

void
reply_lines(struct call *call, const char *const *lines, size_t count)
{
    resp_write_array(call->out, count);
    for (size_t i = 0; i < count; i++) {
        resp_write_simple(call->out, lines[i]);
    }
}

void
reply_pair_int(struct call *call, const char *name, int64_t value)
{
    resp_write_bulk_text(call->out, name);
    resp_write_integer(call->out, value);
}

void
reply_pair_text(struct call *call, const char *name, const char *value)
{
    resp_write_bulk_text(call->out, name);
    resp_write_bulk_text(call->out, value);
}

const char *
type_name(uint8_t type)
{
    return type == 0 ? "string" : "unknown";
}

static enum lookup
lookup_of(struct call *call, fl_status status)
{
    if (status == FL_OK) {
        return LOOKUP_FOUND;
    }
    if (status == FL_NOT_FOUND) {
        return LOOKUP_MISSING;
    }
    call_fail(call, status);
    return LOOKUP_ANSWERED;
}

static void
reply_wrong_type(struct call *call)
{
    reply_error(call, "WRONGTYPE Operation against a key holding the wrong kind of value");
}

enum lookup
lookup_string(struct call *call, struct fl_bytes key, struct fl_view *view)
{
    const enum lookup found = lookup_of(call, call_get(call, key, view));

    if (found == LOOKUP_FOUND && view->type != 0) {
        fl_view_release(view);
        reply_wrong_type(call);
        return LOOKUP_ANSWERED;
    }
    return found;
}

enum lookup
lookup_info(struct call *call, struct fl_bytes key, struct fl_info *info)
{
    return lookup_of(call, call_get_info(call, key, info));
}

enum lookup
lookup_string_info(struct call *call, struct fl_bytes key, struct fl_info *info)
{
    const enum lookup found = lookup_info(call, key, info);

    if (found == LOOKUP_FOUND && info->type != 0) {
        reply_wrong_type(call);
        return LOOKUP_ANSWERED;
    }
    return found;
}

struct fl_put_options
options_of_view(const struct fl_view *view)
{
    struct fl_put_options options = {.deadline_ms = view->deadline_ms, .type = view->type};

    return options;
}

bool
string_length_fits(struct call *call, uint64_t len, uint64_t more)
{
    const unsigned value_max = FL_VALUE_BYTES_MAX;
    const uint64_t option = call->server->options.proto_max_bulk_len;
    const uint64_t limit = option < value_max ? option : value_max;

    if (len <= limit && more <= limit - len) {
        return true;
    }
    reply_error(call, "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    return false;
}

static fl_status
append_zeros(struct fl_blob *blob, size_t len)
{
    static const char zeros[4096];

    while (len > 0) {
        const size_t part = len < sizeof(zeros) ? len : sizeof(zeros);
        const fl_status status = fl_blob_append(blob, zeros, part);

        if (status != FL_OK) {
            return status;
        }
        len -= part;
    }
    return FL_OK;
}

static fl_status
put_pieces_blob(struct call *call, struct fl_bytes key, const struct piece *pieces, unsigned count,
                size_t len, const struct fl_put_options *options)
{
    struct fl_blob *blob = NULL;
    fl_status status = fl_blob_create(call->server->store, len, &blob);

    for (unsigned i = 0; status == FL_OK && i < count; i++) {
        status = pieces[i].ptr != NULL ? fl_blob_append(blob, pieces[i].ptr, pieces[i].len)
                                       : append_zeros(blob, pieces[i].len);
    }
    if (status != FL_OK) {
        if (blob != NULL) {
            fl_blob_discard(blob);
        }
        return status;
    }
    return call_put_blob(call, key, blob, options);
}

fl_status
put_pieces(struct call *call, struct fl_bytes key, const struct piece *pieces, unsigned count,
           const struct fl_put_options *options)
{
    char small[KEPT_BYTES];
    char *value = small;
    size_t len = 0;
    size_t at = 0;

    for (unsigned i = 0; i < count; i++) {
        len += pieces[i].len;
    }
    if (len > call->server->inline_bytes_max) {
        return put_pieces_blob(call, key, pieces, count, len, options);
    }
    if (len > sizeof(small)) {
        value = malloc(len);
        if (value == NULL) {
            return FL_NO_MEMORY;
        }
    }
    for (unsigned i = 0; i < count; i++) {
        if (pieces[i].ptr == NULL) {
            memset(value + at, 0, pieces[i].len);
        } else {
            memcpy(value + at, pieces[i].ptr, pieces[i].len);
        }
        at += pieces[i].len;
    }
    const fl_status status = call_put(call, key, fl_bytes(value, len), options);

    if (value != small) {
        free(value);
    }
    return status;
}

fl_status
kept_take(struct kept *kept, struct fl_view *view)
{
    kept->len = view->value.len;
    kept->ptr = kept->len <= sizeof(kept->small) ? kept->small : malloc(kept->len);
    if (kept->ptr != NULL && kept->len > 0) {
        memcpy(kept->ptr, view->value.ptr, kept->len);
    }
    fl_view_release(view);
    return kept->ptr != NULL ? FL_OK : FL_NO_MEMORY;
}

static void
release_kept(void *context)
{
    free(*(char **)context);
}

void
kept_reply(struct call *call, struct kept *kept)
{
    if (kept->len < RESP_REFERENCE_BYTES_MIN) {
        resp_write_bulk(call->out, kept->ptr, kept->len);
        kept_drop(kept);
        return;
    }
    char **context =
        resp_write_bulk_reference(call->out, kept->ptr, kept->len, sizeof(kept->ptr), release_kept);

    if (context == NULL) {
        kept_drop(kept); /* no memory for output: the connection will be closed */
        return;
    }
    *context = kept->ptr;
}

void
kept_drop(struct kept *kept)
{
    if (kept->ptr != kept->small) {
        free(kept->ptr);
    }
}

void
reply_expire_time(struct call *call)
{
    reply_errorf(call, "ERR invalid expire time in '%s' command", call->command->name);
}

fl_status
delete_expired(struct call *call, struct fl_bytes key)
{
    const fl_status status = call_delete(call, key);

    if (status == FL_NOT_FOUND) {
        /* Absent before and absent now, but written in between. */
        watch_touch(&call->server->watches, key);
        return FL_OK;
    }
    return status;
}
