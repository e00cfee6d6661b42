/* Kind dax: blocks that come and go under MAP_SYNC.
 *
 * ftruncate() and every punch, on XFS every fallocate() as well, take away the page-table entries of the
 * whole file, not of the range (measured on Linux 6.1, ext4 and XFS): every later store anywhere would take
 * a page fault, if none that commits. So growth uses neither: blocks are had by writing zeros, which extends
 * the file and tells of a full disk by errno, then their metadata is made durable by populating them
 * through the mapping. Where the entries are lost all the same, the blocks that are being stored to get
 * theirs back at once.
 */
#include "storage/nosync/file.h"

#include "base/fail.h"

#include <errno.h>
#include <inttypes.h>

/* The first block of the file keeps the first place: superblock and tables stand there. */
static void
hot_add(struct nosync_file *file, uint64_t off, uint64_t len)
{
    if (off == 0) {
        file->hot[0] = (struct hot_range){off, len};
        return;
    }
    file->hot_next = file->hot_next % (HOT_MAX - 1) + 1;
    file->hot[file->hot_next] = (struct hot_range){off, len};
}

static void
hot_remove(struct nosync_file *file, uint64_t off, uint64_t len)
{
    for (size_t i = 0; i < HOT_MAX; i++) {
        struct hot_range *hot = &file->hot[i];

        if (hot->off < off + len && off < hot->off + hot->len) {
            hot->len = 0;
        }
    }
}

static void
hot_populate(struct nosync_file *file)
{
    for (size_t i = 0; i < HOT_MAX; i++) {
        if (file->hot[i].len > 0) {
            (void)mapped_populate_again(file, file->hot[i].off, file->hot[i].len);
        }
    }
}

/* Blocks of zeros, inside st_size. Under grow_lock. */
static fl_status
allocate(struct nosync_file *file, uint64_t off, uint64_t len)
{
    bool zapped;
    fl_status status = dax_grow(file, off + len, &zapped);

    if (zapped) {
        hot_populate(file);
    }
    if (status != FL_OK) {
        return status;
    }
    uint64_t end_before = 0;

    status = file_size(file, &end_before);
    if (status != FL_OK) {
        return status;
    }
    const int error = file_write_zeros(file, off, len);

    if (error != 0) {
        file_undo_growth(file, end_before, off, len);
        hot_populate(file);
        errno = error;
        return FL_FAIL_ERRNO(file_status(error), "write zeros at %" PRIu64 " of %s", off,
                             file->path);
    }
    return FL_OK;
}

static fl_status
dax_fault_in(struct nosync_map *map, uint64_t off, uint64_t len)
{
    struct nosync_file *file = file_of(map);
    fl_status status = file_check_range(file, off, len);

    if (status != FL_OK) {
        return status;
    }
    (void)pthread_mutex_lock(&file->grow_lock);
    status = allocate(file, off, len);
    if (status == FL_OK) {
        /* The write fault commits whatever metadata of the file is not durable yet: that of the
         * write above. Until it has, no pointer to the block may exist. */
        status = mapped_populate(file, off, len, true);
    }
    if (status == FL_OK) {
        hot_add(file, off, len);
    }
    (void)pthread_mutex_unlock(&file->grow_lock);
    return status;
}

static fl_status
dax_punch(struct nosync_map *map, uint64_t off, uint64_t len)
{
    struct nosync_file *file = file_of(map);
    fl_status status = file_check_range(file, off, len);

    if (status != FL_OK) {
        return status;
    }
    (void)pthread_mutex_lock(&file->grow_lock);
    hot_remove(file, off, len);
    status = mapped_punch(file, off, len);
    hot_populate(file);
    (void)pthread_mutex_unlock(&file->grow_lock);
    return status;
}

const struct nosync_ops dax_ops = {
    .fault_in = dax_fault_in,
    .punch = dax_punch,
    .sync_file = file_op_sync,
    .size_bytes = file_op_size_bytes,
    .file_bytes = file_op_file_bytes,
    .close = file_op_close,
};
