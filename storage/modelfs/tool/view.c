#include "storage/modelfs/tool/view.h"

#include "storage/modelfs/tool/image.h"

#include "base/fail.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

enum { TRIES_MAX = 20, TRY_US = 2000 };

static fl_status
mount_file(const char *path, struct view *view)
{
    const struct mfs_media_source source = {.path = path, .read_only = true};
    const struct mfs_mount_options options = {.read_only = true};
    fl_status status = mfs_media_open(&source, &view->media);

    if (status != FL_OK) {
        return status;
    }
    status = mfs_mount(view->media, &options, &view->fs);
    if (status != FL_OK) {
        mfs_media_close(view->media);
    }
    return status;
}

/* Data only: holes stay holes. */
static fl_status
copy_data(const struct image *image, int to)
{
    off_t off = 0;

    if (ftruncate(to, (off_t)image->size_bytes) != 0) {
        return FL_FAIL_ERRNO(FL_NO_MEMORY, "a copy of the device");
    }
    while ((off = lseek(image->fd, off, SEEK_DATA)) >= 0) {
        const off_t hole = lseek(image->fd, off, SEEK_HOLE);
        const off_t end = hole > off ? hole : (off_t)image->size_bytes;

        while (off < end) {
            const ssize_t n = pwrite(to, image->bytes + off, (size_t)(end - off), off);

            if (n <= 0) {
                return FL_FAIL_ERRNO(FL_NO_MEMORY, "a copy of the device");
            }
            off += n;
        }
    }
    return errno == ENXIO ? FL_OK : FL_FAIL_ERRNO(FL_IO, "read the device");
}

static fl_status
mount_copy(const struct image *image, struct view *view)
{
    char path[32];
    const int fd = memfd_create("modelfs-view", MFD_CLOEXEC);

    if (fd < 0) {
        return FL_FAIL_ERRNO(FL_NO_MEMORY, "a copy of the device");
    }
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    fl_status status = copy_data(image, fd);

    if (status == FL_OK) {
        status = mount_file(path, view);
    }
    (void)close(fd);
    return status;
}

fl_status
view_open(const char *path, struct view *out)
{
    struct image image;
    fl_status status = image_open(path, false, &image);

    if (status != FL_OK) {
        return status;
    }
    *out = (struct view){.served = image.served};
    if (!out->served) {
        status = mount_file(path, out);
    } else {
        /* The host goes on: a copy can have the two halves of a change that the device never had. */
        status = mount_copy(&image, out);
        for (int i = 1; status == FL_CORRUPT && i < TRIES_MAX; i++) {
            (void)usleep(TRY_US);
            status = mount_copy(&image, out);
        }
    }
    image_close(&image);
    return status;
}

void
view_close(struct view *view)
{
    mfs_abandon(view->fs);
    mfs_media_close(view->media);
}
