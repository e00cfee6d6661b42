#include "tests/lib/net.h"

#include "tests/lib/die.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { NET_RETRY_MS = 10 };

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
    struct sockaddr_in addr = loopback(0);
    socklen_t len = sizeof(addr);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0 ||
        getsockname(fd, (struct sockaddr *)&addr, &len) != 0) {
        die_errno("find a free port on 127.0.0.1");
    }
    close(fd);
    return ntohs(addr.sin_port);
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
