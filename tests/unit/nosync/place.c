#include "place.h"

#include "tests/lib/child.h"
#include "tests/lib/die.h"

#include <faultline/modelfs.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static void
own_mounts(void)
{
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        die_skip("may not mount here: %s", strerror(errno));
    }
}

void
place_tmpfs(struct tmpdir *dir, uint64_t bytes)
{
    char options[64];

    own_mounts();
    tmpdir_create(dir);
    (void)snprintf(options, sizeof(options), "size=%llu", (unsigned long long)bytes);
    if (mount("tmpfs", dir->path, "tmpfs", 0, options) != 0) {
        tmpdir_destroy(dir);
        die_skip("can't mount a tmpfs: %s", strerror(errno));
    }
}

static bool
run(char *const argv[])
{
    enum { LIMIT_MS = 30000 };
    struct child child;
    char output[4096];

    child_start(&child, argv);
    if (child_wait(&child, LIMIT_MS, output, sizeof(output)) && child_exited(&child, 0)) {
        return true;
    }
    (void)fprintf(stderr, "%s: %s\n", argv[0], output);
    child_kill(&child);
    return false;
}

/* "/dev/loop3 /tmp/x ext4 rw 0 0" of /proc/mounts: the name without "/dev/". */
static void
find_device(const char *mount_point, char *device)
{
    FILE *mounts = fopen("/proc/self/mounts", "re");
    char line[1024];

    while (mounts != NULL && fgets(line, sizeof(line), mounts) != NULL) {
        char source[64];
        char target[TMPDIR_PATH_BYTES];

        if (sscanf(line, "/dev/%31s %255s", source, target) == 2 &&
            strcmp(target, mount_point) == 0) {
            (void)snprintf(device, 32, "%.31s", source);
            (void)fclose(mounts);
            return;
        }
    }
    die("no mount on %s", mount_point);
}

void
place_ext4(struct tmpdir *dir, uint64_t bytes, char *device)
{
    char image[] = "/tmp/fl-ext4-XXXXXX";
    char *mkfs[] = {"mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0", image, NULL};
    char *mount_loop[] = {"mount", "-t", "ext4", "-o", "loop", image, dir->path, NULL};
    struct stat st;

    own_mounts();
    /* As root, /usr/sbin need not be in $PATH. */
    if (stat("/usr/sbin/mkfs.ext4", &st) == 0) {
        mkfs[0] = (char *)(uintptr_t) "/usr/sbin/mkfs.ext4";
    }
    const int fd = mkostemp(image, O_CLOEXEC);

    if (fd < 0 || ftruncate(fd, (off_t)bytes) != 0 || close(fd) != 0) {
        die_errno("%s", image);
    }
    tmpdir_create(dir);
    const bool mounted = run(mkfs) && run(mount_loop);

    (void)unlink(image); /* the loop device holds it */
    if (!mounted) {
        tmpdir_destroy(dir);
        die_skip("can't mount an ext4 by a loop device");
    }
    if (device != NULL) {
        find_device(dir->path, device);
    }
}

void
place_remove(struct tmpdir *dir)
{
    if (umount2(dir->path, MNT_DETACH) != 0) {
        die_errno("unmount %s", dir->path);
    }
    tmpdir_destroy(dir);
}

struct nosync_request
place_request(const char *path, enum fl_mapping mapping, uint64_t size_bytes_max)
{
    return (struct nosync_request){
        .path = path,
        .mapping = mapping,
        .durability_min = FL_DURABILITY_PROCESS,
        .create = true,
        .size_bytes_max = size_bytes_max,
        .map_align = 4096,
    };
}

void
place_need_userfaultfd(void)
{
    enum { DEVICE_BYTES = 1024 * 1024 };
    struct fl_modelfs_options options;
    char path[TMPDIR_PATH_BYTES];
    struct fl_modelfs *fs;
    struct tmpdir dir;

    tmpdir_create(&dir);
    fl_modelfs_options_init(&options);
    options.flags = FL_MODELFS_HOST | FL_MODELFS_FORMAT;
    options.size_bytes = DEVICE_BYTES;
    const fl_status status = fl_modelfs_attach(tmpdir_join(&dir, "device", path), &options, &fs);

    if (status == FL_OK) {
        fl_modelfs_detach(fs);
    }
    tmpdir_destroy(&dir);
    if (status == FL_NOT_SUPPORTED) {
        die_skip("%s", fl_last_error());
    }
    if (status != FL_OK) {
        die("attach: %s", fl_last_error());
    }
}

struct nosync_map *
place_open(const struct nosync_request *request)
{
    struct nosync_map *map;

    if (nosync_open(request, &map) != FL_OK) {
        die("open %s: %s", request->path, fl_last_error());
    }
    return map;
}
