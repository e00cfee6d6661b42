/* C11, C14, C15, C17: recovery, several processes, a commit that fails. */
#include "tests/contract/contract.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void
recovery_run(struct contract *t)
{
    make_file(t, "f", 3);
    struct mapping *map = map_file(t, "f", 3, true);
    struct mapping *plain = map_file(t, "f", 3, false);

    put_durably(t, map, 0, 'A');
    put_durably(t, plain, 1, 'P');
}

static void
recovery_verify(struct contract *t)
{
    const struct adapter_ops *ops = t->a->ops;
    const char *found = tags(t, "f", 3);

    need(t, strcmp(found, "A00") == 0 || strcmp(found, "AP0") == 0, "found %s", found);
    fact_bool(t, "a committed block survives", found[0] == 'A');
    fact_bool(t, "an uncommitted block survives", found[1] == 'P');
    if (ops->flag(t->a, "f", 0) != FLAG_NONE) {
        fact_bool(t, "a flag is left after recovery", ops->flag(t->a, "f", 0) == FLAG_SET);
    }
    if (ops->recover_again != NULL) {
        fact_number(t, "commits of a second recovery", ops->recover_again(t->a));
        need(t, strcmp(tags(t, "f", 3), found) == 0, "it has %s", tags(t, "f", 3));
    }
}

/* ---- several processes ---- */

enum { PUNCH_SECONDS_MAX = 10 };

/* The other process: a contract of its own, whose complaints are its exit status. */
static void
complain(struct contract *t, const char *text)
{
    (void)text;
    *(int *)t->context = 1;
}

static void
ignore_fact(struct contract *t, const char *name, const char *value)
{
    (void)t;
    (void)name;
    (void)value;
}

static double
seconds(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Maps, stores, stops itself; once it goes on it must see the punch's zeros. */
static int
stopped_body(struct adapter *a, struct mapping *inherited)
{
    int bad = 0;
    struct contract t = {.a = a, .broken = complain, .fact = ignore_fact, .context = &bad};
    (void)inherited;

    struct mapping *map = map_file(&t, "f", 3, true);
    put_durably(&t, map, 1, 'X');
    (void)raise(SIGSTOP);
    need(&t, load_tag(&t, map, 1) == NOTHING, "a stale block");
    need(&t, load_tag(&t, map, 2) == 'C', "a neighbour is lost");
    return bad;
}

/* Maps, stores, and waits to be killed. */
static int
killed_body(struct adapter *a, struct mapping *inherited)
{
    (void)stopped_body(a, inherited);
    return 0;
}

static void
stopped_run(struct contract *t)
{
    const struct adapter_ops *ops = t->a->ops;
    int status = 0;

    if (ops->spawn == NULL) {
        return;
    }
    (void)make_mapped(t, "f", 3);
    const pid_t stopped = ops->spawn(t->a, "stopped", NULL);
    const pid_t killed = ops->spawn(t->a, "killed", NULL);
    need(t, waitpid(stopped, &status, WUNTRACED) == stopped && WIFSTOPPED(status),
         "the mapper did not stop: %d", status);
    need(t, waitpid(killed, &status, WUNTRACED) == killed && WIFSTOPPED(status),
         "the other mapper did not stop: %d", status);
    (void)kill(killed, SIGKILL);
    (void)waitpid(killed, &status, 0);
    const double began = seconds();
    need_ok(t, ops->punch(t->a, "f", BLOCK, BLOCK), "punch");
    fact_bool(t, "a punch returns while a mapper is stopped",
              seconds() - began < PUNCH_SECONDS_MAX);
    (void)kill(stopped, SIGCONT);
    (void)waitpid(stopped, &status, 0);
    fact_bool(t, "the mapper sees it when it goes on",
              WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

enum { NO_ACCESS = 7 };

static int
fork_body(struct adapter *a, struct mapping *inherited)
{
    int bad = 0;
    struct contract t = {.a = a, .broken = complain, .fact = ignore_fact, .context = &bad};

    if (load_tag(&t, inherited, 0) == ABSENT) {
        return NO_ACCESS;
    }
    put_durably(&t, inherited, 1, 'B');
    return bad;
}

const struct contract_body *
contract_body(const char *name)
{
    static const struct contract_body bodies[] = {
        {"stopped", stopped_body}, {"killed", killed_body}, {"forked", fork_body}};

    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        if (strcmp(bodies[i].name, name) == 0) {
            return &bodies[i];
        }
    }
    return NULL;
}

static void
fork_run(struct contract *t)
{
    const struct adapter_ops *ops = t->a->ops;
    int status = 0;

    if (ops->spawn == NULL) {
        return;
    }
    make_file(t, "f", 2);
    struct mapping *map = map_file(t, "f", 2, true);
    put_durably(t, map, 0, 'A');
    const pid_t child = ops->spawn(t->a, "forked", map);
    need(t, waitpid(child, &status, 0) == child, "the child is gone");
    const bool segv = WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
    const bool none = segv || (WIFEXITED(status) && WEXITSTATUS(status) == NO_ACCESS);
    need(t, none || (WIFEXITED(status) && WEXITSTATUS(status) == 0), "the child ended with %d",
         status);
    fact(t, "the child of a fork has", none ? "no access" : "the same");
    need(t, load_tag(t, map, 0) == 'A', "the parent's block is lost");
}

static void
fork_verify(struct contract *t)
{
    if (t->a->ops->spawn != NULL) {
        const char *found = tags(t, "f", 2);
        need(t, strcmp(found, "AB") == 0 || strcmp(found, "A0") == 0, "found %s", found);
        fact_bool(t, "its flushed store survives", found[1] == 'B');
    }
}

/* ---- C17 ---- */

static void
failed_commit_run(struct contract *t)
{
    const struct adapter_ops *ops = t->a->ops;

    make_file(t, "f", 3);
    struct mapping *map = map_file(t, "f", 3, true);
    put_durably(t, map, 0, 'A');
    need_ok(t, ops->fail_commits(t->a), "make commits fail");
    fact(t, "a store into a hole", try_put(t, map, 1, 'B') == FL_IO ? "SIGBUS" : "done");
    fact(t, "fsync after it", fl_status_name(ops->sync(t->a, "f")));
    fact(t, "a punch after it", fl_status_name(ops->punch(t->a, "f", 0, BLOCK)));
    fact(t, "the next store into a hole", try_put(t, map, 2, 'C') == FL_IO ? "SIGBUS" : "done");
}

static void
failed_commit_verify(struct contract *t)
{
    fact_which(t, "what was durable before survives", tags(t, "f", 3), "A00", "000");
}

const struct scenario scenarios_life[] = {
    {"C11", "recovery", recovery_run, recovery_verify},
    {"C14", "several processes", stopped_run, NULL},
    {"C15", "fork", fork_run, fork_verify},
    {"C17", "failed commit", failed_commit_run, failed_commit_verify},
    {0},
};
