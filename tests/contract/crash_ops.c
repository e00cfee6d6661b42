/* The operations that a power cut is tried in. The alphabet of states is in crash.h. */
#include "tests/contract/crash.h"

#include "tests/lib/die.h"

#include <string.h>

/* A file whose blocks are A, B, ... without the flag, not mapped; everything is durable and in its place. */
static void
make_closed(struct stage *stage, const char *name, uint32_t blocks)
{
    struct mapping *map = make_mapped(&stage->t, name, blocks);

    stage->t.a->ops->unmap(stage->t.a, map);
}

/* The same with the flag, mapped. */
static void
make_open(struct stage *stage, const char *name, uint32_t blocks)
{
    make_file(&stage->t, name, blocks);
    struct mapping *map = stage_map(stage, name, blocks, true);
    for (uint32_t i = 0; i < blocks; i++) {
        put_durably(&stage->t, map, i, (char)('A' + (int)i));
    }
}

static void
make_holes(struct stage *stage, const char *name, uint32_t blocks)
{
    make_file(&stage->t, name, blocks);
    (void)stage_map(stage, name, blocks, true);
}

/* Nothing is free afterwards. */
static void
fill_up(struct stage *stage)
{
    const struct adapter_ops *ops = stage->t.a->ops;
    uint32_t blocks = 0;

    make_file(&stage->t, "filler", 0);
    while (ops->allocate(stage->t.a, "filler", (uint64_t)blocks * BLOCK, BLOCK) == FL_OK) {
        blocks++;
    }
    need_ok(&stage->t, ops->sync(stage->t.a, "filler"), "sync");
}

static void
fault(struct stage *stage, size_t map, uint32_t block)
{
    need_ok(&stage->t, mfs_fault(model_map(stage->maps[map].map), block, true), "fault");
}

static void
store_line(struct stage *stage, const char *name, uint32_t block, char tag)
{
    char line[MFS_LINE_BYTES];

    memset(line, tag, sizeof(line));
    need_ok(&stage->t,
            stage->t.a->ops->write(stage->t.a, name, (uint64_t)block * BLOCK, line, sizeof(line)),
            "write");
}

/* ---- one fault: crash points 1 to 6 ---- */

static void
setup_hole(struct stage *stage)
{
    make_holes(stage, "f", 2);
}

static void
setup_unwritten(struct stage *stage)
{
    make_file(&stage->t, "f", 2);
    need_ok(&stage->t, stage->t.a->ops->allocate(stage->t.a, "f", 0, 2 * BLOCK), "allocate");
    need_ok(&stage->t, stage->t.a->ops->sync(stage->t.a, "f"), "sync");
    (void)stage_map(stage, "f", 2, true);
}

/* Another, plain, mapping has allocated the block, and nobody has committed that. */
static void
setup_plain_first(struct stage *stage)
{
    make_holes(stage, "f", 2);
    put(&stage->t, stage_map(stage, "f", 2, false), 1, 'P');
}

static void
fault_f_0(struct stage *stage)
{
    fault(stage, 0, 0);
}

static void
fault_1(struct stage *stage)
{
    fault(stage, 0, 1);
}

static void
store_1(struct stage *stage)
{
    put(&stage->t, stage->maps[0].map, 1, 'X');
}

static void
flush_1(struct stage *stage)
{
    flush(&stage->t, stage->maps[0].map, 1);
}

/* A thread of the mapper, as soon as it can store without a fault: data, flush, then a link to it, flush. */
static void
link_1(struct stage *stage)
{
    put_durably(&stage->t, stage->maps[0].map, 0, 'L');
}

static void
setup_link(struct stage *stage)
{
    make_file(&stage->t, "f", 2);
    put_durably(&stage->t, stage_map(stage, "f", 2, true), 0, 'K');
}

static void
setup_populate(struct stage *stage)
{
    make_holes(stage, "f", 3);
}

static void
populate_3(struct stage *stage)
{
    const char *failed = stage->t.a->ops->populate(stage->t.a, stage->maps[0].map, 0, 3);

    need(&stage->t, failed == NULL, "populate: %s", failed);
}

/* The file grows, which is not committed, and the fault commits both. */
static void
setup_grow(struct stage *stage)
{
    make_file(&stage->t, "f", 1);
    put_durably(&stage->t, stage_map(stage, "f", 2, true), 0, 'A');
}

static void
grow_f(struct stage *stage)
{
    need_ok(&stage->t, stage->t.a->ops->truncate(stage->t.a, "f", 2 * BLOCK), "grow");
}

/* All free blocks wait for the commit of an unlink: the fault commits that first. */
static void
setup_unlink_fault(struct stage *stage)
{
    make_closed(stage, "g", 2);
    make_holes(stage, "f", 2);
    fill_up(stage);
}

static void
unlink_g(struct stage *stage)
{
    need_ok(&stage->t, mfs_unlink(stage->model.fs, "g"), "unlink");
}

/* ---- giving back: crash points 7 and 8 ---- */

static void
setup_reuse(struct stage *stage)
{
    make_open(stage, "f", 3);
    make_holes(stage, "g", 1);
    fill_up(stage);
}

static void
punch_1(struct stage *stage)
{
    need_ok(&stage->t, stage->t.a->ops->punch(stage->t.a, "f", BLOCK, BLOCK), "punch");
}

static void
truncate_2(struct stage *stage)
{
    need_ok(&stage->t, stage->t.a->ops->truncate(stage->t.a, "f", 2 * BLOCK), "truncate");
}

static void
collapse_1(struct stage *stage)
{
    need_ok(&stage->t, stage->t.a->ops->collapse(stage->t.a, "f", BLOCK, BLOCK), "collapse");
}

static void
truncate_0(struct stage *stage)
{
    need_ok(&stage->t, stage->t.a->ops->truncate(stage->t.a, "f", 0), "truncate");
}

static void
setup_reuse_all(struct stage *stage)
{
    make_open(stage, "f", 3);
    make_holes(stage, "g", 3);
    (void)stage_map(stage, "f", 3, true);
    put_durably(&stage->t, stage->maps[2].map, 1, 'B');
    fill_up(stage);
}

static void
populate_g(struct stage *stage)
{
    const char *failed = stage->t.a->ops->populate(stage->t.a, stage->maps[1].map, 0, 3);

    need(&stage->t, failed == NULL, "populate: %s", failed);
}

static void
store_late_everywhere(struct stage *stage)
{
    for (uint32_t block = 0; block < 3; block++) {
        for (size_t map = 0; map < 3; map += 2) {
            need(&stage->t, try_put(&stage->t, stage->maps[map].map, block, 'S') == FL_IO,
                 "a store behind the end");
        }
    }
}

static void
fault_g(struct stage *stage)
{
    fault(stage, 1, 0);
}

static void
store_g(struct stage *stage)
{
    put_durably(&stage->t, stage->maps[1].map, 0, 'X');
}

/* The old owner stores once more: into a block of his own, or nowhere. */
static void
store_late(struct stage *stage)
{
    for (uint32_t block = 1; block < 3; block++) {
        if (try_put(&stage->t, stage->maps[0].map, block, 'S') == FL_OK) {
            flush(&stage->t, stage->maps[0].map, block);
        }
    }
}

static void
store_late_1(struct stage *stage)
{
    if (try_put(&stage->t, stage->maps[0].map, 1, 'S') == FL_OK) {
        flush(&stage->t, stage->maps[0].map, 1);
    }
}

static void
setup_unlink(struct stage *stage)
{
    make_closed(stage, "f", 2);
    make_file(&stage->t, "g", 2);
    fill_up(stage);
}

static void
unlink_f(struct stage *stage)
{
    need_ok(&stage->t, mfs_unlink(stage->model.fs, "f"), "unlink");
}

static void
write_g(struct stage *stage)
{
    store_line(stage, "g", 0, 'X');
}

static void
sync_g(struct stage *stage)
{
    need_ok(&stage->t, stage->t.a->ops->sync(stage->t.a, "g"), "sync");
}

/* ---- system calls under a mapping ---- */

static void
setup_write(struct stage *stage)
{
    make_file(&stage->t, "f", 2);
    put_durably(&stage->t, stage_map(stage, "f", 2, true), 0, 'A');
}

static void
write_0(struct stage *stage)
{
    store_line(stage, "f", 0, 'B');
}

static void
write_1(struct stage *stage)
{
    store_line(stage, "f", 1, 'C');
}

/* Beyond the file's end, but under the mapping. */
static void
setup_append(struct stage *stage)
{
    make_file(&stage->t, "f", 1);
    put_durably(&stage->t, stage_map(stage, "f", 2, true), 0, 'A');
}

static void
append_f(struct stage *stage)
{
    char block[BLOCK] = {0};

    memset(block, 'B', MFS_LINE_BYTES);
    need_ok(&stage->t, stage->t.a->ops->write(stage->t.a, "f", BLOCK, block, sizeof(block)),
            "write");
}

static void
setup_rename(struct stage *stage)
{
    make_closed(stage, "f", 1);
    make_closed(stage, "g", 2);
}

static void
rename_f(struct stage *stage)
{
    need_ok(&stage->t, stage->t.a->ops->rename(stage->t.a, "f", "g"), "rename");
}

static void
setup_plain(struct stage *stage)
{
    make_file(&stage->t, "f", 1);
    put(&stage->t, stage_map(stage, "f", 1, false), 0, 'P');
}

static void
sync_f(struct stage *stage)
{
    need_ok(&stage->t, stage->t.a->ops->sync(stage->t.a, "f"), "sync");
}

static void
setup_unmap(struct stage *stage)
{
    make_file(&stage->t, "f", 2);
    put(&stage->t, stage_map(stage, "f", 2, true), 0, 'A');
}

static void
unmap_f(struct stage *stage)
{
    stage_unmap(stage, stage->maps[0].map);
}

static void
setup_clone(struct stage *stage)
{
    make_closed(stage, "f", 2);
    make_file(&stage->t, "g", 0);
}

static void
clone_f(struct stage *stage)
{
    need_ok(&stage->t, stage->t.a->ops->clone(stage->t.a, "f", "g"), "clone");
}

static void
write_f(struct stage *stage)
{
    store_line(stage, "f", 0, 'X');
}

/* ---- recovery ---- */

/* Committed and not yet in the tables, flags set; then the power is cut, and recovery is the call. */
static void
setup_recovery(struct stage *stage)
{
    make_open(stage, "f", 2);
    make_file(&stage->t, "g", 1);
    put(&stage->t, stage_map(stage, "g", 1, false), 0, 'P');
    memset(stage->maps, 0, sizeof(stage->maps));
    model_abandon(&stage->model);
    if (mfs_media_cut_random(stage->model.media, 0) != FL_OK) {
        die("power cut: %s", fl_last_error());
    }
}

static void
recover(struct stage *stage)
{
    const struct mfs_mount_options options = {.engine = mfs_pte_table_engine(stage->model.table),
                                              .mutant = stage->model.mutant};

    /* Not by model_mount(), which takes the hooks away. */
    need_ok(&stage->t, mfs_mount(stage->model.media, &options, &stage->model.fs), "mount");
}

const struct crash_op crash_ops[] = {
    {"fault on a hole",
     8,
     2,
     0,
     setup_hole,
     {{fault_1, 0, 1}, {store_1, 1, 2}, {flush_1, 1, 2}},
     2,
     {"..|", ".*|", ".X|"},
     1,
     4},
    {"fault on a preallocated block",
     8,
     2,
     0,
     setup_unwritten,
     {{fault_1, 0, 1}, {store_1, 1, 2}, {flush_1, 1, 2}},
     2,
     {"uu|", "u*|", "uX|"},
     1,
     4},
    {"fault after a plain mapping's",
     8,
     2,
     0,
     setup_plain_first,
     {{fault_1, 0, 2}, {store_1, 1, 3}, {flush_1, 1, 3}},
     3,
     {"..|", ".*|", ".P|", ".X|"},
     1,
     4},
    {"fault, then a link",
     8,
     2,
     0,
     setup_link,
     {{fault_1, 0, 1}, {store_1, 1, 2}, {flush_1, 1, 2}, {link_1, 2, 3}},
     3,
     {"K.|", "K*|", "KX|", "LX|"},
     0,
     0},
    {"populate", 8, 3, 0, setup_populate, {{populate_3, 0, 1}}, 1, {"...|", "***|"}, 0, 0},
    {"the journal begins anew",
     8,
     5,
     0,
     crash_journal_setup,
     {{crash_journal_commit, 0, 1},
      {crash_journal_commit, 1, 2},
      {crash_journal_commit, 2, 3},
      {crash_journal_commit, 3, 4},
      {crash_journal_check, 4, 4}},
     4,
     {"A----|", "A.---|", "A..--|", "A...-|", "A....|"},
     0,
     0},
    {"grow, then fault",
     8,
     2,
     0,
     setup_grow,
     {{grow_f, 0, 0}, {fault_1, 0, 1}, {store_1, 1, 2}, {flush_1, 1, 2}},
     2,
     {"A-|", "A*|", "AX|"},
     0,
     0},
    {"unlink, then fault",
     8,
     2,
     2,
     setup_unlink_fault,
     {{unlink_g, 0, 0}, {fault_f_0, 0, 2}},
     2,
     {"..|ab", "..|--", "*.|--"},
     0,
     0},
    {"punch", 8, 3, 1, setup_reuse, {{punch_1, 0, 1}}, 1, {"ABC|.", "A.C|."}, 7, 8},
    {"punch, then reuse",
     8,
     3,
     1,
     setup_reuse,
     {{punch_1, 0, 1}, {fault_g, 1, 2}, {store_g, 2, 3}, {store_late_1, 3, 3}},
     3,
     {"ABC|.", "A.C|.", "A.C|*", "A.C|X"},
     0,
     0},
    {"truncate, then reuse",
     8,
     3,
     1,
     setup_reuse,
     {{truncate_2, 0, 1}, {fault_g, 1, 2}, {store_g, 2, 3}, {store_late, 3, 4}},
     4,
     {"ABC|.", "AB-|.", "AB-|*", "AB-|X", "AS-|X"},
     0,
     0},
    {"truncate to nothing, two mappers",
     8,
     3,
     3,
     setup_reuse_all,
     {{truncate_0, 0, 1}, {populate_g, 1, 2}, {store_late_everywhere, 2, 2}},
     2,
     {"ABC|...", "---|...", "---|***"},
     0,
     0},
    {"collapse, then reuse",
     8,
     3,
     1,
     setup_reuse,
     {{collapse_1, 0, 1}, {fault_g, 1, 2}, {store_g, 2, 3}, {store_late_1, 3, 4}},
     4,
     {"ABC|.", "AC-|.", "AC-|*", "AC-|X", "AS-|X"},
     0,
     0},
    {"unlink, then reuse",
     8,
     2,
     2,
     setup_unlink,
     {{unlink_f, 0, 0}, {write_g, 0, 1}, {sync_g, 0, 2}},
     2,
     {"ab|..", "--|..", "--|x."},
     0,
     0},
    {"write under a mapping",
     8,
     2,
     0,
     setup_write,
     {{write_0, 0, 1}, {write_1, 1, 2}},
     2,
     {"A.|", "B.|", "Bc|"},
     0,
     0},
    {"write behind the end, under a mapping",
     8,
     2,
     0,
     setup_append,
     {{append_f, 0, 1}},
     1,
     {"A-|", "Ab|"},
     0,
     0},
    {"rename over a file",
     12,
     1,
     2,
     setup_rename,
     {{rename_f, 0, 0}, {sync_g, 0, 1}},
     1,
     {"a|ab", "-|a-"},
     0,
     0},
    {"fsync of a plain mapping's", 8, 1, 0, setup_plain, {{sync_f, 0, 1}}, 1, {".|", "p|"}, 0, 0},
    {"last unmap", 8, 2, 0, setup_unmap, {{unmap_f, 0, 2}}, 2, {"*.|", "A.|", "a.|"}, 0, 0},
    {"clone, then write",
     12,
     2,
     2,
     setup_clone,
     {{clone_f, 0, 0}, {sync_g, 0, 1}, {write_f, 1, 1}, {sync_f, 1, 2}},
     2,
     {"ab|--", "ab|ab", "xb|ab"},
     0,
     0},
    {"recovery", 8, 2, 1, setup_recovery, {{recover, 0, 1}}, 1, {"AB|.", "ab|."}, 0, 0},
    {0},
};
