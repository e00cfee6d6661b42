/* A failing state for a person: what was lost, which events led there, and the file's blocks, lines and frames. */
#ifndef FL_TESTS_CRASH_DRAW_H
#define FL_TESTS_CRASH_DRAW_H

#include "tests/crash/explore.h"
#include "tests/crash/page.h"

struct draw {
    struct page *text; /* each may be NULL */
    struct page *html;
    uint32_t block_bytes;
    /* For who makes the case smaller. */
    uint32_t lost_count;
    struct state_lost lost[EXPLORE_LOST_MAX];
    bool lost_fits;
};

/* An explore_on_failure; `context` is a struct draw. */
void draw_failure(void *context, const struct explore_failure *failure);

#endif
