#include "storage/modelfs/host_internal.h"

#include "base/fail.h"
#include "base/mem.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const char userfaultfd_link[] = "anon_inode:[userfaultfd]";

/* What a call gives back: in the message, and behind it. */
struct answer {
    struct wire_note note;
    bool later; /* sent when the orders before it are carried out */
};

/* ---- HELLO ---- */

static bool
is_userfaultfd(int fd)
{
    char path[32];
    char target[sizeof(userfaultfd_link) + 1];

    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    const ssize_t length = readlink(path, target, sizeof(target));
    const int flags = fcntl(fd, F_GETFL);
    return length == (ssize_t)sizeof(userfaultfd_link) - 1 &&
           memcmp(target, userfaultfd_link, (size_t)length) == 0 && flags >= 0 &&
           (flags & O_NONBLOCK) != 0;
}

static fl_status
hello(struct host_client *client, const struct wire_call *call, struct wire_received *received)
{
    struct mfs_host *host = client->host;
    struct mfs_media_fds fds;

    if (client->uffd >= 0 || call->off != WIRE_VERSION) {
        return FL_FAIL(FL_VERSION, "the host speaks version %d of the protocol", WIRE_VERSION);
    }
    if (!is_userfaultfd(received->fds[0])) {
        return FL_FAIL(FL_PROTOCOL, "not a userfaultfd");
    }
    const fl_status status = mfs_media_fds(host->media, &fds);
    if (status != FL_OK) {
        return status;
    }
    client->uffd = received->fds[0];
    received->fds_count = 0;
    client->lacks = call->flags;
    const struct wire_note note = {.kind = WIRE_WELCOME,
                                   .id = call->id,
                                   .values = {mfs_media_size_bytes(host->media), host->data_off,
                                              host->block_bytes, (uint64_t)getpid()}};
    const int sent[] = {fds.live, fds.persisted, fds.control};
    const fl_status welcomed =
        wire_send(client->socket, &note, sizeof(note), NULL, 0, sent, WIRE_FDS_MAX, false);
    return welcomed != FL_OK ? welcomed : host_watch(host, client->uffd, &client->by_uffd);
}

/* ---- mappings ---- */

void
host_map_free(struct host_map *map)
{
    (void)munmap(map->blocks, map->blocks_count * sizeof(*map->blocks));
    (void)close(map->void_fd);
    mem_free(map);
}

fl_status
host_map_close(struct host_map *map)
{
    struct mfs_map *open = map->map;
    fl_status status = FL_OK;

    if (open != NULL) {
        host_engine_guard(map);
        if (map->client->host->fs != NULL) {
            status = mfs_map_close(open);
        }
        map->map = NULL;
    }
    return status;
}

static struct host_map *
find_map(const struct host_client *client, uint32_t id)
{
    struct host_map *map = client->maps;

    while (map != NULL && (map->id != id || map->map == NULL)) {
        map = map->next;
    }
    return map;
}

/* The void file is a memfd: what is punched into it can't be anybody's data. Of files in memory those of tmpfs, and no
 * memfd that allows sealing, are sealed against sealing. */
static bool
is_void_file(int fd, uint64_t len)
{
    const int seals = fcntl(fd, F_GET_SEALS);
    struct stat st;

    return seals >= 0 && (seals & F_SEAL_SEAL) == 0 && fstat(fd, &st) == 0 &&
           (uint64_t)st.st_size >= len;
}

static fl_status
check_map(const struct host_client *client, const struct wire_call *call, int void_fd)
{
    const struct mfs_host *host = client->host;
    const uint64_t blocks_max = UINT32_MAX - HOST_LED_TO_PHYS;

    if (call->len == 0 || call->off % host->block_bytes != 0 ||
        call->len % host->block_bytes != 0 ||
        (call->off + call->len) / host->block_bytes > blocks_max) {
        return FL_FAIL(FL_INVALID, "a mapping's offset and length are whole blocks of %u bytes",
                       host->block_bytes);
    }
    if (call->address % UFFD_PAGE_BYTES != 0 || call->address >> 47 != 0 ||
        call->len > ((uint64_t)1 << 47) - call->address) {
        return FL_FAIL(FL_PROTOCOL, "not an address");
    }
    if (!is_void_file(void_fd, call->len) || client->uffd < 0 ||
        (call->flags != MFS_MAP_PLAIN && call->flags != MFS_MAP_NOSYNC)) {
        return FL_FAIL(FL_PROTOCOL, "not a mapping that can be served");
    }
    for (const struct host_map *map = client->maps; map != NULL; map = map->next) {
        const uint64_t len = (uint64_t)map->blocks_count * host->block_bytes;
        if (map->id == call->map || (map->map != NULL && call->address < map->address + len &&
                                     map->address < call->address + call->len)) {
            return FL_FAIL(FL_PROTOCOL, "a mapping's number or place is taken");
        }
    }
    return client->maps_count < HOST_MAPS_MAX
               ? FL_OK
               : FL_FAIL(FL_NO_MEMORY, "a client has at most %d mappings", HOST_MAPS_MAX);
}

static fl_status
map_file(struct host_client *client, const struct wire_call *call, uint64_t ino,
         struct wire_received *received)
{
    const struct mfs_host *host = client->host;
    fl_status status = check_map(client, call, received->fds[0]);

    if (status != FL_OK) {
        return status;
    }
    struct host_map *map = mem_alloc_zero(sizeof(*map));
    if (map == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "no memory for a mapping");
    }
    map->client = client;
    map->id = call->map;
    map->address = (uintptr_t)call->address;
    map->blocks_count = (uint32_t)(call->len / host->block_bytes);
    map->low = map->blocks_count;
    map->void_fd = received->fds[0];
    received->fds_count = 0;
    /* Memory that is only taken where blocks are touched. */
    void *blocks = mmap(NULL, map->blocks_count * sizeof(*map->blocks), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    status = blocks == MAP_FAILED ? FL_FAIL_ERRNO(FL_NO_MEMORY, "no memory for a mapping") : FL_OK;
    if (status == FL_OK) {
        map->blocks = blocks;
        status = mfs_map_open(host->fs, ino, (uint32_t)(call->off / host->block_bytes),
                              map->blocks_count, (enum mfs_map_kind)call->flags, map, &map->map);
    }
    if (status != FL_OK) {
        map->blocks = blocks == MAP_FAILED ? NULL : blocks;
        host_map_free(map);
        return status;
    }
    map->next = client->maps;
    client->maps = map;
    client->maps_count++;
    return FL_OK;
}

static fl_status
unmap(struct host_client *client, const struct wire_call *call)
{
    struct host_map *map = find_map(client, call->map);

    if (map == NULL) {
        return FL_FAIL(FL_INVALID, "no mapping %u", call->map);
    }
    const fl_status status = host_map_close(map);
    client->maps_count--;
    if (map->tasks == 0) {
        struct host_map **link = &client->maps;
        while (*link != map) {
            link = &(*link)->next;
        }
        *link = map->next;
        host_map_free(map);
    }
    return status;
}

static fl_status
populate(struct host_client *client, const struct wire_call *call, struct answer *answer)
{
    const uint32_t bytes = client->host->block_bytes;
    struct host_map *map = find_map(client, call->map);

    if (map == NULL) {
        return FL_FAIL(FL_INVALID, "no mapping %u", call->map);
    }
    const uint64_t first = call->off / bytes;
    const uint64_t end = (call->off + call->len + bytes - 1) / bytes;
    if (end > map->blocks_count) {
        return FL_FAIL(FL_INVALID, "populate up to block %ju of %u", (uintmax_t)end,
                       map->blocks_count);
    }
    const fl_status status = mfs_populate(map->map, (uint32_t)first, (uint32_t)(end - first));
    answer->later = status == FL_OK;
    return status;
}

/* ---- files ---- */

static fl_status
size(struct mfs *fs, uint64_t ino, struct answer *answer)
{
    struct mfs_stat stat;
    const fl_status status = mfs_stat(fs, ino, &stat);

    if (status == FL_OK) {
        answer->note.values[0] = stat.size_bytes;
        answer->note.values[1] = stat.blocks * mfs_block_bytes(fs);
    }
    return status;
}

static fl_status
read_bytes(struct mfs_host *host, uint64_t ino, const struct wire_call *call, struct answer *answer)
{
    size_t done = 0;
    const fl_status status =
        mfs_read(host->fs, ino, call->off, host->send, (size_t)call->len, &done);

    if (status == FL_OK) {
        answer->note.data_bytes = (uint32_t)done;
        answer->note.values[0] = done;
    }
    return status;
}

static fl_status
write_bytes(struct mfs_host *host, uint64_t ino, const struct wire_call *call,
            struct answer *answer)
{
    size_t done = 0;
    const fl_status status =
        mfs_write(host->fs, ino, call->off, host->receive + sizeof(*call), call->data_bytes, &done);

    answer->note.values[0] = done;
    return status;
}

static fl_status
clone_file(struct mfs *fs, uint64_t from, const char *to)
{
    uint64_t ino;
    const fl_status status = mfs_lookup(fs, to, &ino);

    return status != FL_OK ? status : mfs_clone(fs, from, ino);
}

static void
figures(struct mfs *fs, struct answer *answer)
{
    const struct mfs_counts counts = mfs_counts(fs);
    const struct mfs_statfs statfs = mfs_statfs(fs);
    const uint64_t values[WIRE_VALUES] = {
        counts.commits,    counts.faults_read, counts.faults_write, counts.faults_protected,
        counts.faults_bus, statfs.blocks,      statfs.blocks_free};

    memcpy(answer->note.values, values, sizeof(values));
}

/* Calls about one file that is there. */
static fl_status
serve_file(struct host_client *client, const struct wire_call *call, struct wire_received *received,
           struct answer *answer)
{
    struct mfs_host *host = client->host;
    struct mfs *fs = host->fs;
    uint64_t ino = 0;

    if (call->kind != WIRE_FSYNC || call->name[0] != '\0') {
        const fl_status status = mfs_lookup(fs, call->name, &ino);
        if (status != FL_OK) {
            return status;
        }
    }
    switch ((enum wire_call_kind)call->kind) {
    case WIRE_CLONE:
        return clone_file(fs, ino, call->to);
    case WIRE_SIZE:
        return size(fs, ino, answer);
    case WIRE_READ:
        return read_bytes(host, ino, call, answer);
    case WIRE_WRITE:
        return write_bytes(host, ino, call, answer);
    case WIRE_TRUNCATE:
        return mfs_truncate(fs, ino, call->off);
    case WIRE_ALLOCATE:
        return mfs_allocate(fs, ino, call->off, call->len, call->flags != 0);
    case WIRE_PUNCH:
        return mfs_punch(fs, ino, call->off, call->len);
    case WIRE_COLLAPSE:
        return mfs_collapse(fs, ino, call->off, call->len);
    case WIRE_FSYNC:
        return mfs_fsync(fs, ino);
    case WIRE_MAP:
        return map_file(client, call, ino, received);
    case WIRE_HELLO:
    case WIRE_DONE:
    case WIRE_CREATE:
    case WIRE_UNLINK:
    case WIRE_RENAME:
    case WIRE_UNMAP:
    case WIRE_POPULATE:
    case WIRE_POWERCUT:
    case WIRE_FIGURES:
    case WIRE_CALL_KINDS:
        break;
    }
    return FL_FAIL(FL_PROTOCOL, "call %u", call->kind);
}

static fl_status
serve(struct host_client *client, const struct wire_call *call, struct wire_received *received,
      struct answer *answer)
{
    struct mfs_host *host = client->host;
    uint64_t ino;

    if (call->kind == WIRE_CREATE) {
        return mfs_create(host->fs, call->name, &ino);
    }
    if (call->kind == WIRE_UNLINK) {
        return mfs_unlink(host->fs, call->name);
    }
    if (call->kind == WIRE_RENAME) {
        return mfs_rename(host->fs, call->name, call->to);
    }
    if (call->kind == WIRE_UNMAP) {
        return unmap(client, call);
    }
    if (call->kind == WIRE_POPULATE) {
        return populate(client, call, answer);
    }
    if (call->kind == WIRE_POWERCUT) {
        return mfs_host_powercut(host, call->off, client->pid);
    }
    if (call->kind == WIRE_FIGURES) {
        figures(host->fs, answer);
        return FL_OK;
    }
    return serve_file(client, call, received, answer);
}

void
host_call(struct host_client *client, const struct wire_call *call, struct wire_received *received)
{
    struct answer answer = {.note = {.kind = WIRE_REPLY, .id = call->id}};
    const bool welcome = call->kind == WIRE_HELLO;
    /* The call lies in a buffer that cutting the power, which listens to clients, uses too. */
    const uint64_t id = call->id;
    const uint64_t given = client->host->lifts_given;

    const fl_status status =
        welcome ? hello(client, call, received) : serve(client, call, received, &answer);
    if (welcome && status == FL_OK) {
        return;
    }
    if (answer.later) {
        host_client_reply_last(client, id);
        return;
    }
    answer.note.status = (int32_t)status;
    if (status != FL_OK) {
        (void)snprintf(answer.note.text, sizeof(answer.note.text), "%s", fl_last_error());
    }
    if (!host_lift_park(client, given, &answer.note)) {
        host_client_send(client, &answer.note, client->host->send);
    }
    if (status == FL_PROTOCOL || welcome) {
        client->failed = true;
    }
}
