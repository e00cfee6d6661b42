#include "tests/crash/results.h"

#include "tests/lib/die.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
results_deinit(struct results *results)
{
    free(results->runs);
    free(results->mutants);
    memset(results, 0, sizeof(*results));
}

static void *
grown(void *at, size_t count, size_t *cap, size_t unit)
{
    if (count < *cap) {
        return at;
    }
    *cap = *cap == 0 ? 16 : *cap * 2;
    at = realloc(at, *cap * unit);
    if (at == NULL) {
        die("results: no memory");
    }
    return at;
}

struct results_run *
results_run_add(struct results *results)
{
    results->runs =
        grown(results->runs, results->runs_count, &results->runs_cap, sizeof(results->runs[0]));
    struct results_run *run = &results->runs[results->runs_count++];

    memset(run, 0, sizeof(*run));
    return run;
}

struct results_mutant *
results_mutant_add(struct results *results)
{
    results->mutants = grown(results->mutants, results->mutants_count, &results->mutants_cap,
                             sizeof(results->mutants[0]));
    struct results_mutant *mutant = &results->mutants[results->mutants_count++];

    memset(mutant, 0, sizeof(*mutant));
    return mutant;
}

bool
results_left_out(const struct results_run *run)
{
    const struct explore_counts *c = &run->counts;

    return run->exhaustive && !run->failed &&
           c->points_truncated + c->points_unreached + c->coarse > 0;
}

unsigned
results_wrong(const struct results *results)
{
    unsigned wrong = 0;

    for (size_t i = 0; i < results->runs_count; i++) {
        wrong += results->runs[i].failed || results_left_out(&results->runs[i]);
    }
    for (size_t i = 0; i < results->mutants_count; i++) {
        wrong += !results->mutants[i].killed && results->mutants[i].why[0] == '\0';
    }
    return wrong;
}

/* ---- the file: a line each, fields between tabs ---- */

static const char header[] = "faultline-crash results 2\n";

/* Tabs and ends of lines separate; nothing else may be one. */
static void
field_clean(const char *text, char *clean, size_t size)
{
    size_t i = 0;

    for (; text[i] != '\0' && i + 1 < size; i++) {
        clean[i] = (char)(text[i] == '\t' || text[i] == '\n' ? ' ' : text[i]);
    }
    clean[i] = '\0';
}

static void
run_write(FILE *file, const struct results_run *run)
{
    const struct explore_counts *c = &run->counts;
    char why[RESULTS_TEXT];

    field_clean(run->why, why, sizeof(why));
    (void)fprintf(file,
                  "run\t%s\t%s\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64
                  "\t%" PRIu64 "\t%.17g\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64
                  "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%.3f\t%d\t%d\t%s\t%s\n",
                  run->name, run->mode, run->seed, run->rounds, run->switches, c->states,
                  c->states_sampled, c->states_within, c->images, c->recoveries, c->usable,
                  c->again, c->points, c->points_truncated, c->points_known, c->points_unreached,
                  c->coarse, run->seconds, run->exhaustive, run->failed, why, run->replay);
}

bool
results_save(const struct results *results, const char *name, char *why, size_t why_size)
{
    FILE *file = fopen(name, "a");

    if (file == NULL) {
        (void)snprintf(why, why_size, "%s: %s", name, strerror(errno));
        return false;
    }
    if (ftell(file) == 0) {
        (void)fputs(header, file);
    }
    for (size_t i = 0; i < results->runs_count; i++) {
        run_write(file, &results->runs[i]);
    }
    for (size_t i = 0; i < results->mutants_count; i++) {
        const struct results_mutant *m = &results->mutants[i];
        char where[RESULTS_TEXT];
        char text[RESULTS_TEXT];

        field_clean(m->where, where, sizeof(where));
        field_clean(m->why, text, sizeof(text));
        (void)fprintf(file, "mutant\t%s\t%s\t%d\t%d\t%s\t%s\n", m->group, m->name, m->killed,
                      m->killed_by_kills, where, text);
    }
    const bool good = ferror(file) == 0;

    if (fclose(file) != 0 || !good) {
        (void)snprintf(why, why_size, "%s: could not be written", name);
        return false;
    }
    return true;
}

static void
text_take(char **rest, char *to, size_t size)
{
    const char *field = strsep(rest, "\t");

    (void)snprintf(to, size, "%s", field != NULL ? field : "");
}

static uint64_t
number_take(char **rest)
{
    const char *field = strsep(rest, "\t");

    return field != NULL ? strtoull(field, NULL, 10) : 0;
}

static double
real_take(char **rest)
{
    const char *field = strsep(rest, "\t");

    return field != NULL ? strtod(field, NULL) : 0;
}

static void
run_read(struct results_run *run, char *rest)
{
    struct explore_counts *c = &run->counts;
    uint64_t *const counts[] = {&run->seed, &run->rounds,       &run->switches,
                                &c->states, &c->states_sampled, &c->states_within};
    uint64_t *const more[] = {
        &c->recoveries,   &c->usable,           &c->again, &c->points, &c->points_truncated,
        &c->points_known, &c->points_unreached, &c->coarse};

    text_take(&rest, run->name, sizeof(run->name));
    text_take(&rest, run->mode, sizeof(run->mode));
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        *counts[i] = number_take(&rest);
    }
    c->images = real_take(&rest);
    for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++) {
        *more[i] = number_take(&rest);
    }
    run->seconds = real_take(&rest);
    run->exhaustive = number_take(&rest) != 0;
    run->failed = number_take(&rest) != 0;
    text_take(&rest, run->why, sizeof(run->why));
    text_take(&rest, run->replay, sizeof(run->replay));
}

static void
mutant_read(struct results_mutant *mutant, char *rest)
{
    text_take(&rest, mutant->group, sizeof(mutant->group));
    text_take(&rest, mutant->name, sizeof(mutant->name));
    mutant->killed = number_take(&rest) != 0;
    mutant->killed_by_kills = number_take(&rest) != 0;
    text_take(&rest, mutant->where, sizeof(mutant->where));
    text_take(&rest, mutant->why, sizeof(mutant->why));
}

bool
results_load(struct results *results, const char *name, char *why, size_t why_size)
{
    enum { LINE = 8192 };
    char line[LINE];
    FILE *file = fopen(name, "r");

    if (file == NULL) {
        (void)snprintf(why, why_size, "%s: %s", name, strerror(errno));
        return false;
    }
    if (fgets(line, sizeof(line), file) == NULL || strcmp(line, header) != 0) {
        (void)snprintf(why, why_size, "%s: not made by --save of this version", name);
        (void)fclose(file);
        return false;
    }
    while (fgets(line, sizeof(line), file) != NULL) {
        char *rest = line;

        line[strcspn(line, "\n")] = '\0';
        const char *kind = strsep(&rest, "\t");

        if (strcmp(kind, "run") == 0) {
            run_read(results_run_add(results), rest);
        } else if (strcmp(kind, "mutant") == 0) {
            mutant_read(results_mutant_add(results), rest);
        }
    }
    (void)fclose(file);
    return true;
}
