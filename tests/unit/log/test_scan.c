/* Goal:   storage rules 1 and 5: a torn tail is dropped and never comes to life again; anything else that doesn't
 *         validate is damage, refused with its place, and passed over only by a salvage that says what it lost.
 * Method: logs in memory, closed as a kill does, changed in one place by hand and scanned anew; a torn frame is
 *         made by taking lines away from one that was whole. */
#include "tests/unit/log/fixture.h"

#include "base/bytes.h"
#include "base/fail.h"
#include "tests/lib/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct fixture f;

static int
setup(void **state)
{
    (void)state;
    fixture_create(&f, PM_DIRECT);
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    fixture_destroy(&f);
    return 0;
}

/* Damage: refused, and the text names the offset and the remedy. */
static void
assert_refused_at(uint64_t off)
{
    char text[32];

    assert_int_equal(fixture_reopen(&f, FIXTURE_READ), FL_CORRUPT);
    snprintf(text, sizeof(text), "%llu", (unsigned long long)off);
    if (strstr(fl_last_error(), text) == NULL) {
        fail_msg("%s does not name %s", fl_last_error(), text);
    }
    assert_non_null(strstr(fl_last_error(), "faultline-check --repair"));
    assert_true(f.findings > 0);
}

static void
zero_line(uint64_t off)
{
    memset(fixture_at(&f, off), 0, LOG_LINE_BYTES);
}

static void
log_killed_comes_back_whole(void **state)
{
    (void)state;
    fixture_put(&f, LOG_HEAD_MAIN, "a", "1");
    fixture_batch(&f, LOG_HEAD_MAIN, "b", 10);
    fixture_fill(&f, LOG_HEAD_MAIN);
    fixture_put(&f, LOG_HEAD_MAIN, "c", "3");
    assert_int_equal(fixture_reopen(&f, FIXTURE_READ), FL_OK);
    assert_int_equal(f.findings, 0);
    assert_int_equal(f.torn_bytes, 0);
    assert_string_equal(fixture_met(&f, "a"), "1");
    assert_string_equal(fixture_met(&f, "b0"), "batched");
    assert_string_equal(fixture_met(&f, "b9"), "batched");
    assert_string_equal(fixture_met(&f, "c"), "3");
}

static void
torn_last_frame_is_dropped_without_a_finding(void **state)
{
    const char *const value =
        "a value that is long enough for a frame of three lines, so that it can be "
        "torn at each of them: the first has the header, the second is all value, "
        "the third is an end";

    (void)state;
    fixture_put(&f, LOG_HEAD_MAIN, "whole", "1");
    const uint64_t off = fixture_put(&f, LOG_HEAD_MAIN, "torn", value);

    for (unsigned line = 0; line < 3; line++) {
        uint8_t saved[LOG_LINE_BYTES];
        const uint64_t at = off + line * LOG_LINE_BYTES;

        memcpy(saved, fixture_at(&f, at), sizeof(saved));
        zero_line(at);
        if (line == 2) {
            memcpy(fixture_at(&f, at), saved, sizeof(saved));
            fixture_at(&f, at)[0] ^= 1;
        }
        assert_int_equal(fixture_reopen(&f, FIXTURE_READ), FL_OK);
        assert_int_equal(f.findings, 0);
        assert_int_equal(f.met_count, 1);
        assert_true(f.torn_bytes > 0);
        memcpy(fixture_at(&f, at), saved, sizeof(saved));
    }
    assert_int_equal(fixture_reopen(&f, FIXTURE_READ), FL_OK);
    assert_int_equal(f.met_count, 2);
}

static void
torn_batch_is_dropped_as_a_whole(void **state)
{
    (void)state;
    fixture_put(&f, LOG_HEAD_MAIN, "whole", "1");
    const uint64_t off = fixture_batch(&f, LOG_HEAD_MAIN, "b", 20);
    const uint64_t end = log_head_off(f.log, LOG_HEAD_MAIN);

    for (uint64_t at = off; at < end; at += LOG_LINE_BYTES) {
        uint8_t saved[LOG_LINE_BYTES];

        memcpy(saved, fixture_at(&f, at), sizeof(saved));
        zero_line(at);
        assert_int_equal(fixture_reopen(&f, FIXTURE_SALVAGE), FL_OK); /* not even by salvage */
        assert_int_equal(f.findings, 0);
        assert_int_equal(f.met_count, 1);
        memcpy(fixture_at(&f, at), saved, sizeof(saved));
    }
}

/* A torn frame was followed, before the crash, by nothing. After recovery the log goes on elsewhere; if the torn
 * frame's missing line appears late (a cache line written back, a sector remapped), it is behind a seal. */
static void
torn_frame_completed_after_recovery_stays_dead(void **state)
{
    uint8_t saved[LOG_LINE_BYTES];

    (void)state;
    fixture_put(&f, LOG_HEAD_MAIN, "whole", "1");
    const uint64_t off = fixture_put(&f, LOG_HEAD_MAIN, "torn", "never acknowledged");

    memcpy(saved, fixture_at(&f, off), sizeof(saved));
    zero_line(off);
    assert_int_equal(fixture_reopen(&f, FIXTURE_WRITE), FL_OK);
    assert_null(fixture_met(&f, "torn"));
    fixture_put(&f, LOG_HEAD_MAIN, "later", "2");
    assert_int_not_equal(log_head_off(f.log, LOG_HEAD_MAIN) / BLOCK, off / BLOCK);
    memcpy(fixture_at(&f, off), saved, sizeof(saved));
    assert_int_equal(fixture_reopen(&f, FIXTURE_READ), FL_OK);
    assert_null(fixture_met(&f, "torn"));
    assert_non_null(fixture_met(&f, "later"));
}

/* A stale frame behind a torn one that was written anew: recovery never writes into a segment it found, so that
 * there is no such place; a frame of the segment's earlier life has another nonce. */
static void
stale_frames_behind_a_torn_one_never_come_to_life(void **state)
{
    static uint8_t old[BLOCK];
    struct pm pm;

    (void)state;
    pm_init(&pm, heap_media(f.heap));
    for (int i = 0; i < 20; i++) {
        fixture_put(&f, LOG_HEAD_MAIN, "stale", "from an earlier life");
    }
    const uint32_t block = fixture_fill(&f, LOG_HEAD_MAIN);

    memcpy(old, fixture_at(&f, (uint64_t)block * BLOCK), BLOCK);
    assert_int_equal(log_segment_free(f.log, &pm, block), FL_OK);
    log_segment_recycle(f.log, block);
    const uint64_t off = fixture_put(&f, LOG_HEAD_CLEANER, "new", "frame");

    assert_int_equal(off / BLOCK, block);
    /* The punch was rolled back: everything behind the new header and frame is old. Every frame is whole, at its
     * own offset; only nonce and base LSN are not its own. */
    memcpy(fixture_at(&f, off + LOG_LINE_BYTES), old + off % BLOCK + LOG_LINE_BYTES,
           BLOCK - off % BLOCK - LOG_LINE_BYTES);
    assert_int_equal(fixture_reopen(&f, FIXTURE_READ), FL_OK);
    assert_int_equal(f.findings, 0);
    assert_null(fixture_met(&f, "stale"));
    assert_non_null(fixture_met(&f, "new"));
    /* And now the new frame is torn. */
    zero_line(off);
    assert_int_equal(fixture_reopen(&f, FIXTURE_READ), FL_OK);
    assert_int_equal(f.findings, 0);
    assert_null(fixture_met(&f, "stale"));
}

/* A client stores bytes that look like frames - it may have read them from a copy of the file. They lie on line
 * boundaries inside a value whose own frame is torn. */
static void
client_bytes_that_look_like_a_frame_never_validate(void **state)
{
    static char value[1024];
    struct rng rng = rng_seeded(1);

    (void)state;
    fixture_put(&f, LOG_HEAD_MAIN, "whole", "1");
    const uint64_t off = log_head_off(f.log, LOG_HEAD_MAIN);
    const uint32_t block = (uint32_t)(off / BLOCK);

    for (int round = 0; round < 200; round++) {
        for (size_t at = 0; at + 128 < sizeof(value); at += LOG_LINE_BYTES) {
            struct log_record forged = {
                .kind = LOG_KIND_PUT, .key = {"forged", 6}, .value = {"by a client", 11}};
            /* The LSNs are easily guessed; the nonce is not. */
            const struct log_seed guess = {round == 0 ? 0 : rng_u64(&rng),
                                           log_segment_of(f.log, block)->base_lsn + off % BLOCK +
                                               LOG_LINE_BYTES + at};

            log_record_encode(&forged, guess, (uint8_t *)value + at);
        }
        struct log_record record = {
            .kind = LOG_KIND_PUT, .key = {"k", 1}, .value = {value, sizeof(value)}};
        const struct log_seed seed = {log_segment_of(f.log, block)->nonce,
                                      log_segment_of(f.log, block)->base_lsn + off % BLOCK};
        uint8_t frame[2048];
        const size_t bytes = log_record_bytes(&record);

        /* Shift the value so that the forged frames stand on lines; all but the frame's first line gets there. */
        record.key = (struct fl_bytes){value, LOG_LINE_BYTES - LOG_RECORD_BYTES};
        assert_true(log_record_bytes(&record) < sizeof(frame) && bytes < sizeof(frame));
        log_record_encode(&record, seed, frame);
        memcpy(fixture_at(&f, off + LOG_LINE_BYTES), frame + LOG_LINE_BYTES,
               log_record_bytes(&record) - LOG_LINE_BYTES);
        assert_int_equal(fixture_reopen(&f, FIXTURE_READ), FL_OK);
        assert_int_equal(f.findings, 0);
        assert_int_equal(f.met_count, 1);
        assert_true(f.torn_bytes > 0);
    }
}

static void
frame_damaged_before_a_valid_one_is_damage(void **state)
{
    (void)state;
    const uint64_t first = fixture_put(&f, LOG_HEAD_MAIN, "damaged", "1");
    const uint64_t second = fixture_put(&f, LOG_HEAD_MAIN, "whole", "2");

    fixture_at(&f, first)[14] ^= 0x20;
    assert_refused_at(first);
    assert_int_equal(fixture_reopen(&f, FIXTURE_WRITE), FL_CORRUPT);
    assert_int_equal(fixture_reopen(&f, FIXTURE_SALVAGE), FL_OK);
    assert_int_equal(f.met_count, 1);
    assert_string_equal(fixture_met(&f, "whole"), "2");
    assert_int_equal(f.lost_bytes, second - first);
    assert_string_equal(f.rules, "frame ");
}

static void
frame_damaged_below_a_seal_is_damage(void **state)
{
    (void)state;
    fixture_put(&f, LOG_HEAD_MAIN, "a", "1");
    const uint32_t block = fixture_fill(&f, LOG_HEAD_MAIN);
    const uint64_t last =
        (uint64_t)block * BLOCK + log_segment_of(f.log, block)->end - 2 * LOG_LINE_BYTES;

    fixture_at(&f, last)[14] ^= 0x20;
    assert_refused_at(last);
    zero_line(last);
    zero_line(last + LOG_LINE_BYTES);
    assert_refused_at(last);
    assert_int_equal(fixture_reopen(&f, FIXTURE_SALVAGE), FL_OK);
    assert_int_equal(f.lost_bytes, 2 * LOG_LINE_BYTES);
    assert_string_equal(fixture_met(&f, "a"), "1");
}

static void
frame_damaged_below_a_mark_is_damage(void **state)
{
    struct pm pm;

    (void)state;
    pm_init(&pm, heap_media(f.heap));
    fixture_put(&f, LOG_HEAD_MAIN, "key", "1");
    const uint32_t source = fixture_fill(&f, LOG_HEAD_MAIN);
    const uint64_t copy = fixture_put(&f, LOG_HEAD_CLEANER, "key", "1");

    assert_int_equal(log_segment_free(f.log, &pm, source), FL_OK);
    fixture_at(&f, copy)[14] ^= 0x20;
    assert_refused_at(copy);
    zero_line(copy);
    assert_refused_at(copy);
    assert_int_equal(fixture_reopen(&f, FIXTURE_SALVAGE), FL_OK);
    assert_int_equal(f.lost_bytes, LOG_LINE_BYTES);
}

/* Until its source is freed a copy may be torn like any frame: the source is still there. */
static void
frame_damaged_above_a_mark_is_torn(void **state)
{
    (void)state;
    fixture_put(&f, LOG_HEAD_MAIN, "key", "1");
    const uint64_t copy = fixture_put(&f, LOG_HEAD_CLEANER, "key", "1");

    fixture_at(&f, copy)[14] ^= 0x20;
    assert_int_equal(fixture_reopen(&f, FIXTURE_READ), FL_OK);
    assert_int_equal(f.findings, 0);
    assert_int_equal(f.met_count, 1);
}

static void
line_zeroed_in_the_middle_is_damage(void **state)
{
    uint64_t offs[20];

    (void)state;
    for (int i = 0; i < 20; i++) {
        offs[i] = fixture_put(&f, LOG_HEAD_MAIN, "k", "v");
    }
    for (int i = 0; i < 19; i++) {
        uint8_t saved[LOG_LINE_BYTES];

        memcpy(saved, fixture_at(&f, offs[i]), sizeof(saved));
        zero_line(offs[i]);
        assert_refused_at(offs[i]);
        memcpy(fixture_at(&f, offs[i]), saved, sizeof(saved));
    }
    assert_int_equal(fixture_reopen(&f, FIXTURE_READ), FL_OK);
}

/* The hole in a batch hides behind a valid frame of the same segment. */
static void
batch_damaged_yields_its_other_records_to_salvage(void **state)
{
    (void)state;
    const uint64_t off = fixture_batch(&f, LOG_HEAD_MAIN, "b", 40);

    fixture_put(&f, LOG_HEAD_MAIN, "after", "1");
    fixture_at(&f, off + LOG_BATCH_BYTES + 5 * 21 + 15)[0] ^= 1;
    assert_refused_at(off);
    assert_int_equal(fixture_reopen(&f, FIXTURE_SALVAGE), FL_OK);
    assert_true(f.met_count >= 1 + 38);
    assert_non_null(fixture_met(&f, "b0"));
    assert_non_null(fixture_met(&f, "b39"));
    assert_non_null(fixture_met(&f, "after"));
    /* Its header as well: it is the records that verify. */
    memset(fixture_at(&f, off), 0xff, LOG_BATCH_BYTES);
    assert_int_equal(fixture_reopen(&f, FIXTURE_SALVAGE), FL_OK);
    assert_true(f.met_count >= 1 + 38);
}

/* Two frames are gone, and nothing stands behind them: no crash leaves that, but nothing shows it either, except a
 * seal. */
static void
store_closed_cleanly_has_no_torn_tail(void **state)
{
    (void)state;
    fixture_put(&f, LOG_HEAD_MAIN, "a", "1");
    const uint64_t last = fixture_put(&f, LOG_HEAD_MAIN, "last", "2");

    zero_line(last);
    assert_int_equal(fixture_reopen(&f, FIXTURE_READ), FL_OK);
    fixture_destroy(&f);
    fixture_create(&f, PM_DIRECT);
    fixture_put(&f, LOG_HEAD_MAIN, "a", "1");
    const uint64_t sealed = fixture_put(&f, LOG_HEAD_MAIN, "last", "2");

    assert_int_equal(log_seal_heads(f.log), FL_OK);
    zero_line(sealed);
    assert_refused_at(sealed);
}

static void
padding_and_bytes_behind_the_seal_are_nobodys(void **state)
{
    (void)state;
    const uint64_t off = fixture_put(&f, LOG_HEAD_MAIN, "a", "1");

    assert_int_equal(log_seal_heads(f.log), FL_OK);
    memset(fixture_at(&f, off + 14), 0xee, LOG_LINE_BYTES - 14);
    memset(fixture_at(&f, off + LOG_LINE_BYTES), 0xee, 1000);
    assert_int_equal(fixture_reopen(&f, FIXTURE_READ), FL_OK);
    assert_int_equal(f.findings, 0);
    assert_int_equal(f.met_count, 1);
}

/* Random bytes over all of the free part: no hang, no crash, no frame. */
static void
noise_behind_the_log_is_a_torn_tail(void **state)
{
    struct rng rng = rng_seeded(2);

    (void)state;
    fixture_put(&f, LOG_HEAD_MAIN, "a", "1");
    const uint64_t off = log_head_off(f.log, LOG_HEAD_MAIN);

    for (int round = 0; round < 100; round++) {
        rng_fill(&rng, fixture_at(&f, off), BLOCK - off % BLOCK);
        for (uint64_t at = off; round % 2 == 1 && at < off / BLOCK * BLOCK + BLOCK;
             at += LOG_LINE_BYTES) {
            fixture_at(&f, at)[4] &= 3; /* as near to a header as can be */
            fixture_at(&f, at)[5] = LOG_KIND_PUT << 4;
            fixture_at(&f, at)[11] = 0;
        }
        assert_int_equal(fixture_reopen(&f, FIXTURE_READ), FL_OK);
        assert_int_equal(f.met_count, 1);
        assert_true(f.torn_bytes > 0);
    }
}

static void
scan_ends_with_what_the_visitor_says(void **state)
{
    const struct log_scan none = {NULL, NULL, NULL, false};
    struct log_scan_result result;

    (void)state;
    const uint64_t off = fixture_put(&f, LOG_HEAD_MAIN, "a", "1");

    assert_int_equal(log_segment_scan(f.log, (uint32_t)(off / BLOCK), &none, &result), FL_OK);
    assert_int_equal(result.records, 1);
    assert_int_equal(result.end, log_head_off(f.log, LOG_HEAD_MAIN) % BLOCK);
}

#define RULE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        RULE(log_killed_comes_back_whole),
        RULE(torn_last_frame_is_dropped_without_a_finding),
        RULE(torn_batch_is_dropped_as_a_whole),
        RULE(torn_frame_completed_after_recovery_stays_dead),
        RULE(stale_frames_behind_a_torn_one_never_come_to_life),
        RULE(client_bytes_that_look_like_a_frame_never_validate),
        RULE(frame_damaged_before_a_valid_one_is_damage),
        RULE(frame_damaged_below_a_seal_is_damage),
        RULE(frame_damaged_below_a_mark_is_damage),
        RULE(frame_damaged_above_a_mark_is_torn),
        RULE(line_zeroed_in_the_middle_is_damage),
        RULE(batch_damaged_yields_its_other_records_to_salvage),
        RULE(store_closed_cleanly_has_no_torn_tail),
        RULE(padding_and_bytes_behind_the_seal_are_nobodys),
        RULE(noise_behind_the_log_is_a_torn_tail),
        RULE(scan_ends_with_what_the_visitor_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
