#include "tests/unit/index/shapes.h"

#include <stdio.h>
#include <string.h>

void
shape_random16(struct rng *rng, int i, struct fl_key *key, uint8_t *bytes)
{
    (void)i;
    rng_fill(rng, bytes, 16);
    *key = fl_key_in((uint8_t)rng_below(rng, 3), bytes, 16);
}

void
shape_decimal(struct rng *rng, int i, struct fl_key *key, uint8_t *bytes)
{
    (void)rng;
    *key = fl_key_in(1, bytes, (size_t)sprintf((char *)bytes, "key:%012d", i * 37));
}

void
shape_short(struct rng *rng, int i, struct fl_key *key, uint8_t *bytes)
{
    static const uint8_t alphabet[] = {0, 1, 255};
    const size_t len = 1 + rng_below(rng, 6);

    (void)i;
    for (size_t b = 0; b < len; b++) {
        bytes[b] = alphabet[rng_below(rng, 3)];
    }
    *key = fl_key_in((uint8_t)rng_below(rng, 3), bytes, len);
}

void
shape_prefixed(struct rng *rng, int i, struct fl_key *key, uint8_t *bytes)
{
    static const uint32_t prefixes[] = {0, 1, 3, 4, 5, 15, 16, 17, 100, 191, 192, 193, 200, 300};
    const uint32_t prefix = prefixes[rng_below(rng, sizeof(prefixes) / sizeof(prefixes[0]))];
    const uint32_t tail = 1 + (uint32_t)rng_below(rng, 6);

    (void)i;
    memset(bytes, 'p', prefix);
    for (uint32_t b = 0; b < tail; b++) {
        bytes[prefix + b] = (uint8_t)rng_below(rng, 4);
    }
    *key = fl_key_in((uint8_t)rng_below(rng, 2), bytes, prefix + tail);
}

void
shape_long(struct rng *rng, int i, struct fl_key *key, uint8_t *bytes)
{
    memset(bytes, 'L', FL_KEY_BYTES_MAX);
    const size_t len = i % 2 == 0 ? FL_KEY_BYTES_MAX : 60000 + rng_below(rng, 5000);

    bytes[len - 1] = (uint8_t)rng_below(rng, 256);
    bytes[len / 2] = (uint8_t)('L' + rng_below(rng, 2));
    *key = fl_key_in(0, bytes, len);
}

uint64_t
hash_all_equal(uint64_t hash)
{
    (void)hash;
    return UINT64_C(0x123456789ABCDEF0);
}

uint64_t
hash_equal_tags(uint64_t hash)
{
    return hash & UINT32_MAX;
}

uint64_t
hash_few_buckets(uint64_t hash)
{
    return hash & ~UINT64_C(0xFCFC);
}

uint64_t
hash_few_bits(uint64_t hash)
{
    return hash & UINT64_C(0x8100000100000101);
}
