/* powercut: leave a served device as a crash of the machine would. */
#include "storage/modelfs/tool/tool.h"

#include <faultline/modelfs.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int
tool_powercut(const struct tool_command *command, int argc, char **argv)
{
    static const struct option options[] = {
        {"seed", required_argument, NULL, 's'},
        TOOL_HELP,
        TOOL_END,
    };
    struct fl_modelfs_options attach;
    struct fl_modelfs *fs = NULL;
    uint64_t seed = 0;
    int result = TOOL_USAGE;

    for (int option; (option = tool_option(command, argc, argv, options, &result)) != -1;) {
        if (option == TOOL_STOP || !tool_number(command, "--seed", optarg, &seed)) {
            return result;
        }
    }
    if (!tool_arguments(command, argc, 1, 1)) {
        return result;
    }
    const char *path = argv[optind];

    if (access(path, F_OK) != 0) {
        fprintf(stderr, "faultline-modelfs powercut: %s: %s\n", path, strerror(errno));
        return TOOL_FAILED;
    }
    fl_modelfs_options_init(&attach);
    fl_status status = fl_modelfs_attach(path, &attach, &fs);

    if (status == FL_NOT_FOUND) {
        fprintf(stderr, "faultline-modelfs powercut: nobody serves %s: it is as it was left\n",
                path);
        return TOOL_FAILED;
    }
    if (status == FL_OK) {
        status = fl_modelfs_powercut(fs, seed);
        fl_modelfs_detach(fs);
    }
    if (status != FL_OK) {
        return tool_failed(command, status, path);
    }
    printf("%s: power cut, seed %" PRIu64 "\n", path, seed);
    return tool_printed(command, TOOL_DONE);
}
