#include "client/cli/modes.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

enum {
    CHUNK_BYTES = 64 * 1024,
    POLL_MS = 100,
    MARK_BYTES = 20,
    PROGRESS_S = 1,
};

struct pipe_run {
    struct session *session;
    uint64_t sent_bytes;
    uint64_t replies;
    uint64_t errors;
    char mark[MARK_BYTES + 1]; /* what our own ECHO behind the last request says */
    bool marked;               /* the echo was sent */
    bool finished;             /* and has come back */
    bool show_progress;
    time_t shown_s;
};

static void
show_progress(struct pipe_run *run, bool last)
{
    const time_t now_s = time(NULL);

    if (!run->show_progress || (!last && now_s < run->shown_s + PROGRESS_S)) {
        return;
    }
    run->shown_s = now_s;
    fprintf(stderr, "\r%" PRIu64 " bytes sent, %" PRIu64 " replies, %" PRIu64 " errors%s",
            run->sent_bytes, run->replies, run->errors, last ? "\n" : " ");
}

static void
take_reply(struct pipe_run *run, const struct fl_client_reply *reply)
{
    size_t len;
    const char *text = fl_client_reply_text(reply, &len);

    if (run->marked && fl_client_reply_type(reply) == FL_CLIENT_STRING && len == MARK_BYTES &&
        memcmp(text, run->mark, len) == 0) {
        run->finished = true;
        return;
    }
    run->replies++;
    if (fl_client_reply_type(reply) == FL_CLIENT_ERROR) {
        run->errors++;
        fprintf(stderr, "%s%s\n", run->show_progress ? "\r" : "", text);
    }
}

/* Take the replies that come within `timeout_ms`, at least those that are there.
 * FL_AGAIN: no more of them for now. */
static fl_status
take_replies(struct pipe_run *run, int64_t timeout_ms)
{
    fl_status status = FL_OK;

    while (status == FL_OK && !run->finished) {
        struct fl_client_reply *reply = NULL;

        status = fl_client_read_within(run->session->client, timeout_ms, &reply);
        if (status == FL_OK) {
            take_reply(run, reply);
            fl_client_reply_destroy(reply);
            show_progress(run, false);
        }
    }
    return status;
}

/* Send what stdin has to give, until its end. Replies are taken all along, even while stdin is
 * silent. */
static fl_status
send_stdin(struct pipe_run *run, char *chunk)
{
    fl_status status = FL_OK;

    for (;;) {
        struct pollfd pfd = {.fd = STDIN_FILENO, .events = POLLIN};
        const int ready = poll(&pfd, 1, POLL_MS);
        ssize_t len = -1;

        if (ready > 0) {
            len = read(STDIN_FILENO, chunk, CHUNK_BYTES);
            if (len == 0) {
                return FL_OK;
            }
        }
        if (ready < 0 || (ready > 0 && len < 0)) {
            if (errno != EINTR && errno != EAGAIN) {
                perror("faultline-cli: reading stdin");
                return FL_INVALID;
            }
            continue;
        }
        if (len > 0) {
            status = fl_client_append_raw(run->session->client, chunk, (size_t)len);
            if (status == FL_OK) {
                status = fl_client_flush(run->session->client);
            }
            if (status != FL_OK) {
                return status;
            }
            run->sent_bytes += (uint64_t)len;
        }
        status = take_replies(run, 0);
        if (status != FL_AGAIN) {
            return status;
        }
        show_progress(run, false);
    }
}

/* A random echo as the last request: once it comes back, every reply has. */
static fl_status
send_mark(struct pipe_run *run)
{
    static const char letters[] =
        "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";
    const char *const argv[] = {"ECHO", run->mark};
    unsigned char random_bytes[MARK_BYTES];

    if (getrandom(random_bytes, sizeof(random_bytes), 0) != (ssize_t)sizeof(random_bytes)) {
        perror("faultline-cli: getrandom");
        return FL_INVALID;
    }
    for (size_t i = 0; i < MARK_BYTES; i++) {
        run->mark[i] = letters[random_bytes[i] % (sizeof(letters) - 1)];
    }
    run->marked = true;
    const fl_status status = fl_client_append_unanswered(run->session->client, 2, argv, NULL);

    return status == FL_OK ? fl_client_flush(run->session->client) : status;
}

static enum cli_exit
conclude(struct pipe_run *run, fl_status status)
{
    show_progress(run, true);
    if (run->finished) {
        printf("Last reply received from server.\n");
    }
    printf("errors: %" PRIu64 ", replies: %" PRIu64 "\n", run->errors, run->replies);
    fflush(stdout);
    if (run->finished) {
        return run->errors > 0 ? CLI_EXIT_ERROR_REPLY : CLI_EXIT_OK;
    }
    if (status == FL_INVALID) {
        return CLI_EXIT_USAGE;
    }
    if (status == FL_AGAIN) {
        fprintf(stderr,
                "faultline-cli: no reply for %g seconds: giving up; perhaps the last request on "
                "stdin is not whole\n",
                run->session->args->pipe_timeout_s);
    } else {
        fprintf(stderr, "faultline-cli: lost the connection to %s: %s\n", run->session->where,
                session_why());
    }
    return CLI_EXIT_NO_CONNECTION;
}

enum cli_exit
mode_pipe(struct session *session)
{
    const double timeout_s = session->args->pipe_timeout_s;
    struct pipe_run run = {
        .session = session,
        .show_progress = isatty(STDERR_FILENO) != 0,
    };
    char *chunk = malloc(CHUNK_BYTES);

    if (chunk == NULL) {
        fprintf(stderr, "faultline-cli: no memory\n");
        return CLI_EXIT_USAGE;
    }
    fl_status status = send_stdin(&run, chunk);

    if (status == FL_OK) {
        status = send_mark(&run);
    }
    if (status == FL_OK) {
        printf("All data transferred. Waiting for the last reply...\n");
        fflush(stdout);
        status = take_replies(&run, timeout_s > 0 ? (int64_t)(timeout_s * 1000) : -1);
    } else if (status == FL_CLOSED || status == FL_IO) {
        /* The server may have said why before it hung up; the cause is reported after that. */
        take_replies(&run, 0);
    }
    free(chunk);
    return conclude(&run, status);
}
