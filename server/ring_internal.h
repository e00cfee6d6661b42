/* What ring.c, ring_look.c and ring_setup.c share. */
#ifndef FL_SERVER_RING_INTERNAL_H
#define FL_SERVER_RING_INTERNAL_H

#include "server/loop.h"

#include <liburing.h>

enum {
    RING_SQ_ENTRIES = 1024,
    RING_CQ_ENTRIES = 8192,
    RING_BUFFERS = 256, /* a power of two */
    RING_BUFFER_BYTES = 16 * 1024,
    /* Buffers begin a few lines apart modulo a page: small requests, one a buffer, would all fall
     * into the same sets of the cache otherwise. */
    RING_BUFFER_STRIDE = RING_BUFFER_BYTES + 5 * 64,
    RING_GROUP = 1,
    RING_WATCHES_MAX = 16,
    RING_LOOK_MS = 250, /* between two looks: who went quiet between them is asked at the second */
};
_Static_assert((int)RING_BUFFER_BYTES <= (int)LOOP_RECV_BYTES_MAX, "received() promises it");

/* The low bits of user_data. */
enum ring_kind {
    RING_IGNORED = 0,
    RING_ACCEPT = 1,
    RING_RECV = 2,
    RING_SEND = 3,
    RING_POLL = 4,
    RING_CANCEL = 5, /* of a receive */
    RING_KIND_MASK = 7,
};

struct ring_watch {
    _Alignas(8) int fd; /* -1: stopped */
    bool armed;
    void *tag;
};

struct ring {
    struct loop base;
    struct io_uring uring;
    struct io_uring_buf_ring *buffers;
    char *memory;
    unsigned recycled; /* buffers given back, not yet shown to the kernel */
    unsigned listeners_count;
    unsigned watches_count;
    struct ring_watch listeners[RING_WATCHES_MAX];
    struct ring_watch watches[RING_WATCHES_MAX];
    struct loop_sock *starved; /* wait for a receive buffer */
    struct loop_sock *closing; /* nothing in flight any more */
    struct loop_sock *look;    /* received something since they were looked at */
    uint64_t look_due_ms;
};

static inline char *
ring_buffer(struct ring *ring, unsigned id)
{
    return ring->memory + (size_t)id * RING_BUFFER_STRIDE;
}

static inline void
ring_recycle(struct ring *ring, unsigned id)
{
    io_uring_buf_ring_add(ring->buffers, ring_buffer(ring, id), RING_BUFFER_BYTES,
                          (unsigned short)id, RING_BUFFERS - 1, (int)ring->recycled);
    ring->recycled++;
}

/* Have the receive that is armed end; it is armed again behind that if it is still wanted. Once is enough: does
 * nothing while it is under way. */
void ring_cancel_recv(struct ring *ring, struct loop_sock *sock);

/* Into the list of those to be looked at, and out of it (if it is there). */
void ring_look_list(struct ring *ring, struct loop_sock *sock);
void ring_look_unlist(struct ring *ring, struct loop_sock *sock);

/* Every RING_LOOK_MS: wake the receives that have fallen asleep over something to read. */
void ring_look(struct ring *ring);

/* Make the ring with the best flags this kernel knows, its receive buffers, and try out what it
 * needs. FL_NOT_SUPPORTED: the kernel lacks it or forbids it; nothing stays behind. */
FL_NODISCARD fl_status ring_setup(struct ring *ring);
void ring_teardown(struct ring *ring);

#endif
