#include "server/ring_internal.h"

#include "base/fail.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

/* The best set of flags that this kernel knows: 6.1 has the first, older ones fewer. */
static int
ring_queue_init(struct io_uring *uring)
{
    static const unsigned choices[] = {
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL,
        IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL,
        0,
    };
    int result = -EINVAL;

    for (size_t i = 0; i < sizeof(choices) / sizeof(choices[0]) && result == -EINVAL; i++) {
        struct io_uring_params params = {
            .flags = choices[i] | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
            .cq_entries = RING_CQ_ENTRIES,
        };

        result = io_uring_queue_init_params(RING_SQ_ENTRIES, uring, &params);
    }
    return result;
}

static int
ring_init_buffers(struct ring *ring)
{
    const size_t list_bytes = RING_BUFFERS * sizeof(struct io_uring_buf);
    const size_t bytes = (size_t)RING_BUFFERS * RING_BUFFER_STRIDE;
    void *list = mmap(NULL, list_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    ring->buffers = list == MAP_FAILED ? NULL : list;
    ring->memory = memory == MAP_FAILED ? NULL : memory;
    if (ring->buffers == NULL || ring->memory == NULL) {
        return -ENOMEM;
    }
    struct io_uring_buf_reg reg = {
        .ring_addr = (uintptr_t)ring->buffers, .ring_entries = RING_BUFFERS, .bgid = RING_GROUP};
    const int result = io_uring_register_buf_ring(&ring->uring, &reg, 0);

    if (result != 0) {
        return result;
    }
    io_uring_buf_ring_init(ring->buffers);
    for (unsigned id = 0; id < RING_BUFFERS; id++) {
        ring_recycle(ring, id);
    }
    io_uring_buf_ring_advance(ring->buffers, (int)ring->recycled);
    ring->recycled = 0;
    return 0;
}

/* Kernels tell nowhere whether they know multishot receive (6.0): try it on a pair of sockets. */
static int
ring_probe_multishot(struct ring *ring)
{
    int pair[2];
    struct io_uring_cqe *cqe;
    struct __kernel_timespec time = {.tv_sec = 1};
    bool ended = false;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        return -errno;
    }
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);

    FL_ASSERT(sqe != NULL); /* The ring is new. */
    io_uring_prep_recv_multishot(sqe, pair[0], NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = RING_GROUP;
    int result = send(pair[1], "x", 1, MSG_NOSIGNAL) == 1 ? 0 : -errno;

    while (result >= 0 && !ended) {
        result = io_uring_submit_and_wait_timeout(&ring->uring, &cqe, 1, &time, NULL);
        if (result < 0 || io_uring_peek_cqe(&ring->uring, &cqe) != 0) {
            break;
        }
        if ((cqe->flags & IORING_CQE_F_BUFFER) != 0) {
            ring_recycle(ring, cqe->flags >> IORING_CQE_BUFFER_SHIFT);
        }
        if ((cqe->flags & IORING_CQE_F_MORE) == 0) {
            ended = true;
            result = cqe->res < 0 ? cqe->res : 0;
        }
        io_uring_cqe_seen(&ring->uring, cqe);
        (void)shutdown(pair[1], SHUT_RDWR);
    }
    io_uring_buf_ring_advance(ring->buffers, (int)ring->recycled);
    ring->recycled = 0;
    close(pair[0]);
    close(pair[1]);
    if (!ended && result >= 0) {
        return -ETIME;
    }
    return result > 0 ? 0 : result;
}

static int
ring_setup_rest(struct ring *ring, const char **what)
{
    *what = "io_uring provided buffers";
    int result = ring_init_buffers(ring);

    if (result == 0) {
        *what = "io_uring multishot receive";
        result = ring_probe_multishot(ring);
    }
    if (result == 0) {
        /* Saves looking the descriptor up at each call; without it all works as well. */
        (void)io_uring_register_ring_fd(&ring->uring);
    }
    return result;
}

void
ring_teardown(struct ring *ring)
{
    io_uring_queue_exit(&ring->uring);
    if (ring->buffers != NULL) {
        munmap(ring->buffers, RING_BUFFERS * sizeof(struct io_uring_buf));
    }
    if (ring->memory != NULL) {
        munmap(ring->memory, (size_t)RING_BUFFERS * RING_BUFFER_STRIDE);
    }
}

fl_status
ring_setup(struct ring *ring)
{
    const char *what = "io_uring";
    int result = ring_queue_init(&ring->uring);

    if (result == 0) {
        result = ring_setup_rest(ring, &what);
        if (result != 0) {
            ring_teardown(ring);
        }
    }
    if (result != 0) {
        errno = -result;
        return FL_FAIL_ERRNO(FL_NOT_SUPPORTED, "%s", what);
    }
    return FL_OK;
}
