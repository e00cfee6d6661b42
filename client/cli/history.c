#include "client/cli/history.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

void
history_open(struct history_file *history)
{
    const char *chosen = getenv("FAULTLINE_HISTORY");
    const char *home = getenv("HOME");

    history->path = NULL;
    if (chosen != NULL) {
        history->path = chosen[0] != '\0' ? strdup(chosen) : NULL;
    } else if (home != NULL && home[0] != '\0' &&
               asprintf(&history->path, "%s/.faultline_history", home) < 0) {
        history->path = NULL;
    }
}

void
history_close(struct history_file *history)
{
    free(history->path);
    history->path = NULL;
}

/* Replace the file by its last lines, `kept` of them in `lines` from `oldest` on, round the ring. A
 * session that adds a line meanwhile may lose it. */
static void
history_cut(const struct history_file *history, char *const *lines, size_t oldest, size_t kept)
{
    char *path = NULL;

    if (asprintf(&path, "%s.%ld", history->path, (long)getpid()) < 0) {
        return;
    }
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR);
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;

    if (file == NULL) {
        if (fd >= 0) {
            close(fd);
        }
        free(path);
        return;
    }
    for (size_t i = 0; i < kept; i++) {
        fprintf(file, "%s\n", lines[(oldest + i) % HISTORY_LINES_MAX]);
    }
    const int failed = ferror(file);

    if (fclose(file) != 0 || failed || rename(path, history->path) != 0) {
        unlink(path);
    }
    free(path);
}

void
history_load(const struct history_file *history, void (*add)(void *context, const char *line),
             void *context)
{
    FILE *file = history->path != NULL ? fopen(history->path, "re") : NULL;
    char *ring[HISTORY_LINES_MAX] = {0};
    char *line = NULL;
    size_t cap = 0;
    size_t count = 0;
    ssize_t len;

    if (file == NULL) {
        return;
    }
    while ((len = getline(&line, &cap, file)) > 0) {
        line[len - (line[len - 1] == '\n' ? 1 : 0)] = '\0';
        char *copy = strdup(line);

        if (copy != NULL) {
            free(ring[count % HISTORY_LINES_MAX]);
            ring[count++ % HISTORY_LINES_MAX] = copy;
        }
    }
    free(line);
    fclose(file);

    const size_t kept = count < HISTORY_LINES_MAX ? count : HISTORY_LINES_MAX;
    const size_t oldest = count - kept;

    for (size_t i = 0; i < kept; i++) {
        add(context, ring[(oldest + i) % HISTORY_LINES_MAX]);
    }
    if (count >= (size_t)2 * HISTORY_LINES_MAX) {
        history_cut(history, ring, oldest, kept);
    }
    for (size_t i = 0; i < HISTORY_LINES_MAX; i++) {
        free(ring[i]);
    }
}

void
history_append(const struct history_file *history, const char *line, size_t len)
{
    /* iovec has no const: the bytes are only read. */
    struct iovec pieces[] = {{(void *)(uintptr_t)line, len}, {(void *)(uintptr_t) "\n", 1}};

    if (history->path == NULL) {
        return;
    }
    const int fd =
        open(history->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, S_IRUSR | S_IWUSR);

    if (fd < 0) {
        return;
    }
    /* In one call, so that two sessions' lines don't mix. */
    const ssize_t written = writev(fd, pieces, 2);

    (void)written;
    close(fd);
}
