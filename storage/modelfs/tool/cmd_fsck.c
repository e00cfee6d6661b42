/* fsck: everything that a device claims, checked; nothing is written. */
#include "storage/modelfs/fs.h"
#include "storage/modelfs/record.h"
#include "storage/modelfs/tool/image.h"
#include "storage/modelfs/tool/tool.h"

#include "base/fail.h"

#include <inttypes.h>
#include <stdio.h>

enum { FSCK_CLEAN = 0, FSCK_DAMAGED = 1, FSCK_UNCHECKED = 2 };

struct fsck {
    bool json;
    uint64_t told;
};

static void
on_finding(void *context, const char *text)
{
    struct fsck *fsck = context;

    if (!fsck->json) {
        printf("%s\n", text);
        return;
    }
    if (fsck->told++ > 0) {
        putchar(',');
    }
    tool_json_string(text);
}

static int
report(const struct tool_command *command, const struct fsck *fsck, const char *path,
       fl_status status, uint64_t findings)
{
    const char *result = status != FL_OK ? "not checked" : findings == 0 ? "clean" : "damaged";

    if (fsck->json) {
        printf("],\"result\":\"%s\",\"findings_total\":%" PRIu64, result, findings);
        if (status != FL_OK) {
            printf(",\"status\":\"%s\",\"error\":", fl_status_name(status));
            tool_json_string(fl_last_error());
        }
        printf("}\n");
    } else if (status != FL_OK) {
        (void)tool_failed(command, status, path);
    } else {
        printf("%s: %s: %" PRIu64 " finding%s\n", path, result, findings, findings == 1 ? "" : "s");
    }
    if (tool_printed(command, TOOL_DONE) != TOOL_DONE || status != FL_OK) {
        return FSCK_UNCHECKED;
    }
    return findings == 0 ? FSCK_CLEAN : FSCK_DAMAGED;
}

/* What is no device of a kind that this program knows is not damaged, it is not checked. */
static fl_status
check_kind(const struct image *image)
{
    fl_status status = FL_INVALID;

    for (uint64_t i = 0; i < 2; i++) {
        const uint64_t off = i * MFS_SUPER_COPY_OFF;
        struct mfs_geometry geometry;

        if (off + sizeof(struct mfs_super_rec) > image->size_bytes) {
            return FL_FAIL(FL_INVALID, "%" PRIu64 " bytes are no device", image->size_bytes);
        }
        status = mfs_super_decode(image->bytes + off, image->size_bytes, &geometry);
        if (status == FL_OK || status == FL_CORRUPT) {
            return FL_OK;
        }
    }
    return status;
}

int
tool_fsck(const struct tool_command *command, int argc, char **argv)
{
    static const struct option options[] = {
        {"json", no_argument, NULL, 'j'},
        TOOL_HELP,
        TOOL_END,
    };
    struct fsck fsck = {0};
    struct image image;
    uint64_t findings = 0;
    int result = TOOL_USAGE;

    for (int option; (option = tool_option(command, argc, argv, options, &result)) != -1;) {
        if (option == TOOL_STOP) {
            return result;
        }
        fsck.json = true;
    }
    if (!tool_arguments(command, argc, 1, 1)) {
        return result;
    }
    const char *path = argv[optind];

    if (fsck.json) {
        printf("{\"path\":");
        tool_json_string(path);
        printf(",\"findings\":[");
    }
    fl_status status = image_open(path, true, &image);

    if (status == FL_OK) {
        status = check_kind(&image);
        if (status == FL_OK) {
            status = mfs_check(image.bytes, image.size_bytes, on_finding, &fsck, &findings);
        }
        image_close(&image);
    }
    return report(command, &fsck, path, status, findings);
}
