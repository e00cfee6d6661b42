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
/* "heap_own_nofence heap.c:260", if the tools to tell it are there; else the address. */
void plant_site_text(uint16_t site, char *text, size_t size);

/* Called before the cleaner begins a frame: when it has judged what to copy and has not yet copied it. NULL: nothing. */
void plant_before_copying(void (*call)(void *context), void *context);

#endif
