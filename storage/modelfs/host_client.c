#include "storage/modelfs/host_internal.h"

#include "base/fail.h"
#include "base/mem.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- arriving ---- */

/* Only this user's processes, and root's. */
static fl_status
check_peer(struct host_client *client)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);

    if (getsockopt(client->socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
        return FL_FAIL_ERRNO(FL_IO, "ask who is there");
    }
    if (peer.uid != geteuid() && peer.uid != 0) {
        return FL_FAIL(FL_INVALID, "process %d of user %u may not attach", (int)peer.pid, peer.uid);
    }
    client->pid = peer.pid;
    if (client->pid == getpid()) {
        return FL_OK; /* it ends when we do */
    }
    client->pidfd = pidfd_open(client->pid, 0);
    if (client->pidfd < 0) {
        return FL_FAIL_ERRNO(FL_CLOSED, "watch process %d", (int)client->pid);
    }
    /* A number can be another process's by now, but not while the connection of the first one stands. */
    struct pollfd socket = {.fd = client->socket, .events = POLLRDHUP};
    if (poll(&socket, 1, 0) != 0) {
        return FL_FAIL(FL_CLOSED, "process %d is gone again", (int)client->pid);
    }
    return FL_OK;
}

static void
release(struct host_client *client)
{
    const int fds[] = {client->socket, client->uffd, client->pidfd};

    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        if (fds[i] >= 0) {
            /* Another process has the same open file: closing alone would leave it in the poll set. */
            (void)epoll_ctl(client->host->epoll, EPOLL_CTL_DEL, fds[i], NULL);
            (void)close(fds[i]);
        }
    }
    for (struct host_message **list = &client->queue; list != NULL;
         list = list == &client->queue ? &client->parked : NULL) {
        while (*list != NULL) {
            struct host_message *message = *list;
            *list = message->next;
            mem_free(message);
        }
    }
    mem_free(client->tasks);
    mem_free(client);
}

fl_status
host_client_add(struct mfs_host *host, int socket)
{
    struct host_client *client = mem_alloc_zero(sizeof(*client));

    if (client == NULL) {
        (void)close(socket);
        return FL_FAIL(FL_NO_MEMORY, "no memory for a client");
    }
    client->host = host;
    client->socket = socket;
    client->uffd = -1;
    client->pidfd = -1;
    client->queue_end = &client->queue;
    client->by_socket = (struct host_source){HOST_SOURCE_SOCKET, client};
    client->by_uffd = (struct host_source){HOST_SOURCE_UFFD, client};
    client->by_pidfd = (struct host_source){HOST_SOURCE_PIDFD, client};
    fl_status status = host->clients_count < HOST_CLIENTS_MAX
                           ? check_peer(client)
                           : FL_FAIL(FL_BUSY, "%d clients are attached", HOST_CLIENTS_MAX);
    if (status == FL_OK && client->pidfd >= 0) {
        status = host_watch(host, client->pidfd, &client->by_pidfd);
    }
    if (status == FL_OK) {
        status = host_watch(host, socket, &client->by_socket);
    }
    if (status != FL_OK) {
        release(client);
        return status;
    }
    client->polled = EPOLLIN;
    client->next = host->clients;
    host->clients = client;
    host->clients_count++;
    return FL_OK;
}

/* ---- leaving ---- */

static struct host_task *
task_at(const struct host_client *client, uint32_t index)
{
    return &client->tasks[(client->tasks_first + index) & (client->tasks_room - 1)];
}

bool
host_client_has_ended(const struct host_client *client)
{
    struct pollfd process = {.fd = client->pidfd, .events = POLLIN};

    return client->pidfd >= 0 && poll(&process, 1, 0) == 1;
}

void
host_client_kill(struct host_client *client)
{
    if (client->pidfd >= 0) {
        (void)pidfd_send_signal(client->pidfd, SIGKILL, NULL, 0);
        client->failed = true;
        host_kick(client->host);
    }
}

void
host_client_drop(struct host_client *client)
{
    struct mfs_host *host = client->host;

    client->failed = true;
    for (struct host_client **link = &host->clients; *link != NULL; link = &(*link)->next) {
        if (*link == client) {
            *link = client->next;
            host->clients_count--;
            break;
        }
    }
    for (uint32_t i = 0; i < client->tasks_count; i++) {
        host_lift_over(host, task_at(client, i)->kind);
    }
    for (struct host_map *map = client->maps; map != NULL; map = map->next) {
        (void)host_map_close(map);
    }
    while (client->maps != NULL) {
        struct host_map *map = client->maps;
        client->maps = map->next;
        host_map_free(map);
    }
    release(client);
}

/* ---- sending ---- */

static void
keep(struct host_client *client, const struct wire_note *note, const void *data)
{
    struct host_message *message = client->queue_count < HOST_QUEUE_MAX
                                       ? mem_alloc(sizeof(*message) + note->data_bytes)
                                       : NULL;

    if (message == NULL) {
        client->failed = true;
        return;
    }
    message->next = NULL;
    message->note = *note;
    if (data != NULL && note->data_bytes > 0) {
        memcpy(message->data, data, note->data_bytes);
    }
    *client->queue_end = message;
    client->queue_end = &message->next;
    client->queue_count++;
}

/* Send one message behind those that wait already. */
static void
transmit(struct host_client *client, const struct wire_note *note, const void *data)
{
    if (client->queue == NULL) {
        const fl_status status =
            wire_send(client->socket, note, sizeof(*note), data, note->data_bytes, NULL, 0, false);
        if (status == FL_OK) {
            return;
        }
        if (status != FL_AGAIN) {
            client->failed = true;
            return;
        }
    }
    keep(client, note, data);
}

static void
transmit_order(struct host_client *client)
{
    if (client->order_waits) {
        client->order_waits = false;
        transmit(client, &client->order, NULL);
    }
}

void
host_client_send(struct host_client *client, const struct wire_note *note, const void *data)
{
    if (!client->failed) {
        transmit_order(client);
        transmit(client, note, data);
    }
}

void
host_client_flush(struct host_client *client)
{
    if (client->failed) {
        return;
    }
    transmit_order(client);
    while (client->queue != NULL) {
        struct host_message *message = client->queue;
        const fl_status status = wire_send(client->socket, &message->note, sizeof(message->note),
                                           message->data, message->note.data_bytes, NULL, 0, false);
        if (status == FL_AGAIN) {
            break;
        }
        if (status != FL_OK) {
            client->failed = true;
            return;
        }
        client->queue = message->next;
        client->queue_count--;
        mem_free(message);
    }
    if (client->queue == NULL) {
        client->queue_end = &client->queue;
    }
    uint32_t events = client->queue != NULL ? EPOLLOUT : 0;
    events |= client->queue_count < HOST_REPLIES_MAX ? (uint32_t)EPOLLIN : 0;
    if (events != client->polled) {
        struct epoll_event event = {.events = events, .data.ptr = &client->by_socket};
        (void)epoll_ctl(client->host->epoll, EPOLL_CTL_MOD, client->socket, &event);
        client->polled = events;
    }
}

/* ---- orders ---- */

static struct host_task *
new_task(struct host_client *client)
{
    if (client->tasks_count == client->tasks_room) {
        const uint32_t room = client->tasks_room == 0 ? 64 : client->tasks_room * 2;
        struct host_task *tasks = room <= HOST_TASKS_MAX ? mem_alloc(room * sizeof(*tasks)) : NULL;
        if (tasks == NULL) {
            client->failed = true;
            return NULL;
        }
        for (uint32_t i = 0; i < client->tasks_count; i++) {
            tasks[i] = *task_at(client, i);
        }
        mem_free(client->tasks);
        client->tasks = tasks;
        client->tasks_first = 0;
        client->tasks_room = room;
    }
    return task_at(client, client->tasks_count++);
}

/* Whether the order not yet sent goes on with this block. */
static bool
extends(const struct host_client *client, const struct host_map *map, enum wire_note_kind kind,
        uint32_t block, uint32_t led)
{
    if (!client->order_waits || client->tasks_count == 0) {
        return false;
    }
    const struct host_task *task = task_at(client, client->tasks_count - 1);
    const uint32_t step = led >= HOST_LED_TO_PHYS ? task->blocks : 0;
    return task->id == client->order.id && task->map == map && task->kind == kind &&
           kind != WIRE_PLACE && task->block + task->blocks == block && task->led + step == led;
}

void
host_client_order(struct host_client *client, struct host_map *map, enum wire_note_kind kind,
                  uint32_t block, uint32_t blocks, uint32_t led, uint64_t value)
{
    if (client->failed) {
        return;
    }
    if (extends(client, map, kind, block, led)) {
        task_at(client, client->tasks_count - 1)->blocks += blocks;
        client->order.blocks += blocks;
    } else {
        transmit_order(client);
        struct host_task *task = new_task(client);
        if (task == NULL) {
            return;
        }
        *task = (struct host_task){.id = ++client->host->seq,
                                   .map = map,
                                   .kind = kind,
                                   .block = block,
                                   .blocks = blocks,
                                   .led = led};
        client->order =
            (struct wire_note){.kind = kind,
                               .id = task->id,
                               .map = map != NULL ? map->id : 0,
                               .block = block,
                               .blocks = blocks,
                               .phys = led >= HOST_LED_TO_PHYS ? led - HOST_LED_TO_PHYS : 0,
                               .values = {value}};
        client->order_waits = true;
        if (map != NULL) {
            map->tasks++;
        }
        host_lift_given(client->host, kind);
    }
    for (uint32_t i = 0; map != NULL && i < blocks; i++) {
        map->blocks[block + i].inflight++;
    }
}

static void
reply_ok(struct host_client *client, uint64_t id)
{
    const struct wire_note note = {.kind = WIRE_REPLY, .id = id, .status = FL_OK};

    host_client_send(client, &note, NULL);
}

void
host_client_reply_last(struct host_client *client, uint64_t id)
{
    if (client->tasks_count == 0) {
        reply_ok(client, id);
        return;
    }
    struct host_task *task = new_task(client);
    if (task != NULL) {
        *task = (struct host_task){.id = id, .kind = WIRE_REPLY};
    }
}

struct host_task *
host_client_task(struct host_client *client)
{
    return client->tasks_count > 0 ? task_at(client, 0) : NULL;
}

static void
remove_task(struct host_client *client)
{
    client->tasks_first = (client->tasks_first + 1) & (client->tasks_room - 1);
    client->tasks_count--;
}

void
host_client_task_over(struct host_client *client)
{
    struct host_map *map = task_at(client, 0)->map;

    host_lift_over(client->host, task_at(client, 0)->kind);
    remove_task(client);
    if (map != NULL && --map->tasks == 0 && map->map == NULL) {
        struct host_map **link = &client->maps;
        while (*link != map) {
            link = &(*link)->next;
        }
        *link = map->next;
        host_map_free(map);
    }
    while (client->tasks_count > 0 && task_at(client, 0)->kind == WIRE_REPLY) {
        const uint64_t id = task_at(client, 0)->id;
        remove_task(client);
        reply_ok(client, id);
    }
}

/* ---- receiving ---- */

void
host_client_receive(struct host_client *client)
{
    struct mfs_host *host = client->host;
    struct wire_received received;

    /* A bound, so that one client that never stops asking doesn't keep the others waiting. */
    for (unsigned turn = 0;
         turn < 64 && client->queue_count < HOST_REPLIES_MAX && !client->failed && !host->ended;
         turn++) {
        const fl_status status =
            wire_receive(client->socket, host->receive, sizeof(host->receive), false, &received);
        if (status == FL_AGAIN) {
            return;
        }
        const struct wire_call *call = (const struct wire_call *)(const void *)host->receive;
        if (status != FL_OK || !wire_call_check(call, received.bytes, received.fds_count)) {
            client->failed = true;
        } else if (call->kind == WIRE_DONE) {
            client->failed |= !host_engine_done(client, call);
        } else {
            host_call(client, call, &received);
        }
        wire_close_fds(&received);
    }
}
