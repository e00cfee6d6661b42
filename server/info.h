/* INFO: the sections Redis has, with the field names that clients and tools read, and "#
 * Faultline". */
#ifndef FL_SERVER_INFO_H
#define FL_SERVER_INFO_H

#include <faultline/faultline.h>

#include <stddef.h>

struct server;

/* Append to a growing text. */
struct info_text {
    char *ptr;
    size_t len;
    size_t cap;
    bool failed; /* out of memory */
};

void info_printf(struct info_text *text, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The text of the sections named (none: the default ones; "all", "everything", "default" as in
 * Redis), for the caller to free(text->ptr). */
void info_write(struct server *server, const struct fl_bytes *sections, unsigned count,
                struct info_text *text);

#endif
