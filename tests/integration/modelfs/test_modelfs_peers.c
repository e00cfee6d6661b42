/* Goal:   with several processes on one device nobody's stores go astray and nobody waits for another that is
 *         stopped, killed, or breaks off in the middle of a fault (rule C14); when the host dies, access ends
 *         instead of going on without it.
 * Method: this program hosts the device or lets a peer host it, has peers map and store, stops and kills them at chosen
 *         and at random moments, and looks from other processes and after a power cut at what is there. */
#include "tests/integration/modelfs/peer.h"
#include "tests/lib/die.h"
#include "tests/lib/rng.h"
#include "tests/lib/tmpdir.h"

#include "base/clock.h"
#include "storage/modelfs/host.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    BLOCK = 4096,
    BLOCKS = 64,
    DEVICE = 8 << 20,
    ROUNDS = 40,
    RACERS = 6,
    PROMPT_MS = 5000, /* far beyond what any of these takes, far below for ever */
};

struct fixture {
    struct tmpdir dir;
    char path[TMPDIR_PATH_BYTES];
    struct mfs_host *host;
    struct peer a;
    struct peer b;
};

static int
setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    if (fixture == NULL) {
        return -1;
    }
    tmpdir_create(&fixture->dir);
    (void)tmpdir_join(&fixture->dir, "device", fixture->path);
    *state = fixture;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *fixture = *state;

    peer_kill(&fixture->a);
    peer_kill(&fixture->b);
    if (fixture->host != NULL) {
        mfs_host_destroy(fixture->host);
    }
    tmpdir_destroy(&fixture->dir);
    free(fixture);
    return 0;
}

static void
host_here(struct fixture *fixture)
{
    const struct mfs_host_options options = {.format = true, .size_bytes = DEVICE};

    if (mfs_host_create(fixture->path, &options, &fixture->host) != FL_OK ||
        mfs_host_start(fixture->host) != FL_OK) {
        die("host: %s", fl_last_error());
    }
}

static void
start_attached(struct fixture *fixture, struct peer *peer, unsigned flags)
{
    peer_start(peer, fixture->path);
    (void)peer_ok(peer, &(struct peer_order){.op = PEER_ATTACH, .value = flags, .len = DEVICE});
}

static void
map_all(struct peer *peer, enum fl_modelfs_kind kind)
{
    (void)peer_ok(peer, &(struct peer_order){
                            .op = PEER_MAP, .name = "f", .len = BLOCKS * BLOCK, .value = kind});
}

static void
make_file(struct peer *peer)
{
    (void)peer_ok(peer, &(struct peer_order){.op = PEER_CREATE, .name = "f"});
    (void)peer_ok(peer,
                  &(struct peer_order){.op = PEER_TRUNCATE, .name = "f", .len = BLOCKS * BLOCK});
}

/* Two peers of a host in this process, both with the file mapped. */
static void
two_mapped(struct fixture *fixture)
{
    host_here(fixture);
    start_attached(fixture, &fixture->a, 0);
    start_attached(fixture, &fixture->b, 0);
    make_file(&fixture->a);
    map_all(&fixture->a, FL_MODELFS_NOSYNC);
    map_all(&fixture->b, FL_MODELFS_NOSYNC);
}

static struct peer_order
at(enum peer_op op, uint64_t off, uint64_t value)
{
    return (struct peer_order){.op = op, .off = off, .value = value, .len = BLOCK, .name = "f"};
}

static uint64_t
ask(struct peer *peer, enum peer_op op, uint64_t off, uint64_t value)
{
    const struct peer_order order = at(op, off, value);

    return peer_ok(peer, &order);
}

/* As peer_ok(), and it takes no longer than PROMPT_MS. */
static uint64_t
ask_promptly(struct peer *peer, enum peer_op op, uint64_t off, uint64_t value)
{
    const struct peer_order order = at(op, off, value);
    struct peer_answer answer;

    peer_ask(peer, &order);
    if (!peer_answered(peer, PROMPT_MS, &answer)) {
        fail_msg("order %d was held up", (int)op);
    }
    assert_int_equal(answer.status, FL_OK);
    return answer.value;
}

static void
pause_ms(unsigned ms)
{
    const struct timespec moment = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

    (void)nanosleep(&moment, NULL);
}

static void
processes_see_each_others_stores(void **state)
{
    struct fixture *fixture = *state;

    two_mapped(fixture);
    for (uint64_t i = 0; i < ROUNDS; i++) {
        const uint64_t off = i % BLOCKS * BLOCK + i * 8;
        assert_int_equal(ask(&fixture->b, PEER_LOAD, off, 0), 0);
        (void)ask(&fixture->a, PEER_STORE, off, i + 1);
        assert_int_equal(ask(&fixture->b, PEER_LOAD, off, 0), i + 1);
        (void)ask(&fixture->b, PEER_PERSIST, off, i + 2);
        assert_int_equal(ask(&fixture->a, PEER_LOAD, off, 0), i + 2);
        assert_int_equal(ask(&fixture->a, PEER_READ, off, 0), i + 2);
    }
    peer_kill(&fixture->a);
    assert_int_equal(ask(&fixture->b, PEER_LOAD, 8 + BLOCK, 0), 3);
}

static void
stopped_mapper_holds_up_no_invalidation(void **state)
{
    struct fixture *fixture = *state;

    two_mapped(fixture);
    for (uint64_t i = 0; i < 4; i++) {
        (void)ask(&fixture->a, PEER_PERSIST, i * BLOCK, i + 1);
    }
    peer_stop(&fixture->a);
    assert_int_equal(ask_promptly(&fixture->b, PEER_READ, 0, 0), 1);
    (void)ask_promptly(&fixture->b, PEER_WRITE, BLOCK, 20);
    (void)ask_promptly(&fixture->b, PEER_PUNCH, 2 * BLOCK, 0);
    (void)ask_promptly(&fixture->b, PEER_FSYNC, 0, 0);
    (void)ask_promptly(&fixture->b, PEER_PERSIST, 2 * BLOCK, 30); /* the freed block, reused */
    (void)ask_promptly(&fixture->b, PEER_PERSIST, 3 * BLOCK, 40);
    peer_signal(&fixture->a, SIGCONT);
    (void)ask(&fixture->a, PEER_STORE, 8, 5);
    assert_int_equal(ask(&fixture->b, PEER_LOAD, 8, 0), 5);
    assert_int_equal(ask(&fixture->a, PEER_LOAD, BLOCK, 0), 20);
    assert_int_equal(ask(&fixture->a, PEER_LOAD, 2 * BLOCK, 0), 30);
    assert_int_equal(ask(&fixture->a, PEER_LOAD, 3 * BLOCK, 0), 40);
}

/* A peer stores without pause to blocks that another takes away and puts back; it is stopped and let go at random. */
static void
mapper_stopped_at_any_moment_holds_up_nobody(void **state)
{
    struct fixture *fixture = *state;
    struct rng rng = rng_seeded(3);

    two_mapped(fixture);
    (void)peer_ok(&fixture->a,
                  &(struct peer_order){.op = PEER_HAMMER, .off = 0, .len = 16 * BLOCK});
    for (uint64_t i = 0; i < ROUNDS; i++) {
        const uint64_t off = rng_below(&rng, 16) * BLOCK;
        pause_ms((unsigned)rng_below(&rng, 4));
        peer_stop(&fixture->a);
        (void)ask_promptly(&fixture->b, PEER_PUNCH, off, 0);
        (void)ask_promptly(&fixture->b, PEER_WRITE, off + 8, i);
        assert_int_equal(ask_promptly(&fixture->b, PEER_READ, off + 8, 0), i);
        (void)ask_promptly(&fixture->b, PEER_PUNCH, 16 * BLOCK, 0);
        (void)ask_promptly(&fixture->b, PEER_PERSIST, 16 * BLOCK + 16,
                           i + 1); /* takes a freed block */
        peer_signal(&fixture->a, SIGCONT);
        pause_ms(1);
        assert_int_equal(ask_promptly(&fixture->b, PEER_LOAD, 16 * BLOCK + 16, 0), i + 1);
        assert_int_equal(ask_promptly(&fixture->b, PEER_LOAD, 16 * BLOCK, 0), 0);
    }
    int status;
    assert_false(
        peer_ends(&fixture->a, 0, &status)); /* it was never in the way, so nobody killed it */
}

static unsigned
count_maps(struct mfs_host *host)
{
    struct mfs_stat stat = {0};
    uint64_t ino;
    struct mfs *fs = mfs_host_lock(host);

    assert_non_null(fs);
    assert_int_equal(mfs_lookup(fs, "f", &ino), FL_OK);
    assert_int_equal(mfs_stat(fs, ino, &stat), FL_OK);
    mfs_host_unlock(host);
    return stat.maps;
}

static void
wait_for_maps(struct mfs_host *host, unsigned count)
{
    for (unsigned i = 0; i < PROMPT_MS && count_maps(host) != count; i++) {
        pause_ms(1);
    }
    assert_int_equal(count_maps(host), count);
}

static void
mapper_killed_in_a_fault_leaves_a_sound_file(void **state)
{
    struct fixture *fixture = *state;

    two_mapped(fixture);
    for (uint64_t i = 0; i < 8; i++) {
        const struct peer_order order = at(PEER_STORE, (8 + i) * BLOCK, 1);
        assert_non_null(mfs_host_lock(fixture->host));
        peer_ask(&fixture->a, &order); /* its fault waits for the lock */
        pause_ms(5);
        peer_kill(&fixture->a);
        mfs_host_unlock(fixture->host);
        wait_for_maps(fixture->host, 1);
        (void)ask(&fixture->b, PEER_PERSIST, (8 + i) * BLOCK, 7);
        assert_int_equal(ask(&fixture->b, PEER_READ, (8 + i) * BLOCK, 0), 7);
        start_attached(fixture, &fixture->a, 0);
        map_all(&fixture->a, FL_MODELFS_NOSYNC);
    }
    for (uint64_t i = 0; i < 8; i++) { /* and anywhere else */
        (void)peer_ok(&fixture->a,
                      &(struct peer_order){.op = PEER_HAMMER, .off = 0, .len = 8 * BLOCK});
        (void)ask(&fixture->b, PEER_PUNCH, i * BLOCK, 0);
        peer_kill(&fixture->a);
        wait_for_maps(fixture->host, 1);
        (void)ask(&fixture->b, PEER_PERSIST, i * BLOCK + 8, 7);
        start_attached(fixture, &fixture->a, 0);
        map_all(&fixture->a, FL_MODELFS_NOSYNC);
    }
    struct mfs_media *media;
    uint64_t findings = 0;
    assert_non_null(mfs_host_lock(fixture->host));
    media = mfs_host_media(fixture->host);
    assert_int_equal(
        mfs_check(mfs_media_persisted(media), mfs_media_size_bytes(media), NULL, NULL, &findings),
        FL_OK);
    mfs_host_unlock(fixture->host);
    assert_int_equal(findings, 0);
}

/* Entries that nobody could take back any more. */
static void
mapper_that_moves_its_mapping_is_killed(void **state)
{
    struct fixture *fixture = *state;
    const struct peer_order order = at(PEER_MOVE, 3 * BLOCK, 0);
    int status;

    two_mapped(fixture);
    (void)ask(&fixture->a, PEER_PERSIST, 3 * BLOCK, 5);
    peer_ask(&fixture->a, &order);
    assert_true(peer_ends(&fixture->a, PROMPT_MS, &status));
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    const uint64_t value = ask(&fixture->b, PEER_LOAD, 3 * BLOCK, 0);
    assert_true(value == 5 ||
                value == 1); /* it had leave to store, and as long as it lived it may have */
    (void)ask_promptly(&fixture->b, PEER_PUNCH, 3 * BLOCK, 0);
    assert_int_equal(ask(&fixture->b, PEER_LOAD, 3 * BLOCK, 0), 0);
}

/* ---- the host goes ---- */

static void
killed_host_ends_access_and_another_takes_over(void **state)
{
    struct fixture *fixture = *state;

    for (uint64_t round = 0; round < 6; round++) {
        start_attached(fixture, &fixture->a, FL_MODELFS_HOST | FL_MODELFS_FORMAT);
        start_attached(fixture, &fixture->b, 0);
        if (round == 0) {
            make_file(&fixture->a);
        }
        map_all(&fixture->b, FL_MODELFS_NOSYNC);
        (void)ask(&fixture->b, PEER_PERSIST, round * BLOCK, round + 1);
        struct peer_order order = at(PEER_STORE, (round + 8) * BLOCK, 1);
        if (round % 2 ==
            1) { /* a host that is stopped before it is killed leaves the store in its fault */
            peer_stop(&fixture->a);
            peer_ask(&fixture->b, &order);
            pause_ms(20);
        }
        peer_kill(&fixture->a);
        struct peer_answer answer;
        if (round % 2 == 1) {
            assert_true(peer_answered(&fixture->b, PROMPT_MS, &answer));
            assert_int_equal(answer.status, PEER_SIGBUS);
        }
        for (unsigned i = 0; i < PROMPT_MS;
             i++) { /* what was mapped stays so until the death is known */
            order = at(PEER_LOAD, round * BLOCK, 0);
            answer = peer_do(&fixture->b, &order);
            if (answer.status == PEER_SIGBUS) {
                break;
            }
            pause_ms(1);
        }
        assert_int_equal(answer.status, PEER_SIGBUS);
        order = at(PEER_FSYNC, 0, 0);
        assert_int_equal(peer_do(&fixture->b, &order).status, FL_CLOSED);
        (void)ask(&fixture->b, PEER_FENCE, 0, 0);
        (void)ask(&fixture->b, PEER_DETACH, 0, 0);
        start_attached(fixture, &fixture->a, FL_MODELFS_HOST);
        for (uint64_t i = 0; i <= round; i++) {
            assert_int_equal(ask(&fixture->a, PEER_READ, i * BLOCK, 0), i + 1);
        }
        (void)ask(&fixture->a, PEER_DETACH, 0, 0);
        peer_kill(&fixture->a);
        peer_kill(&fixture->b);
    }
}

static void
host_killed_under_stores_hangs_nobody(void **state)
{
    struct fixture *fixture = *state;
    struct rng rng = rng_seeded(3);

    for (unsigned round = 0; round < 8; round++) {
        start_attached(fixture, &fixture->a, FL_MODELFS_HOST | FL_MODELFS_FORMAT);
        start_attached(fixture, &fixture->b, 0);
        if (round == 0) {
            make_file(&fixture->a);
        }
        (void)ask(&fixture->a, PEER_PUNCH, 0, 0);
        map_all(&fixture->b, FL_MODELFS_NOSYNC);
        (void)peer_ok(&fixture->b,
                      &(struct peer_order){.op = PEER_HAMMER, .off = 0, .len = BLOCKS * BLOCK});
        pause_ms((unsigned)rng_below(&rng, 8));
        peer_kill(&fixture->a);
        pause_ms(1);
        peer_kill(
            &fixture
                 ->b); /* waits for its end: a thread that can't be killed would hold the test up */
    }
    start_attached(fixture, &fixture->a, FL_MODELFS_HOST);
    (void)ask(&fixture->a, PEER_READ, 0, 0);
}

static void
power_cut_kills_other_processes_and_keeps_what_was_fenced(void **state)
{
    struct fixture *fixture = *state;
    int status;

    two_mapped(fixture);
    (void)ask(&fixture->a, PEER_PERSIST, 0, 1);
    (void)ask(&fixture->b, PEER_PERSIST, BLOCK, 2);
    (void)ask(&fixture->b, PEER_STORE, BLOCK, 3);
    (void)ask(&fixture->a, PEER_POWERCUT, 0, 0);
    assert_true(peer_ends(&fixture->b, PROMPT_MS, &status));
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_int_equal(peer_do(&fixture->a, &(struct peer_order){.op = PEER_LOAD}).status,
                     PEER_SIGBUS);
    assert_null(mfs_host_lock(fixture->host));
    mfs_host_unlock(fixture->host);
    mfs_host_destroy(fixture->host);
    fixture->host = NULL;
    (void)ask(&fixture->a, PEER_DETACH, 0, 0);
    host_here(fixture);
    start_attached(fixture, &fixture->b, 0);
    assert_int_equal(ask(&fixture->b, PEER_READ, 0, 0), 1);
    assert_int_equal(ask(&fixture->b, PEER_READ, BLOCK, 0), 2);
}

/* ---- who hosts ---- */

static void
attachers_at_once_agree_on_one_host(void **state)
{
    struct fixture *fixture = *state;
    struct peer peers[RACERS];
    struct peer_answer answer;
    const struct peer_order order = {
        .op = PEER_ATTACH, .value = FL_MODELFS_HOST | FL_MODELFS_FORMAT, .len = DEVICE};

    for (size_t i = 0; i < RACERS; i++) {
        peer_start(&peers[i], fixture->path);
    }
    for (size_t i = 0; i < RACERS; i++) {
        peer_ask(&peers[i], &order);
    }
    for (size_t i = 0; i < RACERS; i++) {
        assert_true(peer_answered(&peers[i], PEER_ANSWER_MS, &answer));
        if (answer.status != FL_OK) {
            fail_msg("attach: %s", answer.text);
        }
    }
    make_file(&peers[0]);
    for (size_t i = 0; i < RACERS; i++) {
        (void)ask(&peers[i], PEER_WRITE, i * 8, i + 1);
    }
    for (size_t i = 0; i < RACERS; i++) {
        assert_int_equal(ask(&peers[0], PEER_READ, i * 8, 0), i + 1);
    }
    for (size_t i = 0; i < RACERS; i++) {
        peer_kill(&peers[i]);
    }
}

static void
second_host_is_refused(void **state)
{
    struct fixture *fixture = *state;
    const struct mfs_host_options options = {0};
    struct mfs_host *second = NULL;

    host_here(fixture);
    assert_int_equal(mfs_host_create(fixture->path, &options, &second), FL_BUSY);
    assert_non_null(strstr(fl_last_error(), "another process hosts it"));
    start_attached(fixture, &fixture->a, FL_MODELFS_HOST); /* it finds the first */
    assert_int_equal(mfs_host_clients(fixture->host), 1);
}

static void
device_locked_by_no_host_is_busy(void **state)
{
    struct fixture *fixture = *state;

    host_here(fixture);
    mfs_host_destroy(fixture->host);
    fixture->host = NULL;
    const int fd = open(fixture->path, O_RDWR | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    peer_start(&fixture->a, fixture->path);
    const struct peer_order order = {.op = PEER_ATTACH, .value = FL_MODELFS_HOST};
    assert_int_equal(peer_do(&fixture->a, &order).status, FL_BUSY);
    const struct peer_order guest = {.op = PEER_ATTACH};
    assert_int_equal(peer_do(&fixture->a, &guest).status, FL_NOT_FOUND);
    (void)close(fd);
    const struct peer_order again = {.op = PEER_ATTACH, .value = FL_MODELFS_HOST};
    (void)peer_ok(&fixture->a, &again);
}

static void
stopped_host_is_busy(void **state)
{
    struct fixture *fixture = *state;

    start_attached(fixture, &fixture->a, FL_MODELFS_HOST | FL_MODELFS_FORMAT);
    peer_stop(&fixture->a);
    peer_start(&fixture->b, fixture->path);
    const struct peer_order order = {.op = PEER_ATTACH, .value = FL_MODELFS_HOST};
    const struct peer_answer answer = peer_do(&fixture->b, &order);
    assert_int_equal(answer.status, FL_BUSY);
    assert_non_null(strstr(answer.text, "stopped or stuck"));
}

static void
absent_device_and_foreign_file_are_told_apart(void **state)
{
    struct fixture *fixture = *state;
    const struct peer_order order = {.op = PEER_ATTACH, .value = FL_MODELFS_HOST};

    peer_start(&fixture->a, fixture->path);
    assert_int_equal(peer_do(&fixture->a, &order).status, FL_NOT_FOUND);
    const int fd = open(fixture->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, DEVICE), 0);
    (void)close(fd);
    assert_int_equal(peer_do(&fixture->a, &order).status, FL_INVALID);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(processes_see_each_others_stores),
        T(stopped_mapper_holds_up_no_invalidation),
        T(mapper_stopped_at_any_moment_holds_up_nobody),
        T(mapper_killed_in_a_fault_leaves_a_sound_file),
        T(mapper_that_moves_its_mapping_is_killed),
        T(killed_host_ends_access_and_another_takes_over),
        T(host_killed_under_stores_hangs_nobody),
        T(power_cut_kills_other_processes_and_keeps_what_was_fenced),
        T(attachers_at_once_agree_on_one_host),
        T(second_host_is_refused),
        T(device_locked_by_no_host_is_busy),
        T(stopped_host_is_busy),
        T(absent_device_and_foreign_file_are_told_apart),
#undef T
    };

    peer_main(argc, argv);
    skip_without_userfaultfd();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
