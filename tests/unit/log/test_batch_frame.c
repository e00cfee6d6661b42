/* Goal:   a batch is one frame: all its records or none; each of them verifies by itself as well, at its own place.
 * Method: batches are built as the log does; every prefix, every single-bit change and some swaps of their records are
 *         decoded. Blob references are encoded and decoded beside. */
#include "storage/log/record.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "tests/lib/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { FRAME_MAX = 8192 };

static const struct log_seed seed = {UINT64_C(0xfedcba9876543210), 1 << 20};

static struct log_record
put(const char *key, const char *value)
{
    return (struct log_record){.kind = LOG_KIND_PUT,
                               .batched = true,
                               .key = {key, strlen(key)},
                               .value = {value, strlen(value)}};
}

/* As log_frame_begin(), _add() and _commit() do. */
static size_t
build(const struct log_record *records, uint32_t count, uint8_t *frame)
{
    size_t bytes = 0;

    for (uint32_t i = 0; i < count; i++) {
        bytes += log_record_bytes(&records[i]);
    }
    uint32_t crc = log_batch_encode((struct log_batch){(uint32_t)bytes, count}, seed, frame);
    size_t at = LOG_BATCH_BYTES;

    for (uint32_t i = 0; i < count; i++) {
        const struct log_seed place = {seed.nonce, seed.lsn + at};

        crc = log_batch_crc_add(crc, log_record_encode(&records[i], place, frame + at));
        at += log_record_bytes(&records[i]);
    }
    log_batch_crc_store(frame, crc);
    return at;
}

static size_t
build_three(uint8_t *frame)
{
    struct log_record records[] = {put("one", "first value"), put("two", ""), put("three", "")};

    records[1].deadline_ms = 12345;
    records[2].kind = LOG_KIND_DELETE;
    return build(records, 3, frame);
}

static void
batch_header_has_the_documented_bytes(void **state)
{
    static const uint8_t want[] = {0, 0x50, 0, 0, 66, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    uint8_t frame[FRAME_MAX];

    (void)state;
    assert_int_equal(build_three(frame), 24 + 66);
    assert_memory_equal(frame + 4, want, sizeof(want));
}

static void
batch_records_verify_alone_at_their_places(void **state)
{
    uint8_t frame[FRAME_MAX];
    struct log_batch batch;
    struct log_record record;
    const size_t len = build_three(frame);
    size_t at = LOG_BATCH_BYTES;

    (void)state;
    assert_int_equal(log_frame_decode(frame, len, seed, &batch), len);
    assert_int_equal(batch.count, 3);
    assert_int_equal(batch.payload_bytes, len - LOG_BATCH_BYTES);
    for (int i = 0; i < 3; i++) {
        const struct log_seed place = {seed.nonce, seed.lsn + at};

        assert_true(log_record_decode(frame + at, len - at, place, true, &record));
        assert_true(record.batched);
        assert_int_equal(record.lsn, place.lsn);
        assert_false(log_record_decode(frame + at, len - at, seed, true, &record));
        assert_int_equal(log_frame_decode(frame + at, len - at, place, &batch), 0);
        at += record.bytes;
    }
    assert_int_equal(at, len);
}

static void
batch_cut_anywhere_is_refused(void **state)
{
    uint8_t frame[FRAME_MAX];
    struct log_batch batch;
    const size_t len = build_three(frame);

    (void)state;
    for (size_t cap = 0; cap < len; cap++) {
        uint8_t *cut = malloc(cap > 0 ? cap : 1);

        memcpy(cut, frame, cap);
        assert_int_equal(log_frame_decode(cut, cap, seed, &batch), 0);
        assert_int_equal(batch.count, 0);
        free(cut);
    }
}

static void
batch_with_any_bit_flipped_is_refused(void **state)
{
    uint8_t frame[FRAME_MAX];
    struct log_batch batch;
    const size_t len = build_three(frame);

    (void)state;
    for (size_t bit = 0; bit < 8 * len; bit++) {
        frame[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(log_frame_decode(frame, len, seed, &batch), 0);
        frame[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(log_frame_decode(frame, len, seed, &batch), len);
}

/* The batch's CRC anew, whatever its header says. */
static void
crc_again(uint8_t *frame, size_t len)
{
    uint8_t seed_bytes[16];
    struct log_record record;

    bytes_put_le64(seed_bytes, seed.nonce);
    bytes_put_le64(seed_bytes + 8, seed.lsn);
    uint32_t crc = crc32c(crc32c(0, seed_bytes, 16), frame + 4, LOG_BATCH_BYTES - 4);

    for (size_t at = LOG_BATCH_BYTES; at < len; at += record.bytes) {
        const struct log_seed place = {seed.nonce, seed.lsn + at};

        assert_true(log_record_decode(frame + at, len - at, place, true, &record));
        crc = log_batch_crc_add(crc, bytes_get_le32(frame + at));
    }
    bytes_put_le32(frame, crc);
}

/* A later writer may put something there that this reader need not know; flags and kind it has to know. */
static void
batch_header_is_read_but_for_its_reserved_bytes(void **state)
{
    uint8_t frame[FRAME_MAX];
    struct log_batch batch;
    const size_t len = build_three(frame);

    (void)state;
    for (size_t i = 4; i < LOG_BATCH_BYTES; i++) {
        const bool reserved = i == 6 || i == 7 || i >= 16;

        frame[i] ^= 1;
        if (i < 8 || i >= 16) {
            crc_again(frame, len);
        }
        assert_int_equal(log_frame_decode(frame, len, seed, &batch), reserved ? len : 0);
        frame[i] ^= 1;
    }
}

/* Each record verifies, they fill the payload, and yet they aren't those that were committed together. */
static void
batch_with_a_record_of_another_batch_is_refused(void **state)
{
    struct log_record records[] = {put("one", "aaa"), put("two", "bbb")};
    uint8_t frame[FRAME_MAX];
    uint8_t other[FRAME_MAX];
    struct log_batch batch;

    (void)state;
    const size_t len = build(records, 2, frame);

    records[1] = put("two", "ccc");
    assert_int_equal(build(records, 2, other), len);
    const size_t at = LOG_BATCH_BYTES + log_record_bytes(&records[0]);

    memcpy(frame + at, other + at, len - at);
    assert_int_equal(log_frame_decode(frame, len, seed, &batch), 0);
}

static void
batch_of_none_or_of_lone_records_is_refused(void **state)
{
    struct log_record records[] = {put("one", "aaa"), put("two", "bbb")};
    uint8_t frame[FRAME_MAX] = {0};
    struct log_batch batch;

    (void)state;
    log_batch_crc_store(frame, log_batch_encode((struct log_batch){0, 0}, seed, frame));
    assert_int_equal(log_frame_decode(frame, sizeof(frame), seed, &batch), 0);
    records[1].batched = false;
    const size_t len = build(records, 2, frame);

    assert_int_equal(log_frame_decode(frame, len, seed, &batch), 0);
}

static void
batch_of_one_is_a_batch(void **state)
{
    const struct log_record record = put("key", "value");
    uint8_t frame[FRAME_MAX];
    struct log_batch batch;

    (void)state;
    const size_t len = build(&record, 1, frame);

    assert_int_equal(log_frame_decode(frame, len, seed, &batch), len);
    assert_int_equal(batch.count, 1);
}

static void
batch_at_random_comes_back(void **state)
{
    static uint8_t frame[1 << 16];
    struct log_record records[64];
    struct rng rng = rng_seeded(8);
    uint8_t bytes[256];

    (void)state;
    rng_fill(&rng, bytes, sizeof(bytes));
    for (int round = 0; round < 300; round++) {
        const uint32_t count = 1 + (uint32_t)rng_below(&rng, 64);
        struct log_batch batch;

        for (uint32_t i = 0; i < count; i++) {
            records[i] = (struct log_record){.kind = LOG_KIND_PUT,
                                             .batched = true,
                                             .key = {bytes, 1 + rng_below(&rng, 100)},
                                             .value = {bytes, rng_below(&rng, 256)},
                                             .deadline_ms = rng_below(&rng, 3)};
        }
        const size_t len = build(records, count, frame);

        assert_int_equal(log_frame_decode(frame, sizeof(frame), seed, &batch), len);
        assert_int_equal(batch.count, count);
        const uint64_t bit = rng_below(&rng, 8 * len);

        frame[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(log_frame_decode(frame, sizeof(frame), seed, &batch), 0);
    }
}

static void
blob_reference_comes_back(void **state)
{
    const struct log_blob_ref ref = {.block = 5,
                                     .generation = 6,
                                     .blocks = 7,
                                     .table_crc = UINT32_MAX,
                                     .len = UINT64_C(1) << 40,
                                     .nonce = 9};
    uint8_t bytes[LOG_BLOB_REF_BYTES];
    struct log_blob_ref got;

    (void)state;
    log_blob_ref_encode(&ref, bytes);
    assert_true(log_blob_ref_decode((struct fl_bytes){bytes, sizeof(bytes)}, &got));
    assert_int_equal(got.block, ref.block);
    assert_int_equal(got.generation, ref.generation);
    assert_int_equal(got.blocks, ref.blocks);
    assert_int_equal(got.table_crc, ref.table_crc);
    assert_int_equal(got.len, ref.len);
    assert_int_equal(got.nonce, ref.nonce);
    assert_false(log_blob_ref_decode((struct fl_bytes){bytes, sizeof(bytes) - 1}, &got));
    memset(bytes + 24, 0, 4);
    assert_false(log_blob_ref_decode((struct fl_bytes){bytes, sizeof(bytes)}, &got));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batch_header_has_the_documented_bytes),
        cmocka_unit_test(batch_records_verify_alone_at_their_places),
        cmocka_unit_test(batch_cut_anywhere_is_refused),
        cmocka_unit_test(batch_with_any_bit_flipped_is_refused),
        cmocka_unit_test(batch_header_is_read_but_for_its_reserved_bytes),
        cmocka_unit_test(batch_with_a_record_of_another_batch_is_refused),
        cmocka_unit_test(batch_of_none_or_of_lone_records_is_refused),
        cmocka_unit_test(batch_of_one_is_a_batch),
        cmocka_unit_test(batch_at_random_comes_back),
        cmocka_unit_test(blob_reference_comes_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
