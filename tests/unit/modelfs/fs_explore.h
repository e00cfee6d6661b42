/* Every state that a power cut can leave in an operation: at each step of it, each choice of each line of the tables
 * and the journal; of the blocks' lines none, all and a mixture. */
#ifndef FL_TESTS_UNIT_MODELFS_FS_EXPLORE_H
#define FL_TESTS_UNIT_MODELFS_FS_EXPLORE_H

#include "tests/unit/modelfs/fs_fixture.h"

enum { SEEN_BYTES = 4096 };

/* What recovery found, in words: each file's name and size, its extents with the flags on media (but not where they
 * lie), and its contents. */
struct seen {
    char text[SEEN_BYTES];
};

/* Of what is persisted in `f` now, recovered on a device of its own. */
void see(struct fixture *f, struct seen *out);
/* Of a device whose two images are the same: mounted for reading. What mfs_mount() says. */
fl_status see_media(struct mfs_media *media, struct seen *out);

/* Runs the operation, and recovers from every state. */
struct explore {
    struct fixture *f;
    void (*run)(struct fixture *f, void *args);
    void *args;
    bool (*step_bad)(struct fixture *f, void *args); /* or NULL: asked at each step */
    bool durable; /* once run() has returned, nothing but what is there then may be recovered */

    struct seen before; /* filled: a cut before the first step, that took what was not fenced */
    struct seen after;  /* after the last, that took nothing */
    uint64_t steps;
    uint64_t states;
    uint64_t sampled; /* of these, where the choices were too many to try all */
    uint64_t
        others; /* recovered neither as before nor as after: none, of an operation that is all or nothing */
    uint64_t lost; /* `durable`, and not recovered as after */
    uint64_t
        bad; /* a mount refused, a check that found something, a second recovery that differs */
    uint64_t bad_steps;
    struct seen other; /* the last one of these */
};
void explore(struct explore *x);

#endif
