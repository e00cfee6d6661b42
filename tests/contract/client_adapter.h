/* The model behind its client library: mappings by userfaultfd, a host in this process, other processes attached to
 * it. */
#ifndef FL_TESTS_CONTRACT_CLIENT_ADAPTER_H
#define FL_TESTS_CONTRACT_CLIENT_ADAPTER_H

#include "storage/modelfs/host.h"
#include "tests/contract/adapter.h"

#include <faultline/modelfs.h>

struct client {
    struct adapter adapter;
    const char *path;
    struct mfs_host *host; /* NULL: somebody else's */
    struct fl_modelfs *fs; /* NULL: not attached */
    bool without_nosync;   /* how the device is made */
    struct mapping *mappings;
};

/* Host the device at `path`, make it if it is absent, and attach. Aborts if it can't be done. */
void client_host(struct client *c, const char *path);
/* Cut its power (mfs_media_cut_random()); afterwards nothing is attached. */
void client_cut(struct client *c, uint64_t seed);
/* Detach and end the host, if there is one. */
void client_end(struct client *c);

/* The first thing of main(): doesn't return in a process that another one's adapter has spawned. */
void client_body(int argc, char **argv);

#endif
