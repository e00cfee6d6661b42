#include "tests/lib/rng.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct rng
rng_seeded(uint64_t seed_default)
{
    const char *text = getenv("FL_TEST_SEED");
    struct rng rng = {text != NULL ? strtoull(text, NULL, 0) : seed_default};

    fprintf(stderr, "FL_TEST_SEED=%" PRIu64 "\n", rng.state);
    return rng;
}

/* SplitMix64: one add and three mixes, full period, any seed will do. */
uint64_t
rng_u64(struct rng *rng)
{
    uint64_t z = (rng->state += 0x9E3779B97F4A7C15u);

    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

uint64_t
rng_below(struct rng *rng, uint64_t bound)
{
    return (uint64_t)(((unsigned __int128)rng_u64(rng) * bound) >> 64);
}

void
rng_fill(struct rng *rng, void *dst, size_t len)
{
    unsigned char *p = dst;

    while (len > 0) {
        const uint64_t word = rng_u64(rng);
        const size_t n = len < sizeof(word) ? len : sizeof(word);

        memcpy(p, &word, n);
        p += n;
        len -= n;
    }
}
