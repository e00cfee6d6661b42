/* What the server says about its commands (COMMAND DOCS): for completion, hints and help. */
#ifndef FL_CLIENT_CLI_DOCS_H
#define FL_CLIENT_CLI_DOCS_H

#include <faultline/client.h>

#include <stddef.h>

/* A command or a subcommand. */
struct docs_command {
    char *name;    /* in capitals: "CONFIG GET" */
    char *syntax;  /* its arguments: "key value [NX | XX]"; "" if unknown or none */
    char *summary; /* "" if unknown */
    char *since;   /* "" if unknown */
};

/* Sorted by name. */
struct docs {
    struct docs_command *commands;
    size_t commands_count;
    size_t commands_slots;
};

/* Ask the server for its commands: COMMAND DOCS, or at least COMMAND LIST. Nothing is printed: if
 * it knows neither, or the connection breaks, *out is empty.
 * Owner: the caller; docs_deinit(). */
void docs_load(struct fl_client *client, struct docs *out);

/* The same from a reply to COMMAND DOCS. */
void docs_read(const struct fl_client_reply *reply, struct docs *out);
void docs_deinit(struct docs *docs);

/* The command that `len` bytes of a line start with, in any case, the longest name first: "config
 * get save" is CONFIG GET. A name counts once a blank or the line's end stands behind it. NULL:
 * none. */
const struct docs_command *docs_find(const struct docs *docs, const char *line, size_t len);

enum { DOCS_CANDIDATES_MAX = 100 };

/* What completes the `len` bytes of a line, which end at the cursor. All candidates have the typed
 * letters in common, and go on with the shared ones. */
struct docs_completion {
    const struct docs_command *candidates[DOCS_CANDIDATES_MAX];
    size_t count;
    size_t typed;  /* letters of the name that are there */
    size_t shared; /* letters that can be added without choosing */
};
void docs_complete(const struct docs *docs, const char *line, size_t len,
                   struct docs_completion *out);

#endif
