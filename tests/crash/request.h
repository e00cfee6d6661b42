/* What the user asks faultline-crash for. */
#ifndef FL_TESTS_CRASH_REQUEST_H
#define FL_TESTS_CRASH_REQUEST_H

#include "tests/crash/apart.h"
#include "tests/crash/results.h"

enum { REQUEST_NAMES_MAX = 64, REQUEST_PAGE_BYTES = 8 << 20 };

enum request_kind { REQUEST_DAX = 1, REQUEST_PAGE_KIND = 2 };

struct request {
    const char *names[REQUEST_NAMES_MAX]; /* workloads, files */
    unsigned names_count;
    unsigned kinds; /* request_kind, a bit each */
    bool digest;
    bool plain, weak, exhaustive, quick, quiet, planted_only, automatic_only;
    uint64_t seed, states, usable, again, rounds, budget;
    unsigned depth, seconds;
    const char *at;
    const char *left_out;
    const char *only;
    const char *save, *json, *html, *output;
};

enum { EXIT_GOOD = 0, EXIT_VIOLATION = 1, EXIT_USAGE = 2 };

/* Fill it in from the arguments after the sub-command. False: said to stderr what is wrong. */
bool request_parse(struct request *request, int argc, char **argv);

/* A workload of ours, or one in a shared object. */
struct request_target {
    const struct workload *workload;
    const struct crash_workload *user;
    const char *name; /* as it was given */
};

/* False: said to stderr. Index over all that the request names; `count` of them. */
unsigned request_targets(const struct request *request, struct request_target *targets);

/* The job of one workload. */
void request_job(const struct request *request, const struct request_target *target,
                 enum request_kind kind, struct apart_job *job);
const char *request_mode(const struct request *request, const struct request_target *target,
                         enum request_kind kind);

/* Arguments that go to this failure again. */
void request_replay(const struct request *request, const struct request_target *target,
                    enum request_kind kind, const struct apart_outcome *outcome, char *text,
                    size_t size);

/* To the files asked for and, unless --json - or --html -, the text to stdout. Returns the exit status. */
int request_report(const struct request *request, const struct results *results,
                   const char *drawing);

int cmd_record(const struct request *request);
int cmd_explore(const struct request *request);
int cmd_replay(const struct request *request);
int cmd_score(const struct request *request);
int cmd_report(const struct request *request);

/* Fewer operations, fewer lost lines, the same kind of failure. *place: of what is left; `left_out`: a bit for each
 * operation that isn't needed. */
struct minimised {
    struct apart_outcome outcome;
    uint64_t left_out[DRIVER_STEPS_MAX / 64];
    unsigned steps, steps_left;
    unsigned lost, lost_left;
    char lost_place[RESULTS_PLACE]; /* "": the path is all there is */
};
void minimise(const struct apart_job *job, const struct apart_outcome *failed,
              struct minimised *small);

#endif
