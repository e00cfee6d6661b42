/* The golden images: what is in each, for the program that made them and the test that opens them. */
#ifndef FL_TESTS_GOLDEN_GOLDEN_H
#define FL_TESTS_GOLDEN_GOLDEN_H

#include "tests/golden/contents.h"

struct golden {
    const char *name; /* images/<name>.img.gz */
    unsigned parts;
    uint64_t seed;
    bool closed;
    bool torn; /* and the last commit was cut short */
};

extern const struct golden golden_list[];
extern const size_t golden_count;

/* Take away what a crash may take of the last commit: the end of the last frame in the image. */
void golden_tear(uint8_t *image, uint64_t len);

#endif
