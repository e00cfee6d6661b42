/* Kind model: a file of a model device (faultline/modelfs.h), named modelfs:DEVICE/NAME; the last '/' divides. Internal
 * to nosync/. */
#ifndef FL_STORAGE_NOSYNC_MODEL_H
#define FL_STORAGE_NOSYNC_MODEL_H

#include "storage/nosync/nosync.h"

/* Whether the path is meant for this kind. */
bool model_path(const char *path);

/* nosync_open() for such a path. */
FL_NODISCARD fl_status model_open(const struct nosync_request *request, struct nosync_map **out);

/* The calls on names of nosync.h, for such a path. */
FL_NODISCARD fl_status model_name_exists(const char *path, bool *out);
FL_NODISCARD fl_status model_name_remove(const char *path);
FL_NODISCARD fl_status model_name_replace(const char *path, const char *with, const char *old);

#endif
