/* One event loop behind a narrow interface, with two backends: io_uring (ring.c) and epoll
 * (epoll.c).
 *
 * The loop reports what arrived by calling back from inside loop_wait(), and nowhere else but
 * where a comment says so. Sends are only queued by loop_send() where the backend can batch
 * them: they leave with the next loop_wait(), so that one system call a tick carries everything.
 *
 * Threads: one. Every call is made by the thread that opened the loop.
 */
#ifndef FL_SERVER_LOOP_H
#define FL_SERVER_LOOP_H

#include <faultline/status.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum {
    LOOP_IOV_MAX = 16,             /* pieces of one send */
    LOOP_RECV_BYTES_MAX = 1 << 16, /* most that one received() hands over */
};

enum loop_kind {
    LOOP_AUTO =
        0, /* io_uring where the kernel has and allows it, else epoll, with a line in the log */
    LOOP_URING = 1,
    LOOP_EPOLL = 2,
};

struct loop;
struct loop_ops;

/* One connected socket. Embedded in the connection; its fields belong to the loop. */
struct loop_sock {
    int fd;
    uint8_t ops_in_flight; /* released() comes when it is 0 after loop_close() */
    bool recv_wanted;
    bool recv_armed;
    bool send_busy;
    bool closing;
    bool ended;       /* ended() was called */
    bool out_armed;   /* epoll: waits for room */
    bool listed;      /* ring: in its list of sockets without a receive buffer */
    bool cancelling;  /* ring: its receive is being cancelled */
    bool heard;       /* ring: has received since the last look */
    bool look_listed; /* ring: to be looked at, see ring_look.c */
    struct loop_sock *next;
    struct loop_sock *look_prev, *look_next;
    struct msghdr msg;
    struct iovec iov[LOOP_IOV_MAX];
};

/* What the loop calls. `context` is that of loop_open(). */
struct loop_events {
    /* A connection was accepted; the callee owns `fd` and gives it to loop_add() or closes it. */
    void (*accepted)(void *context, void *tag, int fd);
    /* accept() failed with `error`; the listener is paused until loop_listen_resume(). */
    void (*accept_failed)(void *context, void *tag, int error);
    /* Bytes came in: valid during the call only. len > 0. */
    void (*received)(void *context, struct loop_sock *sock, char *data, size_t len);
    /* The other side is gone: error 0 is an orderly end of its stream. Comes once. */
    void (*ended)(void *context, struct loop_sock *sock, int error);
    /* A send that loop_send() had left in flight took `len` bytes, or failed: error != 0. */
    void (*sent)(void *context, struct loop_sock *sock, size_t len, int error);
    /* After loop_close(): nothing in flight refers to the socket any more; its memory may go. */
    void (*released)(void *context, struct loop_sock *sock);
    /* A descriptor given to loop_watch() is readable. */
    void (*readable)(void *context, void *tag);
};

/* Owner: the caller; loop_destroy() after every socket was released. LOOP_AUTO falls back from
 * io_uring to epoll and says why in the log; LOOP_URING fails with FL_NOT_SUPPORTED.
 * `sockets_max` bounds what may be open at once. */
FL_NODISCARD fl_status loop_create(enum loop_kind kind, unsigned sockets_max,
                                   const struct loop_events *events, void *context,
                                   struct loop **out);
void loop_destroy(struct loop *loop);

const char *loop_name(const struct loop *loop); /* "io_uring" or "epoll" */

/* Accept from a listening socket, non-blocking. `tag` comes back with accepted(). At most 16 of
 * them. */
FL_NODISCARD fl_status loop_listen(struct loop *loop, int fd, void *tag);
void loop_listen_resume(struct loop *loop); /* every listener that had failed tries again */
void loop_listen_stop(struct loop *loop);   /* accept no more; the caller closes the sockets */

/* Report when `fd` (an eventfd or signalfd) is readable, until the loop ends. At most 16 of
 * them. */
FL_NODISCARD fl_status loop_watch(struct loop *loop, int fd, void *tag);

/* Take a connected socket and begin to receive. Errors: FL_NO_MEMORY, FL_IO; the caller still
 * owns `fd` then. */
FL_NODISCARD fl_status loop_add(struct loop *loop, struct loop_sock *sock, int fd);

/* Stop and resume receiving. What is already on its way may still arrive after a pause. */
void loop_recv_pause(struct loop *loop, struct loop_sock *sock);
void loop_recv_resume(struct loop *loop, struct loop_sock *sock);

/* Send up to LOOP_IOV_MAX pieces; one send a socket at a time. Returns the bytes that were taken
 * at once (then sent() does not come), 0 if the send is in flight (sent() will come; the bytes
 * must stay until then), or a negative errno. `more`: the caller has further bytes behind these. */
ssize_t loop_send(struct loop *loop, struct loop_sock *sock, const struct iovec *iov,
                  unsigned count, bool more);

/* Shut down and close. released() follows from the present or a later loop_wait(); no other
 * event for this socket comes after this call but sent() for what was in flight. */
void loop_close(struct loop *loop, struct loop_sock *sock);

/* Hand over what is queued, wait up to `timeout_ms` (0: don't wait) for something to happen, and
 * report it. Errors: FL_IO (the loop can't go on). */
FL_NODISCARD fl_status loop_wait(struct loop *loop, int timeout_ms);

/* ---- for the backends ---- */

struct loop_ops {
    const char *name;
    void (*destroy)(struct loop *loop);
    fl_status (*listen)(struct loop *loop, int fd, void *tag);
    void (*listen_resume)(struct loop *loop);
    void (*listen_stop)(struct loop *loop);
    fl_status (*watch)(struct loop *loop, int fd, void *tag);
    fl_status (*add)(struct loop *loop, struct loop_sock *sock, int fd);
    void (*recv_pause)(struct loop *loop, struct loop_sock *sock);
    void (*recv_resume)(struct loop *loop, struct loop_sock *sock);
    ssize_t (*send)(struct loop *loop, struct loop_sock *sock, const struct iovec *iov,
                    unsigned count, bool more);
    void (*close)(struct loop *loop, struct loop_sock *sock);
    fl_status (*wait)(struct loop *loop, int timeout_ms);
};

/* The first member of each backend's own structure. */
struct loop {
    const struct loop_ops *ops;
    const struct loop_events *events;
    void *context;
};

FL_NODISCARD fl_status ring_create(unsigned sockets_max, struct loop **out);
FL_NODISCARD fl_status epoll_loop_create(unsigned sockets_max, struct loop **out);

#endif
