/* Records in DRAM that the index takes for records on media: who is told dead, and how often, is kept. */
#ifndef FL_TESTS_INDEX_MEDIA_H
#define FL_TESTS_INDEX_MEDIA_H

#include "base/epoch.h"
#include "storage/index/index.h"

#include <stdatomic.h>

struct media_record {
    uint8_t *key;
    uint32_t key_len;
    uint8_t space;
    _Atomic uint8_t unreadable;
    _Atomic uint8_t dead; /* how often it was reported */
    uint64_t lsn;
};

struct media {
    struct media_record *records;
    _Atomic uint64_t count;
    uint64_t room;
    _Atomic uint64_t dead_total;
};

/* Room for `room` records; the callbacks of `out` go to it. */
void media_init(struct media *media, uint64_t room, struct index_media *out);
void media_deinit(struct media *media);

/* Write a record; its loc, `flags` added. Threads: any. */
index_loc media_write(struct media *media, struct fl_key key, uint64_t lsn, uint64_t flags);

struct media_record *media_at(const struct media *media, index_loc loc);

#endif
