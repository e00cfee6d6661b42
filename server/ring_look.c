/* Receives that have fallen asleep.
 *
 * A multishot receive is woken by the kernel's poll. If data and the end of the stream come together, before the
 * receive has run or while it is being armed, one wake-up stands for both: it fetches the data, finds the socket
 * empty and waits for a wake-up that never comes. The connection would stay for ever. (liburing issue 1549. Linux 7.0
 * and the stable kernels that have its mend still lose what comes while the receive is armed: unix sockets with any
 * end, TCP with a reset.)
 *
 * It can only happen to a socket that has just received, so those are listed, and looked at when they have gone
 * quiet: one poll() for all of them, and whoever has something to read has its receive cancelled. It is armed again
 * when that has arrived, and then looks itself. */
#include "server/ring_internal.h"

#include "base/clock.h"

#include <poll.h>
#include <time.h>

enum { RING_LOOK_BATCH = 256 };

void
ring_look_list(struct ring *ring, struct loop_sock *sock)
{
    sock->look_prev = NULL;
    sock->look_next = ring->look;
    if (ring->look != NULL) {
        ring->look->look_prev = sock;
    }
    ring->look = sock;
    sock->look_listed = true;
}

void
ring_look_unlist(struct ring *ring, struct loop_sock *sock)
{
    if (!sock->look_listed) {
        return;
    }
    if (sock->look_prev != NULL) {
        sock->look_prev->look_next = sock->look_next;
    } else {
        ring->look = sock->look_next;
    }
    if (sock->look_next != NULL) {
        sock->look_next->look_prev = sock->look_prev;
    }
    sock->look_listed = false;
}

/* Ask the kernel what there is to read. What has just come is among it, now and then: its receive is cancelled in
 * vain, and nothing is lost. Whoever is cancelled stays listed, until it is found quiet. */
static void
look_at(struct ring *ring, struct pollfd *fds, struct loop_sock **socks, unsigned count)
{
    if (poll(fds, count, 0) < 0) {
        return; /* The next look asks again. */
    }
    for (unsigned i = 0; i < count; i++) {
        if (fds[i].revents != 0) {
            ring_cancel_recv(ring, socks[i]);
        } else {
            ring_look_unlist(ring, socks[i]);
        }
    }
}

static void
look_at_all(struct ring *ring)
{
    struct pollfd fds[RING_LOOK_BATCH];
    struct loop_sock *socks[RING_LOOK_BATCH];
    unsigned count = 0;

    for (struct loop_sock *sock = ring->look, *next; sock != NULL; sock = next) {
        next = sock->look_next;
        if (sock->heard) {
            sock->heard = false; /* Busy: the next look asks whether it has gone quiet. */
        } else if (!sock->recv_armed) {
            ring_look_unlist(ring, sock); /* A receive that is armed later looks itself. */
        } else if (!sock->recv_wanted) {
            ring_cancel_recv(ring, sock); /* Its cancellation missed it. */
        } else {
            fds[count] = (struct pollfd){.fd = sock->fd, .events = POLLIN | POLLRDHUP};
            socks[count++] = sock;
        }
        if (count == RING_LOOK_BATCH) {
            look_at(ring, fds, socks, count);
            count = 0;
        }
    }
    if (count > 0) {
        look_at(ring, fds, socks, count);
    }
}

void
ring_look(struct ring *ring)
{
    struct timespec now;

    if (ring->look == NULL) {
        return;
    }
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    const uint64_t now_ms =
        (uint64_t)now.tv_sec * CLOCK_MS_PER_S + (uint64_t)now.tv_nsec / CLOCK_NS_PER_MS;

    if (now_ms >= ring->look_due_ms) {
        ring->look_due_ms = now_ms + RING_LOOK_MS;
        look_at_all(ring);
    }
}
