#include "client/cli/modes.h"

#include "client/cli/line.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STDIN_STEP_BYTES = 64 * 1024 };

static enum cli_exit
exit_of(enum session_result result)
{
    switch (result) {
    case SESSION_OK:
    case SESSION_ENDED:
        break;
    case SESSION_ERROR_REPLY:
        return CLI_EXIT_ERROR_REPLY;
    case SESSION_NOT_SENT:
        return CLI_EXIT_USAGE;
    case SESSION_LOST:
        return CLI_EXIT_NO_CONNECTION;
    }
    return CLI_EXIT_OK;
}

/* All of stdin and a 0 byte; NULL, with the reason printed, if it can't be read. */
static char *
read_stdin(size_t *len)
{
    char *data = NULL;
    size_t cap = 0;

    *len = 0;
    do {
        if (cap - *len <= STDIN_STEP_BYTES) {
            cap = cap * 2 + STDIN_STEP_BYTES;
            char *more = realloc(data, cap);

            if (more == NULL) {
                fprintf(stderr, "faultline-cli: no memory for stdin\n");
                free(data);
                return NULL;
            }
            data = more;
        }
        *len += fread(data + *len, 1, cap - *len - 1, stdin);
    } while (!feof(stdin) && !ferror(stdin));
    if (ferror(stdin)) {
        perror("faultline-cli: reading stdin");
        free(data);
        return NULL;
    }
    data[*len] = '\0';
    return data;
}

enum cli_exit
mode_command(struct session *session)
{
    const struct args *args = session->args;
    const size_t argc = (size_t)args->argc + (args->last_from_stdin ? 1 : 0);
    const char **argv = calloc(argc, sizeof(*argv));
    size_t *lens = calloc(argc, sizeof(*lens));
    char *last = NULL;
    enum cli_exit result = CLI_EXIT_USAGE;

    if (argv == NULL || lens == NULL) {
        fprintf(stderr, "faultline-cli: no memory\n");
        goto done;
    }
    for (size_t i = 0; i < (size_t)args->argc; i++) {
        argv[i] = args->argv[i];
        lens[i] = strlen(args->argv[i]);
    }
    if (args->last_from_stdin) {
        last = read_stdin(&lens[argc - 1]);
        if (last == NULL) {
            goto done;
        }
        argv[argc - 1] = last;
    }
    result = CLI_EXIT_OK;
    for (int64_t run = 0; args->repeat < 0 || run < args->repeat; run++) {
        if (run > 0) {
            session_pause(session, 0);
        }
        const enum session_result ran = session_run(session, argc, argv, lens);

        if (result == CLI_EXIT_OK || ran == SESSION_LOST) {
            result = exit_of(ran);
        }
        if (session->client == NULL) {
            break;
        }
    }
done:
    free(last);
    free(argv);
    free(lens);
    return result;
}

/* One line of a script; an error of its own doesn't end it. */
static enum session_result
run_line(struct session *session, const char *text, size_t len, size_t number)
{
    struct line line;

    if (line_split(text, len, &line) != FL_OK) {
        fflush(stdout);
        fprintf(stderr, "faultline-cli: line %zu: %s\n", number, session_why());
        return SESSION_NOT_SENT;
    }
    enum session_result result = SESSION_OK;

    if (line_is(line.argc, line.argv, 0, "EXIT")) {
        result = SESSION_ENDED;
    } else if (line.argc > 0) {
        result = session_run(session, line.argc, line.argv, line.lens);
    }
    line_deinit(&line);
    return result;
}

enum cli_exit
mode_script(struct session *session)
{
    char *text = NULL;
    size_t cap = 0;
    size_t number = 0;
    ssize_t len;
    enum session_result ran = SESSION_OK;
    enum cli_exit result = CLI_EXIT_OK;

    while (ran != SESSION_ENDED && ran != SESSION_LOST && (len = getline(&text, &cap, stdin)) > 0) {
        if (text[len - 1] == '\n') {
            len--;
        }
        ran = run_line(session, text, (size_t)len, ++number);
        if (exit_of(ran) > result) {
            result = exit_of(ran);
        }
    }
    if (ferror(stdin)) {
        perror("faultline-cli: reading stdin");
        result = CLI_EXIT_USAGE;
    }
    free(text);
    return result;
}
