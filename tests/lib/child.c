#include "tests/lib/child.h"

#include "base/clock.h"
#include "tests/lib/die.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILD_POLL_MS = 5, EXIT_NO_PROGRAM = 127 };

void
child_start(struct child *child, char *const argv[])
{
    int ends[2];
    const pid_t parent = getpid();

    if (pipe2(ends, O_CLOEXEC) != 0) {
        die_errno("pipe");
    }
    child->pid = fork();
    if (child->pid < 0) {
        die_errno("fork");
    }
    if (child->pid == 0) {
        const int null_fd = open("/dev/null", O_RDONLY);

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent || null_fd < 0 || dup2(null_fd, STDIN_FILENO) < 0 ||
            dup2(ends[1], STDOUT_FILENO) < 0 || dup2(ends[1], STDERR_FILENO) < 0) {
            _exit(EXIT_NO_PROGRAM);
        }
        execvp(argv[0], argv);
        dprintf(STDERR_FILENO, "exec %s: %s\n", argv[0], strerror(errno));
        _exit(EXIT_NO_PROGRAM);
    }
    close(ends[1]);
    child->out_fd = ends[0];
    child->status = 0;
}

/* Read once into out[*len...], dropping what has no room. False at the end or at the deadline. */
static bool
read_some(struct child *child, uint64_t deadline_ns, char *out, size_t size, size_t *len)
{
    struct pollfd pollfd = {.fd = child->out_fd, .events = POLLIN};
    char dropped[4096];
    const uint64_t now_ns = clock_mono_ns();
    const int left_ms = now_ns < deadline_ns ? (int)((deadline_ns - now_ns) / CLOCK_NS_PER_MS) : 0;
    const size_t room = size - 1 - *len;

    if (poll(&pollfd, 1, left_ms) <= 0) {
        return false;
    }
    const ssize_t n = room > 0 ? read(child->out_fd, out + *len, room)
                               : read(child->out_fd, dropped, sizeof(dropped));

    if (n <= 0) {
        return false;
    }
    *len += room > 0 ? (size_t)n : 0;
    out[*len] = '\0';
    return true;
}

bool
child_expect(struct child *child, const char *text, unsigned timeout_ms, char *out, size_t size)
{
    const uint64_t deadline_ns = clock_mono_ns() + (uint64_t)timeout_ms * CLOCK_NS_PER_MS;
    size_t len = 0;

    out[0] = '\0';
    while (strstr(out, text) == NULL) {
        if (!read_some(child, deadline_ns, out, size, &len)) {
            return false;
        }
    }
    return true;
}

bool
child_wait(struct child *child, unsigned timeout_ms, char *out, size_t size)
{
    const uint64_t deadline_ns = clock_mono_ns() + (uint64_t)timeout_ms * CLOCK_NS_PER_MS;
    size_t len = 0;

    out[0] = '\0';
    while (read_some(child, deadline_ns, out, size, &len)) {
    }
    for (;;) {
        const pid_t pid = waitpid(child->pid, &child->status, WNOHANG);

        if (pid == child->pid) {
            child->pid = 0;
            child_kill(child);
            return true;
        }
        if (clock_mono_ns() >= deadline_ns) {
            child_kill(child);
            return false;
        }
        poll(NULL, 0, CHILD_POLL_MS);
    }
}

void
child_signal(const struct child *child, int signal_number)
{
    if (child->pid > 0) {
        kill(child->pid, signal_number);
    }
}

void
child_kill(struct child *child)
{
    if (child->pid > 0) {
        kill(child->pid, SIGKILL);
        waitpid(child->pid, &child->status, 0);
        child->pid = 0;
    }
    if (child->out_fd >= 0) {
        close(child->out_fd);
        child->out_fd = -1;
    }
}

bool
child_exited(const struct child *child, int code)
{
    return child->pid == 0 && WIFEXITED(child->status) && WEXITSTATUS(child->status) == code;
}
