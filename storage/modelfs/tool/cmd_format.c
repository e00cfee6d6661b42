/* format: make an empty device. */
#include "storage/modelfs/fs.h"
#include "storage/modelfs/tool/tool.h"

#include "base/bytes.h"
#include "base/fail.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OPT_SIZE = 256, OPT_BLOCK, OPT_FILES, OPT_JOURNAL, OPT_WITHOUT, OPT_FORCE };

#define SIZE_BYTES_DEFAULT (UINT64_C(1) << 30)

struct request {
    const char *path;
    uint64_t size_bytes;
    struct mfs_format format;
    bool force;
};

static bool
option_take(const struct tool_command *command, int option, struct request *request)
{
    uint64_t number = 0;
    bool good = true;

    switch (option) {
    case OPT_SIZE:
        return tool_size(command, "--size", optarg, &request->size_bytes);
    case OPT_BLOCK:
        good = tool_size(command, "--block", optarg, &number);
        request->format.block_bytes = number > UINT32_MAX ? UINT32_MAX : (uint32_t)number;
        return good;
    case OPT_FILES:
        good = tool_number(command, "--files", optarg, &number);
        request->format.inodes = number > UINT32_MAX ? UINT32_MAX : (uint32_t)number;
        return good;
    case OPT_JOURNAL:
        return tool_size(command, "--journal", optarg, &request->format.journal_bytes);
    case OPT_WITHOUT:
        request->format.without_nosync = true;
        return true;
    case OPT_FORCE:
        request->force = true;
        return true;
    default:
        return false;
    }
}

static bool
options_get(const struct tool_command *command, int argc, char **argv, struct request *request,
            int *result)
{
    static const struct option options[] = {
        {"size", required_argument, NULL, OPT_SIZE},
        {"block", required_argument, NULL, OPT_BLOCK},
        {"files", required_argument, NULL, OPT_FILES},
        {"journal", required_argument, NULL, OPT_JOURNAL},
        {"without-nosync", no_argument, NULL, OPT_WITHOUT},
        {"force", no_argument, NULL, OPT_FORCE},
        TOOL_HELP,
        TOOL_END,
    };

    for (int option; (option = tool_option(command, argc, argv, options, result)) != -1;) {
        if (option == TOOL_STOP || !option_take(command, option, request)) {
            return false;
        }
    }
    if (!tool_arguments(command, argc, 1, 1)) {
        return false;
    }
    if (request->size_bytes == 0 || request->size_bytes % MFS_BLOCK_BYTES_MIN != 0) {
        (void)tool_usage(command, "--size is no multiple of 4 KiB");
        return false;
    }
    request->path = argv[optind];
    return true;
}

/* A file that holds something is made a device only if that is asked for. */
static fl_status
check_target(const struct request *request)
{
    uint64_t magic = 0;
    struct stat st;

    if (request->force || stat(request->path, &st) != 0 || st.st_size == 0 ||
        !S_ISREG(st.st_mode)) {
        return FL_OK;
    }
    const int fd = open(request->path, O_RDONLY | O_CLOEXEC);

    if (fd >= 0) {
        (void)!pread(fd, &magic, sizeof(magic), 0);
        (void)close(fd);
    }
    return FL_FAIL(FL_EXISTS, "%s %s: --force writes over it", request->path,
                   bytes_get_le64(&magic) == MFS_MAGIC ? "is a model filesystem already"
                                                       : "holds something else");
}

static fl_status
make(const struct request *request)
{
    const struct mfs_media_source source = {
        .path = request->path,
        .size_bytes = request->size_bytes,
        .create = true,
    };
    struct mfs_media *media;
    const bool was_there = access(request->path, F_OK) == 0;
    fl_status status = check_target(request);

    if (status == FL_OK) {
        status = mfs_media_open(&source, &media);
    }
    if (status != FL_OK) {
        return status;
    }
    status = mfs_format(media, &request->format);
    mfs_media_close(media);
    if (status != FL_OK && !was_there) {
        (void)unlink(request->path);
    }
    return status;
}

static fl_status
report(const char *path)
{
    const struct mfs_media_source source = {.path = path, .read_only = true};
    const struct mfs_mount_options options = {.read_only = true};
    char size[TOOL_BYTES_TEXT];
    char block[TOOL_BYTES_TEXT];
    struct mfs_media *media;
    struct mfs *fs;
    fl_status status = mfs_media_open(&source, &media);

    if (status != FL_OK) {
        return status;
    }
    status = mfs_mount(media, &options, &fs);
    if (status == FL_OK) {
        const struct mfs_statfs statfs = mfs_statfs(fs);

        printf("%s: %s, %" PRIu64 " blocks of %s, room for %" PRIu32 " files\n", path,
               tool_bytes(mfs_media_size_bytes(media), size), statfs.blocks,
               tool_bytes(statfs.block_bytes, block), statfs.inodes);
        mfs_abandon(fs);
    }
    mfs_media_close(media);
    return status;
}

int
tool_format(const struct tool_command *command, int argc, char **argv)
{
    struct request request = {.size_bytes = SIZE_BYTES_DEFAULT};
    int result = TOOL_USAGE;

    if (!options_get(command, argc, argv, &request, &result)) {
        return result;
    }
    fl_status status = make(&request);

    if (status == FL_OK) {
        status = report(request.path);
    }
    return status == FL_OK ? tool_printed(command, TOOL_DONE)
                           : tool_failed(command, status, request.path);
}
