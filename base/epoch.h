/* Epochs: readers without locks, and memory or media given back only when no reader can see it.
 *
 * A reader brackets its reads with epoch_enter() and epoch_exit(): two uncontended atomic additions on a
 * cache line chosen by thread, no registration, so that threads may come and go and two stores
 * in one process have an epoch each. Whoever unlinks something hands it to epoch_retire(); it is freed by a
 * later epoch_reclaim() (a background thread's), after every reader that might have met it has left.
 */
#ifndef FL_BASE_EPOCH_H
#define FL_BASE_EPOCH_H

#include <faultline/status.h>

#include <stddef.h>
#include <stdint.h>

struct epoch;

FL_NODISCARD fl_status epoch_create(struct epoch **out);

/* Runs everything that is still retired. No reader may be inside. NULL is allowed. */
void epoch_destroy(struct epoch *epoch);

/* Never blocks. What is returned goes to epoch_exit() by the same thread or another. Sections may nest
 * and should be short: nothing is reclaimed while one that began before it is open. */
uint32_t epoch_enter(struct epoch *epoch);
void epoch_exit(struct epoch *epoch, uint32_t token);

/* Call `release(context, arg)` once no reader that is now inside is left. Threads: any, outside of sections:
 * without memory for the note it waits for the readers and releases at once, so that it can't fail. */
void epoch_retire(struct epoch *epoch, void (*release)(void *context, uint64_t arg), void *context,
                  uint64_t arg);

/* Release what was retired before this call: waits for the readers inside (never call it from
 * within a section), returns how many were released. Threads: any, one at a time inside. */
size_t epoch_reclaim(struct epoch *epoch);

/* Wait until every reader that is now inside has left. Not from within a section. */
void epoch_synchronize(struct epoch *epoch);

#endif
