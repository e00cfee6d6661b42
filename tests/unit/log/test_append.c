/* Goal:   a head appends frames on fresh lines and changes segments in the order that recovery relies on: header
 *         and seal, then ownership, then the link, then the first frame, each durable before the next is begun; a
 *         freed segment's copies
 *         are marked with it; heads are apart; what is freed is used again under a new generation.
 * Method: a recorder over hooked media keeps every store with the number of fences before it; the store to each word
 *         of the change is looked up by its place. Failures of every call in turn. */
#include "tests/unit/log/fixture.h"

#include "base/bytes.h"
#include "base/fail.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { STORES_MAX = 65536 };

struct store {
    uint64_t off, len;
    unsigned fence;      /* fences before it */
    unsigned flushed_by; /* fences when its line was flushed */
};

struct trace {
    struct store stores[STORES_MAX];
    size_t count;
    unsigned fences;
};

static struct trace trace;

static void
record(void *context, const struct mem_map_event *event)
{
    struct trace *t = context;

    if (event->kind == MEM_MAP_STORE) {
        assert_true(t->count < STORES_MAX);
        t->stores[t->count++] = (struct store){event->off, event->len, t->fences, UINT32_MAX};
    } else if (event->kind == MEM_MAP_FLUSH) {
        for (size_t i = 0; i < t->count; i++) {
            struct store *store = &t->stores[i];

            if (store->flushed_by == UINT32_MAX && store->off / 64 * 64 < event->off + event->len &&
                event->off < store->off + store->len) {
                store->flushed_by = t->fences;
            }
        }
    } else if (event->kind == MEM_MAP_FENCE) {
        t->fences++;
    }
}

/* The last store that covers `off`. */
static struct store
store_at(uint64_t off)
{
    for (size_t i = trace.count; i-- > 0;) {
        if (trace.stores[i].off <= off && off < trace.stores[i].off + trace.stores[i].len) {
            return trace.stores[i];
        }
    }
    fail_msg("nothing was stored at %llu", (unsigned long long)off);
    return (struct store){0};
}

static void
assert_durable_before(struct store first, struct store then)
{
    assert_true(first.flushed_by < then.fence);
}

static void
fixture_create_recorded(struct fixture *f)
{
    fixture_create(f, PM_HOOKED);
    memset(&trace, 0, sizeof(trace));
    mem_map_record(f->mem, record, &trace);
}

static uint64_t
word_off(uint32_t block)
{
    return BLOCK + (uint64_t)block * 32; /* all in the first group */
}

static void
segment_change_makes_each_step_durable_before_the_next(void **state)
{
    static struct fixture f;

    (void)state;
    fixture_create_recorded(&f);
    fixture_put(&f, LOG_HEAD_MAIN, "first", "value");
    const uint64_t old = (uint64_t)fixture_fill(&f, LOG_HEAD_MAIN) * BLOCK;
    const uint64_t new = log_head_off(f.log, LOG_HEAD_MAIN) / BLOCK *BLOCK;
    const struct store header = store_at(new);
    const struct store word = store_at(word_off((uint32_t)(new / BLOCK)));
    const struct store seal = store_at(old + LOG_SEAL_OFF);
    const struct store link = store_at(old + LOG_LINK_OFF);
    const struct store frame = store_at(new + LOG_HEADER_BYTES);

    assert_int_not_equal(new, old);
    assert_durable_before(header, word);
    assert_durable_before(seal, word);
    assert_durable_before(word, link);
    assert_durable_before(link, frame);
    assert_int_equal(link.len, 8);
    assert_int_equal(seal.len, 8);
    assert_int_equal(word.len, 8);
    assert_int_equal(bytes_get_le32(fixture_at(&f, old + LOG_LINK_OFF)), new / BLOCK);
    fixture_destroy(&f);
}

static void
segment_of_many_blocks_says_so_last(void **state)
{
    static struct fixture f;
    static char big[3 * BLOCK];

    (void)state;
    fixture_create_recorded(&f);
    memset(big, 'b', sizeof(big) - 1);
    const uint64_t off = fixture_put(&f, LOG_HEAD_MAIN, "big", big);
    const uint32_t block = (uint32_t)(off / BLOCK);
    const struct store first = store_at(word_off(block));

    assert_int_equal(log_segment_of(f.log, block)->blocks, 4);
    for (uint32_t b = block + 1; b < block + 4; b++) {
        assert_durable_before(store_at(word_off(b)), first);
    }
    fixture_destroy(&f);
}

static void
segment_of_many_blocks_is_freed_first_block_first(void **state)
{
    static struct fixture f;
    static char big[3 * BLOCK];
    struct pm pm;

    (void)state;
    fixture_create_recorded(&f);
    pm_init(&pm, heap_media(f.heap));
    memset(big, 'b', sizeof(big) - 1);
    const uint32_t block = (uint32_t)(fixture_put(&f, LOG_HEAD_MAIN, "big", big) / BLOCK);

    fixture_fill(&f, LOG_HEAD_MAIN);
    assert_int_equal(log_segment_free(f.log, &pm, block), FL_OK);
    const struct store first = store_at(word_off(block));

    for (uint32_t b = block + 1; b < block + 4; b++) {
        assert_durable_before(first, store_at(word_off(b)));
        assert_true(store_at(word_off(b)).flushed_by < trace.fences);
    }
    fixture_destroy(&f);
}

static void
frame_begins_on_a_fresh_line_and_no_line_is_flushed_twice(void **state)
{
    static struct fixture f;

    (void)state;
    fixture_create_recorded(&f);
    for (int i = 0; i < 30; i++) {
        const uint64_t off = i % 3 == 0 ? fixture_batch(&f, LOG_HEAD_MAIN, "key", 4)
                                        : fixture_put(&f, LOG_HEAD_MAIN, "key", "value");

        assert_int_equal(off % LOG_LINE_BYTES, 0);
    }
    for (size_t i = 0; i < trace.count; i++) {
        const struct store *a = &trace.stores[i];

        if (a->off < 2 * BLOCK || a->off % BLOCK < LOG_HEADER_BYTES) {
            continue;
        }
        for (size_t n = i + 1; n < trace.count; n++) {
            assert_true(trace.stores[n].fence == a->fence ||
                        trace.stores[n].off / 64 != a->off / 64);
        }
    }
    fixture_destroy(&f);
}

static void
frame_costs_one_fence_however_many_records(void **state)
{
    static struct fixture f;

    (void)state;
    fixture_create_recorded(&f);
    fixture_put(&f, LOG_HEAD_MAIN, "opens", "the segment");
    unsigned fences = trace.fences;

    fixture_put(&f, LOG_HEAD_MAIN, "key", "value");
    assert_int_equal(trace.fences, fences + 1);
    fences = trace.fences;
    fixture_batch(&f, LOG_HEAD_MAIN, "key", 40);
    assert_int_equal(trace.fences, fences + 1);
    fixture_destroy(&f);
}

static void
heads_append_apart_and_both_come_back(void **state)
{
    static struct fixture f;
    struct log_head_stats stats;

    (void)state;
    fixture_create(&f, PM_DIRECT);
    for (int i = 0; i < 40; i++) {
        fixture_put(&f, LOG_HEAD_MAIN, "main", "m");
        fixture_put(&f, LOG_HEAD_CLEANER, "cleaner", "c");
        assert_int_not_equal(log_head_off(f.log, LOG_HEAD_MAIN) / BLOCK,
                             log_head_off(f.log, LOG_HEAD_CLEANER) / BLOCK);
    }
    fixture_fill(&f, LOG_HEAD_MAIN);
    fixture_fill(&f, LOG_HEAD_CLEANER);
    log_head_stats(f.log, LOG_HEAD_CLEANER, &stats);
    assert_int_equal(stats.segment_changes, 2);
    assert_true(stats.frames > 40);
    assert_int_equal(fixture_reopen(&f, FIXTURE_READ), FL_OK);
    assert_int_equal(f.findings, 0);
    assert_string_equal(fixture_met(&f, "main"), "m");
    assert_string_equal(fixture_met(&f, "cleaner"), "c");
    fixture_destroy(&f);
}

/* LSNs only rise, also over reopening, and a place's LSN is its segment's base and its offset. */
static void
lsns_rise_over_segments_and_reopening(void **state)
{
    static struct fixture f;
    uint64_t last = 0;

    (void)state;
    fixture_create(&f, PM_DIRECT);
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 60; i++) {
            const uint64_t off = fixture_put(&f, LOG_HEAD_MAIN, "key", "value");
            struct log_record got;
            uint32_t block = 0;

            assert_int_equal(log_decode(f.log, off, true, &got), FL_OK);
            assert_int_equal(got.lsn, log_segment_at(f.log, off, &block)->base_lsn + off % BLOCK);
            assert_true(got.lsn > last);
            assert_true(log_lsn_main(f.log) > got.lsn);
            last = got.lsn;
        }
        assert_int_equal(fixture_reopen(&f, FIXTURE_WRITE), FL_OK);
        assert_true(log_lsn_next(f.log) > last);
    }
    fixture_destroy(&f);
}

static void
record_with_its_own_lsn_keeps_it(void **state)
{
    struct log_record copy = {.kind = LOG_KIND_PUT,
                              .key = {"copied", 6},
                              .value = {"v", 1},
                              .lsn_explicit = true,
                              .lsn = 12345};
    static struct fixture f;
    uint64_t lsn = 0;

    (void)state;
    fixture_create(&f, PM_DIRECT);
    assert_int_equal(
        log_frame_begin(f.log, LOG_HEAD_CLEANER, 1, log_record_bytes(&copy), HEAP_CLEANER), FL_OK);
    log_frame_add(f.log, LOG_HEAD_CLEANER, &copy, &lsn);
    assert_int_equal(lsn, 12345);
    assert_int_equal(log_frame_commit(f.log, LOG_HEAD_CLEANER, false), FL_OK);
    assert_int_equal(fixture_reopen(&f, FIXTURE_READ), FL_OK);
    assert_int_equal(f.met_count, 1);
    assert_int_equal(f.met[0].lsn, 12345);
    fixture_destroy(&f);
}

static void
segment_freed_is_used_again_and_its_frames_stay_gone(void **state)
{
    static struct fixture f;
    struct pm pm;

    (void)state;
    fixture_create(&f, PM_DIRECT);
    pm_init(&pm, heap_media(f.heap));
    fixture_put(&f, LOG_HEAD_MAIN, "goes", "away");
    const uint32_t block = fixture_fill(&f, LOG_HEAD_MAIN);
    const uint32_t generation = log_segment_of(f.log, block)->generation;

    const uint64_t last_line = (uint64_t)(block + 1) * BLOCK - 64;

    assert_true(log_segment_of(f.log, block)->sealed);
    log_dead_note(f.log, last_line, 64);
    assert_true(log_dead_noted(f.log, last_line, 64));
    assert_int_equal(log_segment_free(f.log, &pm, block), FL_OK);
    log_segment_recycle(f.log, block);
    assert_false(log_dead_noted(f.log, last_line, 64));
    fixture_put(&f, LOG_HEAD_CLEANER, "comes", "here");
    assert_int_equal(log_head_off(f.log, LOG_HEAD_CLEANER) / BLOCK, block);
    assert_false(log_segment_of(f.log, block)->sealed);
    assert_int_equal(log_segment_of(f.log, block)->generation, generation + 1);
    assert_int_equal(fixture_reopen(&f, FIXTURE_WRITE), FL_OK);
    assert_int_equal(f.findings, 0);
    assert_null(fixture_met(&f, "goes"));
    assert_string_equal(fixture_met(&f, "comes"), "here");
    fixture_destroy(&f);
}

/* Not punched yet, or the punch rolled back: the table alone decides. */
static void
segment_freed_is_gone_although_its_bytes_are_there(void **state)
{
    static struct fixture f;
    struct pm pm;

    (void)state;
    fixture_create(&f, PM_DIRECT);
    pm_init(&pm, heap_media(f.heap));
    fixture_put(&f, LOG_HEAD_MAIN, "goes", "away");
    const uint32_t block = fixture_fill(&f, LOG_HEAD_MAIN);

    assert_int_equal(log_segment_free(f.log, &pm, block), FL_OK);
    assert_int_equal(fixture_reopen(&f, FIXTURE_READ), FL_OK);
    assert_int_equal(f.findings, 0);
    assert_null(fixture_met(&f, "goes"));
    assert_string_equal(fixture_met(&f, "filler"), "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
    fixture_destroy(&f);
}

static void
segment_free_marks_what_the_cleaner_copied(void **state)
{
    static struct fixture f;
    struct pm pm;

    (void)state;
    fixture_create_recorded(&f);
    pm_init(&pm, heap_media(f.heap));
    fixture_put(&f, LOG_HEAD_MAIN, "key", "value");
    const uint32_t block = fixture_fill(&f, LOG_HEAD_MAIN);

    fixture_put(&f, LOG_HEAD_CLEANER, "key", "copied");
    const uint64_t end = log_head_off(f.log, LOG_HEAD_CLEANER);
    const uint64_t mark = end / BLOCK * BLOCK + LOG_MARK_OFF;
    const struct store frame = store_at(end - LOG_LINE_BYTES);

    assert_int_equal(bytes_get_le64(fixture_at(&f, mark)), 0);
    assert_int_equal(log_segment_free(f.log, &pm, block), FL_OK);
    assert_int_equal(bytes_get_le32(fixture_at(&f, mark)) * LOG_LINE_BYTES, end % BLOCK);
    assert_durable_before(frame, store_at(mark));
    assert_true(store_at(mark).flushed_by < trace.fences);
    fixture_destroy(&f);
}

static void
heads_sealed_at_close_leave_nothing_torn(void **state)
{
    static struct fixture f;

    (void)state;
    fixture_create(&f, PM_STAGED);
    const uint64_t main_off = fixture_put(&f, LOG_HEAD_MAIN, "main", "m");
    const uint64_t cleaner_off = fixture_put(&f, LOG_HEAD_CLEANER, "cleaner", "c");

    assert_int_equal(log_seal_heads(f.log), FL_OK);
    assert_int_equal(log_head_off(f.log, LOG_HEAD_MAIN), 0);
    assert_int_equal(log_head_room(f.log, LOG_HEAD_MAIN), 0);
    assert_int_equal(log_head_room_hint(f.log, LOG_HEAD_CLEANER), 0);
    assert_int_equal(fixture_reopen(&f, FIXTURE_READ), FL_OK);
    assert_int_equal(f.findings, 0);
    *fixture_at(&f, main_off + 14) ^= 1;
    assert_int_equal(fixture_reopen(&f, FIXTURE_READ), FL_CORRUPT);
    *fixture_at(&f, main_off + 14) ^= 1;
    *fixture_at(&f, cleaner_off + 14) ^= 1;
    assert_int_equal(fixture_reopen(&f, FIXTURE_READ), FL_CORRUPT);
    fixture_destroy(&f);
}

static void
frame_without_room_changes_nothing(void **state)
{
    struct log_record record = {.kind = LOG_KIND_PUT, .key = {"k", 1}, .value = {"v", 1}};
    static struct fixture f;
    static char big[BLOCK];

    (void)state;
    fixture_create(&f, PM_DIRECT);
    const uint64_t off = fixture_put(&f, LOG_HEAD_MAIN, "before", "v");

    mem_map_set_space(f.mem, mem_map_size_bytes(f.mem));
    memset(big, 'b', sizeof(big) - 1);
    record.value = (struct fl_bytes){big, sizeof(big)};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(
            log_frame_begin(f.log, LOG_HEAD_MAIN, 1, log_record_bytes(&record), HEAP_NORMAL),
            FL_NO_SPACE);
    }
    assert_int_equal(log_frame_begin(f.log, LOG_HEAD_MAIN, 1, (size_t)BLOCK * BLOCK, HEAP_NORMAL),
                     FL_TOO_LARGE);
    assert_int_equal(fixture_put(&f, LOG_HEAD_MAIN, "after", "v"), off + LOG_LINE_BYTES);
    mem_map_set_space(f.mem, 0);
    fixture_put(&f, LOG_HEAD_MAIN, "big", big);
    assert_int_equal(fixture_reopen(&f, FIXTURE_WRITE), FL_OK);
    assert_int_equal(f.findings, 0);
    assert_non_null(fixture_met(&f, "after"));
    assert_non_null(fixture_met(&f, "big"));
    fixture_destroy(&f);
}

/* Whichever drain of a change fails: the frame is refused, and what was committed before is there. */
static void
segment_change_that_fails_midway_loses_nothing(void **state)
{
    (void)state;
    for (unsigned nth = 1; nth <= 4; nth++) {
        const struct mem_map_failure failure = {MEM_MAP_CALL_WRITE_DURABLE, nth, FL_IO,
                                                nth % 2 == 0, true};
        struct log_record record = {.kind = LOG_KIND_PUT, .key = {"new", 3}, .value = {"v", 1}};
        static struct fixture f;
        uint64_t lsn = 0;

        fixture_create(&f, PM_STAGED);
        fixture_put(&f, LOG_HEAD_MAIN, "old", "v");
        while (log_head_room(f.log, LOG_HEAD_MAIN) > 0) {
            fixture_put(&f, LOG_HEAD_MAIN, "filler", "v");
        }
        mem_map_fail(f.mem, &failure);
        fl_status status =
            log_frame_begin(f.log, LOG_HEAD_MAIN, 1, log_record_bytes(&record), HEAP_NORMAL);

        assert_int_equal(status, nth <= 3 ? FL_IO : FL_OK);
        if (status == FL_OK) {
            log_frame_add(f.log, LOG_HEAD_MAIN, &record, &lsn);
            assert_int_equal(log_frame_commit(f.log, LOG_HEAD_MAIN, false), FL_IO);
        }
        uint64_t len = 0;
        uint8_t *image = mem_map_copy(f.mem, &len);

        fixture_close(&f);
        mem_map_load(f.mem, image, len);
        assert_int_equal(fixture_reopen(&f, FIXTURE_WRITE), FL_OK);
        assert_int_equal(f.findings, 0);
        assert_non_null(fixture_met(&f, "old"));
        fixture_put(&f, LOG_HEAD_MAIN, "later", "v");
        assert_int_equal(fixture_reopen(&f, FIXTURE_WRITE), FL_OK);
        assert_non_null(fixture_met(&f, "later"));
        assert_int_equal(f.findings, 0);
        free(image);
        fixture_destroy(&f);
    }
}

static void
dead_record_is_noted_for_itself_alone(void **state)
{
    enum { LINE = 64, APART = 8 * LINE };
    static const size_t lengths[] = {1, 13, 63, 64, 65, 128, 190};
    uint64_t base = 2 * BLOCK;
    struct fixture f;

    (void)state;
    fixture_create(&f, PM_DIRECT);
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        for (uint64_t at = 0; at < 3 * LINE; at++, base += APART) {
            const size_t bytes = lengths[i];
            const uint64_t off = base + 3 * LINE + at;
            const bool has_place = off % LINE == 0 || off % LINE + bytes > LINE;

            assert_false(log_dead_noted(f.log, off, bytes));
            log_dead_note(f.log, off, bytes);
            assert_int_equal(log_dead_noted(f.log, off, bytes), has_place);
            /* The neighbours on both sides, long and short. */
            assert_false(log_dead_noted(f.log, off + bytes, bytes));
            assert_false(log_dead_noted(f.log, off + bytes, 1));
            assert_false(log_dead_noted(f.log, off - bytes, bytes));
            assert_false(log_dead_noted(f.log, off - 1, 1));
        }
    }
    assert_true(base < (uint64_t)BLOCKS_MAX * BLOCK);
    fixture_destroy(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(segment_change_makes_each_step_durable_before_the_next),
        cmocka_unit_test(segment_of_many_blocks_says_so_last),
        cmocka_unit_test(segment_of_many_blocks_is_freed_first_block_first),
        cmocka_unit_test(frame_begins_on_a_fresh_line_and_no_line_is_flushed_twice),
        cmocka_unit_test(frame_costs_one_fence_however_many_records),
        cmocka_unit_test(heads_append_apart_and_both_come_back),
        cmocka_unit_test(lsns_rise_over_segments_and_reopening),
        cmocka_unit_test(record_with_its_own_lsn_keeps_it),
        cmocka_unit_test(segment_freed_is_used_again_and_its_frames_stay_gone),
        cmocka_unit_test(segment_freed_is_gone_although_its_bytes_are_there),
        cmocka_unit_test(segment_free_marks_what_the_cleaner_copied),
        cmocka_unit_test(dead_record_is_noted_for_itself_alone),
        cmocka_unit_test(heads_sealed_at_close_leave_nothing_torn),
        cmocka_unit_test(frame_without_room_changes_nothing),
        cmocka_unit_test(segment_change_that_fails_midway_loses_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
