#include "tests/unit/log/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void
note(void *context, const char *rule, uint64_t off, uint64_t len, const char *text)
{
    struct fixture *f = context;
    const size_t used = strlen(f->rules);

    assert_true(strlen(text) > 0);
    (void)off;
    (void)len;
    f->findings++;
    snprintf(f->rules + used, sizeof(f->rules) - used, "%s ", rule);
}

void
fixture_create(struct fixture *f, enum pm_mode mode)
{
    const struct mem_map_options mem_options = {.mode = mode,
                                                .size_bytes_max = (uint64_t)BLOCKS_MAX * BLOCK};
    const struct heap_options heap_options = {.blocks_ahead = 0};

    memset(f, 0, sizeof(*f));
    f->mem = mem_map_create(&mem_options);
    f->map = mem_map_open(f->mem);
    f->geometry = (struct heap_geometry){.block_bytes = BLOCK,
                                         .inline_bytes_max = 1024,
                                         .size_bytes_max = (uint64_t)BLOCKS_MAX * BLOCK};
    f->report = (struct heap_report){f, note};
    assert_int_equal(heap_format(f->map, &f->geometry), FL_OK);
    assert_int_equal(heap_open(f->map, &f->geometry, &heap_options, &f->heap), FL_OK);
    assert_int_equal(log_create(f->heap, &f->log), FL_OK);
}

void
fixture_close(struct fixture *f)
{
    log_destroy(f->log);
    heap_close(f->heap);
    nosync_close(f->map);
    f->log = NULL;
    f->heap = NULL;
    f->map = NULL;
}

void
fixture_destroy(struct fixture *f)
{
    fixture_close(f);
    mem_map_destroy(f->mem);
}

static void
copy_text(char *dst, size_t size, struct fl_bytes src)
{
    const size_t len = src.len < size - 1 ? src.len : size - 1;

    memcpy(dst, src.ptr, len);
    dst[len] = '\0';
}

static fl_status
meet(void *context, uint32_t block, uint64_t off, const struct log_record *record)
{
    struct fixture *f = context;
    struct met *met = &f->met[f->met_count++];

    (void)block;
    assert_true(f->met_count < RECORDS_MAX);
    met->off = off;
    met->lsn = record->lsn;
    met->kind = record->kind;
    copy_text(met->key, sizeof(met->key), record->key);
    copy_text(met->value, sizeof(met->value), record->value);
    return FL_OK;
}

static fl_status
scan_all(struct fixture *f, enum fixture_open how)
{
    const struct log_scan scan = {f, meet, &f->report, how == FIXTURE_SALVAGE};

    for (uint32_t block = 2; block < heap_blocks_total(f->heap); block++) {
        struct log_segment *segment = log_segment_of(f->log, block);
        const bool open = !segment->sealed;
        struct log_scan_result result;

        if (segment->use != LOG_USE_LOG) {
            continue;
        }
        fl_status status = log_segment_scan(f->log, block, &scan, &result);

        f->lost_bytes += result.damaged_bytes;
        f->torn_bytes += result.torn_bytes;
        if (status == FL_OK && open) {
            status = log_seal(f->log, block, result.end, how == FIXTURE_WRITE);
        }
        if (status != FL_OK) {
            return status;
        }
    }
    return FL_OK;
}

static int
by_lsn(const void *a, const void *b)
{
    const struct met *m = a;
    const struct met *n = b;

    return (m->lsn > n->lsn) - (m->lsn < n->lsn);
}

fl_status
fixture_reopen(struct fixture *f, enum fixture_open how)
{
    const struct heap_options heap_options = {.report = &f->report,
                                              .read_only = how != FIXTURE_WRITE};
    const struct log_load load = {&f->report, how == FIXTURE_SALVAGE, &f->damaged};

    fixture_close(f);
    f->findings = 0;
    f->rules[0] = '\0';
    f->met_count = 0;
    f->lost_bytes = 0;
    f->torn_bytes = 0;
    f->map = mem_map_open(f->mem);
    fl_status status = heap_probe(f->map, &f->geometry, &f->report);

    if (status == FL_OK) {
        status = heap_open(f->map, &f->geometry, &heap_options, &f->heap);
    }
    if (status == FL_OK) {
        status = log_create(f->heap, &f->log);
    }
    if (status == FL_OK) {
        status = log_load(f->log, &load);
    }
    if (status == FL_OK) {
        status = scan_all(f, how);
    }
    if (status == FL_OK && how == FIXTURE_WRITE) {
        status = log_load_finish(f->log);
    }
    if (status == FL_OK && how == FIXTURE_WRITE) {
        status = heap_open_finish(f->heap);
    }
    qsort(f->met, f->met_count, sizeof(f->met[0]), by_lsn);
    return status;
}

static struct log_record
record_of(const char *key, const char *value)
{
    return (struct log_record){
        .kind = LOG_KIND_PUT, .key = {key, strlen(key)}, .value = {value, strlen(value)}};
}

uint64_t
fixture_put(struct fixture *f, enum log_head_id head, const char *key, const char *value)
{
    struct log_record record = record_of(key, value);
    uint64_t lsn = 0;

    assert_int_equal(log_frame_begin(f->log, head, 1, log_record_bytes(&record), HEAP_NORMAL),
                     FL_OK);
    const uint64_t off = log_frame_add(f->log, head, &record, &lsn);

    assert_int_equal(log_frame_commit(f->log, head, false), FL_OK);
    assert_true(lsn > 0);
    return off;
}

uint64_t
fixture_batch(struct fixture *f, enum log_head_id head, const char *key, unsigned count)
{
    struct log_record record = {0};
    char keys[64][32];
    size_t bytes = 0;
    uint64_t off = 0;
    uint64_t lsn = 0;

    assert_true(count > 1 && count <= 64);
    for (unsigned i = 0; i < count; i++) {
        snprintf(keys[i], sizeof(keys[i]), "%s%u", key, i);
        record = record_of(keys[i], "batched");
        bytes += log_record_bytes(&record);
    }
    assert_int_equal(log_frame_begin(f->log, head, count, bytes, HEAP_NORMAL), FL_OK);
    for (unsigned i = 0; i < count; i++) {
        record = record_of(keys[i], "batched");
        const uint64_t at = log_frame_add(f->log, head, &record, &lsn);

        off = i == 0 ? at - LOG_BATCH_BYTES : off;
    }
    assert_int_equal(log_frame_commit(f->log, head, false), FL_OK);
    return off;
}

uint32_t
fixture_fill(struct fixture *f, enum log_head_id head)
{
    const uint32_t from = (uint32_t)((log_head_off(f->log, head) - 1) / BLOCK);
    struct log_head_stats stats;
    uint64_t changes = 0;

    log_head_stats(f->log, head, &stats);
    for (changes = stats.segment_changes; stats.segment_changes == changes;) {
        fixture_put(f, head, "filler", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
        log_head_stats(f->log, head, &stats);
    }
    return from;
}

const char *
fixture_met(const struct fixture *f, const char *key)
{
    const char *value = NULL;

    for (size_t i = 0; i < f->met_count; i++) {
        if (strcmp(f->met[i].key, key) == 0) {
            value = f->met[i].value; /* in the order of LSNs: the last one is the newest */
        }
    }
    return value;
}

uint8_t *
fixture_at(struct fixture *f, uint64_t off)
{
    return mem_map_bytes(f->mem) + off;
}
