/* C1 to C5: what a mapping promises and what a fault through it does. */
#include "tests/contract/contract.h"

#include <time.h>

/* Longer than the granularity of any timestamp. */
static void
let_the_clock_tick(void)
{
    (void)nanosleep(&(struct timespec){.tv_nsec = 50 * 1000 * 1000}, NULL);
}

static void
request_run(struct contract *t)
{
    const struct adapter_ops *ops = t->a->ops;
    uint64_t bytes = 0;

    make_file(t, "f", 2);
    struct mapping *map = map_file(t, "f", 2, true);
    put_durably(t, map, 0, 'A');
    const uint64_t before = commits(t);
    (void)ops->extent(t->a, "f", 0);
    (void)ops->flag(t->a, "f", 0);
    need_ok(t, ops->size(t->a, "f", &bytes), "size");
    fact_number(t, "commits of a query", commits(t) - before);
    fact(t, "a request that can't be granted", fl_status_name(ops->map_unsupported(t->a)));
    if (ops->map_unchecked != NULL) {
        fact(t, "the same without MAP_SHARED_VALIDATE", fl_status_name(ops->map_unchecked(t->a)));
    }
}

static void
hole_run(struct contract *t)
{
    const struct adapter_ops *ops = t->a->ops;

    make_file(t, "f", 4);
    struct mapping *map = map_file(t, "f", 4, true);
    uint64_t before = commits(t);
    put(t, map, 1, 'A');
    fact_number(t, "commits of a write fault", commits(t) - before);
    before = commits(t);
    put(t, map, 1, 'A');
    fact_number(t, "commits of a second store", commits(t) - before);
    flush(t, map, 1);
    ops->unmap(t->a, map);
    need_ok(t, ops->sync(t->a, "f"), "sync");
    map = map_file(t, "f", 4, true);
    let_the_clock_tick();
    before = commits(t);
    put_durably(t, map, 1, 'B');
    fact_number(t, "commits of the first fault of the next mapping", commits(t) - before);
    put_durably(t, map, 2, 'C');
}

static void
hole_verify(struct contract *t)
{
    fact_which(t, "flushed data survives", tags(t, "f", 4), "0BC0", "0000");
}

/* The loss that the no-sync mapping was invented against. */
static void
grow_and_link(struct contract *t, bool nosync)
{
    const struct adapter_ops *ops = t->a->ops;

    make_file(t, "f", 1);
    struct mapping *map = map_file(t, "f", 2, nosync);
    put_durably(t, map, 0, 'A');
    need_ok(t, ops->sync(t->a, "f"), "sync");
    put_durably(t, map, 0, 'A'); /* the sync has write-protected it */
    need_ok(t, ops->truncate(t->a, "f", 2 * BLOCK), "grow");
    put_durably(t, map, 1, 'B');
    put_durably(t, map, 0, 'L');
}

static void
link_verify(struct contract *t)
{
    const char linked = block_tag(t, "f", 0);
    const char target = block_tag(t, "f", 1);

    need(t, linked == 'L', "the link is '%c'", linked);
    need(t, target == 'B' || target == NOTHING || target == ABSENT, "its block is '%c'", target);
    fact_bool(t, "a linked block survives", target == 'B');
}

static void
link_run(struct contract *t)
{
    grow_and_link(t, true);
}

static void
link_plain_run(struct contract *t)
{
    grow_and_link(t, false);
}

static void
read_fault_run(struct contract *t)
{
    make_file(t, "f", 2);
    struct mapping *map = map_file(t, "f", 2, true);
    struct mapping *plain = map_file(t, "f", 2, false);
    uint64_t before = commits(t);
    need(t, load_tag(t, map, 0) == NOTHING, "a hole is not zeros");
    fact_number(t, "commits of a read fault", commits(t) - before);
    fact_bool(t, "a read fault allocates", t->a->ops->extent(t->a, "f", 0) != EXTENT_HOLE);
    put_durably(t, plain, 1, 'P');
    before = commits(t);
    need(t, load_tag(t, map, 1) == 'P', "another mapping's store is not seen");
    fact_number(t, "commits of reading another's new block", commits(t) - before);
}

static void
read_fault_verify(struct contract *t)
{
    fact_which(t, "what was only seen survives", tags(t, "f", 2), "0P", "00");
}

static void
unwritten_run(struct contract *t)
{
    const struct adapter_ops *ops = t->a->ops;

    make_file(t, "f", 4);
    need_ok(t, ops->allocate(t->a, "f", 0, 4 * BLOCK), "allocate");
    need_ok(t, ops->sync(t->a, "f"), "sync");
    struct mapping *map = map_file(t, "f", 4, true);
    const uint64_t before = commits(t);
    put_durably(t, map, 1, 'A');
    fact_number(t, "commits of a fault on a preallocated block", commits(t) - before);
    fact_bool(t, "a fault converts only its block",
              ops->extent(t->a, "f", 1) == EXTENT_WRITTEN &&
                  ops->extent(t->a, "f", 0) == EXTENT_UNWRITTEN &&
                  ops->extent(t->a, "f", 2) == EXTENT_UNWRITTEN);
}

static void
unwritten_verify(struct contract *t)
{
    fact_which(t, "flushed data survives", tags(t, "f", 4), "0A00", "0000");
}

static void
plain_first_run(struct contract *t)
{
    const struct adapter_ops *ops = t->a->ops;

    make_file(t, "f", 2);
    struct mapping *plain = map_file(t, "f", 2, false);
    struct mapping *map = map_file(t, "f", 2, true);
    put_durably(t, plain, 1, 'P');
    if (ops->flag(t->a, "f", 1) != FLAG_NONE) {
        fact_bool(t, "a plain store sets the flag", ops->flag(t->a, "f", 1) == FLAG_SET);
    }
    const uint64_t before = commits(t);
    put_durably(t, map, 1, 'A');
    fact_number(t, "commits of a fault on another's new block", commits(t) - before);
    if (ops->flag(t->a, "f", 1) != FLAG_NONE) {
        fact_bool(t, "a no-sync store sets the flag", ops->flag(t->a, "f", 1) == FLAG_SET);
    }
}

static void
plain_first_verify(struct contract *t)
{
    fact_which(t, "flushed data survives", tags(t, "f", 2), "0A", "00");
}

const struct scenario scenarios_fault[] = {
    {"C1", "request", request_run, NULL},
    {"C2", "fault on a hole", hole_run, hole_verify},
    {"C2", "grow and link", link_run, link_verify},
    {"C3", "read fault", read_fault_run, read_fault_verify},
    {"C4", "fault on a preallocated block", unwritten_run, unwritten_verify},
    {"C5", "grow and link, plain mapping", link_plain_run, link_verify},
    {"C5", "plain mapping first", plain_first_run, plain_first_verify},
    {0},
};
