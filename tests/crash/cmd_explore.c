#include "tests/crash/draw.h"
#include "tests/crash/request.h"
#include "tests/crash/user.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double
now_seconds(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* ---- progress: one line, if somebody is looking ---- */

struct telling {
    struct draw draw;
    const char *name;
    double begin;
};

static void
on_progress(void *context, const struct explore_counts *counts)
{
    const struct telling *telling = context;
    const double seconds = now_seconds() - telling->begin;

    (void)fprintf(stderr,
                  "\r%-16s %6.1f s %9" PRIu64 " states %8" PRIu64 " recoveries %7.0f/s %6" PRIu64
                  " moments\033[K",
                  telling->name, seconds, counts->states, counts->recoveries,
                  seconds > 0 ? (double)counts->recoveries / seconds : 0, counts->points);
}

static void
on_failure(void *context, const struct explore_failure *failure)
{
    struct telling *telling = context;

    draw_failure(&telling->draw, failure);
}

static void
progress_end(const struct request *request)
{
    if (!request->quiet && isatty(STDERR_FILENO)) {
        (void)fprintf(stderr, "\r\033[K");
    }
}

/* ---- one workload ---- */

struct exploring {
    const struct request *request;
    struct results results;
    struct page *drawing; /* of the first failure */
    bool drawn;
};

static void
smaller_tell(struct exploring *e, const struct request_target *target, enum request_kind kind,
             const struct apart_job *job, struct results_run *run,
             const struct apart_outcome *outcome)
{
    struct minimised small;

    minimise(job, outcome, &small);
    if (small.lost_place[0] != '\0') {
        (void)snprintf(run->replay, sizeof(run->replay),
                       "%.300s%s%s%s --seed %" PRIu64 " --at '%.1000s'", target->name,
                       kind == REQUEST_PAGE_KIND ? " --kind page" : "",
                       e->request->weak ? " --weak" : "", e->request->plain ? " --plain" : "",
                       outcome->seed, small.lost_place);
        (void)fprintf(stderr, "  made smaller: %u of %u lines or sectors lost suffice\n",
                      small.lost_left, small.lost);
    }
    if (small.steps_left < small.steps) {
        char place[RESULTS_PLACE];

        explore_place_text(small.outcome.result.place, small.outcome.result.depth, place,
                           sizeof(place));
        (void)fprintf(stderr, "  made smaller: %u of %u operations suffice: --without ",
                      small.steps_left, small.steps);
        for (int i = DRIVER_STEPS_MAX / 64 - 1, seen = 0; i >= 0; i--) {
            if (small.left_out[i] != 0 || seen || i == 0) {
                (void)fprintf(stderr, seen ? "%016" PRIx64 : "%" PRIx64, small.left_out[i]);
                seen = 1;
            }
        }
        (void)fprintf(stderr, " --at '%s'\n", place);
    }
}

static void
explore_one(struct exploring *e, const struct request_target *target, enum request_kind kind)
{
    const struct request *request = e->request;
    struct apart_job job;
    struct apart_outcome outcome;
    struct telling telling = {.name = target->name, .begin = now_seconds()};
    struct results_run *run = results_run_add(&e->results);

    request_job(request, target, kind, &job);
    telling.draw.html = e->drawn ? NULL : e->drawing;
    telling.draw.block_bytes = job.config.geometry.block_bytes != 0
                                   ? job.config.geometry.block_bytes
                                   : (uint32_t)IMAGE_PAGE;
    job.calls.context = &telling;
    job.calls.failure = on_failure;
    job.calls.progress = !request->quiet && isatty(STDERR_FILENO) ? on_progress : NULL;
    apart_run(&job, &outcome);
    progress_end(request);
    (void)snprintf(run->name, sizeof(run->name), "%.39s", target->name);
    (void)snprintf(run->mode, sizeof(run->mode), "%s", request_mode(request, target, kind));
    run->seed = outcome.seed;
    run->rounds = outcome.rounds;
    run->switches = outcome.switches;
    run->counts = outcome.result.counts;
    run->seconds = now_seconds() - telling.begin;
    run->exhaustive = request->exhaustive;
    run->failed = outcome.result.failed;
    (void)snprintf(run->why, sizeof(run->why), "%s", outcome.result.why);
    if (run->failed) {
        e->drawn |= e->drawing->used > 0;
        if (outcome.result.depth > 0) {
            request_replay(request, target, kind, &outcome, run->replay, sizeof(run->replay));
            smaller_tell(e, target, kind, &job, run, &outcome);
        }
    }
}

int
cmd_explore(const struct request *request)
{
    struct request_target targets[REQUEST_NAMES_MAX];
    struct exploring e = {.request = request, .drawing = page_create(REQUEST_PAGE_BYTES)};
    const unsigned count = request_targets(request, targets);

    for (unsigned i = 0; i < count; i++) {
        for (unsigned kind = REQUEST_DAX; kind <= REQUEST_PAGE_KIND; kind *= 2) {
            if (request->kinds & kind) {
                explore_one(&e, &targets[i], (enum request_kind)kind);
            }
        }
    }
    const int status = count == 0
                           ? EXIT_USAGE
                           : request_report(request, &e.results, e.drawn ? e.drawing->text : NULL);

    results_deinit(&e.results);
    page_destroy(e.drawing);
    return status;
}

/* ---- one state ---- */

static bool
bits_parse(const char *text, uint64_t *bits)
{
    const size_t len = strlen(text);

    memset(bits, 0, DRIVER_STEPS_MAX / 8);
    for (size_t i = 0; i < len; i++) {
        const char digit[2] = {text[len - 1 - i], '\0'};
        char *end = NULL;
        const uint64_t value = strtoull(digit, &end, 16);

        if (*end != '\0' || i >= DRIVER_STEPS_MAX / 4) {
            return false;
        }
        bits[i / 16] |= value << i % 16 * 4;
    }
    return true;
}

int
cmd_replay(const struct request *request)
{
    static struct explore_place places[EXPLORE_DEPTH_MAX];
    struct request_target targets[REQUEST_NAMES_MAX];
    uint64_t left_out[DRIVER_STEPS_MAX / 64];
    struct record_options record = {.left_out = NULL};
    struct apart_job job;
    struct apart_outcome outcome;
    const unsigned count = request_targets(request, targets);
    const enum request_kind kind =
        request->kinds == REQUEST_PAGE_KIND ? REQUEST_PAGE_KIND : REQUEST_DAX;

    if (count != 1 || request->at == NULL) {
        (void)fprintf(stderr,
                      "faultline-crash: replay WORKLOAD --at PLACE, as explore prints it\n");
        return EXIT_USAGE;
    }
    if (request->left_out != NULL) {
        if (!bits_parse(request->left_out, left_out)) {
            (void)fprintf(stderr, "faultline-crash: --without: \"%s\" is no such set\n",
                          request->left_out);
            return EXIT_USAGE;
        }
        record.left_out = left_out;
    }
    struct telling telling = {
        .draw = {.text = page_create(REQUEST_PAGE_BYTES), .html = page_create(REQUEST_PAGE_BYTES)}};

    request_job(request, &targets[0], kind, &job);
    job.replay_count = explore_place_parse(request->at, places);
    if (job.replay_count == 0) {
        (void)fprintf(stderr, "faultline-crash: --at: \"%s\" is no place\n", request->at);
        return EXIT_USAGE;
    }
    telling.draw.block_bytes = job.config.geometry.block_bytes != 0
                                   ? job.config.geometry.block_bytes
                                   : (uint32_t)IMAGE_PAGE;
    job.replay = places;
    job.rounds = 1;
    job.config.depth_max = job.replay_count - 1;
    job.record = &record;
    job.calls.context = &telling;
    job.calls.failure = on_failure;
    apart_run(&job, &outcome);
    struct results results = {.runs = NULL};
    struct results_run *run = results_run_add(&results);

    (void)snprintf(run->name, sizeof(run->name), "%.39s", targets[0].name);
    (void)snprintf(run->mode, sizeof(run->mode), "%s", request_mode(request, &targets[0], kind));
    run->seed = outcome.seed;
    run->rounds = 1;
    run->counts = outcome.result.counts;
    run->failed = outcome.result.failed;
    (void)snprintf(run->why, sizeof(run->why), "%s", outcome.result.why);
    (void)printf("%s", telling.draw.text->text);
    if (!run->failed) {
        (void)printf("%s\n", outcome.result.counts.states > 0
                                 ? "nothing is wrong with this state"
                                 : "there is no such moment in this run: the place holds for the "
                                   "program and the arguments that printed it");
    }
    const int status = request_report(request, &results, telling.draw.html->text);

    results_deinit(&results);
    page_destroy(telling.draw.text);
    page_destroy(telling.draw.html);
    return status;
}
