#include "tests/integration/cli/run.h"

#include "base/clock.h"
#include "tests/lib/die.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LEAVE_PAUSE_MS = 200, STEP_BYTES = 65536, TERMINAL_ROWS = 24, TERMINAL_COLUMNS = 100 };

/* ---- paths ---- */

static bool
is_executable(const char *path)
{
    const char *dirs = getenv("PATH");

    if (strchr(path, '/') != NULL) {
        return access(path, X_OK) == 0;
    }
    while (dirs != NULL && *dirs != '\0') {
        char full[4096];
        const size_t len = strcspn(dirs, ":");

        snprintf(full, sizeof(full), "%.*s/%s", (int)len, dirs, path);
        if (access(full, X_OK) == 0) {
            return true;
        }
        dirs += len + (dirs[len] == ':' ? 1 : 0);
    }
    return false;
}

void
run_paths_parse(struct run_paths *paths, int argc, char **argv, bool server_wanted)
{
    *paths = (struct run_paths){0};
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--cli") == 0) {
            paths->cli = argv[i + 1];
        } else if (strcmp(argv[i], "--server") == 0) {
            paths->server = argv[i + 1];
        }
    }
    if (paths->cli == NULL || (server_wanted && paths->server == NULL)) {
        die("usage: %s --cli PATH%s", argv[0], server_wanted ? " --server PATH" : "");
    }
    if (server_wanted && !is_executable(paths->server)) {
        die_skip("there is no %s", paths->server);
    }
    /* Tests set what they need of these. */
    unsetenv("FAULTLINE_AUTH");
    setenv("FAULTLINE_HISTORY", "", 1);
    setenv("TERM", "xterm", 1);
    signal(SIGPIPE, SIG_IGN);
}

/* ---- without a terminal ---- */

static void
fill_argv(char **argv, const char *cli, const char *const *args)
{
    size_t argc = 0;

    argv[argc++] = strdup(cli);
    while (*args != NULL && argc < RUN_ARGS_MAX) {
        argv[argc++] = strdup(*args++);
    }
    argv[argc] = NULL;
}

static void
free_argv(char **argv)
{
    for (size_t i = 0; argv[i] != NULL; i++) {
        free(argv[i]);
    }
}

static void
append(char **text, size_t *len, const char *data, size_t data_len)
{
    char *more = realloc(*text, *len + data_len + 1);

    if (more == NULL) {
        die("no memory");
    }
    if (data_len > 0) {
        memcpy(more + *len, data, data_len);
    }
    *len += data_len;
    more[*len] = '\0';
    *text = more;
}

static int
left_ms(uint64_t deadline_ns)
{
    const uint64_t now_ns = clock_mono_ns();

    return now_ns < deadline_ns ? (int)((deadline_ns - now_ns) / CLOCK_NS_PER_MS) + 1 : 0;
}

/* Feed stdin and collect both outputs until both are closed. False: out of time. */
static bool
pump(struct run *run, int *fds, const char *input, size_t input_len, uint64_t deadline_ns)
{
    size_t err_len = 0;
    char *buf = malloc(STEP_BYTES);

    append(&run->out, &run->out_len, "", 0);
    append(&run->err, &err_len, "", 0);
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    while (fds[1] >= 0 || fds[2] >= 0) {
        struct pollfd polled[3] = {
            {.fd = fds[0], .events = POLLOUT},
            {.fd = fds[1], .events = POLLIN},
            {.fd = fds[2], .events = POLLIN},
        };

        if (fds[0] >= 0 && input_len == 0) {
            close(fds[0]);
            fds[0] = polled[0].fd = -1;
        }
        if (poll(polled, 3, left_ms(deadline_ns)) == 0) {
            free(buf);
            return false;
        }
        if (polled[0].revents != 0) {
            const ssize_t n = write(fds[0], input, input_len);

            input_len = n < 0 && errno != EAGAIN ? 0 : input_len - (n > 0 ? (size_t)n : 0);
            input += n > 0 ? n : 0;
        }
        for (int i = 1; i <= 2; i++) {
            if (polled[i].revents == 0) {
                continue;
            }
            const ssize_t n = read(fds[i], buf, STEP_BYTES);

            if (n > 0) {
                append(i == 1 ? &run->out : &run->err, i == 1 ? &run->out_len : &err_len, buf,
                       (size_t)n);
            } else {
                close(fds[i]);
                fds[i] = -1;
            }
        }
    }
    free(buf);
    return true;
}

/* Wait for the child; false if it had to be killed. */
static bool
reap(pid_t pid, uint64_t deadline_ns, int *status)
{
    while (waitpid(pid, status, WNOHANG) == 0) {
        if (left_ms(deadline_ns) == 0) {
            kill(pid, SIGKILL);
            waitpid(pid, status, 0);
            return false;
        }
        poll(NULL, 0, 1);
    }
    return true;
}

void
run_cli(struct run *run, const char *cli, const char *const *args, const char *input,
        size_t input_len)
{
    const uint64_t deadline_ns = clock_mono_ns() + (uint64_t)RUN_TIMEOUT_MS * CLOCK_NS_PER_MS;
    int in[2];
    int out[2];
    int err[2];
    char *argv[RUN_ARGS_MAX + 1];
    int status = 0;

    *run = (struct run){0};
    fill_argv(argv, cli, args);
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0) {
        die_errno("pipe");
    }
    const pid_t pid = fork();

    if (pid < 0) {
        die_errno("fork");
    }
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGPIPE, SIG_DFL);
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        dup2(err[1], STDERR_FILENO);
        execv(argv[0], argv);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    close(err[1]);
    int fds[3] = {in[1], out[0], err[0]};
    const bool in_time = pump(run, fds, input, input_len, deadline_ns);

    for (int i = 0; i < 3; i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
    if (!in_time) {
        kill(pid, SIGKILL);
    }
    const bool ended = reap(pid, deadline_ns, &status);

    free_argv(argv);
    if (!in_time || !ended) {
        die("faultline-cli runs on; stdout so far:\n%s\nstderr:\n%s", run->out, run->err);
    }
    run->code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void
run_deinit(struct run *run)
{
    free(run->out);
    free(run->err);
    *run = (struct run){0};
}

/* ---- at a terminal ---- */

void
terminal_start(struct terminal *terminal, const char *cli, const char *const *args)
{
    const struct winsize size = {.ws_row = TERMINAL_ROWS, .ws_col = TERMINAL_COLUMNS};
    char *argv[RUN_ARGS_MAX + 1];

    *terminal = (struct terminal){0};
    append(&terminal->seen, &terminal->seen_len, "", 0);
    fill_argv(argv, cli, args);
    terminal->pid = forkpty(&terminal->fd, NULL, NULL, &size);
    if (terminal->pid < 0) {
        die_errno("forkpty");
    }
    if (terminal->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execv(argv[0], argv);
        _exit(127);
    }
    free_argv(argv);
}

void
terminal_send(struct terminal *terminal, const char *keys)
{
    const size_t len = strlen(keys);

    if (write(terminal->fd, keys, len) != (ssize_t)len) {
        die_errno("typing \"%s\"", keys);
    }
}

/* Read what there is. False at the end, or when the time is over. */
static bool
look(struct terminal *terminal, uint64_t deadline_ns)
{
    struct pollfd polled = {.fd = terminal->fd, .events = POLLIN};
    char buf[4096];

    if (poll(&polled, 1, left_ms(deadline_ns)) <= 0) {
        return false;
    }
    const ssize_t n = read(terminal->fd, buf, sizeof(buf));

    if (n <= 0) {
        return false;
    }
    append(&terminal->seen, &terminal->seen_len, buf, (size_t)n);
    return true;
}

void
terminal_expect(struct terminal *terminal, const char *text)
{
    const uint64_t deadline_ns = clock_mono_ns() + (uint64_t)RUN_TIMEOUT_MS * CLOCK_NS_PER_MS;
    const char *found;

    while ((found = strstr(terminal->seen + terminal->looked, text)) == NULL) {
        if (!look(terminal, deadline_ns)) {
            kill(terminal->pid, SIGKILL);
            die("\"%s\" was not shown; since the last expected text:\n%s", text,
                terminal->seen + terminal->looked);
        }
    }
    terminal->looked = (size_t)(found - terminal->seen) + strlen(text);
}

static int
end_by(struct terminal *terminal, uint64_t deadline_ns)
{
    int status = 0;

    while (look(terminal, deadline_ns)) {
    }
    const bool ended = reap(terminal->pid, deadline_ns, &status);

    close(terminal->fd);
    if (!ended) {
        die("faultline-cli runs on at its terminal:\n%s", terminal->seen);
    }
    free(terminal->seen);
    *terminal = (struct terminal){0};
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int
terminal_end(struct terminal *terminal)
{
    return end_by(terminal, clock_mono_ns() + (uint64_t)RUN_TIMEOUT_MS * CLOCK_NS_PER_MS);
}

int
terminal_leave(struct terminal *terminal)
{
    const uint64_t deadline_ns = clock_mono_ns() + (uint64_t)RUN_TIMEOUT_MS * CLOCK_NS_PER_MS;
    struct pollfd polled = {.fd = terminal->fd, .events = 0};

    /* POLLHUP: the program has closed its side. */
    while (left_ms(deadline_ns) > 0 && poll(&polled, 1, LEAVE_PAUSE_MS) == 0) {
        const ssize_t n = write(terminal->fd, "\004", 1);

        if (n != 1) {
            break;
        }
    }
    return end_by(terminal, deadline_ns);
}
