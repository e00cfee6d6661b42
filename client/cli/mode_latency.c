#include "client/cli/modes.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define LATENCY_PAUSE_S 0.01

enum { LATENCY_ONCE_S = 1 }; /* how long to measure when nobody watches and -r says nothing */

struct latency {
    uint64_t count;
    double min_ms;
    double max_ms;
    double sum_ms;
};

static double
now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void
add(struct latency *latency, double ms)
{
    if (latency->count == 0 || ms < latency->min_ms) {
        latency->min_ms = ms;
    }
    if (latency->count == 0 || ms > latency->max_ms) {
        latency->max_ms = ms;
    }
    latency->sum_ms += ms;
    latency->count++;
}

static void
print(const struct latency *latency, enum output_format format, const char *before,
      const char *after)
{
    const double mean_ms = latency->count > 0 ? latency->sum_ms / (double)latency->count : 0;

    printf(format == OUTPUT_JSON
               ? "%s{\"min_ms\":%.3f,\"max_ms\":%.3f,\"avg_ms\":%.3f,\"samples\":%" PRIu64 "}%s"
               : "%smin: %.3f, max: %.3f, avg: %.3f ms (%" PRIu64 " samples)%s",
           before, latency->min_ms, latency->max_ms, mean_ms, latency->count, after);
    fflush(stdout);
}

enum cli_exit
mode_latency(struct session *session)
{
    const struct args *args = session->args;
    const char *const argv[] = {"PING"};
    const bool watched = args->format == OUTPUT_HUMAN && isatty(STDOUT_FILENO);
    const bool counted = args->repeat_given && args->repeat >= 0;
    const double began_ms = now_ms();
    struct latency latency = {0};

    while (counted ? latency.count < (uint64_t)args->repeat
                   : watched || now_ms() - began_ms < LATENCY_ONCE_S * 1e3) {
        if (latency.count > 0) {
            session_pause(session, LATENCY_PAUSE_S);
        }
        const double sent_ms = now_ms();
        struct fl_client_reply *reply = session_ask(session, 1, argv, NULL);

        if (reply == NULL) {
            return session->client == NULL ? CLI_EXIT_NO_CONNECTION : CLI_EXIT_ERROR_REPLY;
        }
        add(&latency, now_ms() - sent_ms);
        fl_client_reply_destroy(reply);
        if (watched) {
            print(&latency, args->format, "\r", "");
        }
    }
    print(&latency, args->format, watched ? "\r" : "", "\n");
    return CLI_EXIT_OK;
}
