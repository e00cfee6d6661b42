/* What the parts of the model filesystem's client share. Public calls: <faultline/modelfs.h>.
 *
 * Two threads of our own serve an attachment. The agent carries out what the host orders and hands replies to who waits
 * for them; it takes no lock that is held across an access to a mapping and allocates nothing, so that whatever the
 * program was doing when it faulted, its fault is answered. The warden only watches whether the host lives: where it
 * doesn't, nobody but us can let an agent go on that is in the middle of a move.
 */
#ifndef FL_STORAGE_MODELFS_CLIENT_H
#define FL_STORAGE_MODELFS_CLIENT_H

#include <faultline/modelfs.h>

#include "storage/modelfs/host.h"
#include "storage/modelfs/uffd.h"
#include "storage/modelfs/wire.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

enum {
    CLIENT_CPU_BUCKETS = 64,
    CLIENT_LED_NOWHERE = 0, /* table entries; also what raises SIGBUS */
    CLIENT_LED_TO_PHYS = 1, /* from here on: physical block + 1 */
};

struct fl_modelfs_map {
    struct fl_modelfs_map *next;
    struct fl_modelfs *fs;
    uint32_t id;
    uint32_t blocks_count;
    uint8_t *address;
    size_t len;
    int void_fd;
    _Atomic(uint32_t) *
        table; /* where each block leads, which the host's core may know better: what a flush writes back */
};

/* A call that waits for its reply. */
struct client_call {
    struct client_call *next;
    uint64_t id;
    bool done;
    pthread_cond_t changed;
    struct wire_note note;
    uint8_t *data; /* WIRE_DATA_BYTES_MAX, or NULL: none is expected */
};

/* A thread's flushes. Found by pthread_self(): a new thread that gets the number of one that has ended takes over what
 * that one had not fenced, which a processor might have done at any time. */
struct client_cpu {
    struct client_cpu *next;
    pthread_t thread;
    struct mfs_cpu *cpu;
};

struct fl_modelfs {
    pid_t pid; /* whose attachment this is: not a forked child's */
    int socket;
    int uffd; /* kept to the end: the last one that is closed lets every access through */
    int live_fd;
    int empty_fd; /* a file of no bytes: an access to its mapping raises SIGBUS */
    int host_pidfd;
    int stop_fd;
    unsigned lacks;
    uint64_t size_bytes;
    uint64_t data_off;
    uint32_t block_bytes;
    struct mfs_host *host; /* if it is in this process, and ours */
    bool has_agent;
    bool has_warden;
    pthread_t agent;
    pthread_t warden;
    atomic_bool agent_ended;
    pthread_rwlock_t media_lock; /* held for writing to take the media away */
    struct mfs_media *media;     /* NULL: the host or the power is gone */
    _Atomic(struct client_cpu *) cpus[CLIENT_CPU_BUCKETS];
    pthread_mutex_t lock; /* guards the rest */
    bool closed;          /* no more calls */
    char why[WIRE_TEXT_BYTES];
    uint64_t ids;
    uint32_t map_ids;
    struct client_call *calls;
    struct fl_modelfs_map *maps;
    _Alignas(8) uint8_t receive[sizeof(struct wire_note) + WIRE_DATA_BYTES_MAX];
};

/* ---- agent.c ---- */

FL_NODISCARD fl_status client_agent_start(struct fl_modelfs *fs);
/* Stop both threads; what is mapped raises SIGBUS from then on. */
void client_agent_stop(struct fl_modelfs *fs);
/* Address space for a mapping: [address, address + len) leads to `fd` from `off` on, registered, not inherited. */
FL_NODISCARD fl_status client_map_registered(struct fl_modelfs *fs, void *address, int fd,
                                             uint64_t off, size_t len, void **out);

/* ---- client.c ---- */

/* Send `call` (id and name sizes are set here) and wait for its reply. `reply`: may be NULL. `reply_data`: room for
 * WIRE_DATA_BYTES_MAX, or NULL. Errors: the reply's, FL_INVALID (forked child), FL_CLOSED. */
FL_NODISCARD fl_status client_call(struct fl_modelfs *fs, struct wire_call *call, const void *data,
                                   int fd, struct wire_note *reply, void *reply_data);
FL_NODISCARD fl_status client_name(char *to, const char *name);
FL_NODISCARD fl_status client_check(const struct fl_modelfs *fs);

/* ---- client_map.c ---- */

/* End every thread's context and let the device go. */
void client_media_close(struct fl_modelfs *fs);
void client_unmap_all(struct fl_modelfs *fs);

#endif
