/* faultline-cli as a program: run with arguments and stdin, or at a terminal of its own. */
#ifndef FL_TESTS_INTEGRATION_CLI_RUN_H
#define FL_TESTS_INTEGRATION_CLI_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { RUN_ARGS_MAX = 32, RUN_TIMEOUT_MS = 20000 };

/* Paths from the test's own command line: "--cli PATH [--server PATH]". */
struct run_paths {
    char *cli;
    char *server; /* NULL: not given */
};

/* Skips the test program (77) if the server is wanted and not there. */
void run_paths_parse(struct run_paths *paths, int argc, char **argv, bool server_wanted);

/* What came of it. */
struct run {
    char *out; /* stdout, 0-terminated */
    size_t out_len;
    char *err;
    int code; /* exit status; -1: ended by a signal */
};

/* Run the program with `args` (ends with NULL), `input` on its stdin, until it ends; the test
 * fails if it takes longer than RUN_TIMEOUT_MS. Owner: the caller; run_deinit(). */
void run_cli(struct run *run, const char *cli, const char *const *args, const char *input,
             size_t input_len);
void run_deinit(struct run *run);

/* The program at a pseudo-terminal. */
struct terminal {
    pid_t pid;
    int fd;
    char *seen; /* all it has written so far, 0-terminated */
    size_t seen_len;
    size_t looked; /* terminal_expect() goes on from here */
};

void terminal_start(struct terminal *terminal, const char *cli, const char *const *args);
void terminal_send(struct terminal *terminal, const char *keys);
/* Wait until `text` is written behind what was expected before. Fails the test if it doesn't
 * come. */
void terminal_expect(struct terminal *terminal, const char *text);
/* Wait for the end and return the exit status. */
int terminal_end(struct terminal *terminal);
/* The same, with Ctrl-D pressed until it works: the prompt appears a moment before the terminal's
 * own handling of that key is off. */
int terminal_leave(struct terminal *terminal);

#endif
