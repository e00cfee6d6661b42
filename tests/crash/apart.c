#include "tests/crash/apart.h"

#include "tests/crash/user.h"
#include "tests/lib/die.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double
now_seconds(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* True: the recording itself went wrong. */
static bool
record_round(const struct apart_job *job, const struct explore_config *config,
             struct record *record, struct apart_outcome *outcome)
{
    if (job->workload != NULL) {
        record_workload(record, job->workload, config->mode, config->seed, job->record);
    } else {
        user_record(record, config->user, config->mode, config->seed);
    }
    outcome->switches += record->switches;
    outcome->events = record->trace.count;
    outcome->steps = record->steps;
    if (record->wrong) {
        outcome->result.failed = true;
        outcome->result.mutated = 1;
        (void)snprintf(outcome->result.why, sizeof(outcome->result.why), "the run itself: %s",
                       record->why);
    }
    return record->wrong;
}

static void
explore_round(const struct apart_job *job, struct explore_config *config,
              const struct explore_calls *calls, struct apart_outcome *outcome)
{
    const struct explore_counts before = outcome->result.counts;
    struct record record = {.wrong = false};

    outcome->seed = config->seed;
    explore_share_place(&outcome->result);
    (void)alarm(job->hang_seconds); /* for the recording; states have it anew, each */
    if (job->trace != NULL || !record_round(job, config, &record, outcome)) {
        static struct explore_result result;

        explore_trace(config, job->trace != NULL ? job->trace : &record.trace, job->replay,
                      job->replay_count, calls, &result);
        explore_counts_add(&result.counts, &before);
        outcome->result = result;
    }
    record_deinit(&record);
    outcome->rounds++;
}

static void
child(const struct apart_job *job, struct apart_outcome *outcome)
{
    const struct rlimit no_core = {0, 0};
    const double end = now_seconds() + job->seconds;
    struct explore_config config = job->config;
    struct explore_calls calls = job->calls;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)setrlimit(RLIMIT_CORE, &no_core);
    explore_catch_signals();
    config.hang_seconds = job->hang_seconds;
    plant_bug_set(config.bug);
    if (!job->loud && freopen("/dev/null", "w", stderr) == NULL) {
        _exit(1);
    }
    if (calls.memo == NULL && job->rounds > 1) {
        calls.memo = explore_memo_create();
    }
    config.deadline = job->seconds > 0 ? end : 0;
    for (uint64_t round = 0; round < (job->rounds > 1 ? job->rounds : 1); round++) {
        if (job->budget > 0) {
            if (outcome->result.counts.recoveries >= job->budget) {
                break;
            }
            config.budget = job->budget - outcome->result.counts.recoveries;
        }
        explore_round(job, &config, &calls, outcome);
        if (outcome->result.failed || (config.deadline > 0 && now_seconds() >= end)) {
            break;
        }
        config.seed++;
    }
    (void)fflush(NULL);
    _exit(0);
}

static enum apart_verdict
verdict_of(const struct apart_job *job, const struct apart_outcome *outcome, int status)
{
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        return APART_DIED;
    }
    if (outcome->result.failed) {
        return APART_FOUND;
    }
    return job->config.mutation != MUTATION_NONE && outcome->result.mutated == 0 ? APART_UNREACHED
                                                                                 : APART_CLEAN;
}

void
apart_run(const struct apart_job *job, struct apart_outcome *outcome)
{
    struct apart_outcome *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int status = 0;

    if (shared == MAP_FAILED) {
        die_errno("mmap");
    }
    (void)fflush(NULL);
    const pid_t pid = fork();

    if (pid < 0) {
        die_errno("fork");
    }
    if (pid == 0) {
        child(job, shared);
    }
    if (waitpid(pid, &status, 0) != pid) {
        die_errno("waitpid");
    }
    *outcome = *shared;
    (void)munmap(shared, sizeof(*shared));
    outcome->verdict = verdict_of(job, outcome, status);
    if (outcome->verdict == APART_DIED && !outcome->result.failed) {
        outcome->result.failed = true;
        (void)snprintf(outcome->result.why, sizeof(outcome->result.why), "%s %d",
                       WIFSIGNALED(status) ? "the run itself: signal" : "exit status",
                       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    }
}
