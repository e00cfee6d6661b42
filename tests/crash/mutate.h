/* Flushes and fences that are missing or out of place, made in a trace. */
#ifndef FL_TESTS_CRASH_MUTATE_H
#define FL_TESTS_CRASH_MUTATE_H

#include "tests/crash/trace.h"

enum mutation {
    MUTATION_NONE,
    MUTATION_DROP_FLUSH,  /* of the stores made at the site */
    MUTATION_FIRST_LINE,  /* only the first line of each is flushed */
    MUTATION_SINK_FLUSH,  /* it comes after the next fence */
    MUTATION_DROP_FENCE,  /* (staged: sync) made at the site */
    MUTATION_HOIST_STORE, /* the site's stores come before the fence before them */
    MUTATION_SYNC_PART,   /* staged: a sync of everything covers only what was written with it */
    MUTATIONS,
};

const char *mutation_name(enum mutation mutation);

/* The trace with the mutation at every event of the site, sharing bytes and marks with `trace`; *changed: how many
 * events it concerned. The caller frees events only. */
struct trace mutation_apply(const struct trace *trace, enum mutation mutation, uint16_t site,
                            size_t *changed);

#endif
