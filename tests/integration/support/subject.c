#include "tests/integration/support/subject.h"

#include "tests/lib/die.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FLAGS_MAX = 48, PATH_BYTES = 64, LINE_BYTES = 256 };

static void
launch(struct subject *subject, const char *const *argv)
{
    *subject = (struct subject){.child.out_fd = -1};
    child_start(&subject->child, (char *const *)(uintptr_t)argv);
}

static void
wait_ready(struct subject *subject, const char *program, unsigned timeout_ms)
{
    static const char ready[] = "ready on 127.0.0.1 port ";

    /* A line is written by one write(): once its beginning is there, so is the port. */
    if (!child_expect(&subject->child, "ready on 127.0.0.1", timeout_ms, subject->log,
                      sizeof(subject->log))) {
        die("%s isn't ready after %u ms; it said:\n%s", program, timeout_ms, subject->log);
    }
    const char *line = strstr(subject->log, ready);
    const unsigned long port = line != NULL ? strtoul(line + strlen(ready), NULL, 10) : 0;

    if (port == 0 || port > UINT16_MAX) {
        die("%s names no port:\n%s", program, subject->log);
    }
    subject->port = (uint16_t)port;
}

void
subject_launch(struct subject *subject, const char *program, const char *const *flags)
{
    const char *argv[FLAGS_MAX] = {program, "--port", "0"};
    size_t argc = 3;

    for (size_t i = 0; flags[i] != NULL; i++) {
        if (argc == FLAGS_MAX - 1) {
            die("too many flags for %s", program);
        }
        argv[argc++] = flags[i];
    }
    launch(subject, argv);
}

void
subject_start(struct subject *subject, const char *program, const char *const *flags,
              unsigned timeout_ms)
{
    subject_launch(subject, program, flags);
    wait_ready(subject, program, timeout_ms);
}

void
subject_start_under(struct subject *subject, const char *const *argv, unsigned timeout_ms)
{
    launch(subject, argv);
    wait_ready(subject, argv[0], timeout_ms);
}

void
subject_stop(struct subject *subject, unsigned timeout_ms)
{
    char said[SUBJECT_LOG_BYTES];

    child_signal(&subject->child, SIGTERM);
    if (!child_wait(&subject->child, timeout_ms, said, sizeof(said)) ||
        !child_exited(&subject->child, 0)) {
        die("the server didn't end well after SIGTERM (status %d); it said:\n%s",
            subject->child.status, said);
    }
}

void
subject_kill(struct subject *subject)
{
    child_kill(&subject->child);
}

struct fl_client *
subject_connect(const struct subject *subject, int64_t timeout_ms)
{
    struct fl_client_options options;
    struct fl_client *client = NULL;

    fl_client_options_init(&options);
    options.port = subject->port;
    options.io_timeout_ms = timeout_ms;
    if (fl_client_connect(&options, &client) != FL_OK) {
        die("connect to port %u: %s", subject->port, fl_last_error());
    }
    return client;
}

void
subject_info_text(struct fl_client *client, const char *field, char *out, size_t size)
{
    struct fl_client_reply *reply = NULL;
    char name[LINE_BYTES];

    if (fl_client_call(client, &reply, "INFO", "everything", NULL) != FL_OK) {
        die("INFO: %s", fl_last_error());
    }
    const char *text = fl_client_reply_text(reply, NULL);

    snprintf(name, sizeof(name), "\r\n%s:", field);
    const char *at = text != NULL ? strstr(text, name) : NULL;

    if (at == NULL) {
        die("INFO has no %s:\n%s", field, text);
    }
    at += strlen(name);
    snprintf(out, size, "%.*s", (int)strcspn(at, "\r\n"), at);
    fl_client_reply_destroy(reply);
}

uint64_t
subject_info(struct fl_client *client, const char *field)
{
    char text[LINE_BYTES];
    char *end;

    subject_info_text(client, field, text, sizeof(text));
    const uint64_t value = strtoull(text, &end, 10);

    if (end == text || *end != '\0') {
        die("INFO %s is no number: %s", field, text);
    }
    return value;
}

uint64_t
subject_memory_bytes(const struct subject *subject)
{
    char path[PATH_BYTES];
    char line[LINE_BYTES];
    uint64_t kib = 0;
    bool found = false;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)subject->child.pid);
    FILE *file = fopen(path, "re");

    if (file == NULL) {
        die_errno("%s", path);
    }
    while (!found && fgets(line, sizeof(line), file) != NULL) {
        found = sscanf(line, "RssAnon: %" SCNu64, &kib) == 1;
    }
    fclose(file);
    if (!found) {
        die("%s has no RssAnon", path);
    }
    return kib * 1024;
}
