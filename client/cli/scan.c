#include "client/cli/scan.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { SCAN_ARGS_MAX = 6 };

bool
scan_next(struct scan *scan, struct fl_client_reply **reply, const struct fl_client_reply **keys,
          bool *failed)
{
    const char *argv[SCAN_ARGS_MAX] = {"SCAN", scan->cursor};
    char number[24];
    size_t argc = 2;
    size_t len = 0;

    *failed = false;
    if (!scan->started) {
        strcpy(scan->cursor, "0");
        scan->started = true;
    } else if (strcmp(scan->cursor, "0") == 0) {
        return false;
    }
    if (scan->pattern != NULL) {
        argv[argc++] = "MATCH";
        argv[argc++] = scan->pattern;
    }
    if (scan->count > 0) {
        snprintf(number, sizeof(number), "%" PRId64, scan->count);
        argv[argc++] = "COUNT";
        argv[argc++] = number;
    }
    *failed = true;
    *reply = session_ask(scan->session, argc, argv, NULL);
    if (*reply == NULL) {
        return false;
    }
    const struct fl_client_reply *cursor = fl_client_reply_item(*reply, 0);
    const char *text = cursor != NULL ? fl_client_reply_text(cursor, &len) : NULL;

    *keys = fl_client_reply_item(*reply, 1);
    if (text == NULL || *keys == NULL || len == 0 || len >= sizeof(scan->cursor)) {
        fprintf(stderr, "faultline-cli: the server's answer to SCAN makes no sense\n");
        fl_client_reply_destroy(*reply);
        return false;
    }
    memcpy(scan->cursor, text, len + 1);
    *failed = false;
    return true;
}

enum cli_exit
scan_failed_exit(const struct session *session)
{
    return session->client == NULL ? CLI_EXIT_NO_CONNECTION : CLI_EXIT_ERROR_REPLY;
}
