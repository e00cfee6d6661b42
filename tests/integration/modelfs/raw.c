#include "tests/integration/modelfs/raw.h"

#include "tests/lib/die.h"

#include "storage/modelfs/uffd.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int
raw_dial(const char *path)
{
    struct wire_address address;
    const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    if (fd < 0 || wire_address(path, &address) != FL_OK ||
        connect(fd, (const struct sockaddr *)&address.name, address.bytes) != 0) {
        die_errno("connect to the host of %s", path);
    }
    return fd;
}

void
raw_say(int socket, const struct wire_call *call, const void *data, int passed)
{
    (void)!wire_send(socket, call, sizeof(*call), data, call->data_bytes, &passed,
                     passed >= 0 ? 1 : 0, false);
}

bool
raw_hears(int socket, struct wire_note *note, int *passed)
{
    static uint8_t message[sizeof(*note) + WIRE_DATA_BYTES_MAX];
    struct pollfd poll_fd = {.fd = socket, .events = POLLIN};
    struct wire_received received;

    if (poll(&poll_fd, 1, RAW_PROMPT_MS) <= 0 ||
        wire_receive(socket, message, sizeof(message), false, &received) != FL_OK) {
        return false;
    }
    if (passed != NULL && received.fds_count > 0) {
        *passed = received.fds[0];
        received.fds_count--;
        memmove(received.fds, received.fds + 1, received.fds_count * sizeof(received.fds[0]));
    }
    wire_close_fds(&received);
    memcpy(note, message, sizeof(*note));
    return true;
}

int
raw_greet(const char *path, int *uffd, int *live)
{
    const int fd = raw_dial(path);
    struct wire_call call = {.kind = WIRE_HELLO, .off = WIRE_VERSION};
    struct wire_note note;

    if (uffd_open(uffd, &call.flags) != FL_OK) {
        die("%s", fl_last_error());
    }
    raw_say(fd, &call, NULL, *uffd);
    if (!raw_hears(fd, &note, live) || note.kind != WIRE_WELCOME) {
        die("no welcome");
    }
    return fd;
}

bool
raw_is_dropped(int socket)
{
    struct wire_note note;

    while (raw_hears(socket, &note, NULL)) {
    }
    struct pollfd poll_fd = {.fd = socket, .events = POLLIN};
    return poll(&poll_fd, 1, RAW_PROMPT_MS) == 1 && (poll_fd.revents & POLLHUP) != 0;
}
