/* Random numbers that a failed test can be repeated with. */
#ifndef FL_TESTS_LIB_RNG_H
#define FL_TESTS_LIB_RNG_H

#include <stddef.h>
#include <stdint.h>

struct rng {
    uint64_t state;
};

/* The seed in $FL_TEST_SEED, else `seed_default`; printed to stderr, so that a failure names it. */
struct rng rng_seeded(uint64_t seed_default);

uint64_t rng_u64(struct rng *rng);

/* Even over [0, bound); `bound` > 0. */
uint64_t rng_below(struct rng *rng, uint64_t bound);

void rng_fill(struct rng *rng, void *dst, size_t len);

#endif
