/* A store that will be damaged, what was there before, and where on media it lies. */
#ifndef FL_TESTS_INTEGRATION_CHECK_DAMAGE_SUBJECT_H
#define FL_TESTS_INTEGRATION_CHECK_DAMAGE_SUBJECT_H

#include "storage/api/store.h"
#include "tests/golden/contents.h"
#include "tests/lib/mem_map.h"

enum { ALL = 63, LINE = 64, SECTOR = 512, PAGE = 4096 }; /* ALL: every part of contents.h */

/* Where on media a key lives: its frame (of a batch: all of it), its segment's header, its big value. */
struct place {
    uint64_t from, to;
    uint64_t header;
    uint64_t blob_from, blob_to;
};

struct subject {
    struct mem_map *mem;
    uint8_t *image;
    uint64_t len;
    bool closed;
    struct contents contents;
    struct place places[CONTENTS_SPACES][CONTENTS_KEYS];
    uint64_t opens, refused;
};

struct harm {
    uint64_t off, len;
    const char *what;
};

/* With `parts` of what tests/golden/contents.h knows, or a few records of each place that a record can be in. The image
 * is as a close leaves it, or as a kill does. */
void subject_create(struct subject *s, unsigned parts, bool closed);
void subject_create_tiny(struct subject *s, bool closed);
void subject_destroy(struct subject *s);

/* Open the image that is loaded now. */
fl_status subject_open(struct subject *s, unsigned flags, struct fl_store **store);

bool harm_overlaps(struct harm harm, uint64_t from, uint64_t to);

/* Whether it hits what a key needs. For a salvage (_bytes) the header of a segment or a big value is no loss. */
bool harm_hits(struct harm harm, const struct place *place);
bool harm_hits_bytes(struct harm harm, const struct place *place);

#endif
