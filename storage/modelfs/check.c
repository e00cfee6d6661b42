#include "storage/modelfs/fs.h"
#include "storage/modelfs/image.h"

fl_status
mfs_check(const uint8_t *image_bytes, uint64_t size_bytes,
          void (*finding)(void *context, const char *text), void *context, uint64_t *findings)
{
    struct mfs_image image;
    fl_status status = mfs_image_init(&image, image_bytes, size_bytes, finding, context);

    if (status == FL_OK) {
        status = mfs_image_judge(&image);
    } else if (status != FL_NO_MEMORY) {
        mfs_image_finding(&image, true, "%s", fl_last_error());
        status = FL_OK;
    }
    *findings = image.findings;
    mfs_image_deinit(&image);
    return status;
}
