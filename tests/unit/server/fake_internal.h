/* What the two halves of the fake store share. */
#ifndef FL_TESTS_UNIT_SERVER_FAKE_INTERNAL_H
#define FL_TESTS_UNIT_SERVER_FAKE_INTERNAL_H

#include "tests/unit/server/fake_store.h"

enum {
    FAKE_ENTRIES_MAX = 8192,
    FAKE_UNDO_MAX = 16384,
    FAKE_BLOCKS_MAX = 65536,
    FAKE_INLINE_BYTES_MAX = 256 * 1024,
};

#define PENDING UINT64_MAX

struct version {
    bool exists;
    uint8_t type;
    struct fl_bytes value;
    uint64_t deadline_ms;
    uint64_t lsn;
    uint64_t ticket;
};

struct entry {
    struct fl_bytes key;
    uint8_t space;
    struct version durable;
    struct version latest;
};

struct undo {
    struct entry *entry;
    struct version before;
};

struct fl_store {
    struct entry *entries[FAKE_ENTRIES_MAX];
    size_t entries_count;
    struct undo undo[FAKE_UNDO_MAX];
    size_t undo_count;
    void *blocks[FAKE_BLOCKS_MAX]; /* all memory, given back at the end: views never dangle */
    size_t blocks_count;
    uint64_t lsn;
    uint64_t ticket_last;
    uint64_t ticket_durable;
    uint64_t now_ms;
    uint64_t puts_left;
    bool holds;
    bool failed;
    int event_fd;
    unsigned submits;
    unsigned views;
    unsigned blobs;
};

struct fl_batch {
    struct fl_store *store;
};

struct fl_blob {
    struct fl_store *store;
    char *ptr;
    size_t len;
    size_t cap;
};

struct fl_cursor {
    struct fl_store *store;
    uint8_t space;
    struct fl_bytes prefix;
    struct entry *at;
};

/* Zeroed memory that lives as long as the store. */
void *fake_alloc(struct fl_store *store, size_t bytes);

int fake_entry_compare(const struct entry *entry, uint8_t space, struct fl_bytes key);

/* The place of the first entry that isn't before the key. */
size_t fake_entry_seek(const struct fl_store *store, uint8_t space, struct fl_bytes key);

bool fake_version_lives(const struct fl_store *store, const struct version *version);
fl_status fake_version_view(struct fl_store *store, const struct version *version,
                            struct fl_view *view);

#endif
