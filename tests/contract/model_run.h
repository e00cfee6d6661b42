/* The scenarios on the model in this process. */
#ifndef FL_TESTS_CONTRACT_MODEL_RUN_H
#define FL_TESTS_CONTRACT_MODEL_RUN_H

#include "storage/modelfs/fs.h"
#include "tests/contract/results.h"

struct contract;
struct scenario;

struct model_figures {
    uint64_t scenarios;
    uint64_t states;
};

/* Run one scenario, then look at every state that a power cut may leave. */
void model_run(struct results *results, const struct scenario *scenario, enum mfs_mutant mutant,
               struct model_figures *figures);

#endif
