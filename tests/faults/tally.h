/* How many faults were injected, by kind: what a test prints at its end, one line a kind, for docs/evidence.md.
 *
 *   faults: poison-open injected=321 refused=300 survived=21
 *
 * "refused": an operation that met the fault said so. "survived": it cost nothing that had to be told.
 */
#ifndef FL_TESTS_FAULTS_TALLY_H
#define FL_TESTS_FAULTS_TALLY_H

#include <stdbool.h>

struct tally {
    const char *kind;
    unsigned long injected, refused;
};

static inline void
tally_add(struct tally *tally, unsigned long injected, bool refused)
{
    tally->injected += injected;
    tally->refused += refused ? injected : 0;
}

void tally_print(const struct tally *tally);

#endif
