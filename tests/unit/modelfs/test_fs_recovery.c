/* Goal:   whatever a power cut leaves of an operation, recovery finds it done or not begun: no block without its flag,
 *         none with its last owner's bytes, none lost; and each planted mutant is found out.
 * Method: on tiny devices each operation is cut off at each of its steps, with each choice of the lines of tables and
 *         journal that the media model allows; then recovered, checked, and recovered again.
 */
#include "tests/unit/modelfs/fs_explore.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { BLOCKS = 8, SECRET = 0x5ec5e7 };

struct scene {
    uint64_t ino;
    struct mfs_map *map;
    uint32_t block;
};

static uint64_t states_all, states_sampled, steps_all;

/* A filesystem whose free blocks all have somebody's old bytes. */
static void
scene_init(struct fixture *f, enum mfs_mutant mutant)
{
    fixture_init(f, BLOCKS, 0);
    const uint64_t ino = make_file(f, "old", BLOCKS * BLOCK);

    for (uint32_t block = 0; block < BLOCKS; block++) {
        for (uint32_t line = 0; line < 4; line++) {
            write_word(f, ino, block * BLOCK + line * UINT64_C(1000), SECRET);
        }
    }
    assert_int_equal(mfs_fsync(f->fs, 0), FL_OK);
    assert_int_equal(mfs_unlink(f->fs, "old"), FL_OK);
    f->mutant = mutant;
    remount(f);
}

static void
expect_atomic(struct explore *x)
{
    explore(x);
    states_all += x->states;
    states_sampled += x->sampled;
    steps_all += x->steps;
    if (x->bad + x->others + x->lost + x->bad_steps > 0) {
        fail_msg("of %" PRIu64 " states %" PRIu64 " bad, %" PRIu64 " others, %" PRIu64
                 " lost, %" PRIu64 " bad steps;\nbefore %s\nafter  %s\nother  %s",
                 x->states, x->bad, x->others, x->lost, x->bad_steps, x->before.text, x->after.text,
                 x->other.text);
    }
    assert_true(x->steps > 0);
    assert_int_not_equal(strcmp(x->before.text, x->after.text), 0);
}

/* ---- faults ---- */

static void
run_fault(struct fixture *f, void *args)
{
    struct scene *s = args;

    (void)f;
    assert_int_equal(mfs_fault(s->map, s->block, true), FL_OK);
}

/* Crash point 4, and rule C2's order: no page that can be written before its block is committed. */
static bool
writable_too_early(struct fixture *f, void *args)
{
    struct scene *s = args;
    uint32_t phys = 0;

    if (mfs_pte_access(f->table, s->map, s->block, &phys) != MFS_ACCESS_WRITE) {
        return false;
    }
    return !extent_of(f, s->ino, s->block).committed;
}

static void
fault_scene(struct fixture *f, struct scene *s, enum mfs_mutant mutant, bool unwritten)
{
    scene_init(f, mutant);
    s->ino = make_file(f, "heap", 4 * BLOCK);
    if (unwritten) {
        assert_int_equal(mfs_allocate(f->fs, s->ino, 0, 3 * BLOCK, false), FL_OK);
    }
    assert_int_equal(mfs_fsync(f->fs, 0), FL_OK);
    s->map = map_whole(f, s->ino, MFS_MAP_NOSYNC, 4);
    s->block = 1;
}

static void
fault_on_a_hole_is_all_or_nothing(void **state)
{
    struct fixture f;
    struct scene s;
    (void)state;

    fault_scene(&f, &s, MFS_MUTANT_NONE, false);
    struct explore x = {
        .f = &f, .run = run_fault, .args = &s, .step_bad = writable_too_early, .durable = true};

    expect_atomic(&x);
    assert_non_null(strstr(x.before.text, "heap 16384: = "));
    assert_non_null(strstr(x.after.text, "heap 16384: 1f = 0,0,0,0"));
    fixture_deinit(&f);
}

static void
fault_on_unwritten_is_all_or_nothing(void **state)
{
    struct fixture f;
    struct scene s;
    (void)state;

    fault_scene(&f, &s, MFS_MUTANT_NONE, true);
    struct explore x = {
        .f = &f, .run = run_fault, .args = &s, .step_bad = writable_too_early, .durable = true};

    expect_atomic(&x);
    assert_non_null(strstr(x.after.text, "heap 16384: 0u 1f 2u = 0,0,0,0"));
    fixture_deinit(&f);
}

/* Rule C5: what another one allocated, and what is not committed of the file, goes with the fault. */
static void
fault_after_a_plain_one_takes_all_with_it(void **state)
{
    struct fixture f;
    struct scene s;
    (void)state;

    fault_scene(&f, &s, MFS_MUTANT_NONE, false);
    struct mfs_map *plain = map_whole(&f, s.ino, MFS_MAP_PLAIN, 4);

    assert_int_equal(mfs_fault(plain, 1, true), FL_OK);
    assert_int_equal(mfs_fault(plain, 3, true), FL_OK);
    struct explore x = {
        .f = &f, .run = run_fault, .args = &s, .step_bad = writable_too_early, .durable = true};

    expect_atomic(&x);
    assert_non_null(strstr(x.after.text, "heap 16384: 1f 3 = 0,0,0,0"));
    fixture_deinit(&f);
}

static void
fault_mutants_are_found(void **state)
{
    static const enum mfs_mutant mutants[] = {MFS_MUTANT_PTE_BEFORE_COMMIT, MFS_MUTANT_FLAG_APART,
                                              MFS_MUTANT_ZEROING_SKIPPED};
    (void)state;

    for (size_t i = 0; i < sizeof(mutants) / sizeof(mutants[0]); i++) {
        struct fixture f;
        struct scene s;

        fault_scene(&f, &s, mutants[i], false);
        struct explore x = {
            .f = &f, .run = run_fault, .args = &s, .step_bad = writable_too_early, .durable = true};

        explore(&x);
        if (mutants[i] == MFS_MUTANT_PTE_BEFORE_COMMIT) {
            assert_true(x.bad_steps > 0);
        } else if (mutants[i] == MFS_MUTANT_FLAG_APART) {
            assert_true(x.others > 0);
        } else {
            assert_null(strstr(x.after.text, "= 0,0,0,0"));
        }
        fixture_deinit(&f);
    }
}

/* ---- giving back ---- */

enum { GIVE_PUNCH, GIVE_TRUNCATE, GIVE_COLLAPSE, GIVES };

struct give {
    struct scene scene;
    int how;
};

static void
run_give(struct fixture *f, void *args)
{
    const struct give *give = args;
    const uint64_t ino = give->scene.ino;

    if (give->how == GIVE_PUNCH) {
        assert_int_equal(mfs_punch(f->fs, ino, BLOCK, 2 * BLOCK), FL_OK);
    } else if (give->how == GIVE_TRUNCATE) {
        assert_int_equal(mfs_truncate(f->fs, ino, BLOCK), FL_OK);
    } else {
        assert_int_equal(mfs_collapse(f->fs, ino, BLOCK, BLOCK), FL_OK);
    }
}

/* Rule C9: from the first step on that changes the filesystem no mapping leads to a block that is given back. */
static bool
still_mapped(struct fixture *f, void *args)
{
    const struct give *give = args;
    uint32_t phys = 0;

    return mfs_pte_access(f->table, give->scene.map, 1, &phys) != MFS_ACCESS_NONE;
}

static void
give_scene(struct fixture *f, struct give *give, enum mfs_mutant mutant, int how)
{
    scene_init(f, mutant);
    give->how = how;
    give->scene.ino = make_file(f, "heap", 4 * BLOCK);
    give->scene.map = map_whole(f, give->scene.ino, MFS_MAP_NOSYNC, 4);
    for (uint32_t block = 0; block < 4; block++) {
        assert_int_equal(persist_word(f, give->scene.map, block, block + 1), FL_OK);
    }
}

static void
giving_back_is_all_or_nothing(void **state)
{
    static const char *const after[GIVES] = {
        "heap 16384: 0f 3f = ", "heap 4096: 0f = ", "heap 12288: 0f 1f 2f = "};
    (void)state;

    for (int how = 0; how < GIVES; how++) {
        struct fixture f;
        struct give give;

        give_scene(&f, &give, MFS_MUTANT_NONE, how);
        struct explore x = {
            .f = &f, .run = run_give, .args = &give, .step_bad = still_mapped, .durable = true};

        expect_atomic(&x);
        assert_non_null(strstr(x.after.text, after[how]));
        fixture_deinit(&f);
    }
}

static void
giving_back_mutants_are_found(void **state)
{
    (void)state;
    for (int how = 0; how < GIVES; how++) {
        for (int i = 0; i < 2; i++) {
            struct fixture f;
            struct give give;

            give_scene(&f, &give, i == 0 ? MFS_MUTANT_ZAP_SKIPPED : MFS_MUTANT_ZAP_AFTER_FREE, how);
            struct explore x = {.f = &f, .run = run_give, .args = &give, .step_bad = still_mapped};

            explore(&x);
            assert_true(x.bad_steps > 0);
            assert_int_equal(still_mapped(&f, &give), i == 0);
            fixture_deinit(&f);
        }
    }
}

/* ---- reuse ---- */

static void
run_reuse(struct fixture *f, void *args)
{
    struct scene *s = args;

    /* Its fsync is never called: until a commit it must come back whole. */
    assert_int_equal(mfs_unlink(f->fs, "victim"), FL_OK);
    assert_int_equal(mfs_fault(s->map, s->block, true), FL_OK);
}

static void
reuse_scene(struct fixture *f, struct scene *s, enum mfs_mutant mutant)
{
    scene_init(f, mutant);
    const uint64_t victim = make_file(f, "victim", BLOCKS * BLOCK);

    for (uint32_t block = 0; block < BLOCKS; block++) {
        write_word(f, victim, block * BLOCK, block + 100);
    }
    s->ino = make_file(f, "heap", 4 * BLOCK);
    s->block = 1;
    assert_int_equal(mfs_fsync(f->fs, 0), FL_OK);
    s->map = map_whole(f, s->ino, MFS_MAP_NOSYNC, 4);
}

/* The free blocks are all the victim's: one commit makes them free, the fault's own follows. */
static void
freed_blocks_are_reused_only_after_the_commit(void **state)
{
    struct fixture f;
    struct scene s;
    (void)state;

    reuse_scene(&f, &s, MFS_MUTANT_NONE);
    struct explore x = {.f = &f, .run = run_reuse, .args = &s, .durable = true};

    explore(&x);
    assert_int_equal(x.bad + x.lost, 0);
    /* Between the two commits there is neither victim nor block. */
    if (x.others > 0) {
        assert_null(strstr(x.other.text, "victim"));
        assert_non_null(strstr(x.other.text, "free 8; heap 16384: = 0,0,0,0"));
    }
    assert_non_null(strstr(x.before.text, "victim"));
    assert_non_null(strstr(x.after.text, "free 7; heap 16384: 1f = 0,0,0,0"));
    states_all += x.states;
    fixture_deinit(&f);

    reuse_scene(&f, &s, MFS_MUTANT_REUSE_BEFORE_COMMIT);
    struct explore mutant = {.f = &f, .run = run_reuse, .args = &s, .durable = true};

    explore(&mutant);
    assert_true(mutant.others > 0);
    assert_non_null(strstr(mutant.other.text, "victim"));
    fixture_deinit(&f);
}

/* ---- the rest ---- */

enum { REST_NAMES, REST_CLONE, REST_WRITE, REST_WRITE_HOLE, REST_POPULATE, REST_CLOSE, RESTS };

static void
run_rest(struct fixture *f, void *args)
{
    const struct give *rest = args;

    if (rest->how == REST_NAMES) {
        uint64_t ino;

        assert_int_equal(mfs_create(f->fs, "new", &ino), FL_OK);
        assert_int_equal(mfs_rename(f->fs, "heap", "moved"), FL_OK);
        assert_int_equal(mfs_rename(f->fs, "new", "other"), FL_OK);
        assert_int_equal(mfs_fsync(f->fs, 0), FL_OK);
    } else if (rest->how == REST_CLONE) {
        uint64_t to;

        assert_int_equal(mfs_lookup(f->fs, "other", &to), FL_OK);
        assert_int_equal(mfs_clone(f->fs, rest->scene.ino, to), FL_OK);
        assert_int_equal(mfs_fsync(f->fs, to), FL_OK);
    } else if (rest->how == REST_WRITE) {
        write_word(f, rest->scene.ino, 2 * BLOCK, 77); /* rule C7 */
    } else if (rest->how == REST_WRITE_HOLE) {
        write_word(f, rest->scene.ino, 5 * BLOCK, 77);
    } else if (rest->how == REST_POPULATE) {
        assert_int_equal(mfs_populate(rest->scene.map, 0, 4), FL_OK);
    } else {
        assert_int_equal(mfs_map_close(rest->scene.map), FL_OK);
    }
}

static void
other_changes_are_all_or_nothing(void **state)
{
    static const char *const after[RESTS] = {
        "moved 24576: 0 1 2 3 =",      "other 24576: 0 1 2 3 =",    "heap 24576: 0f 1f 2f 3f =",
        "heap 24576: 0f 1f 2f 3f 5 =", "heap 24576: 0f 1f 2f 3f =", "heap 24576: 0 1 2 3 ="};
    (void)state;

    for (int how = 0; how < RESTS; how++) {
        struct fixture f;
        struct give rest;

        give_scene(&f, &rest, MFS_MUTANT_NONE, how);
        (void)make_file(&f, "other", 100);
        assert_int_equal(mfs_truncate(f.fs, rest.scene.ino, 6 * BLOCK), FL_OK);
        if (how == REST_WRITE_HOLE) {
            struct mfs_map *map = NULL;

            assert_int_equal(mfs_map_open(f.fs, rest.scene.ino, 5, 1, MFS_MAP_NOSYNC, NULL, &map),
                             FL_OK);
        } else if (how == REST_POPULATE) {
            assert_int_equal(mfs_punch(f.fs, rest.scene.ino, BLOCK, 2 * BLOCK), FL_OK);
        }
        assert_int_equal(mfs_fsync(f.fs, 0), FL_OK);
        if (how <= REST_CLONE) {
            map_end(&f, rest.scene.map);
        }
        struct explore x = {.f = &f, .run = run_rest, .args = &rest, .durable = true};

        expect_atomic(&x);
        assert_non_null(strstr(x.after.text, after[how]));
        fixture_deinit(&f);
    }
}

static void
run_many_commits(struct fixture *f, void *args)
{
    const struct scene *s = args;

    /* A page whose block is there and flagged takes no commit: only the file's size does, one transaction each. */
    for (uint64_t i = 1; i <= 8; i++) {
        assert_int_equal(mfs_truncate(f->fs, s->ino, 4 * BLOCK + i), FL_OK);
        assert_int_equal(mfs_fsync(f->fs, s->ino), FL_OK);
    }
}

/* The journal is full within these commits: whatever is cut off, a size is found that was committed. */
static void
full_journal_loses_no_commit(void **state)
{
    struct fixture f;
    struct scene s;
    (void)state;

    fault_scene(&f, &s, MFS_MUTANT_NONE, false);
    for (uint32_t i = 0; i < 6; i++) {
        assert_int_equal(mfs_truncate(f.fs, s.ino, 4 * BLOCK - i), FL_OK);
        assert_int_equal(mfs_fsync(f.fs, s.ino), FL_OK);
    }
    struct explore x = {.f = &f, .run = run_many_commits, .args = &s, .durable = true};

    explore(&x);
    assert_int_equal(x.bad + x.lost, 0);
    assert_non_null(strstr(x.after.text, "heap 16392:"));
    states_all += x.states;
    states_sampled += x.sampled;
    fixture_deinit(&f);
}

static void
run_mount(struct fixture *f, void *args)
{
    const struct mfs_mount_options options = {.engine = mfs_pte_table_engine(f->table)};
    struct mfs **second = args;

    assert_int_equal(mfs_mount(f->media, &options, second), FL_OK);
}

/* Recovery from a crash is cut off itself, at each step. The crashed filesystem stays in DRAM, unused. */
static void
recovery_cut_off_recovers(void **state)
{
    struct fixture f;
    struct give give;
    struct mfs *second = NULL;
    (void)state;

    give_scene(&f, &give, MFS_MUTANT_NONE, GIVE_PUNCH);
    run_give(&f, &give);
    assert_int_equal(mfs_media_cut_random(f.media, 0), FL_OK);
    struct explore x = {.f = &f, .run = run_mount, .args = &second, .durable = true};

    explore(&x);
    assert_int_equal(x.bad + x.others + x.lost, 0);
    assert_true(mfs_counts(second).replayed > 0);
    assert_non_null(strstr(x.before.text, "0f 3f"));
    assert_non_null(strstr(x.after.text, "0 3"));
    states_all += x.states;
    states_sampled += x.sampled;
    steps_all += x.steps;
    mfs_abandon(second);
    fixture_deinit(&f);
}

static int
print_figures(void **state)
{
    (void)state;
    print_message("recovery: %" PRIu64 " steps, %" PRIu64 " states tried (%" PRIu64
                  " sampled, the others are all there are)\n",
                  steps_all, states_all, states_sampled);
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fault_on_a_hole_is_all_or_nothing),
        cmocka_unit_test(fault_on_unwritten_is_all_or_nothing),
        cmocka_unit_test(fault_after_a_plain_one_takes_all_with_it),
        cmocka_unit_test(fault_mutants_are_found),
        cmocka_unit_test(giving_back_is_all_or_nothing),
        cmocka_unit_test(giving_back_mutants_are_found),
        cmocka_unit_test(freed_blocks_are_reused_only_after_the_commit),
        cmocka_unit_test(other_changes_are_all_or_nothing),
        cmocka_unit_test(full_journal_loses_no_commit),
        cmocka_unit_test(recovery_cut_off_recovers),
    };

    return cmocka_run_group_tests(tests, NULL, print_figures);
}
