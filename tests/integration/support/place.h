/* Where a store under test lies: on a real disk for the page mapping, in memory for the volatile one. */
#ifndef FL_TESTS_INTEGRATION_SUPPORT_PLACE_H
#define FL_TESTS_INTEGRATION_SUPPORT_PLACE_H

#include "tests/lib/tmpdir.h"

#include <stdbool.h>
#include <stdint.h>

/* A fresh directory on a filesystem that isn't memory, with `bytes_free` bytes free: of $TMPDIR, /var/tmp, /tmp
 * and the working directory the first that is one. False: the machine has none; nothing was made. */
bool place_on_disk(struct tmpdir *dir, uint64_t bytes_free);

/* The same on tmpfs: /dev/shm. */
bool place_in_memory(struct tmpdir *dir, uint64_t bytes_free);

#endif
