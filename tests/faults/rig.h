/* A server over a real store, turned by hand, with failures injected into its turns; and a client that knows what was
 * acknowledged. */
#ifndef FL_TESTS_FAULTS_RIG_H
#define FL_TESTS_FAULTS_RIG_H

#include "server/server.h"
#include "tests/lib/tmpdir.h"

enum {
    RIG_KEYS = 12,
    RIG_MAYBES = 8,
    RIG_REPLY_BYTES = 1 << 16,
    RIG_VALUE_MAX = 5000,
    RIG_SPACE = 1, /* of the server's keys */
};

struct rig {
    struct tmpdir dir;
    char store_path[TMPDIR_PATH_BYTES];
    char socket_path[TMPDIR_PATH_BYTES];
    struct fl_options store_options;
    struct fl_store *store;
    struct server *server;
    bool runs; /* no turn has failed */
    int fd;    /* the client's; -1: not connected */
    char reply[RIG_REPLY_BYTES];
    size_t reply_len;
    /* Versions, 0: it is not there. What was acknowledged, and what was sent since without an answer. */
    uint32_t now[RIG_KEYS];
    uint32_t maybe[RIG_KEYS][RIG_MAYBES];
    unsigned maybes[RIG_KEYS];
    bool sent; /* of the last request, anything */
    uint32_t version;
    unsigned errors, cuts;
};

/* The store is opened without failures, all the rest of it with. */
void rig_init(struct rig *rig, enum loop_kind loop, enum fl_mapping mapping);
void rig_deinit(struct rig *rig);

/* Points, values in blocks of their own, transactions. Ends the test if a reply is wrong. */
void rig_work(struct rig *rig);

void rig_set(struct rig *rig, unsigned key);
void rig_get(struct rig *rig, unsigned key);
/* Send a request and have its reply. NULL: cut off, or there is no answer from a server that has failed. */
const char *rig_ask(struct rig *rig, const char *request, size_t len);
void rig_cut_off(struct rig *rig);

/* The i-th version that a key may be of, the acknowledged one first; there are rig->maybes[key] more. */
uint32_t rig_may_be(const struct rig *rig, unsigned key, unsigned i);
/* The value of a version; returns its length. */
size_t rig_value(uint32_t version, char value[RIG_VALUE_MAX]);

#endif
