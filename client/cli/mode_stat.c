#include "client/cli/modes.h"

#include "client/cli/figures.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

enum { LINES_PER_HEAD = 20 };

struct stat_sample {
    uint64_t requests;
    double at_s;
};

static double
now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static uint64_t
figure(const char *info, const char *name)
{
    uint64_t value = 0;

    return figures_get(info, name, &value) ? value : 0;
}

static void
print_line(const char *info, const struct stat_sample *before, struct stat_sample *sample)
{
    char memory[16];
    uint64_t memory_bytes = 0;
    double rate = 0;

    *sample = (struct stat_sample){
        .requests = figure(info, "total_commands_processed"),
        .at_s = now_s(),
    };
    if (before != NULL && sample->at_s > before->at_s && sample->requests >= before->requests) {
        rate = (double)(sample->requests - before->requests) / (sample->at_s - before->at_s);
    }
    if (!figures_get(info, "used_memory", &memory_bytes)) {
        memory_bytes = figure(info, "index_dram_bytes");
    }
    printf("%-11" PRIu64 " %-8s %-8" PRIu64 " %-8" PRIu64 " %-12" PRIu64 " %-12.0f %" PRIu64 "\n",
           figures_keys(info), figures_bytes(memory_bytes, memory),
           figure(info, "connected_clients"), figure(info, "blocked_clients"), sample->requests,
           rate, figure(info, "total_connections_received"));
    fflush(stdout);
}

enum cli_exit
mode_stat(struct session *session)
{
    const struct args *args = session->args;
    const char *const argv[] = {"INFO"};
    struct stat_sample samples[2];

    for (int64_t i = 0; !args->repeat_given || args->repeat < 0 || i < args->repeat; i++) {
        if (i > 0) {
            session_pause(session, 1);
        }
        struct fl_client_reply *reply = session_ask(session, 1, argv, NULL);
        const char *info = reply != NULL ? fl_client_reply_text(reply, NULL) : NULL;

        if (info == NULL) {
            fl_client_reply_destroy(reply);
            return session->client == NULL ? CLI_EXIT_NO_CONNECTION : CLI_EXIT_ERROR_REPLY;
        }
        if (i % LINES_PER_HEAD == 0) {
            printf("%-11s %-8s %-8s %-8s %-12s %-12s %s\n", "keys", "mem", "clients", "blocked",
                   "requests", "requests/s", "connections");
        }
        print_line(info, i > 0 ? &samples[(i + 1) % 2] : NULL, &samples[i % 2]);
        fl_client_reply_destroy(reply);
    }
    return CLI_EXIT_OK;
}
