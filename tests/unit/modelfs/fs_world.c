#include "tests/unit/modelfs/fs_world.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

void
name_of(unsigned file, char name[8])
{
    (void)snprintf(name, 8, "f%u", file);
}

uint64_t
ino_of(struct world *w, unsigned file)
{
    char name[8];
    uint64_t ino = 0;

    name_of(file, name);
    assert_int_equal(mfs_lookup(w->f.fs, name, &ino), FL_OK);
    return ino;
}

/* ---- the reference ---- */

static uint32_t
new_cell(struct world *w, uint64_t word)
{
    assert_true(w->cells_count < CELLS_MAX);
    w->cells[w->cells_count] = (struct cell){.now = word, .durable = word, .users = 1};
    return w->cells_count++;
}

struct cell *
cell_at(struct world *w, unsigned file, uint32_t block)
{
    const uint32_t cell = w->now[file].cells[block];

    return cell < CELLS_FIRST ? NULL : &w->cells[cell];
}

static void
leave(struct world *w, unsigned file, uint32_t block)
{
    struct cell *cell = cell_at(w, file, block);

    if (cell != NULL) {
        cell->users--;
    }
    w->now[file].cells[block] = HOLE;
}

/* A cell of its own, with what is there; what is new there is durable with the commit that makes it reachable. */
static struct cell *
own_cell(struct world *w, unsigned file, uint32_t block)
{
    struct cell *cell = cell_at(w, file, block);

    if (cell == NULL || cell->users > 1) {
        const uint64_t word = cell == NULL ? 0 : cell->now;

        leave(w, file, block);
        w->now[file].cells[block] = new_cell(w, word);
    }
    return cell_at(w, file, block);
}

void
put(struct cell *cell, uint64_t word, bool durable)
{
    cell->now = word;
    if (durable) {
        cell->durable = word;
        cell->since_count = 0;
    } else {
        assert_true(cell->since_count < VALUES_MAX);
        cell->since[cell->since_count++] = word;
    }
}

void
committed(struct world *w)
{
    memcpy(w->committed, w->now, sizeof(w->now));
}

static void
synced(struct world *w, unsigned file)
{
    for (uint32_t block = 0; block < FILE_BLOCKS; block++) {
        struct cell *cell = cell_at(w, file, block);

        if (cell != NULL) {
            put(cell, cell->now, true);
        }
    }
}

/* ---- operations on both ---- */

/* `before`: commits before the call. One that does not commit itself, or failed, may have made room by a commit first:
 * then the files are committed as they were before it. */
static bool
went(struct world *w, fl_status status, uint64_t before, bool commits_itself)
{
    if ((!commits_itself || status != FL_OK) && commits(&w->f) != before) {
        committed(w);
    }
    if (status == FL_NO_SPACE) {
        w->full++;
    } else {
        assert_int_equal(status, FL_OK);
    }
    return status == FL_OK;
}

void
do_create(struct world *w, unsigned file)
{
    const uint64_t before = commits(&w->f);
    char name[8];
    uint64_t ino;

    name_of(file, name);
    const fl_status status = mfs_create(w->f.fs, name, &ino);

    if (w->now[file].there) {
        assert_int_equal(status, FL_EXISTS);
    } else if (went(w, status, before, false)) {
        w->now[file] = (struct file){.there = true};
    }
}

static void
forget(struct world *w, unsigned file)
{
    for (uint32_t block = 0; block < FILE_BLOCKS; block++) {
        leave(w, file, block);
    }
    w->now[file].there = false;
}

void
do_unlink(struct world *w, unsigned file)
{
    const uint64_t before = commits(&w->f);
    char name[8];

    name_of(file, name);
    const fl_status status = mfs_unlink(w->f.fs, name);

    if (!w->now[file].there) {
        assert_int_equal(status, FL_NOT_FOUND);
    } else if (w->maps[file] != NULL) {
        assert_int_equal(status, FL_BUSY);
    } else if (went(w, status, before, false)) {
        forget(w, file);
    }
}

void
do_rename(struct world *w, unsigned file)
{
    const unsigned to = (unsigned)rng_below(&w->rng, FILES);
    const uint64_t before = commits(&w->f);
    char name[8];
    char name_to[8];

    name_of(file, name);
    name_of(to, name_to);
    const fl_status status = mfs_rename(w->f.fs, name, name_to);

    if (!w->now[file].there) {
        assert_int_equal(status, FL_NOT_FOUND);
    } else if (file == to) {
        assert_int_equal(status, FL_OK);
    } else if (w->now[to].there && w->maps[to] != NULL) {
        assert_int_equal(status, FL_BUSY);
    } else if (went(w, status, before, false)) {
        forget(w, to);
        w->now[to] = w->now[file];
        memset(&w->now[file], 0, sizeof(w->now[file]));
        w->maps[to] = w->maps[file];
        w->kinds[to] = w->kinds[file];
        w->maps[file] = NULL;
    }
}

static bool
under_nosync(const struct world *w, unsigned file)
{
    return w->maps[file] != NULL && w->kinds[file] == MFS_MAP_NOSYNC;
}

static void
do_write(struct world *w, unsigned file)
{
    const uint32_t block = (uint32_t)rng_below(&w->rng, FILE_BLOCKS);
    const uint64_t before = commits(&w->f);
    const uint64_t word = ++w->word;
    uint8_t bytes[BLOCK] = {0};
    size_t done;

    memcpy(bytes, &word, sizeof(word));
    const bool durable = under_nosync(w, file);
    const fl_status status =
        mfs_write(w->f.fs, ino_of(w, file), (uint64_t)block * BLOCK, bytes, BLOCK, &done);

    if (went(w, status, before, durable)) {
        put(own_cell(w, file, block), word, durable);
        if (w->now[file].blocks <= block) {
            w->now[file].blocks = block + 1;
        }
        if (durable) {
            committed(w);
        }
    }
}

static void
do_truncate(struct world *w, unsigned file)
{
    const uint32_t blocks = (uint32_t)rng_below(&w->rng, FILE_BLOCKS + 1);
    const uint64_t before = commits(&w->f);
    bool gives_back = false;

    for (uint32_t block = blocks; blocks < w->now[file].blocks && block < FILE_BLOCKS; block++) {
        gives_back = gives_back || w->now[file].cells[block] != HOLE;
    }
    const fl_status status = mfs_truncate(w->f.fs, ino_of(w, file), (uint64_t)blocks * BLOCK);

    if (went(w, status, before, gives_back)) {
        for (uint32_t block = blocks; gives_back && block < FILE_BLOCKS; block++) {
            leave(w, file, block);
        }
        w->now[file].blocks = blocks;
        if (gives_back) {
            assert_true(commits(&w->f) > before);
            committed(w);
        }
    }
}

static void
do_allocate(struct world *w, unsigned file)
{
    const uint32_t first = (uint32_t)rng_below(&w->rng, FILE_BLOCKS);
    const uint32_t blocks = 1 + (uint32_t)rng_below(&w->rng, FILE_BLOCKS - first);
    const bool keep = rng_below(&w->rng, 2) == 0;
    const uint64_t before = commits(&w->f);
    const fl_status status = mfs_allocate(w->f.fs, ino_of(w, file), (uint64_t)first * BLOCK,
                                          (uint64_t)blocks * BLOCK, keep);

    if (went(w, status, before, false)) {
        for (uint32_t block = first; block < first + blocks; block++) {
            if (w->now[file].cells[block] == HOLE) {
                w->now[file].cells[block] = UNWRITTEN;
            }
        }
        if (!keep && w->now[file].blocks < first + blocks) {
            w->now[file].blocks = first + blocks;
        }
    }
}

static void
do_punch(struct world *w, unsigned file)
{
    const uint32_t first = (uint32_t)rng_below(&w->rng, FILE_BLOCKS);
    const uint32_t blocks = 1 + (uint32_t)rng_below(&w->rng, FILE_BLOCKS - first);
    const uint64_t before = commits(&w->f);
    const fl_status status =
        mfs_punch(w->f.fs, ino_of(w, file), (uint64_t)first * BLOCK, (uint64_t)blocks * BLOCK);

    if (went(w, status, before, true)) {
        for (uint32_t block = first; block < first + blocks; block++) {
            leave(w, file, block);
        }
        assert_true(commits(&w->f) > before);
        committed(w);
    }
}

static void
do_collapse(struct world *w, unsigned file)
{
    struct file *now = &w->now[file];
    const uint32_t first = (uint32_t)rng_below(&w->rng, FILE_BLOCKS);
    const uint32_t blocks = 1 + (uint32_t)rng_below(&w->rng, 3);
    const uint64_t before = commits(&w->f);
    const fl_status status =
        mfs_collapse(w->f.fs, ino_of(w, file), (uint64_t)first * BLOCK, (uint64_t)blocks * BLOCK);

    if (first + blocks >= now->blocks) {
        assert_int_equal(status, FL_INVALID);
    } else if (went(w, status, before, true)) {
        for (uint32_t block = first; block < first + blocks; block++) {
            leave(w, file, block);
        }
        for (uint32_t block = first; block < FILE_BLOCKS; block++) {
            now->cells[block] = block + blocks < FILE_BLOCKS ? now->cells[block + blocks] : HOLE;
        }
        now->blocks -= blocks;
        committed(w);
    }
}

static void
do_clone(struct world *w, unsigned file)
{
    const unsigned to = (unsigned)rng_below(&w->rng, FILES);
    const uint64_t before = commits(&w->f);

    if (to == file || !w->now[to].there) {
        return;
    }
    const fl_status status = mfs_clone(w->f.fs, ino_of(w, file), ino_of(w, to));

    if (under_nosync(w, file) || under_nosync(w, to)) {
        assert_int_equal(status, FL_BUSY);
    } else if (went(w, status, before, false)) {
        for (uint32_t block = 0; block < FILE_BLOCKS; block++) {
            leave(w, to, block);
            if (w->now[file].cells[block] >= CELLS_FIRST) {
                w->now[to].cells[block] = w->now[file].cells[block];
                cell_at(w, to, block)->users++;
            }
        }
        w->now[to].blocks = w->now[file].blocks;
    }
}

static void
do_fsync(struct world *w, unsigned file)
{
    if (rng_below(&w->rng, 3) == 0) {
        assert_int_equal(mfs_fsync(w->f.fs, 0), FL_OK);
        for (unsigned i = 0; i < FILES; i++) {
            synced(w, i);
        }
    } else {
        assert_int_equal(mfs_fsync(w->f.fs, ino_of(w, file)), FL_OK);
        synced(w, file);
    }
    committed(w);
}

static void
do_map(struct world *w, unsigned file)
{
    const enum mfs_map_kind kind = rng_below(&w->rng, 3) == 0 ? MFS_MAP_PLAIN : MFS_MAP_NOSYNC;
    const uint64_t before = commits(&w->f);
    bool shared = false;

    if (w->maps[file] != NULL) {
        mfs_pte_unmap(w->f.table, w->maps[file]);
        assert_int_equal(mfs_map_close(w->maps[file]), FL_OK);
        w->maps[file] = NULL;
        if (w->kinds[file] == MFS_MAP_NOSYNC) {
            synced(w, file);
            committed(w);
        }
        return;
    }
    for (uint32_t block = 0; block < FILE_BLOCKS; block++) {
        shared = shared || (cell_at(w, file, block) != NULL && cell_at(w, file, block)->users > 1);
    }
    const fl_status status =
        mfs_map_open(w->f.fs, ino_of(w, file), 0, FILE_BLOCKS, kind, NULL, &w->maps[file]);

    if (kind == MFS_MAP_NOSYNC && shared) {
        assert_int_equal(status, FL_BUSY);
    } else if (went(w, status, before, false)) {
        w->kinds[file] = kind;
    }
}

static void
do_store(struct world *w, unsigned file)
{
    const uint32_t block = (uint32_t)rng_below(&w->rng, FILE_BLOCKS);
    const uint64_t before = commits(&w->f);
    const bool flush = rng_below(&w->rng, 2) == 0;
    struct mfs_map *map = w->maps[file];
    const uint64_t word = ++w->word;
    const uint64_t faults = mfs_counts(w->f.fs).faults_write;

    if (map == NULL) {
        return;
    }
    const fl_status status = store_word(&w->f, map, block, word);

    const bool nosync = under_nosync(w, file);
    const bool faulted = mfs_counts(w->f.fs).faults_write != faults;

    if (status == FL_IO) {
        /* SIGBUS: behind the end, or no space. */
        w->full += block < w->now[file].blocks;
        (void)went(w, FL_NO_SPACE, before, false);
        return;
    }
    assert_int_equal(status, FL_OK);
    assert_true(block < w->now[file].blocks);
    assert_true(commits(&w->f) <= before + 2);
    if (!nosync) {
        (void)went(w, status, before, false);
    }
    struct cell *cell = own_cell(w, file, block);

    if (nosync && commits(&w->f) != before) {
        committed(w);
    }
    if (nosync && faulted) {
        /* Rules C2 and C5: whoever allocated it, it is committed now. */
        assert_true(w->committed[file].there);
        assert_int_equal(w->committed[file].cells[block], w->now[file].cells[block]);
        assert_true(w->committed[file].blocks > block);
    }
    put(cell, word, false);
    if (flush) {
        assert_int_equal(
            mfs_pte_flush(w->f.table, map, w->f.cpu, (uint64_t)block * BLOCK, sizeof(word)), FL_OK);
        assert_int_equal(mfs_cpu_fence(w->f.cpu), FL_OK);
        if (nosync) {
            put(cell, word, true);
        }
    }
}

static void
do_populate(struct world *w, unsigned file)
{
    if (!under_nosync(w, file) || w->now[file].blocks == 0) {
        return;
    }
    const uint32_t blocks = w->now[file].blocks;
    const uint64_t before = commits(&w->f);
    const fl_status status = mfs_populate(w->maps[file], 0, blocks);

    if (went(w, status, before, true)) {
        for (uint32_t block = 0; block < blocks; block++) {
            (void)own_cell(w, file, block);
        }
        if (commits(&w->f) != before) {
            committed(w);
        }
    }
}

void
do_any(struct world *w, unsigned file)
{
    static void (*const on_a_file[])(struct world *, unsigned) = {
        do_write, do_write, do_truncate, do_allocate, do_punch, do_collapse, do_clone,   do_fsync,
        do_map,   do_map,   do_store,    do_store,    do_store, do_store,    do_populate};

    on_a_file[rng_below(&w->rng, sizeof(on_a_file) / sizeof(on_a_file[0]))](w, file);
}
