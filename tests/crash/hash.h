/* Hashes that tell images and contents apart; not for anything on media. */
#ifndef FL_TESTS_CRASH_HASH_H
#define FL_TESTS_CRASH_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t
hash_mix(uint64_t a, uint64_t b)
{
    uint64_t z = a * UINT64_C(0x9E3779B97F4A7C15) ^ b;

    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static inline uint64_t
hash_bytes(const void *bytes, size_t len)
{
    const uint8_t *at = bytes;
    uint64_t hash = len + 1;

    while (len > 0) {
        uint64_t word = 0;
        const size_t n = len < sizeof(word) ? len : sizeof(word);

        memcpy(&word, at, n);
        hash = hash_mix(hash, word);
        at += n;
        len -= n;
    }
    return hash;
}

/* Of a file's bytes, as a sum over its words, so that it can be kept up to date; zeros count nothing. */
static inline uint64_t
hash_words(uint64_t off, const uint8_t *bytes, size_t len)
{
    uint64_t hash = 0;

    for (size_t i = 0; i < len; i += sizeof(uint64_t)) {
        uint64_t word;

        memcpy(&word, bytes + i, sizeof(word));
        hash += word != 0 ? hash_mix(off + i, word) : 0;
    }
    return hash;
}

#endif
