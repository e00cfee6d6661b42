/* C9, C10, C13: blocks that are taken away, the flag's life, no space. */
#include "tests/contract/contract.h"

#include <string.h>

static void
punch_run(struct contract *t)
{
    const struct adapter_ops *ops = t->a->ops;
    struct mapping *map = make_mapped(t, "f", 4);
    struct mapping *plain = map_file(t, "f", 4, false);

    need(t, load_tag(t, plain, 1) == 'B', "the plain mapping sees '%c'", load_tag(t, plain, 1));
    need_ok(t, ops->punch(t->a, "f", BLOCK, BLOCK), "punch");
    fact_bool(t, "every mapping reads zeros after it",
              load_tag(t, map, 1) == NOTHING && load_tag(t, plain, 1) == NOTHING);
    need(t, load_tag(t, map, 0) == 'A' && load_tag(t, map, 2) == 'C', "a neighbour is lost");
    if (ops->flag(t->a, "f", 0) != FLAG_NONE) {
        fact_bool(t, "the remainders keep the flag",
                  ops->flag(t->a, "f", 0) == FLAG_SET && ops->flag(t->a, "f", 2) == FLAG_SET);
    }
}

static void
punch_verify(struct contract *t)
{
    fact_which(t, "a punch survives without fsync", tags(t, "f", 4), "A0CD", "ABCD");
}

static void
truncate_run(struct contract *t)
{
    struct mapping *map = make_mapped(t, "f", 4);

    need_ok(t, t->a->ops->truncate(t->a, "f", 2 * BLOCK), "truncate");
    fact_bool(t, "an access beyond the end is refused",
              load_tag(t, map, 2) == ABSENT && try_put(t, map, 2, 'X') == FL_IO);
    need(t, load_tag(t, map, 1) == 'B', "a neighbour is lost");
    need_ok(t, t->a->ops->truncate(t->a, "f", 4 * BLOCK), "grow again");
    fact_bool(t, "what was cut off reads as zeros", load_tag(t, map, 2) == NOTHING);
}

static void
truncate_verify(struct contract *t)
{
    const char *found = tags(t, "f", 4);
    const bool rolled_back = strcmp(found, "ABCD") == 0;

    /* Growing again promises nothing. */
    need(t, rolled_back || strcmp(found, "AB--") == 0 || strcmp(found, "AB00") == 0, "found %s",
         found);
    fact_bool(t, "a truncation survives without fsync", !rolled_back);
}

static void
collapse_run(struct contract *t)
{
    struct mapping *map = make_mapped(t, "f", 4);
    struct mapping *plain = map_file(t, "f", 4, false);

    need(t, load_tag(t, plain, 2) == 'C', "the plain mapping sees '%c'", load_tag(t, plain, 2));
    need_ok(t, t->a->ops->collapse(t->a, "f", BLOCK, BLOCK), "collapse");
    fact_bool(t, "every mapping sees what moved up",
              load_tag(t, map, 1) == 'C' && load_tag(t, map, 2) == 'D' &&
                  load_tag(t, plain, 1) == 'C' && load_tag(t, plain, 2) == 'D');
}

static void
collapse_verify(struct contract *t)
{
    fact_which(t, "a collapse survives without fsync", tags(t, "f", 4), "ACD-", "ABCD");
}

/* Take all space. */
static void
fill(struct contract *t, const char *name)
{
    uint64_t off = 0;

    make_file(t, name, 0);
    for (uint64_t len = (uint64_t)1 << 30; len >= BLOCK; len /= 2) {
        while (t->a->ops->allocate(t->a, name, off, len) == FL_OK) {
            off += len;
        }
    }
    need_ok(t, t->a->ops->sync(t->a, name), "sync");
    need(t, off > 0, "nothing could be filled");
}

/* With all else full, what is punched out of one file is all there is for the other. So many because XFS asks for
 * more than it takes. */
enum { REUSE_BLOCKS = 20, REUSE_FIRST = 2, REUSE_END = 18 };

static void
reuse_run(struct contract *t)
{
    const struct adapter_ops *ops = t->a->ops;
    struct mapping *map = make_mapped(t, "f", REUSE_BLOCKS);
    uint32_t taken = 0;

    make_file(t, "g", REUSE_BLOCKS);
    struct mapping *other = map_file(t, "g", REUSE_BLOCKS, true);
    fill(t, "filler");
    need(t, try_put(t, other, 0, 'X') == FL_IO, "the device is not full");
    need_ok(t, ops->punch(t->a, "f", REUSE_FIRST * BLOCK, (REUSE_END - REUSE_FIRST) * BLOCK),
            "punch");
    while (taken < REUSE_BLOCKS && try_put(t, other, taken, 'X') == FL_OK) {
        flush(t, other, taken);
        need(t, block_tag(t, "g", taken) == 'X', "the new owner reads '%c'",
             block_tag(t, "g", taken));
        taken++;
    }
    fact_bool(t, "freed blocks are given out at once", taken > 0);
    /* The old owner stores into its hole. It may get a block or not, but never the other's. */
    for (uint32_t i = REUSE_FIRST; i < REUSE_END; i++) {
        if (try_put(t, map, i, 's') == FL_OK) {
            flush(t, map, i);
        }
    }
    for (uint32_t i = 0; i < taken; i++) {
        need(t, load_tag(t, other, i) == 'X', "a stale store: '%c'", load_tag(t, other, i));
    }
}

static void
reuse_verify(struct contract *t)
{
    const char *found = tags(t, "f", REUSE_BLOCKS);
    const char *other = tags(t, "g", REUSE_BLOCKS);

    for (uint32_t i = 0; i < REUSE_BLOCKS; i++) {
        const char old = (char)('A' + (int)i);
        const bool punched = i >= REUSE_FIRST && i < REUSE_END;
        need(t, found[i] == old || (punched && (found[i] == NOTHING || found[i] == 's')),
             "the old owner has %s", found);
        need(t, other[i] == 'X' || other[i] == NOTHING, "the new owner has %s", other);
    }
    fact_bool(t, "the new owner's flushed data survives", other[0] == 'X');
}

/* ---- C10 ---- */

static void
flag_run(struct contract *t)
{
    const struct adapter_ops *ops = t->a->ops;

    make_file(t, "f", 4);
    struct mapping *map = map_file(t, "f", 4, true);
    fact_bool(t, "there is a flag per block", ops->flag(t->a, "f", 0) != FLAG_NONE);
    put(t, map, 0, 'A'); /* not flushed */
    if (ops->flag(t->a, "f", 0) != FLAG_NONE) {
        fact_bool(t, "a write fault sets it on its block only",
                  ops->flag(t->a, "f", 0) == FLAG_SET && ops->flag(t->a, "f", 1) == FLAG_CLEAR);
    }
    need_ok(t, ops->truncate(t->a, "f", 5 * BLOCK), "grow");
    const uint64_t before = commits(t);
    ops->unmap(t->a, map);
    fact_bool(t, "the last unmap commits", commits(t) > before);
    if (ops->flag(t->a, "f", 0) != FLAG_NONE) {
        fact_bool(t, "the flag goes with the last mapping", ops->flag(t->a, "f", 0) == FLAG_CLEAR);
    }
}

static void
flag_verify(struct contract *t)
{
    const char *found = tags(t, "f", 5);

    need(t,
         strcmp(found, "A0000") == 0 || strcmp(found, "A000-") == 0 ||
             (!t->a->loses_lines && found[0] == NOTHING),
         "found %s", found);
    fact_bool(t, "the size at the last unmap survives", found[4] != ABSENT);
}

/* ---- C13 ---- */

static void
full_run(struct contract *t)
{
    const struct adapter_ops *ops = t->a->ops;

    make_file(t, "reserved", 2);
    need_ok(t, ops->allocate(t->a, "reserved", 0, 2 * BLOCK), "allocate");
    make_file(t, "f", 4);
    struct mapping *map = map_file(t, "f", 4, true);
    struct mapping *reserved = map_file(t, "reserved", 2, true);
    put_durably(t, map, 0, 'A');
    fill(t, "filler");
    fact(t, "a store into a hole, device full",
         try_put(t, map, 1, 'B') == FL_IO ? "SIGBUS" : "done");
    need(t, ops->extent(t->a, "f", 1) == EXTENT_HOLE, "a refused fault left a block");
    const char *populated = ops->populate(t->a, map, 1, 2);
    fact(t, "populating it", populated != NULL ? populated : "done");
    need(t, ops->extent(t->a, "f", 1) == EXTENT_HOLE && ops->extent(t->a, "f", 2) == EXTENT_HOLE,
         "a refused populate left a block");
    fact_bool(t, "a store to a preallocated block works", try_put(t, reserved, 1, 'P') == FL_OK);
    flush(t, reserved, 1);
    put_durably(t, map, 0, 'Z');
    need_ok(t, ops->truncate(t->a, "filler", 0), "free");
    fact_bool(t, "a retry after space was freed works", try_put(t, map, 1, 'B') == FL_OK);
    flush(t, map, 1);
}

static void
full_verify(struct contract *t)
{
    need(t, strcmp(tags(t, "reserved", 2), "0P") == 0, "reserved: %s", tags(t, "reserved", 2));
    fact_which(t, "flushed data survives", tags(t, "f", 4), "ZB00", "Z000");
}

const struct scenario scenarios_free[] = {
    {"C9", "punch", punch_run, punch_verify},
    {"C9", "truncate", truncate_run, truncate_verify},
    {"C9", "collapse", collapse_run, collapse_verify},
    {"C9", "reuse", reuse_run, reuse_verify},
    {"C10", "flag", flag_run, flag_verify},
    {"C13", "no space", full_run, full_verify},
    {0},
};
