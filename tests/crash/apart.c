#include "tests/crash/apart.h"

#include "tests/lib/die.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void
child(const struct explore_config *config, const struct workload *workload,
      const struct trace *trace, unsigned seconds, int fd)
{
    const struct rlimit no_core = {0, 0};
    struct explore_result result;
    struct record record = {.wrong = false};

    (void)setrlimit(RLIMIT_CORE, &no_core);
    (void)signal(SIGABRT, SIG_DFL);
    (void)signal(SIGSEGV, SIG_DFL);
    (void)signal(SIGALRM, SIG_DFL);
    (void)alarm(seconds);
    plant_bug_set(config->bug);
    if (freopen("/dev/null", "w", stderr) == NULL) {
        _exit(1);
    }
    if (trace == NULL) {
        record_workload(&record, workload, config->mode, config->seed, NULL);
        trace = &record.trace;
    }
    if (record.wrong) {
        memset(&result, 0, sizeof(result));
        result.failed = true;
        result.mutated = 1;
        (void)snprintf(result.why, sizeof(result.why), "the run itself: %s", record.why);
    } else {
        explore_trace(config, trace, NULL, 0, &result);
    }
    _exit(write(fd, &result, sizeof(result)) == (ssize_t)sizeof(result) ? 0 : 1);
}

enum apart_verdict
apart_explore(const struct explore_config *config, const struct workload *workload,
              const struct trace *trace, unsigned seconds, struct explore_result *result)
{
    int fds[2];
    int status = 0;

    (void)fflush(NULL);
    if (pipe(fds) != 0) {
        die_errno("pipe");
    }
    const pid_t pid = fork();

    if (pid < 0) {
        die_errno("fork");
    }
    if (pid == 0) {
        (void)close(fds[0]);
        child(config, workload, trace, seconds, fds[1]);
    }
    (void)close(fds[1]);
    memset(result, 0, sizeof(*result));
    const bool whole = read(fds[0], result, sizeof(*result)) == (ssize_t)sizeof(*result);

    (void)close(fds[0]);
    if (waitpid(pid, &status, 0) != pid) {
        die_errno("waitpid");
    }
    if (!whole || !WIFEXITED(status)) {
        (void)snprintf(result->why, sizeof(result->why), "signal %d",
                       WIFSIGNALED(status) ? WTERMSIG(status) : 0);
        return APART_DIED;
    }
    if (result->failed) {
        return APART_FOUND;
    }
    return config->mutation != MUTATION_NONE && result->mutated == 0 ? APART_UNREACHED
                                                                     : APART_CLEAN;
}
