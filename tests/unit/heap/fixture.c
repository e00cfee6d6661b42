#include "tests/unit/heap/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void
note(void *context, const char *rule, uint64_t off, uint64_t len, const char *text)
{
    struct fixture *f = context;

    assert_true(len > 0);
    assert_true(strlen(text) > 0);
    (void)off;
    f->findings++;
    snprintf(f->rule, sizeof(f->rule), "%s", rule);
}

void
fixture_create(struct fixture *f, enum pm_mode mode, uint32_t blocks)
{
    fixture_create_in(f, mode, blocks, blocks);
}

void
fixture_create_in(struct fixture *f, enum pm_mode mode, uint32_t blocks, uint32_t blocks_reserved)
{
    const struct mem_map_options mem_options = {.mode = mode,
                                                .size_bytes_max = (uint64_t)blocks_reserved * BLOCK,
                                                .guard = mode == PM_DIRECT};

    memset(f, 0, sizeof(*f));
    f->mem = mem_map_create(&mem_options);
    f->map = mem_map_open(f->mem);
    f->geometry = (struct heap_geometry){
        .block_bytes = BLOCK, .inline_bytes_max = 512, .size_bytes_max = (uint64_t)blocks * BLOCK};
    f->report = (struct heap_report){f, note};
    f->options.report = &f->report;
    assert_int_equal(heap_format(f->map, &f->geometry), FL_OK);
    assert_int_equal(heap_open(f->map, &f->geometry, &f->options, &f->heap), FL_OK);
    pm_init(&f->pm, heap_media(f->heap));
}

void
fixture_close(struct fixture *f)
{
    heap_close(f->heap);
    nosync_close(f->map);
    f->heap = NULL;
    f->map = NULL;
}

void
fixture_destroy(struct fixture *f)
{
    fixture_close(f);
    mem_map_destroy(f->mem);
}

fl_status
fixture_reopen(struct fixture *f)
{
    fixture_close(f);
    f->findings = 0;
    f->rule[0] = '\0';
    f->map = mem_map_open(f->mem);
    fl_status status = heap_probe(f->map, &f->geometry, &f->report);

    if (status == FL_OK) {
        status = heap_open(f->map, &f->geometry, &f->options, &f->heap);
    }
    if (status == FL_OK) {
        pm_init(&f->pm, heap_media(f->heap));
    }
    return status;
}

void
fixture_own_taken(struct fixture *f, uint32_t block, uint32_t count, enum heap_state state)
{
    uint32_t generation = 0;

    heap_own_begin_nofence(f->heap, &f->pm, block, count,
                           (struct heap_entry){.state = state, .head = 1},
                           (struct heap_note){block, count}, &generation);
    assert_int_equal(pm_drain(&f->pm), FL_OK);
    heap_own_end_nofence(f->heap, &f->pm, block);
    assert_int_equal(pm_drain(&f->pm), FL_OK);
    assert_true(generation > 0);
}

uint32_t
fixture_own(struct fixture *f, uint32_t count, enum heap_state state)
{
    uint32_t block = 0;

    assert_int_equal(heap_take(f->heap, count, HEAP_NORMAL, &block), FL_OK);
    fixture_own_taken(f, block, count, state);
    return block;
}

void
fixture_free(struct fixture *f, uint32_t block, uint32_t count)
{
    assert_int_equal(heap_disown_nofence(f->heap, &f->pm, block, count), FL_OK);
    assert_int_equal(pm_drain(&f->pm), FL_OK);
    heap_recycle(f->heap, block, count);
}

bool
fixture_is_zero(const struct fixture *f, uint32_t block)
{
    const uint8_t *base = heap_media(f->heap)->base + (uint64_t)block * BLOCK;

    return base[0] == 0 && memcmp(base, base + 1, BLOCK - 1) == 0;
}
