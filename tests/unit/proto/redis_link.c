#include "tests/unit/proto/redis_link.h"

#include "proto/resp_write.h"
#include "tests/lib/child.h"
#include "tests/lib/die.h"
#include "tests/lib/net.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { START_MS = 10000, REPLY_MS = 10000 };

static struct child redis;
static uint16_t redis_port;

static bool
is_installed(const char *program)
{
    const char *path = getenv("PATH");

    while (path != NULL && *path != '\0') {
        const size_t len = strcspn(path, ":");
        char file[4096];

        if (snprintf(file, sizeof(file), "%.*s/%s", (int)len, path, program) < (int)sizeof(file) &&
            access(file, X_OK) == 0) {
            return true;
        }
        path += len + (path[len] == ':');
    }
    return false;
}

int
redis_start(void **state)
{
    char port[8];
    char *const argv[] = {(char[]){"redis-server"},
                          (char[]){"--port"},
                          port,
                          (char[]){"--bind"},
                          (char[]){"127.0.0.1"},
                          (char[]){"--save"},
                          (char[]){""},
                          (char[]){"--appendonly"},
                          (char[]){"no"},
                          (char[]){"--loglevel"},
                          (char[]){"warning"},
                          NULL};
    (void)state;

    redis_port = net_port_free();
    snprintf(port, sizeof(port), "%u", (unsigned)redis_port);
    child_start(&redis, argv);
    return 0;
}

int
redis_stop(void **state)
{
    (void)state;
    child_kill(&redis);
    return 0;
}

void
link_open(struct link *link)
{
    *link = (struct link){.fd = net_connect(redis_port, START_MS)};
    if (link->fd < 0) {
        die("no connection to redis-server");
    }
    resp_reader_init(&link->reader, SIZE_MAX);
}

void
link_close(struct link *link)
{
    close(link->fd);
    text_free(&link->in);
    resp_reader_deinit(&link->reader);
}

void
link_send(struct link *link, const char *data, size_t len)
{
    while (len > 0) {
        const ssize_t n = write(link->fd, data, len);

        if (n <= 0) {
            die_errno("send to redis-server");
        }
        data += n;
        len -= (size_t)n;
    }
}

bool
link_receive(struct link *link)
{
    struct pollfd wait = {.fd = link->fd, .events = POLLIN};
    char bytes[65536];

    if (poll(&wait, 1, REPLY_MS) != 1) {
        die("redis-server doesn't answer");
    }
    const ssize_t n = read(link->fd, bytes, sizeof(bytes));

    if (n > 0) {
        text_add(&link->in, bytes, (size_t)n);
    }
    return n > 0;
}

uint32_t
link_ask(struct link *link, size_t argc, const char *const *argv)
{
    struct resp_out out;
    struct iovec iov[4];
    fl_status status;

    resp_out_init(&out, NULL);
    resp_write_request(&out, argc, argv, NULL);
    const unsigned count = resp_out_iov(&out, resp_out_position(&out), iov, 4);

    for (unsigned i = 0; i < count; i++) {
        link_send(link, iov[i].iov_base, iov[i].iov_len);
    }
    resp_out_deinit(&out);
    link->in.len = 0;
    do {
        if (!link_receive(link)) {
            die("redis-server closed the connection");
        }
        status = resp_read(&link->reader, link->in.ptr, link->in.len);
    } while (status == FL_AGAIN);
    if (status != FL_OK) {
        die("redis-server's reply: %s", fl_status_name(status));
    }
    return link->reader.root;
}

void
redis_require(void)
{
    if (!is_installed("redis-server")) {
        die_skip("redis-server is not installed (package redis-server)");
    }
}
