/* ls and df. */
#include "storage/modelfs/tool/tool.h"
#include "storage/modelfs/tool/view.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Names are any bytes: what would move the cursor is shown as '?'. */
static void
print_name(const char *name)
{
    for (const unsigned char *p = (const unsigned char *)name; *p != '\0'; p++) {
        putchar(*p < 0x20 || *p == 0x7f ? '?' : *p);
    }
    putchar('\n');
}

static bool
open_view(const struct tool_command *command, int argc, char **argv, struct view *view, int *result)
{
    if (!tool_plain(command, argc, argv, 1, 1, result)) {
        return false;
    }
    const fl_status status = view_open(argv[optind], view);

    if (status != FL_OK) {
        *result = tool_failed(command, status, argv[optind]);
        return false;
    }
    if (view->served) {
        fprintf(stderr,
                "faultline-modelfs %s: %s is served: this is what a power cut would leave now\n",
                command->name, argv[optind]);
    }
    return true;
}

int
tool_ls(const struct tool_command *command, int argc, char **argv)
{
    struct mfs_stat stat;
    struct view view;
    uint32_t slot = 0;
    int result;

    if (!open_view(command, argc, argv, &view, &result)) {
        return result;
    }
    const uint64_t block_bytes = mfs_block_bytes(view.fs);
    fl_status status;

    while ((status = mfs_next(view.fs, &slot, &stat)) == FL_OK) {
        printf("%14" PRIu64 " %14" PRIu64 "  ", stat.size_bytes, stat.blocks * block_bytes);
        print_name(stat.name);
    }
    result = status == FL_END ? TOOL_DONE : tool_failed(command, status, argv[optind]);
    view_close(&view);
    return tool_printed(command, result);
}

int
tool_df(const struct tool_command *command, int argc, char **argv)
{
    char texts[3][TOOL_BYTES_TEXT];
    struct view view;
    int result;

    if (!open_view(command, argc, argv, &view, &result)) {
        return result;
    }
    const struct mfs_statfs fs = mfs_statfs(view.fs);
    const uint64_t block = fs.block_bytes;

    printf("blocks of %s: %" PRIu64 ", free %" PRIu64 " (%s of %s); files: %" PRIu32
           ", free %" PRIu32 "\n",
           tool_bytes(block, texts[0]), fs.blocks, fs.blocks_free,
           tool_bytes(fs.blocks_free * block, texts[1]), tool_bytes(fs.blocks * block, texts[2]),
           fs.inodes, fs.inodes_free);
    view_close(&view);
    return tool_printed(command, TOOL_DONE);
}
