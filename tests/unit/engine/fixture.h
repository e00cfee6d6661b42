/* A store in a file of its own, without background threads, by a clock that the test moves. */
#ifndef FL_TESTS_ENGINE_FIXTURE_H
#define FL_TESTS_ENGINE_FIXTURE_H

#include "tests/lib/tmpdir.h"

#include <faultline/faultline.h>

struct fixture {
    struct tmpdir dir;
    char path[TMPDIR_PATH_BYTES];
    struct fl_options options;
    struct fl_store *store;
    uint64_t wall_ms;
};

/* The store is open, at wall clock `wall_ms`. */
void fixture_init(struct fixture *f, uint32_t block_bytes, uint64_t wall_ms);
void fixture_deinit(struct fixture *f);
void fixture_reopen(struct fixture *f);

/* All of the background work that there is. */
void fixture_maintain(const struct fixture *f);

/* `len` bytes of 'v'; deadline_ms 0: none. */
void fixture_put(const struct fixture *f, const char *key, size_t len, uint64_t deadline_ms);
fl_status fixture_get(const struct fixture *f, const char *key);

#endif
