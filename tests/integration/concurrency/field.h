/* What the threads of the concurrency test share: one store, the keys in it, and what must hold of them. */
#ifndef FL_TESTS_INTEGRATION_CONCURRENCY_FIELD_H
#define FL_TESTS_INTEGRATION_CONCURRENCY_FIELD_H

#include "tests/lib/rng.h"
#include "tests/lib/tmpdir.h"

#include <faultline/batch.h>
#include <faultline/cursor.h>

#include <pthread.h>
#include <stdatomic.h>

enum {
    FIELD_WRITERS = 3,
    FIELD_KEYS = 300,  /* of each writer, written by nobody else */
    FIELD_TWINS = 100, /* of these the first; 2i and 2i + 1 are only ever changed together */
    FIELD_ACCOUNTS = 64,
    FIELD_ACCOUNT_START = 1000,
    FIELD_COUNTERS = 4,
    FIELD_MORTALS = 50, /* keys with a deadline, of each writer */
    FIELD_KEY_BYTES = 7,
    FIELD_VALUE_BYTES_MAX = 300000,
    FIELD_THREADS_MAX = 16,
};

/* Kinds of keys, in their order: the first byte of each. */
enum field_kind {
    FIELD_ACCOUNT = 'a', /* 8 bytes, a balance. The sum over all accounts never changes */
    FIELD_COUNTER = 'c', /* 8 bytes, incremented by whoever wins the race of FL_IF_LSN */
    FIELD_MORTAL = 'm',  /* a value that describes itself, with a deadline */
    FIELD_OWNED = 'o',   /* a value that describes itself */
};

struct field {
    struct fl_store *store;
    struct fl_options options;
    struct tmpdir dir;
    char path[TMPDIR_PATH_BYTES];
    uint64_t seed;
    atomic_bool stop;
    uint64_t owned[FIELD_WRITERS]
                  [FIELD_KEYS]; /* each writer's: the version it wrote last, 0: deleted */
    atomic_uint_fast64_t counted[FIELD_COUNTERS]; /* increments that succeeded */
    atomic_uint_fast64_t puts, deletes, batches, conflicts, gets, passes, views, snapshots;
    pthread_t threads[FIELD_THREADS_MAX];
    unsigned threads_count;
};

/* Given to each thread, which frees it. */
struct field_hand {
    struct field *field;
    unsigned number; /* among those of its kind */
    struct rng rng;
    uint8_t *value; /* FIELD_VALUE_BYTES_MAX */
};

/* End the program, with the library's reason, unless `status` is FL_OK. */
void field_must(fl_status status, const char *what);

/* The key number `i` of `kind` and, where writers have their own, of `writer`. */
struct fl_key field_key(enum field_kind kind, unsigned writer, unsigned i,
                        char name[FIELD_KEY_BYTES + 1]);

/* Make the value of version `version` of a key; the length is returned. */
size_t field_value(const struct field *field, enum field_kind kind, unsigned writer, unsigned i,
                   uint64_t version, uint8_t *buf);

/* The version of a value that describes itself; ends the program if a byte is wrong. `scratch` as in
 * field_hand. */
uint64_t field_version(const struct field *field, enum field_kind kind, unsigned writer, unsigned i,
                       struct fl_bytes value, uint8_t *scratch);

/* The number in an account or a counter. */
int64_t field_number(struct fl_bytes value);

/* Take a key apart; ends the program if no writer writes it. */
void field_key_parse(struct fl_bytes key, enum field_kind *kind, unsigned *writer, unsigned *i);

static inline bool
field_stopped(const struct field_hand *hand)
{
    return atomic_load_explicit(&hand->field->stop, memory_order_relaxed);
}

static inline void
field_count(atomic_uint_fast64_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* Threads: bodies of writers (number 0 to FIELD_WRITERS - 1) and of the others. */
void *field_writer(void *hand);    /* puts, deletes and batches of its own keys */
void *field_banker(void *hand);    /* moves money between accounts, in batches that may conflict */
void *field_counter(void *hand);   /* increments counters with FL_IF_LSN */
void *field_reader(void *hand);    /* points, one by one: versions never go back */
void *field_holder(void *hand);    /* views, many at a time and held for long */
void *field_walker(void *hand);    /* cursors both ways, consistent and live */
void *field_historian(void *hand); /* snapshots, held for long, read again and again */
void *field_statistician(void *hand); /* fl_stats, fl_count, fl_random_key, fl_sync */

#endif
