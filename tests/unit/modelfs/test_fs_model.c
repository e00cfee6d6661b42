/* Goal:   through long runs of every operation, what is read is what was written, and what a power cut leaves is the
 *         files as of the last commit, each word one that it may be.
 * Method: random operations on the filesystem and on a simple reference in memory, the same seed again by
 *         FL_TEST_SEED. The reference keeps the files as they are and as last committed; a block of a file is a cell,
 *         shared by clones, that knows the word that is durable and those that may have become so since.
 */
#include "tests/unit/modelfs/fs_world.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void
compare(struct world *w, unsigned file)
{
    const uint64_t ino = ino_of(w, file);
    const uint64_t mapped_to = w->maps[file] != NULL ? w->now[file].blocks : 0;

    assert_int_equal(size_of(&w->f, ino), (uint64_t)w->now[file].blocks * BLOCK);
    for (uint32_t block = 0; block < w->now[file].blocks; block++) {
        const struct cell *cell = cell_at(w, file, block);
        const uint64_t word = cell == NULL ? 0 : cell->now;

        assert_int_equal(read_word(&w->f, ino, (uint64_t)block * BLOCK), word);
        if (block < mapped_to && rng_below(&w->rng, 4) == 0) {
            assert_int_equal(load_word(&w->f, w->maps[file], block), word);
        }
    }
}

static bool
may_be(const struct world *w, uint32_t cell, uint64_t word)
{
    if (cell < CELLS_FIRST) {
        return word == 0;
    }
    bool found = w->cells[cell].durable == word;

    for (unsigned i = 0; i < w->cells[cell].since_count; i++) {
        found = found || w->cells[cell].since[i] == word;
    }
    return found;
}

/* What is there is durable; the cells in use move to the front. */
static void
start_again(struct world *w)
{
    static uint32_t moved[CELLS_MAX];
    uint32_t count = CELLS_FIRST;

    memset(moved, 0, sizeof(moved));
    memcpy(w->now, w->committed, sizeof(w->now));
    for (unsigned file = 0; file < FILES; file++) {
        for (uint32_t block = 0; w->now[file].there && block < FILE_BLOCKS; block++) {
            uint32_t *cell = &w->now[file].cells[block];

            if (*cell >= CELLS_FIRST && moved[*cell] == 0) {
                moved[*cell] = count++;
            }
            *cell = *cell >= CELLS_FIRST ? moved[*cell] : *cell;
        }
    }
    w->cells_count = count;
    memset(w->cells, 0, sizeof(w->cells));
    for (unsigned file = 0; file < FILES; file++) {
        for (uint32_t block = 0; w->now[file].there && block < FILE_BLOCKS; block++) {
            struct cell *cell = cell_at(w, file, block);

            if (cell != NULL) {
                cell->users++;
                put(cell, read_word(&w->f, ino_of(w, file), (uint64_t)block * BLOCK), true);
            }
        }
    }
    committed(w);
}

static void
crash(struct world *w)
{
    power_cut(&w->f, rng_below(&w->rng, 4) == 0 ? 0 : rng_u64(&w->rng));
    check_clean(&w->f);
    for (unsigned file = 0; file < FILES; file++) {
        const struct file *was = &w->committed[file];
        char name[8];
        uint64_t ino = 0;

        w->maps[file] = NULL;
        name_of(file, name);
        assert_int_equal(mfs_lookup(w->f.fs, name, &ino), was->there ? FL_OK : FL_NOT_FOUND);
        assert_true(!was->there || size_of(&w->f, ino) == (uint64_t)was->blocks * BLOCK);
        for (uint32_t block = 0; was->there && block < was->blocks; block++) {
            const uint64_t word = read_word(&w->f, ino, (uint64_t)block * BLOCK);

            if (!may_be(w, was->cells[block], word)) {
                fail_msg("f%u block %" PRIu32 " has %" PRIu64 " after a power cut", file, block,
                         word);
            }
        }
    }
    start_again(w);
}

static void
count_blocks(struct world *w)
{
    const struct mfs_statfs all = mfs_statfs(w->f.fs);
    uint64_t used = 0;

    for (uint32_t i = CELLS_FIRST; i < w->cells_count; i++) {
        used += w->cells[i].users > 0;
    }
    for (unsigned file = 0; file < FILES; file++) {
        for (uint32_t block = 0; w->now[file].there && block < FILE_BLOCKS; block++) {
            used += w->now[file].cells[block] == UNWRITTEN;
        }
    }
    assert_int_equal(all.blocks_free + all.blocks_freeing, BLOCKS - used);
}

static void
step(struct world *w)
{
    const unsigned file = (unsigned)rng_below(&w->rng, FILES);
    const uint64_t what = rng_below(&w->rng, 20);

    if (what < 2) {
        do_create(w, file);
    } else if (what == 2) {
        do_unlink(w, file);
    } else if (what == 3) {
        do_rename(w, file);
    } else if (w->now[file].there) {
        do_any(w, file);
    }
    const unsigned other = (unsigned)rng_below(&w->rng, FILES);

    if (w->now[other].there) {
        compare(w, other);
    }
    count_blocks(w);
}

static void
random_operations_and_power_cuts_agree_with_the_reference(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    uint64_t commits_all = 0;
    (void)state;

    assert_non_null(w);
    w->rng = rng_seeded(20);
    w->cells_count = CELLS_FIRST;
    fixture_init(&w->f, BLOCKS, 0);
    for (unsigned round = 0; round < ROUNDS; round++) {
        const uint64_t steps = rng_below(&w->rng, STEPS);

        for (uint64_t i = 0; i < steps; i++) {
            step(w);
        }
        commits_all += commits(&w->f);
        crash(w);
        count_blocks(w);
    }
    print_message("%" PRIu64 " commits, %" PRIu64 " calls without space\n", commits_all, w->full);
    fixture_deinit(&w->f);
    free(w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_operations_and_power_cuts_agree_with_the_reference),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
