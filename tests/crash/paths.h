/* Files in the programs of this folder: nosync_open() of any path opens what was said to lie there (--wrap). */
#ifndef FL_TESTS_CRASH_PATHS_H
#define FL_TESTS_CRASH_PATHS_H

#include "storage/nosync/nosync.h"

/* fl_open() of any path gets this map. NULL: it fails. Returns what was there before. */
struct paths_source {
    struct nosync_map *(*open)(void *context);
    void *context;
};

struct paths_source paths_set(struct paths_source source);

#endif
