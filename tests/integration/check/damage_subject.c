#include "tests/integration/check/damage_subject.h"

#include "storage/engine/engine.h"
#include "storage/heap/heap_layout.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SEED = 7 };

fl_status
subject_open(struct subject *s, unsigned flags, struct fl_store **store)
{
    struct fl_options options;

    contents_options(&s->contents, &options);
    options.flags = flags;
    s->opens++;
    return store_open_map(mem_map_open(s->mem), &options, store);
}

static void
places_find(struct subject *s)
{
    const uint8_t *base = mem_map_bytes(s->mem);
    struct fl_store *store = NULL;

    mem_map_load(s->mem, s->image, s->len);
    assert_int_equal(subject_open(s, FL_OPEN_READ_ONLY, &store), FL_OK);
    for (unsigned space = 0; space < CONTENTS_SPACES; space++) {
        for (unsigned i = 0; i < CONTENTS_KEYS; i++) {
            struct place *place = &s->places[space][i];
            uint8_t buf[512];
            const struct fl_key key = contents_key(space, i, buf);
            const uint64_t hash = engine_hash(store->engine, key);
            struct log_record record;
            index_loc loc = 0;

            if (contents_ask(store, space, i, &s->contents.entries[space][i], s->contents.now_ms) !=
                CONTENTS_RIGHT) {
                fail_msg("key %u/%u of the undamaged store", space, i);
            }
            if (engine_find(store->engine, key, hash, INDEX_LSN_LATEST, s->contents.now_ms, &loc,
                            &record) != FL_OK) {
                continue;
            }
            uint32_t block = 0;

            place->from = loc & INDEX_LOC_OFF_MASK;
            assert_non_null(log_segment_at(engine_log(store->engine), place->from, &block));
            place->header = (uint64_t)block * CONTENTS_BLOCK_BYTES;
            place->to = (uint64_t)((const uint8_t *)record.value.ptr - base) + record.value.len;
            if (record.kind == LOG_KIND_PUT_BLOB) {
                struct log_segment *segment = NULL;
                struct fl_bytes value;

                assert_int_equal(engine_value(store->engine, loc, &record, &value, &segment),
                                 FL_OK);
                place->blob_from = (uint64_t)segment->first * CONTENTS_BLOCK_BYTES;
                place->blob_to = place->blob_from + segment->blocks * CONTENTS_BLOCK_BYTES;
            }
        }
    }
    assert_int_equal(fl_close(store), FL_OK);
}

void
subject_create(struct subject *s, unsigned parts, bool closed)
{
    const struct mem_map_options options = {.mode = PM_DIRECT, .size_bytes_max = CONTENTS_SIZE_MAX};

    s->mem = mem_map_create(&options);
    s->closed = closed;
    s->image = contents_image(&s->contents, parts, SEED, closed, &s->len);
    places_find(s);
}

void
subject_destroy(struct subject *s)
{
    mem_map_destroy(s->mem);
    free(s->image);
}

/* A few records of each place that a record can be in: lone, overwritten, deleted, in blocks of its own. */
void
subject_create_tiny(struct subject *s, bool closed)
{
    const struct mem_map_options options = {.mode = PM_DIRECT, .size_bytes_max = CONTENTS_SIZE_MAX};
    struct fl_options open;

    memset(s, 0, sizeof(*s));
    s->mem = mem_map_create(&options);
    s->closed = closed;
    s->contents.now_ms = CONTENTS_BEGIN_MS;
    contents_options(&s->contents, &open);
    assert_int_equal(store_open_map(mem_map_open(s->mem), &open, &s->contents.store), FL_OK);
    contents_put(&s->contents, 0, 0, 20);
    contents_put(&s->contents, 0, CONTENTS_TAIL_KEY, 30);
    contents_put(&s->contents, 0, 0, 9);
    contents_put(&s->contents, 2, 0, 600);
    contents_put(&s->contents, 1, 5, 1);
    s->contents.before_tail = s->contents.entries[0][CONTENTS_TAIL_KEY];
    contents_put(&s->contents, 0, CONTENTS_TAIL_KEY, 11);
    s->image = closed ? NULL : mem_map_copy(s->mem, &s->len);
    assert_int_equal(fl_close(s->contents.store), FL_OK);
    if (closed) {
        s->image = mem_map_copy(s->mem, &s->len);
    }
    s->contents.store = NULL;
    places_find(s);
}

bool
harm_overlaps(struct harm harm, uint64_t from, uint64_t to)
{
    return harm.off < to && from < harm.off + harm.len;
}

/* For a salvage the header of a segment or a big value is no loss: the table has a copy of what it takes. */
bool
harm_hits_bytes(struct harm harm, const struct place *place)
{
    return harm_overlaps(harm, place->from, place->to) ||
           harm_overlaps(harm, place->blob_from + (place->blob_from != 0 ? LINE : 0),
                         place->blob_to);
}

bool
harm_hits(struct harm harm, const struct place *place)
{
    return harm_hits_bytes(harm, place) ||
           harm_overlaps(harm, place->header, place->header + LINE) ||
           harm_overlaps(harm, place->blob_from, place->blob_to);
}
