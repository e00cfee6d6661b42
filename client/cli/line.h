/* Lines of input, split into arguments as inline commands are: blanks between, quotes around. */
#ifndef FL_CLIENT_CLI_LINE_H
#define FL_CLIENT_CLI_LINE_H

#include <faultline/status.h>

#include <stdbool.h>
#include <stddef.h>

struct line {
    const char **argv; /* each 0-terminated too */
    size_t *lens;
    size_t argc; /* 0: the line was empty */
};

/* Split `len` bytes of `text`, which hold no line feed but perhaps one at their end.
 *
 * Owner:  the caller releases *out with line_deinit() after FL_OK.
 * Errors: FL_INVALID (quotes that don't match, or that something follows), FL_TOO_LARGE,
 *                    FL_NO_MEMORY. */
FL_NODISCARD fl_status line_split(const char *text, size_t len, struct line *out);
void line_deinit(struct line *line);

/* Whether argument i is there and is `word`, in any case. */
bool line_is(size_t argc, const char *const *argv, size_t i, const char *word);

/* Whether the line may carry a password, which no history should keep. So may one that can't be
 * split. */
bool line_is_secret(const char *text, size_t len);

#endif
