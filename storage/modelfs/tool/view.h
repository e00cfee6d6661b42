/* What is on a device, mounted for looking only: itself if nobody serves it, else a copy of what a power cut would
 * leave now. */
#ifndef FL_STORAGE_MODELFS_TOOL_VIEW_H
#define FL_STORAGE_MODELFS_TOOL_VIEW_H

#include "storage/modelfs/fs.h"

struct view {
    struct mfs_media *media;
    struct mfs *fs;
    bool served;
};

/* Owner: the caller, view_close(). Errors: those of mfs_media_open() and mfs_mount(). */
FL_NODISCARD fl_status view_open(const char *path, struct view *out);
void view_close(struct view *view);

#endif
