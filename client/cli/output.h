/* Replies as people and programs want to see them. */
#ifndef FL_CLIENT_CLI_OUTPUT_H
#define FL_CLIENT_CLI_OUTPUT_H

#include <faultline/client.h>

#include <stdbool.h>
#include <stdio.h>

enum output_format {
    OUTPUT_AUTO = 0, /* not decided yet */
    OUTPUT_HUMAN,    /* with types: (integer) 1, "text", 1) ... */
    OUTPUT_RAW,      /* the bytes */
    OUTPUT_JSON,
};

/* Print a reply and end its line. `is_page`: the command's answer is text for people, lines and all
 * (INFO), which the human form doesn't quote. */
void output_reply(FILE *file, enum output_format format, const struct fl_client_reply *reply,
                  bool is_page);

/* The bytes between quotes, with what can't be printed escaped, so that the prompt reads them
 * back. */
void output_quoted(FILE *file, const char *text, size_t len);

/* A reply, or text, as JSON. Bytes that are not UTF-8 become \xNN. */
void output_json(FILE *file, const struct fl_client_reply *reply);
void output_json_text(FILE *file, const char *text, size_t len);

#endif
