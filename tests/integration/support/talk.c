#include "tests/integration/support/talk.h"

#include "base/clock.h"
#include "base/fail.h"
#include "tests/lib/die.h"
#include "tests/lib/net.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { FLAGS_MAX = 32, START_MS = 20000 };

void
talk_start(struct subject *subject, const char *program, const struct tmpdir *dir,
           const char *const *flags)
{
    char store[TMPDIR_PATH_BYTES];
    /* A sanitizer leaves too little of the address space for the default. */
    const char *all[FLAGS_MAX] = {"--store", store,        "--durability-min",
                                  "process", "--size-max", "16gb"};
    size_t count = 6;

    tmpdir_join(dir, "data", store);
    for (; *flags != NULL; flags++) {
        FL_ASSERT(count < FLAGS_MAX - 1);
        all[count++] = *flags;
    }
    subject_start(subject, program, all, START_MS);
}

int
talk_connect(const struct subject *subject)
{
    const int fd = net_connect(subject->port, TALK_MS);

    FL_ASSERT(fd >= 0);
    return fd;
}

int
talk_connect_unix(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    FL_ASSERT(fd >= 0 && strlen(path) < sizeof(address.sun_path));
    memcpy(address.sun_path, path, strlen(path));
    FL_ASSERT(connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0);
    return fd;
}

void
talk_say(int fd, const char *text)
{
    size_t left = strlen(text);

    while (left > 0) {
        const ssize_t sent = send(fd, text, left, MSG_NOSIGNAL);

        if (sent < 0) {
            return; /* It was closed: what is heard tells. */
        }
        text += sent;
        left -= (size_t)sent;
    }
}

/* One piece, before `until_ns`: the bytes read, 0 at the end, -1 when time is up. */
static ssize_t
hear_piece(int fd, char *out, size_t cap, uint64_t until_ns)
{
    const uint64_t now = clock_mono_ns();
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

    if (now >= until_ns || poll(&poll_fd, 1, (int)((until_ns - now) / CLOCK_NS_PER_MS) + 1) <= 0) {
        return -1;
    }
    const ssize_t got = recv(fd, out, cap, 0);

    return got < 0 ? 0 : got;
}

bool
talk_hear(int fd, const char *text, char out[TALK_BYTES])
{
    const uint64_t until_ns = clock_mono_ns() + (uint64_t)TALK_MS * CLOCK_NS_PER_MS;
    const size_t text_len = strlen(text);
    size_t len = 0;

    for (;;) {
        out[len] = '\0';
        if (len >= text_len && memcmp(out + len - text_len, text, text_len) == 0) {
            return true;
        }
        const ssize_t got = hear_piece(fd, out + len, TALK_BYTES - 1 - len, until_ns);

        if (got <= 0) {
            return false;
        }
        len += (size_t)got;
    }
}

bool
talk(int fd, const char *request, const char *answer)
{
    static char heard[TALK_BYTES];

    talk_say(fd, request);
    if (!talk_hear(fd, answer, heard) || strcmp(heard, answer) != 0) {
        printf("'%s' was answered by '%s', not '%s'\n", request, heard, answer);
        return false;
    }
    return true;
}

bool
talk_ends(int fd, unsigned timeout_ms)
{
    const uint64_t until_ns = clock_mono_ns() + (uint64_t)timeout_ms * CLOCK_NS_PER_MS;
    static char dropped[TALK_BYTES];
    ssize_t got;

    do {
        got = hear_piece(fd, dropped, sizeof(dropped), until_ns);
    } while (got > 0);
    return got == 0;
}
