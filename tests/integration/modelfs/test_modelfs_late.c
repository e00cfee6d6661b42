/* Goal:   an order that a client carries out late, after the block was taken back or given to somebody else, makes no
 *         page-table entry; one that still stands makes it.
 * Method: this program is the client, by hand: it maps what an INSTALL says, lets another process punch, overwrite or
 *         truncate the block before it answers DONE, and asks the kernel whether there is an entry. */
#include "tests/integration/modelfs/peer.h"
#include "tests/integration/modelfs/raw.h"
#include "tests/lib/die.h"
#include "tests/lib/tmpdir.h"

#include "storage/modelfs/host.h"
#include "storage/modelfs/record.h"
#include "storage/modelfs/uffd.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

enum { BLOCK = 4096, DEVICE = 4 << 20, MAP_NUMBER = 1 };

struct fixture {
    struct tmpdir dir;
    char path[TMPDIR_PATH_BYTES];
    struct mfs_host *host;
    struct peer other;
    uint64_t data_off;
    int socket;
    int uffd;
    int live;
    void *address;
};

static uint64_t
ask(struct fixture *fixture, enum peer_op op, uint64_t len, uint64_t value)
{
    return peer_ok(&fixture->other,
                   &(struct peer_order){.op = op, .name = "f", .len = len, .value = value});
}

static void
map_by_hand(struct fixture *fixture)
{
    const int file = memfd_create("void", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    struct wire_note note;

    assert_int_equal(ftruncate(file, BLOCK), 0);
    fixture->address = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    assert_ptr_not_equal(fixture->address, MAP_FAILED);
    assert_int_equal(uffd_register(fixture->uffd, (uintptr_t)fixture->address, BLOCK), FL_OK);
    const struct wire_call call = {.kind = WIRE_MAP,
                                   .len = BLOCK,
                                   .address = (uintptr_t)fixture->address,
                                   .map = MAP_NUMBER,
                                   .flags = FL_MODELFS_NOSYNC,
                                   .name = "f"};
    raw_say(fixture->socket, &call, NULL, file);
    assert_true(raw_hears(fixture->socket, &note, NULL));
    assert_int_equal(note.status, FL_OK);
    (void)close(file);
}

static int
setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    const struct mfs_host_options options = {.format = true, .size_bytes = DEVICE};
    struct mfs_geometry geometry;

    if (fixture == NULL) {
        return -1;
    }
    tmpdir_create(&fixture->dir);
    (void)tmpdir_join(&fixture->dir, "device", fixture->path);
    if (mfs_host_create(fixture->path, &options, &fixture->host) != FL_OK ||
        mfs_host_start(fixture->host) != FL_OK) {
        die("host: %s", fl_last_error());
    }
    assert_non_null(mfs_host_lock(fixture->host));
    assert_int_equal(
        mfs_super_decode(mfs_media_live(mfs_host_media(fixture->host)), DEVICE, &geometry), FL_OK);
    mfs_host_unlock(fixture->host);
    fixture->data_off = geometry.data_off;
    peer_start(&fixture->other, fixture->path);
    (void)ask(fixture, PEER_ATTACH, 0, 0);
    (void)ask(fixture, PEER_CREATE, 0, 0);
    (void)ask(fixture, PEER_TRUNCATE, BLOCK, 0);
    fixture->socket = raw_greet(fixture->path, &fixture->uffd, &fixture->live);
    map_by_hand(fixture);
    *state = fixture;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *fixture = *state;

    (void)munmap(fixture->address, BLOCK);
    const int fds[] = {fixture->socket, fixture->uffd, fixture->live};
    for (size_t i = 0; i < 3; i++) {
        (void)close(fds[i]);
    }
    peer_kill(&fixture->other);
    mfs_host_destroy(fixture->host);
    tmpdir_destroy(&fixture->dir);
    free(fixture);
    return 0;
}

/* Whether the page table has an entry for the block. */
static bool
has_entry(const struct fixture *fixture)
{
    const uint64_t present = UINT64_C(1) << 63;
    const int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    uint64_t entry = 0;

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &entry, sizeof(entry),
                           (off_t)((uintptr_t)fixture->address / BLOCK * sizeof(entry))),
                     sizeof(entry));
    (void)close(fd);
    return (entry & present) != 0;
}

/* Have the host order an INSTALL, and do what it says. Returns the order, not yet answered. */
static struct wire_note
install(struct fixture *fixture)
{
    const struct wire_call populate = {.kind = WIRE_POPULATE, .len = BLOCK, .map = MAP_NUMBER};
    struct wire_note order;

    raw_say(fixture->socket, &populate, NULL, -1);
    assert_true(raw_hears(fixture->socket, &order, NULL));
    assert_int_equal(order.kind, WIRE_INSTALL);
    const uint64_t off = fixture->data_off + (uint64_t)order.phys * BLOCK;
    void *ptr = mmap(fixture->address, BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
                     fixture->live, (off_t)off);
    assert_ptr_equal(ptr, fixture->address);
    assert_int_equal(uffd_register(fixture->uffd, (uintptr_t)ptr, BLOCK), FL_OK);
    return order;
}

/* Answer, and wait until the host has dealt with it. */
static void
answer(struct fixture *fixture, const struct wire_note *order)
{
    const struct wire_call done = {.kind = WIRE_DONE, .id = order->id};
    const struct wire_call figures = {.kind = WIRE_FIGURES, .id = 77};
    struct wire_note note = {0};

    raw_say(fixture->socket, &done, NULL, -1);
    raw_say(fixture->socket, &figures, NULL, -1);
    while (note.id != figures.id) {
        assert_true(raw_hears(fixture->socket, &note, NULL));
    }
}

static void
order_that_stands_makes_an_entry(void **state)
{
    struct fixture *fixture = *state;
    const struct wire_note order = install(fixture);

    assert_false(has_entry(fixture));
    answer(fixture, &order);
    assert_true(has_entry(fixture));
    *(volatile uint64_t *)fixture->address = 5;
    assert_int_equal(ask(fixture, PEER_READ, 0, 0), 5);
    (void)ask(fixture, PEER_PUNCH, BLOCK, 0);
    assert_false(has_entry(fixture));
}

static void
order_for_a_punched_block_makes_none(void **state)
{
    struct fixture *fixture = *state;
    const struct wire_note order = install(fixture);

    (void)ask(fixture, PEER_PUNCH, BLOCK, 0);
    answer(fixture, &order);
    assert_false(has_entry(fixture));
}

static void
order_for_a_block_that_others_have_now_makes_none(void **state)
{
    struct fixture *fixture = *state;
    const struct wire_note order = install(fixture);

    (void)ask(fixture, PEER_PUNCH, BLOCK, 0);
    (void)ask(fixture, PEER_WRITE, 0, 9); /* likely the same physical block again */
    (void)ask(fixture, PEER_FSYNC, 0, 0);
    answer(fixture, &order);
    assert_false(has_entry(fixture));
}

static void
order_for_an_overwritten_block_makes_none(void **state)
{
    struct fixture *fixture = *state;
    const struct wire_note order = install(fixture);

    (void)ask(fixture, PEER_WRITE, 0, 9);
    answer(fixture, &order);
    assert_false(has_entry(fixture));
    assert_int_equal(ask(fixture, PEER_READ, 0, 0), 9);
}

static void
order_for_a_block_behind_the_end_makes_none(void **state)
{
    struct fixture *fixture = *state;
    const struct wire_note order = install(fixture);

    (void)ask(fixture, PEER_TRUNCATE, 0, 0);
    answer(fixture, &order);
    assert_false(has_entry(fixture));
}

/* The fsync takes leave to store back before there is any: the order must not bring it. */
static void
order_for_a_protected_block_makes_none_to_store_through(void **state)
{
    struct fixture *fixture = *state;
    const struct wire_note order = install(fixture);

    (void)ask(fixture, PEER_FSYNC, 0, 0);
    answer(fixture, &order);
    assert_false(has_entry(fixture));
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(order_that_stands_makes_an_entry),
        T(order_for_a_punched_block_makes_none),
        T(order_for_a_block_that_others_have_now_makes_none),
        T(order_for_an_overwritten_block_makes_none),
        T(order_for_a_block_behind_the_end_makes_none),
        T(order_for_a_protected_block_makes_none_to_store_through),
#undef T
    };

    peer_main(argc, argv);
    skip_without_userfaultfd();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
