#include "tests/integration/cli/server.h"

#include "tests/lib/die.h"
#include "tests/lib/net.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    READY_MS = 10000,
    GONE_MS = 10000,
    STARTS_MAX = 3,
    SPLIT_PAUSE_MS = 3,
    PASSWORD_BYTES = 64,
    SAID_BYTES = 4096
};

static void
launch(struct server *server, char *path, const char *password)
{
    char store[TMPDIR_PATH_BYTES];
    char password_copy[PASSWORD_BYTES];
    char *argv[24] = {path,        "--port",       server->port_text, "--bind",
                      "127.0.0.1", "--unixsocket", server->socket};
    size_t argc = 7;

    if (server->is_redis) {
        char *const more[] = {"--save",         "",           "--appendonly", "no", "--dir",
                              server->dir.path, "--loglevel", "warning"};

        memcpy(argv + argc, more, sizeof(more));
        argc += sizeof(more) / sizeof(more[0]);
    } else {
        /* A sanitizer leaves too little of the address space for the default size. */
        char *const more[] = {"--store",          tmpdir_join(&server->dir, "store", store),
                              "--durability-min", "process",
                              "--size-max",       "16gb"};

        memcpy(argv + argc, more, sizeof(more));
        argc += sizeof(more) / sizeof(more[0]);
    }
    if (password != NULL) {
        snprintf(password_copy, sizeof(password_copy), "%s", password);
        argv[argc++] = "--requirepass";
        argv[argc++] = password_copy;
    }
    child_start(&server->child, argv);
}

static bool
serves(struct server *server)
{
    const int fd = net_connect(server->port, READY_MS);
    char said[SAID_BYTES];

    if (fd >= 0) {
        close(fd);
        return true;
    }
    (void)child_expect(&server->child, "\n\n", 0, said, sizeof(said));
    fprintf(stderr, "nobody serves port %u; the server said: %s\n", server->port, said);
    return false;
}

void
server_start(struct server *server, char *path, const char *password)
{
    const char *name = strrchr(path, '/');

    *server = (struct server){0};
    server->is_redis = strstr(name != NULL ? name : path, "redis") != NULL;
    tmpdir_create(&server->dir);
    tmpdir_join(&server->dir, "socket", server->socket);
    for (int i = 0; i < STARTS_MAX; i++) {
        server->port = net_port_free();
        snprintf(server->port_text, sizeof(server->port_text), "%u", server->port);
        launch(server, path, password);
        if (serves(server)) {
            return;
        }
        child_kill(&server->child); /* somebody else took the port, perhaps */
    }
    die("%s doesn't serve", path);
}

void
server_stop(struct server *server)
{
    child_kill(&server->child);
    if (!net_wait_gone(server->port, GONE_MS) || !net_wait_gone_unix(server->socket, GONE_MS)) {
        die("port %u or %s still answers behind SIGKILL", server->port, server->socket);
    }
}

void
server_restart(struct server *server, char *path)
{
    unlink(server->socket);
    launch(server, path, NULL);
    if (!serves(server)) {
        die("%s doesn't serve again", path);
    }
}

void
server_destroy(struct server *server)
{
    child_kill(&server->child);
    tmpdir_destroy(&server->dir);
}

/* ---- the fake ---- */

static void
send_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        const ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

        if (n <= 0) {
            return; /* the client has had enough */
        }
        data += n;
        len -= (size_t)n;
    }
}

static void
serve_one(const struct fake_answer *answer, int fd)
{
    const int on = 1;
    char buf[4096];

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (recv(fd, buf, sizeof(buf), 0) > 0) {
        send_all(fd, answer->reply, answer->split);
        if (answer->split > 0) {
            poll(NULL, 0, SPLIT_PAUSE_MS);
        }
        send_all(fd, answer->reply + answer->split, answer->reply_len - answer->split);
        if (answer->closes) {
            shutdown(fd, SHUT_WR);
        }
        while (recv(fd, buf, sizeof(buf), 0) > 0) {
        }
    }
    close(fd);
}

static void *
serve(void *arg)
{
    struct fake *fake = arg;
    int fd;

    while ((fd = accept(fake->fd, NULL, NULL)) >= 0) {
        pthread_mutex_lock(&fake->lock);
        serve_one(&fake->answer, fd);
        pthread_mutex_unlock(&fake->lock);
    }
    return NULL;
}

void
fake_start(struct fake *fake)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof(address);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    *fake = (struct fake){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (fake->fd < 0 || bind(fake->fd, (struct sockaddr *)&address, len) != 0 ||
        listen(fake->fd, 8) != 0 || getsockname(fake->fd, (struct sockaddr *)&address, &len) != 0) {
        die_errno("a listening socket");
    }
    fake->port = ntohs(address.sin_port);
    snprintf(fake->port_text, sizeof(fake->port_text), "%u", fake->port);
    pthread_mutex_init(&fake->lock, NULL);
    if (pthread_create(&fake->thread, NULL, serve, fake) != 0) {
        die("no thread");
    }
}

void
fake_set(struct fake *fake, struct fake_answer answer)
{
    pthread_mutex_lock(&fake->lock);
    fake->answer = answer;
    pthread_mutex_unlock(&fake->lock);
}

void
fake_destroy(struct fake *fake)
{
    shutdown(fake->fd, SHUT_RDWR); /* accept() fails */
    pthread_join(fake->thread, NULL);
    pthread_mutex_destroy(&fake->lock);
    close(fake->fd);
}
