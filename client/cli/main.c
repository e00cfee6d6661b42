#include "client/cli/modes.h"

#include <locale.h>
#include <stdio.h>
#include <unistd.h>

static bool
is_prompt(const struct args *args)
{
    return args->mode == CLI_MODE_COMMANDS && args->argc == 0 && isatty(STDIN_FILENO) &&
           isatty(STDOUT_FILENO);
}

static enum cli_exit
run_mode(struct session *session)
{
    switch (session->args->mode) {
    case CLI_MODE_STAT:
        return mode_stat(session);
    case CLI_MODE_BIGKEYS:
        return mode_bigkeys(session);
    case CLI_MODE_SCAN:
        return mode_scan(session);
    case CLI_MODE_PIPE:
        return mode_pipe(session);
    case CLI_MODE_LATENCY:
        return mode_latency(session);
    case CLI_MODE_COMMANDS:
        break;
    }
    if (session->args->argc > 0) {
        return mode_command(session);
    }
    return is_prompt(session->args) ? mode_prompt(session) : mode_script(session);
}

/* Who sits at the prompt sees what went wrong: it can do without a server, and connects when there is a command to
 * send. Anything else is not run on a connection that is not the one asked for. */
static bool
may_run(const struct args *args, enum session_result connected)
{
    return connected == SESSION_OK || is_prompt(args);
}

int
main(int argc, char **argv)
{
    struct args args;
    struct session session;
    enum cli_exit result;

    setlocale(LC_CTYPE, "");
    switch (args_parse(argc, argv, &args)) {
    case ARGS_DONE:
        return CLI_EXIT_OK;
    case ARGS_BAD:
        return CLI_EXIT_USAGE;
    case ARGS_RUN:
        break;
    }
    if (args.password_in_argv && !args.no_auth_warning) {
        fprintf(stderr, "Warning: -a shows the password to everybody who can list this machine's "
                        "processes; the environment variable FAULTLINE_AUTH doesn't.\n");
    }
    if (!session_init(&session, &args)) {
        fprintf(stderr, "faultline-cli: no memory\n");
        return CLI_EXIT_USAGE;
    }
    const enum session_result connected = session_connect(&session);

    if (may_run(&args, connected)) {
        result = run_mode(&session);
    } else {
        result = connected == SESSION_LOST ? CLI_EXIT_NO_CONNECTION : CLI_EXIT_ERROR_REPLY;
    }
    session_deinit(&session);
    /* A full disk or a closed pipe below stdout is noticed here at last. */
    if ((fflush(stdout) != 0 || ferror(stdout)) && result == CLI_EXIT_OK) {
        perror("faultline-cli: writing to stdout");
        result = CLI_EXIT_USAGE;
    }
    return (int)result;
}
