/* The storage side of command.h in memory, for tests of handlers: it fails on demand, and every view is memory
 * of its own that is freed when the contract says it ends, so that a sanitizer sees a use after that. */
#ifndef FL_TESTS_SERVER_COMMANDS_FAKE_STORE_H
#define FL_TESTS_SERVER_COMMANDS_FAKE_STORE_H

#include "server/command.h"

#include <stdbool.h>
#include <stddef.h>

/* Forget all keys. */
void fake_reset(void);

void fake_put(const char *key, const char *value, uint64_t deadline_ms, uint8_t type);

/* The nth storage call from now on (0: the first) fails with `status`; what handlers call to ask (call_get(), an
 * iterator's moves) never fails for want of space. A negative n: none fails. */
void fake_fail_at(int n, fl_status status);

/* Whether a call has failed since. */
bool fake_has_failed(void);

/* Around one command. */
void fake_begin(struct call *call);
void fake_end(struct call *call);

/* A text of all keys with values and deadlines, in order; for the caller to free. */
char *fake_dump(void);

/* Views, blobs and iterators that were not given back. */
int fake_leaks(void);

#endif
