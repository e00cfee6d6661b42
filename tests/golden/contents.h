/* A store's contents made of every kind of record, and the same contents in a plain table to compare with: for golden
 * images, for damage tests, for the corpus of the image fuzzer. Everything comes from a seed and a fixed clock. */
#ifndef FL_TESTS_GOLDEN_CONTENTS_H
#define FL_TESTS_GOLDEN_CONTENTS_H

#include <faultline/batch.h>

#include "tests/lib/mem_map.h"
#include "tests/lib/rng.h"

enum {
    CONTENTS_SPACES = 4,
    CONTENTS_KEYS = 48, /* a space */
    CONTENTS_BLOCK_BYTES = 4096,
    CONTENTS_SIZE_MAX = 1024 * CONTENTS_BLOCK_BYTES,
    CONTENTS_VALUE_MAX = 70000,
    CONTENTS_TAIL_KEY = 2,
};

#define CONTENTS_BEGIN_MS UINT64_C(1700000000000) /* the clock while the store is written */
/* The two deadlines: a minute later, and when this program is long forgotten. */
#define CONTENTS_SOON_MS (CONTENTS_BEGIN_MS + 60000)
#define CONTENTS_LATE_MS UINT64_C(9999999999999)

struct contents_entry {
    bool there;
    uint32_t version; /* of the bytes, with `pattern`: the key that they were made for */
    uint32_t pattern;
    uint32_t len;
    uint64_t deadline_ms;
    uint8_t type;
};

struct contents {
    struct fl_store *store; /* NULL: only the table is filled */
    struct rng rng;
    uint32_t version;
    uint64_t now_ms;
    struct contents_entry entries[CONTENTS_SPACES][CONTENTS_KEYS];
    struct contents_entry before_tail; /* what the last commit replaced */
};

enum contents_part {
    CONTENTS_SIMPLE = 1,   /* lone puts, overwrites, deletes */
    CONTENTS_BATCHES = 2,  /* batches, types, deadlines, a record longer than a block */
    CONTENTS_BLOBS = 4,    /* values in blocks of their own, and renames of them */
    CONTENTS_RANGE = 8,    /* deletes of whole spaces */
    CONTENTS_CLEANED = 16, /* overwritten until the cleaner has copied and freed segments */
    CONTENTS_TAIL = 32,    /* a last commit: a put of CONTENTS_TAIL_KEY of space 0 */
};

/* Options of a store without threads over a clock that stands at contents->now_ms. */
void contents_options(struct contents *contents, struct fl_options *options);

/* Run the parts, in the order of their bits. Ends the program if the store refuses. */
void contents_write(struct contents *contents, unsigned parts, uint64_t seed);

/* All the background work there is. Ends the program if it has no end. */
void contents_maintain(struct fl_store *store);

/* One more put of key `i` of space 0, by itself. */
void contents_put(struct contents *contents, unsigned space, unsigned i, uint32_t len);

/* A file in memory with these parts, closed cleanly or left as a kill would. The caller frees it. */
void *contents_image(struct contents *contents, unsigned parts, uint64_t seed, bool closed,
                     uint64_t *len);

struct fl_key contents_key(unsigned space, unsigned i, uint8_t buf[512]);
/* Is the entry there at `now_ms`? */
bool contents_alive(const struct contents_entry *entry, uint64_t now_ms);

enum contents_answer { CONTENTS_RIGHT, CONTENTS_CORRUPT, CONTENTS_MISSING, CONTENTS_WRONG };
/* What the store says of one key, compared with `entry`. An old version, or a key that should be gone, is WRONG. */
enum contents_answer contents_ask(struct fl_store *store, unsigned space, unsigned i,
                                  const struct contents_entry *entry, uint64_t now_ms);

#endif
