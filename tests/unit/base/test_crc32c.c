/* Goal:   crc32c() is CRC-32C, the same by instruction and by table, however the bytes are cut.
 * Method: published vectors (RFC 3720, appendix B.4); then a bit-by-bit computation as oracle over
 *         every short length and alignment, long buffers on both sides of the three-stream loop's
 *         limits, and random cuts.
 */
#include "base/crc32c.h"
#include "tests/lib/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { POLYNOMIAL_BITS = 8, LEN_SHORT_MAX = 300, LEN_LONG_MAX = 100 * 1024 };

static uint32_t
crc32c_by_bits(const unsigned char *data, size_t len)
{
    uint32_t crc = 0xFFFFFFFFu;

    for (size_t i = 0; i < len; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < POLYNOMIAL_BITS; bit++) {
            crc = (crc >> 1) ^ (0x82F63B78u & (0u - (crc & 1u)));
        }
    }
    return ~crc;
}

static void
assert_both(const void *data, size_t len, uint32_t expected)
{
    assert_int_equal(crc32c(0, data, len), expected);
    assert_int_equal(crc32c_portable(0, data, len), expected);
}

static void
crc32c_published_vectors_match(void **state)
{
    unsigned char data[32];
    (void)state;

    assert_both("", 0, 0);
    assert_both("123456789", 9, 0xE3069283u);
    memset(data, 0, sizeof(data));
    assert_both(data, sizeof(data), 0x8A9136AAu);
    memset(data, 0xFF, sizeof(data));
    assert_both(data, sizeof(data), 0x62A8AB43u);
    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (unsigned char)i;
    }
    assert_both(data, sizeof(data), 0x46DD794Eu);
    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (unsigned char)(31 - i);
    }
    assert_both(data, sizeof(data), 0x113FDB5Cu);
}

static void
crc32c_every_short_length_and_alignment_matches(void **state)
{
    unsigned char data[LEN_SHORT_MAX + 8];
    struct rng rng = rng_seeded(1);
    (void)state;

    rng_fill(&rng, data, sizeof(data));
    for (size_t off = 0; off < 8; off++) {
        for (size_t len = 0; len <= LEN_SHORT_MAX; len++) {
            assert_both(data + off, len, crc32c_by_bits(data + off, len));
        }
    }
}

static void
crc32c_long_buffers_match(void **state)
{
    unsigned char *data = malloc(LEN_LONG_MAX);
    struct rng rng = rng_seeded(2);
    (void)state;

    assert_non_null(data);
    rng_fill(&rng, data, LEN_LONG_MAX);
    for (size_t len = 1024; len <= LEN_LONG_MAX; len *= 2) {
        for (size_t around = len - 9; around <= len + 9 && around <= LEN_LONG_MAX; around += 3) {
            assert_both(data, around, crc32c_by_bits(data, around));
        }
    }
    for (size_t len = 3 * 512; len <= 3 * 8192; len += 3 * 512) {
        assert_both(data + 1, len, crc32c_by_bits(data + 1, len));
        assert_both(data + 1, len - 1, crc32c_by_bits(data + 1, len - 1));
    }
    free(data);
}

static void
crc32c_cut_anywhere_continues(void **state)
{
    unsigned char *data = malloc(LEN_LONG_MAX);
    struct rng rng = rng_seeded(3);
    (void)state;

    assert_non_null(data);
    rng_fill(&rng, data, LEN_LONG_MAX);
    const uint32_t whole = crc32c_by_bits(data, LEN_LONG_MAX);

    for (int round = 0; round < 100; round++) {
        const size_t cut = rng_below(&rng, LEN_LONG_MAX + 1);

        assert_int_equal(crc32c(crc32c(0, data, cut), data + cut, LEN_LONG_MAX - cut), whole);
        assert_int_equal(crc32c(crc32c_portable(0, data, cut), data + cut, LEN_LONG_MAX - cut),
                         whole);
    }
    free(data);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc32c_published_vectors_match),
        cmocka_unit_test(crc32c_every_short_length_and_alignment_matches),
        cmocka_unit_test(crc32c_long_buffers_match),
        cmocka_unit_test(crc32c_cut_anywhere_continues),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
