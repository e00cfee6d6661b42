/* What a writer has done, and whether a store that was killed has kept it.
 *
 * A writer's steps follow from the seed and their number alone: step n of writer w is the same for whoever
 * asks, so that the process that writes needs to report numbers only. Values describe themselves (writer, key,
 * number of the step). Each writer has keys of its own and its steps are executed in order; so what
 * survives must be what its first n steps leave, for one n between the last acknowledged and the last sent. */
#ifndef FL_TESTS_INTEGRATION_KILL9_LEDGER_H
#define FL_TESTS_INTEGRATION_KILL9_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LEDGER_SINGLES = 40, /* keys 0 .. 39 are written one by one */
    LEDGER_GROUPS = 5,   /* the others only together with their whole group */
    LEDGER_MEMBERS = 8,
    LEDGER_KEYS = LEDGER_SINGLES + LEDGER_GROUPS * LEDGER_MEMBERS,
    LEDGER_KEY_BYTES = 10, /* "w03:key017" */
    LEDGER_VALUE_BYTES_MAX = 300000,
};

enum ledger_kind {
    LEDGER_SET,       /* one single key */
    LEDGER_DELETE,    /* one single key, there or not */
    LEDGER_GROUP_SET, /* all members, by one atomic command or batch */
    LEDGER_GROUP_EXEC, /* all members, each by a command of its own in a transaction that counts as well */
    LEDGER_GROUP_DELETE, /* all members, there or not */
};

struct ledger_step {
    uint64_t number;
    enum ledger_kind kind;
    unsigned first; /* keys first .. first + count - 1 */
    unsigned count;
};

/* Step `number` > 0 of writer `writer`. */
struct ledger_step ledger_step(uint64_t seed, unsigned writer, uint64_t number);

/* Write key `i`'s name, LEDGER_KEY_BYTES and a 0 byte. */
void ledger_key(unsigned writer, unsigned i, char name[LEDGER_KEY_BYTES + 1]);

/* Write the value that step `number` gives to key `i` into `buf` (LEDGER_VALUE_BYTES_MAX); returns its length. */
size_t ledger_value(uint64_t seed, unsigned writer, unsigned i, uint64_t number, uint8_t *buf);

/* The step that wrote this value of key `i`; 0 if no step can have: the bytes are wrong. `scratch`
 * holds LEDGER_VALUE_BYTES_MAX. */
uint64_t ledger_identify(uint64_t seed, unsigned writer, unsigned i, const void *value, size_t len,
                         uint8_t *scratch);

/* One writer's account, kept by the test across crashes. */
struct ledger {
    uint64_t seed;
    unsigned writer;
    uint64_t state[LEDGER_KEYS]; /* after step `settled`: the step that wrote each key, 0: absent */
    uint64_t settled;            /* the number before this life's first step */
    uint64_t acked;              /* >= settled; the last step that was acknowledged */
    uint64_t sent;               /* >= acked; the last step that may have been executed */
    uint64_t seen;               /* the highest step that any reader has met */
    /* LEDGER_GROUP_EXEC steps of the life that was settled last, at least and at most: an EXEC, and a delete of what
     * was absent before it, leave what was there, so that the keys alone don't tell whether both are in the store. */
    uint64_t execs_min;
    uint64_t execs_max;
};

struct ledger_faults {
    uint64_t lost; /* keys older than what was acknowledged or shown to a reader */
    uint64_t torn; /* groups whose members don't belong together */
    uint64_t
        disorder; /* writers whose keys are from no single moment, though none is lost or torn */
};

void ledger_init(struct ledger *ledger, uint64_t seed, unsigned writer);

/* Steps are numbered from life * 2^32 + 1 on now: what an earlier life has written and lost can't be
 * taken for this one's, should it come back. `life` > 0 and higher than before. */
void ledger_begin(struct ledger *ledger, uint32_t life);

/* Compare what the store holds after a crash with what it may hold, add what is wrong to *faults with a line to
 * stderr for each, and go on from there: the account is settled at what was found. Call ledger_begin() next. */
void ledger_settle(struct ledger *ledger, const uint64_t observed[LEDGER_KEYS],
                   struct ledger_faults *faults);

#endif
