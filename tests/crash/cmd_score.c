#include "tests/crash/bugs.h"
#include "tests/crash/known.h"
#include "tests/crash/request.h"
#include "tests/crash/user.h"

#include <errno.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { QUICK = 700, THOROUGH = 12000, PLANTED = 8000, KILLS = 400 };

static const char *const score_names[] = {"points",  "reopen", "segments", "batches",
                                          "blobs8k", "expiry", "cleaner",  "raise"};

/* A workload as it was recorded, and what it and the recoveries from it call. */
struct run {
    struct request_target target;
    struct apart_job job;
    struct record record;
    struct explore_result all;
};

struct scoring {
    const struct request *request;
    enum request_kind kind;
    struct run *runs;
    unsigned runs_count;
    struct results results;
    unsigned tried;
};

static void
tell(const struct scoring *s, const struct results_mutant *mutant)
{
    if (s->request->quiet) {
        return;
    }
    (void)printf("%-9s %-8s %-12s %s: %.150s\n",
                 mutant->killed           ? "killed"
                 : mutant->why[0] != '\0' ? "explained"
                                          : "SURVIVED",
                 mutant->killed_by_kills ? "by kills" : "", mutant->name, mutant->where,
                 mutant->why);
    (void)fflush(stdout);
}

/* ---- automatic mutants ---- */

static bool
run_begin(struct scoring *s, struct run *run)
{
    const bool raise = run->target.workload != NULL && strcmp(run->target.name, "raise") == 0;

    request_job(s->request, &run->target, s->kind, &run->job);
    run->job.config.states_max = 12;
    /* A superblock half raised is seen by the checker only. */
    run->job.config.usable_every = raise ? 1 : 12;
    run->job.config.again_every = 60;
    run->job.config.depth_max = 1;
    run->job.config.budget = 2500;
    run->job.config.mutated_only = true;
    if (run->target.workload != NULL) {
        record_workload(&run->record, run->target.workload, run->job.config.mode,
                        run->job.config.seed, NULL);
    } else {
        user_record(&run->record, run->target.user, run->job.config.mode, run->job.config.seed);
    }
    if (!run->record.wrong) {
        /* Numbers the sites, so that the children agree on them. */
        explore_trace(&run->job.config, &run->record.trace, NULL, 0, NULL, &run->all);
    }
    if (run->record.wrong || run->all.failed) {
        (void)fprintf(stderr, "faultline-crash: %s is wrong without any mutant: %s\n",
                      run->target.name, run->record.wrong ? run->record.why : run->all.why);
        return false;
    }
    run->job.trace = &run->record.trace;
    run->job.seconds = 0; /* time must not decide */
    run->job.loud = false;
    return true;
}

/* Could the mutation change an event of the site in this run? */
static bool
applies(const struct run *run, enum mutation mutation, uint16_t site)
{
    const unsigned met = site < EXPLORE_SITES_MAX ? run->all.met[site] : 0;

    switch (mutation) {
    case MUTATION_DROP_FLUSH:
    case MUTATION_FIRST_LINE:
    case MUTATION_SINK_FLUSH:
        return (met & (1u << MEM_MAP_FLUSH | 1u << MEM_MAP_STORE)) != 0;
    case MUTATION_HOIST_STORE:
        return (met & 1u << MEM_MAP_STORE) != 0;
    case MUTATION_DROP_FENCE:
        return (met & (1u << MEM_MAP_FENCE | 1u << MEM_MAP_SYNC)) != 0;
    case MUTATION_SYNC_PART:
        return (met & EXPLORE_MET_ALL) != 0;
    case MUTATION_NONE:
    case MUTATIONS:
        break;
    }
    return false;
}

static bool
mutant_killed(const struct scoring *s, enum mutation mutation, uint16_t site,
              enum explore_style style, uint64_t budget, bool *reached, char *how, size_t how_size)
{
    for (unsigned i = 0; i < s->runs_count; i++) {
        const struct run *run = &s->runs[i];
        struct apart_job job = run->job;
        struct apart_outcome outcome;

        if (!applies(run, mutation, site)) {
            continue;
        }
        job.config.mutation = mutation;
        job.config.site = site;
        job.config.budget = budget;
        job.config.style = style;
        apart_run(&job, &outcome);
        *reached |= outcome.verdict != APART_UNREACHED;
        if (outcome.verdict == APART_FOUND || outcome.verdict == APART_DIED) {
            if (how != NULL) {
                (void)snprintf(how, how_size, "%s: %.500s", run->target.name, outcome.result.why);
            }
            return true;
        }
    }
    return false;
}

static void
mutant_try(struct scoring *s, enum mutation mutation, uint16_t site)
{
    const enum pm_mode mode = s->runs[0].job.config.mode;
    struct results_mutant mutant;
    char place[RESULTS_TEXT];
    bool reached = false;

    memset(&mutant, 0, sizeof(mutant));
    plant_site_text(site, place, sizeof(place));
    (void)snprintf(mutant.group, sizeof(mutant.group), "automatic, %s",
                   mode == PM_STAGED ? "page" : "dax");
    (void)snprintf(mutant.name, sizeof(mutant.name), "%s", mutation_name(mutation));
    (void)snprintf(mutant.where, sizeof(mutant.where), "%s", place);
    const char *reason = known_reason(place, mutation, mode);

    if (reason != NULL && s->request->quick) {
        /* Known to be harmless: it is enough that it is met at all. */
        for (unsigned i = 0; i < s->runs_count; i++) {
            reached |= applies(&s->runs[i], mutation, site);
        }
    } else {
        mutant.killed = mutant_killed(s, mutation, site, EXPLORE_STATES, QUICK, &reached,
                                      mutant.why, sizeof(mutant.why));
        if (!mutant.killed && reached && reason == NULL) {
            mutant.killed = mutant_killed(s, mutation, site, EXPLORE_STATES, THOROUGH, &reached,
                                          mutant.why, sizeof(mutant.why));
        }
    }
    if (!reached) {
        return;
    }
    if (!mutant.killed) {
        (void)snprintf(mutant.why, sizeof(mutant.why), "%s", reason != NULL ? reason : "");
    }
    if (!s->request->quick || mutant.killed) {
        mutant.killed_by_kills =
            mutant_killed(s, mutation, site, EXPLORE_KILLS, s->request->quick ? KILLS / 8 : KILLS,
                          &reached, NULL, 0);
    }
    tell(s, &mutant);
    *results_mutant_add(&s->results) = mutant;
}

static bool
score_automatic(struct scoring *s, const struct request_target *targets, unsigned count)
{
    static const enum mutation lines[] = {MUTATION_DROP_FLUSH, MUTATION_DROP_FENCE,
                                          MUTATION_FIRST_LINE, MUTATION_SINK_FLUSH,
                                          MUTATION_HOIST_STORE};
    static const enum mutation sectors[] = {MUTATION_DROP_FENCE, MUTATION_SYNC_PART};
    const bool page = s->kind == REQUEST_PAGE_KIND;
    const enum mutation *mutations = page ? sectors : lines;
    const size_t mutations_count = page || s->request->quick ? 2 : sizeof(lines) / sizeof(lines[0]);
    bool good = true;

    s->runs = calloc(count, sizeof(s->runs[0]));
    s->runs_count = s->runs != NULL ? count : 0;
    for (unsigned i = 0; i < s->runs_count && good; i++) {
        s->runs[i].target = targets[i];
        good = run_begin(s, &s->runs[i]);
    }
    for (uint16_t site = 1; good && site <= plant_sites(); site++) {
        for (size_t i = 0; i < mutations_count; i++) {
            if (s->request->only != NULL &&
                strcmp(s->request->only, mutation_name(mutations[i])) != 0) {
                continue;
            }
            mutant_try(s, mutations[i], site);
        }
    }
    for (unsigned i = 0; i < s->runs_count; i++) {
        record_deinit(&s->runs[i].record);
    }
    free(s->runs);
    return good;
}

/* ---- bugs planted by hand ---- */

static bool
planted_killed(const struct scoring *s, const char *name, enum plant_bug bug, unsigned text_bug,
               enum explore_style style, char *how, size_t how_size)
{
    const struct request_target target = {workload_find(name), NULL, name};
    struct apart_job job;
    struct apart_outcome outcome;

    if (target.workload == NULL) {
        return false;
    }
    request_job(s->request, &target, REQUEST_DAX, &job);
    job.config.states_max = 24;
    job.config.usable_every = 20;
    job.config.again_every = style == EXPLORE_KILLS ? 0 : 100;
    job.config.style = style;
    job.config.bug = bug;
    job.rounds = target.workload->threads ? 300 : 1;
    job.budget = style == EXPLORE_KILLS ? KILLS * (target.workload->threads ? 10 : 1) : PLANTED;
    job.seconds = 0; /* time must not decide */
    job.loud = false;
    crash_bug_now = text_bug;
    apart_run(&job, &outcome);
    crash_bug_now = 0;
    if (outcome.verdict == APART_CLEAN) {
        return false;
    }
    if (how != NULL) {
        (void)snprintf(how, how_size, "%s: %.500s", name, outcome.result.why);
    }
    return true;
}

static void
planted_try(struct scoring *s, const char *name, const char *what, const char *hint,
            enum plant_bug bug, unsigned text_bug)
{
    static const char *const names[] = {"points",  "segments",   "blobs",  "expired",
                                        "reopen",  "tombstones", "expiry", "cleaner",
                                        "batches", "spaces",     "raise",  "writers"};
    const char *found = NULL;

    if (s->request->only != NULL && strcmp(s->request->only, name) != 0) {
        return;
    }
    struct results_mutant *mutant = results_mutant_add(&s->results);

    (void)snprintf(mutant->group, sizeof(mutant->group), "planted by hand");
    (void)snprintf(mutant->name, sizeof(mutant->name), "%.39s", name);
    (void)snprintf(mutant->where, sizeof(mutant->where), "%s", what);
    if (hint != NULL &&
        planted_killed(s, hint, bug, text_bug, EXPLORE_STATES, mutant->why, sizeof(mutant->why))) {
        found = hint;
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && found == NULL; i++) {
        if ((hint == NULL || strcmp(hint, names[i]) != 0) &&
            planted_killed(s, names[i], bug, text_bug, EXPLORE_STATES, mutant->why,
                           sizeof(mutant->why))) {
            found = names[i];
        }
    }
    mutant->killed = found != NULL;
    if (found != NULL) {
        mutant->killed_by_kills = planted_killed(s, found, bug, text_bug, EXPLORE_KILLS, NULL, 0);
    }
    tell(s, mutant);
}

static void
score_planted(struct scoring *s)
{
    for (unsigned bug = PLANT_NONE + 1; bug < PLANT_BUGS; bug++) {
        planted_try(s, plant_bug_name(bug), "between the objects", plant_bug_workload(bug), bug, 0);
    }
    for (unsigned i = 0; bugs[i].name != NULL; i++) {
        planted_try(s, bugs[i].name, bugs[i].what, bugs[i].workload, PLANT_NONE, i + 1);
    }
}

/* The program with bugs in its copy of the storage, beside this one. False: it did not run, which is said. */
static bool
score_planted_apart(struct scoring *s)
{
    enum { PATH = 4096 };
    char path[PATH];
    char saved[] = "/tmp/faultline-crash.XXXXXX";
    char why[RESULTS_TEXT];
    const ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - sizeof("-bugs"));
    pid_t pid = 0;
    int status = 0;

    if (len <= 0) {
        (void)fprintf(stderr, "faultline-crash: /proc/self/exe: %s\n", strerror(errno));
        return false;
    }
    (void)snprintf(path + len, sizeof(path) - (size_t)len, "-bugs");
    if (access(path, X_OK) != 0) {
        (void)fprintf(stderr, "faultline-crash: %s is not there: build it, or score --automatic\n",
                      path);
        return false;
    }
    const int fd = mkstemp(saved);

    if (fd < 0) {
        (void)fprintf(stderr, "faultline-crash: %s: %s\n", saved, strerror(errno));
        return false;
    }
    (void)close(fd);
    char *const argv[] = {path,
                          "score",
                          "--planted",
                          "--save",
                          saved,
                          "-q",
                          s->request->only != NULL ? "--only" : NULL,
                          (char *)(uintptr_t)s->request->only,
                          NULL};
    const bool ran = posix_spawn(&pid, path, NULL, NULL, argv, environ) == 0 &&
                     waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
                     WEXITSTATUS(status) != EXIT_USAGE &&
                     results_load(&s->results, saved, why, sizeof(why));

    (void)unlink(saved);
    if (!ran) {
        (void)fprintf(stderr, "faultline-crash: %s did not run to its end\n", path);
    }
    return ran;
}

int
cmd_score(const struct request *request)
{
    struct request_target targets[REQUEST_NAMES_MAX];
    struct request named = *request;
    struct scoring s = {.request = request};
    bool good = true;

    if (named.names_count == 0) {
        named.names_count = sizeof(score_names) / sizeof(score_names[0]);
        memcpy(named.names, score_names, sizeof(score_names));
    }
    const unsigned count = request_targets(&named, targets);

    if (count == 0) {
        return EXIT_USAGE;
    }
    for (unsigned kind = REQUEST_DAX; kind <= REQUEST_PAGE_KIND && !request->planted_only;
         kind *= 2) {
        s.kind = (enum request_kind)kind;
        if (request->kinds & kind) {
            good &= score_automatic(&s, targets, count);
        }
    }
    bool planted = true;

    if (good && !request->automatic_only && request->names_count == 0) {
        if (bugs[0].name != NULL) {
            score_planted(&s);
        } else {
            planted = score_planted_apart(&s);
        }
    }
    if (s.results.mutants_count == 0 && good && planted) {
        (void)fprintf(stderr, "faultline-crash: there is no such mutant\n");
        planted = false;
    }
    const int status = good ? request_report(request, &s.results, NULL) : EXIT_VIOLATION;

    results_deinit(&s.results);
    return planted ? status : EXIT_USAGE;
}
