/* Goal:   a call that fails under the server - for memory, for a socket, for its loop, for the file - costs a command
 *         an error or a client its connection, and nothing else: what was acknowledged is there, what was not is there
 *         as a whole or not at all, the next client is served; or the server ends, or refuses to write, and says so.
 *         Short reads and writes change no byte of a reply.
 * Method: the whole server over a real store, turned by hand in this thread, and a client beside it that sends one
 *         command after the other and connects again when it is cut off. The first, second, third ... call of a kind
 *         fails, and then it and all behind it. Over epoll and io_uring; on a ring it is the submission that fails. */
#include "tests/faults/inject.h"
#include "tests/faults/rig.h"
#include "tests/faults/tally.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { NTH_MAX = 20000 };

static enum loop_kind loop_kind;
static bool thorough;
static struct tally tallies[INJECT_KINDS];

/* ---- afterwards ---- */

/* Without failures. The next client is served, if the server runs; and the store holds what was acknowledged. */
static void
check(struct rig *rig, const struct inject_plan *plan)
{
    if (rig->runs) {
        static const char ping[] = "*1\r\n$4\r\nPING\r\n";
        const char *reply = NULL;

        if (rig->fd >= 0) {
            rig_cut_off(rig);
        }
        loop_listen_resume(rig->server->loop); /* as the cron does, once a second */
        reply = rig_ask(rig, ping, sizeof(ping) - 1);
        if (reply == NULL || strcmp(reply, "+PONG\r\n") != 0) {
            fail_msg("%s %s, call %lu, how %d: the next client isn't served",
                     inject_name(plan->kind), strerror(plan->error), plan->nth, (int)plan->how);
        }
        for (unsigned key = 0; key < RIG_KEYS; key++) {
            rig_get(rig, key);
        }
        if (!rig->server->commit.failed) {
            const uint32_t version = rig->version + 1;

            rig_set(rig, 0);
            /* A write's failing may be told only now: as this commit's, or by the store, of one in its background. */
            assert_true(rig->now[0] == version || rig->server->commit.failed ||
                        strncmp(rig->reply, "-ERR an earlier write failed",
                                sizeof("-ERR an earlier write failed") - 1) == 0);
        }
    }
    if (rig->fd >= 0) {
        close(rig->fd);
        rig->fd = -1;
    }
    server_deinit(rig->server);
    (void)fl_close(rig->store);
    assert_int_equal(fl_open(rig->store_path, &rig->store_options, &rig->store), FL_OK);
    for (unsigned key = 0; key < RIG_KEYS; key++) {
        static char got[RIG_VALUE_MAX];
        static char wanted[RIG_VALUE_MAX];
        char name[16];
        size_t len = 0;
        const uint32_t name_len = (uint32_t)sprintf(name, "key%u", key);
        const fl_status status =
            fl_get(rig->store, fl_key_in(RIG_SPACE, name, name_len), got, sizeof(got), &len);
        bool right = false;

        for (unsigned i = 0; i <= rig->maybes[key] && !right; i++) {
            const uint32_t version = rig_may_be(rig, key, i);

            const size_t wanted_len = rig_value(version, wanted);
            right = version == 0
                        ? status == FL_NOT_FOUND
                        : status == FL_OK && len == wanted_len && memcmp(got, wanted, len) == 0;
        }
        if (!right) {
            fail_msg("%s %s, call %lu, how %d: key%u opened again: %s, not version %u or one of %u",
                     inject_name(plan->kind), strerror(plan->error), plan->nth, (int)plan->how, key,
                     fl_status_name(status), rig->now[key], rig->maybes[key]);
        }
    }
    memset(rig->server, 0, sizeof(*rig->server)); /* for rig_deinit(): nothing is left in it */
}

static bool
run_once(const struct inject_plan *plan, enum fl_mapping mapping)
{
    static struct rig rig;

    inject_plan(plan);
    rig_init(&rig, loop_kind, mapping);
    rig_work(&rig);
    const unsigned long failed = inject_failed();

    inject_plan(NULL);
    tally_add(&tallies[plan->kind], failed, rig.errors > 0 || rig.cuts > 0 || !rig.runs);
    check(&rig, plan);
    free(rig.server);
    assert_int_equal(fl_close(rig.store), FL_OK);
    tmpdir_destroy(&rig.dir);
    return failed > 0;
}

static void
run_all(struct inject_plan plan, enum fl_mapping mapping, unsigned step)
{
    unsigned long nth = 1;

    for (; nth < NTH_MAX; nth += nth < 12 || thorough ? 1 : step) {
        plan.nth = nth;
        if (!run_once(&plan, mapping)) {
            break;
        }
    }
    assert_true(nth < NTH_MAX);
}

struct fault {
    enum inject_kind kind;
    enum inject_how how;
    int error;
    unsigned step;
};

static const struct fault faults[] = {
    {INJECT_ALLOC, INJECT_ONCE, ENOMEM, 5},
    {INJECT_ALLOC, INJECT_FROM_THERE, ENOMEM, 41},
    {INJECT_MMAP, INJECT_ONCE, ENOMEM, 1},
    {INJECT_EVENT, INJECT_ONCE, EMFILE, 1},
    {INJECT_ACCEPT, INJECT_ONCE, EMFILE, 1},
    {INJECT_ACCEPT, INJECT_ONCE, ECONNABORTED, 1},
    {INJECT_ACCEPT, INJECT_ONCE, EINTR, 1},
    {INJECT_RECEIVE, INJECT_ONCE, ECONNRESET, 7},
    {INJECT_RECEIVE, INJECT_ONCE, EINTR, 11},
    {INJECT_RECEIVE, INJECT_SHORT, 0, 7},
    {INJECT_SEND, INJECT_ONCE, EPIPE, 7},
    {INJECT_SEND, INJECT_ONCE, EAGAIN, 7},
    {INJECT_SEND, INJECT_ONCE, EINTR, 11},
    {INJECT_SEND, INJECT_SHORT, 0, 7},
    {INJECT_WAIT, INJECT_ONCE, EINTR, 41},
    {INJECT_WAIT, INJECT_ONCE, EIO, 61},
    {INJECT_CONTROL, INJECT_ONCE, ENOMEM, 1},
    {INJECT_FALLOCATE, INJECT_ONCE, ENOSPC, 3},
    {INJECT_FALLOCATE, INJECT_FROM_THERE, ENOSPC, 11},
    {INJECT_WRITE, INJECT_ONCE, EIO, 13},
    {INJECT_RANDOM, INJECT_ONCE, EIO, 5},
};

static void
run_faults(enum fl_mapping mapping)
{
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        const struct inject_plan plan = {faults[i].kind, faults[i].how, 1, faults[i].error};

        run_all(plan, mapping, faults[i].step);
    }
}

static void
failing_call_costs_a_command_or_a_client(void **state)
{
    (void)state;
    run_faults(FL_MAPPING_VOLATILE);
}

static void
failing_call_costs_a_command_or_a_client_where_commits_complete_later(void **state)
{
    (void)state;
    if (thorough) {
        run_faults(FL_MAPPING_PAGE);
        return;
    }
    run_all((struct inject_plan){INJECT_WRITE, INJECT_ONCE, 1, EIO}, FL_MAPPING_PAGE, 17);
    run_all((struct inject_plan){INJECT_ALLOC, INJECT_ONCE, 1, ENOMEM}, FL_MAPPING_PAGE, 31);
    run_all((struct inject_plan){INJECT_SEND, INJECT_SHORT, 1, 0}, FL_MAPPING_PAGE, 31);
}

/* Every read and every write is short: the replies are the same. */
static void
all_short_reads_and_writes_change_nothing(void **state)
{
    const enum inject_kind kinds[] = {INJECT_RECEIVE, INJECT_SEND};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        const struct inject_plan plan = {kinds[i], INJECT_ALL_SHORT, 1, 0};
        static struct rig rig;

        inject_plan(&plan);
        rig_init(&rig, loop_kind, FL_MAPPING_VOLATILE);
        rig_work(&rig);
        tally_add(&tallies[plan.kind], inject_failed(), false);
        assert_true(inject_failed() > 0);
        inject_plan(NULL);
        assert_int_equal(rig.errors, 0);
        assert_int_equal(rig.cuts, 0);
        rig_deinit(&rig);
    }
}

/* A call that is not injected into any more would pass everything. */
static int
count_never_injected(void)
{
    int count = 0;

    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        const enum inject_kind kind = faults[i].kind;
        const bool others = loop_kind == LOOP_EPOLL
                                ? kind == INJECT_MMAP
                                : kind == INJECT_EVENT || kind == INJECT_CONTROL;

        if (!others && tallies[kind].injected == 0) {
            fprintf(stderr, "%s: no call was made to fail\n", inject_name(kind));
            count++;
        }
    }
    return count;
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failing_call_costs_a_command_or_a_client),
        cmocka_unit_test(failing_call_costs_a_command_or_a_client_where_commits_complete_later),
        cmocka_unit_test(all_short_reads_and_writes_change_nothing),
    };
    struct loop *loop = NULL;
    const struct loop_events events = {0};

    if (argc < 2) {
        fputs("usage: test_faults_server epoll|uring [--all]\n", stderr);
        return 2;
    }
    loop_kind = strcmp(argv[1], "epoll") == 0 ? LOOP_EPOLL : LOOP_URING;
    thorough = argc == 3 && strcmp(argv[2], "--all") == 0;
    if (loop_create(loop_kind, 1, &events, NULL, &loop) != FL_OK) {
        puts("skipped: io_uring is not to be had");
        return 77;
    }
    loop_destroy(loop);
    const int failed = cmocka_run_group_tests_name("faults server", tests, NULL, NULL);

    for (int i = 0; i < INJECT_KINDS; i++) {
        if (tallies[i].injected > 0) {
            char kind[48];

            (void)snprintf(kind, sizeof(kind), "server-%s-%s", argv[1],
                           inject_name((enum inject_kind)i));
            tallies[i].kind = kind;
            tally_print(&tallies[i]);
        }
    }
    return failed + count_never_injected();
}
