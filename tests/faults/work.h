/* A workload over a store in a file, that bears any operation's failing, and the contents that it has acknowledged.
 *
 * Two tables are kept: what was acknowledged, and what would be there besides if the one write whose outcome is unknown
 * (FL_IO) had succeeded. After that write every other one has to fail, until the store is opened again. */
#ifndef FL_TESTS_FAULTS_WORK_H
#define FL_TESTS_FAULTS_WORK_H

#include <faultline/batch.h>

#include "tests/lib/tmpdir.h"

#include <stdint.h>

enum {
    WORK_KEYS = 40,
    WORK_BATCH = 14,
    WORK_LONG_BATCH = 30,
    WORK_BLOCK_BYTES = 4096,
    WORK_DEADLINES = 4
};

/* Versions of the keys' values, 0: it is not there. */
struct work_table {
    uint32_t versions[WORK_KEYS];
    uint32_t timed[WORK_DEADLINES]; /* keys of another space, with a deadline */
};

struct work {
    struct tmpdir dir;
    char path[TMPDIR_PATH_BYTES];
    struct fl_options options;
    struct fl_store *store; /* NULL: it could not be opened (again) */
    _Atomic(uint64_t) wall_ms;
    struct work_table now, maybe;
    bool unknown; /* `maybe` counts as well */
    uint32_t version;
    uint32_t statuses; /* a bit for each that an operation returned */
    const char *doing;
};

void work_init(struct work *work, enum fl_mapping mapping, bool background);
void work_deinit(struct work *work);

/* All of it, with failures injected into each call of the store: open, points, batches, big values, growth, cleaning,
 * expiry, a snapshot, reopening. Ends the test if something wrong is read on the way. */
void work_run(struct work *work);
/* Without failures: the store that is still open shows what was acknowledged; closed and opened again it holds it and
 * can be used. */
void work_check(struct work *work);

#endif
