/* Goal:   storage rules 6 and 7 at open: the table alone owns, every owned segment is there, every link leads to
 *         the segment it was written for; what a crash cut short is given back; a block that is lost is named,
 *         never taken for the end of
 *         the log.
 * Method: logs of several segments in memory; headers, words, seals, links and whole blocks are taken away by hand,
 *         one at a time; changes are stopped after every drain. */
#include "tests/unit/log/fixture.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/fail.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SEGMENTS = 6 };

static struct fixture f;
static uint32_t blocks[SEGMENTS]; /* of the writers' head, in order; the last one is open */

static int
setup(void **state)
{
    (void)state;
    fixture_create(&f, PM_DIRECT);
    for (int i = 0; i < SEGMENTS; i++) {
        char key[16];

        snprintf(key, sizeof(key), "key%d", i);
        blocks[i] = (uint32_t)(fixture_put(&f, LOG_HEAD_MAIN, key, "value") / BLOCK);
        if (i < SEGMENTS - 1) {
            fixture_fill(&f, LOG_HEAD_MAIN);
        }
    }
    assert_int_equal(fixture_reopen(&f, FIXTURE_READ), FL_OK);
    assert_int_equal(f.findings, 0);
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    fixture_destroy(&f);
    return 0;
}

static uint64_t
segment_off(int i)
{
    return (uint64_t)blocks[i] * BLOCK;
}

static uint64_t
word_off(int i)
{
    return BLOCK + (uint64_t)blocks[i] * 32;
}

static void
assert_refused(const char *rule, uint64_t off)
{
    char text[64];

    snprintf(text, sizeof(text), "file offset %llu:", (unsigned long long)off);
    assert_int_equal(fixture_reopen(&f, FIXTURE_READ), FL_CORRUPT);
    if (strstr(f.rules, rule) == NULL || strstr(fl_last_error(), text) == NULL) {
        fail_msg("found %s\"%s\", not %s at %llu", f.rules, fl_last_error(), rule,
                 (unsigned long long)off);
    }
    assert_non_null(strstr(fl_last_error(), "faultline-check --repair"));
    assert_int_equal(fixture_reopen(&f, FIXTURE_WRITE), FL_CORRUPT);
}

static void
link_to_a_block_that_is_not_there_is_corrupt_and_names_it(void **state)
{
    char text[32];

    (void)state;
    for (int i = 0; i < SEGMENTS - 1; i++) {
        uint8_t saved[BLOCK];
        uint8_t *next = fixture_at(&f, segment_off(i + 1));

        memcpy(saved, next, BLOCK);
        memset(next, 0, BLOCK);
        assert_refused("link-target", segment_off(i + 1));
        snprintf(text, sizeof(text), "block %u ", blocks[i + 1]);
        assert_non_null(strstr(fl_last_error(), text));
        memcpy(next, saved, BLOCK);
    }
}

/* Nothing leads to the first segment, and its predecessor may be gone: ownership alone has to tell. */
static void
block_lost_of_a_segment_that_nothing_leads_to_is_damage(void **state)
{
    (void)state;
    memset(fixture_at(&f, segment_off(0)), 0, BLOCK);
    assert_refused("segment-header", segment_off(0));
    assert_int_equal(fixture_reopen(&f, FIXTURE_SALVAGE), FL_OK);
    assert_true(f.damaged > 0);
    assert_null(fixture_met(&f, "key0"));
    assert_non_null(fixture_met(&f, "key1"));
}

static void
link_to_another_block_or_generation_is_damage(void **state)
{
    uint8_t *link = fixture_at(&f, segment_off(2) + LOG_LINK_OFF);
    const uint32_t generation = bytes_get_le32(link + 4);

    (void)state;
    bytes_put_le32(link + 4, generation + 1);
    assert_refused("link-target", segment_off(2) + LOG_LINK_OFF);
    bytes_put_le32(link + 4, generation);
    bytes_put_le32(link, BLOCKS_MAX + 5);
    assert_refused("link-target", segment_off(2) + LOG_LINK_OFF);
    bytes_put_le32(link, 1);
    assert_refused("link-target", segment_off(2) + LOG_LINK_OFF);
    bytes_put_le32(link, blocks[1]);
    assert_refused("link-missing", segment_off(2) + LOG_LINK_OFF);
    bytes_put_le64(link, 0);
    assert_refused("link-missing", segment_off(2) + LOG_LINK_OFF);
    assert_int_equal(fixture_reopen(&f, FIXTURE_SALVAGE), FL_OK);
    for (int i = 0; i < SEGMENTS; i++) {
        char key[16];

        snprintf(key, sizeof(key), "key%d", i);
        assert_non_null(fixture_met(&f, key));
    }
}

static void
link_without_a_seal_is_damage(void **state)
{
    (void)state;
    memset(fixture_at(&f, segment_off(1) + LOG_SEAL_OFF), 0, 8);
    assert_refused("link-unsealed", segment_off(1) + LOG_LINK_OFF);
}

static void
seal_and_link_lost_together_are_damage(void **state)
{
    (void)state;
    memset(fixture_at(&f, segment_off(1) + LOG_SEAL_OFF), 0, 64);
    assert_refused("link-missing", segment_off(1) + LOG_LINK_OFF);
    assert_non_null(strstr(f.rules, "segment-open"));
}

static void
seal_or_mark_that_does_not_validate_is_damage(void **state)
{
    uint8_t *seal = fixture_at(&f, segment_off(1) + LOG_SEAL_OFF);
    uint8_t *mark = fixture_at(&f, segment_off(1) + LOG_MARK_OFF);

    (void)state;
    for (unsigned bit = 0; bit < 64; bit++) {
        seal[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_refused("seal-word", segment_off(1) + LOG_SEAL_OFF);
        seal[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    memcpy(mark, seal, 8); /* a seal is no mark */
    assert_refused("mark-word", segment_off(1) + LOG_MARK_OFF);
}

static void
header_with_any_bit_flipped_is_damage(void **state)
{
    uint8_t *header = fixture_at(&f, segment_off(0));

    (void)state;
    for (unsigned bit = 0; bit < 8 * 64; bit += 3) {
        header[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_refused("segment-header", segment_off(0));
        header[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(fixture_reopen(&f, FIXTURE_READ), FL_OK);
}

/* Nonce and base LSN stand in the table as well: the frames can be read without the header. */
static void
header_lost_is_damage_and_salvaged(void **state)
{
    (void)state;
    for (int i = 0; i < SEGMENTS; i++) {
        uint8_t saved[64];

        memcpy(saved, fixture_at(&f, segment_off(i)), sizeof(saved));
        memset(fixture_at(&f, segment_off(i)), 0, sizeof(saved));
        assert_int_equal(fixture_reopen(&f, FIXTURE_READ), FL_CORRUPT);
        assert_int_equal(fixture_reopen(&f, FIXTURE_SALVAGE), FL_OK);
        assert_int_equal(f.lost_bytes, 0);
        assert_true(f.damaged > 0);
        for (int k = 0; k < SEGMENTS; k++) {
            char key[16];

            snprintf(key, sizeof(key), "key%d", k);
            assert_non_null(fixture_met(&f, key));
        }
        memcpy(fixture_at(&f, segment_off(i)), saved, sizeof(saved));
    }
}

static void
note_damaged_is_reported_and_harms_nothing(void **state)
{
    (void)state;
    fixture_at(&f, word_off(2) + 8)[0] ^= 1;
    assert_int_equal(fixture_reopen(&f, FIXTURE_WRITE), FL_OK);
    assert_string_equal(f.rules, "table-note ");
    assert_non_null(fixture_met(&f, "key2"));
}

static void
header_crc_again(uint64_t off)
{
    struct log_header_media *header = (struct log_header_media *)fixture_at(&f, off);
    uint8_t place[8];

    bytes_put_le32(place, crc32c(0, f.geometry.uuid, sizeof(f.geometry.uuid)));
    bytes_put_le32(place + 4, (uint32_t)(off / BLOCK));
    bytes_put_le32(header->crc,
                   crc32c(crc32c(0, place, sizeof(place)), header, LOG_HEADER_CRC_BYTES));
}

/* Its CRC is right: a later writer, or the other one of two words was lost. */
static void
header_with_a_head_that_is_not_there_or_the_tables_is_damage(void **state)
{
    struct log_header_media *header = (struct log_header_media *)fixture_at(&f, segment_off(0));

    (void)state;
    for (unsigned head = 1; head < 256; head += head == 1 ? 1 : 127) {
        header->head = (uint8_t)head;
        header_crc_again(segment_off(0));
        assert_refused("segment-header", segment_off(0));
        assert_int_equal(fixture_reopen(&f, FIXTURE_SALVAGE), FL_OK);
        assert_non_null(fixture_met(&f, "key0"));
    }
    header->head = 0;
    header_crc_again(segment_off(0));
    assert_int_equal(fixture_reopen(&f, FIXTURE_READ), FL_OK);
}

/* What a later writer puts there says nothing to this reader. */
static void
header_with_reserved_bytes_set_is_read(void **state)
{
    struct log_header_media *header = (struct log_header_media *)fixture_at(&f, segment_off(0));

    (void)state;
    memset(header->reserved0, 0xff, sizeof(header->reserved0));
    memset(header->base_repl_off, 0xff, sizeof(header->base_repl_off));
    memset(header->reserved1, 0xff, sizeof(header->reserved1));
    header_crc_again(segment_off(0));
    memset(fixture_at(&f, segment_off(0) + LOG_MARK_OFF + 8), 0xff, 40);
    memset(fixture_at(&f, word_off(0) + 24), 0xff, 8);
    assert_int_equal(fixture_reopen(&f, FIXTURE_WRITE), FL_OK);
    assert_int_equal(f.findings, 0);
    assert_non_null(fixture_met(&f, "key0"));
}

static void
base_lsn_out_of_bounds_is_damage_and_any_other_is_not(void **state)
{
    struct log_header_media *header = (struct log_header_media *)fixture_at(&f, segment_off(5));
    const uint64_t base = bytes_get_le64(header->base_lsn);

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        bytes_put_le64(header->base_lsn,
                       i == 0 ? UINT64_C(1) << 63 : (UINT64_C(1) << 63) - (i == 1 ? 64 : BLOCK));
        header_crc_again(segment_off(5));
        if (i < 2) {
            assert_refused("segment-header", segment_off(5));
        }
    }
    /* Not one segment more, and the store says so. */
    assert_int_equal(fixture_reopen(&f, FIXTURE_WRITE), FL_OK);
    assert_int_equal(log_frame_begin(f.log, LOG_HEAD_MAIN, 1, 64, HEAP_NORMAL), FL_NO_SPACE);
    bytes_put_le64(header->base_lsn, base + 12345 * 7);
    header_crc_again(segment_off(5));
    memset(fixture_at(&f, segment_off(5) + LOG_SEAL_OFF), 0, BLOCK - LOG_SEAL_OFF);
    assert_int_equal(fixture_reopen(&f, FIXTURE_WRITE), FL_OK);
    fixture_put(&f, LOG_HEAD_MAIN, "unaligned", "1");
    assert_int_equal(log_lsn_next(f.log) % 64, (base + 12345 * 7) % 64);
    assert_int_equal(fixture_reopen(&f, FIXTURE_WRITE), FL_OK);
    assert_non_null(fixture_met(&f, "unaligned"));
}

/* A clean close seals all: what is open then has lost its seal, and perhaps frames. */
static void
segment_open_in_a_store_closed_cleanly_is_damage(void **state)
{
    const struct heap_root clean = {
        .sequence = 1, .flags = HEAP_ROOT_CLEAN, .lsn_next = log_lsn_next(f.log)};
    struct pm pm;

    (void)state;
    assert_int_equal(fixture_reopen(&f, FIXTURE_WRITE), FL_OK); /* all sealed */
    pm_init(&pm, heap_media(f.heap));
    assert_int_equal(heap_root_put(f.heap, &pm, &clean), FL_OK);
    assert_int_equal(fixture_reopen(&f, FIXTURE_READ), FL_OK);
    memset(fixture_at(&f, segment_off(5) + LOG_SEAL_OFF), 0, 8);
    assert_refused("segment-open", segment_off(5) + LOG_SEAL_OFF);
    assert_int_equal(fixture_reopen(&f, FIXTURE_SALVAGE), FL_OK);
    assert_non_null(fixture_met(&f, "key5"));
}

static void
seal_below_the_mark_is_damage(void **state)
{
    const struct log_segment *segment = log_segment_of(f.log, blocks[1]);
    const uint32_t lines = (uint32_t)(segment->end / LOG_LINE_BYTES) + 1;
    uint8_t bytes[16];

    (void)state;
    bytes_put_le64(bytes, segment->nonce ^ crc32c(0, f.geometry.uuid, sizeof(f.geometry.uuid)));
    bytes_put_le64(bytes + 8, lines | (uint64_t)LOG_MARK_OFF << 32);
    bytes_put_le64(fixture_at(&f, segment_off(1) + LOG_MARK_OFF),
                   lines | (uint64_t)crc32c(0, bytes, sizeof(bytes)) << 32);
    assert_refused("seal-word", segment_off(1) + LOG_SEAL_OFF);
}

static void
header_of_another_block_or_store_is_damage(void **state)
{
    static struct fixture other;

    (void)state;
    memcpy(fixture_at(&f, segment_off(0)), fixture_at(&f, segment_off(1)), BLOCK);
    assert_refused("segment-header", segment_off(0));
    fixture_create(&other, PM_DIRECT);
    fixture_put(&other, LOG_HEAD_MAIN, "other", "store");
    memcpy(fixture_at(&f, segment_off(0)), fixture_at(&other, segment_off(0)), BLOCK);
    fixture_destroy(&other);
    assert_refused("segment-header", segment_off(0));
}

/* The table forgot the segment: its block is free and would be punched; the salvage takes it by its header. */
static void
table_word_zeroed_is_damage_and_salvaged(void **state)
{
    (void)state;
    for (int i = 0; i < SEGMENTS; i++) {
        uint8_t saved[8];

        memcpy(saved, fixture_at(&f, word_off(i)), 8);
        memset(fixture_at(&f, word_off(i)), 0, 8);
        assert_refused("table-word", segment_off(i));
        assert_int_equal(fixture_reopen(&f, FIXTURE_SALVAGE), FL_OK);
        assert_int_equal(f.lost_bytes, 0);
        for (int k = 0; k < SEGMENTS; k++) {
            char key[16];

            snprintf(key, sizeof(key), "key%d", k);
            assert_non_null(fixture_met(&f, key));
        }
        memcpy(fixture_at(&f, word_off(i)), saved, 8);
    }
}

static void
table_word_damaged_is_damage_and_salvaged(void **state)
{
    (void)state;
    fixture_at(&f, word_off(0))[0] ^= 1;
    assert_refused("table-word", word_off(0));
    assert_int_equal(fixture_reopen(&f, FIXTURE_SALVAGE), FL_OK);
    assert_non_null(fixture_met(&f, "key0"));
}

/* Opening for writing finds damage: it has changed nothing, and punched nothing that a salvage wants. */
static void
open_that_refuses_writes_nothing(void **state)
{
    uint64_t len = 0;
    uint64_t len_after = 0;

    (void)state;
    memset(fixture_at(&f, word_off(3)), 0, 8);
    uint8_t *before = mem_map_copy(f.mem, &len);
    const uint64_t punches = mem_map_calls(f.mem, MEM_MAP_CALL_PUNCH);

    assert_int_equal(fixture_reopen(&f, FIXTURE_WRITE), FL_CORRUPT);
    uint8_t *after = mem_map_copy(f.mem, &len_after);

    assert_int_equal(len_after, len);
    assert_memory_equal(after, before, len);
    assert_int_equal(mem_map_calls(f.mem, MEM_MAP_CALL_PUNCH), punches);
    free(before);
    free(after);
}

/* A change was cut short: owned, with a header, but not linked to. */
static void
segment_that_was_never_linked_to_is_given_back(void **state)
{
    const struct heap_geometry *geometry = heap_geometry(f.heap);

    (void)state;
    /* As a crash before the link leaves it: take link and frames of the last change back. */
    memset(fixture_at(&f, segment_off(4) + LOG_LINK_OFF), 0, 8);
    memset(fixture_at(&f, segment_off(5) + LOG_SEAL_OFF), 0, geometry->block_bytes - LOG_SEAL_OFF);
    assert_int_equal(fixture_reopen(&f, FIXTURE_READ), FL_OK);
    assert_int_equal(f.findings, 0);
    assert_int_equal(log_segment_of(f.log, blocks[5])->use, LOG_USE_NONE);
    assert_int_equal(heap_entry_get(f.heap, blocks[5]).state, HEAP_LOG); /* nothing was written */
    assert_int_equal(fixture_reopen(&f, FIXTURE_WRITE), FL_OK);
    assert_int_equal(heap_entry_get(f.heap, blocks[5]).state, HEAP_FREE);
    assert_non_null(fixture_met(&f, "key4"));
    fixture_put(&f, LOG_HEAD_MAIN, "later", "1");
    assert_int_equal(fixture_reopen(&f, FIXTURE_WRITE), FL_OK);
    assert_non_null(fixture_met(&f, "later"));
    assert_int_equal(f.findings, 0);
}

/* Cut short earlier: the header alone, and the table silent. */
static void
header_on_a_free_block_is_nothing(void **state)
{
    (void)state;
    memset(fixture_at(&f, segment_off(4) + LOG_LINK_OFF), 0, 8);
    memset(fixture_at(&f, word_off(5)), 0, 8);
    memset(fixture_at(&f, segment_off(5) + LOG_SEAL_OFF), 0, BLOCK - LOG_SEAL_OFF);
    assert_int_equal(fixture_reopen(&f, FIXTURE_READ), FL_OK);
    assert_int_equal(f.findings, 0);
    assert_int_equal(fixture_reopen(&f, FIXTURE_SALVAGE), FL_OK);
    assert_int_equal(f.findings, 0);
}

/* A free of several blocks was cut short behind the first word. */
static void
blocks_behind_a_freed_first_one_are_given_back(void **state)
{
    static char big[3 * BLOCK];
    struct pm pm;

    (void)state;
    assert_int_equal(fixture_reopen(&f, FIXTURE_WRITE), FL_OK);
    memset(big, 'b', sizeof(big) - 1);
    const uint32_t block = (uint32_t)(fixture_put(&f, LOG_HEAD_MAIN, "big", big) / BLOCK);

    fixture_fill(&f, LOG_HEAD_MAIN);
    pm_init(&pm, heap_media(f.heap));
    uint8_t words[3][8];

    for (unsigned i = 0; i < 3; i++) {
        memcpy(words[i], fixture_at(&f, BLOCK + (block + 1 + i) * 32), 8);
    }
    assert_int_equal(log_segment_free(f.log, &pm, block), FL_OK);
    for (unsigned i = 0; i < 3; i++) {
        memcpy(fixture_at(&f, BLOCK + (block + 1 + i) * 32), words[i], 8);
    }
    assert_int_equal(fixture_reopen(&f, FIXTURE_READ), FL_OK);
    assert_int_equal(f.findings, 0);
    assert_int_equal(heap_entry_get(f.heap, block + 1).state, HEAP_CONT);
    assert_int_equal(fixture_reopen(&f, FIXTURE_WRITE), FL_OK);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(heap_entry_get(f.heap, block + i).state, HEAP_FREE);
    }
    assert_null(fixture_met(&f, "big"));
}

static void
block_lost_inside_a_long_segment_is_damage(void **state)
{
    static char big[3 * BLOCK];

    (void)state;
    assert_int_equal(fixture_reopen(&f, FIXTURE_WRITE), FL_OK);
    memset(big, 'b', sizeof(big) - 1);
    const uint32_t block = (uint32_t)(fixture_put(&f, LOG_HEAD_MAIN, "big", big) / BLOCK);

    fixture_fill(&f, LOG_HEAD_MAIN);
    uint8_t saved[8];

    memcpy(saved, fixture_at(&f, BLOCK + (block + 2) * 32), 8);
    memset(fixture_at(&f, BLOCK + (block + 2) * 32), 0, 8);
    assert_refused("segment-blocks", (uint64_t)block * BLOCK);
    assert_int_equal(fixture_reopen(&f, FIXTURE_SALVAGE), FL_OK);
    assert_non_null(fixture_met(&f, "big"));
    memcpy(fixture_at(&f, BLOCK + (block + 2) * 32), saved, 8);
    memset(fixture_at(&f, (uint64_t)(block + 2) * BLOCK), 0, BLOCK);
    assert_int_equal(fixture_reopen(&f, FIXTURE_READ), FL_CORRUPT);
    assert_int_equal(fixture_reopen(&f, FIXTURE_SALVAGE), FL_OK);
    assert_null(fixture_met(&f, "big"));
    assert_true(f.lost_bytes > 0);
}

static void
predecessor_freed_and_used_again_is_no_damage(void **state)
{
    struct pm pm;

    (void)state;
    assert_int_equal(fixture_reopen(&f, FIXTURE_WRITE), FL_OK);
    pm_init(&pm, heap_media(f.heap));
    for (int i = 1; i < 4; i += 2) {
        assert_int_equal(log_segment_free(f.log, &pm, blocks[i]), FL_OK);
        log_segment_recycle(f.log, blocks[i]);
    }
    fixture_put(&f, LOG_HEAD_CLEANER, "reuses", "1");
    fixture_fill(&f, LOG_HEAD_CLEANER);
    assert_int_equal(fixture_reopen(&f, FIXTURE_WRITE), FL_OK);
    assert_int_equal(f.findings, 0);
    assert_non_null(fixture_met(&f, "key0"));
    assert_null(fixture_met(&f, "key1"));
    assert_non_null(fixture_met(&f, "key2"));
    assert_null(fixture_met(&f, "key3"));
    assert_non_null(fixture_met(&f, "reuses"));
}

/* The chain's end is freed before the head goes on: the next segment has no predecessor. */
static void
end_of_the_chain_freed_leaves_a_new_beginning(void **state)
{
    struct pm pm;

    (void)state;
    assert_int_equal(fixture_reopen(&f, FIXTURE_WRITE), FL_OK);
    pm_init(&pm, heap_media(f.heap));
    assert_int_equal(log_segment_free(f.log, &pm, blocks[5]), FL_OK);
    log_segment_recycle(f.log, blocks[5]);
    fixture_put(&f, LOG_HEAD_MAIN, "goes on", "1");
    assert_int_equal(fixture_reopen(&f, FIXTURE_WRITE), FL_OK);
    assert_int_equal(f.findings, 0);
    assert_non_null(fixture_met(&f, "goes on"));
    assert_null(fixture_met(&f, "key5"));
}

static void
lsn_raised_is_not_given_out_again(void **state)
{
    (void)state;
    assert_int_equal(fixture_reopen(&f, FIXTURE_WRITE), FL_OK);
    log_lsn_raise(f.log, UINT64_C(1) << 40);
    assert_true(log_lsn_next(f.log) > UINT64_C(1) << 40);
    log_lsn_raise(f.log, 5);
    assert_true(log_lsn_next(f.log) > UINT64_C(1) << 40);
    assert_true(log_lsn_main(f.log) > UINT64_C(1) << 40);
}

#define RULE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        RULE(link_to_a_block_that_is_not_there_is_corrupt_and_names_it),
        RULE(block_lost_of_a_segment_that_nothing_leads_to_is_damage),
        RULE(link_to_another_block_or_generation_is_damage),
        RULE(link_without_a_seal_is_damage),
        RULE(seal_and_link_lost_together_are_damage),
        RULE(seal_or_mark_that_does_not_validate_is_damage),
        RULE(header_with_any_bit_flipped_is_damage),
        RULE(header_lost_is_damage_and_salvaged),
        RULE(note_damaged_is_reported_and_harms_nothing),
        RULE(header_with_a_head_that_is_not_there_or_the_tables_is_damage),
        RULE(header_with_reserved_bytes_set_is_read),
        RULE(base_lsn_out_of_bounds_is_damage_and_any_other_is_not),
        RULE(segment_open_in_a_store_closed_cleanly_is_damage),
        RULE(seal_below_the_mark_is_damage),
        RULE(header_of_another_block_or_store_is_damage),
        RULE(table_word_zeroed_is_damage_and_salvaged),
        RULE(table_word_damaged_is_damage_and_salvaged),
        RULE(open_that_refuses_writes_nothing),
        RULE(segment_that_was_never_linked_to_is_given_back),
        RULE(header_on_a_free_block_is_nothing),
        RULE(blocks_behind_a_freed_first_one_are_given_back),
        RULE(block_lost_inside_a_long_segment_is_damage),
        RULE(predecessor_freed_and_used_again_is_no_damage),
        RULE(end_of_the_chain_freed_leaves_a_new_beginning),
        RULE(lsn_raised_is_not_given_out_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
