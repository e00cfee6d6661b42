/* mount: host a device, its files also in a directory. */
#include "storage/modelfs/tool/fuse_fs.h"
#include "storage/modelfs/tool/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct request {
    const char *device;
    const char *mountpoint;
    bool allow_other;
};

static bool
options_get(const struct tool_command *command, int argc, char **argv, struct request *request,
            int *result)
{
    static const struct option options[] = {
        {"allow-other", no_argument, NULL, 'o'},
        TOOL_HELP,
        TOOL_END,
    };

    for (int option; (option = tool_option(command, argc, argv, options, result)) != -1;) {
        if (option == TOOL_STOP) {
            return false;
        }
        request->allow_other = true;
    }
    if (!tool_arguments(command, argc, 2, 2)) {
        return false;
    }
    request->device = argv[optind];
    request->mountpoint = argv[optind + 1];
    return true;
}

/* "fsname=DEVICE,..." with what would end the name escaped. The caller frees it; NULL: no memory. */
static char *
mount_options(const struct request *request)
{
    static const char begin[] = "subtype=modelfs,default_permissions,fsname=";
    const char *end = request->allow_other ? ",allow_other" : "";
    char *text = malloc(sizeof(begin) + 2 * strlen(request->device) + strlen(end));

    if (text == NULL) {
        return NULL;
    }
    char *to = stpcpy(text, begin);

    for (const char *p = request->device; *p != '\0'; p++) {
        if (*p == ',' || *p == '\\') {
            *to++ = '\\';
        }
        *to++ = *p;
    }
    (void)stpcpy(to, end);
    return text;
}

static struct fuse_session *
session_open(const struct request *request, struct fuse_fs *fs)
{
    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    char *options = mount_options(request);
    struct fuse_session *session = NULL;

    if (options != NULL && fuse_opt_add_arg(&args, "faultline-modelfs") == 0 &&
        fuse_opt_add_arg(&args, "-o") == 0 && fuse_opt_add_arg(&args, options) == 0) {
        session = fuse_session_new(&args, &fuse_fs_ops, sizeof(fuse_fs_ops), fs);
    }
    fuse_opt_free_args(&args);
    free(options);
    if (session == NULL) {
        return NULL;
    }
    if (fuse_session_mount(session, request->mountpoint) != 0) {
        fuse_session_destroy(session);
        return NULL;
    }
    return session;
}

/* One request after the other, until a signal, the power or umount ends it. True: the power was cut. */
static bool
serve(struct fuse_session *session, struct mfs_host *host, int signal_fd)
{
    struct fuse_buf buf = {.mem = NULL};
    struct pollfd fds[] = {
        {.fd = fuse_session_fd(session), .events = POLLIN},
        {.fd = signal_fd, .events = POLLIN},
        {.fd = mfs_host_ended_fd(host), .events = POLLIN},
    };

    /* A request may be withdrawn between poll() and read(). */
    (void)fcntl(fds[0].fd, F_SETFL, fcntl(fds[0].fd, F_GETFL) | O_NONBLOCK);
    while (fuse_session_exited(session) == 0) {
        if (poll(fds, 3, -1) < 0 && errno != EINTR) {
            break;
        }
        if (fds[1].revents != 0 || fds[2].revents != 0) {
            break;
        }
        const int got = fuse_session_receive_buf(session, &buf);

        if (got > 0) {
            fuse_session_process_buf(session, &buf);
        } else if (got != -EAGAIN && got != -EINTR) {
            break; /* 0: unmounted */
        }
    }
    free(buf.mem);
    return fds[2].revents != 0;
}

static int
run(const struct tool_command *command, const struct request *request, struct mfs_host *host,
    int signal_fd)
{
    struct stat st = {0};

    (void)stat(request->device, &st);
    struct fuse_fs fs = {.host = host, .uid = st.st_uid, .gid = st.st_gid, .mounted_s = time(NULL)};
    struct fuse_session *session = session_open(request, &fs);

    if (session == NULL) {
        fprintf(stderr, "faultline-modelfs mount: could not mount %s on %s\n", request->device,
                request->mountpoint);
        return TOOL_FAILED;
    }
    printf("faultline-modelfs mount: ready: %s on %s, at %s\n", request->device,
           mfs_host_address(host), request->mountpoint);
    (void)fflush(stdout);
    const bool power_cut = serve(session, host, signal_fd);

    serve_farewell(command, request->device, signal_fd, power_cut);
    fuse_session_unmount(session);
    fuse_session_destroy(session);
    return TOOL_DONE;
}

int
tool_mount(const struct tool_command *command, int argc, char **argv)
{
    struct request request = {0};
    struct mfs_host *host;
    struct stat st;
    int result = TOOL_USAGE;

    if (!options_get(command, argc, argv, &request, &result)) {
        return result;
    }
    if (stat(request.mountpoint, &st) != 0 || !S_ISDIR(st.st_mode)) {
        fprintf(stderr, "faultline-modelfs mount: %s is no directory\n", request.mountpoint);
        return TOOL_FAILED;
    }
    const int signal_fd = serve_signals(command);

    if (signal_fd < 0 || !serve_start(command, request.device, &host)) {
        return TOOL_FAILED;
    }
    result = run(command, &request, host, signal_fd);
    mfs_host_destroy(host);
    (void)close(signal_fd);
    return result;
}
