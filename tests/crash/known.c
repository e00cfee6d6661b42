#include "tests/crash/known.h"

#include <stddef.h>
#include <string.h>

/* Mutants that do no harm, by function (^: the innermost) and why. A flush or fence here is one that could go, or that
 * is there for what these workloads don't have: a second thread, damaged media. */
struct harmless {
    const char *function;
    enum mutation mutation;
    const char *reason;
};
static const struct harmless known[] = {
    /* heap_format: two words of one line, flushed twice; a copy of the superblock that the other one stands in for;
     * a root that says nothing yet; and the file is synced before anything can be promised. */
    {"heap_format", MUTATION_DROP_FLUSH,
     "the line is flushed twice, or the other superblock counts"},
    {"heap_format", MUTATION_FIRST_LINE,
     "the other superblock counts, the first root says nothing"},
    {"heap_format", MUTATION_SINK_FLUSH,
     "the other superblock counts, the first root says nothing"},
    {"heap_format", MUTATION_DROP_FENCE,
     "the other superblock counts, and the file is synced next"},
    /* The slots alternate, and a frame that comes after a root was fenced after it. */
    {"heap_root_put", MUTATION_SINK_FLUSH,
     "the root before it serves as well until something is written"},
    {"heap_root_put", MUTATION_HOIST_STORE, "nothing that it says depends on the fence before it"},
    {"heap_root_put", MUTATION_DROP_FENCE, "the first commit after it fences it too"},
    /* At a close or an open the seal is fenced by the root, long before a link can make it matter. */
    {"log_seal", MUTATION_SINK_FLUSH, "the root's fence comes before any link"},
    {"log_seal", MUTATION_HOIST_STORE, "a seal needs nothing before it"},
    {"log_seal_heads", MUTATION_DROP_FENCE, "the root's fence comes before any link"},
    {"seal_all", MUTATION_DROP_FENCE, "the root's fence comes before any link"},
    {"seal_nofence", MUTATION_DROP_FLUSH,
     "the link's flush takes the line in the order of its stores; pm.h promises no such order"},
    {"seal_nofence", MUTATION_SINK_FLUSH, "ownership's fence comes before the link as well"},
    /* One thread fills a big value and commits it: its later fences cover the earlier. */
    {"blob_own", MUTATION_SINK_FLUSH, "the fence after the value's bytes covers it"},
    {"log_blob_append", MUTATION_SINK_FLUSH, "the fence after the checksums covers it"},
    {"log_blob_append", MUTATION_HOIST_STORE,
     "the bytes need nothing before them but their blocks"},
    {"log_blob_append", MUTATION_DROP_FENCE, "for a commit by another thread"},
    {"log_blob_finish", MUTATION_HOIST_STORE, "checksums and bytes have no order"},
    /* Recovery frees blocks behind a first one that is free. */
    {"heap_disown_nofence", MUTATION_DROP_FLUSH, "recovery frees what no first block vouches for"},
    {"heap_disown_nofence", MUTATION_SINK_FLUSH, "recovery frees what no first block vouches for"},
    /* Two words, in the two halves of block 0: a site is one of them. */
    {"heap_clock_put", MUTATION_DROP_FLUSH, "the other word has the time too"},
    {"heap_clock_put", MUTATION_SINK_FLUSH, "the other word has the time too"},
    /* What was read is made durable first, for a process that was killed before its drain. Here the power goes. */
    {"^super_heal", MUTATION_DROP_FLUSH, "it is durable already"},
    {"^super_heal", MUTATION_FIRST_LINE, "it is durable already"},
    {"^super_heal", MUTATION_SINK_FLUSH, "it is durable already"},
    {"^super_heal", MUTATION_HOIST_STORE, "it is durable already"},
    {"^super_heal", MUTATION_DROP_FENCE, "it is durable already"},
    /* Tells damage from a torn tail where blocks were lost; a crash loses none. */
    {"mark_nofence", MUTATION_DROP_FLUSH, "for damaged media"},
    {"mark_nofence", MUTATION_SINK_FLUSH, "for damaged media"},
    {"heap_disown_nofence", MUTATION_DROP_FENCE, "page-wise: the words share a sector"},
    {"^heap_own_begin_nofence", MUTATION_DROP_FLUSH,
     "ownership's flush takes the line in the order of its stores; pm.h promises no such order"},
    {"^heap_own_begin_nofence", MUTATION_SINK_FLUSH,
     "ownership's flush takes the line in the order of its stores; pm.h promises no such order"},
};

/* On page-wise media only. */
static const struct harmless known_staged[] = {
    {"^copy_rewrite", MUTATION_DROP_FENCE, "a copy is in one sector"},
};

static const char *
reason_among(const struct harmless *list, size_t count, const char *place, enum mutation mutation)
{
    for (size_t i = 0; i < count; i++) {
        const char *function = list[i].function;
        const bool here = function[0] == '^'
                              ? strncmp(place, function + 1, strlen(function + 1)) == 0
                              : strstr(place, function) != NULL;

        if (list[i].mutation == mutation && here) {
            return list[i].reason;
        }
    }
    return NULL;
}

const char *
known_reason(const char *place, enum mutation mutation, enum pm_mode mode)
{
    const char *reason = reason_among(known, sizeof(known) / sizeof(known[0]), place, mutation);

    return reason == NULL && mode == PM_STAGED
               ? reason_among(known_staged, sizeof(known_staged) / sizeof(known_staged[0]), place,
                              mutation)
               : reason;
}
