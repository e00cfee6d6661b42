/* One client's connection. */
#ifndef FL_SERVER_CONN_H
#define FL_SERVER_CONN_H

#include "server/hold.h"
#include "server/input.h"
#include "server/loop.h"
#include "server/txn.h"

#include "proto/resp_out.h"

#include <stdbool.h>
#include <stdint.h>

struct server;

enum conn_flags {
    CONN_AUTHENTICATED = 1u << 0,
    CONN_UNIX = 1u << 1,       /* came through the unix socket */
    CONN_REPLY_OFF = 1u << 2,  /* CLIENT REPLY OFF */
    CONN_REPLY_SKIP = 1u << 3, /* no reply to the next command (CLIENT REPLY SKIP) */
    CONN_NO_EVICT = 1u << 4,
    CONN_CLOSE_SOON = 1u << 5, /* execute nothing more; close when all is sent */
    CONN_CLOSED = 1u << 6,     /* handed to loop_close() */
    CONN_DIRTY = 1u << 7,      /* in server->dirty: has output to see to */
    CONN_WAITING = 1u << 8,    /* in server->waiting: output held for a ticket */
    CONN_READY = 1u << 9,      /* in server->ready: input to execute without new bytes */
    CONN_ENDED = 1u << 10,     /* the other side has closed its stream */
    CONN_REPLY_SKIP_NEXT = 1u << 11,
};

/* Why a connection executes nothing for now: bits. */
enum conn_block {
    CONN_BLOCK_BARRIER = 1, /* its next command waits until everything pending is durable */
    CONN_BLOCK_PAUSE = 2,   /* CLIENT PAUSE */
    CONN_BLOCK_OUTPUT = 4,  /* must read its replies first */
    CONN_BLOCK_COMMITS = 8, /* too much is waiting for the store's medium */
};

enum {
    CONN_OUTPUT_RUN_BYTES_MAX = 1 << 20, /* unsent: above it nothing more is executed */
    CONN_INPUT_WAIT_BYTES_MAX =
        1 << 20, /* unexecuted, and not for that: above it receiving stops */
    /* Unexecuted, of one who hasn't authenticated. Redis since 6.2.6. */
    CONN_INPUT_UNAUTH_BYTES_MAX = 1 << 20,
    CONN_STREAM_HERE_MIN = 1 << 20, /* of a value: with that much of it here, it is streamed */
};

struct conn {
    struct loop_sock sock; /* first: the loop hands back its address */
    struct server *server;
    struct conn *prev, *next; /* server->conns */
    struct conn *dirty_next;
    struct conn *waiting_prev, *waiting_next;
    struct conn *ready_next;
    uint64_t id;
    unsigned flags;
    uint8_t blocked;       /* enum conn_block bits */
    uint16_t command_last; /* its id in the table */
    uint64_t created_ms;   /* monotonic, as all *_ms here */
    uint64_t active_ms;    /* when its last bytes came or went */
    uint64_t output_soft_since_ms;
    struct input in;
    struct resp_out out; /* out.protocol: 2 or 3 */
    struct hold hold;
    struct txn txn;
    struct txn_command *parked; /* a request that was parsed and must wait */
    char *name;                 /* CLIENT SETNAME; NULL: none */
    char *lib_name, *lib_ver;
};

/* Owner of `fd`: the connection on FL_OK, the caller otherwise. */
FL_NODISCARD fl_status conn_create(struct server *server, int fd, bool unix_socket,
                                   struct conn **out);

/* "127.0.0.1:50000", "[::1]:50000" or "/path:0", as CLIENT LIST shows it. */
enum { CONN_ADDRESS_BYTES = 128 };
void conn_address(const struct conn *conn, bool peer, char text[CONN_ADDRESS_BYTES]);

/* Close now, whatever is still to be sent or executed. The structure lives until the loop lets
 * go of it. */
void conn_close(struct conn *conn);

/* Execute nothing more, send what is queued, then close. */
void conn_close_soon(struct conn *conn);

/* Called by the loop's events. */
void conn_received(struct conn *conn, char *data, size_t len);
void conn_ended(struct conn *conn, int error);
void conn_sent(struct conn *conn, size_t len, int error);
void conn_released(struct conn *conn);

/* Whether `more` bytes may wait beside what is received, queued by MULTI and watched already. False: the
 * connection was closed for it. */
bool conn_check_input_limit(struct conn *conn, size_t more);

/* Execute what is in its input, as far as it may. */
void conn_execute(struct conn *conn);

/* Send what may leave. */
void conn_flush(struct conn *conn);

/* Note that there is output to see to at the end of the tick. */
void conn_mark_dirty(struct conn *conn);

/* Execute nothing until conn_unblock() has taken every reason away. */
void conn_block(struct conn *conn, uint8_t reason);
void conn_unblock(struct conn *conn, uint8_t reasons);
void conn_unblock_all(struct server *server, uint8_t reasons);

static inline bool
conn_may_run(const struct conn *conn)
{
    return conn->blocked == 0 && (conn->flags & (CONN_CLOSE_SOON | CONN_CLOSED)) == 0;
}

#endif
