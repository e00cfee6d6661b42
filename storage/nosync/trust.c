#include "storage/nosync/trust.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>

/* Whether the comma-separated list has the option, with its value if `option` names one. */
static bool
has_option(const char *options, const char *option)
{
    const size_t len = strlen(option);

    for (const char *at = options; at != NULL; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, option, len) == 0 && (at[len] == ',' || at[len] == '\0')) {
            return true;
        }
    }
    return false;
}

static bool
is_one_of(const char *type, const char *const *types)
{
    for (; *types != NULL; types++) {
        if (strcmp(type, *types) == 0) {
            return true;
        }
    }
    return false;
}

static void
set(struct trust *out, enum fl_durability durability, bool memory, const char *type,
    const char *remark)
{
    out->durability = durability;
    out->memory = memory;
    (void)snprintf(out->text, sizeof(out->text), "%.16s%s", type, remark);
}

void
trust_judge(const char *type, const char *options, struct trust *out)
{
    static const char *const memory[] = {"tmpfs", "ramfs", "devtmpfs", "hugetlbfs", NULL};
    /* Their fsync is known to reach the device and to flush its cache. ext2 and ext3 are the same driver. */
    static const char *const trusted[] = {"ext4", "ext3", "xfs", "btrfs", NULL};

    if (is_one_of(type, memory)) {
        set(out, FL_DURABILITY_PROCESS, true, type, "");
    } else if (strcmp(type, "overlay") == 0 &&
               (has_option(options, "volatile") || has_option(options, "fsync=volatile"))) {
        set(out, FL_DURABILITY_PROCESS, false, type, " volatile");
    } else if (!is_one_of(type, trusted)) {
        set(out, FL_DURABILITY_POWERCUT_UNVERIFIED, false, type, " (unverified)");
    } else if (has_option(options, "nobarrier") || has_option(options, "barrier=0")) {
        set(out, FL_DURABILITY_POWERCUT_UNVERIFIED, false, type, " nobarrier (unverified)");
    } else {
        set(out, FL_DURABILITY_POWERCUT, false, type, "");
    }
}

/* A line: id parent major:minor root mount-point options [tags...] - type source super-options */
static bool
judge_line(char *line, uint64_t mount_id, struct trust *out)
{
    char *separator = strstr(line, " - ");
    char *rest;
    char *type;

    if (strtoull(line, NULL, 10) != mount_id || separator == NULL) {
        return false;
    }
    *separator = '\0';
    line[strcspn(line, "\n")] = '\0';
    type = strtok_r(separator + 3, " \n", &rest);
    if (type == NULL || strtok_r(NULL, " \n", &rest) == NULL) {
        return false;
    }
    const char *options = strtok_r(NULL, " \n", &rest);

    trust_judge(type, options == NULL ? "" : options, out);
    return true;
}

void
trust_from_mountinfo(FILE *mountinfo, uint64_t mount_id, struct trust *out)
{
    char *line = NULL;
    size_t line_size = 0;
    bool found = false;

    while (!found && getline(&line, &line_size, mountinfo) >= 0) {
        found = judge_line(line, mount_id, out);
    }
    free(line);
    if (!found) {
        set(out, FL_DURABILITY_POWERCUT_UNVERIFIED, false, "unknown", " filesystem (unverified)");
    }
}

void
trust_of_file(int fd, struct trust *out)
{
    struct statfs fs;
    struct statx stx;

    set(out, FL_DURABILITY_POWERCUT_UNVERIFIED, false, "unknown", " filesystem (unverified)");
    /* Memory is told without /proc, which a container may lack. */
    if (fstatfs(fd, &fs) == 0) {
        switch ((unsigned long)fs.f_type) {
        case TMPFS_MAGIC:
            set(out, FL_DURABILITY_PROCESS, true, "tmpfs", "");
            return;
        case RAMFS_MAGIC:
            set(out, FL_DURABILITY_PROCESS, true, "ramfs", "");
            return;
        default:
            break;
        }
    }
    /* By mount, not by device number: a btrfs subvolume has a number that stands nowhere. */
    if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &stx) != 0 ||
        (stx.stx_mask & STATX_MNT_ID) == 0) {
        return;
    }
    FILE *mountinfo = fopen("/proc/self/mountinfo", "re");

    if (mountinfo != NULL) {
        trust_from_mountinfo(mountinfo, stx.stx_mnt_id, out);
        (void)fclose(mountinfo);
    }
}
