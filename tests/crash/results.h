/* What explorations and mutants came to: kept in a file, added up, and printed as text, JSON or HTML. */
#ifndef FL_TESTS_CRASH_RESULTS_H
#define FL_TESTS_CRASH_RESULTS_H

#include "tests/crash/explore.h"
#include "tests/crash/page.h"

enum { RESULTS_TEXT = 700, RESULTS_PLACE = 1400, RESULTS_NAME = 40 };

/* One workload, explored in one way. */
struct results_run {
    char name[RESULTS_NAME];
    char mode[RESULTS_NAME]; /* "dax", "dax weak", "page", "threads" */
    uint64_t seed, rounds, switches;
    struct explore_counts counts;
    double seconds;
    bool exhaustive; /* nothing was to be left out */
    bool failed;
    char why[RESULTS_TEXT];
    char replay[RESULTS_PLACE]; /* arguments of `replay` */
};

/* One mutant, against both kinds of testing. */
struct results_mutant {
    char group[RESULTS_NAME]; /* "automatic dax", "automatic page", "planted" */
    char name[RESULTS_NAME];
    char where[RESULTS_TEXT];
    bool killed;            /* by the explorer */
    bool killed_by_kills;   /* by killing the process and opening again */
    char why[RESULTS_TEXT]; /* what gave it away; of a survivor the reason, "" none is known */
};

struct results {
    struct results_run *runs;
    size_t runs_count, runs_cap;
    struct results_mutant *mutants;
    size_t mutants_count, mutants_cap;
};

void results_deinit(struct results *results);
struct results_run *results_run_add(struct results *results);
struct results_mutant *results_mutant_add(struct results *results);

/* Add what the file holds; append to it. False: `why`. */
bool results_load(struct results *results, const char *file, char *why, size_t why_size);
bool results_save(const struct results *results, const char *file, char *why, size_t why_size);

/* Was to be exhaustive and isn't. */
bool results_left_out(const struct results_run *run);

/* Violations, runs that are not as exhaustive as was asked for, mutants that survived without a reason. */
unsigned results_wrong(const struct results *results);

void results_text(const struct results *results, struct page *page);
void results_json(const struct results *results, struct page *page);
/* `drawing`: HTML of a failing state, or NULL. */
void results_html(const struct results *results, const char *drawing, struct page *page);

#endif
