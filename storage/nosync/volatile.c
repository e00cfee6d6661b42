/* Kind volatile: real stores, flushes and fences through a shared mapping whose pages a power cut takes.
 *
 * On tmpfs there is nothing below the pages; on a disk file the kernel writes them back when it likes and we never ask
 * it to. The page cache keeps every executed store when the process dies, so a crash of the process loses nothing.
 */
#include "storage/nosync/file.h"

static const struct nosync_ops map_ops = {
    .fault_in = file_op_fault_in,
    .punch = file_op_punch,
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
