/* The loop over io_uring: multishot accept and receive into provided buffers, sends queued until
 * the next wait, so that a tick costs one system call however many sockets it serves. */
#include "server/ring_internal.h"

#include "base/fail.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static inline struct ring *
ring_of(struct loop *loop)
{
    return (struct ring *)loop;
}

static struct io_uring_sqe *
ring_sqe(struct ring *ring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);

    while (sqe == NULL) {
        (void)io_uring_submit(&ring->uring);
        sqe = io_uring_get_sqe(&ring->uring);
    }
    return sqe;
}

static uint64_t
ring_data(const void *place, enum ring_kind kind)
{
    return (uint64_t)(uintptr_t)place | kind;
}

/* After io_uring_prep_*(), which clears it. */
static void
ring_tag(struct io_uring_sqe *sqe, const void *place, enum ring_kind kind)
{
    io_uring_sqe_set_data64(sqe, ring_data(place, kind));
}

static void
ring_arm_recv(struct ring *ring, struct loop_sock *sock)
{
    struct io_uring_sqe *sqe = ring_sqe(ring);

    io_uring_prep_recv_multishot(sqe, sock->fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = RING_GROUP;
    ring_tag(sqe, sock, RING_RECV);
    sock->recv_armed = true;
    sock->ops_in_flight++;
}

static void
ring_arm_accept(struct ring *ring, struct ring_watch *listener)
{
    struct io_uring_sqe *sqe = ring_sqe(ring);

    io_uring_prep_multishot_accept(sqe, listener->fd, NULL, NULL, SOCK_CLOEXEC);
    ring_tag(sqe, listener, RING_ACCEPT);
    listener->armed = true;
}

static void
ring_arm_poll(struct ring *ring, struct ring_watch *watch)
{
    struct io_uring_sqe *sqe = ring_sqe(ring);

    io_uring_prep_poll_multishot(sqe, watch->fd, POLLIN);
    ring_tag(sqe, watch, RING_POLL);
    watch->armed = true;
}

/* A place in one of the two lists; NULL: it is full. */
static struct ring_watch *
ring_put(struct ring_watch *list, unsigned *count, int fd, void *tag)
{
    if (*count == RING_WATCHES_MAX) {
        return NULL;
    }
    list[*count] = (struct ring_watch){.fd = fd, .tag = tag};
    *count += 1;
    return &list[*count - 1];
}

static fl_status
ring_listen(struct loop *base, int fd, void *tag)
{
    struct ring *ring = ring_of(base);
    struct ring_watch *listener = ring_put(ring->listeners, &ring->listeners_count, fd, tag);

    if (listener == NULL) {
        return FL_FAIL(FL_INVALID, "more than %d listeners", RING_WATCHES_MAX);
    }
    ring_arm_accept(ring, listener);
    return FL_OK;
}

static fl_status
ring_watch_fd(struct loop *base, int fd, void *tag)
{
    struct ring *ring = ring_of(base);
    struct ring_watch *watch = ring_put(ring->watches, &ring->watches_count, fd, tag);

    if (watch == NULL) {
        return FL_FAIL(FL_INVALID, "more than %d watched descriptors", RING_WATCHES_MAX);
    }
    ring_arm_poll(ring, watch);
    return FL_OK;
}

static void
ring_listen_resume(struct loop *base)
{
    struct ring *ring = ring_of(base);

    for (unsigned i = 0; i < ring->listeners_count; i++) {
        if (!ring->listeners[i].armed && ring->listeners[i].fd >= 0) {
            ring_arm_accept(ring, &ring->listeners[i]);
        }
    }
}

/* The outcome is reported as `outcome`, for the same place. */
static void
ring_cancel(struct ring *ring, void *place, enum ring_kind kind, enum ring_kind outcome)
{
    struct io_uring_sqe *sqe = ring_sqe(ring);

    io_uring_prep_cancel64(sqe, ring_data(place, kind), 0);
    ring_tag(sqe, place, outcome);
}

static void
ring_listen_stop(struct loop *base)
{
    struct ring *ring = ring_of(base);

    for (unsigned i = 0; i < ring->listeners_count; i++) {
        if (ring->listeners[i].armed) {
            ring_cancel(ring, &ring->listeners[i], RING_ACCEPT, RING_IGNORED);
        }
        ring->listeners[i].fd = -1;
    }
    /* Now, since the caller closes the sockets: the cancellation must not meet a number reused. */
    (void)io_uring_submit(&ring->uring);
}

static fl_status
ring_add(struct loop *base, struct loop_sock *sock, int fd)
{
    *sock = (struct loop_sock){.fd = fd, .recv_wanted = true};
    ring_arm_recv(ring_of(base), sock);
    return FL_OK;
}

void
ring_cancel_recv(struct ring *ring, struct loop_sock *sock)
{
    if (sock->recv_armed && !sock->cancelling) {
        ring_cancel(ring, sock, RING_RECV, RING_CANCEL);
        sock->cancelling = true;
        sock->ops_in_flight++;
    }
}

static void
ring_recv_pause(struct loop *base, struct loop_sock *sock)
{
    ring_cancel_recv(ring_of(base), sock);
}

static void
ring_recv_resume(struct loop *base, struct loop_sock *sock)
{
    /* Still armed: its cancellation is on the way, and arms it again when it arrives. */
    if (!sock->recv_armed && !sock->listed) {
        ring_arm_recv(ring_of(base), sock);
    }
}

static ssize_t
ring_send(struct loop *base, struct loop_sock *sock, const struct iovec *iov, unsigned count,
          bool more)
{
    struct io_uring_sqe *sqe = ring_sqe(ring_of(base));
    const int flags = MSG_NOSIGNAL | (more ? MSG_MORE : 0);

    if (count == 1) {
        io_uring_prep_send(sqe, sock->fd, iov->iov_base, iov->iov_len, flags);
    } else {
        memcpy(sock->iov, iov, count * sizeof(*iov));
        sock->msg = (struct msghdr){.msg_iov = sock->iov, .msg_iovlen = count};
        io_uring_prep_sendmsg(sqe, sock->fd, &sock->msg, (unsigned)flags);
    }
    ring_tag(sqe, sock, RING_SEND);
    sock->send_busy = true;
    sock->ops_in_flight++;
    return 0;
}

/* Called when the last operation ends and when there was none: one of the two comes first. */
static void
ring_list_closing(struct ring *ring, struct loop_sock *sock)
{
    if (!sock->listed) {
        sock->listed = true;
        sock->next = ring->closing;
        ring->closing = sock;
    }
}

static void
ring_unlist_starved(struct ring *ring, struct loop_sock *sock)
{
    for (struct loop_sock **at = &ring->starved; *at != NULL; at = &(*at)->next) {
        if (*at == sock) {
            *at = sock->next;
            sock->listed = false;
            return;
        }
    }
}

static void
ring_close(struct loop *base, struct loop_sock *sock)
{
    struct ring *ring = ring_of(base);

    if (sock->listed) {
        ring_unlist_starved(ring, sock);
    }
    if (sock->ops_in_flight > 0) {
        /* What is in flight ends with that; the number stays taken until then. */
        (void)shutdown(sock->fd, SHUT_RDWR);
        ring_cancel_recv(ring, sock); /* It may sleep through the shutdown: see ring_look.c. */
    } else {
        ring_list_closing(ring, sock);
    }
}

static void
ring_release(struct ring *ring)
{
    while (ring->closing != NULL) {
        struct loop_sock *sock = ring->closing;

        ring->closing = sock->next;
        ring_look_unlist(ring, sock);
        close(sock->fd);
        sock->fd = -1;
        ring->base.events->released(ring->base.context, sock);
    }
}

static void
ring_recv_ended(struct ring *ring, struct loop_sock *sock, int res)
{
    if (res == -ENOBUFS) {
        sock->listed = true;
        sock->next = ring->starved;
        ring->starved = sock;
    } else if (res > 0 || res == -ECANCELED || res == -EINTR || res == -EAGAIN) {
        if (sock->recv_wanted) {
            ring_arm_recv(ring, sock);
        }
    } else {
        sock->recv_wanted = false;
        sock->ended = true;
        ring->base.events->ended(ring->base.context, sock, -res);
    }
}

static void
ring_on_recv(struct ring *ring, struct loop_sock *sock, int res, unsigned flags)
{
    if ((flags & IORING_CQE_F_BUFFER) != 0) {
        const unsigned id = flags >> IORING_CQE_BUFFER_SHIFT;

        sock->heard = true;
        if (!sock->look_listed) {
            ring_look_list(ring, sock);
        }
        if (res > 0 && !sock->closing) {
            ring->base.events->received(ring->base.context, sock, ring_buffer(ring, id),
                                        (size_t)res);
        }
        ring_recycle(ring, id);
    }
    if ((flags & IORING_CQE_F_MORE) == 0) {
        sock->recv_armed = false;
        sock->ops_in_flight--;
        if (!sock->closing) {
            ring_recv_ended(ring, sock, res);
        }
    } else if (!sock->recv_wanted) {
        /* The kernel doesn't find a receive that it has put off for others' sake: try again. */
        ring_cancel_recv(ring, sock);
    }
}

static void
ring_on_send(struct ring *ring, struct loop_sock *sock, int res)
{
    sock->send_busy = false;
    sock->ops_in_flight--;
    ring->base.events->sent(ring->base.context, sock, res > 0 ? (size_t)res : 0,
                            res < 0 ? -res : 0);
}

static void
ring_on_accept(struct ring *ring, struct ring_watch *listener, int res, unsigned flags)
{
    if ((flags & IORING_CQE_F_MORE) == 0) {
        listener->armed = false;
    }
    if (res >= 0) {
        if (listener->fd < 0) {
            close(res);
            return;
        }
        ring->base.events->accepted(ring->base.context, listener->tag, res);
    } else if (res == -EMFILE || res == -ENFILE || res == -ENOMEM || res == -ENOBUFS) {
        if (listener->fd >= 0 && !listener->armed) {
            ring->base.events->accept_failed(ring->base.context, listener->tag, -res);
        }
        return;
    }
    if (!listener->armed && listener->fd >= 0) {
        ring_arm_accept(ring, listener);
    }
}

static void
ring_on_completion(struct ring *ring, uint64_t data, int res, unsigned flags)
{
    void *place = (void *)(uintptr_t)(data & ~(uint64_t)RING_KIND_MASK);
    struct loop_sock *sock = place;

    switch ((enum ring_kind)(data & RING_KIND_MASK)) {
    case RING_RECV:
        ring_on_recv(ring, sock, res, flags);
        break;
    case RING_SEND:
        ring_on_send(ring, sock, res);
        break;
    case RING_CANCEL:
        sock->cancelling = false;
        sock->ops_in_flight--;
        break;
    case RING_ACCEPT:
        ring_on_accept(ring, place, res, flags);
        return;
    case RING_POLL:
        if ((flags & IORING_CQE_F_MORE) == 0) {
            ring_arm_poll(ring, place);
        }
        ring->base.events->readable(ring->base.context, ((struct ring_watch *)place)->tag);
        return;
    case RING_IGNORED:
    case RING_KIND_MASK:
    default:
        return;
    }
    if (sock->closing && sock->ops_in_flight == 0) {
        ring_list_closing(ring, sock);
    }
}

static void
ring_show_recycled(struct ring *ring)
{
    if (ring->recycled > 0) {
        io_uring_buf_ring_advance(ring->buffers, (int)ring->recycled);
        ring->recycled = 0;
    }
    while (ring->starved != NULL) {
        struct loop_sock *sock = ring->starved;

        ring->starved = sock->next;
        sock->listed = false;
        if (sock->recv_wanted) {
            ring_arm_recv(ring, sock);
        }
    }
}

static fl_status
ring_enter(struct ring *ring, int timeout_ms)
{
    int result;

    if (timeout_ms == 0) {
        result = io_uring_submit_and_get_events(&ring->uring);
    } else {
        struct __kernel_timespec time = {.tv_sec = timeout_ms / 1000,
                                         .tv_nsec = (long long)(timeout_ms % 1000) * 1000000};
        struct io_uring_cqe *cqe;

        result = io_uring_submit_and_wait_timeout(&ring->uring, &cqe, 1, &time, NULL);
    }
    if (result < 0 && result != -ETIME && result != -EINTR && result != -EAGAIN &&
        result != -EBUSY) {
        errno = -result;
        return FL_FAIL_ERRNO(FL_IO, "io_uring_enter");
    }
    return FL_OK;
}

static fl_status
ring_wait(struct loop *base, int timeout_ms)
{
    struct ring *ring = ring_of(base);
    const int until_look_ms =
        ring->look != NULL && timeout_ms > RING_LOOK_MS ? RING_LOOK_MS : timeout_ms;
    const fl_status status = ring_enter(ring, ring->closing != NULL ? 0 : until_look_ms);
    struct io_uring_cqe *cqe;
    unsigned head;
    unsigned seen = 0;

    if (status != FL_OK) {
        return status;
    }
    /* Completions that come while these are handled wait for the next turn. */
    const unsigned ready = io_uring_cq_ready(&ring->uring);

    io_uring_for_each_cqe(&ring->uring, head, cqe)
    {
        if (seen == ready) {
            break;
        }
        seen++;
        ring_on_completion(ring, cqe->user_data, cqe->res, cqe->flags);
    }
    io_uring_cq_advance(&ring->uring, seen);
    ring_show_recycled(ring);
    ring_look(ring);
    ring_release(ring);
    return FL_OK;
}

static void
ring_destroy(struct loop *base)
{
    struct ring *ring = ring_of(base);

    ring_release(ring);
    ring_teardown(ring);
    free(ring);
}

static const struct loop_ops ring_ops = {
    .name = "io_uring",
    .destroy = ring_destroy,
    .listen = ring_listen,
    .listen_resume = ring_listen_resume,
    .listen_stop = ring_listen_stop,
    .watch = ring_watch_fd,
    .add = ring_add,
    .recv_pause = ring_recv_pause,
    .recv_resume = ring_recv_resume,
    .send = ring_send,
    .close = ring_close,
    .wait = ring_wait,
};

fl_status
ring_create(unsigned sockets_max, struct loop **out)
{
    struct ring *ring = calloc(1, sizeof(*ring));

    (void)sockets_max;
    if (ring == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "event loop");
    }
    ring->base.ops = &ring_ops;

    const fl_status status = ring_setup(ring);

    if (status != FL_OK) {
        free(ring);
        return status;
    }
    *out = &ring->base;
    return FL_OK;
}
