/* The server's state: one structure, handed to everything; there are no globals. */
#ifndef FL_SERVER_SERVER_H
#define FL_SERVER_SERVER_H

#include "base/log.h"
#include "proto/command_table.h"
#include "proto/resp_out.h"
#include "server/exec_keys.h"
#include "server/group.h"
#include "server/loop.h"
#include "server/metrics.h"
#include "server/options.h"
#include "server/watch.h"

#include <faultline/batch.h>
#include <faultline/faultline.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct conn;
struct scan_cursors;

#define SERVER_REDIS_VERSION "7.0.15" /* whose replies we give; clients look at it */

enum {
    SERVER_TICK_COMMANDS_MAX = 1024,
    SERVER_TICK_BYTES_MAX = 1 << 20,
    SERVER_LISTENERS_MAX = 16,
    COMMIT_IN_FLIGHT_MAX = 8,
};

enum server_stop {
    SERVER_RUNS = 0,
    SERVER_STOPS = 1,     /* no new connections; finish and close the store */
    SERVER_STOPS_NOW = 2, /* a second signal: don't wait for clients */
};

/* The commands executed since the last submit, and what is on its way to the medium: commit.c. */
struct commit {
    struct fl_batch *batch;
    uint64_t ticket_last;                     /* of the last submit */
    uint64_t ticket_durable;                  /* as last asked */
    uint64_t in_flight[COMMIT_IN_FLIGHT_MAX]; /* submitted and not yet durable */
    unsigned in_flight_count;
    bool quiet;  /* a barrier is waited for: nothing more is executed until all is durable */
    bool failed; /* the store can't commit any more */
};

struct server {
    struct options options;
    struct logger logger;
    struct fl_store *store;
    uint64_t inline_bytes_max; /* values over it become blobs */
    struct loop *loop;
    struct commit commit;
    struct request_group group;
    struct command_table commands; /* names to commands */

    uint64_t now_ms;  /* the store's clock, taken once a tick */
    uint64_t mono_ns; /* monotonic, taken once a tick */
    uint64_t started_ns;
    uint64_t started_wall_s;
    bool tick_open; /* the clocks were taken for this tick */
    uint64_t stamp; /* when the last command ended: metrics_stamp() */
    unsigned tick_commands;
    size_t tick_bytes;

    struct conn *running; /* whose requests are being executed; NULL: none */
    struct conn *conns;   /* all of them, newest first */
    unsigned conns_count;
    unsigned conns_blocked;
    uint64_t conn_id_last;
    struct conn *dirty;   /* output to see to at the end of the tick */
    struct conn *waiting; /* output held until a ticket is durable */
    struct conn *ready;   /* may execute again */
    struct resp_pool pool;
    struct exec_keys exec_keys;
    struct resp_out exec_out; /* replies of an EXEC until it is known to stand */
    struct resp_out null_out; /* where replies go that nobody wants: CLIENT REPLY OFF */

    uint64_t pause_until_ms; /* CLIENT PAUSE, monotonic; 0: none */
    bool pause_all;          /* false: only writes wait */

    struct watch_table watches;
    struct scan_cursors *scan_cursors;
    struct metrics metrics;

    int listeners[SERVER_LISTENERS_MAX];
    unsigned listeners_count;
    unsigned port_bound; /* the TCP port, also if it was ephemeral */
    int unix_fd;         /* one of the listeners; -1: none */
    int signal_fd;
    uint64_t http_told_ns; /* when the log was last told of a client that speaks HTTP; 0: never */
    enum server_stop stop;
    bool reload; /* SIGHUP */
    uint64_t cron_due_ms;
    unsigned cron_turns;
    int argc; /* of main(), for SIGHUP */
    char **argv;
    char run_id[41];
};

/* Set up a zeroed server whose logger and signal_fd (-1: none) are set. After a failure too, server_deinit(). */
FL_NODISCARD fl_status server_init(struct server *server, const struct options *options);

/* Open the loop, and listen on what listener_open_all() has bound. Owner: the store stays the caller's. */
FL_NODISCARD fl_status server_start(struct server *server, struct fl_store *store);

/* One turn: collect what has arrived and execute it (from within loop_wait()), then commit, then
 * reply. Waits at most 100 ms. */
FL_NODISCARD fl_status server_turn(struct server *server);

/* Serve until stopped. Errors: FL_IO, the loop's. */
FL_NODISCARD fl_status server_run(struct server *server);

void server_deinit(struct server *server);

/* Take the clocks, once a tick. */
void server_tick_begin(struct server *server);

/* Ask the server to end as SIGTERM does (SHUTDOWN). */
void server_stop(struct server *server);

/* Take over options that can change while running (CONFIG SET, SIGHUP): the ones marked
 * OPTION_LIVE. */
void server_options_changed(struct server *server);

#endif
