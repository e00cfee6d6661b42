/* Goal:   what bytes.h writes is little-endian at any address, and alignment rounds as it says.
 * Method: byte patterns written out by hand, every offset of an eight-byte word, and the values at
 *         and beside each multiple.
 */
#include "base/bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void
bytes_put_writes_low_byte_first(void **state)
{
    static const unsigned char le[] = {0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11};
    (void)state;

    for (size_t off = 0; off < 8; off++) {
        unsigned char area[16];

        memset(area, 0xEE, sizeof(area));
        bytes_put_le64(area + off, 0x1122334455667788u);
        assert_memory_equal(area + off, le, 8);
        assert_int_equal(area[off + 8 < 16 ? off + 8 : 0], 0xEE);

        memset(area, 0xEE, sizeof(area));
        bytes_put_le32(area + off, 0x55667788u);
        assert_memory_equal(area + off, le, 4);
        assert_int_equal(area[off + 4], 0xEE);

        memset(area, 0xEE, sizeof(area));
        bytes_put_le16(area + off, 0x7788u);
        assert_memory_equal(area + off, le, 2);
        assert_int_equal(area[off + 2], 0xEE);
    }
}

static void
bytes_get_reads_what_put_wrote(void **state)
{
    static const uint64_t values[] = {0,         1, 0x80, 0x8000, 0x80000000u, 0x0102030405060708u,
                                      UINT64_MAX};
    (void)state;

    for (size_t off = 0; off < 8; off++) {
        for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
            unsigned char area[16];

            bytes_put_le64(area + off, values[i]);
            assert_true(bytes_get_le64(area + off) == values[i]);
            assert_int_equal(bytes_get_le32(area + off), (uint32_t)values[i]);
            assert_int_equal(bytes_get_le16(area + off), (uint16_t)values[i]);
        }
    }
}

static void
bytes_align_rounds_to_the_unit(void **state)
{
    (void)state;

    for (uint64_t unit = 1; unit <= (uint64_t)1 << 40; unit *= 2) {
        for (uint64_t n = 0; n < 5; n++) {
            const uint64_t v = n * unit;

            assert_true(bytes_align_up(v, unit) == v);
            assert_true(bytes_align_down(v, unit) == v);
            assert_true(bytes_align_up(v + 1, unit) == (unit == 1 ? v + 1 : v + unit));
            assert_true(bytes_align_down(v + unit - 1, unit) == v);
        }
    }
}

static void
bytes_are_zero_until_one_is_not(void **state)
{
    uint8_t area[200] = {0};

    (void)state;
    assert_true(bytes_are_zero(NULL, 0));
    for (size_t len = 0; len <= sizeof(area); len++) {
        assert_true(bytes_are_zero(area, len));
    }
    for (size_t at = 0; at < sizeof(area); at++) {
        area[at] = 0x80;
        assert_true(bytes_are_zero(area, at));
        assert_false(bytes_are_zero(area, at + 1));
        assert_false(bytes_are_zero(area, sizeof(area)));
        assert_true(bytes_are_zero(area + at + 1, sizeof(area) - at - 1));
        area[at] = 0;
    }
}

static void
bytes_compare_puts_the_shorter_of_two_alike_first(void **state)
{
    const struct {
        const char *bytes;
        size_t len;
    } rising[] = {{NULL, 0},  {"\0", 1}, {"\0\0", 2}, {"a", 1},
                  {"a\0", 2}, {"ab", 2}, {"b", 1},    {"\xff", 1}};
    const size_t count = sizeof(rising) / sizeof(rising[0]);

    (void)state;
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < count; k++) {
            const int order =
                bytes_compare(rising[i].bytes, rising[i].len, rising[k].bytes, rising[k].len);

            assert_int_equal((order > 0) - (order < 0), (i > k) - (i < k));
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_put_writes_low_byte_first),
        cmocka_unit_test(bytes_get_reads_what_put_wrote),
        cmocka_unit_test(bytes_align_rounds_to_the_unit),
        cmocka_unit_test(bytes_are_zero_until_one_is_not),
        cmocka_unit_test(bytes_compare_puts_the_shorter_of_two_alike_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
