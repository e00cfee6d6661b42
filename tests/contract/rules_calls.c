/* C6 to C8, C12, C16: system calls on a file that is mapped, and what order is promised. */
#include "tests/contract/contract.h"

#include <string.h>

static void
read_run(struct contract *t)
{
    const struct adapter_ops *ops = t->a->ops;

    make_file(t, "f", 1);
    struct mapping *map = map_file(t, "f", 1, true);
    put(t, map, 0, 'A');
    uint64_t before = commits(t);
    fact_bool(t, "a read sees a store that was not flushed", block_tag(t, "f", 0) == 'A');
    fact_number(t, "commits of a read", commits(t) - before);
    before = ops->faults(t->a);
    put(t, map, 0, 'B');
    fact_bool(t, "a store after a read faults", ops->faults(t->a) > before);
    need(t, block_tag(t, "f", 0) == 'B', "a read after a store is stale");
}

static void
write_run(struct contract *t)
{
    const struct adapter_ops *ops = t->a->ops;
    char line[64];

    make_file(t, "f", 2);
    struct mapping *map = map_file(t, "f", 2, true);
    put_durably(t, map, 0, 'A');
    need(t, load_tag(t, map, 1) == NOTHING, "a hole is not zeros");
    memset(line, 'B', sizeof(line));
    need_ok(t, ops->write(t->a, "f", 0, line, sizeof(line)), "write");
    memset(line, 'C', sizeof(line));
    need_ok(t, ops->write(t->a, "f", BLOCK, line, sizeof(line)), "write into a hole");
    fact_bool(t, "the mapping sees a write",
              load_tag(t, map, 0) == 'B' && load_tag(t, map, 1) == 'C');
}

static void
write_verify(struct contract *t)
{
    const char first = block_tag(t, "f", 0);
    const char second = block_tag(t, "f", 1);

    need(t, first == 'B' || first == 'A', "the overwritten block is '%c'", first);
    need(t, second == 'C' || second == NOTHING, "the new block is '%c'", second);
    fact_bool(t, "an overwrite survives without fsync", first == 'B');
    fact_bool(t, "a write into a hole survives without fsync", second == 'C');
}

static void
copy_run(struct contract *t)
{
    const struct adapter_ops *ops = t->a->ops;
    char bytes[2 * BLOCK];
    size_t done = 0;

    (void)make_mapped(t, "f", 2);
    need_ok(t, ops->create(t->a, "g"), "create");
    need_ok(t, ops->read(t->a, "f", 0, bytes, sizeof(bytes), &done), "read");
    need_ok(t, ops->write(t->a, "g", 0, bytes, done), "write");
    need(t, strcmp(tags(t, "g", 2), "AB") == 0, "the copy differs");
    if (ops->flag(t->a, "g", 0) != FLAG_NONE) {
        fact_bool(t, "a copy has the flag", ops->flag(t->a, "g", 0) == FLAG_SET);
    }
}

static void
copy_verify(struct contract *t)
{
    need(t, strcmp(tags(t, "f", 2), "AB") == 0, "the original is %s", tags(t, "f", 2));
    fact_bool(t, "a copy survives without fsync", strcmp(tags(t, "g", 2), "AB") == 0);
}

static void
clone_run(struct contract *t)
{
    const struct adapter_ops *ops = t->a->ops;
    struct mapping *map = make_mapped(t, "f", 4);

    make_file(t, "g", 0);
    fact(t, "cloning what is mapped", fl_status_name(ops->clone(t->a, "f", "g")));
    /* An even number of faults: where blocks are shared, each copies one. */
    put_durably(t, map, 0, 'W');
    put_durably(t, map, 1, 'X');
}

static void
clone_verify(struct contract *t)
{
    const char *found = tags(t, "f", 4);

    need(t,
         strncmp(found, "WX", 2) == 0 || strncmp(found, "W", 1) == 0 ||
             strncmp(found, "AB", 2) == 0,
         "found %s", found);
    need(t, strcmp(found + 2, "CD") == 0, "the rest is %s", found + 2);
    fact_bool(t, "a flushed store after it survives", strncmp(found, "WX", 2) == 0);
}

static void
fsync_run(struct contract *t)
{
    const struct adapter_ops *ops = t->a->ops;

    make_file(t, "f", 2);
    struct mapping *plain = map_file(t, "f", 2, false);
    struct mapping *map = map_file(t, "f", 2, true);
    put(t, plain, 0, 'A');
    put(t, map, 1, 'B');
    need_ok(t, ops->sync(t->a, "f"), "sync");
    uint64_t before = ops->faults(t->a);
    put(t, plain, 0, 'A');
    fact_bool(t, "a plain store after fsync faults", ops->faults(t->a) > before);
    before = ops->faults(t->a);
    const uint64_t commits_before = commits(t);
    put(t, map, 1, 'B');
    fact_bool(t, "a no-sync store after fsync faults", ops->faults(t->a) > before);
    fact_number(t, "commits of a no-sync fault after fsync", commits(t) - commits_before);
}

static void
fsync_verify(struct contract *t)
{
    fact_which(t, "stores before fsync survive", tags(t, "f", 2), "AB", "00");
}

/* ---- C16 ---- */

static void
create_run(struct contract *t)
{
    const struct adapter_ops *ops = t->a->ops;

    make_file(t, "synced", 1);
    need_ok(t, ops->rename(t->a, "synced", "renamed"), "rename");
    need_ok(t, ops->sync(t->a, "renamed"), "sync");
    need_ok(t, ops->create(t->a, "f"), "create");
}

static void
create_verify(struct contract *t)
{
    fact_bool(t, "a name survives after fsync",
              block_tag(t, "renamed", 0) == NOTHING && block_tag(t, "synced", 0) == ABSENT);
    uint64_t bytes;
    fact_bool(t, "a name survives without fsync", t->a->ops->size(t->a, "f", &bytes) == FL_OK);
}

/* A metadata operation that takes no fault, then a store through a page-table entry that is writable already. */
static void
rename_run(struct contract *t)
{
    struct mapping *map = make_mapped(t, "f", 2);

    need_ok(t, t->a->ops->rename(t->a, "f", "g"), "rename");
    put_durably(t, map, 0, 'Z');
}

static void
rename_verify(struct contract *t)
{
    const bool old = block_tag(t, "f", 0) != ABSENT;
    const char found = block_tag(t, old ? "f" : "g", 0);

    need(t, found == 'Z', "the store is '%c'", found);
    fact_bool(t, "the rename is rolled back and the store survives", old);
}

static void
punch_order_run(struct contract *t)
{
    const struct adapter_ops *ops = t->a->ops;
    struct mapping *map = make_mapped(t, "f", 3);

    need_ok(t, ops->punch(t->a, "f", BLOCK, BLOCK), "punch");
    const uint64_t before = ops->faults(t->a);
    put_durably(t, map, 0, 'Z');
    fact_bool(t, "a store to another block after it faults", ops->faults(t->a) > before);
}

static void
punch_order_verify(struct contract *t)
{
    fact_which(t, "the punch is rolled back and the store survives", tags(t, "f", 3), "ZBC", "Z0C");
}

/* The same through a mapping that the operation has nothing to do with. */
static void
store_elsewhere(struct contract *t, bool punch)
{
    const struct adapter_ops *ops = t->a->ops;
    struct mapping *other = make_mapped(t, "g", 1);

    (void)make_mapped(t, "f", 2);
    need_ok(t, punch ? ops->punch(t->a, "f", BLOCK, BLOCK) : ops->truncate(t->a, "f", BLOCK),
            "take a block away");
    put_durably(t, other, 0, 'Z');
}

static void
punch_elsewhere_run(struct contract *t)
{
    store_elsewhere(t, true);
}

static void
punch_elsewhere_verify(struct contract *t)
{
    need(t, block_tag(t, "g", 0) == 'Z', "the store is '%c'", block_tag(t, "g", 0));
    fact_which(t, "the punch is rolled back and the store survives", tags(t, "f", 2), "AB", "A0");
}

static void
truncate_elsewhere_run(struct contract *t)
{
    store_elsewhere(t, false);
}

static void
truncate_elsewhere_verify(struct contract *t)
{
    need(t, block_tag(t, "g", 0) == 'Z', "the store is '%c'", block_tag(t, "g", 0));
    fact_which(t, "the truncation is rolled back and the store survives", tags(t, "f", 2), "AB",
               "A-");
}

const struct scenario scenarios_calls[] = {
    {"C6", "read under a mapping", read_run, NULL},
    {"C7", "write under a mapping", write_run, write_verify},
    {"C8", "copy", copy_run, copy_verify},
    {"C8", "clone", clone_run, clone_verify},
    {"C12", "fsync", fsync_run, fsync_verify},
    {"C16", "names", create_run, create_verify},
    {"C16", "rename, then store", rename_run, rename_verify},
    {"C16", "punch, then store", punch_order_run, punch_order_verify},
    {"C16", "punch, then store elsewhere", punch_elsewhere_run, punch_elsewhere_verify},
    {"C16", "truncate, then store elsewhere", truncate_elsewhere_run, truncate_elsewhere_verify},
    {0},
};
