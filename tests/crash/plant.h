/* Planted bugs, call sites and repeatable randomness, put between the storage objects by the linker (--wrap).
 *
 * The objects under test are those that are shipped: nothing is compiled into them.
 */
#ifndef FL_TESTS_CRASH_PLANT_H
#define FL_TESTS_CRASH_PLANT_H

#include <stddef.h>
#include <stdint.h>

/* The bytes that getrandom() gives from now on. */
void plant_random_seed(uint64_t seed);

/* The call into persist/ that the calling thread is in, numbered as they were met first; 0: none. */
uint16_t plant_site(void);
uint16_t plant_sites(void);
/* Called at the begin and the end of each such call; NULL: nothing. */
void plant_around(void (*enter)(void), void (*leave)(void));
/* Rises with each such call. */
uint32_t plant_call(void);
/* "heap_own_nofence heap.c:260", if the tools to tell it are there; else the address. */
void plant_site_text(uint16_t site, char *text, size_t size);

/* Bugs planted by hand. The objects do what they do; what they are told, or ask for, is bent on the way. */
enum plant_bug {
    PLANT_NONE,
    PLANT_TOMBSTONES_FORGOTTEN, /* the cleaner takes no older version to be left anywhere */
    PLANT_COPIES_YOUNGER,       /* the cleaner's copies get an LSN of their own */
    PLANT_COPIES_NOT_DRAINED,   /* the cleaner's frames are not fenced before the source is freed */
    PLANT_COMMIT_LATE,          /* a commit is fenced by the next one */
    PLANT_PUNCH_BEFORE_FREE, /* a segment's blocks are punched before the table says that they are free */
    PLANT_SEAL_SKIPPED,      /* the change to a new segment leaves the old one unsealed */
    PLANT_LINK_SKIPPED,      /* nothing leads to the new segment */
    PLANT_LINK_TORN,         /* the link is two stores of four bytes */
    PLANT_TABLE_TORN,        /* the table's words are two stores of four bytes */
    PLANT_ROOT_IN_PLACE,     /* the root is always written over itself */
    PLANT_CLOCK_FORGOTTEN,   /* the clock's lease is not written */
    PLANT_BLOB_NOT_HELD,     /* a renamed big value is not counted a second time */
    PLANT_FRAME_UNVERIFIED,  /* recovery believes a frame without its CRC */
    PLANT_FRAME_HALF,        /* the last line of a frame is written after its fence */
    PLANT_DELETE_NOT_LOGGED, /* a lone delete is acknowledged before it is fenced */
    PLANT_HEADER_LATE, /* a segment's header is written after the fence that it should precede */
    PLANT_FREE_LATE,   /* the table's word of a freed segment waits for another's fence */
    PLANT_BLOB_TABLE_LATE, /* a big value's checksums come after its record */
    PLANT_BUGS,
};

void plant_bug_set(enum plant_bug bug);
const char *plant_bug_name(enum plant_bug bug);
/* A workload that it shows in. */
const char *plant_bug_workload(enum plant_bug bug);

/* The n-th allocation of the calling thread from now on fails, once (1: the next; 0: none). Returns how many were left
 * before it: not 0 if it was not reached. */
unsigned long plant_allocation_fail(unsigned long n);
/* Between these no allocation is counted or fails: for the test's own. */
unsigned long plant_allocation_pause(void);
void plant_allocation_resume(unsigned long paused);

/* Called before the cleaner begins a frame: when it has judged what to copy and has not yet copied it. NULL:
 * nothing. */
void plant_before_copying(void (*call)(void *context), void *context);

#endif
