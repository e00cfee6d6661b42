#include "server/server.h"

#include "base/clock.h"
#include "base/fail.h"
#include "server/commit.h"
#include "server/conn.h"
#include "server/listener.h"
#include "server/scan_cursor.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum {
    CRON_MS = 100,
    CRON_SLOW_TURNS = 10, /* turns of the cron between looks at every connection */
    STOP_GRACE_MS = 5000, /* for clients to read what they are owed */
    FILES_BESIDE_CLIENTS = 64,
    POOL_SPARE_MAX = 1024,
};

void
server_tick_begin(struct server *server)
{
    if (!server->tick_open) {
        server->tick_open = true;
        server->mono_ns = clock_mono_ns();
        server->now_ms = fl_now_ms(server->store);
    }
}

void
server_stop(struct server *server)
{
    if (server->stop == SERVER_RUNS) {
        server->stop = SERVER_STOPS;
    }
}

/* A descriptor for each client and some more: as many as the system allows. */
static void
raise_files_limit(struct server *server)
{
    struct rlimit limit;
    const rlim_t wanted = (rlim_t)server->options.maxclients + FILES_BESIDE_CLIENTS;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) {
        return;
    }
    const rlim_t before = limit.rlim_cur;

    limit.rlim_cur = wanted;
    if (limit.rlim_max < wanted) {
        limit.rlim_max = wanted;
    }
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0) {
        return;
    }
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
        limit.rlim_cur = before;
    }
    if (limit.rlim_cur < wanted) {
        server->options.maxclients = limit.rlim_cur > (rlim_t)FILES_BESIDE_CLIENTS * 2
                                         ? limit.rlim_cur - FILES_BESIDE_CLIENTS
                                         : 32;
        logger_write(
            &server->logger, LOGGER_WARNING, "maxclients is %llu: the limit of open files is %llu",
            (unsigned long long)server->options.maxclients, (unsigned long long)limit.rlim_cur);
    }
}

void
server_options_changed(struct server *server)
{
    const struct options *options = &server->options;

    raise_files_limit(server);
    logger_level_set(&server->logger, (enum logger_level)options->log_level);
    listener_options_changed(server);
    for (struct conn *conn = server->conns; conn != NULL; conn = conn->next) {
        conn->out.pending_max = options->output_hard;
        resp_parser_limit(&conn->in.parser, (conn->flags & CONN_AUTHENTICATED) != 0,
                          (uint32_t)options->proto_max_bulk_len);
    }
}

/* ---- the loop's events ---- */

static const int *
listener_tag(void *tag)
{
    return tag;
}

static void
on_accepted(void *context, void *tag, int fd)
{
    listener_accepted(context, listener_tag(tag), fd);
}

static void
on_accept_failed(void *context, void *tag, int error)
{
    struct server *server = context;

    (void)tag;
    logger_write(&server->logger, LOGGER_WARNING, "accepting a connection: %s", strerror(error));
}

static void
on_received(void *context, struct loop_sock *sock, char *data, size_t len)
{
    (void)context;
    conn_received((struct conn *)sock, data, len);
}

static void
on_ended(void *context, struct loop_sock *sock, int error)
{
    (void)context;
    conn_ended((struct conn *)sock, error);
}

static void
on_sent(void *context, struct loop_sock *sock, size_t len, int error)
{
    struct conn *conn = (struct conn *)sock;

    server_tick_begin(context);
    conn_sent(conn, len, error);
    /* With all of it gone there is nothing to send, and mostly that is so. */
    if (resp_out_pending(&conn->out) > 0 || (conn->flags & (CONN_CLOSE_SOON | CONN_ENDED)) != 0) {
        conn_flush(conn);
    }
}

static void
on_released(void *context, struct loop_sock *sock)
{
    (void)context;
    conn_released((struct conn *)sock);
}

static void
on_signals(struct server *server)
{
    struct signalfd_siginfo info;

    while (read(server->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGHUP) {
            server->reload = true;
            continue;
        }
        logger_write(&server->logger, LOGGER_INFO, "SIG%s: %s", sigabbrev_np((int)info.ssi_signo),
                     server->stop == SERVER_RUNS ? "stopping" : "stopping at once");
        server->stop = server->stop == SERVER_RUNS ? SERVER_STOPS : SERVER_STOPS_NOW;
    }
}

static void
on_readable(void *context, void *tag)
{
    struct server *server = context;

    server_tick_begin(server);
    if (tag == &server->signal_fd) {
        on_signals(server);
    } else {
        commit_completed(server);
    }
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

/* ---- now and then ---- */

static void
check_idle(struct server *server)
{
    const uint64_t now_ms = server->mono_ns / CLOCK_NS_PER_MS;
    const uint64_t timeout_ms = server->options.timeout_s * CLOCK_MS_PER_S;

    for (struct conn *conn = server->conns; conn != NULL; conn = conn->next) {
        if ((conn->flags & CONN_CLOSED) != 0) {
            continue;
        }
        /* Whoever doesn't fetch its replies is idle; who waits for us is not. */
        const bool waits_for_us =
            (conn->blocked & ~(unsigned)CONN_BLOCK_OUTPUT) != 0 || conn->hold.count > 0;

        if (timeout_ms != 0 && now_ms - conn->active_ms > timeout_ms && !waits_for_us) {
            logger_write(&server->logger, LOGGER_DEBUG, "client %llu closed: idle",
                         (unsigned long long)conn->id);
            server->metrics.idle_closed++;
            conn_close(conn);
        } else if (resp_out_pending(&conn->out) > 0) {
            conn_flush(conn); /* Looks at the output limits. */
        }
    }
}

/* By name, so that nobody goes on in the belief that a new port is being listened on. */
static void
tell_what_needs_a_restart(struct server *server, const struct options *fresh)
{
    char mine[OPTIONS_VALUE_BYTES];
    char theirs[OPTIONS_VALUE_BYTES];
    const char *name;
    unsigned flags;

    for (size_t i = 0; options_at(&server->options, i, &name, &flags, mine); i++) {
        options_at(fresh, i, &name, &flags, theirs);
        if ((flags & (OPTION_LIVE | OPTION_SECRET)) == 0 && strcmp(mine, theirs) != 0) {
            logger_write(&server->logger, LOGGER_WARNING,
                         "SIGHUP: %s stays \"%s\"; \"%s\" needs a restart", name, mine, theirs);
        }
    }
}

static void
reload(struct server *server)
{
    struct options fresh;
    enum options_action action;
    unsigned ignored = 0;

    server->reload = false;
    options_init(&fresh);
    fl_status status = options_parse(&fresh, server->argc, server->argv, &action);

    if (status == FL_OK) {
        status = options_check(&fresh);
    }
    if (status != FL_OK) {
        char why[OPTIONS_WHY_BYTES];

        options_why(why, sizeof(why));
        logger_write(&server->logger, LOGGER_ERROR, "SIGHUP: nothing changed: %s", why);
        return;
    }
    tell_what_needs_a_restart(server, &fresh);
    options_apply_live(&server->options, &fresh, &ignored);
    server_options_changed(server);
    logger_write(&server->logger, LOGGER_INFO,
                 "SIGHUP: configuration read again; %u changed options need a restart", ignored);
}

static void
cron(struct server *server)
{
    server_tick_begin(server);
    metrics_sample(&server->metrics, server->mono_ns);
    if (server->pause_until_ms != 0 &&
        server->mono_ns / CLOCK_NS_PER_MS >= server->pause_until_ms) {
        server->pause_until_ms = 0;
        conn_unblock_all(server, CONN_BLOCK_PAUSE);
    }
    if (server->reload) {
        reload(server);
    }
    if (server->cron_turns++ % CRON_SLOW_TURNS == 0) {
        check_idle(server);
        loop_listen_resume(server->loop);
    }
}

static void
run_ready(struct server *server)
{
    struct conn *list = server->ready;

    server->ready = NULL;
    while (list != NULL) {
        struct conn *conn = list;

        list = conn->ready_next;
        conn->flags &= ~(unsigned)CONN_READY;
        conn_execute(conn);
    }
}

fl_status
server_turn(struct server *server)
{
    const uint64_t now_ms = clock_mono_ns() / CLOCK_NS_PER_MS;
    int timeout_ms = 0;

    if (server->ready == NULL && !server->reload && now_ms < server->cron_due_ms) {
        timeout_ms = (int)(server->cron_due_ms - now_ms);
    }
    const fl_status status = loop_wait(server->loop, timeout_ms);

    if (status != FL_OK) {
        return status;
    }
    run_ready(server);
    if (server->mono_ns / CLOCK_NS_PER_MS >= server->cron_due_ms || !server->tick_open ||
        server->reload) {
        cron(server);
        server->cron_due_ms = server->mono_ns / CLOCK_NS_PER_MS + CRON_MS;
    }
    commit_tick(server);
    return FL_OK;
}

/* ---- ending ---- */

/* Nothing new is accepted or executed; what was executed is committed and answered, within the
 * grace period. */
static fl_status
drain(struct server *server)
{
    const uint64_t deadline_ms = clock_mono_ns() / CLOCK_NS_PER_MS + STOP_GRACE_MS;
    fl_status status = FL_OK;

    loop_listen_stop(server->loop);
    listener_close_all(server);
    for (struct conn *conn = server->conns; conn != NULL; conn = conn->next) {
        if ((conn->flags & CONN_CLOSED) == 0) {
            conn_close_soon(conn);
        }
    }
    commit_submit(
        server); /* Behind it nothing is executed, and nobody may be left to wait for it. */
    commit_tick(server);
    while (server->conns != NULL && status == FL_OK) {
        if (server->stop == SERVER_STOPS_NOW || clock_mono_ns() / CLOCK_NS_PER_MS >= deadline_ms) {
            for (struct conn *conn = server->conns; conn != NULL; conn = conn->next) {
                conn_close(conn);
            }
        }
        status = loop_wait(server->loop, CRON_MS);
        server_tick_begin(server);
        commit_tick(server);
    }
    return status;
}

fl_status
server_run(struct server *server)
{
    fl_status status = FL_OK;

    server->started_ns = clock_mono_ns();
    server->started_wall_s = clock_wall_ms() / CLOCK_MS_PER_S;
    while (status == FL_OK && server->stop == SERVER_RUNS) {
        status = server_turn(server);
    }
    if (status == FL_OK) {
        status = drain(server);
    }
    return status;
}

/* ---- beginning ---- */

static void
make_run_id(struct server *server)
{
    unsigned char bytes[20];

    if (getrandom(bytes, sizeof(bytes), GRND_NONBLOCK) != (ssize_t)sizeof(bytes)) {
        memset(bytes, (int)getpid(), sizeof(bytes));
    }
    for (size_t i = 0; i < sizeof(bytes); i++) {
        snprintf(&server->run_id[i * 2], 3, "%02x", bytes[i]);
    }
}

fl_status
server_init(struct server *server, const struct options *options)
{
    server->options = *options;
    make_run_id(server);
    command_table_init(&server->commands);
    resp_pool_init(&server->pool, POOL_SPARE_MAX);
    resp_out_init(&server->null_out, &server->pool);
    resp_out_init(&server->exec_out, &server->pool);
    metrics_sample(&server->metrics, clock_mono_ns());

    fl_status status = group_init(&server->group);

    if (status == FL_OK) {
        status = scan_cursors_create(SCAN_CURSORS_DEFAULT, &server->scan_cursors);
    }
    return status;
}

static fl_status
start_loop(struct server *server)
{
    fl_status status =
        loop_create((enum loop_kind)server->options.loop, (unsigned)server->options.maxclients,
                    &events, server, &server->loop);
    if (status != FL_OK) {
        return status;
    }
    if (server->options.loop == LOOP_AUTO && strcmp(loop_name(server->loop), "io_uring") != 0) {
        logger_write(&server->logger, LOGGER_WARNING,
                     "io_uring is not to be had (%s): running on epoll", fl_last_error());
    }
    if (server->signal_fd >= 0) {
        status = loop_watch(server->loop, server->signal_fd, &server->signal_fd);
    }
    if (status == FL_OK) {
        status = loop_watch(server->loop, fl_event_fd(server->store), server->store);
    }
    return status == FL_OK ? listener_start(server) : status;
}

fl_status
server_start(struct server *server, struct fl_store *store)
{
    struct fl_stats stats = {.struct_bytes = sizeof(stats)};

    server->store = store;
    fl_stats(store, &stats);
    server->inline_bytes_max = stats.inline_bytes_max;
    raise_files_limit(server);
    const fl_status status = fl_batch_create(store, &server->commit.batch);

    return status == FL_OK ? start_loop(server) : status;
}

void
server_deinit(struct server *server)
{
    listener_close_all(server);
    if (server->loop != NULL) {
        while (server->conns != NULL) {
            for (struct conn *conn = server->conns; conn != NULL; conn = conn->next) {
                conn_close(conn);
            }
            if (loop_wait(server->loop, CRON_MS) != FL_OK) {
                break;
            }
        }
        loop_destroy(server->loop);
    }
    watch_table_deinit(&server->watches);
    fl_batch_destroy(server->commit.batch);
    scan_cursors_destroy(server->scan_cursors);
    group_deinit(&server->group);
    resp_out_deinit(&server->exec_out);
    resp_out_deinit(&server->null_out);
    resp_pool_deinit(&server->pool);
}
