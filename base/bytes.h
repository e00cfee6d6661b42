/* Bytes as they stand on media and on the wire: little-endian loads and stores, alignment, comparing. */
#ifndef FL_BASE_BYTES_H
#define FL_BASE_BYTES_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t
bytes_get_le16(const void *src)
{
    uint16_t v;

    memcpy(&v, src, sizeof(v));
    return le16toh(v);
}

static inline uint32_t
bytes_get_le32(const void *src)
{
    uint32_t v;

    memcpy(&v, src, sizeof(v));
    return le32toh(v);
}

static inline uint64_t
bytes_get_le64(const void *src)
{
    uint64_t v;

    memcpy(&v, src, sizeof(v));
    return le64toh(v);
}

static inline void
bytes_put_le16(void *dst, uint16_t v)
{
    v = htole16(v);
    memcpy(dst, &v, sizeof(v));
}

static inline void
bytes_put_le32(void *dst, uint32_t v)
{
    v = htole32(v);
    memcpy(dst, &v, sizeof(v));
}

static inline void
bytes_put_le64(void *dst, uint64_t v)
{
    v = htole64(v);
    memcpy(dst, &v, sizeof(v));
}

/* `v` rounded up or down to a multiple of `unit`, a power of two. */
static inline uint64_t
bytes_align_up(uint64_t v, uint64_t unit)
{
    return (v + unit - 1) & ~(unit - 1);
}

static inline uint64_t
bytes_align_down(uint64_t v, uint64_t unit)
{
    return v & ~(unit - 1);
}

/* None is not zero; true of no bytes. */
static inline bool
bytes_are_zero(const void *src, size_t len)
{
    const uint8_t *p = src;

    return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

/* < 0, 0, > 0: in the order of memcmp(), of two that begin alike the shorter one first. NULL goes with length 0. */
static inline int
bytes_compare(const void *a, size_t a_len, const void *b, size_t b_len)
{
    const size_t len = a_len < b_len ? a_len : b_len;
    const int order = len == 0 ? 0 : memcmp(a, b, len);

    return order != 0 ? order : (a_len > b_len) - (a_len < b_len);
}

#endif
