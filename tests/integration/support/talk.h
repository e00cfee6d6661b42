/* Plain sockets to a server under test: what is said and what comes back, as bytes. */
#ifndef FL_TESTS_INTEGRATION_SUPPORT_TALK_H
#define FL_TESTS_INTEGRATION_SUPPORT_TALK_H

#include "tests/integration/support/subject.h"

#include <stdbool.h>
#include <stddef.h>

enum { TALK_BYTES = 64 * 1024, TALK_MS = 10000 };

/* Start with `flags` (NULL ends them) behind --store DIR/data --durability-min process. */
void talk_start(struct subject *subject, const char *program, const struct tmpdir *dir,
                const char *const *flags);

/* A connected socket; aborts if there is none. The caller closes it. */
int talk_connect(const struct subject *subject);
int talk_connect_unix(const char *path);

void talk_say(int fd, const char *text);

/* Read until what came ends with `text`; false, with what came in `out`, if it doesn't within
 * TALK_MS or the connection ends before. */
bool talk_hear(int fd, const char *text, char out[TALK_BYTES]);

/* Say and hear exactly that. */
bool talk(int fd, const char *request, const char *answer);

/* Whether the other side closes within `timeout_ms`; what it says before is dropped. */
bool talk_ends(int fd, unsigned timeout_ms);

#endif
