#include "tests/lib/net.h"

#include "tests/lib/die.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
    NET_RETRY_MS = 10,
    PORT_FIRST =
        20000, /* below the ephemeral range of Linux, 32768 and up: no outgoing connection takes it */
    PORT_COUNT = 12000,
};

static struct sockaddr_in
loopback(uint16_t port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};

    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return addr;
}

static void
sleep_until_retry(void)
{
    const struct timespec pause = {.tv_nsec = NET_RETRY_MS * 1000000L};

    nanosleep(&pause, NULL);
}

/* By chance: processes that run side by side, or one after the other, don't try the same. */
static uint16_t
port_drawn(void)
{
    uint32_t number;

    if (getrandom(&number, sizeof(number), 0) != (ssize_t)sizeof(number)) {
        die_errno("getrandom");
    }
    return (uint16_t)(PORT_FIRST + number % PORT_COUNT);
}

int
net_port_hold(uint16_t *port)
{
    for (unsigned i = 0; i < PORT_COUNT; i++) {
        const struct sockaddr_in addr = loopback(*port = port_drawn());
        const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd < 0) {
            die_errno("socket");
        }
        if (bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0) {
            return fd;
        }
        close(fd);
    }
    die("no free port on 127.0.0.1");
}

uint16_t
net_port_free(void)
{
    uint16_t port;

    close(net_port_hold(&port));
    return port;
}

int
net_connect(uint16_t port, unsigned timeout_ms)
{
    const struct sockaddr_in addr = loopback(port);

    for (unsigned waited_ms = 0;; waited_ms += NET_RETRY_MS) {
        const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd < 0) {
            die_errno("socket");
        }
        if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0) {
            return fd;
        }
        close(fd);
        if (waited_ms >= timeout_ms) {
            return -1;
        }
        sleep_until_retry();
    }
}

/* One attempt, which is given up when it hangs. */
static bool
answers(const struct sockaddr *addr, socklen_t len)
{
    const struct timeval limit = {.tv_sec = 1};
    const int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) != 0) {
        die_errno("socket");
    }
    const bool refused = connect(fd, addr, len) != 0 && (errno == ECONNREFUSED || errno == ENOENT);

    close(fd);
    return !refused;
}

static bool
wait_until_refused(const struct sockaddr *addr, socklen_t len, unsigned timeout_ms)
{
    for (unsigned waited_ms = 0; answers(addr, len); waited_ms += NET_RETRY_MS) {
        if (waited_ms >= timeout_ms) {
            return false;
        }
        sleep_until_retry();
    }
    return true;
}

bool
net_wait_gone(uint16_t port, unsigned timeout_ms)
{
    const struct sockaddr_in addr = loopback(port);

    return wait_until_refused((const struct sockaddr *)&addr, sizeof(addr), timeout_ms);
}

bool
net_wait_gone_unix(const char *path, unsigned timeout_ms)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof(addr.sun_path)) {
        die("%s is too long for a unix socket", path);
    }
    memcpy(addr.sun_path, path, strlen(path));
    return wait_until_refused((const struct sockaddr *)&addr, sizeof(addr), timeout_ms);
}
