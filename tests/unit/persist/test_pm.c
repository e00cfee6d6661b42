/* Goal:   a writer's bytes arrive, and its counts of lines, fences and syncs are exact, in each mode
 *         of media; a failure is kept for ever.
 * Method: media over a test's memory. Ranges of every offset within a line and many lengths, checked against
 *         arithmetic done the slow way (one byte at a time) and against guard bytes round the range. What
 *         instructions run is test_pm_instructions' subject.
 */
#include "storage/persist/pm.h"
#include "tests/lib/mem_map.h"
#include "tests/lib/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { FILE_BYTES = 64 * 1024 };

struct fixture {
    struct mem_map *mem;
    struct nosync_map *map;
    struct pm pm;
};

static void
setup(struct fixture *f, enum pm_mode mode, bool eadr)
{
    const struct mem_map_options options = {
        .mode = mode, .size_bytes_max = FILE_BYTES, .eadr = eadr, .guard = true};

    f->mem = mem_map_create(&options);
    f->map = mem_map_open(f->mem);
    assert_int_equal(nosync_fault_in(f->map, 0, FILE_BYTES), FL_OK);
    pm_init(&f->pm, &f->map->media);
}

static void
teardown(struct fixture *f)
{
    nosync_close(f->map);
    mem_map_destroy(f->mem);
}

static uint64_t
lines(const struct fixture *f)
{
    return atomic_load(&f->pm.counts.lines);
}

static uint64_t
fences(const struct fixture *f)
{
    return atomic_load(&f->pm.counts.fences);
}

static uint64_t
syncs(const struct fixture *f)
{
    return atomic_load(&f->pm.counts.syncs);
}

static uint64_t
lines_touched(uint64_t off, uint64_t len)
{
    uint64_t count = 0;

    for (uint64_t at = off; at < off + len; at++) {
        count += at == off || at % PM_LINE_BYTES == 0;
    }
    return count;
}

static void
check_every_cut(enum pm_mode mode, bool eadr)
{
    struct fixture f;
    struct rng rng = rng_seeded(1);
    uint8_t src[512];
    uint8_t expected[1024];
    uint64_t lines_expected = 0;
    uint64_t writes = 0;

    setup(&f, mode, eadr);
    memset(expected, 0, sizeof(expected));
    for (size_t off = 0; off < PM_LINE_BYTES + 2; off++) {
        for (size_t len = 0; len <= 260; len += len < 70 ? 1 : 61) {
            rng_fill(&rng, src, len);
            memcpy(expected + 64 + off, src, len);
            pm_write_nofence(&f.pm, 64 + off, src, len);
            assert_int_equal(pm_drain(&f.pm), FL_OK);
            lines_expected += lines_touched(off, len);
            writes += len > 0;
            assert_memory_equal(f.map->media.base, expected, sizeof(expected));
        }
    }
    assert_int_equal(lines(&f), mode == PM_STAGED || eadr ? 0 : lines_expected);
    assert_int_equal(fences(&f), mode == PM_STAGED ? 0 : writes);
    assert_int_equal(syncs(&f), mode == PM_STAGED ? writes : 0);
    teardown(&f);
}

static void
write_of_every_cut_arrives_and_is_counted(void **state)
{
    (void)state;
    check_every_cut(PM_DIRECT, false);
    check_every_cut(PM_DIRECT, true);
    check_every_cut(PM_HOOKED, false);
    check_every_cut(PM_HOOKED, true);
    check_every_cut(PM_STAGED, false);
}

static void
drain_without_a_write_costs_nothing(void **state)
{
    static const enum pm_mode modes[] = {PM_DIRECT, PM_HOOKED, PM_STAGED};

    (void)state;
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        struct fixture f;

        setup(&f, modes[i], false);
        pm_write_nofence(&f.pm, 0, "", 0);
        pm_handoff(&f.pm);
        assert_int_equal(pm_drain(&f.pm), FL_OK);
        assert_int_equal(fences(&f) + syncs(&f) + lines(&f), 0);
        teardown(&f);
    }
}

static void
drain_of_a_thousand_records_costs_one_fence(void **state)
{
    struct fixture f;
    uint8_t record[128];

    (void)state;
    setup(&f, PM_DIRECT, false);
    memset(record, 7, sizeof(record));
    for (uint64_t i = 0; i < 500; i++) {
        pm_write_nofence(&f.pm, i * sizeof(record), record, sizeof(record));
    }
    assert_int_equal(fences(&f), 0);
    assert_int_equal(pm_drain(&f.pm), FL_OK);
    assert_int_equal(fences(&f), 1);
    assert_int_equal(lines(&f), 1000);
    assert_int_equal(pm_drain(&f.pm), FL_OK);
    assert_int_equal(fences(&f), 1);
    teardown(&f);
}

static void
store_u64_is_little_endian_and_one_line(void **state)
{
    static const uint8_t expected[] = {8, 7, 6, 5, 4, 3, 2, 1};
    static const enum pm_mode modes[] = {PM_DIRECT, PM_HOOKED, PM_STAGED};

    (void)state;
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        struct fixture f;

        setup(&f, modes[i], false);
        pm_store_u64_nofence(&f.pm, 120, UINT64_C(0x0102030405060708));
        assert_int_equal(pm_drain(&f.pm), FL_OK);
        assert_memory_equal(f.map->media.base + 120, expected, sizeof(expected));
        assert_int_equal(f.map->media.base[119], 0);
        assert_int_equal(f.map->media.base[128], 0);
        assert_int_equal(lines(&f), modes[i] == PM_STAGED ? 0 : 1);
        teardown(&f);
    }
}

static void
words_of_a_line_are_flushed_once(void **state)
{
    static const uint64_t words[] = {UINT64_C(0x0102030405060708), 9};
    static const uint8_t expected[] = {8, 7, 6, 5, 4, 3, 2, 1, 9, 0, 0, 0, 0, 0, 0, 0};
    static const enum pm_mode modes[] = {PM_DIRECT, PM_HOOKED, PM_STAGED};

    (void)state;
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        struct fixture f;

        setup(&f, modes[i], false);
        pm_store_words_nofence(&f.pm, 72, words, 2);
        assert_int_equal(pm_drain(&f.pm), FL_OK);
        assert_memory_equal(f.map->media.base + 72, expected, sizeof(expected));
        assert_int_equal(f.map->media.base[71], 0);
        assert_int_equal(f.map->media.base[88], 0);
        assert_int_equal(lines(&f), modes[i] == PM_STAGED ? 0 : 1);
        teardown(&f);
    }
}

static void
staged_bytes_are_seen_only_after_the_drain(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, PM_STAGED, false);
    pm_write_nofence(&f.pm, 100, "abc", 3);
    pm_store_u64_nofence(&f.pm, 200, 1);
    assert_int_equal(f.map->media.base[100], 0);
    assert_int_equal(f.map->media.base[200], 0);
    assert_int_equal(pm_drain(&f.pm), FL_OK);
    assert_memory_equal(f.map->media.base + 100, "abc", 3);
    assert_int_equal(f.map->media.base[200], 1);
    assert_int_equal(syncs(&f), 1);
    teardown(&f);
}

static void
write_through_leaves_its_source_free(void **state)
{
    static const enum pm_mode modes[] = {PM_DIRECT, PM_HOOKED, PM_STAGED};

    (void)state;
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        struct fixture f;
        uint8_t src[1000];
        uint8_t expected[1000];

        setup(&f, modes[i], false);
        memset(src, 'x', sizeof(src));
        memset(expected, 'x', sizeof(expected));
        assert_int_equal(pm_write_through_nofence(&f.pm, 33, src, sizeof(src)), FL_OK);
        memset(src, 'y', sizeof(src));
        assert_int_equal(pm_drain(&f.pm), FL_OK);
        assert_memory_equal(f.map->media.base + 33, expected, sizeof(expected));
        assert_int_equal(fences(&f) + syncs(&f), 1);
        teardown(&f);
    }
}

static void
handoff_fences_or_writes_through(void **state)
{
    static const enum pm_mode modes[] = {PM_DIRECT, PM_HOOKED, PM_STAGED};

    (void)state;
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        struct fixture f;
        struct pm leader;

        setup(&f, modes[i], false);
        pm_init(&leader, &f.map->media);
        pm_write_nofence(&f.pm, 0, "follower", 8);
        pm_handoff(&f.pm);
        assert_int_equal(fences(&f), modes[i] == PM_STAGED ? 0 : 1);
        assert_memory_equal(f.map->media.base, "follower", 8);
        assert_int_equal(pm_drain(&f.pm), FL_OK);
        assert_int_equal(syncs(&f), 0);

        pm_write_nofence(&leader, 64, "leader", 6);
        assert_int_equal(pm_drain_all(&leader), FL_OK);
        assert_memory_equal(f.map->media.base + 64, "leader", 6);
        assert_int_equal(atomic_load(&leader.counts.syncs), modes[i] == PM_STAGED ? 1 : 0);
        assert_int_equal(atomic_load(&leader.counts.fences), modes[i] == PM_STAGED ? 0 : 1);
        teardown(&f);
    }
}

static void
drain_that_failed_fails_for_ever(void **state)
{
    const struct mem_map_failure failure = {MEM_MAP_CALL_WRITE_DURABLE, 2, FL_IO, false, false};
    struct fixture f;

    (void)state;
    setup(&f, PM_STAGED, false);
    mem_map_fail(f.mem, &failure);
    pm_write_nofence(&f.pm, 0, "a", 1);
    assert_int_equal(pm_drain(&f.pm), FL_OK);
    pm_write_nofence(&f.pm, 0, "b", 1);
    assert_int_equal(pm_drain(&f.pm), FL_IO);
    for (int i = 0; i < 3; i++) {
        pm_write_nofence(&f.pm, 0, "c", 1);
        assert_int_equal(pm_drain(&f.pm), FL_IO);
        assert_int_equal(pm_drain_all(&f.pm), FL_IO);
        assert_int_equal(pm_drain(&f.pm), FL_IO);
        assert_int_equal(pm_write_through_nofence(&f.pm, 0, "d", 1), FL_IO);
    }
    assert_int_equal(f.map->media.base[0], 'a');
    assert_int_equal(mem_map_calls(f.mem, MEM_MAP_CALL_WRITE_DURABLE), 2);
    teardown(&f);
}

static void
write_through_that_failed_shows_at_the_drain(void **state)
{
    const struct mem_map_failure failure = {MEM_MAP_CALL_WRITE_THROUGH, 1, FL_IO, false, false};
    struct fixture f;

    (void)state;
    setup(&f, PM_STAGED, false);
    mem_map_fail(f.mem, &failure);
    pm_write_nofence(&f.pm, 0, "a", 1);
    pm_handoff(&f.pm);
    assert_int_equal(pm_drain(&f.pm), FL_IO);
    assert_int_equal(mem_map_calls(f.mem, MEM_MAP_CALL_WRITE_DURABLE), 0);
    teardown(&f);
}

static void
instructions_are_named(void **state)
{
    (void)state;
    assert_non_null(strstr(pm_instructions(false), "NT stores"));
    assert_string_equal(pm_instructions(true), "eADR, sfence");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(write_of_every_cut_arrives_and_is_counted),
        cmocka_unit_test(drain_without_a_write_costs_nothing),
        cmocka_unit_test(drain_of_a_thousand_records_costs_one_fence),
        cmocka_unit_test(store_u64_is_little_endian_and_one_line),
        cmocka_unit_test(words_of_a_line_are_flushed_once),
        cmocka_unit_test(staged_bytes_are_seen_only_after_the_drain),
        cmocka_unit_test(write_through_leaves_its_source_free),
        cmocka_unit_test(handoff_fences_or_writes_through),
        cmocka_unit_test(drain_that_failed_fails_for_ever),
        cmocka_unit_test(write_through_that_failed_shows_at_the_drain),
        cmocka_unit_test(instructions_are_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
