#include "tests/contract/kernel_adapter.h"

#include "storage/persist/pm_flush.h"
#include "tests/contract/contract.h"
#include "tests/lib/die.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
/* ext4 and XFS have the same: stop, and throw away what the journal has not written. */
#define SHUTDOWN _IOR('X', 125, uint32_t)
enum { SHUTDOWN_WITHOUT_LOG = 2, XFS_MAGIC = 0x58465342, LINE = 64 };

struct mapping {
    uint8_t *base;
    size_t len;
};

static struct kernel *
kernel_of(struct adapter *a)
{
    return (struct kernel *)(void *)a; /* its first member */
}

static fl_status
status_of(int err)
{
    switch (err) {
    case 0:
        return FL_OK;
    case ENOENT:
        return FL_NOT_FOUND;
    case EEXIST:
        return FL_EXISTS;
    case ENOSPC:
        return FL_NO_SPACE;
    case EOPNOTSUPP:
        return FL_NOT_SUPPORTED;
    case EBUSY:
        return FL_BUSY;
    case EINVAL:
        return FL_INVALID;
    case EROFS:
        return FL_READ_ONLY;
    default:
        return FL_IO;
    }
}

static fl_status
result_of(int returned)
{
    return status_of(returned == 0 ? 0 : errno);
}

/* ---- files ---- */

static fl_status
op_create(struct adapter *a, const char *name)
{
    const int fd = openat(kernel_of(a)->dir_fd, name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);

    if (fd < 0) {
        return status_of(errno);
    }
    (void)close(fd);
    return FL_OK;
}

static fl_status
op_rename(struct adapter *a, const char *from, const char *to)
{
    const int dir = kernel_of(a)->dir_fd;

    return result_of(renameat(dir, from, dir, to));
}

static fl_status
op_size(struct adapter *a, const char *name, uint64_t *bytes)
{
    struct stat st;

    const fl_status status = result_of(fstatat(kernel_of(a)->dir_fd, name, &st, 0));
    if (status == FL_OK) {
        *bytes = (uint64_t)st.st_size;
    }
    return status;
}

static int
open_file(struct adapter *a, const char *name)
{
    return openat(kernel_of(a)->dir_fd, name, O_RDWR | O_CLOEXEC);
}

/* `returned` of a call on `fd`, which is closed. */
static fl_status
finish(int fd, int returned)
{
    const int err = errno;

    (void)close(fd);
    return status_of(returned == 0 ? 0 : err);
}

static fl_status
op_read(struct adapter *a, const char *name, uint64_t off, void *buf, size_t len, size_t *done)
{
    const int fd = open_file(a, name);

    if (fd < 0) {
        return status_of(errno);
    }
    const ssize_t got = pread(fd, buf, len, (off_t)off);
    *done = got > 0 ? (size_t)got : 0;
    return finish(fd, got >= 0 ? 0 : -1);
}

static fl_status
op_write(struct adapter *a, const char *name, uint64_t off, const void *buf, size_t len)
{
    const int fd = open_file(a, name);

    if (fd < 0) {
        return status_of(errno);
    }
    return finish(fd, pwrite(fd, buf, len, (off_t)off) == (ssize_t)len ? 0 : -1);
}

static fl_status
op_truncate(struct adapter *a, const char *name, uint64_t bytes)
{
    const int fd = open_file(a, name);

    return fd < 0 ? status_of(errno) : finish(fd, ftruncate(fd, (off_t)bytes));
}

static fl_status
allocate(struct adapter *a, const char *name, int mode, uint64_t off, uint64_t len)
{
    const int fd = open_file(a, name);

    return fd < 0 ? status_of(errno) : finish(fd, fallocate(fd, mode, (off_t)off, (off_t)len));
}

static fl_status
op_allocate(struct adapter *a, const char *name, uint64_t off, uint64_t len)
{
    return allocate(a, name, 0, off, len);
}

static fl_status
op_punch(struct adapter *a, const char *name, uint64_t off, uint64_t len)
{
    return allocate(a, name, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len);
}

static fl_status
op_collapse(struct adapter *a, const char *name, uint64_t off, uint64_t len)
{
    return allocate(a, name, FALLOC_FL_COLLAPSE_RANGE, off, len);
}

static fl_status
op_clone(struct adapter *a, const char *from, const char *to)
{
    const int source = open_file(a, from);
    const int target = open_file(a, to);

    if (source < 0 || target < 0) {
        die_errno("open %s and %s", from, to);
    }
    const fl_status status = finish(target, ioctl(target, FICLONE, source));
    (void)close(source);
    return status;
}

static fl_status
op_sync(struct adapter *a, const char *name)
{
    const int dir = kernel_of(a)->dir_fd;

    if (name == NULL) {
        return result_of(syncfs(dir));
    }
    const int fd = open_file(a, name);
    if (fd < 0) {
        return status_of(errno);
    }
    const fl_status status = finish(fd, fsync(fd));
    return status != FL_OK ? status : result_of(fsync(dir));
}

/* ---- mappings ---- */

static fl_status
map_fd(int fd, size_t len, int flags, struct mapping **out)
{
    void *base = mmap(NULL, len, PROT_READ | PROT_WRITE, flags, fd, 0);

    if (base == MAP_FAILED) {
        return status_of(errno);
    }
    *out = malloc(sizeof(**out));
    if (*out == NULL) {
        die("no memory for a mapping");
    }
    **out = (struct mapping){.base = base, .len = len};
    return FL_OK;
}

static fl_status
op_map(struct adapter *a, const char *name, uint32_t blocks, bool nosync, struct mapping **out)
{
    const int fd = open_file(a, name);

    if (fd < 0) {
        return status_of(errno);
    }
    const fl_status status = map_fd(fd, (size_t)blocks * BLOCK,
                                    nosync ? MAP_SHARED_VALIDATE | MAP_SYNC : MAP_SHARED, out);
    (void)close(fd);
    return status;
}

static void
op_unmap(struct adapter *a, struct mapping *map)
{
    (void)a;
    (void)munmap(map->base, map->len);
    free(map);
}

/* Where a SIGBUS goes; a signal handler's only way out is a global. */
static sigjmp_buf on_sigbus;
static volatile sig_atomic_t armed;

static void
sigbus(int number)
{
    if (armed) {
        siglongjmp(on_sigbus, 1);
    }
    (void)signal(number, SIG_DFL);
}

static fl_status
copy(void *to, const void *from, size_t len)
{
    if (sigsetjmp(on_sigbus, 1) != 0) {
        armed = 0;
        return FL_IO;
    }
    armed = 1;
    memcpy(to, from, len);
    armed = 0;
    return FL_OK;
}

static fl_status
op_load(struct adapter *a, struct mapping *map, uint64_t off, void *buf, size_t len)
{
    (void)a;
    return copy(buf, map->base + off, len);
}

static fl_status
op_store(struct adapter *a, struct mapping *map, uint64_t off, const void *src, size_t len)
{
    (void)a;
    return copy(map->base + off, src, len);
}

static fl_status
op_flush(struct adapter *a, struct mapping *map, uint64_t off, size_t len)
{
    const enum pm_flush flush = pm_flush_choose();
    (void)a;

    for (uint64_t at = off; at < off + len; at += LINE) {
        pm_flush_line(flush, map->base + at);
    }
    return FL_OK;
}

static fl_status
op_fence(struct adapter *a)
{
    (void)a;
    pm_sfence();
    return FL_OK;
}

static const char *
op_populate(struct adapter *a, struct mapping *map, uint32_t block, uint32_t blocks)
{
    (void)a;
    return madvise(map->base + (size_t)block * BLOCK, (size_t)blocks * BLOCK,
                   MADV_POPULATE_WRITE) == 0
               ? NULL
               : strerrorname_np(errno);
}

/* ---- looking ---- */

static uint64_t
op_commits(struct adapter *a)
{
    const struct kernel *k = kernel_of(a);
    unsigned long long count = 0;
    char line[256];
    bool found = false;

    /* ext4 counts a commit a moment after it has woken who waits for it. */
    (void)nanosleep(&(struct timespec){.tv_nsec = 30 * 1000 * 1000}, NULL);
    FILE *in = fopen(k->commits_path, "re");
    if (in == NULL) {
        die_errno("open %s", k->commits_path);
    }
    while (!found && fgets(line, sizeof(line), in) != NULL) {
        found = sscanf(line, k->xfs ? "log %llu" : "%llu transactions", &count) == 1;
    }
    (void)fclose(in);
    if (!found) {
        die("%s counts no commits", k->commits_path);
    }
    return count;
}

static uint64_t
op_faults(struct adapter *a)
{
    struct rusage usage;
    (void)a;

    (void)getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)usage.ru_minflt + (uint64_t)usage.ru_majflt;
}

static enum extent
op_extent(struct adapter *a, const char *name, uint32_t block)
{
    union {
        struct fiemap map;
        uint8_t bytes[sizeof(struct fiemap) + sizeof(struct fiemap_extent)];
    } query = {
        .map = {.fm_start = (uint64_t)block * BLOCK, .fm_length = BLOCK, .fm_extent_count = 1}};
    const int fd = open_file(a, name);

    if (fd < 0 || ioctl(fd, FS_IOC_FIEMAP, &query.map) != 0) {
        die_errno("extents of %s", name);
    }
    (void)close(fd);
    if (query.map.fm_mapped_extents == 0) {
        return EXTENT_HOLE;
    }
    const struct fiemap_extent *e =
        (const struct fiemap_extent *)(const void *)(query.bytes + sizeof(struct fiemap));
    return (e->fe_flags & FIEMAP_EXTENT_UNWRITTEN) != 0 ? EXTENT_UNWRITTEN : EXTENT_WRITTEN;
}

static enum flag
op_flag(struct adapter *a, const char *name, uint32_t block)
{
    (void)a;
    (void)name;
    (void)block;
    return FLAG_NONE;
}

/* ---- the rest ---- */

static fl_status
map_in_memory(int flags)
{
    struct mapping *map = NULL;
    const int fd = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (fd < 0 || ftruncate(fd, BLOCK) != 0) {
        die_errno("a file in /dev/shm");
    }
    const fl_status status = map_fd(fd, BLOCK, flags, &map);
    (void)close(fd);
    if (status == FL_OK) {
        op_unmap(NULL, map);
    }
    return status;
}

static fl_status
op_map_unsupported(struct adapter *a)
{
    (void)a;
    return map_in_memory(MAP_SHARED_VALIDATE | MAP_SYNC);
}

static fl_status
op_map_unchecked(struct adapter *a)
{
    (void)a;
    return map_in_memory(MAP_SHARED | MAP_SYNC);
}

static fl_status
op_fail_commits(struct adapter *a)
{
    const uint32_t how = SHUTDOWN_WITHOUT_LOG;

    return result_of(ioctl(kernel_of(a)->dir_fd, SHUTDOWN, &how));
}

static pid_t
op_spawn(struct adapter *a, const char *body, struct mapping *inherited)
{
    const pid_t pid = fork();

    if (pid < 0) {
        die_errno("fork");
    }
    if (pid == 0) {
        _exit(contract_body(body)->run(a, inherited));
    }
    return pid;
}

static const struct adapter_ops kernel_ops = {
    .create = op_create,
    .rename = op_rename,
    .size = op_size,
    .read = op_read,
    .write = op_write,
    .truncate = op_truncate,
    .allocate = op_allocate,
    .punch = op_punch,
    .collapse = op_collapse,
    .clone = op_clone,
    .sync = op_sync,
    .map = op_map,
    .unmap = op_unmap,
    .load = op_load,
    .store = op_store,
    .flush = op_flush,
    .fence = op_fence,
    .populate = op_populate,
    .commits = op_commits,
    .faults = op_faults,
    .extent = op_extent,
    .flag = op_flag,
    .map_unsupported = op_map_unsupported,
    .map_unchecked = op_map_unchecked,
    .fail_commits = op_fail_commits,
    .spawn = op_spawn,
};

/* The block device's name, as in /sys: "pmem0". */
static void
device_name(int fd, char *out, size_t size)
{
    char path[64];
    char target[256];
    struct stat st;

    if (fstat(fd, &st) != 0) {
        die_errno("stat");
    }
    (void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major(st.st_dev), minor(st.st_dev));
    const ssize_t len = readlink(path, target, sizeof(target) - 1);
    if (len < 0) {
        die_errno("%s", path);
    }
    target[len] = 0;
    (void)snprintf(out, size, "%s", strrchr(target, '/') + 1);
}

void
kernel_open(struct kernel *k, const char *path)
{
    char device[32];
    struct statfs fs;
    glob_t found;
    char pattern[64];

    *k = (struct kernel){.adapter = {.ops = &kernel_ops},
                         .dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (k->dir_fd < 0 || fstatfs(k->dir_fd, &fs) != 0) {
        die_errno("open %s", path);
    }
    device_name(k->dir_fd, device, sizeof(device));
    k->xfs = fs.f_type == XFS_MAGIC;
    if (k->xfs) {
        (void)snprintf(k->commits_path, sizeof(k->commits_path), "/sys/fs/xfs/%s/stats/stats",
                       device);
    } else {
        (void)snprintf(pattern, sizeof(pattern), "/proc/fs/jbd2/%s-*/info", device);
        if (glob(pattern, 0, NULL, &found) != 0) {
            die("no %s: not ext4 with a journal", pattern);
        }
        (void)snprintf(k->commits_path, sizeof(k->commits_path), "%s", found.gl_pathv[0]);
        globfree(&found);
    }
    const struct sigaction action = {.sa_handler = sigbus};
    (void)sigaction(SIGBUS, &action, NULL);
}
