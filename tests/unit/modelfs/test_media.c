/* Goal:   a power cut leaves what the model of media.h says, nothing else: what was fenced, whichever of the newer
 *         snapshots, what is live; and no fence takes back what a later flush made durable.
 * Method: random stores, flushes and fences of several contexts over a few lines, compared after each step with a
 *         model that keeps each line's versions as a list; and each promise alone, with bytes chosen to break it.
 */
#include "storage/modelfs/media_internal.h"

#include "base/mem.h"
#include "tests/lib/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { DEVICE_BYTES = 64 * 1024 };

struct fixture {
    struct mfs_media *media;
    struct mfs_cpu *cpus[2];
};

static void
setup(struct fixture *f)
{
    const struct mfs_media_source source = {.size_bytes = DEVICE_BYTES};

    assert_int_equal(mfs_media_open(&source, &f->media), FL_OK);
    assert_int_equal(mfs_cpu_create(f->media, &f->cpus[0]), FL_OK);
    assert_int_equal(mfs_cpu_create(f->media, &f->cpus[1]), FL_OK);
}

static void
teardown(struct fixture *f)
{
    mfs_cpu_destroy(f->cpus[0]);
    mfs_cpu_destroy(f->cpus[1]);
    mfs_media_close(f->media);
}

static void
store_byte(struct fixture *f, uint64_t off, uint8_t value)
{
    mfs_media_store(f->media, off, &value, 1);
}

static void
flush(struct fixture *f, int cpu, uint64_t off, size_t len)
{
    assert_int_equal(mfs_cpu_flush(f->cpus[cpu], off, len), FL_OK);
}

static void
fence(struct fixture *f, int cpu)
{
    assert_int_equal(mfs_cpu_fence(f->cpus[cpu]), FL_OK);
}

static unsigned
persisted(const struct fixture *f, uint64_t off)
{
    return mfs_media_persisted(f->media)[off];
}

static unsigned
live(const struct fixture *f, uint64_t off)
{
    return mfs_media_live(f->media)[off];
}

/* ---- one promise each ---- */

static void
store_without_flush_and_fence_is_not_persisted(void **state)
{
    struct fixture f;
    (void)state;

    setup(&f);
    store_byte(&f, 100, 7);
    assert_int_equal(live(&f, 100), 7);
    assert_int_equal(persisted(&f, 100), 0);
    fence(&f, 0);
    assert_int_equal(persisted(&f, 100), 0);
    flush(&f, 0, 100, 1);
    assert_int_equal(persisted(&f, 100), 0);
    fence(&f, 1);
    assert_int_equal(persisted(&f, 100), 0);
    store_byte(&f, 101, 8); /* behind the snapshot */
    fence(&f, 0);
    assert_int_equal(persisted(&f, 100), 7);
    assert_int_equal(persisted(&f, 101), 0);
    teardown(&f);
}

static void
flush_of_a_range_takes_each_line_that_it_touches(void **state)
{
    struct fixture f;
    (void)state;

    setup(&f);
    for (uint64_t off = 0; off < 640; off++) {
        store_byte(&f, off, 1);
    }
    flush(&f, 0, 127, 66); /* the last byte of line 1 to the first of line 3 */
    fence(&f, 0);
    for (uint64_t off = 0; off < 640; off++) {
        assert_int_equal(persisted(&f, off), off >= 64 && off < 256);
    }
    const struct mfs_media_counts counts = mfs_media_counts(f.media);
    assert_int_equal(counts.lines, 3);
    assert_int_equal(counts.fences, 1);
    teardown(&f);
}

static void
fence_with_an_older_snapshot_takes_nothing_back(void **state)
{
    struct fixture f;
    (void)state;

    setup(&f);
    store_byte(&f, 0, 1);
    flush(&f, 0, 0, 1);
    store_byte(&f, 0, 2);
    flush(&f, 1, 0, 1);
    fence(&f, 1);
    assert_int_equal(persisted(&f, 0), 2);
    fence(&f, 0);
    assert_int_equal(persisted(&f, 0), 2);
    teardown(&f);
}

static void
persist_dirty_outdates_snapshots_of_lines_that_did_not_differ(void **state)
{
    struct fixture f;
    (void)state;

    setup(&f);
    store_byte(&f, 0, 1);
    flush(&f, 0, 0, 1);
    store_byte(&f, 0, 0);
    store_byte(&f, 5000, 9);
    assert_int_equal(mfs_cpu_persist_dirty(f.cpus[1], 0, DEVICE_BYTES), FL_OK);
    assert_int_equal(persisted(&f, 5000), 9);
    fence(&f, 0);
    assert_int_equal(persisted(&f, 0), 0);
    teardown(&f);
}

static void
persist_dirty_leaves_its_neighbours_alone(void **state)
{
    struct fixture f;
    (void)state;

    setup(&f);
    for (uint64_t off = 0; off < 256; off++) {
        store_byte(&f, off, 1);
    }
    assert_int_equal(mfs_cpu_persist_dirty(f.cpus[0], 64, 128), FL_OK);
    for (uint64_t off = 0; off < 256; off++) {
        assert_int_equal(persisted(&f, off), off >= 64 && off < 192);
    }
    teardown(&f);
}

static void
flush_from_takes_the_caller_s_bytes(void **state)
{
    struct fixture f;
    _Alignas(MFS_LINE_BYTES) uint8_t bytes[128];
    (void)state;

    setup(&f);
    memset(bytes, 5, sizeof(bytes));
    assert_int_equal(mfs_cpu_flush_from(f.cpus[0], 4096, bytes, sizeof(bytes)), FL_OK);
    memset(bytes, 6, sizeof(bytes));
    fence(&f, 0);
    assert_int_equal(persisted(&f, 4096), 5);
    assert_int_equal(persisted(&f, 4096 + 127), 5);
    assert_int_equal(persisted(&f, 4096 + 128), 0);
    assert_int_equal(live(&f, 4096), 0);
    teardown(&f);
}

static void
flush_without_memory_leaves_what_was_pending(void **state)
{
    struct fixture f;
    (void)state;

    setup(&f);
    store_byte(&f, 0, 1);
    flush(&f, 0, 0, 1);
    store_byte(&f, 8192, 2);
    (void)mem_fail_from(1);
    assert_int_equal(mfs_cpu_flush(f.cpus[0], 4096, 4096 * 4), FL_NO_MEMORY);
    (void)mem_fail_from(0);
    fence(&f, 0);
    assert_int_equal(persisted(&f, 0), 1);
    assert_int_equal(persisted(&f, 8192), 0);
    teardown(&f);
}

static void
large_flush_and_large_device_go_through_in_parts(void **state)
{
    const struct mfs_media_source source = {.size_bytes = 8 << 20};
    struct mfs_media *media;
    struct mfs_cpu *cpu;
    (void)state;

    assert_int_equal(mfs_media_open(&source, &media), FL_OK);
    assert_int_equal(mfs_cpu_create(media, &cpu), FL_OK);
    mfs_media_zero(media, 0, 8 << 20);
    for (uint64_t off = 0; off < 8 << 20; off += 1000) {
        mfs_media_store(media, off, &(uint8_t){(uint8_t)off}, 1);
    }
    assert_int_equal(mfs_cpu_flush(cpu, 0, 8 << 20), FL_OK);
    assert_int_equal(mfs_cpu_fence(cpu), FL_OK);
    assert_memory_equal(mfs_media_live(media), mfs_media_persisted(media), 8 << 20);
    mfs_cpu_destroy(cpu);
    mfs_media_close(media);
}

/* ---- against a model ---- */

enum { LINES = 3 };

/* What a line holds, as one byte. */
struct line_model {
    unsigned live;
    unsigned persisted;
    unsigned age;         /* when the persisted version was flushed */
    unsigned since[2][8]; /* per context, pending: value ... */
    unsigned ages[2][8];  /* ... and when it was flushed */
    unsigned count[2];
};

struct model {
    struct line_model lines[LINES];
    unsigned clock;
};

static void
model_flush(struct model *m, int cpu, int line)
{
    struct line_model *l = &m->lines[line];

    if (l->count[cpu] < 8) {
        l->since[cpu][l->count[cpu]] = l->live;
        l->ages[cpu][l->count[cpu]++] = ++m->clock;
    }
}

static void
model_fence(struct model *m, int cpu)
{
    for (int i = 0; i < LINES; i++) {
        struct line_model *l = &m->lines[i];
        for (unsigned v = 0; v < l->count[cpu]; v++) {
            if (l->ages[cpu][v] > l->age) {
                l->age = l->ages[cpu][v];
                l->persisted = l->since[cpu][v];
            }
        }
        l->count[cpu] = 0;
    }
}

static bool
model_allows(const struct line_model *l, unsigned value)
{
    bool allowed = value == l->persisted || value == l->live;

    for (int cpu = 0; cpu < 2; cpu++) {
        for (unsigned v = 0; v < l->count[cpu]; v++) {
            allowed |= l->ages[cpu][v] > l->age && l->since[cpu][v] == value;
        }
    }
    return allowed;
}

/* Of all values of a byte, those and only those that the model allows. */
static void
compare_choices(struct fixture *f, const struct model *m)
{
    struct mfs_choices choices;
    size_t at = 0;

    assert_int_equal(mfs_media_choices(f->media, &choices), FL_OK);
    for (unsigned line = 0; line < LINES; line++) {
        const struct line_model *l = &m->lines[line];
        const bool listed = at < choices.count && choices.list[at].off == line * MFS_LINE_BYTES;
        for (unsigned value = 0; value < 8; value++) {
            bool found = !listed && value == persisted(f, line * MFS_LINE_BYTES);
            for (unsigned i = 0; listed && i < choices.list[at].count; i++) {
                found |= choices.list[at].values[i][0] == value;
            }
            assert_int_equal(found, model_allows(l, value));
        }
        assert_int_equal(persisted(f, line * MFS_LINE_BYTES), l->persisted);
        if (listed) {
            assert_int_equal(choices.list[at].values[0][0], l->persisted);
            at++;
        }
    }
    assert_int_equal(at, choices.count);
    mfs_choices_free(&choices);
}

static void
random_step(struct fixture *f, struct model *m, struct rng *rng)
{
    const int line = (int)rng_below(rng, LINES);
    const int cpu = (int)rng_below(rng, 2);
    const uint64_t off = (uint64_t)line * MFS_LINE_BYTES;
    struct line_model *l = &m->lines[line];

    switch (rng_below(rng, 8)) {
    case 0:
        fence(f, cpu);
        model_fence(m, cpu);
        break;
    case 1:
        assert_int_equal(mfs_cpu_persist_dirty(f->cpus[cpu], off, 1), FL_OK);
        l->persisted = l->live;
        l->age = ++m->clock;
        model_fence(m, cpu);
        break;
    case 2:
    case 3:
    case 4:
        if (l->count[cpu] < 8) {
            flush(f, cpu, off, 1);
            model_flush(m, cpu, line);
        }
        break;
    default:
        l->live = (unsigned)rng_below(rng, 8);
        store_byte(f, off, (uint8_t)l->live);
    }
}

static void
random_steps_leave_exactly_the_choices_of_the_model(void **state)
{
    struct rng rng = rng_seeded(1);
    (void)state;

    for (int round = 0; round < 60; round++) {
        struct fixture f;
        struct model m = {0};
        setup(&f);
        for (int step = 0; step < 60; step++) {
            random_step(&f, &m, &rng);
            compare_choices(&f, &m);
        }
        teardown(&f);
    }
}

/* ---- power cuts ---- */

static void
cut_takes_the_picked_value_of_each_line_and_forgets_the_rest(void **state)
{
    struct mfs_saved *saved;
    struct mfs_choices choices;
    struct fixture f;
    unsigned picked[2];
    (void)state;

    setup(&f);
    store_byte(&f, 0, 1);
    flush(&f, 0, 0, 1);
    store_byte(&f, 0, 2);
    store_byte(&f, 4096, 3);
    assert_int_equal(mfs_media_save(f.media, &saved), FL_OK);
    assert_int_equal(mfs_media_choices(f.media, &choices), FL_OK);
    assert_int_equal(choices.count, 2);
    assert_int_equal(choices.list[0].count, 3);
    assert_int_equal(choices.list[1].count, 2);
    for (picked[0] = 0; picked[0] < 3; picked[0]++) {
        for (picked[1] = 0; picked[1] < 2; picked[1]++) {
            assert_int_equal(mfs_media_cut(f.media, &choices, picked), FL_OK);
            assert_int_equal(persisted(&f, 0), picked[0]);
            assert_int_equal(persisted(&f, 4096), picked[1] * 3);
            assert_memory_equal(mfs_media_live(f.media), mfs_media_persisted(f.media),
                                DEVICE_BYTES);
            fence(&f, 0); /* the snapshot went with the power */
            assert_int_equal(persisted(&f, 0), picked[0]);
            mfs_media_restore(f.media, saved);
            assert_int_equal(live(&f, 0), 2);
            assert_int_equal(persisted(&f, 0), 0);
        }
    }
    picked[0] = 3;
    assert_int_equal(mfs_media_cut(f.media, &choices, picked), FL_INVALID);
    fence(&f, 0); /* restored with the state */
    assert_int_equal(persisted(&f, 0), 1);
    mfs_choices_free(&choices);
    mfs_saved_free(saved);
    teardown(&f);
}

static void
cut_by_seed_takes_nothing_everything_or_a_mixture(void **state)
{
    bool mixed = false;
    (void)state;

    for (uint64_t seed = 0; seed < 20; seed++) {
        struct fixture f;
        unsigned kept = 0;
        setup(&f);
        for (uint64_t line = 0; line < 16; line++) {
            store_byte(&f, line * MFS_LINE_BYTES, 1);
        }
        assert_int_equal(mfs_media_cut_random(f.media, seed == 19 ? UINT64_MAX : seed), FL_OK);
        for (uint64_t line = 0; line < 16; line++) {
            assert_int_equal(live(&f, line * MFS_LINE_BYTES), persisted(&f, line * MFS_LINE_BYTES));
            kept += persisted(&f, line * MFS_LINE_BYTES);
        }
        assert_true(seed != 0 || kept == 0);
        assert_true(seed != 19 || kept == 16);
        mixed |= kept > 0 && kept < 16;
        teardown(&f);
    }
    assert_true(mixed);
}

static void
restore_brings_back_both_images_whatever_was_done_since(void **state)
{
    struct mfs_saved *saved;
    struct fixture f;
    uint8_t *before = mem_alloc(2 * DEVICE_BYTES);
    struct rng rng = rng_seeded(2);
    (void)state;

    setup(&f);
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 40; i++) {
            const uint64_t off = rng_below(&rng, DEVICE_BYTES);
            store_byte(&f, off, (uint8_t)rng_u64(&rng));
            if (i % 3 == 0) {
                flush(&f, i % 2, off, 1);
            }
            if (i % 7 == 0) {
                fence(&f, i % 2);
            }
            if (i == 20) {
                memcpy(before, mfs_media_live(f.media), DEVICE_BYTES);
                memcpy(before + DEVICE_BYTES, mfs_media_persisted(f.media), DEVICE_BYTES);
                assert_int_equal(mfs_media_save(f.media, &saved), FL_OK);
            }
        }
        if (round % 2 == 0) {
            assert_int_equal(mfs_media_cut_random(f.media, rng_u64(&rng)), FL_OK);
        }
        mfs_media_restore(f.media, saved);
        mfs_saved_free(saved);
        assert_memory_equal(mfs_media_live(f.media), before, DEVICE_BYTES);
        assert_memory_equal(mfs_media_persisted(f.media), before + DEVICE_BYTES, DEVICE_BYTES);
    }
    mem_free(before);
    teardown(&f);
}

/* ---- hooks ---- */

struct steps {
    unsigned counts[4];
    unsigned left; /* longjmp at this step; 0: never */
    bool fail_fence;
    jmp_buf out;
};

static fl_status
count_step(void *context, enum mfs_step step, uint64_t off, uint64_t len)
{
    struct steps *steps = context;

    assert_true(step == MFS_STEP_FENCE || off + len <= DEVICE_BYTES);
    steps->counts[step]++;
    if (steps->left > 0 && --steps->left == 0) {
        longjmp(steps->out, 1);
    }
    return step == MFS_STEP_FENCE && steps->fail_fence ? FL_IO : FL_OK;
}

static void
hook_sees_each_step_before_it_is_taken(void **state)
{
    struct steps steps = {0};
    const struct mfs_hooks hooks = {.step = count_step, .context = &steps};
    struct fixture f;
    (void)state;

    setup(&f);
    mfs_media_set_hooks(f.media, &hooks);
    store_byte(&f, 0, 1);
    mfs_media_zero(f.media, 64, 64);
    flush(&f, 0, 0, 1);
    fence(&f, 0);
    assert_int_equal(mfs_cpu_persist_dirty(f.cpus[0], 0, 64), FL_OK);
    assert_int_equal(steps.counts[MFS_STEP_STORE], 2);
    assert_int_equal(steps.counts[MFS_STEP_FLUSH], 2);
    assert_int_equal(steps.counts[MFS_STEP_FENCE], 2);
    for (unsigned at = 1; at <= 3; at++) {
        steps.left = at;
        if (setjmp(steps.out) == 0) {
            store_byte(&f, 0, (uint8_t)(1 + at));
            flush(&f, 0, 0, 1);
            fence(&f, 0);
            fail_msg("no jump");
        }
        assert_int_equal(live(&f, 0), at == 1 ? 1 : 1 + at);
        assert_int_equal(persisted(&f, 0), 1);
    }
    mfs_media_set_hooks(f.media, NULL);
    fence(&f, 0);
    assert_int_equal(persisted(&f, 0), 4);
    assert_int_equal(steps.counts[MFS_STEP_FENCE], 3);
    teardown(&f);
}

static void
fence_that_a_hook_fails_publishes_nothing(void **state)
{
    struct steps steps = {.fail_fence = true};
    const struct mfs_hooks hooks = {.step = count_step, .context = &steps};
    struct fixture f;
    (void)state;

    setup(&f);
    store_byte(&f, 0, 1);
    flush(&f, 0, 0, 1);
    mfs_media_set_hooks(f.media, &hooks);
    assert_int_equal(mfs_cpu_fence(f.cpus[0]), FL_IO);
    assert_int_equal(mfs_cpu_persist_dirty(f.cpus[1], 0, 64), FL_IO);
    assert_int_equal(persisted(&f, 0), 0);
    teardown(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(store_without_flush_and_fence_is_not_persisted),
        cmocka_unit_test(flush_of_a_range_takes_each_line_that_it_touches),
        cmocka_unit_test(fence_with_an_older_snapshot_takes_nothing_back),
        cmocka_unit_test(persist_dirty_outdates_snapshots_of_lines_that_did_not_differ),
        cmocka_unit_test(persist_dirty_leaves_its_neighbours_alone),
        cmocka_unit_test(flush_from_takes_the_caller_s_bytes),
        cmocka_unit_test(flush_without_memory_leaves_what_was_pending),
        cmocka_unit_test(large_flush_and_large_device_go_through_in_parts),
        cmocka_unit_test(random_steps_leave_exactly_the_choices_of_the_model),
        cmocka_unit_test(cut_takes_the_picked_value_of_each_line_and_forgets_the_rest),
        cmocka_unit_test(cut_by_seed_takes_nothing_everything_or_a_mixture),
        cmocka_unit_test(restore_brings_back_both_images_whatever_was_done_since),
        cmocka_unit_test(hook_sees_each_step_before_it_is_taken),
        cmocka_unit_test(fence_that_a_hook_fails_publishes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
