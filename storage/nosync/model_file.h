/* What the parts of kind model share. */
#ifndef FL_STORAGE_NOSYNC_MODEL_FILE_H
#define FL_STORAGE_NOSYNC_MODEL_FILE_H

#include "storage/nosync/model.h"

#include <faultline/modelfs.h>

struct model_name {
    char *device; /* to be freed */
    const char *name;
};
FL_NODISCARD fl_status model_name_parse(const char *path, struct model_name *out);

#endif
