/* Staged media: what a writer wrote and has not drained, as a table of ranges. Internal to persist/. */
#ifndef FL_STORAGE_PERSIST_PM_STAGE_H
#define FL_STORAGE_PERSIST_PM_STAGE_H

#include "storage/persist/pm.h"

/* Add a range; the bytes it shares with ranges staged before are its own from now on. */
void pm_stage_add(struct pm *pm, uint64_t off, const void *src, size_t len);
void pm_stage_add_word(struct pm *pm, uint64_t off, uint64_t word);

/* Write a range at once, unsynced; what was staged below it is forgotten. */
fl_status pm_stage_through(struct pm *pm, uint64_t off, const void *src, size_t len);

/* Write all that is staged, unsynced. A failure is kept in pm->failed. */
void pm_stage_spill(struct pm *pm);

/* One synchronous write of all that is staged and, if this writer wrote through or `all`, of that too.
 * Nothing is staged afterwards, whatever is returned. */
FL_NODISCARD fl_status pm_stage_commit(struct pm *pm, bool all);

#endif
