/* A live application for the tests beside it: maps a file of a served device and does what it is told.
 *
 *   modelfs_mapper DEVICE NAME BYTES plain|nosync
 *
 * A command a line on stdin, an answer a line on stdout: "ok ...", "sigbus" (the access raised it) or "error TEXT".
 *   store OFF TEXT    flush OFF LEN    fence    load OFF LEN    populate OFF LEN    commits
 *   spin OFF          a thread stores ever higher numbers to OFF, until...
 *   stop              which tells how many it stored, and whether SIGBUS ended it
 */
#include <faultline/modelfs.h>

#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_BYTES = 4096 };

static _Thread_local sigjmp_buf *guard;

struct spinner {
    pthread_t thread;
    _Atomic(uint64_t) *at;
    _Atomic(uint64_t) count;
    atomic_bool end;
    atomic_bool sigbus;
};

struct app {
    struct fl_modelfs *fs;
    struct fl_modelfs_map *map;
    uint8_t *base;
    struct spinner spinner;
};

static void
on_sigbus(int signal_number)
{
    if (guard == NULL) {
        (void)signal(signal_number, SIG_DFL);
        return;
    }
    siglongjmp(*guard, 1);
}

static void *
spin(void *context)
{
    struct spinner *spinner = context;
    sigjmp_buf here;

    guard = &here;
    if (sigsetjmp(here, 1) != 0) {
        atomic_store(&spinner->sigbus, true);
        return NULL;
    }
    while (!atomic_load(&spinner->end)) {
        atomic_store(spinner->at, atomic_load(&spinner->count) + 1);
        atomic_fetch_add(&spinner->count, 1);
    }
    return NULL;
}

static const char *
do_spin(struct app *app, uint64_t off)
{
    struct spinner *spinner = &app->spinner;

    spinner->at = (_Atomic(uint64_t) *)(void *)(app->base + off);
    atomic_store(&spinner->count, 0);
    atomic_store(&spinner->end, false);
    atomic_store(&spinner->sigbus, false);
    return pthread_create(&spinner->thread, NULL, spin, spinner) == 0 ? "ok" : "error no thread";
}

static void
do_stop(struct app *app)
{
    atomic_store(&app->spinner.end, true);
    (void)pthread_join(app->spinner.thread, NULL);
    printf("ok %" PRIu64 "%s\n", atomic_load(&app->spinner.count),
           atomic_load(&app->spinner.sigbus) ? " sigbus" : "");
}

static void
do_load(const struct app *app, uint64_t off, size_t len)
{
    char text[LINE_BYTES] = "";

    for (size_t i = 0; i < len && i < sizeof(text) - 1; i++) {
        const uint8_t byte = app->base[off + i];

        text[i] = byte >= 0x20 && byte < 0x7f ? (char)byte : '.';
    }
    printf("ok %s\n", text);
}

static void
do_commits(struct app *app)
{
    struct fl_modelfs_figures figures = {.struct_bytes = sizeof(figures)};

    if (fl_modelfs_figures(app->fs, &figures) == FL_OK) {
        printf("ok %" PRIu64 "\n", figures.commits);
    } else {
        printf("error %s\n", fl_last_error());
    }
}

static void
obey(struct app *app, const char *line)
{
    char text[LINE_BYTES] = "";
    uint64_t off = 0;
    size_t len = 0;

    if (sscanf(line, "store %" SCNu64 " %4095[^\n]", &off, text) == 2) {
        memcpy(app->base + off, text, strlen(text));
        puts("ok");
    } else if (sscanf(line, "flush %" SCNu64 " %zu", &off, &len) == 2) {
        fl_modelfs_flush(app->map, app->base + off, len);
        puts("ok");
    } else if (strcmp(line, "fence\n") == 0) {
        fl_modelfs_fence(app->fs);
        puts("ok");
    } else if (sscanf(line, "load %" SCNu64 " %zu", &off, &len) == 2) {
        do_load(app, off, len);
    } else if (sscanf(line, "populate %" SCNu64 " %zu", &off, &len) == 2) {
        const fl_status status = fl_modelfs_populate(app->map, off, len);

        printf("%s %s\n", status == FL_OK ? "ok" : "error", fl_status_name(status));
    } else if (strcmp(line, "commits\n") == 0) {
        do_commits(app);
    } else if (sscanf(line, "spin %" SCNu64, &off) == 1) {
        puts(do_spin(app, off));
    } else if (strcmp(line, "stop\n") == 0) {
        do_stop(app);
    } else {
        puts("error what?");
    }
}

int
main(int argc, char **argv)
{
    const struct sigaction action = {.sa_handler = on_sigbus, .sa_flags = SA_NODEFER};
    struct fl_modelfs_options options;
    struct app app = {0};
    char line[LINE_BYTES + 64];
    void *base = NULL;

    if (argc != 5) {
        return 2;
    }
    (void)sigaction(SIGBUS, &action, NULL);
    fl_modelfs_options_init(&options);
    fl_status status = fl_modelfs_attach(argv[1], &options, &app.fs);

    if (status == FL_OK) {
        status = fl_modelfs_mmap(
            app.fs, argv[2], 0, strtoull(argv[3], NULL, 10),
            strcmp(argv[4], "nosync") == 0 ? FL_MODELFS_NOSYNC : FL_MODELFS_PLAIN, &app.map, &base);
    }
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    if (status != FL_OK) {
        printf("error %s %s\n", fl_status_name(status), fl_last_error());
        return 1;
    }
    app.base = base;
    puts("ok");
    while (fgets(line, sizeof(line), stdin) != NULL) {
        sigjmp_buf here;

        if (sigsetjmp(here, 1) == 0) {
            guard = &here;
            obey(&app, line);
        } else {
            puts("sigbus");
        }
        guard = NULL;
    }
    fl_modelfs_unmap(app.map);
    fl_modelfs_detach(app.fs);
    return 0;
}
