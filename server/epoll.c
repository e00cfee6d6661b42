/* The loop over epoll: for kernels and containers without io_uring. */
#include "server/loop.h"

#include "base/fail.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { EPOLL_EVENTS = 512, EPOLL_WATCHES_MAX = 16, EPOLL_ACCEPTS_MAX = 64 };

/* What epoll_event.data.ptr points to, told apart by its low bits. */
enum epoll_kind { EPOLL_SOCK = 0, EPOLL_LISTENER = 1, EPOLL_WATCH = 2, EPOLL_KIND_MASK = 3 };

struct epoll_watch {
    int fd;
    bool failed;
    void *tag;
};

struct epoll_loop {
    struct loop base;
    int fd;
    unsigned listeners_count;
    unsigned watches_count;
    struct epoll_watch listeners[EPOLL_WATCHES_MAX];
    struct epoll_watch watches[EPOLL_WATCHES_MAX];
    struct loop_sock *closing;
    struct epoll_event events[EPOLL_EVENTS];
    char buf[LOOP_RECV_BYTES_MAX];
};

static inline struct epoll_loop *
epoll_of(struct loop *loop)
{
    return (struct epoll_loop *)loop;
}

static void
epoll_release(struct epoll_loop *loop)
{
    while (loop->closing != NULL) {
        struct loop_sock *sock = loop->closing;

        loop->closing = sock->next;
        close(sock->fd);
        sock->fd = -1;
        loop->base.events->released(loop->base.context, sock);
    }
}

static void
epoll_destroy(struct loop *base)
{
    struct epoll_loop *loop = epoll_of(base);

    epoll_release(loop);
    close(loop->fd);
    free(loop);
}

static fl_status
epoll_control(struct epoll_loop *loop, int op, int fd, uint32_t events, uintptr_t data)
{
    struct epoll_event event = {.events = events, .data = {.u64 = data}};

    if (epoll_ctl(loop->fd, op, fd, &event) != 0) {
        return FL_FAIL_ERRNO(FL_IO, "epoll_ctl");
    }
    return FL_OK;
}

static fl_status
epoll_set_nonblocking(int fd)
{
    const int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) {
        return FL_FAIL_ERRNO(FL_IO, "fcntl O_NONBLOCK");
    }
    return FL_OK;
}

static fl_status
epoll_put(struct epoll_loop *loop, struct epoll_watch *list, unsigned *count, int fd, void *tag,
          enum epoll_kind kind)
{
    if (*count == EPOLL_WATCHES_MAX) {
        return FL_FAIL(FL_INVALID, "more than %d descriptors of one kind", EPOLL_WATCHES_MAX);
    }
    struct epoll_watch *watch = &list[*count];
    fl_status status = epoll_set_nonblocking(fd);

    if (status == FL_OK) {
        status = epoll_control(loop, EPOLL_CTL_ADD, fd, EPOLLIN, (uintptr_t)watch | kind);
    }
    if (status == FL_OK) {
        *watch = (struct epoll_watch){.fd = fd, .tag = tag};
        *count += 1;
    }
    return status;
}

static fl_status
epoll_listen(struct loop *base, int fd, void *tag)
{
    struct epoll_loop *loop = epoll_of(base);

    return epoll_put(loop, loop->listeners, &loop->listeners_count, fd, tag, EPOLL_LISTENER);
}

static fl_status
epoll_watch_fd(struct loop *base, int fd, void *tag)
{
    struct epoll_loop *loop = epoll_of(base);

    return epoll_put(loop, loop->watches, &loop->watches_count, fd, tag, EPOLL_WATCH);
}

static void
epoll_listen_resume(struct loop *base)
{
    struct epoll_loop *loop = epoll_of(base);

    for (unsigned i = 0; i < loop->listeners_count; i++) {
        struct epoll_watch *listener = &loop->listeners[i];

        if (listener->failed) {
            listener->failed = epoll_control(loop, EPOLL_CTL_MOD, listener->fd, EPOLLIN,
                                             (uintptr_t)listener | EPOLL_LISTENER) != FL_OK;
        }
    }
}

static void
epoll_listen_stop(struct loop *base)
{
    struct epoll_loop *loop = epoll_of(base);

    for (unsigned i = 0; i < loop->listeners_count; i++) {
        (void)epoll_ctl(loop->fd, EPOLL_CTL_DEL, loop->listeners[i].fd, NULL);
        loop->listeners[i].fd = -1;
    }
    loop->listeners_count = 0;
}

/* One descriptor's interests after a change. A failure shows itself as an end of the connection. */
static void
epoll_update(struct epoll_loop *loop, struct loop_sock *sock)
{
    const uint32_t in = sock->recv_wanted ? EPOLLIN | EPOLLRDHUP : 0;
    const uint32_t out = sock->out_armed ? EPOLLOUT : 0;
    /* A hang-up is reported whether wanted or not: without edges it would be reported for ever. */
    const uint32_t edge = sock->ended ? EPOLLET : 0;

    if (epoll_control(loop, EPOLL_CTL_MOD, sock->fd, in | out | edge, (uintptr_t)sock) != FL_OK) {
        (void)shutdown(sock->fd, SHUT_RDWR);
    }
}

static fl_status
epoll_add(struct loop *base, struct loop_sock *sock, int fd)
{
    struct epoll_loop *loop = epoll_of(base);
    fl_status status = epoll_set_nonblocking(fd);

    if (status == FL_OK) {
        status = epoll_control(loop, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLRDHUP, (uintptr_t)sock);
    }
    if (status == FL_OK) {
        *sock = (struct loop_sock){.fd = fd, .recv_wanted = true};
    }
    return status;
}

static void
epoll_recv_change(struct loop *base, struct loop_sock *sock)
{
    epoll_update(epoll_of(base), sock);
}

static ssize_t
epoll_write(struct loop_sock *sock, const struct iovec *iov, unsigned count, bool more)
{
    const int flags = MSG_NOSIGNAL | MSG_DONTWAIT | (more ? MSG_MORE : 0);
    ssize_t sent;

    do {
        if (count == 1) {
            sent = send(sock->fd, iov->iov_base, iov->iov_len, flags);
        } else {
            const struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov,
                                       .msg_iovlen = count};

            sent = sendmsg(sock->fd, &msg, flags);
        }
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : sent;
}

static ssize_t
epoll_send(struct loop *base, struct loop_sock *sock, const struct iovec *iov, unsigned count,
           bool more)
{
    const ssize_t sent = epoll_write(sock, iov, count, more);

    if (sent != -EAGAIN) {
        return sent;
    }
    for (unsigned i = 0; i < count; i++) {
        sock->iov[i] = iov[i];
    }
    sock->msg.msg_iovlen = count;
    sock->send_busy = true;
    sock->out_armed = true;
    epoll_update(epoll_of(base), sock);
    return 0;
}

static void
epoll_close(struct loop *base, struct loop_sock *sock)
{
    struct epoll_loop *loop = epoll_of(base);

    (void)epoll_ctl(loop->fd, EPOLL_CTL_DEL, sock->fd, NULL);
    (void)shutdown(sock->fd, SHUT_RDWR);
    /* The present events may still name it: it is released behind them. */
    sock->next = loop->closing;
    loop->closing = sock;
}

static void
epoll_accept(struct epoll_loop *loop, struct epoll_watch *listener)
{
    for (int i = 0; i < EPOLL_ACCEPTS_MAX && listener->fd >= 0; i++) {
        const int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            loop->base.events->accepted(loop->base.context, listener->tag, fd);
        } else if (errno == EAGAIN) {
            return;
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            const int error = errno;

            (void)epoll_control(loop, EPOLL_CTL_MOD, listener->fd, 0,
                                (uintptr_t)listener | EPOLL_LISTENER);
            listener->failed = true;
            loop->base.events->accept_failed(loop->base.context, listener->tag, error);
            return;
        }
        /* Anything else concerns a connection that is gone already. */
    }
}

static void
epoll_sock_writable(struct epoll_loop *loop, struct loop_sock *sock)
{
    const ssize_t sent = epoll_write(sock, sock->iov, (unsigned)sock->msg.msg_iovlen, false);

    if (sent == -EAGAIN) {
        return;
    }
    sock->send_busy = false;
    sock->out_armed = false;
    epoll_update(loop, sock);
    loop->base.events->sent(loop->base.context, sock, sent > 0 ? (size_t)sent : 0,
                            sent < 0 ? (int)-sent : 0);
}

static void
epoll_sock_event(struct epoll_loop *loop, struct loop_sock *sock, uint32_t events)
{
    const struct loop_events *const handler = loop->base.events;

    if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0 && sock->out_armed) {
        epoll_sock_writable(loop, sock);
    }
    if (sock->closing || sock->ended ||
        (!sock->recv_wanted && (events & (EPOLLERR | EPOLLHUP)) == 0)) {
        return;
    }
    const ssize_t got = recv(sock->fd, loop->buf, sizeof(loop->buf), MSG_DONTWAIT);

    if (got > 0) {
        handler->received(loop->base.context, sock, loop->buf, (size_t)got);
    } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
        const int error = got == 0 ? 0 : errno;

        sock->recv_wanted = false;
        sock->ended = true;
        epoll_update(loop, sock);
        handler->ended(loop->base.context, sock, error);
    }
}

static fl_status
epoll_wait_events(struct loop *base, int timeout_ms)
{
    struct epoll_loop *loop = epoll_of(base);

    if (loop->closing != NULL) {
        timeout_ms = 0;
    }
    const int count = epoll_wait(loop->fd, loop->events, EPOLL_EVENTS, timeout_ms);

    if (count < 0 && errno != EINTR) {
        return FL_FAIL_ERRNO(FL_IO, "epoll_wait");
    }
    for (int i = 0; i < count; i++) {
        const uintptr_t data = (uintptr_t)loop->events[i].data.u64;
        const uintptr_t place = data & ~(uintptr_t)EPOLL_KIND_MASK;

        if ((data & EPOLL_KIND_MASK) == EPOLL_LISTENER) {
            epoll_accept(loop, (struct epoll_watch *)place);
        } else if ((data & EPOLL_KIND_MASK) == EPOLL_WATCH) {
            base->events->readable(base->context, ((struct epoll_watch *)place)->tag);
        } else if (!((struct loop_sock *)place)->closing) {
            epoll_sock_event(loop, (struct loop_sock *)place, loop->events[i].events);
        }
    }
    epoll_release(loop);
    return FL_OK;
}

static const struct loop_ops epoll_ops = {
    .name = "epoll",
    .destroy = epoll_destroy,
    .listen = epoll_listen,
    .listen_resume = epoll_listen_resume,
    .listen_stop = epoll_listen_stop,
    .watch = epoll_watch_fd,
    .add = epoll_add,
    .recv_pause = epoll_recv_change,
    .recv_resume = epoll_recv_change,
    .send = epoll_send,
    .close = epoll_close,
    .wait = epoll_wait_events,
};

fl_status
epoll_loop_create(unsigned sockets_max, struct loop **out)
{
    struct epoll_loop *loop = calloc(1, sizeof(*loop));

    (void)sockets_max;
    if (loop == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "event loop");
    }
    loop->base.ops = &epoll_ops;
    loop->fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->fd < 0) {
        free(loop);
        return FL_FAIL_ERRNO(FL_IO, "epoll_create1");
    }
    *out = &loop->base;
    return FL_OK;
}
