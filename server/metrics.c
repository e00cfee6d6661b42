#include "server/metrics.h"

#include "base/clock.h"

#include <string.h>

void
metrics_reset(struct metrics *metrics)
{
    const uint64_t stamp_start = metrics->stamp_start;
    const uint64_t stamp_start_ns = metrics->stamp_start_ns;

    memset(metrics, 0, sizeof(*metrics));
    metrics->stamp_start = stamp_start;
    metrics->stamp_start_ns = stamp_start_ns;
}

static void
rate_sample(struct metrics_rate *rate, uint64_t total, uint64_t now_ns)
{
    if (rate->last_ns != 0 && now_ns > rate->last_ns && total >= rate->last_total) {
        rate->samples[rate->next] =
            (total - rate->last_total) * CLOCK_NS_PER_S / (now_ns - rate->last_ns);
        rate->next = (rate->next + 1) % METRICS_SAMPLES;
    }
    rate->last_total = total;
    rate->last_ns = now_ns;
}

void
metrics_sample(struct metrics *metrics, uint64_t now_ns)
{
    if (metrics->stamp_start_ns == 0) {
        metrics->stamp_start_ns = now_ns;
        metrics->stamp_start = metrics_stamp();
    }
    rate_sample(&metrics->rate_commands, metrics->commands_total, now_ns);
    rate_sample(&metrics->rate_input, metrics->input_bytes_total, now_ns);
    rate_sample(&metrics->rate_output, metrics->output_bytes_total, now_ns);
}

uint64_t
metrics_rate_get(const struct metrics_rate *rate)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < METRICS_SAMPLES; i++) {
        sum += rate->samples[i];
    }
    return sum / METRICS_SAMPLES;
}

double
metrics_stamp_us(const struct metrics *metrics)
{
    const uint64_t stamps = metrics_stamp() - metrics->stamp_start;
    const uint64_t ns = clock_mono_ns() - metrics->stamp_start_ns;

    return stamps > 0 ? (double)ns / 1000.0 / (double)stamps : 0;
}
