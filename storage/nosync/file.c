#include "storage/nosync/file.h"

#include "base/bytes.h"
#include "base/fail.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

fl_status
file_status(int error)
{
    switch (error) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return FL_NO_SPACE;
    case ENOMEM:
        return FL_NO_MEMORY;
    case ENOENT:
    case ENOTDIR:
        return FL_NOT_FOUND;
    case EEXIST:
        return FL_EXISTS;
    case EOPNOTSUPP:
    case ENOSYS:
        return FL_NOT_SUPPORTED;
    default:
        return FL_IO;
    }
}

static const char *
type_text(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFDIR:
        return "a directory";
    case S_IFCHR:
        return "a character device";
    case S_IFBLK:
        return "a block device";
    case S_IFIFO:
        return "a pipe";
    case S_IFSOCK:
        return "a socket";
    default:
        return "not a regular file";
    }
}

/* Before the open as well as after it: opening a device or a pipe has effects of its own. */
static fl_status
check_regular(const struct nosync_request *request, const struct stat *st)
{
    if (!S_ISREG(st->st_mode)) {
        return FL_FAIL(FL_INVALID, "%s is %s: a store is a regular file", request->path,
                       type_text(st->st_mode));
    }
    return FL_OK;
}

/* *created tells whether this call made the file. */
static fl_status
open_once(const struct nosync_request *request, int *fd, bool *created)
{
    const int flags = (request->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    struct stat st;

    *created = false;
    if (stat(request->path, &st) == 0) {
        if (request->create && request->exclusive) {
            return FL_FAIL(FL_EXISTS, "%s is there already", request->path);
        }
        const fl_status status = check_regular(request, &st);

        if (status != FL_OK) {
            return status;
        }
        *fd = open(request->path, flags);
    } else if (errno == ENOENT && request->create && !request->read_only) {
        *fd = open(request->path, flags | O_CREAT | O_EXCL, 0666);
        *created = *fd >= 0;
        if (*fd < 0 && errno == ENOENT) {
            return FL_FAIL_ERRNO(FL_NOT_FOUND, "create %s: its folder is missing", request->path);
        }
    } else {
        return FL_FAIL_ERRNO(file_status(errno), "open %s", request->path);
    }
    if (*fd < 0) {
        return FL_FAIL_ERRNO(file_status(errno), "open %s", request->path);
    }
    return FL_OK;
}

/* Whether the path still names the open file: a repair may have exchanged it before we had the lock. */
static bool
is_current(const char *path, int fd)
{
    struct stat by_path;
    struct stat by_fd;

    return stat(path, &by_path) == 0 && fstat(fd, &by_fd) == 0 && by_path.st_dev == by_fd.st_dev &&
           by_path.st_ino == by_fd.st_ino;
}

static fl_status
lock(const struct nosync_request *request, int fd)
{
    struct stat st;

    if (fstat(fd, &st) != 0) {
        return FL_FAIL_ERRNO(FL_IO, "fstat %s", request->path);
    }
    const fl_status status = check_regular(request, &st);

    if (status != FL_OK) {
        return status;
    }
    if (flock(fd, (request->read_only ? LOCK_SH : LOCK_EX) | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK) {
            return FL_FAIL(FL_BUSY, "%s is in use by another process or store", request->path);
        }
        return FL_FAIL_ERRNO(FL_IO, "flock %s", request->path);
    }
    return FL_OK;
}

/* The path may come, go or change between its look-up, the open and the lock: then try again. */
static fl_status
open_and_lock(const struct nosync_request *request, int *fd, bool *created)
{
    enum { TRIES_MAX = 20 };

    for (int i = 0; i < TRIES_MAX; i++) {
        fl_status status = open_once(request, fd, created);

        if (status == FL_EXISTS && !request->exclusive) {
            continue; /* Somebody else made it just now. */
        }
        if (status == FL_NOT_FOUND && request->create) {
            if (access(request->path, F_OK) == 0) {
                continue;
            }
        }
        if (status != FL_OK) {
            return status;
        }
        status = lock(request, *fd);
        if (status == FL_OK && is_current(request->path, *fd)) {
            return FL_OK;
        }
        (void)close(*fd);
        if (status != FL_OK) {
            return status;
        }
    }
    return FL_FAIL(FL_IO, "%s keeps changing, or is a symbolic link to a file that is not there",
                   request->path);
}

fl_status
nosync_sync_directory(const char *path)
{
    char *copy = strdup(path);
    fl_status status = FL_OK;

    if (copy == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "path of %s", path);
    }
    const int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0) {
        status = FL_FAIL_ERRNO(FL_IO, "open the directory of %s", path);
    } else {
        /* EINVAL: a filesystem whose directories have nothing to sync. */
        if (fsync(fd) != 0 && errno != EINVAL) {
            status = FL_FAIL_ERRNO(FL_IO, "fsync the directory of %s", path);
        }
        (void)close(fd);
    }
    free(copy);
    return status;
}

static fl_status
sync_creation(struct nosync_file *file)
{
    if (!file->map.grant.created) {
        return FL_OK;
    }
    if (fsync(file->fd) != 0) {
        return FL_FAIL_ERRNO(FL_IO, "fsync %s", file->path);
    }
    return nosync_sync_directory(file->path);
}

fl_status
file_open(const struct nosync_request *request, struct nosync_file **out)
{
    struct nosync_file *file = calloc(1, sizeof(*file));

    if (file == NULL || pthread_mutex_init(&file->grow_lock, NULL) != 0) {
        free(file);
        return FL_FAIL(FL_NO_MEMORY, "open %s", request->path);
    }
    file->fd = -1;
    file->read_only = request->read_only;
    file->map_align = request->map_align;
    file->size_bytes_max = bytes_align_up(request->size_bytes_max, (uint64_t)getpagesize());
    file->path = strdup(request->path);

    fl_status status = file->path == NULL
                           ? FL_FAIL(FL_NO_MEMORY, "open %s", request->path)
                           : open_and_lock(request, &file->fd, &file->map.grant.created);

    if (status == FL_OK) {
        status = sync_creation(file);
    }
    if (status == FL_OK) {
        uint64_t end = 0;

        status = file_size(file, &end);
    }
    if (status != FL_OK) {
        file_uncreate(file);
        file_close(file);
        return status;
    }
    trust_of_file(file->fd, &file->trust);
    *out = file;
    return FL_OK;
}

void
file_uncreate(struct nosync_file *file)
{
    /* We hold the lock, so nobody has put anything into it. */
    if (file->fd >= 0 && file->map.grant.created && is_current(file->path, file->fd)) {
        (void)unlink(file->path);
    }
}

void
file_describe(struct nosync_file *file, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(file->map.grant.detail, sizeof(file->map.grant.detail), format, args);
    va_end(args);
}
