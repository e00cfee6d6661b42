/* Moments that have been judged, by hash, with how many states they have. */
#ifndef FL_TESTS_CRASH_MEMO_H
#define FL_TESTS_CRASH_MEMO_H

#include "tests/crash/explore.h"

/* False: it is not known. */
bool memo_find(const struct explore_memo *memo, uint64_t hash, struct explore_counts *counts);
/* What judging it came to; of the counts only states, sampled and images are kept. */
void memo_add(struct explore_memo *memo, uint64_t hash, const struct explore_counts *counts);

#endif
