/* Goal:   a record comes back as it was written, whatever its flags and lengths; nothing else is taken for one: not a
 *         shortened frame, not one with a bit flipped, not one at another place or of another segment.
 * Method: each flag and each boundary of the lengths by itself, bytes written out by hand for the layout, then
 *         random records and batches; every prefix and every single-bit change of a frame is decoded. */
#include "storage/log/record.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "tests/lib/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct log_seed seed = {UINT64_C(0x1122334455667788), 4096 + 128};

static struct log_record
record_of(enum log_kind kind, const void *key, size_t key_len, const void *value, size_t value_len)
{
    return (struct log_record){
        .kind = kind, .key = {key, key_len}, .value = {value, value_len}, .lsn = 99};
}

/* Encode at the end of a buffer of exactly its size, so that the sanitizer sees a byte too many. */
static uint8_t *
encode(const struct log_record *record, size_t *len)
{
    *len = log_record_bytes(record);
    uint8_t *frame = malloc(*len);

    assert_non_null(frame);
    const uint32_t crc = log_record_encode(record, seed, frame);

    assert_int_equal(crc, bytes_get_le32(frame));
    return frame;
}

static void
assert_same(const struct log_record *got, const struct log_record *want, size_t bytes)
{
    assert_int_equal(got->kind, want->kind);
    assert_int_equal(got->type, want->type);
    assert_int_equal(got->space, want->space);
    assert_int_equal(got->batched, want->batched);
    assert_int_equal(got->lsn_explicit, want->lsn_explicit);
    assert_int_equal(got->deadline_ms, want->deadline_ms);
    assert_int_equal(got->lsn, want->lsn_explicit ? want->lsn : seed.lsn);
    assert_int_equal(got->key.len, want->key.len);
    assert_int_equal(got->value.len, want->value.len);
    assert_true(want->key.len == 0 || memcmp(got->key.ptr, want->key.ptr, want->key.len) == 0);
    assert_true(want->value.len == 0 ||
                memcmp(got->value.ptr, want->value.ptr, want->value.len) == 0);
    assert_int_equal(got->bytes, bytes);
}

static void
round_trip(const struct log_record *record)
{
    struct log_record got;
    struct log_batch batch;
    size_t len = 0;
    uint8_t *frame = encode(record, &len);

    assert_true(log_record_decode(frame, len, seed, true, &got));
    assert_same(&got, record, len);
    assert_int_equal(log_frame_decode(frame, len, seed, &batch), record->batched ? 0 : len);
    assert_int_equal(batch.count, 0);
    assert_false(log_end_decode(frame));
    free(frame);
}

static void
record_plain_has_the_documented_bytes(void **state)
{
    const uint8_t want[] = {0, 0, 0, 0, 0, 0x17, 5, 3, 0, 2, 0, 0, 'k', 'e', 'y', 'v', '!'};
    struct log_record record = record_of(LOG_KIND_PUT, "key", 3, "v!", 2);
    uint8_t seed_bytes[16];
    size_t len = 0;

    (void)state;
    record.type = 7;
    record.space = 5;
    uint8_t *frame = encode(&record, &len);

    assert_int_equal(len, sizeof(want));
    assert_memory_equal(frame + 4, want + 4, sizeof(want) - 4);
    bytes_put_le64(seed_bytes, seed.nonce);
    bytes_put_le64(seed_bytes + 8, seed.lsn);
    assert_int_equal(bytes_get_le32(frame),
                     crc32c(crc32c(0, seed_bytes, sizeof(seed_bytes)), want + 4, sizeof(want) - 4));
    free(frame);
}

static void
record_with_all_extensions_has_the_documented_bytes(void **state)
{
    static const uint8_t fixed[] = {
        0x16, 0x10, 0,    0,    0,    0,    0,    0,    /* flags, kind, space, no short lengths */
        0x00, 0x00, 0x01, 0x00,                         /* 65536 bytes of key */
        0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* 2 bytes of value */
        0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01, /* deadline */
        0x63, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* LSN 99 */
    };
    uint8_t *key = calloc(1, 65536);
    struct log_record record = record_of(LOG_KIND_PUT, key, 65536, "vv", 2);
    size_t len = 0;

    (void)state;
    record.deadline_ms = UINT64_C(0x0102030405060708);
    record.lsn_explicit = true;
    uint8_t *frame = encode(&record, &len);

    assert_memory_equal(frame + 4, fixed, sizeof(fixed));
    assert_int_equal(len, 4 + sizeof(fixed) + 65536 + 2);
    free(frame);
    free(key);
}

static void
record_each_flag_comes_back(void **state)
{
    (void)state;
    for (unsigned flags = 0; flags < 8; flags++) {
        struct log_record record = record_of(LOG_KIND_PUT, "some key", 8, "some value", 10);

        record.batched = (flags & 1) != 0;
        record.deadline_ms = (flags & 2) != 0 ? UINT64_MAX : 0;
        record.lsn_explicit = (flags & 4) != 0;
        record.type = (uint8_t)(2 * flags);
        record.space = (uint8_t)(255 - flags);
        round_trip(&record);
    }
}

static void
record_lengths_at_their_boundaries_come_back(void **state)
{
    static const size_t keys[] = {1, 2, 255, 256, 65535, 65536};
    static const size_t values[] = {0, 1, 65535, 65536, 0xfffffe, 0xffffff, 0x1000000, 0x1000001};
    uint8_t *bytes = calloc(1, 0x1000001);
    struct rng rng = rng_seeded(3);

    (void)state;
    assert_non_null(bytes);
    rng_fill(&rng, bytes, 0x1000001);
    for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++) {
        for (size_t v = 0; v < sizeof(values) / sizeof(values[0]); v++) {
            if (values[v] > 65536 && k != 0 && keys[k] < 65535) {
                continue; /* the big ones with some keys only */
            }
            const struct log_record record =
                record_of(LOG_KIND_PUT, bytes, keys[k], bytes, values[v]);

            round_trip(&record);
            assert_int_equal(log_record_bytes(&record) - keys[k] - values[v],
                             keys[k] > 0xffff || values[v] > 0xffffff ? 24 : 12);
        }
    }
    free(bytes);
}

static const uint8_t key_max[FL_KEY_BYTES_MAX + 2] = {1};

static void
record_each_kind_comes_back(void **state)
{
    const uint8_t ref[LOG_BLOB_REF_BYTES] = {7};
    const struct log_record records[] = {
        record_of(LOG_KIND_PUT, "k", 1, "", 0),
        record_of(LOG_KIND_DELETE, "k", 1, "", 0),
        record_of(LOG_KIND_RANGE_DELETE, "", 0, "\x05", 1),
        record_of(LOG_KIND_RANGE_DELETE, "a", 1, "\x05zz", 3),
        record_of(LOG_KIND_RANGE_DELETE, key_max, FL_KEY_BYTES_MAX, key_max, 1 + FL_KEY_BYTES_MAX),
        record_of(LOG_KIND_PUT_BLOB, "k", 1, ref, sizeof(ref)),
    };

    (void)state;
    for (size_t i = 0; i < sizeof(records) / sizeof(records[0]); i++) {
        round_trip(&records[i]);
    }
}

static void
assert_refused(const struct log_record *record)
{
    struct log_record got;
    size_t len = 0;
    uint8_t *frame = encode(record, &len);

    assert_false(log_record_canonical(record));
    assert_false(log_record_decode(frame, len, seed, true, &got));
    free(frame);
}

static void
record_of_an_impossible_shape_is_refused(void **state)
{
    const uint8_t ref[LOG_BLOB_REF_BYTES] = {7};
    const struct log_record records[] = {
        record_of(LOG_KIND_NONE, "k", 1, "v", 1),
        record_of(LOG_KIND_BATCH, "k", 1, "v", 1),
        record_of((enum log_kind)6, "k", 1, "v", 1),
        record_of((enum log_kind)15, "k", 1, "v", 1),
        record_of(LOG_KIND_PUT, "", 0, "v", 1),
        record_of(LOG_KIND_DELETE, "", 0, "", 0),
        record_of(LOG_KIND_PUT_BLOB, "", 0, ref, sizeof(ref)),
        record_of(LOG_KIND_PUT_BLOB, "k", 1, ref, sizeof(ref) - 1),
        record_of(LOG_KIND_RANGE_DELETE, "k", 1, "", 0),
        record_of(LOG_KIND_DELETE, "k", 1, "v", 1),
        record_of(LOG_KIND_RANGE_DELETE, "k", 1, key_max, 2 + FL_KEY_BYTES_MAX),
        record_of(LOG_KIND_PUT, key_max, FL_KEY_BYTES_MAX + 1, "v", 1),
        record_of(LOG_KIND_DELETE, key_max, FL_KEY_BYTES_MAX + 1, "", 0),
        record_of(LOG_KIND_PUT_BLOB, key_max, FL_KEY_BYTES_MAX + 1, ref, sizeof(ref)),
        record_of(LOG_KIND_RANGE_DELETE, key_max, FL_KEY_BYTES_MAX + 1, "\x05", 1),
    };

    (void)state;
    for (size_t i = 0; i < sizeof(records) / sizeof(records[0]); i++) {
        assert_refused(&records[i]);
    }
}

/* Everything that can be said is said in one way: the rest is kept for what may come. */
static void
record_that_says_what_its_kind_has_not_is_refused(void **state)
{
    struct log_record record = record_of(LOG_KIND_DELETE, "k", 1, "", 0);

    (void)state;
    record.deadline_ms = 1;
    assert_refused(&record);
    record = record_of(LOG_KIND_RANGE_DELETE, "a", 1, "\x05zz", 3);
    record.deadline_ms = 1;
    assert_refused(&record);
    record.deadline_ms = 0;
    record.space = 6; /* the last space is 5 */
    assert_refused(&record);
    record.space = 5;
    round_trip(&record);
    record = record_of(LOG_KIND_PUT, "k", 1, "v", 1);
    record.lsn_explicit = true;
    record.lsn = UINT64_C(1) << 63;
    assert_refused(&record);
    record.lsn--;
    round_trip(&record);
}

static void
crc_again(uint8_t *frame, size_t len)
{
    uint8_t seed_bytes[16];

    bytes_put_le64(seed_bytes, seed.nonce);
    bytes_put_le64(seed_bytes + 8, seed.lsn);
    bytes_put_le32(frame, crc32c(crc32c(0, seed_bytes, sizeof(seed_bytes)), frame + 4, len - 4));
}

static void
record_with_a_deadline_of_zero_is_refused(void **state)
{
    struct log_record record = record_of(LOG_KIND_PUT, "k", 1, "v", 1);
    struct log_record got;
    size_t len = 0;

    (void)state;
    record.deadline_ms = 1;
    uint8_t *frame = encode(&record, &len);

    frame[LOG_RECORD_BYTES] = 0;
    crc_again(frame, len);
    assert_false(log_record_decode(frame, len, seed, true, &got));
    frame[LOG_RECORD_BYTES] = 2;
    crc_again(frame, len);
    assert_true(log_record_decode(frame, len, seed, true, &got));
    free(frame);
}

static void
record_with_wide_lengths_that_fit_short_ones_is_refused(void **state)
{
    static uint8_t frame[LOG_RECORD_BYTES + 12 + 0x10000 + 1];
    const size_t extensions = LOG_RECORD_BYTES + 12;
    struct log_record got;

    (void)state;
    frame[4] = LOG_FLAG_WIDE;
    frame[5] = LOG_KIND_PUT << 4;
    bytes_put_le32(frame + 12, 0xffff);
    crc_again(frame, extensions + 0xffff);
    assert_false(log_record_decode(frame, sizeof(frame), seed, true, &got));
    bytes_put_le32(frame + 12, 0x10000);
    crc_again(frame, extensions + 0x10000);
    assert_true(log_record_decode(frame, sizeof(frame), seed, true, &got));
}

/* An encoder of a later version may set flags that this one can't place. The CRC is right. */
static void
record_with_an_unknown_flag_is_refused(void **state)
{
    (void)state;
    for (unsigned bit = 0x08; bit <= 0x80; bit <<= 1) {
        const struct log_record record = record_of(LOG_KIND_PUT, "k", 1, "v", 1);
        struct log_record got;
        size_t len = 0;
        uint8_t *frame = encode(&record, &len);

        if (bit == LOG_FLAG_WIDE) {
            free(frame);
            continue;
        }
        frame[4] |= (uint8_t)bit;
        crc_again(frame, len);
        assert_false(log_record_decode(frame, len, seed, true, &got));
        free(frame);
    }
}

static void
record_with_wide_and_short_lengths_at_once_is_refused(void **state)
{
    struct log_record record = record_of(LOG_KIND_PUT, NULL, 0x10000, "v", 1);
    uint8_t *key = calloc(1, 0x10000);
    struct log_record got;
    size_t len = 0;

    (void)state;
    record.key.ptr = key;
    uint8_t *frame = encode(&record, &len);

    frame[7] = 1;
    assert_false(log_record_decode(frame, len, seed, false, &got));
    free(frame);
    free(key);
}

static void
record_whose_lengths_overflow_is_refused(void **state)
{
    uint8_t frame[LOG_RECORD_BYTES + 12] = {0};
    struct log_record got;

    (void)state;
    frame[4] = LOG_FLAG_WIDE;
    frame[5] = LOG_KIND_PUT << 4;
    bytes_put_le32(frame + 12, 1);
    for (unsigned shift = 0; shift < 64; shift++) {
        bytes_put_le64(frame + 16, UINT64_MAX << shift);
        assert_false(log_record_decode(frame, sizeof(frame), seed, false, &got));
        bytes_put_le64(frame + 16, UINT64_MAX >> shift);
        assert_false(log_record_decode(frame, sizeof(frame), seed, false, &got));
    }
}

static struct log_record
some_record(struct rng *rng, const uint8_t *bytes)
{
    static const enum log_kind kinds[] = {LOG_KIND_PUT, LOG_KIND_PUT, LOG_KIND_DELETE,
                                          LOG_KIND_RANGE_DELETE, LOG_KIND_PUT_BLOB};
    struct log_record record = record_of(kinds[rng_below(rng, 5)], bytes, 1 + rng_below(rng, 40),
                                         bytes, 1 + rng_below(rng, 200));

    const bool put = record.kind == LOG_KIND_PUT || record.kind == LOG_KIND_PUT_BLOB;

    record.value.len = record.kind == LOG_KIND_PUT_BLOB ? LOG_BLOB_REF_BYTES
                       : record.kind == LOG_KIND_DELETE ? 0
                                                        : record.value.len;
    record.type = (uint8_t)rng_below(rng, 16);
    record.space = record.kind == LOG_KIND_RANGE_DELETE ? (uint8_t)rng_below(rng, bytes[0] + 1)
                                                        : (uint8_t)rng_u64(rng);
    record.deadline_ms = !put || rng_below(rng, 2) == 0 ? 0 : rng_u64(rng);
    record.lsn_explicit = rng_below(rng, 2) == 0;
    record.lsn = rng_u64(rng) >> 1;
    return record;
}

static void
record_at_random_comes_back(void **state)
{
    struct rng rng = rng_seeded(4);
    uint8_t bytes[256];

    (void)state;
    rng_fill(&rng, bytes, sizeof(bytes));
    for (int round = 0; round < 3000; round++) {
        const struct log_record record = some_record(&rng, bytes);

        round_trip(&record);
    }
}

static void
frame_cut_anywhere_is_refused(void **state)
{
    struct rng rng = rng_seeded(5);
    uint8_t bytes[256];

    (void)state;
    rng_fill(&rng, bytes, sizeof(bytes));
    for (int round = 0; round < 50; round++) {
        const struct log_record record = some_record(&rng, bytes);
        size_t len = 0;
        uint8_t *frame = encode(&record, &len);

        for (size_t cap = 0; cap < len; cap++) {
            uint8_t *cut = malloc(cap > 0 ? cap : 1); /* the sanitizer watches its end */
            struct log_record got;
            struct log_batch batch;

            memcpy(cut, frame, cap);
            assert_false(log_record_decode(cut, cap, seed, true, &got));
            assert_int_equal(log_frame_decode(cut, cap, seed, &batch), 0);
            free(cut);
        }
        free(frame);
    }
}

static void
frame_with_any_bit_flipped_is_refused(void **state)
{
    struct rng rng = rng_seeded(6);
    uint8_t bytes[256];

    (void)state;
    rng_fill(&rng, bytes, sizeof(bytes));
    for (int round = 0; round < 30; round++) {
        const struct log_record record = some_record(&rng, bytes);
        struct log_batch batch;
        size_t len = 0;
        uint8_t *frame = encode(&record, &len);

        for (size_t bit = 0; bit < 8 * len; bit++) {
            frame[bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_int_equal(log_frame_decode(frame, len, seed, &batch), 0);
            frame[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        assert_int_equal(log_frame_decode(frame, len, seed, &batch), len);
        free(frame);
    }
}

static void
frame_of_another_place_or_segment_is_refused(void **state)
{
    const struct log_record record = record_of(LOG_KIND_PUT, "k", 1, "v", 1);
    const struct log_seed others[] = {{seed.nonce + 1, seed.lsn},
                                      {seed.nonce, seed.lsn + 1},
                                      {seed.nonce, seed.lsn + 64},
                                      {seed.nonce ^ UINT64_C(1) << 63, seed.lsn},
                                      {0, seed.lsn},
                                      {seed.lsn, seed.nonce}};
    struct log_record got;
    size_t len = 0;

    (void)state;
    uint8_t *frame = encode(&record, &len);

    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        assert_false(log_record_decode(frame, len, others[i], true, &got));
    }
    free(frame);
}

static void
end_of_log_is_twelve_zeros_and_no_frame(void **state)
{
    uint8_t zeros[256] = {0};
    struct log_batch batch;

    (void)state;
    assert_true(log_end_decode(zeros));
    assert_int_equal(log_frame_decode(zeros, sizeof(zeros), seed, &batch), 0);
    assert_int_equal(log_frame_decode(zeros, sizeof(zeros), (struct log_seed){0, 0}, &batch), 0);
    for (size_t i = 0; i < LOG_RECORD_BYTES; i++) {
        zeros[i] = 1;
        assert_false(log_end_decode(zeros));
        zeros[i] = 0;
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(record_plain_has_the_documented_bytes),
        cmocka_unit_test(record_with_all_extensions_has_the_documented_bytes),
        cmocka_unit_test(record_each_flag_comes_back),
        cmocka_unit_test(record_lengths_at_their_boundaries_come_back),
        cmocka_unit_test(record_each_kind_comes_back),
        cmocka_unit_test(record_of_an_impossible_shape_is_refused),
        cmocka_unit_test(record_that_says_what_its_kind_has_not_is_refused),
        cmocka_unit_test(record_with_a_deadline_of_zero_is_refused),
        cmocka_unit_test(record_with_wide_lengths_that_fit_short_ones_is_refused),
        cmocka_unit_test(record_with_an_unknown_flag_is_refused),
        cmocka_unit_test(record_with_wide_and_short_lengths_at_once_is_refused),
        cmocka_unit_test(record_whose_lengths_overflow_is_refused),
        cmocka_unit_test(record_at_random_comes_back),
        cmocka_unit_test(frame_cut_anywhere_is_refused),
        cmocka_unit_test(frame_with_any_bit_flipped_is_refused),
        cmocka_unit_test(frame_of_another_place_or_segment_is_refused),
        cmocka_unit_test(end_of_log_is_twelve_zeros_and_no_frame),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
