#include "client/cli/modes.h"

#include "client/cli/scan.h"

#include <stdio.h>

static void
print_key(enum output_format format, const struct fl_client_reply *key)
{
    size_t len;
    const char *text = fl_client_reply_text(key, &len);

    if (text == NULL) {
        return;
    }
    if (format == OUTPUT_RAW) {
        fwrite(text, 1, len, stdout);
    } else if (format == OUTPUT_JSON) {
        output_json_text(stdout, text, len);
    } else {
        output_quoted(stdout, text, len);
    }
    fputc('\n', stdout);
}

enum cli_exit
mode_scan(struct session *session)
{
    struct scan scan = {
        .session = session,
        .pattern = session->args->pattern,
        .count = session->args->scan_count,
    };
    struct fl_client_reply *reply;
    const struct fl_client_reply *keys;
    bool failed;

    while (scan_next(&scan, &reply, &keys, &failed)) {
        for (size_t i = 0; i < fl_client_reply_count(keys); i++) {
            print_key(session->args->format, fl_client_reply_item(keys, i));
        }
        fl_client_reply_destroy(reply);
        if (session->args->interval_s > 0) {
            fflush(stdout);
            session_pause(session, 0);
        }
    }
    return failed ? scan_failed_exit(session) : CLI_EXIT_OK;
}
