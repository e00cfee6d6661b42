/* Goal:   the same through the server: 1,000 SETs one at a time on the volatile mapping are 1,000 fences and
 *         at most three lines each; 64 that arrive together share one commit.
 * Method: INFO before and after. One client that waits for each reply; then one that sends 64 SETs in one
 *         write and reads 64 replies. Both event loops. */
#include "tests/integration/support/place.h"
#include "tests/integration/support/subject.h"
#include "tests/lib/die.h"
#include "tests/lib/net.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    KEY_BYTES = 16,
    VALUE_BYTES = 100,
    PUTS = 1000,
    BATCH = 64,
    BATCHES = 500,
    CHANGE_FENCES = 3, /* see test_counters_embedded.c */
    READY_MS = 30000,
};

static const char *program;

struct bench {
    struct tmpdir dir;
    struct subject subject;
    struct fl_client *client;
    uint64_t fences, lines, commits, records, changes;
};

static void
bench_open(struct bench *bench, const char *loop)
{
    char path[TMPDIR_PATH_BYTES];
    const char *const flags[] = {"--store",          path,      "--mapping", "volatile",
                                 "--durability-min", "process", "--loop",    loop,
                                 "--size-max",       "4gb",     NULL};

    if (!place_in_memory(&bench->dir, (uint64_t)256 << 20)) {
        print_message("skipped: no room in memory\n");
        skip();
    }
    tmpdir_join(&bench->dir, "store", path);
    subject_start(&bench->subject, program, flags, READY_MS);
    bench->client = subject_connect(&bench->subject, READY_MS);
}

static void
bench_close(struct bench *bench)
{
    fl_client_close(bench->client);
    subject_stop(&bench->subject, READY_MS);
    tmpdir_destroy(&bench->dir);
}

static void
cost_begin(struct bench *bench)
{
    bench->fences = subject_info(bench->client, "fences_total");
    bench->lines = subject_info(bench->client, "lines_flushed_total");
    bench->commits = subject_info(bench->client, "commits_total");
    bench->records = subject_info(bench->client, "records_total");
    bench->changes = subject_info(bench->client, "segment_changes_total");
}

static void
cost_end(struct bench *bench, const char *what)
{
    bench->fences = subject_info(bench->client, "fences_total") - bench->fences;
    bench->lines = subject_info(bench->client, "lines_flushed_total") - bench->lines;
    bench->commits = subject_info(bench->client, "commits_total") - bench->commits;
    bench->records = subject_info(bench->client, "records_total") - bench->records;
    bench->changes = subject_info(bench->client, "segment_changes_total") - bench->changes;
    print_message("%s: %lu records, %lu commits, %lu fences, %lu lines, %lu segment changes\n",
                  what, (unsigned long)bench->records, (unsigned long)bench->commits,
                  (unsigned long)bench->fences, (unsigned long)bench->lines,
                  (unsigned long)bench->changes);
    assert_int_equal(subject_info(bench->client, "put_path_faults_total"), 0);
    assert_int_equal(subject_info(bench->client, "syncs_total"), 0);
}

static void
append_set(struct bench *bench, unsigned i)
{
    char key[KEY_BYTES + 1];
    char value[VALUE_BYTES + 1];
    const char *const argv[] = {"SET", key, value};

    snprintf(key, sizeof(key), "key:%012u", i);
    memset(value, (int)('a' + i % 26), VALUE_BYTES);
    value[VALUE_BYTES] = '\0';
    assert_int_equal(fl_client_append(bench->client, 3, argv, NULL), FL_OK);
}

static void
read_ok(struct bench *bench)
{
    struct fl_client_reply *reply = NULL;

    assert_int_equal(fl_client_read(bench->client, &reply), FL_OK);
    assert_string_equal(fl_client_reply_text(reply, NULL), "OK");
    fl_client_reply_destroy(reply);
}

/* 64 requests by one call, so that they arrive together; then their replies. */
static void
send_pipeline(int fd, unsigned round)
{
    static const char ok[] = "+OK\r\n";
    char text[BATCH * (VALUE_BYTES + 64)];
    char got[BATCH * 5];
    size_t len = 0;

    for (unsigned k = 0; k < BATCH; k++) {
        len += (size_t)snprintf(text + len, sizeof(text) - len,
                                "*3\r\n$3\r\nSET\r\n$%d\r\nkey:%012u\r\n$%d\r\n%0*u\r\n", KEY_BYTES,
                                round * BATCH + k, VALUE_BYTES, VALUE_BYTES, round);
    }
    assert_int_equal(send(fd, text, len, MSG_NOSIGNAL), len);
    assert_int_equal(recv(fd, got, sizeof(got), MSG_WAITALL), sizeof(got));
    for (unsigned k = 0; k < BATCH; k++) {
        assert_memory_equal(got + (size_t)k * 5, ok, 5);
    }
}

static void
count_on(const char *loop)
{
    struct bench bench;

    bench_open(&bench, loop);
    cost_begin(&bench);
    for (unsigned i = 0; i < PUTS; i++) {
        append_set(&bench, i);
        read_ok(&bench);
    }
    cost_end(&bench, "SET, one at a time");
    assert_int_equal(bench.records, PUTS);
    assert_true(bench.fences >= PUTS && bench.fences <= PUTS + CHANGE_FENCES * bench.changes);
    assert_true(bench.lines <= 3 * PUTS);

    const int fd = net_connect(bench.subject.port, READY_MS);

    assert_true(fd >= 0);
    cost_begin(&bench);
    for (unsigned i = 0; i < BATCHES; i++) {
        send_pipeline(fd, i);
    }
    cost_end(&bench, "SET, 64 in one write");
    close(fd);
    assert_int_equal(bench.records, BATCH * BATCHES);
    assert_true(bench.fences <= BATCHES + CHANGE_FENCES * bench.changes);
    assert_true(bench.lines * 10 <= bench.records * 21);
    bench_close(&bench);
}

static void
set_on_the_ring_costs_one_fence_alone_and_a_share_in_pipelines(void **state)
{
    (void)state;
    count_on("auto");
}

static void
set_on_epoll_costs_one_fence_alone_and_a_share_in_pipelines(void **state)
{
    (void)state;
    count_on("epoll");
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set_on_the_ring_costs_one_fence_alone_and_a_share_in_pipelines),
        cmocka_unit_test(set_on_epoll_costs_one_fence_alone_and_a_share_in_pipelines),
    };

    if (argc != 3 || strcmp(argv[1], "--server") != 0) {
        die("usage: %s --server PROGRAM", argv[0]);
    }
    program = argv[2];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
