/* serve: host a device, without FUSE. */
#include "storage/modelfs/tool/serve.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

int
serve_signals(const struct tool_command *command)
{
    sigset_t set;

    (void)signal(SIGPIPE, SIG_IGN);
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGHUP);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    const int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);

    if (fd < 0) {
        fprintf(stderr, "faultline-modelfs %s: signalfd: %s\n", command->name, strerror(errno));
    }
    return fd;
}

bool
serve_start(const struct tool_command *command, const char *path, struct mfs_host **out)
{
    const struct mfs_host_options options = {.format = false};
    fl_status status = mfs_host_create(path, &options, out);

    if (status == FL_OK) {
        status = mfs_host_start(*out);
        if (status != FL_OK) {
            mfs_host_destroy(*out);
        }
    }
    if (status != FL_OK) {
        (void)tool_failed(command, status, path);
    }
    return status == FL_OK;
}

void
serve_farewell(const struct tool_command *command, const char *path, int signal_fd, bool power_cut)
{
    struct signalfd_siginfo info;

    if (power_cut) {
        printf("faultline-modelfs %s: the power of %s was cut\n", command->name, path);
    } else if (read(signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        printf("faultline-modelfs %s: SIG%s, ending\n", command->name,
               sigabbrev_np((int)info.ssi_signo));
    }
    (void)fflush(stdout);
}

int
tool_serve(const struct tool_command *command, int argc, char **argv)
{
    struct mfs_host *host;
    int result;

    if (!tool_plain(command, argc, argv, 1, 1, &result)) {
        return result;
    }
    const char *path = argv[optind];
    const int signal_fd = serve_signals(command);

    if (signal_fd < 0 || !serve_start(command, path, &host)) {
        return TOOL_FAILED;
    }
    printf("faultline-modelfs serve: ready: %s on %s\n", path, mfs_host_address(host));
    (void)fflush(stdout);

    struct pollfd fds[] = {
        {.fd = signal_fd, .events = POLLIN},
        {.fd = mfs_host_ended_fd(host), .events = POLLIN},
    };

    while (poll(fds, 2, -1) < 0 && errno == EINTR) {
    }
    serve_farewell(command, path, signal_fd, (fds[1].revents & POLLIN) != 0);
    mfs_host_destroy(host);
    (void)close(signal_fd);
    return TOOL_DONE;
}
