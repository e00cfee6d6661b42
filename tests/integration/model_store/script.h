/* A course of changes to a store that two processes can tell step by step: what each step does follows from the seed
 * and its number, so that what must be there after it does too. */
#ifndef FL_TESTS_INTEGRATION_MODEL_STORE_SCRIPT_H
#define FL_TESTS_INTEGRATION_MODEL_STORE_SCRIPT_H

#include <faultline/faultline.h>

enum { SCRIPT_KEYS = 300 };

/* What a key has: the step that put it, 0 if none has or it was deleted. */
struct script_state {
    uint64_t step[SCRIPT_KEYS];
};

/* Step `step`, from 1 on, done to the store; durable on return. */
FL_NODISCARD fl_status script_do(struct fl_store *store, uint64_t seed, uint64_t step);
/* The same done to what is expected. */
void script_expect(struct script_state *state, uint64_t seed, uint64_t step);

/* Whether the store holds exactly that. If not, *key is the first that differs. FL_OK: *same tells; else the store
 * couldn't be read. */
FL_NODISCARD fl_status script_compare(struct fl_store *store, uint64_t seed,
                                      const struct script_state *state, bool *same, unsigned *key);

#endif
