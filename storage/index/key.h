/* Keys as the order sees them: the space's byte followed by the key's, compared as memcmp does, the shorter first.
 * `skip` and lengths below count the space's byte. */
#ifndef FL_STORAGE_INDEX_KEY_H
#define FL_STORAGE_INDEX_KEY_H

#include <faultline/faultline.h>

#include <endian.h>
#include <stdint.h>
#include <string.h>

static inline uint32_t
key_len(const struct fl_key *key)
{
    return key->len + 1;
}

static inline uint64_t
key_load8(const uint8_t *ptr)
{
    uint64_t v;

    memcpy(&v, ptr, sizeof(v));
    return be64toh(v);
}

/* The `len` bytes at ptr, len < 8, as the top bytes of a number. `before` bytes in front of ptr may be read. */
static inline uint64_t
key_load_tail(const uint8_t *ptr, uint32_t len, uint32_t before)
{
    if (len == 0) {
        return 0;
    }
    if (before + len >= 8) {
        return key_load8(ptr + len - 8) << (8 * (8 - len));
    }
    uint64_t v = 0;

    for (uint32_t i = 0; i < len; i++) {
        v |= (uint64_t)ptr[i] << (56 - 8 * i);
    }
    return v;
}

/* 8 bytes from `skip` on, big-endian; zeros behind the key's end. */
static inline uint64_t
key_head8(const struct fl_key *key, uint32_t skip)
{
    const uint8_t *bytes = key->ptr;

    if (skip == 0) {
        const uint64_t rest = key->len >= 8 ? key_load8(bytes) : key_load_tail(bytes, key->len, 0);

        return (uint64_t)key->space << 56 | rest >> 8;
    }
    const uint32_t off = skip - 1;

    if (off >= key->len) {
        return 0;
    }
    const uint32_t len = key->len - off;

    return len >= 8 ? key_load8(bytes + off) : key_load_tail(bytes + off, len, off);
}

static inline uint32_t
key_head4(const struct fl_key *key, uint32_t skip)
{
    return (uint32_t)(key_head8(key, skip) >> 32);
}

/* The first byte from `from` on at which they differ, or where the shorter ends. */
static inline uint32_t
key_common(const struct fl_key *a, const struct fl_key *b, uint32_t from)
{
    const uint8_t *pa = a->ptr;
    const uint8_t *pb = b->ptr;
    const uint32_t len = a->len < b->len ? a->len : b->len;
    uint32_t i = from > 0 ? from - 1 : 0;

    if (from == 0 && a->space != b->space) {
        return 0;
    }
    while (i + 8 <= len) {
        const uint64_t difference = key_load8(pa + i) ^ key_load8(pb + i);

        if (difference != 0) {
            return i + 1 + (uint32_t)__builtin_clzll(difference) / 8;
        }
        i += 8;
    }
    while (i < len && pa[i] == pb[i]) {
        i++;
    }
    return i + 1;
}

/* < 0, 0, > 0. The first `skip` bytes are known to be equal. */
static inline int
key_compare(const struct fl_key *a, const struct fl_key *b, uint32_t skip)
{
    if (skip == 0) {
        if (a->space != b->space) {
            return a->space < b->space ? -1 : 1;
        }
        skip = 1;
    }
    const uint32_t off = skip - 1;
    const uint32_t len = a->len < b->len ? a->len : b->len;
    const int order =
        len > off ? memcmp((const uint8_t *)a->ptr + off, (const uint8_t *)b->ptr + off, len - off)
                  : 0;

    return order != 0 ? order : (a->len > b->len) - (a->len < b->len);
}

static inline int
key_equal(const struct fl_key *a, const struct fl_key *b)
{
    return a->len == b->len && a->space == b->space && memcmp(a->ptr, b->ptr, a->len) == 0;
}

/* Byte number i. */
static inline uint8_t
key_byte(const struct fl_key *key, uint32_t i)
{
    return i == 0 ? key->space : ((const uint8_t *)key->ptr)[i - 1];
}

#endif
