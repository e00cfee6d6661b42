#include "client/socket.h"

#include "base/fail.h"
#include "client/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct socket_transport {
    int fd;
};

/* Poll once for `events` until the deadline, over signals too. */
static fl_status
socket_poll(int fd, short events, int64_t deadline_ms)
{
    for (;;) {
        struct pollfd pfd = {.fd = fd, .events = events};
        const int64_t left_ms = client_deadline_left_ms(deadline_ms);
        const int ready = poll(&pfd, 1, left_ms > INT_MAX ? INT_MAX : (int)left_ms);

        if (ready > 0) {
            return FL_OK;
        }
        if (ready < 0 && errno != EINTR) {
            return FL_FAIL_ERRNO(FL_IO, "waiting for the socket");
        }
        if (client_deadline_left_ms(deadline_ms) == 0) {
            return FL_FAIL(FL_AGAIN, "the time is over");
        }
    }
}

static fl_status
socket_read(void *self, void *buf, size_t cap, size_t *len)
{
    const struct socket_transport *transport = self;
    ssize_t n;

    do {
        n = recv(transport->fd, buf, cap, 0);
    } while (n < 0 && errno == EINTR);
    if (n > 0) {
        *len = (size_t)n;
        return FL_OK;
    }
    if (n == 0) {
        return FL_FAIL(FL_CLOSED, "the server closed the connection");
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
        return FL_AGAIN;
    }
    return FL_FAIL_ERRNO(errno == ECONNRESET ? FL_CLOSED : FL_IO, "reading from the server");
}

static fl_status
socket_write(void *self, const void *data, size_t len, size_t *done)
{
    const struct socket_transport *transport = self;
    ssize_t n;

    do {
        n = send(transport->fd, data, len, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n > 0) {
        *done = (size_t)n;
        return FL_OK;
    }
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        return FL_AGAIN;
    }
    if (errno == EPIPE || errno == ECONNRESET) {
        return FL_FAIL_ERRNO(FL_CLOSED, "writing to the server");
    }
    return FL_FAIL_ERRNO(FL_IO, "writing to the server");
}

static fl_status
socket_wait(void *self, unsigned events, int64_t timeout_ms)
{
    const struct socket_transport *transport = self;
    const int wanted = ((events & FL_CLIENT_READABLE) != 0 ? POLLIN : 0) |
                       ((events & FL_CLIENT_WRITABLE) != 0 ? POLLOUT : 0);

    return socket_poll(transport->fd, (short)wanted, client_deadline_ms(timeout_ms));
}

static void
socket_close(void *self)
{
    struct socket_transport *transport = self;

    close(transport->fd);
    free(transport);
}

static fl_status
socket_wrap(int fd, struct fl_client_transport *out)
{
    struct socket_transport *transport = malloc(sizeof(*transport));

    if (transport == NULL) {
        close(fd);
        return FL_FAIL(FL_NO_MEMORY, "no memory for a connection");
    }
    transport->fd = fd;
    *out = (struct fl_client_transport){
        .self = transport,
        .read = socket_read,
        .write = socket_write,
        .wait = socket_wait,
        .close = socket_close,
    };
    return FL_OK;
}

/* Connect one socket to one address, and take it over into *out. `what` names the address. */
static fl_status
socket_connect(const struct sockaddr *address, socklen_t address_bytes, const char *what,
               int64_t deadline_ms, struct fl_client_transport *out)
{
    const int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    fl_status status;
    int cause = 0;
    socklen_t cause_bytes = sizeof(cause);

    if (fd < 0) {
        return FL_FAIL_ERRNO(FL_IO, "a socket for %s", what);
    }
    if (connect(fd, address, address_bytes) != 0) {
        /* A unix socket whose backlog is full says EAGAIN, and there is nothing to wait for. */
        if (errno != EINPROGRESS) {
            status = FL_FAIL_ERRNO(FL_IO, "could not connect to %s", what);
            goto fail;
        }
        status = socket_poll(fd, POLLOUT, deadline_ms);
        if (status == FL_AGAIN) {
            status = FL_FAIL(FL_AGAIN, "could not connect to %s: no answer in time", what);
        }
        if (status != FL_OK) {
            goto fail;
        }
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &cause, &cause_bytes) != 0) {
            cause = errno;
        }
        if (cause != 0) {
            errno = cause;
            status = FL_FAIL_ERRNO(FL_IO, "could not connect to %s", what);
            goto fail;
        }
    }
    return socket_wrap(fd, out);
fail:
    close(fd);
    return status;
}

/* Requests are written whole, so waiting for more bytes to fill a segment only costs time; a peer
 * that vanished is noticed at last by keepalive. Neither is worth failing for. */
static void
socket_tune_tcp(const struct fl_client_transport *connected)
{
    const struct socket_transport *transport = connected->self;
    const int on = 1;

    (void)setsockopt(transport->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)setsockopt(transport->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
}

fl_status
socket_connect_tcp(const char *host, uint16_t port, int64_t deadline_ms,
                   struct fl_client_transport *out)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *addresses = NULL;
    char service[8];
    char what[NI_MAXHOST + 8];
    char numeric[INET6_ADDRSTRLEN + 32];

    snprintf(service, sizeof(service), "%" PRIu16, port);
    const int failed = getaddrinfo(host, service, &hints, &addresses);

    if (failed == EAI_SYSTEM) {
        return FL_FAIL_ERRNO(FL_IO, "could not look up \"%s\"", host);
    }
    if (failed != 0) {
        return FL_FAIL(FL_IO, "could not look up \"%s\": %s", host, gai_strerror(failed));
    }
    fl_status status = FL_FAIL(FL_IO, "\"%s\" has no address", host);

    for (const struct addrinfo *a = addresses; a != NULL && status != FL_OK; a = a->ai_next) {
        if (getnameinfo(a->ai_addr, a->ai_addrlen, numeric, sizeof(numeric), NULL, 0,
                        NI_NUMERICHOST) != 0) {
            snprintf(numeric, sizeof(numeric), "%s", "?");
        }
        snprintf(what, sizeof(what), strchr(numeric, ':') != NULL ? "[%s]:%" PRIu16 : "%s:%" PRIu16,
                 numeric, port);
        status = socket_connect(a->ai_addr, a->ai_addrlen, what, deadline_ms, out);
        if (status != FL_IO) {
            break; /* A good one, or no time or memory left for another. */
        }
    }
    freeaddrinfo(addresses);
    if (status == FL_OK) {
        socket_tune_tcp(out);
    }
    return status;
}

fl_status
socket_connect_unix(const char *path, int64_t deadline_ms, struct fl_client_transport *out)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const size_t len = strlen(path);

    if (len == 0 || len >= sizeof(address.sun_path)) {
        return FL_FAIL(FL_INVALID, "a unix socket's path has 1 to %zu bytes, not %zu",
                       sizeof(address.sun_path) - 1, len);
    }
    memcpy(address.sun_path, path, len);
    return socket_connect((const struct sockaddr *)&address, sizeof(address), path, deadline_ms,
                          out);
}
