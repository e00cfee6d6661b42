/* The model filesystem's protocol, spoken by hand: for tests of what no client of ours would say. */
#ifndef FL_TESTS_INTEGRATION_MODELFS_RAW_H
#define FL_TESTS_INTEGRATION_MODELFS_RAW_H

#include "storage/modelfs/wire.h"

enum { RAW_PROMPT_MS = 5000 };

/* A connection to the host of the device at `path`; aborts if there is none. */
int raw_dial(const char *path);
/* Send a call without waiting; `passed`: a descriptor, or -1. A host that has hung up is no error. */
void raw_say(int socket, const struct wire_call *call, const void *data, int passed);
/* The next message; its descriptors are closed, but for the first, which goes to *passed if that isn't NULL. False:
 * none comes, or the host has hung up. */
bool raw_hears(int socket, struct wire_note *note, int *passed);
/* A connection that is past the greeting, its userfaultfd, and the live image (NULL: not wanted). */
int raw_greet(const char *path, int *uffd, int *live);
bool raw_is_dropped(int socket);

#endif
