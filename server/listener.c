#include "server/listener.h"

#include "base/fail.h"
#include "server/conn.h"
#include "server/server.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { BIND_RETRY_MS = 20, BIND_RETRIES_MS = 1000 };

static void
set_int(int fd, int level, int name, int value)
{
    /* Without it the server works, only not as well: a kernel that refuses is not a reason to
     * stop. */
    (void)setsockopt(fd, level, name, &value, sizeof(value));
}

/* Connections inherit these, which saves setting them on each. */
static void
set_tcp_options(int fd, const struct options *options)
{
    const int keepalive_s = (int)options->tcp_keepalive_s;

    set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_int(fd, SOL_SOCKET, SO_KEEPALIVE, keepalive_s > 0);
    if (keepalive_s > 0) {
        set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, keepalive_s);
        set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, keepalive_s > 3 ? keepalive_s / 3 : 1);
        set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
    }
}

static fl_status
add(struct server *server, int fd)
{
    if (server->listeners_count == SERVER_LISTENERS_MAX) {
        close(fd);
        return FL_FAIL(FL_INVALID, "more than %d addresses to listen on", SERVER_LISTENERS_MAX);
    }
    server->listeners[server->listeners_count++] = fd;
    return FL_OK;
}

static unsigned
bound_port(int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } address = {.in6 = {0}};
    socklen_t len = sizeof(address);

    if (getsockname(fd, &address.any, &len) != 0) {
        return 0;
    }
    return ntohs(address.any.sa_family == AF_INET6 ? address.in6.sin6_port : address.in.sin_port);
}

/* The kernel lets go of the sockets of a server that ran on io_uring and was killed a moment after the process is gone:
 * whoever starts it again at once would meet its address in use. True: try again. */
static bool
wait_for_the_dead(int *waited_ms)
{
    const struct timespec pause = {.tv_nsec = BIND_RETRY_MS * 1000000L};

    if (*waited_ms >= BIND_RETRIES_MS) {
        return false;
    }
    nanosleep(&pause, NULL);
    *waited_ms += BIND_RETRY_MS;
    return true;
}

static int
bind_patiently(int fd, const struct sockaddr *address, socklen_t len)
{
    int waited_ms = 0;
    int result;

    do {
        result = bind(fd, address, len);
    } while (result != 0 && errno == EADDRINUSE && wait_for_the_dead(&waited_ms));
    return result;
}

static fl_status
open_address(struct server *server, const char *host, const struct addrinfo *info)
{
    const int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        return FL_FAIL_ERRNO(FL_IO, "socket for %s", host);
    }
    set_tcp_options(fd, &server->options);
    if (info->ai_family == AF_INET6) {
        set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    }
    if (bind_patiently(fd, info->ai_addr, info->ai_addrlen) != 0) {
        const fl_status status = FL_FAIL_ERRNO(FL_IO, "listening on %s port %llu", host,
                                               (unsigned long long)server->options.port);

        close(fd);
        return status;
    }
    if (server->port_bound == 0) {
        server->port_bound = bound_port(fd);
    }
    return add(server, fd);
}

static fl_status
open_host(struct server *server, const char *host)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC,
                                   .ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *info = NULL;
    char port[16];

    /* The second address of an ephemeral port takes the first one's. */
    snprintf(port, sizeof(port), "%u",
             server->port_bound != 0 ? server->port_bound : (unsigned)server->options.port);
    const int error = getaddrinfo(strcmp(host, "*") == 0 ? "0.0.0.0" : host, port, &hints, &info);

    if (error != 0) {
        return FL_FAIL(FL_INVALID, "bind address %s: %s", host, gai_strerror(error));
    }
    const fl_status status = open_address(server, host, info);

    freeaddrinfo(info);
    return status;
}

/* A socket that a server left behind, killed, is in the way; one that answers belongs to
 * another. */
static fl_status
remove_stale(const struct sockaddr_un *address)
{
    struct stat stat;

    if (lstat(address->sun_path, &stat) != 0 || !S_ISSOCK(stat.st_mode)) {
        return FL_OK; /* bind() says what is wrong. */
    }
    int waited_ms = 0;
    int error = 0;

    do {
        const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd < 0) {
            return FL_FAIL_ERRNO(FL_IO, "socket");
        }
        error = connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 ? 0 : errno;
        close(fd);
    } while (error == 0 && wait_for_the_dead(&waited_ms));
    if (error == 0) {
        return FL_FAIL(FL_BUSY, "%s: another server listens there", address->sun_path);
    }
    if (error == ECONNREFUSED && unlink(address->sun_path) != 0) {
        return FL_FAIL_ERRNO(FL_IO, "removing the stale socket %s", address->sun_path);
    }
    return FL_OK;
}

static fl_status
open_unix(struct server *server)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const struct options *options = &server->options;

    memcpy(address.sun_path, options->unixsocket, sizeof(options->unixsocket));
    fl_status status = remove_stale(&address);

    if (status != FL_OK) {
        return status;
    }
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        return FL_FAIL_ERRNO(FL_IO, "socket");
    }
    if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
        status = FL_FAIL_ERRNO(FL_IO, "listening on %s", options->unixsocket);
        close(fd);
        return status;
    }
    if (options->unixsocketperm != 0 &&
        chmod(options->unixsocket, (mode_t)options->unixsocketperm) != 0) {
        status = FL_FAIL_ERRNO(FL_IO, "listening on %s", options->unixsocket);
        close(fd);
        (void)unlink(options->unixsocket);
        return status;
    }
    server->unix_fd = fd;
    return add(server, fd);
}

void
listener_options_changed(struct server *server)
{
    for (unsigned i = 0; i < server->listeners_count; i++) {
        if (server->listeners[i] != server->unix_fd) {
            set_tcp_options(server->listeners[i], &server->options);
        }
    }
}

fl_status
listener_open_all(struct server *server)
{
    char hosts[OPTIONS_BIND_BYTES];
    char *rest = NULL;
    fl_status status = FL_OK;

    server->unix_fd = -1;
    snprintf(hosts, sizeof(hosts), "%s", server->options.bind);
    if (server->options.port != 0 || server->options.unixsocket[0] == '\0') {
        for (char *host = strtok_r(hosts, " \t", &rest); host != NULL && status == FL_OK;
             host = strtok_r(NULL, " \t", &rest)) {
            /* "-::1": as in Redis, an address that the machine may lack. */
            status = open_host(server, host[0] == '-' ? host + 1 : host);
            if (status != FL_OK && host[0] == '-') {
                logger_write(&server->logger, LOGGER_INFO, "left out: %s", fl_last_error());
                status = FL_OK;
            }
        }
    }
    if (status == FL_OK && server->options.unixsocket[0] != '\0') {
        status = open_unix(server);
    }
    if (status != FL_OK) {
        listener_close_all(server);
    }
    return status;
}

fl_status
listener_start(struct server *server)
{
    for (unsigned i = 0; i < server->listeners_count; i++) {
        const int fd = server->listeners[i];

        if (listen(fd, (int)server->options.tcp_backlog) != 0) {
            return FL_FAIL_ERRNO(FL_IO, "listening on port %u", server->port_bound);
        }
        const fl_status status = loop_listen(server->loop, fd, &server->listeners[i]);

        if (status != FL_OK) {
            return status;
        }
    }
    return FL_OK;
}

void
listener_close_all(struct server *server)
{
    for (unsigned i = 0; i < server->listeners_count; i++) {
        /* A ring may hold the socket for a moment longer: nobody is to connect to that. */
        (void)shutdown(server->listeners[i], SHUT_RDWR);
        close(server->listeners[i]);
    }
    if (server->listeners_count > 0 && server->unix_fd >= 0) {
        (void)unlink(server->options.unixsocket);
    }
    server->listeners_count = 0;
    server->unix_fd = -1;
}

/* Redis's words; the socket is new, so that they fit into its buffer. */
static void
refuse(struct server *server, int fd)
{
    static const char text[] = "-ERR max number of clients reached\r\n";

    (void)!send(fd, text, sizeof(text) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    close(fd);
    server->metrics.connections_rejected++;
}

void
listener_accepted(struct server *server, const int *listener, int fd)
{
    struct conn *conn;

    server->metrics.connections_total++;
    if (server->conns_count >= server->options.maxclients) {
        refuse(server, fd);
        return;
    }
    server_tick_begin(server);
    if (conn_create(server, fd, *listener == server->unix_fd, &conn) != FL_OK) {
        logger_write(&server->logger, LOGGER_WARNING, "a connection was refused: %s",
                     fl_last_error());
        close(fd);
    }
}
