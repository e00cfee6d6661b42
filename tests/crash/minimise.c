#include "tests/crash/draw.h"
#include "tests/crash/request.h"
#include "tests/crash/user.h"
#include "tests/lib/die.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

/* Tries that are cheap in their own right, and few. */
enum { TRIES_MAX = 160, TRY_SECONDS = 20, TRY_BUDGET = 4000 };

/* ---- fewer lost lines ---- */

/* Does this state, said by what it lost, still fail? Its lost lines go to *draw. */
static bool
fails_with(const struct apart_job *job, struct explore_place *places, unsigned count, uint64_t seed,
           struct draw *draw)
{
    struct apart_job again = *job;
    struct apart_outcome outcome;

    again.config.seed = seed;
    again.config.depth_max = count - 1;
    again.replay = places;
    again.replay_count = count;
    again.rounds = 1;
    again.seconds = TRY_SECONDS; /* out of time: not smaller */
    again.hang_seconds = TRY_SECONDS;
    again.loud = false;
    again.calls =
        (struct explore_calls){.failure = draw != NULL ? draw_failure : NULL, .context = draw};
    apart_run(&again, &outcome);
    return outcome.result.failed;
}

/* Only the innermost state is made smaller: the others are the ground that it stands on. */
static void
lose_less(const struct apart_job *job, const struct apart_outcome *failed, struct minimised *small)
{
    struct explore_place places[EXPLORE_DEPTH_MAX];
    const unsigned depth = failed->result.depth;
    struct draw *draw =
        mmap(NULL, sizeof(*draw), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (draw == MAP_FAILED) {
        die_errno("mmap");
    }
    memcpy(places, failed->result.place, sizeof(places));
    struct explore_place *place = &places[depth - 1];

    if (fails_with(job, places, depth, failed->seed, draw) && draw->lost_fits) {
        place->policy = STATE_LOST;
        place->lost_count = draw->lost_count;
        memcpy(place->lost, draw->lost, sizeof(place->lost));
        small->lost = place->lost_count;
        bool fails = fails_with(job, places, depth, failed->seed, NULL);

        for (uint32_t i = place->lost_count; fails && i-- > 0;) {
            const struct explore_place kept = *place;

            memmove(&place->lost[i], &place->lost[i + 1],
                    (place->lost_count - 1 - i) * sizeof(place->lost[0]));
            place->lost_count--;
            if (!fails_with(job, places, depth, failed->seed, NULL)) {
                *place = kept;
            }
        }
        if (fails) {
            small->lost_left = place->lost_count;
            explore_place_text(places, depth, small->lost_place, sizeof(small->lost_place));
        }
    }
    (void)munmap(draw, sizeof(*draw));
}

/* ---- fewer operations ---- */

static bool
fails_without(const struct apart_job *job, uint64_t seed, const uint64_t *left_out,
              struct apart_outcome *outcome)
{
    struct apart_job again = *job;
    struct record_options record = {.left_out = left_out};

    if (job->record != NULL) {
        record.failure = job->record->failure;
    }
    again.config.seed = seed;
    again.record = &record;
    again.rounds = 1;
    again.budget = TRY_BUDGET;
    again.seconds = TRY_SECONDS; /* out of time: not smaller */
    again.hang_seconds = TRY_SECONDS;
    again.loud = false;
    again.calls = (struct explore_calls){.failure = NULL};
    apart_run(&again, outcome);
    return outcome->result.failed && outcome->result.depth > 0;
}

static void
bits_set(uint64_t *bits, unsigned from, unsigned count)
{
    for (unsigned i = from; i < from + count && i < DRIVER_STEPS_MAX; i++) {
        bits[i / 64] |= UINT64_C(1) << i % 64;
    }
}

static unsigned
bits_count(const uint64_t *bits, unsigned end)
{
    unsigned count = 0;

    for (unsigned i = 0; i < end; i++) {
        count += bits[i / 64] >> i % 64 & 1;
    }
    return count;
}

/* Halves, quarters and so on of the operations left out, for as long as it fails without them. */
static void
work_less(const struct apart_job *job, const struct apart_outcome *failed, unsigned steps,
          struct minimised *small)
{
    unsigned tries = 0;

    small->outcome = *failed;
    for (unsigned chunk = steps; chunk >= 1; chunk /= 2) {
        for (unsigned from = 0; from < steps && tries < TRIES_MAX; from += chunk) {
            uint64_t left_out[DRIVER_STEPS_MAX / 64];
            struct apart_outcome outcome;

            memcpy(left_out, small->left_out, sizeof(left_out));
            bits_set(left_out, from, chunk < steps - from ? chunk : steps - from);
            if (memcmp(left_out, small->left_out, sizeof(left_out)) == 0) {
                continue;
            }
            tries++;
            if (fails_without(job, failed->seed, left_out, &outcome)) {
                memcpy(small->left_out, left_out, sizeof(left_out));
                small->outcome = outcome;
            }
        }
    }
    small->steps_left = steps - bits_count(small->left_out, steps);
}

void
minimise(const struct apart_job *job, const struct apart_outcome *failed, struct minimised *small)
{
    memset(small, 0, sizeof(*small));
    small->outcome = *failed;
    lose_less(job, failed, small);
    if (job->workload != NULL && failed->steps > 0 && failed->steps <= DRIVER_STEPS_MAX) {
        small->steps = failed->steps;
        work_less(job, failed, failed->steps, small);
    }
}
