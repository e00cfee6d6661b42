/* faultline-server as the subject of a test: started on a free port, asked for its figures, killed. */
#ifndef FL_TESTS_INTEGRATION_SUPPORT_SUBJECT_H
#define FL_TESTS_INTEGRATION_SUPPORT_SUBJECT_H

#include "tests/lib/child.h"
#include "tests/lib/tmpdir.h"

#include <faultline/client.h>

#include <stdbool.h>
#include <stdint.h>

enum { SUBJECT_LOG_BYTES = 16384 };

struct subject {
    struct child child;
    uint16_t port;
    char log[SUBJECT_LOG_BYTES]; /* what it said until it was ready */
};

/* Start `program` on 127.0.0.1 with the flags in `flags`, a list that NULL ends, and wait until it is
 * ready. Call it from the thread that outlives the server: the server dies with it. Aborts, with the server's
 * own words, if it isn't ready within `timeout_ms`. */
void subject_start(struct subject *subject, const char *program, const char *const *flags,
                   unsigned timeout_ms);

/* The same with a command line of the caller's: a tracer or limits before the server, `--port 0` among its flags. */
void subject_start_under(struct subject *subject, const char *const *argv, unsigned timeout_ms);

/* subject_start() without waiting: subject->port is not known. */
void subject_launch(struct subject *subject, const char *program, const char *const *flags);

/* Ask it to end by SIGTERM; aborts, with its words, unless it ends by exit(0) within `timeout_ms`. */
void subject_stop(struct subject *subject, unsigned timeout_ms);

/* SIGKILL and wait; safe after any of the above. */
void subject_kill(struct subject *subject);

/* A connection whose calls wait at most `timeout_ms` without progress. Aborts if there is none.
 * Owner: the caller; fl_client_close(). */
struct fl_client *subject_connect(const struct subject *subject, int64_t timeout_ms);

/* The number behind `field` in INFO everything; aborts if it isn't there. */
uint64_t subject_info(struct fl_client *client, const char *field);

/* The text behind it, up to size - 1 bytes of it. */
void subject_info_text(struct fl_client *client, const char *field, char *out, size_t size);

/* Bytes of memory that the process has resident and that no file backs (RssAnon). */
uint64_t subject_memory_bytes(const struct subject *subject);

#endif
