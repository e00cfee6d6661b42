/* A heap over a file in memory, small blocks. */
#ifndef FL_TESTS_UNIT_HEAP_FIXTURE_H
#define FL_TESTS_UNIT_HEAP_FIXTURE_H

#include "storage/heap/heap.h"
#include "tests/lib/mem_map.h"

enum { BLOCK = 4096, GROUP = BLOCK / 32 };

struct fixture {
    struct mem_map *mem;
    struct nosync_map *map;
    struct heap *heap;
    struct heap_geometry geometry;
    struct heap_options options;
    struct pm pm;
    unsigned findings;
    char rule[32]; /* of the last finding */
    struct heap_report report;
};

/* A formatted heap of at most `blocks` blocks, open; nothing ahead, nothing in reserve. */
void fixture_create(struct fixture *f, enum pm_mode mode, uint32_t blocks);
/* The same with address space for more, so that its size can be raised. */
void fixture_create_in(struct fixture *f, enum pm_mode mode, uint32_t blocks,
                       uint32_t blocks_reserved);
void fixture_destroy(struct fixture *f);

/* Close, and open what is in the file. FL_OK, or how it was refused. */
fl_status fixture_reopen(struct fixture *f);
void fixture_close(struct fixture *f);

/* Take and own, with everything drained. Fails the test if it can't be. */
uint32_t fixture_own(struct fixture *f, uint32_t count, enum heap_state state);
void fixture_own_taken(struct fixture *f, uint32_t block, uint32_t count, enum heap_state state);
void fixture_free(struct fixture *f, uint32_t block, uint32_t count);

/* Is every byte of the block zero? */
bool fixture_is_zero(const struct fixture *f, uint32_t block);

#endif
