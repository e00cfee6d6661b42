/* Going through all keys, one SCAN at a time. */
#ifndef FL_CLIENT_CLI_SCAN_H
#define FL_CLIENT_CLI_SCAN_H

#include "client/cli/session.h"

struct scan {
    struct session *session;
    const char *pattern; /* NULL: all keys */
    int64_t count;       /* 0: the server's choice */
    char cursor[32];
    bool started;
};

/* The next keys, as an array that may be empty.
 * Owner: the caller destroys *reply; *keys is an item of it. False at the end, or with
 * `*failed` set if it didn't get there; the reason was printed. */
bool scan_next(struct scan *scan, struct fl_client_reply **reply,
               const struct fl_client_reply **keys, bool *failed);

/* What the program ends with when a command of its own has failed. */
enum cli_exit scan_failed_exit(const struct session *session);

#endif
