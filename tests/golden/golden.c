#include "tests/golden/golden.h"

#include "tests/lib/die.h"

#include <string.h>

enum { ALL = 63 };

const struct golden golden_list[] = {
    {"v1-empty", 0, 1, true, false},
    {"v1-simple", CONTENTS_SIMPLE, 2, true, false},
    {"v1-every-record", CONTENTS_SIMPLE | CONTENTS_BATCHES | CONTENTS_BLOBS | CONTENTS_RANGE, 3,
     true, false},
    {"v1-torn-tail", CONTENTS_SIMPLE | CONTENTS_BATCHES | CONTENTS_TAIL, 4, false, true},
    {"v1-cleaned", ALL, 5, true, false},
    {"v1-cleaned-killed", ALL, 6, false, false},
};
const size_t golden_count = sizeof(golden_list) / sizeof(golden_list[0]);

/* The last commit is the put of the tail key: its frame is the last one that has that key. */
void
golden_tear(uint8_t *image, uint64_t len)
{
    uint8_t buf[512];
    const struct fl_key key = contents_key(0, CONTENTS_TAIL_KEY, buf);
    uint8_t *last = NULL;

    for (uint8_t *at = image;
         (at = memmem(at, len - (uint64_t)(at - image), key.ptr, key.len)) != NULL; at++) {
        last = at;
    }
    if (last == NULL) {
        die("the tail key is not in the image");
    }
    uint8_t *line = image + ((uint64_t)(last - image) / 64 + 1) * 64;

    memset(line, 0, 64); /* its second line never got there */
}
