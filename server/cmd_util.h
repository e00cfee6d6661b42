/* What several command handlers share: reading arguments, strings, values kept for a later reply. */
#ifndef FL_SERVER_CMD_UTIL_H
#define FL_SERVER_CMD_UTIL_H

#include "server/command.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether an argument is `word` (in small letters), in any case. */
bool arg_is(struct fl_bytes arg, const char *word);

/* The argument as an integer; false: it isn't one and the error was replied. */
bool arg_integer(struct call *call, struct fl_bytes arg, int64_t *out);

/* The argument as the number of the one database, 0; false: it isn't, and the error was replied. */
bool arg_database(struct call *call, struct fl_bytes arg);

/* For "%.*s" with an argument's bytes: as much as an error may quote. */
int arg_precision(struct fl_bytes arg);

/* Pattern and text as glob_match() wants them. */
bool arg_matches(struct fl_bytes pattern, struct fl_bytes text, bool fold);

/* An array of simple strings: what HELP subcommands answer. */
void reply_lines(struct call *call, const char *const *lines, size_t count);

/* A name and its value: a pair of a map. */
void reply_pair_int(struct call *call, const char *name, int64_t value);
void reply_pair_text(struct call *call, const char *name, const char *value);

/* ---- strings ---- */

enum lookup {
    LOOKUP_FOUND, /* the view is to be released, or given to reply_view() */
    LOOKUP_MISSING,
    LOOKUP_ANSWERED, /* an error was replied */
};

/* The string at `key`; a value of another type is answered with WRONGTYPE. */
enum lookup lookup_string(struct call *call, struct fl_bytes key, struct fl_view *view);

/* The same without its value, which is not read, and (lookup_info) whatever the type. Nothing to release. */
enum lookup lookup_string_info(struct call *call, struct fl_bytes key, struct fl_info *info);
enum lookup lookup_info(struct call *call, struct fl_bytes key, struct fl_info *info);

/* What TYPE says of a value's tag. */
const char *type_name(uint8_t type);

/* Deadline and type of `view`, for a write that keeps them. */
struct fl_put_options options_of_view(const struct fl_view *view);

/* Whether a string of `len` and `more` bytes together is allowed; if not the error was replied. */
bool string_length_fits(struct call *call, uint64_t len, uint64_t more);

/* A part of a new value; ptr NULL: that many zeros. */
struct piece {
    const void *ptr;
    size_t len;
};

/* Write the value made of all pieces, which may lie in a view: the view ends with this call. */
FL_NODISCARD fl_status put_pieces(struct call *call, struct fl_bytes key,
                                  const struct piece *pieces, unsigned count,
                                  const struct fl_put_options *options);

/* ---- a value that is replied after a write has ended its view ---- */

enum { KEPT_BYTES = 2048 };

struct kept {
    char *ptr; /* small, or memory of its own */
    size_t len;
    char small[KEPT_BYTES];
};

/* Copy the view's value and release the view. On FL_OK: kept_reply() or kept_drop(). FL_NO_MEMORY. */
FL_NODISCARD fl_status kept_take(struct kept *kept, struct fl_view *view);
void kept_reply(struct call *call, struct kept *kept);
void kept_drop(struct kept *kept);

/* ---- deadlines ---- */

/* "ERR invalid expire time in 'set' command". */
void reply_expire_time(struct call *call);

/* Whether a deadline has passed: writing it would delete the key. Deadlines are milliseconds since 1970. */
static inline bool
deadline_passed(const struct call *call, int64_t deadline_ms)
{
    return deadline_ms <= (int64_t)call->now_ms;
}

/* Remove `key` because its deadline lies in the past; a key that isn't there is no failure. */
FL_NODISCARD fl_status delete_expired(struct call *call, struct fl_bytes key);

#endif
