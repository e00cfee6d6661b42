/* Goal:   the suite sees the bugs that the contract names: each of the model filesystem's mutants is killed, by a test
 *         with a name; and without a mutant everything passes, so that it is the mutant that is seen.
 * Method: every scenario and every operation of the crash points, each in a process of its own, with one mutant
 *         switched on. One that ends with a complaint, by a signal or not at all has killed the mutant.
 */
#include "tests/contract/crash.h"
#include "tests/contract/model_run.h"
#include "tests/lib/die.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SECONDS_MAX = 60, KILLERS_MAX = 64 };

static const char *const mutant_names[MFS_MUTANT_COUNT] = {
    [MFS_MUTANT_NONE] = "none",
    [MFS_MUTANT_PTE_BEFORE_COMMIT] = "page-table entry before commit",
    [MFS_MUTANT_FLAG_APART] = "flag in a transaction of its own",
    [MFS_MUTANT_ZAP_SKIPPED] = "zap skipped",
    [MFS_MUTANT_ZAP_AFTER_FREE] = "zap after the free",
    [MFS_MUTANT_ZEROING_SKIPPED] = "zeroing skipped",
    [MFS_MUTANT_REUSE_BEFORE_COMMIT] = "reuse before commit",
};

/* One test, as the tests of the unmutated filesystem run it. */
struct test {
    const struct scenario *scenario; /* or: */
    const struct crash_op *op;
};

static const char *
name_of(const struct test *test)
{
    return test->scenario != NULL ? test->scenario->name : test->op->name;
}

static bool
test_at(unsigned n, struct test *out)
{
    unsigned scenarios = 0;

    while (contract_scenario(scenarios) != NULL) {
        scenarios++;
    }
    *out = (struct test){.scenario = contract_scenario(n)};
    if (n >= scenarios) {
        for (unsigned i = 0; i < n - scenarios; i++) {
            if (crash_ops[i].name == NULL) {
                return false;
            }
        }
        *out = (struct test){.op = &crash_ops[n - scenarios]};
        return out->op->name != NULL;
    }
    return true;
}

/* In a process of its own: what the test says goes nowhere. */
static _Noreturn void
run_test(const struct test *test, enum mfs_mutant mutant)
{
    const struct rlimit no_core = {0, 0};
    struct results results = {0};
    struct model_figures model_figures = {0};
    struct crash_figures crash_figures = {0};

    (void)setrlimit(RLIMIT_CORE, &no_core);
    (void)alarm(SECONDS_MAX);
    const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (nowhere < 0 || dup2(nowhere, STDOUT_FILENO) < 0 || dup2(nowhere, STDERR_FILENO) < 0) {
        _exit(2);
    }
    if (test->op != NULL) {
        _exit(crash_run(test->op, mutant, &crash_figures) > 0 ? 1 : 0);
    }
    model_run(&results, test->scenario, mutant, &model_figures);
    _exit(results_judge(&results, test->scenario->name, stderr) > 0 ? 1 : 0);
}

static bool
is_killed_by(const struct test *test, enum mfs_mutant mutant)
{
    int status = 0;

    (void)fflush(stdout);
    const pid_t pid = fork();
    if (pid < 0) {
        die_errno("fork");
    }
    if (pid == 0) {
        run_test(test, mutant);
    }
    if (waitpid(pid, &status, 0) != pid) {
        die_errno("wait for a test");
    }
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

/* How many tests kill it; their names are printed. */
static unsigned
hunt(enum mfs_mutant mutant)
{
    struct test test;
    unsigned killers = 0;

    (void)printf("%s\n", mutant_names[mutant]);
    for (unsigned n = 0; test_at(n, &test); n++) {
        if (is_killed_by(&test, mutant)) {
            (void)printf("    killed by %s %s\n",
                         test.op != NULL ? "crash points:" : test.scenario->rule, name_of(&test));
            killers++;
        }
    }
    return killers;
}

int
main(void)
{
    unsigned killed = 0;

    const bool clean = hunt(MFS_MUTANT_NONE) == 0;
    for (int mutant = MFS_MUTANT_NONE + 1; mutant < MFS_MUTANT_COUNT; mutant++) {
        killed += hunt((enum mfs_mutant)mutant) > 0;
    }
    (void)printf("mutants killed: %u of %d; without one %s\n", killed, MFS_MUTANT_COUNT - 1,
                 clean ? "everything passes" : "A TEST FAILS");
    return clean && killed == MFS_MUTANT_COUNT - 1 ? 0 : 1;
}
