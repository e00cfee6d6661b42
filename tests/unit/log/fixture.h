/* A log over a heap over a file in memory, small blocks. */
#ifndef FL_TESTS_UNIT_LOG_FIXTURE_H
#define FL_TESTS_UNIT_LOG_FIXTURE_H

#include "storage/log/log.h"
#include "tests/lib/mem_map.h"

enum { BLOCK = 4096, BLOCKS_MAX = 512, RECORDS_MAX = 4096 };

/* A record as a scan met it. */
struct met {
    uint64_t off, lsn;
    enum log_kind kind;
    char key[32], value[32]; /* cut to fit */
};

struct fixture {
    struct mem_map *mem;
    struct nosync_map *map;
    struct heap *heap;
    struct log *log;
    struct heap_geometry geometry;
    unsigned findings;
    uint64_t damaged; /* by the last log_load() */
    char rules[256];  /* of the findings, in order, a blank behind each */
    struct heap_report report;
    struct met met[RECORDS_MAX];
    size_t met_count;
    uint64_t lost_bytes, torn_bytes;
};

void fixture_create(struct fixture *f, enum pm_mode mode);
void fixture_destroy(struct fixture *f);
void fixture_close(struct fixture *f);

enum fixture_open { FIXTURE_READ, FIXTURE_SALVAGE, FIXTURE_WRITE };

/* Close if open, open what is in the file, load the log, scan all segments in the order of their LSNs into `met`;
 * WRITE also seals what was found open, as recovery does. The first refusal ends it. */
fl_status fixture_reopen(struct fixture *f, enum fixture_open how);

/* One frame with one record. Returns its place; fails the test if it can't be written. */
uint64_t fixture_put(struct fixture *f, enum log_head_id head, const char *key, const char *value);
/* One frame with `count` records "<key>0", "<key>1", ...; returns the frame's place. */
uint64_t fixture_batch(struct fixture *f, enum log_head_id head, const char *key, unsigned count);
/* Put filler until the head stands in a new segment; returns the full one's first block. */
uint32_t fixture_fill(struct fixture *f, enum log_head_id head);

/* Was a record with this key met, and with which value? NULL: no. */
const char *fixture_met(const struct fixture *f, const char *key);

/* The file's bytes at `off`. */
uint8_t *fixture_at(struct fixture *f, uint64_t off);

#endif
