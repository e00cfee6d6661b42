/* faultline-server: the wiring. */
#include "base/clock.h"
#include "base/fail.h"
#include "base/log.h"
#include "server/listener.h"
#include "server/options.h"
#include "server/server.h"

#include <faultline/faultline.h>

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum { EXIT_USAGE = 2, HELP_BYTES = 8192, PROGRESS_MS = 1000 };

struct opening {
    struct server *server;
    uint64_t told_ms; /* when it began, or the last line about it was written */
};

static void
on_log(void *context, int level, const char *text)
{
    struct opening *opening = context;

    logger_write(&opening->server->logger, (enum logger_level)level, "store: %s", text);
}

/* A signal while the store opens ends the program there: opening changes nothing that a crash
 * could harm. */
static void
on_progress(void *context, uint64_t done, uint64_t total)
{
    struct opening *opening = context;
    struct signalfd_siginfo info;
    const uint64_t now_ms = clock_mono_ns() / CLOCK_NS_PER_MS;

    if (now_ms - opening->told_ms >= PROGRESS_MS) {
        opening->told_ms = now_ms;
        logger_write(&opening->server->logger, LOGGER_INFO,
                     "opening the store: %" PRIu64 " %% of %" PRIu64 " MiB",
                     total > 0 ? done * 100 / total : 100, total >> 20);
    }
    if (read(opening->server->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info) &&
        info.ssi_signo != SIGHUP) {
        logger_write(&opening->server->logger, LOGGER_WARNING, "SIG%s while the store was opening",
                     sigabbrev_np((int)info.ssi_signo));
        _exit(EXIT_FAILURE);
    }
}

static fl_status
open_store(struct opening *opening, const struct options *options, struct fl_store **store)
{
    struct fl_options request;

    fl_options_init(&request);
    request.flags = FL_OPEN_CREATE | FL_OPEN_SIGBUS;
    request.mapping = (enum fl_mapping)options->mapping;
    request.durability_min = (enum fl_durability)options->durability_min;
    request.block_bytes = (uint32_t)options->block_bytes;
    request.size_bytes_max = options->size_max;
    request.blocks_ahead = (uint32_t)options->blocks_ahead;
    request.threads_open = (uint32_t)options->threads_open;
    request.verify_reads = options->verify_reads != 0;
    request.progress = on_progress;
    request.log = on_log;
    request.context = opening;
    return fl_open(options->store, &request, store);
}

static void
report_store(struct server *server)
{
    struct fl_stats stats = {.struct_bytes = sizeof(stats)};

    fl_stats(server->store, &stats);
    logger_write(&server->logger, LOGGER_INFO,
                 "store %s: mapping %s (%s), durability %s; %" PRIu64 " keys, %" PRIu64
                 " MiB; opened in %" PRIu64 " ms%s, %" PRIu64 " records read",
                 server->options.store, fl_mapping_name(stats.mapping), stats.mapping_detail,
                 fl_durability_name(stats.durability), stats.keys_total, stats.file_bytes >> 20,
                 stats.open_ms, stats.recovered ? " with recovery" : "", stats.open_records);
    if (stats.durability < FL_DURABILITY_POWERCUT_UNVERIFIED) {
        logger_write(&server->logger, LOGGER_WARNING,
                     "what is acknowledged survives a crash of this process, not a power cut");
    }
}

static void
report_ready(const struct server *server)
{
    struct logger *logger = (struct logger *)(uintptr_t)&server->logger;

    if (server->port_bound != 0) {
        logger_write(logger, LOGGER_INFO, "ready on %s port %u (%s)", server->options.bind,
                     server->port_bound, loop_name(server->loop));
    }
    if (server->options.unixsocket[0] != '\0') {
        logger_write(logger, LOGGER_INFO, "ready on %s (%s)", server->options.unixsocket,
                     loop_name(server->loop));
    }
}

/* Before any thread is made, so that all of them have these signals blocked. */
static int
open_signals(void)
{
    sigset_t set;

    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0) {
        return -1;
    }
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

static int
serve(struct server *server, const struct options *options)
{
    struct opening opening = {.server = server, .told_ms = clock_mono_ns() / CLOCK_NS_PER_MS};
    struct fl_store *store = NULL;
    const char *doing = "";
    fl_status status = server_init(server, options);

    if (status == FL_OK) {
        status =
            listener_open_all(server); /* an address in use is told before the store is touched */
    }
    if (status == FL_OK) {
        status = open_store(&opening, options, &store);
        doing = status == FL_OK ? "" : "opening the store: ";
    }
    if (status == FL_OK) {
        status = server_start(server, store);
    }
    if (status == FL_OK) {
        report_store(server);
        report_ready(server);
        status = server_run(server);
    }
    if (status != FL_OK) {
        logger_write(&server->logger, LOGGER_ERROR, "%s%s", doing, fl_last_error());
    }
    server_deinit(server);
    if (store == NULL) {
        return EXIT_FAILURE;
    }
    const fl_status closed = fl_close(store);

    if (closed != FL_OK) {
        logger_write(&server->logger, LOGGER_ERROR, "closing the store: %s", fl_last_error());
    } else {
        logger_write(&server->logger, LOGGER_INFO, "store closed");
    }
    return status == FL_OK && closed == FL_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int
print_help(void)
{
    char text[HELP_BYTES];

    options_help(text, sizeof(text));
    return fputs(text, stdout) >= 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int
main(int argc, char **argv)
{
    struct options options;
    enum options_action action;

    options_init(&options);
    fl_status status = options_parse(&options, argc, argv, &action);

    if (status == FL_OK && action == OPTIONS_HELP) {
        return print_help();
    }
    if (status == FL_OK && action == OPTIONS_VERSION) {
        printf("faultline-server %s\n", fl_version());
        return EXIT_SUCCESS;
    }
    if (status == FL_OK) {
        status = options_check(&options);
    }
    if (status != FL_OK) {
        char why[OPTIONS_WHY_BYTES];

        options_why(why, sizeof(why));
        fprintf(stderr, "faultline-server: %s\n", why);
        return EXIT_USAGE;
    }
    struct server *server = calloc(1, sizeof(*server));

    if (server == NULL) {
        fputs("faultline-server: out of memory\n", stderr);
        return EXIT_FAILURE;
    }
    logger_init(&server->logger, STDERR_FILENO, (enum logger_level)options.log_level);
    server->argc = argc;
    server->argv = argv;
    server->signal_fd = open_signals();
    const int result = serve(server, &options);

    if (server->signal_fd >= 0) {
        close(server->signal_fd);
    }
    free(server);
    return result;
}
