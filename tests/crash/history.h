/* Operations of several threads, in the order in which they began and ended, and what the store may hold after a
 * crash at each moment: durable linearizability.
 *
 * Whoever has been answered counts: a crash state must be what some order of the operations leaves that is true to
 * their real-time order, has every answered one in it with its answer (reads too: a value that was seen may not be
 * lost), and any of those in flight, whole.
 *
 * Method: a set of configurations (contents, which of the operations in flight have happened), closed under letting one
 * more happen; an answer throws out those that don't explain it. Invariant: the set is not empty, or the run itself was
 * wrong. Threads: those that hold the baton.
 */
#ifndef FL_TESTS_CRASH_HISTORY_H
#define FL_TESTS_CRASH_HISTORY_H

#include "tests/crash/trace.h"

enum { HISTORY_CHANGES_MAX = 4, HISTORY_OPS_MAX = 256 };

enum history_kind { HISTORY_PUT, HISTORY_PUT_ABSENT, HISTORY_DELETE, HISTORY_GET, HISTORY_BATCH };

struct history_change {
    struct contents_item item; /* value NULL: deleted, or nothing read */
};

struct history_op {
    enum history_kind kind;
    unsigned thread;
    unsigned count;
    struct history_change changes[HISTORY_CHANGES_MAX]; /* of GET: the key, then what was read */
    fl_status status;                                   /* its answer */
    const char *text;
};

struct history {
    struct trace *trace;
    struct mempool *mempool;
    const struct contents *before;
    struct history_op ops[HISTORY_OPS_MAX];
    uint32_t ops_count;
    uint32_t marks_first; /* in the trace */
    uint64_t wall_ms, seen_ms;
};

void history_init(struct history *history, struct trace *trace, struct mempool *mempool,
                  const struct contents *before, uint64_t wall_ms, uint64_t seen_ms);

/* It begins now; it has been answered now. Marks of the trace that history_resolve() fills in. */
struct history_op *history_begin(struct history *history, const struct history_op *op);
void history_end(struct history *history, struct history_op *op);

/* Say for every mark what may be there. What may be there at the end goes to *last. False: no order of the operations
 * explains the answers; `why`. */
bool history_resolve(struct history *history, const struct trace_mark **last, char *why,
                     size_t why_size);

#endif
