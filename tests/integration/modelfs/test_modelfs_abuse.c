/* Goal:   a client that breaks the protocol, by accident or on purpose, harms neither the host nor other clients: it is
 *         dropped or refused, nothing of the host's grows without bound, and no file that it names by a descriptor is
 *         touched.
 * Method: this program hosts a device and speaks to it through sockets of its own: noise, calls whose fields are drawn
 *         at random, orders answered wrongly or not at all, foreign descriptors, replies that nobody takes. After
 *         each, a well-behaved client must be served promptly and find its data. */
#include "tests/integration/modelfs/peer.h"
#include "tests/integration/modelfs/raw.h"
#include "tests/lib/die.h"
#include "tests/lib/rng.h"
#include "tests/lib/tmpdir.h"

#include "storage/modelfs/host.h"
#include "storage/modelfs/uffd.h"
#include "storage/modelfs/wire.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    BLOCK = 4096,
    BLOCKS = 16,
    DEVICE = 4 << 20,
    NOISE_ROUNDS = 200,
    CALL_ROUNDS = 400,
    CALLS = 20,
    DATA = 256,
    FLOOD = 4000,
    PROMPT_MS = 5000,
    MEMORY_KIB_MAX = 64 * 1024, /* more than this for one client's replies would be without bound */
};

struct fixture {
    struct tmpdir dir;
    char path[TMPDIR_PATH_BYTES];
    struct mfs_host *host;
    struct peer good;
    uint64_t count;
};

static int
setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    const struct mfs_host_options options = {.format = true, .size_bytes = DEVICE};

    if (fixture == NULL) {
        return -1;
    }
    tmpdir_create(&fixture->dir);
    (void)tmpdir_join(&fixture->dir, "device", fixture->path);
    if (mfs_host_create(fixture->path, &options, &fixture->host) != FL_OK ||
        mfs_host_start(fixture->host) != FL_OK) {
        die("host: %s", fl_last_error());
    }
    peer_start(&fixture->good, fixture->path);
    (void)peer_ok(&fixture->good, &(struct peer_order){.op = PEER_ATTACH});
    (void)peer_ok(&fixture->good, &(struct peer_order){.op = PEER_CREATE, .name = "good"});
    (void)peer_ok(&fixture->good,
                  &(struct peer_order){.op = PEER_TRUNCATE, .name = "good", .len = BLOCKS * BLOCK});
    (void)peer_ok(&fixture->good, &(struct peer_order){.op = PEER_MAP,
                                                       .name = "good",
                                                       .len = BLOCKS * BLOCK,
                                                       .value = FL_MODELFS_NOSYNC});
    (void)peer_ok(&fixture->good, &(struct peer_order){.op = PEER_CREATE, .name = "bad"});
    *state = fixture;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *fixture = *state;

    peer_kill(&fixture->good);
    mfs_host_destroy(fixture->host);
    tmpdir_destroy(&fixture->dir);
    free(fixture);
    return 0;
}

/* The well-behaved client stores, through a fault at times, and finds what it stored before. */
static void
serves_the_good(struct fixture *fixture)
{
    const uint64_t i = ++fixture->count;
    struct peer_order order = {.op = PEER_PERSIST, .off = i % BLOCKS * BLOCK, .value = i};
    struct peer_answer answer;

    peer_ask(&fixture->good, &order);
    if (!peer_answered(&fixture->good, PROMPT_MS, &answer)) {
        fail_msg("the well-behaved client isn't served");
    }
    assert_int_equal(answer.status, FL_OK);
    order = (struct peer_order){.op = PEER_READ, .off = i % BLOCKS * BLOCK, .name = "good"};
    assert_int_equal(peer_ok(&fixture->good, &order), i);
}

static void
noise_is_dropped(void **state)
{
    struct fixture *fixture = *state;
    struct rng rng = rng_seeded(1);
    static uint8_t bytes[8192];

    for (unsigned round = 0; round < NOISE_ROUNDS; round++) {
        const int fd = raw_dial(fixture->path);
        const size_t size = 1 + rng_below(&rng, round % 2 == 0 ? 600 : sizeof(bytes));
        rng_fill(&rng, bytes, size);
        assert_int_equal(send(fd, bytes, size, MSG_NOSIGNAL), size);
        assert_true(raw_is_dropped(fd));
        (void)close(fd);
    }
    serves_the_good(fixture);
}

static uint64_t
odd_number(struct rng *rng)
{
    static const uint64_t numbers[] = {0,
                                       1,
                                       7,
                                       4095,
                                       4096,
                                       8192,
                                       65536,
                                       65537,
                                       UINT32_MAX,
                                       (uint64_t)UINT32_MAX * 4096,
                                       (uint64_t)1 << 47,
                                       INT64_MAX,
                                       (uint64_t)INT64_MAX + 1,
                                       UINT64_MAX - 4095,
                                       UINT64_MAX};
    const size_t count = sizeof(numbers) / sizeof(numbers[0]);

    if (rng_below(rng, 8) != 0) { /* mostly such as get further in */
        return rng_below(rng, 32) * BLOCK;
    }
    return rng_below(rng, 4) == 0 ? rng_u64(rng) : numbers[rng_below(rng, count)];
}

static struct wire_call
odd_call(struct rng *rng)
{
    static const char *const names[] = {"", "bad", "bad", "new", "..", "a/b"};
    static const bool nameless[WIRE_CALL_KINDS] = {[WIRE_HELLO] = true,
                                                   [WIRE_DONE] = true,
                                                   [WIRE_UNMAP] = true,
                                                   [WIRE_POPULATE] = true,
                                                   [WIRE_FIGURES] = true};
    const uint64_t kinds = rng_below(rng, 32) == 0 ? WIRE_CALL_KINDS + 2 : WIRE_CALL_KINDS - 2;
    struct wire_call call = {.kind = (uint32_t)(rng_below(rng, kinds) + 1),
                             .flags = (uint32_t)rng_below(rng, 4),
                             .id = rng_below(rng, 8),
                             .off = odd_number(rng),
                             .len = odd_number(rng),
                             .address = odd_number(rng),
                             .map = (uint32_t)rng_below(rng, 3)};

    if (call.kind == WIRE_HELLO || call.kind == WIRE_DONE) { /* fatal; other tests' matter */
        call.kind = rng_below(rng, 8) == 0 ? call.kind : (uint32_t)WIRE_READ;
    }
    if (call.kind == WIRE_POWERCUT) { /* what any client may do */
        call.kind = WIRE_FIGURES;
    }
    if (call.kind < WIRE_CALL_KINDS && !nameless[call.kind]) {
        (void)strcpy(call.name, names[(rng_below(rng, 16) == 0 ? 0 : 1) + rng_below(rng, 5)]);
    }
    if (call.kind == WIRE_RENAME || call.kind == WIRE_CLONE) {
        (void)strcpy(call.to, names[1 + rng_below(rng, 5)]);
    }
    if (rng_below(rng, 40) == 0) {
        memset(call.name, 'x', sizeof(call.name));
    }
    if (call.kind == WIRE_ALLOCATE && call.len > DEVICE) {
        call.len %= DEVICE;
    }
    return call;
}

/* Mostly mend what would end the conversation early. Returns a descriptor to send along, or -1. */
static int
make_fitting(struct wire_call *call, struct rng *rng)
{
    const bool mend = rng_below(rng, 32) != 0;

    if (mend && call->kind == WIRE_READ) {
        call->len %= WIRE_DATA_BYTES_MAX + 1;
    }
    if (mend && call->kind == WIRE_WRITE) {
        call->len = call->data_bytes = (uint32_t)rng_below(rng, DATA);
    }
    if (mend && call->kind == WIRE_TRUNCATE) {
        call->off = 16 * BLOCK;
    }
    if (mend && call->kind == WIRE_MAP) { /* of addresses where nothing is */
        call->flags = 1 + (uint32_t)rng_below(rng, 2);
        call->off = 0;
        call->len = 16 * BLOCK;
        call->map = (uint32_t)rng_below(rng, 64);
        call->address = (uint64_t)call->map * 16 * BLOCK;
    }
    if ((call->kind != WIRE_MAP || !mend) && rng_below(rng, 64) != 0) {
        return -1;
    }
    const int fd = memfd_create("odd", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(fd, (off_t)(16 * BLOCK)), 0);
    return fd;
}

/* Replies and orders that have come by now. */
static unsigned
count_answers(int fd)
{
    static uint8_t message[sizeof(struct wire_note) + WIRE_DATA_BYTES_MAX];
    struct wire_received received;
    unsigned count = 0;

    while (wire_receive(fd, message, sizeof(message), false, &received) == FL_OK) {
        wire_close_fds(&received);
        count++;
    }
    return count;
}

static void
calls_with_odd_fields_are_refused_or_served(void **state)
{
    unsigned answered = 0;
    struct fixture *fixture = *state;
    struct rng rng = rng_seeded(2);
    static const uint8_t data[DATA];
    int uffd;

    for (unsigned round = 0; round < CALL_ROUNDS; round++) {
        const int fd = raw_greet(fixture->path, &uffd, NULL);
        for (unsigned i = 0; i < CALLS; i++) {
            struct wire_call call = odd_call(&rng);
            const int passed = make_fitting(&call, &rng);
            raw_say(fd, &call, data, passed);
            if (passed >= 0) {
                (void)close(passed);
            }
        }
        serves_the_good(fixture);
        answered += count_answers(fd);
        (void)close(fd);
        (void)close(uffd);
    }
    serves_the_good(fixture);
    print_message("%u of %u calls were answered\n", answered, CALL_ROUNDS * CALLS);
    assert_true(answered > CALL_ROUNDS * CALLS / 4); /* else they are too odd to get anywhere */
}

/* Map a file at an address where nothing is, and have the host give orders. Returns the first. */
static struct wire_note
provoke_orders(struct fixture *fixture, int fd)
{
    const int file = memfd_create("void", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    struct wire_note note;

    (void)peer_do(&fixture->good,
                  &(struct peer_order){.op = PEER_TRUNCATE, .name = "bad", .len = 16 * BLOCK});
    assert_int_equal(ftruncate(file, (off_t)(16 * BLOCK)), 0);
    struct wire_call call = {.kind = WIRE_MAP,
                             .id = 1,
                             .len = 16 * BLOCK,
                             .address = 1 << 20,
                             .map = 1,
                             .flags = FL_MODELFS_NOSYNC,
                             .name = "bad"};
    raw_say(fd, &call, NULL, file);
    (void)close(file);
    assert_true(raw_hears(fd, &note, NULL));
    assert_int_equal(note.status, FL_OK);
    call = (struct wire_call){.kind = WIRE_POPULATE, .id = 2, .len = 16 * BLOCK, .map = 1};
    raw_say(fd, &call, NULL, -1);
    assert_true(raw_hears(fd, &note, NULL));
    assert_int_equal(note.kind, WIRE_INSTALL);
    return note;
}

static void
orders_answered_wrongly_end_the_connection(void **state)
{
    struct fixture *fixture = *state;
    int uffd;

    for (unsigned way = 0; way < 4; way++) {
        const int fd = raw_greet(fixture->path, &uffd, NULL);
        const struct wire_note order = provoke_orders(fixture, fd);
        struct wire_call done = {.kind = WIRE_DONE, .id = order.id};
        if (way == 0) {
            done.id = order.id + 1;
        } else if (way == 1) {
            done.address = 5;
        } else if (way == 2) {
            done.flags = 1;
        } else {
            raw_say(fd, &done, NULL,
                    -1); /* right, though there is no mapping; and then once more */
        }
        raw_say(fd, &done, NULL, -1);
        assert_true(raw_is_dropped(fd));
        (void)close(fd);
        (void)close(uffd);
        serves_the_good(fixture);
    }
    /* Not answered at all: others can use the same blocks. */
    const int fd = raw_greet(fixture->path, &uffd, NULL);
    (void)provoke_orders(fixture, fd);
    const struct peer_order punch = {.op = PEER_PUNCH, .name = "bad", .len = 16 * BLOCK};
    (void)peer_ok(&fixture->good, &punch);
    serves_the_good(fixture);
    (void)close(fd);
    (void)close(uffd);
}

/* A file with 16 blocks, and somebody's data in the first. */
static int
make_file(const struct tmpdir *dir)
{
    char path[TMPDIR_PATH_BYTES];
    const int file = open(tmpdir_join(dir, "mine", path), O_RDWR | O_CREAT, 0600);

    assert_int_equal(pwrite(file, "somebody's data", 16, 0), 16);
    assert_int_equal(ftruncate(file, (off_t)(16 * BLOCK)), 0);
    return file;
}

static void
descriptors_that_are_no_userfaultfd_are_refused(void **state)
{
    struct fixture *fixture = *state;
    struct wire_note note;
    int pair[2];

    assert_int_equal(pipe(pair), 0);
    const int wrong[] = {make_file(&fixture->dir), pair[0], pair[1]};
    for (size_t i = 0; i < 3; i++) {
        const int fd = raw_dial(fixture->path);
        const struct wire_call hello = {.kind = WIRE_HELLO, .off = WIRE_VERSION};
        raw_say(fd, &hello, NULL, wrong[i]);
        assert_true(raw_hears(fd, &note, NULL));
        assert_int_equal(note.status, FL_PROTOCOL);
        assert_true(raw_is_dropped(fd));
        (void)close(fd);
        (void)close(wrong[i]);
    }
    serves_the_good(fixture);
}

/* On a disk, if there is one, and on tmpfs: the host would punch holes into it. */
static void
files_of_others_are_no_void_files(void **state)
{
    struct fixture *fixture = *state;
    struct tmpdir memory;
    struct wire_note note;
    char text[16];
    int uffd;

    tmpdir_create_in(&memory, "/dev/shm");
    const int files[] = {make_file(&fixture->dir), make_file(&memory)};
    for (size_t i = 0; i < 2; i++) {
        const int fd = raw_greet(fixture->path, &uffd, NULL);
        const struct wire_call map = {.kind = WIRE_MAP,
                                      .len = 16 * BLOCK,
                                      .address = 1 << 20,
                                      .map = 1,
                                      .flags = FL_MODELFS_NOSYNC,
                                      .name = "good"};
        raw_say(fd, &map, NULL, files[i]);
        assert_true(raw_hears(fd, &note, NULL));
        assert_int_equal(note.status, FL_PROTOCOL);
        assert_int_equal(pread(files[i], text, sizeof(text), 0), sizeof(text));
        assert_string_equal(text, "somebody's data");
        (void)close(fd);
        (void)close(uffd);
        (void)close(files[i]);
    }
    tmpdir_destroy(&memory);
    serves_the_good(fixture);
}

static long
memory_kib(void)
{
    struct rusage usage;

    (void)getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

static void
replies_that_nobody_takes_hold_up_only_who_asked(void **state)
{
    struct fixture *fixture = *state;
    int uffd;

    const int fd = raw_greet(fixture->path, &uffd, NULL);
    const long before = memory_kib();
    struct wire_call call = {.kind = WIRE_READ, .len = WIRE_DATA_BYTES_MAX, .name = "good"};
    for (unsigned i = 0; i < FLOOD; i++) {
        call.id = i;
        raw_say(fd, &call, NULL, -1);
        if (i % 500 == 0) {
            serves_the_good(fixture);
        }
    }
    serves_the_good(fixture);
    assert_true(memory_kib() - before < MEMORY_KIB_MAX);
    (void)close(fd);
    (void)close(uffd);
    serves_the_good(fixture);
}

static void
wrong_version_is_told_so(void **state)
{
    struct fixture *fixture = *state;
    const struct wire_call hello = {.kind = WIRE_HELLO, .off = WIRE_VERSION + 1};
    struct wire_note note;
    unsigned lacks;
    int uffd;

    assert_int_equal(uffd_open(&uffd, &lacks), FL_OK);
    const int fd = raw_dial(fixture->path);
    raw_say(fd, &hello, NULL, uffd);
    assert_true(raw_hears(fd, &note, NULL));
    assert_int_equal(note.status, FL_VERSION);
    (void)close(fd);
    (void)close(uffd);
    serves_the_good(fixture);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(noise_is_dropped),
        T(calls_with_odd_fields_are_refused_or_served),
        T(orders_answered_wrongly_end_the_connection),
        T(descriptors_that_are_no_userfaultfd_are_refused),
        T(files_of_others_are_no_void_files),
        T(replies_that_nobody_takes_hold_up_only_who_asked),
        T(wrong_version_is_told_so),
#undef T
    };

    peer_main(argc, argv);
    skip_without_userfaultfd();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
