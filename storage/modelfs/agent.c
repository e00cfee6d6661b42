#include "storage/modelfs/client.h"

#include "base/fail.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { WARDEN_DRAIN_MS = 5 };

/* ---- address space ---- */

/* Inaccessible until it is registered: not even mlockall() of the future makes entries that nobody watches. */
fl_status
client_map_registered(struct fl_modelfs *fs, void *address, int fd, uint64_t off, size_t len,
                      void **out)
{
    void *ptr = mmap(address, len, PROT_NONE, MAP_SHARED | (address != NULL ? MAP_FIXED : 0), fd,
                     (off_t)off);

    if (ptr == MAP_FAILED) {
        return FL_FAIL_ERRNO(FL_NO_MEMORY,
                             "map %zu bytes (vm.max_map_count limits how many pieces)", len);
    }
    fl_status status = madvise(ptr, len, MADV_DONTFORK) == 0
                           ? uffd_register(fs->uffd, (uintptr_t)ptr, len)
                           : FL_FAIL_ERRNO(FL_NOT_SUPPORTED, "keep a mapping from children");
    if (status == FL_OK && mprotect(ptr, len, PROT_READ | PROT_WRITE) != 0) {
        status = FL_FAIL_ERRNO(FL_NO_MEMORY, "make %zu bytes accessible", len);
    }
    if (status != FL_OK) {
        (void)munmap(ptr, len);
        return status;
    }
    *out = ptr;
    return FL_OK;
}

/* Every access to the range raises SIGBUS. The system call itself: the kernel orders it with the program's accesses,
 * which go on meanwhile; a race detector takes the library's mmap() for a store to the range. */
static bool
map_empty(struct fl_modelfs *fs, uint8_t *address, size_t len)
{
    const long mapped = syscall(SYS_mmap, address, len, PROT_READ | PROT_WRITE,
                                MAP_SHARED | MAP_FIXED, fs->empty_fd, 0L);

    (void)madvise(address, len, MADV_DONTFORK);
    return mapped != -1;
}

/* As above for good, and who waits for an answer there gets that one. */
static void
end_range(struct fl_modelfs *fs, uint8_t *address, size_t len)
{
    const bool ended = map_empty(fs, address, len);

    /* One mapping in place of many takes no room. If it can't be ended, stores get through that nobody knows of. */
    FL_ASSERT(ended);
    uffd_wake(fs->uffd, (uintptr_t)address, len);
}

/* ---- orders ---- */

static struct fl_modelfs_map *
find_map(struct fl_modelfs *fs, uint32_t id)
{
    (void)pthread_mutex_lock(&fs->lock);
    struct fl_modelfs_map *map = fs->maps;
    while (map != NULL && map->id != id) {
        map = map->next;
    }
    (void)pthread_mutex_unlock(&fs->lock);
    return map;
}

static void
lead(struct fl_modelfs_map *map, uint32_t block, uint32_t blocks, uint32_t led)
{
    for (uint32_t i = 0; i < blocks; i++) {
        const uint32_t value = led >= CLIENT_LED_TO_PHYS ? led + i : led;
        atomic_store_explicit(&map->table[block + i], value, memory_order_release);
    }
}

static fl_status
move(void *from, uint8_t *to, size_t len)
{
    if (mremap(from, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to) == MAP_FAILED) {
        const fl_status status = FL_FAIL_ERRNO(
            FL_NO_MEMORY, "move %zu bytes into place (vm.max_map_count limits how many pieces)",
            len);
        (void)munmap(from, len);
        return status;
    }
    return FL_OK;
}

/* Carry out one order about a mapping; `prepared`: where, if it isn't in place yet. */
static fl_status
carry_out(struct fl_modelfs *fs, const struct wire_note *note, struct fl_modelfs_map *map,
          void **prepared)
{
    const size_t len = (size_t)note->blocks * fs->block_bytes;
    const uint64_t live_off = fs->data_off + (uint64_t)note->phys * fs->block_bytes;
    const uint64_t void_off = (uint64_t)note->block * fs->block_bytes;
    uint8_t *place = map->address + void_off;
    void *ptr = NULL;
    fl_status status;

    switch ((enum wire_note_kind)note->kind) {
    case WIRE_INSTALL:
    case WIRE_PREPARE:
        if (live_off > fs->size_bytes || len > fs->size_bytes - live_off) {
            return FL_FAIL(FL_PROTOCOL, "physical block %u", note->phys);
        }
        status = client_map_registered(fs, NULL, fs->live_fd, live_off, len, &ptr);
        if (status != FL_OK || note->kind == WIRE_PREPARE) {
            *prepared = ptr;
            return status;
        }
        status = move(ptr, place, len);
        lead(map, note->block, note->blocks, CLIENT_LED_TO_PHYS + note->phys);
        return status;
    case WIRE_PLACE:
        status = move((void *)(uintptr_t)note->values[0], place, len);
        lead(map, note->block, note->blocks, CLIENT_LED_TO_PHYS + note->phys);
        return status;
    case WIRE_VOID:
        lead(map, note->block, note->blocks, CLIENT_LED_NOWHERE);
        status = client_map_registered(fs, NULL, map->void_fd, void_off, len, &ptr);
        return status != FL_OK ? status : move(ptr, place, len);
    case WIRE_BUS:
        lead(map, note->block, note->blocks, CLIENT_LED_NOWHERE);
        return map_empty(fs, place, len) ? FL_OK
                                         : FL_FAIL_ERRNO(FL_NO_MEMORY, "map what raises SIGBUS");
    case WIRE_WELCOME:
    case WIRE_REPLY:
    case WIRE_OFF:
        break;
    }
    return FL_FAIL(FL_PROTOCOL, "order %u", note->kind);
}

static fl_status
obey(struct fl_modelfs *fs, const struct wire_note *note)
{
    struct fl_modelfs_map *map = find_map(fs, note->map);
    void *prepared = NULL;

    if (map == NULL || note->block > map->blocks_count ||
        note->blocks > map->blocks_count - note->block || note->blocks == 0) {
        return FL_FAIL(FL_PROTOCOL, "an order about no mapping of ours");
    }
    const fl_status status = carry_out(fs, note, map, &prepared);
    if (status != FL_OK) {
        return status;
    }
    const struct wire_call done = {
        .kind = WIRE_DONE, .id = note->id, .address = (uintptr_t)prepared};
    return wire_send(fs->socket, &done, sizeof(done), NULL, 0, NULL, 0, true);
}

/* ---- the end ---- */

/* No call is accepted and no mapping leads anywhere any more. */
static void
close_access(struct fl_modelfs *fs, const char *why)
{
    (void)pthread_mutex_lock(&fs->lock);
    if (!fs->closed) {
        fs->closed = true;
        (void)snprintf(fs->why, sizeof(fs->why), "%s", why);
    }
    for (struct fl_modelfs_map *map = fs->maps; map != NULL; map = map->next) {
        end_range(fs, map->address, map->len);
    }
    (void)pthread_mutex_unlock(&fs->lock);
    client_media_close(fs);
}

static void
fail_calls(struct fl_modelfs *fs)
{
    (void)pthread_mutex_lock(&fs->lock);
    while (fs->calls != NULL) {
        struct client_call *call = fs->calls;
        fs->calls = call->next;
        call->note.status = FL_CLOSED;
        (void)snprintf(call->note.text, sizeof(call->note.text), "%s", fs->why);
        call->done = true;
        (void)pthread_cond_signal(&call->changed);
    }
    (void)pthread_mutex_unlock(&fs->lock);
}

static fl_status
power_off(struct fl_modelfs *fs, const struct wire_note *note)
{
    const struct wire_call done = {.kind = WIRE_DONE, .id = note->id};

    close_access(fs, "the device's power was cut");
    return wire_send(fs->socket, &done, sizeof(done), NULL, 0, NULL, 0, true);
}

static void
deliver(struct fl_modelfs *fs, const struct wire_note *note, const uint8_t *data)
{
    (void)pthread_mutex_lock(&fs->lock);
    for (struct client_call **link = &fs->calls; *link != NULL; link = &(*link)->next) {
        struct client_call *call = *link;
        if (call->id == note->id) {
            *link = call->next;
            call->note = *note;
            if (call->data != NULL) {
                memcpy(call->data, data, note->data_bytes);
            }
            call->done = true;
            (void)pthread_cond_signal(&call->changed);
            break;
        }
    }
    (void)pthread_mutex_unlock(&fs->lock);
}

static fl_status
serve(struct fl_modelfs *fs)
{
    struct wire_received received;
    const fl_status status =
        wire_receive(fs->socket, fs->receive, sizeof(fs->receive), true, &received);

    if (status != FL_OK) {
        return status;
    }
    wire_close_fds(&received);
    const struct wire_note *note = (const struct wire_note *)(const void *)fs->receive;
    if (received.bytes < sizeof(*note) || note->data_bytes != received.bytes - sizeof(*note)) {
        return FL_FAIL(FL_PROTOCOL, "a message of %zu bytes", received.bytes);
    }
    if (note->kind == WIRE_REPLY) {
        deliver(fs, note, fs->receive + sizeof(*note));
        return FL_OK;
    }
    return note->kind == WIRE_OFF ? power_off(fs, note) : obey(fs, note);
}

static void *
agent(void *argument)
{
    struct fl_modelfs *fs = argument;
    char why[WIRE_TEXT_BYTES];
    fl_status status;

    do {
        status = serve(fs);
    } while (status == FL_OK);
    (void)snprintf(why, sizeof(why), "%.200s",
                   status == FL_CLOSED ? "the device's host is gone" : fl_last_error());
    close_access(fs, why);
    /* The host need not wait for orders that nobody carries out. */
    (void)shutdown(fs->socket, SHUT_RDWR);
    fail_calls(fs);
    atomic_store(&fs->agent_ended, true);
    return NULL;
}

/* ---- the warden ---- */

/* An agent that moves a mapping sleeps until somebody has read that it does. */
static void
let_agent_end(struct fl_modelfs *fs)
{
    struct uffd_event event;

    (void)shutdown(fs->socket, SHUT_RDWR);
    while (!atomic_load(&fs->agent_ended)) {
        while (uffd_next(fs->uffd, &event)) {
        }
        (void)poll(NULL, 0, WARDEN_DRAIN_MS);
    }
}

static void *
warden(void *argument)
{
    struct fl_modelfs *fs = argument;
    struct pollfd fds[] = {{.fd = fs->stop_fd, .events = POLLIN},
                           {.fd = fs->socket, .events = POLLRDHUP},
                           {.fd = fs->host_pidfd, .events = POLLIN}};

    while (poll(fds, 3, -1) <= 0) {
    }
    let_agent_end(fs);
    return NULL;
}

fl_status
client_agent_start(struct fl_modelfs *fs)
{
    sigset_t all;
    sigset_t before;

    fs->stop_fd = eventfd(0, EFD_CLOEXEC);
    fs->empty_fd = memfd_create("modelfs-empty", MFD_CLOEXEC);
    if (fs->stop_fd < 0 || fs->empty_fd < 0) {
        return FL_FAIL_ERRNO(FL_NO_MEMORY, "no descriptors to attach with");
    }
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&fs->agent, NULL, agent, fs);
    fs->has_agent = error == 0;
    if (error == 0) {
        error = pthread_create(&fs->warden, NULL, warden, fs);
        fs->has_warden = error == 0;
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        errno = error;
        return FL_FAIL_ERRNO(FL_NO_MEMORY, "start a thread");
    }
    return FL_OK;
}

void
client_agent_stop(struct fl_modelfs *fs)
{
    const uint64_t one = 1;

    if (fs->socket >= 0) {
        (void)shutdown(fs->socket, SHUT_RDWR);
    }
    if (fs->has_warden) {
        (void)!write(fs->stop_fd, &one, sizeof(one));
        (void)pthread_join(fs->warden, NULL);
    }
    if (fs->has_agent) {
        (void)pthread_join(fs->agent, NULL);
    }
}
