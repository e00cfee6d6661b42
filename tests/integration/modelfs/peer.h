/* Another process that uses the model filesystem, driven by a test: it runs this test's own program (fork alone would
 * not do: the library has threads) and does one thing at a time on a device that it attaches to.
 */
#ifndef FL_TESTS_INTEGRATION_MODELFS_PEER_H
#define FL_TESTS_INTEGRATION_MODELFS_PEER_H

#include <faultline/modelfs.h>

#include <sys/types.h>

enum {
    PEER_ANSWER_MS = 20000,
    PEER_NAME_BYTES = 32,
    PEER_PATH_BYTES = 256,
    PEER_TEXT_BYTES = 200,
    PEER_SIGBUS = 1000, /* answer.status: the access raised it */
};

enum peer_op {
    PEER_ATTACH = 1, /* value: enum fl_modelfs_attach_flags; len: the device's bytes */
    PEER_DETACH,
    PEER_CREATE,
    PEER_MAP, /* off, len, value: enum fl_modelfs_kind */
    PEER_UNMAP,
    PEER_LOAD,    /* 8 bytes at `off` of the mapping */
    PEER_STORE,   /* the same; not flushed */
    PEER_PERSIST, /* store, flush and fence */
    PEER_FENCE,
    PEER_POPULATE,
    PEER_READ,  /* 8 bytes at `off` of the file */
    PEER_WRITE, /* the same */
    PEER_PUNCH,
    PEER_TRUNCATE,
    PEER_ALLOCATE,
    PEER_FSYNC,
    PEER_POWERCUT, /* value: the seed */
    PEER_COMMITS,
    PEER_MOVE, /* `len` bytes of the mapping elsewhere, behind the library's back, and store there */
    PEER_HAMMER, /* store to `len` bytes from `off` on until killed; answers once it has begun */
};

struct peer_order {
    enum peer_op op;
    uint64_t off;
    uint64_t len;
    uint64_t value;
    char name[PEER_NAME_BYTES];
};

struct peer_answer {
    int status; /* fl_status, or PEER_SIGBUS */
    uint64_t value;
    char text[PEER_TEXT_BYTES];
};

struct peer {
    pid_t pid; /* 0: it has ended and was waited for */
    int socket;
};

/* main() of a program with peers begins with this: it doesn't return in a peer. */
void peer_main(int argc, char **argv);

/* Start one for the device at `path`; aborts if it can't. It dies with the thread that started it. */
void peer_start(struct peer *peer, const char *path);
void peer_ask(struct peer *peer, const struct peer_order *order);
/* False: no answer within `ms`. */
bool peer_answered(struct peer *peer, unsigned ms, struct peer_answer *answer);
/* Both, and the test aborts if there is no answer. */
struct peer_answer peer_do(struct peer *peer, const struct peer_order *order);
/* The same, and the test aborts unless it is FL_OK. Returns the value. */
uint64_t peer_ok(struct peer *peer, const struct peer_order *order);
/* SIGSTOP, and wait until it has: a signal takes a while. */
void peer_stop(const struct peer *peer);
void peer_signal(const struct peer *peer, int signal_number);
/* Whether it ends by itself within `ms`; *status as of waitpid(). */
bool peer_ends(struct peer *peer, unsigned ms, int *status);
/* SIGKILL and wait. */
void peer_kill(struct peer *peer);

/* Exit 77 with the reason where this machine has no userfaultfd for us. */
void skip_without_userfaultfd(void);

/* Load or store 8 bytes; false: SIGBUS. Any thread. */
bool try_load(const void *address, uint64_t *value);
bool try_store(void *address, uint64_t value);

#endif
