/* Open a store on a crash image and hold it to what had been promised. */
#ifndef FL_TESTS_CRASH_CHECK_H
#define FL_TESTS_CRASH_CHECK_H

#include "tests/crash/driver.h"
#include "tests/crash/image.h"

struct check {
    struct driver_geometry geometry;
    struct mempool *mempool;
    bool formatting;
    /* results */
    const struct contents *found; /* which of the mark's */
    uint64_t lsn_max;             /* the highest in it */
    uint64_t now_ms;              /* the store's clock after recovery */
    char why[400];
};

/* Recover and compare: contents, order, counts, ownership, clock; `index_too`: index and accounts, which takes
 * longer. The store is closed again; the image is as recovery and a clean close left it. False: check->why. */
bool check_recover(struct check *check, struct image *image, const struct trace_mark *mark,
                   uint64_t wall_ms, bool index_too);

/* On an image that has been recovered and closed (check->found says what is there): read-only and recovering again show
 * the same; then fill, overwrite, delete, batch, clean, empty it, close, open: the space is back. */
bool check_usable(struct check *check, struct image *image, const struct trace_mark *before,
                  uint64_t wall_ms);

/* Before recovery: the checker, which writes nothing, finds nothing broken. */
bool check_read_only(struct check *check, struct image *image, const struct trace_mark *mark);

#endif
