/* Mutants that do no harm, and why. */
#ifndef FL_TESTS_CRASH_KNOWN_H
#define FL_TESTS_CRASH_KNOWN_H

#include "storage/persist/pm.h"
#include "tests/crash/mutate.h"

/* `place` as plant_site_text() gives it. NULL: it isn't known to be harmless. */
const char *known_reason(const char *place, enum mutation mutation, enum pm_mode mode);

#endif
