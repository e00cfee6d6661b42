/* Kind volatile: real stores, flushes and fences through a shared mapping whose pages a power cut takes.
 *
 * On tmpfs there is nothing below the pages; on a disk file the kernel writes them back when it likes and we never ask
 * it to. The page cache keeps every executed store when the process dies, so a crash of the process loses nothing.
 */
#include "storage/nosync/file.h"

/* Blocks first and by a call of their own: fallocate tells why it fails, a fault only that it does. */
static fl_status
allocate_and_extend(struct nosync_file *file, uint64_t off, uint64_t len, bool *allocated,
                    uint64_t *end_before)
{
    (void)pthread_mutex_lock(&file->grow_lock);
    fl_status status = file_size(file, end_before);

    if (status == FL_OK) {
        status = file_allocate(file, off, len);
    }
    *allocated = status == FL_OK;
    if (status == FL_OK || status == FL_NOT_SUPPORTED) {
        status = file_extend(file, off + len);
    }
    (void)pthread_mutex_unlock(&file->grow_lock);
    return status;
}

static fl_status
volatile_fault_in(struct nosync_map *map, uint64_t off, uint64_t len)
{
    struct nosync_file *file = file_of(map);
    uint64_t end_before = UINT64_MAX; /* not known yet */
    bool allocated = false;
    fl_status status = file_check_range(file, off, len);

    if (status != FL_OK) {
        return status;
    }
    status = allocate_and_extend(file, off, len, &allocated, &end_before);
    if (status == FL_OK) {
        status = mapped_populate(file, off, len, allocated);
    }
    if (status == FL_OK) {
        status = mapped_zero_stale(map, off, len);
    }
    if (status != FL_OK) {
        /* Nothing half faulted is left behind, nor a longer file. */
        (void)pthread_mutex_lock(&file->grow_lock);
        file_undo_growth(file, end_before, off, len);
        (void)pthread_mutex_unlock(&file->grow_lock);
    }
    return status;
}

static fl_status
volatile_punch(struct nosync_map *map, uint64_t off, uint64_t len)
{
    struct nosync_file *file = file_of(map);
    const fl_status status = file_check_range(file, off, len);

    return status == FL_OK ? mapped_punch(file, off, len) : status;
}

static const struct nosync_ops map_ops = {
    .fault_in = volatile_fault_in,
    .punch = volatile_punch,
    .sync_file = file_op_sync,
    .size_bytes = file_op_size_bytes,
    .file_bytes = file_op_file_bytes,
    .close = file_op_close,
};

fl_status
volatile_map(struct nosync_file *file)
{
    const fl_status status = file_map_whole(file, !file->read_only);

    if (status != FL_OK) {
        return status;
    }
    file->map.ops = &map_ops;
    file->map.media = (struct pm_media){
        .base = file->base,
        .base_store = file->read_only ? NULL : file->base,
        .size_bytes_max = file->size_bytes_max,
        .mode = PM_DIRECT,
        .context = file,
    };
    file->map.grant.mapping = FL_MAPPING_VOLATILE;
    file->map.grant.durability = FL_DURABILITY_PROCESS;
    file_describe(file, "%s on %s: survives a process crash only", pm_instructions(false),
                  file->trust.text);
    return FL_OK;
}
