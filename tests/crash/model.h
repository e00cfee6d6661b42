/* What may be on media after a crash: a trace replayed under the x86 rules, or the page kind's.
 *
 * Hooked (dax, volatile, model): 8-byte words are atomic and independent of one another; a word holds the last version
 * guaranteed or any later one. A flush takes the versions of its lines; they are guaranteed at the next fence of
 * the same thread. This is weaker than x86 for stores to one line, and it is what pm.h promises.
 * Staged (page): the same with 512-byte sectors; a sync guarantees the sectors of the writes that it covers.
 * A fault_in is durable at its return. A punch may be on media or not, block by block, until sync_file or the next
 * fault_in of the block. With `plain`, a mapping without the no-sync promise: a fault_in is not durable before
 * sync_file, and those that are lost are lost from some one on (a journal).
 */
#ifndef FL_TESTS_CRASH_MODEL_H
#define FL_TESTS_CRASH_MODEL_H

#include "tests/crash/image.h"
#include "tests/crash/trace.h"

struct model_pend {
    uint32_t unit;
    uint32_t count;   /* versions after the one in base */
    uint32_t flushed; /* of them, by a flush that waits for its fence */
    uint8_t thread;   /* who flushed */
    uint32_t cap;
    uint8_t *values; /* count of unit_bytes each */
};

enum model_item_kind { MODEL_UNIT, MODEL_PUNCH, MODEL_LOST };

/* One thing that may have gone one way or another. */
struct model_item {
    enum model_item_kind kind;
    uint32_t index;   /* pend, page */
    uint32_t choices; /* 0: as in base */
    uint32_t line;    /* what it goes with, ascending */
};

struct model_fault {
    uint64_t off, len, size_before;
};

struct model {
    const struct trace *trace;
    size_t at; /* events before it have happened */
    bool plain;
    uint32_t unit_bytes;
    uint64_t size_bytes_max, size_bytes;
    uint32_t pages, units;
    uint8_t *base;     /* guaranteed; of punched pages what was there before */
    uint8_t *now;      /* what loads see */
    uint8_t *exists;   /* pages; as base */
    uint8_t *punched;  /* pages whose punch may roll back */
    uint32_t *pend_of; /* unit -> pend + 1 */
    struct model_pend *pends;
    uint32_t pends_count, pends_cap;
    struct model_fault *faults; /* plain */
    uint32_t faults_count, faults_cap;
    struct model_item *items;
    uint32_t items_count, items_cap;
    uint64_t states; /* product of the choices, at most UINT64_MAX */
    uint32_t lines;  /* different model_item.line */
    uint64_t base_hash;
};

/* Begin before the first event, on the file that the trace began with. */
void model_init(struct model *model, const struct trace *trace, enum pm_mode mode,
                uint64_t size_bytes_max, bool plain);
void model_deinit(struct model *model);
void model_start(struct model *model, const uint8_t *bytes, const uint8_t *exists,
                 uint64_t size_bytes);

/* Apply the event at model->at. */
void model_step(struct model *model);

/* List what is undecided before the event at model->at: items, states, lines, base_hash. */
void model_list(struct model *model);

/* Lay one choice over an image that holds the base; returns the hash of what comes out. */
uint64_t model_apply(const struct model *model, const uint32_t *picks, struct image *image);

uint64_t model_mix(uint64_t a, uint64_t b);

#endif
