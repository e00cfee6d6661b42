/* A power cut at every step of an operation, and everything it may leave there. */
#ifndef FL_TESTS_CONTRACT_CRASH_H
#define FL_TESTS_CONTRACT_CRASH_H

#include "tests/contract/contract.h"
#include "tests/contract/model_adapter.h"

enum { CRASH_CALLS_MAX = 14, CRASH_STATES_MAX = 16, CRASH_MAPS_MAX = 4 };

/* What the calls of an operation work on. */
struct stage {
    struct model model;
    struct contract t;
    struct stage_map {
        struct mapping *map; /* NULL: the slot is free */
        const char *name;
        uint32_t blocks;
        bool nosync;
    } maps[CRASH_MAPS_MAX];
    uint64_t tail; /* of the journal, when the calls began */
};

/* Map through the stage: its page-table entries are watched. */
struct mapping *stage_map(struct stage *stage, const char *name, uint32_t blocks, bool nosync);
void stage_unmap(struct stage *stage, struct mapping *map);

/* One call of an operation, and the states that a power cut during it may leave, `least` to `most` of the operation's
 * list; once it has returned, the next call's `least`. */
struct crash_call {
    void (*call)(struct stage *stage);
    unsigned least;
    unsigned most;
};

struct crash_op {
    const char *name;
    uint32_t device_blocks;
    uint32_t f_blocks; /* of the files "f" and "g" that a state shows */
    uint32_t g_blocks;
    void (*setup)(struct stage *stage);
    struct crash_call calls[CRASH_CALLS_MAX];
    unsigned last; /* the state once all calls have returned, or a later one */
    /* In order. A character for each block of "f", '|', of "g":
     *   A-Z data, 0 zeros                  with the flag (zeros: *)
     *   a-z data, 0 zeros                  without
     *   . a hole   u preallocated   - behind the file's end, or no file   ? anything else */
    const char *states[CRASH_STATES_MAX];
    /* Which crash point of the contract a step of call 0 is, 0: not counted. `before`, `after`: the commit. */
    unsigned points_before;
    unsigned points_after;
};
extern const struct crash_op crash_ops[]; /* ended by one without a name */

void crash_journal_setup(struct stage *stage);
void crash_journal_commit(struct stage *stage);
void crash_journal_check(struct stage *stage);

enum { CRASH_POINTS = 8 };
struct crash_figures {
    uint64_t steps;
    uint64_t states;
    uint64_t point_steps[CRASH_POINTS + 1]; /* by the contract's numbers */
    uint64_t point_states[CRASH_POINTS + 1];
};

/* Every step, every state. Returns how many broke the contract, and prints the first few. A mutant's run ends with its
 * first, and tears no lines. */
unsigned crash_run(const struct crash_op *op, enum mfs_mutant mutant,
                   struct crash_figures *figures);

#endif
