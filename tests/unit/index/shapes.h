/* Shapes of keys and of hashes that an index must cope with. */
#ifndef FL_TESTS_UNIT_INDEX_SHAPES_H
#define FL_TESTS_UNIT_INDEX_SHAPES_H

#include "tests/lib/rng.h"

#include <faultline/faultline.h>

/* The i-th key, in `bytes` (FL_KEY_BYTES_MAX of them). */
typedef void (*key_shape)(struct rng *rng, int i, struct fl_key *key, uint8_t *bytes);

void shape_random16(struct rng *rng, int i, struct fl_key *key, uint8_t *bytes);
void shape_decimal(struct rng *rng, int i, struct fl_key *key, uint8_t *bytes);
/* One to six bytes out of 0, 1 and 255: many are prefixes of others. */
void shape_short(struct rng *rng, int i, struct fl_key *key, uint8_t *bytes);
/* A shared prefix of 0 to 300 bytes, in a few groups. */
void shape_prefixed(struct rng *rng, int i, struct fl_key *key, uint8_t *bytes);
void shape_long(struct rng *rng, int i, struct fl_key *key, uint8_t *bytes);

/* What a hash is made into. */
typedef uint64_t (*hash_shape)(uint64_t hash);

uint64_t hash_all_equal(uint64_t hash);
uint64_t hash_equal_tags(uint64_t hash);
uint64_t hash_few_buckets(uint64_t hash);
uint64_t hash_few_bits(uint64_t hash);

#endif
