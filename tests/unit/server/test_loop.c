/* Goal:   both event loops keep the same promises: bytes both ways, pauses, one end a socket, a
 * release for
 *         each close, and nothing after it.
 * Method: the same tests over epoll and io_uring (skipped where the kernel refuses it), on
 * socket pairs. What kernels do to the ring's receives now and then is done to them here each time. */
#include "server/loop.h"

#include "base/clock.h"
#include "base/fail.h"
#include "server/ring_internal.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <netinet/in.h>
#include <cmocka.h>

struct seen {
    struct loop *loop;
    char received[256 * 1024];
    size_t received_len;
    unsigned ended, released, sent, accepted, readable;
    size_t sent_bytes;
    int accepted_fd;
    int error;
};

static void
on_accepted(void *context, void *tag, int fd)
{
    struct seen *seen = context;

    assert_ptr_equal(tag, seen);
    seen->accepted++;
    seen->accepted_fd = fd;
}

static void
on_accept_failed(void *context, void *tag, int error)
{
    (void)context;
    (void)tag;
    (void)error;
    fail();
}

static void
on_received(void *context, struct loop_sock *sock, char *data, size_t len)
{
    struct seen *seen = context;

    assert_false(sock->closing);
    assert_true(len > 0 && len <= LOOP_RECV_BYTES_MAX);
    if (seen->received_len + len <= sizeof(seen->received)) {
        memcpy(seen->received + seen->received_len, data, len);
    }
    seen->received_len += len;
}

static void
on_ended(void *context, struct loop_sock *sock, int error)
{
    struct seen *seen = context;

    (void)sock;
    seen->ended++;
    seen->error = error;
}

static void
on_sent(void *context, struct loop_sock *sock, size_t len, int error)
{
    struct seen *seen = context;

    (void)sock;
    seen->sent++;
    seen->sent_bytes += len;
    seen->error = error;
}

static void
on_released(void *context, struct loop_sock *sock)
{
    struct seen *seen = context;

    assert_int_equal(sock->fd, -1);
    seen->released++;
}

static void
on_readable(void *context, void *tag)
{
    struct seen *seen = context;
    uint64_t count;

    seen->readable++;
    assert_int_equal(read(*(int *)tag, &count, sizeof(count)), sizeof(count));
}

static const struct loop_events events = {
    .accepted = on_accepted,
    .accept_failed = on_accept_failed,
    .received = on_received,
    .ended = on_ended,
    .sent = on_sent,
    .released = on_released,
    .readable = on_readable,
};

static struct seen *
begin(void **state)
{
    struct seen *seen = calloc(1, sizeof(*seen));
    const enum loop_kind kind = *(enum loop_kind *)*state;

    assert_non_null(seen);
    assert_int_equal(loop_create(kind, 16, &events, seen, &seen->loop), FL_OK);
    return seen;
}

static void
turn(struct seen *seen)
{
    for (int i = 0; i < 3; i++) {
        assert_int_equal(loop_wait(seen->loop, 5), FL_OK);
    }
}

static void
end(struct seen *seen, struct loop_sock *sock, unsigned released)
{
    if (sock != NULL) {
        loop_close(seen->loop, sock);
        loop_close(seen->loop, sock); /* twice is once */
        turn(seen);
    }
    assert_int_equal(seen->released, released);
    loop_destroy(seen->loop);
    free(seen);
}

static int
pair_add(struct seen *seen, struct loop_sock *sock)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(loop_add(seen->loop, sock, pair[1]), FL_OK);
    return pair[0];
}

/* Send all of it, however the loop cuts it. */
static void
send_all(struct seen *seen, struct loop_sock *sock, const char *data, size_t len, int fd,
         char *into)
{
    size_t sent = 0;
    size_t got = 0;

    while (sent < len || got < len) {
        if (sent < len && !sock->send_busy) {
            const size_t half = (len - sent) / 2;
            const struct iovec iov[2] = {
                {(void *)(uintptr_t)(data + sent), half},
                {(void *)(uintptr_t)(data + sent + half), len - sent - half}};
            const unsigned skip = half == 0 ? 1 : 0;
            const ssize_t n = loop_send(seen->loop, sock, iov + skip, 2 - skip, false);

            assert_true(n >= 0);
            sent += (size_t)n;
        }
        const size_t before = seen->sent_bytes;

        turn(seen);
        assert_int_equal(seen->error, 0);
        sent += seen->sent_bytes - before;
        const ssize_t n = recv(fd, into + got, len - got, MSG_DONTWAIT);

        got += n > 0 ? (size_t)n : 0;
    }
}

static void
bytes_go_both_ways(void **state)
{
    struct seen *seen = begin(state);
    struct loop_sock sock;
    const int fd = pair_add(seen, &sock);
    const size_t len = 3 << 20;
    char *data = malloc(len);
    char *into = malloc(len);

    assert_non_null(data);
    assert_non_null(into);
    for (size_t i = 0; i < len; i++) {
        data[i] = (char)(i * 31 >> 3);
    }
    assert_int_equal(send(fd, data, 100000, 0), 100000);
    turn(seen);
    turn(seen);
    assert_int_equal(seen->received_len, 100000);
    assert_memory_equal(seen->received, data, 100000);
    send_all(seen, &sock, data, len, fd, into);
    assert_memory_equal(into, data, len);
    free(data);
    free(into);
    close(fd);
    end(seen, &sock, 1);
}

static void
paused_socket_receives_no_more_until_resumed(void **state)
{
    struct seen *seen = begin(state);
    struct loop_sock sock;
    const int fd = pair_add(seen, &sock);

    turn(seen);
    loop_recv_pause(seen->loop, &sock);
    turn(seen);
    assert_int_equal(send(fd, "abc", 3, 0), 3);
    turn(seen);
    assert_int_equal(seen->received_len, 0);
    loop_recv_resume(seen->loop, &sock);
    turn(seen);
    assert_int_equal(seen->received_len, 3);
    loop_recv_pause(seen->loop, &sock); /* and at once again: the cancellation is on its way */
    loop_recv_resume(seen->loop, &sock);
    turn(seen);
    assert_int_equal(send(fd, "def", 3, 0), 3);
    turn(seen);
    assert_int_equal(seen->received_len, 6);
    close(fd);
    end(seen, &sock, 1);
}

static void
end_of_stream_is_told_once_and_sending_goes_on(void **state)
{
    struct seen *seen = begin(state);
    struct loop_sock sock;
    const int fd = pair_add(seen, &sock);
    char into[8];

    assert_int_equal(send(fd, "last", 4, 0), 4);
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    turn(seen);
    turn(seen);
    assert_int_equal(seen->received_len, 4);
    assert_int_equal(seen->ended, 1);
    assert_int_equal(seen->error, 0);
    send_all(seen, &sock, "answer", 6, fd, into);
    assert_memory_equal(into, "answer", 6);
    close(fd);
    turn(seen);
    assert_int_equal(seen->ended, 1);
    end(seen, &sock, 1);
}

static void
send_to_one_who_left_fails(void **state)
{
    struct seen *seen = begin(state);
    struct loop_sock sock;
    const int fd = pair_add(seen, &sock);
    const struct iovec iov = {(void *)(uintptr_t) "x", 1};

    close(fd);
    turn(seen);
    const ssize_t n = loop_send(seen->loop, &sock, &iov, 1, false);

    turn(seen);
    assert_true(n == -EPIPE || seen->error == EPIPE);
    end(seen, &sock, 1);
}

static void
close_with_send_and_receive_in_flight_releases_once(void **state)
{
    struct seen *seen = begin(state);
    struct loop_sock sock;
    const int fd = pair_add(seen, &sock);
    const size_t len = 8 << 20; /* more than the socket takes */
    char *data = calloc(1, len);
    const struct iovec iov = {data, len};

    assert_non_null(data);
    for (int i = 0; i < 3 && !sock.send_busy; i++) {
        assert_true(loop_send(seen->loop, &sock, &iov, 1, false) >= 0);
    }
    turn(seen);
    end(seen, &sock, 1);
    free(data);
    close(fd);
}

static void
many_senders_more_than_buffers_are_all_heard(void **state)
{
    enum { SOCKETS = 400 };
    struct seen *seen = begin(state);
    static struct loop_sock socks[SOCKETS];
    static int fds[SOCKETS];
    static char data[2000];

    for (unsigned i = 0; i < SOCKETS; i++) {
        fds[i] = pair_add(seen, &socks[i]);
    }
    turn(seen);
    for (unsigned i = 0; i < SOCKETS; i++) {
        assert_int_equal(send(fds[i], data, sizeof(data), 0), sizeof(data));
    }
    for (int i = 0; i < 20 && seen->received_len < SOCKETS * sizeof(data); i++) {
        turn(seen);
    }
    assert_int_equal(seen->received_len, SOCKETS * sizeof(data));
    for (unsigned i = 0; i < SOCKETS; i++) {
        close(fds[i]);
        loop_close(seen->loop, &socks[i]);
    }
    for (int i = 0; i < 40 && seen->released < SOCKETS; i++) {
        turn(seen); /* The kernel hands over a few at a time. */
    }
    end(seen, NULL, SOCKETS);
}

static void
connections_are_accepted_until_stopped(void **state)
{
    struct seen *seen = begin(state);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(address);
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(listener, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(listener, 8), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
    assert_int_equal(loop_listen(seen->loop, listener, seen), FL_OK);
    turn(seen);
    for (unsigned i = 1; i <= 3; i++) {
        const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert_int_equal(connect(fd, (struct sockaddr *)&address, len), 0);
        turn(seen);
        assert_int_equal(seen->accepted, i);
        close(seen->accepted_fd);
        close(fd);
    }
    loop_listen_stop(seen->loop);
    turn(seen);
    close(listener);
    end(seen, NULL, 0);
}

static void
watched_descriptor_is_reported_each_time(void **state)
{
    struct seen *seen = begin(state);
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    const uint64_t one = 1;

    assert_int_equal(loop_watch(seen->loop, fd, &fd), FL_OK);
    turn(seen);
    for (unsigned i = 1; i <= 3; i++) {
        assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
        turn(seen);
        assert_int_equal(seen->readable, i);
    }
    loop_destroy(seen->loop);
    close(fd);
    free(seen);
}

/* ---- receives that sleep over what there is ---- */

enum { WOKEN_MS = 1000 };

/* Submit, and drop every completion until one has `data` for its name and is the last of its operation. */
static void
ring_drop_until_done(struct ring *ring, uint64_t data)
{
    struct io_uring_cqe *cqe;
    bool done = false;

    while (!done) {
        struct __kernel_timespec time = {.tv_sec = 10};

        assert_true(io_uring_submit_and_wait_timeout(&ring->uring, &cqe, 1, &time, NULL) >= 0);
        while (io_uring_peek_cqe(&ring->uring, &cqe) == 0) {
            done |= cqe->user_data == data && (cqe->flags & IORING_CQE_F_MORE) == 0;
            io_uring_cqe_seen(&ring->uring, cqe);
        }
    }
}

/* Put a receive on the silent socket `quiet` in the place of the socket's own. To the loop it looks like one that the
 * kernel doesn't wake: armed, and it can be cancelled. */
static void
receive_put_to_sleep(struct seen *seen, struct loop_sock *sock, int quiet)
{
    struct ring *ring = (struct ring *)seen->loop;
    const uint64_t name = (uint64_t)(uintptr_t)sock | RING_RECV;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);

    FL_ASSERT(sqe != NULL && sock->recv_armed && !sock->cancelling);
    io_uring_prep_cancel64(sqe, name, 0);
    io_uring_sqe_set_data64(sqe, RING_IGNORED);
    ring_drop_until_done(ring, name);
    sqe = io_uring_get_sqe(&ring->uring);
    FL_ASSERT(sqe != NULL);
    io_uring_prep_recv_multishot(sqe, quiet, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = RING_GROUP;
    io_uring_sqe_set_data64(sqe, name);
    assert_int_equal(io_uring_submit(&ring->uring), 1);
}

/* Let the loop run until `wanted` bytes, ends and releases were told of, or for long enough. */
static void
turn_until_told(struct seen *seen, size_t wanted)
{
    const uint64_t until_ns = clock_mono_ns() + (uint64_t)WOKEN_MS * CLOCK_NS_PER_MS;

    while (seen->received_len + seen->ended + seen->released < wanted &&
           clock_mono_ns() < until_ns) {
        assert_int_equal(loop_wait(seen->loop, WOKEN_MS), FL_OK);
    }
}

/* The kernel loses wake-ups of a receive that has received something: a byte has come before each. */
static void
fall_asleep_behind_a_byte(struct seen *seen, struct loop_sock *sock, int fd, int quiet)
{
    const size_t before = seen->received_len;

    assert_int_equal(send(fd, "x", 1, 0), 1);
    turn(seen);
    assert_int_equal(seen->received_len, before + 1);
    receive_put_to_sleep(seen, sock, quiet);
}

static void
receive_that_sleeps_over_data_is_woken(void **state)
{
    struct seen *seen = begin(state);
    struct loop_sock sock;
    struct loop_sock other;
    const int fd = pair_add(seen, &sock);
    const int quiet = pair_add(seen, &other);

    for (size_t i = 0; i < 2; i++) {
        fall_asleep_behind_a_byte(seen, &sock, fd, quiet);
        assert_int_equal(send(fd, "abc", 3, 0), 3);
        turn_until_told(seen, 4 * (i + 1));
        assert_int_equal(seen->received_len, 4 * (i + 1));
    }
    assert_string_equal(seen->received, "xabcxabc");
    loop_close(seen->loop, &other);
    end(seen, &sock, 2);
    close(quiet);
    close(fd);
}

static void
receive_that_sleeps_over_the_end_is_woken(void **state)
{
    struct seen *seen = begin(state);
    struct loop_sock sock;
    struct loop_sock other;
    const int fd = pair_add(seen, &sock);
    const int quiet = pair_add(seen, &other);

    fall_asleep_behind_a_byte(seen, &sock, fd, quiet);
    close(fd);
    turn_until_told(seen, 2);
    assert_int_equal(seen->ended, 1);
    assert_int_equal(seen->error, 0);
    loop_close(seen->loop, &other);
    end(seen, &sock, 2);
    close(quiet);
}

static void
socket_closed_while_its_receive_sleeps_is_released(void **state)
{
    struct seen *seen = begin(state);
    struct loop_sock sock;
    struct loop_sock other;
    const int fd = pair_add(seen, &sock);
    const int quiet = pair_add(seen, &other);

    fall_asleep_behind_a_byte(seen, &sock, fd, quiet);
    loop_close(seen->loop, &sock);
    turn(seen);
    assert_int_equal(seen->released, 1);
    end(seen, &other, 2);
    close(quiet);
    close(fd);
}

static void
socket_that_stays_quiet_is_looked_at_once(void **state)
{
    struct seen *seen = begin(state);
    const struct ring *ring = (const struct ring *)seen->loop;
    struct loop_sock sock;
    const int fd = pair_add(seen, &sock);

    turn(seen);
    assert_null(ring->look); /* Nothing has come, so nothing was missed. */
    assert_int_equal(send(fd, "x", 1, 0), 1);
    turn(seen);
    assert_ptr_equal(ring->look, &sock);
    turn_until_told(seen, 2);
    assert_null(ring->look);
    assert_true(sock.recv_armed);
    assert_int_equal(sock.ops_in_flight, 1);
    end(seen, &sock, 1);
    close(fd);
}

int
main(void)
{
    static enum loop_kind kinds[] = {LOOP_EPOLL, LOOP_URING};
    int failed = 0;

    for (size_t i = 0; i < 2; i++) {
        struct loop *loop;
        void *kind = &kinds[i];

        if (loop_create(kinds[i], 16, &events, NULL, &loop) != FL_OK) {
            printf("skipped: io_uring: %s\n", fl_last_error());
            return failed != 0 ? failed : 77;
        }
        printf("%s\n", loop_name(loop));
        loop_destroy(loop);
        const struct CMUnitTest tests[] = {
            cmocka_unit_test_prestate(bytes_go_both_ways, kind),
            cmocka_unit_test_prestate(paused_socket_receives_no_more_until_resumed, kind),
            cmocka_unit_test_prestate(end_of_stream_is_told_once_and_sending_goes_on, kind),
            cmocka_unit_test_prestate(send_to_one_who_left_fails, kind),
            cmocka_unit_test_prestate(close_with_send_and_receive_in_flight_releases_once, kind),
            cmocka_unit_test_prestate(many_senders_more_than_buffers_are_all_heard, kind),
            cmocka_unit_test_prestate(connections_are_accepted_until_stopped, kind),
            cmocka_unit_test_prestate(watched_descriptor_is_reported_each_time, kind),
        };

        failed += cmocka_run_group_tests(tests, NULL, NULL);
    }
    void *kind = &kinds[1];
    const struct CMUnitTest of_ring[] = {
        cmocka_unit_test_prestate(receive_that_sleeps_over_data_is_woken, kind),
        cmocka_unit_test_prestate(receive_that_sleeps_over_the_end_is_woken, kind),
        cmocka_unit_test_prestate(socket_closed_while_its_receive_sleeps_is_released, kind),
        cmocka_unit_test_prestate(socket_that_stays_quiet_is_looked_at_once, kind),
    };

    failed += cmocka_run_group_tests(of_ring, NULL, NULL);
    return failed;
}
