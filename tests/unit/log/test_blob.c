/* Goal:   a value in blocks of its own comes back in place, checked by chunks; its blocks exist as it fills them; it
 *         is owned on media only when it is whole, and nothing of it is believed that another blob left behind.
 * Method: lengths around every boundary (block, chunk, alignment of the value), written in pieces of several sizes;
 *         each part damaged; stopped in the middle by lack of space, failing drains, a crash and a change of mind. */
#include "tests/unit/log/fixture.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/fail.h"
#include "storage/log/log_layout.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LEN_MAX = 3 * LOG_BLOB_CHUNK_BYTES + 5000 };

static struct fixture f;
static uint8_t data[LEN_MAX];

static int
setup(void **state)
{
    (void)state;
    fixture_create(&f, PM_DIRECT);
    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (uint8_t)(i * 7 + i / 256);
    }
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    fixture_destroy(&f);
    return 0;
}

/* A blob of the first `len` bytes of `data`, in pieces, and a record that names it. */
static struct log_blob_ref
blob_put(size_t len, size_t piece)
{
    uint8_t bytes[LOG_BLOB_REF_BYTES];
    struct log_blob_ref ref;
    struct log_blob *blob = NULL;
    uint64_t lsn = 0;

    assert_int_equal(log_blob_create(f.log, len, &blob), FL_OK);
    for (size_t at = 0; at < len; at += piece) {
        assert_int_equal(log_blob_append(blob, data + at, len - at < piece ? len - at : piece),
                         FL_OK);
    }
    assert_int_equal(log_blob_finish(blob, &ref), FL_OK);
    log_blob_close(blob);
    log_blob_ref_encode(&ref, bytes);
    struct log_record record = {
        .kind = LOG_KIND_PUT_BLOB, .key = {"big", 3}, .value = {bytes, sizeof(bytes)}};

    assert_int_equal(
        log_frame_begin(f.log, LOG_HEAD_MAIN, 1, log_record_bytes(&record), HEAP_NORMAL), FL_OK);
    log_frame_add(f.log, LOG_HEAD_MAIN, &record, &lsn);
    assert_int_equal(log_frame_commit(f.log, LOG_HEAD_MAIN, true), FL_OK);
    return ref;
}

static void
assert_comes_back(const struct log_blob_ref *ref, size_t len)
{
    struct fl_bytes value;

    assert_int_equal(log_blob_view(f.log, ref, true, &value), FL_OK);
    assert_int_equal(value.len, len);
    assert_memory_equal(value.ptr, data, len);
}

static void
blob_of_any_length_comes_back(void **state)
{
    static const size_t lens[] = {1,
                                  4095,
                                  4096,
                                  4097,
                                  2 * BLOCK - 4096,
                                  2 * BLOCK - 4095,
                                  LOG_BLOB_CHUNK_BYTES - 1,
                                  LOG_BLOB_CHUNK_BYTES,
                                  LOG_BLOB_CHUNK_BYTES + 1,
                                  3 * LOG_BLOB_CHUNK_BYTES,
                                  LEN_MAX};
    static const size_t pieces[] = {LEN_MAX, 4096, 1000, 65537};
    struct log_blob_ref refs[11];

    (void)state;
    for (size_t i = 0; i < 11; i++) {
        refs[i] = blob_put(lens[i], pieces[i % 4]);
        assert_comes_back(&refs[i], lens[i]);
    }
    assert_int_equal(fixture_reopen(&f, FIXTURE_READ), FL_OK);
    assert_int_equal(f.findings, 0);
    for (size_t i = 0; i < 11; i++) {
        assert_comes_back(&refs[i], lens[i]);
        assert_int_equal(log_segment_of(f.log, refs[i].block)->use, LOG_USE_BLOB);
    }
}

static void
blob_filled_wrongly_is_refused(void **state)
{
    struct log_blob *blob = NULL;
    struct log_blob_ref ref;

    (void)state;
    assert_int_equal(log_blob_create(f.log, 100, &blob), FL_OK);
    assert_int_equal(log_blob_append(blob, data, 60), FL_OK);
    assert_int_equal(log_blob_finish(blob, &ref), FL_INVALID);
    assert_int_equal(log_blob_append(blob, data, 41), FL_INVALID);
    assert_int_equal(log_blob_append(blob, data + 60, 40), FL_OK);
    assert_int_equal(log_blob_finish(blob, &ref), FL_OK);
    log_blob_close(blob);
    assert_comes_back(&ref, 100);
}

static void
part_is_checked_by_the_chunks_it_touches(void **state)
{
    const struct log_blob_ref ref = blob_put(LEN_MAX, LEN_MAX);
    const uint64_t chunk = LOG_BLOB_CHUNK_BYTES;
    const uint64_t at = 2 * chunk - 1; /* the second one's last byte */
    uint8_t *byte = fixture_at(&f, (uint64_t)ref.block * BLOCK + 4096 + at);

    (void)state;
    assert_true(LEN_MAX > 2 * chunk);
    *byte ^= 1;
    assert_int_equal(log_blob_verify(f.log, &ref, 0, chunk), FL_OK);
    assert_int_equal(log_blob_verify(f.log, &ref, 0, chunk + 1), FL_CORRUPT);
    assert_int_equal(log_blob_verify(f.log, &ref, at, 1), FL_CORRUPT);
    assert_int_equal(log_blob_verify(f.log, &ref, chunk, 0), FL_OK);
    assert_int_equal(log_blob_verify(f.log, &ref, at + 1, UINT64_MAX), FL_OK);
    assert_int_equal(log_blob_verify(f.log, &ref, LEN_MAX, 1), FL_OK);
    assert_int_equal(log_blob_verify(f.log, &ref, at, UINT64_MAX), FL_CORRUPT);
    *byte ^= 1;
    assert_comes_back(&ref, LEN_MAX);
}

static void
blob_damaged_anywhere_is_corrupt_and_named(void **state)
{
    const struct log_blob_ref ref = blob_put(LEN_MAX, LEN_MAX);
    const uint64_t start = (uint64_t)ref.block * BLOCK;
    const uint64_t first = start + 4096;
    struct fl_bytes value;

    (void)state;
    for (uint64_t at = 0; at < LEN_MAX; at += 997) {
        fixture_at(&f, first + at)[0] ^= 0x10;
        assert_int_equal(log_blob_view(f.log, &ref, true, &value), FL_CORRUPT);
        assert_non_null(strstr(fl_last_error(), "faultline-check --repair"));
        assert_int_equal(log_blob_view(f.log, &ref, false, &value), FL_OK);
        fixture_at(&f, first + at)[0] ^= 0x10;
    }
    for (uint64_t at = 0; at < 4 * sizeof(uint32_t); at++) {
        fixture_at(&f, start + LOG_HEADER_BYTES + at)[0] ^= 1;
        assert_int_equal(log_blob_view(f.log, &ref, true, &value), FL_CORRUPT);
        fixture_at(&f, start + LOG_HEADER_BYTES + at)[0] ^= 1;
    }
    assert_comes_back(&ref, LEN_MAX);
}

static void
reference_that_does_not_fit_names_nothing(void **state)
{
    const struct log_blob_ref ref = blob_put(10000, 10000);
    const struct log_blob_ref wrong[] = {
        {ref.block + 1, ref.generation, ref.blocks, ref.table_crc, ref.len, ref.nonce},
        {ref.block, ref.generation + 1, ref.blocks, ref.table_crc, ref.len, ref.nonce},
        {ref.block, ref.generation, ref.blocks + 1, ref.table_crc, ref.len, ref.nonce},
        {ref.block, ref.generation, ref.blocks, ref.table_crc, 1 << 20, ref.nonce},
        {ref.block, ref.generation, ref.blocks, ref.table_crc, UINT64_MAX, ref.nonce},
        {ref.block, ref.generation, ref.blocks, ref.table_crc, ref.len, ref.nonce + 1},
        {UINT32_MAX, ref.generation, ref.blocks, ref.table_crc, ref.len, ref.nonce},
    };
    struct fl_bytes value;

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_null(log_blob_segment(f.log, &wrong[i]));
        assert_int_equal(log_blob_view(f.log, &wrong[i], true, &value), FL_CORRUPT);
    }
    assert_non_null(log_blob_segment(f.log, &ref));
}

static void
header_of_a_blob_lost_is_damage_at_open(void **state)
{
    const struct log_blob_ref ref = blob_put(10000, 10000);
    uint8_t saved[64];

    (void)state;
    memcpy(saved, fixture_at(&f, (uint64_t)ref.block * BLOCK), sizeof(saved));
    memset(fixture_at(&f, (uint64_t)ref.block * BLOCK), 0, sizeof(saved));
    assert_int_equal(fixture_reopen(&f, FIXTURE_WRITE), FL_CORRUPT);
    assert_string_equal(f.rules, "segment-header ");
    assert_int_equal(fixture_reopen(&f, FIXTURE_SALVAGE), FL_OK);
    assert_comes_back(&ref, 10000);
    /* Nothing was given back: with its header it is whole again. */
    memcpy(fixture_at(&f, (uint64_t)ref.block * BLOCK), saved, sizeof(saved));
    assert_int_equal(fixture_reopen(&f, FIXTURE_READ), FL_OK);
    assert_comes_back(&ref, 10000);
}

static void
word_of_a_blob_lost_is_salvaged(void **state)
{
    const struct log_blob_ref ref = blob_put(10000, 10000);
    struct fl_bytes value;

    (void)state;
    memset(fixture_at(&f, BLOCK + (uint64_t)ref.block * 32), 0, 8);
    assert_int_equal(fixture_reopen(&f, FIXTURE_READ), FL_OK); /* for the engine to find out */
    assert_int_equal(log_blob_view(f.log, &ref, true, &value), FL_CORRUPT);
    assert_int_equal(fixture_reopen(&f, FIXTURE_SALVAGE), FL_OK);
    assert_comes_back(&ref, 10000);
}

/* Close a blob that is not finished, and free what it had, as the cleaner does. */
static void
blob_give_up(struct log_blob *blob)
{
    const uint32_t block = blob->block;
    struct pm pm;

    log_blob_close(blob);
    pm_init(&pm, heap_media(f.heap));
    assert_int_equal(log_segment_free(f.log, &pm, block), FL_OK);
    log_segment_recycle(f.log, block);
    for (uint32_t b = block; b < BLOCKS_MAX; b++) {
        assert_int_equal(log_segment_of(f.log, b)->use, LOG_USE_NONE);
    }
}

static struct heap_stats
stats_get(void)
{
    struct heap_stats stats;

    heap_stats_get(f.heap, &stats);
    return stats;
}

static void
blob_without_room_leaves_nothing_behind(void **state)
{
    const uint64_t owned = stats_get().blocks_owned;
    struct log_blob *blob = NULL;

    (void)state;
    mem_map_set_space(f.mem, 2 * BLOCK);
    assert_int_equal(log_blob_create(f.log, 10 * BLOCK, &blob), FL_NO_SPACE);
    assert_null(blob);
    assert_int_equal(log_blob_create(f.log, 100, &blob), FL_NO_SPACE);
    assert_null(blob);
    assert_int_equal(log_blob_create(f.log, (uint64_t)BLOCKS_MAX * BLOCK, &blob), FL_TOO_LARGE);
    assert_int_equal(log_blob_create(f.log, UINT64_C(1) << 50, &blob), FL_TOO_LARGE);
    assert_int_equal(stats_get().blocks_owned, owned);
    mem_map_set_space(f.mem, 0);
    const struct log_blob_ref ref = blob_put(10 * BLOCK, 5000);

    assert_comes_back(&ref, 10 * BLOCK);
}

static void
append_faults_only_what_it_reaches(void **state)
{
    struct log_blob *blob = NULL;
    struct log_blob_ref ref;

    (void)state;
    const uint64_t faults = mem_map_calls(f.mem, MEM_MAP_CALL_FAULT_IN);
    const uint32_t total = heap_blocks_total(f.heap);

    assert_int_equal(log_blob_create(f.log, LEN_MAX, &blob), FL_OK);
    assert_int_equal(mem_map_calls(f.mem, MEM_MAP_CALL_FAULT_IN), faults + 1);
    assert_int_equal(heap_blocks_total(f.heap), total + 1);
    for (size_t at = 0; at < LEN_MAX; at += 1000) {
        const size_t part = LEN_MAX - at < 1000 ? LEN_MAX - at : 1000;

        assert_int_equal(log_blob_append(blob, data + at, part), FL_OK);
        /* One block of header and checksums, then those of the value. */
        assert_int_equal(mem_map_calls(f.mem, MEM_MAP_CALL_FAULT_IN),
                         faults + 1 + (at + part + BLOCK - 1) / BLOCK);
    }
    assert_int_equal(heap_blocks_total(f.heap), total + blob->blocks);
    assert_int_equal(log_blob_finish(blob, &ref), FL_OK);
    assert_int_equal(log_blob_finish(blob, &ref), FL_OK); /* what named it was refused: once more */
    log_blob_close(blob);
    assert_comes_back(&ref, LEN_MAX);
}

static void
blob_given_up_anywhere_gives_all_back(void **state)
{
    enum { LEN = 20 * BLOCK };
    struct log_blob *blob = NULL;

    (void)state;
    fixture_put(&f, LOG_HEAD_MAIN, "key", "value");
    const uint64_t owned = stats_get().blocks_owned;

    for (size_t filled = 0; filled <= LEN; filled += 5000) {
        assert_int_equal(log_blob_create(f.log, LEN, &blob), FL_OK);
        assert_int_equal(log_blob_append(blob, data, filled), FL_OK);
        fixture_put(&f, LOG_HEAD_MAIN, "beside", "value");
        blob_give_up(blob);
        assert_int_equal(stats_get().blocks_owned, owned);
        assert_int_equal(stats_get().blocks_owned + stats_get().blocks_free +
                             stats_get().blocks_ready,
                         stats_get().blocks_total);
    }
    const struct log_blob_ref ref = blob_put(LEN, 5000);

    assert_int_equal(fixture_reopen(&f, FIXTURE_READ), FL_OK);
    assert_int_equal(f.findings, 0);
    assert_comes_back(&ref, LEN);
}

static void
disk_that_fills_in_the_middle_fails_the_append(void **state)
{
    struct log_blob *blob = NULL;

    (void)state;
    const uint64_t owned = stats_get().blocks_owned;

    mem_map_set_space(f.mem, 8 * BLOCK);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(log_blob_create(f.log, 10 * BLOCK, &blob), FL_OK);
        assert_int_equal(log_blob_append(blob, data, 5 * BLOCK), FL_OK);
        assert_int_equal(log_blob_append(blob, data + 5 * BLOCK, 5), FL_NO_SPACE);
        blob_give_up(blob);
        assert_int_equal(stats_get().blocks_owned, owned);
    }
    const struct log_blob_ref ref = blob_put(3 * BLOCK, 5000);

    assert_comes_back(&ref, 3 * BLOCK);
}

/* The bytes of the block at `index` of a value look like a segment of the log there, with frames behind its header. */
static void
pretend_segment(uint32_t block, uint8_t *dst)
{
    struct log_header_media header = {.head = 0};
    uint8_t place[8];

    bytes_put_le32(header.magic, LOG_MAGIC_LOG);
    bytes_put_le32(header.generation, 1);
    bytes_put_le32(header.blocks, 1);
    bytes_put_le32(place, crc32c(0, f.geometry.uuid, sizeof(f.geometry.uuid)));
    bytes_put_le32(place + 4, block);
    bytes_put_le32(header.crc,
                   crc32c(crc32c(0, place, sizeof(place)), &header, LOG_HEADER_CRC_BYTES));
    memcpy(dst, &header, sizeof(header));
}

/* Cut short anywhere, with bytes in it that look like a segment wherever an open looks for one. */
static void
crash_while_a_blob_is_filled_leaves_no_finding(void **state)
{
    enum { VALUE_BLOCKS = 6, LEN = VALUE_BLOCKS * BLOCK };
    static uint8_t value[LEN];
    struct log_blob *blob = NULL;
    uint64_t len = 0;

    (void)state;
    for (size_t filled = 0; filled <= LEN; filled += 2000) {
        fixture_destroy(&f);
        fixture_create(&f, PM_STAGED);
        fixture_put(&f, LOG_HEAD_MAIN, "key", "value");
        assert_int_equal(log_blob_create(f.log, LEN, &blob), FL_OK);
        memset(value, 0xA5, sizeof(value));
        for (uint32_t i = 0; i < VALUE_BLOCKS; i++) {
            pretend_segment(blob->block + 1 + i, value + (size_t)i * BLOCK);
        }
        for (size_t at = 0; at < filled; at += 500) {
            assert_int_equal(log_blob_append(blob, value + at, 500), FL_OK);
        }
        uint8_t *image = mem_map_copy(f.mem, &len);

        log_blob_close(blob);
        fixture_close(&f);
        mem_map_load(f.mem, image, len);
        free(image);
        assert_int_equal(fixture_reopen(&f, FIXTURE_WRITE), FL_OK);
        assert_int_equal(f.findings, 0);
        assert_non_null(fixture_met(&f, "key"));
    }
    /* The same bytes as a value that is whole. */
    assert_int_equal(log_blob_create(f.log, LEN, &blob), FL_OK);
    for (uint32_t i = 0; i < VALUE_BLOCKS; i++) {
        pretend_segment(blob->block + 1 + i, value + (size_t)i * BLOCK);
    }
    struct log_blob_ref ref;
    struct fl_bytes view;

    assert_int_equal(log_blob_append(blob, value, LEN), FL_OK);
    assert_int_equal(log_blob_finish(blob, &ref), FL_OK);
    log_blob_close(blob);
    assert_int_equal(log_blob_view(f.log, &ref, true, &view), FL_OK);
    assert_memory_equal(view.ptr, value, LEN);
}

/* Given up while it was being filled, and the store closed before it was freed: nobody owns it. */
static void
blob_never_named_is_no_damage(void **state)
{
    struct log_blob *blob = NULL;

    (void)state;
    fixture_put(&f, LOG_HEAD_MAIN, "key", "value");
    assert_int_equal(log_blob_create(f.log, 50000, &blob), FL_OK);
    assert_int_equal(log_blob_append(blob, data, 20000), FL_OK);
    log_blob_close(blob);
    assert_int_equal(fixture_reopen(&f, FIXTURE_READ), FL_OK);
    assert_int_equal(f.findings, 0);
    assert_int_equal(fixture_reopen(&f, FIXTURE_SALVAGE), FL_OK);
    assert_int_equal(f.findings, 0);
}

static void
drain_that_fails_while_owning_is_told(void **state)
{
    struct log_blob *blob = NULL;
    struct log_blob_ref ref;

    (void)state;
    for (unsigned applied = 0; applied < 2; applied++) {
        const struct mem_map_failure failure = {MEM_MAP_CALL_WRITE_DURABLE, 1, FL_IO, applied == 1,
                                                true};
        uint64_t len = 0;

        fixture_destroy(&f);
        fixture_create(&f, PM_STAGED);
        fixture_put(&f, LOG_HEAD_MAIN, "key", "value");
        assert_int_equal(log_blob_create(f.log, 20000, &blob), FL_OK);
        assert_int_equal(log_blob_append(blob, data, 20000), FL_OK);
        mem_map_fail(f.mem, &failure);
        assert_int_equal(log_blob_finish(blob, &ref), FL_IO);
        assert_int_equal(log_blob_finish(blob, &ref), FL_IO);
        log_blob_close(blob);
        uint8_t *image = mem_map_copy(f.mem, &len);

        fixture_close(&f);
        mem_map_load(f.mem, image, len);
        assert_int_equal(fixture_reopen(&f, FIXTURE_WRITE), FL_OK);
        assert_int_equal(f.findings, 0);
        assert_non_null(fixture_met(&f, "key"));
        free(image);
    }
}

#define RULE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        RULE(blob_of_any_length_comes_back),
        RULE(blob_filled_wrongly_is_refused),
        RULE(part_is_checked_by_the_chunks_it_touches),
        RULE(blob_damaged_anywhere_is_corrupt_and_named),
        RULE(reference_that_does_not_fit_names_nothing),
        RULE(header_of_a_blob_lost_is_damage_at_open),
        RULE(word_of_a_blob_lost_is_salvaged),
        RULE(blob_without_room_leaves_nothing_behind),
        RULE(append_faults_only_what_it_reaches),
        RULE(blob_given_up_anywhere_gives_all_back),
        RULE(disk_that_fills_in_the_middle_fails_the_append),
        RULE(crash_while_a_blob_is_filled_leaves_no_finding),
        RULE(blob_never_named_is_no_damage),
        RULE(drain_that_fails_while_owning_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
