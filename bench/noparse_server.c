/* noparse_server: what the kernel's TCP path alone costs a server. An epoll loop that understands nothing: it
 * counts the '*' bytes that come in, of which redis-benchmark's requests have one each, and answers each with
 * the same reply.
 *
 *   noparse_server [--port N] [--bulk BYTES]
 *
 * The reply is +OK, or a bulk string of BYTES (what a GET would get). Listens on 127.0.0.1 only, prints
 * "port N", and runs until it is killed. Not a server for anything else: it trusts its clients to read. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { INPUT_BYTES = 64 * 1024, REPLIES = 512, EVENTS = 256, BULK_BYTES_MAX = 4096 };

struct server {
    int listen_fd;
    int epoll_fd;
    char *replies; /* REPLIES of them, one behind the other */
    size_t reply_bytes;
    char input[INPUT_BYTES];
};

static _Noreturn void
fail(const char *what)
{
    fprintf(stderr, "noparse_server: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void
make_replies(struct server *server, size_t bulk_bytes)
{
    char reply[BULK_BYTES_MAX + 32] = "+OK\r\n";

    server->reply_bytes = strlen(reply);
    if (bulk_bytes > 0) {
        const size_t head = (size_t)snprintf(reply, sizeof(reply), "$%zu\r\n", bulk_bytes);

        memset(reply + head, 'x', bulk_bytes);
        reply[head + bulk_bytes] = '\r';
        reply[head + bulk_bytes + 1] = '\n';
        server->reply_bytes = head + bulk_bytes + 2;
    }
    server->replies = malloc(REPLIES * server->reply_bytes);
    if (server->replies == NULL) {
        fail("replies");
    }
    for (size_t i = 0; i < REPLIES; i++) {
        memcpy(server->replies + i * server->reply_bytes, reply, server->reply_bytes);
    }
}

static void
watch(const struct server *server, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

    if (epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        fail("epoll_ctl");
    }
}

static void
open_listener(struct server *server, uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    socklen_t len = sizeof(address);
    const int on = 1;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    server->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (server->epoll_fd < 0 || server->listen_fd < 0 ||
        setsockopt(server->listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        bind(server->listen_fd, (struct sockaddr *)&address, len) != 0 ||
        listen(server->listen_fd, 511) != 0 ||
        getsockname(server->listen_fd, (struct sockaddr *)&address, &len) != 0) {
        fail("listen");
    }
    watch(server, server->listen_fd);
    printf("port %u\n", ntohs(address.sin_port));
    fflush(stdout);
}

static void
accept_one(const struct server *server)
{
    const int on = 1;
    const int fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC);

    if (fd >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        watch(server, fd);
    }
}

/* False: the connection is over. */
static int
answer(const struct server *server, int fd, size_t count)
{
    while (count > 0) {
        const size_t turn = count < REPLIES ? count : REPLIES;
        const char *data = server->replies;
        size_t left = turn * server->reply_bytes;

        while (left > 0) {
            const ssize_t n = send(fd, data, left, MSG_NOSIGNAL);

            if (n <= 0) {
                return 0;
            }
            data += n;
            left -= (size_t)n;
        }
        count -= turn;
    }
    return 1;
}

static void
serve_one(struct server *server, int fd)
{
    const ssize_t n = recv(fd, server->input, sizeof(server->input), MSG_DONTWAIT);
    size_t count = 0;

    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    for (ssize_t i = 0; i < n; i++) { /* the compiler makes vectors of it */
        count += server->input[i] == '*';
    }
    if (n <= 0 || !answer(server, fd, count)) {
        close(fd);
    }
}

int
main(int argc, char **argv)
{
    static const struct option options[] = {
        {"port", required_argument, NULL, 'p'}, {"bulk", required_argument, NULL, 'b'}, {0}};
    static struct server server;
    unsigned long port = 0;
    unsigned long bulk_bytes = 0;
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'p') {
            port = strtoul(optarg, NULL, 10);
        } else if (option == 'b') {
            bulk_bytes = strtoul(optarg, NULL, 10);
        } else {
            return 2;
        }
    }
    if (port > UINT16_MAX || bulk_bytes > BULK_BYTES_MAX) {
        fputs("noparse_server: a number is out of range\n", stderr);
        return 2;
    }
    make_replies(&server, bulk_bytes);
    open_listener(&server, (uint16_t)port);
    for (;;) {
        struct epoll_event events[EVENTS];
        const int count = epoll_wait(server.epoll_fd, events, EVENTS, -1);

        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == server.listen_fd) {
                accept_one(&server);
            } else {
                serve_one(&server, events[i].data.fd);
            }
        }
    }
}
