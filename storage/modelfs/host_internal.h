/* What the parts of the host share. All of it is guarded by the host's lock. */
#ifndef FL_STORAGE_MODELFS_HOST_INTERNAL_H
#define FL_STORAGE_MODELFS_HOST_INTERNAL_H

#include "storage/modelfs/host.h"
#include "storage/modelfs/uffd.h"
#include "storage/modelfs/wire.h"

#include <pthread.h>
#include <sys/types.h>

enum {
    HOST_CLIENTS_MAX = 256,
    HOST_MAPS_MAX = 1024,   /* of one client */
    HOST_TASKS_MAX = 65536, /* orders that a client hasn't answered; power of two */
    HOST_QUEUE_MAX = 65536, /* messages that it hasn't taken */
    HOST_REPLIES_MAX = 64,  /* of these, when it is not listened to until it takes some */
    HOST_FAULTS_MAX = 256,  /* remembered; more are raised again */
    HOST_ANSWER_MS = 1000,  /* how long a client may keep its address space from us */
    HOST_OFF_MS = 5000,     /* how long it may take to end its mappings when the power is cut */
    HOST_LIFT_MS = 1000,  /* how long a caller waits for others' mappings to stop raising SIGBUS */
    HOST_LED_NOWHERE = 0, /* struct host_block.told: faults */
    HOST_LED_TO_BUS = 1,  /* raises SIGBUS */
    HOST_LED_TO_PHYS = 2, /* from here on: physical block + 2 */
};

/* One block of a mapping. What the client has been told is the order that it will have carried out last. */
struct host_block {
    uint64_t seq; /* when the core last installed it; void if its physical block was zapped since */
    uint32_t told;     /* HOST_LED_* */
    uint32_t inflight; /* orders about it that aren't answered */
    uint8_t access;    /* enum mfs_access that the core wants; NONE: it took it back */
    bool touched;      /* may have page-table entries */
    bool zeros;        /* the void file has pages there */
};

struct host_client;

struct host_map {
    struct host_map *next;
    struct host_client *client;
    struct mfs_map *map; /* NULL: closed; kept until its orders are answered */
    uint32_t id;
    uint32_t blocks_count;
    uint32_t tasks;
    uint32_t low; /* blocks[low, high) were ever dealt with */
    uint32_t high;
    uintptr_t address;
    int void_fd;
    struct host_block *blocks;
};

/* An order that isn't answered, or a reply that waits for those before it. */
struct host_task {
    uint64_t id;
    struct host_map *map; /* NULL: of no mapping */
    uint32_t kind;        /* enum wire_note_kind */
    uint32_t block;
    uint32_t blocks;
    uint32_t led; /* as struct host_block.told */
};

/* A message that the socket had no room for. */
struct host_message {
    struct host_message *next;
    struct wire_note note;
    uint8_t data[];
};

enum host_source_kind {
    HOST_SOURCE_LISTENER = 1,
    HOST_SOURCE_KICK,
    HOST_SOURCE_SOCKET,
    HOST_SOURCE_UFFD,
    HOST_SOURCE_PIDFD,
};

/* What an event of the loop is about. */
struct host_source {
    enum host_source_kind kind;
    struct host_client *client;
};

struct host_client {
    struct host_client *next;
    struct mfs_host *host;
    struct host_source by_socket;
    struct host_source by_uffd;
    struct host_source by_pidfd;
    int socket;
    int uffd; /* -1 until HELLO */
    int pidfd;
    pid_t pid;
    unsigned lacks;  /* enum uffd_lacks */
    bool failed;     /* broke the protocol, or is gone: to be dropped */
    bool dead;       /* its process has ended, or its address space has */
    uint32_t polled; /* epoll events that its socket is watched for */
    struct host_map *maps;
    unsigned maps_count;
    struct host_task *tasks; /* ring of tasks_room, a power of two */
    uint32_t tasks_room;
    uint32_t tasks_first;
    uint32_t tasks_count;
    struct wire_note order; /* the newest order, not yet sent: the next may extend it */
    bool order_waits;
    struct host_message *queue;
    struct host_message **queue_end;
    unsigned queue_count;
    struct host_message *parked; /* replies that wait for host->lifts; the newest first */
    struct uffd_event faults[HOST_FAULTS_MAX];
    unsigned faults_count;
};

struct mfs_host {
    pthread_mutex_t lock;
    pthread_t thread;
    bool thread_runs;
    bool stop;
    bool ended; /* the power was cut */
    struct mfs_media *media;
    struct mfs *fs;
    uint64_t data_off;
    uint32_t block_bytes;
    uint64_t *zapped; /* for each physical block: struct host_block.seq of its last zap */
    uint64_t zapped_count;
    uint64_t seq;
    uint8_t *spare; /* one block */
    int epoll;
    int listener;
    int kick;     /* eventfd: the loop has something to do that no descriptor says */
    int ended_fd; /* eventfd */
    struct host_source by_listener;
    struct host_source by_kick;
    struct host_client *clients;
    unsigned clients_count;
    uint32_t
        lifts; /* orders, not answered, after which a place that raised SIGBUS faults instead */
    uint64_t lifts_given;  /* of them all since the start */
    uint64_t lifts_before; /* that, when mfs_host_lock() got the lock */
    pthread_cond_t lifts_over;
    uint64_t
        parked_until; /* clock_mono_ns() by which parked replies are sent in any case; 0: none is parked */
    /* The fault being served: where zeros are wanted, and that a page is there to be made writable. */
    struct host_map *fault_map;
    struct uffd_event fault;
    struct wire_address address;
    char address_text[sizeof(((struct sockaddr_un *)NULL)->sun_path) + 2];
    _Alignas(8) uint8_t receive[sizeof(struct wire_call) + WIRE_DATA_BYTES_MAX];
    uint8_t send[WIRE_DATA_BYTES_MAX];
};

/* ---- host_engine.c: page tables of clients ---- */

extern const struct mfs_engine_ops host_engine_ops;

/* Serve what was read of this client's faults and what its descriptor still has. */
void host_engine_faults(struct host_client *client);
/* The client has answered its oldest order. False: not as it must. */
bool host_engine_done(struct host_client *client, const struct wire_call *call);
/* After return no store gets through the mapping. */
void host_engine_guard(struct host_map *map);
/* Read the descriptor, so that a mapper that waits for it goes on. Faults are remembered. */
void host_engine_drain(struct host_client *client);

/* ---- host_client.c: connections ---- */

/* Take a connection, whose peer's credentials fit. The descriptor is taken in any case. */
fl_status host_client_add(struct mfs_host *host, int socket);
/* Read and serve messages until none is there. */
void host_client_receive(struct host_client *client);
/* Send what waits. */
void host_client_flush(struct host_client *client);
/* Send, or keep until there is room. Never waits. */
void host_client_send(struct host_client *client, const struct wire_note *note, const void *data);
/* Give an order about [block, block + blocks) of `map` (NULL: about all), or extend the one before by it. `led` is
 * of the first block; `value` goes with it. */
void host_client_order(struct host_client *client, struct host_map *map, enum wire_note_kind kind,
                       uint32_t block, uint32_t blocks, uint32_t led, uint64_t value);
/* Send the reply FL_OK to call `id` once every order before it is answered. */
void host_client_reply_last(struct host_client *client, uint64_t id);
/* End its process, unless that is this one. */
void host_client_kill(struct host_client *client);
bool host_client_has_ended(const struct host_client *client);
/* The oldest order; NULL: none. It is over: replies that waited for it go out. */
struct host_task *host_client_task(struct host_client *client);
void host_client_task_over(struct host_client *client);
/* End its mappings, in the core too unless the core is gone, and its connection; free. */
void host_client_drop(struct host_client *client);

/* ---- host_lift.c: growing a file, or freeing space, ends SIGBUS for everybody before it returns ----
 * The place of a block that raised SIGBUS has to be mapped anew by the client's own process. Whoever made that so is
 * answered when all have done it; a process that is stopped, or starved, keeps others waiting HOST_LIFT_MS at most. */

/* An order of this kind was given, or is over: answered, or of a client that is dropped. */
void host_lift_given(struct mfs_host *host, uint32_t kind);
void host_lift_over(struct mfs_host *host, uint32_t kind);
/* Keep the reply until then, if orders were given since `given`. False: send it now. */
bool host_lift_park(struct host_client *client, uint64_t given, const struct wire_note *note);
/* Send the parked replies that have waited long enough. How long epoll_wait() may take until the next: ms, -1: for
 * ever. */
int host_lift_tend(struct mfs_host *host);
/* Wait until no such order is left. The lock is given up meanwhile. Not in the host's own thread. */
void host_lift_wait(struct mfs_host *host);

/* ---- host_call.c: what clients ask for ---- */

/* Serve a call that wire_call_check() let through. Takes the descriptor that came with it, if it wants it. */
void host_call(struct host_client *client, const struct wire_call *call,
               struct wire_received *received);
/* FL_IO: as mfs_map_close(); it is gone all the same. */
fl_status host_map_close(struct host_map *map);
void host_map_free(struct host_map *map);

/* ---- host.c ---- */

/* Let the loop look at everything once. */
void host_kick(struct mfs_host *host);
FL_NODISCARD fl_status host_watch(struct mfs_host *host, int fd, struct host_source *source);

#endif
