#include "storage/modelfs/host_internal.h"

#include "base/clock.h"
#include "base/fail.h"

#include <poll.h>
#include <time.h>
#include <unistd.h>

/* Wait a moment for the process to be gone. */
static bool
wait_for_end(const struct host_client *client, uint64_t until)
{
    while (!host_client_has_ended(client)) {
        if (clock_mono_ns() > until) {
            return false;
        }
        const struct timespec moment = {.tv_nsec = 1000000};
        (void)nanosleep(&moment, NULL);
    }
    return true;
}

static fl_status
kill_others(struct mfs_host *host, int spare)
{
    const uint64_t until = clock_mono_ns() + (uint64_t)HOST_OFF_MS * CLOCK_NS_PER_MS;

    for (struct host_client *client = host->clients; client != NULL; client = client->next) {
        if (client->pid != spare) {
            host_client_kill(client);
        }
    }
    for (struct host_client *client = host->clients; client != NULL; client = client->next) {
        if (client->pid == spare || client->pidfd < 0) {
            continue;
        }
        if (!wait_for_end(client, until)) {
            return FL_FAIL(FL_BUSY, "process %d doesn't end", (int)client->pid);
        }
        client->dead = true;
    }
    return FL_OK;
}

/* Read what a client that is spared says, until it has ended its mappings. */
static bool
listen_for_off(struct host_client *client)
{
    struct mfs_host *host = client->host;
    struct wire_received received;

    host_engine_drain(client);
    host_client_flush(client);
    while (wire_receive(client->socket, host->receive, sizeof(host->receive), false, &received) ==
           FL_OK) {
        const struct wire_call *call = (const struct wire_call *)(const void *)host->receive;
        const bool done =
            wire_call_check(call, received.bytes, received.fds_count) && call->kind == WIRE_DONE;
        wire_close_fds(&received);
        const struct host_task *task = host_client_task(client);
        if (done && task != NULL && task->id == call->id) {
            const bool off = task->kind == WIRE_OFF;
            host_client_task_over(client);
            if (off) {
                return true;
            }
        }
    }
    return client->failed;
}

static fl_status
end_mappings(struct mfs_host *host)
{
    const uint64_t until = clock_mono_ns() + (uint64_t)HOST_OFF_MS * CLOCK_NS_PER_MS;

    for (struct host_client *client = host->clients; client != NULL; client = client->next) {
        if (!client->dead && !client->failed && client->uffd >= 0) {
            host_client_order(client, NULL, WIRE_OFF, 0, 0, 0, 0);
        }
    }
    for (struct host_client *client = host->clients; client != NULL; client = client->next) {
        if (client->dead || client->uffd < 0) {
            continue;
        }
        while (!listen_for_off(client)) {
            if (clock_mono_ns() > until) {
                return FL_FAIL(FL_BUSY, "process %d doesn't end its mappings", (int)client->pid);
            }
            struct pollfd fds[] = {{.fd = client->socket, .events = POLLIN},
                                   {.fd = client->uffd, .events = POLLIN}};
            (void)poll(fds, 2, 10);
        }
    }
    return FL_OK;
}

fl_status
mfs_host_powercut(struct mfs_host *host, uint64_t seed, int spare)
{
    if (host->fs == NULL) {
        return FL_FAIL(FL_CLOSED, "the power is cut already");
    }
    fl_status status = kill_others(host, spare);
    if (status == FL_OK) {
        status = end_mappings(host);
    }
    if (status != FL_OK) {
        return status;
    }
    mfs_abandon(host->fs);
    host->fs = NULL;
    status = mfs_media_cut_random(host->media, seed);
    if (status != FL_OK) {
        return status;
    }
    host->ended = true;
    host_kick(host);
    return FL_OK;
}
