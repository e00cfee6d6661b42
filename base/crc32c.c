#include "base/crc32c.h"

#include "base/bytes.h"

#include <stdatomic.h>
#include <stdbool.h>

/* Slicing by 8, tables made at first use by whoever comes first: all writers store equal values. */
enum { SLICES = 8 };

static _Atomic(uint32_t) table[SLICES][256];
static atomic_bool table_ready;

static void
table_fill(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;

        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (0x82F63B78u & (0u - (crc & 1)));
        }
        atomic_store_explicit(&table[0][i], crc, memory_order_relaxed);
    }
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = atomic_load_explicit(&table[0][i], memory_order_relaxed);

        for (int s = 1; s < SLICES; s++) {
            crc = (crc >> 8) ^ atomic_load_explicit(&table[0][crc & 0xff], memory_order_relaxed);
            atomic_store_explicit(&table[s][i], crc, memory_order_relaxed);
        }
    }
    atomic_store_explicit(&table_ready, true, memory_order_release);
}

static inline uint32_t
slice(int s, uint64_t byte)
{
    return atomic_load_explicit(&table[s][byte & 0xff], memory_order_relaxed);
}

uint32_t
crc32c_portable(uint32_t crc, const void *data, size_t len)
{
    const unsigned char *p = data;

    if (!atomic_load_explicit(&table_ready, memory_order_acquire)) {
        table_fill();
    }
    crc = ~crc;
    for (; len >= 8; len -= 8, p += 8) {
        const uint64_t v = bytes_get_le64(p) ^ crc;

        crc = slice(7, v) ^ slice(6, v >> 8) ^ slice(5, v >> 16) ^ slice(4, v >> 24) ^
              slice(3, v >> 32) ^ slice(2, v >> 40) ^ slice(1, v >> 48) ^ slice(0, v >> 56);
    }
    for (; len > 0; len--, p++) {
        crc = (crc >> 8) ^ slice(0, crc ^ *p);
    }
    return ~crc;
}

#if defined(__x86_64__)
#include <immintrin.h>

/* Three streams hide the instruction's latency of 3 cycles; the streams are joined by carry-less
 * shifts. Below this many bytes per stream one stream is as fast. */
enum { STREAM_BYTES = 256 };

/* x^(8 n) mod P applied to `crc`: n zero bytes appended. By repeated squaring, once per constant. */
static uint32_t
crc_shift_matrix_apply(const uint32_t matrix[32], uint32_t crc)
{
    uint32_t out = 0;

    for (int i = 0; crc != 0; i++, crc >>= 1) {
        out ^= matrix[i] & (0u - (crc & 1));
    }
    return out;
}

static _Atomic(uint32_t) shift_table[4][256];
static atomic_bool shift_ready;

static void
shift_fill(void)
{
    uint32_t matrix[32];
    uint32_t square[32];

    /* One zero bit. */
    matrix[0] = 0x82F63B78u;
    for (int i = 1; i < 32; i++) {
        matrix[i] = 1u << (i - 1);
    }
    for (unsigned bits = 1; bits < STREAM_BYTES * 8u; bits *= 2) {
        for (int i = 0; i < 32; i++) {
            square[i] = crc_shift_matrix_apply(matrix, matrix[i]);
        }
        memcpy(matrix, square, sizeof(matrix));
    }
    for (uint32_t byte = 0; byte < 256; byte++) {
        for (int pos = 0; pos < 4; pos++) {
            atomic_store_explicit(&shift_table[pos][byte],
                                  crc_shift_matrix_apply(matrix, byte << (8 * pos)),
                                  memory_order_relaxed);
        }
    }
    atomic_store_explicit(&shift_ready, true, memory_order_release);
}

static inline uint32_t
shift_stream(uint32_t crc)
{
    uint32_t out = 0;

    for (int pos = 0; pos < 4; pos++) {
        out ^= atomic_load_explicit(&shift_table[pos][(crc >> (8 * pos)) & 0xff],
                                    memory_order_relaxed);
    }
    return out;
}

__attribute__((target("sse4.2"))) static uint32_t
crc32c_sse42(uint32_t crc, const void *data, size_t len)
{
    const unsigned char *p = data;
    uint64_t c0 = ~crc;

    if (len >= 3 * (size_t)STREAM_BYTES) {
        if (!atomic_load_explicit(&shift_ready, memory_order_acquire)) {
            shift_fill();
        }
        while (len >= 3 * (size_t)STREAM_BYTES) {
            uint64_t c1 = 0;
            uint64_t c2 = 0;

            for (size_t i = 0; i < STREAM_BYTES; i += 8) {
                c0 = _mm_crc32_u64(c0, bytes_get_le64(p + i));
                c1 = _mm_crc32_u64(c1, bytes_get_le64(p + STREAM_BYTES + i));
                c2 = _mm_crc32_u64(c2, bytes_get_le64(p + (size_t)2 * STREAM_BYTES + i));
            }
            c0 = shift_stream((uint32_t)c0) ^ c1;
            c0 = shift_stream((uint32_t)c0) ^ c2;
            p += (size_t)3 * STREAM_BYTES;
            len -= (size_t)3 * STREAM_BYTES;
        }
    }
    for (; len >= 8; len -= 8, p += 8) {
        c0 = _mm_crc32_u64(c0, bytes_get_le64(p));
    }
    uint32_t c = (uint32_t)c0;

    if ((len & 4) != 0) {
        c = _mm_crc32_u32(c, bytes_get_le32(p));
        p += 4;
    }
    if ((len & 2) != 0) {
        c = _mm_crc32_u16(c, bytes_get_le16(p));
        p += 2;
    }
    if ((len & 1) != 0) {
        c = _mm_crc32_u8(c, *p);
    }
    return ~c;
}

uint32_t
crc32c(uint32_t crc, const void *data, size_t len)
{
    return __builtin_cpu_supports("sse4.2") ? crc32c_sse42(crc, data, len)
                                            : crc32c_portable(crc, data, len);
}
#else
uint32_t
crc32c(uint32_t crc, const void *data, size_t len)
{
    return crc32c_portable(crc, data, len);
}
#endif
