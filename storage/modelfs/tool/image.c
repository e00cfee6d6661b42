#include "storage/modelfs/tool/image.h"

#include "base/fail.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static fl_status
lock(const char *path, bool quiet, struct image *image)
{
    if (flock(image->fd, LOCK_SH | LOCK_NB) == 0) {
        return FL_OK;
    }
    if (errno != EWOULDBLOCK) {
        return FL_FAIL_ERRNO(FL_IO, "flock %s", path);
    }
    image->served = true;
    return quiet ? FL_FAIL(FL_BUSY, "%s is in use: a host serves it, or somebody changes it", path)
                 : FL_OK;
}

static fl_status
map(const char *path, struct image *image)
{
    struct stat st;

    if (fstat(image->fd, &st) != 0) {
        return FL_FAIL_ERRNO(FL_IO, "fstat %s", path);
    }
    if (!S_ISREG(st.st_mode) || st.st_size == 0) {
        return FL_FAIL(FL_INVALID, "%s is %s", path,
                       S_ISREG(st.st_mode) ? "empty" : "no regular file");
    }
    image->size_bytes = (uint64_t)st.st_size;
    void *bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, image->fd, 0);

    if (bytes == MAP_FAILED) {
        return FL_FAIL_ERRNO(errno == ENOMEM ? FL_NO_MEMORY : FL_IO, "map %s", path);
    }
    image->bytes = bytes;
    return FL_OK;
}

fl_status
image_open(const char *path, bool quiet, struct image *out)
{
    *out = (struct image){.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)};
    if (out->fd < 0) {
        return FL_FAIL_ERRNO(errno == ENOENT ? FL_NOT_FOUND : FL_IO, "open %s", path);
    }
    fl_status status = lock(path, quiet, out);

    if (status == FL_OK) {
        status = map(path, out);
    }
    if (status != FL_OK) {
        image_close(out);
    }
    return status;
}

void
image_close(struct image *image)
{
    if (image->bytes != NULL) {
        (void)munmap((void *)(uintptr_t)image->bytes, (size_t)image->size_bytes);
    }
    if (image->fd >= 0) {
        (void)close(image->fd);
    }
}
