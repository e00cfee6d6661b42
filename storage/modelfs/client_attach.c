#include "storage/modelfs/client.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    WELCOME_MS = 5000, /* a host that doesn't answer for so long is taken for stopped */
    RETRY_MS = 3000,   /* a host that is coming or going has so long */
};

void
fl_modelfs_options_init(struct fl_modelfs_options *options)
{
    *options = (struct fl_modelfs_options){
        .struct_bytes = sizeof(*options), .size_bytes = UINT64_C(1) << 30, .block_bytes = 4096};
}

static void
release(struct fl_modelfs *fs)
{
    const int fds[] = {fs->socket,   fs->uffd,       fs->live_fd,
                       fs->empty_fd, fs->host_pidfd, fs->stop_fd};

    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        if (fds[i] >= 0) {
            (void)close(fds[i]);
        }
    }
    (void)pthread_rwlock_destroy(&fs->media_lock);
    (void)pthread_mutex_destroy(&fs->lock);
    mem_free(fs);
}

static struct fl_modelfs *
blank(void)
{
    struct fl_modelfs *fs = mem_alloc_zero(sizeof(*fs));

    if (fs != NULL) {
        fs->pid = getpid();
        fs->socket = -1;
        fs->uffd = -1;
        fs->live_fd = -1;
        fs->empty_fd = -1;
        fs->host_pidfd = -1;
        fs->stop_fd = -1;
        (void)pthread_rwlock_init(&fs->media_lock, NULL);
        (void)pthread_mutex_init(&fs->lock, NULL);
    }
    return fs;
}

/* ---- the host's welcome ---- */

static fl_status
take_welcome(struct fl_modelfs *fs, const struct wire_note *note,
             const struct wire_received *received)
{
    const struct mfs_media_fds fds = {
        .live = received->fds[0], .persisted = received->fds[1], .control = received->fds[2]};
    const uint64_t size = note->values[0];
    const uint64_t data_off = note->values[1];
    const uint64_t block = note->values[2];

    if (received->fds_count != WIRE_FDS_MAX || block < MFS_BLOCK_BYTES_MIN ||
        block > MFS_BLOCK_BYTES_MAX || (block & (block - 1)) != 0 || data_off > size) {
        return FL_FAIL(FL_PROTOCOL, "a host that describes no device");
    }
    fs->size_bytes = size;
    fs->data_off = data_off;
    fs->block_bytes = (uint32_t)block;
    fs->live_fd = fcntl(fds.live, F_DUPFD_CLOEXEC, 0);
    if (fs->live_fd < 0) {
        return FL_FAIL_ERRNO(FL_NO_MEMORY, "no descriptors to attach with");
    }
    if (note->values[3] != (uint64_t)fs->pid) {
        fs->host_pidfd = pidfd_open((pid_t)note->values[3], 0);
        if (fs->host_pidfd < 0) {
            return FL_FAIL_ERRNO(FL_CLOSED, "watch the host, process %d", (int)note->values[3]);
        }
    }
    return mfs_media_attach(&fds, size, &fs->media);
}

/* FL_CLOSED: the host went away; FL_BUSY: it doesn't answer. */
static fl_status
greet(struct fl_modelfs *fs)
{
    const struct wire_call call = {
        .kind = WIRE_HELLO, .flags = fs->lacks, .off = WIRE_VERSION, .id = 0};
    struct wire_received received;
    struct wire_note note;

    fl_status status = wire_send(fs->socket, &call, sizeof(call), NULL, 0, &fs->uffd, 1, true);
    if (status != FL_OK) {
        return status;
    }
    struct pollfd socket = {.fd = fs->socket, .events = POLLIN};
    if (poll(&socket, 1, WELCOME_MS) <= 0) {
        return FL_FAIL(FL_BUSY,
                       "the device's host hasn't answered for %d s: it is stopped or stuck",
                       WELCOME_MS / 1000);
    }
    status = wire_receive(fs->socket, &note, sizeof(note), true, &received);
    if (status != FL_OK) {
        return status;
    }
    if (received.bytes != sizeof(note)) {
        status = FL_FAIL(FL_PROTOCOL, "a welcome of %zu bytes", received.bytes);
    } else if (note.kind == WIRE_WELCOME) {
        status = take_welcome(fs, &note, &received);
    } else {
        note.text[sizeof(note.text) - 1] = '\0';
        status = note.status != FL_OK ? (fl_status)note.status : FL_PROTOCOL;
        (void)FL_FAIL(status, "%s", note.text);
    }
    wire_close_fds(&received);
    return status;
}

/* ---- finding a host, or being it ---- */

/* FL_NOT_FOUND: nobody listens. */
static fl_status
connect_to_host(struct fl_modelfs *fs, const char *path)
{
    struct wire_address address;

    fl_status status = wire_address(path, &address);
    if (status != FL_OK) {
        return status;
    }
    fs->socket = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fs->socket < 0) {
        return FL_FAIL_ERRNO(FL_NO_MEMORY, "no socket");
    }
    if (connect(fs->socket, (const struct sockaddr *)&address.name, address.bytes) == 0) {
        return greet(fs);
    }
    const bool nobody = errno == ENOENT || errno == ECONNREFUSED;
    return FL_FAIL_ERRNO(nobody ? FL_NOT_FOUND : FL_IO, "nobody hosts the device %s", path);
}

static fl_status
host_here(struct fl_modelfs *fs, const char *path, const struct fl_modelfs_options *options)
{
    const struct mfs_host_options host_options = {.format =
                                                      (options->flags & FL_MODELFS_FORMAT) != 0,
                                                  .size_bytes = options->size_bytes,
                                                  .layout = {.block_bytes = options->block_bytes}};
    int pair[2];

    fl_status status = mfs_host_create(path, &host_options, &fs->host);
    if (status != FL_OK) {
        return status;
    }
    status = mfs_host_start(fs->host);
    if (status == FL_OK && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        status = FL_FAIL_ERRNO(FL_NO_MEMORY, "no sockets");
    }
    if (status == FL_OK) {
        fs->socket = pair[0];
        status = mfs_host_adopt(fs->host, pair[1]);
    }
    return status != FL_OK ? status : greet(fs);
}

static void
undo(struct fl_modelfs *fs)
{
    if (fs->media != NULL) {
        mfs_media_close(fs->media);
        fs->media = NULL;
    }
    int *const fds[] = {&fs->socket, &fs->live_fd, &fs->host_pidfd};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        if (*fds[i] >= 0) {
            (void)close(*fds[i]);
            *fds[i] = -1;
        }
    }
    if (fs->host != NULL) {
        mfs_host_destroy(fs->host);
        fs->host = NULL;
    }
}

/* Somebody else's host first. One that has just begun or is about to end is waited for a moment: it holds the device's
 * lock, but nobody listens. */
static fl_status
find_host(struct fl_modelfs *fs, const char *path, const struct fl_modelfs_options *options)
{
    const uint64_t until = clock_mono_ns() + (uint64_t)RETRY_MS * CLOCK_NS_PER_MS;
    const bool may_host = (options->flags & FL_MODELFS_HOST) != 0;

    for (;;) {
        fl_status status = connect_to_host(fs, path);
        const bool silent = status == FL_BUSY;
        if (status == FL_NOT_FOUND && may_host) {
            undo(fs);
            status = host_here(fs, path, options);
        }
        if (status == FL_OK) {
            return FL_OK;
        }
        undo(fs);
        const bool passing = status == FL_CLOSED || (status == FL_BUSY && !silent);
        if (!passing || clock_mono_ns() > until) {
            return status == FL_CLOSED ? FL_BUSY : status;
        }
        const struct timespec moment = {.tv_nsec = 5000000};
        (void)nanosleep(&moment, NULL);
    }
}

fl_status
fl_modelfs_attach(const char *path, const struct fl_modelfs_options *options,
                  struct fl_modelfs **out)
{
    struct fl_modelfs_options used;

    fl_modelfs_options_init(&used);
    if (options != NULL) {
        if (options->struct_bytes != sizeof(*options) ||
            (options->flags & ~(unsigned)(FL_MODELFS_HOST | FL_MODELFS_FORMAT)) != 0) {
            return FL_FAIL(FL_INVALID, "options that fl_modelfs_options_init() didn't make");
        }
        used = *options;
    }
    struct fl_modelfs *fs = blank();
    if (fs == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "no memory to attach with");
    }
    fl_status status = uffd_open(&fs->uffd, &fs->lacks);
    if (status == FL_OK) {
        status = find_host(fs, path, &used);
    }
    if (status == FL_OK) {
        status = client_agent_start(fs);
    }
    if (status != FL_OK) {
        client_agent_stop(fs);
        undo(fs);
        release(fs);
        return status;
    }
    *out = fs;
    return FL_OK;
}

void
fl_modelfs_detach(struct fl_modelfs *fs)
{
    if (fs->pid != getpid()) {
        release(fs); /* a forked child's copy: its descriptors; the rest is the parent's */
        return;
    }
    client_unmap_all(fs);
    client_agent_stop(fs);
    client_media_close(fs);
    if (fs->host != NULL) {
        mfs_host_destroy(fs->host);
    }
    release(fs);
}
