/* Goal:   what stands in block 0 and in the segment table comes back as it was written, and nothing else is
 *         believed: not a flipped bit, not a word or root of another store or another place, not a version or
 *         feature unknown.
 * Method: each codec on its own: encode, decode, change every bit; by hand the bytes that the format document gives. */
#include "storage/heap/super.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/fail.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const struct heap_geometry geometry = {
    .block_bytes = 4096,
    .inline_bytes_max = 512,
    .size_bytes_max = 1 << 20,
    .created_ms = 1234567890123,
    .uuid = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
};

static void
crc_again(struct heap_super_media *super)
{
    bytes_put_le32(&super->crc, crc32c(0, super, offsetof(struct heap_super_media, crc)));
}

static void
superblock_comes_back(void **state)
{
    struct heap_super_media super;
    struct heap_geometry got = {0};

    (void)state;
    super_encode(&geometry, &super);
    assert_memory_equal(&super, "FAULTLN1\x01\0\0\0\0\x01\0\0", 16);
    assert_int_equal(super_decode(&super, &got), FL_OK);
    assert_int_equal(got.block_bytes, geometry.block_bytes);
    assert_int_equal(got.inline_bytes_max, geometry.inline_bytes_max);
    assert_int_equal(got.size_bytes_max, geometry.size_bytes_max);
    assert_int_equal(got.created_ms, geometry.created_ms);
    assert_memory_equal(got.uuid, geometry.uuid, sizeof(got.uuid));
    assert_false(got.ro_only);
}

static void
superblock_with_any_bit_flipped_is_corrupt(void **state)
{
    struct heap_super_media super;
    struct heap_geometry got;

    (void)state;
    super_encode(&geometry, &super);
    for (size_t bit = 0; bit < 8 * sizeof(super); bit++) {
        ((uint8_t *)&super)[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(super_decode(&super, &got), FL_CORRUPT);
        ((uint8_t *)&super)[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static void
superblock_of_another_version_is_refused_with_a_remedy(void **state)
{
    struct heap_super_media super;
    struct heap_geometry got;

    (void)state;
    super_encode(&geometry, &super);
    bytes_put_le32(&super.version, HEAP_VERSION + 1);
    crc_again(&super);
    assert_int_equal(super_decode(&super, &got), FL_VERSION);
    assert_non_null(strstr(fl_last_error(), "newer"));
}

static void
superblock_feature_bits_do_what_their_group_says(void **state)
{
    struct heap_super_media super;
    struct heap_geometry got;

    (void)state;
    for (unsigned bit = 0; bit < 64; bit++) {
        super_encode(&geometry, &super);
        bytes_put_le64(&super.compat, UINT64_C(1) << bit);
        crc_again(&super);
        assert_int_equal(super_decode(&super, &got), FL_OK);
        assert_false(got.ro_only);

        bytes_put_le64(&super.ro_compat, UINT64_C(1) << bit);
        crc_again(&super);
        assert_int_equal(super_decode(&super, &got), FL_OK);
        assert_true(got.ro_only);

        bytes_put_le64(&super.incompat, UINT64_C(1) << bit);
        crc_again(&super);
        assert_int_equal(super_decode(&super, &got), FL_VERSION);
    }
}

static void
superblock_of_an_impossible_geometry_is_corrupt(void **state)
{
    static const struct {
        uint32_t block_bytes, inline_bytes_max;
        uint64_t size_bytes_max;
    } bad[] = {
        {0, 512, 1 << 20},
        {2048, 512, 1 << 20},
        {4097, 512, 1 << 20},
        {4096 * 3, 512, 1 << 20},
        {1u << 31, 512, UINT64_C(1) << 40},
        {4096, 512, 7 * 4096},
        {4096, 512, ((UINT64_C(1) << 24) + 1) * 4096},
        {4096, 512, UINT64_MAX},
        {1u << 30, 512, (UINT64_C(1) << 46) + 1},
        {4096, 63, 1 << 20},
        {4096, 2049, 1 << 20},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct heap_geometry wrong = geometry;
        struct heap_super_media super;
        struct heap_geometry got;

        wrong.block_bytes = bad[i].block_bytes;
        wrong.inline_bytes_max = bad[i].inline_bytes_max;
        wrong.size_bytes_max = bad[i].size_bytes_max;
        assert_int_equal(super_geometry_check(&wrong), FL_INVALID);
        super_encode(&wrong, &super);
        assert_int_equal(super_decode(&super, &got), FL_CORRUPT);
    }
    assert_int_equal(super_geometry_check(&geometry), FL_OK);
}

static void
uuid_is_a_random_one(void **state)
{
    uint8_t a[16];
    uint8_t b[16];

    (void)state;
    assert_int_equal(super_uuid_make(a), FL_OK);
    assert_int_equal(super_uuid_make(b), FL_OK);
    assert_memory_not_equal(a, b, sizeof(a));
    assert_int_equal(a[6] >> 4, 4);
    assert_int_equal(a[8] >> 6, 2);
}

static void
root_comes_back_and_no_flipped_bit_does(void **state)
{
    const struct heap_root root = {7, HEAP_ROOT_CLEAN, UINT64_C(1) << 50, 123456};
    struct heap_geometry other = geometry;
    struct heap_root_media media;
    struct heap_root got;

    (void)state;
    super_root_encode(&geometry, &root, &media);
    assert_true(super_root_decode(&geometry, &media, 0, &got));
    assert_memory_equal(&got, &root, sizeof(root));
    other.uuid[3] ^= 1;
    assert_false(super_root_decode(&other, &media, 0, &got));
    for (size_t bit = 0; bit < 8 * sizeof(media); bit++) {
        ((uint8_t *)&media)[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(super_root_decode(&geometry, &media, 0, &got));
        ((uint8_t *)&media)[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    memset(&media, 0, sizeof(media));
    assert_false(super_root_decode(&geometry, &media, 0, &got));
}

/* A root in the other slot's place was not put there by a close; an LSN has 63 bits. */
static void
root_that_its_slot_cannot_have_is_refused(void **state)
{
    struct heap_root root = {.lsn_next = 4096};
    struct heap_root_media media;
    struct heap_root got;

    (void)state;
    for (root.sequence = 0; root.sequence < 5; root.sequence++) {
        super_root_encode(&geometry, &root, &media);
        for (unsigned slot = 0; slot < 2; slot++) {
            assert_int_equal(super_root_decode(&geometry, &media, slot, &got),
                             root.sequence > 0 && root.sequence % 2 == (slot == 0));
        }
    }
    root.sequence = 1;
    root.lsn_next = UINT64_C(1) << 63;
    super_root_encode(&geometry, &root, &media);
    assert_false(super_root_decode(&geometry, &media, 0, &got));
    root.lsn_next--;
    super_root_encode(&geometry, &root, &media);
    assert_true(super_root_decode(&geometry, &media, 0, &got));
}

/* What is zero today may say something to a later reader. */
static void
reserved_bytes_are_read_by_nobody(void **state)
{
    const struct heap_root root = {.sequence = 2, .lsn_next = 4096};
    struct heap_super_media super;
    struct heap_root_media media;
    struct heap_geometry got_geometry;
    struct heap_root got;

    (void)state;
    super_encode(&geometry, &super);
    memset(super.reserved, 0xff, sizeof(super.reserved));
    crc_again(&super);
    assert_int_equal(super_decode(&super, &got_geometry), FL_OK);
    assert_false(got_geometry.ro_only);
    super_root_encode(&geometry, &root, &media);
    memset(&media.checkpoint_lsn, 0xff, offsetof(struct heap_root_media, crc) - 32);
    bytes_put_le64(&media.flags, ~HEAP_ROOT_CLEAN);
    bytes_put_le32(&media.crc, crc32c(crc32c(0, geometry.uuid, sizeof(geometry.uuid)), &media,
                                      offsetof(struct heap_root_media, crc)));
    assert_true(super_root_decode(&geometry, &media, 1, &got));
    assert_int_equal(got.flags & HEAP_ROOT_CLEAN, 0);
}

static void
clock_comes_back_and_neither_zeros_nor_a_flipped_bit_do(void **state)
{
    static const uint64_t times[] = {0, 1, 1700000000000, (UINT64_C(1) << 48) - 1};
    uint64_t ms = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        const uint64_t word = super_clock_encode(&geometry, 0, times[i]);

        assert_false(super_clock_decode(&geometry, 1, word, &ms));
        assert_true(super_clock_decode(&geometry, 0, word, &ms));
        assert_int_equal(ms, times[i]);
        for (unsigned bit = 0; bit < 64; bit++) {
            assert_false(super_clock_decode(&geometry, 0, word ^ UINT64_C(1) << bit, &ms));
        }
    }
    assert_false(super_clock_decode(&geometry, 0, 0, &ms));
}

static void
table_word_comes_back_and_no_flipped_bit_does(void **state)
{
    static const uint32_t generations[] = {1, 2, 0x80000000, UINT32_MAX};
    struct heap_entry got;

    (void)state;
    for (unsigned n = 0; n < 4; n++) {
        for (unsigned s = HEAP_FREE; s <= HEAP_META; s++) {
            const struct heap_entry entry = {.state = (enum heap_state)s,
                                             .generation = generations[n],
                                             .head = (uint8_t)(s & 1)};
            const uint64_t word = super_entry_encode(&geometry, 77, entry);

            assert_true(super_entry_decode(&geometry, 77, word, &got));
            assert_int_equal(got.state, entry.state);
            assert_int_equal(got.generation, entry.generation);
            assert_int_equal(got.head, entry.head);
            for (unsigned bit = 0; bit < 64; bit++) {
                assert_false(super_entry_decode(&geometry, 77, word ^ UINT64_C(1) << bit, &got));
            }
        }
    }
}

static void
table_word_of_another_block_or_store_is_refused(void **state)
{
    const struct heap_entry entry = {.state = HEAP_LOG, .generation = 3};
    struct heap_geometry other = geometry;
    struct heap_entry got;

    (void)state;
    other.uuid[0] ^= 0x10;
    const uint64_t word = super_entry_encode(&geometry, 77, entry);

    assert_false(super_entry_decode(&geometry, 78, word, &got));
    assert_false(super_entry_decode(&other, 77, word, &got));
}

/* The time is no block's word, whatever the block's number, nor is a word the time. */
static void
table_word_and_clock_are_not_taken_for_each_other(void **state)
{
    const struct heap_entry entry = {.state = HEAP_LOG, .generation = 3};
    struct heap_entry got;
    uint64_t ms = 0;

    (void)state;
    for (uint32_t block = 0; block < 4096; block += block < 8 ? 1 : 504) {
        for (unsigned half = 0; half < 2; half++) {
            assert_false(
                super_entry_decode(&geometry, block, super_clock_encode(&geometry, half, 3), &got));
            assert_false(super_clock_decode(&geometry, half,
                                            super_entry_encode(&geometry, block, entry), &ms));
        }
    }
}

static void
table_word_with_a_head_or_state_unknown_is_refused(void **state)
{
    struct heap_entry got;

    (void)state;
    for (unsigned head = 2; head < 256; head++) {
        const struct heap_entry entry = {.state = HEAP_LOG, .generation = 3, .head = (uint8_t)head};

        assert_false(
            super_entry_decode(&geometry, 77, super_entry_encode(&geometry, 77, entry), &got));
    }
    for (unsigned unknown = HEAP_META + 1; unknown < 16; unknown++) {
        const struct heap_entry entry = {.state = (enum heap_state)unknown, .generation = 3};

        assert_false(
            super_entry_decode(&geometry, 77, super_entry_encode(&geometry, 77, entry), &got));
    }
}

static void
table_word_never_written_is_free(void **state)
{
    struct heap_entry got;

    (void)state;
    assert_true(super_entry_decode(&geometry, 5, 0, &got));
    assert_int_equal(got.state, HEAP_FREE);
    assert_int_equal(got.generation, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(superblock_comes_back),
        cmocka_unit_test(superblock_with_any_bit_flipped_is_corrupt),
        cmocka_unit_test(superblock_of_another_version_is_refused_with_a_remedy),
        cmocka_unit_test(superblock_feature_bits_do_what_their_group_says),
        cmocka_unit_test(superblock_of_an_impossible_geometry_is_corrupt),
        cmocka_unit_test(uuid_is_a_random_one),
        cmocka_unit_test(root_comes_back_and_no_flipped_bit_does),
        cmocka_unit_test(root_that_its_slot_cannot_have_is_refused),
        cmocka_unit_test(reserved_bytes_are_read_by_nobody),
        cmocka_unit_test(clock_comes_back_and_neither_zeros_nor_a_flipped_bit_do),
        cmocka_unit_test(table_word_comes_back_and_no_flipped_bit_does),
        cmocka_unit_test(table_word_of_another_block_or_store_is_refused),
        cmocka_unit_test(table_word_and_clock_are_not_taken_for_each_other),
        cmocka_unit_test(table_word_with_a_head_or_state_unknown_is_refused),
        cmocka_unit_test(table_word_never_written_is_free),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
