/* Blocks that a file shares with a clone of it. Internal to nosync/.
 *
 * The first store to a shared block moves the file to another block. On XFS of Linux 6.1 a power cut could undo such a
 * move after a flushed store had gone to the new block: measured, the last flushed block was lost every time.
 */
#ifndef FL_STORAGE_NOSYNC_SHARED_EXTENTS_H
#define FL_STORAGE_NOSYNC_SHARED_EXTENTS_H

#include <faultline/status.h>

#include <stdbool.h>

/* FL_OK: no extent is shared. FL_NOT_SUPPORTED: one is, or it can't be told. */
FL_NODISCARD fl_status shared_extents_refuse(int fd, const char *path);

/* Whether the filesystem could share extents of this file later: XFS made with reflink. */
bool shared_extents_possible(int fd);

#endif
