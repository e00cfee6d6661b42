#include "client/cli/args.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    PORT_DEFAULT = 6379,
    PIPE_TIMEOUT_S_DEFAULT = 30,
    SECONDS_MAX = 1000 * 1000,
};

/* Long options without a letter of their own. */
enum {
    OPT_USER = 256,
    OPT_NO_AUTH_WARNING,
    OPT_RAW,
    OPT_NO_RAW,
    OPT_JSON,
    OPT_STAT,
    OPT_BIGKEYS,
    OPT_SCAN,
    OPT_PATTERN,
    OPT_COUNT,
    OPT_PIPE,
    OPT_PIPE_TIMEOUT,
    OPT_LATENCY,
    OPT_HELP,
};

static const struct option long_options[] = {
    {"host", required_argument, NULL, 'h'},
    {"port", required_argument, NULL, 'p'},
    {"socket", required_argument, NULL, 's'},
    {"pass", required_argument, NULL, 'a'},
    {"user", required_argument, NULL, OPT_USER},
    {"no-auth-warning", no_argument, NULL, OPT_NO_AUTH_WARNING},
    {"raw", no_argument, NULL, OPT_RAW},
    {"no-raw", no_argument, NULL, OPT_NO_RAW},
    {"json", no_argument, NULL, OPT_JSON},
    {"stat", no_argument, NULL, OPT_STAT},
    {"bigkeys", no_argument, NULL, OPT_BIGKEYS},
    {"scan", no_argument, NULL, OPT_SCAN},
    {"pattern", required_argument, NULL, OPT_PATTERN},
    {"count", required_argument, NULL, OPT_COUNT},
    {"pipe", no_argument, NULL, OPT_PIPE},
    {"pipe-timeout", required_argument, NULL, OPT_PIPE_TIMEOUT},
    {"latency", no_argument, NULL, OPT_LATENCY},
    {"version", no_argument, NULL, 'v'},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

static const char help_text[] =
    "Usage: faultline-cli [OPTION]... [COMMAND [ARGUMENT]...]\n"
    "\n"
    "With a COMMAND, runs it and prints the reply. Without one, prompts for commands; or, when\n"
    "stdin is no terminal, takes them from there, one on each line.\n"
    "\n"
    "Connection:\n"
    "  -h, --host HOST      server's name or address (127.0.0.1)\n"
    "  -p, --port PORT      server's port (6379)\n"
    "  -s, --socket PATH    unix socket instead of host and port\n"
    "  -a, --pass PASSWORD  authenticate; better: put it into the environment as FAULTLINE_AUTH\n"
    "      --user USER      authenticate as USER, with -a or FAULTLINE_AUTH\n"
    "      --no-auth-warning  don't warn that -a shows the password\n"
    "  -n DB                select database DB (0)\n"
    "  -2, -3               speak RESP2, RESP3 (RESP2; RESP3 with --json, if the server can)\n"
    "\n"
    "Running commands:\n"
    "  -r N                 run the command N times, < 0: for ever\n"
    "  -i SECONDS           wait between two runs, samples or steps; 0.1 is possible\n"
    "  -x                   take the last argument from stdin\n"
    "\n"
    "Output (typed on a terminal, raw elsewhere):\n"
    "      --raw            values as they are\n"
    "      --no-raw         values with their types\n"
    "      --json           one JSON text a reply; bytes that are no UTF-8 appear as \\xNN\n"
    "\n"
    "Instead of a command:\n"
    "      --stat           a line of the server's figures every second (-i, -r)\n"
    "      --bigkeys        look through all keys for the biggest of each type (-i)\n"
    "      --scan           print all keys; with --pattern P those that match, with --count N\n"
    "                       in steps of about N (-i)\n"
    "      --pipe           send the RESP requests on stdin as they are, count the replies\n"
    "      --pipe-timeout S give up S seconds after the last sign of the server (30; 0: never)\n"
    "      --latency        measure the time that PING takes (-i, -r)\n"
    "\n"
    "  -v, --version        print the version\n"
    "      --help           print this text\n"
    "\n"
    "Exit status: 0 done, 1 the server answered an error, 2 usage, 3 no connection.\n"
    "The prompt keeps its history in ~/.faultline_history, or the file that the environment\n"
    "variable FAULTLINE_HISTORY names; lines with passwords are left out.\n";

static bool
read_integer(const char *option, const char *text, int64_t min, int64_t max, int64_t *out)
{
    char *end;

    errno = 0;
    const long long value = strtoll(text, &end, 10);

    if (errno != 0 || end == text || *end != '\0' || value < min || value > max) {
        fprintf(stderr, "faultline-cli: %s takes a whole number from %lld to %lld, not \"%s\"\n",
                option, (long long)min, (long long)max, text);
        return false;
    }
    *out = value;
    return true;
}

static bool
read_seconds(const char *option, const char *text, double *out)
{
    char *end;
    const double value = strtod(text, &end);

    if (end == text || *end != '\0' || !isfinite(value) || value < 0 || value > SECONDS_MAX) {
        fprintf(stderr, "faultline-cli: %s takes seconds, not \"%s\"\n", option, text);
        return false;
    }
    *out = value;
    return true;
}

static bool
set_mode(struct args *args, enum cli_mode mode)
{
    if (args->mode != CLI_MODE_COMMANDS && args->mode != mode) {
        fprintf(stderr, "faultline-cli: only one of --stat, --bigkeys, --scan, --pipe and "
                        "--latency at a time\n");
        return false;
    }
    args->mode = mode;
    return true;
}

/* Options of connecting; false with `*known` set if the value is wrong. */
static bool
take_connection_option(struct args *args, int option, bool *known)
{
    int64_t port = 0;

    *known = true;
    switch (option) {
    case 'h':
        args->host = optarg;
        return true;
    case 'p':
        if (!read_integer("-p", optarg, 1, UINT16_MAX, &port)) {
            return false;
        }
        args->port = (uint16_t)port;
        return true;
    case 's':
        args->unix_path = optarg;
        return true;
    case 'a':
        args->password = optarg;
        args->password_in_argv = true;
        return true;
    case OPT_USER:
        args->user = optarg;
        return true;
    case OPT_NO_AUTH_WARNING:
        args->no_auth_warning = true;
        return true;
    case 'n':
        return read_integer("-n", optarg, 0, INT32_MAX, &args->database);
    case '2':
    case '3':
        args->protocol = option - '0';
        return true;
    default:
        *known = false;
        return true;
    }
}

static bool
take_option(struct args *args, int option)
{
    switch (option) {
    case 'r':
        args->repeat_given = true;
        return read_integer("-r", optarg, -1, INT64_MAX, &args->repeat);
    case 'i':
        return read_seconds("-i", optarg, &args->interval_s);
    case 'x':
        args->last_from_stdin = true;
        return true;
    case OPT_RAW:
        args->format = OUTPUT_RAW;
        return true;
    case OPT_NO_RAW:
        args->format = OUTPUT_HUMAN;
        return true;
    case OPT_JSON:
        args->format = OUTPUT_JSON;
        return true;
    case OPT_STAT:
        return set_mode(args, CLI_MODE_STAT);
    case OPT_BIGKEYS:
        return set_mode(args, CLI_MODE_BIGKEYS);
    case OPT_SCAN:
        return set_mode(args, CLI_MODE_SCAN);
    case OPT_PATTERN:
        args->pattern = optarg;
        return true;
    case OPT_COUNT:
        return read_integer("--count", optarg, 1, INT32_MAX, &args->scan_count);
    case OPT_PIPE:
        return set_mode(args, CLI_MODE_PIPE);
    case OPT_PIPE_TIMEOUT:
        return read_seconds("--pipe-timeout", optarg, &args->pipe_timeout_s);
    case OPT_LATENCY:
        return set_mode(args, CLI_MODE_LATENCY);
    default: /* getopt_long() has said what is wrong */
        return false;
    }
}

/* What options mean together. */
static bool
settle(struct args *args)
{
    const char *wrong = NULL;

    if (args->mode != CLI_MODE_COMMANDS && args->argc > 0) {
        wrong = "--stat, --bigkeys, --scan, --pipe and --latency take no command";
    } else if ((args->pattern != NULL || args->scan_count > 0) && args->mode != CLI_MODE_SCAN) {
        wrong = "--pattern and --count belong to --scan";
    } else if (args->last_from_stdin && args->argc == 0) {
        wrong = "-x needs a command that the argument from stdin completes";
    } else if (args->user != NULL && args->password == NULL) {
        wrong = "--user needs a password: -a, or FAULTLINE_AUTH in the environment";
    }
    if (wrong != NULL) {
        fprintf(stderr, "faultline-cli: %s\n", wrong);
        return false;
    }
    if (args->format == OUTPUT_AUTO) {
        args->format = isatty(STDOUT_FILENO) ? OUTPUT_HUMAN : OUTPUT_RAW;
    }
    return true;
}

enum args_result
args_parse(int argc, char **argv, struct args *out)
{
    *out = (struct args){
        .host = "127.0.0.1",
        .port = PORT_DEFAULT,
        .password = getenv("FAULTLINE_AUTH"),
        .repeat = 1,
        .interval_s = -1,
        .pipe_timeout_s = PIPE_TIMEOUT_S_DEFAULT,
    };
    for (;;) {
        /* The plus sign: options end where the command begins, whose arguments may look like
         * some. */
        const int option = getopt_long(argc, argv, "+h:p:s:a:n:23r:i:xv", long_options, NULL);
        bool known = true;

        if (option == -1) {
            break;
        }
        if (option == OPT_HELP || option == 'v') {
            fputs(option == 'v' ? "faultline-cli " FL_VERSION_TEXT "\n" : help_text, stdout);
            return ARGS_DONE;
        }
        if (!take_connection_option(out, option, &known) || (!known && !take_option(out, option))) {
            fprintf(stderr, "Try \"faultline-cli --help\".\n");
            return ARGS_BAD;
        }
    }
    out->argc = argc - optind;
    out->argv = argv + optind;
    if (!settle(out)) {
        fprintf(stderr, "Try \"faultline-cli --help\".\n");
        return ARGS_BAD;
    }
    return ARGS_RUN;
}
