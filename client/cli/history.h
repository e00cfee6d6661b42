/* The prompt's history: a file of lines, added to by every session as it goes. */
#ifndef FL_CLIENT_CLI_HISTORY_H
#define FL_CLIENT_CLI_HISTORY_H

#include <stddef.h>

enum { HISTORY_LINES_MAX = 1000 };

struct history_file {
    char *path; /* owned; NULL: no history is kept */
};

/* Choose the file: $FAULTLINE_HISTORY, which may be empty for none, else ~/.faultline_history. */
void history_open(struct history_file *history);
void history_close(struct history_file *history);

/* Hand the last HISTORY_LINES_MAX lines to `add`, the oldest first; a file that has grown to
 * twice as many is cut to them. A file that can't be read is as good as none. */
void history_load(const struct history_file *history, void (*add)(void *context, const char *line),
                  void *context);

/* Add a line at the file's end; it is made readable for its owner alone. Failing is no reason to
 * disturb anybody's typing. */
void history_append(const struct history_file *history, const char *line, size_t len);

#endif
