/* The command line of faultline-cli. */
#ifndef FL_CLIENT_CLI_ARGS_H
#define FL_CLIENT_CLI_ARGS_H

#include "client/cli/output.h"

#include <stdbool.h>
#include <stdint.h>

/* What the program ends with. Scripts rely on these. */
enum cli_exit {
    CLI_EXIT_OK = 0,
    CLI_EXIT_ERROR_REPLY = 1,   /* the server answered an error, and nobody sat at the prompt */
    CLI_EXIT_USAGE = 2,         /* the command line, or a command that can't be sent */
    CLI_EXIT_NO_CONNECTION = 3, /* none could be made, or it was lost */
};

enum cli_mode {
    CLI_MODE_COMMANDS, /* from the command line, the prompt or stdin */
    CLI_MODE_STAT,
    CLI_MODE_BIGKEYS,
    CLI_MODE_SCAN,
    CLI_MODE_PIPE,
    CLI_MODE_LATENCY,
};

/* Strings are argv's or the environment's. */
struct args {
    const char *host;
    uint16_t port;
    const char *unix_path; /* NULL: host and port */
    const char *user;      /* NULL: the default user */
    const char *password;  /* NULL: none */
    bool password_in_argv; /* and so seen by whoever lists processes */
    bool no_auth_warning;
    int64_t database;
    int protocol; /* 2 or 3; 0: as the output likes it */

    enum cli_mode mode;
    enum output_format format; /* decided: never by the terminal any more */
    int64_t repeat;            /* < 0: for ever; with repeat_given */
    bool repeat_given;
    double interval_s; /* < 0: not given */
    bool last_from_stdin;
    const char *pattern; /* of --scan; NULL: all */
    int64_t scan_count;  /* 0: not given */
    double pipe_timeout_s;

    int argc; /* the command, 0: none */
    char **argv;
};

enum args_result {
    ARGS_RUN,  /* go on */
    ARGS_DONE, /* help or version was printed */
    ARGS_BAD,  /* what is wrong was printed */
};

enum args_result args_parse(int argc, char **argv, struct args *out);

#endif
