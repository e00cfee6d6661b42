#include "tests/integration/modelfs/peer.h"

#include "tests/lib/die.h"

#include "storage/modelfs/uffd.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PEER_FD = 3 };

/* ---- SIGBUS ---- */

static _Thread_local sigjmp_buf *guard;

static void
on_sigbus(int number)
{
    if (guard == NULL) {
        (void)signal(number, SIG_DFL);
        (void)raise(number);
        return;
    }
    siglongjmp(*guard, 1);
}

/* At each access: cmocka puts a handler of its own before each test. */
static void
catch_sigbus(void)
{
    struct sigaction action = {.sa_handler = on_sigbus};

    (void)sigaction(SIGBUS, &action, NULL);
}

bool
try_load(const void *address, uint64_t *value)
{
    sigjmp_buf here;

    catch_sigbus();
    if (sigsetjmp(here, 1) != 0) {
        guard = NULL;
        return false;
    }
    guard = &here;
    *value = __atomic_load_n((const uint64_t *)address, __ATOMIC_RELAXED);
    guard = NULL;
    return true;
}

bool
try_store(void *address, uint64_t value)
{
    sigjmp_buf here;

    catch_sigbus();
    if (sigsetjmp(here, 1) != 0) {
        guard = NULL;
        return false;
    }
    guard = &here;
    __atomic_store_n((uint64_t *)address, value, __ATOMIC_RELAXED);
    guard = NULL;
    return true;
}

void
skip_without_userfaultfd(void)
{
    unsigned lacks;
    int fd;

    if (uffd_open(&fd, &lacks) != FL_OK) {
        die_skip("%s", fl_last_error());
    }
    (void)close(fd);
}

/* ---- in the peer ---- */

struct state {
    const char *path;
    struct fl_modelfs *fs;
    struct fl_modelfs_map *map;
    uint8_t *address;
};

static fl_status
attach(struct state *state, const struct peer_order *order)
{
    struct fl_modelfs_options options;

    fl_modelfs_options_init(&options);
    options.flags = (unsigned)order->value;
    options.size_bytes = order->len;
    return fl_modelfs_attach(state->path, &options, &state->fs);
}

static fl_status
map_file(struct state *state, const struct peer_order *order)
{
    void *address = NULL;
    const fl_status status =
        fl_modelfs_mmap(state->fs, order->name, order->off, order->len,
                        (enum fl_modelfs_kind)order->value, &state->map, &address);

    state->address = address;
    return status;
}

static int
store(struct state *state, const struct peer_order *order)
{
    if (!try_store(state->address + order->off, order->value)) {
        return PEER_SIGBUS;
    }
    if (order->op == PEER_PERSIST) {
        fl_modelfs_flush(state->map, state->address + order->off, sizeof(uint64_t));
        fl_modelfs_fence(state->fs);
    }
    return FL_OK;
}

static int
move(struct state *state, const struct peer_order *order)
{
    void *const place = mmap(NULL, order->len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void *const moved = mremap(state->address + order->off, order->len, order->len,
                               MREMAP_MAYMOVE | MREMAP_FIXED, place);

    if (moved == MAP_FAILED) {
        return FL_IO;
    }
    return try_store(moved, 1) ? FL_OK : PEER_SIGBUS;
}

static int
commits(struct state *state, uint64_t *value)
{
    struct fl_modelfs_figures figures = {.struct_bytes = sizeof(figures)};
    const fl_status status = fl_modelfs_figures(state->fs, &figures);

    *value = figures.commits;
    return (int)status;
}

_Noreturn static void
hammer(const struct state *state, const struct peer_order *order)
{
    const struct peer_answer begun = {.status = FL_OK};

    (void)!write(PEER_FD, &begun, sizeof(begun));
    for (uint64_t i = 1;; i++) {
        const uint64_t off = order->off + i * 64 % order->len;
        (void)try_store(state->address + off, i);
    }
}

static int
act(struct state *state, const struct peer_order *order, uint64_t *value)
{
    size_t done = 0;

    switch (order->op) {
    case PEER_ATTACH:
        return (int)attach(state, order);
    case PEER_DETACH:
        fl_modelfs_detach(state->fs);
        return FL_OK;
    case PEER_CREATE:
        return (int)fl_modelfs_create(state->fs, order->name);
    case PEER_MAP:
        return (int)map_file(state, order);
    case PEER_UNMAP:
        fl_modelfs_unmap(state->map);
        return FL_OK;
    case PEER_LOAD:
        return try_load(state->address + order->off, value) ? FL_OK : PEER_SIGBUS;
    case PEER_STORE:
    case PEER_PERSIST:
        return store(state, order);
    case PEER_FENCE:
        fl_modelfs_fence(state->fs);
        return FL_OK;
    case PEER_POPULATE:
        return (int)fl_modelfs_populate(state->map, order->off, order->len);
    case PEER_READ:
        return (int)fl_modelfs_read(state->fs, order->name, order->off, value, sizeof(*value),
                                    &done);
    case PEER_WRITE:
        return (int)fl_modelfs_write(state->fs, order->name, order->off, &order->value,
                                     sizeof(order->value), &done);
    case PEER_PUNCH:
        return (int)fl_modelfs_punch(state->fs, order->name, order->off, order->len);
    case PEER_TRUNCATE:
        return (int)fl_modelfs_truncate(state->fs, order->name, order->len);
    case PEER_ALLOCATE:
        return (int)fl_modelfs_allocate(state->fs, order->name, order->off, order->len, false);
    case PEER_FSYNC:
        return (int)fl_modelfs_fsync(state->fs, order->name);
    case PEER_POWERCUT:
        return (int)fl_modelfs_powercut(state->fs, order->value);
    case PEER_COMMITS:
        return commits(state, value);
    case PEER_MOVE:
        return move(state, order);
    case PEER_HAMMER:
        hammer(state, order);
    }
    return FL_INVALID;
}

void
peer_main(int argc, char **argv)
{
    struct state state = {0};
    struct peer_order order;

    if (argc != 3 || strcmp(argv[1], "--peer") != 0) {
        return;
    }
    state.path = argv[2];
    while (read(PEER_FD, &order, sizeof(order)) == (ssize_t)sizeof(order)) {
        struct peer_answer answer = {0};
        answer.status = act(&state, &order, &answer.value);
        if (answer.status != FL_OK) {
            (void)snprintf(answer.text, sizeof(answer.text), "%s", fl_last_error());
        }
        if (write(PEER_FD, &answer, sizeof(answer)) != (ssize_t)sizeof(answer)) {
            break;
        }
    }
    exit(0);
}

/* ---- in the test ---- */

void
peer_start(struct peer *peer, const char *path)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        die_errno("socketpair");
    }
    const pid_t parent = getpid();
    peer->pid = fork();
    if (peer->pid < 0) {
        die_errno("fork");
    }
    if (peer->pid == 0) {
        char *const argv[] = {(char *)(uintptr_t) "peer", (char *)(uintptr_t) "--peer",
                              (char *)(uintptr_t)path, NULL};
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent && (pair[1] == PEER_FD || dup2(pair[1], PEER_FD) == PEER_FD)) {
            (void)execv("/proc/self/exe", argv);
        }
        _exit(127);
    }
    (void)close(pair[1]);
    peer->socket = pair[0];
}

void
peer_ask(struct peer *peer, const struct peer_order *order)
{
    if (send(peer->socket, order, sizeof(*order), MSG_NOSIGNAL) != (ssize_t)sizeof(*order)) {
        die_errno("send to peer");
    }
}

bool
peer_answered(struct peer *peer, unsigned ms, struct peer_answer *answer)
{
    struct pollfd fd = {.fd = peer->socket, .events = POLLIN};

    while (poll(&fd, 1, (int)ms) < 0 && errno == EINTR) {
    }
    return (fd.revents & POLLIN) != 0 &&
           read(peer->socket, answer, sizeof(*answer)) == (ssize_t)sizeof(*answer);
}

struct peer_answer
peer_do(struct peer *peer, const struct peer_order *order)
{
    struct peer_answer answer;

    peer_ask(peer, order);
    if (!peer_answered(peer, PEER_ANSWER_MS, &answer)) {
        die("peer %d doesn't answer order %d", (int)peer->pid, (int)order->op);
    }
    return answer;
}

uint64_t
peer_ok(struct peer *peer, const struct peer_order *order)
{
    const struct peer_answer answer = peer_do(peer, order);

    if (answer.status != FL_OK) {
        die("peer's order %d: status %d, %s", (int)order->op, answer.status, answer.text);
    }
    return answer.value;
}

void
peer_signal(const struct peer *peer, int signal_number)
{
    if (peer->pid > 0) {
        (void)kill(peer->pid, signal_number);
    }
}

void
peer_stop(const struct peer *peer)
{
    int status;

    peer_signal(peer, SIGSTOP);
    if (waitpid(peer->pid, &status, WUNTRACED) != peer->pid || !WIFSTOPPED(status)) {
        die("peer %d doesn't stop", (int)peer->pid);
    }
}

bool
peer_ends(struct peer *peer, unsigned ms, int *status)
{
    for (unsigned waited = 0; waited <= ms; waited++) {
        if (waitpid(peer->pid, status, WNOHANG) == peer->pid) {
            (void)close(peer->socket);
            peer->pid = 0;
            return true;
        }
        const struct timespec moment = {.tv_nsec = 1000000};
        (void)nanosleep(&moment, NULL);
    }
    return false;
}

void
peer_kill(struct peer *peer)
{
    int status;

    if (peer->pid > 0) {
        (void)kill(peer->pid, SIGKILL);
        (void)waitpid(peer->pid, &status, 0);
        (void)close(peer->socket);
        peer->pid = 0;
    }
}
