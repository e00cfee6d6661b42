#include "storage/modelfs/host_internal.h"
#include "storage/modelfs/media_internal.h"

#include "base/clock.h"
#include "base/fail.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>

/* ---- a client's page tables ---- */

enum change { CHANGE_MAP, CHANGE_MAP_PROTECTED, CHANGE_ZEROS, CHANGE_PROTECT, CHANGE_UNPROTECT };

static fl_status
try_change(struct host_client *client, enum change change, uintptr_t address, size_t len)
{
    switch (change) {
    case CHANGE_MAP:
    case CHANGE_MAP_PROTECTED:
        return uffd_map(client->uffd, address, len, change == CHANGE_MAP_PROTECTED);
    case CHANGE_ZEROS:
        return uffd_map_zeros(client->uffd, address, len);
    case CHANGE_PROTECT:
    case CHANGE_UNPROTECT:
        break;
    }
    return uffd_protect(client->uffd, address, len, change == CHANGE_PROTECT);
}

/* The kernel changes nothing while the client moves a mapping and we haven't read that it does. A client that stays
 * in that state for too long is killed: rule C14, nobody waits for a mapper that is stopped. */
static fl_status
change(struct host_client *client, enum change what, uintptr_t address, size_t len)
{
    uint64_t until = clock_mono_ns() + (uint64_t)HOST_ANSWER_MS * CLOCK_NS_PER_MS;
    bool killed = false;

    for (unsigned turn = 0; !client->dead; turn++) {
        const fl_status status = try_change(client, what, address, len);
        if (status == FL_CLOSED) {
            break;
        }
        if (status != FL_AGAIN) {
            return status;
        }
        host_engine_drain(client);
        if (turn > 64) {
            const struct timespec moment = {.tv_nsec = 50000};
            (void)nanosleep(&moment, NULL);
        }
        if (client->pidfd >= 0 && clock_mono_ns() > until) {
            if (killed && host_client_has_ended(client)) {
                break;
            }
            host_client_kill(client);
            killed = true;
            until += (uint64_t)HOST_ANSWER_MS * CLOCK_NS_PER_MS;
        }
    }
    client->dead = true;
    client->failed = true;
    return FL_CLOSED;
}

static uintptr_t
address_of(const struct host_map *map, uint32_t block)
{
    return map->address + (uintptr_t)block * map->client->host->block_bytes;
}

static void
wake(const struct host_map *map, uint32_t block, uint32_t blocks)
{
    uffd_wake(map->client->uffd, address_of(map, block),
              (size_t)blocks * map->client->host->block_bytes);
}

static struct host_block *
block_of(struct host_map *map, uint32_t block)
{
    FL_ASSERT(block < map->blocks_count);
    if (block < map->low) {
        map->low = block;
    }
    if (block >= map->high) {
        map->high = block + 1;
    }
    return &map->blocks[block];
}

/* Take the range out of a file in memory: no process has it mapped after that. */
static void
punch(int fd, uint64_t off, uint64_t len)
{
    int result;

    do {
        result = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len);
    } while (result != 0 && errno == EINTR);
    FL_ASSERT(result == 0); /* what follows relies on it, and there is no other way */
}

static void
clear_void(struct host_map *map, uint32_t block)
{
    const uint32_t bytes = map->client->host->block_bytes;

    punch(map->void_fd, (uint64_t)block * bytes, bytes);
    map->blocks[block].zeros = false;
}

/* ---- entries ---- */

static bool
wanted(const struct host_map *map, const struct host_block *block)
{
    const struct mfs_host *host = map->client->host;

    return map->map != NULL && block->access != MFS_ACCESS_NONE &&
           block->told >= HOST_LED_TO_PHYS &&
           block->seq > host->zapped[block->told - HOST_LED_TO_PHYS];
}

static fl_status
map_live(struct host_client *client, uint64_t phys, uint32_t blocks, uintptr_t address,
         enum change what)
{
    struct mfs_host *host = client->host;
    const size_t len = (size_t)blocks * host->block_bytes;
    fl_status status = change(client, what, address, len);

    if (status == FL_INVALID) { /* pages that nobody has touched yet */
        const uint64_t off = host->data_off + phys * host->block_bytes;
        if (fallocate(host->media->live_fd, FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len) != 0) {
            return FL_FAIL_ERRNO(FL_NO_MEMORY, "allocate %zu bytes of the live image", len);
        }
        status = change(client, what, address, len);
    }
    return status;
}

/* An access that can't be served would fault again for ever: without memory, or with a kernel that can't do what the
 * client said it could, the client loses its mappings instead. */
static void
must(struct host_client *client, fl_status status)
{
    client->failed |= status != FL_OK && status != FL_NOT_FOUND;
}

/* Make the entries of blocks that lead to consecutive physical ones. Whoever isn't served so will fault again. */
static void
map_run(struct host_map *map, uint32_t first, uint32_t blocks)
{
    struct host_client *client = map->client;
    const enum mfs_access access = map->blocks[first].access;
    const bool store = access == MFS_ACCESS_WRITE;
    const uintptr_t address = address_of(map, first);
    const size_t len = (size_t)blocks * client->host->block_bytes;
    const bool touched = map->blocks[first].touched;

    if (!store && (client->lacks & UFFD_LACKS_CONTINUE_PROTECTED) != 0) {
        return;
    }
    for (uint32_t i = 0; i < blocks; i++) {
        map->blocks[first + i].touched = true;
    }
    /* Where a page is there and the store only waits for leave, no other page of the block can be absent, unless
     * the client's program took it out; that one faults by itself. */
    const bool present = store && client->host->fault_map == map && client->host->fault.present &&
                         client->host->fault.address - address < len;
    if (!present) {
        must(client, map_live(client, map->blocks[first].told - HOST_LED_TO_PHYS, blocks, address,
                              store ? CHANGE_MAP : CHANGE_MAP_PROTECTED));
    }
    if (store && touched) {
        must(client, change(client, CHANGE_UNPROTECT, address, len));
    }
}

/* Zeros about the place of the fault; the rest of a large block when it is asked for. */
static void
map_zeros(struct host_map *map, uint32_t block)
{
    struct mfs_host *host = map->client->host;
    const uint32_t chunk =
        host->block_bytes < UFFD_ZEROS_BYTES_MAX ? host->block_bytes : UFFD_ZEROS_BYTES_MAX;
    const uintptr_t start = address_of(map, block);

    if (host->fault_map != map || host->fault.address - start >= host->block_bytes) {
        return; /* nobody waits here */
    }
    const uintptr_t address = start + (host->fault.address - start) / chunk * chunk;
    map->blocks[block].zeros = true;
    fl_status status = change(map->client, CHANGE_ZEROS, address, chunk);
    if (status == FL_EXISTS) {
        punch(map->void_fd, address - map->address, chunk);
        status = change(map->client, CHANGE_ZEROS, address, chunk);
    }
    must(map->client, status);
}

/* ---- what the core orders ---- */

static fl_status
install(void *engine, struct mfs_map *mfs_map, uint32_t block, uint32_t phys,
        enum mfs_access access)
{
    struct mfs_host *host = engine;
    struct host_map *map = mfs_map_owner(mfs_map);
    struct host_client *client = map->client;

    if (client->dead || client->failed) {
        return FL_FAIL(FL_IO, "process %d is gone", (int)client->pid);
    }
    struct host_block *state = block_of(map, block);
    const bool settled = state->inflight == 0;
    state->access = (uint8_t)access;
    state->seq = ++host->seq;
    if (phys == MFS_PHYS_BUS || phys == MFS_PHYS_ZERO) {
        const uint32_t led = phys == MFS_PHYS_BUS ? HOST_LED_TO_BUS : HOST_LED_NOWHERE;
        if (state->told != led) {
            state->told = led;
            host_client_order(client, map, phys == MFS_PHYS_BUS ? WIRE_BUS : WIRE_VOID, block, 1,
                              led, 0);
        } else if (phys == MFS_PHYS_ZERO && settled) {
            map_zeros(map, block);
        }
        return FL_OK;
    }
    FL_ASSERT(phys < host->zapped_count);
    const uint32_t led = HOST_LED_TO_PHYS + phys;
    const bool prepare =
        access == MFS_ACCESS_READ && (client->lacks & UFFD_LACKS_CONTINUE_PROTECTED) != 0;
    if (state->told != led || (settled && prepare)) {
        state->told = led;
        host_client_order(client, map, prepare ? WIRE_PREPARE : WIRE_INSTALL, block, 1, led, 0);
    } else if (settled) {
        map_run(map, block, 1);
    }
    return FL_OK;
}

static void
protect(void *engine, struct mfs_map *mfs_map, uint32_t block)
{
    struct mfs_host *host = engine;
    struct host_map *map = mfs_map_owner(mfs_map);
    struct host_block *state = block_of(map, block);

    /* What is on its way makes no entry when it arrives. */
    state->access = MFS_ACCESS_NONE;
    if (state->touched) {
        (void)change(map->client, CHANGE_PROTECT, address_of(map, block), host->block_bytes);
    }
}

static void
zap(void *engine, uint32_t phys, bool keep)
{
    struct mfs_host *host = engine;
    struct mfs_media *media = host->media;
    const uint64_t off = host->data_off + (uint64_t)phys * host->block_bytes;

    FL_ASSERT(phys < host->zapped_count);
    host->zapped[phys] = ++host->seq;
    if (!keep) {
        punch(media->live_fd, off, host->block_bytes);
        return;
    }
    /* Under the lock that flushes hold: a client's flush of one of these lines must not see the hole. */
    media_lock(media);
    memcpy(host->spare, media->live + off, host->block_bytes);
    punch(media->live_fd, off, host->block_bytes);
    memcpy(media->live + off, host->spare, host->block_bytes);
    media_unlock(media);
}

static void
drop(void *engine, struct mfs_map *mfs_map, uint32_t block)
{
    struct host_map *map = mfs_map_owner(mfs_map);
    struct host_block *state = block_of(map, block);

    (void)engine;
    state->access = MFS_ACCESS_NONE;
    if (state->told == HOST_LED_NOWHERE) {
        clear_void(map, block);
    } else if (state->told == HOST_LED_TO_BUS) {
        state->told = HOST_LED_NOWHERE;
        host_client_order(map->client, map, WIRE_VOID, block, 1, HOST_LED_NOWHERE, 0);
    }
}

const struct mfs_engine_ops host_engine_ops = {
    .install = install, .protect = protect, .zap = zap, .drop = drop};

void
host_engine_guard(struct host_map *map)
{
    const struct mfs_host *host = map->client->host;

    for (uint32_t block = map->low; block < map->high; block++) {
        struct host_block *state = &map->blocks[block];
        state->access = MFS_ACCESS_NONE;
        if (state->touched) {
            (void)change(map->client, CHANGE_PROTECT, address_of(map, block), host->block_bytes);
        }
    }
}

/* ---- answers ---- */

/* Blocks of the order that still lead where it said, with nothing newer on the way. */
static bool
stands(const struct host_map *map, const struct host_task *task, uint32_t index)
{
    const struct host_block *state = &map->blocks[task->block + index];
    const uint32_t led = task->led >= HOST_LED_TO_PHYS ? task->led + index : task->led;

    return state->inflight == 0 && state->told == led;
}

/* The blocks are in place: make the entries that are still wanted. */
static void
placed(struct host_map *map, const struct host_task *task)
{
    uint32_t run = 0;

    for (uint32_t i = 0; i <= task->blocks; i++) {
        const struct host_block *state = &map->blocks[task->block + i];
        const struct host_block *first = state - run;
        const bool fits = i < task->blocks && stands(map, task, i) && wanted(map, state);
        if (run > 0 &&
            (!fits || state->access != first->access || state->touched != first->touched)) {
            map_run(map, task->block + i - run, run);
            run = 0;
        }
        run += fits ? 1 : 0;
    }
}

/* Entries made where nobody stores yet, write-protected, then put in place: for kernels that can't make such entries
 * in one step (see enum uffd_lacks). */
static void
prepared(struct host_map *map, const struct host_task *task, uintptr_t address)
{
    const uint32_t bytes = map->client->host->block_bytes;

    for (uint32_t i = 0; i < task->blocks; i++) {
        const struct host_block *state = &map->blocks[task->block + i];
        const uint32_t led = task->led + i;
        const uintptr_t at = address + (uintptr_t)i * bytes;
        if (state->told == led && wanted(map, state) &&
            map_live(map->client, led - HOST_LED_TO_PHYS, 1, at, CHANGE_MAP) == FL_OK) {
            (void)change(map->client, CHANGE_PROTECT, at, bytes);
        }
    }
    host_client_order(map->client, map, WIRE_PLACE, task->block, task->blocks, task->led, address);
}

static void
carried_out(struct host_map *map, const struct host_task *task, const struct wire_call *call)
{
    for (uint32_t i = 0; i < task->blocks; i++) {
        struct host_block *state = &map->blocks[task->block + i];
        state->inflight--;
        /* The client's order took the entries away that were there; PLACE brought new ones. */
        if (task->kind != WIRE_PREPARE) {
            state->touched = task->kind == WIRE_PLACE;
        }
        if (state->zeros && task->kind != WIRE_VOID && task->kind != WIRE_PREPARE) {
            clear_void(map, task->block + i);
        }
    }
    if (task->kind == WIRE_PREPARE) {
        prepared(map, task, (uintptr_t)call->address);
        return;
    }
    if (task->kind == WIRE_INSTALL || task->kind == WIRE_PLACE) {
        placed(map, task);
    }
    wake(map, task->block, task->blocks);
}

bool
host_engine_done(struct host_client *client, const struct wire_call *call)
{
    const struct host_task *front = host_client_task(client);

    if (front == NULL || front->id != call->id || call->flags != 0 ||
        call->address % UFFD_PAGE_BYTES != 0 || call->address >> 47 != 0) {
        return false;
    }
    const struct host_task task = *front;
    if (task.map != NULL) {
        carried_out(task.map, &task, call);
    }
    host_client_task_over(client);
    return true;
}

/* ---- faults ---- */

static struct host_map *
map_at(const struct host_client *client, uintptr_t address)
{
    const size_t bytes = client->host->block_bytes;

    for (struct host_map *map = client->maps; map != NULL; map = map->next) {
        if (map->map != NULL && address - map->address < map->blocks_count * bytes) {
            return map;
        }
    }
    return NULL;
}

static void
serve(struct host_client *client, const struct uffd_event *fault)
{
    struct mfs_host *host = client->host;
    struct host_map *map = map_at(client, fault->address);

    if (map == NULL) { /* unmapped meanwhile, or never ours */
        uffd_wake(client->uffd, fault->address, UFFD_PAGE_BYTES);
        return;
    }
    const uint32_t block = (uint32_t)((fault->address - map->address) / host->block_bytes);
    host->fault_map = map;
    host->fault = *fault;
    (void)mfs_fault(map->map, block, fault->write);
    host->fault_map = NULL;
    if (map->blocks[block].inflight == 0) {
        wake(map, block, 1);
    }
}

/* A program that moves our mapping elsewhere takes entries out of our sight: they must be gone before anything is taken
 * back. */
static void
check_move(struct host_client *client, const struct uffd_event *event)
{
    if (map_at(client, event->address) != NULL) {
        struct pollfd process = {.fd = client->pidfd, .events = POLLIN};

        host_client_kill(client);
        client->failed = true;
        if (client->pidfd >= 0) {
            (void)poll(&process, 1, HOST_ANSWER_MS);
        }
    }
}

void
host_engine_drain(struct host_client *client)
{
    struct uffd_event event;

    /* The bound: a thread that is woken here faults again at once. */
    for (unsigned turn = 0; turn < 2 * HOST_FAULTS_MAX && uffd_next(client->uffd, &event); turn++) {
        if (event.kind == UFFD_MOVED) {
            check_move(client, &event);
        } else if (event.kind == UFFD_FAULT && client->faults_count < HOST_FAULTS_MAX) {
            client->faults[client->faults_count++] = event;
        } else if (event.kind == UFFD_FAULT) {
            uffd_wake(client->uffd, event.address, UFFD_PAGE_BYTES);
        }
    }
}

void
host_engine_faults(struct host_client *client)
{
    host_engine_drain(client);
    while (client->faults_count > 0 && !client->failed) {
        const struct uffd_event fault = client->faults[--client->faults_count];
        serve(client, &fault);
    }
}
