/* Counters of the server, and rates sampled ten times a second. Plain numbers: one thread writes
 * and reads them. */
#ifndef FL_SERVER_METRICS_H
#define FL_SERVER_METRICS_H

#include <stdint.h>

enum {
    METRICS_SAMPLES = 16,
    METRICS_COMMANDS_MAX = 512, /* ids of proto/command_table.h fit */
};

struct metrics_rate {
    uint64_t last_total;
    uint64_t last_ns;
    uint64_t samples[METRICS_SAMPLES]; /* per second */
    unsigned next;
};

struct metrics_command {
    uint64_t calls;
    uint64_t ticks;    /* of the time stamp counter */
    uint64_t rejected; /* refused before execution */
    uint64_t failed;   /* an error was replied */
};

struct metrics {
    uint64_t connections_total;
    uint64_t connections_rejected;
    uint64_t commands_total;
    uint64_t errors_total;
    uint64_t protocol_errors_total;
    uint64_t input_bytes_total;
    uint64_t output_bytes_total;
    uint64_t keyspace_hits;
    uint64_t keyspace_misses;
    uint64_t ticks_total;   /* turns of the loop that executed something */
    uint64_t commits_total; /* batches handed to the store */
    uint64_t output_limit_closed;
    uint64_t query_limit_closed;
    uint64_t idle_closed;
    uint64_t stamp_start; /* both taken at the first sample */
    uint64_t stamp_start_ns;
    struct metrics_rate rate_commands;
    struct metrics_rate rate_input;
    struct metrics_rate rate_output;
    struct metrics_command commands[METRICS_COMMANDS_MAX]; /* by command id */
};

/* CONFIG RESETSTAT. */
void metrics_reset(struct metrics *metrics);

/* Called every 100 ms. */
void metrics_sample(struct metrics *metrics, uint64_t now_ns);
uint64_t metrics_rate_get(const struct metrics_rate *rate); /* per second, mean of the samples */

/* A cheap stamp for the time of one command, and what one stamp is worth, measured since the
 * start. */
static inline uint64_t
metrics_stamp(void)
{
    return __builtin_ia32_rdtsc();
}

double metrics_stamp_us(const struct metrics *metrics); /* microseconds of one stamp */

#endif
