/* Commands on files of a device, for machines without FUSE: each is one call of the filesystem. */
#include "storage/modelfs/tool/place.h"
#include "storage/modelfs/tool/tool.h"

#include "base/fail.h"

#include <stdio.h>
#include <stdlib.h>

/* A command's file: the place it is in and its name there. */
struct target {
    char *device;
    const char *name;
    struct place place;
};

/* Open where `text`, "DEVICE:NAME", is. False: told. */
static bool
target_open(const struct tool_command *command, const char *text, struct target *target,
            int *result)
{
    if (!place_parse(text, &target->device, &target->name)) {
        *result = tool_usage(command, "'%s' is not DEVICE:NAME, or there is no such device", text);
        return false;
    }
    const fl_status status = place_open(target->device, false, &target->place);

    if (status != FL_OK) {
        *result = tool_failed(command, status, text);
        free(target->device);
        return false;
    }
    return true;
}

static int
target_close(const struct tool_command *command, const char *text, struct target *target,
             fl_status status)
{
    status = place_close(&target->place, status);
    free(target->device);
    return status == FL_OK ? TOOL_DONE : tool_failed(command, status, text);
}

int
tool_rm(const struct tool_command *command, int argc, char **argv)
{
    int result;

    if (!tool_plain(command, argc, argv, 1, -1, &result)) {
        return result;
    }
    result = TOOL_DONE;
    for (int i = optind; i < argc && result == TOOL_DONE; i++) {
        struct target target;

        if (target_open(command, argv[i], &target, &result)) {
            result =
                target_close(command, argv[i], &target, place_unlink(&target.place, target.name));
        }
    }
    return result;
}

int
tool_mv(const struct tool_command *command, int argc, char **argv)
{
    struct target target;
    int result;

    if (!tool_plain(command, argc, argv, 2, 2, &result) ||
        !target_open(command, argv[optind], &target, &result)) {
        return result;
    }
    return target_close(command, argv[optind], &target,
                        place_rename(&target.place, target.name, argv[optind + 1]));
}

static fl_status
clone_to(struct place *place, const char *from, const char *to)
{
    uint64_t size_bytes;
    fl_status status = place_size(place, from, &size_bytes);

    if (status == FL_OK) {
        status = place_create(place, to);
    }
    if (status == FL_EXISTS) {
        return place_clone(place, from, to);
    }
    if (status == FL_OK) {
        status = place_clone(place, from, to);
        if (status != FL_OK) {
            /* The text is that of the clone. */
            char text[256];

            (void)snprintf(text, sizeof(text), "%s", fl_last_error());
            (void)!place_unlink(place, to);
            return FL_FAIL(status, "%s", text);
        }
    }
    return status;
}

int
tool_clone(const struct tool_command *command, int argc, char **argv)
{
    struct target target;
    int result;

    if (!tool_plain(command, argc, argv, 2, 2, &result) ||
        !target_open(command, argv[optind], &target, &result)) {
        return result;
    }
    return target_close(command, argv[optind], &target,
                        clone_to(&target.place, target.name, argv[optind + 1]));
}

int
tool_truncate(const struct tool_command *command, int argc, char **argv)
{
    struct target target;
    uint64_t size_bytes;
    int result;

    if (!tool_plain(command, argc, argv, 2, 2, &result) ||
        !tool_size(command, "SIZE", argv[optind + 1], &size_bytes) ||
        !target_open(command, argv[optind], &target, &result)) {
        return result;
    }
    return target_close(command, argv[optind], &target,
                        place_truncate(&target.place, target.name, size_bytes));
}

int
tool_allocate(const struct tool_command *command, int argc, char **argv)
{
    static const struct option options[] = {
        {"keep-size", no_argument, NULL, 'k'},
        TOOL_HELP,
        TOOL_END,
    };
    bool keep_size = false;
    struct target target;
    int result = TOOL_USAGE;
    uint64_t off;
    uint64_t len;

    for (int option; (option = tool_option(command, argc, argv, options, &result)) != -1;) {
        if (option == TOOL_STOP) {
            return result;
        }
        keep_size = true;
    }
    if (!tool_arguments(command, argc, 3, 3) ||
        !tool_size(command, "OFFSET", argv[optind + 1], &off) ||
        !tool_size(command, "LENGTH", argv[optind + 2], &len) ||
        !target_open(command, argv[optind], &target, &result)) {
        return result;
    }
    return target_close(command, argv[optind], &target,
                        place_allocate(&target.place, target.name, off, len, keep_size));
}

/* punch and collapse. */
static int
change_range(const struct tool_command *command, int argc, char **argv,
             fl_status (*change)(struct place *place, const char *name, uint64_t off, uint64_t len))
{
    struct target target;
    uint64_t off;
    uint64_t len;
    int result;

    if (!tool_plain(command, argc, argv, 3, 3, &result) ||
        !tool_size(command, "OFFSET", argv[optind + 1], &off) ||
        !tool_size(command, "LENGTH", argv[optind + 2], &len) ||
        !target_open(command, argv[optind], &target, &result)) {
        return result;
    }
    return target_close(command, argv[optind], &target,
                        change(&target.place, target.name, off, len));
}

int
tool_punch(const struct tool_command *command, int argc, char **argv)
{
    return change_range(command, argc, argv, place_punch);
}

int
tool_collapse(const struct tool_command *command, int argc, char **argv)
{
    return change_range(command, argc, argv, place_collapse);
}
