/* What the driver shares with workloads that don't go through its operations. */
#ifndef FL_TESTS_CRASH_DRIVER_INTERNAL_H
#define FL_TESTS_CRASH_DRIVER_INTERNAL_H

#include "tests/crash/driver.h"

/* The running store showed something that it should not. */
void driver_wrong(struct driver *driver, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
