#include "tests/integration/kill9/ledger.h"

#include "tests/lib/rng.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { HEAD_BYTES = 32 };

static struct rng
stream(uint64_t seed, unsigned writer, uint64_t number)
{
    return (struct rng){seed ^ ((uint64_t)(writer + 1) << 48) ^
                        (number * UINT64_C(0x9E3779B97F4A7C15))};
}

struct ledger_step
ledger_step(uint64_t seed, unsigned writer, uint64_t number)
{
    struct rng rng = stream(seed, writer, number);
    const uint64_t dice = rng_below(&rng, 100);
    struct ledger_step step = {.number = number, .count = 1};

    if (dice < 62) {
        step.kind = dice < 55 ? LEDGER_SET : LEDGER_DELETE;
        step.first = (unsigned)rng_below(&rng, LEDGER_SINGLES);
        return step;
    }
    step.kind = dice < 78 ? LEDGER_GROUP_SET : dice < 96 ? LEDGER_GROUP_EXEC : LEDGER_GROUP_DELETE;
    step.first = LEDGER_SINGLES + (unsigned)rng_below(&rng, LEDGER_GROUPS) * LEDGER_MEMBERS;
    step.count = LEDGER_MEMBERS;
    return step;
}

void
ledger_key(unsigned writer, unsigned i, char name[LEDGER_KEY_BYTES + 1])
{
    snprintf(name, LEDGER_KEY_BYTES + 1, "w%02u:key%03u", writer % 100, i % 1000);
}

/* Mostly small; now and then over a block of the smallest geometry, or over what a segment takes. */
static size_t
value_length(struct rng *rng)
{
    const uint64_t dice = rng_below(rng, 1000);

    if (dice < 3) {
        return 260000 + rng_below(rng, LEDGER_VALUE_BYTES_MAX - 260000);
    }
    return HEAD_BYTES + rng_below(rng, dice < 20 ? 20000 : 400);
}

size_t
ledger_value(uint64_t seed, unsigned writer, unsigned i, uint64_t number, uint8_t *buf)
{
    struct rng rng = stream(seed + i + 1, writer, number);
    size_t len = value_length(&rng);

    if (i >= LEDGER_SINGLES && len > 20000) {
        len = HEAD_BYTES; /* a group of huge values would be all that a short round writes */
    }
    memset(buf, 0, HEAD_BYTES);
    snprintf((char *)buf, HEAD_BYTES, "%02u %03u %020" PRIu64, writer % 100, i % 1000, number);
    rng_fill(&rng, buf + HEAD_BYTES, len - HEAD_BYTES);
    return len;
}

uint64_t
ledger_identify(uint64_t seed, unsigned writer, unsigned i, const void *value, size_t len,
                uint8_t *scratch)
{
    char head[HEAD_BYTES + 1] = {0};
    unsigned value_writer;
    unsigned value_key;
    uint64_t number;

    if (len < HEAD_BYTES || len > LEDGER_VALUE_BYTES_MAX) {
        return 0;
    }
    memcpy(head, value, HEAD_BYTES);
    if (sscanf(head, "%u %u %" SCNu64, &value_writer, &value_key, &number) != 3 ||
        value_writer != writer || value_key != i || number == 0 ||
        ledger_value(seed, writer, i, number, scratch) != len || memcmp(scratch, value, len) != 0) {
        return 0;
    }
    return number;
}

void
ledger_init(struct ledger *ledger, uint64_t seed, unsigned writer)
{
    *ledger = (struct ledger){.seed = seed, .writer = writer};
}

void
ledger_begin(struct ledger *ledger, uint32_t life)
{
    ledger->settled = (uint64_t)life << 32;
    ledger->acked = ledger->settled;
    ledger->sent = ledger->settled;
    ledger->seen = 0;
}

static void
apply(uint64_t state[LEDGER_KEYS], const struct ledger_step *step)
{
    const bool deletes = step->kind == LEDGER_DELETE || step->kind == LEDGER_GROUP_DELETE;

    for (unsigned i = 0; i < step->count; i++) {
        state[step->first + i] = deletes ? 0 : step->number;
    }
}

/* Whether key `i`, alone, may look as observed after some number of steps in [low, sent]. */
static bool
key_possible(const struct ledger *ledger, unsigned i, uint64_t low, uint64_t observed)
{
    uint64_t state[LEDGER_KEYS];

    memcpy(state, ledger->state, sizeof(state));
    for (uint64_t n = ledger->settled;; n++) {
        if (n > ledger->settled) {
            const struct ledger_step step = ledger_step(ledger->seed, ledger->writer, n);

            apply(state, &step);
        }
        if (n >= low && state[i] == observed) {
            return true;
        }
        if (n == ledger->sent) {
            return false;
        }
    }
}

static void
explain(const struct ledger *ledger, uint64_t low, const uint64_t observed[LEDGER_KEYS],
        struct ledger_faults *faults)
{
    struct ledger_faults found = {0};

    for (unsigned i = 0; i < LEDGER_KEYS; i++) {
        if (!key_possible(ledger, i, low, observed[i])) {
            found.lost++;
            fprintf(stderr,
                    "LOST: writer %u key %u is of step %" PRIu64 "; settled %" PRIu64
                    " acknowledged %" PRIu64 " seen %" PRIu64 " sent %" PRIu64 "\n",
                    ledger->writer, i, observed[i], ledger->settled, ledger->acked, ledger->seen,
                    ledger->sent);
        }
    }
    for (unsigned g = 0; g < LEDGER_GROUPS; g++) {
        const uint64_t *members = observed + LEDGER_SINGLES + (size_t)g * LEDGER_MEMBERS;
        bool whole = true;

        for (unsigned i = 1; i < LEDGER_MEMBERS; i++) {
            whole = whole && members[i] == members[0];
        }
        if (!whole) {
            found.torn++;
            fprintf(stderr, "TORN: writer %u group %u:", ledger->writer, g);
            for (unsigned i = 0; i < LEDGER_MEMBERS; i++) {
                fprintf(stderr, " %" PRIu64, members[i]);
            }
            fprintf(stderr, "\n");
        }
    }
    if (found.lost == 0 && found.torn == 0) {
        found.disorder = 1;
        fprintf(stderr, "DISORDER: writer %u: no number of steps leaves this\n", ledger->writer);
    }
    faults->lost += found.lost;
    faults->torn += found.torn;
    faults->disorder += found.disorder;
}

void
ledger_settle(struct ledger *ledger, const uint64_t observed[LEDGER_KEYS],
              struct ledger_faults *faults)
{
    const uint64_t low = ledger->seen > ledger->acked ? ledger->seen : ledger->acked;
    uint64_t state[LEDGER_KEYS];
    uint64_t execs = 0;
    uint64_t found = 0;

    ledger->execs_min = 0;
    memcpy(state, ledger->state, sizeof(state));
    for (uint64_t n = ledger->settled; n <= ledger->sent; n++) {
        if (n > ledger->settled) {
            const struct ledger_step step = ledger_step(ledger->seed, ledger->writer, n);

            apply(state, &step);
            execs += step.kind == LEDGER_GROUP_EXEC;
        }
        if (n >= low && memcmp(state, observed, sizeof(state)) == 0) {
            ledger->execs_min = found++ == 0 ? execs : ledger->execs_min;
            ledger->execs_max = execs;
        }
    }
    if (found == 0) {
        explain(ledger, low, observed, faults);
        ledger->execs_max = execs;
    }
    memcpy(ledger->state, observed, sizeof(ledger->state));
    ledger->settled = ledger->sent;
}
