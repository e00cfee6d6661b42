#include "tests/lib/net.h"

#include "tests/lib/die.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    NET_RETRY_MS = 10,
    PORT_FIRST =
        20000, /* below the ephemeral range of Linux, 32768 and up: no outgoing connection takes it */
    PORT_COUNT = 12000,
    PORT_STRIDE = 7919, /* a prime: processes that start at neighbouring places don't meet */
};

static struct sockaddr_in
loopback(uint16_t port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};

    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return addr;
}

uint16_t
net_port_free(void)
{
    static unsigned asked;

    for (unsigned i = 0; i < PORT_COUNT; i++) {
        const unsigned place = ((unsigned)getpid() + asked++) * PORT_STRIDE % PORT_COUNT;
        const uint16_t port = (uint16_t)(PORT_FIRST + place);
        const struct sockaddr_in addr = loopback(port);
        const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd < 0) {
            die_errno("socket");
        }
        const bool is_free = bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0;

        close(fd);
        if (is_free) {
            return port;
        }
    }
    die("no free port on 127.0.0.1");
}

int
net_connect(uint16_t port, unsigned timeout_ms)
{
    const struct sockaddr_in addr = loopback(port);
    const struct timespec pause = {.tv_nsec = NET_RETRY_MS * 1000000L};

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
        nanosleep(&pause, NULL);
    }
}
