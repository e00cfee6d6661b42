#include "server/loop.h"

#include "base/fail.h"

fl_status
loop_create(enum loop_kind kind, unsigned sockets_max, const struct loop_events *events,
            void *context, struct loop **out)
{
    struct loop *loop = NULL;
    fl_status status = FL_NOT_SUPPORTED;

    if (kind != LOOP_EPOLL) {
        status = ring_create(sockets_max, &loop);
        if (status != FL_OK && (kind == LOOP_URING || status != FL_NOT_SUPPORTED)) {
            return status;
        }
    }
    if (status != FL_OK) {
        status = epoll_loop_create(sockets_max, &loop);
        if (status != FL_OK) {
            return status;
        }
    }
    loop->events = events;
    loop->context = context;
    *out = loop;
    return FL_OK;
}

void
loop_destroy(struct loop *loop)
{
    if (loop != NULL) {
        loop->ops->destroy(loop);
    }
}

const char *
loop_name(const struct loop *loop)
{
    return loop->ops->name;
}

fl_status
loop_listen(struct loop *loop, int fd, void *tag)
{
    return loop->ops->listen(loop, fd, tag);
}

void
loop_listen_resume(struct loop *loop)
{
    loop->ops->listen_resume(loop);
}

void
loop_listen_stop(struct loop *loop)
{
    loop->ops->listen_stop(loop);
}

fl_status
loop_watch(struct loop *loop, int fd, void *tag)
{
    return loop->ops->watch(loop, fd, tag);
}

fl_status
loop_add(struct loop *loop, struct loop_sock *sock, int fd)
{
    return loop->ops->add(loop, sock, fd);
}

void
loop_recv_pause(struct loop *loop, struct loop_sock *sock)
{
    if (sock->recv_wanted) {
        sock->recv_wanted = false;
        loop->ops->recv_pause(loop, sock);
    }
}

void
loop_recv_resume(struct loop *loop, struct loop_sock *sock)
{
    if (!sock->recv_wanted && !sock->closing && !sock->ended) {
        sock->recv_wanted = true;
        loop->ops->recv_resume(loop, sock);
    }
}

ssize_t
loop_send(struct loop *loop, struct loop_sock *sock, const struct iovec *iov, unsigned count,
          bool more)
{
    FL_ASSERT(!sock->send_busy && !sock->closing && count > 0 && count <= LOOP_IOV_MAX);
    return loop->ops->send(loop, sock, iov, count, more);
}

void
loop_close(struct loop *loop, struct loop_sock *sock)
{
    if (!sock->closing) {
        sock->closing = true;
        sock->recv_wanted = false;
        loop->ops->close(loop, sock);
    }
}

fl_status
loop_wait(struct loop *loop, int timeout_ms)
{
    return loop->ops->wait(loop, timeout_ms);
}
