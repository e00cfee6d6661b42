#include "storage/modelfs/host_internal.h"
#include "storage/modelfs/record.h"

#include "base/fail.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEVICE_BYTES_DEFAULT = 1 << 30, EVENTS = 64, BACKLOG = 64 };

/* ---- the device ---- */

/* A new device appears under its name whole, so that of two that make it one makes it and none empties it. */
static fl_status
make_device(const char *path, const struct mfs_host_options *options)
{
    char name[4096];
    struct mfs_media *media;

    if ((size_t)snprintf(name, sizeof(name), "%s.new.%d", path, (int)getpid()) >= sizeof(name)) {
        return FL_FAIL(FL_INVALID, "the name %s is too long", path);
    }
    const struct mfs_media_source source = {
        .path = name,
        .create = true,
        .size_bytes = options->size_bytes != 0 ? options->size_bytes : DEVICE_BYTES_DEFAULT};
    fl_status status = mfs_media_open(&source, &media);
    if (status == FL_OK) {
        status = mfs_format(media, &options->layout);
        mfs_media_close(media);
    }
    if (status == FL_OK && link(name, path) != 0 && errno != EEXIST) {
        status = FL_FAIL_ERRNO(FL_IO, "make %s", path);
    }
    (void)unlink(name);
    return status;
}

static fl_status
open_device(struct mfs_host *host, const char *path, const struct mfs_host_options *options)
{
    const struct mfs_media_source source = {.path = path, .shared = true};
    fl_status status = FL_OK;

    if (options->format && access(path, F_OK) != 0 && errno == ENOENT) {
        status = make_device(path, options);
    }
    if (status == FL_OK) {
        status = mfs_media_open(&source, &host->media);
    }
    if (status == FL_BUSY) {
        return FL_FAIL(FL_BUSY,
                       "%s is locked: another process hosts it, or did and a client of "
                       "its still has it open",
                       path);
    }
    return status;
}

/* The copy that the mount believed. */
static fl_status
read_geometry(struct mfs_host *host)
{
    static const uint64_t places[] = {0, MFS_SUPER_COPY_OFF};
    struct mfs_geometry geometry;

    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        if (mfs_super_decode(mfs_media_live(host->media) + places[i],
                             mfs_media_size_bytes(host->media), &geometry) == FL_OK) {
            host->data_off = geometry.data_off;
            host->block_bytes = geometry.block_bytes;
            host->zapped_count = geometry.blocks;
            return FL_OK;
        }
    }
    return FL_FAIL(FL_CORRUPT, "no superblock at 0 and %d", MFS_SUPER_COPY_OFF);
}

static fl_status
mount(struct mfs_host *host, const struct mfs_host_options *options)
{
    const struct mfs_mount_options mount = {.engine = {.ops = &host_engine_ops, .context = host},
                                            .mutant = options->mutant};
    fl_status status = mfs_mount(host->media, &mount, &host->fs);

    if (status == FL_OK) {
        status = read_geometry(host);
    }
    if (status != FL_OK) {
        return status;
    }
    host->spare = mem_alloc(host->block_bytes);
    void *zapped = mmap(NULL, host->zapped_count * sizeof(*host->zapped), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (host->spare == NULL || zapped == MAP_FAILED) {
        return FL_FAIL(FL_NO_MEMORY, "no memory for %" PRIu64 " blocks", host->zapped_count);
    }
    host->zapped = zapped;
    return FL_OK;
}

/* ---- listening ---- */

fl_status
host_watch(struct mfs_host *host, int fd, struct host_source *source)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = source};

    return epoll_ctl(host->epoll, EPOLL_CTL_ADD, fd, &event) == 0
               ? FL_OK
               : FL_FAIL_ERRNO(FL_NO_MEMORY, "watch a descriptor");
}

void
host_kick(struct mfs_host *host)
{
    const uint64_t one = 1;
    const ssize_t written = write(host->kick, &one, sizeof(one));

    (void)written; /* fails only when it is readable already */
}

static bool
has_path(const struct mfs_host *host)
{
    return host->address.name.sun_path[0] != '\0';
}

static fl_status
listen_for_clients(struct mfs_host *host, const char *path)
{
    fl_status status = wire_address(path, &host->address);

    if (status != FL_OK) {
        return status;
    }
    const char *name = host->address.name.sun_path;
    (void)snprintf(host->address_text, sizeof(host->address_text), "%s%s",
                   has_path(host) ? "" : "@", has_path(host) ? name : name + 1);
    host->epoll = epoll_create1(EPOLL_CLOEXEC);
    host->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    host->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    const int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener < 0 || host->epoll < 0 || host->kick < 0 || host->ended_fd < 0) {
        if (listener >= 0) {
            (void)close(listener);
        }
        return FL_FAIL_ERRNO(FL_NO_MEMORY, "no descriptors for a host");
    }
    if (has_path(host)) {
        (void)unlink(name); /* the device is locked: who made it is gone */
    }
    if (bind(listener, (const struct sockaddr *)&host->address.name, host->address.bytes) != 0 ||
        (has_path(host) && chmod(name, S_IRUSR | S_IWUSR) != 0) || listen(listener, BACKLOG) != 0) {
        status = FL_FAIL_ERRNO(FL_IO, "listen at %s", host->address_text);
        (void)close(listener);
        return status;
    }
    host->listener = listener;
    host->by_listener.kind = HOST_SOURCE_LISTENER;
    host->by_kick.kind = HOST_SOURCE_KICK;
    status = host_watch(host, listener, &host->by_listener);
    return status != FL_OK ? status : host_watch(host, host->kick, &host->by_kick);
}

/* Before the device is unlocked: the next host makes its own. */
static void
stop_listening(struct mfs_host *host)
{
    if (host->listener >= 0) {
        if (has_path(host)) {
            (void)unlink(host->address.name.sun_path);
        }
        (void)close(host->listener);
        host->listener = -1;
    }
}

static void
accept_clients(struct mfs_host *host)
{
    for (;;) {
        const int fd = accept4(host->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) {
            return;
        }
        (void)host_client_add(host, fd); /* who isn't let in sees the connection close */
    }
}

/* ---- the loop ---- */

static void
serve_event(struct mfs_host *host, const struct host_source *source, uint32_t events)
{
    struct host_client *client = source->client;
    uint64_t count;

    switch (source->kind) {
    case HOST_SOURCE_LISTENER:
        accept_clients(host);
        break;
    case HOST_SOURCE_KICK:
        (void)!read(host->kick, &count, sizeof(count));
        break;
    case HOST_SOURCE_SOCKET:
        if ((events & EPOLLOUT) != 0) {
            host_client_flush(client);
        }
        if ((events & EPOLLIN) != 0) {
            host_client_receive(client);
        }
        client->failed |= (events & (EPOLLHUP | EPOLLERR)) != 0;
        break;
    case HOST_SOURCE_UFFD:
        host_engine_faults(client);
        break;
    case HOST_SOURCE_PIDFD:
        client->dead = true;
        client->failed = true;
        break;
    }
}

/* Faults that were read on the way, and clients that are gone; dropping one may turn up others. */
static void
tidy(struct mfs_host *host)
{
    bool again = true;

    while (again) {
        again = false;
        for (struct host_client *client = host->clients; client != NULL; client = client->next) {
            if (client->failed) {
                host_client_drop(client);
                again = true;
                break;
            }
            if (client->faults_count > 0) {
                host_engine_faults(client);
            }
        }
    }
}

/* The power is cut: nothing is left to serve. */
static void
end(struct mfs_host *host)
{
    const uint64_t one = 1;

    stop_listening(host);
    while (host->clients != NULL) {
        host_client_flush(host->clients);
        host_client_drop(host->clients);
    }
    if (host->fs != NULL) {
        mfs_unmount(host->fs);
        host->fs = NULL;
    }
    if (host->media != NULL) {
        mfs_media_close(host->media);
        host->media = NULL;
    }
    (void)!write(host->ended_fd, &one, sizeof(one));
}

/* Send what the caller has brought about, and let the loop do what it must. */
static void
flush(struct mfs_host *host)
{
    bool more = host->ended;

    for (struct host_client *client = host->clients; client != NULL; client = client->next) {
        host_client_flush(client);
        more |= client->failed || client->faults_count > 0;
    }
    if (more) {
        host_kick(host);
    }
}

static void
unlock(struct mfs_host *host)
{
    flush(host);
    (void)pthread_mutex_unlock(&host->lock);
}

static void *
loop(void *argument)
{
    struct mfs_host *host = argument;
    struct epoll_event events[EVENTS];
    int wait_ms = -1;
    bool more = true;

    while (more) {
        const int count = epoll_wait(host->epoll, events, EVENTS, wait_ms);
        (void)mfs_host_lock(host);
        for (int i = 0; i < count && !host->ended; i++) {
            serve_event(host, events[i].data.ptr, events[i].events);
        }
        if (!host->ended) {
            tidy(host);
            wait_ms = host_lift_tend(host);
        }
        if (host->ended || host->stop) {
            end(host);
            more = false;
        }
        unlock(host);
    }
    return NULL;
}

/* ---- the calls ---- */

fl_status
mfs_host_create(const char *path, const struct mfs_host_options *options, struct mfs_host **out)
{
    struct mfs_host *host = mem_alloc_zero(sizeof(*host));

    if (host == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "no memory for a host");
    }
    pthread_condattr_t monotonic;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&host->lifts_over, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    (void)pthread_mutex_init(&host->lock, NULL);
    host->epoll = -1;
    host->listener = -1;
    host->kick = -1;
    host->ended_fd = -1;
    fl_status status = open_device(host, path, options);
    if (status == FL_OK) {
        status = mount(host, options);
    }
    if (status == FL_OK) {
        status = listen_for_clients(host, path);
    }
    if (status != FL_OK) {
        mfs_host_destroy(host);
        return status;
    }
    *out = host;
    return FL_OK;
}

fl_status
mfs_host_start(struct mfs_host *host)
{
    sigset_t all;
    sigset_t before;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    host->thread_runs = true;
    const int error = pthread_create(&host->thread, NULL, loop, host);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        host->thread_runs = false;
        errno = error;
        return FL_FAIL_ERRNO(FL_NO_MEMORY, "start the host's thread");
    }
    return FL_OK;
}

void
mfs_host_destroy(struct mfs_host *host)
{
    if (host->thread_runs) {
        (void)pthread_mutex_lock(&host->lock);
        host->stop = true;
        (void)pthread_mutex_unlock(&host->lock);
        host_kick(host);
        (void)pthread_join(host->thread, NULL);
    } else {
        end(host);
    }
    const int fds[] = {host->epoll, host->kick, host->ended_fd};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        if (fds[i] >= 0) {
            (void)close(fds[i]);
        }
    }
    if (host->zapped != NULL) {
        (void)munmap(host->zapped, host->zapped_count * sizeof(*host->zapped));
    }
    mem_free(host->spare);
    (void)pthread_cond_destroy(&host->lifts_over);
    (void)pthread_mutex_destroy(&host->lock);
    mem_free(host);
}

struct mfs *
mfs_host_lock(struct mfs_host *host)
{
    (void)pthread_mutex_lock(&host->lock);
    host->lifts_before = host->lifts_given;
    return host->fs;
}

void
mfs_host_unlock(struct mfs_host *host)
{
    if (host->lifts_given != host->lifts_before && !host->ended) {
        flush(host);
        host_lift_wait(host);
    }
    unlock(host);
}

struct mfs_media *
mfs_host_media(struct mfs_host *host)
{
    return host->fs != NULL ? host->media : NULL;
}

const char *
mfs_host_address(const struct mfs_host *host)
{
    return host->address_text;
}

int
mfs_host_ended_fd(const struct mfs_host *host)
{
    return host->ended_fd;
}

fl_status
mfs_host_adopt(struct mfs_host *host, int fd)
{
    (void)pthread_mutex_lock(&host->lock);
    fl_status status;
    if (host->fs == NULL) {
        (void)close(fd);
        status = FL_FAIL(FL_CLOSED, "the device's power is cut");
    } else {
        status = host_client_add(host, fd);
    }
    unlock(host);
    return status;
}

unsigned
mfs_host_clients(struct mfs_host *host)
{
    (void)pthread_mutex_lock(&host->lock);
    const unsigned count = host->clients_count;
    (void)pthread_mutex_unlock(&host->lock);
    return count;
}
