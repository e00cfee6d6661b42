#include "storage/modelfs/wire.h"

#include "base/fail.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static_assert(sizeof(struct wire_call) == 448, "no padding that would send what lay there");
static_assert(sizeof(struct wire_note) == 336, "no padding that would send what lay there");

/* What each kind must bring. */
enum {
    NEEDS_NAME = 1,
    NEEDS_TO = 2,
    NEEDS_RANGE = 4,
    NEEDS_DATA = 8,
    NEEDS_FD = 16,
    MAY_NAME = 32
};

static const uint8_t needs[WIRE_CALL_KINDS] = {
    [WIRE_HELLO] = NEEDS_FD,
    [WIRE_DONE] = 0,
    [WIRE_CREATE] = NEEDS_NAME,
    [WIRE_UNLINK] = NEEDS_NAME,
    [WIRE_RENAME] = NEEDS_NAME | NEEDS_TO,
    [WIRE_CLONE] = NEEDS_NAME | NEEDS_TO,
    [WIRE_SIZE] = NEEDS_NAME,
    [WIRE_READ] = NEEDS_NAME | NEEDS_RANGE,
    [WIRE_WRITE] = NEEDS_NAME | NEEDS_RANGE | NEEDS_DATA,
    [WIRE_TRUNCATE] = NEEDS_NAME,
    [WIRE_ALLOCATE] = NEEDS_NAME | NEEDS_RANGE,
    [WIRE_PUNCH] = NEEDS_NAME | NEEDS_RANGE,
    [WIRE_COLLAPSE] = NEEDS_NAME | NEEDS_RANGE,
    [WIRE_FSYNC] = MAY_NAME,
    [WIRE_MAP] = NEEDS_NAME | NEEDS_RANGE | NEEDS_FD,
    [WIRE_UNMAP] = 0,
    [WIRE_POPULATE] = NEEDS_RANGE,
    [WIRE_POWERCUT] = 0,
    [WIRE_FIGURES] = 0,
};

static bool
name_fits(const char *name, bool needed, bool allowed)
{
    const size_t length = strnlen(name, WIRE_NAME_BYTES);

    return length < WIRE_NAME_BYTES && (length > 0 ? allowed : !needed);
}

bool
wire_call_check(const struct wire_call *call, size_t bytes, size_t fds)
{
    if (bytes < sizeof(*call) || call->kind < WIRE_HELLO || call->kind >= WIRE_CALL_KINDS) {
        return false;
    }
    const unsigned need = needs[call->kind];
    const bool named = (need & NEEDS_NAME) != 0;
    const bool two = (need & NEEDS_TO) != 0;
    if (!name_fits(call->name, named, named || (need & MAY_NAME) != 0) ||
        !name_fits(call->to, two, two)) {
        return false;
    }
    if ((need & NEEDS_RANGE) != 0 && call->len > INT64_MAX - (call->off & INT64_MAX)) {
        return false;
    }
    if ((need & NEEDS_RANGE) != 0 && call->off > INT64_MAX) {
        return false;
    }
    const uint32_t data_bytes = (need & NEEDS_DATA) != 0 ? call->data_bytes : 0;
    if (call->data_bytes != data_bytes || data_bytes > WIRE_DATA_BYTES_MAX ||
        bytes != sizeof(*call) + data_bytes ||
        ((need & NEEDS_DATA) != 0 && call->len != data_bytes)) {
        return false;
    }
    if ((call->kind == WIRE_READ && call->len > WIRE_DATA_BYTES_MAX) ||
        (call->kind == WIRE_POPULATE && call->len > WIRE_POPULATE_BYTES_MAX)) {
        return false;
    }
    return fds == ((need & NEEDS_FD) != 0 ? 1U : 0U);
}

fl_status
wire_send(int socket, const void *head, size_t head_bytes, const void *data, size_t data_bytes,
          const int *fds, size_t fds_count, bool wait)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(WIRE_FDS_MAX * sizeof(int))];
    } control = {0};
    /* sendmsg() doesn't write there, but its argument isn't const. */
    struct iovec parts[] = {{(void *)(uintptr_t)head, head_bytes},
                            {(void *)(uintptr_t)data, data_bytes}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = data_bytes > 0 ? 2 : 1};

    FL_ASSERT(fds_count <= WIRE_FDS_MAX);
    if (fds_count > 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(fds_count * sizeof(int));
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(fds_count * sizeof(int));
        memcpy(CMSG_DATA(header), fds, fds_count * sizeof(int));
    }
    while (sendmsg(socket, &message, MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT)) < 0) {
        if (errno == EAGAIN) {
            return FL_AGAIN;
        }
        if (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN) {
            return FL_FAIL(FL_CLOSED, "the other side of the model filesystem's socket is gone");
        }
        if (errno != EINTR) {
            return FL_FAIL_ERRNO(FL_IO, "send %zu bytes", head_bytes + data_bytes);
        }
    }
    return FL_OK;
}

void
wire_close_fds(struct wire_received *received)
{
    for (size_t i = 0; i < received->fds_count; i++) {
        (void)close(received->fds[i]);
    }
    received->fds_count = 0;
}

/* Every descriptor that came is taken: what doesn't fit would stay open for ever. */
static bool
take_fds(struct msghdr *message, struct wire_received *out)
{
    bool fit = true;

    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header != NULL;
         header = CMSG_NXTHDR(message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
            if (out->fds_count < WIRE_FDS_MAX) {
                out->fds[out->fds_count++] = fd;
            } else {
                (void)close(fd);
                fit = false;
            }
        }
    }
    return fit;
}

fl_status
wire_receive(int socket, void *buf, size_t size, bool wait, struct wire_received *out)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(WIRE_FDS_MAX * sizeof(int))];
    } control;
    struct iovec part = {buf, size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    unsigned resets = 0;
    ssize_t got;

    *out = (struct wire_received){0};
    do {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof(control);
        got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT));
        /* That the other side closed with our messages unread is said before its last ones are handed out. */
    } while (got < 0 && (errno == EINTR || (errno == ECONNRESET && resets++ == 0)));
    if (got < 0) {
        return errno == EAGAIN ? FL_AGAIN
                               : FL_FAIL_ERRNO(FL_CLOSED, "receive from the model filesystem");
    }
    const bool fit = take_fds(&message, out);
    if (got == 0) {
        wire_close_fds(out);
        return FL_FAIL(FL_CLOSED, "the other side of the model filesystem's socket is gone");
    }
    if (!fit || (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
        wire_close_fds(out);
        return FL_FAIL(FL_PROTOCOL, "a message that is too long");
    }
    out->bytes = (size_t)got;
    return FL_OK;
}

/* FNV-1a: spreads names, nothing more is asked of it. */
static uint64_t
hash(const char *text)
{
    uint64_t value = UINT64_C(14695981039346656037);

    for (; *text != '\0'; text++) {
        value = (value ^ (uint8_t)*text) * UINT64_C(1099511628211);
    }
    return value;
}

fl_status
wire_address(const char *path, struct wire_address *out)
{
    char *real = realpath(path, NULL);

    if (real == NULL) {
        return FL_FAIL_ERRNO(errno == ENOENT ? FL_NOT_FOUND : FL_IO, "find %s", path);
    }
    *out = (struct wire_address){.name = {.sun_family = AF_UNIX}};
    char *name = out->name.sun_path;
    const size_t room = sizeof(out->name.sun_path);
    if ((size_t)snprintf(name, room, "%s.sock", real) < room) {
        out->bytes = (socklen_t)sizeof(out->name);
    } else {
        memset(name, 0, room);
        const int length =
            snprintf(name + 1, room - 1, "faultline-modelfs-%016" PRIx64, hash(real));
        out->bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (unsigned)length);
    }
    free(real);
    return FL_OK;
}
