/* faultline-modelfs: one program, a sub-command for each thing to do to a device. What the commands share. */
#ifndef FL_STORAGE_MODELFS_TOOL_TOOL_H
#define FL_STORAGE_MODELFS_TOOL_TOOL_H

#include <faultline/status.h>

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Exit status. Of fsck: clean, damaged, could not check. */
enum { TOOL_DONE = 0, TOOL_FAILED = 1, TOOL_USAGE = 2 };

struct tool_command {
    const char *name;
    const char *arguments; /* behind the name in the usage line */
    const char *summary;   /* one line of --help */
    const char *details;   /* of COMMAND --help: lines, each ended */
    int (*run)(const struct tool_command *command, int argc, char **argv);
};

int tool_format(const struct tool_command *command, int argc, char **argv);
int tool_fsck(const struct tool_command *command, int argc, char **argv);
int tool_dump(const struct tool_command *command, int argc, char **argv);
int tool_ls(const struct tool_command *command, int argc, char **argv);
int tool_df(const struct tool_command *command, int argc, char **argv);
int tool_cp(const struct tool_command *command, int argc, char **argv);
int tool_rm(const struct tool_command *command, int argc, char **argv);
int tool_mv(const struct tool_command *command, int argc, char **argv);
int tool_clone(const struct tool_command *command, int argc, char **argv);
int tool_truncate(const struct tool_command *command, int argc, char **argv);
int tool_allocate(const struct tool_command *command, int argc, char **argv);
int tool_punch(const struct tool_command *command, int argc, char **argv);
int tool_collapse(const struct tool_command *command, int argc, char **argv);
int tool_serve(const struct tool_command *command, int argc, char **argv);
int tool_mount(const struct tool_command *command, int argc, char **argv);
int tool_powercut(const struct tool_command *command, int argc, char **argv);
int tool_demo(const struct tool_command *command, int argc, char **argv);

/* ---- arguments ---- */

enum { TOOL_STOP = -2 };
#define TOOL_HELP                                                                                  \
    {                                                                                              \
        "help", no_argument, NULL, 'h'                                                             \
    }
#define TOOL_END                                                                                   \
    {                                                                                              \
        NULL, 0, NULL, 0                                                                           \
    }

/* The next option of the command's own (getopt_long()'s value), -1 behind the last, or TOOL_STOP: --help was asked for
 * and told (*result is TOOL_DONE), or something is wrong and was told (it is as it was). */
int tool_option(const struct tool_command *command, int argc, char **argv,
                const struct option *options, int *result);

/* The same for a command without options, and its arguments: whether to go on, with argv[optind] the first of them.
 * There are min to max of them (max -1: any number). */
bool tool_plain(const struct tool_command *command, int argc, char **argv, int min, int max,
                int *result);

/* Whether so many arguments are left; if not it says so. max -1: any number. */
bool tool_arguments(const struct tool_command *command, int argc, int min, int max);

/* "4096", "4K", "1G", "2MiB": units of 1024. False: told, as the value of `what`. */
bool tool_size(const struct tool_command *command, const char *what, const char *text,
               uint64_t *out);
bool tool_number(const struct tool_command *command, const char *what, const char *text,
                 uint64_t *out);

/* Say what is wrong with the command line; TOOL_USAGE. */
int tool_usage(const struct tool_command *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Say that `what` failed, with the last error's status and text; TOOL_FAILED. */
int tool_failed(const struct tool_command *command, fl_status status, const char *what);

/* What was printed has arrived: `result`, else TOOL_FAILED with a text. */
int tool_printed(const struct tool_command *command, int result);

/* ---- output ---- */

/* `text` as a JSON string: what isn't printable ASCII is written as \u00XX. */
void tool_json_string(const char *text);

enum { TOOL_BYTES_TEXT = 24 };
/* "4 KiB", "1.5 GiB", "777 B". */
const char *tool_bytes(uint64_t bytes, char out[TOOL_BYTES_TEXT]);

#endif
