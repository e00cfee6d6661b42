#include "server/command.h"

#include "base/fail.h"
#include "server/conn.h"
#include "server/key_iter.h"
#include "server/server.h"

#include <stdio.h>
#include <string.h>

static inline struct fl_key
root_key(struct fl_bytes key)
{
    return fl_key_in(SPACE_ROOT, key.ptr, key.len);
}

static inline void
depend_on(struct call *call, uint64_t ticket)
{
    if (ticket > call->ticket) {
        call->ticket = ticket;
    }
}

static inline void
count_lookup(struct call *call, bool found)
{
    if ((call->command->flags & COMMAND_FLAG_READONLY) != 0) {
        if (found) {
            call->server->metrics.keyspace_hits++;
        } else {
            call->server->metrics.keyspace_misses++;
        }
    }
}

fl_status
call_get(struct call *call, struct fl_bytes key, struct fl_view *view)
{
    fl_status status = FL_NOT_FOUND;

    view->ticket = 0;
    if (key.len > 0 && key.len <= FL_KEY_BYTES_MAX) {
        status = fl_batch_get_view(call->batch, root_key(key), view);
        if (status == FL_OK || status == FL_NOT_FOUND) {
            depend_on(call, view->ticket);
        }
    }
    count_lookup(call, status == FL_OK);
    return status;
}

fl_status
call_get_info(struct call *call, struct fl_bytes key, struct fl_info *info)
{
    fl_status status = FL_NOT_FOUND;

    if (key.len > 0 && key.len <= FL_KEY_BYTES_MAX) {
        status = fl_batch_get_info(call->batch, root_key(key), info);
        if (status == FL_OK || status == FL_NOT_FOUND) {
            depend_on(call, info->ticket);
        }
    }
    count_lookup(call, status == FL_OK);
    return status;
}

fl_status
call_get_range(struct call *call, struct fl_bytes key, size_t off, size_t len, struct fl_view *view)
{
    fl_status status = FL_NOT_FOUND;

    if (key.len > 0 && key.len <= FL_KEY_BYTES_MAX) {
        status = fl_batch_get_range(call->batch, root_key(key), off, len, view);
        if (status == FL_OK || status == FL_NOT_FOUND) {
            depend_on(call, view->ticket);
        }
    }
    return status;
}

/* A change was made, or refused by its condition: then the reply tells what was seen. */
static fl_status
wrote(struct call *call, struct fl_bytes key, fl_status status)
{
    if (__builtin_expect(status == FL_OK, 1)) {
        call->ticket = HOLD_PENDING;
        watch_touch(&call->server->watches, key);
        if (__builtin_expect(call->server->exec_keys.tracks, 0)) {
            return exec_keys_add(&call->server->exec_keys, key);
        }
    } else if (status == FL_NOT_FOUND || status == FL_EXISTS) {
        struct fl_info info;

        /* Whatever it says: what matters is how durable that is. */
        (void)!fl_batch_get_info(call->batch, root_key(key), &info);
        depend_on(call, info.ticket);
    }
    return status;
}

static fl_status
check_key(struct fl_bytes key)
{
    if (key.len == 0) {
        return FL_FAIL(FL_INVALID, "keys have at least one byte");
    }
    if (key.len > FL_KEY_BYTES_MAX) {
        return FL_FAIL(FL_TOO_LARGE, "keys have at most %u bytes", FL_KEY_BYTES_MAX);
    }
    return FL_OK;
}

/* A value that is too large for the log goes into a blob of its own. */
static fl_status
put_large(struct call *call, struct fl_bytes key, struct fl_bytes value,
          const struct fl_put_options *options)
{
    struct fl_blob *blob = NULL;
    fl_status status = fl_blob_create(call->server->store, value.len, &blob);

    if (status != FL_OK) {
        return status;
    }
    status = fl_blob_append(blob, value.ptr, value.len);
    if (status != FL_OK) {
        fl_blob_discard(blob);
        return status;
    }
    return call_put_blob(call, key, blob, options);
}

fl_status
call_put(struct call *call, struct fl_bytes key, struct fl_bytes value,
         const struct fl_put_options *options)
{
    const fl_status status = check_key(key);

    if (__builtin_expect(status != FL_OK, 0)) {
        return status;
    }
    if (__builtin_expect(value.len > call->server->inline_bytes_max, 0)) {
        return put_large(call, key, value, options);
    }
    return wrote(call, key, fl_batch_put(call->batch, root_key(key), value, options));
}

fl_status
call_put_arg(struct call *call, struct fl_bytes key, unsigned arg,
             const struct fl_put_options *options)
{
    if (__builtin_expect(arg != call->blob_arg, 1)) {
        return call_put(call, key, call->argv[arg], options);
    }
    struct fl_blob *blob = call->blob;

    if (blob == NULL) {
        return call->blob_status != FL_OK ? call->blob_status
                                          : FL_FAIL(FL_INVALID, "the value was stored already");
    }
    call->blob = NULL;
    return call_put_blob(call, key, blob, options);
}

fl_status
call_put_blob(struct call *call, struct fl_bytes key, struct fl_blob *blob,
              const struct fl_put_options *options)
{
    fl_status status = check_key(key);

    if (status == FL_OK) {
        status = fl_batch_put_blob(call->batch, root_key(key), blob, options);
    }
    if (status != FL_OK) {
        fl_blob_discard(blob);
    }
    return wrote(call, key, status);
}

fl_status
call_put_from(struct call *call, struct fl_bytes to, struct fl_bytes from,
              const struct fl_put_options *options)
{
    fl_status status = check_key(to);

    if (status == FL_OK) {
        status = from.len == 0 || from.len > FL_KEY_BYTES_MAX
                     ? FL_NOT_FOUND
                     : fl_batch_put_from(call->batch, root_key(to), root_key(from), options);
    }
    if (status == FL_NOT_FOUND) {
        return from.len == 0 ? status : wrote(call, from, status);
    }
    return wrote(call, to, status);
}

fl_status
call_delete(struct call *call, struct fl_bytes key)
{
    if (key.len == 0 || key.len > FL_KEY_BYTES_MAX) {
        return FL_NOT_FOUND;
    }
    return wrote(call, key, fl_batch_delete(call->batch, root_key(key)));
}

/* Inside EXEC: every key on its own, so that the frame holds it all. */
static fl_status
flush_in_exec(struct call *call)
{
    struct key_iter *iter = NULL;
    fl_status status = key_iter_open(call, fl_bytes(NULL, 0), &iter);

    if (status != FL_OK) {
        return status;
    }
    status = key_iter_first(iter);
    while (status == FL_OK) {
        const struct fl_bytes key = key_iter_key(iter);

        status = fl_batch_delete(call->batch, root_key(key));
        if (status == FL_OK || status == FL_NOT_FOUND) {
            status = key_iter_next(iter);
        }
    }
    key_iter_close(iter);
    return status == FL_END ? FL_OK : status;
}

static bool
is_present(void *context, struct fl_bytes key)
{
    const struct call *call = context;
    struct fl_info info;

    return fl_batch_get_info(call->batch, root_key(key), &info) != FL_NOT_FOUND;
}

fl_status
call_flush(struct call *call)
{
    fl_status status;

    watch_touch_present(&call->server->watches, is_present, call);
    if (call->in_exec) {
        status = flush_in_exec(call);
        if (status == FL_OK) {
            exec_keys_flushed(&call->server->exec_keys);
        }
        call->ticket = HOLD_PENDING;
    } else {
        status = fl_delete_spaces(call->server->store, SPACE_ROOT, UINT8_MAX);
    }
    return status;
}

/* Why, in a client's words: the library's, without the place in its source. */
static const char *
reason(fl_status status, char text[RESP_ERROR_BYTES_MAX])
{
    if (status == FL_NO_SPACE) {
        return "no space left: the store can't grow and nothing can be reclaimed now. Reads go on; "
               "delete keys or give it space";
    }
    if (status == FL_READ_ONLY) {
        return "the store is read-only: the server's log says why";
    }
    if (status == FL_NO_MEMORY) {
        return "out of memory";
    }
    snprintf(text, RESP_ERROR_BYTES_MAX, "%s", fl_last_error());
    char *const place = strrchr(text, '(');

    if (place != NULL && place > text && place[-1] == ' ') {
        place[-1] = '\0';
    }
    return text;
}

void
call_fail(struct call *call, fl_status status)
{
    char text[RESP_ERROR_BYTES_MAX];
    const char *const why = reason(status, text);

    fl_batch_rollback(call->batch, call->mark);
    if (status == FL_NO_SPACE || status == FL_NO_MEMORY || status == FL_TOO_LARGE) {
        call->unfit = status;
    } else if (status == FL_CORRUPT || status == FL_IO) {
        logger_write(&call->server->logger, LOGGER_ERROR, "%s: %s", call->command->name,
                     fl_last_error());
    }
    reply_errorf(call, "ERR %s", why);
}

void
call_discard(struct call *call, fl_status status, size_t mark)
{
    char text[RESP_ERROR_BYTES_MAX];
    const char *const why = reason(status, text);

    fl_batch_rollback(call->batch, mark);
    reply_errorf(call, "EXECABORT Transaction discarded because of: %s. Nothing of it was done",
                 why);
}
