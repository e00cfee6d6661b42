/* mount in a program that was built without libfuse3. */
#include "storage/modelfs/tool/tool.h"

#include <stdio.h>

int
tool_mount(const struct tool_command *command, int argc, char **argv)
{
    int result;

    if (!tool_plain(command, argc, argv, 0, -1, &result)) {
        return result;
    }
    fputs("faultline-modelfs mount: this program was built without libfuse3 (Debian: "
          "libfuse3-dev); serve, cp,\n"
          "punch and the other commands work without it\n",
          stderr);
    return TOOL_FAILED;
}
