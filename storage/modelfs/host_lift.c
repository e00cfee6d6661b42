#include "storage/modelfs/host_internal.h"

#include "base/clock.h"
#include "base/mem.h"

#include <time.h>

static uint64_t
deadline(void)
{
    return clock_mono_ns() + (uint64_t)HOST_LIFT_MS * CLOCK_NS_PER_MS;
}

static void
send_parked(struct host_client *client)
{
    while (client->parked != NULL) {
        struct host_message *message = client->parked;
        client->parked = message->next;
        host_client_send(client, &message->note, NULL);
        mem_free(message);
    }
}

static void
send_all_parked(struct mfs_host *host)
{
    for (struct host_client *client = host->clients; client != NULL; client = client->next) {
        send_parked(client);
    }
    host->parked_until = 0;
}

void
host_lift_given(struct mfs_host *host, uint32_t kind)
{
    if (kind == WIRE_VOID) {
        host->lifts++;
        host->lifts_given++;
    }
}

void
host_lift_over(struct mfs_host *host, uint32_t kind)
{
    if (kind != WIRE_VOID || --host->lifts > 0) {
        return;
    }
    if (host->parked_until != 0) {
        send_all_parked(host);
    }
    (void)pthread_cond_broadcast(&host->lifts_over);
}

bool
host_lift_park(struct host_client *client, uint64_t given, const struct wire_note *note)
{
    struct mfs_host *host = client->host;

    if (host->lifts_given == given || host->lifts == 0 || note->data_bytes != 0 || host->ended) {
        return false;
    }
    struct host_message *message = mem_alloc(sizeof(*message));
    if (message == NULL) {
        return false; /* the answer is right, if early */
    }
    message->note = *note;
    message->next = client->parked;
    client->parked = message;
    if (host->parked_until == 0) {
        host->parked_until = deadline();
    }
    return true;
}

int
host_lift_tend(struct mfs_host *host)
{
    if (host->parked_until == 0) {
        return -1;
    }
    const uint64_t now = clock_mono_ns();
    if (now >= host->parked_until) {
        send_all_parked(host);
        return -1;
    }
    return (int)((host->parked_until - now) / CLOCK_NS_PER_MS) + 1;
}

void
host_lift_wait(struct mfs_host *host)
{
    const uint64_t until = deadline();
    const struct timespec at = {.tv_sec = (time_t)(until / CLOCK_NS_PER_S),
                                .tv_nsec = (long)(until % CLOCK_NS_PER_S)};
    int result = 0;

    while (host->lifts > 0 && !host->ended && !host->stop && result == 0) {
        result = pthread_cond_timedwait(&host->lifts_over, &host->lock, &at);
    }
}
