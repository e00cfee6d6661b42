/* The clients of the kill9 tests: writers that pipeline their steps over TCP, and a reader that notes what it has
 * been shown. */
#ifndef FL_TESTS_INTEGRATION_KILL9_CLIENTS_H
#define FL_TESTS_INTEGRATION_KILL9_CLIENTS_H

#include "tests/integration/kill9/ledger.h"
#include "tests/integration/support/subject.h"

#include <pthread.h>
#include <stdatomic.h>

enum { CLIENTS_WRITERS = 8, CLIENTS_ERROR_BYTES = 256 };

#define CLIENTS_COUNTER "zz:execs" /* counts LEDGER_GROUP_EXEC steps; behind all other keys */

struct clients {
    const struct subject *subject;
    struct ledger
        *ledgers; /* CLIENTS_WRITERS; lent. Each thread writes its own, until clients_stop() */
    uint64_t seed;
    atomic_bool killed; /* set just before the server is: losing the connection is no fault then */
    pthread_t writers[CLIENTS_WRITERS];
    pthread_t reader;
    unsigned pipelines_max;
    uint64_t seen[CLIENTS_WRITERS]; /* the reader's */
    uint64_t reads;                 /* the reader's: values looked at */
    pthread_mutex_t lock;
    char error[CLIENTS_ERROR_BYTES]; /* the first thing that no server may do; "": none */
};

/* Start 8 writers and a reader. Each writer sends pipelines of up to `pipelines_max` steps, one after the other. */
void clients_start(struct clients *clients, const struct subject *subject, struct ledger *ledgers,
                   uint64_t seed, unsigned pipelines_max);

/* Wait for their ends, after the server has been killed; what the reader saw goes into the ledgers. False:
 * clients->error says what went wrong. */
bool clients_join(struct clients *clients);

/* Read everything that the server holds: by point, and in order both ways, which must agree. observed[w][i] is the
 * step that wrote the key, 0: absent; *execs is the counter. Aborts, with the reason, on anything else. */
void clients_observe(const struct subject *subject, uint64_t seed,
                     uint64_t observed[CLIENTS_WRITERS][LEDGER_KEYS], uint64_t *execs);

#endif
